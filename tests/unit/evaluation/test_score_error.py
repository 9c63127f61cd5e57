"""The distance of two models' scores: by hand, by a loop, and against torch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ringlight.errors import DataError
from ringlight.evaluation.score_error import relative_error, score_error
from ringlight.types import Prediction, Task

CLASSES = ("good", "pit", "scratch")


def scored(logits: np.ndarray, task: Task = "multiclass", ids: list[str] | None = None) -> Prediction:
    names = ids or [f"r{row}" for row in range(len(logits))]
    return Prediction(names, logits.astype(np.float32), CLASSES, task)


def test_a_move_of_one_score_by_hand() -> None:
    """(1, -1, 0) and (1, -1, 3) less their means: (1, -1, 0) and (0, -2, 2); apart (-1, -1, 2)."""
    found = score_error(scored(np.array([[1.0, -1.0, 0.0]])), scored(np.array([[1.0, -1.0, 3.0]])))
    assert found.relative == pytest.approx(math.sqrt(6) / math.sqrt(2))
    before, after = math.e + 1 / math.e + 1, math.e + 1 / math.e + math.e**3
    assert found.max_probability == pytest.approx(math.e**3 / after - 1 / before, abs=1e-6)
    assert (found.agreement, found.worst_record, found.num_records) == (0.0, "r0", 1)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_a_loop_and_torch_say_the_same(task: Task) -> None:
    generator = np.random.default_rng(0)
    first = generator.normal(0, 2, (40, 3)).astype(np.float32)
    second = first + generator.normal(0, 0.3, (40, 3)).astype(np.float32)
    found = score_error(scored(first, task), scored(second, task))
    a, b = torch.from_numpy(first).double(), torch.from_numpy(second).double()
    probability = torch.sigmoid if task == "multilabel" else (lambda x: torch.softmax(x, 1))
    if task == "multiclass":
        a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    assert found.relative == pytest.approx(float(torch.linalg.norm(b - a) / torch.linalg.norm(a)))
    assert found.max_probability == pytest.approx(float((probability(a) - probability(b)).abs().max()))
    apart = size = 0.0
    for row in range(40):
        for column in range(3):
            apart += (float(b[row, column]) - float(a[row, column])) ** 2
            size += float(a[row, column]) ** 2
    assert found.relative == pytest.approx(math.sqrt(apart / size))


def test_what_a_softmax_does_not_see_is_no_error() -> None:
    logits = np.array([[1.0, 2.0, 3.0], [0.0, 1.0, -1.0]])
    assert score_error(scored(logits), scored(logits + np.array([[5.0], [-2.0]]))).relative == pytest.approx(
        0, abs=1e-7
    )
    assert score_error(scored(logits, "multilabel"), scored(logits + 5.0, "multilabel")).relative > 1


def test_zeros_that_are_none_any_more_are_infinitely_off() -> None:
    assert relative_error([0.0], [0.0]) == 0
    assert relative_error([0.0], [0.1]) == math.inf


def test_other_records_and_broken_scores_are_refused() -> None:
    fine = scored(np.zeros((2, 3)))
    with pytest.raises(DataError, match="expected scores of the same records and classes, in the same order, got 2 re"):
        score_error(fine, scored(np.zeros((2, 3)), ids=["r1", "r0"]))
    broken = np.zeros((2, 3))
    broken[1, 2] = np.nan
    with pytest.raises(DataError, match="the other model: expected finite scores, got NaN or infinity for `r1`; check"):
        score_error(fine, scored(broken))
    with pytest.raises(DataError, match="expected at least one record, got none; pass the validation part"):
        score_error(scored(np.zeros((0, 3))), scored(np.zeros((0, 3))))
