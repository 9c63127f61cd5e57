"""In which order, and how often, training meets the records of an epoch: the catalogue of samplers.

Every record has as many cards in an epoch's deck as its factor says (one without factors), and an epoch has as many
keys as the deck has cards, whatever the sampler (`class_pairs` leaves out a last batch in which no pair would fit).
`shuffle` and `stratified` show each card once. The others draw: they say how often a class is seen, and the cards say
how often a record is seen within its class. A record that comes again
in an epoch is its next copy, so that it is augmented differently.

A class, here, is a label. A record with several labels is a member of each of its classes; records without a label
(clean parts of a multi-label data set) are one more class. A class that no record carries does not exist.

Kang et al. 2020: "Decoupling Representation and Classifier for Long-Tailed Recognition", ICLR 2020, arXiv:1910.09217.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.data.sampling_base import ClassSampler, EpochSampler, Key
from ringlight.data.sampling_order import FloatArray, IntArray, deal, fill, members, quotas, strata
from ringlight.data.sampling_pairs import ClassPairsSampler
from ringlight.errors import ConfigError
from ringlight.registry import Catalogue

__all__ = [
    "SAMPLERS",
    "BalancedBatchSampler",
    "ClassBalancedSampler",
    "ClassPairsSampler",
    "ClassSampler",
    "EpochSampler",
    "Key",
    "ProgressiveSampler",
    "ShuffleSampler",
    "SquareRootSampler",
    "StratifiedSampler",
    "class_counts_of",
    "sampler_problems",
]


class ShuffleSampler(ClassSampler):
    """Every card once, in random order, whatever its class.

    Examples:
        >>> list(ShuffleSampler([0, 0, 1], task="multiclass", seed=0, batch_size=2))
        [(0, 2, 0), (0, 0, 0), (0, 1, 0)]
    """


class StratifiedSampler(ClassSampler):
    """Every card once, and every batch follows the shares of the classes as closely as whole numbers allow.

    With one label a record, every batch holds of every class its share of the batch, rounded down or up. With several,
    this holds for every set of labels that occurs, for the two rarest classes and for the records without a label;
    the other classes are near their share, the rarer the nearer. (Where records carry many labels each, the frequent
    ones come out as by shuffling.)

    Examples:
        >>> labels = np.array([0] * 8 + [1] * 4)
        >>> order = StratifiedSampler(labels, task="multiclass", seed=0, batch_size=3).rows(0)
        >>> labels[order].reshape(4, 3).sum(axis=1).tolist()
        [1, 1, 1, 1]
    """

    def _prepare(self, labels: npt.NDArray[Any]) -> None:
        self._strata = strata(labels)

    def rows(self, epoch: int) -> IntArray:
        """Return the rows of an epoch in order, those of all ranks together, batch after batch."""
        rng = self._rng(epoch)
        cards = self._cards(rng)
        return deal(cards[np.argsort(self._strata[cards], kind="stable")], self._layout, rng)


class _DrawingSampler(ClassSampler):
    """Chooses a class, then a record of it."""

    draws = True

    def _prepare(self, labels: npt.NDArray[Any]) -> None:
        self._pools = members(labels, self.factors)

    def _powered(self, power: float) -> FloatArray:
        """Return the share of every present class by equation 1 with q = `power`, (C,); clean records last."""
        weights = np.array([len(pool) for pool in self._pools], np.float64) ** power
        return np.asarray(weights / weights.sum())

    def _drawn(self, shares: FloatArray, epoch: int) -> IntArray:
        """Return rows in random order whose classes have these shares in the epoch, rounded down or up."""
        rng = self._rng(epoch)
        counts = quotas(shares, self.total, rng)
        return rng.permutation(fill(np.repeat(np.arange(len(counts)), counts), self._pools, rng))


class BalancedBatchSampler(_DrawingSampler):
    """Every batch holds every class, equally many of each as far as the batch size divides.

    The odd places of a batch go round, so that over an epoch, too, classes differ by one at most. The records of a
    class come in passes: each once before one comes again. Those of a rare class are repeated as further copies, and
    of a frequent one an epoch shows a part, each epoch another.

    A record with several labels may fill a place of any of its classes, and its other labels come on top. A last batch
    smaller than the number of classes holds that many different ones.

    Examples:
        >>> labels = np.array([0] * 7 + [1] * 2)
        >>> order = BalancedBatchSampler(labels, task="multiclass", seed=0, batch_size=4).rows(0)
        >>> labels[order[:8]].reshape(2, 4).sum(axis=1).tolist()
        [2, 2]
    """

    in_every_batch = True

    def _prepare(self, labels: npt.NDArray[Any]) -> None:
        super()._prepare(labels)
        if self.batch_size < len(self._pools):
            has_clean = labels.ndim == 2 and not labels.any(axis=1).all()
            raise _too_small_a_batch("balanced", self.batch_size, len(self._pools), has_clean=has_clean)

    def rows(self, epoch: int) -> IntArray:
        """Return the rows of an epoch in order, those of all ranks together, batch after batch."""
        rng = self._rng(epoch)
        num_classes = len(self._pools)
        # A cycle through the classes: any s places in a row hold s / C of each, rounded down or up.
        slots = rng.permutation(num_classes)[np.arange(self.total) % num_classes]
        return fill(self._layout.mixed(slots, rng), self._pools, rng)


class ClassBalancedSampler(_DrawingSampler):
    """A class is drawn uniformly, then a record of it: classes are seen equally often (Kang et al. 2020, eq. 1, q=0).

    Equation 1: p_j = n_j^q / sum_i n_i^q is the probability that a key shows class j, with n_j cards of the class.

    The draw is one without luck: in an epoch every class has its share of the keys, rounded down or up, and within a
    class each card is drawn once before one is drawn again. Batches are random.

    Examples:
        >>> labels = np.array([0] * 9 + [1])
        >>> np.bincount(labels[ClassBalancedSampler(labels, task="multiclass", seed=0, batch_size=4).rows(0)]).tolist()
        [5, 5]
    """

    def rows(self, epoch: int) -> IntArray:
        """Return the rows of an epoch in order, those of all ranks together."""
        return self._drawn(self._powered(0.0), epoch)


class SquareRootSampler(_DrawingSampler):
    """A class is seen in proportion to the square root of its number of records (Kang et al. 2020, eq. 1, q=1/2).

    Examples:
        >>> labels = np.array([0] * 81 + [1])
        >>> np.bincount(labels[SquareRootSampler(labels, task="multiclass", seed=0, batch_size=4).rows(0)]).tolist()
        [74, 8]
    """

    def rows(self, epoch: int) -> IntArray:
        """Return the rows of an epoch in order, those of all ranks together."""
        return self._drawn(self._powered(0.5), epoch)


class ProgressiveSampler(_DrawingSampler):
    """From the classes as they are to classes equally often, evenly over the run (Kang et al. 2020, eq. 2).

    Equation 2: p_j(t) = (1 - t/T) p_j^IB + (t/T) p_j^CB, with the instance-balanced shares p^IB (q=1 in equation 1)
    and the class-balanced ones p^CB (q=0). Here t/T is epoch / (num_epochs - 1): the first epoch shows, with one label
    a record, every card once, and the last one every class equally often. Further epochs stay there.

    Examples:
        >>> sampler = ProgressiveSampler([0] * 9 + [1], task="multiclass", seed=0, batch_size=4, num_epochs=5)
        >>> [sampler.shares(epoch).round(2).tolist() for epoch in (0, 2, 4)]
        [[0.9, 0.1], [0.7, 0.3], [0.5, 0.5]]
    """

    def shares(self, epoch: int) -> FloatArray:
        """Return the share of every present class in the keys of an epoch, (C,), summing to 1; clean records last."""
        progress = min(1.0, epoch / max(1, self.num_epochs - 1))
        return (1 - progress) * self._powered(1.0) + progress * self._powered(0.0)

    def rows(self, epoch: int) -> IntArray:
        """Return the rows of an epoch in order, those of all ranks together."""
        return self._drawn(self.shares(epoch), epoch)


SAMPLERS: Catalogue[EpochSampler] = Catalogue(
    "sampler",
    {
        "shuffle": ShuffleSampler,
        "stratified": StratifiedSampler,
        "balanced": BalancedBatchSampler,
        "class_balanced": ClassBalancedSampler,
        "square_root": SquareRootSampler,
        "progressive": ProgressiveSampler,
        "class_pairs": ClassPairsSampler,
    },
    supplied=("labels", "task", "seed", "batch_size", "factors", "num_replicas", "rank", "num_epochs"),
    entry_point_group="ringlight.samplers",
)
"""What `sampler.name` may be. Each is built as `sampler(labels, task=..., seed=..., batch_size=..., factors=...,
num_replicas=..., rank=..., num_epochs=..., ...)`."""


def class_counts_of(sampler: EpochSampler, labels: npt.ArrayLike, num_classes: int) -> list[int]:
    """Return how often epoch 0 shows each class, over all ranks: what a loss that weighs classes must be told.

    A class that is drawn 20 times as often must not be weighted 20 times as well.

    Examples:
        >>> labels = [0, 0, 0, 1]
        >>> class_counts_of(ClassBalancedSampler(labels, task="multiclass", seed=0, batch_size=2), labels, 2)
        [2, 2]
    """
    known = np.asarray(labels)
    times = np.bincount(sampler.rows(0), minlength=len(known))
    if known.ndim == 1:
        return [int(count) for count in np.round(np.bincount(known, weights=times, minlength=num_classes))]
    return [int(count) for count in times @ known.astype(np.int64)]


def sampler_problems(
    name: str, class_names: Sequence[str], class_counts: Sequence[int], batch_size: int, *, num_clean: int = 0
) -> list[str]:
    """Return why a sampler cannot keep its promise on these records, one line each; empty when it can.

    Args:
        name: one of :data:`SAMPLERS`; one that is unknown is the catalogue's business.
        class_names: the K classes.
        class_counts: training records (not copies) of each.
        batch_size: records per batch.
        num_clean: training records without a label, in a multi-label data set: one class more.
    """
    kind = SAMPLERS.factory(name) if name in SAMPLERS else None
    if not (isinstance(kind, type) and issubclass(kind, ClassSampler) and kind.draws) or kind.repeats:
        return []
    named = [(f"class `{label}`", count) for label, count in zip(class_names, class_counts, strict=True)]
    if num_clean:
        named.append(("records without a label", num_clean))
    got = {0: "none", 1: "a single one"}
    # One record drawn again and again teaches this record, not its class: its score would be luck.
    lines = [
        f"sampler.name: expected at least 2 training records of every class for `{name}`, got {got[count]} of {what}; "
        "add records, leave the class out, or set sampler.name=stratified"
        for what, count in named
        if count in got
    ]
    if kind.in_every_batch and batch_size < len(named):
        lines.append(str(_too_small_a_batch(name, batch_size, len(named), has_clean=num_clean > 0)))
    return lines


def _too_small_a_batch(name: str, batch_size: int, num_classes: int, *, has_clean: bool) -> ConfigError:
    return ConfigError(
        f"a batch that can hold every class for `{name}`",
        got=f"data.batch_size={batch_size} for {num_classes} classes"
        + (" (records without a label are one)" if has_clean else ""),
        where="sampler.name",
        fix=f"set data.batch_size={num_classes} or more, or sampler.name=class_balanced",
    )
