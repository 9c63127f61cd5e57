"""What the augmentations do to a batch of pictures, in torch, with a parameter for each sample.

Shapes: B samples, C channels, H x W pixels. Pictures are float32 (B, C, H, W) from 0 to 255, coordinates are pixels,
the middle of the first one at 0. Each operation is the one that albumentations 2.0.8 does with OpenCV.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the brightness (ITU-R BT.601)."""


@dataclass(frozen=True, slots=True)
class Warp:
    """Where the pixels of each sample come from: cut out, then shifted and zoomed, then turned; each (B,) float32.

    Args:
        angle: degrees, counter-clockwise.
        zoom: magnification.
        shift_x: pixels to the right.
        shift_y: pixels down.
        left: first column that is kept.
        top: first row that is kept.
        wide: columns that are kept.
        tall: rows that are kept.
    """

    angle: torch.Tensor
    zoom: torch.Tensor
    shift_x: torch.Tensor
    shift_y: torch.Tensor
    left: torch.Tensor
    top: torch.Tensor
    wide: torch.Tensor
    tall: torch.Tensor


def warp(images: torch.Tensor, moves: Warp) -> torch.Tensor:
    """Turn, then shift and zoom, then cut out, with one bilinear interpolation for all; black outside.

    What an earlier step has moved out of the picture stays outside, as if each step had made a picture of its own.
    """
    height, width = images.shape[2:]
    x, seen_x = _before_shift(width, moves.left, moves.wide, moves.shift_x, moves.zoom)
    y, seen_y = _before_shift(height, moves.top, moves.tall, moves.shift_y, moves.zoom)
    radians = torch.deg2rad(moves.angle)[:, None, None]
    cosine, sine = torch.cos(radians), torch.sin(radians)
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    x, y = (x - middle_x)[:, None, :], (y - middle_y)[:, :, None]
    grid = torch.stack(
        [
            ((cosine * x - sine * y + middle_x) * 2 + 1) / width - 1,
            ((sine * x + cosine * y + middle_y) * 2 + 1) / height - 1,
        ],
        dim=-1,
    )
    moved = functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved * (seen_y[:, None, :, None] * seen_x[:, None, None, :])


def _before_shift(
    side: int, first: torch.Tensor, kept: torch.Tensor, shift: torch.Tensor, zoom: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Follow a side's pixels back through cutting and shifting: coordinates, and how much of each shows; (B, side)."""
    pixels = torch.arange(side, device=first.device, dtype=torch.float32)
    last = (first + kept - 1)[:, None]
    cut = (pixels + 0.5) * (kept[:, None] / side) - 0.5 + first[:, None]
    cut = torch.minimum(torch.maximum(cut, first[:, None]), last)  # the rim of a cut-out repeats its last pixel
    middle = (side - 1) / 2
    source = (cut - middle - shift[:, None]) / zoom[:, None] + middle
    return source, torch.clamp(torch.minimum(source + 1, side - source), 0, 1)


def contrast(images: torch.Tensor, factor: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    """Return `images * factor + offset`, within the range; factor and offset (B,)."""
    return torch.clamp(images * _each(factor) + _each(offset), 0, 255)


def saturate(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Move every pixel (B, 3, H, W) away from its gray (factor above 1) or towards it."""
    gray = (images * torch.tensor(LUMA, device=images.device)[:, None, None]).sum(1, keepdim=True)
    return torch.clamp(torch.lerp(gray, images, _each(factor)), 0, 255)


def shift_hue(images: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Turn the hue of every pixel (B, 3, H, W) by a share (B,) of the colour circle; gray stays.

    Value and saturation of the hexcone model stay (A. R. Smith, "Color Gamut Transform Pairs", SIGGRAPH 1978). With the
    hue h in sixths of the circle, V the largest and v the smallest channel, a channel is
    V - (V - v) * clamp(min(k, 4 - k), 0, 1), k = (n + h) mod 6, where n is 5 for red, 3 for green and 1 for blue.
    """
    value, low = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    spread = value - low
    red, green, blue = images[:, 0:1], images[:, 1:2], images[:, 2:3]
    by = torch.where(spread > 0, spread, torch.ones_like(spread))
    hue = torch.where(
        value == red,
        (green - blue) / by,
        torch.where(value == green, (blue - red) / by + 2, (red - green) / by + 4),
    )
    start = torch.tensor((5.0, 3.0, 1.0), device=images.device)[:, None, None]
    k = torch.remainder(start + hue + 6 * _each(share), 6)
    return value - spread * torch.clamp(torch.minimum(k, 4 - k), 0, 1)


def blur(images: torch.Tensor, sigma: torch.Tensor, kernel_size: int) -> torch.Tensor:
    """Blur with a Gaussian of `sigma` (B,) pixels, cut to a kernel of odd size; the picture is mirrored at its rim."""
    half = kernel_size // 2
    steps = torch.arange(half + 1, device=images.device, dtype=torch.float32)
    weights = torch.exp(-0.5 * (steps / sigma[:, None]) ** 2)
    weights = weights / (2 * weights.sum(1, keepdim=True) - weights[:, :1])
    return _blur_along(_blur_along(images, weights, 3), weights, 2)


def _blur_along(images: torch.Tensor, weights: torch.Tensor, dim: int) -> torch.Tensor:
    """Convolve along one dimension with a symmetric kernel; `weights` (B, half + 1) from the middle outwards."""
    side, half = images.shape[dim], weights.shape[1] - 1
    padded = images.index_select(dim, _mirrored(side, half, images.device))
    result = padded.narrow(dim, half, side) * _each(weights[:, 0])
    for step in range(1, half + 1):
        pair = padded.narrow(dim, half - step, side) + padded.narrow(dim, half + step, side)
        result = torch.addcmul(result, pair, _each(weights[:, step]))
    return result


def _mirrored(side: int, border: int, device: torch.device) -> torch.Tensor:
    """Return the pixels -border .. side + border - 1 mirrored into 0 .. side - 1, the rim itself not repeated."""
    period = max(2 * (side - 1), 1)
    places = torch.remainder(torch.arange(-border, side + border, device=device), period)
    return torch.minimum(places, period - places) if side > 1 else torch.zeros_like(places)


def cover(images: torch.Tensor, holes: torch.Tensor) -> torch.Tensor:
    """Blacken rectangles: `holes` (B, n, 4) whole pixels x_min, y_min, x_max, y_max, half-open."""
    height, width = images.shape[2:]
    x = torch.arange(width, device=images.device)
    y = torch.arange(height, device=images.device)
    covered = torch.zeros((len(images), height, width), dtype=torch.bool, device=images.device)
    for left, top, right, bottom in (hole.unbind(1) for hole in holes.unbind(1)):
        columns = (x >= left[:, None]) & (x < right[:, None])
        rows = (y >= top[:, None]) & (y < bottom[:, None])
        covered |= rows[:, :, None] & columns[:, None, :]
    return images.masked_fill(covered[:, None], 0)


def _each(values: torch.Tensor) -> torch.Tensor:
    """Shape a number for each sample (B,) so that it meets (B, C, H, W)."""
    return values[:, None, None, None]
