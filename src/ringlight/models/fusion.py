"""Two feature maps of the same images made one: put on a common grid, then fused.

Shapes: B images, D channels, H x W places, N = H W tokens.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from ringlight.errors import ModelError

Fusion = Literal["concat", "gated", "cross_attention"]


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each place: (B, D, H, W) -> (B, D, H, W)."""

    def forward(self, x_bdhw: Tensor) -> Tensor:
        """Return the normalised map."""
        return super().forward(x_bdhw.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConcatFusion(nn.Module):
    """One linear map of both: W [a; b] at each place, a 1x1 convolution of 2 D channels to D."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(2 * channels, channels, kernel_size=1)

    def forward(self, a_bdhw: Tensor, b_bdhw: Tensor) -> Tensor:
        """Return the fused map (B, D, H, W)."""
        fused: Tensor = self.mix(torch.cat([a_bdhw, b_bdhw], dim=1))
        return fused


class GatedFusion(nn.Module):
    """A gate weighs one against the other, channel by channel and place by place.

    z = sigmoid(W [a; b]), fused = z a + (1 - z) b: the gated unit of Arevalo et al. 2017 (arXiv:1702.01992, equations
    3 and 4) on maps; its tanh is left out, as a and b come normalised.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(2 * channels, channels, kernel_size=1)

    def forward(self, a_bdhw: Tensor, b_bdhw: Tensor) -> Tensor:
        """Return the fused map (B, D, H, W)."""
        share = torch.sigmoid(self.gate(torch.cat([a_bdhw, b_bdhw], dim=1)))
        return share * a_bdhw + (1 - share) * b_bdhw


class CrossAttention(nn.Module):
    """Every place of one map asks all places of the other (Vaswani et al. 2017, arXiv:1706.03762, equation 1).

    softmax(Q K^T / sqrt(D / heads)) V in each head, Q of `asking` and K and V of `asked`, both normalised before.
    """

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm_asking = nn.LayerNorm(channels)
        self.norm_asked = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, asking_bnd: Tensor, asked_bnd: Tensor) -> Tensor:
        """Return what each asking token is answered, (B, N, D)."""
        query = self._heads(self.query(self.norm_asking(asking_bnd)))
        key, value = self.key_value(self.norm_asked(asked_bnd)).chunk(2, dim=-1)
        found = F.scaled_dot_product_attention(query, self._heads(key), self._heads(value))
        answer: Tensor = self.proj(found.transpose(1, 2).flatten(2))
        return answer

    def _heads(self, x_bnd: Tensor) -> Tensor:
        batch, tokens, channels = x_bnd.shape
        return x_bnd.reshape(batch, tokens, self.num_heads, channels // self.num_heads).transpose(1, 2)


class CrossAttentionFusion(nn.Module):
    """Each map adds to itself what it is told by the other; the two are summed. Cost grows with (H W)^2.

    Raises:
        ModelError: the channels do not divide into the heads.
    """

    def __init__(self, channels: int, *, num_heads: int) -> None:
        super().__init__()
        if num_heads < 1 or channels % num_heads:
            raise ModelError(
                f"a number of heads that divides embed_dim={channels}", got=str(num_heads), where="model.fusion_heads",
                fix="try 1, 2, 4 or 8",
            )  # fmt: skip
        self.first = CrossAttention(channels, num_heads)
        self.second = CrossAttention(channels, num_heads)

    def forward(self, a_bdhw: Tensor, b_bdhw: Tensor) -> Tensor:
        """Return the fused map (B, D, H, W)."""
        a_bnd, b_bnd = a_bdhw.flatten(2).transpose(1, 2), b_bdhw.flatten(2).transpose(1, 2)
        fused_bnd: Tensor = a_bnd + self.first(a_bnd, b_bnd) + b_bnd + self.second(b_bnd, a_bnd)
        return fused_bnd.transpose(1, 2).reshape(a_bdhw.shape)


def make_fusion(kind: Fusion, channels: int, *, num_heads: int) -> nn.Module:
    """Build a fusion of two maps of `channels` by its name; only attention has heads.

    Raises:
        ModelError: the channels do not divide into the heads.
    """
    if kind == "cross_attention":
        return CrossAttentionFusion(channels, num_heads=num_heads)
    return ConcatFusion(channels) if kind == "concat" else GatedFusion(channels)


def resample(x_bdhw: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a map on another grid of H x W places, linear in both directions; a finer one is averaged on its way down.

    These are the numbers of `interpolate(mode="bilinear", antialias=True)`, computed as two products with matrices:
    the backward pass of `interpolate` adds up in no fixed order on a GPU, and no run of it could be repeated.
    """
    height, width = x_bdhw.shape[2:]
    if (height, width) == size:
        return x_bdhw
    rows, columns = _weights(height, size[0], x_bdhw), _weights(width, size[1], x_bdhw)
    resampled: Tensor = torch.einsum("bdhw,yh,xw->bdyx", x_bdhw, rows, columns)
    return resampled


def _weights(length: int, wanted: int, like: Tensor) -> Tensor:
    """Return the matrix (wanted, length) of linear resampling."""
    unit = torch.eye(length, device=like.device).expand(1, 1, length, length)
    with torch.no_grad():
        found = F.interpolate(unit, size=(wanted, length), mode="bilinear", antialias=True)
    matrix: Tensor = found[0, 0].to(like.dtype)
    return matrix
