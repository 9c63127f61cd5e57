"""The features of a data set's windows: computed once, then read, whatever split, seed or estimator comes next.

They are kept by the windows' contents, the input specification and what the model's description depends on, in the
folder and the format of the frozen features (:mod:`ringlight.training.features`), so that folds and repeated runs share
one pass. Shapes: N records, D features.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ringlight.data.window_spec import WindowSpec
from ringlight.data.window_store import WindowReader, blocks_of, require_signals
from ringlight.errors import ModelError
from ringlight.runtime import LOGGER
from ringlight.training.features import Features, keep, read_kept
from ringlight.training.frozen_features import FeatureTable, Progress
from ringlight.types import Dataset

if TYPE_CHECKING:
    from ringlight.models.estimator import EstimatorModel

Describe = Callable[[npt.NDArray[np.float32]], Features]
"""From windows in physical units (B, T, C) to vectors (B, D)."""


def window_table(
    model: EstimatorModel, dataset: Dataset, spec: WindowSpec, *, cache: Path | None, progress: Progress | None = None
) -> FeatureTable:
    """Describe every window of a data set as the model does, or read what an earlier pass has kept.

    `cache` is the folder where features are kept, None keeps none; `progress` is told (done, total), and what it raises
    stops the pass.

    Raises:
        DataError: windows that are gone or cannot be described.
        ModelError: the model needs training windows first (`prepare`), or gives numbers that are not finite.
    """

    def describe(windows: npt.NDArray[np.float32]) -> Features:
        vectors: Features = model.describe(spec.apply(windows)).numpy()
        return vectors

    told = spec.to_dict()
    if spec.normalize == "none":
        # Moments of the training windows that nothing is normalised by: with them every fold would need its own pass.
        told |= {"mean": [], "std": []}
    name = json.dumps([model.description, told], sort_keys=True)
    return FeatureTable(
        _kept(dataset, name, describe, cache, progress), {key: row for row, key in enumerate(dataset.ids)}
    )


def plain_window_vectors(dataset: Dataset, *, cache: Path | None = None) -> Features:
    """Return the default window features of every record, each standardised over the data set: float32 (N, D).

    For questions before any training: does a split leak, which classes are rare and hard.

    Raises:
        DataError: windows that are gone or cannot be described.
    """
    from ringlight.models.window_features import VERSION, window_features

    rate = require_signals(dataset).sampling_rate
    vectors = _kept(
        dataset, json.dumps(["plain", VERSION, rate]), lambda windows: window_features(windows, sampling_rate=rate)[0],
        cache,
    )  # fmt: skip
    deviation = vectors.std(axis=0, dtype=np.float64)
    centred = vectors - vectors.mean(axis=0, dtype=np.float64)
    return np.asarray(centred / np.where(deviation > 0, deviation, 1), np.float32)


def _kept(
    dataset: Dataset, name: str, describe: Describe, cache: Path | None, progress: Progress | None = None
) -> Features:
    """Return the vectors (N, D) of a data set, from the cache where it holds them; equal windows are described once."""
    contents = np.asarray(_contents(dataset), dtype=np.str_)
    unique, first, rows = np.unique(contents, return_index=True, return_inverse=True)
    key = hashlib.sha256(name.encode() + "".join(unique.tolist()).encode())
    path = None if cache is None else cache / f"features-{key.hexdigest()[:32]}.npz"
    vectors = None
    if path is not None and path.is_file():  # the number of features is learned from a window: only where it is asked
        width = describe(WindowReader.of(dataset).read([0])).shape[1]
        vectors = read_kept(path, (len(unique), width))
    if vectors is None:
        started = time.perf_counter()
        vectors = _compute(dataset.take(first), describe, progress)
        LOGGER.info("features of %d windows, %d numbers each: %.1f s", *vectors.shape, time.perf_counter() - started)
        keep(path, vectors)
    return vectors[rows]


def _contents(dataset: Dataset) -> list[str]:
    """Return the digest of every window's values, measured where the source did not."""
    column = dataset.table.column("content")
    if column.null_count == 0:
        return list(column.to_pylist())
    return WindowReader.of(dataset).digests(np.arange(len(dataset)))


def _compute(dataset: Dataset, describe: Describe, progress: Progress | None) -> Features:
    vectors: Features | None = None
    for start, windows in blocks_of(dataset):
        found = describe(windows)
        if not np.isfinite(found).all():
            row = start + int(np.flatnonzero(~np.isfinite(found).all(axis=1))[0])
            raise ModelError(
                "finite features", got="others", where=f"{dataset.name}: record `{dataset.ids[row]}`",
                fix="check the window for NaN, Inf and values out of range",
            )  # fmt: skip
        if vectors is None:
            vectors = np.empty((len(dataset), found.shape[1]), np.float32)
        vectors[start : start + len(found)] = found
        if progress is not None:
            progress(start + len(found), len(dataset))
    return np.empty((0, 0), np.float32) if vectors is None else vectors
