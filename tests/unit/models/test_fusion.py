from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from ringlight.errors import ModelError
from ringlight.models.fusion import (
    ChannelNorm,
    ConcatFusion,
    CrossAttention,
    CrossAttentionFusion,
    GatedFusion,
    make_fusion,
    resample,
)


@pytest.fixture
def maps():
    torch.manual_seed(0)
    return torch.randn(2, 8, 3, 4), torch.randn(2, 8, 3, 4)


def test_channels_are_normalised_place_by_place(maps):
    normed = ChannelNorm(8)(maps[0])
    place = maps[0][1, :, 2, 3]
    expected = (place - place.mean()) / torch.sqrt(place.var(unbiased=False) + 1e-5)
    torch.testing.assert_close(normed[1, :, 2, 3], expected)


def test_concatenation_is_one_linear_map_of_both(maps):
    fusion = ConcatFusion(8)
    fused = fusion(*maps)
    both = torch.cat([maps[0][0, :, 1, 2], maps[1][0, :, 1, 2]])
    torch.testing.assert_close(fused[0, :, 1, 2], fusion.mix.weight[:, :, 0, 0] @ both + fusion.mix.bias)


def test_the_gate_weighs_one_against_the_other(maps):
    fusion = GatedFusion(8)
    first, second = maps
    both = torch.cat([first[0, :, 1, 2], second[0, :, 1, 2]])
    share = 1 / (1 + torch.exp(-(fusion.gate.weight[:, :, 0, 0] @ both + fusion.gate.bias)))
    expected = share * first[0, :, 1, 2] + (1 - share) * second[0, :, 1, 2]
    torch.testing.assert_close(fusion(*maps)[0, :, 1, 2], expected)
    with torch.no_grad():
        fusion.gate.weight.zero_()
        fusion.gate.bias.fill_(50.0)
        torch.testing.assert_close(fusion(*maps), first)


def test_cross_attention_is_that_of_a_loop_over_heads_and_tokens():
    torch.manual_seed(0)
    layer = CrossAttention(8, 2)
    asking, asked = torch.randn(1, 3, 8), torch.randn(1, 5, 8)
    query = layer.query(layer.norm_asking(asking))[0]
    key, value = layer.key_value(layer.norm_asked(asked))[0].chunk(2, dim=-1)
    answers = torch.zeros(3, 8)
    for head in range(2):
        own = slice(4 * head, 4 * head + 4)
        for token in range(3):
            scores = torch.stack([query[token, own] @ key[other, own] / math.sqrt(4) for other in range(5)])
            answers[token, own] = sum(w * value[other, own] for other, w in enumerate(scores.softmax(0)))
    torch.testing.assert_close(layer(asking, asked)[0], layer.proj(answers))


def test_cross_attention_is_pytorchs():
    torch.manual_seed(0)
    layer = CrossAttention(8, 4)
    theirs = torch.nn.MultiheadAttention(8, 4, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([layer.query.weight, layer.key_value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([layer.query.bias, layer.key_value.bias]))
        theirs.out_proj.load_state_dict(layer.proj.state_dict())
    asking, asked = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    found = layer.norm_asked(asked)
    expected, _ = theirs(layer.norm_asking(asking), found, found)
    torch.testing.assert_close(layer(asking, asked), expected)


def test_both_maps_ask_and_keep_what_they_have(maps):
    fusion = CrossAttentionFusion(8, num_heads=2)
    with torch.no_grad():
        for side in (fusion.first, fusion.second):
            side.proj.weight.zero_()
            side.proj.bias.zero_()
    torch.testing.assert_close(fusion(*maps), maps[0] + maps[1])


@pytest.mark.parametrize("num_heads", [0, 3])
def test_heads_that_do_not_divide_the_channels_are_refused(num_heads):
    with pytest.raises(ModelError) as caught:
        make_fusion("cross_attention", 8, num_heads=num_heads)
    assert str(caught.value) == (
        f"model.fusion_heads: expected a number of heads that divides embed_dim=8, got {num_heads}; try 1, 2, 4 or 8"
    )


@pytest.mark.parametrize("size", [(7, 7), (2, 3), (6, 2), (1, 1), (12, 50)])
def test_resampling_is_pytorchs_linear_interpolation(size):
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 6, 5)
    expected = F.interpolate(maps, size=size, mode="bilinear", antialias=True)
    torch.testing.assert_close(resample(maps, size), expected, rtol=1e-4, atol=1e-5)


def test_the_same_grid_is_handed_on_and_constants_stay():
    maps = torch.full((1, 2, 3, 4), 0.7)
    assert resample(maps, (3, 4)) is maps
    torch.testing.assert_close(resample(maps, (5, 2)), torch.full((1, 2, 5, 2), 0.7))
