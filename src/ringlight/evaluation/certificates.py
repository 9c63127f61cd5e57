"""Thresholds with a certificate: what a recall or a precision on validation proves about parts still to come.

Three theorems, each exact for any model and any distribution, as long as the records (with groups: the groups) of the
validation part and those to come are drawn alike and independently:

- recall of a class: the k-th smallest score of its n positives is a threshold whose recall is at least r with
  probability 1 - P(Bin(n, 1 - r) <= k - 1), although threshold and proof use the same records (order statistics:
  Wilks 1941, "Determination of sample sizes for setting tolerance limits"; in conformal prediction: Vovk 2012,
  "Conditional validity of inductive conformal predictors", proposition 2a). The bound equals Clopper and Pearson's.
- precision of a class: each threshold of a fixed grid is a hypothesis "the precision is below r" with the exact
  binomial p-value; they are tested from the highest threshold down (Angelopoulos et al. 2021, "Learn then Test",
  arXiv 2110.01052, section 2.3), starting anew at six fixed places that share the error budget (the fallback
  procedure, Wiens 2003), so that the search costs nothing of the confidence.
- mean recall of records with several labels: conformal risk control (Angelopoulos et al. 2022, arXiv 2208.02814,
  equation 4, B = 1) bounds the **expected** share of a record's labels that are missed, over validation parts and
  records to come. It is no statement at 95 %: about half of all validation parts give a threshold slightly worse.

What was chosen on the same validation part before (the best epoch, a calibration that is not monotone in the class's
score) stands outside these theorems; the test part shows whether it mattered.

A group counts as its worst record: found when all its positives are, right when no flagged record of it is wrong.

Shapes: N records, n units (records, or groups where there are some), K classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int64]

_GRID = 1.0 / (1.0 + np.exp(-np.linspace(6.0, -3.0, 91)))
"""Thresholds tried for a precision, fixed before any score is seen: 0.998 down to 0.047, even in the logit."""
_STARTS = (0, 15, 30, 45, 60, 75)
"""Where testing starts anew, each with its share of the error budget: 0.998, 0.989, 0.953, 0.818, 0.5, 0.182."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a threshold is proved to reach.

    `bound` is the proved recall or precision, at least `target`; `confidence` that of the proof, None where the bound
    is on an expectation (`kind` "risk_control"). `num_positives` counts the units behind it (for a precision: those
    flagged), `misses` what went wrong among them: units missed, false alarms, or labels missed (of an expectation).
    `needed` is the least number of units, none of them wrong, that could have proved the target. `label` None means
    every class.
    """

    kind: Literal["binomial", "risk_control"]
    measure: Literal["recall", "precision"]
    label: str | None
    target: float
    bound: float
    confidence: float | None
    num_positives: int
    misses: int
    needed: int
    unit: Literal["record", "group"] = "record"

    @property
    def sentence(self) -> str:
        """Say it in words.

        Examples:
            >>> Certificate(kind="binomial", measure="recall", label="scratch", target=0.98, bound=0.9801,
            ...             confidence=0.95, num_positives=149, misses=0, needed=149).sentence
            'recall of scratch is at least 0.980 with 95 % confidence (149 positive records, missed: 0)'
        """
        whose = f" of {self.label}" if self.label is not None else ""
        bound = math.floor(self.bound * 1000) / 1000  # a proved bound is never rounded up
        if self.confidence is None:
            found = f"({self.num_positives} {self.unit}s with a label, missed labels: {self.misses})"
            return f"expected {self.measure}{whose} is at least {bound:.3f} {found}"
        counted, wrong = ("positive", "missed") if self.measure == "recall" else ("flagged", "false alarms")
        found = f"({self.num_positives} {counted} {self.unit}s, {wrong}: {self.misses})"
        return f"{self.measure}{whose} is at least {bound:.3f} with {self.confidence * 100:g} % confidence {found}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, the sentence with them."""
        return {**asdict(self), "sentence": self.sentence}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from what :meth:`to_dict` returns."""
        return cls(**{key: value for key, value in values.items() if key != "sentence"})


class Proved(NamedTuple):
    """A threshold with its bound, the units behind it, and those of them that went wrong."""

    threshold: float
    bound: float
    num_units: int
    misses: int


def needed_for_recall(target: float, confidence: float) -> int:
    """Return how many positives, none of them missed, prove a recall: the least n with target^n <= 1 - confidence.

    Examples:
        >>> [needed_for_recall(target, 0.95) for target in (0.98, 0.99, 0.999)]
        [149, 299, 2995]
    """
    return math.ceil(math.log(1.0 - confidence) / math.log(target) - 1e-9)


def needed_for_precision(target: float, confidence: float) -> int:
    """Return how many flagged units, none a false alarm, prove a precision from the first start of the search on.

    Examples:
        >>> needed_for_precision(0.9, 0.95)
        46
    """
    return needed_for_recall(target, 1.0 - (1.0 - confidence) / len(_STARTS))


def needed_for_expected_recall(target: float) -> int:
    """Return how many units with a label, none missed, bound the expected recall: 1 / (n + 1) <= 1 - target.

    Examples:
        >>> needed_for_expected_recall(0.98)
        49
    """
    return math.ceil(1.0 / (1.0 - target) - 1.0 - 1e-9)


def recall_threshold(scores: npt.ArrayLike, *, target: float, confidence: float) -> Proved | None:
    """Return the highest threshold whose recall (share of scores at or above it) is proved; None with too few.

    Args:
        scores: of the positive units, (n,); a group's least score.
        target: the recall, in (0, 1).
        confidence: of the proof, in (0, 1).

    Examples:
        >>> proved = recall_threshold([0.9, 0.8, 0.4, 0.7, 0.6], target=0.5, confidence=0.95)
        >>> proved.threshold, round(proved.bound, 3), proved.num_units, proved.misses  # bound = 0.05 ** (1 / 5)
        (0.4, 0.549, 5, 0)
    """
    from scipy.special import bdtr, betaincinv

    ordered = np.sort(np.asarray(scores, np.float64))
    count = len(ordered)
    if not count:
        return None
    below = np.arange(count)  # k - 1: positives that may lie below the k-th smallest
    alpha = 1.0 - confidence
    allowed = np.flatnonzero(bdtr(below, count, 1.0 - target) <= alpha * (1 + 1e-12))
    if not len(allowed):
        return None
    rank = int(allowed[-1])
    threshold = float(ordered[rank])
    bound = float(betaincinv(count - rank, rank + 1, alpha))
    return Proved(threshold, bound, count, int((ordered < threshold).sum()))


def precision_threshold(
    scores: npt.ArrayLike, positive: npt.ArrayLike, *, target: float, confidence: float, groups: Codes | None = None
) -> Proved | None:
    """Return the lowest threshold of a fixed grid whose precision is proved; None when none is.

    Args:
        scores: of every record, (N,), from 0 to 1.
        positive: whether a record is of the class, (N,).
        target: the precision, in (0, 1).
        confidence: that the precision of the returned threshold is at least `target`, the search included.
        groups: number of each record's group, (N,); None when each stands alone.
    """
    from scipy.special import bdtr, betaincinv

    values, truth = np.asarray(scores, np.float64), np.asarray(positive, bool)
    codes = np.arange(len(values)) if groups is None else groups
    top = group_extremes(values, codes, np.maximum)
    wrong = group_extremes(np.where(truth, -np.inf, values), codes, np.maximum)
    flagged = len(top) - np.searchsorted(np.sort(top), _GRID, "left")
    alarms = len(wrong) - np.searchsorted(np.sort(wrong), _GRID, "left")
    p_values = np.where(flagged > 0, bdtr(alarms, np.maximum(flagged, 1), 1.0 - target), 1.0)
    share = (1.0 - confidence) / len(_STARTS)
    budget, found = 0.0, None
    for index, p_value in enumerate(p_values):
        budget += share if index in _STARTS else 0.0
        if budget > 0.0 and p_value <= budget:
            found = (index, budget)
        else:
            budget = 0.0  # this chain of tests ends; the next start brings its own share
    if found is None:
        return None
    index, budget = found
    count, misses = int(flagged[index]), int(alarms[index])
    return Proved(float(_GRID[index]), float(betaincinv(count - misses, misses + 1, budget)), count, misses)


def expected_recall_threshold(
    probabilities: npt.ArrayLike, truth: npt.ArrayLike, *, target: float, groups: Codes | None = None
) -> Proved | None:
    """Return the highest threshold, common to all classes, that bounds the expected share of labels missed.

    The loss of a record is the share of its labels below the threshold; records without a label do not count. With
    n units and mean loss R(t) the threshold is the largest t with n/(n+1) R(t) + 1/(n+1) <= 1 - target; None when
    n is too small for any.

    Args:
        probabilities: (N, K), from 0 to 1.
        truth: binary matrix (N, K).
        target: the expected recall, in (0, 1).
        groups: number of each record's group, (N,); a group's loss is the largest of its records'.
    """
    scores, actual = np.asarray(probabilities, np.float64), np.asarray(truth, bool)
    rows, columns = np.nonzero(actual)
    codes = np.arange(len(scores)) if groups is None else groups
    count = len(np.unique(codes[rows]))
    allowed = ((1.0 - target) * (count + 1) - 1.0) / max(count, 1)  # the mean loss that the inequality leaves
    if count == 0 or allowed < -1e-12:
        return None
    values, jumps = _loss_jumps(scores[rows, columns], rows, codes)
    distinct, first = np.unique(values, return_index=True)
    lost = np.concatenate([[0.0], np.cumsum(jumps)])[first] / count  # mean loss at t = distinct: what lies below it
    best = int(np.flatnonzero(lost <= max(allowed, 0.0) + 1e-12)[-1])
    threshold = float(distinct[best])
    bound = 1.0 - (count * lost[best] + 1.0) / (count + 1)
    return Proved(threshold, float(bound), count, int((values < threshold).sum()))


def _loss_jumps(values: FloatArray, rows: Codes, codes: Codes) -> tuple[FloatArray, FloatArray]:
    """Return label scores in rising order with what passing each adds to the loss of its group, the worst record's."""
    order = np.lexsort((values, rows))
    values, rows = values[order], rows[order]
    starts = np.searchsorted(rows, rows, "left")
    sizes = np.searchsorted(rows, rows, "right") - starts
    loss = (np.arange(len(rows)) - starts + 1) / sizes  # of the record, once its j-th smallest label is missed
    order = np.lexsort((loss, values, codes[rows]))
    values, loss, owner = values[order], loss[order], codes[rows][order]
    lift = 2.0 * np.unique(owner, return_inverse=True)[1]  # keeps the running maxima of groups apart
    reached = np.maximum.accumulate(loss + lift) - lift
    new = np.concatenate([[True], owner[1:] != owner[:-1]])
    jumps = reached - np.where(new, 0.0, np.concatenate([[0.0], reached[:-1]]))
    order = np.argsort(values, kind="stable")
    return values[order], jumps[order]


def group_extremes(values: FloatArray, codes: Codes, of: np.ufunc) -> FloatArray:
    """Return the minimum or maximum of each group that occurs, in order of its number.

    Args:
        values: one per record, (N,).
        codes: number of each record's group, (N,).
        of: `np.minimum` or `np.maximum`.
    """
    order = np.argsort(codes, kind="stable")
    starts = np.unique(codes[order], return_index=True)[1]
    if not len(starts):
        return values
    extremes: FloatArray = of.reduceat(values[order], starts)
    return extremes
