"""Augmentation: named parts, each on, off or tuned by its own configuration key; boxes and masks follow.

    horizontal_flip: 0.5                        # a number is the probability
    rotation: {degrees: 15, probability: 0.5}   # a mapping tunes the parameters
    gaussian_blur: true                         # with its defaults
    color_jitter: null                          # off, as is false

What happens to a sample is a function of the seed, the epoch and the record's id, and of nothing else: not of the
number of workers, not of where a run was resumed, and for each part not of which other parts are on. albumentations
does the work and is imported nowhere else.
"""

from __future__ import annotations

import functools
import hashlib
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.data.augmentations import AUGMENTATIONS
from ringlight.errors import ConfigError, Problems, did_you_mean
from ringlight.registry import Catalogue
from ringlight.types import Box

Pixels = npt.NDArray[np.uint8]


@functools.cache
def _albumentations() -> ModuleType:
    # On import it asks a server for a newer version of itself unless this variable is set.
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import albumentations

    return albumentations  # type: ignore[no-any-return]  # it ships no types


def enabled_augmentations(config: Mapping[str, object]) -> dict[str, dict[str, Any]]:
    """Return the parameters of every augmentation that is on, in the order of application.

    Raises:
        Problems: an unknown name or parameter, a wrong type or value; every mistake, a line each.

    Examples:
        >>> enabled_augmentations({"rotation": {"degrees": 5}, "vertical_flip": None, "horizontal_flip": 0.5})
        {'horizontal_flip': {'probability': 0.5}, 'rotation': {'degrees': 5}}
    """
    lines = augmentation_problems(config)
    if lines:
        raise Problems(lines)
    values = {name: config.get(name) for name in AUGMENTATIONS.names()}
    return {name: _parameters(value) for name, value in values.items() if value is not None and value is not False}


def augmentation_problems(config: Mapping[str, object]) -> list[str]:
    """Return what is wrong with an augmentation section, one readable line each; empty when all is well.

    Examples:
        >>> augmentation_problems({"rotatoin": True})
        ['augmentation.rotatoin: expected a known augmentation, got unknown key `rotatoin`; did you mean `rotation`?']
    """
    lines = []
    names = AUGMENTATIONS.names()
    for name, value in config.items():
        if name not in names:
            lines.append(
                f"augmentation.{name}: expected a known augmentation, got unknown key `{name}`; "
                f"{did_you_mean(str(name), names)}"
            )
        elif value is not None and not isinstance(value, bool | int | float | Mapping):
            lines.append(
                f"augmentation.{name}: expected true, false, a probability or a mapping of parameters, got {value!r}; "
                "correct the value"
            )
        elif value is not None and value is not False:
            lines += _part_problems(name, _parameters(value))
    return lines


def _parameters(value: object) -> dict[str, Any]:
    if value is True:
        return {}
    return dict(value) if isinstance(value, Mapping) else {"probability": value}


def _part_problems(name: str, parameters: dict[str, Any]) -> list[str]:
    family = f"augmentation.{name}"  # so that the lines name the key in full
    part = Catalogue(family, {name: AUGMENTATIONS.factory(name)})
    lines = [line.replace(f"{family} `{name}`", f"augmentation `{name}`") for line in part.problems(name, parameters)]
    if not lines:
        try:
            part.factory(name)(**parameters)
        except ConfigError as error:
            lines.append(str(error))
    return lines


@dataclass(frozen=True, slots=True)
class Augmented:
    """A sample after augmentation: picture (H, W, C), the boxes still in it, mask (H, W) when there was one."""

    image: Pixels
    boxes: tuple[Box, ...] = ()
    mask: Pixels | None = None


class Augmenter:
    """Applies an augmentation section to samples.

    It is picklable, and an object of its own in every worker; it is not meant for several threads at once.

    Args:
        config: name -> null, false, true, a probability, or a mapping of parameters.
        seed: together with epoch and record id it determines what happens to a sample.

    Raises:
        Problems: the section has mistakes; all of them, a line each.
    """

    def __init__(self, config: Mapping[str, object], *, seed: int) -> None:
        self.enabled = enabled_augmentations(config)
        self.seed = seed
        self._compose: Any = None

    def __getstate__(self) -> dict[str, Any]:
        # albumentations is imported by the worker that needs it, never by unpickling.
        return {**self.__dict__, "_compose": None}

    def __call__(
        self,
        image: Pixels,
        *,
        epoch: int,
        record_id: str,
        boxes: Sequence[Box] | None = None,
        mask: Pixels | None = None,
    ) -> Augmented:
        """Augment one sample: picture uint8 (H, W, C), boxes in its pixels, mask uint8 (H, W)."""
        if not self.enabled:
            return Augmented(image, tuple(boxes or ()), mask)
        compose = self._build()
        for name, transform in zip(self.enabled, compose.transforms, strict=True):
            # A generator for each part. `Compose.set_random_seed` would start all of them from one number, and then a
            # sample is flipped both ways or not at all.
            entropy = _entropy(self.seed, epoch, record_id, name)
            transform.set_random_state(np.random.default_rng(entropy), random.Random(entropy))
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

    def _build(self) -> Any:
        if self._compose is None:
            library = _albumentations()
            parts = [AUGMENTATIONS.build(name, **given).transform(library) for name, given in self.enabled.items()]
            boxes = None
            if any("bboxes" in part.available_keys for part in parts):  # else it warns of boxes that nobody moves
                # Less than a pixel is no box; without `clip` one that a rounding put beyond the edge is refused.
                boxes = library.BboxParams(
                    "pascal_voc", min_width=1, min_height=1, clip=True, filter_invalid_bboxes=True
                )
            self._compose = library.Compose(parts, bbox_params=boxes)
        return self._compose


def _entropy(seed: int, epoch: int, record_id: str, part: str) -> int:
    key = repr((seed, epoch, record_id, part)).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(key, digest_size=16).digest(), "big")


def _to_array(boxes: Sequence[Box]) -> npt.NDArray[np.float32]:
    rows = [[box["x_min"], box["y_min"], box["x_max"], box["y_max"], box["label"]] for box in boxes]
    return np.asarray(rows, np.float32).reshape(-1, 5)


def _to_boxes(rows: npt.NDArray[np.float32]) -> tuple[Box, ...]:
    return tuple(
        Box(label=round(label), x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max)
        for x_min, y_min, x_max, y_max, label in np.asarray(rows, np.float64).reshape(-1, 5).tolist()
    )
