"""Splitting: disjoint parts that each hold their share of every class and never divide a group.

How records are assigned is told in :mod:`ringlight.data.stratify` and :mod:`ringlight.data.chronology`, what belongs
together in :mod:`ringlight.data.groups`, how a split is saved in :mod:`ringlight.data.split_file`. Here: the strategies
by name, a saved split continued, and the leak check that every split passes or stops at.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ringlight.data.chronology import split_by_time
from ringlight.data.groups import GIVEN, NEAR, NO_CONTENT, NONE, Find, grouped, units_of
from ringlight.data.leaks import find_leaks, leak_error
from ringlight.data.split_continue import UNKNOWN, continue_split, from_column, prescribed_parts
from ringlight.data.split_file import LEFT_OUT, PARTS, SavedSplit, read_split, write_split
from ringlight.data.splitter import StratifiedSplitter, fresh_parts, rare_classes, unequal_sizes
from ringlight.data.stratify import BoolArray, FloatArray, IntArray, group_codes
from ringlight.errors import SplitError, did_you_mean
from ringlight.types import Dataset, Split

__all__ = [
    "LEAVE_ONE_GROUP_OUT", "LEFT_OUT", "PARTS", "PREDEFINED", "STRATEGIES", "TIME", "SavedSplit", "StratifiedSplitter",
    "divide", "read_split", "split_dataset", "write_split",
]  # fmt: skip

STRATEGIES: dict[str, tuple[float, float, float]] = {
    "stratified_70_15_15": (0.70, 0.15, 0.15),
    "stratified_80_10_10": (0.80, 0.10, 0.10),
    "stratified_80_20": (0.80, 0.00, 0.20),
}
"""Shares of train, val and test. `stratified_80_20` has no validation part: nothing is chosen on the test part, so
there is no early stopping and the last weights are the ones judged."""

TIME = "time_70_15_15"
"""The strategy that trains on the oldest records and tests on the newest."""

LEAVE_ONE_GROUP_OUT = "leave_one_group_out"
"""The strategy that tests on one whole group and divides the others 85 to 15 into train and val."""

PREDEFINED = "predefined"
"""The strategy that takes the parts which the source prescribes (the column `split`)."""

PREDEFINED_TEST = "predefined_test"
"""The strategy that takes the test part which the source prescribes and divides the others 85 to 15."""

_SHARES = STRATEGIES | {
    TIME: (0.70, 0.15, 0.15),
    LEAVE_ONE_GROUP_OUT: (0.85, 0.15, 0.0),
    PREDEFINED: (0.0, 0.0, 0.0),
    PREDEFINED_TEST: (0.85, 0.15, 0.0),
}


def divide(
    dataset: Dataset,
    *,
    strategy: str,
    seed: int,
    file: Path | None = None,
    groups: str = "auto",
    time_window: float | None = None,
    time_gap: float = 0.0,
    test_group: str | None = None,
    allow_leak: bool = False,
    duplicates: Find | None = None,
) -> tuple[Dataset, Split]:
    """Find what belongs together, then split; return the data set with its groups filled in, and the split.

    The arguments are those of :func:`ringlight.data.groups.grouped` and :func:`split_dataset`. The fingerprint of the
    data set that comes back knows the found groups; that of the data as given is the one of `dataset`.

    Raises:
        SplitError: groups that are not to be had, records that cannot be split as asked, or a leak.
        Problems: several faulty rows in the file.
    """
    saved = None if file is None else read_split(file).groups
    found = grouped(dataset, groups=groups, time_window=time_window, duplicates=duplicates, saved=saved)
    split = split_dataset(
        found.dataset,
        strategy=strategy,
        seed=seed,
        file=file,
        time_gap=time_gap,
        test_group=test_group,
        allow_leak=allow_leak,
        keep_groups=found.whole,
        groups=found.origin,
    )
    return found.dataset, replace(split, warnings=(*found.notes, *split.warnings))


def split_dataset(
    dataset: Dataset,
    *,
    strategy: str,
    seed: int,
    file: Path | None = None,
    time_gap: float = 0.0,
    test_group: str | None = None,
    allow_leak: bool = False,
    keep_groups: bool = True,
    groups: str = "",
) -> Split:
    """Split a data set; the result depends on its records and the seed, not on their order.

    Args:
        dataset: what to split.
        strategy: a key of :data:`STRATEGIES`, :data:`TIME`, :data:`LEAVE_ONE_GROUP_OUT`, :data:`PREDEFINED` or
            :data:`PREDEFINED_TEST`.
        seed: the same seed gives the same parts.
        file: a saved split to continue: its ids keep their parts, and new records go to train and val in the
            strategy's ratio, so that the test set stays the test set. A new record whose group is in a part already
            follows its group, with a warning: a group on both sides would be worse.
        time_gap: for :data:`TIME`: records closer than this (seconds) to the next part are left out.
        test_group: for :data:`LEAVE_ONE_GROUP_OUT`: the group that is the test part.
        allow_leak: return a split that leaks, with its leaks named, instead of stopping.
        keep_groups: keep groups, and files that are the same to the byte, in one part; without it records are divided
            one by one, and what that divides is a leak.
        groups: where the groups come from, in words.

    Raises:
        SplitError: unknown strategy, too few records or groups, a part missing that the source should prescribe, a
            time or a group that is not there, a leak, a file that cannot be used.
        Problems: several faulty rows in the file.
    """
    if strategy not in _SHARES:
        raise SplitError(
            "a known strategy", got=f"`{strategy}`", where="split.strategy", fix=did_you_mean(strategy, _SHARES)
        )
    order = np.argsort(np.asarray(dataset.ids, dtype=object), kind="stable")
    data = dataset.take(order)
    units = units_of(data) if keep_groups else None
    matrix = data.label_matrix().astype(bool)
    if file is not None:
        part, notes = _continued(data, matrix, units, strategy=strategy, seed=seed, file=file, test_group=test_group)
    else:
        part, notes = _anew(data, matrix, units, strategy=strategy, seed=seed, time_gap=time_gap, test_group=test_group)
    shares = np.array(_SHARES[strategy]) if strategy in (*STRATEGIES, TIME) else _sizes(part)
    notes += rare_classes(matrix, part, shares, [f"`{name}`" for name in data.classes])
    leaks = find_leaks(data, part)
    if leaks and not allow_leak:
        raise leak_error(leaks, where=data.name if file is None else str(file), fix=_mend(strategy, file, keep_groups))
    notes += [f"leak: {line}; the run is marked leaky (split.allow_leak=true)" for line in leaks]
    train, val, test, left_out = (np.sort(order[part == index]).astype(np.int64) for index in range(4))
    return Split(
        train,
        val,
        test,
        strategy=strategy,
        warnings=tuple(notes),
        left_out=left_out,
        groups=groups,
        leaks=leaks,
        leak_check=_told(data, leaks, groups, keep_groups),
    )


def _anew(
    data: Dataset,
    matrix: BoolArray,
    units: IntArray | None,
    *,
    strategy: str,
    seed: int,
    time_gap: float,
    test_group: str | None,
) -> tuple[IntArray, list[str]]:
    if strategy == PREDEFINED:
        return prescribed_parts(data)
    shares = np.array(_SHARES[strategy])
    if strategy in (LEAVE_ONE_GROUP_OUT, PREDEFINED_TEST):
        alone = strategy == LEAVE_ONE_GROUP_OUT
        part, out = (_tested_on(data, test_group), f"`{test_group}`") if alone else (_prescribed_test(data), "its test")
        rest = np.flatnonzero(part == UNKNOWN)
        codes = None if units is None else group_codes(units[rest].tolist())
        part[rest] = fresh_parts(matrix[rest], shares, codes, seed, where=f"{data.name} without {out}")
        return part, []
    if strategy == TIME:
        part, notes = split_by_time(data, units, shares, gap=time_gap)
    else:
        part, notes = fresh_parts(matrix, shares, units, seed, where=data.name), []
    return part, notes + unequal_sizes(part[part < len(PARTS)], shares)


def _continued(
    data: Dataset,
    matrix: BoolArray,
    units: IntArray | None,
    *,
    strategy: str,
    seed: int,
    file: Path,
    test_group: str | None,
) -> tuple[IntArray, list[str]]:
    prescribed = None
    if strategy == PREDEFINED:
        prescribed = from_column(data)
    elif strategy == LEAVE_ONE_GROUP_OUT:
        prescribed = _tested_on(data, test_group)
    elif strategy == PREDEFINED_TEST:
        prescribed = _prescribed_test(data)
    return continue_split(
        data,
        matrix,
        read_split(file),
        None if strategy in (PREDEFINED, TIME) else np.array(_SHARES[strategy]),
        units=units,
        prescribed=prescribed,
        strategy=strategy,
        seed=seed,
        file=file,
    )


def _tested_on(data: Dataset, test_group: str | None) -> IntArray:
    """Return 2 for the records of the group to test on, UNKNOWN for the others, (N,)."""
    names = data.table.column("group").to_pylist()
    known = {name for name in names if name is not None}
    if test_group not in known:
        fix = did_you_mean(test_group or "", known) if known else "set data.group_column or data.group_regex"
        got = "none" if test_group is None else f"`{test_group}`"
        raise SplitError(
            f"a group of {data.name} to test on" if known else f"groups in {data.name}",
            got=got if known else "none",
            where="split.test_group" if known else f"split.strategy={LEAVE_ONE_GROUP_OUT}",
            fix=fix,
        )
    return np.array([PARTS.index("test") if name == test_group else UNKNOWN for name in names], np.int64)


def _prescribed_test(data: Dataset) -> IntArray:
    """Return 2 for the records that the source tests on, UNKNOWN for the others, (N,)."""
    test = PARTS.index("test")
    part = from_column(data)
    if not (part == test).any() or (part == test).all():
        raise SplitError(
            "test records and others", got="none" if not (part == test).any() else "test records only",
            where=f"{data.name}: column split", fix="complete the column or choose split.strategy=stratified_70_15_15",
        )  # fmt: skip
    return np.where(part == test, test, UNKNOWN)


def _sizes(part: IntArray) -> FloatArray:
    return np.asarray(np.bincount(part, minlength=3)[:3] / len(part))


def _mend(strategy: str, file: Path | None, keep_groups: bool) -> str:
    if not keep_groups:
        return "keep them together with split.groups=auto"
    if file is not None or strategy == PREDEFINED:
        return "put them into one part or split anew"
    return "remove the copies or give them one group"


def _told(data: Dataset, leaks: tuple[str, ...], groups: str, keep_groups: bool) -> str:
    """Say what the leak check looked at, and what came of it."""
    has_digests = data.table.column("content").null_count < len(data)
    kind = groups.removeprefix(f"{NONE}; ") or "groups" if keep_groups or NEAR in groups else GIVEN
    looked = [] if data.groups is None else [kind]
    looked += ["identical files"] if has_digests else []
    if not looked:
        return "files not hashed: no leak check" if data.has_content else NO_CONTENT
    missed = "; near-duplicates were not looked for" if has_digests and NEAR not in groups else ""
    return f"{', '.join(looked)}: {'leaks found' if leaks else 'no leak found'}{missed}"
