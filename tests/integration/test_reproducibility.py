"""The same configuration gives the same bits, run again, resumed, or with other loader processes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from safetensors.torch import load_file

from ringlight.errors import InterruptedRunError, RunError
from ringlight.services import runs
from ringlight.services.runs import Run
from ringlight.types import Signal

TrainSmall = Callable[..., Run]


def assert_same(first: Run, second: Run) -> None:
    assert first.results["history"] == second.results["history"]
    assert (first.folder / "history.csv").read_bytes() == (second.folder / "history.csv").read_bytes()
    weights = [load_file(run.bundle / "model.safetensors") for run in (first, second)]
    for name, tensor in weights[0].items():
        assert tensor.equal(weights[1][name]), name
    assert first.results["test"] == second.results["test"]


class StopAt:
    """A control that pauses after a number of steps."""

    def __init__(self, step: int) -> None:
        self.left = step

    def heartbeat(self, progress: Mapping[str, float]) -> Signal:
        self.left -= 1
        return "go" if self.left > 0 else "pause"


def test_the_written_configuration_runs_again_to_the_same_bits(train_small: TrainSmall, tmp_path: Path) -> None:
    first = train_small("model.drop_rate=0.2")
    again = runs.train(None, file=first.folder / "config.yaml", workspace=tmp_path / "again")
    assert_same(first, again)


def test_loader_processes_change_nothing(train_small: TrainSmall) -> None:
    assert_same(train_small("data.num_workers=0"), train_small("data.num_workers=2"))


def test_another_seed_gives_another_run(train_small: TrainSmall, finished: Run) -> None:
    other = train_small("experiment.seed=7")
    assert other.results["history"] != finished.results["history"]


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.drop_rate=0.3"],
        ["training.ema_decay=0.9", "training.early_stopping_patience=2"],
        ["scheduler.name=plateau", "scheduler.patience=1", "optimizer.name=sgd", "optimizer.momentum=0.9"],
        ["training.accumulate_steps=2", "training.gradient_clip_norm=1.0", "scheduler.name=one_cycle"],
    ],
    ids=["dropout", "ema-early-stopping", "plateau-momentum", "accumulate-clip-one-cycle"],
)
def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(
    train_small: TrainSmall, tmp_path: Path, overrides: list[str]
) -> None:
    """Peers resume to other numbers: their dropout, schedule or averaged weights started anew."""
    overrides = [*overrides, "training.num_epochs=3"]
    whole = train_small(*overrides)
    with pytest.raises(InterruptedRunError):
        train_small(
            *overrides, workspace="stopped", control=StopAt(6)
        )  # in the second epoch of four steps and a validation
    folder = next((tmp_path / "stopped" / "runs").iterdir())
    assert_same(whole, runs.resume(folder))


def test_a_run_stopped_in_its_first_epoch_goes_on_by_the_beginning_of_its_name(
    train_small: TrainSmall, tmp_path: Path
) -> None:
    with pytest.raises(InterruptedRunError):
        train_small(workspace="stopped", control=StopAt(2))
    folder = next((tmp_path / "stopped" / "runs").iterdir())
    assert not (folder / "checkpoints" / "last.ckpt").exists()
    assert_same(train_small(), runs.resume(folder.name[:-2], workspace=tmp_path / "stopped"))


def test_a_finished_run_and_changed_data_are_not_resumed(
    train_small: TrainSmall, finished: Run, shared_root: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=r"expected an interrupted run, got a completed one"):
        runs.resume(finished.folder)
    with pytest.raises(RunError, match=r"expected a run folder, or the beginning of the name of one run"):
        runs.resume("no-such-run", workspace=tmp_path)
    folder = tmp_path / "copy"
    shutil.copytree(finished.folder, folder)
    manifest = (folder / "manifest.json").read_text()
    fingerprint = finished.results["dataset"]["fingerprint"]
    (folder / "manifest.json").write_text(manifest.replace("completed", "interrupted").replace(fingerprint, "0" * 64))
    with pytest.raises(RunError, match=r"expected the data of the run \(fingerprint 000000000000\)"):
        runs.resume(folder)
