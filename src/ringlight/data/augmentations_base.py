"""What every part of the augmentation catalogue is, and the checks its parameters go through."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Protocol

from ringlight.errors import ConfigError


class Augmentation(Protocol):
    """One part of the catalogue: plain keyword arguments, and the transform they describe.

    A class whose work depends on where the defects lie says so with `needs_boxes = True`; it is then left out for
    samples that come without boxes and mask.
    """

    def transform(self, library: ModuleType) -> Any:
        """Return the transform (a `BasicTransform`) made with `library`, the albumentations module."""


def check_range(name: str, value: float, low: float, high: float, part: str) -> None:
    """Refuse a parameter outside `low` to `high`, NaN included.

    Raises:
        ConfigError: naming the key in full (`augmentation.part.name`).
    """
    if not low <= value <= high:
        where = f"augmentation.{part}.{name}"
        raise ConfigError(f"a number from {low:g} to {high:g}", got=repr(value), where=where, fix="correct the value")
