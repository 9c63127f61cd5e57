"""Groups: what no split may divide, because one of them on both sides of a split tests on what was trained on.

They are given by the source (a column, `data.group_regex`), chained in time, or found in the files' contents. A found
group is written into the column `group` of the data set that is split, so that intervals and reports count it; it is
no part of the data's identity: a fingerprint is taken of the data as given, before anything is found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from ringlight.data.faults import first_of
from ringlight.data.stratify import FloatArray, IntArray, group_codes
from ringlight.errors import SplitError, did_you_mean
from ringlight.types import Dataset

KINDS = ("auto", "given", "duplicates", "time", "none")
"""What `split.groups` may be."""

GIVEN = "given groups"
NEAR = "near-duplicates found in the files"
TIME = "records close in time"
NONE = "none: divided record by record"
NO_CONTENT = "no content: leak check not possible"


class Found(Protocol):
    """What a search for duplicates answers: one group a record, and what there is to say about it."""

    @property
    def groups(self) -> Sequence[str]:
        """The name of each record's group, (N,)."""

    @property
    def notes(self) -> Sequence[str]:
        """What there is to say, one line each."""


Find = Callable[[Dataset], Found]
"""A search for near-duplicates."""


@dataclass(frozen=True, slots=True)
class Grouped:
    """A data set whose column `group` says what belongs together.

    `origin` says in words where the groups came from, empty when there are none; `checked` whether a leak could be seen
    at all; `whole` whether a split has to keep them whole.
    """

    dataset: Dataset
    origin: str
    notes: tuple[str, ...] = ()
    checked: bool = True
    whole: bool = True


def grouped(
    dataset: Dataset,
    *,
    groups: str = "auto",
    time_window: float | None = None,
    duplicates: Find | None = None,
    saved: Mapping[str, str] | None = None,
) -> Grouped:
    """Return the data set with its groups filled in.

    Args:
        dataset: the records.
        groups: "given" takes the source's groups; "duplicates" what `duplicates` finds, joined with the given ones;
            "time" chains records; "none" keeps given or found ones for the leak check alone; "auto" takes the given
            groups if any record has one, and else looks for duplicates when every record has a file.
        time_window: for "time": records less than this apart (seconds) are chained into one group, within a given
            group where there is one.
        duplicates: finds near-duplicates; without it only files that are the same to the byte stay together.
        saved: the groups, by id, of a saved split that is read back. Where it knows every record they are taken as
            they are, so that a run that is resumed is the same run; else they are joined with what is found.

    Raises:
        SplitError: the groups that are asked for are not to be had.
    """
    if groups not in KINDS:
        raise SplitError(
            "a known kind of group", got=f"`{groups}`", where="split.groups", fix=did_you_mean(groups, KINDS)
        )
    given = dataset.groups is not None
    if groups == "none":
        return _undivided(dataset, duplicates, saved or {})
    if groups == "time":
        return _chained(dataset, time_window)
    if groups == "given" and not given:
        raise SplitError(
            "records with a group",
            got="none",
            where=f"{dataset.name}: split.groups=given",
            fix="set data.group_column or data.group_regex, or use split.groups=auto",
        )
    if given and groups != "duplicates":
        return Grouped(dataset, GIVEN)
    return _found(dataset, groups, duplicates, saved or {})


def _undivided(dataset: Dataset, duplicates: Find | None, saved: Mapping[str, str]) -> Grouped:
    """Return the groups that a split record by record does not keep: what it divides is a leak all the same."""
    given = dataset.groups is not None
    if given or not dataset.has_content:
        return Grouped(dataset, NONE, checked=given or dataset.has_content, whole=False)
    found = _found(dataset, "auto", duplicates, saved)
    return replace(found, origin=f"{NONE}; {found.origin}" if found.origin else NONE, whole=False)


def _found(dataset: Dataset, groups: str, duplicates: Find | None, saved: Mapping[str, str]) -> Grouped:
    remembered = [saved.get(key) for key in dataset.ids]
    if None not in remembered:
        return Grouped(dataset.with_column("group", remembered), f"{_words(remembered)}, as the saved split has them")
    if not dataset.has_content:
        if groups == "auto":
            return Grouped(dataset, "", (NO_CONTENT,), checked=False)
        without = [key for key, uri in zip(dataset.ids, dataset.uris, strict=True) if uri is None]
        raise SplitError(
            "a file for every record",
            got=f"none for {first_of(without)}",
            where=f"{dataset.name}: split.groups=duplicates",
            fix="name the column that holds the paths (data.path_column), or use split.groups=auto",
        )
    if duplicates is None:
        return Grouped(dataset, "")
    found = duplicates(dataset)
    given = dataset.table.column("group").to_pylist()
    root = joined(group_codes(found.groups), group_codes(given), group_codes(remembered))
    names: dict[int, str] = {}
    for row, first in enumerate(root.tolist()):
        if given[row] is not None:
            names.setdefault(first, given[row])
    codes = [names.get(first, found.groups[first]) for first in root.tolist()]
    origin = f"{GIVEN} and {NEAR}" if names else NEAR
    return Grouped(dataset.with_column("group", codes), origin, (_counted(found.groups), *found.notes))


def _counted(names: Sequence[str]) -> str:
    sizes = [size for size in Counter(names).values() if size > 1]
    return (
        f"near-duplicates: {sum(sizes)} of {len(names)} records share their group with another, {len(sizes)} group(s)"
    )


def _words(names: Sequence[str | None]) -> str:
    """Say where saved groups came from by the names that Ringlight gives."""
    return NEAR if any(name is not None and name.startswith("near:") for name in names) else "groups"


def joined(*labellings: IntArray) -> IntArray:
    """Join records that share a code in any of the labellings, directly or through others; (N,) each.

    Returns:
        For every record the first row of what it belongs to, (N,).

    Examples:
        >>> joined(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2])).tolist()
        [0, 0, 0, 3]
    """
    root = np.arange(len(labellings[0]))
    while True:
        before = root
        for codes in labellings:
            lowest = np.full(int(codes.max()) + 1, len(root))
            np.minimum.at(lowest, codes, root)
            root = lowest[codes]
        if (root == before).all():
            return root


def units_of(dataset: Dataset) -> IntArray:
    """Number what a split has to keep together: groups, and files that are the same to the byte; (N,) from 0.

    Two given groups that hold the same file are one unit; their names stay.
    """
    labellings = [
        group_codes(names) for names in (dataset.groups, dataset.table.column("content").to_pylist()) if names
    ]
    return group_codes(joined(*labellings).tolist())


def times_of(dataset: Dataset, *, where: str) -> FloatArray:
    """Return the time of every record, (N,).

    Raises:
        SplitError: a record has none.
    """
    times = np.array([np.nan if time is None else time for time in dataset.table.column("time").to_pylist()], float)
    if not np.isfinite(times).all():
        ids = dataset.ids
        raise SplitError(
            "a time for every record",
            got=f"none for {first_of([ids[row] for row in np.flatnonzero(~np.isfinite(times))])}",
            where=f"{dataset.name}: {where}",
            fix="set data.time_column (of an .npz file data.time_key) to a column that is filled in every row, or "
            "divide by something else",
        )
    return times


def _chained(dataset: Dataset, window: float | None) -> Grouped:
    if window is None or not window > 0:
        raise SplitError(
            "a length of time above 0, in seconds",
            got="none" if window is None else f"{window:g}",
            where="split.time_window",
            fix="set split.time_window=60 to keep records together that are less than a minute apart",
        )
    times = times_of(dataset, where="split.groups=time")
    ids = dataset.ids
    given = dataset.table.column("group").to_pylist()
    streams = group_codes([name if name is not None else "" for name in given])
    order = np.lexsort((np.argsort(np.argsort(np.array(ids, object), kind="stable")), times, streams))
    starts = np.ones(len(order), bool)
    starts[1:] = (np.diff(streams[order]) != 0) | (np.diff(times[order]) >= window)
    names = np.empty(len(order), object)
    firsts = [f"time:{ids[row]}" for row in order[starts]]
    names[order] = [firsts[chain] for chain in np.cumsum(starts) - 1]
    inside = ", within the given groups" if any(name is not None for name in given) else ""
    origin = f"{TIME} (less than {window:g} s apart{inside})"
    return Grouped(dataset.with_column("group", names.tolist()), origin)
