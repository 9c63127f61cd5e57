"""The temporal convolutional network of Bai et al. 2018 (arXiv:1803.01271): causal, dilated, residual.

Shapes: B batch, C channels, T time steps, F filters, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from ringlight.models.sequence import SequenceModel, check_each, check_share, check_whole
from ringlight.models.sequence_pooling import Pooling


class CausalConv1d(nn.Module):
    """A dilated convolution of the past, weight-normalised: (B, C, T) -> (B, F, T).

        out_t = b + sum_i W_i x_(t - i d),  i = 0 .. k - 1,  x_t = 0 for t < 0      (section 3.3 of the paper)
        W = g v / ||v||, for each filter by itself      (Salimans and Kingma 2016, arXiv:1602.07868, equation 2)

    d is `dilation`, k `kernel_size`. g starts as ||v||, so that W starts as PyTorch would draw it.
    """

    def __init__(self, in_chans: int, filters: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        drawn = nn.Conv1d(in_chans, filters, kernel_size)
        self.direction = nn.Parameter(drawn.weight.detach())
        self.length = nn.Parameter(self._norm().detach())
        self.bias = nn.Parameter(torch.zeros(filters))
        self.dilation = dilation

    def _norm(self) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(self.direction, dim=(1, 2), keepdim=True)
        return norm

    def forward(self, x_bct: Tensor) -> Tensor:
        """Return the convolved sequence, as long as the input."""
        weight = self.direction * (self.length / self._norm())
        past = (weight.shape[2] - 1) * self.dilation
        return F.conv1d(F.pad(x_bct, (past, 0)), weight, self.bias, dilation=self.dilation)


class TemporalBlock(nn.Module):
    """Twice a causal convolution, ReLU and dropout of whole channels, and a way past them (figure 1b of the paper).

        out = ReLU(x + F(x)),  (B, C, T) -> (B, F, T)

    x goes through one-step filters where the widths differ.
    """

    def __init__(self, in_chans: int, filters: int, kernel_size: int, dilation: int, drop_rate: float) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for before in (in_chans, filters):
            parts += [CausalConv1d(before, filters, kernel_size, dilation), nn.ReLU(), nn.Dropout1d(drop_rate)]
        self.convolutions = nn.Sequential(*parts)
        self.shortcut = nn.Conv1d(in_chans, filters, 1) if in_chans != filters else nn.Identity()

    def forward(self, x_bct: Tensor) -> Tensor:
        """Return the block's map."""
        return torch.relu(self.shortcut(x_bct) + self.convolutions(x_bct))


class TCN(SequenceModel):
    """Causal convolutions whose dilation doubles from block to block: (B, C, T) -> logits (B, K).

    Block i has `filters[i]` filters of `kernel_size` steps, 2^i apart. A step of the last map has seen itself and the
    past, `receptive_field` steps in all: 1 + 2 (k - 1) (2^L - 1) with L blocks; longer than the window, the last step
    knows all of it. Nothing later has any influence: features can be computed while the machine runs.

    `pooling` `last` classifies by the last step, as the paper does; `mean` by all of them, which suits windows that are
    longer than the receptive field. `block_drop_rate` is the blocks' dropout, `drop_rate` that before the classifier.

    Raises:
        ModelError: no block, a kernel below 2 steps, a number below 1, or a share outside [0, 1).

    Examples:
        >>> model = TCN(4, 9)
        >>> tuple(model(torch.zeros(2, 9, 128)).shape), model.receptive_field
        ((2, 4), 187)
    """

    def __init__(
        self,
        num_classes: int,
        in_chans: int,
        *,
        drop_rate: float = 0.0,
        filters: Sequence[int] = (32, 32, 32, 32, 32),
        kernel_size: int = 4,
        pooling: Pooling = "mean",
        block_drop_rate: float = 0.1,
    ) -> None:
        widths = check_each(filters, "filters", fix="give the filters of each block, such as [32, 32, 32, 32]")
        check_whole(kernel_size, "kernel_size", least=2, fix="one step sees no past; try 4")
        check_share(block_drop_rate, "block_drop_rate")
        super().__init__(in_chans, widths[-1], num_classes, pooling=pooling, drop_rate=drop_rate)
        self.receptive_field = 1 + 2 * (kernel_size - 1) * (2 ** len(widths) - 1)
        befores = (in_chans, *widths[:-1])
        self.blocks = nn.Sequential(
            *(
                TemporalBlock(before, width, kernel_size, 2**number, block_drop_rate)
                for number, (before, width) in enumerate(zip(befores, widths, strict=True))
            )
        )

    def forward_features(self, x_bct: Tensor) -> Tensor:
        """Return the last block's map, (B, F, T)."""
        features: Tensor = self.blocks(x_bct)
        return features
