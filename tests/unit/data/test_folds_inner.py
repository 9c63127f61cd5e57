"""The records held out inside a fold: groups whole, classes in proportion, the newest where time counts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ringlight.data.folds_inner import held_out
from ringlight.data.groups import units_of
from ringlight.errors import SplitError
from ringlight.types import Dataset

DatasetOf = Callable[..., Dataset]


def test_none_is_held_out_where_none_is_asked_for(dataset_of: DatasetOf) -> None:
    rows = np.arange(4)
    train, val = held_out(dataset_of([0, 1, 0, 1]), rows, None, share=0, seed=0, in_time=False, where="", key="")
    assert train.tolist() == rows.tolist()
    assert not len(val)


def test_groups_stay_whole_and_classes_in_proportion(dataset_of: DatasetOf) -> None:
    data = dataset_of([0, 0, 1, 1] * 20, group=[f"g{row // 2}" for row in range(80)])
    rows = np.arange(60)
    train, val = held_out(data, rows, units_of(data), share=0.2, seed=1, in_time=False, where="", key="")
    assert sorted([*train.tolist(), *val.tolist()]) == rows.tolist()
    assert {row // 2 for row in train.tolist()}.isdisjoint(row // 2 for row in val.tolist())
    assert data.label_matrix()[val].sum(axis=0).tolist() == [6, 6]


def test_the_newest_are_held_out_in_time_and_a_group_across_is_taken_whole(dataset_of: DatasetOf) -> None:
    groups = ["a", "b", "c", "d", "e", "e", "f", "g", "h", "i"]
    data = dataset_of([0, 1] * 5, time=[float(row) for row in range(10)], group=groups)
    train, val = held_out(
        data, np.arange(10), units_of(data), share=0.5, seed=0, in_time=True, where="fold 1", key="val_share"
    )
    assert val.tolist() == [5, 6, 7, 8, 9]
    assert train.tolist() == [0, 1, 2, 3]  # row 4 shares its group with row 5 and is in neither


@pytest.mark.parametrize(
    ("times", "groups", "message"),
    [
        ([1.0] * 4, None, "expected two different times or more among the older records, got one"),
        ([1.0, 2.0, 3.0, 4.0], ["a"] * 4, "expected groups that end in time, got none that is over"),
    ],
)
def test_what_cannot_be_held_out_in_time_is_refused(
    times: list[float], groups: list[str] | None, message: str, dataset_of: DatasetOf
) -> None:
    data = dataset_of([0, 1, 0, 1], time=times, **({} if groups is None else {"group": groups}))
    with pytest.raises(SplitError) as caught:
        held_out(
            data, np.arange(4), units_of(data), share=0.3, seed=0, in_time=True, where="fold 2", key="cv.val_share"
        )
    assert str(caught.value).startswith(f"fold 2, cv.val_share=0.3: {message}")
    assert str(caught.value).endswith("; use more folds, or cv.val_share=0")
