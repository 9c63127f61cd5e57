"""What metrics are computed from is checked before a number is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ringlight.errors import DataError
from ringlight.evaluation.inputs import checked_decisions, checked_inputs

GOOD: dict[str, Any] = {
    "targets": [0, 1],
    "probabilities": [[0.9, 0.1], [0.2, 0.8]],
    "classes": ["a", "b"],
    "task": "multiclass",
    "threshold": 0.5,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"probabilities": [[0.9, 0.1], [np.nan, 0.8]]},
            "probabilities: expected numbers from 0 to 1, got nan in row 1, class `a`; "
            "apply sigmoid or soft-max to logits; check the model for NaN",
        ),
        ({"probabilities": [[0.9, np.inf], [0.2, 0.8]]}, "got inf in row 0, class `b`"),
        ({"probabilities": [[3.1, -2.0], [0.2, 0.8]]}, "got 3.1 in row 0, class `a`; apply sigmoid"),
        ({"probabilities": [[0.9], [0.2]]}, "probabilities: expected shape (N, 2), got (2, 1); pass one column"),
        ({"probabilities": [0.9, 0.1]}, "expected shape (N, 2), got (2,)"),
        ({"probabilities": [[0.9, 0.1], [0.2]]}, "expected an array of numbers, got rows of different lengths"),
        ({"probabilities": np.zeros((0, 2)), "targets": []}, "expected at least one record, got none"),
        ({"targets": [0, 2]}, "targets: expected class numbers from 0 to 1, got 2 in row 1; correct the label"),
        ({"targets": [-1, 0]}, "targets: expected class numbers from 0 to 1, got -1 in row 0"),
        ({"targets": [0.5, 0]}, "got 0.5 in row 0"),
        ({"targets": [np.nan, 0]}, "got nan in row 0"),
        ({"targets": ["a", "b"]}, "targets: expected an array of numbers, got <U1 values"),
        ({"targets": [0, 1, 1]}, "targets: expected shape (2,) in a multiclass data set, got (3,)"),
        ({"task": "multilabel"}, "targets: expected shape (2, 2) in a multilabel data set, got (2,)"),
        ({"task": "multilabel", "targets": [[0, 1], [2, 0]]}, "targets: expected only 0 and 1, got 2 in row 1"),
        ({"threshold": 1.5}, "threshold: expected one number from 0 to 1, or 2, got 1.5; use 0.5, or a list"),
        ({"threshold": [0.5, 0.5, 0.5]}, "threshold: expected one number from 0 to 1, or 2, got [0.5, 0.5, 0.5]"),
        (
            {"task": "binary"},
            "task: expected multiclass or multilabel, got `binary`; two classes can be told as either",
        ),
        ({"classes": [], "probabilities": np.zeros((2, 0))}, "classes: expected at least one class, got none"),
        ({"classes": ["a", "a"]}, "classes: expected every class once, got ['a', 'a']"),
        (
            {"probabilities": [[0.9, 0.1], [0.5, 0.502]]},
            "probabilities: expected rows that sum to 1 in a multiclass data set, got a sum of 1.002 in row 1; "
            "apply soft-max to logits, or use the task multilabel where classes do not exclude each other",
        ),
        ({"probabilities": [[0.0, 0.0], [0.2, 0.8]]}, "got a sum of 0 in row 0"),
    ],
)
def test_impossible_inputs_are_refused_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        checked_inputs(**(GOOD | change))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lists_become_arrays_and_one_threshold_is_for_all_classes() -> None:
    truth, scores, thresholds = checked_inputs(**GOOD)
    assert (truth.dtype, scores.dtype) == (np.int64, np.float64)
    assert thresholds.tolist() == [0.5, 0.5]


def test_a_fault_behind_the_first_block_of_rows_is_named_by_its_row() -> None:
    scores = np.full((70_000, 2), 0.5, np.float32)
    scores[69_999, 1] = np.nan
    with pytest.raises(DataError, match="got nan in row 69999, class `b`"):
        checked_inputs(np.zeros(70_000), scores, ["a", "b"], "multiclass", 0.5)
    scores[69_999, 1] = 0.25
    with pytest.raises(DataError, match=r"got a sum of 0\.75 in row 69999"):
        checked_inputs(np.zeros(70_000), scores, ["a", "b"], "multiclass", 0.5)


def test_rounding_is_no_wrong_sum_and_labels_need_none() -> None:
    half = np.array([[0.9, 0.1004], [0.2, 0.8]], np.float16)
    assert checked_inputs(**(GOOD | {"probabilities": half}))[1].dtype == np.float64
    labels = GOOD | {"task": "multilabel", "targets": [[0, 1], [1, 0]], "probabilities": [[0.9, 0.9], [0.0, 0.0]]}
    assert checked_inputs(**labels)[0].shape == (2, 2)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_million_rows_are_not_copied_to_be_checked(kind: Any) -> None:
    scores = np.array(GOOD["probabilities"], kind)
    assert checked_inputs(**(GOOD | {"probabilities": scores}))[1] is scores


@pytest.mark.parametrize(
    ("decisions", "task", "message"),
    [
        ([[1, 0]], "multiclass", "decisions: expected shape (2, 2), got (1, 2); pass what was decided on the same"),
        ([[0.9, 0], [0, 1]], "multilabel", "decisions: expected only 0 and 1, got 0.9 in row 0; pass decisions, not"),
        (
            [[1, 0], [0, 0]],
            "multiclass",
            "expected exactly one class a record in a multiclass data set, got 0 in row 1",
        ),
        ([["x", "y"]] * 2, "multilabel", "decisions: expected an array of numbers, got <U1 values"),
    ],
)
def test_impossible_decisions_are_refused(decisions: Any, task: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        checked_decisions(decisions, (2, 2), task)
    assert message in str(caught.value)


def test_no_class_at_all_is_a_decision_when_multilabel() -> None:
    assert checked_decisions([[0, 0], [1, 1]], (2, 2), "multilabel").tolist() == [[False, False], [True, True]]
