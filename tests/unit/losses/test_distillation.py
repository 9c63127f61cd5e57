"""Distillation: by hand, by a naive loop, by torch's distributions and SciPy."""

from __future__ import annotations

import json
import math

import pytest
import torch
from scipy.special import rel_entr
from torch.distributions import Bernoulli, Categorical, kl_divergence

from ringlight.errors import ConfigError, DataError
from ringlight.losses import LDAM, BCEWithLogits, CrossEntropy, DistillationLoss, Evidential, FocalLoss

GENERATOR = torch.Generator().manual_seed(8)
STUDENT = torch.randn(5, 3, generator=GENERATOR) * 2
TEACHER = torch.randn(5, 3, generator=GENERATOR) * 3
CLASSES = torch.tensor([0, 1, 2, 2, 1])
LABELS = torch.eye(3)[CLASSES]


def only_soft(hard: torch.nn.Module, temperature: float) -> DistillationLoss:
    return DistillationLoss(hard, temperature=temperature, hard_weight=0.0, soft_weight=1.0)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_soft_term_equals_a_naive_loop_torchs_categorical_and_scipy(temperature: float) -> None:
    told = only_soft(CrossEntropy(3), temperature)(STUDENT, TEACHER, CLASSES)
    total = 0.0
    for s, t in zip(STUDENT.double().tolist(), TEACHER.double().tolist(), strict=True):
        p = [math.exp(value / temperature) for value in t]
        q = [math.exp(value / temperature) for value in s]
        total += sum(a / sum(p) * math.log((a / sum(p)) / (b / sum(q))) for a, b in zip(p, q, strict=True))
    assert float(told) == pytest.approx(temperature**2 * total / 5, rel=1e-5)
    divergence = kl_divergence(Categorical(logits=TEACHER / temperature), Categorical(logits=STUDENT / temperature))
    torch.testing.assert_close(told, temperature**2 * divergence.mean())
    p, q = ((logits.double() / temperature).softmax(dim=1).numpy() for logits in (TEACHER, STUDENT))
    assert float(told) == pytest.approx(temperature**2 * rel_entr(p, q).sum(axis=1).mean(), rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_several_labels_equal_a_naive_loop_and_torchs_bernoulli(temperature: float) -> None:
    told = only_soft(BCEWithLogits(3), temperature)(STUDENT, TEACHER, LABELS)
    total = 0.0
    for s, t in zip(STUDENT.flatten().double().tolist(), TEACHER.flatten().double().tolist(), strict=True):
        p, q = 1 / (1 + math.exp(-t / temperature)), 1 / (1 + math.exp(-s / temperature))
        total += p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    assert float(told) == pytest.approx(temperature**2 * total / 15, rel=1e-5)
    divergence = kl_divergence(Bernoulli(logits=TEACHER / temperature), Bernoulli(logits=STUDENT / temperature))
    torch.testing.assert_close(told, temperature**2 * divergence.mean())


def test_a_student_that_is_its_teacher_has_no_soft_loss() -> None:
    assert float(only_soft(CrossEntropy(3), 4.0)(TEACHER, TEACHER, CLASSES)) == pytest.approx(0.0, abs=1e-6)


def test_when_hot_its_gradient_is_the_difference_of_logits_whatever_the_temperature() -> None:
    """Equation 4 of the paper times T^2: (z - v) / K for logits of mean 0; without T^2 it would fade."""
    student = (STUDENT - STUDENT.mean(dim=1, keepdim=True)).requires_grad_()
    teacher = TEACHER - TEACHER.mean(dim=1, keepdim=True)
    for temperature in (100.0, 300.0):
        (gradient,) = torch.autograd.grad(only_soft(CrossEntropy(3), temperature)(student, teacher, CLASSES), student)
        torch.testing.assert_close(gradient, (student.detach() - teacher) / 3 / 5, rtol=0.02, atol=5e-3)


@pytest.mark.parametrize("hard", [CrossEntropy(3), FocalLoss(3, task="multiclass", alpha=None), Evidential(3)])
def test_the_parts_add_up_with_their_weights_over_any_hard_loss(hard: torch.nn.Module) -> None:
    loss = DistillationLoss(
        hard, temperature=2.0, hard_weight=0.3, soft_weight=0.6, feature_weight=0.1, num_student_features=4,
        num_teacher_features=2,
    )  # fmt: skip
    ours, theirs = torch.randn(5, 4, generator=GENERATOR), torch.randn(5, 2, generator=GENERATOR)
    told = loss(STUDENT, TEACHER, CLASSES, ours, theirs)
    expected = 0.3 * hard(STUDENT, CLASSES) + 0.6 * loss.soft(STUDENT, TEACHER) + 0.1 * loss.hint(ours, theirs)
    torch.testing.assert_close(told, expected)
    assert json.loads(json.dumps(loss.get_params()))["hard"]["name"] == hard.name


def test_the_hint_equals_a_naive_loop_and_twice_the_cosine_distance() -> None:
    loss = DistillationLoss(CrossEntropy(3), feature_weight=1.0, num_student_features=4, num_teacher_features=2)
    ours, theirs = torch.randn(5, 4, generator=GENERATOR), torch.randn(5, 2, generator=GENERATOR) * 50
    weight, bias = loss.projection.weight.tolist(), loss.projection.bias.tolist()
    total = 0.0
    for s, t in zip(ours.tolist(), theirs.tolist(), strict=True):
        mapped = [sum(w * x for w, x in zip(row, s, strict=True)) + b for row, b in zip(weight, bias, strict=True)]
        total += sum((m / math.hypot(*mapped) - v / math.hypot(*t)) ** 2 for m, v in zip(mapped, t, strict=True))
    told = loss.hint(ours, theirs)
    assert told.item() == pytest.approx(total / 5, rel=1e-5)
    cosine = torch.nn.functional.cosine_similarity(loss.projection(ours), theirs)
    torch.testing.assert_close(told, (2 - 2 * cosine).mean())


def test_the_student_and_the_projection_learn_and_the_teacher_does_not() -> None:
    loss = DistillationLoss(CrossEntropy(3), feature_weight=1.0, num_student_features=3, num_teacher_features=3)
    student, teacher = STUDENT.clone().requires_grad_(), TEACHER.clone().requires_grad_()
    ours, theirs = STUDENT.clone().requires_grad_(), TEACHER.clone().requires_grad_()
    loss(student, teacher, CLASSES, ours, theirs).backward()
    assert {name for name, _ in loss.named_parameters()} == {"projection.weight", "projection.bias"}
    assert student.grad.any()
    assert ours.grad.any()
    assert loss.projection.weight.grad.any()
    assert teacher.grad is None
    assert theirs.grad is None


def test_progress_reaches_the_hard_loss_and_is_part_of_the_state() -> None:
    loss = DistillationLoss(LDAM(3, class_counts=[9, 4, 1]))
    loss.set_progress(9, 10)
    assert torch.equal(loss.hard.weight, loss.hard.late_weight)
    DistillationLoss(CrossEntropy(3)).set_progress(9, 10)
    twin = DistillationLoss(LDAM(3, class_counts=[9, 4, 1]))
    twin.load_state_dict(loss.state_dict())
    assert torch.equal(twin(STUDENT, TEACHER, CLASSES), loss(STUDENT, TEACHER, CLASSES))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("hard", [CrossEntropy(3), BCEWithLogits(3)])
def test_it_is_float32_and_finite_for_extreme_scores_and_missing_features(
    dtype: torch.dtype, hard: torch.nn.Module
) -> None:
    loss = DistillationLoss(hard, feature_weight=1.0, num_student_features=3, num_teacher_features=3)
    student = (STUDENT * 1e3).to(dtype).requires_grad_()
    nothing = torch.zeros(5, 3, dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        told = loss(
            student, (TEACHER * 1e3).to(dtype), CLASSES if hard.task == "multiclass" else LABELS, nothing, nothing
        )
    told.backward()
    assert told.dtype == torch.float32
    assert torch.isfinite(told)
    assert torch.isfinite(student.grad).all()
    assert torch.isfinite(nothing.grad).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0.0}, "distillation.temperature: expected a number above 0, got 0; correct the value"),
        (
            {"soft_weight": -1.0},
            "distillation.soft_weight: expected a number of 0 or more, got -1; correct the value",
        ),
        (
            {"hard_weight": 0.0, "soft_weight": 0.0},
            "distillation: expected a weight above 0, got none; set hard_weight or soft_weight to 0.5",
        ),
        (
            {"feature_weight": 1.0, "num_student_features": 4},
            "distillation.feature_weight: expected the widths of the student's and the teacher's features, got 4 and "
            "None; pass num_student_features and num_teacher_features",
        ),
    ],
)
def test_a_number_that_makes_no_sense_is_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        DistillationLoss(CrossEntropy(3), **arguments)
    assert str(caught.value) == message


def test_a_hard_loss_that_is_not_averaged_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"distillation\.hard: expected a loss that is averaged, got reduction=sum;"):
        DistillationLoss(CrossEntropy(3, reduction="sum"))


def test_a_teacher_of_other_classes_or_features_of_another_width_are_refused() -> None:
    loss = DistillationLoss(CrossEntropy(3), feature_weight=1.0, num_student_features=4, num_teacher_features=2)
    with pytest.raises(DataError) as caught:
        loss(STUDENT, torch.zeros(5, 4), CLASSES)
    assert str(caught.value) == (
        "distillation: expected teacher logits (5, 3), as the student's, got (5, 4); take a teacher of the same classes"
    )
    with pytest.raises(DataError) as caught:
        loss(STUDENT, TEACHER, CLASSES)
    assert str(caught.value) == (
        "distillation: expected features of student and teacher, got none; pass both, or set feature_weight to 0"
    )
    with pytest.raises(DataError) as caught:
        loss(STUDENT, TEACHER, CLASSES, torch.zeros(5, 4), torch.zeros(5, 3))
    assert str(caught.value) == (
        "distillation: expected features (B, 4) of the student, (B, 2) of the teacher, got (5, 4) and (5, 3); build "
        "the loss for the widths of the two models"
    )
