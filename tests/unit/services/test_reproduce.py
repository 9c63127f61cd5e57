"""A run that is run again is compared to the bit, and what was promised is told from what was not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from ringlight.config.load import read_config
from ringlight.errors import RunError
from ringlight.services import reproduce
from ringlight.services.imports import import_runs
from ringlight.services.reproduced import compare_folders, numbers
from ringlight.services.run_details import show

MakeFinished = Callable[..., Path]
SAME_BITS = "same configuration on this processor with 1 thread(s): identical history and weights"
CLOSE = "same configuration: close, not identical numbers (some CUDA kernels are not deterministic)"


@dataclass(frozen=True)
class Made:
    """What is read of a plan."""

    config: Any
    fingerprint: str


@pytest.fixture
def run(make_finished: MakeFinished, tmp_path: Path) -> Path:
    folder = make_finished(
        tmp_path,
        "first",
        history=[{"train/loss": 0.5}],
        environment={"processor": "x", "num_threads": 1, "python": "3"},
    )
    say(folder, reproducibility=SAME_BITS, dataset_fingerprint="f")
    import_runs(tmp_path)
    return folder


def say(folder: Path, **changes: Any) -> None:
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **changes}))


def change(folder: Path, **changes: Any) -> None:
    results = folder / "results.json"
    results.write_text(json.dumps({**json.loads(results.read_text()), **changes}))


@pytest.fixture
def again(run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What comes of running it again: a copy, which the tests change."""
    copy = shutil.copytree(run, run.with_name("second"))

    def train(folder: Path, *_: Any) -> Path:
        assert folder == run
        import_runs(run.parent.parent)
        return copy

    monkeypatch.setattr(reproduce, "_train_again", train)
    return copy


def test_the_same_bits_leave_nothing_behind_unless_they_are_to_be_kept(run: Path, again: Path, tmp_path: Path) -> None:
    kept = reproduce.reproduce("first", keep=True, workspace=tmp_path)
    assert (kept.is_identical, kept.is_broken, kept.folder) == (True, False, again)
    assert [str(one) for one in kept.differences] == [
        "weights: the same (2 compared)", "predictions: the same (5 compared)", "history: the same (1 compared)",
        "scores: the same (11 compared)",
    ]  # fmt: skip
    found = reproduce.reproduce("first", workspace=tmp_path)
    assert found.verdict == "the same bits: weights, predictions, history and scores"
    assert found.to_dict()["folder"] is None
    assert sorted(path.name for path in run.parent.iterdir()) == ["first"]
    assert [event["what"] for event in show("first", workspace=tmp_path).events] == ["completed", *["reproduced"] * 2]


def test_a_broken_promise_is_told_with_its_size(run: Path, again: Path, tmp_path: Path) -> None:
    weights = load_file(again / "bundle" / "model.safetensors")
    save_file({**weights, "weight": weights["weight"] + 0.25}, again / "bundle" / "model.safetensors")
    change(again, history=[{"train/loss": 0.5}, {"train/loss": 0.125}])
    found = reproduce.reproduce("first", workspace=tmp_path)
    assert (found.is_broken, found.reasons, found.folder) == (True, (), again)
    assert found.verdict.startswith(
        "the promise of identical numbers is broken: weights: 1 of 2 differ, by 0.25 at most"
    )
    assert found.verdict.endswith("history: 1 of 2 differ, not to be subtracted (epoch 2.train/loss)")


@pytest.mark.parametrize(
    ("manifest", "environment", "reason"),
    [
        ({"reproducibility": CLOSE}, {}, "close, not identical numbers (some CUDA kernels are not deterministic)"),
        ({}, {"processor": "y", "num_threads": 1, "python": "3"}, "another processor: x, now y"),
        ({}, {"processor": "x", "num_threads": 2, "python": "3"}, "another number of threads: 1, now 2"),
        ({}, {"processor": "x", "num_threads": 1, "python": "3", "versions": {"torch": "3"}},
         "other versions: torch None → 3"),
    ],
)  # fmt: skip
def test_what_was_not_promised_is_no_fault(
    run: Path, again: Path, tmp_path: Path, manifest: dict[str, str], environment: dict[str, Any], reason: str
) -> None:
    say(again, **manifest)
    test = json.loads((again / "results.json").read_text())["test"]
    test["scalars"]["macro_f1"] -= 0.125
    change(again, test=test, **({"environment": environment} if environment else {}))
    found = reproduce.reproduce("first", workspace=tmp_path)
    assert (found.is_identical, found.is_broken, found.reasons) == (False, False, (reason,))
    assert found.verdict == (
        f"not the same bits, which was not promised ({reason}): "
        "scores: 1 of 11 differ, by 0.125 at most (scalars.macro_f1)"
    )


def test_the_run_is_made_of_what_the_first_one_left(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own split, whatever became of the configuration; the new run's configuration names no file of the old one."""
    seen: dict[str, Any] = {}

    def plan(config: Any, home: Path) -> Any:
        seen["split"] = config.split.file
        return Made(config, seen.get("fingerprint", "f"))

    def execute(made: Any, folder: Path, checkpoint: Any, control: Any, trackers: Any, parent: str) -> None:
        seen.update(config=made.config, folder=folder, parent=parent)

    monkeypatch.setattr(reproduce.runs, "plan", plan)
    monkeypatch.setattr(reproduce.runs, "new_run", lambda _made, home: home / "runs" / "new")
    monkeypatch.setattr(reproduce.runs, "execute", execute)
    monkeypatch.setattr(reproduce, "compare_folders", lambda *_: [])
    say(run, device="cuda:0", device_reason="asked for")
    monkeypatch.setattr(reproduce, "choose_device", lambda _wish: SimpleNamespace(kind="cpu"))
    reproduce.reproduce(run, keep=True)
    assert seen["split"] == run / "split.csv"
    assert (seen["config"].split.file, seen["config"].training.device) == (None, "cpu")
    assert (seen["folder"], seen["parent"]) == (tmp_path / "runs" / "new", "first")
    assert read_config(run / "config.yaml").training.device == "auto"

    seen["fingerprint"] = "other"
    with pytest.raises(
        RunError, match=r"expected the data of the run \(fingerprint f\), got other; bring the data back"
    ):
        reproduce.reproduce(run)


def test_what_cannot_be_run_again_is_refused(run: Path, tmp_path: Path) -> None:
    say(run, status="failed")
    with pytest.raises(RunError, match="expected a completed run, got one that is failed; finish it with"):
        reproduce.reproduce("first", workspace=tmp_path)
    study = tmp_path / "studies" / "lr"
    study.mkdir(parents=True)
    shutil.copy(run / "config.yaml", study)
    (study / "study.json").write_text(json.dumps({"status": "completed"}))
    import_runs(tmp_path)
    with pytest.raises(RunError, match="expected a completed run, got a study; reproduce one of its configurations"):
        reproduce.reproduce("lr", workspace=tmp_path)


def test_every_kind_of_difference_is_found(run: Path, again: Path) -> None:
    """Names, shapes, files and numbers that are none; what is undefined on both sides is the same."""
    nothing = float("nan")
    columns = {"id": ["a", "b"], "probability/x": [0.5, nothing]}
    for folder in (run, again):
        pq.write_table(pa.table(columns), folder / "predictions.parquet")
    assert not compare_folders(run, again)[1].differs
    pq.write_table(pa.table({"id": ["a", "c"], "probability/x": [0.75, 0.5]}), again / "predictions.parquet")
    save_file({"weight": torch.zeros(2), "more": torch.zeros(1)}, again / "bundle" / "model.safetensors")
    (again / "bundle" / "extra.bin").touch()
    weights, predictions, *_ = compare_folders(run, again)
    assert (weights.num_different, weights.num_compared, weights.largest) == (4, 4, None)
    assert (predictions.num_different, predictions.largest, predictions.where) == (2, None, "id")
    (again / "predictions.parquet").write_text("torn")
    with pytest.raises(RunError, match="expected the predictions of both runs, got ArrowInvalid"):
        compare_folders(run, again)
    (again / "bundle" / "model.safetensors").write_text("torn")
    with pytest.raises(RunError, match="expected weights that can be read"):
        compare_folders(run, again)
    assert not numbers("x", {"a": [nothing, {"b": 1}]}, {"a": [nothing, {"b": 1.0}]}).differs
    assert numbers("x", {"a": 1.0, "b": np.inf}, {"a": 1.5, "b": 2.0}).largest is None
