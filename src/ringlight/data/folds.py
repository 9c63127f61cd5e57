"""Folds: a data set divided several times, so that every record is tested on once."""

from __future__ import annotations

import warnings

import numpy as np

from ringlight.data.chronology import cut_in_time
from ringlight.data.groups import times_of, units_of
from ringlight.data.stratify import BoolArray, IntArray, stratify
from ringlight.errors import SplitError, did_you_mean
from ringlight.types import Dataset

KINDS = ("stratified", "group", "time", "leave_one_group_out")
"""What `make_folds` can make."""

Fold = tuple[IntArray, IntArray]
"""Sorted rows to train on, and to test on."""


def make_folds(dataset: Dataset, *, num_folds: int = 5, kind: str = "stratified", seed: int = 0) -> list[Fold]:
    """Divide a data set into folds; they depend on its records and the seed, not on their order.

    Args:
        dataset: the records, with their groups filled in.
        num_folds: how many, from 2; not used by "leave_one_group_out".
        kind: "stratified" divides record by record, classes in proportion; "group" keeps groups, and files that are
            the same to the byte, whole (scikit-learn's StratifiedGroupKFold for single labels, iterative
            stratification of groups for multi-label); "time" tests on each of `num_folds` spans of time after having
            trained on all before it, so that the oldest span is never tested on, and leaves out of the training what
            shares a group with the test; "leave_one_group_out" tests on each group once, in order of their names.
        seed: ties and order.

    Raises:
        SplitError: an unknown kind; fewer records, groups or times than folds; a record without a time.
    """
    if kind not in KINDS:
        raise SplitError("a known kind of fold", got=f"`{kind}`", where="kind", fix=did_you_mean(kind, KINDS))
    if num_folds < 2:
        raise SplitError("at least 2 folds", got=str(num_folds), where="num_folds", fix="use 5")
    order = np.argsort(np.asarray(dataset.ids, dtype=object), kind="stable")
    data = dataset.take(order)
    if kind == "time":
        folds = _in_time(data, num_folds)
    else:
        home = _leave_one_out(data) if kind == "leave_one_group_out" else _homes(data, num_folds, kind, seed)
        folds = [(np.flatnonzero(home != index), np.flatnonzero(home == index)) for index in range(home.max() + 1)]
    return [(np.sort(order[train]).astype(np.int64), np.sort(order[test]).astype(np.int64)) for train, test in folds]


def _homes(data: Dataset, num_folds: int, kind: str, seed: int) -> IntArray:
    """Return the fold that tests on each record, (N,)."""
    units = units_of(data) if kind == "group" else np.arange(len(data))
    number = int(units.max()) + 1
    _require(data, number, num_folds, "records" if number == len(data) else "groups")
    matrix = data.label_matrix().astype(bool)
    if kind == "group" and data.task == "multiclass":
        home = _stratified_group_folds(matrix, units, num_folds, seed)
        if len(np.unique(home)) == num_folds:
            return home
    home = stratify(matrix, np.full(num_folds, 1 / num_folds), seed=seed, groups=units)
    _require(data, len(np.unique(home)), num_folds, "folds with a record to test on")
    return home


def _stratified_group_folds(matrix: BoolArray, units: IntArray, num_folds: int, seed: int) -> IntArray:
    from sklearn.model_selection import StratifiedGroupKFold

    labels = matrix.argmax(axis=1)
    if np.bincount(labels).max() < num_folds:
        return np.zeros(len(labels), np.int64)  # scikit-learn refuses; the iterative algorithm does what can be done
    home = np.empty(len(labels), np.int64)
    with warnings.catch_warnings():
        # A class with fewer records than folds is the rule in inspection; the report marks it as too few to judge.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
        for index, (_, test) in enumerate(splitter.split(labels, labels, units)):
            home[test] = index
    return home


def _leave_one_out(data: Dataset) -> IntArray:
    names = data.groups
    if names is None:
        raise SplitError(
            f"groups in {data.name}",
            got="none",
            where="kind=leave_one_group_out",
            fix="set data.group_column or data.group_regex",
        )
    known, home = np.unique(np.array(names, dtype=object).astype(str), return_inverse=True)
    _require(data, len(known), 2, "groups")
    return np.asarray(home, np.int64)


def _in_time(data: Dataset, num_folds: int) -> list[Fold]:
    span = cut_in_time(times_of(data, where="kind=time"), num_folds + 1)
    _require(data, int(span.max()) + 1, num_folds + 1, "different times")
    units = units_of(data)
    folds = []
    for index in range(1, num_folds + 1):
        tested = span == index
        train = np.flatnonzero((span < index) & ~np.isin(units, units[tested]))
        if not len(train):
            raise SplitError(
                "groups that end in time",
                got=f"none that is over before fold {index} begins",
                where=f"{data.name}: kind=time",
                fix="use shorter groups (split.groups=time) or kind=group",
            )
        folds.append((train, np.flatnonzero(tested)))
    return folds


def _require(data: Dataset, got: int, wanted: int, kind: str) -> None:
    if got < wanted:
        raise SplitError(f"at least {wanted} {kind}", got=str(got), where=f"{data.name}: folds", fix="use fewer folds")
