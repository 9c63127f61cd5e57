"""How far probabilities can be believed: log-loss, Brier score, expected calibration error, reliability bins.

**Log-loss**, multi-class: -mean ln p(true class). Multi-label: the mean over records and classes of
-[y ln p + (1-y) ln(1-p)]. A probability of 0 for what is true counts as 2.2e-16 (scikit-learn's bound for doubles),
so the worst score of a record is 36.04 and never infinite. Probabilities are taken as they are, not normalised again.

**Brier score** (Brier 1950, Monthly Weather Review 78:1, eq. 2), with scikit-learn's default scale:

- multi-label: mean over records and classes of (p - y)², from 0 to 1; one column is the binary Brier score
- multi-class, K = 2: mean over records of (p - y)² of either class, from 0 to 1: the same number as for one column
- multi-class, K > 2: mean over records of the *sum* over classes of (p - y)², from 0 to 2: Brier's own definition

**Expected calibration error** (Naeini et al. 2015; Guo et al. 2017, eq. 3): Σ_b n_b/N |accuracy(b) - confidence(b)|
over bins b of the confidence. Which confidence:

- multi-class: that of the top class, right or wrong (Guo et al.), whatever decided in the end. With K = 2 it lies from
  0.5 to 1 and is *not* the binary error of one column below
- multi-label: of each class its probability, present or absent, then the mean over the classes (class-wise,
  Nixon et al. 2019); one column is the binary calibration error
- one class of several: its probability against the rest, in both tasks

Bins: equal width, (0, 1/B], ..., ((B-1)/B, 1], 0 in the first, as Guo et al.; or equal mass, between the B-quantiles of
the confidences as scikit-learn's `calibration_curve(strategy="quantile")` sets them: equal confidences stay in one
bin, so that the order of the records changes nothing. (torchmetrics closes its bins on the left, and gives exactly 1 a
bin of its own: its numbers differ where a confidence lies on an edge, such as 0.2 or 1.)

Shapes: N records, K classes, B bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError, did_you_mean
from ringlight.evaluation.inputs import (
    BoolArray,
    FloatArray,
    IntArray,
    ScoreArray,
    checked_column,
    checked_pair,
    column,
    has_class,
)
from ringlight.types import Task

BinKind = Literal["width", "mass"]

NUM_BINS = 15
"""Bins of the calibration error where nothing else is said, as in Guo et al. 2017."""

_TINY = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class Reliability:
    """How often confidence was right: B bins with their edges (B + 1), mean confidence, accuracy and record count.

    An empty bin has neither confidence nor accuracy: None.
    """

    edges: tuple[float, ...]
    confidence: tuple[float | None, ...]
    accuracy: tuple[float | None, ...]
    count: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists for JSON."""
        return {name: list(getattr(self, name)) for name in ("edges", "confidence", "accuracy", "count")}


def log_loss(targets: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Return the log-loss, natural logarithm.

    Args:
        targets: class numbers (N,), multi-class; or a binary matrix (N, K), multi-label.
        probabilities: (N, K).

    Raises:
        DataError: see :func:`ringlight.evaluation.metrics.classification_metrics`.

    Examples:
        >>> round(log_loss([0, 1], [[0.8, 0.2], [0.5, 0.5]]), 4)  # -(ln 0.8 + ln 0.5) / 2
        0.4581
    """
    truth, scores, task = checked_pair(targets, probabilities)
    return log_loss_of(truth, scores, task)


def brier_score(targets: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Return the Brier score; its scale is described at the top of this module.

    Args:
        targets: class numbers (N,), multi-class; or a binary matrix (N, K), multi-label.
        probabilities: (N, K).

    Raises:
        DataError: see :func:`ringlight.evaluation.metrics.classification_metrics`.

    Examples:
        >>> round(brier_score([0, 1], [[0.8, 0.2], [0.5, 0.5]]), 3)  # (0.2² + 0.5²) / 2
        0.145
        >>> round(brier_score([0, 1], [[0.8, 0.2, 0.0], [0.5, 0.5, 0.0]]), 3)  # three classes: the sum over them
        0.29
    """
    truth, scores, task = checked_pair(targets, probabilities)
    return total_brier([class_brier(truth, scores, k) for k in range(scores.shape[1])], task)


def calibration_error(
    targets: npt.ArrayLike, probabilities: npt.ArrayLike, *, bins: int = NUM_BINS, kind: BinKind = "width"
) -> float:
    """Return the expected calibration error of a prediction: top class, or mean over the classes when multi-label.

    Args:
        targets: class numbers (N,), multi-class; or a binary matrix (N, K), multi-label.
        probabilities: (N, K).
        bins: B.
        kind: bins of equal width or of equal mass.

    Raises:
        DataError: see :func:`ringlight.evaluation.metrics.classification_metrics`; no bin.

    Examples:
        >>> round(calibration_error([0, 1], [[0.8, 0.2], [0.4, 0.6]]), 3)  # both right: (0.2 + 0.4) / 2
        0.3
    """
    truth, scores, task = checked_pair(targets, probabilities)
    check_bins(bins, kind)
    return calibration_error_of(truth, scores, task, bins, kind)


def expected_calibration_error(
    confidences: npt.ArrayLike, correct: npt.ArrayLike, bins: int = NUM_BINS, kind: BinKind = "width"
) -> float:
    """Return Σ_b n_b/N |accuracy(b) - confidence(b)|.

    Args:
        confidences: (N,), from 0 to 1.
        correct: (N,), whether what was believed is so.
        bins: B.
        kind: bins of equal width or of equal mass.

    Raises:
        DataError: no record, no bin, lengths that do not fit, confidences that are not from 0 to 1.

    Examples:
        >>> expected_calibration_error([0.75, 0.75, 0.75, 0.75], [True, True, False, False])
        0.25
    """
    check_bins(bins, kind)
    return error_of(*checked_column("confidences", confidences, "correct", correct, limits=(0.0, 1.0)), bins, kind)


def reliability_bins(
    confidences: npt.ArrayLike, correct: npt.ArrayLike, bins: int = NUM_BINS, kind: BinKind = "width"
) -> Reliability:
    """Return the bins of a reliability diagram.

    Args:
        confidences: (N,), from 0 to 1.
        correct: (N,), whether what was believed is so.
        bins: B.
        kind: bins of equal width or of equal mass.

    Raises:
        DataError: no record, no bin, lengths that do not fit, confidences that are not from 0 to 1.

    Examples:
        >>> reliability_bins([0.2, 0.9, 0.7], [False, True, False], bins=2).to_dict()["count"]
        [1, 2]
    """
    check_bins(bins, kind)
    believed, right = checked_column("confidences", confidences, "correct", correct, limits=(0.0, 1.0))
    edges = bin_edges(believed, bins, kind)
    index = np.searchsorted(edges[1:-1], believed)
    count = np.bincount(index, minlength=bins)
    sums = (np.bincount(index, believed, minlength=bins), np.bincount(index, right, minlength=bins))
    confidence, accuracy = (
        tuple(float(total / size) if size else None for total, size in zip(part, count, strict=True)) for part in sums
    )
    return Reliability(tuple(edges.tolist()), confidence, accuracy, tuple(count.tolist()))


def reliability(
    targets: npt.ArrayLike, probabilities: npt.ArrayLike, *, bins: int = NUM_BINS, kind: BinKind = "width"
) -> Reliability:
    """Return a prediction's reliability diagram: top class, or all record-class pairs together when multi-label.

    Args:
        targets: class numbers (N,), multi-class; or a binary matrix (N, K), multi-label.
        probabilities: (N, K).
        bins: B.
        kind: bins of equal width or of equal mass.

    Raises:
        DataError: see :func:`ringlight.evaluation.metrics.classification_metrics`; no bin.
    """
    truth, scores, task = checked_pair(targets, probabilities)
    if task == "multiclass":
        return reliability_bins(*top_class(truth, scores), bins, kind)
    return reliability_bins(scores.ravel(), truth.ravel(), bins, kind)


# What follows takes arrays that were checked.


def log_loss_of(truth: IntArray, scores: ScoreArray, task: Task) -> float:
    """Return :func:`log_loss` of checked arrays."""
    if task == "multiclass":
        return _mean_cost(scores[np.arange(len(truth)), truth].astype(np.float64))
    costs = []
    for k in range(scores.shape[1]):
        score = column(scores, k).astype(np.float64)
        costs.append(_mean_cost(np.where(has_class(truth, k), score, 1 - score)))
    return float(np.mean(costs))


def _mean_cost(probability: FloatArray) -> float:
    return float(-np.log(np.clip(probability, _TINY, 1 - _TINY)).mean())


def class_brier(truth: IntArray, scores: ScoreArray, k: int) -> float:
    """Return the mean of (p - y)² of class k against the rest."""
    distance = column(scores, k) - has_class(truth, k).astype(np.float64)
    return float(distance @ distance) / len(distance)


def total_brier(classes: list[float], task: Task) -> float:
    """Return the Brier score from that of each class."""
    if task == "multiclass" and len(classes) > 2:
        return float(np.sum(classes))
    return float(np.mean(classes))


def top_class(truth: IntArray, scores: ScoreArray) -> tuple[ScoreArray, BoolArray]:
    """Return each record's highest probability (N,) and whether its class, the first of equals, is the true one."""
    top = scores.argmax(axis=1)
    return scores[np.arange(len(top)), top], top == truth


def calibration_error_of(truth: IntArray, scores: ScoreArray, task: Task, bins: int, kind: BinKind) -> float:
    """Return :func:`calibration_error` of checked arrays."""
    if task == "multiclass":
        return error_of(*top_class(truth, scores), bins, kind)
    return float(np.mean([class_error(truth, scores, k, bins, kind) for k in range(scores.shape[1])]))


def class_error(truth: IntArray, scores: ScoreArray, k: int, bins: int = NUM_BINS, kind: BinKind = "width") -> float:
    """Return the expected calibration error of the probability of class k, the class against the rest."""
    return error_of(column(scores, k), has_class(truth, k), bins, kind)


def error_of(believed: ScoreArray, right: BoolArray, bins: int, kind: BinKind) -> float:
    """Return :func:`expected_calibration_error` of checked arrays."""
    index = np.searchsorted(bin_edges(believed, bins, kind)[1:-1], believed)
    # n_b/N |accuracy - confidence| is the absolute sum of (correct - confidence) over the bin, divided by N
    gaps = np.bincount(index, right - believed.astype(np.float64), minlength=bins)
    return float(np.abs(gaps).sum()) / len(believed)


def bin_edges(believed: ScoreArray, bins: int, kind: BinKind) -> FloatArray:
    """Return the edges (B + 1) of bins that are open on the left and closed on the right."""
    shares = np.linspace(0.0, 1.0, bins + 1)
    if kind == "width":
        return shares
    edges: FloatArray = np.percentile(believed.astype(np.float64), shares * 100)
    return edges


def check_bins(bins: int, kind: str = "width", *, usual: int = NUM_BINS) -> None:
    """Refuse a number of bins that is none, or an unknown kind; `usual` is the number the message advises.

    Raises:
        DataError: the number is below 1 or not whole, or there is no such kind of bins.
    """
    if isinstance(bins, bool) or not isinstance(bins, int | np.integer) or bins < 1:
        raise DataError("a whole number of at least 1", got=f"{bins}", where="bins", fix=f"use {usual}")
    kinds = get_args(BinKind)
    if kind not in kinds:
        raise DataError("a kind of bins", got=f"`{kind}`", where="kind", fix=did_you_mean(kind, kinds))
