"""The residual network of Wang et al. 2017: its size by hand, its way past the convolutions."""

from __future__ import annotations

import torch
from torch import nn

from ringlight.models import ResNet1D
from ringlight.models.sequence_resnet import ResidualBlock1d


def test_parameters_by_hand() -> None:
    """Nine convolutions (8, 5, 3 steps), their normalisations, shortcuts: one-step filters where the width changes."""

    def block(before: int, width: int) -> int:
        convolutions = before * width * 8 + width * width * 5 + width * width * 3
        shortcut = before * width if before != width else 0
        return convolutions + 3 * 2 * width + shortcut + 2 * width

    for chans in (1, 9):
        by_hand = block(chans, 64) + block(64, 128) + block(128, 128) + 128 * 4 + 4
        assert sum(parameter.numel() for parameter in ResNet1D(4, chans).parameters()) == by_hand


def test_a_block_is_equation_2() -> None:
    torch.manual_seed(0)
    block = ResidualBlock1d(3, 4, [4, 3]).eval()
    for norm in (block.convolutions[1], block.convolutions[4], block.shortcut[1]):
        nn.init.uniform_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    x = torch.randn(2, 3, 9)

    def normed(norm: nn.BatchNorm1d, y: torch.Tensor) -> torch.Tensor:
        return (y - norm.running_mean[:, None]) / (norm.running_var[:, None] + 1e-5).sqrt()

    first = nn.functional.conv1d(nn.functional.pad(x, (1, 2)), block.convolutions[0].weight)
    h = normed(block.convolutions[1], first).clamp(min=0)
    h = normed(block.convolutions[4], nn.functional.conv1d(h, block.convolutions[3].weight, padding=1))
    past = normed(block.shortcut[1], torch.einsum("fc,bct->bft", block.shortcut[0].weight[:, :, 0], x))
    torch.testing.assert_close(block(x), (h + past).clamp(min=0))


def test_equal_widths_go_past_through_normalisation_alone() -> None:
    block = ResidualBlock1d(4, 4, [3])
    assert [type(part) for part in block.shortcut] == [nn.BatchNorm1d]
    assert not any(isinstance(part, nn.ReLU) for part in block.convolutions), "the last convolution meets the sum first"


def test_every_step_keeps_its_place() -> None:
    """A burst in the middle of silence: the map differs around it only, which is what explanations rely on."""
    torch.manual_seed(0)
    model = ResNet1D(2, 1, filters=[4, 4]).eval()
    silence, burst = torch.zeros(1, 1, 101), torch.zeros(1, 1, 101)
    burst[0, 0, 50] = 5.0
    with torch.no_grad():
        differs = (model.forward_features(burst) - model.forward_features(silence)).abs().sum(dim=(0, 1)) > 0
    touched = differs.nonzero().flatten()
    assert touched.min() >= 50 - 2 * 13
    assert touched.max() <= 50 + 2 * 13
    assert differs[50]
