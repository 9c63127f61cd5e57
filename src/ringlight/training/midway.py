"""A training stopped in the middle of an epoch, and gone on with from there as if nothing had happened.

`midway.ckpt` lies beside `last.ckpt` and holds what that one needs not, as it is written where an epoch ends: how many
batches of the epoch are behind, the sum of their losses, gradients that are being added up, the random state. It is a
file of its own because `last.ckpt` is a whole epoch: its weights may be judged and kept, and a cancelled run is left
with it. It goes when the epoch's end is written, or the run is cancelled.

What the middle of an epoch consists of besides is a function of the seed, the epoch and the step or the record (the
order, augmentation, mixing), or in every checkpoint (weights, optimiser, schedules, averages, history, patience).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, WeightAveraging

from ringlight.training.checkpoint_files import MIDWAY
from ringlight.training.judged_weights import SlowWeights
from ringlight.training.loss_sum import LossSum
from ringlight.training.task import ClassificationTask

KEY = "midway"
"""Where a checkpoint holds what only one from the middle of an epoch has."""


class Midway(Callback):
    """Writes a checkpoint between two steps of an epoch into `folder`, and puts a training back there.

    Args:
        folder: of the checkpoints.
        every: minutes after which one is due though nobody has stopped the run: an epoch may last hours; None never.
        clock: seconds that only go up.
    """

    def __init__(
        self, folder: Path, *, every: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.folder = folder
        self._every = every
        self._clock = clock
        self._written = clock()
        self._writing = False
        self._found: dict[str, Any] | None = None

    def write(self, trainer: Trainer, task: LightningModule) -> None:
        """Write `midway.ckpt` whole: after a step, or from within a validation, which is then gone through again.

        To be called when all other callbacks have seen the step. A validation cannot be gone on with afterwards.

        Raises:
            WorkspaceError: the disk is full or the folder cannot be written.
        """
        if trainer.validating:  # the model holds the weights that are judged; training goes on with the others
            for callback in trainer.callbacks:  # type: ignore[attr-defined]  # a list that Lightning's types leave out
                if isinstance(callback, WeightAveraging | SlowWeights):
                    callback.on_validation_epoch_end(trainer, task)
        self._writing = True
        try:
            trainer.save_checkpoint(self.folder / MIDWAY)
        finally:
            self._writing = False

    def write_if_due(self, trainer: Trainer, task: LightningModule) -> None:
        """Write it where neither it nor the end of an epoch was written for so long.

        Raises:
            WorkspaceError: the disk is full or the folder cannot be written.
        """
        if self._every is not None and self._clock() - self._written >= 60 * self._every:
            self.write(trainer, task)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what a checkpoint needs that is not written where an epoch ends."""
        self._written = self._clock()
        if not self._writing:
            return
        done = _stand_between_steps(
            checkpoint["loops"]["fit_loop"], int(trainer.num_training_batches), trainer.global_step
        )
        adding_up = done < trainer.num_training_batches and done % trainer.accumulate_grad_batches
        losses = _of(pl_module).losses
        checkpoint[KEY] = {
            "loss_total": losses.total,
            "loss_images": losses.images,
            "gradients": _gradients(pl_module) if adding_up else {},
            "random": random_state(),
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        """Remember it until the training starts."""
        self._found = checkpoint.get(KEY)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Begin the epoch as usual, then stand where it was left."""
        found, self._found = self._found, None
        if found is None:
            return
        task = _of(pl_module)
        task.on_train_epoch_start()  # Lightning leaves it out in the middle of an epoch
        total = found["loss_total"]
        task.losses = LossSum(None if total is None else total.to(task.device), found["loss_images"])
        for name, parameter in task.named_parameters():
            if name in found["gradients"]:
                parameter.grad = found["gradients"][name].to(parameter.device)
        set_random_state(found["random"])


def _of(module: LightningModule) -> ClassificationTask:
    if not isinstance(module, ClassificationTask):
        raise TypeError(f"Midway follows a ClassificationTask, not a {type(module).__name__}")
    return module


def _stand_between_steps(fit_loop: dict[str, Any], num_batches: int, num_updates: int) -> int:
    """Correct the counts of Lightning's loops, and return how many batches of the epoch are behind.

    Lightning counts a step as complete after its hooks. Behind the last step of an epoch it would leave the validation
    out when it is started again; it goes through one that was begun and of which nothing is done.
    """
    batches = fit_loop["epoch_loop.batch_progress"]
    for count in (batches["total"], batches["current"]):
        count["completed"] = count["processed"]
    done = int(batches["current"]["ready"])
    fit_loop["epoch_loop.state_dict"]["_batches_that_stepped"] = num_updates - (done >= num_batches)
    if done >= num_batches:
        validation = fit_loop["epoch_loop.val_loop.batch_progress"]
        validation["total"] = {"ready": 1, "completed": 0, "started": 1, "processed": 0}
        validation["current"] = {"ready": 0, "completed": 0, "started": 0, "processed": 0}
        validation["is_last_batch"] = False
    return done


def _gradients(module: LightningModule) -> dict[str, torch.Tensor]:
    return {name: one.grad for name, one in module.named_parameters() if one.grad is not None}


def random_state() -> dict[str, Any]:
    """Return the global random states of Python, NumPy and torch, of GPUs as well, as plain values and tensors."""
    name, keys, place, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (name, np.asarray(keys).tolist(), int(place), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put the global random states back; those of GPUs only where there are as many."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, place, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.array(keys, np.uint32), place, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([one.cpu() for one in state["cuda"]])
