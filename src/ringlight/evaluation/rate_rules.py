"""Which scores are rates, of what; and what stands in for a bootstrap that knows nothing.

Shapes: N records, K classes, U units.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ringlight.evaluation.decided import Decided
from ringlight.evaluation.inputs import BoolArray, FloatArray
from ringlight.evaluation.rates import Interval, clustered_rate, f1_interval, mean_of_intervals, wilson
from ringlight.evaluation.sums import record_means

ClassIntervals = Mapping[str, Mapping[str, Interval]]
MEANS = {
    "macro_precision": "precision",
    "macro_recall": "recall",
    "macro_f1": "f1",
    "weighted_precision": "precision",
    "weighted_recall": "recall",
    "weighted_f1": "f1",
}
"""Means over the classes of one of their metrics."""

FRACTIONS = ("samples_precision", "samples_recall", "samples_f1")
"""Means over records of numbers from 0 to 1: such a number varies no more than a hit or miss of the same mean."""


def class_rates(data: Decided, confidence: float) -> dict[str, dict[str, Interval]]:
    """Return precision, recall, specificity and F1 of each class with Wilson's interval, where it has trials."""
    found: dict[str, dict[str, Interval]] = {}
    for k, name in enumerate(data.classes):
        actual, chosen = data.actual[:, k], data.chosen[:, k]
        row = {
            "precision": _rate(actual & chosen, chosen, data, confidence),
            "recall": _rate(actual & chosen, actual, data, confidence),
            "specificity": _rate(~actual & ~chosen, ~actual, data, confidence),
            "f1": f1_interval(_counts(actual & chosen), _counts(actual ^ chosen), data.units, confidence),
        }
        # Without examples recall and F1 are 0 by convention only.
        left_out = () if actual.any() else ("recall", "f1")
        found[name] = {key: value for key, value in row.items() if value is not None and key not in left_out}
    return found


def scalar_rates(data: Decided, confidence: float) -> dict[str, Interval]:
    """Return the scalars that are rates with Wilson's interval."""
    right = data.actual == data.chosen
    subset = _rate(right.all(axis=1), np.ones(len(right), bool), data, confidence)
    if data.task == "multiclass":
        same = ("accuracy", "subset_accuracy", "micro_precision", "micro_recall", "micro_f1", "weighted_recall")
        found = dict.fromkeys(same, subset)
        found |= {
            name: clustered_rate(values, np.ones(len(right)), data.units, confidence)
            for name, values in record_means(data).items()
            if name.startswith("top_")
        }
    else:
        tp = data.actual & data.chosen
        of_present = _rate(tp, data.actual, data, confidence)
        found = {
            "accuracy": _rate(right, np.ones_like(right), data, confidence),
            "subset_accuracy": subset,
            "micro_precision": _rate(tp, data.chosen, data, confidence),
            "micro_recall": of_present,
            "weighted_recall": of_present,
            "micro_f1": f1_interval(_counts(tp), _counts(data.actual ^ data.chosen), data.units, confidence),
        }
    known = {name: interval for name, interval in found.items() if interval is not None}
    return known | {"hamming_loss": _mirrored(known["accuracy"])}


def edge_scalars(data: Decided, rows: ClassIntervals, confidence: float) -> dict[str, Interval]:
    """Return intervals of means at their best, where every resample gives the same: from those of the classes.

    Args:
        data: the prediction.
        rows: the intervals of each class, by class and metric.
        confidence: between 0 and 1.
    """
    support = data.actual.sum(axis=0)
    equal = np.full(len(support), 1 / len(support))
    found: dict[str, Interval] = {}
    for scalar, metric in MEANS.items():
        share = equal if scalar.startswith("macro") else support / max(1, support.sum())
        # A class without examples or predictions counts 0, in every sample.
        parts = [rows[name].get(metric, Interval(0.0, 0.0, 0.0, "")) for name in data.classes]
        found[scalar] = mean_of_intervals(parts, share.tolist())
    held = [rows[name] for name, count in zip(data.classes, support, strict=True) if count]
    if data.task == "multiclass":
        parts = [row["recall"] for row in held]
        found["balanced_accuracy"] = mean_of_intervals(parts, [1 / len(parts)] * len(parts))
    else:
        found["balanced_accuracy"] = _balanced(data, rows)
    areas = [rows[name]["auroc"] for name in data.classes if "auroc" in rows[name]]
    if areas and len(areas) == int(((support > 0) & (support < len(data.actual))).sum()):
        found["auroc"] = mean_of_intervals(areas, [1 / len(areas)] * len(areas))
    if data.task == "multilabel":
        means, each = record_means(data), np.ones(len(data.actual))
        fractions = {name: clustered_rate(means[name], each, data.units, confidence) for name in FRACTIONS}
        found |= {name: interval for name, interval in fractions.items() if interval is not None}
    return found


def ordered_pairs(data: Decided, k: int, value: float, confidence: float) -> Interval:
    """Return the interval of a class's AUROC of 0 or 1: pairs of units, each used once, all ordered alike."""
    with_class = len(np.unique(data.units.codes[data.actual[:, k]]))
    without = len(np.unique(data.units.codes[~data.actual[:, k]]))
    pairs = min(with_class, without)
    return Interval(value, *wilson(value * pairs, pairs, confidence), "pairs")


def _balanced(data: Decided, rows: ClassIntervals) -> Interval:
    parts, share = [], []
    for name in data.classes:
        sides = [rows[name][key] for key in ("recall", "specificity") if key in rows[name]]
        parts += sides
        share += [1 / (len(sides) * len(data.classes))] * len(sides)
    return mean_of_intervals(parts, share)


def _rate(hits: BoolArray, trials: BoolArray, data: Decided, confidence: float) -> Interval | None:
    return clustered_rate(_counts(hits), _counts(trials), data.units, confidence)


def _counts(flags: BoolArray) -> FloatArray:
    """Count flags (N,) or (N, K) within each record."""
    counts: FloatArray = flags.reshape(len(flags), -1).sum(axis=1).astype(np.float64)
    return counts


def _mirrored(interval: Interval) -> Interval:
    return Interval(1 - interval.value, 1 - interval.high, 1 - interval.low, interval.method)
