"""Parts that are given: prescribed by the source, or by a saved split that a grown data set continues."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ringlight.data.faults import first_of
from ringlight.data.split_file import PARTS, SavedSplit
from ringlight.data.stratify import BoolArray, FloatArray, IntArray, group_codes, stratify
from ringlight.errors import SplitError, did_you_mean
from ringlight.types import Dataset

UNKNOWN = -1


def prescribed_parts(data: Dataset) -> tuple[IntArray, list[str]]:
    """Return the part (0, 1, 2) of every record as its source prescribes it, and warnings.

    Raises:
        SplitError: a record without a part or with an unknown one, no training record, a group in two parts.
    """
    part = _from_column(data)
    _refuse_unassigned(data, part)
    _refuse_divided(data, part, where=data.name)
    return part, _missing_parts(part, data.name)


def continue_split(
    data: Dataset,
    matrix: BoolArray,
    saved: SavedSplit,
    ratios: FloatArray,
    *,
    predefined: bool,
    seed: int,
    file: Path,
) -> tuple[IntArray, list[str]]:
    """Return the part of every record: of known ids as saved, of new ones so that the test set stays what it is.

    A new record follows its group, else (`predefined`) its source, else it is stratified over train and val in the
    ratio of `ratios`.

    Raises:
        SplitError: no id is known, a group is in two parts, or a new record has no part where the source should
            prescribe it.
    """
    part = np.array([PARTS.index(saved.parts[key]) if key in saved.parts else UNKNOWN for key in data.ids], np.int64)
    if (part == UNKNOWN).all():
        raise SplitError(
            f"ids of {data.name}", got="none of them", where=str(file), fix="give the split file of this data set"
        )
    _refuse_divided(data, part, where=str(file))
    present = set(data.ids)
    notes = _gone([key for key in saved.parts if key not in present], file)
    notes += _follow_groups(data, part, saved)
    if predefined:
        part = np.where(part == UNKNOWN, _from_column(data), part)
        _refuse_unassigned(data, part)
        _refuse_divided(data, part, where=str(file))
    new = np.flatnonzero(part == UNKNOWN)
    if len(new):
        shares = np.array([ratios[0], ratios[1], 0.0])
        groups = data.groups  # built anew at each look: a look for every record took eight seconds for 12,000
        codes = None if groups is None else group_codes([groups[row] for row in new])
        part[new] = stratify(matrix[new], shares / shares.sum(), seed=seed, groups=codes)
    return part, notes + _missing_parts(part, str(file))


def _from_column(data: Dataset) -> IntArray:
    names = data.table.column("split").to_pylist()
    for key, name in zip(data.ids, names, strict=True):
        if name is not None and name not in PARTS:
            raise SplitError(
                "train, val or test",
                got=f"`{name}`",
                where=f"{data.name}: record `{key}`: column split",
                fix=did_you_mean(name, PARTS),
            )
    return np.array([UNKNOWN if name is None else PARTS.index(name) for name in names], np.int64)


def _refuse_unassigned(data: Dataset, part: IntArray) -> None:
    ids = data.ids
    without = [ids[row] for row in np.flatnonzero(part == UNKNOWN)]
    if without:
        raise SplitError(
            "a part (train, val, test) for every record",
            got=f"none for {first_of(without)}",
            where=f"{data.name}: column split",
            fix="complete the column or choose split.strategy=stratified_70_15_15",
        )


def _gone(keys: Sequence[str], file: Path) -> list[str]:
    return [f"{file}: ids that the data set no longer has: {first_of(keys)}"] if keys else []


def _follow_groups(data: Dataset, part: IntArray, saved: SavedSplit) -> list[str]:
    """Put new records of a known group into the group's part, in place; say so."""
    groups = data.groups
    if groups is None:
        return []
    ids = data.ids
    home = {group: PARTS.index(saved.parts[key]) for key, group in saved.groups.items()}
    home |= {group: int(part[row]) for row, group in enumerate(groups) if part[row] != UNKNOWN}
    followers = [row for row, group in enumerate(groups) if part[row] == UNKNOWN and group in home]
    part[followers] = [home[groups[row]] for row in followers]
    return [
        f"new records follow their group to {name}: {first_of([ids[row] for row in rows])}"
        for index, name in enumerate(PARTS)
        if (rows := [row for row in followers if part[row] == index])
    ]


def _refuse_divided(data: Dataset, part: IntArray, *, where: str) -> None:
    home: dict[str, int] = {}
    for group, index in zip(data.groups or [], part.tolist(), strict=False):
        if index != UNKNOWN and home.setdefault(group, index) != index:
            raise SplitError(
                "every group in one part",
                got=f"group `{group}` in {PARTS[home[group]]} and {PARTS[index]}",
                where=where,
                fix="put the whole group into one part, or split anew",
            )


def _missing_parts(part: IntArray, where: str) -> list[str]:
    empty = [name for index, name in enumerate(PARTS) if not (part == index).any()]
    if "train" in empty or len(empty) == 2:
        raise SplitError(
            "records in train and in val or test",
            got=f"none in {' and '.join(empty)}",
            where=where,
            fix="move records there, or split anew",
        )
    told = {
        "val": "nothing is chosen on validation scores, the last weights are judged",
        "test": "the model is judged on the part that chose its weights",
    }
    return [f"{where}: no record in {name}: {told[name]}" for name in empty]
