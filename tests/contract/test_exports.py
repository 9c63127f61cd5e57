"""What every family promises of its ONNX file: PyTorch's scores to 1e-5, for one record and for several.

The tolerance of an export is 1e-4 (`inference/export_parity.py`); what is measured here says that it is no wish.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ringlight.data.preprocess import InputSpec
from ringlight.data.window_spec import WindowSpec
from ringlight.evaluation.open_set import OpenSetRule
from ringlight.inference.bundle import Bundle
from ringlight.inference.export import ExportOptions, export_model
from ringlight.inference.export_parity import Sample
from ringlight.inference.exported import open_export
from ringlight.models import build_model, build_sequence_model
from ringlight.models.heads import install_evidential, install_head, make_head, num_features_of

CLASSES = ("a", "b", "c")
IMAGES = InputSpec(3, (32, 64))
WINDOWS = WindowSpec(("p", "q"), 48, normalize="window")
TINY_HYBRID = {
    "first": "convnextv2_atto",
    "first_options": {"dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1]},
    "second_options": {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]},
    "embed_dim": 16,
}
NETWORKS = ["convnext_tiny_cbam", "hybrid", "resnet10t"]
SEQUENCES = ["cnn1d", "lstm", "gru", "inception_time", "tcn"]
HEADS = {
    "arcface": {"family": "margin", "name": "arcface", "scale": 8.0, "margin": 0.3},
    "knn": {"name": "knn", "num_records": 12, "num_neighbors": 5, "temperature": 0.1, "task": "multiclass"},
    "evidential": "evidential",
}


class Tiny(nn.Module):
    """A backbone of one convolution, for what stands behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.fc: nn.Module = nn.Linear(6, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(torch.relu(self.conv(images)).mean((2, 3)))
        return logits

    def get_classifier(self) -> nn.Module:
        return self.fc


def awake(module: nn.Module) -> nn.Module:
    """Give a network statistics and weights that it does not start with: zeros would hide what they multiply."""
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        if value.is_floating_point() and (value.numel() > 1) and float(value.detach().std()) == 0:
            value.data = (
                torch.empty_like(value).uniform_(0.5, 1.5) if "var" in name else value + 0.3 * torch.randn_like(value)
            )
    return module.eval()


def proved(module: nn.Module, out: Path, spec: Any = IMAGES, **rules: Any) -> Any:
    torch.manual_seed(1)
    shape = (3, *spec.size) if isinstance(spec, InputSpec) else (spec.in_chans, spec.length)
    inputs = torch.randn(7, *shape).numpy()
    if isinstance(spec, WindowSpec):
        inputs = spec.apply(inputs.transpose(0, 2, 1)).numpy()

    def batches() -> Iterator[np.ndarray]:
        yield inputs[:4]
        yield inputs[4:]

    bundle = Bundle(
        architecture={"name": "x"}, task="multiclass", classes=CLASSES, input_spec=spec, **rules
    )  # fmt: skip
    sample = Sample(ids=list("abcdefg"), targets=np.arange(7) % 3, batches=batches, source="random")
    made = export_model(bundle, module, sample, out, ExportOptions(format="onnx"))
    report = made.facts["parity"]
    assert report["max_difference"] <= 1e-5
    assert report["label_agreement"] == 1
    assert report["batch_sizes"] == [1, 3, 4]
    logits = open_export(out)[1].run(inputs)[0]
    assert (
        float(np.ptp(logits, axis=0).max()) > 1e-3
    )  # scores that differ from record to record: something was compared
    return report


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_images(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    params = TINY_HYBRID if name == "hybrid" else {}
    module = build_model(name, num_classes=3, pretrained=False, image_size=IMAGES.size, params=params).module
    proved(awake(module), tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("name", SEQUENCES)
def test_networks_of_windows(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = build_sequence_model(name, num_classes=3, in_chans=2, length=48).module
    proved(awake(module), tmp_path / "out", WINDOWS)


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS)
def test_heads(name: str, tmp_path: Path) -> None:
    """With what reaches them as a second output, as an open-set rule asks for it."""
    torch.manual_seed(0)
    module, head = Tiny(), HEADS[name]
    if head == "evidential":
        install_evidential(module)
    else:
        install_head(module, made := make_head(head, num_features_of(module), 3))
        if name == "knn":
            made.features.copy_(nn.functional.normalize(torch.rand(12, 6), dim=1))
            made.votes.copy_(torch.eye(3).repeat(4, 1))
    rule = OpenSetRule(
        accept=0.9, thresholds={"distance": 0.5}, num_records=9, accepted=0.9, means=np.eye(3, 6)
    )  # fmt: skip
    report = proved(awake(module), tmp_path / "out", open_set=rule.to_dict())
    assert report["feature_difference"] <= 1e-5
