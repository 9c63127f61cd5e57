"""The training loss of an epoch while it lasts: a sum over images, so that a small last batch counts as what it is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from ringlight.training.task import ClassificationTask

LOOK_EVERY = 1.0
"""Seconds between two looks at a loss that lies on a GPU."""


@dataclass(slots=True)
class LossSum:
    """`total` is the sum of the losses of `images` images, on the device: reading it waits for the device."""

    total: Tensor | None = None
    images: int = 0

    def add(self, mean: Tensor, images: int) -> None:
        """Add a batch's mean loss, a scalar."""
        self.total = mean * images if self.total is None else self.total + mean * images
        self.images += images

    @property
    def mean(self) -> float:
        """The loss per image so far; NaN before the first."""
        return float("nan") if self.total is None or not self.images else float(self.total) / self.images


@dataclass(slots=True)
class LatestLoss:
    """The loss per image of the epoch so far, as a progress bar tells it: on a GPU up to a second old."""

    value: float = float("nan")
    looked: float = float("-inf")

    def of(self, task: ClassificationTask) -> float:
        """Return it; NaN before the first step."""
        now = time.monotonic()
        if task.device.type == "cpu" or now - self.looked >= LOOK_EVERY:
            self.value, self.looked = task.losses.mean, now
        return self.value
