"""The stability index: by hand, by a naive loop, by scipy's divergences, and against its own distribution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ringlight.errors import DataError
from ringlight.evaluation.psi import psi, psi_limit


def test_by_hand() -> None:
    """Shares of a quarter and three quarters against a half each, of counts so large that half a record is nothing."""
    expected = (0.25 - 0.5) * math.log(0.5) + (0.75 - 0.5) * math.log(1.5)
    assert psi([5e8, 5e8], [2.5e8, 7.5e8]) == pytest.approx(expected)


def test_equals_a_naive_loop_and_two_divergences_of_scipy() -> None:
    rng = np.random.default_rng(0)
    old, new = rng.integers(0, 30, 10), rng.integers(0, 30, 10)
    shares = [[(count + 0.5) / (sum(counts) + 5) for count in counts] for counts in (old, new)]
    naive = sum((b - a) * math.log(b / a) for a, b in zip(*shares, strict=True))
    assert psi(old, new) == pytest.approx(naive)
    assert psi(old, new) == pytest.approx(stats.entropy(shares[0], shares[1]) + stats.entropy(shares[1], shares[0]))


def test_an_empty_bin_is_finite_and_equal_shares_are_zero() -> None:
    assert 0 < psi([10, 0], [0, 10]) < 10
    assert psi([7, 7], [7, 7]) == 0


def test_the_limit_is_its_own_quantile_at_this_sample_size() -> None:
    """The usual mark of 0.1 is exceeded by most windows of 100 that have not changed: it knows no sample size."""
    rng = np.random.default_rng(1)
    old, new = rng.multinomial(400, [0.1] * 10, 2000), rng.multinomial(100, [0.1] * 10, 2000)
    found = np.array([psi(*pair) for pair in zip(old, new, strict=True)])
    for level, slack in ((0.5, 0.05), (0.05, 0.015)):
        assert (found > psi_limit(400, 100, 10, level=level)).mean() == pytest.approx(level, abs=slack)
    assert (found > 0.1).mean() > 0.4
    assert psi_limit(100, 100, 1) == 0


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (lambda: psi([1, 2], [1]), "counts: expected counts (B,) in the same bins, at least one, got (2,) and (1,)"),
        (lambda: psi([0, 0], [1, 2]), "counts: expected counts from 0, not all of them 0, got [0.0, 0.0]"),
        (lambda: psi([1, -1], [1, 2]), "counts: expected counts from 0"),
        (lambda: psi_limit(0, 10, 2), "psi_limit: expected records above 0, a bin, a level between 0 and 1"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(wrong: Any, line: str) -> None:
    with pytest.raises(DataError) as told:
        wrong()
    assert line in str(told.value)
