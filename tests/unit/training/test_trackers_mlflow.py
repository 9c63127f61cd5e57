"""MLflow is told what it takes, goes on with the run it knows, and a server that fails or hangs is let go."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ringlight.config.tracking import MlflowConfig
from ringlight.errors import MissingExtraError, TrackerError
from ringlight.training import trackers_quiet
from ringlight.training.trackers_mlflow import (
    MlflowPlace,
    MlflowTracker,
    mlflow_place,
    register_version,
    remembered_run,
    require_mlflow,
)
from ringlight.training.trackers_quiet import DEFAULTS, LOGGERS, Patience, quiet
from ringlight.training.trackers_words import cleaned

PLACE = MlflowPlace("http://127.0.0.1:5000", "plant")


def begin(folder: Path, **tags: str) -> MlflowTracker:
    return MlflowTracker(folder, PLACE, tags=tags)


def test_the_place_is_the_configured_one_else_the_environments_else_the_workspaces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert mlflow_place(MlflowConfig(), Path("/w/100%")) == MlflowPlace(
        "sqlite:////w/100%25/mlflow/mlflow.db", "ringlight", Path("/w/100%/mlflow/artifacts")
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://env")
    assert mlflow_place(MlflowConfig(experiment="x"), Path("/w")) == MlflowPlace("http://env", "x")
    assert mlflow_place(MlflowConfig(tracking_uri="http://mine"), Path("/w")).uri == "http://mine"


def test_settings_are_flat_text_within_mlflows_limits(tmp_path: Path, fake_mlflow: Any) -> None:
    begin(tmp_path).log_params({
        "loss": {"alpha": {"a": 1.5, "b": None}}, "sizes": [8, 8], "empty": {}, "name": "größe",
        "long": "x" * 7000, "k" * 300: True, **{f"many.{index}": index for index in range(250)},
    })  # fmt: skip
    (run,) = fake_mlflow.runs.values()
    told = run.data.params
    assert {key: told[key] for key in ("loss.alpha.a", "loss.alpha.b", "sizes", "empty", "name")} == {
        "loss.alpha.a": "1.5", "loss.alpha.b": "null", "sizes": "[8, 8]", "empty": "{}", "name": "größe",
    }  # fmt: skip
    assert len(told["long"]) == 6000
    assert told["long"].endswith("x ...")
    assert [value for key, value in told.items() if key.startswith("kkk")] == ["true"]
    assert len(told) == 257


def test_names_that_would_become_one_stay_two(tmp_path: Path, fake_mlflow: Any) -> None:
    assert cleaned("../a") == "__/a"
    begin(tmp_path).log_metrics({"recall/riß (a)": 0.1, "recall/riß [a]": 0.2}, 0)
    (run,) = fake_mlflow.runs.values()
    assert [point.key for point in run.points] == ["recall/riß _a_", "recall/riß _a_-f05eec98"]


def test_a_run_carries_what_identifies_it(tmp_path: Path, fake_mlflow: Any) -> None:
    begin(tmp_path / "demo-1", **{"ringlight.seed": "42"})
    (run,) = fake_mlflow.runs.values()
    assert (run.info.run_name, run.data.tags) == ("demo-1", {"ringlight.run": "demo-1", "ringlight.seed": "42"})
    assert list(fake_mlflow.experiments) == ["plant"]
    assert PLACE.uri not in (tmp_path / "demo-1" / "mlflow.json").read_text()


@pytest.mark.parametrize(
    ("status", "expected"),
    [("running", "RUNNING"), ("completed", "FINISHED"), ("failed", "FAILED"), ("interrupted", "KILLED")],
)
def test_how_a_run_stands_in_mlflows_words(tmp_path: Path, fake_mlflow: Any, status: str, expected: str) -> None:
    begin(tmp_path).set_status(status)
    assert fake_mlflow.runs["run1"].info.status == expected


def test_a_run_that_goes_on_is_the_same_run_unless_the_server_has_lost_it(tmp_path: Path, fake_mlflow: Any) -> None:
    begin(tmp_path).log_params({"device": "cuda:0"})
    begin(tmp_path).log_params({"device": "cpu", "new": 1})  # MLflow refuses to change what it knows
    assert fake_mlflow.runs["run1"].data.params == {"device": "cuda:0", "new": "1"}
    fake_mlflow.runs["run1"].info.lifecycle_stage = "deleted"
    begin(tmp_path)
    assert (list(fake_mlflow.runs), remembered_run(tmp_path)) == (["run1", "run2"], "run2")
    fake_mlflow.runs.clear()
    begin(tmp_path)
    assert list(fake_mlflow.runs) == ["run1"]


def test_a_folder_that_remembers_nothing_readable_begins_anew(tmp_path: Path) -> None:
    assert remembered_run(tmp_path) is None
    (tmp_path / "mlflow.json").write_text("[]")
    assert remembered_run(tmp_path) is None


def test_an_experiment_that_another_process_makes_first_is_used(tmp_path: Path, fake_mlflow: Any) -> None:
    def race(request: str) -> None:
        if request == "create_experiment":
            fake_mlflow.create_experiment("plant")
            raise fake_mlflow.error("RESOURCE_ALREADY_EXISTS")

    fake_mlflow.fault = race
    begin(tmp_path)
    assert fake_mlflow.runs["run1"].info.experiment_id == "1"


def test_versions_of_a_run_and_of_a_bundle_alone(tmp_path: Path, fake_mlflow: Any) -> None:
    bundle, run = tmp_path / "bundle", tmp_path / "run"
    bundle.mkdir()
    (bundle / "bundle.json").write_text("{}")
    begin(run)
    assert register_version("neu", bundle, PLACE, run=run, tags={"label": "a"}) == "1"
    assert register_version("neu", bundle, PLACE) == "2"
    first, second = fake_mlflow.versions["neu"]
    assert (first.run_id, second.run_id) == ("run1", "run2")
    assert first.source == f"mlflow-artifacts:/run1/{Path(first.source).name}"
    assert fake_mlflow.runs["run1"].files == [f"{Path(first.source).name}/bundle.json"]
    (bundle / "bundle.json").write_text("{ }")
    register_version("neu", bundle, PLACE, run=run)
    assert len(set(fake_mlflow.runs["run1"].files)) == 2, "two bundles of one run keep their files apart"


def test_a_version_that_cannot_be_registered_is_told_in_one_line_without_secrets(
    tmp_path: Path, fake_mlflow: Any
) -> None:
    def refuse(request: str) -> None:
        raise ConnectionError("no answer from http://me:s3cret@host/api\nand more")

    fake_mlflow.fault = refuse
    with pytest.raises(TrackerError) as caught:
        register_version("neu", tmp_path, MlflowPlace("http://me:s3cret@host", "x"))
    assert str(caught.value) == (
        "neu, http://***@host: expected MLflow to take the version, got no answer from http://***@host/api; "
        "check the name, and that the server runs and can be reached"
    )
    assert caught.value.__cause__ is None
    with pytest.raises(TrackerError, match="expected the folder of a saved model, got none; check the path"):
        register_version("neu", tmp_path / "none", PLACE)


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingExtraError, match=r"install it with: pip install 'ringlight\[mlflow\]'$"):
        require_mlflow()


def test_quiet_takes_back_all_it_sets_and_keeps_what_the_user_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DEFAULTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    before, level = dict(os.environ), logging.getLogger("mlflow").level
    with quiet():
        assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
        assert not logging.getLogger("mlflow").isEnabledFor(logging.ERROR)
        warnings.warn("a library's own", stacklevel=1)
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT")
    del before["MLFLOW_HTTP_REQUEST_TIMEOUT"]
    with quiet(seconds=120):
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "120"
    assert (dict(os.environ), logging.getLogger("mlflow").level) == (before, level)


@pytest.fixture
def own_levels() -> Iterator[None]:
    before = {name: logging.getLogger(name).level for name in LOGGERS}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def test_what_hangs_is_let_go(tmp_path: Path, fake_mlflow: Any, own_levels: None) -> None:
    tracker = begin(tmp_path)
    tracker._patience = Patience(limit=0.05)
    fake_mlflow.fault = lambda _: time.sleep(5)
    started = time.perf_counter()
    with pytest.raises(TimeoutError, match=r"^no answer in 0.05 s$"):
        tracker.log_metrics({"loss": 1.0}, 0)
    assert time.perf_counter() - started < 4
    assert not logging.getLogger("mlflow").isEnabledFor(logging.WARNING), "what is left to itself stays silent"


def test_what_is_slow_has_its_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0, 100, 159, 1000, 1041, 1100, 1110])  # made; then each call's begin and end
    monkeypatch.setattr(trackers_quiet, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    patience = Patience(limit=600, seconds=60, share=0.1)
    assert patience(lambda: "59 s are within a minute") == "59 s are within a minute"
    assert patience(lambda: "100 of 1041 s are within a tenth") == "100 of 1041 s are within a tenth"
    monkeypatch.setattr(patience, "_spent", 200.0)
    with pytest.raises(TimeoutError, match=r"^its answers took 210 s of 1110 s$"):
        patience(lambda: None)


def test_what_a_call_raises_is_raised() -> None:
    with pytest.raises(KeyError, match="what the call raises"):
        Patience()(lambda: {}["what the call raises"])
