"""The plain convolutional network, and what it has seen."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ringlight.models import CNN1D


@pytest.mark.parametrize(("length", "steps"), [(1, 1), (8, 1), (9, 2), (128, 16), (1024, 128)])
def test_three_halvings_round_up_so_that_no_window_is_too_short(length: int, steps: int) -> None:
    model = CNN1D(2, 1, filters=(2, 2, 2)).eval()
    assert model.forward_features(torch.zeros(1, 1, length)).shape == (1, 2, steps)


def test_parameters_by_hand() -> None:
    """Three convolutions without biases, two parameters a filter of each normalisation, mean and maximum."""
    by_hand = 9 * 64 * 5 + 64 * 128 * 5 + 128 * 128 * 5 + 2 * (64 + 128 + 128) + 2 * 128 * 4 + 4
    assert sum(parameter.numel() for parameter in CNN1D(4, 9).parameters()) == by_hand == 127_428


def test_one_block_is_convolution_normalisation_relu_and_maximum() -> None:
    torch.manual_seed(0)
    model = CNN1D(2, 2, filters=[3], kernel_size=3, pooling="mean").train()
    x = torch.randn(4, 2, 10)
    conv = nn.functional.conv1d(x, model.blocks[0][0].weight, padding=1)
    normed = (conv - conv.mean(dim=(0, 2), keepdim=True)) / (
        conv.var(dim=(0, 2), keepdim=True, correction=0) + 1e-5
    ).sqrt()
    largest = normed.clamp(min=0).reshape(4, 3, 5, 2).amax(dim=3)
    torch.testing.assert_close(model.forward_features(x), largest)
    torch.testing.assert_close(model(x), model.head(largest.mean(dim=2)))


@pytest.mark.parametrize(
    ("kernel_size", "pool_size", "by_hand"),
    [([3], 1, 3), ([3], 2, 4), ([3, 5], 2, 4 + 4 * 2 + 2), ([7, 5, 3], 3, 9 + 6 * 3 + 4 * 9), (7, 2, 50), (5, 2, 36)],
)
def test_the_receptive_field_is_where_gradients_arrive(
    kernel_size: int | list[int], pool_size: int, by_hand: int
) -> None:
    """A maximum passes its gradient to one step only, so the network looks with means here."""
    filters = [2] * (3 if isinstance(kernel_size, int) else len(kernel_size))
    model = CNN1D(2, 1, filters=filters, kernel_size=kernel_size, pool_size=pool_size).eval()
    for block in model.blocks:
        nn.init.ones_(block[0].weight)
        if pool_size > 1:
            block[3] = nn.AvgPool1d(pool_size)
    x = torch.ones(1, 1, 40 * pool_size ** len(filters), requires_grad=True)
    features = model.forward_features(x)
    features[0, 0, features.shape[2] // 2].backward()
    assert int((x.grad != 0).sum()) == model.receptive_field == by_hand


def test_whole_channels_are_dropped_in_training_only() -> None:
    torch.manual_seed(0)
    model = CNN1D(2, 3, filters=[64], block_drop_rate=0.5)
    x = torch.randn(2, 3, 32)
    silent = (model.train().forward_features(x) == 0).all(dim=2)
    assert 32 < int(silent.sum()) < 96
    assert not (model.eval().forward_features(x) == 0).all(dim=2).any()
