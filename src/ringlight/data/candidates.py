"""Which pairs of thumbnails are worth a closer look: the nearest few of every image, found by short vectors.

The middle of every thumbnail, at half size, becomes a short vector: its whitened principal components (whitening takes
away the structure that all parts of a kind share, see :mod:`~ringlight.data.aligned`). Every image is then looked for
at all small shifts, block by block, and only the best few matches of each are kept: time grows with the square of N,
memory with N.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ringlight.data.content import parallel
from ringlight.data.fingerprints import Thumb

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

NUM_CANDIDATES = 16
"""How many of its nearest an image is compared with in full."""
DIMENSIONS = 128
WINDOW = 0.55
"""Share of a side that the middle takes."""
REACH = 4
"""The largest shift that is searched, in pixels of the halved thumbnail: about a ninth of a side."""
SAMPLE = 8192
"""Windows that the principal components are computed from."""
BLOCK = 64
COLUMNS = 1024


@dataclass(frozen=True, slots=True)
class Descriptors:
    """What a search compares: `anchors` (N, D), the middle of every image, unit length; and how queries are made."""

    anchors: Floats
    window: tuple[int, int]
    mean: Floats
    basis: Floats

    def queries(self, thumbs: list[Thumb]) -> Floats:
        """Return the vectors of all shifted middles of some images: (shifts, images, D)."""
        windows = np.stack([_windows(_half(thumb), self.window, REACH) for thumb in thumbs], axis=1)
        shape = windows.shape
        return _project(windows.reshape(-1, shape[2]), self.mean, self.basis).reshape(shape[0], shape[1], -1)


def describe(thumbs: list[Thumb], *, seed: int = 0) -> Descriptors:
    """Compute the components on a sample of shifted middles, and the vector of every image's own middle."""
    halves = [_half(thumb) for thumb in thumbs]
    middle = np.median([half.shape for half in halves], axis=0)
    window = (max(4, round(WINDOW * middle[0])), max(4, round(WINDOW * middle[1])))
    per_image = max(1, SAMPLE // len(thumbs))
    chosen = np.linspace(0, len(thumbs) - 1, min(len(thumbs), SAMPLE)).astype(int)
    rng = np.random.default_rng(seed)
    num_shifts = (2 * REACH + 1) ** 2
    # Indexing copies: a slice would keep all windows of every image alive.
    sample = np.concatenate(
        [_windows(halves[row], window, REACH)[rng.permutation(num_shifts)[:per_image]] for row in chosen]
    )
    sample = _unit(sample - sample.mean(axis=1, keepdims=True))
    mean = sample.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(sample - mean, rowvar=False, bias=True).astype(np.float64))
    values, vectors = values[::-1][:DIMENSIONS], vectors[:, ::-1][:, :DIMENSIONS]
    # A tenth of the mean variance keeps components that hold nothing but noise from being blown up.
    basis = (vectors / np.sqrt(np.maximum(values, 0) + 0.1 * values.mean() + 1e-12)).astype(np.float32)
    anchors = _project(np.concatenate([_windows(half, window, 0) for half in halves]), mean, basis)
    return Descriptors(anchors, window, mean, basis)


def nearest(
    descriptors: Descriptors,
    thumbs: list[Thumb],
    rows: Rows,
    *,
    num_candidates: int = NUM_CANDIDATES,
    num_threads: int | None = None,
) -> Rows:
    """Return the pairs (P, 2) of each query and its nearest images.

    Args:
        descriptors: the images that are searched.
        thumbs: the queries.
        rows: the row of each query among the images; it is not its own candidate.
        num_candidates: how many a query has, fewer where there are fewer images.
        num_threads: how many blocks of queries are searched at once.
    """
    count = min(num_candidates, len(descriptors.anchors) - 1)

    def search(start: int) -> Rows:
        mine = rows[start : start + BLOCK]
        scores = _best_scores(descriptors, descriptors.queries(thumbs[start : start + BLOCK]))
        scores[np.arange(len(mine)), mine] = -np.inf
        found = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        return np.stack([np.repeat(mine, count), np.sort(found, axis=1).ravel()], axis=1)

    blocks = parallel(search, range(0, len(rows), BLOCK), num_threads)
    return np.concatenate([np.zeros((0, 2), np.int64), *blocks])


def nearest_vectors(vectors: Floats, *, num_candidates: int = NUM_CANDIDATES) -> Rows:
    """Return the pairs of each row and its nearest by the cosine of their vectors (N, D), block by block."""
    unit = _unit(np.asarray(vectors, np.float32))
    count = min(num_candidates, len(unit) - 1)
    pairs = [np.zeros((0, 2), np.int64)]
    for start in range(0, len(unit), BLOCK):
        scores = unit[start : start + BLOCK] @ unit.T
        mine = np.arange(start, start + len(scores))
        scores[np.arange(len(scores)), mine] = -np.inf
        found = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        pairs.append(np.stack([np.repeat(mine, count), np.sort(found, axis=1).ravel()], axis=1))
    return np.concatenate(pairs)


def _best_scores(descriptors: Descriptors, queries: Floats) -> Floats:
    """Return the best cosine over all shifts, (queries, N)."""
    shifts, count, width = queries.shape
    flat = queries.reshape(-1, width)
    scores = np.empty((count, len(descriptors.anchors)), np.float32)
    for start in range(0, scores.shape[1], COLUMNS):
        columns = slice(start, start + COLUMNS)
        products = flat @ descriptors.anchors[columns].T
        scores[:, columns] = products.reshape(shifts, count, -1).max(axis=0)
    return scores


def _half(thumb: Thumb) -> Floats:
    size = (max(1, thumb.shape[1] // 2), max(1, thumb.shape[0] // 2))
    return np.asarray(cv2.resize(thumb.astype(np.float32), size, interpolation=cv2.INTER_AREA), np.float32)


def _windows(half: Floats, window: tuple[int, int], reach: int) -> Floats:
    """Return the flattened windows around the middle at all shifts up to `reach`: (shifts, window pixels)."""
    short = [max(0, side + 2 * reach - have) for side, have in zip(window, half.shape, strict=True)]
    padded = np.pad(half, [(miss // 2, miss - miss // 2) for miss in short])
    top, left = ((have - side) // 2 - reach for have, side in zip(padded.shape, window, strict=True))
    span = 2 * reach
    part = padded[top : top + window[0] + span, left : left + window[1] + span]
    views = np.lib.stride_tricks.sliding_window_view(part, window)
    return views.reshape(-1, window[0] * window[1])


def _project(windows: Floats, mean: Floats, basis: Floats) -> Floats:
    centred = np.asarray(windows - windows.mean(axis=1, keepdims=True), np.float32)
    return _unit((_unit(centred) - mean) @ basis)


def _unit(vectors: npt.NDArray[np.floating[Any]]) -> Floats:
    return np.asarray(vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-6), np.float32)
