"""The interval of a mean over records in groups."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ringlight.errors import DataError
from ringlight.evaluation.means import mean_interval
from ringlight.evaluation.units import find_units


def test_of_single_records_it_is_scipys_bootstrap() -> None:
    values = np.random.default_rng(0).normal(size=400)
    found = mean_interval(values, find_units(None, 400), num_resamples=4000)
    expected = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=0).confidence_interval
    assert found is not None
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.005)


def test_groups_are_drawn_whole() -> None:
    """Ten copies of a record are one piece of evidence."""
    values = np.random.default_rng(0).normal(size=30)
    once = mean_interval(values, find_units(None, 30))
    copies = mean_interval(np.repeat(values, 10), find_units(np.repeat(np.arange(30), 10), 300))
    assert once is not None
    assert copies is not None
    assert copies.to_list() == pytest.approx(once.to_list())


def test_the_same_everywhere_has_none_and_no_resample_is_refused() -> None:
    assert mean_interval(np.ones(20), find_units(None, 20)) is None
    with pytest.raises(DataError, match="num_resamples: expected 1 resample or more, got 0; use 2000"):
        mean_interval(np.ones(20), find_units(None, 20), num_resamples=0)
