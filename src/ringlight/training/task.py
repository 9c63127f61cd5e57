"""The Lightning side of a classifier: one step, one validation pass, exact restarts at epoch boundaries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from ringlight.errors import TrainingError
from ringlight.evaluation.metrics import classification_metrics, flatten
from ringlight.optim import Schedule
from ringlight.runtime import seed_everything
from ringlight.types import Batch, Prediction, Task

LOSS_CHECK_EVERY = 50
"""Steps between two looks at the loss: each look waits for the device."""


class ClassificationTask(LightningModule):
    """Trains `module` (B, C, H, W) -> (B, K) with `criterion`, and scores it on the validation part after every epoch.

    The global random state is set from (seed, epoch) when an epoch starts, so that dropout and its like continue after
    a restart as if nothing had happened.
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
    ) -> None:
        super().__init__()
        self.module = module
        self.criterion = criterion
        self.classes = classes
        self.task = task
        self.seed = seed
        self.monitor = monitor
        self._make_optimizer = optimizer
        self._make_schedule = schedule
        self._plateau: Any = None
        self._plateau_state: dict[str, Any] | None = None
        self._loss_sum: Tensor | None = None
        self._images = 0
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
        """Keep the state of an epoch-wise schedule."""
        if self._plateau is not None:
            checkpoint["epoch_schedule"] = self._plateau.scheduler.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember the state of an epoch-wise schedule until it is built."""
        self._plateau_state = checkpoint.get("epoch_schedule")

    def on_train_epoch_start(self) -> None:
        """Set the random state of this epoch and start its sums."""
        seed_everything(self.seed, self.current_epoch)
        self._loss_sum = torch.zeros((), device=self.device)
        self._images = 0
        self.epoch_metrics = {}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the batch's loss.

        Raises:
            TrainingError: the loss is NaN or infinite.
        """
        loss: Tensor = self.criterion(self.module(batch["image"]), batch["target"])
        detached = loss.detach()
        if batch_idx % LOSS_CHECK_EVERY == 0 and not torch.isfinite(detached):
            self._refuse_loss(float(detached))
        size = len(batch["image"])
        self._loss_sum = detached * size if self._loss_sum is None else self._loss_sum + detached * size
        self._images += size
        return loss

    def _refuse_loss(self, value: float) -> None:
        raise TrainingError(
            "a finite loss",
            got=str(value),
            where=f"epoch {self.current_epoch}",
            fix="lower optimizer.lr, set training.gradient_clip_norm=1.0, or use training.precision=32",
        )

    def on_validation_epoch_start(self) -> None:
        """Forget the scores of the last pass."""
        self._scores = []

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002 - Lightning passes it
        """Collect raw scores and truth."""
        logits = self.module(batch["image"])
        self._scores.append((logits.float(), batch["target"]))

    def on_validation_epoch_end(self) -> None:
        """Score the whole validation part at once; averages of batch scores would not be the scores."""
        scored = torch.cat([logits for logits, _ in self._scores])
        targets = torch.cat([targets for _, targets in self._scores])
        loss, logits = float(self.criterion(scored, targets)), scored.cpu()
        if not (np.isfinite(loss) and bool(torch.isfinite(logits).all())):
            self._refuse_loss(loss)
        self._scores = []
        truth = targets.cpu().numpy().astype(np.int64)
        self.validation = Prediction([], logits.numpy(), self.classes, self.task, truth)
        metrics = classification_metrics(truth, self.validation.probabilities, self.classes, self.task)
        scores = {"loss": loss, **flatten(metrics)}
        self.epoch_metrics |= {f"val/{name}": value for name, value in scores.items()}
        if self.monitor is not None:  # NaN where it is undefined: a validation part without examples of a class
            self.log(f"val/{self.monitor}", scores.get(self.monitor, float("nan")), batch_size=len(logits))

    def on_train_epoch_end(self) -> None:
        """Step a schedule that goes by epochs or by the monitored metric."""
        if self._plateau is None:
            return
        if self._plateau.needs_metric:
            value = self.epoch_metrics.get(f"val/{self.monitor}", self.train_loss)
            self._plateau.scheduler.step(value)
        else:
            self._plateau.scheduler.step()

    @property
    def train_loss(self) -> float:
        """Mean training loss of the epoch so far, per image."""
        loss = float("nan") if self._loss_sum is None or not self._images else float(self._loss_sum) / self._images
        if self._images and not np.isfinite(loss):
            self._refuse_loss(loss)
        return loss
