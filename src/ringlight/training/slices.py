"""Where a model is right more or less often: the judged part cut by group, source folder, image size and time.

A model that is good on the whole can fail on one line, one camera or one shift; the share of right records in each
slice, with its interval, shows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.data.content import parallel, read_header
from ringlight.errors import DataError
from ringlight.evaluation.rates import rate_interval
from ringlight.types import Dataset

FEWEST = 5
"""Records below which a slice says nothing."""

MOST = 20
"""Slices shown of each kind: those with the lowest upper bound, where something is wrong for certain."""

QUARTERS = 4


def slices(data: Dataset, right: npt.NDArray[np.bool_], *, confidence: float = 0.95) -> list[dict[str, Any]]:
    """Return the share of right records by group, folder, image size and time, the worst slices of each kind first.

    Args:
        data: the judged records.
        right: whether every decision about a record was right, (N,).
        confidence: of the intervals (:func:`ringlight.evaluation.rates.rate_interval`).

    Returns:
        Rows with `by`, `name`, `num_records`, `metric`, `value`, `low`, `high`. A kind in which all records are alike,
        or no slice has :data:`FEWEST` records, has no rows.
    """
    metric = "accuracy" if data.task == "multiclass" else "subset_accuracy"
    rows: list[dict[str, Any]] = []
    for kind, names in _kinds(data):
        # Within one group its records are all there is: the interval tells of more records of that same group.
        units = None if kind == "group" else data.groups
        found = []
        for name, inside in _members(names).items():
            told = rate_interval(
                right[inside], groups=None if units is None else [units[row] for row in inside], confidence=confidence
            )
            if told is not None:
                found.append(
                    {
                        "by": kind, "name": name, "num_records": len(inside), "metric": metric,
                        "value": told.value, "low": told.low, "high": told.high,
                    }
                )  # fmt: skip
        if len(set(names)) > 1:
            rows += sorted(found, key=lambda row: (row["high"], row["name"]))[:MOST]
    return rows


def _members(names: Sequence[str | None]) -> dict[str, list[int]]:
    """Return the rows of each slice that has enough of them, in the order in which they appear."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        if name is not None:
            rows.setdefault(name, []).append(row)
    return {name: inside for name, inside in rows.items() if len(inside) >= FEWEST}


def _kinds(data: Dataset) -> Iterator[tuple[str, Sequence[str | None]]]:
    yield "group", data.table.column("group").to_pylist()
    if data.signals is None:  # windows lie in one file and are of one size
        yield "folder", _folders(data.uris)
        yield "size", parallel(_size, data.uris)
    yield "time", _quarters(data.table.column("time").to_pylist())


def _folders(uris: Sequence[str | None]) -> list[str | None]:
    """Return each file's folder below the one that all have in common."""
    folders = [None if uri is None else PurePath(uri).parent for uri in uris]
    known = {folder for folder in folders if folder is not None}
    shared = 0
    if known:
        shortest = min(len(folder.parts) for folder in known)
        while shared < shortest and len({folder.parts[shared] for folder in known}) == 1:
            shared += 1
    return [None if folder is None else "/".join(folder.parts[shared:]) or folder.name for folder in folders]


def _size(uri: str | None) -> str | None:
    try:
        return None if uri is None else "{}x{}".format(*read_header(uri).size)
    except DataError:  # it was read a moment ago; a slice is no reason to lose a finished training
        return None


def _quarters(times: Sequence[float | None]) -> list[str | None]:
    known = np.array([time for time in times if time is not None], np.float64)
    if len(known) < QUARTERS * FEWEST:
        return [None] * len(times)
    edges = np.quantile(known, np.linspace(0, 1, QUARTERS + 1))
    names = [f"{low} to {high}" for low, high in pairwise(_told(edges))]
    inner = edges[1:-1]
    return [None if time is None else names[int(np.searchsorted(inner, time, "right"))] for time in times]


def _told(edges: npt.NDArray[np.float64]) -> list[str]:
    """Write the edges so that they can be told apart: seconds since 1970 have ten digits before the point."""
    for style in (".6g" if abs(edges).max() < 1e6 else ".0f", ".15g"):
        told = [format(edge, style) for edge in edges.tolist()]
        if len(set(told)) == len(set(edges.tolist())):
            return told
    return [repr(edge) for edge in edges.tolist()]
