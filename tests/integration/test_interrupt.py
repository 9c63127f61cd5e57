"""What a run leaves when it ends badly: Ctrl-C, a full disk, a loss that is not finite. (Killed: test_pause.py.)"""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import pytest
import torch

from ringlight.cli.main import main
from ringlight.errors import InterruptedRunError, TrainingError, WorkspaceError
from ringlight.services import runs
from ringlight.services.runs import Run
from ringlight.training import callbacks, checkpoints
from ringlight.types import Signal

TrainSmall = Callable[..., Run]


class PressCtrlC:
    """A control at whose heartbeat the user presses Ctrl-C: one a step, one a batch of the validation."""

    def __init__(self, step: int) -> None:
        self.left = step

    def heartbeat(self, progress: Mapping[str, float]) -> Signal:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return "go"


def only_run(workspace: Path) -> Path:
    (folder,) = (workspace / "runs").iterdir()
    return folder


def status(folder: Path) -> str:
    return str(json.loads((folder / "manifest.json").read_text())["status"])


def no_litter(folder: Path) -> bool:
    return not [path for path in folder.rglob("*") if path.name.endswith(".part")]


def test_ctrl_c_in_mid_epoch_marks_the_run_and_leaves_a_whole_checkpoint(
    train_small: TrainSmall, tmp_path: Path
) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(
        InterruptedRunError, match=r"got Ctrl-C in epoch 2 of 2; its last checkpoint is whole: .*--resume"
    ):
        train_small(control=PressCtrlC(6))
    assert signal.getsignal(signal.SIGINT) is before
    folder = only_run(tmp_path / "workspace")
    assert status(folder) == "interrupted"
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 0
    assert (folder / "checkpoints" / "midway.ckpt").is_file()
    assert not (folder / "results.json").exists()
    assert not (folder / "bundle").exists()
    assert no_litter(folder)
    assert runs.resume(folder).results["history"][-1]["epoch"] == 1
    assert status(folder) == "completed"


def test_ctrl_c_on_the_command_line_ends_with_130(
    small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    heartbeat = callbacks.Heartbeat.on_train_batch_end
    control = PressCtrlC(2)

    def pressed(self: callbacks.Heartbeat, *arguments: object, **named: object) -> None:
        control.heartbeat({})
        heartbeat(self, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(callbacks.Heartbeat, "on_train_batch_end", pressed)
    assert main(["train", "demo", *small, "--workspace", str(tmp_path)]) == 130
    assert "got Ctrl-C in epoch 1 of 2" in capsys.readouterr().err.splitlines()[-1]


def test_a_full_disk_at_the_checkpoint_is_one_line_and_leaves_no_half_file(
    train_small: TrainSmall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(checkpoint: object, stream: IO[bytes]) -> None:
        stream.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints.torch, "save", full)
    with pytest.raises(
        WorkspaceError, match=r"expected room on the disk, got No space left on device; free some space"
    ):
        train_small()
    folder = only_run(tmp_path / "workspace")
    assert status(folder) == "failed"
    assert list((folder / "checkpoints").iterdir()) == []
    assert no_litter(folder)


def test_a_loss_that_is_not_finite_stops_with_the_next_step(train_small: TrainSmall, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"expected a finite loss, got (nan|inf|-inf); lower optimizer.lr"):
        train_small(
            "optimizer.name=sgd", "optimizer.lr=1.0e+30", "scheduler.name=constant", "scheduler.warmup_epochs=0"
        )
    folder = only_run(tmp_path / "workspace")
    assert status(folder) == "failed"
    assert not (folder / "bundle").exists()


def test_a_run_interrupted_while_it_is_judged_resumes_to_the_same_result(
    train_small: TrainSmall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had stopped early; going on for an epoch would have given other weights than the uninterrupted run."""
    stops = (
        "training.num_epochs=4",
        "training.early_stopping_patience=1",
        "optimizer.lr=1.0e-9",
        "scheduler.name=constant",
    )
    whole = train_small(*stops, workspace="whole")
    assert len(whole.results["history"]) < 4

    def ctrl_c(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ringlight.training.fit.judge", ctrl_c)
        with pytest.raises(InterruptedRunError, match="got Ctrl-C; go on with ringlight train --resume"):
            train_small(*stops)
    folder = only_run(tmp_path / "workspace")
    assert status(folder) == "interrupted"
    resumed = runs.resume(folder)
    assert resumed.results["history"] == whole.results["history"]
    assert (resumed.bundle / "model.safetensors").read_bytes() == (whole.bundle / "model.safetensors").read_bytes()
    assert status(folder) == "completed"


def test_a_run_folder_that_was_moved_resumes_to_its_best(train_small: TrainSmall, tmp_path: Path) -> None:
    whole = train_small(workspace="whole")
    with pytest.raises(InterruptedRunError):
        train_small(control=PressCtrlC(5))
    moved = tmp_path / "elsewhere"
    only_run(tmp_path / "workspace").rename(moved)
    resumed = runs.resume(moved)
    assert (resumed.bundle / "model.safetensors").read_bytes() == (whole.bundle / "model.safetensors").read_bytes()
    names = sorted(path.name for path in (moved / "checkpoints").iterdir())
    assert names == sorted(path.name for path in (whole.folder / "checkpoints").iterdir())
