"""The learners of the phases: what stands behind the trunk, which batches they see, what they leave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ringlight.losses.distillation import DistillationLoss
from ringlight.models.embedding import EmbeddingModel, Projection, Student
from ringlight.models.evidential import EvidentialHead
from ringlight.models.heads import NeighborsHead, make_head
from ringlight.models.margins import ArcFace
from ringlight.training.objectives import Contrastive, Distilling, MarginObjective
from ringlight.training.phase_learners import DistillLearner, MarginLearner, SupConLearner
from ringlight.training.phase_plan import phase_plan, student_plan
from ringlight.training.plan import Plan

PlanOf = Callable[..., Plan]
THREE = ("phases=[supcon,margin,distill]", "split.leak_probe=false", "distill.model={name: resnet10t}")


def supcon_of(plan_of: PlanOf, folder: Path, *overrides: str) -> SupConLearner:
    plan = phase_plan(plan_of(*THREE, *overrides), "supcon")
    return SupConLearner.begin(plan, plan.module, folder, lambda *_: None)


@pytest.mark.parametrize("augment_on", ["cpu", "device"])
@pytest.mark.parametrize("augmented", [True, False])
def test_the_views_of_a_record_differ_where_they_are_augmented(
    plan_of: PlanOf, tmp_path: Path, augment_on: str, augmented: bool
) -> None:
    """A batch of 4 records holds 12 views, those of a record one after the other."""
    changed = "{brightness_contrast: {brightness: 0.5, contrast: 0.5, probability: 1.0}}" if augmented else "none"
    learner = supcon_of(
        plan_of, tmp_path, "supcon.num_views=3", f"supcon.augmentation={changed}", "augmentation=none",
        f"data.augment_on={augment_on}",
    )  # fmt: skip
    train = learner.plan.part("train")
    batch = next(iter(learner.feeder.train_loader(train, learner._sampler(train))))
    assert batch["index"].tolist() == batch["index"][::3].repeat_interleave(3).tolist()
    assert len(set(batch["index"].tolist())) == 4
    assert len(set(zip(batch["index"].tolist(), batch["copy"].tolist(), strict=True))) == 12
    made = learner.feeder.device_input(train)
    if made is not None:
        batch = made(batch, epoch=0, training=True, device=torch.device("cpu"))
    first, second, third = (batch["input"][view::3] for view in range(3))
    for one, other in ((first, second), (second, third)):
        same = [torch.equal(a, b) for a, b in zip(one, other, strict=True)]
        assert same == [not augmented] * 4


def test_a_contrastive_phase_ends_in_a_vote_of_the_training_records(plan_of: PlanOf, tmp_path: Path) -> None:
    learner = supcon_of(plan_of, tmp_path, "supcon.num_neighbors=3", "supcon.projection_dim=8")
    parts, train = learner.module, learner.plan.part("train")
    assert isinstance(parts, EmbeddingModel)
    assert isinstance(parts.head, Projection)
    assert isinstance(learner.objective, Contrastive)
    assert parts.head.layers[2].out_features == 8
    whole = learner.close(train)
    head: Any = whole.get_classifier()  # type: ignore[operator]
    assert isinstance(head, NeighborsHead)
    assert len(head.features) == len(train)
    make_head(learner.head_spec, 512, 3).load_state_dict(head.state_dict())
    guess = learner.predict(train).logits.argmax(1)
    assert guess.shape == (len(train),)
    assert not any(tensor.is_inference() for tensor in whole.state_dict().values()), "it can be trained on"


def test_a_large_training_part_votes_by_a_sample_that_is_drawn_once(plan_of: PlanOf, tmp_path: Path) -> None:
    learner = supcon_of(plan_of, tmp_path)
    train = learner.plan.part("train")
    assert learner._bank(train) is train
    learner.plan.config.supcon.__dict__["bank_size"] = 4
    some = learner._bank(train)
    assert len(some) == 4
    assert list(some.ids) == list(learner._bank(train).ids)
    assert [loader.dataset.dataset.ids for loader in learner._judged_loaders(train, some)] == [some.ids, some.ids]


@pytest.mark.parametrize("loss", ["cross_entropy", "evidential"])
def test_a_margin_phase_ends_in_its_head(plan_of: PlanOf, tmp_path: Path, loss: str) -> None:
    plan = phase_plan(plan_of(*THREE, f"loss.name={loss}", "margin.margin=0.25", "margin.scale=8"), "margin")
    learner = MarginLearner.begin(plan, plan.module, tmp_path, lambda *_: None)
    assert isinstance(learner.module, EmbeddingModel)
    head: Any = learner.module.head
    assert isinstance(head, EvidentialHead if loss == "evidential" else ArcFace)
    assert isinstance(learner.objective, MarginObjective)
    data = plan.part("val")
    before = learner.predict(data).logits
    assert learner.close(plan.part("train")).get_classifier() is head  # type: ignore[operator]
    np.testing.assert_array_equal(learner.predict(data).logits, before)


def test_a_student_is_judged_by_the_runs_loss_and_leaves_its_projection_behind(plan_of: PlanOf, tmp_path: Path) -> None:
    plan = phase_plan(plan_of(*THREE, "distill.feature_weight=0.5", "distill.temperature=2"), "distill")
    taught = student_plan(plan)

    def teacher(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(len(inputs), 3), torch.zeros(len(inputs), 7)

    learner = DistillLearner.begin(taught, taught.module, tmp_path, lambda *_: None, teacher=teacher, teacher_width=7)
    assert isinstance(learner.module, Student)
    assert isinstance(learner.module.projection, nn.Linear)
    assert learner.module.projection.weight.shape == (7, 512)
    assert isinstance(learner.criterion, DistillationLoss)
    assert (learner.criterion.hard, learner.criterion.temperature) == (plan.criterion, 2.0)
    assert learner.val_criterion is plan.criterion
    assert isinstance(learner.objective, Distilling)
    whole = learner.close(plan.part("train"))
    assert "projection.weight" not in whole.state_dict()


def test_a_model_that_was_put_together_is_not_closed_twice(plan_of: PlanOf, tmp_path: Path) -> None:
    plan = phase_plan(plan_of(*THREE), "margin")
    learner = MarginLearner.begin(plan, plan.module, tmp_path, lambda *_: None)
    learner.close(plan.part("train"))
    with pytest.raises(TypeError, match="expected an EmbeddingModel, got ResNet"):
        learner.close(plan.part("train"))
