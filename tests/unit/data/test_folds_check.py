"""What is checked of a fold: leaks, one class alone, classes it cannot judge."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ringlight.data.folds_check import class_notes, class_problem, leak_check
from ringlight.errors import SplitError
from ringlight.types import Dataset, Split

DatasetOf = Callable[..., Dataset]


def split(train: list[int], val: list[int], test: list[int]) -> Split:
    return Split(*(np.array(rows, np.int64) for rows in (train, val, test)))


def test_a_group_between_held_out_and_test_is_a_leak_as_well(dataset_of: DatasetOf) -> None:
    data = dataset_of([0, 1, 0, 1], group=[*"abca"])
    with pytest.raises(SplitError, match=r"^fold 1: expected what belongs together in one part, got 1 group in two"):
        leak_check(data, split([1, 2], [0], [3]), allow_leak=False, where="fold 1", fix="mend it")
    found = leak_check(data, split([1, 2], [0], [3]), allow_leak=True, where="fold 1", fix="mend it")
    assert found.leaky
    assert found.leak_check == "groups: leaks found"


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({}, "no content: leak check not possible"),
        ({"group": [*"abcd"]}, "groups: no leak found"),
        ({"content": [*"abcd"]}, "identical files: no leak found"),
        ({"group": [*"abcd"], "content": [*"abcd"]}, "groups, identical files: no leak found"),
    ],
)
def test_it_says_what_it_looked_at(columns: dict[str, list[str]], told: str, dataset_of: DatasetOf) -> None:
    data = dataset_of([0, 1, 0, 1], **columns)
    found = leak_check(data, split([0, 1], [2], [3]), allow_leak=False, where="", fix="")
    assert (found.leak_check, found.leaks, found.warnings) == (told, (), ())


def test_one_class_alone_is_refused_only_where_there_are_more(dataset_of: DatasetOf) -> None:
    data = dataset_of([0, 0, 1])
    class_problem(data, np.array([0, 2]), where="fold 1")
    with pytest.raises(SplitError, match="expected training records of two classes or more, got only `c0`"):
        class_problem(data, np.array([0, 1]), where="fold 1")
    class_problem(dataset_of([[0], [0], []]), np.array([0, 1]), where="several labels")


def test_a_single_tested_record_is_no_reason_for_a_note(dataset_of: DatasetOf) -> None:
    data = dataset_of([0, 1, 0, 1])
    folds = [split([row for row in range(4) if row != tested], [], [tested]) for tested in range(4)]
    assert class_notes(data, folds, single=True) == []
    assert len(class_notes(data, folds)) == 2
