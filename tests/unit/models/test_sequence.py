"""What the models of windows share: padding, pooling, checks."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from ringlight.errors import ModelError, Problems
from ringlight.models import build_sequence_model
from ringlight.models.sequence import SameConv1d, SequenceModel
from ringlight.models.sequence_pooling import AttentionPooling, StepPooling, make_pooling


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- convolution that keeps the length --------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("dilation", [1, 2])
def test_the_length_is_kept_as_pytorchs_own_same_padding_keeps_it(kernel: int, dilation: int) -> None:
    conv = SameConv1d(3, 5, kernel, dilation=dilation, bias=True)
    x = randn(2, 3, 11)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns of the copy that even kernels cost
        other = F.conv1d(x, conv.weight, conv.bias, padding="same", dilation=dilation)
    torch.testing.assert_close(conv(x), other)


def test_an_even_kernel_puts_the_odd_zero_at_the_end_by_hand() -> None:
    conv = SameConv1d(1, 1, 2)
    nn.init.ones_(conv.weight)
    assert conv(torch.tensor([[[1.0, 10.0, 100.0]]])).tolist() == [[[11.0, 110.0, 100.0]]]


@pytest.mark.parametrize("length", [1, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("stride", [2, 4])
def test_a_stride_rounds_the_steps_up(length: int, stride: int) -> None:
    conv = SameConv1d(1, 1, 2 * stride, stride=stride)
    assert conv(torch.zeros(1, 1, length)).shape[2] == math.ceil(length / stride)


# --- pooling ----------------------------------------------------------------------------------------------------------


def test_pooling_without_parameters_by_hand() -> None:
    x = torch.tensor([[[1.0, 5.0, 3.0], [-2.0, -4.0, -9.0]]])
    assert StepPooling("mean", 2)(x).tolist() == [[3.0, -5.0]]
    assert StepPooling("max", 2)(x).tolist() == [[5.0, -2.0]]
    assert StepPooling("last", 2)(x).tolist() == [[3.0, -9.0]]
    assert StepPooling("meanmax", 2)(x).tolist() == [[3.0, -5.0, 5.0, -2.0]]
    assert StepPooling("meanmax", 2).num_features == 4


def test_attention_by_hand() -> None:
    """One feature, one unit, W = 1, b = 0, v = ln 3 / tanh 1: steps 1 and 0 weigh 3 to 1."""
    pool = AttentionPooling(1)
    with torch.no_grad():
        pool.project.weight.fill_(1.0)
        pool.project.bias.zero_()
        pool.score.weight.fill_(math.log(3) / math.tanh(1))
    x = torch.tensor([[[1.0, 0.0]]])
    torch.testing.assert_close(pool.weights(x), torch.tensor([[0.75, 0.25]]))
    torch.testing.assert_close(pool(x), torch.tensor([[0.75]]))


def test_attention_is_the_formula_step_by_step() -> None:
    pool = AttentionPooling(6, units=4)
    nn.init.normal_(pool.score.weight)
    x = randn(3, 6, 7)
    weight, bias, v = pool.project.weight.detach(), pool.project.bias.detach(), pool.score.weight[0].detach()
    for row in range(3):
        scores = [math.exp(float(v @ torch.tanh(weight @ x[row, :, t] + bias))) for t in range(7)]
        expected = sum((scores[t] / sum(scores) * x[row, :, t] for t in range(7)), torch.zeros(6))
        torch.testing.assert_close(pool(x)[row], expected)
    torch.testing.assert_close(pool.weights(x).sum(dim=1), torch.ones(3))
    assert (pool.weights(x) > 0).all()


def test_attention_is_pytorchs_with_one_query() -> None:
    """scaled_dot_product_attention of the query v sqrt(A) over the keys tanh(W h + b), whose values are the states."""
    pool = AttentionPooling(6, units=4)
    nn.init.normal_(pool.score.weight)
    x = randn(3, 6, 7)
    steps = x.transpose(1, 2)
    query = (pool.score.weight * math.sqrt(4)).expand(3, 1, 4)
    other = F.scaled_dot_product_attention(query, torch.tanh(pool.project(steps)), steps)
    torch.testing.assert_close(pool(x), other.squeeze(1))


def test_attention_starts_as_the_mean_and_learns_to_look_at_one_step() -> None:
    """The class stands in step 0 or 5 of noise; a mean over 20 steps hardly sees it."""
    torch.manual_seed(0)
    pool, head = AttentionPooling(4), nn.Linear(4, 2)
    x, targets = 0.3 * randn(64, 4, 20), torch.arange(64) % 2
    torch.testing.assert_close(pool(x), x.mean(dim=2))
    x[torch.arange(64), 0, 5 * (torch.arange(64) // 2 % 2)] = 4.0
    x[torch.arange(64), 1, 5 * (torch.arange(64) // 2 % 2)] = 4.0 * (2 * targets - 1)
    optimizer = torch.optim.Adam([*pool.parameters(), *head.parameters()], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(head(pool(x)), targets).backward()
        optimizer.step()
    weights = pool.weights(x)
    marked = weights[torch.arange(64), 5 * (torch.arange(64) // 2 % 2)]
    assert marked.min() > 0.5


def test_an_unknown_pooling_gets_the_near_miss() -> None:
    with pytest.raises(ModelError) as caught:
        make_pooling("atention", 4)
    assert str(caught.value) == ("model.pooling: expected a known pooling, got `atention`; did you mean `attention`?")


# --- refused ----------------------------------------------------------------------------------------------------------

FILTERS_FIX = "give the filters of each block, such as [64, 128, 128]"
KERNELS = "expected 3 whole numbers of 1 or more, got"


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("cnn1d", {"filters": [64, 0]}, f"filters: expected whole numbers of 1 or more, got [64, 0]; {FILTERS_FIX}"),
        ("cnn1d", {"filters": []}, f"filters: expected whole numbers of 1 or more, got []; {FILTERS_FIX}"),
        ("cnn1d", {"kernel_size": [3, 5]}, f"kernel_size: {KERNELS} [3, 5]; give one number, or one a block"),
        ("cnn1d", {"kernel_size": 0}, "kernel_size: expected a whole number of 1 or more, got 0; give one number, or"
            " one a block"),
        ("cnn1d", {"pool_size": 0}, "pool_size: expected a whole number of 1 or more, got 0; 2 halves the steps,"
            " 1 keeps them"),
        ("cnn1d", {"block_drop_rate": 1.0}, "block_drop_rate: expected a share of at least 0 and below 1, got 1.0;"
            " try 0.1; 0 switches it off"),
        ("lstm", {"hidden_size": 0}, "hidden_size: expected a whole number of 1 or more, got 0; try 64"),
        ("gru", {"num_layers": 0}, "num_layers: expected a whole number of 1 or more, got 0; one or two are usual"),
        ("gru", {"downsample": 0}, "downsample: expected a whole number of 1 or more, got 0; 4 keeps a quarter of the"
            " steps, 1 all of them"),
        ("lstm", {"layer_drop_rate": 0.2}, "layer_drop_rate: expected 0, as one layer has no layer behind it, got 0.2;"
            " set model.num_layers=2, or use model.drop_rate"),
        ("inception_time", {"depth": 0}, "depth: expected a whole number of 1 or more, got 0; the paper uses 6"),
        ("inception_time", {"bottleneck": -1}, "bottleneck: expected a whole number of 0 or more, got -1; the paper"
            " uses 32; 0 leaves it out"),
        ("inception_time", {"kernel_sizes": []}, "kernel_sizes: expected whole numbers of 1 or more, got []; the paper"
            " uses [40, 20, 10]"),
        ("resnet1d", {"filters": [-4]}, "filters: expected whole numbers of 1 or more, got [-4]; the paper uses"
            " [64, 128, 128]"),
        ("tcn", {"kernel_size": 1}, "kernel_size: expected a whole number of 2 or more, got 1; one step sees no past;"
            " try 4"),
        ("tcn", {"block_drop_rate": -0.1}, "block_drop_rate: expected a share of at least 0 and below 1, got -0.1;"
            " try 0.1; 0 switches it off"),
    ],
)  # fmt: skip
def test_a_wrong_number_is_refused_in_one_line(name: str, params: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError) as caught:
        build_sequence_model(name, num_classes=4, in_chans=9, length=64, params=params)
    assert str(caught.value) == f"model.{message}"


def test_values_of_another_type_and_unknown_keys_are_refused_together() -> None:
    with pytest.raises(Problems) as caught:
        build_sequence_model(
            "cnn1d", num_classes=4, in_chans=9, length=64, params={"filter": [3], "pooling": "sum", "pool_size": 2.5}
        )
    assert caught.value.problems == [
        "model.filter: expected a parameter of model `cnn1d`, got unknown key `model.filter`; did you mean `filters`?",
        "model.pooling: expected 'mean', 'max', 'meanmax', 'last' or 'attention', got 'sum'; correct the value "
        "(default: 'meanmax')",
        "model.pool_size: expected a valid integer, got 2.5; correct the value (default: 2)",
    ]


def test_a_model_that_forgets_its_features_says_so() -> None:
    class Empty(SequenceModel):
        """A subclass without a network."""

    with pytest.raises(NotImplementedError, match="Empty has no forward_features"):
        Empty(3, 4, 2, pooling="mean", drop_rate=0.0)(torch.zeros(1, 3, 8))
