"""From raw scores and fixed rules to every number of a verdict. Nothing is chosen here.

Used for the test part of a run, for the same part again later, for new data, and for an ensemble.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.config.schema import EvaluationConfig
from ringlight.evaluation.curves import class_curves, curves_dict
from ringlight.evaluation.energy import energy_histogram
from ringlight.evaluation.intervals import Intervals, metric_intervals
from ringlight.evaluation.metrics import Metrics, classification_metrics
from ringlight.evaluation.plant import is_defective, plant_measures
from ringlight.evaluation.probabilities import reliability
from ringlight.evaluation.rates import rate_interval
from ringlight.evaluation.reject import reject_curve
from ringlight.evaluation.thresholds import OperatingPoint, decision_confidence
from ringlight.training.rules import Rules, Ruling, line_of, truth_matrix, truth_of
from ringlight.types import Prediction

PLANT_RATES = ("escape_rate", "overkill_rate")


@dataclass(frozen=True, slots=True)
class Assessment:
    """The numbers of a verdict: `test` and `sections` are what `results.json` holds under `test` and beside it."""

    decided: Ruling
    metrics: Metrics
    intervals: Intervals
    test: dict[str, Any]
    sections: dict[str, Any]


def assess(
    raw: Prediction, rules: Rules, settings: EvaluationConfig, *, groups: Sequence[str] | None, seed: int
) -> Assessment:
    """Judge raw scores whose truth is known.

    Args:
        raw: scores before calibration, with targets.
        rules: what was fixed on validation.
        settings: confidence, resamples, prevalence and costs.
        groups: what each record belongs to, (N,); None when every record stands alone.
        seed: of the bootstrap.

    Raises:
        DataError: no labels, no record, or scores that are not finite.
    """
    targets, truth = truth_of(raw), truth_matrix(raw)
    decided = rules.decide(raw)
    metrics = _metrics(decided.prediction, decided.probabilities, decided.decisions, groups)
    intervals = metric_intervals(
        targets, decided.probabilities, raw.classes, raw.task, groups=groups, decisions=decided.decisions,
        num_resamples=settings.num_resamples, confidence=settings.confidence, seed=seed,
    )  # fmt: skip
    plant = _plant(truth, decided.decisions, rules, settings, groups)
    test = {
        **metrics.to_dict(),
        "intervals": intervals.to_dict(),
        "operating_point": rules.active.name,
        "good_class": rules.good_class,
        "plant": plant,
    }
    confidence = decision_confidence(decided.probabilities, rules.active)
    sections = {
        "calibration": _calibration(raw, decided, rules),
        "operating_points": [
            _point(point, decided, truth, rules, settings, groups, seed) for point in rules.points.values()
        ],
        "reject": _reject(confidence, decided.right, rules.reject_threshold),
        "curves": curves_dict(class_curves(targets, decided.probabilities, raw.classes, raw.task)),
        "energy": energy_histogram(raw.logits, targets, raw.classes).to_dict(),
    }
    return Assessment(decided, metrics, intervals, test, sections)


def _metrics(
    prediction: Prediction, probabilities: npt.NDArray[np.float64], decisions: npt.NDArray[np.bool_],
    groups: Sequence[str] | None,
) -> Metrics:  # fmt: skip
    return classification_metrics(
        truth_of(prediction), probabilities, prediction.classes, prediction.task, decisions=decisions, groups=groups
    )


def _plant(
    truth: npt.NDArray[np.bool_], decisions: npt.NDArray[np.bool_], rules: Rules, settings: EvaluationConfig,
    groups: Sequence[str] | None,
) -> dict[str, Any] | None:  # fmt: skip
    """Return escapes and overkill with their intervals; None where nothing says which class is good."""
    if rules.task == "multiclass" and rules.good_class is None:
        return None
    bad = is_defective(truth, rules.classes, rules.task, rules.good_class)
    called = is_defective(decisions, rules.classes, rules.task, rules.good_class)
    measures = plant_measures(
        bad, called, prevalence=settings.prevalence, escape_cost=settings.escape_cost,
        overkill_cost=settings.overkill_cost,
    )  # fmt: skip
    intervals = {}
    for name, among, wrong in (("escape_rate", bad, bad & ~called), ("overkill_rate", ~bad, ~bad & called)):
        found = rate_interval(wrong, trials=among, groups=groups, confidence=settings.confidence)
        if found is not None:
            intervals[name] = found.to_list()
    return {**measures.to_dict(), "intervals": intervals}


def _reject(confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_], limit: float | None) -> dict[str, Any]:
    """Return coverage against error, and what the limit that was fixed on validation reaches here."""
    curve = reject_curve(confidence, right).to_dict()
    if limit is None:
        return {**curve, "limit": None, "reached": None}
    kept = confidence >= limit
    reached = {"coverage": float(kept.mean()), "error": float((~right[kept]).mean()) if kept.any() else None}
    return {**curve, "limit": limit, "reached": reached}


def _calibration(raw: Prediction, decided: Ruling, rules: Rules) -> dict[str, Any]:
    """Return the calibration with the reliability of the judged part before and after it."""
    found = {} if rules.calibration is None else rules.calibration.to_dict()
    diagrams = {
        name: reliability(truth_of(raw), probabilities).to_dict()
        for name, probabilities in (("before", raw.probabilities), ("after", decided.probabilities))
    }
    return {**found, "reliability": diagrams}


def _point(
    point: OperatingPoint, decided: Ruling, truth: npt.NDArray[np.bool_], rules: Rules, settings: EvaluationConfig,
    groups: Sequence[str] | None, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Return an operating point with what it reaches on the judged part."""
    prediction = decided.prediction
    decisions = point.decide(decided.probabilities)
    metrics = _metrics(prediction, decided.probabilities, decisions, groups)
    intervals = metric_intervals(
        truth_of(prediction), decided.probabilities, prediction.classes, prediction.task, groups=groups,
        decisions=decisions, num_resamples=settings.num_resamples, confidence=settings.confidence, seed=seed,
    ).to_dict()  # fmt: skip
    rates = ("precision", "recall", "f1")
    if point.label is not None:
        reached: dict[str, Any] = {name: metrics.per_class[point.label][name] for name in rates}
        bounds = {name: intervals["per_class"][point.label].get(name) for name in rates}
    else:
        reached = {name: metrics.scalars[f"macro_{name}"] for name in rates}
        bounds = {name: intervals["scalars"].get(f"macro_{name}") for name in rates}
    reached["macro_f1"] = metrics.scalars["macro_f1"]
    bounds["macro_f1"] = intervals["scalars"].get("macro_f1")
    line = line_of(settings, settings.operating_points.get(point.name))
    plant = _plant(truth, decisions, rules, line, groups) or {}
    for name in (*PLANT_RATES, "cost_per_part"):
        reached[name] = plant.get(name)
    bounds |= plant.get("intervals", {})
    return {**point.to_dict(), "test": {**reached, "intervals": bounds}}
