"""The named augmentations: plain parameters, checked here, made into albumentations transforms on demand.

A part receives the albumentations module when it is asked for its transform, so that checking a configuration does
not import it (it takes two seconds) and `data/augment.py` stays the one file that does.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, Protocol

from ringlight.errors import ConfigError
from ringlight.registry import Catalogue


class Augmentation(Protocol):
    """One part of the catalogue: plain keyword arguments, and the transform they describe."""

    def transform(self, library: ModuleType) -> Any:
        """Return the transform (a `BasicTransform`) made with `library`, the albumentations module."""


def _check(name: str, value: float, low: float, high: float, part: str) -> None:
    if not low <= value <= high:  # also refuses NaN
        where = f"augmentation.{part}.{name}"
        raise ConfigError(f"a number from {low:g} to {high:g}", got=repr(value), where=where, fix="correct the value")


class HorizontalFlip:
    """Mirror left and right.

    Args:
        probability: of a sample being mirrored.
    """

    def __init__(self, *, probability: float = 0.5) -> None:
        _check("probability", probability, 0, 1, "horizontal_flip")
        self.probability = probability

    def transform(self, library: ModuleType) -> Any:
        """Return `HorizontalFlip`."""
        return library.HorizontalFlip(p=self.probability)


class VerticalFlip:
    """Mirror top and bottom.

    Args:
        probability: of a sample being mirrored.
    """

    def __init__(self, *, probability: float = 0.5) -> None:
        _check("probability", probability, 0, 1, "vertical_flip")
        self.probability = probability

    def transform(self, library: ModuleType) -> Any:
        """Return `VerticalFlip`."""
        return library.VerticalFlip(p=self.probability)


class Rotation:
    """Turn about the middle by a random angle, black outside.

    The picture keeps its size, so corners leave it; labels stay, boxes outside are dropped. On a strip of 1,600 pixels
    an angle of 15 degrees moves the ends by 207 pixels: keep it at 2 there.

    Args:
        degrees: largest angle either way, 0 to 180.
        probability: of a sample being turned.
    """

    def __init__(self, *, degrees: float = 15.0, probability: float = 0.5) -> None:
        _check("degrees", degrees, 0, 180, "rotation")
        _check("probability", probability, 0, 1, "rotation")
        self.degrees = degrees
        self.probability = probability

    def transform(self, library: ModuleType) -> Any:
        """Return `Rotate` with a constant border: a mirrored one would invent defects and boxes."""
        return library.Rotate(limit=(-self.degrees, self.degrees), fill=0, fill_mask=0, p=self.probability)


class BrightnessContrast:
    """Shift the brightness and stretch the contrast.

    Args:
        brightness: largest shift either way, as a share of the full range, 0 to 1.
        contrast: largest change of the contrast's factor 1 either way, 0 to 1.
        probability: of a sample being changed.
    """

    def __init__(self, *, brightness: float = 0.2, contrast: float = 0.2, probability: float = 0.5) -> None:
        _check("brightness", brightness, 0, 1, "brightness_contrast")
        _check("contrast", contrast, 0, 1, "brightness_contrast")
        _check("probability", probability, 0, 1, "brightness_contrast")
        self.brightness = brightness
        self.contrast = contrast
        self.probability = probability

    def transform(self, library: ModuleType) -> Any:
        """Return `RandomBrightnessContrast`."""
        return library.RandomBrightnessContrast(
            brightness_limit=(-self.brightness, self.brightness),
            contrast_limit=(-self.contrast, self.contrast),
            p=self.probability,
        )


class ColorJitter:
    """Change saturation and hue; a gray picture, having neither, stays as it is.

    Args:
        saturation: largest change of the saturation's factor 1 either way, 0 to 1.
        hue: largest shift of the hue either way, as a share of the colour circle, 0 to 0.5.
        probability: of a sample being changed.
    """

    def __init__(self, *, saturation: float = 0.1, hue: float = 0.05, probability: float = 0.5) -> None:
        _check("saturation", saturation, 0, 1, "color_jitter")
        _check("hue", hue, 0, 0.5, "color_jitter")
        _check("probability", probability, 0, 1, "color_jitter")
        self.saturation = saturation
        self.hue = hue
        self.probability = probability

    def transform(self, library: ModuleType) -> Any:
        """Return `ColorJitter` with brightness and contrast left alone: they have a part of their own."""
        return library.ColorJitter(
            brightness=(1.0, 1.0),
            contrast=(1.0, 1.0),
            saturation=(1 - self.saturation, 1 + self.saturation),
            hue=(-self.hue, self.hue),
            p=self.probability,
        )


class GaussianBlur:
    """Blur with a Gaussian of random width (sigma 0.1 to 2 pixels).

    Args:
        kernel_size: side of the kernel in pixels, odd, 3 to 99.
        probability: of a sample being blurred.
    """

    def __init__(self, *, kernel_size: int = 3, probability: float = 0.5) -> None:
        _check("kernel_size", kernel_size, 3, 99, "gaussian_blur")
        if kernel_size % 2 == 0:
            where = "augmentation.gaussian_blur.kernel_size"
            raise ConfigError("an odd number", got=f"{kernel_size}", where=where, fix=f"take {kernel_size + 1}")
        _check("probability", probability, 0, 1, "gaussian_blur")
        self.kernel_size = kernel_size
        self.probability = probability

    def transform(self, library: ModuleType) -> Any:
        """Return `GaussianBlur` with a kernel of one size."""
        kernel = (self.kernel_size, self.kernel_size)
        return library.GaussianBlur(blur_limit=kernel, sigma_limit=(0.1, 2.0), p=self.probability)


AUGMENTATIONS: Catalogue[Augmentation] = Catalogue(
    "augmentation",
    {
        "horizontal_flip": HorizontalFlip,
        "vertical_flip": VerticalFlip,
        "rotation": Rotation,
        "brightness_contrast": BrightnessContrast,
        "color_jitter": ColorJitter,
        "gaussian_blur": GaussianBlur,
    },
    entry_point_group="ringlight.augmentations",
)
"""Every augmentation by name, in the order in which they are applied."""
