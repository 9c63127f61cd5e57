"""What is wrong with an operating point's configuration, known before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ringlight.errors import did_you_mean
from ringlight.types import Task

KINDS = ("max_f1", "recall_at_least", "precision_at_least", "min_cost")
"""What an operating point can be made for."""


def point_problems(
    kind: str,
    *,
    label: str | None,
    target: float | None,
    escape_cost: float | None,
    overkill_cost: float | None,
    classes: Sequence[str],
    task: Task,
    good_class: str | None,
    prevalence: float | None = None,
) -> list[str]:
    """Return what is wrong with a point's configuration, a line each: `key: expected ..., got ...; what to do`.

    Examples:
        >>> point_problems("recall_at_least", label="scrach", target=98, escape_cost=None, overkill_cost=None,
        ...                classes=["good", "scratch"], task="multiclass", good_class="good")[0]
        'label: expected a class of the data set, got `scrach`; did you mean `scratch`?'
    """
    if kind not in KINDS:
        return [f"kind: expected a kind of operating point, got `{kind}`; {did_you_mean(kind, KINDS)}"]
    lines = _label_problems(kind, label, classes, task) + _target_problems(kind, target)
    if kind != "min_cost":
        return lines
    if task == "multiclass" and good_class is None:
        lines.append("good_class: expected the class of good parts, got none; set evaluation.good_class")
    elif task == "multiclass" and good_class not in classes:
        lines.append(
            f"good_class: expected a class of the data set, got `{good_class}`; "
            f"{did_you_mean(str(good_class), classes)}"
        )
    lines += _cost_problems(escape_cost, overkill_cost)
    if prevalence is not None and not 0 < prevalence < 1:
        lines.append(
            f"prevalence: expected a number in (0, 1), got {prevalence:g}; 0.01 is one defective part in a hundred"
        )
    return lines


def _label_problems(kind: str, label: str | None, classes: Sequence[str], task: Task) -> list[str]:
    if label is None:
        if kind in ("recall_at_least", "precision_at_least") and task == "multiclass":
            return [f"label: expected the class whose {kind.split('_')[0]} counts, got none; name one of the classes"]
        return []
    if label not in classes:
        return [f"label: expected a class of the data set, got `{label}`; {did_you_mean(label, classes)}"]
    if kind == "min_cost" and task == "multiclass":
        return [f"label: expected none for min_cost, got `{label}`; the class of good parts decides: set good_class"]
    return []


def _target_problems(kind: str, target: float | None) -> list[str]:
    if kind not in ("recall_at_least", "precision_at_least"):
        return [] if target is None else [f"target: expected none for {kind}, got {target:g}; leave it out"]
    if target is None:
        return [f"target: expected the {kind.split('_')[0]} to reach, got none; set one such as 0.98"]
    if not 0 < target < 1:
        return [f"target: expected a number in (0, 1), got {target:g}; 98 % is 0.98"]
    return []


def _cost_problems(escape_cost: float | None, overkill_cost: float | None) -> list[str]:
    lines = []
    for key, cost in (("escape_cost", escape_cost), ("overkill_cost", overkill_cost)):
        if cost is None:
            lines.append(f"{key}: expected a cost, got none; set it in any currency, or in units of the other cost")
        elif not (math.isfinite(cost) and cost >= 0):
            lines.append(f"{key}: expected a cost of 0 or more, got {cost:g}; correct the value")
    if not lines and escape_cost == 0 and overkill_cost == 0:
        lines.append("escape_cost: expected a cost above 0 for one of the two, got 0 for both; set what a miss costs")
    return lines
