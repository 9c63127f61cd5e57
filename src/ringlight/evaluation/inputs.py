"""What metrics are computed from, checked: every fault in one line, before a number is wrong.

Scores in single or double precision are used as they are: a million rows are not copied to be checked.

Shapes: N records, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError
from ringlight.types import Task

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
ScoreArray = npt.NDArray[np.floating[Any]]

SUM_TOLERANCE = 1e-3
"""How far the probabilities of a multi-class record may sum from one: soft-max in half precision stays within it."""

_BLOCK = 65_536
"""Rows that are checked together."""


def checked_inputs(
    targets: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    classes: Sequence[str],
    task: Task,
    threshold: float | Sequence[float],
) -> tuple[IntArray, ScoreArray, FloatArray]:
    """Return targets as integers, probabilities (N, K) as floats and thresholds (K,) as doubles.

    Raises:
        DataError: the task is unknown or there is no class; the values are empty, do not fit each other, or are
            impossible; multi-class probabilities do not sum to one.
    """
    if task not in get_args(Task):
        raise _wrong("task", "multiclass or multilabel", f"`{task}`", "two classes can be told as either")
    if not len(classes):
        raise _wrong("classes", "at least one class", "none", "pass the class names")
    if len(set(classes)) != len(classes):
        raise _wrong("classes", "every class once", f"{list(classes)}", "rename the class that stands twice")
    scores = _floats("probabilities", probabilities)
    if scores.ndim != 2 or scores.shape[1] != len(classes):
        fix = "pass one column per class"
        raise _wrong("probabilities", f"shape (N, {len(classes)})", f"{scores.shape}", fix)
    if not len(scores):
        raise _wrong("probabilities", "at least one record", "none", "check that the part is not empty")
    for start in range(0, len(scores), _BLOCK):
        _check_probabilities(scores[start : start + _BLOCK], start, classes, task)
    truth = _checked_targets(as_numbers("targets", targets), scores.shape, task)
    thresholds = _floats("threshold", threshold).astype(np.float64)
    if thresholds.shape not in ((), (len(classes),)) or not ((thresholds >= 0) & (thresholds <= 1)).all():
        fix = "use 0.5, or a list with one number per class"
        raise _wrong("threshold", f"one number from 0 to 1, or {len(classes)}", f"{threshold}", fix)
    return truth, scores, np.broadcast_to(thresholds, (len(classes),))


def _check_probabilities(scores: ScoreArray, start: int, classes: Sequence[str], task: Task) -> None:
    outside = ~((scores >= 0) & (scores <= 1))
    if outside.any():
        row, k = np.argwhere(outside)[0]
        raise _wrong(
            "probabilities",
            "numbers from 0 to 1",
            f"{scores[row, k]:g} in row {start + row}, class `{classes[k]}`",
            "apply sigmoid or soft-max to logits; check the model for NaN",
        )
    if task == "multiclass":
        sums = scores.sum(axis=1, dtype=np.float64)
        wrong = np.abs(sums - 1) > SUM_TOLERANCE
        if wrong.any():
            row = int(np.argmax(wrong))
            raise _wrong(
                "probabilities",
                "rows that sum to 1 in a multiclass data set",
                f"a sum of {sums[row]:g} in row {start + row}",
                "apply soft-max to logits, or use the task multilabel where classes do not exclude each other",
            )


def _checked_targets(values: npt.NDArray[Any], shape: tuple[int, ...], task: Task) -> IntArray:
    expected = shape[:1] if task == "multiclass" else shape
    if values.shape != expected:
        fix = "pass class numbers (N,) when multi-class, a binary matrix (N, K) when multi-label"
        raise _wrong("targets", f"shape {tuple(expected)} in a {task} data set", f"{values.shape}", fix)
    top = shape[1] - 1 if task == "multiclass" else 1
    wrong = ~((values >= 0) & (values <= top) & (values == np.floor(values)))
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0])
        allowed = f"class numbers from 0 to {top}" if task == "multiclass" else "only 0 and 1"
        raise _wrong("targets", allowed, f"{values[place]:g} in row {place[0]}", "correct the label or the class list")
    return values.astype(np.int64, copy=False)


def checked_pair(
    targets: npt.ArrayLike, probabilities: npt.ArrayLike, task: Task | None = None
) -> tuple[IntArray, ScoreArray, Task]:
    """Return :func:`checked_inputs` of classes without names, with the task that the targets' shape tells.

    Raises:
        DataError: see :func:`checked_inputs`.
    """
    scores, values = _floats("probabilities", probabilities), as_numbers("targets", targets)
    told: Task = task or ("multiclass" if values.ndim == 1 else "multilabel")
    names = [str(k) for k in range(scores.shape[1] if scores.ndim == 2 else 1)]
    truth, scores, _ = checked_inputs(values, scores, names, told, 0.5)
    return truth, scores, told


def checked_labels(targets: npt.ArrayLike, shape: tuple[int, ...]) -> IntArray:
    """Return targets as integers: class numbers (N,) or a binary matrix (N, K), whichever they are.

    Raises:
        DataError: they do not fit the shape (N, K), or hold impossible values.
    """
    values = as_numbers("targets", targets)
    return _checked_targets(values, shape, "multiclass" if values.ndim == 1 else "multilabel")


def checked_decisions(decisions: npt.ArrayLike, shape: tuple[int, ...], task: Task) -> BoolArray:
    """Return decisions (N, K) as booleans.

    Raises:
        DataError: another shape, values other than 0 and 1, or a multi-class record without exactly one decision.
    """
    values = as_numbers("decisions", decisions)
    if values.shape != shape:
        fix = "pass what was decided on the same records, a column per class"
        raise _wrong("decisions", f"shape {tuple(shape)}", f"{values.shape}", fix)
    wrong = (values != 0) & (values != 1)
    if wrong.any():
        row, k = np.argwhere(wrong)[0]
        fix = "pass decisions, not scores: a point's `decide` makes them"
        raise _wrong("decisions", "only 0 and 1", f"{values[row, k]:g} in row {row}", fix)
    chosen = values.astype(bool, copy=False)
    if task == "multiclass":
        counts = np.count_nonzero(chosen, axis=1)
        if (counts != 1).any():
            row = int(np.argmax(counts != 1))
            raise _wrong(
                "decisions",
                "exactly one class a record in a multiclass data set",
                f"{counts[row]} in row {row}",
                "pass a one-hot matrix",
            )
    return chosen


def checked_column(
    what: str, values: npt.ArrayLike, whether: str, truth: npt.ArrayLike, *, limits: tuple[float, float] | None = None
) -> tuple[ScoreArray, BoolArray]:
    """Return scores (N,) and booleans (N,) that belong to them; `what` and `whether` are their names in a message.

    Raises:
        DataError: no record, lengths that do not fit, scores that are not finite or not within `limits`, truth other
            than 0 and 1.
    """
    scores = _floats(what, values)
    if scores.ndim != 1 or not len(scores):
        raise _wrong(what, "shape (N,), at least one record", f"{scores.shape}", "pass one number for each record")
    low, high = limits or (-np.inf, np.inf)
    wrong = ~(np.isfinite(scores) & (scores >= low) & (scores <= high))
    if wrong.any():
        row = int(np.argmax(wrong))
        allowed = "finite numbers" if limits is None else f"numbers from {low:g} to {high:g}"
        raise _wrong(what, allowed, f"{scores[row]:g} in row {row}", "check the model for NaN")
    return scores, _flags(whether, truth, len(scores))


def checked_flags(what: str, values: npt.ArrayLike, whether: str, others: npt.ArrayLike) -> tuple[BoolArray, BoolArray]:
    """Return two sets of booleans (N,) about the same records; `what` and `whether` are their names in a message.

    Raises:
        DataError: no record, lengths that do not fit, values other than 0 and 1.
    """
    size = as_numbers(what, values).size
    if not size:
        raise _wrong(what, "at least one record", "none", "check that the part is not empty")
    return _flags(what, values, size), _flags(whether, others, size)


def _flags(what: str, values: npt.ArrayLike, size: int) -> BoolArray:
    flags = as_numbers(what, values)
    if flags.shape != (size,):
        raise _wrong(what, f"shape ({size},)", f"{flags.shape}", "pass one for each record")
    wrong = (flags != 0) & (flags != 1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise _wrong(what, "only 0 and 1", f"{flags[row]:g} in row {row}", "pass booleans")
    return flags.astype(bool, copy=False)


def has_class(truth: IntArray, k: int) -> BoolArray:
    """Return which records (N,) carry class k, from class numbers (N,) or a binary matrix (N, K)."""
    found: BoolArray = truth == k if truth.ndim == 1 else truth[:, k] == 1
    return found


def column(scores: ScoreArray, k: int) -> ScoreArray:
    """Return the scores of class k (N,), side by side in memory."""
    return np.ascontiguousarray(scores[:, k])


def _floats(what: str, values: Any) -> ScoreArray:
    array = as_numbers(what, values)
    if array.dtype in (np.float32, np.float64):
        return array
    return array.astype(np.float64)


def as_numbers(what: str, values: Any) -> npt.NDArray[Any]:
    """Return values as an array of numbers; `what` is their name in a message.

    Raises:
        DataError: they are no numbers, or rows of different lengths.
    """
    try:
        array = np.asarray(values)
    except ValueError:  # rows of different lengths
        raise _wrong(what, "an array of numbers", "rows of different lengths", "pass an array") from None
    if array.dtype.kind not in "biuf":
        raise _wrong(what, "an array of numbers", f"{array.dtype} values", "pass an array of numbers")
    return array


def _wrong(where: str, expected: str, got: str, fix: str) -> DataError:
    return DataError(expected, got=got, where=where, fix=fix)
