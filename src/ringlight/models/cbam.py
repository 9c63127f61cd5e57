"""CBAM, the convolutional block attention module (Woo et al. 2018, arXiv:1807.06521).

A feature map is weighed twice: which channels matter, then which places matter. Equation numbers are the paper's.
Two choices it leaves open: the two-layer network has no biases (the paper names only W0 and W1), and no batch
normalisation follows the spatial convolution (the authors' later code has one; equation 3 has none, and with the two
to four full-size strips that fit a batch its statistics would be noise).

Shapes: B batch, C channels, H x W places of the feature map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ringlight.errors import ModelError


class ChannelAttention(nn.Module):
    """Weigh channels (equation 2): M_c(F) = sigmoid(W1 ReLU(W0 avg(F)) + W1 ReLU(W0 max(F))), (B, C, 1, 1).

    The hidden layer has `channels // reduction` units, at least one; both poolings share W0 and W1.
    """

    def __init__(self, channels: int, *, reduction: int = 16) -> None:
        super().__init__()
        if not 1 <= reduction <= channels:
            raise ModelError(
                f"a reduction between 1 and the {channels} channels",
                got=str(reduction),
                where="model.reduction",
                fix="the paper uses 16",
            )
        hidden = channels // reduction
        self.squeeze = nn.Conv2d(channels, hidden, kernel_size=1, bias=False)
        self.excite = nn.Conv2d(hidden, channels, kernel_size=1, bias=False)

    def forward(self, x_bchw: Tensor) -> Tensor:
        """Return the attention M_c of a feature map, (B, C, 1, 1), each value in (0, 1)."""
        average = x_bchw.mean(dim=(2, 3), keepdim=True)
        # amax and not adaptive max pooling: its backward pass is deterministic on a GPU too.
        maximum = x_bchw.amax(dim=(2, 3), keepdim=True)
        return torch.sigmoid(self._mlp(average) + self._mlp(maximum))

    def _mlp(self, pooled: Tensor) -> Tensor:
        weighed: Tensor = self.excite(torch.relu(self.squeeze(pooled)))
        return weighed


class SpatialAttention(nn.Module):
    """Weigh places (equation 3): M_s(F) = sigmoid(f([avg(F); max(F)])), (B, 1, H, W).

    The poolings run over channels; f is a `kernel_size` x `kernel_size` convolution (odd, the paper's 7 by default)
    that keeps the size.
    """

    def __init__(self, *, kernel_size: int = 7) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ModelError(
                "an odd kernel size of 1 or more",
                got=str(kernel_size),
                where="model.spatial_kernel_size",
                fix="the paper uses 7",
            )
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x_bchw: Tensor) -> Tensor:
        """Return the attention M_s of a feature map, (B, 1, H, W), each value in (0, 1)."""
        pooled = torch.cat([x_bchw.mean(dim=1, keepdim=True), x_bchw.amax(dim=1, keepdim=True)], dim=1)
        return torch.sigmoid(self.conv(pooled))


class CBAM(nn.Module):
    """Channel, then spatial attention (equation 1): F' = M_c(F) * F, F'' = M_s(F') * F'. The shape stays.

    Examples:
        >>> block = CBAM(384)
        >>> tuple(block(torch.zeros(2, 384, 4, 25)).shape)
        (2, 384, 4, 25)
        >>> sum(parameter.numel() for parameter in block.parameters())  # 2 * 384 * 24 + 2 * 7 * 7
        18530
    """

    def __init__(self, channels: int, *, reduction: int = 16, kernel_size: int = 7) -> None:
        super().__init__()
        self.channel = ChannelAttention(channels, reduction=reduction)
        self.spatial = SpatialAttention(kernel_size=kernel_size)

    def forward(self, x_bchw: Tensor) -> Tensor:
        """Return the feature map weighed by both attentions, (B, C, H, W)."""
        weighed: Tensor = self.channel(x_bchw) * x_bchw
        refined: Tensor = self.spatial(weighed) * weighed
        return refined
