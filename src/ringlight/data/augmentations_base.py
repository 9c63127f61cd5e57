"""What every part of the augmentation catalogue is, and the checks its parameters go through."""

from __future__ import annotations

from types import ModuleType
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt

from ringlight.errors import ConfigError

Kind = Literal["images", "windows"]
"""What the records of a data set are."""

Window = npt.NDArray[np.float32]
"""One window of a signal, (T, C): T samples of C channels."""


class Augmentation(Protocol):
    """A part for pictures: plain keyword arguments, and the transform they describe.

    A class whose work depends on where the defects lie says so with `needs_boxes = True`; it is then left out for
    samples that come without boxes and mask. A class without `takes` takes images.
    """

    def transform(self, library: ModuleType) -> Any:
        """Return the transform (a `BasicTransform`) made with `library`, the albumentations module."""


class SignalAugmentation(Protocol):
    """A part for windows of a signal: plain keyword arguments, and what they do to a window."""

    takes: ClassVar[str]
    """`windows`."""
    probability: float

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Return a changed copy of a window (T, C) whose channels have about unit deviation; all chance is `rng`'s.

        Whether it is applied at all is decided before, by `probability`.
        """
        ...


class BatchAugmentation(Protocol):
    """A part for whole batches, of images or windows: the training applies it (`training/mixing.py`)."""

    takes: ClassVar[str]
    """`batches`."""

    def draw(self, count: int, rng: np.random.Generator) -> tuple[float, npt.NDArray[np.int64]] | None:
        """Return how a batch of `count` records is mixed: the weight of each with its partner; None does not mix it."""
        ...


def check_range(name: str, value: float, low: float, high: float, part: str) -> None:
    """Refuse a parameter outside `low` to `high`, NaN included.

    Raises:
        ConfigError: naming the key in full (`augmentation.part.name`).
    """
    if not low <= value <= high:
        where = f"augmentation.{part}.{name}"
        raise ConfigError(f"a number from {low:g} to {high:g}", got=repr(value), where=where, fix="correct the value")
