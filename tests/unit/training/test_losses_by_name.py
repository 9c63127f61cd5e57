"""Losses whose parameters name classes, from the configuration to a training."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from ringlight.errors import ConfigError
from ringlight.training.learners import learner_of
from ringlight.training.plan import Plan
from ringlight.training.trackers import QuietControl, QuietTracker
from ringlight.types import History

PlanOf = Callable[..., Plan]


def fit(plan: Plan, folder: Path) -> History:
    learner = learner_of(plan, folder, lambda *_: None)
    val = plan.part("val")
    return learner.fit(plan.part("train"), val, tracker=QuietTracker(), control=QuietControl(), resume=None)


@pytest.mark.parametrize("mode", ["finetune", "frozen"])
def test_leaks_are_named_and_the_run_trains(plan_of: PlanOf, tmp_path: Path, mode: str) -> None:
    plan = plan_of("loss.name=leak_aware_loss", "loss.leak_classes=[bright,middle]", f"training.mode={mode}")
    named = [plan.dataset.classes[number] for number in plan.criterion.get_params()["leak_classes"]]
    assert sorted(named) == ["bright", "middle"]
    assert all(math.isfinite(row["val/loss"]) for row in fit(plan, tmp_path).rows)


def test_the_good_class_of_the_evaluation_is_no_leak(plan_of: PlanOf) -> None:
    plan = plan_of("loss.name=leak_aware_loss", "evaluation.good_class=middle")
    leaks = plan.criterion.get_params()["leak_classes"]
    assert plan.dataset.classes.index("middle") not in leaks
    assert len(leaks) == 2


def test_costs_and_weights_are_given_by_name(plan_of: PlanOf, tmp_path: Path) -> None:
    plan = plan_of("loss.name=cost_sensitive", "loss.costs={dark: {bright: 20}}", "loss.cross_entropy_weight=0.5")
    dark, bright = (plan.dataset.classes.index(name) for name in ("dark", "bright"))
    costs = plan.criterion.get_params()["costs"]
    assert costs[dark][bright] == 20.0
    assert costs[bright][dark] == 1.0
    assert all(math.isfinite(row["train/loss"]) for row in fit(plan, tmp_path).rows)
    weighted = plan_of("loss.name=weighted_categorical_crossentropy", "loss.weights={dark: 3, 2: 1.5}")
    assert weighted.criterion.get_params()["weights"][dark] == (3.0 if dark != 2 else 1.5)


def test_a_class_that_does_not_exist_is_one_line(plan_of: PlanOf) -> None:
    with pytest.raises(ConfigError, match=r"loss\.leak_classes: expected a class of the data set, by name or number"):
        plan_of("loss.name=leak_aware_loss", "loss.leak_classes=[purple]")
