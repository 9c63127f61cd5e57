"""Percentile intervals of bootstrap replicates, and when there are none.

Shapes: U units, R resamples.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from scipy import stats

from ringlight.evaluation.inputs import FloatArray
from ringlight.evaluation.rates import Interval


def mostly_undefined(replicates: FloatArray) -> bool:
    """Return whether more than half of the resamples (R,) have no value."""
    return bool(2 * np.isnan(replicates).sum() > len(replicates))


def collapsed(replicates: FloatArray) -> bool:
    """Return whether every resample that has a value has the same one, but for rounding."""
    held = replicates[~np.isnan(replicates)]
    return bool(len(held) == 0 or np.ptp(held) <= 1e-12 * max(1.0, float(np.abs(held).max())))


def usable(replicates: FloatArray, value: float, num_units: int) -> bool:
    """Return whether resamples (R,) of a value carry an interval."""
    return not (num_units < 2 or np.isnan(value) or mostly_undefined(replicates) or collapsed(replicates))


def tail_share(num_units: int, confidence: float) -> float:
    """Return the share of resamples to leave out on either side, expanded for few units (Hesterberg 2015).

    Percentiles of few units are too narrow, as a standard deviation with n instead of n - 1 is, and z instead of t:
    the share is Φ(-√(U/(U-1)) t_{U-1}).

    Examples:
        >>> round(tail_share(10, 0.95), 4), round(tail_share(10_000, 0.95), 4)
        (0.0086, 0.025)
    """
    wide = sqrt(num_units / (num_units - 1)) * stats.t.isf((1 - confidence) / 2, num_units - 1)
    return float(stats.norm.sf(wide))


def percentile_interval(replicates: FloatArray, value: float, *, num_units: int, confidence: float) -> Interval | None:
    """Return the expanded percentile interval of replicates (R,); None where they do not carry one.

    Args:
        replicates: the metric on each resample, NaN where it is not defined.
        value: the metric itself.
        num_units: independent units that were resampled, 2 or more.
        confidence: between 0 and 1.
    """
    if not usable(replicates, value, num_units):
        return None
    tail = tail_share(num_units, confidence)
    low, high = np.quantile(replicates[~np.isnan(replicates)], [tail, 1 - tail])
    return Interval(value, float(low), float(high), "bootstrap")
