"""What stands behind a backbone: found, replaced, overheard and shifted, in models of several families."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from ringlight.errors import ModelError
from ringlight.models import build_model
from ringlight.models.heads import (
    CosineHead,
    NeighborsHead,
    classifier_of,
    features_before_head,
    install_head,
    make_head,
    num_features_of,
    set_linear,
    shift_scores,
)

FAMILIES = ("resnet10t", "test_efficientnet", "test_vit", "test_convnext")
"""Classifiers in four places: `fc`, `classifier`, `head` and `head.fc`."""


def model(name: str = "resnet10t", num_classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return build_model(name, num_classes=num_classes, pretrained=False).module.eval()


def images(module: nn.Module | None = None, num: int = 2) -> Tensor:
    side = 160 if module is not None and hasattr(module, "patch_embed") else 64
    return torch.rand(num, 3, side, side, generator=torch.Generator().manual_seed(0))


# --- in a model -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_the_classifier_of_its_features_is_the_model(name: str) -> None:
    module = model(name)
    batch = images(module)
    features = features_before_head(module, batch)
    assert features.shape == (2, num_features_of(module))
    assert not features.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(classifier_of(module)(features), module(batch))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_head_takes_the_classifiers_place_and_can_be_replaced_again(name: str) -> None:
    module = model(name)
    batch = images(module)
    before = features_before_head(module, batch)
    for head in (CosineHead(before.shape[1], 3), nn.Linear(before.shape[1], 3)):
        nn.init.normal_(head.weight)
        install_head(module, head)
        assert classifier_of(module) is head
        assert torch.equal(features_before_head(module, batch), before)
        with torch.no_grad():
            torch.testing.assert_close(module(batch), head(before))


def test_overhearing_leaves_no_hook_behind_even_when_the_model_fails() -> None:
    module = model()
    with pytest.raises(RuntimeError):
        features_before_head(module, torch.zeros(1, 5, 64, 64))
    features_before_head(module, images())
    assert not classifier_of(module)._forward_pre_hooks


def test_fitted_values_are_the_models() -> None:
    module = model()
    weight, bias = torch.randn(3, 512), torch.randn(3)
    set_linear(module, weight, bias)
    features = features_before_head(module, images())
    with torch.no_grad():
        torch.testing.assert_close(module(images()), features @ weight.T + bias)
    weight.zero_()
    assert classifier_of(module).weight.any(), "a copy"


@pytest.mark.parametrize("name", FAMILIES)
def test_shifting_adds_to_every_score(name: str) -> None:
    module = model(name)
    batch, offsets = images(module), torch.tensor([1.0, -2.0, 0.5])
    with torch.no_grad():
        before = module(batch)
    shift_scores(module, offsets)
    with torch.no_grad():
        torch.testing.assert_close(module(batch), before + offsets)


# --- refused ----------------------------------------------------------------------------------------------------------


def test_a_model_without_one_linear_layer_at_its_end_is_refused_in_one_line() -> None:
    with pytest.raises(ModelError) as caught:
        classifier_of(nn.Sequential(nn.Conv2d(3, 3, 1)))
    assert str(caught.value) == (
        "training.mode: expected a model that ends in one linear layer, got Sequential that ends in NoneType; "
        "choose another model, or training.mode=finetune with imbalance=none"
    )


@pytest.mark.parametrize("shape", [(3, 511), (4, 512)])
def test_values_of_another_size_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ModelError, match=r"expected a linear classifier \(\d, \d+\) with a bias, got Linear\("):
        set_linear(model(), torch.zeros(shape), torch.zeros(shape[0]))


def test_a_linear_layer_cannot_be_set_where_neighbours_stand() -> None:
    module = model()
    install_head(module, CosineHead(512, 3))
    with pytest.raises(ModelError, match=r"got CosineHead\(\); choose another model"):
        set_linear(module, torch.zeros(3, 512), torch.zeros(3))


def test_a_classifier_without_a_bias_cannot_be_shifted_and_the_way_out_is_named() -> None:
    module = model()
    install_head(module, nn.Linear(512, 3, bias=False))
    with pytest.raises(ModelError) as caught:
        shift_scores(module, torch.zeros(3))
    assert str(caught.value) == (
        "imbalance.method: expected a classifier with a bias, got one without; use balanced_softmax"
    )


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "quantum"},
        {},
        {"name": "cosine", "power": 2},
        {"name": "knn"},
        {"name": "evidential"},
        {"name": "evidential", "of": {"name": "cosine"}},
    ],
)
def test_a_spec_that_this_release_does_not_know_is_refused(spec: dict[str, object]) -> None:
    with pytest.raises(ModelError) as caught:
        make_head(spec, 8, 3)
    assert str(caught.value) == (
        f"head: expected a head of cosine, knn, linear, evidential with its parameters, got {spec!r}; "
        "load it with the Ringlight that wrote it"
    )


@pytest.mark.parametrize(
    "params", [{"name": "arcfase"}, {"name": "arcface", "scale": -1.0}, {"name": "cosine", "h": 1}]
)
def test_a_margin_spec_that_this_release_does_not_know_is_refused(params: dict[str, object]) -> None:
    spec = {"family": "margin", **params}
    with pytest.raises(ModelError) as caught:
        make_head(spec, 8, 3)
    assert str(caught.value) == (
        "head: expected a head of linear, cosine, arcface, cosface, adaface, curricularface, subcenter_arcface with "
        f"its parameters, got {spec!r}; load it with the Ringlight that wrote it"
    )


# --- the heads by hand ------------------------------------------------------------------------------------------------


def test_a_cosine_knows_directions_and_no_lengths() -> None:
    head = CosineHead(2, 2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[2.0, 0.0], [0.0, 5.0]]))
        head.scale.copy_(torch.tensor([10.0, 1.0]))
        head.bias.copy_(torch.tensor([0.0, 3.0]))
        told = head(torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]]))
    torch.testing.assert_close(told, torch.tensor([[6.0, 3.8], [6.0, 3.8], [0.0, 3.0]]))


def test_two_neighbours_vote_by_hand() -> None:
    """Cosines 1 and 0 at temperature 1: shares e / (e + 1) and 1 / (e + 1), and a thousandth for everyone."""
    head = NeighborsHead(2, 2, num_records=3, num_neighbors=2, temperature=1.0, task="multiclass")
    head.features.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    head.votes.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]))
    share = math.e / (math.e + 1)
    expected = [math.log((share + 0.001) / 1.002), math.log((1 - share + 0.001) / 1.002)]
    torch.testing.assert_close(head(torch.tensor([[7.0, 0.0]])), torch.tensor([expected]))


def test_neighbours_and_their_votes_come_back_from_a_saved_state() -> None:
    spec = {"name": "knn", "num_records": 4, "num_neighbors": 3, "temperature": 0.07, "task": "multilabel"}
    head = make_head(spec, 5, 2)
    for tensor in head.state_dict().values():
        tensor.copy_(torch.rand(tensor.shape))
    again = make_head(spec, 5, 2)
    again.load_state_dict(head.state_dict())
    batch = torch.rand(3, 5)
    assert torch.equal(again(batch), head(batch))


def test_neighbours_take_features_in_half_precision() -> None:
    head = make_head(
        {"name": "knn", "num_records": 4, "num_neighbors": 3, "temperature": 0.07, "task": "multiclass"}, 5, 2
    )
    assert head(torch.rand(3, 5, dtype=torch.bfloat16)).dtype == torch.float32
