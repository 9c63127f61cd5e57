"""How each kind of operating point is fixed on validation, and what it reaches there.

Shapes: N records, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ringlight.evaluation import certificates as proofs
from ringlight.evaluation.certificates import Certificate, Proved
from ringlight.evaluation.threshold_search import best_f1_threshold, best_scales, cheapest_threshold
from ringlight.evaluation.units import Units
from ringlight.types import Task

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
Thresholds = tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A validation part and what is asked of it: `scores` (N, K), `truth` (N, K) binary, one-hot when multi-class."""

    scores: FloatArray
    truth: BoolArray
    classes: tuple[str, ...]
    task: Task
    label: str | None
    target: float
    good_class: str | None
    escape_cost: float
    overkill_cost: float
    prevalence: float | None
    confidence: float
    units: Units

    def thresholds(self, column: int, value: float) -> Thresholds:
        """Return one class's threshold among the others': 0.5 (multi-label), none (multi-class)."""
        rest = 0.5 if self.task == "multilabel" else None
        return tuple(value if index == column else rest for index in range(len(self.classes)))


@dataclass(frozen=True, slots=True)
class Fixed:
    """What was found: the rule, its thresholds, what they prove, and what to know about them."""

    rule: Literal["each", "scaled", "gate", "good"]
    thresholds: Thresholds
    certificate: Certificate | None = None
    note: str = ""


def _max_f1(case: Case) -> Fixed | str:
    if case.label is not None:
        column = case.classes.index(case.label)
        threshold = best_f1_threshold(case.scores[:, column], case.truth[:, column])
        if threshold is None:
            return _absent(case.label)
        return Fixed(_rule(case), case.thresholds(column, threshold))
    absent = [name for column, name in enumerate(case.classes) if not case.truth[:, column].any()]
    note = f"no example in validation, its threshold stays as it was: {', '.join(absent)}" if absent else ""
    if case.task == "multiclass":
        return Fixed("scaled", tuple(best_scales(case.scores, case.truth.argmax(axis=1)).tolist()), note=note)
    if len(absent) == len(case.classes):
        return "no class has an example in validation"
    found = [best_f1_threshold(case.scores[:, k], case.truth[:, k]) for k in range(len(case.classes))]
    return Fixed("each", tuple(0.5 if value is None else value for value in found), note=note)


def _recall_at_least(case: Case) -> Fixed | str:
    if case.label is None:
        return _expected_recall(case)
    column = case.classes.index(case.label)
    positive = case.truth[:, column]
    if not positive.any():
        return _absent(case.label)
    least = proofs.group_extremes(case.scores[positive, column], case.units.codes[positive], np.minimum)
    proved = proofs.recall_threshold(least, target=case.target, confidence=case.confidence)
    needed = proofs.needed_for_recall(case.target, case.confidence)
    if proved is None:
        return (
            f"recall {case.target:g} of {case.label} at {_percent(case.confidence)} confidence needs {needed} positive "
            f"{case.units.kind}s in validation even if none is missed; there are {len(least)}"
        )
    certificate = _certificate("recall", case, case.label, proved, needed)
    return Fixed(_rule(case), case.thresholds(column, proved.threshold), certificate)


def _expected_recall(case: Case) -> Fixed | str:
    """One threshold for all classes, which bounds the expected share of a record's labels that are missed."""
    needed = proofs.needed_for_expected_recall(case.target)
    proved = proofs.expected_recall_threshold(case.scores, case.truth, target=case.target, groups=case.units.codes)
    if proved is None:
        labelled = len(np.unique(case.units.codes[case.truth.any(axis=1)]))
        return (
            f"an expected recall of {case.target:g} over all classes needs {needed} {case.units.kind}s with a label in "
            f"validation even if none is missed; there are {labelled}"
        )
    certificate = _certificate("recall", case, None, proved, needed, kind="risk_control")
    return Fixed("each", (proved.threshold,) * len(case.classes), certificate)


def _precision_at_least(case: Case) -> Fixed | str:
    """A threshold for the class; without one, for every class, each at its share of the error (Bonferroni)."""
    names = case.classes if case.label is None else (case.label,)
    confidence = 1.0 - (1.0 - case.confidence) / len(names)
    needed = proofs.needed_for_precision(case.target, confidence)
    found: list[Proved] = []
    for name in names:
        column = case.classes.index(name)
        if not case.truth[:, column].any():
            return _absent(name)
        proved = proofs.precision_threshold(
            case.scores[:, column], case.truth[:, column], target=case.target, confidence=confidence,
            groups=case.units.codes,
        )  # fmt: skip
        if proved is None:
            return (
                f"no threshold proves precision {case.target:g} of {name} at {_percent(case.confidence)} confidence; "
                f"without a false alarm it needs about {needed} flagged {case.units.kind}s in validation"
            )
        found.append(proved)
    weakest = min(found, key=lambda one: one.bound)
    certificate = _certificate("precision", case, case.label, weakest, needed)
    if case.label is None:
        return Fixed("each", tuple(one.threshold for one in found), certificate)
    return Fixed(_rule(case), case.thresholds(case.classes.index(case.label), weakest.threshold), certificate)


def _min_cost(case: Case) -> Fixed | str:
    scores, defective = _defects(case)
    if defective.all() or not defective.any():
        missing = "good" if defective.all() else "defective"
        return f"validation has no {missing} part: its cost cannot be weighed"
    share = float(defective.mean()) if case.prevalence is None else case.prevalence
    threshold = cheapest_threshold(
        scores, defective, escape_weight=case.escape_cost * share, overkill_weight=case.overkill_cost * (1 - share)
    )
    if case.task == "multiclass":
        return Fixed("good", case.thresholds(case.classes.index(case.good_class), threshold))
    if case.label is not None:
        return Fixed("each", case.thresholds(case.classes.index(case.label), threshold))
    return Fixed("each", (threshold,) * len(case.classes))


def _defects(case: Case) -> tuple[FloatArray, BoolArray]:
    """Return how defective each part looks, and whether it is."""
    if case.task == "multiclass":
        good = case.classes.index(case.good_class)
        return 1.0 - case.scores[:, good], np.asarray(~case.truth[:, good])
    if case.label is not None:
        column = case.classes.index(case.label)
        return case.scores[:, column], case.truth[:, column]
    return np.asarray(case.scores.max(axis=1)), np.asarray(case.truth.any(axis=1))


FIXERS: Mapping[str, Callable[[Case], Fixed | str]] = {
    "max_f1": _max_f1,
    "recall_at_least": _recall_at_least,
    "precision_at_least": _precision_at_least,
    "min_cost": _min_cost,
}
"""From a validation part to a rule with thresholds, or to the reason why there is none."""


def _rule(case: Case) -> Literal["each", "gate"]:
    return "each" if case.task == "multilabel" else "gate"


def _absent(label: str) -> str:
    return f"validation has no example of {label}"


def _percent(confidence: float) -> str:
    return f"{confidence * 100:g} %"


def _certificate(
    measure: Literal["recall", "precision"], case: Case, label: str | None, proved: Proved, needed: int,
    *, kind: Literal["binomial", "risk_control"] = "binomial",
) -> Certificate:  # fmt: skip
    return Certificate(
        kind=kind, measure=measure, label=label, target=case.target, bound=proved.bound,
        confidence=case.confidence if kind == "binomial" else None, num_positives=proved.num_units,
        misses=proved.misses, needed=needed, unit=case.units.kind,
    )  # fmt: skip


def label_measures(decisions: BoolArray, case: Case) -> dict[str, Any]:
    """Return precision, recall and F1 of decisions (N, K): of the label, else means over the classes; 0/0 counts 0."""
    hits = (decisions & case.truth).sum(axis=0)
    wholes = {"precision": decisions.sum(axis=0), "recall": case.truth.sum(axis=0)}
    rates = {name: hits / np.maximum(whole, 1) for name, whole in wholes.items()}
    rates["f1"] = 2 * hits / np.maximum(sum(wholes.values()), 1)
    means = {f"macro_{name}": float(values.mean()) for name, values in rates.items()}
    if case.label is None:
        return means
    column = case.classes.index(case.label)
    return {**{name: float(values[column]) for name, values in rates.items()}, "macro_f1": means["macro_f1"]}


def cost_measures(decisions: BoolArray, case: Case) -> dict[str, Any]:
    """Return escape rate, overkill rate, prevalence and expected cost per part of decisions; None when undefined."""
    _, defective = _defects(case)
    if case.task == "multiclass":
        called = np.asarray(~decisions[:, case.classes.index(case.good_class)])
    else:
        own = decisions if case.label is None else decisions[:, [case.classes.index(case.label)]]
        called = np.asarray(own.any(axis=1))
    escapes = float((~called[defective]).mean()) if defective.any() else None
    overkill = float(called[~defective].mean()) if not defective.all() else None
    share = float(defective.mean()) if case.prevalence is None else case.prevalence
    cost = None
    if escapes is not None and overkill is not None:
        cost = case.escape_cost * share * escapes + case.overkill_cost * (1 - share) * overkill
    return {"escape_rate": escapes, "overkill_rate": overkill, "prevalence": share, "cost_per_part": cost}
