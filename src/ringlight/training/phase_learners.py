"""The phases of a run, each an ordinary training of a model that was taken apart for it.

Every phase begins with a whole model and ends with one: trunk and last layer are put together again, so that what a
phase leaves is judged, saved, loaded and gone on from like any model.

N records, D embedding, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import nn

from ringlight.data.sampling import EpochSampler
from ringlight.data.sampling_views import ViewsSampler
from ringlight.losses import CONTRASTIVE
from ringlight.losses.distillation import DistillationLoss
from ringlight.models.embedding import EmbeddingModel, Projection, Student, put_together, take_apart
from ringlight.models.evidential import EvidentialHead
from ringlight.models.heads import num_features_of
from ringlight.models.margin_base import MarginHead
from ringlight.models.margins import MARGINS
from ringlight.runtime import quiet_libraries
from ringlight.training.contrastive import ContrastiveTask, VoteLoss, head_spec, neighbors_head
from ringlight.training.feeding import Feeder
from ringlight.training.learner import DeepLearner
from ringlight.training.objectives import Contrastive, Distilling, MarginObjective, Objective, Teacher
from ringlight.training.task import ClassificationTask
from ringlight.types import Dataset, History, Prediction

if TYPE_CHECKING:
    from ringlight.training.plan import Plan

OnEpoch = Callable[[History, Prediction | None], None]


class PhaseLearner(DeepLearner):
    """A learner whose module is taken apart for the training; :meth:`close` puts it together."""

    val_criterion: nn.Module | None = None

    def close(self, train: Dataset) -> nn.Module:
        """Put the trained parts together into a whole model, which the learner then has, and return it."""
        parts = self.module
        if not isinstance(parts, EmbeddingModel):
            raise TypeError(f"expected an EmbeddingModel, got {type(parts).__name__}")
        self.module = put_together(parts.trunk, self.last_layer(parts, train))
        return self.module

    def last_layer(self, parts: EmbeddingModel, train: Dataset) -> nn.Module:  # noqa: ARG002 - for one that is fitted
        """Return what stands behind the trunk in the end."""
        return parts.head

    def finish(self, train: Dataset) -> None:
        """Leave out what follows an ordinary training: it would act on a model that is taken apart."""

    def _task(self, *args: Any, **chosen: Any) -> ClassificationTask:
        task = super()._task(*args, **chosen)
        task.val_criterion = self.val_criterion
        return task


class SupConLearner(PhaseLearner):
    """Trains trunk and projection so that views of a record, and records of a class, lie close together.

    Its whole model ends in a vote of the nearest training records.
    """

    @classmethod
    def begin(cls, plan: Plan, whole: nn.Module, folder: Path, on_epoch: OnEpoch) -> Self:
        """Take `whole` apart; a projection stands in the place of its last layer."""
        phase, width = plan.config.supcon, num_features_of(whole)
        trunk, _ = take_apart(whole)
        head = Projection(width, phase.projection_dim, hidden=phase.projection_hidden)
        criterion = CONTRASTIVE.build(phase.loss, temperature=phase.temperature)
        made = replace(plan, module=EmbeddingModel(trunk, head), criterion=criterion)
        learner = cls.from_plan(made, folder, on_epoch)
        learner.val_criterion = VoteLoss(learner.task)
        if phase.num_views > 1 and learner.augmenter is None:
            learner.notes.append(
                "without augmentation the views of a record are one and the same (supcon.augmentation)"
            )
        learner.feeder = Feeder(
            learner.spec, learner.device, config=plan.config, augmenter=learner.augmenter,
            batch_size=int(plan.config.data.batch_size) * phase.num_views,
        )  # fmt: skip
        return learner

    @property
    def objective(self) -> Objective:
        """How the loss of a step comes about."""
        return Contrastive()

    def last_layer(self, parts: EmbeddingModel, train: Dataset) -> nn.Module:
        """Return a vote of the nearest training records."""
        bank, phase = self._bank(train), self.plan.config.supcon
        parts = parts.to(self.device.device).eval()
        with quiet_libraries(), torch.inference_mode():
            embedded = [
                parts.embed(batch["input"].to(self.device.device)).float() for batch in self.feeder.loader(bank)
            ]
        kind = torch.int64 if self.task == "multiclass" else torch.float32
        truth = torch.as_tensor(np.asarray(bank.targets()), dtype=kind, device=self.device.device)
        vectors = torch.cat(embedded).clone()  # a tensor of inference mode could not be part of a model
        head = neighbors_head(vectors, truth, len(self.classes), phase.num_neighbors, self.task)
        self.head_spec = head_spec(head)
        return head

    def _bank(self, train: Dataset) -> Dataset:
        """Return the training records that may vote: all, or as many as were asked for, drawn once."""
        limit = self.plan.config.supcon.bank_size
        if len(train) <= limit:
            return train
        drawn = np.random.default_rng(self.plan.config.experiment.seed).permutation(len(train))[:limit]
        return train.take(np.sort(drawn))

    def _judged_loaders(self, train: Dataset, val: Dataset) -> Sequence[Any]:
        return (self.feeder.val_loader(self._bank(train)), self.feeder.val_loader(val))

    def _sampler(self, train: Dataset) -> EpochSampler | None:
        records = super()._sampler(train)
        return None if records is None else ViewsSampler(records, num_views=self.plan.config.supcon.num_views)

    def _task_kind(self) -> type[ClassificationTask]:
        return ContrastiveTask

    def _task(self, *args: Any, **chosen: Any) -> ClassificationTask:
        task, phase = super()._task(*args, **chosen), self.plan.config.supcon
        if isinstance(task, ContrastiveTask):
            task.by_record, task.num_neighbors = phase.loss == "nt_xent", phase.num_neighbors
        return task


class MarginLearner(PhaseLearner):
    """Trains trunk and a head that keeps classes a margin apart, with the run's loss."""

    @classmethod
    def begin(cls, plan: Plan, whole: nn.Module, folder: Path, on_epoch: OnEpoch) -> Self:
        """Take `whole` apart; a new head stands in the place of its last layer."""
        phase, width = plan.config.margin, num_features_of(whole)
        trunk, _ = take_apart(whole)
        head: nn.Module = MARGINS.build(
            phase.head, in_features=width, out_features=len(plan.dataset.classes), **phase.params()
        )
        if isinstance(head, MarginHead) and plan.config.loss.name == "evidential":
            head = EvidentialHead(head)
        return cls.from_plan(replace(plan, module=EmbeddingModel(trunk, head)), folder, on_epoch)

    @property
    def objective(self) -> Objective:
        """How the loss of a step comes about."""
        return MarginObjective(self.task)


class DistillLearner(PhaseLearner):
    """Trains a student against the labels and against a teacher that is not changed."""

    teacher: Teacher

    @classmethod
    def begin(
        cls, plan: Plan, whole: nn.Module, folder: Path, on_epoch: OnEpoch, *, teacher: Teacher, teacher_width: int
    ) -> Self:
        """Take the student apart; `teacher_width` is the length of the teacher's embedding."""
        phase, width = plan.config.distill, num_features_of(whole)
        trunk, head = take_apart(whole)
        criterion = DistillationLoss(
            plan.criterion, temperature=phase.temperature, hard_weight=phase.hard_weight,
            soft_weight=phase.soft_weight, feature_weight=phase.feature_weight, num_student_features=width,
            num_teacher_features=teacher_width,
        )  # fmt: skip
        made = replace(plan, module=Student(trunk, head, criterion.projection), criterion=criterion)
        learner = cls.from_plan(made, folder, on_epoch)
        learner.val_criterion = plan.criterion
        learner.teacher = teacher
        return learner

    @property
    def objective(self) -> Objective:
        """How the loss of a step comes about."""
        return Distilling(self.teacher)
