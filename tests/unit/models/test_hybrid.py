from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from ringlight.errors import ModelError, Problems
from ringlight.models import MODELS, build_model
from ringlight.models.branch import Branch, Renormalize
from ringlight.models.heads import CosineHead, classifier_of, features_before_head, install_head, num_features_of
from ringlight.models.hybrid import Hybrid

SWIN = {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]}
CONVNEXT = {"dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
TINY = {"first": "convnextv2_atto", "first_options": CONVNEXT, "second_options": SWIN, "embed_dim": 16}


def _hybrid(size=(32, 32), in_chans=3, **params) -> Hybrid:
    torch.manual_seed(0)
    return build_model(
        "hybrid", num_classes=3, in_chans=in_chans, pretrained=False, image_size=size, params={**TINY, **params}
    ).module


@pytest.mark.parametrize("size", [(256, 1600), (200, 200), (224, 224), (32, 32)])
def test_strips_and_squares_are_scored(size):
    model = _hybrid(size, in_chans=1).eval()
    images = torch.randn(1, 1, *size)
    with torch.no_grad():
        assert model(images).shape == (1, 3)
        assert model.forward_features(images).shape == (1, 16, max(size[0] // 32, 1), max(size[1] // 32, 1))


def test_the_branches_grids_differ_where_the_size_is_no_multiple_of_32():
    """200 pixels are 6 places to ConvNeXt, which drops the rest, and 7 to Swin, which pads."""
    model = _hybrid((200, 200)).eval()
    with torch.no_grad():
        shapes = [model.branches[which](torch.zeros(1, 3, 200, 200)).shape[2:] for which in ("first", "second")]
    assert shapes == [(6, 6), (7, 7)]


def test_a_strip_leaves_swins_windows_as_they_were_trained():
    """timm's set_input_size scales the windows with the image; trained weights then mean something else."""
    swin = _hybrid((256, 1600)).branches["second"].model
    assert [stage.blocks[0].window_size for stage in swin.layers] == [(8, 8)] * 4


def test_swins_channels_come_first_and_are_timms_own_features():
    branch = Branch("swinv2_tiny_window8_256", where="model.second", image_size=(64, 96), options=SWIN).eval()
    plain = timm.create_model(
        "swinv2_tiny_window8_256", num_classes=0, img_size=(64, 96), strict_img_size=False,
        embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2),
    ).eval()  # fmt: skip
    plain.load_state_dict(branch.model.state_dict(), strict=False)
    images = torch.randn(2, 3, 64, 96)
    assert plain.output_fmt == "NHWC"
    with torch.no_grad():
        expected = plain.layers(plain.patch_embed(images)).permute(0, 3, 1, 2)
        assert torch.equal(branch(images), expected)
    assert branch.num_chs == expected.shape[1] == 64


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet10t", {}),
        ("mobilenetv3_small_050", {}),
        ("vit_tiny_patch16_224", {"depth": 2}),
        ("swin_tiny_patch4_window7_224", {"embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1]}),
    ],
)
def test_any_timm_model_gives_a_map_and_uses_every_parameter(name, options):
    branch = Branch(name, where="model.first", image_size=(64, 96), options=options)
    found = branch(torch.randn(2, 3, 64, 96))
    assert found.shape[:2] == (2, branch.num_chs)
    assert found.ndim == 4
    found.sum().backward()
    assert [key for key, parameter in branch.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("fusion", ["concat", "gated", "cross_attention"])
@pytest.mark.parametrize("pooling", ["avg", "gem"])
def test_every_fusion_and_pooling_trains_every_parameter(fusion, pooling):
    model = _hybrid((64, 96), fusion=fusion, pooling=pooling)
    model(torch.randn(2, 3, 64, 96)).square().sum().backward()
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []


def test_the_embedding_is_what_reaches_the_classifier():
    model = _hybrid().eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        embedding = model.forward_head(model.forward_features(images), pre_logits=True)
        assert torch.equal(features_before_head(model, images), embedding)
        assert torch.equal(model(images), classifier_of(model)(embedding))
    assert num_features_of(model) == model.num_features == 16
    install_head(model, CosineHead(16, 5))
    assert model(images).shape == (2, 5)
    model.reset_classifier(0)
    with torch.no_grad():
        assert torch.equal(model(images), embedding)


def test_checkpointed_gradients_are_the_same_gradients():
    plain, sparing = _hybrid((64, 64)), _hybrid((64, 64), grad_checkpointing=True)
    assert all(stage.grad_checkpointing for stage in sparing.branches["second"].model.layers)
    images = torch.randn(2, 3, 64, 64)
    for model in (plain, sparing):
        model(images).square().sum().backward()
    pairs = zip(plain.named_parameters(), sparing.parameters(), strict=True)
    assert all(torch.equal(one.grad, other.grad) for (_, one), other in pairs)


def test_a_frozen_branch_keeps_weights_and_statistics():
    model = _hybrid(first="resnet10t", first_options={}, frozen_branches=["first"], grad_checkpointing=True).train()
    before = {key: value.clone() for key, value in model.branches["first"].state_dict().items()}
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    assert not model.branches["first"].training
    assert model.branches["second"].training
    assert all(parameter.grad is None for parameter in model.branches["first"].parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.branches["first"].state_dict().items())


def test_drop_path_reaches_both_branches():
    model = _hybrid(drop_path_rate=0.2)
    for which in ("first", "second"):
        rates = [getattr(part, "drop_prob", 0.0) for part in model.branches[which].modules()]
        assert max(rates) == pytest.approx(0.2)
    assert max(getattr(part, "drop_prob", 0.0) or 0.0 for part in _hybrid().modules()) == 0.0


def test_what_the_branches_spare_from_decay_is_spared():
    names = dict(_hybrid().named_parameters())
    spared = _hybrid().no_weight_decay()
    assert any("logit_scale" in name for name in spared)
    assert spared <= set(names)


def test_each_branch_takes_its_own_weights(tmp_path):
    """A folder with a file for one branch: the other starts at random, and both are told."""
    torch.manual_seed(7)
    swin = timm.create_model("swinv2_tiny_window8_256", num_classes=5, **SWIN)
    save_file(swin.state_dict(), tmp_path / "swinv2_tiny_window8_256.safetensors")
    built = build_model(
        "hybrid", num_classes=3, pretrained="auto", weights_folder=tmp_path, image_size=(64, 96), params=TINY
    )
    loaded = built.module.branches["second"].model
    assert torch.equal(loaded.layers[0].blocks[0].attn.qkv.weight, swin.layers[0].blocks[0].attn.qkv.weight)
    assert built.weights.source == "folder"
    assert built.weights.setting == "auto"  # `true` would refuse to make the run again
    assert built.weights.note.startswith("convnextv2_atto: random weights: no pretrained weights for convnextv2_atto")
    assert built.weights.note.endswith("swinv2_tiny_window8_256.safetensors")
    with pytest.raises(ModelError, match="expected pretrained weights for `convnextv2_atto`, got none"):
        build_model("hybrid", num_classes=3, pretrained=True, weights_folder=tmp_path, image_size=64, params=TINY)


def test_branches_trained_on_other_statistics_see_the_image_as_they_know_it():
    """An image is normalised once, for the first branch; a ViT's values are 0.5 and 0.5."""
    model = _hybrid(second="vit_tiny_patch16_224", second_options={"depth": 1})
    assert isinstance(model.renormalize, Renormalize)
    image = torch.rand(1, 3, 32, 32)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (model.mean, model.std))
    torch.testing.assert_close(model.renormalize((image - mean) / std), (image - 0.5) / 0.5)
    assert isinstance(_hybrid().renormalize, nn.Identity)
    assert Renormalize((model.mean, model.std), ((0.5,) * 3, (0.5,) * 3), 1)(torch.zeros(1, 1, 2, 2)).shape[1] == 1


@pytest.mark.parametrize(
    ("params", "line"),
    [
        ({"first": "convnextv3"}, "model.first: expected a timm model, got `convnextv3`; try convnextv2_atto or "),
        ({"second_options": {"depht": 1}},
         "model.second_options: expected an argument of `swinv2_tiny_window8_256`, got `depht`; did you mean "),
        ({"first_options": {"in_chans": 1}},
         "model.first_options: expected an argument of `convnextv2_atto`, got `in_chans`; "),
        ({"embed_dim": 0}, "model.embed_dim: expected 1 dimension or more, got 0; try 512"),
        ({"first_lr_scale": 0.0},
         "model.first_lr_scale: expected a factor above 0, got 0; "
         "to keep the branch as it is, set model.frozen_branches=[first]"),
    ],
)  # fmt: skip
def test_impossible_parameters_are_refused_in_one_line(params, line):
    with pytest.raises(ModelError) as caught:
        _hybrid(**params)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_words_and_branches_that_do_not_exist_are_refused_before_anything_is_built():
    assert MODELS.problems("hybrid", {"fusion": "sum", "pooling": "max", "frozen_branches": ["third"]}) == [
        "model.fusion: expected 'concat', 'gated' or 'cross_attention', got 'sum'; correct the value "
        "(default: 'gated')",
        "model.pooling: expected 'avg' or 'gem', got 'max'; correct the value (default: 'avg')",
        "model.frozen_branches: expected 'first' or 'second', got ['third']; correct the value (default: ())",
    ]
    with pytest.raises(Problems, match=r"model\.image_size"):
        build_model("hybrid", num_classes=3, image_size=32, params={"image_size": 32})


def test_data_of_no_fixed_size_are_refused_where_a_branch_needs_one():
    with pytest.raises(ModelError) as caught:
        _hybrid(None)
    assert str(caught.value) == (
        "data.image_size: expected one image size, which swinv2_tiny_window8_256 is built for, got none; "
        "set it, as data.image_size=[256,1600]"
    )
    built = _hybrid(None, second="resnet10t", second_options={}).eval()
    assert built(torch.zeros(1, 3, 40, 72)).shape == (1, 3)


def test_a_size_that_does_not_divide_into_patches_is_refused_in_one_line():
    with pytest.raises(ModelError, match=r"data\.image_size: expected an image size that `hybrid` takes, got 33 x 47"):
        _hybrid((33, 47))


def test_a_file_for_the_whole_is_refused(tmp_path):
    with pytest.raises(ModelError, match="expected auto, true or false for a model of two branches"):
        Hybrid(3, pretrained=tmp_path / "hybrid.pth", **TINY)
