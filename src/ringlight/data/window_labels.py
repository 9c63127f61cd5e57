"""What stands beside the windows in an `.npz` file: labels, groups, times, parts, each a value a window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.data.faults import first_of
from ringlight.data.labels import PARTS
from ringlight.errors import DataError, did_you_mean
from ringlight.types import Task

Array = npt.NDArray[Any]
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class WindowLabels:
    """Class names, task, and of every label its window's row and its class, in order of the rows."""

    classes: tuple[str, ...]
    task: Task
    rows: Codes
    labels: Codes


def read_window_labels(values: Array, *, classes: Sequence[str] | None, task: Task | None, where: str) -> WindowLabels:
    """Read labels: text, whole numbers (also as floats), or a binary matrix (N, K).

    Text is a class by its name, sorted unless `classes` gives their order. Numbers are places in `classes`; without
    class names every number that occurs is a class. A matrix with exactly one 1 in each row is multi-class.

    Args:
        values: (N,) or (N, K).
        classes: the class names in order; found in the labels when None.
        task: found out when None.
        where: file and array, for an error.

    Raises:
        DataError: labels of another kind, outside the classes, or more than one where `task` is multi-class.
    """
    twice = None if classes is None else next((name for name in classes if list(classes).count(name) > 1), None)
    if twice is not None:
        fix = "rename one, or name them with data.class_names"
        raise DataError("class names, each once", got=f"`{twice}` twice", where=where, fix=fix)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        return _matrix(values, classes, task, where)
    names = None if classes is None else [str(name) for name in classes]
    if values.dtype.kind in "US":
        text = np.array([_text(value) for value in values.tolist()], dtype=np.str_)
        found = [str(name) for name in np.unique(text)]
        listed = found if names is None else names
        unknown = next((name for name in found if name not in listed), None)
        if unknown is not None:
            row = int(np.argmax(text == unknown))
            fix = did_you_mean(unknown, listed) if unknown else "label it or leave the window out"
            raise DataError("a known class", got=f"`{unknown}`", where=f"{where}: window {row}", fix=fix)
        places = np.searchsorted(np.array(found), text)
        codes = np.array([listed.index(name) for name in found], np.int64)[places]
    else:
        numbers = whole_numbers(values, where)
        present = np.unique(numbers)
        listed = [str(value) for value in present.tolist()] if names is None else names
        codes = np.searchsorted(present, numbers) if names is None else numbers
        outside = (codes < 0) | (codes >= len(listed))
        if outside.any():
            row = int(outside.argmax())
            raise DataError(
                f"labels from 0 to {len(listed) - 1}, places in the {len(listed)} class names",
                got=f"{numbers[row]} ({int(outside.sum())} windows outside)",
                where=f"{where}: window {row}",
                fix="correct the labels, or name all classes in order with data.class_names",
            )
    return WindowLabels(tuple(listed), task or "multiclass", np.arange(len(values)), codes.astype(np.int64))


def _matrix(values: Array, classes: Sequence[str] | None, task: Task | None, where: str) -> WindowLabels:
    count = int(np.prod(values.shape[1:]))
    matrix = whole_numbers(values.reshape(-1), where).reshape(len(values), count)
    listed = [str(place) for place in range(count)] if classes is None else [str(name) for name in classes]
    if values.ndim != 2 or not np.isin(matrix, (0, 1)).all():
        raise DataError(
            "one label a window, or a matrix of 0 and 1",
            got=f"shape {values.shape} with values up to {matrix.max(initial=0)}",
            where=where,
            fix="choose one column: data.label_key=KEY.COLUMN",
        )
    if len(listed) != count:
        got = f"{len(listed)} names"
        raise DataError(f"{count} class names", got=got, where=where, fix="correct data.class_names")
    single = bool((matrix.sum(axis=1) == 1).all())
    if task == "multiclass" and not single:
        row = int(np.argmax(matrix.sum(axis=1) != 1))
        raise DataError(
            "exactly one label a window (data.task=multiclass)",
            got=f"{int(matrix[row].sum())}",
            where=f"{where}: window {row}",
            fix="use data.task=multilabel",
        )
    rows, labels = np.nonzero(matrix)
    return WindowLabels(tuple(listed), task or ("multiclass" if single else "multilabel"), rows, labels)


def whole_numbers(values: Array, where: str) -> Codes:
    """Return numbers (N,) as whole ones; floats are taken where they are whole.

    Raises:
        DataError: they are not.
    """
    if values.dtype.kind in "iub":
        return values.astype(np.int64)
    if values.dtype.kind != "f":
        raise DataError("text or whole numbers", got=f"type {values.dtype}", where=where, fix="convert the labels")
    broken = ~np.isfinite(values) | (values != np.round(np.where(np.isfinite(values), values, 0)))
    if broken.any():
        row = int(broken.argmax())
        raise DataError(
            "whole numbers as labels",
            got=f"{values[row]} (and {int(broken.sum()) - 1} others)" if broken.sum() > 1 else f"{values[row]}",
            where=f"{where}: window {row}",
            fix="classes are counted, not measured: choose another data.label_key, or cut the values into classes",
        )
    return values.astype(np.int64)


def read_names(values: Array, where: str) -> list[str]:
    """Return groups or names (N,) as text; whole floats lose their point.

    Raises:
        DataError: one is empty or not a number.
    """
    if values.dtype.kind in "US":
        names = [_text(value) for value in values.tolist()]
    elif values.dtype.kind == "f" and np.isfinite(values).all():
        names = [f"{value:.15g}" for value in values.tolist()]
    elif values.dtype.kind in "iub":
        names = [str(value) for value in values.tolist()]
    else:
        names = ["" if value != value else str(value) for value in values.tolist()]
    empty = [str(row) for row, name in enumerate(names) if not name]
    if empty:
        raise DataError(
            "a name for every window",
            got=f"none for window {first_of(empty)}",
            where=where,
            fix="fill it: a window without its group can leak from training into the test",
        )
    return names


def read_times(values: Array, where: str) -> npt.NDArray[np.float64]:
    """Return times (N,) in seconds, or any ordered number.

    Raises:
        DataError: they are no numbers or dates, or one is missing.
    """
    if values.dtype.kind == "M":
        seconds = values.astype("datetime64[us]").astype(np.int64) / 1e6
        seconds[np.isnat(values)] = np.nan
    elif values.dtype.kind in "iuf":
        seconds = values.astype(np.float64)
    else:
        raise DataError("numbers or dates", got=f"type {values.dtype}", where=where, fix="convert the times")
    if not np.isfinite(seconds).all():
        row = int(np.argmax(~np.isfinite(seconds)))
        raise DataError("a time for every window", got=f"{seconds[row]}", where=f"{where}: window {row}", fix="fill it")
    return np.asarray(seconds)


def read_parts(values: Array, where: str) -> list[str]:
    """Return the part of every window: from text (train, val, test), or from flags that are true for the test.

    Raises:
        DataError: something else.
    """
    if values.dtype.kind == "b" or (values.dtype.kind in "iu" and np.isin(values, (0, 1)).all()):
        return ["test" if flag else "train" for flag in values.tolist()]
    names = [_text(value) for value in values.tolist()] if values.dtype.kind in "US" else []
    unknown = next((row for row, name in enumerate(names) if name.lower() not in PARTS), None)
    if names and unknown is None:
        return [PARTS[name.lower()] for name in names]
    got = f"`{names[unknown]}` (window {unknown})" if unknown is not None else f"type {values.dtype}"
    raise DataError(
        "train, val or test for every window, or flags that are true for the test",
        got=got,
        where=where,
        fix="correct data.split_key",
    )


def _text(value: Any) -> str:
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)).strip()
