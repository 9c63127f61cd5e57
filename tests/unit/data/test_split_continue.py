"""Parts that are given: by the source, or by a saved split that a grown data set continues."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ringlight.data.split import split_dataset, write_split
from ringlight.errors import SplitError
from ringlight.types import Dataset, Split

DatasetOf = Callable[..., Dataset]


def ids(dataset: Dataset, rows: np.ndarray) -> set[str]:
    return {dataset.ids[row] for row in rows}


def saved(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["id,split,group", *rows]) + "\n", encoding="utf-8")
    return path


class TestAGrownDataSet:
    def grown(self, tmp_path: Path, dataset_of: DatasetOf) -> tuple[Dataset, Split, Dataset, Path]:
        everything = dataset_of([[0], [1], [], [0, 1]] * 25)
        first = everything.take(range(60))
        split = split_dataset(first, strategy="stratified_70_15_15", seed=0)
        write_split(split, first, tmp_path / "split.csv")
        return first, split, everything, tmp_path / "split.csv"

    def test_the_test_set_stays_the_test_set(self, tmp_path: Path, dataset_of: DatasetOf) -> None:
        """Scores before and after adding data are compared; on another test set they could not be."""
        first, split, everything, file = self.grown(tmp_path, dataset_of)
        later = split_dataset(everything, strategy="stratified_70_15_15", seed=1, file=file)
        assert ids(everything, later.test) == ids(first, split.test)
        assert ids(first, split.train) < ids(everything, later.train)
        assert ids(first, split.val) < ids(everything, later.val)

    def test_new_records_go_to_train_and_val_in_their_ratio(self, tmp_path: Path, dataset_of: DatasetOf) -> None:
        _, split, everything, file = self.grown(tmp_path, dataset_of)
        later = split_dataset(everything, strategy="stratified_70_15_15", seed=1, file=file)
        added = len(later.val) - len(split.val)
        assert added == pytest.approx(40 * 0.15 / 0.85, abs=1)
        assert len(later.train) - len(split.train) == 40 - added

    def test_groups_are_looked_at_once_not_for_every_new_record(
        self, tmp_path: Path, dataset_of: DatasetOf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Continuing the split of a large grouped data set took time in the square of its records."""
        everything = dataset_of([0, 1, 2] * 200, group=[f"coil {row // 3}" for row in range(600)])
        first = everything.take(range(300))
        split = split_dataset(first, strategy="stratified_70_15_15", seed=0)
        write_split(split, first, tmp_path / "split.csv")
        looks = []
        groups = Dataset.groups.fget
        monkeypatch.setattr(Dataset, "groups", property(lambda data: looks.append(data) or groups(data)))
        split_dataset(everything, strategy="stratified_70_15_15", seed=0, file=tmp_path / "split.csv")
        assert len(looks) < 10

    def test_a_single_new_record_is_trained_on(self, tmp_path: Path, dataset_of: DatasetOf) -> None:
        _, split, everything, file = self.grown(tmp_path, dataset_of)
        later = split_dataset(everything.take(range(61)), strategy="stratified_70_15_15", seed=1, file=file)
        assert set(later.train) - set(split.train) == {60}

    def test_without_a_validation_share_new_records_go_to_train(self, tmp_path: Path, dataset_of: DatasetOf) -> None:
        _, split, everything, file = self.grown(tmp_path, dataset_of)
        later = split_dataset(everything, strategy="stratified_80_20", seed=1, file=file)
        assert len(later.train) == len(split.train) + 40

    def test_removed_records_are_told(self, tmp_path: Path, dataset_of: DatasetOf) -> None:
        _, _, everything, file = self.grown(tmp_path, dataset_of)
        left = everything.take(range(2, 60))
        later = split_dataset(left, strategy="stratified_70_15_15", seed=1, file=file)
        assert later.warnings == (f"{file}: ids that the data set no longer has: 2 (r0, r1)",)
        assert sum(map(len, later.parts().values())) == 58


def test_a_new_record_follows_its_group_even_to_test(tmp_path: Path, dataset_of: DatasetOf) -> None:
    """The new pictures of a coil that is in the test part must not be trained on."""
    file = saved(tmp_path / "s.csv", "r0,train,a", "r1,val,b", "r2,test,c", "r3,train,a")
    dataset = dataset_of([0] * 6, group=["a", "b", "c", "a", "c", "new"])
    split = split_dataset(dataset, strategy="stratified_70_15_15", seed=0, file=file)
    assert split.test.tolist() == [2, 4]
    assert split.train.tolist() == [0, 3, 5]
    assert "new records follow their group to test: 1 (r4)" in split.warnings


def test_a_group_is_remembered_after_its_records_are_gone(tmp_path: Path, dataset_of: DatasetOf) -> None:
    file = saved(tmp_path / "s.csv", "r0,train,a", "r1,test,b", "gone,test,c")
    split = split_dataset(dataset_of([0] * 3, group=["a", "b", "c"]), strategy="stratified_80_20", seed=0, file=file)
    assert split.test.tolist() == [1, 2]


def test_a_group_that_the_file_divides_is_refused(tmp_path: Path, dataset_of: DatasetOf) -> None:
    file = saved(tmp_path / "s.csv", "r0,train,", "r1,test,", "r2,test,")
    dataset = dataset_of([0] * 3, group=["coil 7", "coil 7", "x"])
    with pytest.raises(SplitError) as caught:
        split_dataset(dataset, strategy="stratified_80_20", seed=0, file=file)
    assert str(caught.value) == (
        f"{file}: expected what belongs together in one part, got 1 group in two parts (first: `coil 7`, r0 in train "
        "and r1 in test); put them into one part or split anew, or set split.allow_leak=true: the run is then marked "
        "leaky"
    )
    split = split_dataset(dataset, strategy="stratified_80_20", seed=0, file=file, allow_leak=True)
    assert split.leaks == ("1 group in two parts (first: `coil 7`, r0 in train and r1 in test)",)
    assert split.test.tolist() == [1, 2]


def test_a_new_copy_of_a_tested_file_follows_it_to_test(tmp_path: Path, dataset_of: DatasetOf) -> None:
    file = saved(tmp_path / "s.csv", "r0,train,", "r1,val,", "r2,test,")
    dataset = dataset_of([0] * 5, content=["a", "b", "c", "c", "d"])
    split = split_dataset(dataset, strategy="stratified_70_15_15", seed=0, file=file)
    assert split.test.tolist() == [2, 3]
    assert split.leak_check.startswith("identical files: no leak found")


class TestASplitInTime:
    def saved(self, tmp_path: Path, dataset: Dataset) -> tuple[Split, Path]:
        split = split_dataset(dataset, strategy="time_70_15_15", seed=0, time_gap=2.0)
        write_split(split, dataset, tmp_path / "split.csv")
        return split, tmp_path / "split.csv"

    def test_is_read_back_with_what_it_left_out(self, tmp_path: Path, dataset_of: DatasetOf) -> None:
        dataset = dataset_of([0, 1] * 20, time=[float(row) for row in range(40)])
        split, file = self.saved(tmp_path, dataset)
        assert len(split.left_out) == 2
        again = split_dataset(dataset, strategy="time_70_15_15", seed=9, file=file)
        np.testing.assert_array_equal(again.left_out, split.left_out)
        for name, rows in split.parts().items():
            np.testing.assert_array_equal(again.parts()[name], rows)

    def test_takes_no_newer_records_into_training(self, tmp_path: Path, dataset_of: DatasetOf) -> None:
        """They would be trained on, and the test set is older than they are."""
        times = [float(row) for row in range(42)]
        _, file = self.saved(tmp_path, dataset_of([0, 1] * 20, time=times[:40]))
        with pytest.raises(SplitError) as caught:
            split_dataset(dataset_of([0, 1] * 21, time=times), strategy="time_70_15_15", seed=0, file=file)
        assert str(caught.value) == (
            f"{file}: expected no record beside those of the file, since time_70_15_15 trains on nothing newer than "
            "its test, got new ones: 2 (r40, r41); split anew without split.file, or choose "
            "split.strategy=stratified_70_15_15 to train on them"
        )


def test_new_records_of_the_tested_group_are_tested_on(tmp_path: Path, dataset_of: DatasetOf) -> None:
    file = saved(tmp_path / "s.csv", "r0,train,a", "r1,val,b", "r2,train,c")
    dataset = dataset_of([0] * 5, group=["a", "b", "c", "line 2", "line 2"])
    split = split_dataset(dataset, strategy="leave_one_group_out", seed=0, file=file, test_group="line 2")
    assert split.test.tolist() == [3, 4]


def test_the_file_of_another_data_set_is_refused(tmp_path: Path, dataset_of: DatasetOf) -> None:
    file = saved(tmp_path / "s.csv", "other,train,")
    with pytest.raises(SplitError, match="expected ids of dataset, got none of them; give the split file of this"):
        split_dataset(dataset_of([0, 0]), strategy="stratified_80_20", seed=0, file=file)


class TestPrescribedParts:
    def test_they_are_taken_as_they_are(self, dataset_of: DatasetOf) -> None:
        dataset = dataset_of([0, 1, 0, 1], split=["test", "train", "train", "val"])
        split = split_dataset(dataset, strategy="predefined", seed=0)
        assert [rows.tolist() for rows in split.parts().values()] == [[1, 2], [3], [0]]

    def test_a_missing_part_is_told(self, dataset_of: DatasetOf) -> None:
        no_val = split_dataset(dataset_of([0, 0], split=["train", "test"]), strategy="predefined", seed=0)
        no_test = split_dataset(dataset_of([0, 0], split=["train", "val"]), strategy="predefined", seed=0)
        assert no_val.warnings == (
            "dataset: no record in val: nothing is chosen on validation scores, the last weights are judged",
        )
        assert no_test.warnings == (
            "dataset: no record in test: the model is judged on the part that chose its weights",
        )

    @pytest.mark.parametrize(
        ("parts", "message"),
        [
            (
                [None, None],
                "column split: expected a part (train, val, test) for every record, got none for 2",
            ),
            (["train", None], "got none for 1 (r1); complete the column or choose split.strategy=stratified_70_15_15"),
            (
                ["train", "tset"],
                "record `r1`: column split: expected train, val or test, got `tset`; did you mean",
            ),
            (["val", "test"], "expected records in train and in val or test, got none in train"),
            (["train", "train"], "got none in val and test; move records there, or split anew"),
        ],
    )
    def test_gaps_and_unknown_names_are_refused(
        self, parts: list[str | None], message: str, dataset_of: DatasetOf
    ) -> None:
        with pytest.raises(SplitError) as caught:
            split_dataset(dataset_of([0, 0], split=parts), strategy="predefined", seed=0)
        assert message in str(caught.value)

    def test_a_divided_group_is_refused(self, dataset_of: DatasetOf) -> None:
        dataset = dataset_of([0, 0], split=["train", "test"], group=["a", "a"])
        with pytest.raises(
            SplitError, match=r"got 1 group in two parts \(first: `a`, r0 in train and r1 in test\); put"
        ):
            split_dataset(dataset, strategy="predefined", seed=0)

    def test_a_saved_file_comes_before_the_source(self, tmp_path: Path, dataset_of: DatasetOf) -> None:
        file = saved(tmp_path / "s.csv", "r0,test,", "r1,train,")
        dataset = dataset_of([0, 0, 0], split=["train", "train", "val"])
        split = split_dataset(dataset, strategy="predefined", seed=0, file=file)
        assert [rows.tolist() for rows in split.parts().values()] == [[1], [2], [0]]
