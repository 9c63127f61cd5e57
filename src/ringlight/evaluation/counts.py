"""Confusion matrices and the rates that are made of their counts.

A confusion matrix is (K, K) counts, rows truth and columns prediction, when multi-class; (K, 2, 2) counts, for each
class [[tn, fp], [fn, tp]], when multi-label. Counts of a class k against the rest: tp, fp, fn, tn, each (K,).

Shapes: N records, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError, did_you_mean
from ringlight.evaluation.inputs import BoolArray, FloatArray, IntArray
from ringlight.types import Task

Share = Literal["truth", "prediction", "all"]


@dataclass(frozen=True, slots=True)
class Counts:
    """A confusion matrix and its counts of each class against the rest, (K,) each."""

    confusion: IntArray
    tp: IntArray
    fp: IntArray
    fn: IntArray
    tn: IntArray

    @property
    def support(self) -> IntArray:
        """Examples of each class."""
        return self.tp + self.fn

    @property
    def predicted(self) -> IntArray:
        """Records given to each class."""
        return self.tp + self.fp


def count(truth: IntArray, decided: IntArray | BoolArray, num_classes: int, task: Task) -> Counts:
    """Count decisions against the truth.

    Args:
        truth: class numbers (N,) when multi-class, a binary matrix (N, K) when multi-label; checked.
        decided: the same of the decisions; a matrix of booleans when multi-label.
        num_classes: K.
        task: multi-class or multi-label.
    """
    if task == "multiclass":
        cells = np.bincount(truth * num_classes + decided, minlength=num_classes * num_classes)
        confusion = cells.reshape(num_classes, num_classes).astype(np.int64)
        tp = np.diag(confusion).copy()
        fp, fn = confusion.sum(axis=0) - tp, confusion.sum(axis=1) - tp
    else:
        actual = truth.astype(bool)
        tp = np.count_nonzero(actual & decided, axis=0).astype(np.int64)
        fp = np.count_nonzero(decided, axis=0) - tp
        fn = np.count_nonzero(actual, axis=0) - tp
    tn = len(truth) - tp - fp - fn
    if task == "multilabel":
        confusion = np.stack([np.stack([tn, fp], 1), np.stack([fn, tp], 1)], 1)
    return Counts(confusion, tp, fp, fn, tn)


def confusion_rates(confusion: npt.ArrayLike, share: Share = "truth") -> FloatArray:
    """Return a confusion matrix, (K, K) or (K, 2, 2), as shares; a share of nothing is 0, as in scikit-learn.

    Args:
        confusion: counts, rows truth and columns prediction in the last two axes.
        share: of the examples of each class (rows sum to 1: the diagonal is recall), of the predictions of each
            class (columns sum to 1: the diagonal is precision), or of all.

    Raises:
        DataError: no such matrix, a count below zero, or an unknown share.

    Examples:
        >>> confusion_rates([[8, 2], [0, 0]]).tolist()
        [[0.8, 0.2], [0.0, 0.0]]
    """
    counts = np.asarray(confusion)
    if counts.ndim not in (2, 3) or counts.shape[-1] != counts.shape[-2] or (counts.ndim == 3 and counts.shape[1] != 2):
        fix = "pass Metrics.confusion"
        raise DataError("shape (K, K) or (K, 2, 2)", got=f"{counts.shape}", where="confusion", fix=fix)
    if not (counts >= 0).all():
        fix = "pass counts, not differences"
        raise DataError("counts of at least 0", got=f"{counts.min()}", where="confusion", fix=fix)
    axes: dict[str, int | tuple[int, int]] = {"truth": -1, "prediction": -2, "all": (-2, -1)}
    if share not in axes:
        raise DataError("a share", got=f"`{share}`", where="confusion", fix=did_you_mean(share, axes))
    return ratio(counts, np.broadcast_to(counts.sum(axis=axes[share], keepdims=True), counts.shape))


def ratio(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> FloatArray:
    """Divide; 0/0 counts as 0."""
    result: FloatArray = np.divide(part, whole, out=np.zeros(np.shape(whole)), where=np.asarray(whole) > 0)
    return result


def prf(tp: IntArray, predicted: IntArray, support: IntArray) -> dict[str, FloatArray]:
    """Return precision, recall and F1 of counts, 0/0 counting as 0."""
    return {
        "precision": ratio(tp, predicted),
        "recall": ratio(tp, support),
        "f1": ratio(2 * tp, predicted + support),
    }


def averages(counts: Counts) -> dict[str, float]:
    """Return macro, micro and weighted precision, recall and F1."""
    support = counts.support
    rates = prf(counts.tp, counts.predicted, support)
    pooled = prf(*(part.sum(keepdims=True) for part in (counts.tp, counts.predicted, support)))
    found = {f"macro_{name}": float(values.mean()) for name, values in rates.items()}
    found |= {f"micro_{name}": float(values[0]) for name, values in pooled.items()}
    total = support.sum()
    found |= {f"weighted_{name}": float(values @ support / total) if total else 0.0 for name, values in rates.items()}
    return found


def samples_averages(truth: IntArray, decided: BoolArray) -> tuple[dict[str, float], int]:
    """Return precision, recall and F1 of each record's set of classes, averaged over records (multi-label).

    The second value is the number of records without any class in truth and decision: they count as 0.
    """
    tp = np.count_nonzero(truth.astype(bool) & decided, axis=1)
    predicted, support = np.count_nonzero(decided, axis=1), np.count_nonzero(truth, axis=1)
    rates = prf(tp, predicted, support)
    empty = int(np.count_nonzero((predicted == 0) & (support == 0)))
    return {f"samples_{name}": float(values.mean()) for name, values in rates.items()}, empty


def balanced_accuracy(counts: Counts, task: Task) -> float:
    """Return the mean recall of the classes with examples; multi-label: of both answers of each class, then the mean.

    A multi-label class without examples, or in every record, has one recall instead of two.
    """
    if task == "multiclass":
        there = counts.support > 0
        return float((counts.tp[there] / counts.support[there]).mean())
    examples = counts.confusion.sum(axis=2)
    recalls = ratio(np.diagonal(counts.confusion, axis1=1, axis2=2), examples)
    return float((recalls.sum(axis=1) / (examples > 0).sum(axis=1)).mean())
