"""Agreement beyond chance: Cohen's kappa, plain and quadratically weighted, Matthews correlation; and top-k accuracy.

From a confusion matrix C (K, K) of N records, rows truth and columns prediction, with marginals r (rows), c (columns):

- kappa = 1 - Σ_ij w_ij C_ij / Σ_ij w_ij r_i c_j / N  with w_ij = [i ≠ j] (Cohen 1960, Educ. Psychol. Meas. 20:37);
  w_ij = (i - j)² when weighted (Cohen 1968, Psychol. Bull. 70:213): for classes in an order (none, weak, severe).
  None where chance alone already agrees always (0/0: one class in truth and prediction)
- MCC = (N tr C - r·c) / √((N² - r·r)(N² - c·c))  (Gorodkin 2004, Comput. Biol. Chem. 28:367, eq. 8, R_K);
  0/0 counts as 0, as in scikit-learn: one class in the truth, or one in the prediction

Multi-label data gets both from the 2×2 matrix of all N·K record-class decisions together, as torchmetrics does.

Shapes: N records, K classes.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError
from ringlight.evaluation.inputs import FloatArray, IntArray, ScoreArray, checked_pair

_BLOCK_CELLS = 2_000_000
"""Scores compared at once in top-k accuracy: two megabytes of booleans."""


def cohen_kappa(confusion: npt.ArrayLike, *, weighted: bool = False) -> float | None:
    """Return Cohen's kappa of a confusion matrix (K, K); None where it is undefined.

    Args:
        confusion: counts, rows truth and columns prediction.
        weighted: quadratic weights; the order of the classes is then their meaning.

    Raises:
        DataError: not a square matrix of counts with at least one record.

    Examples:
        >>> round(cohen_kappa([[20, 5], [10, 15]]), 3)  # agreement 0.7, by chance 0.5
        0.4
        >>> cohen_kappa([[7, 0], [0, 0]]) is None
        True
    """
    counts = _checked_matrix(confusion)
    steps = np.subtract.outer(np.arange(len(counts)), np.arange(len(counts)))
    weights = steps.astype(np.float64) ** 2 if weighted else (steps != 0).astype(np.float64)
    rows, columns = counts.sum(axis=1), counts.sum(axis=0)
    chance = float(rows @ weights @ columns) / float(counts.sum())
    return 1.0 - float((weights * counts).sum()) / chance if chance > 0 else None


def matthews(confusion: npt.ArrayLike) -> float:
    """Return the Matthews correlation coefficient of a confusion matrix (K, K), from -1 to 1.

    Raises:
        DataError: not a square matrix of counts with at least one record.

    Examples:
        >>> round(matthews([[20, 5], [10, 15]]), 3)
        0.408
    """
    counts = _checked_matrix(confusion)
    rows, columns, total = counts.sum(axis=1), counts.sum(axis=0), float(counts.sum())
    truth_spread, guess_spread = total**2 - float(rows @ rows), total**2 - float(columns @ columns)
    if truth_spread <= 0 or guess_spread <= 0:
        return 0.0
    value = (total * float(np.trace(counts)) - float(rows @ columns)) / math.sqrt(truth_spread * guess_spread)
    return min(1.0, max(-1.0, value))


def top_k_accuracy(targets: npt.ArrayLike, probabilities: npt.ArrayLike, k: int) -> float:
    """Return the share of records whose class is among the k most probable; of equals the first classes count first.

    With k = 1 it is the accuracy; with k >= K it is 1. (scikit-learn counts the last of equals first.)

    Args:
        targets: class numbers (N,).
        probabilities: (N, K).
        k: how many classes may be named.

    Raises:
        DataError: see :func:`ringlight.evaluation.metrics.classification_metrics`; k below 1.

    Examples:
        >>> top_k_accuracy([2, 0], [[0.5, 0.3, 0.2], [0.3, 0.5, 0.2]], 2)
        0.5
    """
    if k < 1:
        raise DataError("a whole number of at least 1", got=f"{k}", where="k", fix="use 2, 3 or 5")
    truth, scores, _ = checked_pair(targets, probabilities, "multiclass")
    return float((ranks(truth, scores) < k).mean())


def ranks(truth: IntArray, scores: ScoreArray) -> IntArray:
    """Return how many classes stand before the true one in each record (N,), of checked arrays."""
    size = scores.shape[1]
    found = np.empty(len(truth), np.int64)
    numbers = np.arange(size)
    step = max(1, _BLOCK_CELLS // size)
    for start in range(0, len(truth), step):
        true, part = truth[start : start + step, None], scores[start : start + step]
        own = np.take_along_axis(part, true, axis=1)
        before = (part > own) | ((part == own) & (numbers < true))
        found[start : start + step] = np.count_nonzero(before, axis=1)
    return found


def _checked_matrix(confusion: npt.ArrayLike) -> FloatArray:
    counts = np.asarray(confusion, np.float64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not (counts >= 0).all() or not counts.sum() > 0:
        raise DataError(
            "a square matrix of counts with at least one record",
            got=f"shape {counts.shape}, {counts.sum():g} records",
            where="confusion",
            fix="pass Metrics.confusion of multi-class data",
        )
    return counts
