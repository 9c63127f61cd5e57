"""Evidence in the place of logits: the head by hand, in a model, and from a saved description."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

from ringlight.errors import ModelError
from ringlight.models import MARGINS, build_model, build_sequence_model
from ringlight.models.evidential import EvidentialHead
from ringlight.models.heads import (
    classifier_of,
    head_spec_of,
    install_evidential,
    make_head,
    num_features_of,
)

FEATURES = torch.randn(4, 5, generator=torch.Generator().manual_seed(1))


def test_it_is_log_one_plus_softplus_by_hand_and_its_softmax_the_expected_probability() -> None:
    layer = nn.Linear(2, 2, bias=False)
    layer.weight.data.copy_(torch.eye(2))
    told = EvidentialHead(layer)(torch.tensor([[0.0, math.log(math.e**3 - 1)]]))
    alpha = [1 + math.log(2), 1 + 3.0]
    torch.testing.assert_close(told, torch.tensor([[math.log(value) for value in alpha]]))
    torch.testing.assert_close(told.softmax(dim=1), torch.tensor([[value / sum(alpha) for value in alpha]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_evidence_is_never_negative_and_finite_for_every_score(dtype: torch.dtype) -> None:
    layer = nn.Linear(5, 3).to(dtype)
    features = (FEATURES * 1e4).to(dtype).requires_grad_()
    told = EvidentialHead(layer)(features)
    told.sum().backward()
    assert told.dtype == torch.float32
    assert (told >= 0).all()
    assert torch.isfinite(told).all()
    assert torch.isfinite(features.grad).all()


@pytest.mark.parametrize(
    "inner",
    [nn.Linear(5, 3), nn.Linear(5, 3, bias=False), MARGINS.build("arcface", in_features=5, out_features=3)],
    ids=["linear", "without bias", "margin"],
)
def test_its_spec_builds_the_same(inner: nn.Module) -> None:
    head = EvidentialHead(inner)
    twin = make_head(json.loads(json.dumps(head.spec())), 5, 3)
    twin.load_state_dict(head.state_dict())
    assert twin.spec() == head.spec()
    assert torch.equal(twin(FEATURES), head(FEATURES))


def test_a_margin_gets_the_targets() -> None:
    margin = MARGINS.build("cosface", in_features=5, out_features=3)
    classes = torch.tensor([0, 1, 2, 0])
    told, plain = EvidentialHead(margin)(FEATURES, classes), EvidentialHead(margin)(FEATURES)
    torch.testing.assert_close(told, torch.log1p(nn.functional.softplus(margin(FEATURES, classes))))
    assert (told.gather(1, classes[:, None]) < plain.gather(1, classes[:, None])).all()


def test_it_takes_the_classifier_of_a_model_once_and_is_described() -> None:
    torch.manual_seed(0)
    module = build_model("resnet10t", num_classes=3, pretrained=False).module.eval()
    layer = classifier_of(module)
    assert head_spec_of(module) == {}
    for _ in range(2):
        install_evidential(module)
    head = classifier_of(module)
    assert isinstance(head, EvidentialHead)
    assert head.scores is layer
    assert num_features_of(module) == 512
    assert head_spec_of(module) == {"name": "evidential", "of": {"name": "linear", "bias": True}}


def test_a_model_of_windows_takes_it_too() -> None:
    module = build_sequence_model("cnn1d", num_classes=3, in_chans=2, length=32).module.eval()
    install_evidential(module)
    assert (module(torch.randn(2, 2, 32)) >= 0).all()
    assert head_spec_of(module)["name"] == "evidential"


def test_a_model_without_one_linear_layer_at_its_end_is_refused() -> None:
    with pytest.raises(ModelError) as caught:
        install_evidential(nn.Sequential(nn.Flatten()))
    assert str(caught.value) == (
        "loss.name: expected a model that ends in one linear layer or a margin head for `evidential`, got Sequential "
        "that ends in NoneType; choose another model, or loss=cross_entropy"
    )
