"""From a configuration to Lightning's trainer, its callbacks, and the makers of optimiser and schedule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import nn
from torch.optim import Optimizer

from ringlight.config.schema import Config
from ringlight.evaluation.custom_metrics import Metric
from ringlight.evaluation.metrics import monitor_mode
from ringlight.optim import ASAM, SAM, Schedule, build_optimizer, build_schedule
from ringlight.runtime import DeviceChoice
from ringlight.training.callbacks import EarlyStop
from ringlight.training.checkpoints import WholeCheckpointIO
from ringlight.training.judged_weights import SlowWeights
from ringlight.training.midway import Midway
from ringlight.training.sharpness import Sharpness

PRECISION: dict[str, Any] = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
"""Lightning's name of each precision: weights stay in single precision."""


def make_trainer(config: Config, device: DeviceChoice, callbacks: Sequence[Callback]) -> Trainer:
    """Return the trainer of a resolved configuration; it says and logs nothing by itself."""
    training, cuda = config.training, device.kind == "cuda"
    return Trainer(
        accelerator="gpu" if cuda else "cpu",
        devices=[int(device.device.partition(":")[2])] if cuda else 1,
        precision=PRECISION[training.precision],
        max_epochs=training.num_epochs,
        gradient_clip_val=training.gradient_clip_norm,
        accumulate_grad_batches=training.accumulate_steps,
        callbacks=list(callbacks),
        plugins=[WholeCheckpointIO(ema_snapshots=training.ema_snapshots)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def midway_of(config: Config, folder: Path) -> Midway:
    """Return what keeps where a training stands in the middle of an epoch, in the folder of its checkpoints."""
    return Midway(folder, every=config.training.checkpoint_minutes)


def extras(config: Config, monitor: str | None, metrics: Mapping[str, Metric] | None = None) -> list[Callback]:
    """Return the callbacks that a configuration may ask for: averaged or slow weights, early stopping given a monitor.

    `metrics` are computed beside those of every run; None knows the whole catalogue.
    """
    training, found = config.training, list[Callback]()
    if training.ema_decay is not None:
        found.append(EMAWeightAveraging(decay=training.ema_decay))
    elif config.optimizer.lookahead is not None:
        found.append(SlowWeights())
    if monitor is not None and training.early_stopping_patience is not None:
        patience, min_delta = training.early_stopping_patience, training.early_stopping_min_delta
        followed = training.early_stopping_monitor or monitor
        mode = monitor_mode(followed, where="training.early_stopping_monitor", metrics=metrics)
        found.append(EarlyStop(followed, patience=patience, min_delta=min_delta, mode=mode))
    return found


def optimizer_of(config: Config) -> Callable[[nn.Module], Optimizer]:
    """Return what builds the configured optimiser over a module."""
    chosen = config.optimizer
    return lambda module: build_optimizer(
        chosen.name,
        module,
        lr=chosen.lr,
        weight_decay=chosen.weight_decay,
        params=chosen.params(),
        gradient_centralization=chosen.gradient_centralization,
        lookahead=None if chosen.lookahead is None else chosen.lookahead.model_dump(),
    )


def sharpness_of(config: Config) -> Sharpness | None:
    """Return what takes the weights up before each batch's own pass, None where nothing is to."""
    chosen = config.optimizer
    if chosen.asam is not None:
        return Sharpness(ASAM(**chosen.asam.model_dump()))
    return None if chosen.sam is None else Sharpness(SAM(**chosen.sam.model_dump()))


def schedule_of(
    config: Config, monitor: str | None, num_batches: int, metrics: Mapping[str, Metric] | None = None
) -> Callable[[Optimizer], Schedule]:
    """Return what builds the configured schedule over an optimiser; `num_batches` an epoch.

    Without a monitor there is no validation, and a schedule that follows a metric follows the training loss. `metrics`
    are computed beside those of every run; None knows the whole catalogue.
    """
    chosen = config.scheduler
    mode: Literal["min", "max"] = "min"
    if monitor is not None:
        own = chosen.params().get("monitor")
        followed, where = (own, "scheduler.monitor") if isinstance(own, str) else (monitor, "training.monitor")
        mode = monitor_mode(followed, where=where, metrics=metrics)
    return lambda optimizer: build_schedule(
        chosen.name,
        optimizer,
        num_epochs=config.training.num_epochs,
        steps_per_epoch=-(-num_batches // config.training.accumulate_steps),
        warmup_epochs=chosen.warmup_epochs,
        params=chosen.params(),
        mode=mode,
    )
