"""Arrays instead of a configured source: X and y from Python become the records of an ordinary run.

Windows (N, T, C) are taken as they are. Vectors (N, D) become windows of one sample in D channels, so that the
normalisation by channel is that of each feature, and a model of vectors is wrapped (:class:`OnVectors`).

Shapes: N records, T samples, C channels, D features, K classes, B batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from ringlight.data.window_store import ARRAY, WindowReader, write_store
from ringlight.errors import DataError, did_you_mean
from ringlight.types import Dataset, Record, Signals, Split

BLOCK = 256
"""Records written to disk at a time."""


class OnVectors(nn.Module):
    """A model of vectors (B, D) behind the interface of windows: (B, D, 1) -> (B, K)."""

    vectors = True
    """Says what the model inside is shown, for messages."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, windows: Tensor) -> Tensor:
        """Return the scores (B, K) of windows of one sample."""
        scores: Tensor = self.module(windows.flatten(1))
        return scores


def dataset_of(
    X: npt.ArrayLike,  # noqa: N803 - scikit-learn's name
    y: npt.ArrayLike,
    *,
    folder: Path,
    classes: Sequence[str] | None = None,
    groups: npt.ArrayLike | None = None,
    time: npt.ArrayLike | None = None,
    channels: Sequence[str] | None = None,
    sampling_rate: float | None = None,
    name: str = "arrays",
) -> Dataset:
    """Return the data set of arrays; the values are written once, below `folder`, and mapped into memory from there.

    Args:
        X: windows (N, T, C), or vectors (N, D); finite numbers.
        y: classes (N,) as whole numbers, text or booleans; or (N, K) of 0 and 1: one-hot rows are classes, others
            several labels each.
        folder: where the windows are kept.
        classes: the names of the classes in order; of whole numbers 0 to K-1 they are the names of these. None takes
            the values of `y`, sorted.
        groups: (N,) what no split may divide: subject, recording, part.
        time: (N,) when each was recorded, as a number.
        channels: C names; `channel 0`, `channel 1` and so on when None.
        sampling_rate: in hertz.
        name: what the data set is called.

    Raises:
        DataError: arrays of another rank or length, values that are no finite numbers, labels that are none.
    """
    values = _checked(X)
    names = list(channels) if channels is not None else [f"channel {place}" for place in range(values.shape[2])]
    if len(names) != values.shape[2]:
        raise DataError(f"{values.shape[2]} channel names", got=str(len(names)), where="channels", fix="name each once")
    labels, known, task = labels_of(y, len(values), classes)
    columns = [_column(one, len(values), key) for one, key in ((groups, "groups"), (time, "time"))]
    place = folder / f"arrays-{_digest(values, names, sampling_rate)}"
    if not place.exists():
        write_store(
            place, _blocks(values), channels=names, length=values.shape[1], sampling_rate=sampling_rate
        )  # fmt: skip
    uris = [f"{place.absolute() / ARRAY}#{row}" for row in range(len(values))]
    records = [
        Record(
            id=f"row {row}", uri=uris[row], labels=labels[row],
            group=None if columns[0] is None else str(columns[0][row]),
            time=None if columns[1] is None else float(columns[1][row]),
        )
        for row in range(len(values))
    ]  # fmt: skip
    signals = Signals(channels=tuple(names), length=values.shape[1], sampling_rate=sampling_rate)
    data = Dataset.from_records(records, known, task, name=name, signals=signals)
    return data.with_column("content", WindowReader.of(data).digests(np.arange(len(data))))


def joined(parts: Sequence[tuple[str, Dataset | None]]) -> tuple[Dataset, Split]:
    """Return data sets of arrays as one, and the split that they are: parts named `train`, `val`, `test`.

    Raises:
        DataError: parts with other classes, channels or another length.
    """
    import pyarrow as pa

    given = [(part, data) for part, data in parts if data is not None]
    first = given[0][1]
    tables, rows, start = [], {"train": np.empty(0, np.int64), "val": np.empty(0, np.int64)}, 0
    rows["test"] = np.empty(0, np.int64)
    for part, data in given:
        for what in ("classes", "signals", "task"):
            if getattr(data, what) != getattr(first, what):
                raise DataError(
                    f"{what} as in {given[0][0]}: {getattr(first, what)}", got=str(getattr(data, what)), where=part,
                    fix="pass arrays of one data set",
                )  # fmt: skip
        tables.append(data.with_column("id", [f"{part} {key}" for key in data.ids]).table)
        rows[part] = np.arange(start, start + len(data))
        start += len(data)
    whole = Dataset(pa.concat_tables(tables), first.classes, first.task, first.name, first.notes, first.signals)
    return whole, Split(rows["train"], rows["val"], rows["test"], strategy="as given")


def _checked(X: npt.ArrayLike) -> npt.NDArray[Any]:  # noqa: N803
    values = np.asarray(X)
    if values.dtype.kind not in "fiub":
        raise DataError("numbers", got=f"type {values.dtype}", where="X", fix="convert X to float32")
    if values.ndim not in (2, 3) or not values.size:
        raise DataError(
            "windows (N, T, C) or vectors (N, D)", got=f"shape {values.shape}", where="X",
            fix="stack the windows along the first axis; one channel is X[..., None]",
        )  # fmt: skip
    if values.ndim == 2:
        values = values[:, None, :]
    for start in range(0, len(values), BLOCK):
        bad = np.argwhere(~np.isfinite(values[start : start + BLOCK]))
        if len(bad):
            row, step, channel = (int(one) for one in bad[0])
            value = values[start + row, step, channel]
            raise DataError(
                "finite values", got=str(value), where=f"X: row {start + row}, channel {channel}",
                fix="fill the gap or leave the row out",
            )  # fmt: skip
    return values


def labels_of(
    y: npt.ArrayLike, count: int, classes: Sequence[str] | None
) -> tuple[list[tuple[int, ...]], tuple[str, ...], Any]:
    """Return the class numbers of each record, the names of the classes, and the task.

    Args:
        y: as :func:`dataset_of` takes it.
        count: of the records.
        classes: names in order; None takes the values of `y`, sorted.

    Raises:
        DataError: labels of another length, or that are none.
    """
    labels = np.asarray(y)
    if labels.ndim not in (1, 2) or len(labels) != count:
        raise DataError(
            f"{count} labels, one a row of X", got=f"shape {labels.shape}", where="y", fix="pass X and y of one length"
        )
    if labels.ndim == 2:
        if not np.isin(labels, (0, 1)).all():
            raise DataError("0 and 1", got="other values", where="y (N, K)", fix="pass classes (N,) or one-hot rows")
        names = tuple(classes) if classes is not None else tuple(str(one) for one in range(labels.shape[1]))
        _enough(names, labels.shape[1])
        single = bool((labels.sum(axis=1) == 1).all())
        rows = [tuple(int(one) for one in np.flatnonzero(row)) for row in labels]
        return rows, names, "multiclass" if single else "multilabel"
    if labels.dtype.kind == "f":
        if not (np.isfinite(labels).all() and (labels == np.round(labels)).all()):
            raise DataError(
                "classes", got="numbers with a fraction or NaN", where="y", fix="pass whole numbers or text"
            )
        labels = labels.astype(np.int64)
    if labels.dtype.kind == "b":
        labels = labels.astype(np.int64)
    if labels.dtype.kind in "iu" and classes is not None:
        _enough(tuple(classes), int(labels.max()) + 1)
        if labels.min() < 0:
            raise DataError("classes from 0", got=str(labels.min()), where="y", fix="number the classes from 0")
        return [(int(one),) for one in labels], tuple(str(one) for one in classes), "multiclass"
    missing = [row for row, one in enumerate(labels.tolist()) if one is None or one != one]
    if missing:
        raise DataError(
            "a class for every row", got=f"none for {len(missing)} (first: row {missing[0]})", where="y",
            fix="label these rows, or leave them out",
        )  # fmt: skip
    found = np.unique(labels) if labels.dtype.kind in "iuUS" else np.unique(labels.astype(str))
    names = tuple(str(one) for one in (found if classes is None else classes))
    order = {key: place for place, key in enumerate(names)}
    for one in found:
        if str(one) not in order:
            raise DataError("a known class", got=f"`{one}`", where="y", fix=did_you_mean(str(one), list(names)))
    return [(order[str(one)],) for one in labels], names, "multiclass"


def _enough(names: tuple[str, ...], count: int) -> None:
    if len(names) < count:
        raise DataError(f"names of {count} classes", got=str(len(names)), where="classes", fix="name every class")


def _column(values: npt.ArrayLike | None, count: int, key: str) -> npt.NDArray[Any] | None:
    if values is None:
        return None
    column = np.asarray(values)
    if column.shape != (count,):
        raise DataError(f"{count} values", got=f"shape {column.shape}", where=key, fix="pass one per row of X")
    return column


def _digest(values: npt.NDArray[Any], names: Sequence[str], sampling_rate: float | None) -> str:
    digest = hashlib.sha256(repr((values.shape, values.dtype.str, list(names), sampling_rate)).encode())
    for start in range(0, len(values), BLOCK):
        digest.update(np.ascontiguousarray(values[start : start + BLOCK]).tobytes())
    return digest.hexdigest()[:24]


def _blocks(values: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    kind = np.int16 if values.dtype == np.int16 else np.float32
    for start in range(0, len(values), BLOCK):
        yield np.asarray(values[start : start + BLOCK], kind)
