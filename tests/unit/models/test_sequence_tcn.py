"""The temporal convolutional network: causal, with the receptive field it says, weights normalised by their formula."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ringlight.models import TCN
from ringlight.models.sequence_tcn import CausalConv1d, TemporalBlock


@pytest.mark.parametrize("dilation", [1, 3])
def test_a_convolution_sums_the_past_by_the_formula(dilation: int) -> None:
    torch.manual_seed(0)
    conv = CausalConv1d(2, 3, 4, dilation)
    nn.init.uniform_(conv.bias)
    nn.init.uniform_(conv.length)
    x = torch.randn(1, 2, 12)
    out = conv(x)
    for f in range(3):
        v = conv.direction[f]
        weight = conv.length[f, 0, 0] * v / v.square().sum().sqrt()
        for t in range(12):
            expected = conv.bias[f].clone()
            for i in range(4):
                if t - i * dilation >= 0:
                    expected = expected + weight[:, 3 - i] @ x[0, :, t - i * dilation]
            torch.testing.assert_close(out[0, f, t], expected)


def test_the_weights_are_normalised_as_pytorch_does_it() -> None:
    torch.manual_seed(0)
    own, other = CausalConv1d(2, 3, 4, 2), nn.Conv1d(2, 3, 4, dilation=2)
    nn.utils.parametrizations.weight_norm(other)
    nn.init.uniform_(own.length)
    with torch.no_grad():
        other.parametrizations.weight.original0.copy_(own.length)
        other.parametrizations.weight.original1.copy_(own.direction)
        other.bias.copy_(own.bias)
    x = torch.randn(2, 2, 9)
    torch.testing.assert_close(own(x), other(nn.functional.pad(x, (6, 0))))


def test_the_norm_starts_as_the_drawn_weights_own() -> None:
    torch.manual_seed(0)
    conv = CausalConv1d(2, 3, 4, 1)
    torch.manual_seed(0)
    drawn = nn.Conv1d(2, 3, 4)
    x = torch.randn(1, 2, 9)
    torch.testing.assert_close(conv(x), nn.functional.conv1d(nn.functional.pad(x, (3, 0)), drawn.weight))


def test_nothing_later_has_any_influence() -> None:
    """Whatever comes behind step t, the map up to t stays the same to the bit; from t on it does not."""
    torch.manual_seed(0)
    model = TCN(2, 3, filters=[4, 4, 4], kernel_size=3).eval()
    x = torch.randn(2, 3, 40)
    with torch.no_grad():
        before = model.forward_features(x)
        for t in (1, 7, 20, 39):
            changed = x.clone()
            changed[:, :, t:] = torch.randn(2, 3, 40 - t)
            after = model.forward_features(changed)
            torch.testing.assert_close(after[:, :, :t], before[:, :, :t], rtol=0, atol=1e-6)
            assert not torch.allclose(after[:, :, t:], before[:, :, t:], atol=1e-3)


@pytest.mark.parametrize(
    ("filters", "kernel_size", "by_hand"),
    [([2], 2, 3), ([2, 2], 3, 1 + 4 + 8), ([2, 3, 2], 3, 1 + 4 + 8 + 16), ([2] * 5, 4, 187), ([2] * 8, 4, 1531)],
)
def test_the_receptive_field_is_where_gradients_arrive(filters: list[int], kernel_size: int, by_hand: int) -> None:
    model = TCN(2, 1, filters=filters, kernel_size=kernel_size).eval()
    for parameter in model.blocks.parameters():
        nn.init.ones_(parameter)
    x = torch.ones(1, 1, by_hand + 50, requires_grad=True)
    model.forward_features(x)[0, 0, -1].backward()
    reached = x.grad[0, 0].nonzero().flatten()
    assert len(x.grad[0, 0]) - int(reached.min()) == model.receptive_field == by_hand
    assert int(reached.max()) == len(x.grad[0, 0]) - 1


def test_a_block_of_equal_widths_carries_its_input_past() -> None:
    block = TemporalBlock(3, 3, 2, 1, 0.0)
    for parameter in block.parameters():
        if parameter.ndim == 3 and parameter.shape[1] == 1:
            nn.init.zeros_(parameter)  # the lengths g: no filter says anything
    x = torch.randn(2, 3, 8)
    torch.testing.assert_close(block(x), torch.relu(x))


def test_parameters_by_hand() -> None:
    """Two convolutions a block with a direction, a length and a bias a filter; one shortcut, as the channels differ."""
    first = (9 * 32 * 4 + 32 + 32) + (32 * 32 * 4 + 32 + 32) + (9 * 32 + 32)
    others = 2 * (32 * 32 * 4 + 32 + 32)
    assert sum(p.numel() for p in TCN(4, 9).parameters()) == first + 4 * others + 32 * 4 + 4 == 39_108


def test_the_last_step_alone_can_be_classified_as_in_the_paper() -> None:
    torch.manual_seed(0)
    model = TCN(2, 3, filters=[4], pooling="last").eval()
    x = torch.randn(2, 3, 16)
    torch.testing.assert_close(model(x), model.head(model.forward_features(x)[:, :, -1]))
