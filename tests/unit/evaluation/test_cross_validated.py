"""Nadeau and Bengio's interval: by hand, by a naive loop, by SciPy; what it covers; what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ringlight.errors import DataError
from ringlight.evaluation.cross_validated import FoldSummary, bounds_of, summarize_folds

SCORES = [0.81, 0.78, 0.84, 0.80, 0.77, 0.83, 0.79, 0.82, 0.80, 0.86]


def test_by_hand() -> None:
    """Scores 0.7, 0.8, 0.9: mean 0.8, s^2 = 0.01; 3 folds test on half of what they train on.

    The variance of the mean is (1/3 + 1/2) 0.01 = 1/120, its root 0.0912871; t of 2 degrees at 97.5 % is 4.302653.
    """
    found = summarize_folds([0.7, 0.8, 0.9], test_share=0.5)
    assert found.mean == pytest.approx(0.8)
    assert found.std == pytest.approx(0.1)
    assert found.low == pytest.approx(0.8 - 4.302653 * 0.0912871, abs=1e-6)
    assert found.high == pytest.approx(0.8 + 4.302653 * 0.0912871, abs=1e-6)
    assert found.num_scores == 3


def test_by_a_naive_loop() -> None:
    number, total = len(SCORES), 0.0
    for score in SCORES:
        total += score
    mean, squares = total / number, 0.0
    for score in SCORES:
        squares += (score - mean) * (score - mean)
    half = 2.262157162798204 * ((1 / number + 1 / 4) * squares / (number - 1)) ** 0.5
    found = summarize_folds(SCORES, test_share=1 / 4)
    assert (found.low, found.high) == pytest.approx((mean - half, mean + half))


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("test_share", [1 / 9, 1 / 4, 1.0])
def test_by_scipy(test_share: float, confidence: float) -> None:
    scale = np.std(SCORES, ddof=1) * math.sqrt(1 / len(SCORES) + test_share)
    expected = stats.t.interval(confidence, len(SCORES) - 1, loc=np.mean(SCORES), scale=scale)
    found = summarize_folds(SCORES, test_share=test_share, confidence=confidence)
    assert (found.low, found.high) == pytest.approx(expected)


def test_repeats_do_not_make_it_arbitrarily_narrow() -> None:
    """The plain standard error shrinks with every repeat of the same records; the corrected one has a floor."""
    once, often = (summarize_folds(SCORES * times, test_share=1 / 4) for times in (1, 50))
    assert often.high is not None
    assert once.high is not None
    floor = 1.96 * math.sqrt(0.25) * np.std(SCORES)
    assert floor <= often.high - 0.81 < once.high - 0.81


def test_it_covers_where_the_plain_standard_error_does_not() -> None:
    """Folds share their luck: correlation n_test / (n_train + n_test), as in the paper."""
    generator = np.random.default_rng(0)
    number, share = 10, 1 / 4
    correlation = share / (1 + share)
    shared = generator.normal(size=(2000, 1)) * math.sqrt(correlation)
    draws = 0.5 + 0.05 * (shared + generator.normal(size=(2000, number)) * math.sqrt(1 - correlation))
    inside, plain = 0, 0
    for row in draws:
        found = summarize_folds(row.tolist(), test_share=share)
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= 0.5 <= found.high
        half = 2.262 * row.std(ddof=1) / math.sqrt(number)
        plain += abs(row.mean() - 0.5) <= half
    assert 0.94 <= inside / 2000 <= 0.97
    assert plain / 2000 < 0.8


def test_undefined_scores_are_left_out_and_too_few_or_equal_ones_have_no_interval() -> None:
    assert summarize_folds([0.5, None, 0.7], test_share=0.5).num_scores == 2
    assert summarize_folds([None, 0.5], test_share=0.5) == FoldSummary(0.5, None, None, None, 1)
    assert summarize_folds([], test_share=0.5) == FoldSummary(None, None, None, None, 0)
    assert summarize_folds([0.9, 0.9], test_share=0.5).to_dict() == {
        "mean": 0.9, "std": 0.0, "low": None, "high": None, "num_scores": 2,
    }  # fmt: skip


def test_the_interval_ends_where_the_score_does() -> None:
    found = summarize_folds([0.6, 1.0], test_share=0.5, bounds=bounds_of("accuracy"))
    assert (found.low, found.high) == (0.0, 1.0)
    assert bounds_of("cohen_kappa") == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_share": 0.0}, "test_share: expected a ratio above 0, got 0"),
        ({"test_share": math.nan}, "test_share: expected a ratio above 0, got nan"),
        ({"test_share": 0.5, "confidence": 95.0}, "confidence: expected a number between 0 and 1, got 95"),
    ],
)
def test_numbers_that_are_none_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        summarize_folds(SCORES, **options)
