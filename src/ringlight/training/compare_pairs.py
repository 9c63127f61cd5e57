"""Two runs on one test set: what differs, by how much, and whether that is more than chance.

Shapes: N records, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, log2
from typing import Any, Literal

import numpy as np

from ringlight.errors import DataError
from ringlight.evaluation.decided import Decided
from ringlight.evaluation.intervals import Interval, McNemar, mcnemar
from ringlight.evaluation.metric_names import LOWER_IS_BETTER
from ringlight.evaluation.paired import CLASS_RATES, paired_differences
from ringlight.training.contestants import Contestant, aligned, other_records, unlike

COMPARED: dict[str, tuple[str, ...]] = {
    "multiclass": ("macro_f1", "balanced_accuracy", "accuracy", "auroc", "ap", "log_loss", "brier"),
    "multilabel": ("macro_f1", "micro_f1", "subset_accuracy", "auroc", "ap", "log_loss", "brier"),
}
"""The differences that are told, by task; the first gives the verdict."""

_OF_SCORES = ("auroc", "ap", "log_loss", "brier")
"""Metrics that change with every score, not only with a decision."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of the run minus that of the reference; no limits where no interval can be told."""

    metric: str
    value: float
    low: float | None
    high: float | None
    verdict: Literal["better", "worse", "not shown"]
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {name: getattr(self, name) for name in ("metric", "value", "low", "high", "verdict", "sentence")}


@dataclass(frozen=True, slots=True)
class Pair:
    """A run beside the reference. Where `refused` says why they do not compare, there is no difference."""

    reference: str
    run: str
    refused: str = ""
    num_records: int = 0
    num_units: int = 0
    unit: str = "record"
    num_discordant: int = 0
    """Records on which the two decide differently."""
    differences: tuple[Difference, ...] = ()
    per_class: Mapping[str, Mapping[str, Difference]] = field(default_factory=dict)
    """By class, the differences of recall, precision and F1."""
    mcnemar: McNemar | None = None

    @property
    def verdict(self) -> str:
        """The plain sentence about the first metric, or why there is none."""
        return self.differences[0].sentence if self.differences else f"no difference computed: {self.refused}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "reference": self.reference,
            "run": self.run,
            "verdict": self.verdict,
            "refused": self.refused or None,
            "num_records": self.num_records,
            "num_units": self.num_units,
            "unit": self.unit,
            "num_discordant": self.num_discordant,
            "differences": [difference.to_dict() for difference in self.differences],
            "per_class": {
                name: {metric: difference.to_dict() for metric, difference in row.items()}
                for name, row in self.per_class.items()
            },
            "mcnemar": None if self.mcnemar is None else self.mcnemar.to_dict(),
        }


def compare_pair(first: Contestant, second: Contestant, *, num_resamples: int, confidence: float, seed: int) -> Pair:
    """Compare a run with the reference `first`, in the reference's order of records and classes."""
    a, b = first.predictions, second.predictions
    refused = unlike(first, second)
    if not refused and (a is None or b is None):
        lacking = first if a is None else second
        refused = f"the predictions of {lacking} are not at hand ({lacking.missing})"
    elif a is not None and b is not None:
        refused = refused or other_records(a, b)
    if refused or a is None or b is None:
        return Pair(first.label, second.label, refused)
    try:
        ours, theirs = aligned(first, a, second, b)
    except DataError as error:  # probabilities that are none: the other runs are still compared
        return Pair(first.label, second.label, str(error))
    differ = (ours.chosen != theirs.chosen).any(axis=1)
    discordant = len(np.unique(ours.units.codes[differ]))
    tell = _Teller(str(second), int(differ.sum()), discordant, ours.units.kind, confidence)
    found = paired_differences(ours, theirs, num_resamples=num_resamples, confidence=confidence, seed=seed)
    return Pair(
        first.label,
        second.label,
        num_records=len(differ),
        num_units=ours.units.num_units,
        unit=ours.units.kind,
        num_discordant=int(differ.sum()),
        differences=tuple(tell(name, *found[name]) for name in COMPARED[ours.task] if name in found),
        per_class=_per_class(ours, found, tell),
        mcnemar=_mcnemar(ours, theirs) if ours.task == "multiclass" else None,
    )


def _per_class(
    data: Decided, found: Mapping[str, tuple[float, Interval | None]], tell: _Teller
) -> dict[str, dict[str, Difference]]:
    keys = {name: {rate: f"{rate}/{name}" for rate in CLASS_RATES} for name in data.classes}
    return {
        name: {rate: tell(key, *found[key]) for rate, key in row.items() if key in found} for name, row in keys.items()
    }


def _mcnemar(ours: Decided, theirs: Decided) -> McNemar:
    right_a, right_b = ((data.actual == data.chosen).all(axis=1) for data in (ours, theirs))
    return mcnemar(right_a, right_b)


@dataclass(frozen=True, slots=True)
class _Teller:
    """Puts differences into words. With few disagreements not even a unanimous sign test shows a difference."""

    run: str
    num_records: int
    num_units: int
    unit: str
    confidence: float

    def __call__(self, metric: str, value: float, interval: Interval | None) -> Difference:
        name, _, label = metric.partition("/")
        where = f"{name} of `{label}`" if label else name
        none = f"no difference shown in {where}: {value:+.3f}"
        if interval is None:
            alike = not self.num_records and name not in _OF_SCORES
            why = "they decide alike on every record" if alike else "and no interval can be told"
            return Difference(metric, value, None, None, "not shown", f"{none}, {why}")
        low, high = interval.low, interval.high
        limits = f"[{low:+.3f}, {high:+.3f}]"
        if low <= 0 <= high:
            return Difference(metric, value, low, high, "not shown", f"{none} {limits}")
        needed = ceil(1 - log2(1 - self.confidence))  # 2 · 0.5^m at or below 1 - confidence
        if name not in _OF_SCORES and self.num_units < needed:
            count = f"{self.num_units} {self.unit}" + ("" if self.num_units == 1 else "s")
            why = f"but only {count} decided differently, where {needed} are needed"
            return Difference(metric, value, low, high, "not shown", f"{none} {limits}, {why}")
        better = (low > 0) != (name in LOWER_IS_BETTER)
        near, far = sorted((abs(low), abs(high)))
        told = f"{self.run} is {'better' if better else 'worse'} in {where} by {abs(value):.3f} [{near:.3f}, {far:.3f}]"
        return Difference(metric, value, low, high, "better" if better else "worse", told)
