"""What a stream is compared with: ranks, limits that allow for a finite reference, and the way into a file and back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ringlight.errors import DataError
from ringlight.evaluation.drift_reference import Quantity, effective_records, upper_limit

RISK = 0.01


def test_ranks_by_hand_and_as_scipy_counts_them() -> None:
    quantity = Quantity.of("score", "value", [1.0, 2.0, 2.0, 3.0])
    assert quantity.ranks([0.0, 1.0, 2.0, 2.5, 3.0, 9.0]).tolist() == [0, 0.125, 0.5, 0.75, 0.875, 1]
    rng = np.random.default_rng(0)
    known, new = rng.integers(0, 20, 100), rng.integers(-2, 22, 30)
    expected = [stats.percentileofscore(known, value, "mean") / 100 for value in new]
    np.testing.assert_allclose(Quantity.of("score", "value", known).ranks(new), expected)


def test_what_the_tests_see() -> None:
    quantity = Quantity.of("score", "value", np.arange(100.0))
    assert (quantity.low, quantity.high) == (5.0, 94.0)
    seen = quantity.observe([-1.0, 50.0, 94.0, 95.0, np.nan])
    np.testing.assert_array_equal(seen[:, 2], [0, 0, 0, 1, np.nan])
    np.testing.assert_array_equal(seen[:, 3], [1, 0, 0, 0, np.nan])
    np.testing.assert_allclose(seen[:4, 0] + seen[:4, 1], 1)
    assert Quantity.of("rate", "rate", [0, 1]).observe([1.0]).tolist() == [[1, 0]]
    assert Quantity.of("escape", "fault", [0, 1]).observe([1.0]).tolist() == [[1]]


def test_limits_of_rates_are_those_of_an_exact_test() -> None:
    quantity = Quantity.of("rate", "rate", np.arange(200) < 30)
    exact = stats.binomtest(30, 200, alternative="less").proportion_ci(1 - RISK, "exact").high
    other = stats.binomtest(30, 200, alternative="greater").proportion_ci(1 - RISK, "exact").low
    np.testing.assert_allclose(quantity.limits(RISK, tolerance=0), [exact, 1 - other])
    assert upper_limit(200, 200, RISK) == 1


def test_limits_hold_over_the_draw_of_the_reference() -> None:
    """4,000 references of 60: the means a stream like each has exceed the limits in fewer than `risk` of them.

    Values are uniform, so that the mean mid-rank given the reference is the mean of 1 - X, and the tail's probability
    the distance of its limit from the end. With a plain quantile in place of the limit half of them would.
    """
    rng = np.random.default_rng(1)
    true = []
    for values in rng.random((4000, 60)):
        quantity = Quantity.of("u", "value", values)
        true.append([1 - values.mean(), values.mean(), 1 - quantity.high, quantity.low])
    limits = quantity.limits(0.05, tolerance=0)
    rates = (np.array(true) > limits).mean(axis=0)
    assert (rates <= 0.05 + 0.01).all()
    assert (rates > 0.002).all()  # and they are not far too wide


def test_records_of_a_group_count_once() -> None:
    """Ten pictures each of 20 parts: limits as of 20 records, not of 200."""
    values = np.repeat(np.random.default_rng(2).random(20), 10)
    groups = [f"part {number}" for number in np.repeat(np.arange(20), 10)]
    assert effective_records(groups, 200) == pytest.approx(20)
    together, single = (Quantity.of("u", "value", values, groups=given) for given in (groups, None))
    assert together.limits(RISK, tolerance=0)[0] - 0.5 == pytest.approx(
        np.sqrt(10) * (single.limits(RISK, tolerance=0)[0] - 0.5)
    )


def test_a_small_reference_allows_more_until_nothing_can_be_found() -> None:
    widths = [Quantity.of("u", "value", np.arange(size)).limits(RISK)[0] for size in (2000, 100, 20, 3)]
    assert widths == sorted(widths)
    assert widths[-1] > 1


def test_a_large_reference_is_kept_as_quantiles() -> None:
    values = np.random.default_rng(3).normal(size=20_000)
    quantity = Quantity.of("u", "value", values)
    assert len(quantity.quantiles) == 256
    exact = np.searchsorted(np.sort(values), [-2.0, 0.1, 2.0]) / 20_000
    np.testing.assert_allclose(quantity.ranks([-2.0, 0.1, 2.0]), exact, atol=1 / 256)
    np.testing.assert_allclose(quantity.expected, 2000, atol=100)


def test_bins_are_the_references_deciles() -> None:
    quantity = Quantity.of("u", "value", np.arange(100.0))
    np.testing.assert_array_equal(quantity.expected, np.full(10, 10))
    assert quantity.bins([-5.0, 9.0, 9.5, 1000.0, np.nan]).tolist() == [0, 0, 1, 9, -1]


@pytest.mark.parametrize("kind", ["value", "rate", "fault"])
def test_a_quantity_is_read_back_to_the_bit(kind: Any) -> None:
    values = np.arange(70) % 2 if kind != "value" else np.full(70, 0.1)
    quantity = Quantity.of("u", kind, values)
    assert Quantity.from_dict(json.loads(json.dumps(quantity.to_dict()))) == quantity


def test_a_constant_that_stays_constant_is_no_drift() -> None:
    """A grey camera's channels are equal: the offset of each is a constant, and equal to it is in the middle."""
    quantity = Quantity.from_dict(Quantity.of("offset", "value", np.full(100, 0.1)).to_dict())
    assert quantity.observe([0.1]).tolist() == [[0.5, 0.5, 0, 0]]
    assert quantity.observe([0.2]).tolist() == [[1, 0, 1, 0]]
    assert quantity.expected.tolist() == [100, 0]


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (lambda: Quantity.of("u", "value", []), "u: expected finite numbers (N,), at least one, got shape (0,)"),
        (lambda: Quantity.of("u", "value", [np.nan]), "u: expected finite numbers (N,), at least one"),
        (lambda: Quantity.of("u", "rate", [0.5]), "u: expected 0 and 1, got other numbers; watch it as a value"),
        (lambda: Quantity.from_dict({"name": "u"}), "watch: expected a quantity as Ringlight writes it"),
        (
            lambda: Quantity.from_dict({**Quantity.of("u", "rate", [0, 1]).to_dict(), "mean": 2.0}),
            "watch: expected a quantity as Ringlight writes it, got `u` with impossible values; export the model again",
        ),
    ],
)
def test_what_cannot_be_is_told_in_a_line(wrong: Any, line: str) -> None:
    with pytest.raises(DataError) as told:
        wrong()
    assert line in str(told.value)
    assert "\n" not in str(told.value)
