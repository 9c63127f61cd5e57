"""ROC and precision-recall curves and their areas: by hand, by pairs, by scikit-learn; ties everywhere."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from ringlight.errors import DataError
from ringlight.evaluation.curves import auroc, average_precision, class_curves, curves_dict, pr_curve, roc_curve


def drawn(seed: int, count: int, grid: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scores on a grid (a grid of 1 or 2 ties nearly all) and a truth that has both answers."""
    rng = np.random.default_rng(seed)
    truth = rng.random(count) < rng.choice([0.05, 0.5, 0.9])
    truth[:2] = [True, False]
    return np.clip(rng.integers(0, grid + 1, count) + truth * rng.integers(0, 2), 0, grid) / grid, truth


CASES = given(st.integers(0, 2**32 - 1), st.integers(2, 200), st.sampled_from([1, 2, 10, 10_000]))


@settings(max_examples=60, deadline=None)
@CASES
def test_areas_equal_scikit_learn(seed: int, count: int, grid: int) -> None:
    scores, truth = drawn(seed, count, grid)
    assert auroc(scores, truth) == pytest.approx(sk.roc_auc_score(truth, scores), abs=1e-12)
    assert average_precision(scores, truth) == pytest.approx(sk.average_precision_score(truth, scores), abs=1e-12)
    single = scores.astype(np.float32)
    assert auroc(single, truth) == pytest.approx(sk.roc_auc_score(truth, single), abs=1e-12)


@settings(max_examples=60, deadline=None)
@CASES
def test_curves_equal_scikit_learn(seed: int, count: int, grid: int) -> None:
    scores, truth = drawn(seed, count, grid)
    roc, pr = roc_curve(scores, truth, max_points=10_000), pr_curve(scores, truth, max_points=10_000)
    assert roc is not None
    assert pr is not None
    false, true, thresholds = sk.roc_curve(truth, scores, drop_intermediate=False)
    np.testing.assert_allclose(np.stack([roc.x, roc.y]), np.stack([false, true]), atol=1e-12)
    np.testing.assert_array_equal(roc.thresholds, thresholds)
    precision, recall, thresholds = sk.precision_recall_curve(truth, scores)
    np.testing.assert_allclose(np.stack([pr.x, pr.y]), np.stack([recall, precision])[:, ::-1], atol=1e-12)
    np.testing.assert_array_equal(pr.thresholds[1:], thresholds[::-1])


def test_the_area_is_the_share_of_pairs_in_order() -> None:
    scores, truth = drawn(5, 60, 10)
    wins = [(hit > miss) + 0.5 * (hit == miss) for hit in scores[truth] for miss in scores[~truth]]
    assert auroc(scores, truth) == pytest.approx(np.mean(wins))


def test_precision_is_averaged_over_the_steps_of_recall() -> None:
    scores, truth = drawn(5, 60, 10)
    area = before = 0.0
    for threshold in sorted(set(scores), reverse=True):
        found = scores >= threshold
        recall, precision = truth[found].sum() / truth.sum(), truth[found].mean()
        area, before = area + (recall - before) * precision, recall
    assert average_precision(scores, truth) == pytest.approx(area)


def test_equal_scores_are_worth_a_coin() -> None:
    assert auroc([0.5] * 4, [1, 0, 1, 0]) == 0.5
    assert average_precision([0.5] * 4, [1, 0, 1, 0]) == 0.5


def test_scores_that_differ_in_the_last_bit_are_no_tie() -> None:
    """Rounding them to a grid would be quicker, and wrong for a saturated soft-max."""
    assert auroc([np.nextafter(1, 0), 1.0], [0, 1]) == 1.0


@pytest.mark.parametrize(("truth", "ap"), [([0, 0], None), ([1, 1], 1.0)])
def test_one_answer_has_no_roc(truth: list[int], ap: float | None) -> None:
    assert auroc([0.1, 0.2], truth) is roc_curve([0.1, 0.2], truth) is None
    assert average_precision([0.1, 0.2], truth) == ap
    assert (pr_curve([0.1, 0.2], truth) is None) == (ap is None)


@pytest.mark.parametrize("draw", [roc_curve, pr_curve])
def test_a_thinned_curve_keeps_its_ends_and_its_shape(draw: Any) -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(20_000) < 0.02
    scores = rng.normal(size=20_000) + 2 * truth
    whole, thin = draw(scores, truth, max_points=10**6), draw(scores, truth)
    assert len(thin.x) == len(thin.y) == len(thin.thresholds) <= 200
    assert (thin.x[0], thin.y[0], thin.x[-1], thin.y[-1]) == (whole.x[0], whole.y[0], whole.x[-1], whole.y[-1])
    assert set(zip(thin.x, thin.y, strict=True)) <= set(zip(whole.x, whole.y, strict=True))
    assert np.abs(np.diff(thin.x)).max() < 0.05
    assert (np.diff(thin.thresholds[1:]) < 0).all()
    if draw is roc_curve:
        assert np.trapezoid(thin.y, thin.x) == pytest.approx(sk.roc_auc_score(truth, scores), abs=0.002)


def test_each_class_has_its_curves_as_json() -> None:
    scores = [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.4, 0.5, 0.1]]
    curves = class_curves([0, 1, 0], scores, ["a", "b", "pit"], "multiclass")
    told = json.loads(json.dumps(curves_dict(curves), allow_nan=False))
    assert told["a"]["roc"] == {"x": [0, 0, 0, 1], "y": [0, 0.5, 1, 1], "thresholds": [None, 0.7, 0.4, 0.1]}
    assert told["b"]["pr"]["y"] == [1, 1, 0.5, 0.333333]
    assert told["pit"] == {"roc": None, "pr": None}
    labels = class_curves([[1, 0], [0, 0]], [[0.7, 0.2], [0.1, 0.8]], ["a", "b"], "multilabel")
    assert labels["a"]["roc"] is not None
    assert labels["b"] == {"roc": None, "pr": None}


@pytest.mark.parametrize(
    ("scores", "truth", "message"),
    [
        ([0.1, np.nan], [1, 0], "scores: expected finite numbers, got nan in row 1; check the model for NaN"),
        ([0.1, np.inf], [1, 0], "scores: expected finite numbers, got inf in row 1"),
        ([0.1], [1, 0], "truth: expected shape (1,), got (2,); pass one for each record"),
        ([0.1, 0.2], [1, 2], "truth: expected only 0 and 1, got 2 in row 1; pass booleans"),
        ([], [], "scores: expected shape (N,), at least one record, got (0,)"),
    ],
)
def test_impossible_scores_are_refused(scores: Any, truth: Any, message: str) -> None:
    for measure in (auroc, average_precision, roc_curve, pr_curve):
        with pytest.raises(DataError) as caught:
            measure(scores, truth)
        assert message in str(caught.value)
