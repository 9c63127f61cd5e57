"""What happens around the steps: early stopping, the epoch's row, the heartbeat that may stop a run."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping

from ringlight.errors import InterruptedRunError
from ringlight.evaluation.metrics import monitor_mode
from ringlight.runtime import LOGGER
from ringlight.training.loss_sum import LatestLoss
from ringlight.training.midway import Midway
from ringlight.training.progress import HELD, Progress, clock
from ringlight.training.task import ClassificationTask
from ringlight.training.trackers import EndTraining
from ringlight.types import History, Prediction, RunControl, Signal, Tracker


class EarlyStop(EarlyStopping):
    """Stops when `monitor` has not improved by more than `min_delta` for `patience` epochs; undefined is no better.

    A run that had stopped so, and was interrupted while it was judged, trains no further when it is resumed. `mode`
    says which way the metric is better; None knows it by its name.
    """

    def __init__(
        self, monitor: str, *, patience: int, min_delta: float, mode: Literal["min", "max"] | None = None
    ) -> None:
        super().__init__(
            f"val/{monitor}",
            min_delta=min_delta,
            patience=patience,
            mode=mode or monitor_mode(monitor),
            check_finite=False,  # the task looks at the loss itself; a score may be undefined (NaN) for an epoch
            check_on_train_epoch_end=True,
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Stop at once where the resumed run had stopped."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class Reporter(Callback):
    """Keeps the history, one row an epoch; hands it to the tracker and to `on_row`; part of the checkpoint.

    Where `on_row` raises :class:`EndTraining`, `ended` holds it, and the training ends once the epoch's checkpoint is
    written: raised at once it would leave the checkpoint of the epoch before, and that epoch would be trained twice by
    what goes on from it.
    """

    def __init__(self, tracker: Tracker, on_row: Callable[[History, Prediction | None], None], num_epochs: int) -> None:
        self.history = History()
        self.ended: EndTraining | None = None
        self._tracker = tracker
        self._on_row = on_row
        self._num_epochs = num_epochs
        self.progress: Progress | None = None
        self._rate = 0.0

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        """Note the learning rate that the step uses; afterwards a step-wise schedule has already moved on."""
        self._rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch's row; it holds no times, so that equal runs have equal histories."""
        if not isinstance(pl_module, ClassificationTask):
            raise TypeError(f"Reporter follows a ClassificationTask, not a {type(pl_module).__name__}")
        epoch = trainer.current_epoch
        row = {"epoch": epoch, "lr": self._rate, "train/loss": pl_module.train_loss}
        row |= pl_module.epoch_metrics
        self.history.rows = [earlier for earlier in self.history.rows if earlier["epoch"] < epoch] + [row]
        self._tracker.log_metrics({name: value for name, value in row.items() if name != "epoch"}, epoch)
        try:
            self._on_row(self.history, pl_module.validation)
        except EndTraining as end:
            self.ended, trainer.should_stop = end, True
        self._say(row, pl_module.monitor)

    def _say(self, row: Mapping[str, float], monitor: str | None) -> None:
        done = int(row["epoch"]) + 1
        shown = {"train loss": row["train/loss"], "val loss": row.get("val/loss")}
        if monitor is not None:
            shown[f"val {monitor}"] = row.get(f"val/{monitor}")
        numbers = "  ".join(f"{name} {value:.4f}" for name, value in shown.items() if value is not None)
        left = None if self.progress is None else self.progress.left
        told = "" if left is None else f"  about {clock(left)} left"
        LOGGER.info("epoch %d/%d  %s%s", done, self._num_epochs, numbers, told)

    def state_dict(self) -> dict[str, Any]:
        """Keep the rows in the checkpoint, and the rate of the last step: the next may be of another epoch."""
        return {"rows": self.history.rows, "rate": self._rate}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them back."""
        self.history.rows = list(state_dict["rows"])
        self._rate = state_dict.get("rate", 0.0)  # a run that an older version began has none


class Heartbeat(Checkpoint):
    """Tells the control how far the run is after every step, and stops the run between two steps when it says so.

    Ctrl-C and a request to end (SIGTERM) are heard the same way, so that no step is left half done; a second Ctrl-C
    stops at once. What was trained is kept by `midway`, unless the run is cancelled. The batches of a validation are
    steps, too: a run that is stopped there goes through all of them again.

    The control is told `epoch`, `num_epochs`, `step`, `num_steps` (of the epoch), `done`, `total` (steps of the run),
    `images_per_second`, `windows` (1 where records are windows), `validating` (1 or 0), `elapsed` and, once it is
    known, `eta` (both in seconds); and of `reporter` the scores of the last epoch, beside the mean `train/loss` of this
    one.

    It is the last of the callbacks, where Lightning puts all that write checkpoints: averaged weights have seen a step
    before it is kept.
    """

    def __init__(
        self, control: RunControl, num_epochs: int, batch_size: int, *, reporter: Reporter | None = None,
        midway: Midway | None = None, progress: Progress | None = None,
    ) -> None:  # fmt: skip
        self.progress = progress or Progress(num_epochs)
        self._control = control
        self._num_epochs = num_epochs
        self._batch_size = batch_size
        self._reporter = reporter
        self._midway = midway
        self._interrupted = False
        self._previous: Any = None
        self._epoch = 0
        self._loss = LatestLoss()
        if reporter is not None:
            reporter.progress = self.progress

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Listen to Ctrl-C (only the main thread may)."""
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's arguments
        if self._interrupted:
            # Not KeyboardInterrupt: Lightning turns that one into an exit of the process, past whoever marks the run.
            raise self._stopped("Ctrl-C twice")
        self._interrupted = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Start the clock, in the middle of an epoch where the run goes on there."""
        self._epoch = trainer.current_epoch
        self.progress.begin(
            epoch=self._epoch,
            step=trainer.fit_loop.epoch_loop.batch_progress.current.ready,
            num_steps=int(trainer.num_training_batches),
            num_judged=int(sum(trainer.num_val_batches)),
        )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Note which epoch it is."""
        self._epoch = trainer.current_epoch
        self.progress.start_epoch(self._epoch)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int  # noqa: ARG002
    ) -> None:  # fmt: skip
        """Report; stop when asked.

        Raises:
            InterruptedRunError: Ctrl-C, SIGTERM, or the control said "cancel" or "pause".
        """
        self.progress.step(self._epoch, batch_idx + 1)
        self._ask(trainer, pl_module, batch, batch_idx + 1)
        if self._midway is not None and batch_idx + 1 < trainer.num_training_batches:
            self._midway.write_if_due(trainer, pl_module)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any  # noqa: ARG002
    ) -> None:  # fmt: skip
        """Stop in the middle of a long validation, too.

        Raises:
            InterruptedRunError: Ctrl-C, SIGTERM, or the control said "cancel" or "pause".
        """
        self._ask(trainer, pl_module, batch, int(trainer.num_training_batches))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Stop when Ctrl-C came while the epoch was written.

        Raises:
            InterruptedRunError: Ctrl-C or SIGTERM.
        """
        if (reason := self._heard(trainer)) is not None:
            raise self._stopped(reason)

    def _ask(self, trainer: Trainer, task: LightningModule, batch: Any, step: int) -> None:
        steps, each = int(trainer.num_training_batches), self.progress.step_time
        asked = time.perf_counter()
        said = self._control.heartbeat(
            {
                "epoch": self._epoch,
                "num_epochs": self._num_epochs,
                "step": step,
                "num_steps": steps,
                "done": self._epoch * steps + step,
                "total": self._num_epochs * steps,
                "images_per_second": self._batch_size / each if each else 0.0,
                "windows": float(_of_windows(batch)),
                "validating": float(trainer.validating),
                **self._scores(task),
                **self.progress.told(),
            }
        )
        if (waited := time.perf_counter() - asked) > HELD:
            self.progress.leave_out(waited)
        reason = self._heard(trainer) if said == "go" else f"`{said}`"
        if reason is None:
            return
        if self._midway is not None and said != "cancel":
            self._midway.write(trainer, task)
        raise self._stopped(reason, said)

    def _scores(self, task: LightningModule) -> dict[str, float]:
        """Return the latest metrics of the training that are numbers."""
        told: dict[str, float] = {}
        if isinstance(task, ClassificationTask):
            rows = [] if self._reporter is None else self._reporter.history.rows
            name = f"val/{task.monitor}"
            told = {"train/loss": self._loss.of(task), name: rows[-1].get(name, math.nan) if rows else math.nan}
        return {name: value for name, value in told.items() if math.isfinite(value)}

    def _heard(self, trainer: Trainer) -> str | None:
        return "Ctrl-C" if self._interrupted else "SIGTERM" if trainer.received_sigterm else None

    def _stopped(self, reason: str, said: Signal = "go") -> InterruptedRunError:
        return InterruptedRunError(
            "a run to its end",
            got=f"{reason} in epoch {self._epoch + 1} of {self._num_epochs}",
            where="training",
            fix="its last checkpoint is whole: go on with ringlight train --resume RUN",
            signal="interrupted" if said == "go" else said,
        )

    def restore(self) -> None:
        """Give Ctrl-C back its former meaning."""
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None

    def state_dict(self) -> dict[str, Any]:
        """Keep how long the run has worked, and how long things took."""
        return self.progress.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it back."""
        self.progress.load_state_dict(state_dict)


def _of_windows(batch: Any) -> bool:
    """Whether a batch holds windows (B, C, T) instead of images (B, C, H, W)."""
    given = batch.get("input") if isinstance(batch, Mapping) else None
    return getattr(given, "ndim", 0) == 3


def preparing(control: RunControl, every: float = 0.0, *, windows: bool = False) -> Callable[[int, int], None]:
    """Return what asks the control while images or windows are prepared before the first step: told (done, total).

    The control is asked at most once in `every` seconds. InterruptedRunError is raised when it says "cancel" or
    "pause".
    """
    started = asked = time.perf_counter()

    def progress(done: int, total: int) -> None:
        nonlocal asked
        if time.perf_counter() - asked < every:
            return
        asked = time.perf_counter()
        elapsed = asked - started
        signalled = control.heartbeat(
            {
                "epoch": 0,
                "num_epochs": 1,
                "step": done,
                "num_steps": total,
                "done": done,
                "total": total,
                "images_per_second": done / elapsed if elapsed > 0 else 0.0,
                "windows": float(windows),
                "elapsed": elapsed,
                **({"eta": elapsed / done * (total - done)} if done else {}),
            }
        )
        if signalled != "go":
            raise InterruptedRunError(
                "a run to its end",
                got=f"`{signalled}` after {done} of {total} {'windows' if windows else 'images'}",
                where="training",
                fix="go on with ringlight train --resume RUN",
                signal=signalled,
            )

    return progress
