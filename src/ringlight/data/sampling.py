"""In which order training meets the records of an epoch: samplers that yield (epoch, row, copy) keys.

A key says all that a worker must know: so one that lives through all epochs, or one that starts in the middle of a
resumed run, needs nothing else, and the order of an epoch is a function of the seed and the epoch's number alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

Key = tuple[int, int, int]
"""(epoch, row, copy): `copy` is 0 where an epoch shows a row for the first time, 1, 2, ... where it shows it again."""


class EpochSampler(Sampler[Key]):
    """Yields (epoch, row, 0) for every row once.

    Lightning calls :meth:`set_epoch` by itself before each epoch; a bare loop does it by hand.

    Args:
        n: number of rows.
        seed: with the epoch's number it determines the order.
        shuffle: False keeps the order of the rows.

    Examples:
        >>> list(EpochSampler(3, seed=0, shuffle=False))
        [(0, 0, 0), (0, 1, 0), (0, 2, 0)]
    """

    def __init__(self, n: int, *, seed: int, shuffle: bool) -> None:
        self.n = n
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[Key]:
        epoch = self.epoch
        order = np.arange(self.n)
        if self.shuffle:
            order = np.random.default_rng([self.seed, epoch]).permutation(self.n)
        return ((epoch, row, 0) for row in order.tolist())
