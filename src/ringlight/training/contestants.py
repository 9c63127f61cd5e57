"""Runs as they enter a comparison: whether they were judged on the same records, brought into one order.

Shapes: N records, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ringlight.evaluation.decided import Decided, decided
from ringlight.evaluation.inputs import BoolArray, FloatArray
from ringlight.evaluation.thresholds import OperatingPoint
from ringlight.training.results_file import Predictions


@dataclass(frozen=True, slots=True)
class Contestant:
    """A run: its name in the comparison, its results, its predictions or why there are none."""

    label: str
    results: Mapping[str, Any]
    predictions: Predictions | None
    missing: str = ""

    @property
    def leaky(self) -> bool:
        """Whether its split put what belongs together on both sides."""
        return bool(self.results["split"].get("leaky"))

    def __str__(self) -> str:
        return f"`{self.label}`" + (" (leaky)" if self.leaky else "")


OTHER_DATA = "they were judged on different data"


def unlike(first: Contestant, second: Contestant) -> str:
    """Return why two runs do not compare, as far as their results tell; empty when they may."""
    data_a, data_b = first.results["dataset"], second.results["dataset"]
    if data_a.get("task") != data_b.get("task"):
        return f"{first} is {data_a.get('task')}, {second} is {data_b.get('task')}"
    if set(data_a.get("classes", ())) != set(data_b.get("classes", ())):
        only = ", ".join(f"`{name}`" for name in sorted(set(data_a["classes"]) ^ set(data_b["classes"])))
        return f"their classes are not the same: only one of them knows {only}"
    return OTHER_DATA if data_a["fingerprint"] != data_b["fingerprint"] else ""


def other_records(a: Predictions, b: Predictions) -> str:
    """Return in what the judged records of two runs differ; empty when they are the same with the same truth."""
    if set(a.ids) != set(b.ids):
        shared = len(set(a.ids) & set(b.ids))
        return f"their test sets are not the same: {len(a.ids)} and {len(b.ids)} records, {shared} of them in both"
    names = {record: {b.classes[k] for k in labels} for record, labels in zip(b.ids, b.truth, strict=True)}
    for record, labels in zip(a.ids, a.truth, strict=True):
        if {a.classes[k] for k in labels} != names[record]:
            return f"the truth of record `{record}` is not the same in both"
    return ""


def aligned(first: Contestant, a: Predictions, second: Contestant, b: Predictions) -> tuple[Decided, Decided]:
    """Return both predictions, decided, in the first one's order of records and classes.

    Raises:
        DataError: probabilities that are none.
    """
    place = {record: row for row, record in enumerate(b.ids)}
    rows = np.array([place[record] for record in a.ids])
    columns = [b.classes.index(name) for name in a.classes]
    groups = a.groups
    if groups is None and b.groups is not None:
        groups = tuple(b.groups[row] for row in rows)
    task = first.results["dataset"]["task"]
    truth = np.zeros(a.probabilities.shape, np.int64)
    for row, labels in enumerate(a.truth):
        truth[row, list(labels)] = 1
    targets = truth.argmax(axis=1) if task == "multiclass" else truth
    made = []
    for contestant, scores in ((first, a.probabilities), (second, b.probabilities[rows][:, columns])):
        chosen, threshold = _decisions(contestant, scores, a.classes)
        made.append(decided(targets, scores, a.classes, task, threshold=threshold, decisions=chosen, groups=groups))
    return made[0], made[1]


def _decisions(
    contestant: Contestant, scores: FloatArray, classes: tuple[str, ...]
) -> tuple[BoolArray | None, float | list[float]]:
    """Return what the run's operating point decides; without one None, and the run's threshold."""
    test = contestant.results["test"]
    name = test.get("operating_point", "default")
    for values in contestant.results.get("operating_points") or []:
        if values["name"] == name != "default":
            point = OperatingPoint.from_dict(values)
            order = [classes.index(label) for label in point.classes]
            chosen = np.zeros(scores.shape, bool)
            chosen[:, order] = point.decide(scores[:, order])
            return chosen, 0.5
    threshold = test.get("threshold")
    if isinstance(threshold, list):  # in the order of the run's own classes
        own = dict(zip(contestant.results["dataset"]["classes"], threshold, strict=True))
        return None, [own[label] for label in classes]
    return None, 0.5 if threshold is None else threshold
