"""Each augmentation of the catalogue for batches: what it draws for a sample, and which operation that becomes.

The distributions are those of albumentations 2.0.8, which :mod:`ringlight.data.augment` uses. Pictures are float32
(B, C, H, W) from 0 to 255. A part's first number of a sample decides whether it is applied, the others tune it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from ringlight.data import augment_ops as ops
from ringlight.data.augment_draws import Keys, Reals, between, normals, uniforms, whole_between
from ringlight.data.augmentations_geometry import RandomCrop, Rotation, ShiftScale
from ringlight.data.augmentations_pixels import (
    BLUR_SIGMA,
    BrightnessContrast,
    ColorJitter,
    GaussianBlur,
    GaussianNoise,
)

Rows = npt.NDArray[np.int64]


class PixelPart(Protocol):
    """How an augmentation changes the pictures (B, C, H, W) of the samples with these keys (B,)."""

    def __call__(self, images: torch.Tensor, part: Any, keys: Keys) -> torch.Tensor:
        """Return the changed pictures, of the same shape."""


FLIPS = {"horizontal_flip": 2, "vertical_flip": 1}
"""Augmentations that mirror a dimension of (B, H, W, C)."""


def hit_rows(part: Any, name: str, keys: Keys) -> Rows:
    """Return the samples that a part is applied to, by its probability."""
    return np.flatnonzero(uniforms(keys, name, 1)[:, 0] < part.probability)


def on_device(values: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """Bring numbers to the pictures' device; reals become float32."""
    tensor = torch.from_numpy(np.ascontiguousarray(values.astype(np.float32) if values.dtype.kind == "f" else values))
    return tensor.to(device, non_blocking=True)


def draw_warp(pipeline: Mapping[str, Any], keys: Keys, height: int, width: int) -> tuple[Rows, npt.NDArray[np.float64]]:
    """Draw how each sample is turned, shifted, zoomed and cut.

    Returns:
        The samples that any of it happens to (n,), and the numbers of :class:`~ringlight.data.augment_ops.Warp` for
        each of them (n, 8).
    """
    moves = np.tile(np.array([0.0, 1.0, 0.0, 0.0, 0.0, 0.0, width, height]), (len(keys), 1))
    touched = np.zeros(len(keys), bool)
    for name, (columns, draw) in _WARPS.items():
        if name in pipeline:
            rows = hit_rows(pipeline[name], name, keys)
            touched[rows] = True
            moves[rows[:, None], columns] = draw(pipeline[name], uniforms(keys[rows], name, 5)[:, 1:], height, width)
    rows = np.flatnonzero(touched)
    return rows, moves[rows]


def _turn(part: Rotation, share: Reals, _height: int, _width: int) -> Reals:
    return between(share[:, :1], -part.degrees, part.degrees)


def _shift(part: ShiftScale, share: Reals, height: int, width: int) -> Reals:
    """Return zoom and whole pixels of shift: towards 0, as albumentations cuts them off."""
    zoom = between(share[:, 0], 1 - part.zoom, 1 + part.zoom)
    x, y = (
        np.trunc(between(share[:, 1 + axis], -part.shift, part.shift) * side)
        for axis, side in enumerate((width, height))
    )
    return np.stack([zoom, x, y], axis=1)


def _cut(part: RandomCrop, share: Reals, height: int, width: int) -> Reals:
    """Return left, top, width and height of the rectangle that is kept, of the picture's own proportions."""
    scale = np.sqrt(between(share[:, 0], part.area, 1.0))
    wide, tall = np.maximum(np.rint(width * scale), 1), np.maximum(np.rint(height * scale), 1)
    left, top = np.floor(share[:, 1] * (width - wide + 1)), np.floor(share[:, 2] * (height - tall + 1))
    return np.stack([left, top, wide, tall], axis=1)


_WARPS: dict[str, tuple[list[int], Callable[[Any, Reals, int, int], Reals]]] = {
    "rotation": ([0], _turn),
    "shift_scale": ([1, 2, 3], _shift),
    "random_crop": ([4, 5, 6, 7], _cut),
}


def _brightness_contrast(images: torch.Tensor, part: BrightnessContrast, keys: Keys) -> torch.Tensor:
    share = uniforms(keys, "brightness_contrast", 3)
    factor = on_device(between(share[:, 1], 1 - part.contrast, 1 + part.contrast), images.device)
    offset = on_device(255 * between(share[:, 2], -part.brightness, part.brightness), images.device)
    return ops.contrast(images, factor, offset)


def _color_jitter(images: torch.Tensor, part: ColorJitter, keys: Keys) -> torch.Tensor:
    """Change saturation and hue, each order of the two equally likely."""
    if images.shape[1] == 1:
        return images
    share = uniforms(keys, "color_jitter", 4)
    factor = between(share[:, 1], 1 - part.saturation, 1 + part.saturation)
    hue = on_device(between(share[:, 2], -part.hue, part.hue), images.device)
    before = share[:, 3] < 0.5
    images = ops.saturate(images, on_device(np.where(before, factor, 1.0), images.device))
    images = ops.shift_hue(images, hue)
    return ops.saturate(images, on_device(np.where(before, 1.0, factor), images.device))


def _gaussian_blur(images: torch.Tensor, part: GaussianBlur, keys: Keys) -> torch.Tensor:
    sigma = between(uniforms(keys, "gaussian_blur", 2)[:, 1], *BLUR_SIGMA)
    return ops.blur(images, on_device(sigma, images.device), part.kernel_size)


def _gaussian_noise(images: torch.Tensor, part: GaussianNoise, keys: Keys) -> torch.Tensor:
    deviation = on_device(255 * part.deviation * uniforms(keys, "gaussian_noise", 2)[:, 1], images.device)
    height, width = images.shape[2:]
    field = normals(keys, "gaussian_noise", height, width, images.device)
    noise = torch.trunc(field * deviation[:, None, None, None])  # whole levels, as on pictures of 8 bits
    return torch.clamp(images + noise, 0, 255)


def _coarse_dropout(images: torch.Tensor, part: Any, keys: Keys) -> torch.Tensor:
    height, width = images.shape[2:]
    share = uniforms(keys, "coarse_dropout", 2 + 4 * part.holes)
    count = whole_between(share[:, 1], 1, part.holes)
    sides, places = share[:, 2:].reshape(len(keys), part.holes, 2, 2).transpose(2, 0, 1, 3)
    lengths = np.floor(between(sides, part.size / 2, part.size) * (width, height))  # (B, holes, 2), x before y
    lengths *= (np.arange(part.holes) < count[:, None])[..., None]  # a hole too many has no size
    starts = np.floor(places * (np.array((width, height)) - lengths + 1))
    holes = np.concatenate([starts, starts + lengths], axis=2).astype(np.int64)
    return ops.cover(images, on_device(holes, images.device))


PIXEL_PARTS: dict[str, PixelPart] = {
    "brightness_contrast": _brightness_contrast,
    "color_jitter": _color_jitter,
    "gaussian_blur": _gaussian_blur,
    "gaussian_noise": _gaussian_noise,
    "coarse_dropout": _coarse_dropout,
}
"""Augmentations that leave the pixels where they are, in the order of application."""

CUT_OFF = frozenset({"brightness_contrast"})
"""Augmentations that cut pictures of 8 bits off to whole levels, as albumentations does; after the others none is."""

SUPPORTED = (*FLIPS, *_WARPS, *PIXEL_PARTS)
"""Every augmentation that works on batches."""
