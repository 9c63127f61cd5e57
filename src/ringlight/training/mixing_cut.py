"""Mixtures that cut: parts of each picture are replaced by the same parts of its partner.

Whatever was drawn, the weight of a mixture is the share of its pixels that are the record's own: boxes end at the
border, tokens there are smaller where the patch size does not divide the picture, whole numbers round.

Shapes: B pictures of C channels, H and W pixels; a grid of Gh x Gw tokens of P x P pixels, Gh = ceil(H / P).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ringlight.errors import DataError
from ringlight.training.mixing import BatchMixer, Mask, Size, check_number

Box = tuple[int, int, int, int]
"""Top, bottom, left, right; bottom and right are no longer in it."""

ATTEMPTS = 10
"""How often a further region is tried before a mask is taken as it is, as in the published code."""


class CutMix(BatchMixer):
    """Replace a box of each picture by the same box of its partner (Yun and others 2019).

    x = M x_a + (1 - M) x_b with a binary mask M (S. Yun, D. Han, S. J. Oh, S. Chun, J. Choe, Y. Yoo, "CutMix",
    arXiv:1905.04899, equation 1). The box has its middle anywhere and the sides W sqrt(1 - w) and H sqrt(1 - w), with
    w from Beta(alpha, alpha) (equation 2). Where it is cut off at the border w becomes the share of pixels that stayed.

    Args:
        alpha: see :class:`~ringlight.training.mixing.BatchMixer`; the paper's 1 is a box of any size.
        probability: of a batch being mixed, 0 to 1.
        seed: together with epoch and step it determines weight, box and partners.

    Raises:
        ConfigError: a number is out of range.

    Examples:
        >>> pictures = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 1, 8, 8)
        >>> mixed = CutMix(seed=0).mix(pictures, torch.arange(4), epoch=0, step=0)
        >>> own = (mixed.inputs == pictures).float().mean((1, 2, 3))
        >>> own[mixed.targets_a != mixed.targets_b].allclose(torch.tensor(mixed.weight))
        True
    """

    name = "cutmix"

    def __init__(self, *, alpha: float = 1.0, probability: float = 1.0, seed: int) -> None:
        super().__init__(alpha=alpha, probability=probability, seed=seed)

    def _mixture(
        self, inputs: Tensor, partners: Tensor, weight: float, rng: np.random.Generator
    ) -> tuple[Tensor, float]:
        size = (inputs.shape[2], inputs.shape[3])
        return _pasted(inputs, partners, draw_box(size, 1 - weight, rng))


class _TokenMixer(BatchMixer):
    """What mixes along the grid of tokens."""

    def __init__(self, *, alpha: float, probability: float, seed: int, patch_size: int) -> None:
        super().__init__(alpha=alpha, probability=probability, seed=seed)
        check_number("patch_size", patch_size, 1, 1024)
        self.patch_size = patch_size

    def size_problem(self, size: Size) -> str | None:
        """Return why pictures (H, W) cannot be mixed: they are one token."""
        return patch_problem(self.name, self.patch_size, size)

    def _check(self, inputs: Tensor, targets: Tensor) -> None:
        super()._check(inputs, targets)
        problem = self.size_problem((inputs.shape[2], inputs.shape[3]))
        if problem is not None:
            raise DataError(
                "pictures of two tokens or more", got=problem.partition("got ")[2].partition(";")[0], where=self.name,
                fix="lower mix.patch_size",
            )  # fmt: skip

    def _grid(self, inputs: Tensor) -> Size:
        return -(-inputs.shape[2] // self.patch_size), -(-inputs.shape[3] // self.patch_size)


class MixToken(_TokenMixer):
    """Replace a box of whole tokens: CutMix on the grid of a vision transformer (Jiang and others 2021).

    Z. Jiang, Q. Hou, L. Yuan, D. Zhou, Y. Shi, X. Jin, A. Wang, J. Feng, "All Tokens Matter: Token Labeling for
    Training Better Vision Transformers", arXiv:2104.10858 (MixToken): the mask of CutMix is drawn on the tokens that
    leave the patch embedding, so that none holds pixels of two pictures, and the target has the mask's mean as weight.
    Here the same patches are exchanged in the input. That is the same mixture where patches are embedded one by one; a
    stem of overlapping convolutions sees the seams.

    Args:
        alpha: see :class:`~ringlight.training.mixing.BatchMixer`.
        probability: of a batch being mixed, 0 to 1.
        seed: together with epoch and step it determines weight, box and partners.
        patch_size: side of a token in pixels, 1 to 1024; the model's.

    Raises:
        ConfigError: a number is out of range.
    """

    name = "mixtoken"

    def __init__(self, *, alpha: float = 1.0, probability: float = 1.0, seed: int, patch_size: int = 16) -> None:
        super().__init__(alpha=alpha, probability=probability, seed=seed, patch_size=patch_size)

    def _mixture(
        self, inputs: Tensor, partners: Tensor, weight: float, rng: np.random.Generator
    ) -> tuple[Tensor, float]:
        top, bottom, left, right = (place * self.patch_size for place in draw_box(self._grid(inputs), 1 - weight, rng))
        height, width = inputs.shape[2], inputs.shape[3]
        return _pasted(inputs, partners, (top, min(bottom, height), left, min(right, width)))


class TokenMix(_TokenMixer):
    """Replace several separate regions of tokens (Liu and others 2022).

    J. Liu, B. Liu, H. Zhou, H. Li, Y. Liu, "TokenMix: Rethinking Image Mixing for Data Augmentation in Vision
    Transformers", ECCV 2022, arXiv:2207.08409: of the tokens a share of 1 - w, w from Beta(alpha, alpha), is gathered
    from rectangles of random area, place and proportions (0.3 to 1 / 0.3), so that the partner's content lies in
    several places.

    The weight of the target is the share of pixels. The paper's own target weighs tokens by the attention of a trained
    teacher instead, which a run does not have; and its code keeps w = 1/2 where this one draws it, as CutMix does.

    Args:
        alpha: see :class:`~ringlight.training.mixing.BatchMixer`.
        probability: of a batch being mixed, 0 to 1.
        seed: together with epoch and step it determines weight, regions and partners.
        patch_size: side of a token in pixels, 1 to 1024; the model's.
        min_tokens: least area of a region in tokens, 1 to 10,000, as long as so many are still wanted.

    Raises:
        ConfigError: a number is out of range.
    """

    name = "tokenmix"

    def __init__(
        self, *, alpha: float = 1.0, probability: float = 1.0, seed: int, patch_size: int = 16, min_tokens: int = 1
    ) -> None:
        super().__init__(alpha=alpha, probability=probability, seed=seed, patch_size=patch_size)
        check_number("min_tokens", min_tokens, 1, 10_000)
        self.min_tokens = min_tokens

    def _mixture(
        self, inputs: Tensor, partners: Tensor, weight: float, rng: np.random.Generator
    ) -> tuple[Tensor, float]:
        grid = self._grid(inputs)
        tokens = draw_regions(grid, round((1 - weight) * grid[0] * grid[1]), rng, min_tokens=self.min_tokens)
        pixels = tokens.repeat(self.patch_size, 0).repeat(self.patch_size, 1)[: inputs.shape[2], : inputs.shape[3]]
        mask = torch.from_numpy(pixels.copy()).to(inputs.device)
        return torch.where(mask, inputs[partners], inputs), 1 - float(pixels.mean())


def patch_problem(name: str, patch_size: int, size: Size) -> str | None:
    """Return in one line that pictures (H, W) are one token, None when they are more.

    Examples:
        >>> patch_problem("mixtoken", 16, (16, 12))
        'mix.patch_size: expected two tokens or more in a picture for mixtoken, got patches of 16 in 16x12; lower it'
    """
    if patch_size < max(size):
        return None
    return (
        f"mix.patch_size: expected two tokens or more in a picture for {name}, got patches of {patch_size} in "
        f"{size[0]}x{size[1]}; lower it"
    )


def draw_box(size: Size, share: float, rng: np.random.Generator) -> Box:
    """Return a box of about `share` of a grid, its middle anywhere and cut off at the border (CutMix, equation 2).

    A grid of one row, or of one column, is divided along the other side alone: the box always takes what is but one.

    Examples:
        >>> draw_box((8, 16), 0.25, np.random.default_rng(0))
        (4, 8, 6, 14)
    """
    ratio = math.sqrt(share) if min(size) > 1 else share
    ends: list[int] = []
    for length in size:
        side = int(length * ratio) if length > 1 else 1
        middle = int(rng.integers(length))
        ends += [max(0, middle - side // 2), min(length, middle + (side + 1) // 2)]
    return ends[0], ends[1], ends[2], ends[3]


def draw_regions(grid: Size, count: int, rng: np.random.Generator, *, min_tokens: int) -> Mask:
    """Return a mask (Gh, Gw) of at most `count` tokens, gathered from rectangles; fewer where none more would fit.

    Examples:
        >>> draw_regions((4, 6), 9, np.random.default_rng(1), min_tokens=1).astype(int).sum()
        np.int64(9)
    """
    mask = np.zeros(grid, np.bool_)
    left = count
    while left > 0:
        region = next((one for _ in range(ATTEMPTS) if (one := _region(mask, left, rng, min_tokens)) is not None), None)
        if region is None:
            break
        left -= int((~mask[region]).sum())
        mask[region] = True
    return mask


def _region(mask: Mask, left: int, rng: np.random.Generator, min_tokens: int) -> tuple[slice, slice] | None:
    """Return a rectangle that adds one to `left` tokens, None when the one that was drawn does not."""
    area = rng.uniform(min(min_tokens, left), left)
    proportion = math.exp(rng.uniform(math.log(0.3), -math.log(0.3)))
    wished = (math.sqrt(area * proportion), math.sqrt(area / proportion))
    # Never a whole side, so that one region alone is never the picture.
    sides = [min(max(1, round(side)), max(1, length - 1)) for side, length in zip(wished, mask.shape, strict=True)]
    starts = [int(rng.integers(length - side + 1)) for side, length in zip(sides, mask.shape, strict=True)]
    region = (slice(starts[0], starts[0] + sides[0]), slice(starts[1], starts[1] + sides[1]))
    return region if 0 < int((~mask[region]).sum()) <= left else None


def _pasted(inputs: Tensor, partners: Tensor, box: Box) -> tuple[Tensor, float]:
    """Return the pictures with their partners' pixels in a box, and the share of pixels that stayed."""
    top, bottom, left, right = box
    mixed = inputs.clone()
    mixed[:, :, top:bottom, left:right] = inputs[:, :, top:bottom, left:right][partners]
    return mixed, 1 - (bottom - top) * (right - left) / (inputs.shape[2] * inputs.shape[3])
