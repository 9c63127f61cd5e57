"""What a cross-validation keeps: read back as it was written, whatever the order of the records; damage is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ringlight.data.folds_methods import Division, cross_validation_folds
from ringlight.errors import RunError
from ringlight.training.fold_files import (
    FoldResult,
    fold_folder,
    is_cross_validation,
    read_division,
    read_fold,
    write_division,
    write_fold,
)
from ringlight.training.fold_results import out_of_fold
from ringlight.types import Dataset, Prediction

DatasetOf = Callable[..., Dataset]


@pytest.fixture
def data(dataset_of: DatasetOf) -> Dataset:
    return dataset_of([0, 1] * 12, group=[f"g{row // 2}" for row in range(24)])


@pytest.fixture
def division(data: Dataset) -> Division:
    return cross_validation_folds(data, n_splits=3, repeats=2, origin="given groups")


def result(data: Dataset, rows: np.ndarray, repeat: int = 0, fold: int = 0) -> FoldResult:
    test = data.take(rows)
    logits = np.stack([rows, -rows], axis=1).astype(np.float32)
    card = {"repeat": repeat, "fold": fold, "scores": {"macro_f1": 0.5}}
    prediction = Prediction(test.ids, logits, test.classes, test.task, test.targets())
    return FoldResult(card, prediction, logits / 2, logits > 0)


def test_a_division_is_read_back_for_records_in_another_order(
    data: Dataset, division: Division, tmp_path: Path
) -> None:
    assert not is_cross_validation(tmp_path)
    write_division(division, tmp_path)
    assert is_cross_validation(tmp_path)
    turned = data.take(np.arange(24)[::-1])
    again = read_division(tmp_path, turned.with_column("group", [None] * 24))
    assert (again.method, again.num_folds, again.repeats, again.notes) == (
        "stratified_group_kfold", 3, 2, division.notes,
    )  # fmt: skip
    assert again.dataset.groups == turned.groups
    for one, other in zip(division.splits, again.splits, strict=True):
        for name, rows in one.parts().items():
            assert {data.ids[row] for row in rows} == {turned.ids[row] for row in other.parts()[name]}
        assert (one.leak_check, one.groups, one.strategy) == (other.leak_check, other.groups, other.strategy)


def test_other_records_and_damage_are_refused(
    data: Dataset, division: Division, dataset_of: DatasetOf, tmp_path: Path
) -> None:
    write_division(division, tmp_path)
    with pytest.raises(RunError, match="expected how the cross-validation divided these records, got KeyError"):
        read_division(tmp_path, dataset_of([0, 1] * 20))
    (tmp_path / "folds" / "division.parquet").write_bytes(b"nothing")
    with pytest.raises(RunError, match="is this the folder of a cross-validation"):
        read_division(tmp_path, data)


def test_a_finished_fold_is_read_back_to_the_bit(data: Dataset, tmp_path: Path) -> None:
    rows = np.array([3, 5, 7])
    folder = fold_folder(tmp_path, 1, 2)
    assert folder.name == "repeat1_fold2"
    assert read_fold(folder, data.take(rows)) is None
    made = result(data, rows)
    write_fold(folder, made)
    again = read_fold(folder, data.take(rows))
    assert again is not None
    assert again.card == made.card
    np.testing.assert_array_equal(again.prediction.logits, made.prediction.logits)
    np.testing.assert_array_equal(again.raw, made.raw)
    np.testing.assert_array_equal(again.decisions, made.decisions)
    np.testing.assert_array_equal(again.prediction.targets, made.prediction.targets)


def test_a_fold_without_its_card_is_not_finished(data: Dataset, tmp_path: Path) -> None:
    write_fold(tmp_path / "fold", result(data, np.array([1])))
    (tmp_path / "fold" / "fold.json").unlink()
    assert read_fold(tmp_path / "fold", data.take([1])) is None


def test_a_fold_of_other_records_is_refused(data: Dataset, tmp_path: Path) -> None:
    write_fold(tmp_path / "fold", result(data, np.array([1])))
    with pytest.raises(RunError, match="expected the records this fold is to be tested on, got others"):
        read_fold(tmp_path / "fold", data.take([2]))


def test_the_out_of_fold_prediction_is_the_first_repeat_in_the_order_of_the_records(
    data: Dataset, division: Division
) -> None:
    found = [result(data, split.test) for split in division.splits]
    tested, prediction = out_of_fold(division, found)
    assert list(prediction.ids) == tested.ids == data.ids
    np.testing.assert_array_equal(prediction.logits[:, 0], np.arange(24))
    np.testing.assert_array_equal(out_of_fold(division, found, raw=True)[1].logits[:, 0], np.arange(24) / 2)
