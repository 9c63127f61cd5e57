"""The seven ways to cross-validate: disjoint, complete, as scikit-learn divides; what leaks or cannot be is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, KFold, LeaveOneOut, StratifiedKFold

from ringlight.data.folds_methods import METHODS, Division, Keys, cross_validation_folds, derived_seed
from ringlight.errors import SplitError
from ringlight.types import Dataset

DatasetOf = Callable[..., Dataset]
ALONE = ("stratified_kfold", "kfold", "leave_one_out")


def ordered(dataset_of: DatasetOf, labels: list[Any], **columns: Any) -> Dataset:
    """Records whose ids are in the order of their rows."""
    data = dataset_of(labels, **columns)
    return data.with_column("id", [f"r{row:03d}" for row in range(len(data))])


@pytest.fixture
def grouped(dataset_of: DatasetOf) -> Dataset:
    labels = np.random.default_rng(0).choice(3, 60, p=[0.5, 0.3, 0.2]).tolist()
    return ordered(
        dataset_of, labels, group=[f"g{row // 3:02d}" for row in range(60)], time=[float(row) for row in range(60)]
    )


@pytest.fixture
def single(dataset_of: DatasetOf) -> Dataset:
    return ordered(dataset_of, ([0, 1, 1, 2] * 6))


def divided(data: Dataset, method: str, **options: Any) -> Division:
    return cross_validation_folds(data, method=method, **{"n_splits": 4, **options})


@pytest.mark.parametrize("method", METHODS)
class TestEveryMethod:
    def data(self, method: str, grouped: Dataset, single: Dataset) -> Dataset:
        return single if method in ALONE else grouped

    def test_parts_are_disjoint_and_every_record_is_tested_once(
        self, method: str, grouped: Dataset, single: Dataset
    ) -> None:
        data = self.data(method, grouped, single)
        division = divided(data, method)
        assert division.method == method
        for split in division.splits:
            rows = np.concatenate([split.train, split.val, split.test, split.left_out])
            assert sorted(rows.tolist()) == list(range(len(data)))
            assert len(split.train)
            assert len(split.val)
            assert not split.leaks
            if method != "time_series":
                assert not len(split.left_out)
        tested = np.concatenate([split.test for split in division.splits])
        assert len(set(tested.tolist())) == len(tested)
        assert len(tested) == (48 if method == "time_series" else len(data))

    def test_no_group_is_in_two_parts(self, method: str, grouped: Dataset, single: Dataset) -> None:
        data = self.data(method, grouped, single)
        names = np.array(data.groups or data.ids)
        for split in divided(data, method).splits:
            parts = [set(names[rows]) for rows in split.parts().values()]
            assert not parts[0] & parts[1]
            assert not (parts[0] | parts[1]) & parts[2]

    def test_the_order_of_the_records_does_not_matter(self, method: str, grouped: Dataset, single: Dataset) -> None:
        data = self.data(method, grouped, single)
        turned = data.take(np.random.default_rng(3).permutation(len(data)))
        first, second = (
            [
                [{one.ids[row] for row in rows} for rows in split.parts().values()]
                for split in divided(one, method).splits
            ]
            for one in (data, turned)
        )
        assert first == second


@pytest.mark.parametrize(
    ("method", "theirs"),
    [
        ("stratified_kfold", StratifiedKFold(4, shuffle=True, random_state=9)),
        ("kfold", KFold(4, shuffle=True, random_state=9)),
        ("leave_one_out", LeaveOneOut()),
    ],
)
def test_the_first_repeat_is_scikit_learns(method: str, theirs: Any, single: Dataset) -> None:
    expected = [test.tolist() for _, test in theirs.split(np.zeros(24), single.targets())]
    assert [split.test.tolist() for split in divided(single, method, seed=9).splits] == expected


def test_whole_groups_are_divided_as_scikit_learn_does(grouped: Dataset) -> None:
    theirs = GroupKFold(4, shuffle=True, random_state=9).split(np.zeros(60), groups=np.arange(60) // 3)
    assert [split.test.tolist() for split in divided(grouped, "group_kfold", seed=9).splits] == [
        test.tolist() for _, test in theirs
    ]


def test_repeats_differ_and_stand_in_order(single: Dataset) -> None:
    division = divided(single, "stratified_kfold", repeats=3)
    assert (division.num_folds, len(division.splits)) == (4, 12)
    assert division.place(5) == (1, 1)
    tests = {tuple(split.test.tolist()) for split in division.splits}
    assert len(tests) == 12


def test_auto_keeps_groups_whole_where_there_are_any(grouped: Dataset, single: Dataset, dataset_of: DatasetOf) -> None:
    assert divided(grouped, "auto").method == "stratified_group_kfold"
    assert divided(single, "auto").method == "stratified_kfold"
    lonely = ordered(dataset_of, [0, 1] * 10, group=[f"g{row}" for row in range(20)])
    assert divided(lonely, "auto").method == "stratified_kfold"


def test_identical_files_are_a_leak_too(dataset_of: DatasetOf) -> None:
    data = ordered(dataset_of, [0, 1] * 10, content=[f"{row // 2}" for row in range(20)])
    with pytest.raises(SplitError, match="identical file"):
        divided(data, "kfold")


def test_a_leak_that_is_allowed_is_named(grouped: Dataset) -> None:
    division = divided(grouped, "kfold", allow_leak=True)
    assert all(split.leaky for split in division.splits)
    assert division.splits[0].warnings[0].startswith("leak in cv.method=kfold, fold 1: ")
    assert division.splits[0].leak_check == "groups: leaks found"


def test_time_series_never_trains_on_what_is_newer(dataset_of: DatasetOf) -> None:
    times = np.random.default_rng(1).permutation(60).astype(float)
    data = ordered(dataset_of, [0, 1, 2] * 20, time=times.tolist())
    for split in divided(data, "time_series").splits:
        assert times[split.train].max() < times[split.val].min()
        assert times[split.val].max() < times[split.test].min()


def test_rare_classes_are_named(dataset_of: DatasetOf) -> None:
    data = ordered(dataset_of, [0] * 20 + [1] * 2)
    notes = divided(data, "stratified_kfold").notes
    assert notes == ("class c1: 2 records, none to test on in 2 of 4 folds; its F1 counts 0 there",)
    notes = divided(ordered(dataset_of, [0] * 10 + [1] * 9 + [2]), "stratified_kfold").notes
    assert "class c2: 1 record, tested on without an example in training in 1 fold(s)" in notes


def test_several_labels_are_stratified_too(dataset_of: DatasetOf) -> None:
    data = ordered(dataset_of, [[0], [1], [0, 1], []] * 8)
    for split in divided(data, "stratified_kfold").splits:
        assert data.label_matrix()[split.test].sum(axis=0).tolist() == [4, 4]


def test_seeds_are_the_own_of_every_place() -> None:
    places = [(0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 1)]
    assert derived_seed(7, 0) == 7
    assert len({derived_seed(7, *place) for place in places}) == len(places)
    assert derived_seed(7, 1) != derived_seed(8, 1)


REFUSED = [
    ({}, {"method": "kfolds"}, "cv.method: expected a known method, got `kfolds`; did you mean `kfold`?"),
    ({}, {"n_splits": 1}, "cv.n_splits: expected 2 or more, got 1; use cv.n_splits=5"),
    ({}, {"repeats": 0}, "cv.repeats: expected 1 or more, got 0; use cv.repeats=1"),
    (
        {},
        {"method": "kfold", "n_splits": 9},
        "cv.n_splits: expected at most 6, the records of dataset, got 9; use cv.n_splits=6",
    ),
    (
        {},
        {"method": "stratified_kfold", "n_splits": 4},
        "cv.n_splits: expected at most 3, the members of the largest class, c0, got 4; use cv.n_splits=3 or "
        "cv.method=kfold",
    ),
    (
        {"group": [*"aabbcc"]},
        {"method": "group_kfold", "n_splits": 5},
        "cv.n_splits: expected at most 3, the groups of dataset, got 5; use cv.n_splits=3",
    ),
    (
        {},
        {"method": "leave_one_group_out"},
        "cv.method=leave_one_group_out: expected groups in dataset, got none; set data.group_column or "
        "data.group_regex, or use cv.method=stratified_kfold",
    ),
    (
        {"group": ["a"] * 6},
        {"method": "leave_one_group_out"},
        "cv.method=leave_one_group_out: expected at most 1, the groups of dataset, got 2; add data, or choose",
    ),
    (
        {"time": [1.0, None, 2.0, 3.0, 4.0, 5.0]},
        {"method": "time_series", "n_splits": 2},
        "dataset: cv.method=time_series: expected a time for every record, got none for 1 (r001); set ",
    ),
    (
        {"time": [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]},
        {"method": "time_series", "n_splits": 2},
        "cv.n_splits: expected at most 1, the different times after the oldest, which is only trained on, in dataset, "
        "got 2; add data, or choose another method",
    ),
    (
        {},
        {"method": "leave_one_out", "repeats": 2},
        "cv.repeats: expected 1 with cv.method=leave_one_out, which divides the records in one way only, got 2; use "
        "cv.repeats=1",
    ),
    (
        {"group": [*"abab"], "labels": [0, 1, 0, 1]},
        {"method": "leave_one_group_out", "val_share": 0.0},
        "cv.method=leave_one_group_out, fold 1: expected training records of two classes or more, got only `c1`; use "
        "fewer folds, a method that keeps classes in proportion, or other groups",
    ),
    (
        {"group": [*"aaabbb"]},
        {"method": "group_kfold", "n_splits": 2},
        "cv.method=group_kfold, fold 1, cv.val_share=0.15: expected at least 2 groups for 2 parts, got 1; use more "
        "folds, or cv.val_share=0",
    ),
]


@pytest.mark.parametrize(("columns", "arguments", "message"), REFUSED)
def test_folds_that_cannot_be_made_are_one_line(
    columns: dict[str, Any], arguments: dict[str, Any], message: str, dataset_of: DatasetOf
) -> None:
    labels = columns.pop("labels", [0, 1, 0, 1, 0, 1])
    columns = dict(columns)
    with pytest.raises(SplitError) as caught:
        cross_validation_folds(ordered(dataset_of, labels, **columns), **arguments)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_too_many_trainings_are_taken_for_a_mistake(dataset_of: DatasetOf) -> None:
    with pytest.raises(SplitError, match=r"cv.method=leave_one_out: expected at most 2,000 trainings, got 2,002 folds"):
        cross_validation_folds(ordered(dataset_of, [0, 1] * 1001), method="leave_one_out")


def test_messages_name_the_arguments_of_a_call(dataset_of: DatasetOf) -> None:
    keys = Keys("cv_method", "n_splits", "repeats", "val_share", "allow_leak=True", "pass groups=", "pass time=")
    data = ordered(dataset_of, [0, 1] * 6, group=[*"aabbccddeeff"])
    with pytest.raises(
        SplitError, match=r"^n_splits: expected at most 6, the groups of dataset, got 7; use n_splits=6"
    ):
        cross_validation_folds(data, method="group_kfold", n_splits=7, keys=keys)
    with pytest.raises(SplitError, match=r"with cv_method=stratified_group_kfold, or set allow_leak=True: the result"):
        cross_validation_folds(data, method="kfold", n_splits=3, keys=keys)
