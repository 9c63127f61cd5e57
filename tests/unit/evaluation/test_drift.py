"""Sequential tests: the capital by hand and by a naive sum, its expectation exactly, its false alarms counted."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest

from ringlight.errors import DataError
from ringlight.evaluation.drift import FRACTIONS, Detectors


def naive(values: list[float], limit: float) -> float:
    """Add up, over every beginning and every fraction, the product of what is won since then."""
    total = 0.0
    for fraction in FRACTIONS:
        for start in range(len(values)):
            capital = 1.0
            for value in values[start:]:
                capital *= 1 + fraction * (value / limit - 1)
            total += capital / len(FRACTIONS)
    return total


def capital_of(values: Any, limit: float, block: int = 1) -> float:
    detectors = Detectors([limit], block=block, run_length=1e12)
    detectors.update(np.asarray(values, float)[:, None])
    return float(detectors.capital.mean())


def test_the_capital_by_hand() -> None:
    """Limit 0.5: a 1 multiplies by 1 + f, a 0 by 1 - f. After 1, 0: (1 + (1 + f)) (1 - f) = (2 + f)(1 - f)."""
    expected = np.mean([(2 + fraction) * (1 - fraction) for fraction in FRACTIONS])
    assert capital_of([1, 0], 0.5) == pytest.approx(expected)


def test_the_recursion_equals_a_naive_sum_over_every_beginning() -> None:
    values = np.random.default_rng(0).random(40).tolist()
    assert capital_of(values, 0.4) == pytest.approx(naive(values, 0.4))


def test_the_expectation_is_the_number_of_steps_exactly() -> None:
    """Over all 2^8 sequences of a coin with the limit's own probability: what makes E[M] = t, and the run length."""
    limit = 0.3
    total = sum(
        np.prod(np.where(bits, limit, 1 - limit)) * capital_of(bits, limit)
        for bits in itertools.product([0, 1], repeat=8)
    )
    assert total == pytest.approx(8)


def test_false_alarms_within_a_stretch_are_as_rare_as_promised() -> None:
    """2,000 tests at their limit, 400 steps, thresholds of 4,000: at most a tenth alarm, and not far fewer do."""
    tests, steps, threshold = 2000, 400, 4000
    detectors = Detectors(np.full(tests, 0.2), run_length=threshold / tests)
    assert detectors.threshold == threshold
    rng = np.random.default_rng(1)
    detectors.update((rng.random((steps, tests)) < 0.2).astype(float))
    rate = detectors.alarms.mean()
    assert 0.01 < rate <= steps / threshold


def test_a_change_is_found_soon_however_late_it_comes() -> None:
    rng = np.random.default_rng(2)
    detectors = Detectors([0.1] * 50, run_length=1e6)
    detectors.update((rng.random((5000, 50)) < 0.05).astype(float))
    assert not detectors.alarms.any()
    detectors.update((rng.random((200, 50)) < 0.5).astype(float))
    assert detectors.alarms.all()
    assert detectors.since.max() < 5100


def test_the_mean_of_a_block_is_one_observation_and_missing_values_wait() -> None:
    values = np.array([[1.0, 0.2], [0.0, np.nan], [0.5, np.nan], [0.5, 0.6]])
    detectors = Detectors([0.5, 0.5], block=2)
    detectors.update(values)
    for column, means in enumerate(([0.5, 0.5], [0.4])):
        assert detectors.capital[column].mean() == pytest.approx(naive(means, 0.5))
    assert detectors.seen.tolist() == [4, 2]


def test_batches_do_not_matter() -> None:
    values = np.random.default_rng(3).random((57, 3))
    one, many = (Detectors([0.4, 0.5, 0.6], block=10) for _ in range(2))
    one.update(values)
    for part in np.split(values, [1, 20, 21, 50]):
        many.update(part)
    np.testing.assert_array_equal(one.capital, many.capital)


def test_an_alarm_stands_until_it_is_taken_back_and_never_overflows() -> None:
    detectors = Detectors([0.01, 0.01], run_length=1000)
    detectors.update(np.full((2000, 2), [1.0, 0.0]))
    assert np.isfinite(detectors.capital).all()
    assert (detectors.alarms.tolist(), detectors.since[0] < 10) == ([True, False], True)
    detectors.update(np.zeros((2000, 2)))
    assert detectors.alarms[0]
    assert detectors.evidence[0] < 1
    detectors.reset(detectors.alarms)
    assert not detectors.alarms.any()
    assert detectors.evidence[0] == 0


def test_a_state_is_gone_on_with() -> None:
    values = np.random.default_rng(4).random((33, 2))
    whole, first, second = (Detectors([0.4, 0.5], block=10) for _ in range(3))
    whole.update(values)
    first.update(values[:17])
    second.restore(json.loads(json.dumps(first.to_dict())))
    second.update(values[17:])
    assert second.to_dict() == whole.to_dict()


def test_without_a_test_nothing_happens() -> None:
    detectors = Detectors([])
    detectors.update(np.empty((5, 0)))
    assert not detectors.alarms.any()


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (lambda: Detectors([1.0]), "limits: expected numbers (J,) above 0 and below 1, got [1.0]; leave such a test"),
        (lambda: Detectors([0.5], block=0), "run_length, block: expected at least 1 record, and no block longer"),
        (lambda: Detectors([0.5]).update(np.ones((2, 3))), "values: expected shape (B, 1), got (2, 3)"),
        (lambda: Detectors([0.5]).update(np.full((1, 1), 1.5)), "values: expected numbers from 0 to 1"),
        (lambda: Detectors([0.5]).restore({}), "state: expected a state as the watch writes it, got 'capital'"),
        (
            lambda: Detectors([0.5]).restore(Detectors([0.5, 0.5]).to_dict()),
            "state: expected finite numbers of shape (1, 5), got capital of shape (2, 5); begin a new watch",
        ),
    ],
)
def test_what_cannot_be_is_told_in_a_line(wrong: Any, line: str) -> None:
    with pytest.raises(DataError) as told:
        wrong()
    assert line in str(told.value)
    assert "\n" not in str(told.value)
