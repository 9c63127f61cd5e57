"""The predictor decides by the rules that were fixed on validation, and says which ones."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ringlight.data.preprocess import InputSpec
from ringlight.errors import DataError
from ringlight.evaluation.calibration import Calibration, Calibrator
from ringlight.evaluation.open_set import OpenSetRule
from ringlight.evaluation.thresholds import OperatingPoint
from ringlight.inference.bundle import Bundle
from ringlight.inference.predictor import Predictor
from ringlight.inference.tta import Tta

CLASSES = ("good", "scratch", "dent")
SPEC = InputSpec(in_chans=1, image_size=(8, 8), mean=(0.0,), std=(1.0,))
RAW = np.array([1.0, 0.5, -1.0])


class Grey(torch.nn.Module):
    """Logits that grow with the brightness of the image's left half."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images[..., :4].mean((1, 2, 3))[:, None] * torch.tensor(RAW, dtype=torch.float32)


def bundle_of(task: Any = "multiclass", **rules: Any) -> Bundle:
    return Bundle(architecture={}, task=task, classes=CLASSES, input_spec=SPEC, **rules)


def predictor(
    task: Any = "multiclass", *, threshold: float | None = None, asked: str | None = None, **rules: Any
) -> Predictor:
    return Predictor(bundle_of(task, **rules), Grey(), device="cpu", threshold=threshold, operating_point=asked)


def point(task: Any, rule: Any, thresholds: tuple[float | None, ...], **changes: Any) -> dict[str, Any]:
    made = OperatingPoint(name="safe", kind="max_f1", task=task, classes=CLASSES, rule=rule, thresholds=thresholds)
    return replace(made, **changes).to_dict()


def calibration(*scale: float, offset: tuple[float, ...] = (), accepted: bool = True) -> dict[str, Any]:
    kind = "temperature" if len(scale) == 1 else "platt"
    calibrator = Calibrator(kind, scale, offset) if accepted else Calibrator()  # type: ignore[arg-type]
    return Calibration(kind=kind, calibrator=calibrator, accepted=accepted, reason="").to_dict()  # type: ignore[arg-type]


WHITE = np.full((8, 8), 255, np.uint8)


def softmax(values: np.ndarray) -> np.ndarray:
    return np.exp(values) / np.exp(values).sum()


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def test_without_rules_the_best_class_and_one_half_decide() -> None:
    result = predictor().predict([WHITE, WHITE])
    np.testing.assert_allclose(result.probabilities, [softmax(RAW)] * 2, atol=1e-6)
    assert (result.labels, result.operating_point, result.rejected) == ([["good"]] * 2, "default", None)
    assert result.decisions.tolist() == [[True, False, False]] * 2
    np.testing.assert_allclose(result.scores, [softmax(RAW).max()] * 2, atol=1e-6)
    assert predictor("multilabel").predict(WHITE).labels == [["good", "scratch"]]


def test_probabilities_are_calibrated_and_raw_scores_stay() -> None:
    result = predictor(calibration=calibration(0.5)).predict(WHITE)
    np.testing.assert_allclose(result.probabilities[0], softmax(RAW / 2), atol=1e-6)
    np.testing.assert_allclose(result.prediction.logits[0], RAW, atol=1e-6)
    labels = predictor("multilabel", calibration=calibration(1.0, 1.0, 1.0, offset=(0.0, 0.0, 2.0))).predict(WHITE)
    np.testing.assert_allclose(labels.probabilities[0], sigmoid(RAW + np.array([0, 0, 2])), atol=1e-6)
    assert labels.labels == [["good", "scratch", "dent"]]


def test_a_refused_calibration_changes_nothing() -> None:
    plain, refused = predictor().predict(WHITE), predictor(calibration=calibration(9.0, accepted=False)).predict(WHITE)
    np.testing.assert_array_equal(plain.probabilities, refused.probabilities)


def test_the_bundles_point_decides_and_another_can_be_chosen() -> None:
    rules = {
        "operating_points": {
            "safe": point("multiclass", "gate", (None, None, 0.05)),
            "loose": point("multiclass", "gate", (None, 0.3, None), name="loose"),
        },
        "operating_point": "safe",
    }
    found = predictor(**rules).predict(WHITE)
    assert (found.labels, found.operating_point) == ([["dent"]], "safe")
    assert found.rows()[0]["labels"] == "dent"
    other = predictor(asked="loose", **rules).predict(WHITE)
    assert (other.labels, other.operating_point) == ([["scratch"]], "loose")
    plain = predictor(asked="default", **rules).predict(WHITE)
    assert (plain.labels, plain.operating_point) == ([["good"]], "default")


def test_a_point_decides_by_calibrated_probabilities() -> None:
    rules = {"operating_points": {"safe": point("multilabel", "each", (0.7, 0.7, 0.7))}, "operating_point": "safe"}
    assert predictor("multilabel", **rules).predict(WHITE).labels == [["good"]]
    sharp = predictor("multilabel", calibration=calibration(3.0), **rules).predict(WHITE)
    assert sharp.labels == [["good", "scratch"]]


def test_a_threshold_stands_in_for_the_point_of_labels() -> None:
    rules = {"operating_points": {"safe": point("multilabel", "each", (0.9, 0.9, 0.9))}, "operating_point": "safe"}
    assert predictor("multilabel", **rules).predict(WHITE).labels == [[]]
    found = predictor("multilabel", threshold=0.2, **rules).predict(WHITE)
    assert (found.labels, found.operating_point) == ([list(CLASSES)], "threshold")
    assert predictor("multiclass", threshold=0.2).predict(WHITE).labels == [["good"]]


def test_unsure_decisions_are_for_a_human() -> None:
    grey = np.full((8, 8), 25, np.uint8)
    result = predictor(reject_threshold=0.45).predict([WHITE, grey])
    assert result.rejected is not None
    assert result.rejected.tolist() == [False, True]
    assert [row["to_human"] for row in result.rows()] == [False, True]
    assert "to_human" not in predictor().predict(WHITE).rows()[0]


def test_an_evidential_model_tells_its_uncertainty_of_the_scores_before_calibration() -> None:
    """K / S of alpha = exp(logits); a class of that name has its column beside it."""
    head = {"head": {"name": "evidential", "of": {"name": "linear", "bias": True}}}
    bundle = replace(bundle_of(calibration=calibration(0.5)), architecture=head)
    result = Predictor(bundle, Grey(), device="cpu").predict([WHITE, np.zeros_like(WHITE)])
    assert result.uncertainties is not None
    np.testing.assert_allclose(result.uncertainties, [3 / np.exp(RAW).sum(), 1.0], rtol=1e-5)
    assert [row["uncertainty"] for row in result.rows()] == result.uncertainties.tolist()
    named = replace(result, prediction=replace(result.prediction, classes=("uncertainty", "scratch", "dent")))
    assert named.rows()[0]["probability/uncertainty"] == result.probabilities[0, 0]
    assert named.rows()[0]["uncertainty"] == result.uncertainties[0]
    plain = predictor().predict(WHITE)
    assert plain.uncertainties is None
    assert "uncertainty" not in plain.rows()[0]


def test_the_views_of_a_bundle_are_averaged() -> None:
    half = np.zeros((8, 8), np.uint8)
    half[:, :4] = 255  # bright on the left: its mirror image has logits of 0
    once = predictor().predict(half)
    mirrored = predictor(tta={"runs": 2, "space": "logit"}).predict(half)
    np.testing.assert_allclose(mirrored.prediction.logits, once.prediction.logits / 2, atol=1e-6)


def test_an_unknown_point_is_refused_with_the_near_miss() -> None:
    rules = {"operating_points": {"safe": point("multiclass", "gate", (None, None, 0.05))}}
    with pytest.raises(DataError) as caught:
        predictor(asked="save", **rules)
    assert str(caught.value) == (
        "operating_point: expected an operating point of the model, got `save`; did you mean `safe`?"
    )


def test_a_refused_point_says_so(caplog: pytest.LogCaptureFixture) -> None:
    refused = point("multiclass", "default", (None, None, None), status="refused", reason="it needs 149 dents")
    rules = {"operating_points": {"safe": refused}, "operating_point": "safe"}
    with pytest.raises(DataError) as caught:
        predictor(asked="safe", **rules)
    assert str(caught.value) == (
        "operating_point: expected an operating point that could be fixed, got `safe`, refused: it needs 149 dents; "
        "use default, or train with more validation data"
    )
    with caplog.at_level(logging.WARNING, logger="ringlight"):
        assert predictor(**rules).predict(WHITE).labels == [["good"]]
    assert "operating point `safe` was refused, the default decides: it needs 149 dents" in caplog.text


@pytest.mark.parametrize("threshold", [0.0, 1.0, -1.0, float("nan")])
def test_a_threshold_outside_zero_and_one_is_refused(threshold: float) -> None:
    with pytest.raises(DataError, match=r"threshold: expected a number in \(0, 1\), got "):
        predictor("multilabel", threshold=threshold)


def test_a_threshold_beside_a_point_is_refused() -> None:
    with pytest.raises(DataError, match=r"got threshold 0.4 beside `default`; leave one out"):
        predictor("multilabel", threshold=0.4, asked="default")


class Embedding(torch.nn.Module):
    """Two features, the brightness of the halves of the image, and a linear classifier behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(2, 3)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[4.0, 0.0], [0.0, 4.0], [1.0, 1.0]]))
            self.head.bias.zero_()

    def get_classifier(self) -> torch.nn.Module:
        return self.head

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        halves = [images[..., :4].mean((1, 2, 3)), images[..., 4:].mean((1, 2, 3))]
        return self.head(torch.stack(halves, dim=1))  # type: ignore[no-any-return]


def halves(left: int, right: int) -> np.ndarray:
    return np.concatenate([np.full((8, 4), left, np.uint8), np.full((8, 4), right, np.uint8)], axis=1)


STRANGERS = OpenSetRule(
    accept=0.95, thresholds={"distance": 0.1}, num_records=20, accepted=0.95, means=np.array([[1.0, 0], [0, 1], [0, 1]])
)


@pytest.mark.parametrize("runs", [1, 2])
def test_a_part_far_from_every_class_is_unknown_and_for_a_human(runs: int) -> None:
    """Features along the diagonal are at 1 - cos 45 degrees = 0.29 from both means, in whatever views it is scored."""
    rules = {"open_set": STRANGERS.to_dict(), "tta": Tta(runs=runs).to_dict(), "reject_threshold": 0.9}
    made = Predictor(bundle_of(**rules), Embedding(), device="cpu")
    result = made.predict([halves(255, 0), halves(200, 200), halves(0, 60)])
    assert result.unknown is not None
    assert result.unknown.tolist() == [False, True, False]
    assert result.rejected is not None
    unsure = (result.scores < 0.9).tolist()
    assert result.rejected.tolist() == [unsure[0], True, unsure[2]]
    assert [row["unknown"] for row in result.rows()] == [False, True, False]
    plain = Predictor(bundle_of(tta=Tta(runs=runs).to_dict()), Embedding(), device="cpu").predict(halves(255, 0))
    np.testing.assert_array_equal(result.prediction.logits[0], plain.prediction.logits[0])


def test_a_limit_of_the_energy_needs_no_features() -> None:
    """Grey has no classifier to listen at; a dark image has the energy -log 3, a white one a lower one."""
    rule = OpenSetRule(accept=0.95, thresholds={"energy": -1.3}, num_records=20, accepted=0.95)
    result = predictor(open_set=rule.to_dict()).predict([WHITE, np.zeros((8, 8), np.uint8)])
    assert result.unknown is not None
    assert result.unknown.tolist() == [False, True]
    assert result.rejected is not None
    assert result.rejected.tolist() == [False, True]


@pytest.mark.parametrize("asked", ["default", "safe"])
def test_the_open_set_rule_holds_under_every_operating_point(asked: str) -> None:
    """Whoever chooses a point for the plant's costs does not switch the guard against strangers off."""
    rule = OpenSetRule(accept=0.95, thresholds={"energy": -1.3}, num_records=20, accepted=0.95)
    rules = {"operating_points": {"safe": point("multiclass", "gate", (None, None, 0.05))}, "open_set": rule.to_dict()}
    result = predictor(asked=asked, **rules).predict([WHITE, np.zeros((8, 8), np.uint8)])
    assert result.operating_point == asked
    assert result.unknown is not None
    assert result.unknown.tolist() == [False, True]


def test_a_verdict_is_ok_defect_or_human_and_none_where_nothing_says_what_is_good() -> None:
    black = np.zeros_like(WHITE)
    assert predictor(good_class="good").predict(WHITE).verdicts == ["ok"]
    assert predictor(good_class="dent").predict(WHITE).verdicts == ["defect"]
    assert predictor().predict(WHITE).verdicts == [None]
    sure = softmax(RAW).max() - 0.01
    for good in ("good", None):  # black has even scores: it is for a human whatever is good
        found = predictor(good_class=good, reject_threshold=sure).predict([WHITE, black])
        assert found.verdicts == ["ok" if good else None, "human"]
    none = predictor(
        "multilabel", operating_points={"safe": point("multilabel", "each", (0.9, 0.9, 0.9))}, asked="safe"
    )
    assert none.predict(WHITE).verdicts == ["ok"], "a multi-label part without a label is good"
    assert predictor("multilabel").predict(WHITE).verdicts == ["defect"]
    assert list(predictor(good_class="good").predict(WHITE).rows()[0]) == ["id", "labels", "verdict", *CLASSES]
    assert predictor(reject_threshold=0.5).decider.columns == ["id", "labels", "verdict", *CLASSES, "to_human"]
