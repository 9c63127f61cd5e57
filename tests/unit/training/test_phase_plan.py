"""The plan of a phase: the run's, with what the phase changes built anew; steps become epochs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ringlight.data.augment import Augmenter
from ringlight.models.lora import has_lora
from ringlight.training.feeding import num_batches
from ringlight.training.phase_plan import phase_plan, student_plan
from ringlight.training.plan import Plan

PlanOf = Callable[..., Plan]
THREE = ("phases=[supcon,margin,distill]", "split.leak_probe=false", "augmentation=none")


def test_a_phase_without_changes_is_the_runs_but_for_its_epochs(plan_of: PlanOf) -> None:
    plan = plan_of(*THREE, "margin.num_epochs=3", "augmentation=light")
    made = phase_plan(plan, "margin")
    assert made.config.training.num_epochs == 3
    assert made.augmenter is plan.augmenter
    assert (made.dataset, made.split, made.spec, made.criterion) == (
        plan.dataset, plan.split, plan.spec, plan.criterion
    )  # fmt: skip


def test_a_phases_augmentation_is_built_anew(plan_of: PlanOf) -> None:
    plan = plan_of(*THREE, "supcon.augmentation={horizontal_flip: 0.5}", "data.augment_on=cpu")
    made = phase_plan(plan, "supcon")
    assert plan.augmenter is None or not plan.augmenter.enabled
    assert isinstance(made.augmenter, Augmenter)
    assert list(made.augmenter.enabled) == ["horizontal_flip"]
    assert made.augmenter is not plan.augmenter


@pytest.mark.parametrize(
    ("overrides", "steps", "epochs"),
    [
        ((), 1, 1),  # 10 records in batches of 4: 3 an epoch
        ((), 3, 1),
        ((), 4, 2),
        (("data.batch_size=3",), 4, 2),  # one that would be alone in the fourth batch is left out
        (("training.accumulate_steps=2",), 4, 2),  # 2 steps of 2 and 1 batches
    ],
)
def test_steps_become_whole_epochs_rounded_up(
    plan_of: PlanOf, overrides: tuple[str, ...], steps: int, epochs: int
) -> None:
    plan = plan_of(*THREE, *overrides, f"margin.steps={steps}")
    assert len(plan.part("train")) == 10
    assert phase_plan(plan, "margin").config.training.num_epochs == epochs


def test_views_leave_no_single_record_over(plan_of: PlanOf) -> None:
    """The last batch of 10 records in batches of 3 holds two views of one: 4 batches an epoch."""
    plan = plan_of(*THREE, "data.batch_size=3", "supcon.steps=8")
    assert phase_plan(plan, "supcon").config.training.num_epochs == 2
    assert num_batches(20, 6) == 4


def test_the_student_is_another_model_for_the_same_pictures(plan_of: PlanOf) -> None:
    plan = phase_plan(plan_of(*THREE, "distill.model={name: resnet18}", "loss.name=evidential"), "distill")
    made = student_plan(plan)
    assert made.module is not plan.module
    assert type(made.module.get_classifier()).__name__ == "EvidentialHead"  # type: ignore[operator]
    assert made.config.model.name == "resnet18"
    assert made.config.model.pretrained is False
    assert made.weights.source == "random"
    assert made.spec == plan.spec


def test_a_student_has_the_adapters_that_its_configuration_asks_for(plan_of: PlanOf) -> None:
    student = "distill.model={name: resnet10t, lora: {rank: 2}}"
    assert has_lora(student_plan(phase_plan(plan_of(*THREE, student), "distill")).module)


def test_the_student_of_windows_is_a_sequence_model(plan_of: PlanOf) -> None:
    settings: Any = (
        "data.image_size=null", "data.num_windows=24", "data.length=64", "data.windows_per_recording=2",
        "phases=[distill]", "distill.teacher=src", "distill.model={name: gru}", "split.leak_probe=false",
        "augmentation=none", "model.name=cnn1d",
    )  # fmt: skip
    plan = plan_of(*settings, recipe="air_leak", root=None)
    made = student_plan(phase_plan(plan, "distill"))
    assert made.config.model.name == "gru"
    assert made.spec is plan.spec
