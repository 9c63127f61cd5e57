"""A run is paused, gone on with, cancelled: what its folder holds, how it stands, and that nothing else changes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from ringlight.errors import InterruptedRunError, RunError
from ringlight.services import runs
from ringlight.services.runs import Run
from ringlight.training.checkpoint_files import LAST, MIDWAY
from ringlight.training.trackers import QuietTracker
from ringlight.types import Signal

TrainSmall = Callable[..., Run]


class SaysAt:
    """A control that says `answer` at its heartbeat number `beat`; a cancelled run keeps its checkpoint if asked."""

    def __init__(self, beat: int, answer: Signal, *, keep_checkpoint: bool = False) -> None:
        self.left = beat
        self.answer = answer
        self.keep_checkpoint = keep_checkpoint
        self.heard: list[Mapping[str, float]] = []

    def heartbeat(self, progress: Mapping[str, float]) -> Signal:
        self.heard.append(dict(progress))
        self.left -= 1
        return self.answer if self.left == 0 else "go"


class Statuses(QuietTracker):
    def __init__(self) -> None:
        self.told: list[str] = []

    def set_status(self, status: str) -> None:
        self.told.append(status)


def only_run(workspace: Path) -> Path:
    (folder,) = (workspace / "runs").iterdir()
    return folder


def litter(folder: Path) -> list[str]:
    """Return what only a run that is not whole has."""
    return [path.name for path in folder.rglob("*") if path.name.endswith(".part") or path.name == MIDWAY]


def test_a_paused_run_goes_on_within_its_epoch_to_the_same_end(
    train_small: TrainSmall, finished: Run, tmp_path: Path
) -> None:
    """Two epochs of four steps and a validation; a pause once cost what had been trained since the epoch began."""
    statuses, control = Statuses(), SaysAt(3, "pause")
    with pytest.raises(InterruptedRunError, match=r"got `pause` in epoch 1 of 2; .*--resume") as caught:
        train_small(control=control, trackers=[statuses])
    assert caught.value.signal == "pause"
    assert len(control.heard) == 3, "it takes effect within the step"
    folder = only_run(tmp_path / "workspace")
    assert runs.read_manifest(folder)["status"] == statuses.told[-1] == "paused"
    assert [path.name for path in (folder / "checkpoints").iterdir()] == [MIDWAY]

    again = SaysAt(6, "pause")
    with pytest.raises(InterruptedRunError):
        runs.resume(folder, control=again)
    first = again.heard[0]
    assert (first["epoch"], first["step"]) == (0, 4), "the three steps before the pause are not trained again"
    assert first["elapsed"] > control.heard[-1]["elapsed"], "the time worked before the pause counts"
    assert torch.load(folder / "checkpoints" / MIDWAY, weights_only=True)["epoch"] == 1

    resumed = runs.resume(folder)
    assert litter(folder) == []
    assert resumed.results["history"] == finished.results["history"]
    assert resumed.results["test"] == finished.results["test"]
    assert (folder / "history.csv").read_bytes() == (finished.folder / "history.csv").read_bytes()
    weights = [run.bundle / "model.safetensors" for run in (resumed, finished)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    names = [sorted(path.name for path in (run.folder / "checkpoints").iterdir()) for run in (resumed, finished)]
    assert names[0] == names[1]


def test_a_cancelled_run_leaves_nothing_to_go_on_from(train_small: TrainSmall, tmp_path: Path) -> None:
    statuses = Statuses()
    with pytest.raises(InterruptedRunError, match="got `cancel` in epoch 2 of 2; nothing is left to go on from; start"):
        train_small(control=SaysAt(7, "cancel"), trackers=[statuses])
    folder = only_run(tmp_path / "workspace")
    manifest = runs.read_manifest(folder)
    assert manifest["status"] == statuses.told[-1] == "cancelled"
    assert "got `cancel` in epoch 2 of 2" in manifest["error"]
    assert litter(folder) == []
    assert not (folder / "checkpoints").exists()
    assert (folder / "history.csv").is_file(), "what is known of it stays"
    with pytest.raises(
        RunError, match=r"got a cancelled one, whose checkpoints were removed; start a new one with ringlight train"
    ):
        runs.resume(folder)


def test_a_run_cancelled_after_a_pause_keeps_its_last_whole_epoch_when_asked(
    train_small: TrainSmall, finished: Run, tmp_path: Path
) -> None:
    with pytest.raises(InterruptedRunError):
        train_small(control=SaysAt(7, "pause"))
    folder = only_run(tmp_path / "workspace")
    assert (folder / "checkpoints" / MIDWAY).is_file()
    with pytest.raises(InterruptedRunError, match=r"got `cancel` in epoch 2 of 2; .*--resume"):
        runs.resume(folder, control=SaysAt(1, "cancel", keep_checkpoint=True))
    assert litter(folder) == []
    assert torch.load(folder / "checkpoints" / LAST, weights_only=True)["epoch"] == 0
    assert runs.read_manifest(folder)["status"] == "cancelled"
    assert runs.resume(folder).results["history"] == finished.results["history"]


@pytest.mark.slow
def test_runs_that_are_killed_ten_times_end_like_one_left_alone() -> None:
    """Power cuts ask nobody: kill -9 while it trains, is judged or writes; `make bench` does it a hundred times."""
    script = Path(__file__).parents[2] / "benchmarks" / "kill_resume.py"
    ended = subprocess.run([sys.executable, str(script), "10", "5"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "killed 10 times, ended like one left alone" in ended.stdout
