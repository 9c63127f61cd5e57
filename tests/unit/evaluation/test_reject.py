"""The reject option: coverage against error, and the confidence below which a human looks."""

from __future__ import annotations

import numpy as np
import pytest

from ringlight.errors import DataError
from ringlight.evaluation.reject import RejectCurve, reject_curve, reject_threshold


def test_the_curve_is_that_of_a_naive_loop() -> None:
    generator = np.random.default_rng(0)
    confidence = np.round(generator.random(300), 2)  # many equal ones
    correct = generator.random(300) < confidence
    curve = reject_curve(confidence, correct, num_points=1000)
    assert curve.threshold == tuple(sorted(set(confidence.tolist()), reverse=True))
    for coverage, error, threshold in zip(curve.coverage, curve.error, curve.threshold, strict=True):
        decided = confidence >= threshold
        assert coverage == decided.mean()
        assert error == pytest.approx((~correct[decided]).mean())


def test_a_long_curve_is_thinned_and_keeps_its_end() -> None:
    generator = np.random.default_rng(1)
    confidence, correct = generator.random(5000), generator.random(5000) < 0.9
    curve = reject_curve(confidence, correct, num_points=50)
    assert len(curve.coverage) <= 50
    assert curve.coverage[-1] == 1.0
    assert curve.error[-1] == pytest.approx((~correct).mean())
    assert max(np.diff(curve.coverage)) < 0.03
    assert list(curve.coverage) == sorted(curve.coverage)


def test_of_probabilities_the_highest_counts() -> None:
    probabilities = [[0.7, 0.2, 0.1], [0.4, 0.35, 0.25]]
    assert reject_curve(probabilities, [True, False]) == reject_curve([0.7, 0.4], [True, False])


def test_the_threshold_keeps_the_most_parts_with_the_wished_error() -> None:
    curve = reject_curve([0.9, 0.8, 0.7, 0.6, 0.5], [True, False, True, True, True])
    assert curve.error == (0.0, 0.5, 1 / 3, 0.25, 0.2)
    assert reject_threshold(curve, max_error=0.2) == 0.5
    assert reject_threshold(curve, max_error=0.1) == 0.9
    assert reject_threshold(reject_curve([0.9, 0.8], [False, True]), max_error=0.1) is None


def test_the_curve_survives_json() -> None:
    curve = reject_curve([0.9, 0.8], [True, False])
    assert RejectCurve.from_dict(curve.to_dict()) == curve


@pytest.mark.parametrize(
    ("confidence", "correct", "num_points", "message"),
    [
        ([], [], 100, "confidence: expected shape (N,), at least one record, got (0,)"),
        ([0.5, np.nan], [True, True], 100, "confidence: expected numbers from 0 to 1, got nan in row 1"),
        ([1.5], [True], 100, "confidence: expected numbers from 0 to 1, got 1.5 in row 0"),
        ([0.5], [True, False], 100, "correct: expected shape"),
        ([0.5], [True], 1, "reject_curve: expected 2 points or more, got 1; use 100"),
    ],
)
def test_what_makes_no_curve_is_refused(
    confidence: list[float], correct: list[bool], num_points: int, message: str
) -> None:
    with pytest.raises(DataError) as caught:
        reject_curve(confidence, correct, num_points=num_points)
    assert message in str(caught.value)


@pytest.mark.parametrize("wish", [-0.1, 1.0, float("nan")])
def test_an_impossible_wish_is_refused(wish: float) -> None:
    with pytest.raises(DataError, match=r"max_error: expected a number in \[0, 1\), got .*use 0.01 for 1 %"):
        reject_threshold(reject_curve([0.9], [True]), max_error=wish)
