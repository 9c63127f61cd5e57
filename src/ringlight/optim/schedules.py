"""Learning rates over a run, as closed formulas of the optimiser step (:mod:`ringlight.optim.schedules_rates`).

Notation: t = 0, 1, ... is the optimiser step (accumulated batches are one), S steps an epoch, E epochs,
T = E S steps in all, W = warmup_epochs x S steps of warm-up, L the optimiser's configured `lr`.

Warm-up is linear and never zero: lr(t) = L (t + 1) / (W + 1) for t < W, so that step W is the first at L.
A schedule's state is its step count: a resumed run goes on with the same rates to the last bit.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from ringlight.errors import ConfigError
from ringlight.optim.schedules_rates import check_rate, constant_rate, cosine_rate, one_cycle_rate


class _Curve(LRScheduler):
    """A rate that is a function of the step: `value(L, t)`. Needs one call of `step()` per optimiser step."""

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        num_epochs: int,
        steps_per_epoch: int,
        warmup_epochs: float,
        warmup_steps: int | None = None,
        total_steps: int | None = None,
    ) -> None:
        warming = steps_of_warmup(num_epochs, steps_per_epoch, warmup_epochs)
        self.total_steps = num_epochs * steps_per_epoch if total_steps is None else total_steps
        self.warmup_steps = warming if warmup_steps is None else warmup_steps
        super().__init__(optimizer)  # it asks for the rate of step 0, which refuses numbers out of range

    def value(self, base_lr: float, step: int) -> float:
        """Return the rate of optimiser step `step`, of a group whose configured rate is `base_lr`."""
        raise NotImplementedError

    def get_lr(self) -> list[Any]:
        """Return the rate of every parameter group at the present step."""
        return [self.value(float(base_lr), self.last_epoch) for base_lr in self.base_lrs]


class WarmupCosine(_Curve):
    """Warm-up, then half a cosine down to `min_lr` (Loshchilov & Hutter 2017, arXiv:1608.03983, equation 5).

    lr(t) = min_lr + (L - min_lr) (1 + cos(pi (t - W) / (T - W))) / 2 for t >= W; `min_lr` would be reached at step T,
    one after the last, so that no step is spent at a rate of 0.

    Examples:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        >>> schedule = WarmupCosine(optimizer, num_epochs=4, steps_per_epoch=1, warmup_epochs=1)
        >>> [round(schedule.value(0.1, step), 4) for step in range(4)]
        [0.05, 0.1, 0.075, 0.025]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        num_epochs: int,
        steps_per_epoch: int,
        warmup_epochs: float = 0.0,
        min_lr: float = 0.0,
    ) -> None:
        self.min_lr = min_lr
        super().__init__(optimizer, num_epochs=num_epochs, steps_per_epoch=steps_per_epoch, warmup_epochs=warmup_epochs)

    def value(self, base_lr: float, step: int) -> float:
        """Return the rate of a step."""
        return cosine_rate(
            step, base_lr=base_lr, total_steps=self.total_steps, min_lr=self.min_lr, warmup_steps=self.warmup_steps
        )


class OneCycle(_Curve):
    """One cycle (Smith & Topin 2018, arXiv:1708.07120): up to the peak, then far down, both along half cosines.

    Peak P = max_lr_factor x L, start P / div_factor, end P / (div_factor x final_div_factor). With R the steps of
    the rise (the warm-up's W when there is one, else pct_start x T), c(a, b, s) = b + (a - b)(1 + cos(pi s)) / 2:

        lr(t) = c(start, P, t / (R - 1)) for t <= R - 1, then c(P, end, (t - R + 1) / (T - R))

    These are PyTorch's `OneCycleLR` rates; momentum is left alone.

    Examples:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        >>> schedule = OneCycle(optimizer, num_epochs=5, steps_per_epoch=2)
        >>> [round(schedule.value(1.0, step), 4) for step in (0, 1, 2, 9)]
        [0.04, 0.52, 1.0, 0.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        num_epochs: int,
        steps_per_epoch: int,
        warmup_epochs: float = 0.0,
        max_lr_factor: float = 1.0,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        self.max_lr_factor = max_lr_factor
        self.pct_start = pct_start
        self.div_factor = div_factor
        self.final_div_factor = final_div_factor
        super().__init__(optimizer, num_epochs=num_epochs, steps_per_epoch=steps_per_epoch, warmup_epochs=warmup_epochs)

    def value(self, base_lr: float, step: int) -> float:
        """Return the rate of a step."""
        return one_cycle_rate(
            step, base_lr=base_lr, total_steps=self.total_steps, warmup_steps=self.warmup_steps,
            max_lr_factor=self.max_lr_factor, pct_start=self.pct_start, div_factor=self.div_factor,
            final_div_factor=self.final_div_factor,
        )  # fmt: skip


class Constant(_Curve):
    """Warm-up, then lr(t) = L."""

    def __init__(
        self, optimizer: Optimizer, *, num_epochs: int, steps_per_epoch: int, warmup_epochs: float = 0.0
    ) -> None:
        super().__init__(optimizer, num_epochs=num_epochs, steps_per_epoch=steps_per_epoch, warmup_epochs=warmup_epochs)

    def value(self, base_lr: float, step: int) -> float:
        """Return the rate of a step."""
        return constant_rate(step, base_lr=base_lr, warmup_steps=self.warmup_steps)


class Plateau(ReduceLROnPlateau):
    """Lower the rate to `factor` x lr when the monitored metric has not improved for more than `patience` epochs.

    Steps once an epoch, with the metric. Its warm-up moves by epochs too: epoch e < warmup_epochs runs at
    L (e + 1) / (warmup_epochs + 1), and epochs of warm-up do not count as waiting. An improvement is one by more than
    `threshold` (absolute); `mode` says whether larger (`max`) or smaller (`min`) is better; no rate goes below
    `min_lr`. `monitor` is the validation metric, or `loss`, that it follows; null is `training.monitor`. Without a
    validation part it follows the training loss.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        num_epochs: int,
        steps_per_epoch: int,
        warmup_epochs: float = 0.0,
        mode: Literal["min", "max"] = "max",
        monitor: str | None = None,
        factor: float = 0.5,
        patience: int = 5,
        threshold: float = 1e-4,
        min_lr: float = 0.0,
    ) -> None:
        check_rate(0 < factor < 1, factor, "factor", "a factor between 0 and 1")
        check_rate(patience >= 0, patience, "patience", "a number of epochs of 0 or more")
        check_rate(min_lr >= 0, min_lr, "min_lr", "a rate of 0 or more")
        steps_of_warmup(num_epochs, steps_per_epoch, warmup_epochs)
        self.monitor = monitor
        self.warmup_epochs = math.ceil(warmup_epochs)
        self.full_lrs = [float(group["lr"]) for group in optimizer.param_groups]
        super().__init__(
            optimizer,
            mode=mode,
            factor=factor,
            patience=patience,
            threshold=threshold,
            threshold_mode="abs",
            min_lr=min_lr,
        )
        if self.warmup_epochs:
            self._warm(0)

    def _warm(self, epoch: int) -> None:
        share = min(1.0, (epoch + 1) / (self.warmup_epochs + 1))
        for group, lr in zip(self.optimizer.param_groups, self.full_lrs, strict=True):
            group["lr"] = lr * share

    # As in PyTorch: the one schedule whose step takes a metric.
    def step(self, metrics: Any, epoch: int | None = None) -> None:  # type: ignore[override]
        """Take note of the epoch's metric, and set the next epoch's rate."""
        if self.last_epoch < self.warmup_epochs:
            self.last_epoch += 1
            self._warm(self.last_epoch)
            self._last_lr = [group["lr"] for group in self.optimizer.param_groups]
            return
        super().step(metrics, epoch)


def steps_of_warmup(num_epochs: int, steps_per_epoch: int, warmup_epochs: float) -> int:
    """Return W, the optimiser steps of the warm-up.

    Raises:
        ConfigError: fewer than one epoch or step, or a warm-up that is negative or longer than the run.
    """
    if num_epochs < 1 or steps_per_epoch < 1:
        raise ConfigError(
            "at least one epoch of one step",
            got=f"{num_epochs} epochs of {steps_per_epoch} steps",
            where="training.num_epochs",
            fix="raise the epochs, or lower data.batch_size and training.accumulate_steps",
        )
    if not 0 <= warmup_epochs <= num_epochs:
        raise ConfigError(
            f"a warm-up no longer than the run's {num_epochs} epochs",
            got=f"{warmup_epochs:g}",
            where="scheduler.warmup_epochs",
            fix="shorten it, or raise training.num_epochs",
        )
    return round(warmup_epochs * steps_per_epoch)
