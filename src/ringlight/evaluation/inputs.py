"""What metrics are computed from, checked: every fault in one line, before a number is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError
from ringlight.types import Task

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


def checked_inputs(
    targets: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    classes: Sequence[str],
    task: Task,
    threshold: float | Sequence[float],
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Return targets as integers, probabilities (N, K) as doubles and thresholds (K,).

    Raises:
        DataError: they are empty, do not fit each other, or hold impossible values.
    """
    if len(set(classes)) != len(classes):
        raise _wrong("classes", "every class once", f"{list(classes)}", "rename the class that stands twice")
    scores = _numbers("probabilities", probabilities)
    if scores.ndim != 2 or scores.shape[1] != len(classes):
        fix = "pass one column per class"
        raise _wrong("probabilities", f"shape (N, {len(classes)})", f"{scores.shape}", fix)
    if not len(scores):
        raise _wrong("probabilities", "at least one record", "none", "check that the part is not empty")
    outside = ~((scores >= 0) & (scores <= 1))
    if outside.any():
        row, column = np.argwhere(outside)[0]
        raise _wrong(
            "probabilities",
            "numbers from 0 to 1",
            f"{scores[row, column]:g} in row {row}, class `{classes[column]}`",
            "apply sigmoid or soft-max to logits; check the model for NaN",
        )
    truth = _checked_targets(_numbers("targets", targets), scores.shape, task)
    thresholds = _numbers("threshold", threshold)
    if thresholds.shape not in ((), (len(classes),)) or not ((thresholds >= 0) & (thresholds <= 1)).all():
        fix = "use 0.5, or a list with one number per class"
        raise _wrong("threshold", f"one number from 0 to 1, or {len(classes)}", f"{threshold}", fix)
    return truth, scores, np.broadcast_to(thresholds, (len(classes),))


def _checked_targets(values: FloatArray, shape: tuple[int, ...], task: Task) -> IntArray:
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
    return values.astype(np.int64)


def _numbers(what: str, values: Any) -> FloatArray:
    try:
        array = np.asarray(values)
    except ValueError:  # rows of different lengths
        raise _wrong(what, "an array of numbers", "rows of different lengths", "pass an array") from None
    if array.dtype.kind not in "biuf":
        raise _wrong(what, "an array of numbers", f"{array.dtype} values", "pass an array of numbers")
    return array.astype(np.float64)


def _wrong(where: str, expected: str, got: str, fix: str) -> DataError:
    return DataError(expected, got=got, where=where, fix=fix)
