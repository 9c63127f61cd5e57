"""ROC and precision-recall curves, the area under the one and the average precision of the other.

Scores are sorted once; records with equal scores move together, so a tie is one slanted step of the ROC curve, which
counts half (the Mann-Whitney statistic), and one step of average precision:

    AUROC = P(score of a positive > score of a negative) + P(equal) / 2
    AP    = Σ_n (R_n - R_(n-1)) P_n          over the distinct scores, highest first

Both equal scikit-learn's `roc_auc_score` and `average_precision_score`. AUROC is undefined without positives or without
negatives, AP without positives: None, never NaN.

Shapes: N records, K classes, M points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.evaluation.inputs import (
    BoolArray,
    FloatArray,
    IntArray,
    ScoreArray,
    checked_column,
    checked_inputs,
    column,
    has_class,
)
from ringlight.types import Task

MAX_POINTS = 200
"""Points of a thinned curve: more than a figure of a report can show."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve through M points; at point m everything with a score of at least `thresholds[m]` is found.

    ROC: x false positive rate, y true positive rate, from (0, 0). Precision-recall: x recall, y precision, from
    (0, 1). The first point finds nothing: its threshold is infinite.
    """

    x: FloatArray
    y: FloatArray
    thresholds: FloatArray

    def to_dict(self) -> dict[str, list[float | None]]:
        """Return plain lists for JSON: x and y to six places, which no figure shows; an infinite threshold is None."""
        return {
            "x": np.round(self.x, 6).tolist(),
            "y": np.round(self.y, 6).tolist(),
            "thresholds": [float(value) if np.isfinite(value) else None for value in self.thresholds],
        }


def auroc(scores: npt.ArrayLike, truth: npt.ArrayLike) -> float | None:
    """Return the area under the ROC curve; None without positives or without negatives.

    Args:
        scores: (N,), any finite numbers.
        truth: (N,), which records are positive.

    Raises:
        DataError: no record, lengths that do not fit, scores that are not finite, truth other than 0 and 1.

    Examples:
        >>> auroc([0.9, 0.4, 0.4, 0.1], [True, True, False, False])  # of four pairs three are right, one is a tie
        0.875
    """
    return areas(*checked_column("scores", scores, "truth", truth))[0]


def average_precision(scores: npt.ArrayLike, truth: npt.ArrayLike) -> float | None:
    """Return the average precision; None without positives.

    Args:
        scores: (N,), any finite numbers.
        truth: (N,), which records are positive.

    Raises:
        DataError: no record, lengths that do not fit, scores that are not finite, truth other than 0 and 1.

    Examples:
        >>> round(average_precision([0.9, 0.4, 0.4, 0.1], [True, True, False, False]), 4)  # 1/2 × 1 + 1/2 × 2/3
        0.8333
    """
    return areas(*checked_column("scores", scores, "truth", truth))[1]


def roc_curve(scores: npt.ArrayLike, truth: npt.ArrayLike, *, max_points: int = MAX_POINTS) -> Curve | None:
    """Return the ROC curve, thinned; None without positives or without negatives.

    Args:
        scores: (N,), any finite numbers.
        truth: (N,), which records are positive.
        max_points: at most so many points, at least 2: evenly along the curve, its two ends always.

    Raises:
        DataError: no record, lengths that do not fit, scores that are not finite, truth other than 0 and 1.

    Examples:
        >>> curve = roc_curve([0.9, 0.4, 0.4, 0.1], [True, True, False, False])
        >>> curve.x.tolist(), curve.y.tolist()
        ([0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0])
    """
    return _roc(*_steps(*checked_column("scores", scores, "truth", truth)), max_points)


def pr_curve(scores: npt.ArrayLike, truth: npt.ArrayLike, *, max_points: int = MAX_POINTS) -> Curve | None:
    """Return the precision-recall curve, thinned; None without positives.

    Args:
        scores: (N,), any finite numbers.
        truth: (N,), which records are positive.
        max_points: at most so many points, at least 2: evenly along the curve, its two ends always.

    Raises:
        DataError: no record, lengths that do not fit, scores that are not finite, truth other than 0 and 1.

    Examples:
        >>> curve = pr_curve([0.9, 0.4, 0.4, 0.1], [True, True, False, False])
        >>> curve.x.tolist(), curve.y.round(2).tolist()
        ([0.0, 0.5, 1.0, 1.0], [1.0, 1.0, 0.67, 0.5])
    """
    return _pr(*_steps(*checked_column("scores", scores, "truth", truth)), max_points)


def class_curves(
    targets: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    classes: Sequence[str],
    task: Task,
    *,
    max_points: int = MAX_POINTS,
) -> dict[str, dict[str, Curve | None]]:
    """Return both curves of each class against the rest: `{class: {"roc": ..., "pr": ...}}`.

    Args:
        targets: class numbers (N,) when multi-class, a binary matrix (N, K) when multi-label.
        probabilities: (N, K), from 0 to 1.
        classes: the K class names.
        task: multi-class or multi-label.
        max_points: at most so many points a curve.

    Raises:
        DataError: see :func:`ringlight.evaluation.metrics.classification_metrics`.
    """
    truth, scores, _ = checked_inputs(targets, probabilities, classes, task, 0.5)
    found: dict[str, dict[str, Curve | None]] = {}
    for k, name in enumerate(classes):
        steps = _steps(column(scores, k), has_class(truth, k))
        found[name] = {"roc": _roc(*steps, max_points), "pr": _pr(*steps, max_points)}
    return found


def areas(scores: ScoreArray, truth: BoolArray) -> tuple[float | None, float | None]:
    """Return AUROC and average precision of checked arrays (N,), sorting once."""
    tp, fp, _ = _steps(scores, truth)
    positives, negatives = int(tp[-1]), int(fp[-1])
    if not positives:
        return None, None
    ap = float(np.diff(tp, prepend=0) @ (tp / (tp + fp))) / positives
    if not negatives:
        return None, ap
    # Trapezia with whole numbers: exact up to three thousand million records, where scores add up to rounding errors.
    doubled = int(np.diff(fp, prepend=0) @ (tp + np.concatenate([[0], tp[:-1]])))
    return doubled / (2 * positives * negatives), ap


def _steps(scores: ScoreArray, truth: BoolArray) -> tuple[IntArray, IntArray, FloatArray]:
    """Return true and false positives (M,) when everything from each distinct score (M,) up is found, highest first."""
    order = np.argsort(scores)[::-1]
    ranked = scores[order]
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    tp = np.cumsum(truth[order], dtype=np.int64)[last]
    return tp, last + 1 - tp, ranked[last].astype(np.float64)


def _roc(tp: IntArray, fp: IntArray, scores: FloatArray, max_points: int) -> Curve | None:
    if not tp[-1] or not fp[-1]:
        return None
    return _thinned(np.append(0.0, fp / fp[-1]), np.append(0.0, tp / tp[-1]), np.append(np.inf, scores), max_points)


def _pr(tp: IntArray, fp: IntArray, scores: FloatArray, max_points: int) -> Curve | None:
    if not tp[-1]:
        return None
    precision = tp / (tp + fp)
    return _thinned(np.append(0.0, tp / tp[-1]), np.append(1.0, precision), np.append(np.inf, scores), max_points)


def _thinned(x: FloatArray, y: FloatArray, thresholds: FloatArray, max_points: int) -> Curve:
    """Keep points evenly along the curve: steps of |dx| + |dy|, so that steep and flat parts keep their shape."""
    if len(x) > max_points:
        way = np.append(0.0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
        keep = np.unique(np.searchsorted(way, np.linspace(0.0, way[-1], max(2, max_points))))
        keep[-1] = len(x) - 1
        x, y, thresholds = x[keep], y[keep], thresholds[keep]
    return Curve(x, y, thresholds)


def curves_dict(curves: dict[str, dict[str, Curve | None]]) -> dict[str, Any]:
    """Return :func:`class_curves` as plain values for JSON; an undefined curve is None."""
    return {
        name: {kind: curve.to_dict() if curve is not None else None for kind, curve in both.items()}
        for name, both in curves.items()
    }
