"""Thresholds are the best there are: compared with every possible one, tried in a loop."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import f1_score

from ringlight.evaluation.threshold_search import best_f1_threshold, best_scales, cheapest_threshold


def f1_by_hand(truth: np.ndarray, called: np.ndarray) -> float:
    return 2 * float((truth & called).sum()) / max(int(truth.sum() + called.sum()), 1)


def every_threshold(scores: np.ndarray) -> list[float]:
    return [*sorted(set(scores.tolist())), 1.1]


def test_the_best_f1_is_that_of_every_threshold_tried_in_a_loop() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        scores = np.round(generator.random(80), 2)  # with equal ones
        truth = generator.random(80) < scores / 2
        truth[0] = True
        threshold = best_f1_threshold(scores, truth)
        best = max(f1_by_hand(truth, scores >= t) for t in every_threshold(scores))
        assert f1_score(truth, scores >= threshold) == pytest.approx(best)


def test_a_threshold_lies_midway_to_the_next_score() -> None:
    assert best_f1_threshold([0.9, 0.5, 0.1], [True, True, False]) == 0.3
    assert best_f1_threshold([0.9, 0.5], [True, True]) == 0.25
    assert best_f1_threshold([0.0, 0.0], [True, True]) == 0.0
    assert best_f1_threshold([0.9, 0.5], [False, False]) is None


def test_between_neighbouring_numbers_the_taken_one_is_the_threshold() -> None:
    """The midpoint of two neighbouring doubles is one of them, and took the wrong record in."""
    low = 0.5
    high = np.nextafter(low, 1)
    assert best_f1_threshold([high, low], [True, False]) == high


@pytest.mark.parametrize(("escape", "overkill"), [(1.0, 1.0), (50.0, 1.0), (0.01, 5.0), (0.0, 1.0), (1.0, 0.0)])
def test_the_cheapest_threshold_is_that_of_every_one_tried_in_a_loop(escape: float, overkill: float) -> None:
    generator = np.random.default_rng(1)
    for _ in range(10):
        scores = np.round(generator.random(60) * 0.98, 2)
        truth = generator.random(60) < scores
        truth[:2] = True, False

        def cost(threshold: float, scores: np.ndarray = scores, truth: np.ndarray = truth) -> float:
            called = scores >= threshold
            return float(escape * (~called[truth]).mean() + overkill * called[~truth].mean())

        threshold = cheapest_threshold(scores, truth, escape_weight=escape, overkill_weight=overkill)
        assert cost(threshold) == pytest.approx(min(cost(t) for t in every_threshold(scores)))


def test_of_equal_costs_the_one_with_fewest_escapes_is_taken() -> None:
    assert cheapest_threshold([0.9, 0.5], [False, True], escape_weight=1.0, overkill_weight=1.0) == 0.25


def macro_f1(probabilities: np.ndarray, targets: np.ndarray, scales: np.ndarray) -> float:
    chosen = (probabilities / scales).argmax(1)
    return float(np.mean([f1_by_hand(targets == k, chosen == k) for k in range(probabilities.shape[1])]))


def biased(seed: int, size: int = 3, count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of a model that has learnt its rare classes too timidly."""
    generator = np.random.default_rng(seed)
    targets = generator.choice(size, count, p=np.r_[0.8, np.full(size - 1, 0.2 / (size - 1))])
    logits = 2.0 * np.eye(size)[targets] + generator.normal(size=(count, size)) + np.r_[1.5, np.zeros(size - 1)]
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True), targets


@pytest.mark.parametrize("seed", range(4))
def test_scales_come_close_to_the_best_of_a_fine_grid(seed: int) -> None:
    probabilities, targets = biased(seed)
    scales = best_scales(probabilities, targets)
    grid = np.exp(np.linspace(-3, 1, 33))
    best = max(macro_f1(probabilities, targets, np.array([1.0, *pair])) for pair in itertools.product(grid, grid))
    found = macro_f1(probabilities, targets, scales)
    assert found >= best - 0.02
    assert found >= macro_f1(probabilities, targets, np.ones(3)) + 0.02
    assert scales.sum() == pytest.approx(1.0)


def test_of_two_classes_a_scale_is_the_ordinary_threshold() -> None:
    probabilities, targets = biased(5, size=2)
    scales = best_scales(probabilities, targets)
    np.testing.assert_array_equal((probabilities / scales).argmax(1) == 1, probabilities[:, 1] > scales[1])


def test_the_search_is_deterministic_and_leaves_an_absent_class_alone() -> None:
    probabilities, targets = biased(6)
    wider = np.column_stack([probabilities * 0.9, np.full(len(targets), 0.1)])
    scales = best_scales(wider, targets)
    np.testing.assert_array_equal(scales, best_scales(wider.copy(), targets.copy()))
    assert macro_f1(wider, targets, scales) >= macro_f1(wider, targets, np.ones(4))


def test_certain_probabilities_divide_by_nothing() -> None:
    """Soft-max of large logits gives exact zeros and ones."""
    probabilities = np.eye(3)[[0, 1, 2, 0, 1]]
    scales = best_scales(probabilities, np.array([0, 1, 2, 0, 2]))
    assert np.isfinite(scales).all()
    assert (scales > 0).all()
