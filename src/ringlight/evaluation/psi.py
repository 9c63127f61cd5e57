"""The population stability index: how far a distribution has moved from its reference, in one number.

    PSI = Σ_b (a_b - e_b) ln(a_b / e_b)           (Siddiqi 2006, "Credit Risk Scorecards", chapter 6: 0.1 and 0.25)

over B bins with the shares e of the reference and a of the records judged; it is the Kullback-Leibler divergence there
and back. Bins are the reference's deciles. Half a record is added to each bin, so that an empty one has a logarithm.

The usual marks (below 0.1 nothing, from 0.25 much) know no sample size. Where nothing has changed,

    PSI ~ (1/n + 1/m) χ²(B - 1)                   (Yurdakul & Naranjo 2020, J. Risk Model Validation 14:89, for n and m
                                                   independent records in the two samples)

so that with ten bins and 100 records on either side a PSI of 0.18 is average and 0.1 is nothing. :func:`psi_limit` is
what an index is judged against. For a fixed window it is a test; looked at all the time it raises false alarms, so that
it is shown and the tests of :mod:`ringlight.evaluation.drift` decide.

Shapes: B bins.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import stats

from ringlight.errors import DataError

SOME, MUCH = 0.1, 0.25
"""The usual marks."""
LEVEL = 0.001
"""How often an index of records that have not changed exceeds :func:`psi_limit`."""


def psi(expected: npt.ArrayLike, actual: npt.ArrayLike) -> float:
    """Return the index of two sets of counts (B,) in the same bins.

    Raises:
        DataError: shapes that differ, no bin, negative counts, or a sample without a record.

    Examples:
        >>> round(psi([500_000, 500_000], [600_000, 400_000]), 4)
        0.0405
    """
    tables = [np.asarray(counts, np.float64) for counts in (expected, actual)]
    if tables[0].ndim != 1 or tables[0].shape != tables[1].shape or not tables[0].size:
        got = " and ".join(str(table.shape) for table in tables)
        raise _wrong("counts", "counts (B,) in the same bins, at least one", got, "count both in the same bins")
    for table in tables:
        if not (np.isfinite(table) & (table >= 0)).all() or not table.sum():
            raise _wrong("counts", "counts from 0, not all of them 0", str(table.tolist()), "pass counts of records")
    shares = [(table + 0.5) / (table + 0.5).sum() for table in tables]
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def psi_limit(num_expected: float, num_actual: float, num_bins: int, *, level: float = LEVEL) -> float:
    """Return what an index exceeds with probability `level` when nothing has changed.

    Args:
        num_expected: independent records of the reference, above 0; need not be whole.
        num_actual: independent records that are judged, above 0.
        num_bins: at least 1; one bin cannot move, its limit is 0.
        level: between 0 and 1.

    Raises:
        DataError: numbers that cannot be.

    Examples:
        >>> round(psi_limit(100, 100, 10, level=0.5), 3)  # the median
        0.167
    """
    if not (num_expected > 0 and num_actual > 0 and num_bins >= 1 and 0 < level < 1):
        got = f"{num_expected:g}, {num_actual:g}, {num_bins}, {level:g}"
        raise _wrong("psi_limit", "records above 0, a bin, a level between 0 and 1", got, "pass sample sizes")
    if num_bins == 1:
        return 0.0
    return (1 / num_expected + 1 / num_actual) * _quantile(level, num_bins - 1)


@cache  # asked for every quantity, whenever somebody looks
def _quantile(level: float, degrees: int) -> float:
    return float(stats.chi2.isf(level, degrees))


def _wrong(where: str, expected: str, got: str, fix: str) -> DataError:
    return DataError(expected, got=got, where=where, fix=fix)
