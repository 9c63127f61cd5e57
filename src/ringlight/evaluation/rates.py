"""Intervals of rates: recall, precision, accuracy, and everything else that counts hits among trials.

A rate p of n independent trials gets Wilson's score interval (Wilson 1927, JASA 22:209; recommended over the normal
and the exact one by Brown, Cai & DasGupta 2001, Statistical Science 16:101, eq. 4):

    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)

A bootstrap cannot give it at the edge: every resample of a perfect score is perfect, and [1, 1] after twelve parts
would be a lie. Wilson says [0.76, 1].

**Records of one part are no independent trials.** The rate is then judged by its *effective* number of trials, n
divided by the design effect (Kish 1965; Korn & Graubard 1998, Survey Methodology 24:193): the variance over
groups, by linearisation, which is what the group bootstrap's variance converges to, over the binomial variance:

    deff = G/(G-1) Σ_g (h_g - p m_g)² / (n p (1-p)),   at least 1       (h_g hits in m_g trials of group g)

With few misses that estimate rests on nothing, and at p = 0 or 1 it does not exist. It is therefore drawn towards
the design effect of groups that succeed or fail as a whole, Σ m_g² / n, by the weight of one group:

    deff' = (e deff + Σ m_g²/n) / (e + 1),   e = the smaller of the numbers of groups with a hit and with a miss

so that a perfect score on G groups of equal size counts G trials, and one with misses in many groups n / deff.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt
from scipy import stats

from ringlight.errors import DataError
from ringlight.evaluation.units import Units, find_units, unit_sums


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its confidence interval; `method` is how the interval was found."""

    value: float
    low: float
    high: float
    method: str

    def to_list(self) -> list[float]:
        """Return [low, high]."""
        return [self.low, self.high]

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def wilson(successes: float, trials: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a rate; without a trial nothing is known: (0, 1).

    Args:
        successes: hits, from 0 to `trials`; need not be whole, since an effective number of trials is not.
        trials: independent trials.
        confidence: between 0 and 1.

    Raises:
        DataError: counts that cannot be, or a confidence outside (0, 1).

    Examples:
        >>> [round(limit, 3) for limit in wilson(12, 12)]
        [0.758, 1.0]
    """
    _check_counts(successes, trials, confidence)
    if trials == 0:
        return 0.0, 1.0
    z = float(stats.norm.isf((1 - confidence) / 2))
    rate = successes / trials
    centre = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    # At the edges the formula gives the edge itself, but for rounding.
    return (0.0 if successes == 0 else max(0.0, centre - half)), (
        1.0 if successes == trials else min(1.0, centre + half)
    )


def clopper_pearson(successes: float, trials: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact binomial interval (Clopper & Pearson 1934): wider than Wilson's, never covers too seldom.

    Args:
        successes: hits, from 0 to `trials`.
        trials: independent trials.
        confidence: between 0 and 1.

    Raises:
        DataError: counts that cannot be, or a confidence outside (0, 1).

    Examples:
        >>> [round(limit, 3) for limit in clopper_pearson(12, 12)]
        [0.735, 1.0]
    """
    _check_counts(successes, trials, confidence)
    tail = (1 - confidence) / 2
    low = float(stats.beta.ppf(tail, successes, trials - successes + 1)) if successes > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, successes + 1, trials - successes)) if successes < trials else 1.0
    return low, high


def rate_interval(
    hits: npt.ArrayLike,
    *,
    trials: npt.ArrayLike | None = None,
    groups: Sequence[Hashable] | npt.NDArray[np.generic] | None = None,
    confidence: float = 0.95,
) -> Interval | None:
    """Return a rate over records with its interval; None without a trial.

    Args:
        hits: (N,) hits of each record: booleans, or numbers from 0 to its trials.
        trials: (N,) trials of each record; one each by default. Records with 0 do not count.
        groups: (N,) the group of each record; None counts every record as independent.
        confidence: between 0 and 1.

    Raises:
        DataError: lengths that do not fit, or hits that exceed the trials.

    Examples:
        >>> print(rate_interval([True] * 12, groups=["part 1"] * 6 + ["part 2"] * 6))  # two parts, twelve pictures
        1.000 [0.342, 1.000]
    """
    found = np.asarray(hits, np.float64)
    tried = np.ones_like(found) if trials is None else np.asarray(trials, np.float64)
    if found.ndim != 1 or found.shape != tried.shape or not ((found >= 0) & (found <= tried)).all():
        raise DataError(
            "hits (N,) from 0 to the trials (N,) of each record",
            got=f"hits {found.shape} and trials {tried.shape}, or a hit beyond its trials",
            where="rate_interval",
            fix="pass one number for each record",
        )
    return clustered_rate(found, tried, find_units(groups, len(found)), confidence)


def clustered_rate(
    hits: npt.NDArray[np.float64], trials: npt.NDArray[np.float64], units: Units, confidence: float
) -> Interval | None:
    """Return what :func:`rate_interval` returns, of checked arrays (N,) and units."""
    total = float(trials.sum())
    if total == 0:
        return None
    effective = effective_trials(hits, trials, units)
    rate = float(hits.sum()) / total
    return Interval(rate, *wilson(rate * effective, effective, confidence), "wilson")


def effective_trials(hits: npt.NDArray[np.float64], trials: npt.NDArray[np.float64], units: Units) -> float:
    """Return how many independent trials tell as much as these (the formula at the top of this module).

    Examples:
        >>> units = find_units(list("aaabbbccc"), 9)
        >>> effective_trials(np.ones(9), np.ones(9), units)  # a perfect score: three parts are three trials
        3.0
    """
    total = float(trials.sum())
    if units.single and float(trials.max(initial=0)) <= 1:
        return total
    tried, hit = unit_sums(trials, units), unit_sums(hits, units)
    hit, tried = hit[tried > 0], tried[tried > 0]
    rate = hit.sum() / total
    as_one = float((tried**2).sum()) / total
    evidence = min(int((hit > 0).sum()), int((hit < tried).sum()))
    estimate = 1.0
    if evidence and len(tried) > 1:
        spread = len(tried) / (len(tried) - 1) * ((hit - rate * tried) ** 2).sum()
        estimate = max(1.0, float(spread / (total * rate * (1 - rate))))
    elif evidence:
        estimate = as_one  # one group with hits and misses: its records say nothing about other groups
    return max(1.0, total / ((evidence * estimate + as_one) / (evidence + 1)))


def f1_interval(
    tp: npt.NDArray[np.float64], wrong: npt.NDArray[np.float64], units: Units, confidence: float
) -> Interval | None:
    """Return F1 with its interval; None when the class is neither there nor predicted.

    F1 = 2J / (1 + J), where J = tp / (tp + fp + fn) is a rate: of the records that are or are said to be of the class,
    those that are both. Its interval is Wilson's, its limits carried over.

    Args:
        tp: (N,) hits of each record.
        wrong: (N,) false positives and false negatives of each record.
        units: the groups.
        confidence: between 0 and 1.
    """
    found = clustered_rate(tp, tp + wrong, units, confidence)
    if found is None:
        return None
    value, low, high = (2 * share / (1 + share) for share in (found.value, found.low, found.high))
    return Interval(value, low, high, "wilson")


def mean_of_intervals(intervals: Sequence[Interval], weights: Sequence[float]) -> Interval:
    """Return the weighted mean of independent estimates, its limits by the method of variance estimates recovery.

    Newcombe 1998 and Zou & Donner 2008 (Statistics in Medicine 27:1693): the distance of the mean from its lower
    limit is the root of the summed squares of the distances of its parts, each with its weight; the upper likewise.

    Examples:
        >>> print(mean_of_intervals([Interval(1, 0.9, 1, "wilson"), Interval(1, 0.9, 1, "wilson")], [0.5, 0.5]))
        1.000 [0.929, 1.000]
    """
    share = np.asarray(weights, np.float64)
    value, low, high = (
        np.array([getattr(part, name) for part in intervals], np.float64) for name in ("value", "low", "high")
    )
    mean = float(share @ value)
    down, up = (float(np.sqrt(((share * away) ** 2).sum())) for away in (value - low, high - value))
    return Interval(mean, mean - down, mean + up, "mover")


def _check_counts(successes: float, trials: float, confidence: float) -> None:
    if not 0 <= successes <= trials or not np.isfinite(trials):
        raise DataError(
            "successes from 0 to the number of trials",
            got=f"{successes} of {trials}",
            where="interval",
            fix="pass hits and trials, in this order",
        )
    check_confidence(confidence)


def check_confidence(confidence: float) -> None:
    """Refuse a confidence that is none.

    Raises:
        DataError: it is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise DataError("a number between 0 and 1", got=str(confidence), where="confidence", fix="use 0.95")
