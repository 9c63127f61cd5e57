"""Near-duplicate groups of signal windows: identical ones, and those cut from one recording so that they overlap.

The beginning of every window becomes a short vector; every window is searched for the beginnings of the others at all
time shifts, block by block, and the nearest few are compared in full (:mod:`~ringlight.data.window_overlap`). As for
images, what is linked depends on how alike windows get by chance: in a search for windows that run backwards, and among
the further neighbours of each, since a walk resembles another walk more than a walk that runs backwards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ringlight.data.background import decoy_tail
from ringlight.data.content import parallel
from ringlight.data.links import Duplicates, Link, components, unchained
from ringlight.data.window_overlap import OVERLAP, overlap_similarities
from ringlight.errors import DataError

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

NUM_CANDIDATES = 8
DIMENSIONS = 48
SAMPLE = 4096
COARSE = 64
"""Time shifts are searched in steps of a window's length divided by this; the comparison is at every one."""
NUM_DECOYS = 1000
RANK = 5
"""So many neighbours may overlap a window; what comes after them counts as chance."""
FLOOR = 0.9
"""No link starts below this, whatever the background: a tenth of the power may be noise."""
CEILING = 0.995
"""Windows that agree this well over the whole overlap do overlap, whatever the background."""
ALLOWED = 0.05
BLOCK = 32
COLUMNS = 1024


def near_duplicate_windows(
    windows: npt.NDArray[np.generic], *, ids: Sequence[str] | None = None, num_threads: int | None = None
) -> Duplicates:
    """Group windows that are identical or overlap in time by two fifths of their length or more.

    Offset and scale of a channel do not matter, and about a tenth of its power may be noise. Windows of a plain
    periodic signal agree at many shifts; they are linked only when they are identical.

    Args:
        windows: (N, T, C): N windows of T >= 8 samples in C channels.
        ids: one per window, its row number when None.
        num_threads: one a processor, at most 8, when None.

    Raises:
        DataError: another shape, ids that do not fit, or a value that is no number or infinite.
    """
    values = _checked(windows, ids)
    names = [str(row) for row in range(len(values))] if ids is None else list(ids)
    exact = _identical(values)
    first = np.array(components(len(values), exact))
    moving = np.ptp(values, axis=1).max(axis=1, initial=0) > 0
    rows = np.flatnonzero((first == np.arange(len(values))) & moving)
    signals = np.ascontiguousarray(values[rows].transpose(0, 2, 1))
    links: dict[tuple[int, int], float] = {}
    notes = []
    if len(rows) > 1:
        pairs, similarities, threshold = _scored(signals, num_threads)
        kept = similarities >= threshold
        links = {(a, b): s for (a, b), s in zip(rows[pairs[kept]].tolist(), similarities[kept].tolist(), strict=True)}
        notes.append(f"linked from a correlation of {threshold:.3f} on, over an overlap of {OVERLAP:.0%} or more")
    if not moving.all():
        notes.append(f"{int((~moving).sum())} windows stand still in every channel: only identical ones are linked")
    links, chained = unchained(len(values), exact, links, copy=CEILING, what="windows")
    found = [Link(a, b, 1.0) for a, b in exact] + [Link(a, b, similarity) for (a, b), similarity in links.items()]
    return Duplicates.from_links(names, found, [*notes, *chained])


def _checked(windows: npt.NDArray[np.generic], ids: Sequence[str] | None) -> Floats:
    array = np.asarray(windows)
    where = "near_duplicate_windows"
    if array.ndim != 3 or not len(array) or array.shape[1] < 8 or not array.shape[2]:
        raise DataError(
            "windows of shape (N, T, C), T at least 8", got=f"shape {array.shape}", where=where, fix="stack them"
        )
    if array.dtype.kind not in "fiub":
        raise DataError("numbers", got=f"{array.dtype}", where=where, fix="convert the windows to float32")
    values = array.astype(np.float32)
    bad = ~np.isfinite(values).all(axis=(1, 2))
    if bad.any():
        row = int(bad.argmax())
        kind = "NaN" if np.isnan(values[row]).any() else "an infinite value"
        raise DataError(
            "finite values",
            got=f"{kind} ({int(bad.sum())} windows in all)",
            where=f"{where}: window {row if ids is None else f'`{ids[row]}`'}",
            fix="fill the gaps or leave these windows out",
        )
    if ids is not None and len(ids) != len(array):
        raise DataError(f"{len(array)} ids", got=f"{len(ids)}", where=where, fix="pass one per window")
    return values


def _identical(values: Floats) -> list[tuple[int, int]]:
    seen: dict[bytes, int] = {}
    firsts = [seen.setdefault(hashlib.blake2b(window.tobytes()).digest(), row) for row, window in enumerate(values)]
    return [(first, row) for row, first in enumerate(firsts) if first != row]


def _scored(signals: Floats, num_threads: int | None) -> tuple[Rows, npt.NDArray[np.float64], float]:
    """Return the pairs that were looked at, how well they agree, and from where on they are linked."""
    count = len(signals)
    basis = _components(signals)
    found = _nearest(signals, signals, np.arange(count), basis, num_threads)
    pairs, place_of = np.unique(np.sort(found, axis=1), axis=0, return_inverse=True)
    similarities = overlap_similarities(signals, signals, pairs, num_threads=num_threads)
    rows = np.unique(np.linspace(0, count - 1, min(count, NUM_DECOYS)).astype(np.int64))
    backwards = np.ascontiguousarray(signals[rows][..., ::-1])
    decoys = _nearest(backwards, signals, rows, basis, num_threads)
    place = np.stack([np.searchsorted(rows, decoys[:, 0]), decoys[:, 1]], axis=1)
    chance = overlap_similarities(backwards, signals, place, num_threads=num_threads)
    ranked = np.sort(similarities[place_of.ravel()].reshape(count, -1), axis=1)[:, ::-1]
    tails = decoy_tail(chance[chance < CEILING], count / len(rows)), decoy_tail(ranked[:, RANK:].ravel(), 1.0)
    threshold = max(start + scale * max(0.0, float(np.log(expected / ALLOWED))) for start, scale, expected in tails)
    return pairs, similarities, min(CEILING, max(FLOOR, threshold))


def _least_overlap(signals: Floats) -> int:
    """Return the least overlap that is looked for, in samples."""
    return int(OVERLAP * signals.shape[2])


def _components(signals: Floats) -> Floats:
    """Return the whitening principal components (C * L, D) of parts as long as the least overlap."""
    rng = np.random.default_rng(0)
    least = _least_overlap(signals)
    rows = rng.integers(0, len(signals), SAMPLE)
    shifts = rng.integers(0, signals.shape[2] - least + 1, SAMPLE)
    sample = _normal(
        np.stack([signals[row, :, shift : shift + least] for row, shift in zip(rows, shifts, strict=True)])
    )
    values, vectors = np.linalg.eigh((sample.T @ sample / SAMPLE).astype(np.float64))
    values, vectors = values[::-1][:DIMENSIONS], vectors[:, ::-1][:, :DIMENSIONS]
    return np.asarray(vectors / np.sqrt(np.maximum(values, 0) + 0.1 * values.mean() + 1e-12), np.float32)


def _nearest(queries: Floats, signals: Floats, rows: Rows, basis: Floats, num_threads: int | None) -> Rows:
    """Return the pairs (P, 2) of each query (its row among the signals) and the signals that start inside it."""
    least = _least_overlap(signals)
    step = max(1, signals.shape[2] // COARSE)
    anchors = np.concatenate(
        [_vectors(signals[start : start + SAMPLE, :, :least], basis) for start in range(0, len(signals), SAMPLE)]
    )
    count = min(NUM_CANDIDATES, len(signals) - 1)

    def search(start: int) -> Rows:
        mine = rows[start : start + BLOCK]
        views = np.lib.stride_tricks.sliding_window_view(queries[start : start + BLOCK], least, axis=2)[:, :, ::step]
        vectors = _vectors(views.transpose(2, 0, 1, 3).reshape(-1, views.shape[1], least), basis)
        scores = np.concatenate(
            [
                (vectors @ anchors[column : column + COLUMNS].T).reshape(views.shape[2], len(mine), -1).max(axis=0)
                for column in range(0, len(anchors), COLUMNS)
            ],
            axis=1,
        )
        scores[np.arange(len(mine)), mine] = -np.inf
        found = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        return np.stack([np.repeat(mine, count), np.sort(found, axis=1).ravel()], axis=1)

    return np.concatenate(parallel(search, range(0, len(rows), BLOCK), num_threads))


def _normal(parts: Floats) -> Floats:
    """Return parts of windows (B, C, L) with every channel centred and of unit length, flattened."""
    centred = parts - parts.mean(axis=2, keepdims=True)
    lengths = np.linalg.norm(centred, axis=2, keepdims=True)
    return np.asarray(centred / np.where(lengths > 0, lengths, 1), np.float32).reshape(len(parts), -1)


def _vectors(parts: Floats, basis: Floats) -> Floats:
    vectors = _normal(parts) @ basis
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)
