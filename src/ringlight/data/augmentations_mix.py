"""Augmentations that mix the records of a batch: drawn here, carried out by the training."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ringlight.data.augmentations_base import check_range


class MixupPart:
    """Blend every record of a training batch with another one, and the loss with it; images and windows alike.

    x = w x_a + (1 - w) x_b and loss = w L(a) + (1 - w) L(b), with w from Beta(alpha, alpha), one for a batch (H. Zhang
    and others, "mixup: Beyond Empirical Risk Minimization", 2018, arXiv:1710.09412, equation 1 and their listing).
    Done by :class:`ringlight.training.mixing.Mixup`, and the same as `mix=mixup`, beside which it cannot be set.

    Args:
        alpha: how strongly records are blended, 0.01 to 10: below 1 mostly one of the two, at 1 any share.
        probability: of a batch being blended.
    """

    takes: ClassVar[str] = "batches"

    def __init__(self, *, alpha: float = 0.2, probability: float = 1.0) -> None:
        check_range("alpha", alpha, 0.01, 10, "mixup")
        check_range("probability", probability, 0, 1, "mixup")
        self.alpha = alpha
        self.probability = probability

    def draw(self, count: int, rng: np.random.Generator) -> tuple[float, npt.NDArray[np.int64]] | None:
        """Return the weight of a batch of `count` records and their partners (count,); None leaves the batch alone."""
        return draw_partners(count, rng, alpha=self.alpha, probability=self.probability)


def draw_partners(
    count: int, rng: np.random.Generator, *, alpha: float, probability: float
) -> tuple[float, npt.NDArray[np.int64]] | None:
    """Return a weight from Beta(alpha, alpha) and a partner for each of `count` records; None: the batch stays."""
    if rng.random() >= probability:
        return None
    return float(rng.beta(alpha, alpha)), rng.permutation(count)
