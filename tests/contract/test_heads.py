"""What every head of the catalogue promises, run on each, for one label a record and for any number."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

import ringlight.training
from ringlight.config.schema import HeadConfig
from ringlight.losses import LOSSES
from ringlight.models import build_model
from ringlight.models.heads import features_before_head, install_head, make_head, set_linear, shift_scores
from ringlight.training.head_problem import Fitted, Problem
from ringlight.training.heads import HEADS, LINEAR
from ringlight.training.linear_fit import targets_tensor
from ringlight.types import Task

TASKS: tuple[Task, ...] = get_args(Task)
PLAIN = {"multiclass": "cross_entropy", "multilabel": "bce_with_logits"}
CASES = [(name, task) for name in HEADS for task in TASKS]
NUM, WIDE, CLASSES = 48, 24, 3
POOLED = 512
"""What reaches the classifier of a resnet10t."""


def make_problem(
    task: Task, *, num_folds: int = 3, weights: Tensor | None = None, classes: int = CLASSES, wide: int = WIDE
) -> Problem:
    rng = np.random.default_rng(0)
    first = np.arange(NUM) % classes
    signal = np.eye(classes)[first]
    if task == "multilabel":
        signal = (rng.random((NUM, classes)) < 0.4).astype(float)
    values = rng.normal(size=(NUM, wide)).clip(0) + 2 * signal @ rng.normal(size=(classes, wide)).clip(0)
    order = rng.permutation(NUM)
    parts = np.array_split(order, num_folds) if num_folds else []
    return Problem(
        features=torch.tensor(values, dtype=torch.float32),
        targets=targets_tensor(first if task == "multiclass" else signal, task),
        task=task,
        num_classes=classes,
        criterion=LOSSES.build(
            PLAIN[task], num_classes=classes, task=task, class_counts=[16] * classes, num_records=NUM, reduction="none"
        ),
        weights=weights,
        folds=[(np.setdiff1d(order, part), np.sort(part)) for part in parts],
    )


def installed(fitted: Fitted) -> torch.nn.Module:
    """A model with the fitted head, put together as a run and a bundle do it."""
    torch.manual_seed(0)
    module = build_model("resnet10t", num_classes=CLASSES, pretrained=False).module.eval()
    if fitted.layer is not None:
        set_linear(module, fitted.layer.weight, fitted.layer.bias)
    else:
        assert fitted.module is not None
        head = make_head(fitted.spec, POOLED, CLASSES)
        head.load_state_dict(fitted.module.state_dict())
        install_head(module, head)
    return module.eval()


def test_nothing_public_is_missing_from_the_catalogue() -> None:
    found = set()
    for info in pkgutil.iter_modules(ringlight.training.__path__):
        if not info.name.startswith("heads_"):
            continue
        module = importlib.import_module(f"ringlight.training.{info.name}")
        for name, value in vars(module).items():
            if inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_"):
                found.add(value)
    assert found == set(HEADS.parts.values())


def test_the_default_head_is_in_the_catalogue_and_the_linear_ones_are() -> None:
    assert HeadConfig().name in HEADS
    assert set(LINEAR) <= set(HEADS)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_it_learns_what_is_easy_and_every_score_is_finite(name: str, task: Task) -> None:
    problem = make_problem(task)
    fitted = HEADS.build(name).fit(problem)
    scores = fitted.scores(problem.features)
    assert scores.shape == (NUM, CLASSES)
    assert scores.dtype == torch.float32
    assert torch.isfinite(scores).all()
    assert not scores.requires_grad
    if task == "multiclass":
        assert (scores.argmax(dim=1) == problem.targets).float().mean() > 0.9
    else:
        assert ((scores > 0) == problem.targets.bool()).float().mean() > 0.85


@pytest.mark.parametrize(("name", "task"), CASES)
def test_the_same_records_give_the_same_head_to_the_last_digit(name: str, task: Task) -> None:
    """Whatever was drawn in between: nothing of a head is left to chance."""
    first = HEADS.build(name).fit(make_problem(task))
    torch.manual_seed(99)
    second = HEADS.build(name).fit(make_problem(task))
    features = make_problem(task).features
    assert torch.equal(first.scores(features), second.scores(features))
    assert (first.chosen, dict(first.held_out)) == (second.chosen, dict(second.held_out))


@pytest.mark.parametrize(("name", "task"), CASES)
def test_the_chosen_strength_is_the_best_of_those_it_tried(name: str, task: Task) -> None:
    fitted = HEADS.build(name).fit(make_problem(task))
    if name == "linear":  # it chooses nothing
        assert not fitted.held_out
        return
    assert fitted.held_out[fitted.chosen] == min(fitted.held_out.values())


@pytest.mark.parametrize(("name", "task"), CASES)
def test_without_folds_it_takes_a_strength_of_its_own_and_tells_no_loss(name: str, task: Task) -> None:
    problem = make_problem(task, num_folds=0)
    fitted = HEADS.build(name).fit(problem)
    assert not fitted.held_out
    assert torch.isfinite(fitted.scores(problem.features)).all()


@pytest.mark.parametrize(("name", "task"), CASES)
def test_in_the_model_it_gives_the_scores_it_was_fitted_with(name: str, task: Task) -> None:
    """A bundle saves weights and the head's spec; what it is built from again must score as the fit did."""
    fitted = HEADS.build(name).fit(make_problem(task, wide=POOLED))
    module = installed(fitted)
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    features = features_before_head(module, images)
    assert features.shape == (3, POOLED)
    with torch.no_grad():
        torch.testing.assert_close(module(images), fitted.scores(features), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_its_scores_can_be_shifted_a_class(name: str, task: Task) -> None:
    module = installed(HEADS.build(name).fit(make_problem(task, wide=POOLED)))
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    offsets = torch.tensor([0.5, -1.0, 2.0])
    with torch.no_grad():
        before = module(images)
        shift_scores(module, offsets)
        torch.testing.assert_close(module(images), before + offsets, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_its_problem_is_left_as_it_was(name: str, task: Task) -> None:
    problem = make_problem(task, weights=torch.linspace(0.5, 2, NUM, dtype=torch.float64))
    before = [part.clone() for part in (problem.features, problem.targets, problem.weights)]
    HEADS.build(name).fit(problem)
    for now, then in zip((problem.features, problem.targets, problem.weights), before, strict=True):
        assert torch.equal(now, then)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_rows_that_no_fold_holds_out_take_no_part_in_the_choice(name: str, task: Task) -> None:
    """Augmented copies stand behind the originals and are never held out.

    Their rows in the held-out scores are zero, and once counted as records with a loss of log K: with more copies than
    records all strengths looked nearly alike, and the scale of cosine and ridge was fitted to zeros.
    """
    problem = make_problem(task)
    copies = Problem(
        features=torch.cat([problem.features, problem.features.flip(1)]),
        targets=torch.cat([problem.targets, problem.targets]),
        task=task, num_classes=CLASSES, criterion=problem.criterion, folds=problem.folds,
    )  # fmt: skip
    # The folds fit the originals alone: then the copies can change nothing of what is held out.
    alone, beside = HEADS.build(name).fit(problem), HEADS.build(name).fit(copies)
    assert beside.chosen == alone.chosen
    assert dict(beside.held_out) == pytest.approx(dict(alone.held_out))


@pytest.mark.parametrize(("name", "task"), CASES)
@pytest.mark.parametrize("case", ["one class missing in a fold", "all features equal", "fewer records than classes"])
def test_hard_records_give_finite_scores(name: str, task: Task, case: str) -> None:
    problem = make_problem(task, classes=2 if case != "fewer records than classes" else 3)
    if case == "all features equal":
        problem = _with(problem, features=torch.ones(NUM, WIDE))
    elif case == "one class missing in a fold":
        has = problem.targets == 1 if task == "multiclass" else problem.targets[:, 1] == 1
        inside, outside = np.flatnonzero(has), np.flatnonzero(~has)
        problem = _with(problem, folds=[(outside, inside), (inside, outside)])
    else:
        problem = problem.part(np.array([0, 1]))
    fitted = HEADS.build(name).fit(problem)
    assert torch.isfinite(fitted.scores(problem.features)).all()
    assert all(np.isfinite(loss) for loss in fitted.held_out.values())


@pytest.mark.parametrize("name", list(HEADS))
def test_a_single_yes_or_no_is_learnt(name: str) -> None:
    problem = make_problem("multilabel", classes=1)
    scores = HEADS.build(name).fit(problem).scores(problem.features)
    assert scores.shape == (NUM, 1)
    assert ((scores > 0) == problem.targets.bool()).float().mean() > 0.85


@pytest.mark.parametrize("name", list(HEADS))
def test_features_of_a_huge_scale_give_finite_scores(name: str) -> None:
    problem = make_problem("multiclass")
    large = _with(problem, features=problem.features * 1e12)
    scores = HEADS.build(name).fit(large).scores(large.features)
    assert torch.isfinite(scores).all()
    assert (scores.argmax(dim=1) == problem.targets).float().mean() > 0.9


def _with(problem: Problem, **changed: Any) -> Problem:
    return replace(problem, **changed)
