"""Confusion matrices and their rates, against scikit-learn and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from ringlight.errors import DataError
from ringlight.evaluation.counts import balanced_accuracy, confusion_rates, count, samples_averages


@pytest.mark.parametrize(("share", "normalize"), [("truth", "true"), ("prediction", "pred"), ("all", "all")])
def test_shares_equal_scikit_learn(share: Any, normalize: str) -> None:
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 3, 50), rng.integers(0, 4, 50)  # class 3 has no example
    ours = confusion_rates(sk.confusion_matrix(truth, guess), share)
    np.testing.assert_allclose(ours, sk.confusion_matrix(truth, guess, normalize=normalize), atol=1e-15)


def test_shares_of_each_label_stand_apart() -> None:
    rates = confusion_rates([[[8, 2], [1, 3]], [[5, 0], [0, 0]]])
    assert rates.tolist() == [[[0.8, 0.2], [0.25, 0.75]], [[1.0, 0.0], [0.0, 0.0]]]


@pytest.mark.parametrize(
    ("confusion", "share", "message"),
    [
        ([1, 2], "truth", "confusion: expected shape (K, K) or (K, 2, 2), got (2,); pass Metrics.confusion"),
        (np.zeros((2, 3, 3)), "truth", "got (2, 3, 3)"),
        ([[1, -1], [0, 2]], "truth", "expected counts of at least 0, got -1; pass counts, not differences"),
        ([[1, 0], [0, 1]], "thruth", "expected a share, got `thruth`; did you mean `truth`?"),
    ],
)
def test_what_is_no_confusion_matrix_is_refused(confusion: Any, share: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        confusion_rates(confusion, share)
    assert message in str(caught.value)


def test_counts_by_hand() -> None:
    counts = count(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1]), 3, "multiclass")
    assert counts.confusion.tolist() == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]
    assert (counts.tp.tolist(), counts.fp.tolist()) == ([1, 1, 0], [0, 2, 0])
    assert (counts.fn.tolist(), counts.tn.tolist()) == ([1, 0, 1], [2, 1, 3])
    assert balanced_accuracy(counts, "multiclass") == 0.5


def test_sample_averages_count_clean_records() -> None:
    truth = np.array([[0, 0], [1, 1], [1, 0]])
    values, empty = samples_averages(truth, np.array([[0, 0], [1, 0], [0, 0]], bool))
    assert empty == 1
    assert values == pytest.approx({"samples_precision": 1 / 3, "samples_recall": 1 / 6, "samples_f1": 2 / 9})
