"""The records held out from a fold's training part: what stops, calibrates and sets thresholds, never the test."""

from __future__ import annotations

import numpy as np

from ringlight.data.groups import times_of
from ringlight.data.splitter import fresh_parts
from ringlight.data.stratify import IntArray, group_codes
from ringlight.errors import SplitError
from ringlight.types import Dataset


def held_out(
    data: Dataset, train: IntArray, units: IntArray | None, *, share: float, seed: int, in_time: bool, where: str,
    key: str,
) -> tuple[IntArray, IntArray]:  # fmt: skip
    """Divide the training rows of a fold into rows to train on and rows held out, both sorted.

    Args:
        data: the records.
        train: the rows of the fold that are not tested on.
        units: what each record of `data` belongs to, (N,); None when each stands alone.
        share: of `train` that is held out; 0 holds none out.
        seed: ties and order.
        in_time: hold out the newest records, as the test part is newer than all of them; a group across that boundary
            is held out, and its older records are in neither.
        where: begins the message of an error.
        key: what the share is called in it.

    Raises:
        SplitError: too few records, groups or times to hold any out.
    """
    if share == 0:
        return train, np.empty(0, np.int64)
    try:
        if in_time:
            return _newest(data, train, units, share, where)
        codes = None if units is None else group_codes(units[train].tolist())
        matrix = data.label_matrix()[train].astype(bool)
        part = fresh_parts(matrix, np.array([1 - share, share, 0.0]), codes, seed, where=where)
    except SplitError as error:
        raise SplitError(
            error.expected, got=error.got, where=f"{where}, {key}={share:g}", fix=f"use more folds, or {key}=0"
        ) from error
    return train[part == 0], train[part == 1]


def _newest(
    data: Dataset, train: IntArray, units: IntArray | None, share: float, where: str
) -> tuple[IntArray, IntArray]:
    times = times_of(data, where=where)[train]
    starts, sizes = np.unique(times, return_counts=True)
    if len(starts) < 2:
        raise SplitError("two different times or more among the older records", got="one", where=where, fix="")
    newer = len(train) - np.cumsum(sizes)[:-1]  # records after each boundary between two times
    first = starts[1:][np.argmin(np.abs(newer - share * len(train)))]
    val = times >= first
    codes = np.arange(len(train)) if units is None else units[train]
    fit = ~val & ~np.isin(codes, codes[val])
    if not fit.any():
        raise SplitError(
            "groups that end in time", got="none that is over before the newest begin", where=where, fix=""
        )
    return train[fit], train[val]
