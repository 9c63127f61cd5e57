"""Log-loss, Brier score and calibration error: by hand, by loops, by scikit-learn and torchmetrics."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve
from torchmetrics.functional import classification as tm

from ringlight.errors import DataError
from ringlight.evaluation.probabilities import (
    brier_score,
    calibration_error,
    expected_calibration_error,
    log_loss,
    reliability,
    reliability_bins,
)


def drawn(size: int, seed: int = 0, count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.full(size, 0.7), count)
    return rng.integers(0, size, count), scores


class TestLogLoss:
    def test_by_hand(self) -> None:
        assert log_loss([2, 0], [[0.2, 0.3, 0.5], [0.1, 0.8, 0.1]]) == pytest.approx(-math.log(0.5 * 0.1) / 2)
        labels = -(math.log(0.9) + math.log(0.4) + math.log(0.3) + math.log(0.8)) / 4
        assert log_loss([[1, 0], [0, 1]], [[0.9, 0.6], [0.7, 0.8]]) == pytest.approx(labels)

    @pytest.mark.parametrize("size", [2, 3, 7])
    def test_multiclass_equals_scikit_learn(self, size: int) -> None:
        truth, scores = drawn(size)
        assert log_loss(truth, scores) == pytest.approx(sk.log_loss(truth, scores, labels=range(size)), abs=1e-9)

    def test_one_column_equals_binary_cross_entropy(self) -> None:
        truth, scores = drawn(2)
        theirs = torch.nn.functional.binary_cross_entropy(
            torch.from_numpy(scores[:, 1]), torch.from_numpy(truth.astype(float))
        )
        assert log_loss(truth[:, None], scores[:, 1:]) == pytest.approx(float(theirs), abs=1e-9)
        assert log_loss(truth[:, None], scores[:, 1:]) == pytest.approx(log_loss(truth, scores), abs=1e-9)

    def test_certain_and_wrong_is_finite_and_as_bad_as_in_doubles(self) -> None:
        """Single precision saturates at 0 and 1 early; the score is that of the same numbers in double precision."""
        scores = np.array([[1.0, 0.0]], np.float32)
        assert log_loss([1], scores) == pytest.approx(sk.log_loss([1], scores.astype(float), labels=[0, 1]))
        assert log_loss([1], scores) == pytest.approx(36.0437, abs=1e-4)
        assert log_loss([0], scores) == pytest.approx(0.0, abs=1e-12)


class TestBrier:
    def test_two_classes_count_once_and_three_are_summed(self) -> None:
        assert brier_score([0], [[0.7, 0.3]]) == pytest.approx(0.09)
        assert brier_score([[1]], [[0.7]]) == pytest.approx(0.09)
        assert brier_score([0], [[0.7, 0.3, 0.0]]) == pytest.approx(0.09 + 0.09)
        assert brier_score([0], [[0.0, 1.0, 0.0]]) == 2.0

    @pytest.mark.parametrize("size", [2, 3, 7])
    def test_multiclass_equals_scikit_learn_and_loops(self, size: int) -> None:
        truth, scores = drawn(size)
        theirs = sk.brier_score_loss(truth, scores, labels=range(size))
        assert brier_score(truth, scores) == pytest.approx(theirs, abs=1e-12)
        total = sum(
            (score - (k == true)) ** 2 for true, row in zip(truth, scores, strict=True) for k, score in enumerate(row)
        )
        assert theirs == pytest.approx(total / len(truth) / (2 if size == 2 else 1))

    def test_multilabel_is_the_mean_over_classes(self) -> None:
        rng = np.random.default_rng(0)
        truth, scores = rng.integers(0, 2, (100, 3)), rng.random((100, 3))
        theirs = [sk.brier_score_loss(truth[:, k], scores[:, k]) for k in range(3)]
        assert brier_score(truth, scores) == pytest.approx(np.mean(theirs), abs=1e-12)


def by_loops(confidences: np.ndarray, correct: np.ndarray, bins: int) -> float:
    """Return the error over bins (b/B, (b+1)/B] from its definition."""
    error = 0.0
    for b in range(bins):
        low, high = np.linspace(0, 1, bins + 1)[[b, b + 1]]
        inside = [(c, r) for c, r in zip(confidences, correct, strict=True) if low < c <= high or (b == 0 and c == 0)]
        if inside:
            mean = [sum(part) / len(inside) for part in zip(*inside, strict=True)]
            error += len(inside) / len(confidences) * abs(mean[0] - mean[1])
    return error


class TestCalibrationError:
    def test_by_hand(self) -> None:
        confidences, correct = [0.95, 0.91, 0.55, 0.51], [True, False, True, True]
        # bin (0.5, 1]: confidence 0.73, accuracy 0.75
        assert expected_calibration_error(confidences, correct, bins=2) == pytest.approx(0.02)
        # two bins of two: |0.53 - 1| and |0.93 - 0.5|
        assert expected_calibration_error(confidences, correct, bins=2, kind="mass") == pytest.approx((0.47 + 0.43) / 2)

    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 20), st.sampled_from([3, 15, 997]))
    def test_equal_width_equals_loops(self, seed: int, count: int, bins: int, grid: int) -> None:
        rng = np.random.default_rng(seed)
        confidences, correct = rng.integers(0, grid + 1, count) / grid, rng.integers(0, 2, count)
        ours = expected_calibration_error(confidences, correct, bins)
        assert ours == pytest.approx(by_loops(confidences, correct, bins), abs=1e-9)

    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(1, 20), st.sampled_from([1, 3, 997]))
    def test_equal_mass_equals_scikit_learns_bins(self, seed: int, count: int, bins: int, grid: int) -> None:
        rng = np.random.default_rng(seed)
        confidences, correct = rng.integers(0, grid + 1, count) / grid, rng.integers(0, 2, count)
        correct[:2] = [0, 1]  # scikit-learn wants both
        true, predicted = calibration_curve(correct, confidences, n_bins=bins, strategy="quantile")
        counts = [size for size in reliability_bins(confidences, correct, bins, "mass").count if size]
        expected = float(np.abs(true - predicted) @ np.array(counts)) / count
        assert expected_calibration_error(confidences, correct, bins, "mass") == pytest.approx(expected, abs=1e-9)

    @pytest.mark.parametrize("size", [2, 3, 7])
    def test_multiclass_equals_torchmetrics(self, size: int) -> None:
        truth, scores = drawn(size, count=2000)
        theirs = tm.multiclass_calibration_error(torch.from_numpy(scores), torch.from_numpy(truth), size, n_bins=15)
        assert calibration_error(truth, scores) == pytest.approx(float(theirs), abs=1e-6)

    def test_one_column_equals_torchmetrics_binary(self) -> None:
        truth, scores = drawn(2, count=2000)
        theirs = tm.binary_calibration_error(torch.from_numpy(scores[:, 1].copy()), torch.from_numpy(truth), n_bins=15)
        assert calibration_error(truth[:, None], scores[:, 1:]) == pytest.approx(float(theirs), abs=1e-6)

    def test_two_labels_that_err_in_opposite_ways_do_not_cancel(self) -> None:
        """All pairs in one pot gave 0 here: half of the records at 0.75 and half at 0.75 being right and wrong."""
        truth, scores = np.tile([1, 0], (100, 1)), np.full((100, 2), 0.5)
        assert calibration_error(truth, scores) == 0.5
        assert expected_calibration_error(scores.ravel(), truth.ravel()) == 0.0

    def test_a_calibrated_forecast_has_hardly_any(self) -> None:
        rng = np.random.default_rng(0)
        score = rng.random(100_000)
        truth = rng.random(100_000) < score
        assert calibration_error(truth[:, None], score[:, None]) < 0.01
        assert calibration_error(truth[:, None], score[:, None], kind="mass") < 0.01


class TestReliability:
    def test_bins_by_hand(self) -> None:
        found = reliability_bins([0.5, 0.2, 1.0, 0.8], [1, 0, 1, 0], bins=4)
        assert found.edges == (0.0, 0.25, 0.5, 0.75, 1.0)
        assert found.count == (1, 1, 0, 2)
        assert found.confidence == (0.2, 0.5, None, 0.9)
        assert found.accuracy == (0.0, 1.0, None, 0.5)
        assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["confidence"][2] is None

    def test_bins_of_equal_mass_hold_equally_many(self) -> None:
        found = reliability_bins(np.random.default_rng(0).random(150), np.ones(150), kind="mass")
        assert set(found.count) == {10}

    def test_what_the_diagram_shows_is_the_error(self) -> None:
        truth, scores = drawn(4)
        found = reliability(truth, scores)
        gaps = [
            size * abs(right - believed)
            for size, right, believed in zip(found.count, found.accuracy, found.confidence, strict=True)
            if right is not None and believed is not None
        ]
        assert sum(gaps) / len(truth) == pytest.approx(calibration_error(truth, scores))

    def test_labels_are_shown_together(self) -> None:
        assert sum(reliability(np.zeros((10, 3)), np.full((10, 3), 0.4)).count) == 30


@pytest.mark.parametrize(
    ("confidences", "correct", "bins", "message"),
    [
        ([0.5, np.nan], [1, 0], 15, "confidences: expected numbers from 0 to 1, got nan in row 1; check the model for"),
        ([0.5, 1.5], [1, 0], 15, "confidences: expected numbers from 0 to 1, got 1.5 in row 1"),
        ([], [], 15, "confidences: expected shape (N,), at least one record, got (0,)"),
        ([[0.5]], [1], 15, "confidences: expected shape (N,), at least one record, got (1, 1)"),
        ([0.5], [1, 0], 15, "correct: expected shape (1,), got (2,); pass one for each record"),
        ([0.5], [2], 15, "correct: expected only 0 and 1, got 2 in row 0; pass booleans"),
        ([0.5], [1], 0, "bins: expected a whole number of at least 1, got 0; use 15"),
        ([0.5], [1], 1.5, "bins: expected a whole number of at least 1, got 1.5; use 15"),
    ],
)
def test_impossible_confidences_are_refused(confidences: Any, correct: Any, bins: Any, message: str) -> None:
    for measure in (expected_calibration_error, reliability_bins):
        with pytest.raises(DataError) as caught:
            measure(confidences, correct, bins)
        assert message in str(caught.value)


def test_an_unknown_kind_of_bins_is_answered_with_the_nearest() -> None:
    """Anything that was not `width` once counted as `mass`."""
    with pytest.raises(DataError, match=r"^kind: expected a kind of bins, got `widht`; did you mean `width`\?"):
        calibration_error([0], [[1.0]], kind="widht")  # type: ignore[arg-type]


@pytest.mark.parametrize("measure", [log_loss, brier_score, calibration_error, reliability])
def test_impossible_probabilities_are_refused(measure: Any) -> None:
    for scores, message in [
        (
            [[0.5, 0.6]],
            "probabilities: expected rows that sum to 1 in a multiclass data set, got a sum of 1.1 in row 0",
        ),
        ([[0.5], [0.2, 0.8]], "probabilities: expected an array of numbers, got rows of different lengths"),
        ([0.5], "probabilities: expected shape (N, 1), got (1,)"),
    ]:
        with pytest.raises(DataError) as caught:
            measure([0], scores)
        assert message in str(caught.value)
