"""Explanations of a loaded model: of what was decided, in the coordinates of what was given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ringlight.data.preprocess import InputSpec
from ringlight.errors import ConfigError, DataError, ModelError, Problems
from ringlight.inference.bundle import Bundle
from ringlight.inference.engines import Scored
from ringlight.inference.explaining import Explainer
from ringlight.inference.predictor import Predictor

CLASSES = ("left", "right", "dark")
SPEC = InputSpec(in_chans=1, image_size=(16, 16), mean=(0.0,), std=(1.0,))


class Sides(nn.Module):
    """Logits: how bright the left and the right half are, and how dark the whole; a map of 4 x 4 means."""

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(images, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.forward_features(images)[:, 0]
        left, right = maps[..., :2].mean((1, 2)), maps[..., 2:].mean((1, 2))
        return 8 * torch.stack([left - 0.5, right - 0.5, 0.25 - left - right], dim=1)


class Whole(nn.Module):
    """A map of one place for images of 4 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(1, 3)

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(images, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(self.forward_features(images).mean(dim=(2, 3)))


def predictor_of(task: Any = "multilabel", spec: Any = SPEC, **rules: Any) -> Predictor:
    module = Sides().requires_grad_(False)
    module.register_parameter("scale", nn.Parameter(torch.ones(1)))  # where a device is read from
    return Predictor(
        Bundle(architecture={}, task=task, classes=CLASSES, input_spec=spec, **rules), module, device="cpu"
    )


LEFT = np.zeros((16, 16), np.uint8)
LEFT[:, :8] = 255
WHITE = np.full((16, 16), 255, np.uint8)


def test_what_was_decided_is_explained_each_class_by_itself() -> None:
    found = Explainer(predictor_of(), method="hires_cam").explain([LEFT, WHITE, WHITE * 0])
    assert [(one.id, one.label) for one in found] == [
        ("array 0", "left"), ("array 1", "left"), ("array 1", "right"), ("array 2", "dark"),
    ]  # fmt: skip
    assert found[0].probability == pytest.approx(1 / (1 + np.exp(-4)))
    assert found[0].map[:, :6].min() == 1
    assert found[0].map[:, 10:].max() == 0
    np.testing.assert_array_equal(found[2].map, found[1].map[:, ::-1])
    assert not found[3].map.any()  # darkness has no activation to speak for it
    assert {one.method for one in found} == {"hires_cam"}


def test_without_a_decision_the_most_probable_class_is_explained() -> None:
    grey = np.full((16, 16), 100, np.uint8)
    found = Explainer(predictor_of(), method="eigen_cam").explain(grey)
    assert [one.label for one in found] == ["left"]
    assert found[0].probability < 0.5


def test_classes_and_ids_are_as_asked_for_and_batches_do_not_matter(tmp_path: Path) -> None:
    explainer = Explainer(predictor_of(), method="hires_cam", classes=["right", "left", "right"])
    found = explainer.explain([LEFT, WHITE, LEFT], ids=["a/1", "a/2", "b"], batch_size=2)
    assert [(one.id, one.label) for one in found] == [
        (key, label) for key in ("a/1", "a/2", "b") for label in ("right", "left")
    ]
    np.testing.assert_array_equal(found[1].map, found[5].map)


def test_a_result_at_hand_is_not_predicted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = predictor_of()
    result = predictor.predict([WHITE, LEFT])
    expected = Explainer(predictor).explain([WHITE, LEFT])
    monkeypatch.setattr(Predictor, "predict_prepared", None)
    found = Explainer(predictor).explain([WHITE, LEFT], result=result, batch_size=1)
    assert [(one.label, one.probability) for one in found] == [(one.label, one.probability) for one in expected]
    with pytest.raises(DataError, match="explain: expected a result of 1, got one of 2; pass the result of the same"):
        Explainer(predictor).explain(LEFT, result=result)


def test_a_map_lies_in_the_pixels_of_the_picture_as_it_was_given() -> None:
    """A letter-boxed strip: the map's border is cut off, what is left is stretched over the strip."""
    strip = np.zeros((20, 80), np.uint8)
    strip[:, :40] = 255
    wide = Explainer(
        predictor_of(spec=InputSpec(1, (16, 16), "letterbox", (0.0,), (1.0,))), method="hires_cam", classes=["left"]
    )
    one = wide.explain(strip)[0]
    assert one.map.shape == (20, 80)
    assert one.map[:, :25].min() > 0.9
    assert one.map[:, 55:].max() < 0.1
    own_size = predictor_of(spec=InputSpec(1, None, mean=(0.0,), std=(1.0,)))
    found = Explainer(own_size, method="hires_cam", classes=["left"]).explain([LEFT, np.zeros((24, 40), np.uint8)])
    assert [one.map.shape for one in found] == [(16, 16), (24, 40)]


def test_bad_input_is_told_in_a_line(tmp_path: Path) -> None:
    predictor = predictor_of()
    with pytest.raises(Problems, match=r"explanation.method: expected a known explanation, got `grad_cm`; did you"):
        Explainer(predictor, method="grad_cm")
    with pytest.raises(ConfigError, match=r"expected a method for images, which the model takes, got `occlusion`; cho"):
        Explainer(predictor, method="occlusion")
    with pytest.raises(DataError, match=r"classes: expected a class of the model, got `lift`; did you mean `left`\?"):
        Explainer(predictor, classes=["lift"])
    with pytest.raises(DataError, match="classes: expected at least one class, got none; leave `classes` out"):
        Explainer(predictor, classes=[])
    with pytest.raises(DataError, match="explain: expected at least one image or window, got none"):
        Explainer(predictor).explain([])
    with pytest.raises(DataError, match="explain: expected 1 ids, got 2; pass one for each"):
        Explainer(predictor).explain(LEFT, ids=["a", "b"])
    with pytest.raises(DataError, match="explain: expected a batch of 1 or more, got 0"):
        Explainer(predictor).explain(LEFT, batch_size=0)
    with pytest.raises(DataError, match=r"missing\.png"):
        Explainer(predictor).explain(tmp_path / "missing.png")
    tiny = Bundle(architecture={}, task="multilabel", classes=CLASSES, input_spec=InputSpec(1, (4, 4)))
    with pytest.raises(ModelError, match="images of 4 x 4 pixels: expected a feature map of 2 places or more, got one"):
        Explainer(Predictor(tiny, Whole(), device="cpu")).explain(LEFT)


class Other:
    """An engine that has no gradients."""

    name = "onnxruntime"

    def __init__(self, module: nn.Module) -> None:
        self.module_of_its_own = module

    def run(self, inputs: np.ndarray) -> Scored:
        with torch.no_grad():
            return self.module_of_its_own(torch.from_numpy(inputs)).numpy(), None


def test_a_model_that_another_engine_runs_has_no_heat_maps() -> None:
    predictor = Predictor(predictor_of().bundle, engine=Other(Sides()))
    with pytest.raises(DataError, match="expected a model that PyTorch runs, got one that onnxruntime runs; load the"):
        Explainer(predictor)


def test_a_predictor_explains_by_itself() -> None:
    predictor = predictor_of()
    (one,) = predictor.explain(LEFT, method="hires_cam", classes=["right"], ids=["part 7"])
    (other,) = Explainer(predictor, method="hires_cam", classes=["right"]).explain(LEFT, ["part 7"])
    assert (one.id, one.label, one.probability) == (other.id, other.label, other.probability)
    np.testing.assert_array_equal(one.map, other.map)
