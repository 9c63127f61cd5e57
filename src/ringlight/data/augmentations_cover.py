"""Augmentations that cover parts of the picture with black: anywhere, or knowing where the defects lie."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ringlight.data.augmentations_base import check_range

Rectangles = npt.NDArray[np.int64]
"""(n, 4) whole pixels, half-open: x_min, y_min, x_max, y_max."""

_ATTEMPTS = 10
_CLEAN_SIDES = (0.05, 0.2)


class CoarseDropout:
    """Cover a few rectangles anywhere with black.

    It does not know where the defects lie and the labels stay: keep the holes smaller than the defects. A box stays as
    long as a pixel of it shows; in masks the covered pixels become 0. (T. DeVries, G. W. Taylor, "Improved
    Regularization of Convolutional Neural Networks with Cutout", 2017.)

    Args:
        holes: largest number of rectangles, 1 to 100; drawn evenly from 1 to there.
        size: longest side, as a share of the picture's side in that direction, 0.01 to 0.5; drawn evenly from half of
            it to all of it.
        probability: of a sample being changed.
    """

    def __init__(self, *, holes: int = 4, size: float = 0.1, probability: float = 0.5) -> None:
        check_range("holes", holes, 1, 100, "coarse_dropout")
        check_range("size", size, 0.01, 0.5, "coarse_dropout")
        check_range("probability", probability, 0, 1, "coarse_dropout")
        self.holes = holes
        self.size = size
        self.probability = probability

    def transform(self, library: ModuleType) -> Any:
        """Return `CoarseDropout` that keeps the boxes as they are until nothing of them shows."""
        sides = (self.size / 2, self.size)
        return _dropout_class(library)(
            num_holes_range=(1, self.holes),
            hole_height_range=sides,
            hole_width_range=sides,
            fill=0,
            fill_mask=0,
            p=self.probability,
        )


@functools.cache  # albumentations keeps a list of its transform classes: one is enough
def _dropout_class(library: ModuleType) -> Any:
    class Holes(library.CoarseDropout):  # type: ignore[name-defined,misc]  # a class known at run time
        def apply_to_bboxes(self, bboxes: Any, holes: Any, **params: Any) -> Any:
            # albumentations would shrink every box to whole pixels, also those that no hole touches.
            return _still_showing(bboxes, holes, params["shape"])

    return Holes


class DefectBlackout:
    """Cover defects that are not needed for the label, and as large pieces of background, with black.

    The labels stay true: a defect is covered only while another of its class remains, and only when it overlaps none
    that stays; what remains is wholly visible. Pictures without a defect get the background's share alone, so that a
    black rectangle tells nothing about the label. It needs boxes or a mask that mark every defect; a mask's defects are
    the connected pieces of each value. Covered defects lose their box, and their mask becomes 0.

    In the Severstal competition the name stood for covering every defect and calling the picture clean. That form is
    left out on purpose: it changes labels, which samplers, class weights and reports have counted beforehand, and
    teaches a model that a black rectangle means "clean".

    Args:
        defects: chance of each defect that may be covered, 0 to 1.
        background: pieces of background to cover, 0 to 20; each as large as one of the picture's defects, or with
            sides of 5 to 20 % of the picture's where it has none.
        probability: of a sample being changed.
    """

    needs_boxes = True

    def __init__(self, *, defects: float = 0.5, background: int = 1, probability: float = 0.5) -> None:
        check_range("defects", defects, 0, 1, "defect_blackout")
        check_range("background", background, 0, 20, "defect_blackout")
        check_range("probability", probability, 0, 1, "defect_blackout")
        self.defects = defects
        self.background = background
        self.probability = probability

    def transform(self, library: ModuleType) -> Any:
        """Return a `DualTransform` of our own: albumentations knows none that minds the labels."""
        return _blackout_class(library)(self.defects, self.background, self.probability)


@functools.cache
def _blackout_class(library: ModuleType) -> Any:
    class Blackout(library.DualTransform):  # type: ignore[name-defined,misc]
        _targets = library.core.type_definitions.ALL_TARGETS

        def __init__(self, defects: float = 0.5, background: int = 1, p: float = 0.5) -> None:
            super().__init__(p=p)
            self.defects = defects
            self.background = background

        def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
            height, width = params["shape"][:2]
            places, labels = _pixels(data.get("bboxes"), height, width)
            if not len(places) and data.get("mask") is not None:
                places, labels = _pieces(data["mask"])
            covered = choose_defects(places, labels, self.defects, self.random_generator)
            kept = np.delete(places, covered, axis=0)
            patches = choose_background(kept, places, (height, width), self.background, self.random_generator)
            return {"covers": np.concatenate([places[covered], patches])}

        def apply(self, img: Any, covers: Rectangles, **_params: Any) -> Any:
            return _blacken(img, covers)

        def apply_to_mask(self, mask: Any, covers: Rectangles, **_params: Any) -> Any:
            return _blacken(mask, covers)

        def apply_to_bboxes(self, bboxes: Any, covers: Rectangles, **params: Any) -> Any:
            return _still_showing(bboxes, covers, params["shape"])

    return Blackout


def choose_defects(
    places: Rectangles, labels: Sequence[int], share: float, generator: np.random.Generator
) -> list[int]:
    """Choose the defects that may be covered: one of each class stays, and none that stays is touched.

    Args:
        places: of the defects.
        labels: class of each.
        share: chance of each that may be covered.
        generator: decides.

    Examples:
        >>> import numpy as np
        >>> places = np.array([[0, 0, 4, 4], [6, 0, 9, 4], [20, 0, 25, 4]])
        >>> choose_defects(places, [0, 0, 1], 1.0, np.random.default_rng(0))  # one of the first two
        [0]
    """
    covered: list[int] = []
    for candidate in generator.permutation(len(places)).tolist():
        stays = [row for row in range(len(places)) if row != candidate and row not in covered]
        needed = labels[candidate] not in {labels[row] for row in stays}
        wanted = generator.random() < share
        if wanted and not needed and not _touches(places[candidate], places[stays]):
            covered.append(candidate)
    return covered


def choose_background(
    kept: Rectangles, like: Rectangles, shape: tuple[int, int], count: int, generator: np.random.Generator
) -> Rectangles:
    """Choose up to `count` rectangles within (height, width) that touch none of `kept`, of the sizes in `like`."""
    height, width = shape
    chosen = []
    for _ in range(count):
        for _attempt in range(_ATTEMPTS):
            if len(like):
                model = like[generator.integers(len(like))]
                tall, wide = int(model[3] - model[1]), int(model[2] - model[0])
            else:
                shares = generator.uniform(*_CLEAN_SIDES, size=2)
                tall, wide = max(1, int(shares[0] * height)), max(1, int(shares[1] * width))
            top, left = (int(generator.integers(0, space + 1)) for space in (height - tall, width - wide))
            place = np.array([left, top, left + wide, top + tall])
            if not _touches(place, kept):
                chosen.append(place)
                break
    return np.array(chosen, np.int64).reshape(-1, 4)


def _touches(place: Rectangles, others: Rectangles) -> bool:
    apart = (
        (others[:, 0] >= place[2])
        | (others[:, 2] <= place[0])
        | (others[:, 1] >= place[3])
        | (others[:, 3] <= place[1])
    )
    return not bool(apart.all())


def _pixels(bboxes: Any, height: int, width: int) -> tuple[Rectangles, list[int]]:
    """Return boxes (n, 5) in shares of the picture as the whole pixels they touch, and their labels."""
    if bboxes is None or not len(bboxes):
        return np.empty((0, 4), np.int64), []
    corners = np.asarray(bboxes, np.float64)[:, :4] * (width, height, width, height)
    # A box of whole pixels comes back from float32 shares with an error of about 1e-4 pixels.
    low, high = np.floor(corners[:, :2] + 1e-3), np.ceil(corners[:, 2:] - 1e-3)
    places = np.concatenate([low, np.maximum(high, low + 1)], axis=1).astype(np.int64)
    return np.clip(places, 0, (width, height, width, height)), [round(float(row[4])) for row in bboxes]


def _pieces(mask: npt.NDArray[np.uint8]) -> tuple[Rectangles, list[int]]:
    """Return the bounding rectangle of each connected piece of each value above 0, and that value."""
    places, labels = [], []
    for value in np.unique(mask[mask > 0]).tolist():
        _, _, stats, _ = cv2.connectedComponentsWithStats((mask == value).astype(np.uint8), connectivity=8)
        for left, top, wide, tall in stats[1:, :4].tolist():
            places.append([left, top, left + wide, top + tall])
            labels.append(int(value))
    return np.array(places, np.int64).reshape(-1, 4), labels


def _blacken(pixels: Any, covers: Rectangles) -> Any:
    covered = pixels.copy()
    for left, top, right, bottom in covers.tolist():
        covered[top:bottom, left:right] = 0
    return covered


def _still_showing(bboxes: Any, covers: Any, shape: Sequence[int]) -> Any:
    """Return the boxes (n, 5) of which at least one pixel is not covered."""
    if not len(bboxes) or not len(covers):
        return bboxes
    showing = _blacken(np.ones(shape[:2], np.uint8), np.asarray(covers))
    places, _ = _pixels(bboxes, *shape[:2])
    return bboxes[[bool(showing[top:bottom, left:right].any()) for left, top, right, bottom in places.tolist()]]
