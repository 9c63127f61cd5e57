"""Calibration: what is simulated is found again, what does not help is refused, and why is said."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ringlight.errors import DataError
from ringlight.evaluation.calibration import Calibration, Calibrator, _folds, fit_calibration
from ringlight.evaluation.probabilities import log_loss
from ringlight.types import Prediction


def overconfident(count: int, temperature: float, seed: int = 0, size: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose soft-max is right only after division by `temperature`."""
    generator = np.random.default_rng(seed)
    honest = generator.normal(size=(count, size)) * 2
    targets = (honest + generator.gumbel(size=honest.shape)).argmax(1)  # a draw from soft-max(honest)
    return (honest * temperature).astype(np.float32), targets


def labels(count: int, scale: float, offset: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits of three labels whose sigmoid is right after scale * z + offset."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(count, 3)) * 2
    return logits, (generator.random(logits.shape) < 1 / (1 + np.exp(-scale * logits - offset))).astype(int)


def nll(logits: np.ndarray, targets: np.ndarray, task: Any = "multiclass") -> float:
    names = tuple(str(k) for k in range(logits.shape[1]))
    return log_loss(targets, Prediction([], logits, names, task).probabilities)


@pytest.mark.parametrize("temperature", [0.4, 2.5, 8.0])
def test_a_known_temperature_is_found_again(temperature: float) -> None:
    logits, targets = overconfident(8000, temperature)
    calibration = fit_calibration(logits, targets, "multiclass")
    assert calibration.accepted
    assert calibration.calibrator.temperature == pytest.approx(temperature, rel=0.05)
    assert calibration.nll_after is not None
    assert calibration.nll_before is not None
    assert calibration.nll_after < calibration.nll_before
    assert calibration.ece_after is not None
    assert calibration.ece_after < 0.02
    assert calibration.reason.startswith("held-out negative log-likelihood ")


def test_the_temperature_is_the_best_of_a_fine_grid() -> None:
    logits, targets = overconfident(4000, 3.0)
    found = fit_calibration(logits, targets, "multiclass", kind="temperature").calibrator.temperature
    grid = np.arange(2.0, 4.0, 0.01)
    best = grid[np.argmin([nll(logits / temperature, targets) for temperature in grid])]
    assert found == pytest.approx(best, abs=0.02)


def test_temperature_never_changes_the_best_class() -> None:
    logits, targets = overconfident(500, 3.0)
    calibrated = fit_calibration(logits, targets, "multiclass").calibrator.apply(logits)
    np.testing.assert_array_equal(calibrated.argmax(1), logits.argmax(1))


def test_platt_is_logistic_regression_on_platts_targets() -> None:
    logits, targets = labels(400, scale=0.4, offset=-1.0)
    calibrator = fit_calibration(logits, targets, "multilabel").calibrator
    assert calibrator.kind == "platt"
    for column in range(3):
        truth, positives = targets[:, column], targets[:, column].sum()
        share = np.where(truth == 1, (positives + 1) / (positives + 2), 1 / (len(truth) - positives + 2))
        doubled = np.tile(logits[:, [column]], (2, 1))
        model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000)
        model.fit(doubled, np.repeat([1, 0], len(truth)), sample_weight=np.concatenate([share, 1 - share]))
        assert calibrator.scale[column] == pytest.approx(model.coef_[0, 0], rel=1e-4)
        assert calibrator.offset[column] == pytest.approx(model.intercept_[0], rel=1e-4)


def test_vector_scaling_mends_what_one_temperature_cannot() -> None:
    logits, targets = overconfident(3000, 1.0)
    bent = logits * [3.0, 1.0, 1.0, 0.5] + [2.0, 0.0, 0.0, -1.0]
    vector = fit_calibration(bent, targets, "multiclass", kind="vector")
    shared = fit_calibration(bent, targets, "multiclass", kind="temperature")
    assert vector.accepted
    assert vector.nll_after is not None
    assert shared.nll_after is not None
    assert vector.nll_after < shared.nll_after - 0.05
    assert sum(vector.calibrator.offset) == pytest.approx(0.0, abs=1e-9)
    assert nll(vector.calibrator.apply(bent), targets) == pytest.approx(nll(logits, targets), abs=0.01)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_a_model_without_a_mistake_is_not_told_to_be_infinitely_sure(task: Any) -> None:
    """On separable scores the likelihood alone sends the temperature to 0; the first real mistake is then ruin."""
    targets = np.arange(60) % 3
    logits = 2.0 * np.eye(3)[targets]
    calibration = fit_calibration(logits, targets if task == "multiclass" else np.eye(3, dtype=int)[targets], task)
    assert calibration.accepted
    assert calibration.nll_after is not None
    assert np.abs(calibration.calibrator.apply(logits)).max() < 15
    assert Prediction([], calibration.calibrator.apply(logits), ("a", "b", "c"), task).probabilities.max() < 0.999


def test_the_same_scores_give_the_same_calibration() -> None:
    logits, targets = overconfident(300, 2.0)
    assert fit_calibration(logits, targets, "multiclass") == fit_calibration(logits.copy(), targets, "multiclass")


def test_what_does_not_help_held_out_is_refused() -> None:
    """A scale and an offset for each of ten classes from 40 records fit these 40, and no others."""
    logits, targets = overconfident(40, 1.0, size=10, seed=3)
    targets[:10] = np.arange(10)
    calibration = fit_calibration(logits, targets, "multiclass", kind="vector")
    assert not calibration.accepted
    assert calibration.calibrator == Calibrator()
    assert calibration.reason.startswith("it does not improve: held-out negative log-likelihood ")
    assert calibration.nll_before is not None
    assert calibration.nll_after is not None
    assert calibration.nll_after >= calibration.nll_before


@pytest.mark.parametrize(
    ("kind", "task", "logits", "targets", "reason"),
    [
        ("auto", "multiclass", np.zeros((0, 3)), np.zeros(0), "the validation part is empty"),
        ("none", "multiclass", np.zeros((9, 3)), np.zeros(9), "not asked for"),
        (
            "auto",
            "multiclass",
            np.zeros((19, 3)),
            np.zeros(19),
            "validation has 19 records; 20 are the least that can be judged held out",
        ),
        (
            "vector",
            "multiclass",
            np.zeros((30, 3)),
            np.arange(30) % 2,
            "vector needs every class, and dent has no example in validation; temperature does not need it",
        ),
        (
            "platt",
            "multilabel",
            np.zeros((30, 3)),
            np.tile([[1, 0, 1], [1, 1, 0]], (15, 1)),
            "platt needs every class, and good is in every record in validation; temperature does not need it",
        ),
        (
            "platt",
            "multiclass",
            np.zeros((30, 3)),
            np.arange(30) % 3,
            "platt is not made for multi-class data; choose vector or temperature",
        ),
        (
            "vector",
            "multilabel",
            np.zeros((30, 3)),
            np.ones((30, 3)),
            "vector is not made for multi-label data; choose platt or temperature",
        ),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_its_reason(
    kind: str, task: Any, logits: np.ndarray, targets: np.ndarray, reason: str
) -> None:
    calibration = fit_calibration(logits, targets, task, kind=kind, classes=("good", "scratch", "dent"))
    assert (calibration.accepted, calibration.reason) == (False, reason)
    assert (calibration.nll_before, calibration.ece_after) == (None, None)
    np.testing.assert_array_equal(calibration.calibrator.apply(logits), logits)


def test_one_coil_cannot_be_held_out_from_itself() -> None:
    logits, targets = overconfident(200, 3.0)
    found = fit_calibration(logits, targets, "multiclass", groups=[f"coil {row % 4}" for row in range(200)])
    assert found.reason == "validation has 4 groups; 5 are needed, one for each fold"


def test_a_group_is_never_on_both_sides_and_rare_classes_are_spread() -> None:
    codes = np.repeat(np.arange(50), 4)
    truth = np.eye(2)[(codes % 10 == 0).astype(int)]  # five groups of the rare class
    folds = _folds(truth, codes, seed=0)
    assert all(len(set(folds[codes == group])) == 1 for group in range(50))
    assert sorted(folds[codes % 10 == 0].tolist()) == sorted(list(range(5)) * 4)
    assert np.bincount(folds).tolist() == [40] * 5


@pytest.mark.parametrize(
    ("logits", "targets", "kind", "message"),
    [
        ([[np.nan, 0.0]], [0], "auto", "calibration: expected finite logits (N, K), got numbers that are not finite"),
        ([0.0, 1.0], [0], "auto", "calibration: expected finite logits (N, K), got (2,)"),
        ([[0.0, 1.0]], [0, 1], "auto", "calibration: expected targets of shape (1,)"),
        ([[0.0, 1.0]], [2], "auto", "with whole numbers from 0 to 1"),
        ([[0.0, 1.0]], [0], "temprature", "evaluation.calibration: expected a kind of calibration, got `temprature`"),
    ],
)
def test_impossible_input_is_one_line(logits: Any, targets: Any, kind: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        fit_calibration(logits, targets, "multiclass", kind=kind)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_calibration_survives_json_and_a_damaged_one_is_refused() -> None:
    calibration = fit_calibration(*overconfident(300, 2.0), "multiclass")
    values = json.loads(json.dumps(calibration.to_dict()))
    assert Calibration.from_dict(values | {"reliability": {}}) == calibration
    for change in ({"scale": [0.0]}, {"scale": []}, {"kind": "magic"}, {"offset": [float("nan")]}, {"scale": ["x"]}):
        with pytest.raises(DataError, match="calibration: expected a calibration as Ringlight writes it"):
            Calibrator.from_dict(values["calibrator"] | change)
    with pytest.raises(DataError, match="KeyError: 'accepted'"):
        Calibration.from_dict({key: value for key, value in values.items() if key != "accepted"})


def test_a_calibration_of_another_model_is_refused() -> None:
    with pytest.raises(DataError, match=r"calibration: expected logits \(N, 2\), got \(1, 3\)"):
        Calibrator("vector", (1.0, 2.0), (0.0, 0.0)).apply([[0.0, 0.0, 0.0]])
