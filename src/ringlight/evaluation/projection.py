"""A two-dimensional picture of embeddings: PCA to at most 50 features, then t-SNE; PCA alone where records are few.

Directions count and lengths do not, as in the cosine by which records are searched: rows are brought to length 1 first.
t-SNE (van der Maaten & Hinton 2008, JMLR 9:2579; Barnes-Hut: 2014, JMLR 15:3221) keeps neighbours together; **distances
between clusters and the sizes of clusters mean nothing in it**. It starts from the principal components and a seed, and
gives the same points again on one machine.

Shapes: N records, D features, P principal components.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError
from ringlight.evaluation.inputs import FloatArray, IntArray
from ringlight.evaluation.nearest import checked_classes, unit_rows

MOST_COMPONENTS = 50
"""Features that t-SNE is given: what the literature uses; more cost time and add noise."""

FEWEST = 15
"""Records below which t-SNE has no neighbourhoods to keep: the first two principal components are shown."""

ALIKE = 1e-9
"""Spread along the first component below which records do not differ but for rounding."""

PERPLEXITY = 30.0
"""Nearest that count, about; a third of the records where these are fewer than 90."""

MOST_POINTS = 2000
"""Records that are drawn: t-SNE takes some ten seconds for them, and more would cover each other."""


@dataclass(frozen=True, slots=True)
class Projection:
    """Points (N, 2), how they were found, and the share of variance that the first two principal components hold."""

    points: FloatArray
    method: Literal["t-SNE", "PCA"]
    explained: float


def project(embeddings: npt.ArrayLike, *, seed: int = 0) -> Projection:
    """Lay out embeddings (N, D) in a plane.

    Raises:
        DataError: another shape, no record, or values that are not finite.

    Examples:
        >>> laid = project([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
        >>> laid.method, laid.points.shape
        ('PCA', (3, 2))
    """
    components, explained = principal_components(unit_rows("embeddings", embeddings), MOST_COMPONENTS)
    start = _plane(components)
    spread = float(start[:, 0].std())
    if len(components) < FEWEST or spread < ALIKE:
        return Projection(start, "PCA", explained)
    from sklearn.manifold import TSNE

    embedder = TSNE(
        perplexity=min(PERPLEXITY, (len(components) - 1) / 3),
        init=(start / spread * 1e-4).astype(np.float32),
        random_state=seed,
        n_jobs=1,
    )
    return Projection(np.asarray(embedder.fit_transform(components), np.float64), "t-SNE", explained)


def principal_components(rows: FloatArray, most: int) -> tuple[FloatArray, float]:
    """Return the leading principal components (N, P) of rows (N, D), and the share of variance in the first two.

    Each axis is turned so that its largest loading is positive: a decomposition leaves the signs open.
    """
    centred = rows - rows.mean(axis=0)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:most]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    signs = np.where(largest < 0, -1.0, 1.0)
    total = float((spread**2).sum())
    return centred @ (axes * signs).T, float((spread[:2] ** 2).sum()) / total if total > 0 else 1.0


def choose_points(labels: npt.ArrayLike, most: int = MOST_POINTS, *, seed: int = 0) -> IntArray:
    """Return the rows (M,) to draw, in order: all of them, or at most `most`, so that rare classes stay visible.

    Classes take turns, each in a seeded order: a class with few records keeps them all.

    Args:
        labels: class numbers (N,).
        most: 1 or more.
        seed: of the order.

    Raises:
        DataError: `most` is below 1, or labels that are no class numbers.

    Examples:
        >>> choose_points([0] * 100 + [1] * 3, 10).tolist()[-3:]
        [100, 101, 102]
    """
    if most < 1:
        raise DataError("1 point or more", got=str(most), where="most", fix=f"use {MOST_POINTS}")
    classes = checked_classes("labels", labels, len(np.atleast_1d(np.asarray(labels))))
    if len(classes) <= most:
        return np.arange(len(classes))
    shuffled = np.random.default_rng(seed).permutation(len(classes))
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    _, starts = np.unique(classes[by_class], return_index=True)
    turn = np.arange(len(classes)) - starts[np.unique(classes[by_class], return_inverse=True)[1].reshape(-1)]
    return np.sort(by_class[np.argsort(turn, kind="stable")[:most]])


def _plane(components: FloatArray) -> FloatArray:
    """Return the first two components (N, 2); zeros where there is one only."""
    points = np.zeros((len(components), 2))
    points[:, : min(2, components.shape[1])] = components[:, :2]
    return points
