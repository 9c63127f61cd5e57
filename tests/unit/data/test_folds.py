"""Folds: disjoint, complete, groups undivided, classes balanced; the past before the future."""

from __future__ import annotations

import csv
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from ringlight.data.folds import KINDS, make_folds
from ringlight.data.stratify import group_codes, stratify
from ringlight.errors import SplitError
from ringlight.types import Dataset

DatasetOf = Callable[..., Dataset]


def records(dataset_of: DatasetOf, task: str) -> Dataset:
    rng = np.random.default_rng(0)
    labels = [int(number) for number in rng.choice(3, 150, p=[0.6, 0.3, 0.1])]
    many = [sorted({label, int(other)} - {2}) for label, other in zip(labels, rng.integers(0, 4, 150), strict=True)]
    groups = [f"g{row // 3:02d}" for row in range(150)]
    return dataset_of(labels if task == "multiclass" else many, group=groups, time=[float(row) for row in range(150)])


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@pytest.mark.parametrize("kind", KINDS)
class TestEveryKind:
    def test_every_record_is_tested_on_once_and_never_trained_on_then(
        self, kind: str, task: str, dataset_of: DatasetOf
    ) -> None:
        dataset = records(dataset_of, task)
        folds = make_folds(dataset, kind=kind)
        tested = np.concatenate([test for _, test in folds])
        assert len(set(tested.tolist())) == len(tested)
        for train, test in folds:
            assert not set(train.tolist()) & set(test.tolist())
            assert train.dtype == test.dtype == np.int64
            assert (np.diff(train) > 0).all()
            assert (np.diff(test) > 0).all()
            if kind != "time":
                assert len(train) + len(test) == 150
        assert len(tested) == (125 if kind == "time" else 150)
        assert len(folds) == (50 if kind == "leave_one_group_out" else 5)

    def test_groups_are_undivided_but_by_records_alone(self, kind: str, task: str, dataset_of: DatasetOf) -> None:
        dataset = records(dataset_of, task)
        groups = np.array(dataset.groups)
        shared = [set(groups[train]) & set(groups[test]) for train, test in make_folds(dataset, kind=kind)]
        assert any(shared) == (kind == "stratified")

    def test_the_folds_do_not_depend_on_the_order_of_the_records(
        self, kind: str, task: str, dataset_of: DatasetOf
    ) -> None:
        dataset = records(dataset_of, task)
        turned = dataset.take(np.random.default_rng(3).permutation(150))
        first, second = (
            [({data.ids[row] for row in train}, {data.ids[row] for row in test}) for train, test in folds]
            for data, folds in ((data, make_folds(data, kind=kind, seed=4)) for data in (dataset, turned))
        )
        assert first == second


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@pytest.mark.parametrize("kind", ["stratified", "group"])
def test_classes_are_balanced(kind: str, task: str, dataset_of: DatasetOf) -> None:
    dataset = records(dataset_of, task)
    matrix = dataset.label_matrix()
    for _, test in make_folds(dataset, kind=kind, seed=1):
        np.testing.assert_allclose(matrix[test].mean(axis=0), matrix.mean(axis=0), atol=0.09)


def test_grouped_folds_of_single_labels_are_scikit_learns(dataset_of: DatasetOf) -> None:
    dataset = records(dataset_of, "multiclass").take(np.argsort([f"r{row}" for row in range(150)]))
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=3)
    theirs = splitter.split(np.zeros(150), dataset.targets(), group_codes(dataset.groups))
    for (_, test), (_, expected) in zip(make_folds(dataset, kind="group", seed=3), theirs, strict=True):
        np.testing.assert_array_equal(test, expected)


def test_the_iterative_grouping_balances_as_well_as_scikit_learns(real_data: Any) -> None:
    """On the bursts of the magnetic tiles, by the largest distance of a class's share in a fold from a fifth."""
    with real_data.file("magnetic-tile-bursts.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    labels = np.array([row["file"].split("/")[0] for row in rows])
    groups = group_codes([row["burst"] for row in rows])
    matrix = labels[:, None] == np.unique(labels)

    def off(home: np.ndarray) -> float:
        return max(np.abs(matrix[home == fold].sum(axis=0) / matrix.sum(axis=0) - 0.2).max() for fold in range(5))

    ours, theirs = [], []
    for seed in range(3):
        home = np.empty(len(labels), int)
        for fold, (_, test) in enumerate(
            StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(labels, labels, groups)
        ):
            home[test] = fold
        theirs.append(off(home))
        ours.append(off(stratify(matrix, np.full(5, 0.2), seed=seed, groups=groups)))
    assert np.mean(ours) <= np.mean(theirs)


def test_a_fold_in_time_trains_on_the_past_alone(dataset_of: DatasetOf) -> None:
    dataset = records(dataset_of, "multiclass")
    times = np.array(dataset.table.column("time").to_pylist())
    folds = make_folds(dataset, kind="time", num_folds=4)
    for train, test in folds:
        assert times[train].max() < times[test].min()
    assert [len(test) for _, test in folds] == [30] * 4
    sizes = [len(train) for train, _ in folds]
    assert sizes == sorted(sizes)


def test_a_rare_class_neither_warns_nor_stops(dataset_of: DatasetOf) -> None:
    """Scikit-learn warns of a class with fewer records than folds and refuses when all classes are."""
    rare = dataset_of([0] * 20 + [1] * 2, group=[f"g{row // 2}" for row in range(22)])
    assert len(make_folds(rare, kind="group")) == 5
    tiny = dataset_of([0, 1, 2] * 3, group=[f"g{row}" for row in range(9)])
    assert all(len(test) for _, test in make_folds(tiny, kind="group"))


def test_identical_files_are_kept_together(dataset_of: DatasetOf) -> None:
    dataset = dataset_of([0, 1] * 10, content=[f"{row // 2}" for row in range(20)])
    for _, test in make_folds(dataset, kind="group", num_folds=3):
        assert {row ^ 1 for row in test.tolist()} == set(test.tolist())


@pytest.mark.parametrize(
    ("columns", "arguments", "message"),
    [
        ({}, {"kind": "groups"}, "kind: expected a known kind of fold, got `groups`; did you mean `group`?"),
        ({}, {"num_folds": 1}, "num_folds: expected at least 2 folds, got 1; use 5"),
        ({}, {"num_folds": 9}, "dataset: folds: expected at least 9 records, got 6; use fewer folds"),
        (
            {"group": [*"aabbbb"]},
            {"kind": "group"},
            "dataset: folds: expected at least 5 groups, got 2; use fewer folds",
        ),
        (
            {},
            {"kind": "leave_one_group_out"},
            "kind=leave_one_group_out: expected groups in dataset, got none; set data.",
        ),
        (
            {"group": ["a"] * 6},
            {"kind": "leave_one_group_out"},
            "dataset: folds: expected at least 2 groups, got 1; use",
        ),
        (
            {},
            {"kind": "time"},
            "dataset: kind=time: expected a time for every record, got none for 6 (first: r0, r1, r2)",
        ),
        ({"time": [1.0, 2.0] * 3}, {"kind": "time"}, "dataset: folds: expected at least 6 different times, got 2; use"),
        (
            {"time": [*map(float, range(6))], "group": ["a"] * 6},
            {"kind": "time", "num_folds": 2},
            "dataset: kind=time: expected groups that end in time, got none that is over before fold 1 begins; use",
        ),
    ],
)
def test_folds_that_cannot_be_made_are_refused(
    columns: dict[str, Any], arguments: dict[str, Any], message: str, dataset_of: DatasetOf
) -> None:
    with pytest.raises(SplitError) as caught:
        make_folds(dataset_of([0, 1, 0, 1, 0, 1], **columns), **arguments)
    assert str(caught.value).startswith(message)
