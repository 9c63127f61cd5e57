"""From a feature map (B, C, H, W) to one vector an image (B, C): the mean, or the generalised mean."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Pooling = Literal["avg", "gem"]

FLOOR = 1e-6
"""The least value that enters a generalised mean, which is of positive numbers."""


class AveragePooling(nn.Module):
    """The mean over all places: (B, C, H, W) -> (B, C)."""

    def forward(self, x_bchw: Tensor) -> Tensor:
        """Return the means (B, C)."""
        return x_bchw.mean(dim=(2, 3))


class GeMPooling(nn.Module):
    """Generalised mean (Radenovic et al. 2018, arXiv:1711.02512, equation 3): (B, C, H, W) -> (B, C).

    f_c = (1 / HW sum_hw max(x_chw, 1e-6)^p)^(1/p). p = 1 is the mean, p -> infinity the maximum, so that a defect that
    covers few places counts for more as p grows. One p for all channels is learned, from `power`; below 1 it acts as 1.

    Each channel is divided by its maximum and multiplied with it again, which changes nothing and keeps x^p from
    overflowing or vanishing; it is computed in 32 bits whatever the training uses.

    Examples:
        >>> GeMPooling(power=2.0)(torch.tensor([[[[1.0, 7.0]]]])).tolist()  # the root of (1 + 49) / 2
        [[5.0]]
    """

    def __init__(self, *, power: float = 3.0) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.tensor(float(power)))

    def forward(self, x_bchw: Tensor) -> Tensor:
        """Return the generalised means (B, C)."""
        positive = x_bchw.float().clamp(min=FLOOR)
        power = self.power.float().clamp(min=1.0)
        largest = positive.amax(dim=(2, 3), keepdim=True).detach()
        mean = (positive / largest).pow(power).mean(dim=(2, 3)).pow(1 / power)
        return (mean * largest.flatten(1)).to(x_bchw.dtype)


def make_pooling(kind: Pooling) -> nn.Module:
    """Build a pooling by its name."""
    kinds: dict[Pooling, type[nn.Module]] = {"avg": AveragePooling, "gem": GeMPooling}
    return kinds[kind]()
