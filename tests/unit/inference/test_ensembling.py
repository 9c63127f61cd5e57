"""Several models asked as one: calibrated scores are averaged, classes are matched by name, strangers are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ringlight.data.preprocess import InputSpec
from ringlight.data.window_spec import WindowSpec
from ringlight.errors import DataError, RunError
from ringlight.evaluation.calibration import Calibration, Calibrator
from ringlight.inference.bundle import Bundle
from ringlight.inference.ensembling import Scorer, in_views, require_same_classes
from ringlight.inference.predictor import Predictor

WHITE = np.full((8, 8), 255, np.uint8)


class Fixed(nn.Module):
    """The same logits for whatever comes."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.register_buffer("logits", torch.tensor(logits))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(inputs), -1)  # type: ignore[no-any-return, operator]


def model(*logits: float, classes: tuple[str, ...] = ("good", "dent"), **changes: Any) -> Predictor:
    made: dict[str, Any] = {
        "architecture": {}, "task": "multiclass", "classes": classes, "input_spec": InputSpec(1, (8, 8)),
        "good_class": "good", **changes,
    }  # fmt: skip
    return Predictor(Bundle(**made), Fixed(*logits), device="cpu")


def softmax(*values: float) -> np.ndarray:
    return np.exp(values) / np.exp(values).sum()


def score(scorer: Scorer) -> Any:
    return scorer.score([scorer.prepare(WHITE)] * 2, ["a", "b"])


def test_the_mean_of_calibrated_probabilities_decides_and_classes_are_matched_by_name() -> None:
    half = Calibration(
        kind="temperature", calibrator=Calibrator("temperature", (0.5,), ()), accepted=True, reason=""
    ).to_dict()
    scorer = Scorer({"one": model(2.0, 0.0), "two": model(4.0, 0.0, classes=("dent", "good"), calibration=half)})
    found = score(scorer)
    expected = (softmax(2, 0) + softmax(0, 2)) / 2  # the second is as sure of `dent` once it is calibrated
    np.testing.assert_allclose(found.probabilities, [expected] * 2, atol=1e-6)
    assert found.prediction.ids == ["a", "b"]
    assert found.prediction.classes == ("good", "dent")
    assert found.rejected is None


def test_one_model_is_asked_as_it_was_saved() -> None:
    alone = model(2.0, 0.0, reject_threshold=0.99)
    found = score(Scorer({"one": alone}))
    np.testing.assert_array_equal(found.probabilities[0], alone.predict(WHITE).probabilities[0])
    assert found.verdicts == ["human", "human"]
    assert score(Scorer({"one": alone, "two": model(2.0, 0.0)})).verdicts == ["ok", "ok"], "no limit for a mean"


def test_members_of_other_classes_are_refused_with_the_difference() -> None:
    with pytest.raises(RunError) as caught:
        Scorer({"one": model(0.0, 0.0), "two": model(0.0, 0.0, classes=("good", "pore"))})
    assert str(caught.value) == (
        "two: expected the classes of one (multiclass: good, dent), got multiclass: good, pore (without dent and with "
        "pore); only runs with the same classes can be averaged"
    )
    with pytest.raises(RunError, match="got multilabel: dent, good; only runs"):
        require_same_classes([("one", "multiclass", ("good", "dent")), ("two", "multilabel", ("dent", "good"))])


def test_members_of_other_records_are_refused() -> None:
    windows = WindowSpec(("p",), 8, normalize="none")
    with pytest.raises(RunError, match="expected a model of images, as one, got windows of 8 samples of p"):
        Scorer({"one": model(0.0, 0.0), "two": model(0.0, 0.0, input_spec=windows)})


def test_views_are_for_images() -> None:
    with pytest.raises(DataError, match="--tta: expected a model of images, got one of windows"):
        in_views(model(0.0, 0.0, input_spec=WindowSpec(("p",), 8, normalize="none")), 4)
    one = model(0.0, 0.0)
    in_views(one, 4)
    assert one.tta.runs == 4
