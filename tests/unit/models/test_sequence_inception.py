"""InceptionTime: its size as published, its residuals, its module by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ringlight.models import InceptionTime
from ringlight.models.sequence_inception import InceptionModule


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_papers_network_has_its_number_of_parameters() -> None:
    """By hand for one channel: the first module has no bottleneck, five have one; two shortcuts of one-step filters."""
    first = (40 + 20 + 10) * 1 * 32 + 1 * 32 + 2 * 128
    others = 128 * 32 + (40 + 20 + 10) * 32 * 32 + 128 * 32 + 2 * 128
    shortcuts = (1 * 128 + 2 * 128) + (128 * 128 + 2 * 128)
    by_hand = first + 5 * others + shortcuts
    assert by_hand == 420_192
    assert count(InceptionTime(4, 1)) == by_hand + 128 * 4 + 4


def test_more_channels_meet_a_bottleneck_first() -> None:
    assert count(InceptionTime(4, 9)) == 491_716
    assert isinstance(InceptionModule(1, 4, [3], 4).bottleneck, nn.Identity)
    assert InceptionModule(9, 4, [3], 6).bottleneck.weight.shape == (6, 9, 1)
    assert InceptionModule(9, 4, [3], 0).convolutions[0].weight.shape == (4, 9, 3)


def test_a_module_puts_filters_of_every_length_and_the_maximum_side_by_side() -> None:
    torch.manual_seed(0)
    module = InceptionModule(3, 2, [4, 1], 2).train()
    x = torch.randn(4, 3, 9)
    reduced = torch.einsum("fc,bct->bft", module.bottleneck.weight[:, :, 0], x)
    wide = nn.functional.conv1d(nn.functional.pad(reduced, (1, 2)), module.convolutions[0].weight)
    narrow = nn.functional.conv1d(reduced, module.convolutions[1].weight)
    neighbours = nn.functional.pad(x, (1, 1), value=-torch.inf).unfold(2, 3, 1).amax(dim=3)
    largest = torch.einsum("fc,bct->bft", module.pooled[1].weight[:, :, 0], neighbours)
    sides = torch.cat([wide, narrow, largest], dim=1)
    variance = sides.var(dim=(0, 2), keepdim=True, correction=0)
    normed = (sides - sides.mean(dim=(0, 2), keepdim=True)) / (variance + 1e-5).sqrt()
    torch.testing.assert_close(module(x), normed.clamp(min=0))


@pytest.mark.parametrize(("depth", "shortcuts"), [(1, 0), (2, 0), (3, 1), (5, 1), (6, 2)])
def test_every_third_module_has_a_residual(depth: int, shortcuts: int) -> None:
    model = InceptionTime(2, 3, filters=2, depth=depth).eval()
    assert len(model.shortcuts) == shortcuts
    assert model(torch.zeros(1, 3, 16)).shape == (1, 2)


def test_a_residual_carries_the_window_past_three_silent_modules() -> None:
    """With the modules' normalisation set to nothing, only the shortcut is left: the network is ReLU of it."""
    torch.manual_seed(0)
    model = InceptionTime(2, 3, filters=2, depth=3).eval()
    for module in model.inception:
        nn.init.zeros_(module.norm.weight)
    x = torch.randn(2, 3, 16)
    with torch.no_grad():
        torch.testing.assert_close(model.forward_features(x), torch.relu(model.shortcuts[0](x)))
