"""A run has the trackers its configuration names; one that cannot be opened is missed, not mourned."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ringlight.config.load import compose
from ringlight.config.schema import Config
from ringlight.errors import MissingExtraError
from ringlight.training.plan import prepare
from ringlight.training.trackers import QuietTracker, Trackers, hand_over
from ringlight.training.tracking import require_trackers, trackers_of


def planned(workspace: Path, *overrides: str) -> Any:
    """Return what trackers are told of a plan."""
    return SimpleNamespace(
        config=compose("demo", overrides), cache=workspace / "cache", fingerprint="f" * 64,
        dataset=SimpleNamespace(name="tiles"), device=SimpleNamespace(device="cpu"),
    )  # fmt: skip


class Failing(QuietTracker):
    """A server whose error shows how it was asked."""

    def set_status(self, status: str) -> None:
        raise ConnectionError("no answer from http://me:s3cret@host/api\nand a second line")


def test_the_configured_trackers_and_the_callers_are_told_alike(tmp_path: Path, fake_mlflow: Any) -> None:
    heard: list[float] = []

    class Listener(QuietTracker):
        def log_metrics(self, metrics: Any, step: int) -> None:
            heard.extend(metrics.values())

    folder = tmp_path / "runs" / "demo-1"
    trackers = trackers_of(planned(tmp_path, "training.trackers=[mlflow,csv,tensorboard]"), folder, [Listener()])
    trackers.log_metrics({"loss": 0.5}, 0)
    assert heard == [0.5]
    assert (folder / "logs" / "metrics.csv").read_text() == "step,name,value\n0,loss,0.5\n"
    assert list((folder / "logs").glob("events.*"))
    (run,) = fake_mlflow.runs.values()
    assert [(point.key, point.value, point.step) for point in run.points] == [("loss", 0.5, 0)]
    assert run.data.tags == {
        "ringlight.run": "demo-1", "ringlight.recipe": "demo", "ringlight.model": "resnet10t", "ringlight.seed": "42",
        "ringlight.dataset": "tiles", "ringlight.dataset_fingerprint": "f" * 64, "ringlight.device": "cpu",
    }  # fmt: skip
    assert fake_mlflow.experiments["ringlight"].at == (tmp_path / "mlflow" / "artifacts").as_uri()


def test_no_tracker_leaves_nothing(tmp_path: Path) -> None:
    trackers_of(planned(tmp_path, "training.trackers=[]"), tmp_path).log_metrics({"loss": 0.5}, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there_is_a_warning_and_the_others_go_on(
    tmp_path: Path, fake_mlflow: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(request: str) -> None:
        raise ConnectionError("HTTP GET http://me:s3cret@host/api failed\n\nTraceback and so on")

    fake_mlflow.fault = refuse
    with caplog.at_level(logging.DEBUG, logger="ringlight"):
        trackers = trackers_of(planned(tmp_path, "training.trackers=[mlflow,csv]"), tmp_path)
        trackers.log_metrics({"loss": 0.5}, 0)
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warned == ["tracker mlflow cannot be opened and is left out: HTTP GET http://***@host/api failed"]
    assert "s3cret" not in caplog.text
    assert (tmp_path / "logs" / "metrics.csv").read_text().endswith("0,loss,0.5\n")


def test_a_failure_later_shows_no_password_either(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="ringlight"):
        Trackers([Failing()]).set_status("running")
    assert "tracker Failing failed and is left out: no answer from http://***@host/api" in caplog.messages
    assert "s3cret" not in caplog.text


def test_a_missing_package_is_refused_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    require_trackers(Config())
    config = compose("demo", ["training.trackers=[csv,mlflow]", "training.device=cpu", "data.root=/no/such"])
    with pytest.raises(MissingExtraError, match=r"ringlight\[mlflow\]"):
        prepare(config, tmp_path)


def test_a_finished_runs_files_are_handed_over(tmp_path: Path) -> None:
    given: list[str] = []

    class Keeper(QuietTracker):
        def log_artifact(self, path: Path) -> None:
            given.append(path.name)

    for name in ("results.json", "config.yaml", "train.log"):
        (tmp_path / name).touch()
    hand_over(Keeper(), tmp_path)
    assert given == ["config.yaml", "results.json"]
