"""What every network promises: our own for images and for windows, and a handful of timm's families.

Estimators and ensembles are fitted, not trained step by step; their contract stands in their own tests.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest
import torch
from torch import nn

import ringlight.models
from ringlight.errors import ModelError
from ringlight.models import MODELS, build_model, build_sequence_model, is_ensemble, is_estimator, takes_of
from ringlight.models.heads import CosineHead, classifier_of, features_before_head, install_head, num_features_of

TIMM = ["resnet10t", "resnet18", "mobilenetv4_conv_small", "efficientnet_b0", "convnext_atto", "vit_tiny_patch16_224"]
OWN = [name for name, part in MODELS.parts.items() if not is_estimator(part) and not is_ensemble(part)]
WINDOWS = [name for name in OWN if takes_of(MODELS.parts[name]) == "windows"]
NAMES = [*OWN, *TIMM]
OWN_SIZE = {"vit_tiny_patch16_224": (32, 48), "hybrid": (32, 48)}
PARAMS = {
    "hybrid": {
        "first": "convnextv2_atto",
        "first_options": {"dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1]},
        "second_options": {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]},
        "embed_dim": 16,
    }
}
"""What makes a large model of our own small enough for a test."""
LENGTHS = (8, 9, 31, 128, 300)
"""Time steps: the fewest that are promised, odd numbers, more than any receptive field."""


def _built(name: str, in_chans: int = 3) -> nn.Module:
    torch.manual_seed(0)
    if name in WINDOWS:
        return build_sequence_model(name, num_classes=3, in_chans=in_chans, length=64).module
    size = OWN_SIZE.get(name)
    params = PARAMS.get(name, {})
    return build_model(name, num_classes=3, in_chans=in_chans, pretrained=False, image_size=size, params=params).module


@pytest.fixture(scope="module", params=NAMES)
def case(request):
    return request.param, _built(request.param)


@pytest.fixture(scope="module", params=WINDOWS)
def window_case(request):
    return request.param, _built(request.param)


def _inputs(name: str, batch: int = 2, in_chans: int = 3, odd: bool = True) -> torch.Tensor:
    """Images (batch, in_chans, H, W), or windows (batch, in_chans, T)."""
    sizes = ((33,), (64,)) if name in WINDOWS else ((33, 47), (64, 64))
    size = OWN_SIZE.get(name, sizes[0] if odd else sizes[1])
    return torch.randn(batch, in_chans, *size, generator=torch.Generator().manual_seed(1))


def _is_an_entry(kind: type[nn.Module]) -> bool:
    """Whether a configuration could name it: no wrapper of a caller's estimator, and no head on features."""
    parameters = inspect.signature(kind).parameters
    return "num_classes" in parameters and not {"estimator", "num_features"} & set(parameters)


def test_nothing_public_is_missing_from_the_catalogue():
    found = set()
    for info in pkgutil.iter_modules(ringlight.models.__path__):
        module = importlib.import_module(f"ringlight.models.{info.name}")
        for name, value in vars(module).items():
            is_own = inspect.isclass(value) and issubclass(value, nn.Module) and value.__module__ == module.__name__
            if is_own and not name.startswith("_") and _is_an_entry(value):
                found.add(value)
    bases = {base for part in MODELS.parts.values() for base in part.__mro__[1:]}
    assert found - bases == set(MODELS.parts.values())


def test_the_catalogue_knows_timms_names_and_describes_its_own():
    names = MODELS.names()
    assert names[0] == "convnext_tiny_cbam"
    assert len(names) > 1000
    assert set(TIMM) <= set(names)
    assert MODELS.describe()["convnext_tiny_cbam"].startswith("ConvNeXt-Tiny with CBAM after chosen stages")


def test_the_networks_for_windows_are_there():
    assert set(WINDOWS) >= {"cnn1d", "lstm", "gru", "inception_time", "resnet1d", "tcn"}


def test_inputs_become_logits_at_odd_sizes_and_repeat_in_eval(case):
    name, model = case
    inputs = _inputs(name)
    with torch.no_grad():
        logits = model.eval()(inputs)
        assert logits.shape == (2, 3)
        assert torch.isfinite(logits).all()
        assert torch.equal(model(inputs), logits)


def test_gradients_reach_every_parameter(case):
    name, model = case
    model.train().zero_grad()
    model(_inputs(name, batch=4, odd=False)).square().sum().backward()
    missed = [key for key, parameter in model.named_parameters() if parameter.grad is None]
    assert missed == []
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    model.zero_grad()


def test_a_state_dict_round_trips_to_the_bit(case):
    name, model = case
    torch.manual_seed(99)
    if name in WINDOWS:
        twin = build_sequence_model(name, num_classes=3, in_chans=3, length=64).module
    else:
        size, params = OWN_SIZE.get(name), PARAMS.get(name, {})
        twin = build_model(name, num_classes=3, pretrained=False, image_size=size, params=params).module
    twin.load_state_dict(model.state_dict())
    inputs = _inputs(name)
    with torch.no_grad():
        assert torch.equal(model.eval()(inputs), twin.eval()(inputs))


@pytest.mark.parametrize("name", NAMES)
def test_gray_images_and_signals_of_one_sensor_need_one_channel(name):
    model = _built(name, in_chans=1).eval()
    with torch.no_grad():
        assert model(_inputs(name, in_chans=1)).shape == (2, 3)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_weights(name):
    first, second = _built(name).state_dict(), _built(name).state_dict()
    assert list(first) == list(second)
    assert all(torch.equal(first[key], second[key]) for key in first)


# --- windows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", LENGTHS)
def test_windows_of_any_length_are_scored_one_at_a_time_as_together(window_case, length):
    """A window's score must not depend on which others share its batch, whatever `length` the model was built for."""
    _, model = window_case
    windows = torch.randn(3, 3, length, generator=torch.Generator().manual_seed(length))
    with torch.no_grad():
        together = model.eval()(windows)
        alone = torch.cat([model(window[None]) for window in windows])
    assert together.shape == (3, 3)
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)


def test_a_window_of_zeros_and_one_of_large_values_get_finite_scores(window_case):
    """A sensor that is switched off, and one that is out of its range."""
    _, model = window_case
    with torch.no_grad():
        assert torch.isfinite(model.eval()(torch.zeros(1, 3, 40))).all()
        assert torch.isfinite(model(torch.full((1, 3, 40), 1e4))).all()


def test_training_steps_make_the_loss_small(window_case):
    """Three kinds of waves; a network that cannot learn twelve windows by heart has a broken path somewhere."""
    name, _ = window_case
    torch.set_num_threads(1)
    model = _built(name).train()
    targets = torch.arange(12) % 3
    time = torch.arange(32) / 32
    windows = torch.sin(6.28 * (1 + 3 * targets)[:, None, None] * (time + torch.rand(12, 3, 1)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(windows), targets)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


def test_a_linear_classifier_is_found_heard_and_replaced(window_case):
    name, _ = window_case
    model = _built(name).eval()
    windows = _inputs(name)
    layer = classifier_of(model)
    with torch.no_grad():
        features = features_before_head(model, windows)
        assert features.shape == (2, num_features_of(model))
        torch.testing.assert_close(model(windows), features @ layer.weight.T + layer.bias)
    head = CosineHead(num_features_of(model), 5)
    install_head(model, head)
    assert classifier_of(model) is head
    assert model(windows).shape == (2, 5)


def test_images_are_refused_by_a_model_of_windows_in_one_line(window_case):
    _, model = window_case
    with pytest.raises(ModelError) as caught:
        model(torch.zeros(2, 4, 16))
    assert str(caught.value) == (
        f"input of {type(model).__name__}: expected windows (B, 3, T): 3 channels, then time, got (2, 4, 16); "
        "give the channels it was built for, in their order"
    )
    with pytest.raises(ModelError, match=r"got \(2, 3, 16, 16\)"):
        model(torch.zeros(2, 3, 16, 16))
