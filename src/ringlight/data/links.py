"""What a search for near-duplicates answers: the linked pairs, and the groups they form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

LARGE = 12
LARGE_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Link:
    """Two records that show the same thing: their row numbers (`a` < `b`) and a similarity from 0 to 1 (identical)."""

    a: int
    b: int
    similarity: float


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Near-duplicate groups of a data set.

    Args:
        groups: one code per record, `near:<id of the group's first record>`; a record that is linked to none is a group
            of its own.
        links: the pairs that were linked, in order of their rows.
        notes: what was decided on the way, one line each: the threshold, what was not linked and why.

    Examples:
        >>> found = Duplicates.from_links(["a", "b", "c"], [Link(0, 2, 0.9)])
        >>> found.groups
        ('near:a', 'near:b', 'near:a')
        >>> found.num_groups, found.linked
        (2, 2)
    """

    groups: tuple[str, ...]
    links: tuple[Link, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def from_links(cls, ids: Sequence[str], links: Iterable[Link], notes: Iterable[str] = ()) -> Self:
        """Build the groups: the connected components of the links, each named after its first record."""
        kept = tuple(sorted(links, key=lambda link: (link.a, link.b)))
        first = components(len(ids), [(link.a, link.b) for link in kept])
        return cls(tuple(f"near:{ids[row]}" for row in first), kept, tuple(notes))

    @property
    def num_groups(self) -> int:
        """The number of groups, those of a single record included."""
        return len(set(self.groups))

    @property
    def linked(self) -> int:
        """The number of records in groups of two or more."""
        return len({row for link in self.links for row in (link.a, link.b)})

    def to_dict(self) -> dict[str, Any]:
        """Return it for a cache file (JSON)."""
        return {
            "groups": list(self.groups),
            "links": [[link.a, link.b, link.similarity] for link in self.links],
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` wrote."""
        links = tuple(Link(int(a), int(b), float(similarity)) for a, b, similarity in values["links"])
        return cls(tuple(values["groups"]), links, tuple(values["notes"]))


def components(count: int, pairs: Iterable[tuple[int, int]] | npt.NDArray[np.int64]) -> list[int]:
    """Return, for each of `count` rows, the first row of its connected component (union-find with path halving).

    Examples:
        >>> components(5, [(1, 3), (3, 4)])
        [0, 1, 2, 1, 1]
    """
    parent = list(range(count))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for a, b in pairs:
        low, high = sorted((root(int(a)), root(int(b))))
        parent[high] = low
    return [root(row) for row in range(count)]


def unchained(
    count: int,
    exact: Sequence[tuple[int, int]],
    links: Mapping[tuple[int, int], float],
    *,
    copy: float,
    what: str,
) -> tuple[dict[tuple[int, int], float], list[str]]:
    """Take links out of groups too large to be believed: first all but copies, then all but identical records.

    A group of more than :data:`LARGE` records that is also more than :data:`LARGE_SHARE` of the data set shows that the
    background itself is alike, and that links have chained it.

    Args:
        count: the number of records.
        exact: pairs that are identical; they stay.
        links: similarity of every other linked pair.
        copy: from this similarity on, a pair counts as a copy.
        what: "images" or "windows", for the notes.

    Returns:
        The links that are left, and a note for each time some were taken out.
    """
    left, notes = dict(links), []
    for least, kept in ((copy, "only copies are linked in it"), (np.inf, "only identical ones are linked in it")):
        first = components(count, [*exact, *left])
        members = Counter(first)
        large = {row for row, size in members.items() if size > max(LARGE, LARGE_SHARE * count)}
        weak = {pair for pair, similarity in left.items() if first[pair[0]] in large and similarity < least}
        if weak:
            size = max(members[row] for row in large)
            notes.append(
                f"{size} of {count} {what} are alike throughout, which is no evidence of one part: {kept}; "
                "give groups in a column if they do"
            )
            left = {pair: similarity for pair, similarity in left.items() if pair not in weak}
    return left, notes
