"""The calibration error under weights, and how far its bins move: what an honest interval of it needs.

The error is a sum of absolute gaps g_b, Σ_b |g_b|, and noise alone makes such a sum larger: of a perfectly calibrated
model it is never 0, and on a resample larger still. Percentiles of the resamples therefore lie above the truth (in a
simulation of 400 calibrated records, always). Its limits are:

- low: max(0, E - q), q the 97.5 % quantile of Σ_b |g*_b - g_b| over the resamples. By the triangle inequality the true
  error is at least E minus the distance of the measured gaps from the true ones
- high: max(E, 2 E - e), e the 2.5 % quantile of the resampled errors (the basic bootstrap, which takes off the excess)

Shapes: B bins, K classes, U units, C resamples.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ringlight.evaluation.decided import Decided
from ringlight.evaluation.inputs import FloatArray
from ringlight.evaluation.percentiles import tail_share, usable
from ringlight.evaluation.ranking import MassBins
from ringlight.evaluation.rates import Interval
from ringlight.evaluation.sums import Sums, beliefs, gap_columns


class Errors(NamedTuple):
    """Calibration errors of C resamples and the distances of their gaps from the measured ones."""

    error: FloatArray
    distance: FloatArray


class CalibrationGaps:
    """Scores the calibration of one prediction under any weights of its units."""

    def __init__(self, data: Decided) -> None:
        self._sums = Sums(gap_columns(data), data.units)
        self._mass_bins = [MassBins(believed, right, data.units.codes) for believed, right in beliefs(data)]
        self._classes = [f"gap_{k}" for k in range(len(data.classes))]
        self._top = ["gap"] if data.task == "multiclass" else self._classes
        whole = np.ones((data.units.num_units, 1))
        self._measured = self._sums(whole)
        self._num_records = len(data.actual)
        self._measured_mass = [bins(whole) for bins in self._mass_bins]

    def __call__(self, weights: FloatArray, records: FloatArray) -> dict[str, Errors]:
        """Return `ece` and `ece_mass` (C,), and `class_ece` (K, C), under weights (U, C) of `records` (C,)."""
        sums = self._sums(weights)
        each = {name: _errors(gaps / records, self._measured[name] / self._num_records) for name, gaps in sums.items()}
        mass = [_errors(bins(weights), at) for bins, at in zip(self._mass_bins, self._measured_mass, strict=True)]
        classes = zip(*(each[name] for name in self._classes), strict=True)
        return {
            "ece": _mean([each[name] for name in self._top]),
            "ece_mass": _mean(mass),
            "class_ece": Errors(*(np.stack(part) for part in classes)),
        }


def _errors(gaps: FloatArray, measured: FloatArray) -> Errors:
    return Errors(np.abs(gaps).sum(axis=0), np.abs(gaps - measured).sum(axis=0))


def _mean(errors: list[Errors]) -> Errors:
    return Errors(*(np.mean(part, axis=0) for part in zip(*errors, strict=True)))


def error_interval(drawn: Errors, value: float, *, num_units: int, confidence: float) -> Interval | None:
    """Return the interval of a calibration error from its resamples (R,); None where they do not carry one."""
    if not usable(drawn.error, value, num_units):
        return None
    tail = tail_share(num_units, confidence)
    low = max(0.0, value - float(np.quantile(drawn.distance, 1 - tail)))
    high = max(value, 2 * value - float(np.quantile(drawn.error, tail)))
    return Interval(value, low, min(1.0, high), "gaps")
