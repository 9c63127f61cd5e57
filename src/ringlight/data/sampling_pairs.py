"""Batches for losses that compare records with each other: every class of a batch is there several times.

"P x K" batches: A. Hermans, L. Beyer, B. Leibe, "In Defense of the Triplet Loss for Person Re-Identification", 2017,
arXiv:1703.07737, section 2.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.data.sampling_base import ClassSampler
from ringlight.data.sampling_order import IntArray, Layout, members
from ringlight.errors import ConfigError
from ringlight.types import Task


class ClassPairsSampler(ClassSampler):
    """Every batch holds some classes, and of each at least `records_per_class` records: no record without a partner.

    A batch of B keys has P = B // M classes with M = `records_per_class`, all classes where there are fewer, and what
    is left over goes to them in turn. Classes and the records of a class come in passes: each once, in random order,
    before one comes again, so that classes are seen equally often. The records of a class in a batch are different
    ones as far as it has them; a class with a single record shows it as further copies, which are augmented
    differently.

    An epoch has as many keys as the deck has cards, less a last batch in which no pair would fit. A record with several
    labels counts for each class that it is drawn for, and its other labels come on top.

    Args:
        labels: (N,) class indices, or the (N, K) binary matrix when multi-label.
        task: which of the two.
        seed: with the epoch's number it determines the order.
        batch_size: keys per batch and rank; the loader's.
        factors: (N,) whole numbers, 1 or more: cards per record in an epoch's deck; None is one each. They make the
            epoch longer and draw records of a class more often.
        num_replicas: number of ranks.
        rank: which of them this is.
        num_epochs: epochs of the run; not asked for.
        records_per_class: M, 2 or more.

    Raises:
        DataError: no record, or labels or factors of another shape or kind.
        ConfigError: a batch or rank that cannot be, or one that holds no two classes.

    Examples:
        >>> labels = np.array([0] * 6 + [1] * 4 + [2] * 2)
        >>> order = ClassPairsSampler(labels, task="multiclass", seed=0, batch_size=4).rows(0)
        >>> [np.unique(batch, return_counts=True)[1].tolist() for batch in labels[order].reshape(3, 4)]
        [[2, 2], [2, 2], [2, 2]]
    """

    draws = True
    repeats = True

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
        records_per_class: int = 2,
    ) -> None:
        if records_per_class < 2:
            raise ConfigError(
                "2 or more, a record and a partner", got=str(records_per_class), where="sampler.records_per_class",
                fix="set sampler.records_per_class=2",
            )  # fmt: skip
        if 1 <= batch_size < 2 * records_per_class:
            raise ConfigError(
                f"a batch of two classes with {records_per_class} records each for `class_pairs`",
                got=f"data.batch_size={batch_size}",
                where="sampler.name",
                fix=f"set data.batch_size={2 * records_per_class} or more, or lower sampler.records_per_class",
            )
        self.records_per_class = records_per_class
        super().__init__(
            labels, task=task, seed=seed, batch_size=batch_size, factors=factors, num_replicas=num_replicas, rank=rank,
            num_epochs=num_epochs,
        )  # fmt: skip

    def _prepare(self, labels: npt.NDArray[Any]) -> None:
        self._pools = members(labels, self.factors)
        left_over = self._layout.rest
        if self._layout.num_full and left_over < self.records_per_class:
            self._num_keys -= left_over
            self._layout = Layout.of(self._num_keys, batch_size=self.batch_size, num_replicas=self.num_replicas)

    def rows(self, epoch: int) -> IntArray:
        """Return the rows of an epoch in order, those of all ranks together, batch after batch."""
        rng = self._rng(epoch)
        classes = _Passes(np.arange(len(self._pools)), rng)
        pools = [_Passes(pool, rng) for pool in self._pools]
        layout, order = self._layout, list[int]()
        for size in [layout.size] * layout.num_full + [layout.rest] * layout.num_short:
            chosen = classes.take(min(max(1, size // self.records_per_class), len(pools)))
            shares, odd = divmod(size, len(chosen))
            for place, label in enumerate(chosen):
                order += pools[label].take(shares + (place < odd))
        return layout.mixed(np.array(order, np.int64), rng)


class _Passes:
    """Deals members in passes; a hand holds different ones as far as there are so many, then the same again.

    Examples:
        >>> passes = _Passes(np.array([7, 8, 9]), np.random.default_rng(0))
        >>> [sorted(passes.take(2)) for _ in range(3)], sorted(passes.take(4))
        ([[7, 9], [8, 9], [7, 8]], [7, 8, 9, 9])
    """

    def __init__(self, pool: IntArray, rng: np.random.Generator) -> None:
        self._pool = pool
        self._rng = rng
        self._distinct = len(np.unique(pool))
        self._queue: deque[int] = deque()

    def take(self, count: int) -> list[int]:
        hand: list[int] = []
        later: list[int] = []
        while len(hand) < min(count, self._distinct):
            if not self._queue:
                self._queue.extend(self._rng.permutation(self._pool).tolist())
            one = self._queue.popleft()
            (later if one in hand else hand).append(one)
        self._queue.extendleft(reversed(later))
        return [hand[place % len(hand)] for place in range(count)]
