"""Kappa, Matthews correlation and top-k accuracy: by hand, by loops, by scikit-learn and torchmetrics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from torchmetrics.functional import classification as tm

from ringlight.errors import DataError
from ringlight.evaluation.agreement import cohen_kappa, matthews, top_k_accuracy


def by_loops(confusion: np.ndarray, weight: Any) -> float:
    """Return kappa from its definition: observed over expected disagreement."""
    size, total = len(confusion), confusion.sum()
    observed = expected = 0.0
    for i in range(size):
        for j in range(size):
            observed += weight(i, j) * confusion[i, j] / total
            expected += weight(i, j) * confusion[i].sum() / total * confusion[:, j].sum() / total
    return 1 - observed / expected


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 80), st.integers(2, 5))
def test_agreement_equals_scikit_learn_and_loops(seed: int, count: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, size, count)
    guess = np.where(rng.random(count) < 0.5, truth, rng.integers(0, size, count))
    confusion, labels = sk.confusion_matrix(truth, guess, labels=range(size)), list(range(size))
    if len({*truth, *guess}) > 1:  # scikit-learn warns otherwise
        assert matthews(confusion) == pytest.approx(sk.matthews_corrcoef(truth, guess), abs=1e-9)
        plain, weighted = cohen_kappa(confusion), cohen_kappa(confusion, weighted=True)
        assert plain == pytest.approx(sk.cohen_kappa_score(truth, guess, labels=labels), abs=1e-9)
        assert weighted == pytest.approx(
            sk.cohen_kappa_score(truth, guess, labels=labels, weights="quadratic"), abs=1e-9
        )
        assert plain == pytest.approx(by_loops(confusion, lambda i, j: i != j), abs=1e-9)
        assert weighted == pytest.approx(by_loops(confusion, lambda i, j: (i - j) ** 2), abs=1e-9)


def test_a_near_miss_costs_little_where_classes_have_an_order() -> None:
    near, far = [[5, 1, 0], [0, 5, 0], [0, 0, 5]], [[5, 0, 1], [0, 5, 0], [0, 0, 5]]
    assert cohen_kappa(near) == pytest.approx(cohen_kappa(far), abs=0.01)
    assert cohen_kappa(near, weighted=True) > 0.95 > cohen_kappa(far, weighted=True)


def test_matthews_is_the_phi_coefficient_of_two_by_two() -> None:
    tn, fp, fn, tp = 50, 7, 3, 20
    phi = (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert matthews([[tn, fp], [fn, tp]]) == pytest.approx(phi)
    assert matthews([[5, 0], [0, 5]]) == 1.0
    assert matthews([[0, 5], [5, 0]]) == -1.0


def test_millions_of_records_do_not_overflow() -> None:
    assert matthews(np.diag([10**9, 10**9]) + 1) == pytest.approx(1.0)
    assert cohen_kappa(np.diag([10**9, 10**9]) + 1) == pytest.approx(1.0)


@pytest.mark.parametrize("confusion", [[[7, 0], [0, 0]], [[0, 0], [0, 3]], [[4]]])
def test_one_answer_throughout_has_no_kappa_and_no_correlation(confusion: Any) -> None:
    """scikit-learn gives NaN with a warning."""
    assert cohen_kappa(confusion) is cohen_kappa(confusion, weighted=True) is None
    assert matthews(confusion) == 0.0


@pytest.mark.parametrize("confusion", [[[1, 2]], [[0, 0], [0, 0]], [[1, -1], [0, 1]], np.ones((2, 2, 2))])
def test_what_is_no_confusion_matrix_is_refused(confusion: Any) -> None:
    for measure in (cohen_kappa, matthews):
        with pytest.raises(DataError, match=r"^confusion: expected a square matrix of counts with at least one record"):
            measure(confusion)


@pytest.mark.parametrize("k", [1, 2, 3, 5, 6, 9])
def test_top_k_equals_the_libraries(k: int) -> None:
    rng = np.random.default_rng(k)
    truth, scores = rng.integers(0, 6, 300), rng.dirichlet(np.ones(6), 300)
    ours = top_k_accuracy(truth, scores, k)
    if k < 6:
        assert ours == pytest.approx(sk.top_k_accuracy_score(truth, scores, k=k))
        theirs = tm.multiclass_accuracy(torch.from_numpy(scores), torch.from_numpy(truth), 6, top_k=k, average="micro")
        assert ours == pytest.approx(float(theirs), abs=1e-6)
    else:
        assert ours == 1.0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_ties_go_to_the_first_classes_as_in_the_decision(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    raw = rng.integers(1, 3, (20, 5))
    truth, scores = rng.integers(0, 5, 20), raw / raw.sum(axis=1, keepdims=True)
    hits = [
        int(true) in sorted(range(5), key=lambda name, row=row: (-row[name], name))[:k]
        for true, row in zip(truth, scores, strict=True)
    ]
    assert top_k_accuracy(truth, scores, k) == pytest.approx(np.mean(hits))
    assert top_k_accuracy(truth, scores, 1) == (scores.argmax(axis=1) == truth).mean()


def test_blocks_of_rows_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    truth, scores = rng.integers(0, 6, 100), rng.dirichlet(np.ones(6), 100)
    whole = top_k_accuracy(truth, scores, 2)
    monkeypatch.setattr("ringlight.evaluation.agreement._BLOCK_CELLS", 7)
    assert top_k_accuracy(truth, scores, 2) == whole


def test_no_class_may_not_be_named() -> None:
    with pytest.raises(DataError, match=r"^k: expected a whole number of at least 1, got 0; use 2, 3 or 5"):
        top_k_accuracy([0], [[1.0]], 0)
