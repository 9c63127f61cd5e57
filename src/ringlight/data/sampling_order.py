"""The arithmetic of an epoch's order: which class a record counts for, who goes into which batch, who is drawn.

Plain numpy and whole numbers; nothing here knows of seeds, epochs or torch.

Shapes: N records, K classes, T keys in an epoch (of all ranks together), C classes that are present.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


class Layout(NamedTuple):
    """How an epoch is cut: `num_full` batches of `size` keys, then `num_short` of `rest`.

    With several ranks every step has a batch for each of them, and each rank's last batch is short (or none is).
    """

    num_full: int
    size: int
    num_short: int
    rest: int

    @classmethod
    def of(cls, num_keys: int, *, batch_size: int, num_replicas: int) -> Layout:
        """Cut `num_keys` for each of `num_replicas` ranks into batches.

        Examples:
            >>> Layout.of(10, batch_size=4, num_replicas=2)
            Layout(num_full=4, size=4, num_short=2, rest=2)
        """
        full, rest = divmod(num_keys, batch_size)
        return cls(full * num_replicas, batch_size, num_replicas if rest else 0, rest)

    def blocks(self, order: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return an epoch's order as its full batches (num_full, size) and its short ones (num_short, rest)."""
        at = self.num_full * self.size
        return order[:at].reshape(self.num_full, self.size), order[at:].reshape(self.num_short, self.rest)

    def part(self, order: npt.NDArray[Any], *, num_replicas: int, rank: int) -> npt.NDArray[Any]:
        """Return the batches of one rank, one after the other: it takes every `num_replicas`-th."""
        full, short = self.blocks(order)
        return np.concatenate([full[rank::num_replicas].ravel(), short[rank::num_replicas].ravel()])

    def mixed(self, order: npt.NDArray[Any], rng: np.random.Generator) -> npt.NDArray[Any]:
        """Shuffle within every batch: whoever cuts a batch into pieces must not get one class in each."""
        full, short = self.blocks(order)
        return np.concatenate([rng.permuted(full, axis=1).ravel(), rng.permuted(short, axis=1).ravel()])


def members(labels: npt.NDArray[Any], factors: IntArray) -> list[IntArray]:
    """Return the rows of every class that is present, each row as often as its factor says.

    A record with several labels is a member of each of its classes. Records without a label are a class of their own,
    the last one: a clean part is something to be learned, too.

    Examples:
        >>> labels = np.array([[1, 0], [1, 1], [0, 0]])
        >>> [rows.tolist() for rows in members(labels, np.array([1, 2, 1]))]
        [[0, 1, 1], [1, 1], [2]]
    """
    if labels.ndim == 1:
        rows = np.argsort(labels, kind="stable")
        sizes = np.bincount(labels)
    else:
        whole = np.column_stack([labels, ~labels.any(axis=1)])
        classes, rows = np.nonzero(whole.T)
        sizes = np.bincount(classes, minlength=whole.shape[1])
    parts = np.split(rows, np.cumsum(sizes)[:-1])
    return [np.repeat(part, factors[part]) for part in parts if len(part)]


def strata(labels: npt.NDArray[Any]) -> IntArray:
    """Return the stratum of every record: its class, or its set of labels when it may carry several.

    Sets of labels are numbered along a reflected Gray code whose slowest digit is the rarest class. So the records of
    either of the two rarest classes (and those without a label) are neighbours in this numbering, those of the third
    lie in two runs, and so on: whatever deals the sorted records evenly deals the rare classes evenly.

    Examples:
        >>> strata(np.array([[0, 0], [0, 1], [1, 1], [1, 0], [0, 1]])).tolist()
        [0, 1, 2, 3, 1]
    """
    if labels.ndim == 1:
        return np.unique(labels, return_inverse=True)[1].astype(np.int64).ravel()
    matrix = labels[:, np.argsort(labels.sum(axis=0, dtype=np.int64), kind="stable")].astype(np.uint8)
    # The place of a code word in the reflected Gray code: every digit becomes the parity of the digits up to it.
    place = np.packbits(np.bitwise_xor.accumulate(matrix, axis=1), axis=1)
    words = np.zeros((len(place), -(-place.shape[1] // 8) * 8), np.uint8)
    words[:, : place.shape[1]] = place
    numbers = words.view(">u8").astype(np.uint64)
    order = np.lexsort(numbers.T[::-1])
    new = (numbers[order[1:]] != numbers[order[:-1]]).any(axis=1)
    found = np.empty(len(order), np.int64)
    found[order] = np.concatenate([[0], np.cumsum(new)])
    return found


def deal(entries: IntArray, layout: Layout, rng: np.random.Generator) -> IntArray:
    """Deal entries that are sorted by stratum into batches, so that each gets its share of every stratum.

    Dealt like cards: of any run of n neighbours, each of b equal batches gets n/b, rounded down or up; which is the
    closest that whole numbers allow. The short batches are served first, by taking every so-manieth entry.

    Args:
        entries: (T,) rows, equal strata side by side.
        layout: the batches.
        rng: which of the batches get the odd ones, and the order of batches and within them.

    Returns:
        (T,) the same rows, batch after batch.
    """
    total = len(entries)
    short_total = layout.num_short * layout.rest
    # Systematic selection in whole numbers: of n neighbours, n * short_total / total are taken, rounded down or up.
    steps = (np.arange(total + 1) * short_total + rng.integers(total)) // total
    is_short = np.diff(steps) > 0
    full = entries[~is_short].reshape(layout.size, layout.num_full).T
    short = entries[is_short].reshape(layout.rest, layout.num_short).T
    order = np.concatenate([rng.permutation(full).ravel(), rng.permutation(short).ravel()])
    return layout.mixed(order, rng)


def quotas(shares: FloatArray, total: int, rng: np.random.Generator) -> IntArray:
    """Divide `total` draws by `shares`: each gets its share rounded down or up, and on average exactly its share.

    Systematic sampling: one random offset for all. Drawing each key by itself would have the same mean, and luck
    besides.

    Examples:
        >>> quotas(np.array([0.5, 0.25, 0.25]), 8, np.random.default_rng(0)).tolist()
        [4, 2, 2]
    """
    # Rounded, since a third of three must be one; a share of a millionth of a draw is none.
    edges = np.round(np.concatenate([[0.0], np.cumsum(shares) / shares.sum()]) * total, 6)
    edges[-1] = total
    return np.diff(np.floor(edges + rng.random())).astype(np.int64)


def draw(rows: IntArray, count: int, rng: np.random.Generator) -> IntArray:
    """Draw `count` of `rows` in passes: each is drawn once, in random order, before one is drawn again."""
    passes = -(-count // len(rows))
    return rng.permuted(np.tile(rows, (passes, 1)), axis=1).ravel()[:count]


def fill(slots: IntArray, pools: Sequence[IntArray], rng: np.random.Generator) -> IntArray:
    """Put a row of the right class into every slot: (T,) indices into `pools` become (T,) rows."""
    counts = np.bincount(slots, minlength=len(pools))
    rows = np.empty(len(slots), np.int64)
    rows[np.argsort(slots, kind="stable")] = np.concatenate(
        [draw(pool, int(count), rng) for pool, count in zip(pools, counts, strict=True)]
    )
    return rows


def occurrences(rows: IntArray) -> IntArray:
    """Return for every position how often its row stood before it.

    Examples:
        >>> occurrences(np.array([5, 3, 5, 5, 3])).tolist()
        [0, 0, 1, 2, 1]
    """
    if np.bincount(rows).max(initial=0) <= 1:  # the usual case, ten times as quick
        return np.zeros(len(rows), np.int64)
    order = np.argsort(rows, kind="stable")
    grouped = rows[order]
    places = np.arange(len(rows))
    is_first = np.concatenate([[True], grouped[1:] != grouped[:-1]])
    number = np.empty(len(rows), np.int64)
    number[order] = places - np.maximum.accumulate(np.where(is_first, places, 0))
    return number
