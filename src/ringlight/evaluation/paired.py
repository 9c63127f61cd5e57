"""Two predictions of the same records: the interval of each difference, and McNemar's test.

Both are scored on the same resamples, so what is hard for both cancels (Efron & Tibshirani 1993, section 8.3): an
interval of a difference says more than two intervals side by side.

Shapes: N records, K classes, U units, R resamples.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from ringlight.errors import DataError
from ringlight.evaluation.bootstrap import Scorer, point, replicate
from ringlight.evaluation.decided import Decided, decided
from ringlight.evaluation.percentiles import percentile_interval
from ringlight.evaluation.rates import Interval, check_confidence
from ringlight.types import Task

CLASS_RATES = ("recall", "precision", "f1")
"""The differences that are measured for each class, as `recall/<class>`, ..."""

EXACT_UP_TO = 25
"""Discordant records up to which McNemar's test is the exact binomial one."""


@dataclass(frozen=True, slots=True)
class McNemar:
    """How often only one of two predictions is right, and how likely that is between equals (two-sided)."""

    only_a: int
    only_b: int
    p_value: float
    exact: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"only_a": self.only_a, "only_b": self.only_b, "p_value": self.p_value, "exact": self.exact}


def mcnemar(correct_a: npt.ArrayLike, correct_b: npt.ArrayLike) -> McNemar:
    """Test whether two predictions are right equally often (McNemar 1947, Psychometrika 12:153).

    Of the n = only_a + only_b records on which just one is right, each is as likely to be the one's as the other's:
    binomial, exact up to 25 of them; beyond, χ² = (|only_a - only_b| - 1)² / n, one degree of freedom (Edwards 1948).
    Records of one group are no independent trials: read it as a lower bound of p there.

    Args:
        correct_a: (N,) whether the first is right.
        correct_b: (N,) whether the second is right, on the same records.

    Raises:
        DataError: they are not booleans of one length.

    Examples:
        >>> mcnemar([True] * 8 + [False] * 6, [True] * 8 + [True] * 6).p_value  # 2 / 2⁶
        0.03125
    """
    first, second = np.asarray(correct_a), np.asarray(correct_b)
    if first.shape != second.shape or first.ndim != 1 or {first.dtype.kind, second.dtype.kind} != {"b"}:
        raise DataError(
            "two arrays (N,) of booleans, one entry per record",
            got=f"{first.dtype} {first.shape} and {second.dtype} {second.shape}",
            where="mcnemar",
            fix="pass whether each prediction is right, on the same records",
        )
    only_a, only_b = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = only_a + only_b
    exact = discordant <= EXACT_UP_TO
    if exact:
        p_value = min(1.0, 2 * float(stats.binom.cdf(min(only_a, only_b), discordant, 0.5))) if discordant else 1.0
    else:
        p_value = float(stats.chi2.sf((abs(only_a - only_b) - 1) ** 2 / discordant, 1)) if only_a != only_b else 1.0
    return McNemar(only_a, only_b, p_value, exact)


def paired_intervals(
    targets: npt.ArrayLike,
    probabilities_a: npt.ArrayLike,
    probabilities_b: npt.ArrayLike,
    classes: Sequence[str],
    task: Task,
    *,
    groups: Sequence[Hashable] | npt.NDArray[np.generic] | None = None,
    decisions_a: npt.ArrayLike | None = None,
    decisions_b: npt.ArrayLike | None = None,
    threshold: float | Sequence[float] = 0.5,
    num_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return the differences b - a with their paired bootstrap intervals.

    Args:
        targets: class numbers (N,) when multi-class, a binary matrix (N, K) when multi-label.
        probabilities_a: (N, K) of the first.
        probabilities_b: (N, K) of the second, on the same records in the same order.
        classes: the K class names.
        task: multi-class or multi-label.
        groups: (N,) the group of each record (None: a unit of its own); drawn whole.
        decisions_a: (N, K) what the first decided, where it is not the best class or the threshold.
        decisions_b: (N, K) the same of the second.
        threshold: see :func:`ringlight.evaluation.metrics.classification_metrics`.
        num_resamples: R.
        confidence: between 0 and 1.
        seed: of the resamples.

    Returns:
        By metric, and by `recall/<class>`, `precision/<class>`, `f1/<class>`. A difference that is the same on every
        resample (two predictions that decide alike) or not defined on more than half of them is left out, and so
        are the calibration errors: noise raises both, by different amounts. Compare log-loss or Brier score instead.

    Raises:
        DataError: arrays that do not fit each other or hold impossible values.
    """
    found = paired_differences(
        decided(targets, probabilities_a, classes, task, threshold=threshold, decisions=decisions_a, groups=groups),
        decided(targets, probabilities_b, classes, task, threshold=threshold, decisions=decisions_b, groups=groups),
        num_resamples=num_resamples,
        confidence=confidence,
        seed=seed,
    )
    return {name: interval for name, (_, interval) in found.items() if interval is not None}


def paired_differences(
    first: Decided, second: Decided, *, num_resamples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> dict[str, tuple[float, Interval | None]]:
    """Return every difference second - first that is defined, with its interval where there is one.

    Args:
        first: a prediction.
        second: another of the same records, in the same order and with the same units.
        num_resamples: R.
        confidence: between 0 and 1.
        seed: of the resamples.
    """
    check_confidence(confidence)
    scorers, num_units = [Scorer(data, calibration=False) for data in (first, second)], first.units.num_units
    a, b = replicate(scorers, num_units, num_resamples, seed)
    point_a, point_b = (point(scorer, num_units) for scorer in scorers)
    rows = {
        name: (b.scalars[name] - a.scalars[name], point_b.scalars[name] - point_a.scalars[name]) for name in a.scalars
    }
    for rate in CLASS_RATES:
        for k, name in enumerate(first.classes):
            value = point_b.per_class[rate][k] - point_a.per_class[rate][k]
            rows[f"{rate}/{name}"] = (b.per_class[rate][k] - a.per_class[rate][k], value)
    return {
        name: (
            float(value[0]),
            percentile_interval(replicates, float(value[0]), num_units=num_units, confidence=confidence),
        )
        for name, (replicates, value) in rows.items()
        if not np.isnan(value[0])
    }
