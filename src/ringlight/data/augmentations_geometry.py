"""Augmentations that move pixels: mirror, turn, shift, zoom and crop. Boxes and masks follow."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

from ringlight.data.augmentations_base import check_range


class HorizontalFlip:
    """Mirror left and right.

    Args:
        probability: of a sample being mirrored.
    """

    def __init__(self, *, probability: float = 0.5) -> None:
        check_range("probability", probability, 0, 1, "horizontal_flip")
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
        check_range("probability", probability, 0, 1, "vertical_flip")
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
        check_range("degrees", degrees, 0, 180, "rotation")
        check_range("probability", probability, 0, 1, "rotation")
        self.degrees = degrees
        self.probability = probability

    def transform(self, library: ModuleType) -> Any:
        """Return `Rotate` with a constant border: a mirrored one would invent defects and boxes."""
        return library.Rotate(limit=(-self.degrees, self.degrees), fill=0, fill_mask=0, p=self.probability)


class ShiftScale:
    """Move the picture and zoom in or out about its middle, black outside.

    The picture keeps its size, so what is moved out of it is gone; labels stay, boxes outside are dropped. Keep the
    shift below the margin around the defects. Proportions stay.

    Args:
        shift: largest move either way along each axis, as a share of that side, 0 to 0.5.
        zoom: largest change of the magnification 1 either way, 0 to 0.5.
        probability: of a sample being changed.
    """

    def __init__(self, *, shift: float = 0.05, zoom: float = 0.1, probability: float = 0.5) -> None:
        check_range("shift", shift, 0, 0.5, "shift_scale")
        check_range("zoom", zoom, 0, 0.5, "shift_scale")
        check_range("probability", probability, 0, 1, "shift_scale")
        self.shift = shift
        self.zoom = zoom
        self.probability = probability

    def transform(self, library: ModuleType) -> Any:
        """Return `Affine` without turning or shearing; moves are whole pixels."""
        return library.Affine(
            scale=(1 - self.zoom, 1 + self.zoom),
            translate_percent=(-self.shift, self.shift),
            keep_ratio=True,
            fill=0,
            fill_mask=0,
            p=self.probability,
        )


class RandomCrop:
    """Cut a random part out and enlarge it to the picture's size.

    The part has the picture's own proportions, so nothing is stretched. Labels stay, boxes outside are dropped: a
    defect at the edge may be cut away, the more so on long strips, where it takes only a little less of the length.
    Keep most of the area there (0.9).

    Args:
        area: smallest share of the picture's area that is kept, 0.05 to 1; the share is drawn evenly from there to 1.
        probability: of a sample being cut.
    """

    def __init__(self, *, area: float = 0.8, probability: float = 0.5) -> None:
        check_range("area", area, 0.05, 1, "random_crop")
        check_range("probability", probability, 0, 1, "random_crop")
        self.area = area
        self.probability = probability

    def transform(self, library: ModuleType) -> Any:
        """Return `RandomResizedCrop` that takes size and proportions from each picture."""
        return _crop_class(library)(size=(1, 1), scale=(self.area, 1.0), ratio=(1.0, 1.0), p=self.probability)


@functools.cache  # albumentations keeps a list of its transform classes: one is enough
def _crop_class(library: ModuleType) -> Any:
    class CropToOwnSize(library.RandomResizedCrop):  # type: ignore[name-defined,misc]  # a class known at run time
        def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> Any:
            height, width = params["shape"][:2]
            self.size, self.ratio = (height, width), (width / height, width / height)
            return super().get_params_dependent_on_data(params, data)

    return CropToOwnSize
