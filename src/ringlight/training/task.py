"""The Lightning side of a classifier: one step, one validation pass, exact restarts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from ringlight.evaluation.custom_metrics import Metric, measured
from ringlight.evaluation.metrics import classification_metrics, flatten
from ringlight.optim import Schedule
from ringlight.runtime import seed_everything
from ringlight.training.chunks import (
    SetAsideGradients,
    StepDowns,
    backward_in_chunks,
    forward_in_chunks,
    num_processes,
    out_of_memory,
)
from ringlight.training.device_input import DeviceInput
from ringlight.training.loss_sum import LossSum
from ringlight.training.mixing import Mixer
from ringlight.training.objectives import Objective, Plain, Progressive
from ringlight.training.sharpness import Sharpness, back_on_failure
from ringlight.training.step_faults import batch_not_divisible, lone_record_told, loss_not_finite
from ringlight.types import Batch, Prediction, Task

LOSS_CHECK_EVERY = 50
"""Steps between two looks at the loss: each look waits for the device."""


class ClassificationTask(LightningModule):
    """Trains `module` (B, C, H, W) -> (B, K) with `criterion`, and scores it on the validation part after every epoch.

    `objective` says how a step's loss comes about; by default it is criterion(module(inputs), targets). Where the
    criterion needs more than logits and targets, `val_criterion` tells the loss of the validation part.

    The global random state is set from (seed, epoch) when an epoch starts, so that dropout and its like continue after
    a restart as if nothing had happened.

    A step that runs out of memory is repeated in chunks (:mod:`ringlight.training.chunks`). To be able to, the task
    keeps the loss to itself and hands Lightning a 1 in its place: what comes back to :meth:`backward` is that 1 times
    everything a loss is multiplied with. Lightning would keep the graph of a real loss alive, and with it the memory.

    `device_input` turns batches of bytes into input, where the loader delivers such. `images_at_once` divides steps
    from the start, where it was foreseen that a whole batch does not fit
    (:func:`ringlight.training.memory.images_at_once`).

    `mixer` mixes the records of a training batch before anything else happens to it, so that the chunks of a step are
    chunks of the mixture, whose weight they share.

    `sharpness` takes the weights up to the worst point near them before every batch's own pass, and back after it
    (:mod:`ringlight.training.sharpness`); both passes see the same blend.

    `metrics` are computed on the validation part beside those of every run; `watched` are those that are followed
    beside `monitor`, by early stopping.
    """

    def __init__(
        self,
        module: nn.Module,
        criterion: nn.Module,
        *,
        classes: tuple[str, ...],
        task: Task,
        seed: int,
        optimizer: Callable[[nn.Module], torch.optim.Optimizer],
        schedule: Callable[[torch.optim.Optimizer], Schedule],
        monitor: str | None,
        device_input: DeviceInput | None = None,
        images_at_once: int | None = None,
        mixer: Mixer | None = None,
        objective: Objective | None = None,
        val_criterion: nn.Module | None = None,
        sharpness: Sharpness | None = None,
        metrics: Mapping[str, Metric] = MappingProxyType({}),
        watched: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.module = module
        self.criterion = criterion
        self.classes = classes
        self.task = task
        self.seed = seed
        self.monitor = monitor
        self.device_input = device_input
        self.mixer = mixer
        self.objective = Plain() if objective is None else objective
        self.val_criterion = val_criterion
        self.sharpness = sharpness
        self.metrics = dict(metrics)  # a mapping that copies: averaged weights copy the whole task
        self.watched = tuple(watched)
        self._mix_weight: float | None = None
        self._make_optimizer = optimizer
        self._make_schedule = schedule
        self._plateau: Any = None
        self._plateau_state: dict[str, Any] | None = None
        self.losses = LossSum()
        self._batch: Batch | None = None
        self._loss: Tensor | None = None
        self._step = 0
        self._memory = StepDowns()
        self._memory.limit = images_at_once
        self._scoring = StepDowns("validation")
        self._scores: list[tuple[Tensor, Tensor]] = []
        self.epoch_metrics: dict[str, float] = {}
        self.validation: Prediction | None = None

    def configure_optimizers(self) -> Any:
        """Build optimiser and schedule; a schedule that watches a metric is stepped here, not by Lightning.

        Lightning steps epoch-wise schedules after the checkpoint of the epoch was written; a restart would then lose
        that step.
        """
        optimizer = self._make_optimizer(self.module)
        schedule = self._make_schedule(optimizer)
        if schedule.interval == "step":
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule.scheduler, "interval": "step"}}
        self._plateau = schedule
        if self._plateau_state is not None:
            schedule.scheduler.load_state_dict(self._plateau_state)
        return optimizer

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the state of an epoch-wise schedule, and how much fits in memory."""
        checkpoint["step_downs"] = self._memory.state()
        if self._plateau is not None:
            checkpoint["epoch_schedule"] = self._plateau.scheduler.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember the state of an epoch-wise schedule until it is built, and how much fits in memory."""
        if "step_downs" in checkpoint:  # a run that an older version began has none
            self._memory.load(checkpoint["step_downs"])
        self._plateau_state = checkpoint.get("epoch_schedule")

    def on_train_epoch_start(self) -> None:
        """Set the random state of this epoch, start its sums, tell a loss that changes in the run how far it is."""
        seed_everything(self.seed, self.current_epoch)
        if isinstance(self.criterion, Progressive):
            self.criterion.set_progress(self.current_epoch, int(self.trainer.max_epochs or 1))
        self.losses = LossSum(torch.zeros((), device=self.device))
        self.epoch_metrics = {}

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move pictures and targets; rows and copies stay, as they are read on the CPU: a step would wait for them."""
        moved = {key: batch[key] for key in ("input", "target")}
        return {**batch, **super().transfer_batch_to_device(moved, device, dataloader_idx)}

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:  # noqa: ARG002 - Lightning passes it
        """Turn bytes into the model's input, augmented in training; a batch that is input already passes."""
        if self.device_input is None:
            return batch
        return self.device_input(batch, epoch=self.current_epoch, training=self.trainer.training, device=self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the batch's loss, unless it is known not to fit in memory, and return what stands in for it.

        Raises:
            TrainingError: the loss is NaN or infinite, or batch normalisation met a batch of one record.
        """
        batch = self._mixed(batch, batch_idx)
        self._batch, self._loss, self._step = batch, None, batch_idx
        with back_on_failure(self.sharpness):
            if self.sharpness is not None:
                self._climb(self.sharpness, batch["input"], batch["target"])
            self._pass(batch)
        return torch.ones((), device=self.device, requires_grad=True)

    def _climb(self, sharpness: Sharpness, images: Tensor, targets: Tensor) -> None:
        """Take the weights up by the batch's gradient, in as many chunks as memory demands."""

        def attempt() -> None:
            chunks = self._memory.chunks(len(images))
            sharpness.climb_in(self, self._loss_of, images, targets, chunks=chunks, reduction=self._reduction)

        while (reason := out_of_memory(attempt)) is not None:
            self._lower(reason)

    def on_after_backward(self) -> None:
        """Put the weights back that were taken up, before gradients are clipped and the optimiser steps."""
        if self.sharpness is not None:
            self.sharpness.back()

    def _pass(self, batch: Batch) -> None:
        """Compute the batch's loss, unless it is known not to fit in memory."""
        computed: list[Tensor] = []

        def attempt() -> None:
            computed.append(self._loss_of(batch["input"], batch["target"]))

        if self._memory.chunks(len(batch["input"])) == 1 and (reason := out_of_memory(attempt)) is not None:
            self._lower(reason)
        if computed:
            self._loss = computed[0]
            self._check(self._loss.detach())

    def _mixed(self, batch: Batch, step: int) -> Batch:
        """Return the batch mixed, its targets in pairs (B, 2, ...), where there is a mixer; else as it is."""
        if self.mixer is None:
            return batch
        mixed = self.mixer.mix(batch["input"], batch["target"], epoch=self.current_epoch, step=step)
        self._mix_weight = mixed.weight
        return {**batch, "input": mixed.inputs, "target": mixed.targets}

    def _loss_of(self, images: Tensor, targets: Tensor) -> Tensor:
        size = len(images) if self._batch is None else len(self._batch["input"])
        with lone_record_told(size, where=self._where):
            if self._mix_weight is not None:
                return self.objective.mixed(self.module, self.criterion, images, targets, self._mix_weight)
            return self.objective.loss(self.module, self.criterion, images, targets)

    def backward(self, loss: Tensor, *_: Any, **__: Any) -> None:
        """Add the step's gradient to the parameters; when memory runs out, again in chunks, until they fit.

        `loss` is the 1 of :meth:`training_step`, scaled.

        Raises:
            TrainingError: one image alone does not fit, or is too few for batch normalisation; or the loss is NaN or
                infinite.
        """
        sharpness, batch, done = self.sharpness, self._batch, list[Tensor]()
        scale = loss.detach() if sharpness is None else loss.detach() * sharpness.factor

        def attempt() -> None:
            done.append(self._whole(scale) if self._loss is not None else self._chunked(scale))

        with back_on_failure(self.sharpness):
            while not done:
                # Between several processes gradients are averaged as they are added up: setting them aside would
                # leave those of earlier batches out.
                held = SetAsideGradients(self.parameters() if num_processes() == 1 else ())
                reason = out_of_memory(attempt)
                if reason is None:
                    held.add_up()
                else:
                    held.put_back()
                    self._lower(reason)
        size = 0 if batch is None else len(batch["input"])
        mean = done[0] if sharpness is None or sharpness.loss is None else sharpness.loss
        self.losses.add(mean, size)
        self._batch = None

    def _whole(self, scale: Tensor) -> Tensor:
        """Go backward through the loss at hand and let go of it, whatever happens: its graph holds the memory."""
        live, self._loss = self._loss, None
        if live is None:
            raise RuntimeError("backward was called without a training step")
        detached = live.detach()
        torch.autograd.backward(live, scale.to(live.dtype))
        return detached

    def _chunked(self, scale: Tensor) -> Tensor:
        if self._batch is None:
            raise RuntimeError("backward was called without a training step")
        images, targets = self._batch["input"], self._batch["target"]
        loss = backward_in_chunks(
            self._loss_of,
            images,
            targets,
            chunks=self._memory.chunks(len(images)),
            scale=scale,
            context=self.trainer.precision_plugin.train_step_context,
            reduction=self._reduction,
        )
        self._check(loss)
        return loss

    @property
    def _where(self) -> str:
        return f"training, epoch {self.current_epoch}, step {self._step}"

    @property
    def _reduction(self) -> str:
        return str(getattr(self.criterion, "reduction", "mean"))

    def _lower(self, reason: str) -> None:
        if not self.objective.divisible:
            raise batch_not_divisible(reason, where=self._where)
        if self._batch is not None:
            self._memory.lower(len(self._batch["input"]), epoch=self.current_epoch, step=self._step, reason=reason)

    @property
    def step_downs(self) -> list[dict[str, int]]:
        """When a step had to be divided for want of memory: `{"epoch", "step", "chunks"}`, in order; mostly none."""
        return self._memory.events

    def _check(self, loss: Tensor) -> None:
        if self._step % LOSS_CHECK_EVERY == 0 and not torch.isfinite(loss):
            self._refuse_loss(float(loss))

    def _refuse_loss(self, value: float) -> None:
        raise loss_not_finite(value, epoch=self.current_epoch)

    def on_validation_epoch_start(self) -> None:
        """Forget the scores of the last pass."""
        self._scores = []

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect raw scores and truth."""
        images = batch["input"]
        logits = forward_in_chunks(self.module, images, self._scoring, epoch=self.current_epoch, step=batch_idx)
        self._scores.append((logits.float(), batch["target"]))

    def on_validation_epoch_end(self) -> None:
        """Score the whole validation part at once; averages of batch scores would not be the scores."""
        scored = torch.cat([logits for logits, _ in self._scores])
        targets = torch.cat([targets for _, targets in self._scores])
        judge = self.criterion if self.val_criterion is None else self.val_criterion
        loss, logits = float(judge(scored, targets)), scored.cpu()
        if not (np.isfinite(loss) and bool(torch.isfinite(logits).all())):
            self._refuse_loss(loss)
        self._scores = []
        truth = targets.cpu().numpy().astype(np.int64)
        self.validation = Prediction([], logits.numpy(), self.classes, self.task, truth)
        metrics = classification_metrics(truth, self.validation.probabilities, self.classes, self.task)
        scores = {"loss": loss, **flatten(metrics), **measured(self.metrics, truth, self.validation.probabilities)}
        self.epoch_metrics |= {f"val/{name}": value for name, value in scores.items()}
        if self.monitor is not None:  # NaN where it is undefined: a validation part without examples of a class
            for name in dict.fromkeys((self.monitor, *self.watched)):
                self.log(f"val/{name}", scores.get(name, float("nan")), batch_size=len(logits))

    def on_train_epoch_end(self) -> None:
        """Step a schedule that goes by epochs or by the monitored metric."""
        if self._plateau is None:
            return
        if self._plateau.needs_metric:
            name = self._plateau.monitor or self.monitor
            undefined = float("nan")  # no better than before; never to be compared with a loss
            self._plateau.scheduler.step(
                self.epoch_metrics.get(f"val/{name}", undefined) if self.epoch_metrics else self.train_loss
            )
        else:
            self._plateau.scheduler.step()

    @property
    def train_loss(self) -> float:
        """Mean training loss of the epoch so far, per image."""
        loss = self.losses.mean
        if self.losses.images and not np.isfinite(loss):
            self._refuse_loss(loss)
        return loss
