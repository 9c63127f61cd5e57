"""What every sampler of training records has in common: keys, epochs, the deck of cards, ranks.

A key says all that a worker must know: so one that lives through all epochs, or one that starts in the middle of a
resumed run, needs nothing else, and the order of an epoch is a function of the seed and the epoch's number alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, repeat
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from ringlight.data.sampling_order import IntArray, Layout, occurrences
from ringlight.errors import ConfigError, DataError
from ringlight.types import Task

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
        self._start = 0

    @property
    def num_rows(self) -> int:
        """The number of rows there are to choose from."""
        return self.n

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next."""
        self.epoch = epoch

    def start_at(self, place: int) -> None:
        """Leave the first `place` keys out the next time an epoch is gone through, and that time only.

        Examples:
            >>> sampler = EpochSampler(3, seed=0, shuffle=False)
            >>> sampler.start_at(2)
            >>> list(sampler), len(list(sampler))
            ([(0, 2, 0)], 3)
        """
        self._start = place

    def rows(self, epoch: int) -> IntArray:
        """Return the rows of an epoch in order, those of all ranks together."""
        if not self.shuffle:
            return np.arange(self.n)
        return self._rng(epoch).permutation(self.n)

    def _rng(self, epoch: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch])

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[Key]:
        start, self._start = self._start, 0
        return islice(self._keys(), start, None)

    def _keys(self) -> Iterator[Key]:
        """Yield the keys of the epoch from its beginning."""
        rows = self.rows(self.epoch)
        # Copies are counted over all ranks: two that show the same row augment it differently.
        parts = (self._part(rows), self._part(occurrences(rows)))
        return zip(repeat(self.epoch), *(part.tolist() for part in parts))

    def _part(self, order: IntArray) -> IntArray:
        return order


class ClassSampler(EpochSampler):
    """What all samplers that know the labels have in common.

    Keys come batch after batch: `batch_size` of them in a row are a batch. With several ranks the batches are dealt to
    them in turn, so that what holds for a batch holds for every rank's. Ranks get equally many keys: where the deck
    does not divide, fewer than `num_replicas` further keys are added, as further copies.

    Args:
        labels: (N,) class indices, or the (N, K) binary matrix when multi-label.
        task: which of the two.
        seed: with the epoch's number it determines the order.
        batch_size: keys per batch and rank; the loader's.
        factors: (N,) whole numbers, 1 or more: cards per record in an epoch's deck; None is one each.
        num_replicas: number of ranks.
        rank: which of them this is.
        num_epochs: epochs of the run; only :class:`ProgressiveSampler` asks.

    Raises:
        DataError: no record, or labels or factors of another shape or kind.
        ConfigError: a batch or rank that cannot be.
    """

    draws: ClassVar[bool] = False
    """Whether it chooses a class before a record, so that a class with one record shows this one again and again."""
    in_every_batch: ClassVar[bool] = False
    """Whether it promises every class in every batch."""
    repeats: ClassVar[bool] = False
    """Whether it is meant to show a single record of a class again and again, and takes classes without any."""

    def __init__(
        self,
        labels: npt.ArrayLike,
        *,
        task: Task,
        seed: int,
        batch_size: int,
        factors: npt.ArrayLike | None = None,
        num_replicas: int = 1,
        rank: int = 0,
        num_epochs: int = 1,
    ) -> None:
        known = _checked_labels(labels, task)
        super().__init__(len(known), seed=seed, shuffle=True)
        _check_cut(batch_size, num_replicas, rank)
        self.batch_size = batch_size
        self.num_replicas = num_replicas
        self.rank = rank
        self.num_epochs = num_epochs
        self.factors = _checked_factors(factors, self.n)
        self._deck = np.repeat(np.arange(self.n), self.factors)
        self._num_keys = -(-len(self._deck) // num_replicas)
        self._layout = Layout.of(self._num_keys, batch_size=batch_size, num_replicas=num_replicas)
        self._prepare(known)

    def _prepare(self, labels: npt.NDArray[Any]) -> None:
        """Keep what the order needs to know of the labels; here nothing."""

    def rows(self, epoch: int) -> IntArray:
        """Return the rows of an epoch in order, those of all ranks together, batch after batch.

        Here the shuffled deck.
        """
        return self._cards(self._rng(epoch))

    @property
    def total(self) -> int:
        """Keys per epoch of all ranks together."""
        return self._num_keys * self.num_replicas

    def _cards(self, rng: np.random.Generator) -> IntArray:
        """Return the deck, shuffled, and what makes it divisible by the ranks."""
        return self._deck[np.resize(rng.permutation(len(self._deck)), self.total)]

    def __len__(self) -> int:
        return self._num_keys

    def _part(self, order: IntArray) -> IntArray:
        return self._layout.part(order, num_replicas=self.num_replicas, rank=self.rank)


def _checked_labels(labels: npt.ArrayLike, task: Task) -> npt.NDArray[Any]:
    """Return labels as whole numbers, or raise what is wrong with them."""
    known = np.asarray(labels)
    wanted = "(N,) class indices" if task == "multiclass" else "an (N, K) matrix of 0 and 1"
    right = known.ndim == (1 if task == "multiclass" else 2) and known.size > 0
    if right and task == "multiclass":
        right = bool(np.issubdtype(known.dtype, np.integer) and known.min() >= 0)
    elif right:
        right = bool(((known == 0) | (known == 1)).all())
    if not right:
        raise DataError(
            f"{wanted} of one record or more",
            got=f"{known.dtype} of shape {known.shape}"
            + (f" from {known.min()} to {known.max()}" if known.size else ""),
            where="labels",
            fix="pass dataset.targets()",
        )
    return known if task == "multiclass" else known.astype(np.uint8)


def _checked_factors(factors: npt.ArrayLike | None, n: int) -> IntArray:
    if factors is None:
        return np.ones(n, np.int64)
    known = np.asarray(factors)
    if known.shape != (n,) or not np.issubdtype(known.dtype, np.integer) or known.min() < 1:
        raise DataError(
            f"a whole number of 1 or more for each of {n} records",
            got=f"{known.dtype} of shape {known.shape}" + (f", the least {known.min()}" if known.size else ""),
            where="factors",
            fix="pass augmenter.factors(dataset)",
        )
    return known.astype(np.int64)


def _check_cut(batch_size: int, num_replicas: int, rank: int) -> None:
    if batch_size < 1:
        raise ConfigError("1 or more", got=str(batch_size), where="data.batch_size", fix="set data.batch_size=32")
    if not 0 <= rank < num_replicas:
        raise ConfigError(
            "a rank from 0 to num_replicas - 1",
            got=f"rank {rank} of {num_replicas}",
            where="sampler",
            fix="pass the process's own rank and the number of processes",
        )
