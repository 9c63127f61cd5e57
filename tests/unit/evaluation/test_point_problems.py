"""A point that makes no sense is refused before training, in a line that says what to write instead."""

from __future__ import annotations

from typing import Any

import pytest

from ringlight.evaluation.point_kinds import FIXERS
from ringlight.evaluation.point_problems import KINDS, point_problems

PLAIN: dict[str, Any] = {
    "label": None, "target": None, "escape_cost": None, "overkill_cost": None, "classes": ("good", "scratch"),
    "task": "multiclass", "good_class": "good",
}  # fmt: skip
COSTS: dict[str, Any] = {"escape_cost": 10.0, "overkill_cost": 1.0}


@pytest.mark.parametrize(
    ("kind", "change", "line"),
    [
        ("max_f2", {}, "kind: expected a kind of operating point, got `max_f2`; did you mean `max_f1`?"),
        (
            "max_f1",
            {"label": "scrach"},
            "label: expected a class of the data set, got `scrach`; did you mean `scratch`?",
        ),
        ("max_f1", {"target": 0.9}, "target: expected none for max_f1, got 0.9; leave it out"),
        (
            "recall_at_least",
            {"target": 0.9},
            "label: expected the class whose recall counts, got none; name one of the classes",
        ),
        (
            "precision_at_least",
            {"label": "scratch"},
            "target: expected the precision to reach, got none; set one such as 0.98",
        ),
        (
            "recall_at_least",
            {"label": "scratch", "target": 98},
            "target: expected a number in (0, 1), got 98; 98 % is 0.98",
        ),
        (
            "recall_at_least",
            {"label": "scratch", "target": 1.0},
            "target: expected a number in (0, 1), got 1; 98 % is 0.98",
        ),
        (
            "recall_at_least",
            {"label": "scratch", "target": float("nan")},
            "target: expected a number in (0, 1), got nan; 98 % is 0.98",
        ),
        (
            "min_cost",
            COSTS | {"good_class": None},
            "good_class: expected the class of good parts, got none; set evaluation.good_class",
        ),
        (
            "min_cost",
            COSTS | {"good_class": "goood"},
            "good_class: expected a class of the data set, got `goood`; did you mean `good`?",
        ),
        (
            "min_cost",
            COSTS | {"label": "scratch"},
            "label: expected none for min_cost, got `scratch`; the class of good parts decides: set good_class",
        ),
        (
            "min_cost",
            {"overkill_cost": 1.0},
            "escape_cost: expected a cost, got none; set it in any currency, or in units of the other cost",
        ),
        (
            "min_cost",
            COSTS | {"overkill_cost": -1.0},
            "overkill_cost: expected a cost of 0 or more, got -1; correct the value",
        ),
        (
            "min_cost",
            COSTS | {"escape_cost": float("inf")},
            "escape_cost: expected a cost of 0 or more, got inf; correct the value",
        ),
        (
            "min_cost",
            {"escape_cost": 0.0, "overkill_cost": 0.0},
            "escape_cost: expected a cost above 0 for one of the two, got 0 for both; set what a miss costs",
        ),
        (
            "min_cost",
            COSTS | {"prevalence": 1.0},
            "prevalence: expected a number in (0, 1), got 1; 0.01 is one defective part in a hundred",
        ),
    ],
)
def test_each_fault_is_one_line(kind: str, change: dict[str, Any], line: str) -> None:
    assert point_problems(kind, **(PLAIN | change)) == [line]


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("max_f1", {}),
        ("max_f1", {"label": "scratch"}),
        ("max_f1", COSTS),
        ("recall_at_least", {"label": "scratch", "target": 0.98}),
        ("recall_at_least", {"target": 0.98, "task": "multilabel", "good_class": None}),
        ("precision_at_least", {"target": 0.98, "task": "multilabel", "good_class": None}),
        ("min_cost", COSTS),
        ("min_cost", COSTS | {"task": "multilabel", "good_class": None, "label": "scratch"}),
    ],
)
def test_a_sound_point_has_no_faults(kind: str, change: dict[str, Any]) -> None:
    assert point_problems(kind, **(PLAIN | change)) == []


def test_faults_are_told_together() -> None:
    assert len(point_problems("min_cost", **(PLAIN | {"good_class": None, "target": 0.5, "prevalence": 2.0}))) == 5


def test_every_kind_can_be_fixed() -> None:
    assert set(FIXERS) == set(KINDS)
