"""The residual network for time series of Wang et al. 2017 (arXiv:1611.06455, section 2.3).

Shapes: B batch, C channels, T time steps, F filters, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ringlight.models.sequence import SameConv1d, SequenceModel, check_each
from ringlight.models.sequence_pooling import Pooling


class ResidualBlock1d(nn.Module):
    """Convolutions with batch normalisation and a way past them (equation 2 of the paper): (B, C, T) -> (B, F, T).

        h_1 = Block_k1(x),  h_2 = Block_k2(h_1),  h_3 = Block_k3(h_2),  y = x + h_3,  out = ReLU(y)

    ReLU follows each convolution but the last, which meets the sum first. x goes past through one-step filters where
    the widths differ, and through batch normalisation always, as in the authors' code.
    """

    def __init__(self, in_chans: int, filters: int, kernel_sizes: Sequence[int]) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for number, kernel in enumerate(kernel_sizes):
            parts += [SameConv1d(filters if number else in_chans, filters, kernel), nn.BatchNorm1d(filters), nn.ReLU()]
        self.convolutions = nn.Sequential(*parts[:-1])
        self.shortcut = nn.Sequential(nn.BatchNorm1d(filters))
        if in_chans != filters:
            self.shortcut.insert(0, nn.Conv1d(in_chans, filters, 1, bias=False))

    def forward(self, x_bct: Tensor) -> Tensor:
        """Return the block's map."""
        return torch.relu(self.convolutions(x_bct) + self.shortcut(x_bct))


class ResNet1D(SequenceModel):
    """Three residual blocks of three convolutions, then the mean over time: (B, C, T) -> logits (B, K).

    `filters` of each block, `kernel_sizes` of the convolutions inside every block; the paper's are the defaults. No
    pooling in between: every step of the last map belongs to a step of the window. Convolutions have no bias, since
    batch normalisation takes it away again; the authors' have one, without effect.

    Raises:
        ModelError: no block or kernel, a number below 1, or a share outside [0, 1).

    Examples:
        >>> model = ResNet1D(4, 9, filters=(8, 16))
        >>> tuple(model(torch.zeros(2, 9, 128)).shape), tuple(model.forward_features(torch.zeros(2, 9, 128)).shape)
        ((2, 4), (2, 16, 128))
    """

    def __init__(
        self,
        num_classes: int,
        in_chans: int,
        *,
        drop_rate: float = 0.0,
        filters: Sequence[int] = (64, 128, 128),
        kernel_sizes: Sequence[int] = (8, 5, 3),
        pooling: Pooling = "mean",
    ) -> None:
        widths = check_each(filters, "filters", fix="the paper uses [64, 128, 128]")
        kernels = check_each(kernel_sizes, "kernel_sizes", fix="the paper uses [8, 5, 3]")
        super().__init__(in_chans, widths[-1], num_classes, pooling=pooling, drop_rate=drop_rate)
        befores = (in_chans, *widths[:-1])
        self.blocks = nn.Sequential(
            *(ResidualBlock1d(before, width, kernels) for before, width in zip(befores, widths, strict=True))
        )

    def forward_features(self, x_bct: Tensor) -> Tensor:
        """Return the last block's map, (B, F, T)."""
        features: Tensor = self.blocks(x_bct)
        return features
