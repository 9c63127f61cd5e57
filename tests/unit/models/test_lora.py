from __future__ import annotations

import copy
import math

import pytest
import timm
import torch
from safetensors.torch import load, save
from torch import nn

from ringlight.errors import ModelError
from ringlight.models import ConvNeXtTinyCBAM, build_model
from ringlight.models.lora import LowRank, add_lora, has_lora, merge_lora

SWIN = {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]}
HYBRID = {
    "first": "convnextv2_atto",
    "first_options": {"dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1]},
    "second_options": SWIN,
    "embed_dim": 16,
}


def _model(name="hybrid", params=None):
    torch.manual_seed(0)
    params = HYBRID if name == "hybrid" and params is None else params or {}
    size = None if "resnet" in name or "net" in name else 32
    return build_model(name, num_classes=3, pretrained=False, image_size=size, params=params).module.eval()


def _vit(**options):
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=3, **options).eval()


def _filled(module: nn.Module) -> nn.Module:
    """Give every second factor values, as training does."""
    torch.manual_seed(1)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, LowRank):
                part.lora_b.normal_(std=0.1)
    return module


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def test_a_weight_gets_the_scaled_product():
    """Equation 3: W0 + (alpha / r) B A, by hand."""
    low_rank = LowRank(torch.zeros(2, 3), rank=2, alpha=4.0, dropout=0.0, where="layer")
    with torch.no_grad():
        low_rank.lora_a.copy_(torch.tensor([[1.0, 0, 2], [0, 1, 0]]))
        low_rank.lora_b.copy_(torch.tensor([[1.0, 0], [3, 5]]))
    found = low_rank(torch.full((2, 3), 10.0))
    assert found.tolist() == [[12.0, 10.0, 14.0], [16.0, 20.0, 22.0]]


def test_the_product_is_that_of_a_loop():
    torch.manual_seed(0)
    low_rank = LowRank(torch.zeros(3, 4), rank=2, alpha=3.0, dropout=0.0, where="layer")
    nn.init.normal_(low_rank.lora_b)
    first, second = low_rank.lora_a.tolist(), low_rank.lora_b.tolist()
    expected = [[1.5 * sum(second[o][r] * first[r][i] for r in range(2)) for i in range(4)] for o in range(3)]
    torch.testing.assert_close(low_rank(torch.zeros(3, 4)).detach(), torch.tensor(expected))


@pytest.mark.slow  # peft brings transformers: its import alone takes ten seconds
def test_scores_and_gradients_are_pefts():
    peft = pytest.importorskip("peft")
    images = torch.randn(2, 3, 32, 32)
    ours, theirs = _vit(), _vit()
    add_lora(ours, rank=4, alpha=8.0, targets=["attention", "mlp"])
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["qkv", "attn.proj", "fc1", "fc2"])
    peft.inject_adapter_in_model(config, theirs)
    _filled(ours)
    adapted = {name.removesuffix(".parametrizations.weight.0"): part for name, part in ours.named_modules()}
    copied = 0
    for name, layer in theirs.named_modules():
        if hasattr(layer, "lora_A"):
            layer.lora_A["default"].weight.data.copy_(adapted[name].lora_a)
            layer.lora_B["default"].weight.data.copy_(adapted[name].lora_b)
            copied += 1
    assert copied == len(ours.adapters.layers) == 8
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-5)
    ours(images).square().sum().backward()
    theirs(images).square().sum().backward()
    layer = theirs.blocks[0].attn.qkv
    low_rank = adapted["blocks.0.attn.qkv"]
    torch.testing.assert_close(low_rank.lora_a.grad, layer.lora_A["default"].weight.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(low_rank.lora_b.grad, layer.lora_B["default"].weight.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["hybrid", "resnet10t", "efficientnet_b0", "mobilenetv4_conv_small"])
def test_at_first_the_scores_are_those_of_the_plain_model_to_the_bit(name, images):
    plain = _model(name)
    adapted = copy.deepcopy(plain)
    add_lora(adapted, rank=2)
    with torch.no_grad():
        assert torch.equal(adapted(images), plain(images))


def test_merged_weights_are_an_ordinary_model_with_the_same_scores(images):
    """What is exported must load where nothing knows of adapters, under the names of the plain model."""
    model = _model()
    add_lora(model, rank=2, dropout=0.5)
    _filled(model)
    plain = _model()
    with torch.no_grad():
        adapted = model(images)
        assert (adapted - plain(images)).abs().max() > 1e-3
        num_layers = len(model.adapters.layers)
        assert merge_lora(model.train()) == num_layers  # the dropout of training must not get into the weights
        assert merge_lora(model) == 0
        plain.load_state_dict(load(save({key: value.clone() for key, value in model.state_dict().items()})))
        torch.testing.assert_close(plain(images), adapted, rtol=1e-5, atol=1e-5)
    assert not has_lora(model)
    assert type(model.branches["second"].model.layers[0].blocks[0].attn.qkv) is nn.Linear


def test_what_was_frozen_for_adapters_may_be_trained_again_once_they_are_merged():
    """A second training of the same model puts adapters onto the same layers; a frozen branch stays frozen."""
    model = _model(params={**HYBRID, "frozen_branches": ["first"]})
    before = {name for name, one in model.named_parameters() if one.requires_grad}
    first = add_lora(model, rank=2)
    merge_lora(nn.Sequential(model))
    assert {name for name, one in model.named_parameters() if one.requires_grad} == before
    second = add_lora(model, rank=2)
    assert (second.layers, set(second.frozen)) == (first.layers, set(first.frozen))


def test_adapters_and_head_are_trained_and_nothing_else(images):
    model = _model()
    adapters = add_lora(model, rank=2)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    head = ("align.", "fusion.", "activation.", "pooling.", "norm.", "embed.", "classifier.")
    assert {name for name in trained if "lora_" not in name} == {
        n for n, _ in model.named_parameters() if n.startswith(head)
    }
    assert not any("lora_" in name for name in trained if name.startswith(head))
    assert adapters.num_trained == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert model.adapters is adapters
    model.train()(images).square().sum().backward()
    assert {name for name, parameter in model.named_parameters() if parameter.grad is not None} == trained


def test_swins_query_key_and_value_learn(images):
    """Swin-V2 uses the weight of `qkv` and never calls the layer: peft's adapter there gets no gradient."""
    model = _model()
    block = model.branches["second"].model.layers[0].blocks[0]
    nn.init.ones_(block.norm1.weight)  # it starts at 0, and lets nothing through
    add_lora(model, rank=1, targets=["attention"])
    _filled(model)
    model(images).square().sum().backward()
    low_rank = block.attn.qkv.parametrizations.weight[0]
    assert low_rank.lora_a.grad.abs().max() > 0
    assert low_rank.lora_b.grad.abs().max() > 0


def test_each_kind_of_layer_is_found_where_it_stands():
    model = _model()
    found = {
        target: set(add_lora(copy.deepcopy(model), rank=1, targets=[target]).layers)
        for target in ("attention", "mlp", "conv1x1")
    }
    swin, convnext = "branches.second.model.layers.0.blocks.0", "branches.first.model.stages.0.blocks.0"
    assert {f"{swin}.attn.qkv", f"{swin}.attn.proj"} <= found["attention"]
    assert {f"{swin}.mlp.fc1", f"{swin}.mlp.fc2"} <= found["mlp"]
    assert not any("cpb_mlp" in name for names in found.values() for name in names)  # of positions, not of images
    assert not found["attention"] & found["mlp"]
    # The perceptrons of the smallest ConvNeXts are 1x1 convolutions: of both kinds.
    assert f"{convnext}.mlp.fc1" in found["mlp"] & found["conv1x1"]


def test_pointwise_convolutions_are_adapted_and_others_are_not():
    model = _model("mobilenetv4_conv_small")
    layers = [model.get_submodule(name) for name in add_lora(model, rank=1, targets=["conv1x1"]).layers]
    assert len(layers) > 20
    assert all(layer.kernel_size == (1, 1) and layer.groups == 1 for layer in layers)


def test_the_new_attention_of_a_pretrained_network_is_trained_as_a_whole():
    with torch.device("meta"):
        model = ConvNeXtTinyCBAM(3)
        add_lora(model, rank=2, targets=["mlp"])
    assert all(parameter.requires_grad for parameter in model.cbam.parameters())
    assert not model.backbone.stem[0].weight.requires_grad
    assert model.get_classifier().weight.requires_grad


def test_a_frozen_branch_gets_no_adapter(images):
    model = _model(params={**HYBRID, "frozen_branches": ["second"]})
    assert all(name.startswith("branches.first.") for name in add_lora(model, rank=2).layers)


def test_dropout_hides_inputs_from_the_product_and_keeps_its_mean():
    torch.manual_seed(0)
    low_rank = LowRank(torch.zeros(3, 200), rank=2, alpha=2.0, dropout=0.25, where="layer").train()
    nn.init.normal_(low_rank.lora_b)
    whole, weight = low_rank.eval()(torch.zeros(3, 200)), low_rank.train()(torch.zeros(3, 200))
    hidden = (weight == 0).all(dim=0)
    assert 0.1 < hidden.float().mean() < 0.4
    torch.testing.assert_close(weight[:, ~hidden], whole[:, ~hidden] / 0.75)


def test_a_copy_has_adapters_of_its_own(images):
    """Averaged weights copy the model; a copy that shared its adapters would average nothing."""
    model = _model()
    add_lora(model, rank=2)
    twin = copy.deepcopy(model)
    _filled(twin)
    with torch.no_grad():
        assert not torch.equal(model(images), twin(images))
    twin.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(model(images), twin(images))


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"rank": 9}, "model.lora.rank: expected a rank from 1 to 8, the smaller side of "
         "`branches.first.model.stages.0.blocks.0.mlp.fc1` (32 x 8), got 9; lower it, or leave such layers out with "
         "model.lora.targets"),
        ({"rank": 0}, "model.lora.rank: expected a rank from 1 to 8"),
        ({"alpha": math.inf}, "model.lora.alpha: expected a number above 0, got inf; try twice the rank"),
        ({"dropout": 1.0}, "model.lora.dropout: expected a share of at least 0 and below 1, got 1; try 0.05"),
        ({"targets": []}, "model.lora.targets: expected kinds of layers: attention, mlp, conv1x1, got none; leave it "
         "out for all three"),
        ({"targets": ["conv"]}, "model.lora.targets: expected kinds of layers: attention, mlp, conv1x1, got conv; "),
    ],
)  # fmt: skip
def test_numbers_and_words_out_of_range_are_refused_in_one_line(asked, line):
    model = _model()
    with pytest.raises(ModelError) as caught:
        add_lora(model, **asked)
    assert str(caught.value).startswith(line)
    assert not has_lora(model)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_targets_that_match_nothing_are_refused_with_what_there_is():
    with pytest.raises(ModelError) as caught:
        add_lora(_model("mobilenetv4_conv_small"), targets=["attention", "mlp"])
    assert str(caught.value) == (
        "model.lora.targets: expected layers of the kinds attention, mlp in the model, got none outside its head that "
        "may be trained; it has conv1x1"
    )
    with pytest.raises(ModelError, match=r"set model\.lora=null: no layer of it can be adapted"):
        add_lora(nn.Sequential(nn.Conv2d(3, 4, 3)))


def test_adapters_are_put_on_once():
    model = _model()
    add_lora(model, rank=1)
    with pytest.raises(ModelError, match="expected a model without adapters, got one that has them; merge them first"):
        add_lora(model, rank=1)
