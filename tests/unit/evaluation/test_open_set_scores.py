"""Strangers told apart: Gaussians of a known AUROC, scikit-learn, a naive loop, groups, and no stranger at all."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from ringlight.errors import DataError
from ringlight.evaluation.open_set import fix_open_set
from ringlight.evaluation.open_set_scores import open_set_scores
from ringlight.evaluation.percentiles import percentile_interval
from ringlight.evaluation.units import resamples

RULE = fix_open_set({"energy": np.linspace(-2, 2, 101)}, 0.95)


def judged(known: Any, strangers: Any, **given: Any) -> dict[str, Any]:
    sides = (
        {"energy": np.asarray(known, float)},
        None if strangers is None else {"energy": np.asarray(strangers, float)},
    )
    return open_set_scores(RULE, *sides, **{"num_resamples": 400, **given})


def test_gaussians_have_the_auroc_of_the_textbook() -> None:
    """Means one standard deviation apart: Φ(1/√2) = 0.760; at 95 % of the known, Φ(1.645 - 1) strangers pass."""
    rng = np.random.default_rng(0)
    known, strangers = rng.normal(size=4000), rng.normal(1, 1, 4000)
    found = judged(known, strangers, num_resamples=100)["scores"]["energy"]
    assert found["auroc"]["value"] == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.01)
    assert found["auroc"]["low"] < norm.cdf(1 / np.sqrt(2)) < found["auroc"]["high"]
    assert found["fpr_at_95"]["value"] == pytest.approx(norm.cdf(norm.ppf(0.95) - 1), abs=0.02)
    assert found["fpr_at_95"]["low"] < found["fpr_at_95"]["value"] < found["fpr_at_95"]["high"]


def test_equals_scikit_learn_and_a_naive_loop_with_equal_scores() -> None:
    rng = np.random.default_rng(1)
    known, strangers = rng.integers(0, 30, 90) / 10, rng.integers(10, 40, 40) / 10
    found = judged(known, strangers)
    truth = np.repeat([0, 1], [90, 40])
    values = np.concatenate([known, strangers])
    assert found["scores"]["energy"]["auroc"]["value"] == pytest.approx(roc_auc_score(truth, values), abs=1e-12)
    limit = next(value for value in np.sort(known) if (known <= value).mean() >= 0.95)
    assert found["scores"]["energy"]["fpr_at_95"]["value"] == pytest.approx((strangers <= limit).mean(), abs=1e-12)
    threshold = RULE.thresholds["energy"]
    assert found["reached"]["known_accepted"]["value"] == pytest.approx((known <= threshold).mean())
    assert found["reached"]["unknown_flagged"]["value"] == pytest.approx((strangers > threshold).mean())
    assert sum(found["scores"]["energy"]["known"]) == 90
    assert sum(found["scores"]["energy"]["unknown"]) == 40


def test_resamples_count_groups_whole() -> None:
    """The weighted form gives the limits of copied rows: 200 resamples of eight known and three strange groups."""
    rng = np.random.default_rng(2)
    known, strangers = rng.normal(size=24), rng.normal(1, 1, 12)
    groups, others = [f"k{n // 3}" for n in range(24)], [f"s{n // 4}" for n in range(12)]
    found = judged(known, strangers, groups=groups, stranger_groups=others, num_resamples=200, seed=5)
    codes = np.concatenate([np.arange(24) // 3, 8 + np.arange(12) // 4])
    areas, passed = [], []
    for counts in next(resamples(11, 200, 5)).T.astype(int):
        copies = np.repeat(np.arange(36), counts[codes])
        mine, other = [known[n] for n in copies if n < 24], [strangers[n - 24] for n in copies if n >= 24]
        if not mine or not other:
            areas.append(np.nan)
            passed.append(np.nan)
            continue
        areas.append(roc_auc_score([0] * len(mine) + [1] * len(other), mine + other))
        limit = sorted(mine)[int(np.ceil(round(0.95 * len(mine), 9))) - 1]
        passed.append(np.mean(np.array(other) <= limit))
    for name, column in (("auroc", areas), ("fpr_at_95", passed)):
        told = found["scores"]["energy"][name]
        expected = percentile_interval(np.array(column), told["value"], num_units=11, confidence=0.95)
        assert expected is not None
        assert [told["low"], told["high"]] == pytest.approx(expected.to_list(), abs=1e-12), name


def test_strangers_told_apart_without_a_mistake_are_judged_by_their_units() -> None:
    """Four groups of strangers: four rightly ordered pairs, however many pictures they are."""
    found = judged(np.zeros(40), np.ones(40), groups=list(range(40)), stranger_groups=np.repeat(list("abcd"), 10))
    score = found["scores"]["energy"]
    assert score["auroc"] == {"value": 1.0, "low": pytest.approx(0.510, abs=1e-3), "high": 1.0}
    assert score["fpr_at_95"] == {"value": 0.0, "low": 0.0, "high": pytest.approx(0.490, abs=1e-3)}


def test_without_strangers_the_known_alone_are_told() -> None:
    found = judged([0.0, 1.0, 5.0], None)
    score = found["scores"]["energy"]
    assert (score["auroc"], score["fpr_at_95"], score["unknown"]) == (None, None, None)
    assert found["reached"]["unknown_flagged"] is None
    assert found["reached"]["known_accepted"]["value"] == pytest.approx(2 / 3)
    json.dumps(found, allow_nan=False)


def test_no_resample_is_refused() -> None:
    with pytest.raises(DataError, match="num_resamples: expected 1 resample or more, got 0; use 2000"):
        judged([0.0], [1.0], num_resamples=0)
