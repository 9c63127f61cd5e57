"""Every score with its interval.

Which way depends on what a score is:

- **Rates** (recall, precision, specificity, F1 of a class; accuracy, subset accuracy, Hamming loss, micro means,
  top-k): Wilson's interval on the effective number of trials (:mod:`ringlight.evaluation.rates`).
- **Everything else** (macro means, AUROC, AP, kappa, MCC, log-loss, Brier score): percentile bootstrap over
  groups (:mod:`ringlight.evaluation.bootstrap`), its percentiles expanded for few groups (Hesterberg 2015, The
  American Statistician 69:371, section 5.3): Φ(-√(U/(U-1)) t_{U-1}) instead of 2.5 %.
- **Calibration errors**: their own way, since noise only ever raises them
  (:mod:`ringlight.evaluation.calibration_gaps`).
- **A score at its best**, where every resample gives the same number and the bootstrap knows nothing: a macro or
  weighted mean takes the intervals of its classes together (method "mover"); an AUROC counts as many disjoint pairs of
  a record with and one without the class as there are units of the rarer side, each of them ordered rightly (Wilson);
  a sample mean is judged like a rate. For the others there is no interval.

A resample on which a score is not defined (a class is absent) is left out; a score not defined on more than half of
them has no interval. `notes` says which and why.

Shapes: N records, K classes, U units (groups, or records where there are no groups), R resamples.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ringlight.evaluation.bootstrap import Scorer, Scores, point, replicate
from ringlight.evaluation.calibration_gaps import Errors, error_interval
from ringlight.evaluation.decided import Decided, decided
from ringlight.evaluation.inputs import FloatArray
from ringlight.evaluation.paired import McNemar, mcnemar, paired_intervals
from ringlight.evaluation.percentiles import mostly_undefined, percentile_interval
from ringlight.evaluation.rate_rules import class_rates, edge_scalars, ordered_pairs, scalar_rates
from ringlight.evaluation.rates import Interval, check_confidence, clopper_pearson, rate_interval, wilson
from ringlight.types import Task

__all__ = [
    "TOO_FEW",
    "Interval",
    "Intervals",
    "McNemar",
    "clopper_pearson",
    "mcnemar",
    "metric_intervals",
    "paired_intervals",
    "rate_interval",
    "wilson",
]

TOO_FEW = 10
"""A class carried by fewer independent groups (or records) than this is too few to judge."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """Every score of a prediction with its interval; a score without one is missing, and `notes` says why."""

    scalars: dict[str, Interval]
    per_class: dict[str, dict[str, Interval]]
    unit: Literal["record", "group"]
    num_units: int
    num_resamples: int
    confidence: float
    too_few: tuple[str, ...]
    """Classes that fewer than 10 units carry: too few to judge."""
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: an interval as [low, high]."""
        return {
            "scalars": {name: interval.to_list() for name, interval in self.scalars.items()},
            "per_class": {
                name: {metric: interval.to_list() for metric, interval in row.items()}
                for name, row in self.per_class.items()
            },
            "unit": self.unit,
            "num_units": self.num_units,
            "num_resamples": self.num_resamples,
            "confidence": self.confidence,
            "too_few": list(self.too_few),
            "notes": list(self.notes),
        }


def metric_intervals(
    targets: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    classes: Sequence[str],
    task: Task,
    *,
    groups: Sequence[Hashable] | npt.NDArray[np.generic] | None = None,
    decisions: npt.ArrayLike | None = None,
    threshold: float | Sequence[float] = 0.5,
    num_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Intervals:
    """Return every score of :func:`ringlight.evaluation.metrics.classification_metrics` with its interval.

    Args:
        targets: class numbers (N,) when multi-class, a binary matrix (N, K) when multi-label.
        probabilities: (N, K), from 0 to 1.
        classes: the K class names.
        task: multi-class or multi-label.
        groups: (N,) the group of each record (None: a unit of its own); without them every record counts for itself.
        decisions: (N, K) what was decided, where it is not the best class or the threshold.
        threshold: multi-label predicts each class with at least this probability; one for all or one per class.
        num_resamples: R.
        confidence: between 0 and 1.
        seed: of the resamples.

    Raises:
        DataError: arrays that do not fit each other or hold impossible values.

    Examples:
        >>> scores = [[0.9, 0.1]] * 12 + [[0.2, 0.8]] * 12
        >>> intervals = metric_intervals([0] * 12 + [1] * 12, scores, ["good", "scratch"], "multiclass")
        >>> print(intervals.per_class["scratch"]["recall"])
        1.000 [0.758, 1.000]
    """
    check_confidence(confidence)
    data = decided(targets, probabilities, classes, task, threshold=threshold, decisions=decisions, groups=groups)
    scorer, num_units = Scorer(data), data.units.num_units
    (drawn,) = replicate([scorer], num_units, num_resamples, seed)
    values = point(scorer, num_units)
    per_class = _per_class(data, values, drawn, confidence)
    scalars, notes = _scalars(data, values, drawn, per_class, confidence)
    return Intervals(
        scalars, per_class, data.units.kind, num_units, num_resamples, confidence, _too_few(data), tuple(notes)
    )


def _per_class(data: Decided, values: Scores, drawn: Scores, confidence: float) -> dict[str, dict[str, Interval]]:
    rows = class_rates(data, confidence)
    for k, name in enumerate(data.classes):
        for metric in ("mcc", "auroc", "ap", "brier"):
            value, replicates = float(values.per_class[metric][k, 0]), drawn.per_class[metric][k]
            found = percentile_interval(replicates, value, num_units=data.units.num_units, confidence=confidence)
            if found is None and metric == "auroc" and value in (0.0, 1.0):
                found = ordered_pairs(data, k, value, confidence)
            if found is not None:
                rows[name][metric] = found
        errors = Errors(*(part[k] for part in drawn.calibration["class_ece"]))
        value = float(values.per_class["ece"][k, 0])
        found = error_interval(errors, value, num_units=data.units.num_units, confidence=confidence)
        if found is not None:
            rows[name]["ece"] = found
    return rows


def _scalars(
    data: Decided, values: Scores, drawn: Scores, rows: dict[str, dict[str, Interval]], confidence: float
) -> tuple[dict[str, Interval], list[str]]:
    rates, edges = scalar_rates(data, confidence), edge_scalars(data, rows, confidence)
    found, notes = dict[str, Interval](), list[str]()
    for name, column in values.scalars.items():
        value, replicates = float(column[0]), drawn.scalars[name]
        interval = rates.get(name)
        if name in drawn.calibration:
            errors = drawn.calibration[name]
            interval = error_interval(errors, value, num_units=data.units.num_units, confidence=confidence)
        elif interval is None:
            interval = percentile_interval(replicates, value, num_units=data.units.num_units, confidence=confidence)
        if interval is None and not mostly_undefined(replicates):
            interval = edges.get(name)
        if interval is not None:
            found[name] = interval
        elif not np.isnan(value):
            notes.append(_why_none(name, replicates, data))
    return found, notes


def _too_few(data: Decided) -> tuple[str, ...]:
    carried = [len(np.unique(data.units.codes[data.actual[:, k]])) for k in range(len(data.classes))]
    return tuple(name for name, count in zip(data.classes, carried, strict=True) if count < TOO_FEW)


def _why_none(name: str, replicates: FloatArray, data: Decided) -> str:
    if data.units.num_units < 2:
        return f"{name} has no interval: there is one {data.units.kind} only"
    if mostly_undefined(replicates):
        share = np.isnan(replicates).mean()
        return f"{name} has no interval: {share:.0%} of the resamples lack a class, and it is not defined there"
    return f"{name} has no interval: every resample gives the same value"
