"""The learning rate of a step, as pure functions of the step: what the schedules are made of, usable by themselves.

Notation: t = 0, 1, ... is the optimiser step (`step`), L the configured rate (`base_lr`), W the steps of warm-up
(`warmup_steps`), T all steps (`total_steps`). Nothing is remembered between two calls.

**Warm-up**, shared by all: for t < W the rate rises along a straight line to L, which step W is the first to have.

    lr(t) = initial_lr + (L - initial_lr) t / W,    initial_lr = L / (W + 1) unless it is given

Without `initial_lr` that is L (t + 1) / (W + 1): equal steps from just above 0, and none of them spent at a rate of 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from ringlight.errors import ConfigError


def constant_rate(step: int, *, base_lr: float, warmup_steps: int = 0, initial_lr: float | None = None) -> float:
    """Return lr(t) = L, after the warm-up.

    Raises:
        ConfigError: a number out of range.

    Examples:
        >>> [constant_rate(step, base_lr=0.4, warmup_steps=3) for step in range(5)]
        [0.1, 0.2, 0.30000000000000004, 0.4, 0.4]
    """
    warming = _warming(step, base_lr, warmup_steps, initial_lr)
    return base_lr if warming is None else warming


def exponential_rate(
    step: int,
    *,
    base_lr: float,
    decay_steps: int,
    decay_rate: float = 0.96,
    staircase: bool = False,
    warmup_steps: int = 0,
    initial_lr: float | None = None,
) -> float:
    """Return lr(t) = L decay_rate^((t - W) / decay_steps) after the warm-up; `staircase` rounds the exponent down.

    Keras' `ExponentialDecay`, W steps later.

    Args:
        step: t.
        base_lr: L.
        decay_steps: steps in which the rate falls once by `decay_rate`, 1 or more.
        decay_rate: above 0, at most 1.
        staircase: fall in jumps, every `decay_steps`.
        warmup_steps: W.
        initial_lr: rate of step 0, from 0 to L.

    Raises:
        ConfigError: a number out of range.

    Examples:
        >>> [exponential_rate(step, base_lr=0.8, decay_steps=2, decay_rate=0.25) for step in (0, 1, 2, 4)]
        [0.8, 0.4, 0.2, 0.05]
        >>> [exponential_rate(t, base_lr=0.8, decay_steps=2, decay_rate=0.25, staircase=True) for t in (0, 1, 2, 3)]
        [0.8, 0.8, 0.2, 0.2]
    """
    check_rate(decay_steps >= 1, decay_steps, "decay_steps", "1 step or more")
    check_rate(0 < decay_rate <= 1, decay_rate, "decay_rate", "a factor above 0, at most 1")
    warming = _warming(step, base_lr, warmup_steps, initial_lr)
    if warming is not None:
        return warming
    times = (step - warmup_steps) / decay_steps
    return float(base_lr * decay_rate ** (math.floor(times) if staircase else times))


def warmup_rate(
    step: int,
    *,
    base_lr: float,
    warmup_steps: int,
    decay_steps: int,
    decay_rate: float = 0.96,
    staircase: bool = False,
    initial_lr: float | None = None,
) -> float:
    """Return the rate of a linear warm-up from `initial_lr` to L, followed by the exponential fall from it.

    lr(t) = initial_lr + (L - initial_lr) t / W for t < W, then L decay_rate^((t - W) / decay_steps).

    Arguments and errors are those of :func:`exponential_rate`; here the warm-up has to be given.

    Examples:
        >>> settings = {"base_lr": 0.8, "initial_lr": 0.2, "warmup_steps": 2, "decay_steps": 1, "decay_rate": 0.5}
        >>> [warmup_rate(step, **settings) for step in range(5)]
        [0.2, 0.5, 0.8, 0.4, 0.2]
    """
    return exponential_rate(
        step, base_lr=base_lr, decay_steps=decay_steps, decay_rate=decay_rate, staircase=staircase,
        warmup_steps=warmup_steps, initial_lr=initial_lr,
    )  # fmt: skip


def cosine_rate(
    step: int,
    *,
    base_lr: float,
    total_steps: int,
    min_lr: float = 0.0,
    warmup_steps: int = 0,
    initial_lr: float | None = None,
) -> float:
    """Return half a cosine from L down to `min_lr` (Loshchilov & Hutter 2017, arXiv:1608.03983, equation 5).

    lr(t) = min_lr + (L - min_lr) (1 + cos(pi (t - W) / (T - W))) / 2 after the warm-up, and `min_lr` from step T on,
    one after the last, so that a run of T steps spends none at the end of the curve.

    Args:
        step: t.
        base_lr: L.
        total_steps: T.
        min_lr: the rate it falls to, from 0 to L.
        warmup_steps: W.
        initial_lr: rate of step 0, from 0 to L.

    Raises:
        ConfigError: a number out of range.

    Examples:
        >>> [round(cosine_rate(t, base_lr=0.1, total_steps=5, min_lr=0.02, warmup_steps=1), 4) for t in (0, 1, 3, 5, 9)]
        [0.05, 0.1, 0.06, 0.02, 0.02]
    """
    check_rate(0 <= min_lr <= base_lr, min_lr, "min_lr", f"a rate between 0 and the optimizer's {base_lr:g}")
    warming = _warming(step, base_lr, warmup_steps, initial_lr)
    if warming is not None:
        return warming
    done = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return min_lr + (base_lr - min_lr) * (1 + math.cos(math.pi * done)) / 2


def polynomial_rate(
    step: int,
    *,
    base_lr: float,
    decay_steps: int,
    end_lr: float = 0.0,
    power: float = 1.0,
    warmup_steps: int = 0,
    initial_lr: float | None = None,
) -> float:
    """Return lr(t) = end_lr + (L - end_lr) (1 - (t - W) / decay_steps)^power after the warm-up, then `end_lr`.

    Keras' `PolynomialDecay` without `cycle`, W steps later; a power of 1 is a straight line.

    Args:
        step: t.
        base_lr: L.
        decay_steps: steps of the fall, 1 or more; it ends at step W + decay_steps.
        end_lr: the rate it falls to, from 0 to L.
        power: above 0; the higher, the faster it falls at first.
        warmup_steps: W.
        initial_lr: rate of step 0, from 0 to L.

    Raises:
        ConfigError: a number out of range.

    Examples:
        >>> [polynomial_rate(step, base_lr=1.0, decay_steps=4, end_lr=0.0, power=2.0) for step in (0, 1, 2, 4, 5)]
        [1.0, 0.5625, 0.25, 0.0, 0.0]
    """
    check_rate(decay_steps >= 1, decay_steps, "decay_steps", "1 step or more")
    check_rate(0 <= end_lr <= base_lr, end_lr, "end_lr", f"a rate between 0 and the optimizer's {base_lr:g}")
    check_rate(power > 0, power, "power", "a power above 0")
    warming = _warming(step, base_lr, warmup_steps, initial_lr)
    if warming is not None:
        return warming
    left = max(0.0, 1 - (step - warmup_steps) / decay_steps)
    return float(end_lr + (base_lr - end_lr) * left**power)


def one_cycle_rate(
    step: int,
    *,
    base_lr: float,
    total_steps: int,
    warmup_steps: int = 0,
    max_lr_factor: float = 1.0,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> float:
    """Return the rate of one cycle (Smith & Topin 2018, arXiv:1708.07120): up along half a cosine, then far down.

    Peak P = max_lr_factor x L, start P / div_factor, end P / (div_factor x final_div_factor). With R the steps of the
    rise (W where there is one, else pct_start x T), c(a, b, s) = b + (a - b)(1 + cos(pi s)) / 2:

        lr(t) = c(start, P, t / (R - 1)) for t <= R - 1, then c(P, end, (t - R + 1) / (T - R))

    These are the rates of PyTorch's `OneCycleLR`.

    Raises:
        ConfigError: a number out of range.

    Examples:
        >>> [round(one_cycle_rate(step, base_lr=1.0, total_steps=10), 4) for step in (0, 1, 2, 9)]
        [0.04, 0.52, 1.0, 0.0]
    """
    check_rate(max_lr_factor > 0, max_lr_factor, "max_lr_factor", "a factor above 0")
    check_rate(0 <= pct_start < 1, pct_start, "pct_start", "a share of at least 0 and below 1")
    check_rate(div_factor >= 1, div_factor, "div_factor", "a divisor of 1 or more")
    check_rate(final_div_factor >= 1, final_div_factor, "final_div_factor", "a divisor of 1 or more")
    peak = base_lr * max_lr_factor
    start = peak / div_factor
    end = start / final_div_factor
    top = (warmup_steps or pct_start * total_steps) - 1
    if step <= top and top > 0:
        return _half_cosine(start, peak, step / top)
    top = max(top, 0.0)
    return _half_cosine(peak, end, min(1.0, (step - top) / max(1.0, total_steps - 1 - top)))


RATES: Final[dict[str, Callable[..., float]]] = {
    "constant": constant_rate,
    "warmup": warmup_rate,
    "cosine": cosine_rate,
    "warmup_cosine": cosine_rate,
    "exponential": exponential_rate,
    "polynomial": polynomial_rate,
    "one_cycle": one_cycle_rate,
}
"""The rate function of each schedule that is one: all but `plateau`, which follows a metric."""


def check_rate(holds: bool, value: float, key: str, expected: str) -> float:
    """Return a number of a schedule that holds what is expected of it.

    Raises:
        ConfigError: it does not.
    """
    if not holds:
        raise ConfigError(expected, got=f"{value:g}", where=f"scheduler.{key}", fix="correct the value")
    return value


def _warming(step: int, base_lr: float, warmup_steps: int, initial_lr: float | None) -> float | None:
    """Return the rate of a step of the warm-up, None when it is over."""
    check_rate(warmup_steps >= 0, warmup_steps, "warmup_steps", "a number of steps of 0 or more")
    if initial_lr is not None:
        expected = f"a rate between 0 and the optimizer's {base_lr:g}"
        check_rate(0 <= initial_lr <= base_lr, initial_lr, "initial_lr", expected)
    if step >= warmup_steps:
        return None
    if initial_lr is None:
        return base_lr * (step + 1) / (warmup_steps + 1)
    return initial_lr + (base_lr - initial_lr) * step / warmup_steps


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
