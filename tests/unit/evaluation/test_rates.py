"""Intervals of rates: by hand, against scipy, and by how often they hold in simulated parts."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from scipy import stats

from ringlight.errors import DataError
from ringlight.evaluation.rates import (
    Interval,
    clopper_pearson,
    effective_trials,
    f1_interval,
    mean_of_intervals,
    rate_interval,
    wilson,
)
from ringlight.evaluation.units import find_units


@pytest.mark.parametrize("trials", [1, 7, 50, 2995])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.98, 1.0])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_wilson_and_clopper_pearson_are_scipys(trials: int, share: float, confidence: float) -> None:
    successes = round(share * trials)
    for ours, theirs in ((wilson, "wilson"), (clopper_pearson, "exact")):
        wanted = stats.binomtest(successes, trials).proportion_ci(confidence, theirs)
        assert ours(successes, trials, confidence) == pytest.approx((wanted.low, wanted.high), abs=1e-9)


def test_wilson_by_hand() -> None:
    """9 of 10: centre (0.9 + 0.19207) / 1.38415, half width 1.95996 √(0.009 + 0.0096036) / 1.38415."""
    z = 1.959964
    half = z * sqrt(0.09 / 10 + z**2 / 400) / (1 + z**2 / 10)
    centre = (0.9 + z**2 / 20) / (1 + z**2 / 10)
    assert wilson(9, 10) == pytest.approx((centre - half, centre + half), abs=1e-6)
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("successes", "trials", "confidence"), [(3, 2, 0.95), (-1, 2, 0.95), (float("nan"), 2, 0.95)])
def test_counts_that_cannot_be_are_refused(successes: float, trials: float, confidence: float) -> None:
    for interval in (wilson, clopper_pearson):
        with pytest.raises(DataError, match=r"expected successes from 0 to the number of trials, got .* of 2"):
            interval(successes, trials, confidence)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95])
def test_a_confidence_that_is_none_is_refused(confidence: float) -> None:
    with pytest.raises(DataError, match=r"confidence: expected a number between 0 and 1, got .*; use 0.95"):
        wilson(1, 2, confidence)


def test_single_records_are_plain_wilson() -> None:
    hits = np.array([1, 1, 0, 1, 0, 1, 1, 1], bool)
    found = rate_interval(hits)
    assert found == Interval(0.75, *wilson(6, 8), "wilson")
    assert rate_interval(hits, groups=list("abcdefgh")) == found
    assert rate_interval(hits, groups=[None] * 8) == found


def test_a_perfect_score_counts_its_parts_and_not_their_pictures() -> None:
    """Six pictures of each of three parts, all right: three successes in three trials, not eighteen."""
    found = rate_interval([True] * 18, groups=[part for part in "abc" for _ in range(6)])
    assert found == Interval(1.0, *wilson(3, 3), "wilson")


def test_effective_trials_by_hand() -> None:
    """Groups of 2: hits 2, 2, 1, 0 of 8 trials, p = 5/8.

    deff = 4/3 (0.75² + 0.75² + 0.25² + 1.25²) / (8 · 15/64) = 4/3 · 2.75 / 1.875 = 1.95556; three groups have a hit,
    two a miss, so e = 2: deff' = (2 · 1.95556 + 2) / 3 = 1.97037, and 8 / 1.97037 = 4.06015.
    """
    hits = np.array([1, 1, 1, 1, 1, 0, 0, 0], float)
    units = find_units(list("aabbccdd"), 8)
    assert effective_trials(hits, np.ones(8), units) == pytest.approx(4.06015, abs=1e-5)


def test_the_design_effect_is_what_the_group_bootstrap_finds() -> None:
    generator = np.random.default_rng(0)
    codes = np.repeat(np.arange(150), 6)
    hits = (generator.random(900) < generator.beta(4, 1, 150)[codes]).astype(float)
    rate = hits.mean()
    draws = generator.integers(0, 150, (4000, 150))
    spread = np.var(hits.reshape(150, 6)[draws].mean(axis=(1, 2)))
    wanted = spread / (rate * (1 - rate) / 900)
    units = find_units(codes, 900)
    assert 900 / effective_trials(hits, np.ones(900), units) == pytest.approx(wanted, rel=0.08)


@pytest.mark.parametrize("alike", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("rate", [0.7, 0.97])
def test_the_interval_holds_as_often_as_it_says(rate: float, alike: float) -> None:
    """30 parts of 6 pictures; `alike` says how much the pictures of a part go together."""
    generator = np.random.default_rng(7)
    units = find_units(np.repeat(np.arange(30), 6), 180)
    held, naive = 0, 0
    for _ in range(400):
        if alike in (0.0, 1.0):
            part = np.full(30, rate) if alike == 0.0 else (generator.random(30) < rate).astype(float)
        else:
            part = generator.beta(rate * (1 - alike) / alike, (1 - rate) * (1 - alike) / alike, 30)
        hits = (generator.random(180) < part[units.codes]).astype(float)
        count = effective_trials(hits, np.ones(180), units)
        low, high = wilson(hits.mean() * count, count)
        held += low <= rate <= high
        low, high = wilson(hits.sum(), 180)
        naive += low <= rate <= high
    assert held / 400 >= 0.92
    if alike == 1.0:
        assert naive / 400 < 0.75  # what counting pictures would promise as 95 %


def test_one_group_says_next_to_nothing() -> None:
    """A hundred pictures of one part are one trial."""
    for hits in ([True] * 100, [True] * 60 + [False] * 40):
        found = rate_interval(hits, groups=["p"] * 100)
        assert found is not None
        assert (found.low, found.high) == pytest.approx(wilson(found.value, 1))


def test_without_a_trial_there_is_no_rate() -> None:
    assert rate_interval([0, 0], trials=[0, 0]) is None
    with pytest.raises(DataError, match=r"expected hits .N,. from 0 to the trials"):
        rate_interval([2.0], trials=[1.0])
    with pytest.raises(DataError, match=r"groups: expected a group .or None. for each of 2 records, got 3"):
        rate_interval([1, 0], groups=["a", "b", "c"])


def test_f1_has_the_limits_of_its_overlap() -> None:
    """tp 8, fp 1, fn 3: F1 = 16/20, J = 8/12, limits 2J / (1 + J)."""
    tp, wrong = np.array([1.0] * 8 + [0] * 4), np.array([0.0] * 8 + [1] * 4)
    found = f1_interval(tp, wrong, find_units(None, 12), 0.95)
    low, high = wilson(8, 12)
    assert found is not None
    assert found.value == pytest.approx(0.8)
    assert (found.low, found.high) == pytest.approx((2 * low / (1 + low), 2 * high / (1 + high)))


def test_means_of_intervals_by_hand() -> None:
    """Distances 0.1 and 0.2 below, 0.05 and 0 above; halves: √(0.05² + 0.1²) and 0.025."""
    parts = [Interval(0.8, 0.7, 0.85, "wilson"), Interval(1.0, 0.8, 1.0, "wilson")]
    found = mean_of_intervals(parts, [0.5, 0.5])
    assert (found.value, found.low, found.high) == pytest.approx((0.9, 0.9 - sqrt(0.0125), 0.925))


def test_records_without_a_group_stand_alone() -> None:
    units = find_units(["a", None, "a", float("nan"), None], 5)
    assert units.codes.tolist() == [0, 1, 0, 2, 3]
    assert (units.num_units, units.kind) == (4, "group")
    assert find_units([None, None], 2).kind == "record"
