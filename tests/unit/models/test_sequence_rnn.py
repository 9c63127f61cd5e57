"""LSTM and GRU against their equations, and the ends of both directions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ringlight.models import GRUClassifier, LSTMClassifier
from ringlight.models.sequence_rnn import FinalStates

KINDS = [LSTMClassifier, GRUClassifier]


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def lstm_by_steps(layer: nn.LSTM, x_ct: Tensor) -> Tensor:
    """The equations of the docstring, one step after the other; PyTorch keeps the gates as i, f, c, o."""
    h, c = torch.zeros(layer.hidden_size), torch.zeros(layer.hidden_size)
    states = []
    for t in range(x_ct.shape[1]):
        pre = layer.weight_ih_l0 @ x_ct[:, t] + layer.bias_ih_l0 + layer.weight_hh_l0 @ h + layer.bias_hh_l0
        i, f, new, o = pre.chunk(4)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(new)
        h = torch.sigmoid(o) * torch.tanh(c)
        states.append(h)
    return torch.stack(states, dim=1)


def gru_by_steps(layer: nn.GRU, x_ct: Tensor) -> Tensor:
    """The equations of the docstring; PyTorch keeps the gates as r, z, n."""
    h = torch.zeros(layer.hidden_size)
    states = []
    for t in range(x_ct.shape[1]):
        r_x, z_x, n_x = (layer.weight_ih_l0 @ x_ct[:, t] + layer.bias_ih_l0).chunk(3)
        r_h, z_h, n_h = (layer.weight_hh_l0 @ h + layer.bias_hh_l0).chunk(3)
        z = torch.sigmoid(z_x + z_h)
        n = torch.tanh(n_x + torch.sigmoid(r_x + r_h) * n_h)
        h = (1 - z) * n + z * h
        states.append(h)
    return torch.stack(states, dim=1)


@pytest.mark.parametrize(("kind", "by_steps"), [(LSTMClassifier, lstm_by_steps), (GRUClassifier, gru_by_steps)])
def test_the_states_are_the_equations(kind, by_steps) -> None:
    torch.manual_seed(0)
    model = kind(2, 3, hidden_size=4, bidirectional=False, downsample=1).eval()
    x = torch.randn(2, 3, 9)
    with torch.no_grad():
        features = model.forward_features(x)
        for row in range(2):
            torch.testing.assert_close(features[row], by_steps(model.recurrent, x[row]))


@pytest.mark.parametrize("kind", KINDS)
def test_the_final_states_are_those_pytorch_returns(kind) -> None:
    """The backward direction ends at the first step: its state at the last step has read one step only."""
    torch.manual_seed(0)
    model = kind(2, 3, hidden_size=5, downsample=1, pooling="last").eval()
    x = torch.randn(4, 3, 12)
    with torch.no_grad():
        final = model.recurrent(x.transpose(1, 2))[1]
        final = final[0] if isinstance(final, tuple) else final
        torch.testing.assert_close(model.pool(model.forward_features(x)), torch.cat([final[0], final[1]], dim=1))


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_filled_up_with_zeros_is_not_the_window_but_its_packed_states_are(kind) -> None:
    """What lies behind a window's end reaches the backward states, which is why windows are cut to one length; the
    forward states up to the end are PyTorch's of the packed window."""
    torch.manual_seed(0)
    model = kind(2, 3, hidden_size=5, downsample=1).eval()
    x = torch.randn(1, 3, 12)
    longer = torch.cat([x, torch.zeros(1, 3, 6)], dim=2)
    packed = nn.utils.rnn.pack_padded_sequence(longer.transpose(1, 2), torch.tensor([12]), batch_first=True)
    with torch.no_grad():
        own = model.forward_features(x)
        states, _ = nn.utils.rnn.pad_packed_sequence(model.recurrent(packed)[0], batch_first=True)
        filled = model.forward_features(longer)[:, :, :12]
    torch.testing.assert_close(own, states.transpose(1, 2))
    torch.testing.assert_close(own[:, :5], filled[:, :5])
    assert not torch.allclose(own[:, 5:], filled[:, 5:], atol=1e-3)


def test_final_states_by_hand() -> None:
    pool = FinalStates(1, 2)
    assert pool(torch.tensor([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]])).tolist() == [[3.0, 4.0]]


@pytest.mark.parametrize(("downsample", "length", "steps"), [(1, 33, 33), (4, 33, 9), (4, 8, 2), (16, 8, 1)])
def test_a_convolution_in_front_shortens_the_window(downsample: int, length: int, steps: int) -> None:
    model = LSTMClassifier(2, 3, hidden_size=4, downsample=downsample).eval()
    assert model.forward_features(torch.zeros(1, 3, length)).shape == (1, 8, steps)


@pytest.mark.parametrize(("kind", "gates"), [(LSTMClassifier, 4), (GRUClassifier, 3)])
def test_parameters_by_hand(kind, gates: int) -> None:
    """Convolution and its normalisation, two directions of gates with two biases each, attention, classifier."""
    hidden, wide = 64, 128
    recurrent = 2 * gates * (hidden * hidden + hidden * hidden + 2 * hidden)
    by_hand = 9 * hidden * 8 + 2 * hidden + recurrent + (wide * 64 + 64 + 64) + (wide * 4 + 4)
    assert count(kind(4, 9)) == by_hand
    raw = gates * (hidden * 9 + hidden * hidden + 2 * hidden) + (hidden * 4 + 4)
    assert count(kind(4, 9, downsample=1, bidirectional=False, pooling="mean")) == raw


@pytest.mark.parametrize("kind", KINDS)
def test_layers_stack_and_drop_between_them_without_a_warning(kind) -> None:
    """PyTorch warns of dropout behind a single layer; warnings are errors here."""
    model = kind(2, 3, hidden_size=4, num_layers=2, layer_drop_rate=0.5)
    x = torch.randn(2, 3, 16)
    assert not torch.equal(model.train()(x), model(x))
    assert torch.equal(model.eval()(x), model(x))
