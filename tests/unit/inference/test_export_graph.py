"""What goes into the graph beside the model computes what Ringlight itself computes."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from ringlight.data.preprocess import InputSpec, fit_size, prepare
from ringlight.data.window_spec import WindowSpec
from ringlight.evaluation.calibration import Calibration, Calibrator
from ringlight.inference.bundle import Bundle
from ringlight.inference.export_graph import ExportGraph, PixelPreparation, WindowPreparation, raw_of
from ringlight.types import Prediction

IMAGENET = InputSpec(3, (16, 16), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


class Tiny(nn.Module):
    """A convolution, and a linear classifier of the means."""

    def __init__(self, in_chans: int = 3, num_classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(in_chans, 5, 3, padding=1)
        self.fc = nn.Linear(5, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(torch.relu(self.conv(images)).mean((2, 3)))
        return logits

    def get_classifier(self) -> nn.Module:
        return self.fc


def bundle_of(spec: Any = IMAGENET, task: Any = "multiclass", **values: Any) -> Bundle:
    return Bundle(architecture={"name": "tiny"}, task=task, classes=("a", "b", "c"), input_spec=spec, **values)


def calibration(*scale: float, offset: tuple[float, ...] = ()) -> dict[str, Any]:
    kind = "temperature" if len(scale) == 1 else "platt"
    made = Calibrator(kind, scale, offset)  # type: ignore[arg-type]
    return Calibration(kind=kind, calibrator=made, accepted=True, reason="").to_dict()  # type: ignore[arg-type]


def every_value(in_chans: int) -> np.ndarray:
    return np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), in_chans, axis=2)


@pytest.mark.parametrize("spec", [IMAGENET, InputSpec(1, (16, 16), mean=(0.0,), std=(1.0,)), InputSpec(1, (16, 16))])
def test_normalisation_in_the_graph_is_the_table_that_training_looks_up(spec: InputSpec) -> None:
    """Of every one of the 256 values, to 1e-6: single precision against a table made in double."""
    pixels = every_value(spec.in_chans)
    found = PixelPreparation(spec)(torch.from_numpy(pixels[None]))[0]
    assert torch.allclose(found, prepare(pixels, spec), rtol=0, atol=1e-6)


@pytest.mark.parametrize("spec", [IMAGENET, InputSpec(1, (16, 16), mean=(0.0,), std=(1.0,))])
def test_prepared_pixels_come_back_to_the_bit(spec: InputSpec) -> None:
    pixels = every_value(spec.in_chans)
    assert (raw_of(prepare(pixels, spec).numpy()[None], spec)[0] == pixels).all()


@pytest.mark.parametrize("normalize", ["channel", "window", "none"])
def test_windows_are_normalised_in_the_graph_as_outside(normalize: Any) -> None:
    """One channel with a large offset, one that stands still."""
    rng = np.random.default_rng(0)
    windows = rng.normal([1e4, 5.0, 0.0], [3.0, 0.0, 1.0], (4, 20, 3)).astype(np.float32)
    means = {"mean": (1e4, 5.0, 0.0), "std": (3.0, 1.0, 1.0)} if normalize == "channel" else {}
    spec = WindowSpec(("p", "q", "r"), 20, normalize=normalize, **means)
    expected = spec.apply(windows)
    graph = WindowPreparation(spec)
    assert torch.allclose(graph(torch.from_numpy(windows)), expected, rtol=0, atol=1e-5)
    again = graph(torch.from_numpy(raw_of(expected.numpy(), spec)))
    assert torch.allclose(again, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("task", "kept"),
    [("multiclass", calibration(0.4)), ("multilabel", calibration(0.4, 1.0, 2.0, offset=(0.5, 0.0, -1.0))),
     ("multiclass", {})],
)  # fmt: skip
def test_probabilities_of_the_graph_are_those_of_the_calibration(task: Any, kept: dict[str, Any]) -> None:
    bundle = bundle_of(task=task, calibration=kept)
    images = torch.randn(4, 3, 16, 16)
    logits, probabilities = ExportGraph(bundle, Tiny(), calibrated=True)(images)
    calibrator = Calibration.from_dict(kept).calibrator if kept else Calibrator()
    expected = Prediction(list("abcd"), calibrator.apply(logits.numpy()), bundle.classes, task).probabilities
    assert np.allclose(probabilities.numpy(), expected, rtol=0, atol=1e-6)


def test_features_are_what_reaches_the_classifier_and_the_model_stays_as_it_was() -> None:
    module = Tiny()
    graph = ExportGraph(bundle_of(), module, embeds=True)
    images = torch.randn(2, 3, 16, 16)
    logits, features = graph(images)
    assert torch.equal(module(images), logits)
    assert torch.allclose(features, torch.relu(module.conv(images)).mean((2, 3)))
    assert graph.output_names == ["logits", "features"]
    assert not module.fc._forward_pre_hooks
    assert module.fc.weight.requires_grad


def test_half_precision_is_inside_only() -> None:
    module = Tiny()
    found = ExportGraph(bundle_of(), module, half=True)(torch.randn(2, 3, 16, 16))[0]
    assert found.dtype == module.fc.weight.dtype == torch.float32


def test_a_graph_is_traced_with_two_records() -> None:
    graph = ExportGraph(bundle_of(), Tiny(), preprocess=True)
    example = graph.example(prepare(every_value(3), IMAGENET).numpy()[None])
    assert (example.dtype, tuple(example.shape), graph.input_name) == (torch.uint8, (2, 16, 16, 3), "pixels")


def test_resizing_cannot_go_into_the_graph_unnoticed() -> None:
    """ONNX's nearest operator, linear with antialiasing, gives other pixels than the area average of training."""
    import onnx
    import onnxruntime
    from onnx import helper

    image = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    expected = fit_size(image, InputSpec(3, (64, 64)))
    assert (expected == cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA)).all()
    sizes = helper.make_tensor("sizes", onnx.TensorProto.INT64, [4], [1, 3, 64, 64])
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="linear", antialias=1)
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [node], "resize", [helper.make_tensor_value_info("x", kind, [1, 3, 200, 200])],
        [helper.make_tensor_value_info("y", kind, [1, 3, 64, 64])], [sizes],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    given = image.transpose(2, 0, 1)[None].astype(np.float32)
    found = session.run(None, {"x": given})[0][0].transpose(1, 2, 0)
    assert np.abs(found - expected).max() > 5
