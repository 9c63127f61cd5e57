"""Augmentations of brightness, colour and sharpness: every defect stays where it is."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from ringlight.data.augmentations_base import check_range
from ringlight.errors import ConfigError

BLUR_SIGMA = (0.1, 2.0)
"""Narrowest and widest Gaussian of the blur, pixels."""


class BrightnessContrast:
    """Shift the brightness and stretch the contrast.

    Args:
        brightness: largest shift either way, as a share of the full range, 0 to 1.
        contrast: largest change of the contrast's factor 1 either way, 0 to 1.
        probability: of a sample being changed.
    """

    def __init__(self, *, brightness: float = 0.2, contrast: float = 0.2, probability: float = 0.5) -> None:
        check_range("brightness", brightness, 0, 1, "brightness_contrast")
        check_range("contrast", contrast, 0, 1, "brightness_contrast")
        check_range("probability", probability, 0, 1, "brightness_contrast")
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
        check_range("saturation", saturation, 0, 1, "color_jitter")
        check_range("hue", hue, 0, 0.5, "color_jitter")
        check_range("probability", probability, 0, 1, "color_jitter")
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
        check_range("kernel_size", kernel_size, 3, 99, "gaussian_blur")
        if kernel_size % 2 == 0:
            where = "augmentation.gaussian_blur.kernel_size"
            raise ConfigError("an odd number", got=f"{kernel_size}", where=where, fix=f"take {kernel_size + 1}")
        check_range("probability", probability, 0, 1, "gaussian_blur")
        self.kernel_size = kernel_size
        self.probability = probability

    def transform(self, library: ModuleType) -> Any:
        """Return `GaussianBlur` with a kernel of one size."""
        kernel = (self.kernel_size, self.kernel_size)
        return library.GaussianBlur(blur_limit=kernel, sigma_limit=BLUR_SIGMA, p=self.probability)


class GaussianNoise:
    """Add sensor noise: independent for each pixel, the same in every channel, so that a gray picture stays gray.

    Args:
        deviation: largest standard deviation, as a share of the full range, 0 to 0.5; drawn evenly from 0 to there.
        probability: of a sample being changed.
    """

    def __init__(self, *, deviation: float = 0.05, probability: float = 0.5) -> None:
        check_range("deviation", deviation, 0, 0.5, "gaussian_noise")
        check_range("probability", probability, 0, 1, "gaussian_noise")
        self.deviation = deviation
        self.probability = probability

    def transform(self, library: ModuleType) -> Any:
        """Return `GaussNoise` with mean 0."""
        return library.GaussNoise(std_range=(0.0, self.deviation), per_channel=False, p=self.probability)
