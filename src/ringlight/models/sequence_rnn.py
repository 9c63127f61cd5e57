"""Recurrent networks, LSTM and GRU: both directions, attention over time, a strided convolution in front.

Their cost grows with the number of steps, one after the other, which is why a convolution shortens a window first.

Shapes: B batch, C channels, T time steps, H hidden units, D directions (1 or 2), S steps behind the
convolution, K classes.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from ringlight.errors import ModelError
from ringlight.models.sequence import SameConv1d, SequenceModel, check_share, check_whole
from ringlight.models.sequence_pooling import Pooling


class FinalStates(nn.Module):
    """What a recurrent network remembers at its end: (B, D H, S) -> (B, D H).

    The forward direction ends at the last step, the backward direction at the first.
    """

    def __init__(self, hidden_size: int, num_features: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.num_features = num_features

    def forward(self, x_bhs: Tensor) -> Tensor:
        """Return both directions' final states, forward first."""
        return torch.cat([x_bhs[:, : self.hidden_size, -1], x_bhs[:, self.hidden_size :, 0]], dim=1)


class _Recurrent(SequenceModel):
    """What LSTM and GRU share; `cell` is PyTorch's layer."""

    cell: ClassVar[type[nn.LSTM] | type[nn.GRU]]

    def __init__(
        self,
        num_classes: int,
        in_chans: int,
        *,
        drop_rate: float = 0.0,
        hidden_size: int = 64,
        num_layers: int = 1,
        bidirectional: bool = True,
        pooling: Pooling = "attention",
        downsample: int = 4,
        layer_drop_rate: float = 0.0,
    ) -> None:
        check_whole(hidden_size, "hidden_size", fix="try 64")
        check_whole(num_layers, "num_layers", fix="one or two are usual")
        check_whole(downsample, "downsample", fix="4 keeps a quarter of the steps, 1 all of them")
        check_share(layer_drop_rate, "layer_drop_rate")
        if layer_drop_rate and num_layers == 1:
            raise ModelError(
                "0, as one layer has no layer behind it", got=str(layer_drop_rate), where="model.layer_drop_rate",
                fix="set model.num_layers=2, or use model.drop_rate",
            )  # fmt: skip
        num_features = hidden_size * (1 + bidirectional)
        super().__init__(in_chans, num_features, num_classes, pooling=pooling, drop_rate=drop_rate)
        if pooling == "last":
            self.pool = FinalStates(hidden_size, num_features)
        self.stem = nn.Sequential()
        if downsample > 1:
            conv = SameConv1d(in_chans, hidden_size, 2 * downsample, stride=downsample)
            self.stem = nn.Sequential(conv, nn.BatchNorm1d(hidden_size), nn.ReLU(inplace=True))
        self.recurrent = self.cell(
            hidden_size if downsample > 1 else in_chans,
            hidden_size,
            num_layers=num_layers,
            batch_first=True,
            bidirectional=bidirectional,
            dropout=layer_drop_rate,
        )

    def forward_features(self, x_bct: Tensor) -> Tensor:
        """Return the last layer's states, (B, D H, S); with two directions the forward ones come first."""
        states_bsh: Tensor = self.recurrent(self.stem(x_bct).transpose(1, 2))[0]
        return states_bsh.transpose(1, 2)


class LSTMClassifier(_Recurrent):
    """Long short-term memory over the steps of a window, attention over its states: (B, C, T) -> logits (B, K).

    Hochreiter and Schmidhuber 1997 (doi:10.1162/neco.1997.9.8.1735) with the forget gate of Gers et al. 2000, as in
    PyTorch; x_t is the input, h the state, c the memory, s the logistic function, * goes element by element:

        i_t = s(W_i x_t + U_i h_(t-1) + b_i)        c_t = f_t * c_(t-1) + i_t * tanh(W_c x_t + U_c h_(t-1) + b_c)
        f_t = s(W_f x_t + U_f h_(t-1) + b_f)        h_t = o_t * tanh(c_t)
        o_t = s(W_o x_t + U_o h_(t-1) + b_o)

    `downsample` above 1 puts a convolution of `hidden_size` filters, 2 `downsample` steps wide and `downsample` apart,
    with batch normalisation and ReLU in front: S = ceil(T / downsample). 1 gives the network the raw steps.
    `bidirectional` reads the window backward as well (Schuster and Paliwal 1997); `num_layers` stack, with dropout
    `layer_drop_rate` between them. `pooling` makes one vector of the states: `attention` (sequence_pooling.py), `mean`,
    `max`, `meanmax`, or `last`, each direction's final state. `drop_rate` is the dropout before the classifier.

    Raises:
        ModelError: a number below 1, a share outside [0, 1), dropout between layers where there is one.

    Examples:
        >>> model = LSTMClassifier(4, 9)
        >>> tuple(model(torch.zeros(2, 9, 1024)).shape), tuple(model.forward_features(torch.zeros(2, 9, 1024)).shape)
        ((2, 4), (2, 128, 256))
    """

    cell = nn.LSTM


class GRUClassifier(_Recurrent):
    """Gated recurrent units over the steps of a window, attention over their states: (B, C, T) -> logits (B, K).

    Cho et al. 2014 (arXiv:1406.1078, equations 5 to 8) in PyTorch's form, whose reset gate acts behind the matrix:

        r_t = s(W_r x_t + U_r h_(t-1) + b_r)        n_t = tanh(W_n x_t + b_n + r_t * (U_n h_(t-1) + d_n))
        z_t = s(W_z x_t + U_z h_(t-1) + b_z)        h_t = (1 - z_t) * n_t + z_t * h_(t-1)

    Three quarters of an LSTM's parameters; the arguments are :class:`LSTMClassifier`'s.

    Raises:
        ModelError: a number below 1, a share outside [0, 1), dropout between layers where there is one.
    """

    cell = nn.GRU
