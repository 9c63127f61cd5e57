"""A classifier taken apart and put together: the same bits, the same groups of parameters, and a head that is told."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ringlight.errors import ModelError
from ringlight.models import build_model, build_sequence_model
from ringlight.models.embedding import (
    EmbeddingModel,
    Projection,
    Student,
    put_together,
    take_apart,
)
from ringlight.models.heads import num_features_of
from ringlight.models.margins import MARGINS, ArcFace
from ringlight.optim import parameter_groups
from ringlight.training.compiling import uncompile

SWIN = {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]}
CONVNEXT = {"dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
HYBRID = {"first": "convnextv2_atto", "first_options": CONVNEXT, "second_options": SWIN, "embed_dim": 16}


def of_images(name: str, **params: object) -> tuple[nn.Module, Tensor]:
    module = build_model(name, num_classes=3, pretrained=False, image_size=(32, 32), params=params).module
    return module, torch.randn(2, 3, 32, 32)


def of_windows() -> tuple[nn.Module, Tensor]:
    module = build_sequence_model(
        "cnn1d", num_classes=3, in_chans=2, length=64, drop_rate=0.0, task="multiclass", seed=0, params={}
    ).module
    return module, torch.randn(2, 2, 64)


def test_whatever_way_leads_into_a_compiled_model_leads_through_compiled_code() -> None:
    """A student and a contrastive validation do not call `forward`: the trunk is what is compiled."""
    compiled: list[int] = []

    def backend(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        compiled.append(len(graph.graph.nodes))
        return graph.forward

    student, inputs = Student(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), nn.Linear(2, 3), None), torch.ones(2, 4)
    student.compile(backend=backend, dynamic=False)
    student.score_and_embed(inputs)
    assert len(compiled) == 1
    student(inputs)
    assert len(compiled) == 1, "one trunk for all"
    uncompile(student)
    assert student.trunk._compiled_call_impl is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: of_images("resnet10t"),
        lambda: of_images("convnext_tiny_cbam"),
        lambda: of_images("hybrid", **HYBRID),
        of_windows,
    ],
    ids=["resnet10t", "convnext_tiny_cbam", "hybrid", "cnn1d"],
)
def test_apart_and_together_is_the_model_itself_to_the_last_bit(make: Callable[[], tuple[nn.Module, Tensor]]) -> None:
    torch.manual_seed(0)
    whole, inputs = make()
    whole.eval()
    names, size = list(whole.state_dict()), num_features_of(whole)
    with torch.no_grad():
        before = whole(inputs)
        trunk, layer = take_apart(whole)
        assert trunk(inputs).shape == (2, size)
        assert torch.equal(EmbeddingModel(trunk, layer)(inputs), before)
        assert torch.equal(put_together(trunk, layer)(inputs), before)
    assert list(whole.state_dict()) == names, "a bundle finds its tensors under their own names"


def test_what_is_whole_is_not_put_together() -> None:
    trunk, layer = take_apart(of_images("resnet10t")[0])
    whole = put_together(trunk, layer)
    with pytest.raises(ModelError) as caught:
        put_together(whole, nn.Linear(512, 3))
    assert str(caught.value) == (
        "model: expected a model without its last layer, got one that ends in Linear; take it apart with take_apart "
        "first"
    )
    with pytest.raises(ModelError, match="got one that ends in NoneType; take it apart"):
        put_together(nn.Flatten(), nn.Linear(2, 2))
    with pytest.raises(ModelError, match="expected a model that ends in one linear layer, got Flatten"):
        take_apart(nn.Flatten())


# --- the head ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def margin() -> EmbeddingModel:
    """Embeddings (B, 2) as they are, prototypes along the axes."""
    head = ArcFace(2, 2, scale=10.0, margin=0.5)
    with torch.no_grad():
        head.weight.copy_(torch.eye(2))
    return EmbeddingModel(nn.Identity(), head)


def test_a_margin_head_is_told_one_class_a_pair_or_none(margin: EmbeddingModel) -> None:
    """At 0 degrees from prototype 0 and 90 from prototype 1: 10 cos 0.5, and 10 cos(pi / 2 + 0.5), by hand."""
    inputs = torch.tensor([[2.0, 0.0], [3.0, 0.0]])
    nearer, farther = 10 * math.cos(0.5), 10 * math.cos(math.pi / 2 + 0.5)
    torch.testing.assert_close(margin(inputs), torch.tensor([[10.0, 0.0], [10.0, 0.0]]))
    told = margin(inputs, torch.tensor([0, 1]))
    torch.testing.assert_close(told, torch.tensor([[nearer, 0.0], [10.0, farther]]), atol=1e-2, rtol=0)
    pairs = torch.tensor([[0, 1], [1, 0]])
    both = margin(inputs, pairs)
    assert both.shape == (2, 2, 2)
    for place in range(2):
        assert torch.equal(both[:, place], margin(inputs, pairs[:, place]))


def test_a_head_that_asks_for_no_targets_is_told_none() -> None:
    model = EmbeddingModel(nn.Identity(), nn.Linear(2, 3))
    inputs = torch.randn(4, 2)
    assert not model.takes_targets
    assert torch.equal(model(inputs, torch.tensor([0, 1, 2, 0])), model(inputs))
    assert torch.equal(model.embed(inputs), inputs)


@pytest.mark.parametrize("name", list(MARGINS.parts))
def test_every_head_of_the_catalogue_can_be_told(name: str) -> None:
    assert EmbeddingModel(nn.Identity(), MARGINS.build(name, in_features=4, out_features=3)).takes_targets


# --- groups of parameters ---------------------------------------------------------------------------------------------


def groups(module: nn.Module) -> dict[str, tuple[set[int], float, float]]:
    return {
        group["name"]: ({id(one) for one in group["params"]}, group["weight_decay"], group.get("lr_scale", 1.0))
        for group in parameter_groups(module, 0.1)
    }


def test_rates_and_decay_are_those_of_the_whole_model() -> None:
    whole, _ = of_images("hybrid", **HYBRID, first_lr_scale=0.1)
    spared = "branches.second.model.patch_embed.proj.weight"
    whole.no_weight_decay = lambda: {spared}  # type: ignore[assignment]
    assert spared in dict(whole.named_parameters())
    expected = groups(whole)
    assert "decay x0.1" in expected
    trunk, layer = take_apart(whole)
    for made in (EmbeddingModel(trunk, layer), Student(trunk, layer, None)):
        assert groups(made) == expected


def test_a_trunk_without_wishes_has_none() -> None:
    model = EmbeddingModel(nn.Linear(2, 2), nn.Linear(2, 2))
    assert model.no_weight_decay() == set()
    assert model.lr_scales() == {}


# --- what contrastive losses and students have ------------------------------------------------------------------------


def test_a_projection_is_two_layers_and_length_one() -> None:
    torch.manual_seed(0)
    made = Projection(4, 3, hidden=5)
    embedding = torch.randn(6, 4)
    first, last = made.layers[0], made.layers[2]
    raw = torch.relu(embedding @ first.weight.T + first.bias) @ last.weight.T + last.bias
    torch.testing.assert_close(made(embedding), raw / raw.norm(dim=1, keepdim=True))
    assert Projection(4, 3).layers[0].out_features == 4


def test_a_student_scores_and_shows_its_embedding_in_one_pass() -> None:
    student = Student(nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(4, 8))
    inputs = torch.randn(5, 3)
    logits, embedding = student.score_and_embed(inputs)
    assert torch.equal(embedding, student.trunk(inputs))
    assert torch.equal(logits, student(inputs))
    assert {"projection.weight", "projection.bias"} <= set(dict(student.named_parameters())), "it learns with it"
