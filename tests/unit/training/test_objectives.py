"""How a step's loss comes about: told heads, mixtures, students; each by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from ringlight.losses import CrossEntropy
from ringlight.losses.distillation import DistillationLoss
from ringlight.models.embedding import EmbeddingModel, Student
from ringlight.models.margins import ArcFace, CosFace
from ringlight.training.mixing import mixed_loss
from ringlight.training.objectives import Contrastive, Distilling, MarginObjective, Plain

INPUTS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
PAIRS = torch.tensor([[0, 1], [1, 2], [2, 2], [0, 2], [1, 0], [2, 1]])


def model_of(kind: Any = ArcFace, **params: Any) -> EmbeddingModel:
    torch.manual_seed(1)
    return EmbeddingModel(nn.Linear(4, 5), kind(5, 3, **params))


def test_the_plain_objective_is_the_criterion_of_the_logits() -> None:
    module, criterion = nn.Linear(4, 3), nn.CrossEntropyLoss()
    assert torch.equal(Plain().loss(module, criterion, INPUTS, PAIRS[:, 0]), criterion(module(INPUTS), PAIRS[:, 0]))
    mixed = Plain().mixed(module, criterion, INPUTS, PAIRS, 0.3)
    assert torch.equal(mixed, mixed_loss(criterion, module(INPUTS), PAIRS, 0.3))


def test_only_what_compares_records_cannot_be_divided() -> None:
    assert not Contrastive().divisible
    assert all(one.divisible for one in (Plain(), MarginObjective("multiclass"), Distilling(lambda x: (x, x))))


# --- margins ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "margin"), [(ArcFace, 0.4), (CosFace, 0.2)])
def test_of_a_mixed_record_each_class_wins_by_the_margin_in_its_own_logits(kind: Any, margin: float) -> None:
    module, criterion = model_of(kind, scale=8.0, margin=margin), nn.CrossEntropyLoss()
    z, (a, b) = module.embed(INPUTS), PAIRS.unbind(1)
    by_hand = 0.3 * criterion(module.head(z, a), a) + 0.7 * criterion(module.head(z, b), b)
    objective = MarginObjective("multiclass")
    torch.testing.assert_close(objective.mixed(module, criterion, INPUTS, PAIRS, 0.3), by_hand)
    assert by_hand > mixed_loss(criterion, module(INPUTS), PAIRS, 0.3), "a margin makes it harder"
    told = objective.loss(module, criterion, INPUTS, a)
    assert torch.equal(told, criterion(module.head(z, a), a))
    assert torch.equal(objective.mixed(module, criterion, INPUTS, PAIRS, 1.0), told)


def test_without_a_margin_a_mixture_is_the_ordinary_one() -> None:
    module, criterion = model_of(scale=8.0, margin=0.0), nn.CrossEntropyLoss()
    mixed = MarginObjective("multiclass").mixed(module, criterion, INPUTS, PAIRS, 0.3)
    torch.testing.assert_close(mixed, mixed_loss(criterion, module(INPUTS), PAIRS, 0.3))


def test_several_labels_a_record_are_not_told() -> None:
    module, criterion = model_of(scale=8.0, margin=0.4), nn.BCEWithLogitsLoss()
    pairs = F.one_hot(PAIRS, 3).float()
    objective = MarginObjective("multilabel")
    told = objective.loss(module, criterion, INPUTS, pairs[:, 0])
    assert torch.equal(told, criterion(module(INPUTS), pairs[:, 0]))
    mixed = objective.mixed(module, criterion, INPUTS, pairs, 0.3)
    assert torch.equal(mixed, mixed_loss(criterion, module(INPUTS), pairs, 0.3))


# --- a student --------------------------------------------------------------------------------------------------------


class Asked:
    """A teacher that keeps what it was asked."""

    def __init__(self) -> None:
        torch.manual_seed(2)
        self.trunk, self.head = nn.Linear(4, 7), nn.Linear(7, 3)
        self.asked: list[Tensor] = []

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        self.asked.append(inputs)
        with torch.no_grad():
            return self.head(self.trunk(inputs)), self.trunk(inputs)


def student_of(criterion: DistillationLoss) -> Student:
    torch.manual_seed(1)
    return Student(nn.Linear(4, 5), nn.Linear(5, 3), criterion.projection)


def by_hand(student: Student, teacher: Asked, hard: Tensor, *, features: float = 0.0) -> Tensor:
    """Half the hard loss, and half 4^2 KL(teacher || student) at T = 4, and the distance of unit embeddings."""
    z, t = student.trunk(INPUTS), teacher.trunk(INPUTS).detach()
    p, q = (F.softmax(logits / 4.0, dim=1) for logits in (teacher.head(t).detach(), student.head(z)))
    total = 0.5 * hard + 0.5 * 16 * (p * (p.log() - q.log())).sum(dim=1).mean()
    if student.projection is not None:
        r = student.projection(z)
        gap = r / r.norm(dim=1, keepdim=True) - t / t.norm(dim=1, keepdim=True)
        total = total + features * gap.square().sum(dim=1).mean()
    return total


@pytest.mark.parametrize("features", [0.0, 0.25])
def test_a_student_minimises_the_labels_loss_and_the_distance_to_its_teacher(features: float) -> None:
    criterion = DistillationLoss(
        CrossEntropy(3), feature_weight=features, num_student_features=5, num_teacher_features=7
    )
    student, teacher = student_of(criterion), Asked()
    targets = PAIRS[:, 0]
    expected = by_hand(student, teacher, F.cross_entropy(student(INPUTS), targets), features=features)
    torch.testing.assert_close(Distilling(teacher).loss(student, criterion, INPUTS, targets), expected)


def test_the_teacher_sees_the_mixture_that_the_student_sees() -> None:
    criterion = DistillationLoss(CrossEntropy(3))
    student, teacher = student_of(criterion), Asked()
    scores = student(INPUTS)
    hard = 0.3 * F.cross_entropy(scores, PAIRS[:, 0]) + 0.7 * F.cross_entropy(scores, PAIRS[:, 1])
    loss = Distilling(teacher).mixed(student, criterion, INPUTS, PAIRS, 0.3)
    torch.testing.assert_close(loss, by_hand(student, teacher, hard))
    assert len(teacher.asked) == 1
    assert teacher.asked[0] is INPUTS
    loss.backward()
    assert all(one.grad is None for one in (*teacher.trunk.parameters(), *teacher.head.parameters()))


def test_a_loss_without_a_student_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(TypeError, match="expected a Student and its DistillationLoss, got Linear"):
        Distilling(Asked()).loss(nn.Linear(4, 3), DistillationLoss(CrossEntropy(3)), INPUTS, PAIRS[:, 0])
