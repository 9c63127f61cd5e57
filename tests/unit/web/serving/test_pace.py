"""What a batch takes is learnt, forgotten in time, and sizes batches."""

from __future__ import annotations

import numpy as np
import pytest

from ringlight.web.serving.pace import LATE, LEAST, MOST, Pace, Room


def test_mean_and_deviation_follow_as_in_rfc_6298() -> None:
    pace = Pace()
    pace.observe(1, 1.0)
    pace.observe(1, 2.0)
    # spread: 0 + 1/4 (|2 - 1| - 0); mean: 1 + 1/8 (2 - 1)
    assert pace.mean(1) == pytest.approx(1.125)
    assert pace.careful(1) == pytest.approx(1.125 + 2 * 0.25)


def test_a_size_that_was_not_seen_lies_between_its_neighbours() -> None:
    pace = Pace()
    assert pace.mean(4) == 0.0
    pace.observe(2, 0.2)
    pace.observe(6, 0.4)
    assert [round(pace.mean(size), 6) for size in (0, 1, 2, 4, 6, 12)] == [0.0, 0.2, 0.2, 0.3, 0.4, 0.8]


def test_the_largest_batch_within_a_time_is_found() -> None:
    pace = Pace()
    for size in (1, 8):
        pace.observe(size, 0.1 * size)
    assert [pace.largest_within(8, seconds) for seconds in (0.05, 0.1, 0.45, 10.0)] == [1, 1, 4, 8]


def test_a_slow_minute_does_not_rule_for_ever() -> None:
    """A batch of 8 that was slow once was never tried again, since it was too slow to be tried."""
    now = 0.0
    pace = Pace(clock=lambda: now)
    pace.observe(1, 0.1)
    pace.observe(8, 100.0)
    now = 61.0
    pace.observe(1, 0.1)
    assert pace.mean(8) == pytest.approx(0.8)


def test_admission_plans_with_what_keeps_answers_in_time() -> None:
    """Guesses that are right on the average: with the whole budget, every second answer under load would be late."""
    room, late = Room(), list[bool]()
    for noise in np.random.default_rng(0).normal(1.0, 0.15, 40_000):
        late.append(bool(room.share * noise > 1.0))
        room.observe(is_late=late[-1])
    assert np.mean(late[20_000:]) == pytest.approx(LATE, abs=0.002)
    assert 0.65 < room.share < 0.79  # 1 / (1 + 2.58 * 0.15) where it is still


def test_a_share_of_the_budget_stays_and_no_more_than_at_first_comes_back() -> None:
    room = Room()
    for _ in range(100):
        room.observe(is_late=True)
    assert room.share == LEAST
    for _ in range(6000):
        room.observe(is_late=False)
    assert room.share == MOST
