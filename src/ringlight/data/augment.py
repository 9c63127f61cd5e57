"""Augmentation of images: named parts, each on, off or tuned by its own configuration key; boxes and masks follow.

What happens to a sample is a function of the seed, the epoch and the record's id, and of nothing else: not of the
number of workers, not of where a run was resumed, and for each part not of which other parts are on. Copies of a
record within an epoch differ by their ids: `id`, `id#1`, `id#2` and so on. albumentations does the work and is imported
nowhere else. How the section is written stands in :mod:`ringlight.data.augment_config`; the same parts for whole
batches on a device are in :mod:`ringlight.data.augment_batch`, windows of a signal in
:mod:`ringlight.data.signal_augment`.
"""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ringlight.data.augment_base import SectionAugmenter, entropy
from ringlight.data.augment_config import (
    Parts,
    augmentation_needs,
    augmentation_problems,
    enabled_augmentations,
    has_augmentation,
    needs_boxes,
)
from ringlight.data.augmentations import AUGMENTATIONS
from ringlight.data.augmentations_base import Augmentation
from ringlight.types import Box

__all__ = [
    "Augmented",
    "Augmenter",
    "augmentation_needs",
    "augmentation_problems",
    "enabled_augmentations",
    "has_augmentation",
]

Pixels = npt.NDArray[np.uint8]


@functools.cache
def _albumentations() -> ModuleType:
    # On import it asks a server for a newer version of itself unless this variable is set.
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import albumentations

    return albumentations  # type: ignore[no-any-return]  # it ships no types


@dataclass(frozen=True, slots=True)
class Augmented:
    """A sample after augmentation: picture (H, W, C), the boxes still in it, mask (H, W) when there was one."""

    image: Pixels
    boxes: tuple[Box, ...] = ()
    mask: Pixels | None = None


class Augmenter(SectionAugmenter):
    """Applies an augmentation section to samples.

    It is picklable, and an object of its own in every worker; it is not meant for several threads at once.

    Args:
        config: name -> null, false, true, a probability, or a mapping of parameters; and the two keys
            `per_class_factor` and `heavy`.
        seed: together with epoch and record id it determines what happens to a sample.
        class_names: of the data; needed for :meth:`is_heavy` where `per_class_factor` names a class.

    Raises:
        Problems: the section has mistakes, or names a class that is not among `class_names`; all of them, a line each.
    """

    def __init__(self, config: Mapping[str, object], *, seed: int, class_names: Sequence[str] = ()) -> None:
        super().__init__(config, seed=seed, class_names=class_names, kind="images")
        self._composed: dict[tuple[str, ...], Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        # albumentations is imported by the worker that needs it, never by unpickling.
        return {**self.__dict__, "_composed": {}}

    def __call__(
        self,
        image: Pixels,
        *,
        epoch: int,
        record_id: str,
        heavy: bool = False,
        boxes: Sequence[Box] | None = None,
        mask: Pixels | None = None,
    ) -> Augmented:
        """Augment one sample: picture uint8 (H, W, C), boxes in its pixels, mask uint8 (H, W).

        Boxes and mask both None mean that nobody knows where the defects lie: what needs them is left out then. An
        empty list of boxes means that there are none. With `heavy` the heavy pipeline is applied instead of the plain
        one, if the section has one.
        """
        parts = self.parts_for(heavy=heavy)
        if boxes is None and mask is None:
            parts = {name: given for name, given in parts.items() if not needs_boxes(name)}
        if not parts:
            return Augmented(image, tuple(boxes or ()), mask)
        compose = self._build(parts, heavy)
        for name, transform in zip(parts, compose.transforms, strict=True):
            # A generator for each part. `Compose.set_random_seed` would start all of them from one number, and then a
            # sample is flipped both ways or not at all.
            start = entropy(self.seed, epoch, record_id, name)
            transform.set_random_state(np.random.default_rng(start), random.Random(start))
        sample: dict[str, Any] = {"image": image}
        moves_boxes = bool(boxes) and bool(compose.processors)
        if compose.processors:
            sample["bboxes"] = _to_array(boxes or ())
        if mask is not None:
            sample["mask"] = mask
        result = compose(**sample)
        augmented = result["image"].reshape(*result["image"].shape[:2], image.shape[2])
        kept = _to_boxes(result["bboxes"]) if moves_boxes else tuple(boxes or ())
        return Augmented(augmented, kept, result.get("mask"))

    def _build(self, chosen: Parts, heavy: bool) -> Any:
        key = ("heavy" if heavy else "plain", *chosen)
        if key not in self._composed:
            library = _albumentations()
            built = [cast(Augmentation, AUGMENTATIONS.build(name, **given)) for name, given in chosen.items()]
            parts = [part.transform(library) for part in built]
            boxes = None
            if any("bboxes" in part.available_keys for part in parts):  # else it warns of boxes that nobody moves
                # Less than a pixel is no box; without `clip` one that a rounding put beyond the edge is refused.
                boxes = library.BboxParams(
                    "pascal_voc", min_width=1, min_height=1, clip=True, filter_invalid_bboxes=True
                )
            self._composed[key] = library.Compose(parts, bbox_params=boxes)
        return self._composed[key]


def _to_array(boxes: Sequence[Box]) -> npt.NDArray[np.float32]:
    rows = [[box["x_min"], box["y_min"], box["x_max"], box["y_max"], box["label"]] for box in boxes]
    return np.asarray(rows, np.float32).reshape(-1, 5)


def _to_boxes(rows: npt.NDArray[np.float32]) -> tuple[Box, ...]:
    return tuple(
        Box(label=round(label), x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max)
        for x_min, y_min, x_max, y_max, label in np.asarray(rows, np.float64).reshape(-1, 5).tolist()
    )
