"""The ways to cross-validate: scikit-learn's splitters over Ringlight's records, each fold checked for leaks.

A fold is a :class:`~ringlight.types.Split`: records to train on, records held out from them (for early stopping,
calibration and thresholds), and records to test on. A method that works record by record is allowed as long as nothing
that belongs together stands on two sides; else it stops, as every split does. Shapes: N records.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ringlight.data.folds import Fold, make_folds
from ringlight.data.folds_check import class_notes, class_problem, leak_check
from ringlight.data.folds_inner import held_out
from ringlight.data.groups import times_of, units_of
from ringlight.data.stratify import IntArray
from ringlight.errors import SplitError, did_you_mean
from ringlight.types import Dataset, Split

METHODS = (
    "stratified_kfold", "kfold", "group_kfold", "stratified_group_kfold", "time_series", "leave_one_out",
    "leave_one_group_out",
)  # fmt: skip
"""What `cv.method` may be, beside `auto`."""

ONE_WAY = frozenset({"time_series", "leave_one_out", "leave_one_group_out"})
"""The methods that divide the same records in one way only: to repeat them would train the same folds again."""

MAX_FOLDS = 2000
"""Trainings from which on a cross-validation is taken for a mistake: 2,000 folds of a minute are a day and a half."""


class Keys(NamedTuple):
    """What the settings are called in messages: configuration keys, or a function's arguments."""

    method: str = "cv.method"
    n_splits: str = "cv.n_splits"
    repeats: str = "cv.repeats"
    val_share: str = "cv.val_share"
    allow_leak: str = "split.allow_leak=true"
    groups: str = "set data.group_column or data.group_regex"
    time: str = "set data.time_column"


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """A data set divided for cross-validation.

    `splits` holds the folds of the first repeat in order, then those of the second, ...; `method` is never `auto`.
    """

    dataset: Dataset
    method: str
    num_folds: int
    repeats: int
    splits: tuple[Split, ...]
    notes: tuple[str, ...] = ()

    def place(self, index: int) -> tuple[int, int]:
        """Return the repeat and the fold, both from 0, of a split."""
        return divmod(index, self.num_folds)


def cross_validation_folds(
    dataset: Dataset, *, method: str = "auto", n_splits: int = 5, repeats: int = 1, val_share: float = 0.15,
    seed: int = 0, keep_groups: bool = True, allow_leak: bool = False, origin: str = "", keys: Keys | None = None,
) -> Division:  # fmt: skip
    """Divide records into folds; the result depends on them and the seed, not on their order.

    Args:
        dataset: the records, with their groups filled in.
        method: one of :data:`METHODS`, or "auto": `stratified_group_kfold` where groups, or files that are the same to
            the byte, hold more than one record, else `stratified_kfold`. `time_series` tests on each of `n_splits`
            spans of time after having trained on what is older; the oldest span is never tested on.
        n_splits: folds of a repeat; `leave_one_out` and `leave_one_group_out` make their own.
        repeats: how often the records are divided anew. The first repeat is what scikit-learn makes with
            `random_state=seed`.
        val_share: share of each fold's training records that is held out, groups whole and classes in proportion; the
            newest of them with `time_series`. 0 holds none out.
        seed: ties and order.
        keep_groups: without it, "auto" and the held out records divide record by record, groups or not.
        allow_leak: return folds that leak, with their leaks named, instead of stopping.
        origin: where the groups come from, in words.
        keys: what the settings are called in messages; None names the configuration's keys.

    Raises:
        SplitError: an unknown method; fewer records, groups or times than folds; no groups or times where the method
            needs them; a fold whose training records are of one class; a leak.
    """
    keys = keys or Keys()
    if method not in (*METHODS, "auto"):
        raise SplitError(
            "a known method", got=f"`{method}`", where=keys.method, fix=did_you_mean(method, (*METHODS, "auto"))
        )
    order = np.argsort(np.asarray(dataset.ids, dtype=object), kind="stable")
    data = dataset.take(order)
    units = units_of(data)
    if method == "auto":
        shared = len(np.unique(units)) < len(units)
        method = "stratified_group_kfold" if keep_groups and shared else "stratified_kfold"
    _check(data, units, method, n_splits, repeats, keys)
    splits: list[Split] = []
    num_folds = 0
    for repeat in range(repeats):
        folds = _folds(data, units, method, n_splits, derived_seed(seed, repeat))
        num_folds = len(folds)
        for index, fold in enumerate(folds):
            name = f"{keys.method}={method}, {_named(repeat, index, repeats)}"
            inner = derived_seed(seed, repeat, index)
            kept = units if keep_groups else None
            train, val = held_out(
                data, fold[0], kept, share=val_share, seed=inner, in_time=method == "time_series", where=name,
                key=keys.val_share,
            )  # fmt: skip
            class_problem(data, train, where=name)
            split = Split(
                train, val, fold[1], strategy=method, groups=origin, left_out=_rest(len(data), train, val, fold)
            )
            splits.append(leak_check(data, split, allow_leak=allow_leak, where=name, fix=_mend(method, keys)))
    notes = class_notes(data, splits, single=method == "leave_one_out")
    return Division(
        dataset=dataset, method=method, num_folds=num_folds, repeats=repeats,
        splits=tuple(_in_given_order(split, order) for split in splits), notes=tuple(notes),
    )  # fmt: skip


def derived_seed(seed: int, *place: int) -> int:
    """Return a seed of its own for a repeat, or for a fold of it; the first repeat has the seed itself.

    Examples:
        >>> derived_seed(42, 0), derived_seed(42, 1) != derived_seed(42, 2)
        (42, True)
    """
    if place == (0,):
        return seed
    # Without the length, zeros at the end would not count: repeat 1 and its fold 0 would be one place.
    return int(np.random.SeedSequence([seed, len(place), *place]).generate_state(1)[0])


def _mend(method: str, keys: Keys) -> str:
    whole = "group_kfold" if method == "stratified_group_kfold" else "stratified_group_kfold"
    return f"keep them together with {keys.method}={whole}, or set {keys.allow_leak}: the result is then marked leaky"


def _named(repeat: int, index: int, repeats: int) -> str:
    return f"fold {index + 1}" if repeats == 1 else f"repeat {repeat + 1}, fold {index + 1}"


def _check(data: Dataset, units: IntArray, method: str, n_splits: int, repeats: int, keys: Keys) -> None:
    """Refuse what the records cannot give, in words that name the setting."""
    if repeats < 1:
        raise SplitError("1 or more", got=str(repeats), where=keys.repeats, fix=f"use {keys.repeats}=1")
    if repeats > 1 and method in ONE_WAY:
        raise SplitError(
            f"1 with {keys.method}={method}, which divides the records in one way only", got=str(repeats),
            where=keys.repeats, fix=f"use {keys.repeats}=1",
        )  # fmt: skip
    grouped = method in ("group_kfold", "stratified_group_kfold", "leave_one_group_out")
    if grouped and data.groups is None:
        raise SplitError(
            f"groups in {data.name}", got="none", where=f"{keys.method}={method}",
            fix=f"{keys.groups}, or use {keys.method}=stratified_kfold",
        )  # fmt: skip
    most, what = len(data), "records"
    if method == "leave_one_group_out":
        most, what, n_splits = len(set(data.groups or ())), "groups", 2
    elif grouped:
        most, what = len(np.unique(units)), "groups"
    elif method == "time_series":
        times = times_of(data, where=f"{keys.method}=time_series")
        most, what = len(np.unique(times)) - 1, "different times after the oldest, which is only trained on,"
    if method != "leave_one_out" and n_splits < 2:
        raise SplitError("2 or more", got=str(n_splits), where=keys.n_splits, fix=f"use {keys.n_splits}=5")
    if n_splits > most and method != "leave_one_out":
        fix = f"use {keys.n_splits}={most}" if most > 1 else "add data, or choose another method"
        raise SplitError(
            f"at most {most}, the {what} {'in' if what.endswith(',') else 'of'} {data.name}", got=str(n_splits),
            where=keys.n_splits if method != "leave_one_group_out" else f"{keys.method}={method}", fix=fix,
        )  # fmt: skip
    if method == "stratified_kfold":
        _check_classes(data, n_splits, keys)
    number = {"leave_one_out": len(data), "leave_one_group_out": most}.get(method, n_splits) * repeats
    if number > MAX_FOLDS:
        raise SplitError(
            f"at most {MAX_FOLDS:,} trainings", got=f"{number:,} folds", where=f"{keys.method}={method}",
            fix=f"use {keys.method}=auto",
        )  # fmt: skip


def _check_classes(data: Dataset, n_splits: int, keys: Keys) -> None:
    """Refuse more folds than any class has members; a class that is rarer than that gets a note."""
    counts = data.class_counts()
    largest = max(counts, key=lambda name: counts[name])
    if counts[largest] < n_splits:
        raise SplitError(
            f"at most {counts[largest]}, the members of the largest class, {largest}", got=str(n_splits),
            where=keys.n_splits, fix=f"use {keys.n_splits}={max(2, counts[largest])} or {keys.method}=kfold",
        )  # fmt: skip


def _folds(data: Dataset, units: IntArray, method: str, n_splits: int, seed: int) -> list[Fold]:
    """Return the folds of one repeat, over records in order of their ids."""
    from sklearn.model_selection import GroupKFold, KFold, LeaveOneOut, StratifiedKFold

    rows = np.arange(len(data))
    if method in ("stratified_group_kfold", "leave_one_group_out", "time_series"):
        kind = {"stratified_group_kfold": "group", "time_series": "time"}.get(method, method)
        return make_folds(data, num_folds=n_splits, kind=kind, seed=seed)
    if method == "group_kfold":
        made = GroupKFold(n_splits, shuffle=True, random_state=seed).split(rows, groups=units)
    elif method == "leave_one_out":
        made = LeaveOneOut().split(rows)
    elif method == "kfold":
        made = KFold(n_splits, shuffle=True, random_state=seed).split(rows)
    elif data.task == "multilabel":
        return make_folds(data, num_folds=n_splits, kind="stratified", seed=seed)
    else:
        with warnings.catch_warnings():
            # A class with fewer members than folds is told in a note, with its name.
            warnings.filterwarnings("ignore", "The least populated class", UserWarning)
            splitter = StratifiedKFold(n_splits, shuffle=True, random_state=seed)
            made = list(splitter.split(rows, data.targets()))
    return [(np.sort(train).astype(np.int64), np.sort(test).astype(np.int64)) for train, test in made]


def _rest(number: int, train: IntArray, val: IntArray, fold: Fold) -> IntArray:
    used = np.concatenate([train, val, fold[1]])
    return np.setdiff1d(np.arange(number), used).astype(np.int64)


def _in_given_order(split: Split, order: IntArray) -> Split:
    rows: Sequence[IntArray] = (split.train, split.val, split.test, split.left_out)
    train, val, test, left_out = (np.sort(order[part]).astype(np.int64) for part in rows)
    return replace(split, train=train, val=val, test=test, left_out=left_out)
