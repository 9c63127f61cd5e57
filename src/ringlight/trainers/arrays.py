"""Arrays of a call as records: what is trained on, what is held out, what is judged.

Shapes: N records, T samples, C channels, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.data.groups import units_of
from ringlight.data.splitter import fresh_parts
from ringlight.data.stratify import group_codes
from ringlight.errors import DataError, SplitError
from ringlight.training.arrays import dataset_of, joined
from ringlight.training.evaluate import conform
from ringlight.types import Dataset, Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """What the columns of X are called, and how often they were measured."""

    channels: Sequence[str] | None = None
    sampling_rate: float | None = None


def parts_of(
    X: Any, y: Any, X_val: Any, y_val: Any, *, groups: Any, naming: Naming, share: float, seed: int, folder: Path,  # noqa: N803
    name: str,
) -> tuple[Dataset, Split]:  # fmt: skip
    """Return the records of a training with its validation part: as given, or held out of X.

    Args:
        X: windows (N, T, C) or vectors (N, D).
        y: classes (N,), or one-hot rows (N, K).
        X_val: as X; None holds `share` of X out, classes in proportion and groups whole.
        y_val: as y; None with `X_val`.
        groups: (N,) what belongs together in X; None where each record stands alone.
        naming: of the channels.
        share: of X that is held out.
        seed: which records are held out.
        folder: where windows are kept.
        name: of the data set.

    Raises:
        DataError: arrays that cannot be used or do not fit each other.
        SplitError: too few records of a class, or groups, to hold any out.
    """
    if (X_val is None) != (y_val is None):
        missing = "X_val" if X_val is None else "y_val"
        raise DataError("X_val and y_val", got=f"no {missing}", where="train", fix=f"pass {missing}, or neither")
    train = records(X, y, naming=naming, groups=groups, folder=folder, name=name)
    if len(train.classes) < 2:
        raise DataError("two classes or more", got=f"{', '.join(train.classes)} alone", where="y", fix="add the other")
    if X_val is None:
        return train, _held_out(train, share, seed)
    shape, given = np.shape(X), np.shape(X_val)
    if given[1:] != shape[1:]:
        want = ", ".join(map(str, shape[1:]))
        raise DataError(f"records (N, {want}), as in X", got=f"shape {given}", where="X_val", fix="cut them alike")
    val = conform(
        records(X_val, y_val, naming=naming, folder=folder, name=name, where="_val"), train.classes, train.task,
        where="y_val",
    )  # fmt: skip
    dataset, split = joined([("train", train), ("val", val)])
    return dataset, split


def records(
    X: Any, y: Any, *, naming: Naming, folder: Path, name: str, groups: Any = None, where: str = ""  # noqa: N803
) -> Dataset:  # fmt: skip
    """Return arrays as records; `where` is the end of their names in messages, such as `_val`.

    Raises:
        DataError: arrays that cannot be used.
    """
    try:
        return dataset_of(
            X, y, folder=folder, groups=groups, channels=naming.channels, sampling_rate=naming.sampling_rate, name=name
        )
    except DataError as error:
        place = error.where
        if where and place[:1] in "Xy":
            raise DataError(error.expected, got=error.got, where=place[0] + where + place[1:], fix=error.fix) from error
        raise


def windows_of(X: Any) -> npt.NDArray[Any]:  # noqa: N803
    """Return X as windows (N, T, C): vectors (N, D) are windows of one sample."""
    values = np.asarray(X)
    return values[:, None, :] if values.ndim == 2 else values


def _held_out(data: Dataset, share: float, seed: int) -> Split:
    units = units_of(data)
    codes = group_codes(units.tolist()) if len(np.unique(units)) < len(units) else None
    matrix = data.label_matrix().astype(bool)
    try:
        part = fresh_parts(matrix, np.array([1 - share, share, 0.0]), codes, seed, where="X without X_val")
    except SplitError as error:
        raise SplitError(error.expected, got=error.got, where=error.where, fix="pass X_val and y_val") from error
    train, val = np.flatnonzero(part == 0), np.flatnonzero(part == 1)
    if not len(val) or not len(train):
        raise SplitError(
            "records to train on and records to validate on", got=f"{len(train)} and {len(val)}",
            where=f"validation_split={share:g} of {len(data)} records", fix="pass X_val and y_val",
        )  # fmt: skip
    whole = "classes in proportion" + ("" if codes is None else ", groups whole")
    note = f"no X_val was given: {len(val)} of {len(data)} records of X are held out for validation ({whole})"
    empty = np.empty(0, np.int64)
    groups = "given" if data.groups is not None else "none"
    return Split(train, val, empty, strategy="held out of X", warnings=(note,), groups=groups)
