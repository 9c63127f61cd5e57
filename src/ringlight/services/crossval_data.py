"""Data from Python for a cross-validation: rows of X, their labels, what belongs together and when it was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError
from ringlight.training.arrays import dataset_of, labels_of
from ringlight.types import Dataset, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrays:
    """Data from Python: X with one row a record, y, and what belongs together and when it was recorded."""

    X: Any
    y: Any
    groups: npt.ArrayLike | None = None
    time: npt.ArrayLike | None = None

    def windows(self, cache: Path) -> Dataset:
        """Write the arrays as windows and return their records."""
        return dataset_of(self.X, self.y, folder=cache, groups=self.groups, time=self.times())

    def times(self) -> npt.NDArray[np.float64] | None:
        """Return the times as seconds or as the numbers they are.

        Raises:
            DataError: a time that is missing or no number, which cannot be put in order.
        """
        if self.time is None:
            return None
        times = np.asarray(self.time)
        if times.dtype.kind == "M":
            times = np.where(np.isnat(times), np.nan, times.astype("datetime64[us]").astype(np.float64) / 1e6)
        try:
            numbers = times.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(
                "numbers or dates, which have an order", got=f"type {times.dtype}", where="time",
                fix="pass seconds, or numpy datetimes",
            ) from error  # fmt: skip
        missing = np.flatnonzero(~np.isfinite(numbers))
        if len(missing):
            raise DataError(
                "a time for every row", got=f"none for {len(missing)} (first: row {missing[0]})", where="time",
                fix="leave these rows out, or choose another cv_method",
            )  # fmt: skip
        return numbers

    def records(self) -> Dataset:
        """Return the labels as records without content, for estimators that read X themselves.

        Raises:
            DataError: X, y, groups or time of different lengths, or labels that are none.
        """
        if not self.X.shape:
            raise DataError("rows of records", got="a single value", where="X", fix="pass one row a record")
        number = int(self.X.shape[0])
        labels, classes, task = labels_of(self.y, number, None)
        columns: dict[str, Sequence[Any] | None] = {"groups": None, "time": None}
        for key, values in (("groups", self.groups), ("time", self.times())):
            if values is not None:
                column = np.asarray(values)
                if column.shape != (number,):
                    raise DataError(
                        f"{number} values", got=f"shape {column.shape}", where=key, fix="pass one per row of X"
                    )
                columns[key] = column.tolist()
        width = len(str(number - 1))
        groups, times = columns["groups"], columns["time"]
        return Dataset.from_records(
            [
                Record(
                    id=f"row {row:0{width}d}", labels=labels[row], group=None if groups is None else str(groups[row]),
                    time=None if times is None else times[row],
                )
                for row in range(number)
            ],
            classes, task, name="arrays",
        )  # fmt: skip


def data_of(
    X: Any,  # noqa: N803 - scikit-learn's name
    y: Any,
    *,
    groups: npt.ArrayLike | None,
    time: npt.ArrayLike | None,
) -> Dataset | Arrays | None:
    """Return what a call was given as data; None where a recipe is to read its own.

    Raises:
        DataError: y without X or X without y, groups or times that nothing belongs to.
    """
    if X is None or isinstance(X, Dataset):
        others = {"y": y, "groups": groups, "time": time}
        extra = [name for name, value in others.items() if value is not None]
        if extra:
            raise DataError(
                "labels, groups and times inside the records" if X is not None else "X with them",
                got=f"{', '.join(extra)} beside {'a Dataset' if X is not None else 'no X'}", where="cross_validate",
                fix="leave them out" if X is not None else "pass X",
            )  # fmt: skip
        return X
    if y is None:
        raise DataError("y with one label a row of X", got="none", where="cross_validate", fix="pass y")
    if hasattr(X, "tocsr"):
        X = X.tocsr()  # noqa: N806 - of sparse matrices only some have rows that can be taken
    _check_groups(groups)
    return Arrays(X=X if hasattr(X, "shape") else np.asarray(X), y=y, groups=groups, time=time)


def _check_groups(groups: npt.ArrayLike | None) -> None:
    """Refuse rows without a group: taken for a name, `None` would make one group of them all."""
    column = np.asarray(groups)
    if groups is None or column.ndim != 1:  # another rank is refused with the lengths
        return
    missing = [row for row, one in enumerate(column.tolist()) if one is None or one != one]
    if missing:
        raise DataError(
            "a group for every row", got=f"none for {len(missing)} (first: row {missing[0]})", where="groups",
            fix="give rows that stand alone a group of their own, or leave them out",
        )  # fmt: skip
