"""Splitting: shares on real and awkward labels, arguments refused in one line, warnings with names."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from ringlight.data.split import PARTS, STRATEGIES, StratifiedSplitter, split_dataset, write_split
from ringlight.errors import SplitError
from ringlight.types import Dataset

DatasetOf = Callable[..., Dataset]


@pytest.fixture(scope="module")
def severstal_labels(real_data: Any) -> np.ndarray:
    with (real_data("severstal-sample") / "image_labels_full.csv").open(newline="") as stream:
        return np.array([[int(cell) for cell in row[1:]] for row in list(csv.reader(stream))[1:]])


def shares_off(labels: np.ndarray, parts: tuple[np.ndarray, ...]) -> float:
    """Return the largest distance of a class's share in a part from the whole, clean records included, in points."""
    columns = np.column_stack([labels, ~labels.astype(bool).any(axis=1)])
    return max(100 * np.abs(columns[rows].mean(axis=0) - columns.mean(axis=0)).max() for rows in parts if len(rows))


@pytest.mark.parametrize("ratios", STRATEGIES.values(), ids=STRATEGIES)
def test_real_severstal_labels_keep_every_share(severstal_labels: np.ndarray, ratios: tuple[float, ...]) -> None:
    """12,568 rows; a single image carries labels 2 and 4, on which splitters that stratify combinations fail."""
    assert int((severstal_labels[:, 1] & severstal_labels[:, 3]).sum()) == 1
    for seed in (0, 42):
        parts = StratifiedSplitter(seed).split(severstal_labels, ratios)
        assert sorted(np.concatenate(parts).tolist()) == list(range(12568))
        assert shares_off(severstal_labels, parts) < 0.1  # measured: 0.04; the promise: 0.5
        np.testing.assert_allclose([len(rows) for rows in parts], 12568 * np.array(ratios), atol=3)


def test_clean_records_are_stratified_like_a_class() -> None:
    """Clean images used to fill whatever room the labelled ones left, and a small test part had none of them."""
    labels = np.zeros((40, 2), int)
    labels[:10, 0] = labels[20:30, 1] = labels[20:25, 0] = 1
    parts = StratifiedSplitter(0).split(labels, (0.6, 0.2, 0.2))
    assert [int((~labels[rows].any(axis=1)).sum()) for rows in parts] == [12, 4, 4]


def test_single_labels_come_out_as_from_scikit_learn() -> None:
    labels = np.repeat([0, 1, 2], [70, 20, 10])
    train, val, test = StratifiedSplitter(3).split(labels, (0.8, 0.1, 0.1))
    _, theirs = train_test_split(labels, test_size=0.1, stratify=labels, random_state=3)
    np.testing.assert_array_equal(np.bincount(labels[test]), np.bincount(theirs))
    np.testing.assert_array_equal(np.bincount(labels[val]), [7, 2, 1])
    np.testing.assert_array_equal(np.bincount(labels[train]), [56, 16, 8])


def test_two_shares_are_train_and_test() -> None:
    """With no validation part nothing can be selected on the test part."""
    labels = np.array([0, 1] * 10)
    train, val, test = StratifiedSplitter().split(labels, (0.8, 0.2))
    assert (len(train), len(val), len(test)) == (16, 0, 4)
    assert STRATEGIES["stratified_80_20"][1] == 0


def test_groups_stay_whole_and_classes_balanced(real_data: Any) -> None:
    """Six exposures of one tile on both sides made a tile classifier look .956 accurate instead of .802."""
    with real_data.file("magnetic-tile-bursts.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    kinds = sorted({row["file"].split("/")[0] for row in rows})
    labels = np.array([kinds.index(row["file"].split("/")[0]) for row in rows])
    groups = [row["burst"] for row in rows]
    parts = StratifiedSplitter(0).split(labels, groups=groups)
    homes = [{groups[row] for row in part} for part in parts]
    assert len(set().union(*homes)) == sum(map(len, homes))
    whole = np.bincount(labels) / len(labels)
    assert max(np.abs(np.bincount(labels[part], minlength=6) / len(part) - whole).max() for part in parts) < 0.015


def test_subjects_who_did_everything_are_balanced(real_data: Any) -> None:
    """Greedy assignment alone left classes 6 points off their share: a subject brings all classes at once."""
    windows = np.load(real_data.file("har9.npz"))
    labels, subjects = windows["y"], windows["subject"]
    parts = StratifiedSplitter(0).split(labels, (0.8, 0.1, 0.1), groups=subjects.tolist())
    for rows, share in zip(parts, (0.8, 0.1, 0.1), strict=True):
        got = np.bincount(labels[rows]) / np.bincount(labels)
        np.testing.assert_allclose(got[got > 0], share, atol=0.01)


def test_a_class_with_one_sample_goes_to_train_and_is_named(dataset_of: DatasetOf) -> None:
    dataset = dataset_of([[0], [1], []] * 20 + [[2]], classes=["pit", "scratch", "Riß"])
    for strategy in STRATEGIES:
        split = split_dataset(dataset, strategy=strategy, seed=1)
        assert 60 in split.train
        missing = "test" if strategy == "stratified_80_20" else "val and test"
        assert split.warnings == (f"class `Riß`: 1 record, none in {missing}; its scores there mean nothing",)


def test_a_class_with_one_sample_goes_to_train_when_train_is_the_smallest_part() -> None:
    labels = np.array([0] * 20 + [1])
    with pytest.warns(UserWarning, match="class 1: 1 record, none in val and test"):
        train, _, _ = StratifiedSplitter(0).split(labels, (0.2, 0.4, 0.4))
    assert 20 in train


def test_few_records_still_fill_every_part() -> None:
    """Four records times 0.15 rounds to none; the test part got nothing and the run failed after its training."""
    for seed in range(5):
        parts = StratifiedSplitter(seed).split([[1], [1], [1], [1]])
        assert sorted(map(len, parts)) == [1, 1, 2]


def test_large_groups_far_from_their_shares_are_told(dataset_of: DatasetOf) -> None:
    dataset = dataset_of([0] * 30, group=["a"] * 10 + ["b"] * 10 + ["c"] * 10)
    split = split_dataset(dataset, strategy="stratified_80_10_10", seed=0)
    assert split.warnings == (
        "the parts are far from their shares (train 33% instead of 80%, val 33% instead of 10%, "
        "test 33% instead of 10%): groups are large or classes rare",
    )


@pytest.mark.parametrize(
    ("ratios", "got"),
    [
        ((0.7, 0.2, 0.2), "sum to 1, got (0.7, 0.2, 0.2), which sum to 1.1"),
        ((1.2, -0.1, -0.1), "none negative, got (1.2, -0.1, -0.1)"),
        ((0.0, 0.5, 0.5), "a share above 0 for train"),
        ((1.0, 0.0, 0.0), "and for val or test"),
        ((float("nan"), 0.5, 0.5), "got (nan, 0.5, 0.5)"),
        ((1.0,), "shares of train, val and test, got (1.0,)"),
        ((0.4, 0.2, 0.2, 0.2), "shares of train, val and test"),
    ],
)
def test_impossible_shares_are_refused(ratios: tuple[float, ...], got: str) -> None:
    with pytest.raises(SplitError) as caught:
        StratifiedSplitter().split([0, 1] * 10, ratios)
    assert got in str(caught.value)
    assert str(caught.value).startswith("split_ratios: expected ")
    assert str(caught.value).endswith("use e.g. (0.7, 0.15, 0.15), or (0.8, 0.2) without validation")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "expected numbers of shape (N, K) or (N,), got float64 of shape (0,)"),
        (np.zeros((3, 2, 2)), "got float64 of shape (3, 2, 2)"),
        ([[1, 0], [1]], "expected rows of equal length, got rows of different lengths"),
        (["good", "bad", "good"], "expected numbers of shape (N, K) or (N,), got <U4"),
        ([[0.0, 1.0], [np.nan, 0.0]], "expected finite numbers, got NaN or infinity in row 1"),
        ([0.0, 1.5, 1.0], "expected whole class numbers, got 1.5 in row 1"),
        ([[0, 1], [0, 1], [2, 0]], "expected only 0 and 1 in a label matrix, got [2, 0] in row 2"),
    ],
)
def test_labels_of_the_wrong_kind_are_refused(labels: Any, message: str) -> None:
    with pytest.raises(SplitError) as caught:
        StratifiedSplitter().split(labels)
    assert message in str(caught.value)
    assert str(caught.value).endswith("pass a binary matrix (N, K) or class numbers (N,)")


def test_fewer_records_than_parts_are_refused() -> None:
    with pytest.raises(SplitError) as caught:
        StratifiedSplitter().split([0, 0])
    assert str(caught.value) == "split: expected at least 3 records for 3 parts, got 2; add data"


def test_fewer_groups_than_parts_are_refused(dataset_of: DatasetOf) -> None:
    dataset = dataset_of([0] * 9, group=["a"] * 5 + ["b"] * 4)
    with pytest.raises(SplitError, match="expected at least 3 groups for 3 parts, got 2; add data"):
        split_dataset(dataset, strategy="stratified_70_15_15", seed=0)


def test_groups_of_another_length_are_refused() -> None:
    with pytest.raises(SplitError, match="groups: expected 4 groups, one per record, got 2; pass one for each label"):
        StratifiedSplitter().split([0, 1, 0, 1], groups=["a", "b"])


def test_parts_that_only_last_examples_could_fill_are_refused() -> None:
    with pytest.raises(SplitError) as caught:
        StratifiedSplitter().split([0, 1, 2])
    assert "got none for val and test without taking the last example of a class from train" in str(caught.value)


def test_identical_files_are_kept_in_one_part(dataset_of: DatasetOf) -> None:
    """NEU ships a picture twice: trained on under one name, it was tested on under the other, and nobody knew."""
    contents = [f"{row}" for row in range(40)]
    split = split_dataset(dataset_of([0, 1] * 20, content=contents), strategy="stratified_80_20", seed=0)
    first, second = int(split.train[0]), int(split.test[0])
    contents[second] = contents[first]
    again = split_dataset(dataset_of([0, 1] * 20, content=contents), strategy="stratified_80_20", seed=0)
    assert (first in again.train) == (second in again.train)
    assert again.leak_check == "identical files: no leak found; near-duplicates were not looked for"


class TestLeaveOneGroupOut:
    def split(self, dataset: Dataset, test_group: str | None, **arguments: Any) -> Any:
        return split_dataset(dataset, strategy="leave_one_group_out", seed=0, test_group=test_group, **arguments)

    def test_the_group_is_the_test_and_the_others_are_divided_whole(self, dataset_of: DatasetOf) -> None:
        groups = [f"line {row // 6:02d}" for row in range(120)]
        split = self.split(dataset_of([0, 1, 2] * 40, group=groups), "line 03")
        assert split.test.tolist() == list(range(18, 24))
        assert (len(split.train), len(split.val)) == (96, 18)  # 85 % of 19 groups is 16
        homes = [{groups[row] for row in rows} for rows in split.parts().values()]
        assert sum(map(len, homes)) == 20
        assert split.warnings == ()

    @pytest.mark.parametrize(
        ("groups", "name", "message"),
        [
            (
                [*"aabbcc"],
                "d",
                "split.test_group: expected a group of dataset to test on, got `d`; choose from: a, b, c",
            ),
            (
                ["line 1"] * 2 + ["line 2"] * 2 + ["x"] * 2,
                "lien 2",
                "split.test_group: expected a group of dataset to test on, got `lien 2`; did you mean `line 2`?",
            ),
            (
                [*"aabbcc"],
                None,
                "split.test_group: expected a group of dataset to test on, got none; choose from: a, b, c",
            ),
            (
                [None] * 6,
                "a",
                "split.strategy=leave_one_group_out: expected groups in dataset, got none; "
                "set data.group_column or data.group_regex",
            ),
            ([*"aaabbb"], "a", "dataset without `a`: expected at least 2 groups for 2 parts, got 1; add data"),
        ],
    )
    def test_a_group_that_is_not_there_is_refused(
        self, groups: list[str | None], name: str | None, message: str, dataset_of: DatasetOf
    ) -> None:
        with pytest.raises(SplitError) as caught:
            self.split(dataset_of([0, 1] * 3, group=groups), name)
        assert str(caught.value) == message


def test_a_misspelt_strategy_is_answered_with_the_nearest(dataset_of: DatasetOf) -> None:
    with pytest.raises(SplitError) as caught:
        split_dataset(dataset_of([0, 1] * 5), strategy="stratified_8010_10", seed=0)
    assert str(caught.value) == (
        "split.strategy: expected a known strategy, got `stratified_8010_10`; did you mean `stratified_80_10_10`?"
    )


def test_a_saved_split_is_read_back_as_it_was(tmp_path: Path, dataset_of: DatasetOf) -> None:
    """Another seed and another strategy must not matter once the file says where a record belongs."""
    dataset = dataset_of([[0], [1], [], [0, 1]] * 10)
    split = split_dataset(dataset, strategy="stratified_70_15_15", seed=5)
    write_split(split, dataset, tmp_path / "split.csv")
    again = split_dataset(dataset, strategy="stratified_80_10_10", seed=6, file=tmp_path / "split.csv")
    for name in PARTS:
        np.testing.assert_array_equal(again.parts()[name], split.parts()[name])
    assert again.warnings == ()


class TestPredefinedTest:
    @staticmethod
    def data(dataset_of: DatasetOf) -> Dataset:
        parts = ["test" if row < 8 else "train" for row in range(40)]
        return dataset_of([row % 2 for row in range(40)], split=parts, group=[f"s{row // 4}" for row in range(40)])

    def test_the_sources_test_part_stays_and_the_others_are_divided_by_groups(self, dataset_of: DatasetOf) -> None:
        """Signals come with official test subjects and no validation part, and a network needs one to stop by."""
        data = self.data(dataset_of)
        split = split_dataset(data, strategy="predefined_test", seed=3)
        assert sorted(split.test.tolist()) == list(range(8))
        assert len(split.val) in (4, 8)
        assert set(split.train) | set(split.val) == set(range(8, 40))
        groups = np.array(data.groups)
        assert not set(groups[split.train]) & set(groups[split.val])

    @pytest.mark.parametrize(("part", "got"), [("train", "got none"), ("test", "got test records only")])
    def test_a_source_without_both_is_refused(self, dataset_of: DatasetOf, part: str, got: str) -> None:
        data = dataset_of([0, 1, 0, 1], split=[part] * 4)
        with pytest.raises(SplitError, match=got):
            split_dataset(data, strategy="predefined_test", seed=0)
