"""Parts that are given: prescribed by the source, or by a saved split that a grown data set continues."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ringlight.data.faults import first_of
from ringlight.data.split_file import LEFT_OUT, PARTS, PLACES, SavedSplit
from ringlight.data.stratify import BoolArray, FloatArray, IntArray, group_codes, stratify
from ringlight.errors import SplitError, did_you_mean
from ringlight.types import Dataset

UNKNOWN = -1


def prescribed_parts(data: Dataset) -> tuple[IntArray, list[str]]:
    """Return the part (0, 1, 2) of every record as its source prescribes it, and warnings.

    Raises:
        SplitError: a record without a part or with an unknown one, no training record.
    """
    part = from_column(data)
    if (part == UNKNOWN).any():
        raise _without_part(data, part)
    return part, _missing_parts(part, data.name)


def continue_split(
    data: Dataset,
    matrix: BoolArray,
    saved: SavedSplit,
    ratios: FloatArray | None,
    *,
    units: IntArray | None,
    prescribed: IntArray | None,
    strategy: str,
    seed: int,
    file: Path,
) -> tuple[IntArray, list[str]]:
    """Return the part of every record: of known ids as saved, of new ones so that the test set stays what it is.

    A new record follows its group, else what `prescribed` says (UNKNOWN where it does not), else it is stratified over
    train and val in the ratio of `ratios`. Whether the parts divide a group is for the caller to see.

    Args:
        data: the records, old and new.
        matrix: their labels, (N, K).
        saved: the split to continue.
        ratios: shares of train, val and test; None when the strategy cannot place new records at random.
        units: code of what each record belongs to, (N,); None when each stands alone.
        prescribed: parts that new records have by themselves, (N,).
        strategy: the name of the strategy, for messages.
        seed: of the stratification.
        file: where `saved` was read.

    Raises:
        SplitError: no id is known, or a new record has no part where it should have one.
    """
    part = np.array([PLACES.index(saved.parts[key]) if key in saved.parts else UNKNOWN for key in data.ids], np.int64)
    if (part == UNKNOWN).all():
        raise SplitError(
            f"ids of {data.name}", got="none of them", where=str(file), fix="give the split file of this data set"
        )
    present = set(data.ids)
    notes = _gone([key for key in saved.parts if key not in present], file)
    notes += _follow_groups(data, part, saved, units)
    if prescribed is not None:
        part = np.where(part == UNKNOWN, prescribed, part)
    new = np.flatnonzero(part == UNKNOWN)
    if len(new) and ratios is None:
        raise _without_part(data, part) if prescribed is not None else _too_late(data, new, strategy, file)
    if len(new) and ratios is not None:
        shares = np.array([ratios[0], ratios[1], 0.0])
        codes = None if units is None else group_codes(units[new].tolist())
        part[new] = stratify(matrix[new], shares / shares.sum(), seed=seed, groups=codes)
    return part, notes + _missing_parts(part, str(file))


def from_column(data: Dataset) -> IntArray:
    """Return the part that the source prescribes for every record, UNKNOWN where it is silent, (N,).

    Raises:
        SplitError: a name that is no part.
    """
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


def _without_part(data: Dataset, part: IntArray) -> SplitError:
    ids = data.ids
    return SplitError(
        "a part (train, val, test) for every record",
        got=f"none for {first_of([ids[row] for row in np.flatnonzero(part == UNKNOWN)])}",
        where=f"{data.name}: column split",
        fix="complete the column or choose split.strategy=stratified_70_15_15",
    )


def _too_late(data: Dataset, new: IntArray, strategy: str, file: Path) -> SplitError:
    ids = data.ids
    return SplitError(
        f"no record beside those of the file, since {strategy} trains on nothing newer than its test",
        got=f"new ones: {first_of([ids[row] for row in new])}",
        where=str(file),
        fix="split anew without split.file, or choose split.strategy=stratified_70_15_15 to train on them",
    )


def _gone(keys: Sequence[str], file: Path) -> list[str]:
    return [f"{file}: ids that the data set no longer has: {first_of(keys)}"] if keys else []


def _follow_groups(data: Dataset, part: IntArray, saved: SavedSplit, units: IntArray | None) -> list[str]:
    """Put new records of a known group into the group's part, in place; say so."""
    if units is None:
        return []
    remembered = {group: PLACES.index(saved.parts[key]) for key, group in saved.groups.items()}
    home = {int(units[row]): remembered[group] for row, group in enumerate(data.groups or []) if group in remembered}
    home |= {int(units[row]): int(part[row]) for row in np.flatnonzero((part != UNKNOWN) & (part != LEFT_OUT))}
    new = np.flatnonzero(part == UNKNOWN).tolist()
    followers = [row for row in new if home.get(int(units[row]), LEFT_OUT) != LEFT_OUT]
    part[followers] = [home[int(units[row])] for row in followers]
    ids = data.ids
    return [
        f"new records follow their group to {name}: {first_of([ids[row] for row in rows])}"
        for index, name in enumerate(PARTS)
        if (rows := [row for row in followers if part[row] == index])
    ]


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
