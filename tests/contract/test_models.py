"""What every model promises, run on our own and on a handful of timm's families."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest
import torch
from torch import nn

import ringlight.models
from ringlight.models import MODELS, build_model

TIMM = ["resnet10t", "resnet18", "mobilenetv4_conv_small", "efficientnet_b0", "convnext_atto", "vit_tiny_patch16_224"]
NAMES = [*MODELS, *TIMM]
OWN_SIZE = {"vit_tiny_patch16_224": (32, 48)}


def _built(name: str, in_chans: int = 3) -> nn.Module:
    torch.manual_seed(0)
    size = OWN_SIZE.get(name)
    return build_model(name, num_classes=3, in_chans=in_chans, pretrained=False, image_size=size).module


@pytest.fixture(scope="module", params=NAMES)
def case(request):
    return request.param, _built(request.param)


def _images(name: str, batch: int = 2, in_chans: int = 3, odd: bool = True) -> torch.Tensor:
    size = OWN_SIZE.get(name, (33, 47) if odd else (64, 64))
    return torch.randn(batch, in_chans, *size, generator=torch.Generator().manual_seed(1))


def test_nothing_public_is_missing_from_the_catalogue():
    found = set()
    for info in pkgutil.iter_modules(ringlight.models.__path__):
        module = importlib.import_module(f"ringlight.models.{info.name}")
        for value in vars(module).values():
            is_own = inspect.isclass(value) and issubclass(value, nn.Module) and value.__module__ == module.__name__
            if is_own and "num_classes" in inspect.signature(value).parameters:
                found.add(value)
    assert found == set(MODELS.parts.values())


def test_the_catalogue_knows_timms_names_and_describes_its_own():
    names = MODELS.names()
    assert names[0] == "convnext_tiny_cbam"
    assert len(names) > 1000
    assert set(TIMM) <= set(names)
    assert MODELS.describe()["convnext_tiny_cbam"].startswith("ConvNeXt-Tiny with CBAM after chosen stages")


def test_images_become_logits_at_odd_sizes_and_repeat_in_eval(case):
    name, model = case
    images = _images(name)
    with torch.no_grad():
        logits = model.eval()(images)
        assert logits.shape == (2, 3)
        assert torch.isfinite(logits).all()
        assert torch.equal(model(images), logits)


def test_gradients_reach_every_parameter(case):
    name, model = case
    model.train().zero_grad()
    model(_images(name, batch=4, odd=False)).square().sum().backward()
    missed = [key for key, parameter in model.named_parameters() if parameter.grad is None]
    assert missed == []
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    model.zero_grad()


def test_a_state_dict_round_trips_to_the_bit(case):
    name, model = case
    torch.manual_seed(99)
    twin = build_model(name, num_classes=3, pretrained=False, image_size=OWN_SIZE.get(name)).module
    twin.load_state_dict(model.state_dict())
    images = _images(name)
    with torch.no_grad():
        assert torch.equal(model.eval()(images), twin.eval()(images))


@pytest.mark.parametrize("name", NAMES)
def test_gray_images_need_one_channel(name):
    model = _built(name, in_chans=1).eval()
    with torch.no_grad():
        assert model(_images(name, in_chans=1)).shape == (2, 3)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_weights(name):
    first, second = _built(name).state_dict(), _built(name).state_dict()
    assert list(first) == list(second)
    assert all(torch.equal(first[key], second[key]) for key in first)
