"""What metrics are computed from is checked before a number is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ringlight.errors import DataError
from ringlight.evaluation.inputs import checked_inputs

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
        ({"classes": ["a", "a"]}, "classes: expected every class once, got ['a', 'a']"),
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
