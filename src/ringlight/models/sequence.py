"""What the classifiers of windows share: a map of features over time, one vector per window, one linear layer.

Shapes: B batch, C channels, T time steps, F features, S steps of the feature map (S <= T), K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from ringlight.errors import ModelError
from ringlight.models.sequence_pooling import Pooling, make_pooling

SHORTEST = 8
"""Time steps every model of windows takes; none needs more."""


class SequenceModel(nn.Module):
    """Base of the classifiers of windows: (B, C, T) -> logits (B, K) for any T.

    A subclass says in `forward_features` how a window becomes a map (B, F, S). The pooling makes one vector (B, F') of
    it, dropout hides a share `drop_rate` of it in training, and `head`, the only linear layer behind it, scores it.
    """

    takes: ClassVar[str] = "windows"

    def __init__(self, in_chans: int, num_features: int, num_outputs: int, *, pooling: Pooling, drop_rate: float):
        super().__init__()
        check_share(drop_rate, "drop_rate")
        self.in_chans = in_chans
        pool = make_pooling(pooling, num_features)
        self.pool: nn.Module = pool
        self.num_features = pool.num_features
        self.dropout = nn.Dropout(drop_rate)
        self.head: nn.Module = nn.Linear(self.num_features, num_outputs)

    def forward_features(self, x_bct: Tensor) -> Tensor:
        """Return the map of features over time, (B, F, S)."""
        raise NotImplementedError(f"{type(self).__name__} has no forward_features")

    def forward(self, x_bct: Tensor) -> Tensor:
        """Return logits, (B, K).

        Raises:
            ModelError: the input is not (B, C, T) with this model's C.
        """
        if x_bct.ndim != 3 or x_bct.shape[1] != self.in_chans:
            raise ModelError(
                f"windows (B, {self.in_chans}, T): {self.in_chans} channels, then time", got=str(tuple(x_bct.shape)),
                where=f"input of {type(self).__name__}", fix="give the channels it was built for, in their order",
            )  # fmt: skip
        pooled: Tensor = self.pool(self.forward_features(x_bct))
        logits: Tensor = self.head(self.dropout(pooled))
        return logits

    def get_classifier(self) -> nn.Module:
        """Return the last layer."""
        return self.head


class SameConv1d(nn.Conv1d):
    """A convolution (B, C, T) -> (B, F, ceil(T / stride)) whose padding keeps the length, for even kernels too.

    The zeros are (kernel - 1) * dilation in all; the odd one, where there is one, stands at the end, as in TensorFlow's
    "same". PyTorch's own `padding="same"` warns of even kernels and refuses strides.
    """

    def __init__(
        self, in_chans: int, filters: int, kernel_size: int, *, stride: int = 1, dilation: int = 1, bias: bool = False
    ) -> None:
        super().__init__(in_chans, filters, kernel_size, stride=stride, dilation=dilation, bias=bias)
        total = (kernel_size - 1) * dilation
        self.before_after = (total // 2, total - total // 2)

    def forward(self, x_bct: Tensor) -> Tensor:
        """Return the convolved sequence."""
        before, after = self.before_after
        if before == after:  # the convolution pads by itself, without a copy
            return F.conv1d(x_bct, self.weight, self.bias, self.stride, before, self.dilation)
        return F.conv1d(F.pad(x_bct, (before, after)), self.weight, self.bias, self.stride, 0, self.dilation)


def check_whole(value: int, name: str, *, least: int = 1, fix: str) -> int:
    """Return a whole number of at least `least`.

    Raises:
        ModelError: it is smaller.
    """
    if value < least:
        raise ModelError(f"a whole number of {least} or more", got=str(value), where=f"model.{name}", fix=fix)
    return value


def check_each(values: Sequence[int], name: str, *, fix: str, count: int | None = None) -> tuple[int, ...]:
    """Return whole numbers of at least 1: any number of them but none, or exactly `count`.

    Raises:
        ModelError: too many, too few, or one below 1.
    """
    if not values or min(values) < 1 or count not in (None, len(values)):
        many = "whole numbers of 1 or more" if count is None else f"{count} whole numbers of 1 or more"
        raise ModelError(many, got=str(list(values)), where=f"model.{name}", fix=fix)
    return tuple(values)


def check_share(value: float, name: str) -> float:
    """Return a share of at least 0 and below 1.

    Raises:
        ModelError: it is outside.
    """
    if not 0 <= value < 1:
        raise ModelError(
            "a share of at least 0 and below 1", got=str(value), where=f"model.{name}", fix="try 0.1; 0 switches it off"
        )
    return value
