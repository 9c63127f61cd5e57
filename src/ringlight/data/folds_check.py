"""What is checked of every fold: no leak, more than one class to learn, and which classes it cannot judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ringlight.data.groups import NO_CONTENT
from ringlight.data.leaks import find_leaks
from ringlight.data.split_file import LEFT_OUT
from ringlight.data.stratify import IntArray
from ringlight.errors import SplitError
from ringlight.types import Dataset, Split


def leak_check(data: Dataset, split: Split, *, allow_leak: bool, where: str, fix: str) -> Split:
    """Return the fold with what the check looked at and what came of it.

    Raises:
        SplitError: a group, or the same file, stands in two parts of it and that is not allowed.
    """
    part = np.full(len(data), LEFT_OUT, np.int64)
    for index, rows in enumerate(split.parts().values()):
        part[rows] = index
    leaks = find_leaks(data, part)
    if leaks and not allow_leak:
        raise SplitError("what belongs together in one part", got=" and ".join(leaks), where=where, fix=fix)
    warnings = tuple(f"leak in {where}: {line}; the result is marked leaky" for line in leaks)
    return replace(split, leaks=leaks, leak_check=_told(data, leaks), warnings=warnings)


def _told(data: Dataset, leaks: Sequence[str]) -> str:
    looked = [] if data.groups is None else ["groups"]
    looked += ["identical files"] if data.table.column("content").null_count < len(data) else []
    if not looked:
        return NO_CONTENT
    return f"{', '.join(looked)}: {'leaks found' if leaks else 'no leak found'}"


def class_problem(data: Dataset, train: IntArray, *, where: str) -> None:
    """Refuse a fold with nothing to tell apart.

    Raises:
        SplitError: its training records are all of one class, though the data set has more.
    """
    if data.task != "multiclass":
        return
    targets = data.targets()
    known = np.unique(targets[train])
    if len(known) < 2 <= len(np.unique(targets)):
        raise SplitError(
            "training records of two classes or more", got=f"only `{data.classes[known[0]]}`", where=where,
            fix="use fewer folds, a method that keeps classes in proportion, or other groups",
        )  # fmt: skip


def class_notes(data: Dataset, splits: Sequence[Split], *, single: bool = False) -> list[str]:
    """Name every class that some folds have no example of, to test on or to train on, one line each.

    `single` says that a fold tests on one record, where a class missing in the test part is no news.
    """
    matrix = data.label_matrix().astype(bool)
    notes = []
    for column, name in enumerate(data.classes):
        total = int(matrix[:, column].sum())
        if not total:
            continue
        untested = sum(not matrix[split.test, column].any() for split in splits)
        unknown = sum(not matrix[split.train, column].any() for split in splits if matrix[split.test, column].any())
        records = "1 record" if total == 1 else f"{total} records"
        if untested and not single:
            notes.append(
                f"class {name}: {records}, none to test on in {untested} of {len(splits)} folds; its F1 counts 0 there"
            )
        if unknown:
            notes.append(f"class {name}: {records}, tested on without an example in training in {unknown} fold(s)")
    return notes
