"""The interval of a mean over records that come in groups.

Shapes: N records, U units, R resamples.
"""

from __future__ import annotations

import numpy as np

from ringlight.errors import DataError
from ringlight.evaluation.inputs import FloatArray
from ringlight.evaluation.percentiles import percentile_interval
from ringlight.evaluation.rates import Interval
from ringlight.evaluation.units import Units, resamples, unit_sums


def mean_interval(
    values: FloatArray, units: Units, num_resamples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> Interval | None:
    """Return the bootstrap interval of a mean over records (N,); None where every resample gives the same.

    Units are drawn whole, and the mean of a resample is that of its records.

    Raises:
        DataError: fewer than one resample.

    Examples:
        >>> from ringlight.evaluation.units import find_units
        >>> print(mean_interval(np.arange(100) % 2.0, find_units(None, 100)))
        0.500 [0.400, 0.600]
    """
    if num_resamples < 1:
        raise DataError("1 resample or more", got=str(num_resamples), where="num_resamples", fix="use 2000")
    sums, counts = unit_sums(values, units), unit_sums(np.ones(len(values)), units)
    chunks = [(sums @ weights) / (counts @ weights) for weights in resamples(units.num_units, num_resamples, seed)]
    replicates = np.concatenate(chunks)
    return percentile_interval(replicates, float(values.mean()), num_units=units.num_units, confidence=confidence)
