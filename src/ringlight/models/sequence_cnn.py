"""A plain one-dimensional convolutional network: the first deep model to try on windows, and the fastest.

Shapes: B batch, C channels, T time steps, F features, S steps after the pooling, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ringlight.models.sequence import SameConv1d, SequenceModel, check_each, check_share, check_whole
from ringlight.models.sequence_pooling import Pooling


class CNN1D(SequenceModel):
    """A stack of convolution, batch normalisation, ReLU and max pooling: (B, C, T) -> logits (B, K).

    Block i has `filters[i]` filters of `kernel_size` steps (one number for all blocks, or one each) and keeps the
    largest of every `pool_size` steps (1 keeps them all), the last ones as well where they are fewer: T steps become
    S = ceil(T / pool_size) after each block, so that no window is too short. `pooling` makes one vector of what is
    left, `drop_rate` is the dropout before the classifier, `block_drop_rate` that of whole channels after each block.

    A step of the last map has seen 1 + sum_i (kernel_i - 1) pool_size^i + sum_i (pool_size - 1) pool_size^i input
    steps, i from 0: `receptive_field`. The network is the familiar baseline, not one paper's; its parts are those of
    the fully convolutional network of Wang et al. 2017 (arXiv:1611.06455, section 2.2), with pooling between blocks.

    Raises:
        ModelError: no block, a number below 1, as many kernel sizes as there are not blocks, or a share outside [0, 1).

    Examples:
        >>> import torch
        >>> model = CNN1D(4, 9)
        >>> tuple(model(torch.zeros(2, 9, 1024)).shape)
        (2, 4)
        >>> model.receptive_field  # 1 + 4 + 1 + (4 + 1) 2 + (4 + 1) 4
        36
    """

    def __init__(
        self,
        num_classes: int,
        in_chans: int,
        *,
        drop_rate: float = 0.0,
        filters: Sequence[int] = (64, 128, 128),
        kernel_size: int | Sequence[int] = 5,
        pool_size: int = 2,
        pooling: Pooling = "meanmax",
        block_drop_rate: float = 0.0,
    ) -> None:
        widths = check_each(filters, "filters", fix="give the filters of each block, such as [64, 128, 128]")
        fix = "give one number, or one a block"
        if isinstance(kernel_size, int):
            kernel_size = [check_whole(kernel_size, "kernel_size", fix=fix)] * len(widths)
        kernels = check_each(kernel_size, "kernel_size", fix=fix, count=len(widths))
        check_whole(pool_size, "pool_size", fix="2 halves the steps, 1 keeps them")
        super().__init__(in_chans, widths[-1], num_classes, pooling=pooling, drop_rate=drop_rate)
        check_share(block_drop_rate, "block_drop_rate")
        self.blocks = nn.Sequential()
        self.receptive_field = 1
        before, step = in_chans, 1
        for width, kernel in zip(widths, kernels, strict=True):
            self.blocks.append(_block(before, width, kernel, pool_size, block_drop_rate))
            self.receptive_field += (kernel - 1 + pool_size - 1) * step
            before, step = width, step * pool_size

    def forward_features(self, x_bct: Tensor) -> Tensor:
        """Return the last block's map, (B, F, S)."""
        features: Tensor = self.blocks(x_bct)
        return features


def _block(before: int, width: int, kernel: int, pool_size: int, drop_rate: float) -> nn.Sequential:
    parts: list[nn.Module] = [SameConv1d(before, width, kernel), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
    if pool_size > 1:
        parts.append(nn.MaxPool1d(pool_size, ceil_mode=True))
    if drop_rate:
        parts.append(nn.Dropout1d(drop_rate))
    return nn.Sequential(*parts)
