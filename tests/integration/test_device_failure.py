"""A GPU that fails or is full in the middle of a run, played by a stand-in: errors as CUDA raises them, on the CPU."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

import ringlight as rl
from ringlight.errors import TrainingError
from ringlight.runtime import LOGGER, DeviceChoice
from ringlight.services import runs
from ringlight.services.runs import Run
from ringlight.training import memory
from ringlight.training import plan as planning
from ringlight.training.task import ClassificationTask

TrainSmall = Callable[..., Run]
FAILURE = "CUDA error: an illegal memory access was encountered"


class Faults:
    """Raises `error` in the training step number `step` (counted over the run from 1), once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception, step: int) -> None:
        self.left, self.steps = step, 0
        train_step = ClassificationTask._loss_of

        def failing(task: ClassificationTask, *batch: Any) -> Any:
            self.steps += 1
            self.left -= 1
            if self.left == 0:
                raise error
            return train_step(task, *batch)

        monkeypatch.setattr(ClassificationTask, "_loss_of", failing)


@pytest.fixture
def as_if_found(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Let the first plan believe in a device that `auto` found or the user named; it computes on the CPU."""
    choose = planning.choose_device

    def believe(asked: bool) -> None:
        left = [DeviceChoice("cpu", "auto: found a GPU", asked=asked)]
        monkeypatch.setattr(planning, "choose_device", lambda wish: left.pop() if left else choose(wish))

    return believe


@pytest.fixture
def warnings_told() -> Iterator[list[str]]:
    """Collect what the log says at the level of a warning."""
    told: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    listener = Listener(logging.WARNING)
    LOGGER.addHandler(listener)
    yield told
    LOGGER.removeHandler(listener)


def only_run(workspace: Path) -> Path:
    (folder,) = (workspace / "runs").iterdir()
    return folder


def manifest(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "manifest.json").read_text()))


def steps_per_epoch(folder: Path) -> int:
    records = json.loads((folder / "results.json").read_text())["split"]["parts"]["train"]["num_records"]
    return -(-records // 8)


@pytest.mark.parametrize("step", [2, 5], ids=["before the first checkpoint", "in the second epoch"])
def test_a_run_goes_on_on_the_cpu_from_its_last_checkpoint(
    step: int,
    train_small: TrainSmall,
    as_if_found: Callable[[bool], None],
    warnings_told: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    as_if_found(False)
    faults = Faults(monkeypatch, RuntimeError(FAILURE), step)
    run = train_small()
    per_epoch = steps_per_epoch(run.folder)
    assert per_epoch == 4
    lost = (step - 1) % per_epoch + 1  # what the epoch had done, the failed step included, is done again
    assert faults.steps == 2 * per_epoch + lost
    assert [row["epoch"] for row in run.results["history"]] == [0, 1]
    assert [line for line in warnings_told if "CUDA" in line] == [f"auto: cpu failed ({FAILURE})"]
    entry = manifest(run.folder)
    assert entry["status"] == "completed"
    assert entry["error"] is None
    assert entry["device_reason"] == f"auto: cpu failed ({FAILURE})"
    assert any(FAILURE in note and "went on on the CPU" in note for note in run.results["notes"])
    config = runs.read_config(run.folder / "config.yaml")
    assert config.training.device == "cpu"
    assert config.training.precision == "32"
    assert config.split.file == run.folder / "split.csv"
    ids = pq.read_table(run.folder / "predictions.parquet").column("id").to_pylist()
    assert len(ids) == run.results["split"]["parts"]["test"]["num_records"]
    assert rl.load(run).bundle.classes == tuple(run.results["dataset"]["classes"])


def test_going_on_gives_the_scores_of_a_run_that_never_failed(
    train_small: TrainSmall, as_if_found: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_small()
    as_if_found(False)
    Faults(monkeypatch, RuntimeError(FAILURE), 6)
    run = train_small(workspace="second")
    assert run.results["test"] == whole.results["test"]
    assert run.results["history"] == whole.results["history"]


def test_a_device_that_was_named_ends_the_run_with_the_next_step(
    train_small: TrainSmall, as_if_found: Callable[[bool], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_if_found(True)
    Faults(monkeypatch, RuntimeError(FAILURE), 6)
    with pytest.raises(
        TrainingError, match=rf"training.device: expected cpu to work until the run's end, got {FAILURE}; look at the"
    ):
        train_small()
    folder = only_run(tmp_path / "workspace")
    entry = manifest(folder)
    assert entry["status"] == "failed"
    assert FAILURE in entry["error"]
    assert runs.resume(folder).results["history"][-1]["epoch"] == 1
    assert manifest(folder)["status"] == "completed"


def test_a_fault_of_the_model_is_no_fault_of_the_device(
    train_small: TrainSmall, as_if_found: Callable[[bool], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_if_found(False)
    Faults(monkeypatch, RuntimeError("mat1 and mat2 shapes cannot be multiplied"), 2)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        train_small()
    assert manifest(only_run(tmp_path / "workspace"))["status"] == "failed"


def test_what_fails_once_more_on_the_cpu_ends_the_run(
    train_small: TrainSmall, as_if_found: Callable[[bool], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_if_found(False)

    def failing(*_: Any) -> Any:
        raise RuntimeError(FAILURE)

    monkeypatch.setattr(ClassificationTask, "_loss_of", failing)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        train_small()
    assert manifest(only_run(tmp_path / "workspace"))["status"] == "failed"


def test_frozen_features_go_on_on_the_cpu_too(
    train_small: TrainSmall, as_if_found: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ringlight.training import frozen_features

    as_if_found(False)
    compute, left = frozen_features._before_head, [1]

    def failing(*arguments: Any) -> Any:
        if left:
            left.pop()
            raise RuntimeError(FAILURE)
        return compute(*arguments)

    monkeypatch.setattr(frozen_features, "_before_head", failing)
    run = train_small("training.mode=frozen", "loss=bce_with_logits")
    assert manifest(run.folder)["status"] == "completed"
    assert not left


def test_a_full_memory_divides_the_step_and_the_results_tell(
    train_small: TrainSmall, warnings_told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loss_of = ClassificationTask._loss_of

    def full(task: ClassificationTask, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if len(images) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return loss_of(task, images, targets)

    monkeypatch.setattr(ClassificationTask, "_loss_of", full)
    run = train_small()
    assert len(run.results["history"]) == 2
    assert run.results["hyper_parameters"]["data.batch_size"] == 8
    assert [note for note in run.results["notes"] if note.startswith("memory ran out")] == [
        f"memory ran out in epoch 1, step 0: from there on a step is made in {chunks} parts, and running the "
        "configuration again need not give the same bits"
        for chunks in (2, 4)
    ]
    assert sum("out of memory" in line for line in warnings_told) == 2
    assert manifest(run.folder)["status"] == "completed"
    for promised in (run.results["environment"], manifest(run.folder)):
        assert "not identical numbers (steps were divided" in promised["reproducibility"]


def test_a_step_that_is_foreseen_not_to_fit_is_divided_and_the_results_tell(
    train_small: TrainSmall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many images fit depends on what else the machine does; the promise of identical bits stood."""
    monkeypatch.setattr(memory, "images_at_once", lambda *_, **__: 4)
    run = train_small()
    assert any(note.startswith("memory: steps were divided into 4 images at a time") for note in run.results["notes"])
    assert "not identical numbers (steps were divided" in manifest(run.folder)["reproducibility"]
