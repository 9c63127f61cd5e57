"""Schedules whose lengths may be given in steps, as Keras' are: warm-up and exponential fall, cosine, polynomial.

The formulas are those of :mod:`ringlight.optim.schedules_rates`. W, the steps of the warm-up, is `warmup_steps`, or
else `scheduler.warmup_epochs` x steps an epoch; to give both is refused. A warm-up that is longer than the run is
allowed in steps, as a short trial of a long recipe has it, and a warning tells that the full rate is never reached.
"""

from __future__ import annotations

from torch.optim import Optimizer

from ringlight.errors import ConfigError
from ringlight.optim.schedules import _Curve
from ringlight.optim.schedules_rates import (
    check_rate,
    cosine_rate,
    exponential_rate,
    polynomial_rate,
    warmup_rate,
)
from ringlight.runtime import LOGGER


class Warmup(_Curve):
    """Linear warm-up from `initial_lr`, then an exponential fall: lr(t) = L decay_rate^((t - W) / decay_steps).

    For t < W it is initial_lr + (L - initial_lr) t / W; see :func:`ringlight.optim.schedules_rates.warmup_rate`.

    Args:
        optimizer: its `lr` is L.
        num_epochs: E.
        steps_per_epoch: S.
        warmup_epochs: W / S, unless `warmup_steps` is given.
        warmup_steps: W; null is `warmup_epochs` x S, and where that is 0, a tenth of the run.
        initial_lr: rate of step 0, from 0 to L; null is L / (W + 1).
        decay_steps: steps in which the rate falls once by `decay_rate`; null is an epoch.
        decay_rate: above 0, at most 1.
        staircase: fall in jumps, every `decay_steps`.

    Raises:
        ConfigError: a number out of range, or the warm-up given twice.

    Examples:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.8)
        >>> schedule = Warmup(optimizer, num_epochs=3, steps_per_epoch=2, warmup_steps=2, decay_rate=0.25)
        >>> [round(schedule.value(0.8, step), 4) for step in range(6)]
        [0.2667, 0.5333, 0.8, 0.4, 0.2, 0.1]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        num_epochs: int,
        steps_per_epoch: int,
        warmup_epochs: float = 0.0,
        warmup_steps: int | None = None,
        initial_lr: float | None = None,
        decay_steps: int | None = None,
        decay_rate: float = 0.96,
        staircase: bool = False,
    ) -> None:
        self.initial_lr = initial_lr
        self.decay_steps = steps_per_epoch if decay_steps is None else decay_steps
        self.decay_rate = decay_rate
        self.staircase = staircase
        if warmup_steps is None and not warmup_epochs:
            warmup_steps = num_epochs * steps_per_epoch // 10
        super().__init__(
            optimizer, num_epochs=num_epochs, steps_per_epoch=steps_per_epoch, warmup_epochs=warmup_epochs,
            warmup_steps=_steps(warmup_steps, warmup_epochs, num_epochs * steps_per_epoch),
        )  # fmt: skip

    def value(self, base_lr: float, step: int) -> float:
        """Return the rate of a step."""
        return warmup_rate(
            step, base_lr=base_lr, warmup_steps=self.warmup_steps, decay_steps=self.decay_steps,
            decay_rate=self.decay_rate, staircase=self.staircase, initial_lr=self.initial_lr,
        )  # fmt: skip


class Cosine(_Curve):
    """Warm-up, then half a cosine: lr(t) = min_lr + (L - min_lr) (1 + cos(pi (t - W) / (T - W))) / 2, then `min_lr`.

    `warmup_cosine` with lengths in steps; see :func:`ringlight.optim.schedules_rates.cosine_rate`.

    Args:
        optimizer: its `lr` is L.
        num_epochs: E.
        steps_per_epoch: S.
        warmup_epochs: W / S, unless `warmup_steps` is given.
        warmup_steps: W; null is `warmup_epochs` x S.
        initial_lr: rate of step 0, from 0 to L; null is L / (W + 1).
        min_lr: the rate it falls to, from 0 to L.
        total_steps: T, more than W; null is the run's E S. What a run has beyond it is spent at `min_lr`.

    Raises:
        ConfigError: a number out of range, or the warm-up given twice.

    Examples:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        >>> schedule = Cosine(optimizer, num_epochs=9, steps_per_epoch=1, total_steps=4, min_lr=0.02)
        >>> [round(schedule.value(0.1, step), 4) for step in (0, 2, 4, 8)]
        [0.1, 0.06, 0.02, 0.02]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        num_epochs: int,
        steps_per_epoch: int,
        warmup_epochs: float = 0.0,
        warmup_steps: int | None = None,
        initial_lr: float | None = None,
        min_lr: float = 0.0,
        total_steps: int | None = None,
    ) -> None:
        self.initial_lr = initial_lr
        self.min_lr = min_lr
        run = num_epochs * steps_per_epoch
        super().__init__(
            optimizer, num_epochs=num_epochs, steps_per_epoch=steps_per_epoch, warmup_epochs=warmup_epochs,
            warmup_steps=_steps(warmup_steps, warmup_epochs, run), total_steps=total_steps,
        )  # fmt: skip
        if total_steps is not None:
            least = self.warmup_steps + 1
            check_rate(total_steps >= least, total_steps, "total_steps", f"{least} steps or more, beyond the warm-up")

    def value(self, base_lr: float, step: int) -> float:
        """Return the rate of a step."""
        return cosine_rate(
            step, base_lr=base_lr, total_steps=self.total_steps, min_lr=self.min_lr, warmup_steps=self.warmup_steps,
            initial_lr=self.initial_lr,
        )  # fmt: skip


class Exponential(_Curve):
    """An exponential fall after the warm-up, if there is one: lr(t) = L decay_rate^((t - W) / decay_steps).

    See :func:`ringlight.optim.schedules_rates.exponential_rate`.

    Args:
        optimizer: its `lr` is L.
        num_epochs: E.
        steps_per_epoch: S.
        warmup_epochs: W / S, unless `warmup_steps` is given.
        warmup_steps: W; null is `warmup_epochs` x S.
        decay_steps: steps in which the rate falls once by `decay_rate`; null is an epoch.
        decay_rate: above 0, at most 1.
        staircase: fall in jumps, every `decay_steps`.

    Raises:
        ConfigError: a number out of range, or the warm-up given twice.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        num_epochs: int,
        steps_per_epoch: int,
        warmup_epochs: float = 0.0,
        warmup_steps: int | None = None,
        decay_steps: int | None = None,
        decay_rate: float = 0.96,
        staircase: bool = False,
    ) -> None:
        self.decay_steps = steps_per_epoch if decay_steps is None else decay_steps
        self.decay_rate = decay_rate
        self.staircase = staircase
        super().__init__(
            optimizer, num_epochs=num_epochs, steps_per_epoch=steps_per_epoch, warmup_epochs=warmup_epochs,
            warmup_steps=_steps(warmup_steps, warmup_epochs, num_epochs * steps_per_epoch),
        )  # fmt: skip

    def value(self, base_lr: float, step: int) -> float:
        """Return the rate of a step."""
        return exponential_rate(
            step, base_lr=base_lr, decay_steps=self.decay_steps, decay_rate=self.decay_rate,
            staircase=self.staircase, warmup_steps=self.warmup_steps,
        )  # fmt: skip


class Polynomial(_Curve):
    """A power of what is left, after the warm-up: lr(t) = end_lr + (L - end_lr) (1 - (t - W) / decay_steps)^power.

    See :func:`ringlight.optim.schedules_rates.polynomial_rate`.

    Args:
        optimizer: its `lr` is L.
        num_epochs: E.
        steps_per_epoch: S.
        warmup_epochs: W / S, unless `warmup_steps` is given.
        warmup_steps: W; null is `warmup_epochs` x S.
        decay_steps: steps of the fall; null is the rest of the run, E S - W.
        end_lr: the rate it falls to, from 0 to L.
        power: above 0; the higher, the faster it falls at first.

    Raises:
        ConfigError: a number out of range, or the warm-up given twice.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        num_epochs: int,
        steps_per_epoch: int,
        warmup_epochs: float = 0.0,
        warmup_steps: int | None = None,
        decay_steps: int | None = None,
        end_lr: float = 0.0,
        power: float = 1.0,
    ) -> None:
        self.decay_steps = decay_steps
        self.end_lr = end_lr
        self.power = power
        super().__init__(
            optimizer, num_epochs=num_epochs, steps_per_epoch=steps_per_epoch, warmup_epochs=warmup_epochs,
            warmup_steps=_steps(warmup_steps, warmup_epochs, num_epochs * steps_per_epoch),
        )  # fmt: skip

    def value(self, base_lr: float, step: int) -> float:
        """Return the rate of a step."""
        rest = max(1, self.total_steps - self.warmup_steps)
        return polynomial_rate(
            step, base_lr=base_lr, decay_steps=rest if self.decay_steps is None else self.decay_steps,
            end_lr=self.end_lr, power=self.power, warmup_steps=self.warmup_steps,
        )  # fmt: skip


def _steps(warmup_steps: int | None, warmup_epochs: float, run: int) -> int | None:
    """Refuse a warm-up that is given in epochs and in steps; tell of one that the run does not see the end of."""
    if warmup_steps is None:
        return None
    if warmup_epochs:
        raise ConfigError(
            "the warm-up in epochs or in steps",
            got=f"scheduler.warmup_epochs={warmup_epochs:g} and scheduler.warmup_steps={warmup_steps}",
            where="scheduler.warmup_steps",
            fix="set scheduler.warmup_epochs=0, or leave out warmup_steps",
        )
    if warmup_steps > run > 0:
        LOGGER.warning(
            "scheduler.warmup_steps=%d is longer than the run of %d steps: its full rate is never reached",
            warmup_steps,
            run,
        )
    return warmup_steps
