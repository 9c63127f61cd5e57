"""Searches for the best thresholds over every distinct score of a validation part: highest F1, lowest cost.

A threshold lies midway between the last score it takes in and the next one, since new scores fall between.

Shapes: N records, K classes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_MAX_ROUNDS = 20
_LEAST = 1e-12
"""Probabilities and scales are kept this far from 0 where they are divided."""


class _Prefixes(NamedTuple):
    """Records by falling score; `ends[m]` says that a threshold can lie between record m and the next."""

    order: npt.NDArray[np.int64]
    scores: FloatArray
    ends: npt.NDArray[np.int64]


def best_f1_threshold(scores: npt.ArrayLike, positive: npt.ArrayLike) -> float | None:
    """Return the threshold with the highest F1 of `score >= threshold` (the highest of equals); None without positives.

    Args:
        scores: (N,), from 0 to 1.
        positive: whether a record is of the class, (N,).

    Examples:
        >>> best_f1_threshold([0.9, 0.8, 0.3, 0.1], [True, False, True, False])
        0.2
    """
    truth = np.asarray(positive, bool)
    if not truth.any():
        return None
    sorted_ = _prefixes(np.asarray(scores, np.float64))
    hits = np.cumsum(truth[sorted_.order])[sorted_.ends]
    f1 = 2.0 * hits / (sorted_.ends + 1 + truth.sum())
    return _below(sorted_, int(sorted_.ends[f1.argmax()]))


def cheapest_threshold(
    scores: npt.ArrayLike, defective: npt.ArrayLike, *, escape_weight: float, overkill_weight: float
) -> float:
    """Return the threshold of `score >= threshold` that minimises the expected cost per part.

    cost(t) = escape_weight * escape_rate(t) + overkill_weight * overkill_rate(t); of equals the one with the fewest
    escapes.

    Args:
        scores: how defective each part looks, (N,), from 0 to 1.
        defective: whether it is, (N,); both kinds occur.
        escape_weight: cost of an escape times the share of defective parts on the line.
        overkill_weight: cost of an overkill times the share of good parts.
    """
    truth = np.asarray(defective, bool)
    sorted_ = _prefixes(np.asarray(scores, np.float64))
    hits = np.cumsum(truth[sorted_.order])[sorted_.ends]
    alarms = sorted_.ends + 1 - hits
    costs = escape_weight * (1 - hits / truth.sum()) + overkill_weight * alarms / (~truth).sum()
    least = float(costs.min())
    slack = 1e-12 * max(escape_weight, overkill_weight)
    if sorted_.scores[0] < 1.0 and escape_weight < least - slack:
        return float((sorted_.scores[0] + 1.0) / 2)  # an alarm costs more than every escape: no part is thrown away
    return _below(sorted_, int(sorted_.ends[np.flatnonzero(costs <= least + slack)[-1]]))


def best_scales(probabilities: FloatArray, targets: npt.NDArray[np.int64]) -> FloatArray:
    """Return scales t (K,), summing to 1, for which argmax_k p_k / t_k has a high macro-F1.

    Coordinate ascent from equal scales, class by class, over every value of t_k at which a record changes sides, until
    a round brings nothing: deterministic, never below the plain argmax, a local optimum. With two classes t_1 is the
    ordinary threshold of p_1. A class without examples keeps its scale.

    Args:
        probabilities: (N, K), from 0 to 1.
        targets: class numbers (N,).
    """
    safe = np.maximum(probabilities, _LEAST)
    size = safe.shape[1]
    scales = np.full(size, 1.0 / size)
    best = _macro_f1(probabilities, targets, scales)
    present = np.unique(targets).tolist()
    for _ in range(_MAX_ROUNDS):
        before = best
        for column in present:
            trial = scales.copy()
            trial[column] = _best_scale(safe, targets, scales, column)
            trial = np.maximum(trial / trial.sum(), _LEAST)
            reached = _macro_f1(probabilities, targets, trial)  # by the rule itself, ties and all
            if reached > best + 1e-12:
                scales, best = trial, reached
        if best <= before:
            break
    return scales


def _best_scale(safe: FloatArray, targets: npt.NDArray[np.int64], scales: FloatArray, column: int) -> float:
    """Return the t_k with the highest macro-F1 while the other scales stay.

    Record i is given class k when t_k is below p_ik / max_j (p_ij / t_j): sorted by that ratio, records change sides
    one after the other, and every class's counts are running sums.
    """
    size = safe.shape[1]
    scaled = safe / scales
    scaled[:, column] = -np.inf
    rival = scaled.argmax(axis=1)
    sorted_ = _prefixes(safe[:, column] / scaled[np.arange(len(safe)), rival])
    truth, rival = targets[sorted_.order], rival[sorted_.order]
    support = np.bincount(targets, minlength=size)
    given = np.bincount(rival, minlength=size)
    hits = np.bincount(rival[rival == truth], minlength=size)
    f1_sum = np.zeros(len(sorted_.ends))
    for other in range(size):
        if other == column:
            gained, chosen = np.cumsum(truth == other)[sorted_.ends], sorted_.ends + 1
        else:
            gained = hits[other] - np.cumsum((rival == other) & (truth == other))[sorted_.ends]
            chosen = given[other] - np.cumsum(rival == other)[sorted_.ends]
        f1_sum += 2.0 * gained / np.maximum(chosen + support[other], 1)
    return _below(sorted_, int(sorted_.ends[f1_sum.argmax()]))


def _macro_f1(probabilities: FloatArray, targets: npt.NDArray[np.int64], scales: FloatArray) -> float:
    size = probabilities.shape[1]
    chosen = (probabilities / scales).argmax(axis=1)
    hits = np.bincount(targets[chosen == targets], minlength=size)
    whole = np.bincount(chosen, minlength=size) + np.bincount(targets, minlength=size)
    return float((2.0 * hits / np.maximum(whole, 1)).mean())


def _prefixes(scores: FloatArray) -> _Prefixes:
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    return _Prefixes(order, ranked, np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True)))


def _below(sorted_: _Prefixes, last: int) -> float:
    """Return a threshold that takes in the records up to `last` and none after it."""
    taken = float(sorted_.scores[last])
    following = float(sorted_.scores[last + 1]) if last + 1 < len(sorted_.scores) else 0.0
    middle = (taken + following) / 2
    return middle if following < middle <= taken else taken  # between neighbouring numbers there is no middle
