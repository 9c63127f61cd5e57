from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ringlight.errors import ConfigError, ModelError, Problems
from ringlight.models import MODELS, build_model, build_sequence_model


class _Plugin(nn.Module):
    """A third party's model that takes nothing but the number of classes and its own width."""

    def __init__(self, num_classes: int, *, width: int = 4) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.head(self.layers(x))


def test_both_families_build_through_the_catalogue():
    for name, params in (("convnext_tiny_cbam", {"cbam_stages": [3, 4]}), ("resnet18", {})):
        model = MODELS.build(name, num_classes=4, pretrained=False, **params)
        assert sum(parameter.numel() for parameter in model.parameters()) > 10e6


def test_random_weights_expect_imagenets_statistics():
    built = build_model("resnet10t", num_classes=2, pretrained=False)
    assert built.mean == (0.485, 0.456, 0.406)
    assert built.std == (0.229, 0.224, 0.225)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "model.num_classes: expected at least one class, got 0; leave it out to take the data's"),
        ({"in_chans": 2}, "model.in_chans: expected 1 or 3 channels, got 2; gray is 1, colour is 3"),
        ({"drop_rate": 1.0}, "model.drop_rate: expected a share of at least 0 and below 1, got 1.0; try 0.1"),
        (
            {"image_size": 16},
            "data.image_size: expected a height and width of 32 pixels or more, got [16, 16]; resize to at least 32",
        ),
        (
            {"image_size": [256, 31]},
            "data.image_size: expected a height and width of 32 pixels or more, got [256, 31]; resize to at least 32",
        ),
    ],
)
def test_impossible_sizes_are_refused_before_anything_is_built(arguments, message):
    with pytest.raises(ModelError) as caught:
        build_model("resnet10t", **{"num_classes": 2, **arguments})
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["resnet10t", "convnext_tiny_cbam"])
def test_an_impossible_drop_path_rate_is_refused_before_training(name):
    """timm takes any number; the first training step then ended in an internal error about `bernoulli_`."""
    with pytest.raises(ModelError, match=r"^model\.drop_path_rate: expected a share of at least 0 and below 1, got 7"):
        build_model(name, num_classes=2, pretrained=False, params={"drop_path_rate": 7.0})


def test_every_mistake_comes_at_once():
    with pytest.raises(Problems) as caught:
        build_model("resnet10t", num_classes=2, params={"drop_path": 0.1, "global_pool": 3})
    assert caught.value.problems == [
        "model.drop_path: expected a parameter of model `resnet10t`, got unknown key `model.drop_path`; "
        "did you mean `drop_path_rate`?",
        "model.global_pool: expected a valid string, got 3; correct the value (default: None)",
    ]


@pytest.mark.parametrize(
    ("typo", "meant"),
    [("resnt18", "resnet18"), ("convnext_tiny_cbm", "convnext_tiny_cbam"), ("efficientnetb0", "efficientnet_b0")],
)
def test_a_misspelt_model_gets_the_near_miss(typo, meant):
    with pytest.raises(ConfigError) as caught:
        MODELS.factory(typo)
    assert str(caught.value) == f"model.name: expected a known model, got `{typo}`; did you mean `{meant}`?"


def test_a_tag_is_part_of_the_name_and_must_exist():
    assert "resnet18.a1_in1k" in MODELS
    assert "resnet18.no_such_tag" not in MODELS
    assert "hf-hub:someone/something" not in MODELS


def test_a_factory_shows_what_its_architecture_takes():
    def shown(name):
        return {parameter.name for parameter in MODELS.parameters(name)}

    assert shown("resnet18") == {"drop_path_rate", "global_pool"}
    assert shown("vit_tiny_patch16_224") == {"drop_path_rate", "global_pool", "img_size", "dynamic_img_size"}
    assert shown("vgg11") == {"global_pool"}


def test_a_value_that_timm_refuses_is_one_line():
    with pytest.raises(
        ModelError, match=r"expected arguments and weights that `resnet10t` takes, got .*global_pool='no'"
    ):
        build_model("resnet10t", num_classes=2, params={"global_pool": "no"})


def test_dropout_reaches_the_classifier():
    built = build_model("resnet10t", num_classes=2, drop_rate=0.3, params={"drop_path_rate": 0.1})
    assert built.module.drop_rate == 0.3


def test_a_transformer_is_built_for_the_size_of_the_images():
    """A ViT made for 224 pixels stopped in the first batch when the data came at another size."""
    built = build_model("vit_tiny_patch16_224", num_classes=2, pretrained=False, image_size=(32, 64))
    assert built.module.training
    with torch.no_grad():
        assert built.module(torch.zeros(1, 3, 32, 64)).shape == (1, 2)


def test_a_size_that_a_transformer_cannot_cut_is_refused_before_training():
    with pytest.raises(
        ModelError, match=r"data\.image_size: expected an image size that `maxvit_.*` takes, got 50 x 50"
    ):
        build_model("maxvit_rmlp_pico_rw_256", num_classes=2, pretrained=False, image_size=50)


def test_a_plugin_gets_only_what_it_takes(monkeypatch):
    point = SimpleNamespace(name="plant_net", load=lambda: _Plugin)
    monkeypatch.setitem(MODELS.__dict__, "_plugins", {"plant_net": point})
    built = build_model("plant_net", num_classes=5, params={"width": 8})
    assert built.module.head.weight.shape == (5, 8)
    assert built.weights.source == "random"
    assert [parameter.name for parameter in MODELS.parameters("plant_net")] == ["width"]


# --- windows ----------------------------------------------------------------------------------------------------------


def test_a_model_of_windows_is_built_for_any_number_of_channels_with_neutral_statistics():
    built = build_sequence_model("cnn1d", num_classes=4, in_chans=9, length=1024, drop_rate=0.3)
    assert built.module(torch.zeros(2, 9, 1024)).shape == (2, 4)
    assert built.module.dropout.p == 0.3
    assert (built.mean, built.std) == ((0.0,) * 9, (1.0,) * 9)
    assert built.weights.source == "random"
    assert built.weights.path is None
    assert built.weights.note == "random weights: cnn1d learns windows from scratch"


def test_an_estimator_has_no_weights_to_start_from(monkeypatch):
    class Estimator(_WindowPlugin):
        """Fitted as a whole."""

        def fit_features(self):
            """Never called here."""

    monkeypatch.setitem(MODELS.parts, "plugin", Estimator)
    built = build_sequence_model("plugin", num_classes=3, in_chans=2, length=60)
    assert built.weights.note == "no weights to start from: plugin is fitted to the features of the training windows"


class _WindowPlugin(nn.Module):
    """A third party's model of windows that is built for one length and draws from its own seed."""

    takes = "windows"

    def __init__(self, num_classes: int, in_chans: int, *, length: int, task: str, seed: int, width: int = 2) -> None:
        super().__init__()
        self.given = (num_classes, in_chans, length, task, seed, width)


def test_a_model_of_windows_is_given_what_it_takes_and_no_more(monkeypatch):
    monkeypatch.setitem(MODELS.parts, "plugin", _WindowPlugin)
    built = build_sequence_model(
        "plugin", num_classes=3, in_chans=2, length=60, drop_rate=0.5, task="multilabel", seed=7, params={"width": 5}
    )
    assert built.module.given == (3, 2, 60, "multilabel", 7, 5)
    with pytest.raises(Problems, match=r"^model\.length: expected a parameter of model `plugin`, got unknown key"):
        build_sequence_model("plugin", num_classes=3, in_chans=2, length=60, params={"length": 4})


def test_a_model_of_windows_is_refused_for_images_in_one_line():
    with pytest.raises(ModelError) as caught:
        build_model("lstm", num_classes=2, params={"cbam_stages": [3]})
    assert str(caught.value) == (
        "model.name: expected a model of images, got `lstm`, which takes windows; "
        "choose from: convnext_tiny_cbam, hybrid, or a timm name"
    )


@pytest.mark.parametrize("name", ["resnet18", "convnext_tiny_cbam"])
def test_a_model_of_images_is_refused_for_windows_in_one_line(name):
    with pytest.raises(ModelError) as caught:
        build_sequence_model(name, num_classes=2, in_chans=9, length=128)
    start = (
        f"model.name: expected a model of windows, got `{name}`, which takes images; choose from: cnn1d, lstm, gru, "
    )
    assert str(caught.value).startswith(start)
    assert "\n" not in str(caught.value)
    assert "timm" not in str(caught.value)


def test_a_misspelt_model_of_windows_gets_the_near_miss():
    with pytest.raises(Problems) as caught:
        build_sequence_model("cnn1", num_classes=2, in_chans=9, length=128)
    assert caught.value.problems == ["model.name: expected a known model, got `cnn1`; did you mean `cnn1d`?"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "model.num_classes: expected at least one class, got 0; leave it out to take the data's"),
        (
            {"in_chans": 0},
            "model.in_chans: expected at least one channel, got 0; leave it out to take the data's channels",
        ),
        ({"length": 7}, "length: expected windows of 8 time steps or more, got 7; cut longer windows"),
        ({"drop_rate": -0.1}, "model.drop_rate: expected a share of at least 0 and below 1, got -0.1; try 0.1"),
    ],
)
def test_impossible_sizes_of_windows_are_refused(arguments, message):
    with pytest.raises(ModelError) as caught:
        build_sequence_model("cnn1d", **{"num_classes": 2, "in_chans": 9, "length": 128, **arguments})
    assert str(caught.value) == message
