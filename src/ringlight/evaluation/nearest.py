"""Nearest neighbours among embeddings, block by block, and the weighted vote that judges embeddings while they form.

The similarity is the cosine. It is computed in double precision and counted in steps of 1e-9, so that copies of one
record are equally near whatever the processor rounds; of equally near records the earlier one comes first. A block of
queries is compared with the whole gallery at a time: memory grows with the number of records, not with its square.

**Records of one group are hidden from each other**: six pictures of one part would find each other and prove nothing.

Shapes: Q queries, G gallery records, D features, B queries in a block, k neighbours.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError
from ringlight.evaluation.inputs import FloatArray, IntArray, as_numbers
from ringlight.evaluation.units import Units, find_units

Groups = Sequence[Hashable] | npt.NDArray[np.generic]

_BLOCK_CELLS = 4_000_000
"""Similarities held at once: 32 MB, whatever the number of records."""

_STEPS = 1_000_000_000
"""Steps between a cosine of 0 and of 1."""

_HIDDEN = np.iinfo(np.int64).min
"""The key of a record that a query may not see: below every other."""


@dataclass(frozen=True, slots=True)
class Gallery:
    """Who is asked about whom: unit vectors of queries (Q, D) and gallery (G, D), and which may not see each other.

    A query does not see a gallery record of the same code (Q,), (G,). `own` says that the queries are the gallery.
    `units` are what the queries' scores are resampled in.
    """

    queries: FloatArray
    records: FloatArray
    query_codes: IntArray
    record_codes: IntArray
    units: Units
    own: bool


@dataclass(frozen=True, slots=True)
class Nearest:
    """The k nearest gallery records of each query: their rows (Q, k), -1 where there are fewer, and cosines (Q, k)."""

    rows: IntArray
    cosines: FloatArray


def gallery_of(
    embeddings: npt.ArrayLike, gallery: npt.ArrayLike | None = None, *, groups: Groups | None = None,
    gallery_groups: Groups | None = None,
) -> Gallery:  # fmt: skip
    """Check embeddings and say who may see whom.

    Args:
        embeddings: of the queries, (Q, D).
        gallery: (G, D); None lets every query search the other queries, and never itself.
        groups: (Q,) the group of each query (None: of its own).
        gallery_groups: (G,) of each gallery record; needed where both a gallery and `groups` are given.

    Raises:
        DataError: shapes that do not fit, values that are not finite, groups of one side alone.
    """
    queries = unit_rows("embeddings", embeddings)
    if gallery is None:
        if gallery_groups is not None:
            raise _wrong("gallery_groups", "a gallery beside them", "none", "pass `gallery`, or `groups` alone")
        units = find_units(groups, len(queries))
        return Gallery(queries, queries, units.codes, units.codes, units, own=True)
    records = unit_rows("gallery", gallery)
    if records.shape[1] != queries.shape[1]:
        expected = f"{queries.shape[1]} features, as the queries have"
        raise _wrong("gallery", expected, str(records.shape[1]), "embed both with one model")
    if (groups is None) != (gallery_groups is None):
        lacking = "groups" if groups is None else "gallery_groups"
        raise _wrong(lacking, "the groups of queries and gallery, or of neither", "one side alone", "pass both")
    if groups is None or gallery_groups is None:
        units = find_units(None, len(queries))
        return Gallery(queries, records, units.codes, np.full(len(records), -1), units, own=False)
    units = find_units(groups, len(queries))
    find_units(gallery_groups, len(records))
    both = find_units([*_listed(groups), *_listed(gallery_groups)], len(queries) + len(records))
    return Gallery(queries, records, both.codes[: len(queries)], both.codes[len(queries) :], units, own=False)


def nearest(asked: Gallery, k: int) -> Nearest:
    """Return the k nearest records of each query that it may see, nearest first.

    Raises:
        DataError: k is below 1.

    Examples:
        >>> asked = gallery_of([[1.0, 0.0]], [[0.0, 1.0], [2.0, 0.0], [1.0, 0.0]])
        >>> nearest(asked, 2).rows.tolist()
        [[1, 2]]
    """
    if k < 1:
        raise _wrong("k", "1 neighbour or more", str(k), "use 5")
    rows = np.full((len(asked.queries), k), -1, np.int64)
    cosines = np.full((len(asked.queries), k), -np.inf)
    for block, keys in key_blocks(asked):
        order = ranked(keys, k)
        found = np.take_along_axis(keys, order, axis=1)
        seen = found != _HIDDEN
        rows[block, : order.shape[1]] = np.where(seen, order, -1)
        near = (found // len(asked.records)) / _STEPS
        cosines[block, : order.shape[1]] = np.where(seen, near, -np.inf)
    return Nearest(rows, cosines)


def key_blocks(asked: Gallery) -> Iterator[tuple[slice, IntArray]]:
    """Yield blocks of queries with a whole number (B, G) for each gallery record: larger is nearer, none equal.

    The key is the cosine in steps of 1e-9, then the place from the end; records that a query may not see have the
    least number there is, all of them.
    """
    total = len(asked.records)
    place = np.arange(total - 1, -1, -1)
    width = max(1, _BLOCK_CELLS // total)
    for start in range(0, len(asked.queries), width):
        block = slice(start, min(start + width, len(asked.queries)))
        steps = np.rint(asked.queries[block] @ asked.records.T * _STEPS).astype(np.int64)
        steps *= total
        steps += place
        steps[asked.query_codes[block, None] == asked.record_codes] = _HIDDEN
        yield block, steps


def ranked(keys: IntArray, depth: int) -> IntArray:
    """Return the places of the `depth` largest keys of each row, largest first: (B, min(depth, G))."""
    depth = min(depth, keys.shape[1])
    if depth < keys.shape[1]:
        chosen = np.argpartition(keys, keys.shape[1] - depth, axis=1)[:, -depth:]
        keys = np.take_along_axis(keys, chosen, axis=1)
        inner = np.argsort(keys, axis=1)[:, ::-1]
        return np.take_along_axis(chosen, inner, axis=1)
    return np.argsort(keys, axis=1)[:, ::-1]


def seen_of(keys: IntArray) -> npt.NDArray[np.bool_]:
    """Return which gallery records a query may see, of keys (B, G)."""
    return np.asarray(keys != _HIDDEN)


def knn_accuracy(
    train_embeddings: npt.ArrayLike, train_labels: npt.ArrayLike, embeddings: npt.ArrayLike, labels: npt.ArrayLike, *,
    k: int = 20, temperature: float = 0.07,
) -> float:  # fmt: skip
    """Return how often the weighted vote of the k nearest training records names the right class.

    Each neighbour votes for its class with weight exp(cosine / temperature) (Wu et al. 2018, arXiv:1805.01978, section
    3.4); of classes with equal votes the lower number wins. It needs no classifier, so that it tells how an embedding
    comes along while there is none.

    Args:
        train_embeddings: (G, D).
        train_labels: class numbers (G,).
        embeddings: (Q, D).
        labels: class numbers (Q,).
        k: neighbours that vote; all of them where there are fewer.
        temperature: above 0; a low one listens to the nearest alone.

    Raises:
        DataError: arrays that do not fit each other or hold impossible values.

    Examples:
        >>> knn_accuracy([[1, 0], [0.9, 0.1], [0, 1]], [0, 0, 1], [[1, 0.2], [0.1, 1]], [0, 1], k=1)
        1.0
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise _wrong("temperature", "a number above 0", f"{temperature:g}", "use 0.07")
    asked = gallery_of(embeddings, train_embeddings)
    known = checked_classes("train_labels", train_labels, len(asked.records))
    truth = checked_classes("labels", labels, len(asked.queries))
    near = nearest(asked, min(k, len(known)))
    weights = np.exp((near.cosines - near.cosines[:, :1]) / temperature)
    votes = np.zeros((len(truth), int(known.max()) + 1))
    for place in range(near.rows.shape[1]):
        votes[np.arange(len(truth)), known[near.rows[:, place]]] += weights[:, place]
    return float((votes.argmax(axis=1) == truth).mean())


def unit_rows(what: str, embeddings: npt.ArrayLike) -> FloatArray:
    """Return embeddings (N, D) in double precision, each of length 1; one of zeros stays, near to nothing.

    Raises:
        DataError: another shape, no record, or values that are not finite; `what` is their name in the message.
    """
    values = as_numbers(what, embeddings)
    if values.ndim != 2 or not values.size:
        raise _wrong(what, "numbers (N, D), at least one record", f"{values.shape}", "pass one row for each record")
    broken = ~np.isfinite(values).all(axis=1)
    if broken.any():
        raise _wrong(what, "finite numbers", f"others in row {int(broken.argmax())}", "check the model for NaN")
    rows = values.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: FloatArray = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return unit


def checked_classes(what: str, labels: npt.ArrayLike, size: int) -> IntArray:
    """Return class numbers (N,).

    Raises:
        DataError: not one for each record, or other values than whole numbers from 0; `what` is their name.
    """
    values = as_numbers(what, labels)
    if values.shape != (size,):
        raise _wrong(what, f"shape ({size},)", f"{values.shape}", "pass one class number for each record")
    wrong = (values < 0) | (values != np.rint(values))
    if wrong.any():
        row = int(wrong.argmax())
        raise _wrong(what, "class numbers from 0", f"{values[row]:g} in row {row}", "number the classes from 0")
    return values.astype(np.int64)


def _listed(groups: Groups) -> list[Any]:
    return groups.tolist() if isinstance(groups, np.ndarray) else list(groups)


def _wrong(where: str, expected: str, got: str, fix: str) -> DataError:
    return DataError(expected, got=got, where=where, fix=fix)
