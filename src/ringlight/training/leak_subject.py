"""What a leak probe looks at: which records when there are more than it needs, and which classes can be judged at all.

Whole groups are drawn, since a group that is torn apart leaks less. A group larger than a tenth of the sample is
thinned, so that ten groups fit. Forty groups of each class come first, as far as there are, so that rare classes can be
tested; the rest follows at random.

Shapes: N records, K classes, U groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.data.groups import units_of
from ringlight.types import Dataset

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

MAX_RECORDS = 5000
"""A score of 5,000 records is known within two points or so; more would only take longer."""
LARGEST_SHARE = 10
"""No group takes more than one in so many records of the sample."""
FIRST = 40
"""Groups of each class that are taken before the others."""


def probe_rows(dataset: Dataset, *, max_records: int = MAX_RECORDS, seed: int = 0) -> IntArray:
    """Return the sorted rows of at most `max_records` records, in whole groups (but for very large ones).

    They depend on the records and the seed, not on their order.
    """
    if len(dataset) <= max_records:
        return np.arange(len(dataset), dtype=np.int64)
    order = np.argsort(np.asarray(dataset.ids, dtype=object), kind="stable")
    data = dataset.take(order)
    rng = np.random.default_rng(seed)
    units = units_of(data)
    shuffled = rng.permutation(len(data))
    rows = np.sort(shuffled[_rank_within(units[shuffled]) < max(1, max_records // LARGEST_SHARE)])
    queue = _queue(data.label_matrix().astype(bool)[rows], units[rows], rng)
    place = np.empty(int(units.max()) + 1, np.int64)
    place[queue] = np.arange(len(queue))
    sizes = np.bincount(units[rows], minlength=len(place))[queue]
    taken = np.searchsorted(np.cumsum(sizes), max_records, side="right")
    chosen: IntArray = np.sort(order[rows[place[units[rows]] < taken]])
    return chosen


def _queue(matrix: BoolArray, units: IntArray, rng: np.random.Generator) -> IntArray:
    """Return the units (U,) in the order in which they are taken: the classes take turns, then all at random."""
    number = int(units.max()) + 1
    draw = rng.permutation(number)
    turn = np.full(number, FIRST)
    for column in range(matrix.shape[1]):
        carriers = np.unique(units[matrix[:, column]])
        carriers = carriers[np.argsort(draw[carriers])][:FIRST]
        turn[carriers] = np.minimum(turn[carriers], np.arange(len(carriers)))
    return np.lexsort((draw, turn))


def _rank_within(codes: IntArray) -> IntArray:
    """Return how many of the same code came before, (N,).

    Examples:
        >>> _rank_within(np.array([3, 1, 3, 3, 1])).tolist()
        [0, 0, 1, 2, 1]
    """
    order = np.argsort(codes, kind="stable")
    arranged = codes[order]
    starts = np.flatnonzero(np.r_[True, arranged[1:] != arranged[:-1]])
    rank = np.empty(len(codes), np.int64)
    rank[order] = np.arange(len(codes)) - np.repeat(starts, np.diff(np.r_[starts, len(codes)]))
    return rank


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What of a data set can be probed: records, classes (columns of the label matrix), the unit of each record (N,).

    `rows` are the records' rows in the data set that was asked about. `obstacle` says why there is nothing to probe,
    None when there is.
    """

    dataset: Dataset
    rows: IntArray
    columns: IntArray
    units: IntArray
    num_folds: int
    notes: tuple[str, ...]
    obstacle: str | None

    @property
    def classes(self) -> list[str]:
        """The names of the classes that are left."""
        return [self.dataset.classes[column] for column in self.columns]

    def targets(self) -> npt.NDArray[Any]:
        """Return class numbers among those that are left (N,), or the binary matrix (N, K) when multi-label."""
        matrix = self.dataset.label_matrix()[:, self.columns]
        return matrix.argmax(axis=1) if self.dataset.task == "multiclass" else matrix


def subject_of(dataset: Dataset, num_folds: int = 5) -> Subject:
    """Leave out what grouped folds cannot test, and say what; no more folds than the rarest class has groups."""
    units, matrix = units_of(dataset), dataset.label_matrix().astype(bool)
    carried = groups_per_class(matrix, units)
    if dataset.task == "multilabel":  # a label needs records with it and without it on both sides
        carried = np.minimum(carried, groups_per_class(~matrix, units))
    columns = np.flatnonzero(carried >= 2)
    rows = np.arange(len(dataset))
    if dataset.task == "multiclass":
        rows = np.flatnonzero(matrix[:, columns].any(axis=1))
    kept = units[rows]
    obstacle = None
    if len(np.unique(units)) == len(units):
        obstacle = "no group holds two records: a random split leaks nothing"
    elif len(columns) < (2 if dataset.task == "multiclass" else 1) or len(np.unique(kept)) == len(kept):
        obstacle = "too few classes lie in several groups: a grouped split cannot be judged"
    notes = [
        f"class `{dataset.classes[column]}` lies in a single group: left out of the leak probe"
        for column in np.flatnonzero((carried == 1) & matrix.any(axis=0))
    ]
    fewest = int(carried[columns].min(initial=num_folds))
    if obstacle is None and fewest < num_folds:
        rarest = dataset.classes[columns[carried[columns].argmin()]]
        notes.append(f"{fewest} folds instead of {num_folds}: class `{rarest}` lies in {fewest} groups")
    return Subject(
        dataset=dataset.take(rows), rows=rows, columns=columns, units=np.unique(kept, return_inverse=True)[1],
        num_folds=fewest, notes=tuple(notes), obstacle=obstacle,
    )  # fmt: skip


def groups_per_class(matrix: BoolArray, units: IntArray) -> IntArray:
    """Return in how many units each class lies, (K,), from a binary matrix (N, K).

    Examples:
        >>> groups_per_class(np.array([[1, 0], [1, 0], [1, 1]], bool), np.array([0, 0, 1])).tolist()
        [2, 1]
    """
    return np.array([len(np.unique(units[column])) for column in matrix.T], np.int64)
