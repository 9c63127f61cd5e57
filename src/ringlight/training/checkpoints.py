"""Checkpoints of a training: `last.ckpt` to go on from, `best_epoch042_macro_f1_0.89.ckpt` to judge; each whole.

A training that was stopped in the middle of an epoch goes on from `midway.ckpt` (:mod:`ringlight.training.midway`).
Where weights are averaged, each has the averaged ones beside it: `last_ema.safetensors`, ready for `load_state_dict`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from ringlight.evaluation.metrics import monitor_mode
from ringlight.files import whole_file
from ringlight.training.checkpoint_files import LAST, MIDWAY
from ringlight.training.task import ClassificationTask

SNAPSHOT = "_ema.safetensors"
_LONGEST_NAME = 60


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary name and renames it, so that a crash never leaves half of one.

    Averaged weights are in the checkpoint beside those of the training, which a restart needs; with `ema_snapshots`
    they are written as a file of their own, too: `last_ema.safetensors` beside `last.ckpt`, with the model's own names.
    """

    def __init__(self, *, ema_snapshots: bool = False) -> None:
        super().__init__()
        self.ema_snapshots = ema_snapshots

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:  # noqa: ARG002
        """Write the checkpoint whole.

        Raises:
            WorkspaceError: the disk is full or the folder cannot be written.
        """
        if self.ema_snapshots and "averaging_state" in checkpoint and Path(path).name != MIDWAY:
            _write_snapshot(checkpoint["state_dict"], snapshot_of(Path(path)))  # first: the checkpoint is what counts
        with whole_file(Path(path)) as part, part.open("wb") as stream:
            try:
                torch.save(checkpoint, stream)
            except RuntimeError as error:  # torch's zip writer hides the failed write behind an error of its own
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from error
                raise


class Keeper(Checkpoint):
    """Keeps the last state and the one that scored best in `monitor` (None: the last one only).

    Lightning's own `ModelCheckpoint` forgets its best when the run folder was moved, reads braces and colons in a
    metric's name as formatting, and removes the superseded best before the last state knows of the new one. Here names
    are relative to `folder`, and an old file goes only when nothing refers to it any more. `mode` says which way the
    metric is better; None knows it by its name.
    """

    def __init__(self, folder: Path, monitor: str | None, mode: Literal["min", "max"] | None = None) -> None:
        self.folder = folder
        self.monitor = monitor
        self.mode = mode
        self.best: str | None = None
        self.score: float | None = None

    @property
    def path(self) -> Path:
        """The checkpoint whose weights count: the best one, or the last where no epoch had a score."""
        return self.folder / (self.best or LAST)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Remove what a process that was killed in the middle of a write has left."""
        for pattern in (".*.ckpt.*.part", f".*{SNAPSHOT}.*.part"):
            for litter in self.folder.glob(pattern):
                litter.unlink(missing_ok=True)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the epoch's state once; when it is the best one, under both names."""
        if not isinstance(pl_module, ClassificationTask):
            raise TypeError(f"Keeper follows a ClassificationTask, not a {type(pl_module).__name__}")
        score = pl_module.epoch_metrics.get(f"val/{self.monitor}")
        if score is None or not self._improves(score):
            trainer.save_checkpoint(self.folder / LAST)
        else:
            self.best, self.score = best_name(trainer.current_epoch, str(self.monitor), score), score
            trainer.save_checkpoint(self.folder / self.best)
            best, last = self.folder / self.best, self.folder / LAST
            if snapshot_of(best).exists():
                _second_name(snapshot_of(best), snapshot_of(last))
            _second_name(best, last)
        kept = [] if self.best is None else [self.best, snapshot_of(Path(self.best)).name]
        for pattern in ("best_epoch*.ckpt", f"best_epoch*{SNAPSHOT}"):
            for superseded in self.folder.glob(pattern):
                if superseded.name not in kept:
                    superseded.unlink(missing_ok=True)
        (self.folder / MIDWAY).unlink(missing_ok=True)  # it is of this epoch, which is written whole

    def _improves(self, score: float) -> bool:
        if self.score is None:
            return True
        mode = self.mode or monitor_mode(str(self.monitor))
        return score < self.score if mode == "min" else score > self.score

    def state_dict(self) -> dict[str, Any]:
        """Remember the best in the checkpoint."""
        return {"best": self.best, "score": self.score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it back."""
        self.best, self.score = state_dict["best"], state_dict["score"]


def best_name(epoch: int, monitor: str, score: float) -> str:
    """Return the file name of a best checkpoint; whatever a file system or shell might object to becomes `_`.

    Examples:
        >>> best_name(42, "macro_f1", 0.8912), best_name(3, "recall/Kratzer: {a}", 1.0)
        ('best_epoch042_macro_f1_0.89.ckpt', 'best_epoch003_recall_Kratzer___a__1.00.ckpt')
    """
    safe = "".join(letter if letter.isalnum() else "_" for letter in monitor)[:_LONGEST_NAME]
    return f"best_epoch{epoch:03d}_{safe}_{score:.2f}.ckpt"


def snapshot_of(checkpoint: Path) -> Path:
    """Return where the averaged weights of a checkpoint lie as a file of their own.

    Examples:
        >>> snapshot_of(Path("last.ckpt")).name
        'last_ema.safetensors'
    """
    return checkpoint.with_name(checkpoint.stem + SNAPSHOT)


def _write_snapshot(state: Mapping[str, torch.Tensor], path: Path) -> None:
    from safetensors.torch import save

    prefix = "module."  # of the model in the task: what remains are the model's own names
    weights = {
        name.removeprefix(prefix): tensor.detach().cpu().contiguous().clone()
        for name, tensor in state.items()
        if name.startswith(prefix)
    }
    with whole_file(path) as part:
        part.write_bytes(save(weights, metadata={"format": "pt"}))


def _second_name(source: Path, target: Path) -> None:
    """Let `target` be the same file as `source`; a copy on file systems without hard links."""
    with whole_file(target) as part:
        part.unlink()
        try:
            os.link(source, part)
        except OSError:
            shutil.copyfile(source, part)
