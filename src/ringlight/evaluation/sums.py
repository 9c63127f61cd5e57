"""What metrics are sums of: per record once, per unit in a sparse matrix, then under any weights by one product.

Shapes: N records, J columns of a name, K classes, U units, C weightings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ringlight.evaluation.agreement import ranks
from ringlight.evaluation.decided import Decided
from ringlight.evaluation.inputs import BoolArray, FloatArray
from ringlight.evaluation.metric_names import TOP_K
from ringlight.evaluation.probabilities import NUM_BINS
from ringlight.evaluation.units import Units

RECORD_MEANS = ("samples_precision", "samples_recall", "samples_f1", *(f"top_{k}" for k in TOP_K), "log_loss", "brier")
"""The scalars that are means over records."""


class Binned(NamedTuple):
    """Values (N,) of which each counts in one of `num_bins` sums: the one that `bins` (N,) names."""

    values: FloatArray
    bins: npt.NDArray[np.int64]
    num_bins: int


class Sums:
    """Sums over records, by name, for any weighting of the units.

    Args:
        columns: by name what is summed: (N,), (N, J), or binned.
        units: the unit of each record.
    """

    def __init__(self, columns: Mapping[str, npt.NDArray[Any] | Binned], units: Units) -> None:
        rows, codes, values = [], [], []
        self._parts: dict[str, slice] = {}
        height = 0
        for name, column in columns.items():
            if isinstance(column, Binned):
                record, place, value, width = (
                    np.arange(len(column.values)),
                    column.bins,
                    column.values,
                    column.num_bins,
                )
            else:
                matrix = np.asarray(column, np.float64).reshape(len(units.codes), -1)
                record, place = np.nonzero(matrix)
                value, width = matrix[record, place], matrix.shape[1]
            rows.append(place + height)
            codes.append(units.codes[record])
            values.append(value)
            self._parts[name] = slice(height, height + width)
            height += width
        where = (np.concatenate(rows), np.concatenate(codes))
        self._matrix = sparse.csr_matrix((np.concatenate(values), where), shape=(height, units.num_units))

    def __call__(self, weights: FloatArray) -> dict[str, FloatArray]:
        """Return the sums (columns of the name, C) under weights (U, C)."""
        product = self._matrix @ weights
        return {name: product[part] for name, part in self._parts.items()}


def record_columns(data: Decided) -> dict[str, npt.NDArray[Any]]:
    """Return what is summed over the records of a prediction."""
    actual, chosen, scores = data.actual, data.chosen, data.probabilities
    right = actual == chosen
    columns: dict[str, npt.NDArray[Any]] = {
        "records": np.ones(len(actual)),
        "tp": actual & chosen,
        "fp": ~actual & chosen,
        "fn": actual & ~chosen,
        "right": right.sum(axis=1),
        "all_right": right.all(axis=1),
        "class_brier": (scores - actual) ** 2,
    }
    if data.task == "multiclass":
        columns["squared_step"] = (actual.argmax(axis=1) - chosen.argmax(axis=1)) ** 2
    return columns | record_means(data)


def gap_columns(data: Decided) -> dict[str, Binned]:
    """Return right minus believed in bins of equal width, by class (`gap_0`, ...) and of the top class (`gap`)."""
    columns = {f"gap_{k}": _gaps(data.probabilities[:, k], data.actual[:, k]) for k in range(data.actual.shape[1])}
    if data.task == "multiclass":
        ((believed, correct),) = beliefs(data)
        columns["gap"] = _gaps(believed, correct)
    return columns


def record_means(data: Decided) -> dict[str, FloatArray]:
    """Return, for each scalar that is a mean over records, its value on every record (N,)."""
    actual, chosen, scores = data.actual, data.chosen, data.probabilities
    squares = (scores - actual) ** 2
    means: dict[str, FloatArray] = {}
    if data.task == "multiclass":
        means["log_loss"] = _cost(scores[actual])
        means["brier"] = squares.sum(axis=1) if actual.shape[1] > 2 else squares.mean(axis=1)
        rank = ranks(actual.argmax(axis=1), scores)
        means |= {f"top_{k}": (rank < k).astype(np.float64) for k in TOP_K if k < actual.shape[1]}
        return means
    means["log_loss"] = _cost(np.where(actual, scores, 1 - scores)).mean(axis=1)
    means["brier"] = squares.mean(axis=1)
    hits, found, there = ((part).sum(axis=1).astype(np.float64) for part in (actual & chosen, chosen, actual))
    for name, part, whole in (("precision", hits, found), ("recall", hits, there), ("f1", 2 * hits, found + there)):
        means[f"samples_{name}"] = np.divide(part, whole, out=np.zeros(len(actual)), where=whole > 0)
    return means


def beliefs(data: Decided) -> list[tuple[FloatArray, BoolArray]]:
    """Return what calibration is judged on: top class and whether it is right; each class's own when multi-label."""
    if data.task == "multilabel":
        return [(data.probabilities[:, k], data.actual[:, k]) for k in range(data.actual.shape[1])]
    top = data.probabilities.argmax(axis=1)
    rows = np.arange(len(top))
    return [(data.probabilities[rows, top], data.actual[rows, top])]


def _gaps(believed: FloatArray, right: BoolArray) -> Binned:
    index = np.searchsorted(np.linspace(0.0, 1.0, NUM_BINS + 1)[1:-1], believed)
    return Binned(right - believed, index, NUM_BINS)


def _cost(probability: FloatArray) -> FloatArray:
    tiny = np.finfo(np.float64).eps
    cost: FloatArray = -np.log(np.clip(probability, tiny, 1 - tiny))
    return cost
