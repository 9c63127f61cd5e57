"""From a file to a model's input: the one place for training, evaluation, prediction, export and serving.

:func:`read_image` makes every picture an upright 8-bit array (H, W, C) with one or three channels, :func:`fit_size`
brings it to the model's size, :func:`to_tensor` normalises it; :func:`prepare` does all three. What a model expects is
an :class:`InputSpec`, which travels with the saved model.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch

from ringlight.data.decode import Picture, read_pixels
from ringlight.errors import DataError, did_you_mean
from ringlight.types import Box

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a model expects of a picture.

    Args:
        in_chans: 1 (gray) or 3 (RGB).
        image_size: (height, width) in pixels; a single number means a square; None keeps every picture's own size.
        resize_mode: "resize" stretches to the size, "letterbox" keeps the proportions and fills the border with
            `mean`, which is 0 after normalisation.
        mean: of each channel, 0 to 1; a single value counts for every channel.
        std: of each channel, above 0; a single value counts for every channel.

    Raises:
        DataError: a value is out of range.

    Examples:
        >>> InputSpec(in_chans=1, image_size=128)
        InputSpec(in_chans=1, image_size=(128, 128), resize_mode='resize', mean=(0.5,), std=(0.5,))
    """

    in_chans: int
    image_size: tuple[int, int] | int | None = None
    resize_mode: Literal["resize", "letterbox"] = "resize"
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)

    def __post_init__(self) -> None:
        _require(self.in_chans in (1, 3) and type(self.in_chans) is int, "in_chans", "1 or 3", self.in_chans)
        _require(self.resize_mode in ("resize", "letterbox"), "resize_mode", "resize or letterbox", self.resize_mode)
        size = self.image_size
        if size is not None:
            pair = (size, size) if isinstance(size, int) else size
            valid = isinstance(pair, Sequence) and len(pair) == 2 and all(_is_pixels(side) for side in pair)
            _require(valid, "image_size", "None, or one or two whole numbers above 0", size)
            object.__setattr__(self, "image_size", (int(pair[0]), int(pair[1])))
        for name in ("mean", "std"):
            object.__setattr__(self, name, self._per_channel(name))
        _require(all(value > 0 for value in self.std), "std", "numbers above 0", self.std)

    def _per_channel(self, name: str) -> tuple[float, ...]:
        values = getattr(self, name)
        numbers = isinstance(values, Sequence) and all(_is_finite(value) for value in values)
        expected = f"1 or {self.in_chans} finite numbers"
        _require(numbers and len(values) in (1, self.in_chans), name, expected, values)
        whole = tuple(float(value) for value in values)
        return whole * self.in_chans if len(whole) == 1 else whole

    @property
    def size(self) -> tuple[int, int] | None:
        """`image_size` as (height, width), or None."""
        return None if self.image_size is None else self.image_size  # type: ignore[return-value]  # a pair since __post_init__

    def to_dict(self) -> dict[str, Any]:
        """Return the specification in plain JSON types."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> InputSpec:
        """Read what :meth:`to_dict` wrote.

        Raises:
            DataError: a key is missing or unknown, or a value is out of range.
        """
        names = [field.name for field in fields(cls)]
        if not isinstance(values, Mapping):
            raise DataError("a mapping", got=repr(values), where="input", fix="save the model again")
        for name in values:
            if name not in names:
                raise DataError("a known key", got=f"`{name}`", where="input", fix=did_you_mean(str(name), names))
        for name in names:
            _require(name in values, name, "a value", "none")
        made: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**made)


def _require(valid: bool, name: str, expected: str, got: object) -> None:
    if not valid:
        raise DataError(expected, got=repr(got), where=f"input.{name}", fix="correct the value")


def _is_pixels(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def read_image(source: Picture, *, in_chans: int) -> Pixels:
    """Read a picture, upright, as uint8 (H, W, `in_chans`).

    A colour picture becomes gray by the ITU-R 601 luma; a gray one has three equal channels when three are asked for.
    How the many formats become 8-bit gray or RGB is told in :mod:`ringlight.data.decode`.

    Args:
        source: a path, a file's bytes, a PIL image, or an array (H, W) or (H, W, 1 | 3 | 4) of bool, uint8, uint16
            or of floats from 0 to 1.
        in_chans: 1 or 3.

    Raises:
        DataError: the file is missing, empty, truncated or no picture; the array has another shape, type or range.
    """
    pixels = read_pixels(source)
    channels = pixels.shape[2]
    if channels == in_chans:
        return pixels
    code = cv2.COLOR_GRAY2RGB if channels == 1 else cv2.COLOR_RGB2GRAY
    return np.asarray(cv2.cvtColor(pixels, code), np.uint8).reshape(*pixels.shape[:2], in_chans)


@dataclass(frozen=True, slots=True)
class Fit:
    """How a picture of one size lies in the model's input: scaled, then moved by the border's width, in pixels."""

    height: int
    width: int
    top: int
    left: int
    canvas: tuple[int, int]


def fit_of(shape: tuple[int, ...], spec: InputSpec) -> Fit:
    """Work out how a picture of `shape` (H, W, ...) fits `spec`.

    Examples:
        >>> fit_of((100, 200), InputSpec(3, (64, 64), "letterbox"))
        Fit(height=32, width=64, top=16, left=0, canvas=(64, 64))
    """
    height, width = shape[:2]
    if spec.size is None:
        return Fit(height, width, 0, 0, (height, width))
    if spec.resize_mode == "resize":
        return Fit(*spec.size, 0, 0, spec.size)
    scale = min(spec.size[0] / height, spec.size[1] / width)
    inner = (max(1, round(height * scale)), max(1, round(width * scale)))
    return Fit(*inner, (spec.size[0] - inner[0]) // 2, (spec.size[1] - inner[1]) // 2, spec.size)


def fit_size(image: Pixels, spec: InputSpec) -> Pixels:
    """Bring a picture (H, W, C) to the model's size.

    Shrinking averages over areas, so that a thin scratch fades but does not vanish between two samples; enlarging is
    bilinear. A picture that already fits is returned as it is.
    """
    fit = fit_of(image.shape, spec)
    border = [round(255 * min(max(mean, 0.0), 1.0)) for mean in spec.mean]
    return _place(_resize(image, fit.height, fit.width), fit, border)


def fit_mask(mask: Pixels, spec: InputSpec) -> Pixels:
    """Bring a mask (H, W) to the model's size: nearest neighbour, and 0 in the border."""
    fit = fit_of(mask.shape, spec)
    if mask.shape[:2] != (fit.height, fit.width):
        mask = np.asarray(cv2.resize(mask, (fit.width, fit.height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    return _place(mask[..., None], fit, [0])[..., 0]


def fit_boxes(boxes: Sequence[Box], shape: tuple[int, ...], spec: InputSpec) -> list[Box]:
    """Move boxes of a picture of `shape` (H, W, ...) to where :func:`fit_size` puts their contents."""
    fit = fit_of(shape, spec)
    x_scale, y_scale = fit.width / shape[1], fit.height / shape[0]
    return [
        Box(
            label=box["label"],
            x_min=box["x_min"] * x_scale + fit.left,
            y_min=box["y_min"] * y_scale + fit.top,
            x_max=box["x_max"] * x_scale + fit.left,
            y_max=box["y_max"] * y_scale + fit.top,
        )
        for box in boxes
    ]


def _resize(image: Pixels, height: int, width: int) -> Pixels:
    """Shrink what shrinks by areas first, then enlarge what grows: one of the two unless the proportions change."""
    channels = image.shape[2]
    for size, method in (
        ((min(height, image.shape[0]), min(width, image.shape[1])), cv2.INTER_AREA),
        ((height, width), cv2.INTER_LINEAR),
    ):
        if image.shape[:2] != size:
            resized = cv2.resize(image, (size[1], size[0]), interpolation=method)
            image = np.asarray(resized, np.uint8).reshape(*size, channels)
    return image


def _place(image: Pixels, fit: Fit, border: Sequence[int]) -> Pixels:
    if fit.canvas == (fit.height, fit.width):
        return image
    canvas = np.empty((*fit.canvas, image.shape[2]), np.uint8)
    canvas[:] = np.asarray(border, np.uint8)
    canvas[fit.top : fit.top + fit.height, fit.left : fit.left + fit.width] = image
    return canvas


def to_tensor(image: Pixels, spec: InputSpec) -> torch.Tensor:
    """Normalise a picture uint8 (H, W, C) to float32 (C, H, W): (value / 255 - mean) / std."""
    tensor = torch.empty((image.shape[2], *image.shape[:2]), dtype=torch.float32)
    _look_up(image, _tables(spec), tensor.numpy())
    return tensor


def to_tensors(images: Pixels, spec: InputSpec) -> torch.Tensor:
    """Normalise pictures uint8 (B, H, W, C) to float32 (B, C, H, W), contiguous: each as :func:`to_tensor` does."""
    count, height, width, channels = images.shape
    tensor = torch.empty((count, channels, height, width), dtype=torch.float32)
    tables = _tables(spec)
    for image, planes in zip(images, tensor.numpy(), strict=True):
        _look_up(image, tables, planes)
    return tensor


@functools.lru_cache(maxsize=16)
def _tables(spec: InputSpec) -> npt.NDArray[np.float32]:
    """Return what each of the 256 values becomes, (C, 256): exact, and four times quicker than reckoning each pixel."""
    values = np.arange(256, dtype=np.float64) / 255
    rows = [((values - mean) / std).astype(np.float32) for mean, std in zip(spec.mean, spec.std, strict=True)]
    return np.stack(rows)


def _look_up(image: Pixels, tables: npt.NDArray[np.float32], planes: npt.NDArray[np.float32]) -> None:
    for plane, pixels, table in zip(planes, cv2.split(image), tables, strict=True):
        cv2.LUT(pixels, table, dst=plane)


def normalise(images: torch.Tensor, spec: InputSpec, device: torch.device | str) -> torch.Tensor:
    """Normalise pictures uint8 (B, H, W, C) on a device to float32 (B, C, H, W), in channels-last memory.

    Each value is looked up, not reckoned, so that every device gives what :func:`to_tensor` gives, bit for bit.
    """
    count, height, width, channels = images.shape
    device = torch.device(device)
    if device.type == "cpu":
        pixels = images.cpu().numpy().reshape(count * height, width, channels)
        found = torch.from_numpy(np.asarray(cv2.LUT(pixels, np.ascontiguousarray(_tables(spec).T)[None])))
    else:
        found = _gathered(images.to(device, non_blocking=True), spec)
    return found.reshape(count, height, width, channels).permute(0, 3, 1, 2)


def _gathered(images: torch.Tensor, spec: InputSpec) -> torch.Tensor:
    """Look pictures up where they are: each channel in its own 256 values."""
    values, starts = _tables_on(spec, images.device)
    return values.index_select(0, (images.to(torch.int32) + starts).flatten())


@functools.lru_cache(maxsize=16)
def _tables_on(spec: InputSpec, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    starts = torch.arange(0, 256 * spec.in_chans, 256, dtype=torch.int32, device=device)
    return torch.from_numpy(_tables(spec).ravel()).to(device), starts


def prepare(source: Picture, spec: InputSpec) -> torch.Tensor:
    """Turn any picture into a model's input, float32 (C, H, W).

    Raises:
        DataError: see :func:`read_image`.
    """
    return to_tensor(fit_size(read_image(source, in_chans=spec.in_chans), spec), spec)
