from __future__ import annotations

import math

import pytest
import torch
from timm.layers.cbam import CbamModule

from ringlight.errors import ModelError
from ringlight.models.cbam import CBAM, ChannelAttention, SpatialAttention


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_channel_attention_by_hand():
    attention = ChannelAttention(2, reduction=2)
    with torch.no_grad():
        attention.squeeze.weight.copy_(torch.tensor([1.0, -1.0]).view(1, 2, 1, 1))
        attention.excite.weight.copy_(torch.tensor([1.0, 2.0]).view(2, 1, 1, 1))
    # averages 2 and 1, maxima 3 and 1: hidden relu(1) and relu(2), so logits 1 + 2 and 2 + 4
    features = torch.tensor([[[[1.0, 3.0]], [[1.0, 1.0]]]])
    assert attention(features).flatten().tolist() == pytest.approx([_sigmoid(3), _sigmoid(6)], rel=1e-6)


def test_spatial_attention_by_hand():
    attention = SpatialAttention(kernel_size=1)
    with torch.no_grad():
        attention.conv.weight.copy_(torch.tensor([1.0, -0.5]).view(1, 2, 1, 1))
    # over channels: averages 2 and 0, maxima 3 and 2
    features = torch.tensor([[[[1.0, -2.0]], [[3.0, 2.0]]]])
    assert attention(features).flatten().tolist() == pytest.approx([_sigmoid(0.5), _sigmoid(-1.0)], rel=1e-6)


def test_the_block_equals_a_naive_loop():
    torch.manual_seed(0)
    block = CBAM(4, reduction=2, kernel_size=3).requires_grad_(False)
    features = torch.randn(1, 4, 3, 5)
    w0, w1 = block.channel.squeeze.weight[:, :, 0, 0], block.channel.excite.weight[:, :, 0, 0]
    kernel = block.spatial.conv.weight[0]
    weighed = torch.zeros(4, 3, 5)
    for c in range(4):
        logit = 0.0
        for pooled in (features[0].mean(dim=(1, 2)), features[0].amax(dim=(1, 2))):
            for h in range(2):
                logit += float(w1[c, h]) * max(0.0, sum(float(w0[h, k] * pooled[k]) for k in range(4)))
        weighed[c] = features[0, c] * _sigmoid(logit)
    expected = torch.zeros(4, 3, 5)
    for y in range(3):
        for x in range(5):
            logit = 0.0
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    if 0 <= y + dy < 3 and 0 <= x + dx < 5:
                        place = weighed[:, y + dy, x + dx]
                        logit += float(
                            kernel[0, dy + 1, dx + 1] * place.mean() + kernel[1, dy + 1, dx + 1] * place.max()
                        )
            expected[:, y, x] = weighed[:, y, x] * _sigmoid(logit)
    torch.testing.assert_close(block(features)[0], expected)


def test_the_block_equals_timms():
    """timm normalises after the spatial convolution; fresh running statistics leave only its epsilon of 1e-5."""
    torch.manual_seed(1)
    ours, theirs = CBAM(32), CbamModule(32, rd_ratio=1 / 16).eval()
    theirs.channel.fc1.load_state_dict(ours.channel.squeeze.state_dict())
    theirs.channel.fc2.load_state_dict(ours.channel.excite.state_dict())
    theirs.spatial.conv.conv.load_state_dict(ours.spatial.conv.state_dict())
    features = torch.randn(2, 32, 7, 9)
    with torch.no_grad():
        torch.testing.assert_close(ours(features), theirs(features), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"reduction": 0},
            "model.reduction: expected a reduction between 1 and the 8 channels, got 0; the paper uses 16",
        ),
        (
            {"reduction": 16},
            "model.reduction: expected a reduction between 1 and the 8 channels, got 16; the paper uses 16",
        ),
        (
            {"reduction": 2, "kernel_size": 4},
            "model.spatial_kernel_size: expected an odd kernel size of 1 or more, got 4; the paper uses 7",
        ),
    ],
)
def test_impossible_sizes_are_refused_in_one_line(arguments, message):
    with pytest.raises(ModelError) as caught:
        CBAM(8, **arguments)
    assert str(caught.value) == message
