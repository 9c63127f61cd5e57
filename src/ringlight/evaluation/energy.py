"""The energy score: how familiar a record looks to the model, and its histogram for each class and for strangers.

    E(x) = -log Σ_k exp(f_k(x))                      (Liu et al. 2020, NeurIPS, "Energy-based out-of-distribution
                                                      detection", eq. 4 with temperature 1)

from the logits f (N, K) before any sigmoid, soft-max or calibration. A low energy is familiar; records of another kind
(another product, a dark camera) tend to a higher one. In multi-label data the same formula is used.

Shapes: N records, K classes, B bins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError
from ringlight.evaluation.curves import areas
from ringlight.evaluation.inputs import FloatArray, checked_labels, has_class
from ringlight.evaluation.probabilities import check_bins

NUM_BINS = 40
"""Bins of the histogram where nothing else is said."""

UNLABELLED = "no class"
"""The name under which multi-label records without a class are counted; in brackets where a class is called so."""


@dataclass(frozen=True, slots=True)
class EnergyHistogram:
    """Counts of records by energy, in the same bins for every name: classes, then sets from outside.

    A multi-label record counts for each of its classes. `separation` is, for each set from outside, the probability
    that one of its records has a higher energy than one of the judged ones (AUROC; 0.5 is chance).
    """

    edges: tuple[float, ...]
    counts: dict[str, tuple[int, ...]]
    separation: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "edges": list(self.edges),
            "counts": {name: list(row) for name, row in self.counts.items()},
            "separation": dict(self.separation),
        }


def energy_score(logits: npt.ArrayLike) -> FloatArray:
    """Return -logsumexp of each row (N,), in double precision.

    Args:
        logits: (N, K), finite.

    Raises:
        DataError: another shape, or a logit that is not finite.

    Examples:
        >>> energy_score([[0.0, 0.0], [10.0, 0.0]]).round(4).tolist()
        [-0.6931, -10.0]
    """
    values = _checked_logits("logits", logits)
    top = values.max(axis=1, keepdims=True)
    score: FloatArray = -(top[:, 0] + np.log(np.exp(values - top).sum(axis=1)))
    return score


def energy_histogram(
    logits: npt.ArrayLike,
    targets: npt.ArrayLike,
    classes: Sequence[str],
    *,
    bins: int = NUM_BINS,
    outside: Mapping[str, npt.ArrayLike] | None = None,
) -> EnergyHistogram:
    """Count records by energy, for each class and for each set from outside.

    Args:
        logits: (N, K), finite.
        targets: class numbers (N,), multi-class; or a binary matrix (N, K), multi-label.
        classes: the K class names.
        bins: B, from the lowest energy to the highest of all sets.
        outside: logits (M, K) of records of another kind, by name.

    Raises:
        DataError: no record, shapes that do not fit, logits that are not finite, targets outside the classes, no bin,
            or an outside set with the name of a class.

    Examples:
        >>> dark = {"dark": [[0.0, 0.0]]}
        >>> histogram = energy_histogram([[4.0, 0.0], [0.0, 4.0]], [0, 1], ["a", "b"], bins=2, outside=dark)
        >>> histogram.counts, histogram.separation
        ({'a': (1, 0), 'b': (1, 0), 'dark': (0, 1)}, {'dark': 1.0})
    """
    values = _checked_logits("logits", logits)
    if values.shape[1] != len(classes):
        raise _wrong("logits", f"shape (N, {len(classes)})", f"{values.shape}", "pass one column per class")
    check_bins(bins, usual=NUM_BINS)
    truth = checked_labels(targets, values.shape)
    inside = energy_score(values)
    others = {name: energy_score(_checked_logits(f"outside `{name}`", part)) for name, part in (outside or {}).items()}
    bare = truth.ndim == 2 and not truth.any(axis=1).all()
    unlabelled = f"({UNLABELLED})" if UNLABELLED in classes else UNLABELLED
    taken = {*classes, unlabelled} & others.keys()
    if taken:
        raise _wrong("outside", "a name that no class has", f"`{min(taken)}`", "rename the set")
    everything = np.concatenate([inside, *others.values()])
    edges = np.histogram_bin_edges(everything, bins)
    sets = {name: inside[has_class(truth, k)] for k, name in enumerate(classes)}
    if bare:
        sets[unlabelled] = inside[~truth.any(axis=1)]
    counts = {name: tuple(np.histogram(part, edges)[0].tolist()) for name, part in (sets | others).items()}
    separation = {name: _separation(inside, part) for name, part in others.items()}
    return EnergyHistogram(tuple(edges.tolist()), counts, separation)


def _separation(inside: FloatArray, outside: FloatArray) -> float:
    strange = np.repeat([False, True], [len(inside), len(outside)])
    area, _ = areas(np.concatenate([inside, outside]), strange)
    return float(area if area is not None else 0.5)  # neither set is empty: it is always a number


def _checked_logits(where: str, logits: npt.ArrayLike) -> FloatArray:
    values = np.asarray(logits)
    if values.ndim != 2 or not values.size or values.dtype.kind not in "biuf":
        got = f"{values.dtype} of shape {values.shape}"
        raise _wrong(where, "numbers of shape (N, K), at least one record", got, "pass raw scores")
    broken = ~np.isfinite(values)
    if broken.any():
        row, k = np.argwhere(broken)[0]
        raise _wrong(where, "finite numbers", f"{values[row, k]} in row {row}, column {k}", "check the model for NaN")
    return values.astype(np.float64)


def _wrong(where: str, expected: str, got: str, fix: str) -> DataError:
    return DataError(expected, got=got, where=where, fix=fix)
