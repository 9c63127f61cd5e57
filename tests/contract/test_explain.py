"""What every method promises on every family of vision models: a finite map of the picture's size, for each class."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ringlight.data.preprocess import InputSpec
from ringlight.evaluation.localisation import similarity
from ringlight.explain.cam import METHODS
from ringlight.explain.look import find_place, look
from ringlight.explain.signals import SIGNAL_METHODS
from ringlight.inference.bundle import Bundle
from ringlight.inference.explaining import Explainer
from ringlight.inference.predictor import Predictor
from ringlight.models import MARGINS, build_model
from ringlight.models.evidential import EvidentialHead
from ringlight.models.heads import CosineHead, NeighborsHead, install_head, num_features_of

CLASSES = ("crack", "good", "scratch")
SWIN = {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]}
HYBRID = {
    "first": "convnextv2_atto", "first_options": {"dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1]},
    "second_options": SWIN, "embed_dim": 16,
}  # fmt: skip
FAMILIES: dict[str, tuple[str, tuple[int, int], dict[str, Any]]] = {
    "resnet": ("resnet10t", (64, 96), {}),
    "efficientnet": ("efficientnet_b0", (64, 96), {}),
    "efficientnet, maximum": ("tf_efficientnet_lite0", (64, 96), {"global_pool": "max"}),
    "mobilenet": ("mobilenetv4_conv_small", (64, 96), {}),
    "convnext": ("convnext_atto", (64, 96), {}),
    "cbam": ("convnext_tiny_cbam", (64, 96), {}),
    "hybrid": ("hybrid", (64, 96), HYBRID),
    "vit": ("vit_tiny_patch16_224", (32, 48), {"img_size": [32, 48]}),
}
GIVEN = (50, 70)
"""Pixels of the pictures: of another shape than the model's input."""
PARAMS = {"score_cam": {"max_channels": 8}}


def built(name: str, size: tuple[int, int], params: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    return build_model(name, num_classes=3, pretrained=False, image_size=size, params=params).module.eval()


def predictor_of(module: nn.Module, size: tuple[int, int]) -> Predictor:
    spec = InputSpec(in_chans=3, image_size=size, resize_mode="letterbox")
    return Predictor(Bundle(architecture={}, task="multilabel", classes=CLASSES, input_spec=spec), module, device="cpu")


def pictures(count: int = 2) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 255, (count, *GIVEN, 3), dtype=np.uint8))


def swin() -> nn.Module:
    """timm's Swin-V2 alone: its maps have their channels last."""
    import timm

    torch.manual_seed(0)
    options = {"strict_img_size": False, **SWIN}
    return timm.create_model("swinv2_tiny_window8_256", num_classes=3, img_size=(64, 96), **options).eval()


@pytest.fixture(scope="module", params=[*FAMILIES, "swin"])
def family(request: pytest.FixtureRequest) -> Predictor:
    if request.param == "swin":
        return predictor_of(swin(), (64, 96))
    name, size, params = FAMILIES[request.param]
    return predictor_of(built(name, size, params), size)


def test_nothing_is_missing() -> None:
    assert list(METHODS) == ["grad_cam", "grad_cam_pp", "hires_cam", "score_cam", "eigen_cam"]
    assert list(SIGNAL_METHODS) == ["occlusion", "integrated_gradients"]


@pytest.mark.parametrize("method", list(METHODS))
def test_every_family_gets_a_finite_map_of_each_class(family: Predictor, method: str) -> None:
    explainer = Explainer(family, method=method, classes=CLASSES, params=PARAMS.get(method))
    found = explainer.explain(pictures())
    assert [(one.id, one.label) for one in found] == [(f"array {n}", label) for n in (0, 1) for label in CLASSES]
    for one in found:
        assert one.map.shape == GIVEN
        assert one.map.dtype == np.float32
        assert np.isfinite(one.map).all()
        assert 0 <= one.map.min() <= one.map.max() <= 1
        assert 0 <= one.probability <= 1
    differ = any(not np.array_equal(found[0].map, other.map) for other in found[1:3])
    assert differ == METHODS.factory(method).class_specific
    assert any(one.map.max() > 0.5 for one in found)


def test_scores_are_the_models_and_the_model_is_left_as_it_was(family: Predictor) -> None:
    images = torch.randn(2, 3, *family.bundle.input_spec.size)
    with torch.no_grad():
        torch.testing.assert_close(look(family.module, images).scores_bk, family.module(images))
    assert all(parameter.grad is None for parameter in family.module.parameters())


@pytest.mark.parametrize("method", ["grad_cam_pp", "eigen_cam"])
def test_strips_are_explained(method: str) -> None:
    predictor = predictor_of(built("hybrid", (256, 1600), HYBRID), (256, 1600))
    strip = np.random.default_rng(0).integers(0, 255, (256, 1600), dtype=np.uint8)
    found = Explainer(predictor, method=method, classes=["crack"]).explain(strip)
    assert found[0].map.shape == (256, 1600)
    assert found[0].map.max() > 0.5


def heads(num_features: int) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    neighbors = NeighborsHead(num_features, 3, num_records=20, num_neighbors=5, temperature=0.07, task="multiclass")
    neighbors.features.copy_(nn.functional.normalize(torch.randn(20, num_features), dim=1))
    neighbors.votes.copy_(nn.functional.one_hot(torch.arange(20) % 3, 3).float())
    cosine = CosineHead(num_features, 3)
    nn.init.normal_(cosine.weight)
    margins = {name: MARGINS.build(name, in_features=num_features, out_features=3) for name in MARGINS}
    return {
        "knn": neighbors, "cosine": cosine, **margins, "evidential": EvidentialHead(nn.Linear(num_features, 3)),
    }  # fmt: skip


def test_every_head_is_explained_frozen_or_not() -> None:
    module = built("resnet10t", (64, 96), {}).requires_grad_(False)
    for name, head in heads(num_features_of(module)).items():
        install_head(module, head)
        found = Explainer(predictor_of(module.eval(), (64, 96)), method="hires_cam", classes=CLASSES).explain(
            pictures(1)
        )
        assert any(one.map.max() > 0.5 for one in found), name
        assert not np.allclose(found[0].map, found[1].map), name


@pytest.mark.parametrize("method", ["grad_cam", "hires_cam"])
def test_another_head_gives_another_map(method: str) -> None:
    """The sanity check of Adebayo et al. 2018 (arXiv:1810.03292); Eigen-CAM asks no head and cannot pass it."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 5, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 15 * 23, 3)).eval()
    explainer = Explainer(predictor_of(module, (64, 96)), method=method, classes=["crack"])
    before = explainer.explain(pictures(1))[0].map
    module[-1].reset_parameters()
    after = explainer.explain(pictures(1))[0].map
    assert similarity(before, after)[0] < 0.8


def test_the_maps_of_a_hybrid_are_of_both_backbones() -> None:
    """What is looked at is the fused map: without either branch it is another one."""
    module = built("hybrid", (64, 96), HYBRID)
    images = torch.randn(1, 3, 64, 96)
    assert find_place(module, images).name == "forward_features"
    whole = look(module, images).maps_bchw
    for which in ("first", "second"):
        silent = built("hybrid", (64, 96), HYBRID)
        nn.init.zeros_(silent.align[which][1].weight)
        assert not torch.allclose(look(silent, images).maps_bchw, whole)
