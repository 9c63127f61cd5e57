from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file

from ringlight.errors import ModelError, Problems
from ringlight.models import MODELS, ConvNeXtTinyCBAM, build_model

QUICK = {"pretrained": False}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return ConvNeXtTinyCBAM(4).eval()


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_it_has_attention_after_stages_three_and_four(model):
    assert {stage: block.channel.excite.out_channels for stage, block in model.cbam.items()} == {"3": 384, "4": 768}


def test_its_parameters_are_convnexts_and_the_attentions(model):
    convnext = _count(timm.create_model("convnext_tiny", num_classes=4))
    attention = 2 * 384 * (384 // 16) + 2 * 768 * (768 // 16) + 2 * (2 * 7 * 7)
    assert _count(model) == convnext + attention == 27_915_560


def test_stages_count_from_one_and_may_come_in_any_order():
    model = MODELS.build("convnext_tiny_cbam", num_classes=2, pretrained=False, cbam_stages=[2, 1])
    assert {stage: block.channel.excite.out_channels for stage, block in model.cbam.items()} == {"1": 96, "2": 192}


def test_without_stages_it_is_timms_convnext():
    torch.manual_seed(0)
    plain = ConvNeXtTinyCBAM(3, cbam_stages=[]).eval()
    timms = timm.create_model("convnext_tiny", num_classes=3).eval()
    timms.load_state_dict(plain.backbone.state_dict())
    images = torch.randn(2, 3, 33, 65)
    with torch.no_grad():
        assert torch.equal(plain(images), timms(images))


def test_uniform_attention_hardly_changes_what_pretrained_features_say(model):
    """Two sigmoids of zero scale the features by a quarter; the normalisation that follows takes it out again."""
    plain = ConvNeXtTinyCBAM(4, cbam_stages=[]).eval()
    plain.backbone.load_state_dict(model.backbone.state_dict())
    uniform = ConvNeXtTinyCBAM(4).eval()
    uniform.backbone.load_state_dict(model.backbone.state_dict())
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        for parameter in uniform.cbam.parameters():
            parameter.zero_()
        torch.testing.assert_close(uniform(images), plain(images), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("stages", [[0, 3], [5], [3, 3], [-1]])
def test_impossible_stages_are_refused_in_one_line(stages):
    with pytest.raises(ModelError) as caught:
        ConvNeXtTinyCBAM(4, cbam_stages=stages)
    assert str(caught.value) == (
        f"model.cbam_stages: expected stages between 1 and 4, each at most once, got {stages}; "
        "stages count from 1; the default is [3, 4]"
    )


def test_stages_of_the_wrong_type_are_refused_before_anything_is_built():
    with pytest.raises(Problems, match=r"model\.cbam_stages"):
        MODELS.build("convnext_tiny_cbam", num_classes=4, cbam_stages=["last"])


def test_features_head_and_classifier_are_timms(model):
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        features = model.forward_features(images)
        assert features.shape == (1, 768, 2, 3)
        assert model.forward_head(features, pre_logits=True).shape == (1, model.num_features)
        assert torch.equal(model.forward_head(features), model(images))
    assert model.get_classifier().out_features == 4


def test_the_classifier_can_be_replaced():
    model = ConvNeXtTinyCBAM(4, cbam_stages=[4])
    model.reset_classifier(7)
    assert model.num_classes == 7
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 7)


def test_a_full_strip_goes_through_in_one_piece(model):
    with torch.no_grad():
        assert model.forward_features(torch.zeros(1, 3, 256, 1600)).shape == (1, 768, 8, 50)


def test_timms_weights_load_into_the_convnext(tmp_path):
    timms = timm.create_model("convnext_tiny", num_classes=10)
    save_file(timms.state_dict(), tmp_path / "convnext_tiny.safetensors")
    built = build_model("convnext_tiny_cbam", num_classes=4, in_chans=1, pretrained=True, weights_folder=tmp_path)
    assert built.weights.path == tmp_path / "convnext_tiny.safetensors"
    stem = built.module.backbone.stem[0].weight
    torch.testing.assert_close(stem, timms.stem[0].weight.sum(dim=1, keepdim=True))
    for key, value in built.module.backbone.stages.state_dict().items():
        assert torch.equal(value, timms.stages.state_dict()[key])
    assert built.module.get_classifier().out_features == 4


def test_a_whole_saved_model_loads_with_its_attention(tmp_path, model):
    save_file(model.state_dict(), tmp_path / "convnext_tiny_cbam.safetensors")
    twin = build_model("convnext_tiny_cbam", num_classes=4, weights_folder=tmp_path).module
    for key, value in model.state_dict().items():
        assert torch.equal(value, twin.state_dict()[key])
    with pytest.raises(ModelError) as caught:
        build_model("convnext_tiny_cbam", num_classes=4, weights_folder=tmp_path, params={"cbam_stages": [2, 3, 4]})
    assert str(caught.value) == (
        f"{tmp_path / 'convnext_tiny_cbam.safetensors'}: expected a tensor of shape (12, 192, 1, 1) for "
        "`cbam.2.channel.squeeze.weight`, got a file without it; "
        "set model.cbam_stages, reduction and spatial_kernel_size as they were when it was saved"
    )
