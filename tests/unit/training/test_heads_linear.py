"""Linear heads: the penalty the folds choose, and least squares as scikit-learn solves them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from ringlight.errors import ConfigError, Problems
from ringlight.losses import LOSSES
from ringlight.training.head_problem import Problem
from ringlight.training.heads import HEADS
from ringlight.training.heads_linear import (
    MIDDLE,
    MIDDLE_SHRINKAGE,
    PENALTIES,
    SHRINKAGES,
    LinearHead,
    LogisticHead,
    RidgeHead,
)


def problem_of(
    num: int = 60, features: int = 8, *, multilabel: bool = False, num_folds: int = 3, weights: Tensor | None = None
) -> Problem:
    rng = np.random.default_rng(5)
    first = np.arange(num) % 3
    values = (rng.normal(size=(num, features)) + 1.8 * np.eye(3, features)[first]) * np.linspace(0.5, 20, features) + 3
    targets: Any = torch.tensor(first)
    if multilabel:
        targets = torch.tensor(rng.random((num, 3)) < 0.3 + 0.4 * np.eye(3)[first]).float()
    parts = np.array_split(rng.permutation(num), num_folds) if num_folds else []
    return Problem(
        features=torch.tensor(values, dtype=torch.float32), targets=targets,
        task="multilabel" if multilabel else "multiclass", num_classes=3,
        criterion=LOSSES.build(
            "bce_with_logits" if multilabel else "cross_entropy", num_classes=3,
            task="multilabel" if multilabel else "multiclass", class_counts=[20] * 3, num_records=num, reduction="none",
        ),
        weights=weights, folds=[(np.setdiff1d(np.arange(num), part), part) for part in parts],
    )  # fmt: skip


def scaled(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Standardised features, their mean and deviation, in double precision."""
    x = problem.features.double().numpy()
    return (x - x.mean(axis=0)) / x.std(axis=0), x.mean(axis=0), x.std(axis=0)


# --- logistic ---------------------------------------------------------------------------------------------------------


def test_the_penalty_is_the_best_of_a_table_that_scikit_learn_computes() -> None:
    problem = problem_of()
    fitted = LogisticHead().fit(problem)
    table = {}
    for penalty in PENALTIES:
        total = 0.0
        for rows, held in problem.folds:
            x, mean, scale = scaled(problem.part(rows))
            other = LogisticRegression(C=1 / (len(rows) * penalty), tol=1e-9, max_iter=10_000)
            other.fit(x, problem.targets[rows].numpy())
            chances = other.predict_proba((problem.features[held].double().numpy() - mean) / scale)
            total -= np.log(chances[np.arange(len(held)), problem.targets[held].numpy()]).sum()
        table[penalty] = total / len(problem.features)
    assert dict(fitted.held_out) == pytest.approx(table, abs=2e-3, rel=5e-3)
    assert fitted.chosen == min(table, key=table.__getitem__)
    assert fitted.chosen not in (PENALTIES[0], PENALTIES[-1]), "a choice that could have gone either way"


def test_the_final_layer_is_scikit_learns_on_all_records() -> None:
    problem = problem_of()
    fitted = LogisticHead().fit(problem)
    x, _, _ = scaled(problem)
    other = LogisticRegression(C=1 / (len(x) * fitted.chosen), tol=1e-10, max_iter=10_000)
    other.fit(x, problem.targets.numpy())
    told = torch.softmax(fitted.scores(problem.features), 1)
    np.testing.assert_allclose(told, other.predict_proba(x), atol=2e-3)


def test_held_out_records_count_as_their_weights_say() -> None:
    weights = torch.tensor(np.random.default_rng(0).uniform(0.1, 5, 60))
    problem = problem_of(weights=weights)
    penalty = 0.01
    fitted = LogisticHead().fit(problem)
    total = 0.0
    for rows, held in problem.folds:
        x, mean, scale = scaled(problem.part(rows))
        other = LogisticRegression(C=1 / (float(weights[rows].sum()) * penalty), tol=1e-9, max_iter=10_000)
        other.fit(x, problem.targets[rows].numpy(), sample_weight=weights[rows].numpy())
        chances = other.predict_proba((problem.features[held].double().numpy() - mean) / scale)
        total -= (weights[held].numpy() * np.log(chances[np.arange(len(held)), problem.targets[held].numpy()])).sum()
    assert fitted.held_out[penalty] == pytest.approx(total / float(weights.sum()), abs=2e-3)


def test_without_folds_it_takes_the_middle_and_a_number_is_kept() -> None:
    assert LogisticHead().fit(problem_of(num_folds=0)).chosen == MIDDLE
    fitted = LogisticHead(penalty=0.3).fit(problem_of())
    assert fitted.chosen == 0.3
    assert not fitted.held_out


def test_no_penalty_at_all_is_allowed_and_finite() -> None:
    problem = problem_of(num=20, features=30)  # fewer records than features: surely separable
    fitted = LogisticHead(penalty=0).fit(problem)
    scores = fitted.scores(problem.features)
    assert torch.isfinite(scores).all()
    assert (scores.argmax(1) == problem.targets).all()


def test_linear_is_logistic_with_a_trace_of_a_penalty() -> None:
    problem = problem_of()
    linear, logistic = LinearHead().fit(problem), LogisticHead(penalty=1e-6).fit(problem)
    assert torch.equal(linear.scores(problem.features), logistic.scores(problem.features))


# --- ridge ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [8, 90], ids=["N > D", "D > N"])
@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_ridge_finds_the_layer_of_scikit_learn(features: int, multilabel: bool, weighted: bool) -> None:
    weights = torch.tensor(np.random.default_rng(0).uniform(0.1, 5, 60)) if weighted else None
    problem = problem_of(features=features, multilabel=multilabel, weights=weights)
    layer = RidgeHead().path(problem, [7.0])[7.0].layer
    assert layer is not None
    x, mean, scale = scaled(problem)
    answer = (problem.targets.numpy() if multilabel else np.eye(3)[problem.targets.numpy()]) * 2 - 1
    other = Ridge(alpha=7.0).fit(x, answer, sample_weight=None if weights is None else weights.numpy())
    np.testing.assert_allclose(layer.weight, other.coef_ / scale, atol=1e-4)
    np.testing.assert_allclose(layer.bias, other.intercept_ - (other.coef_ / scale) @ mean, atol=1e-3)


def test_ridge_decides_as_the_ridge_classifier_does() -> None:
    problem = problem_of()
    fitted = RidgeHead(penalty=10.0).fit(problem)
    x, _, _ = scaled(problem)
    other = RidgeClassifier(alpha=10.0).fit(x, problem.targets.numpy())
    assert fitted.scores(problem.features).argmax(1).tolist() == other.predict(x).tolist()


def test_ridge_in_one_dimension_by_hand() -> None:
    """x = -1, 1 and y = -1, 1 (the second class): the weight is X'y / (X'X + s) = 2 / (2 + 2) = 1/2."""
    criterion = LOSSES.build("cross_entropy", num_classes=2, reduction="none")
    problem = Problem(
        features=torch.tensor([[-1.0], [1.0]]), targets=torch.tensor([0, 1]), task="multiclass", num_classes=2,
        criterion=criterion,
    )  # fmt: skip
    fitted = RidgeHead(penalty=2.0).fit(problem)
    assert fitted.layer is not None
    np.testing.assert_allclose(fitted.layer.weight, [[-0.5], [0.5]], atol=1e-6)
    np.testing.assert_allclose(fitted.layer.bias, [0, 0], atol=1e-6)


@pytest.mark.parametrize("multilabel", [False, True])
def test_the_scale_of_ridge_is_the_best_of_a_fine_grid(multilabel: bool) -> None:
    problem = problem_of(multilabel=multilabel)
    fitted = RidgeHead(penalty=10.0).fit(problem)
    scores = torch.zeros(60, 3)
    for rows, held in problem.folds:
        layer = RidgeHead().path(problem.part(rows), [10.0])[10.0].layer
        assert layer is not None
        scores[held] = layer.scores(problem.features[held])
    best = min(problem.loss(scores * math.exp(step)) for step in np.linspace(-3, 5, 400))
    assert fitted.held_out[10.0] == pytest.approx(best, abs=1e-4)
    whole = RidgeHead().path(problem, [10.0])[10.0].layer
    assert whole is not None
    assert fitted.layer is not None
    ratio = fitted.layer.weight / whole.weight
    torch.testing.assert_close(ratio, torch.full_like(ratio, float(ratio[0, 0])))
    assert problem.loss(scores * float(ratio[0, 0])) == pytest.approx(best, abs=1e-4)


def test_the_weakest_ridge_is_solved_where_features_are_dependent() -> None:
    """Every feature stands there twice and one is constant: the equations have no solution without the ridge."""
    problem = problem_of()
    features = torch.cat([problem.features, problem.features, torch.ones(60, 1)], dim=1) * 1e6
    scores = RidgeHead(penalty=0.001).fit(replace(problem, features=features)).scores(features)
    assert torch.isfinite(scores).all()
    assert (scores.argmax(1) == problem.targets).float().mean() > 0.7


def test_ridge_takes_a_middle_strength_where_nothing_can_be_held_out() -> None:
    fitted = RidgeHead().fit(problem_of(num_folds=0))
    assert fitted.chosen == MIDDLE_SHRINKAGE
    assert MIDDLE_SHRINKAGE in SHRINKAGES
    assert not fitted.held_out


def test_ridge_compares_its_five_strengths() -> None:
    fitted = RidgeHead().fit(problem_of())
    assert tuple(fitted.held_out) == SHRINKAGES
    assert fitted.chosen == min(fitted.held_out, key=fitted.held_out.__getitem__)


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [-1, -0.001, math.nan, math.inf])
def test_a_penalty_that_is_none_is_refused_in_one_line(value: float) -> None:
    with pytest.raises(ConfigError) as caught:
        LogisticHead(penalty=value)
    assert str(caught.value) == (
        f"head.penalty: expected auto or a number of 0 or more, got {value!r}; correct the value"
    )


def test_ridge_needs_a_penalty_above_zero() -> None:
    with pytest.raises(ConfigError) as caught:
        RidgeHead(penalty=0)
    assert str(caught.value).startswith("head.penalty: expected auto or a number of 0.001 or more, got 0;")


@pytest.mark.parametrize(
    ("name", "params", "line"),
    [
        (
            "logistic",
            {"penalty": "many"},
            "head.penalty: expected a valid number or 'auto', got 'many'; correct the value (default: 'auto')",
        ),
        ("logistc", {}, "head.name: expected a known head, got `logistc`; did you mean `logistic`?"),
        (
            "linear",
            {"penalty": 1.0},
            "head.penalty: expected a parameter of head `linear`, got unknown key `head.penalty`; it takes none",
        ),
    ],
)
def test_what_the_catalogue_refuses_it_refuses_in_one_line(name: str, params: dict[str, Any], line: str) -> None:
    with pytest.raises(Problems) as caught:
        HEADS.build(name, **params)
    assert caught.value.problems == [line]


def test_a_word_that_is_not_auto_is_refused_where_no_catalogue_stands_before_it() -> None:
    with pytest.raises(ConfigError, match=r"head.penalty: expected auto or a number of 0 or more, got 'many'"):
        LogisticHead(penalty="many")  # type: ignore[arg-type]


# --- the problem itself -----------------------------------------------------------------------------------------------


def test_a_part_of_a_problem_takes_its_weights_along_and_has_no_folds() -> None:
    problem = problem_of(weights=torch.arange(60.0))
    part = problem.part(np.array([5, 2]))
    assert part.weights is not None
    assert part.weights.tolist() == [5.0, 2.0]
    assert torch.equal(part.features, problem.features[[5, 2]])
    assert torch.equal(part.targets, problem.targets[[5, 2]])
    assert part.folds == ()


def test_the_loss_of_a_problem_by_hand() -> None:
    problem = problem_of().part(np.array([0, 1]))  # classes 0 and 1
    logits = torch.tensor([[0.0, 0.0, 0.0], [0.0, 2.0, -1.0]])
    second = math.log(1 + math.exp(2) + math.exp(-1)) - 2
    assert problem.loss(logits) == pytest.approx((math.log(3) + second) / 2)
    weighted = replace(problem, weights=torch.tensor([3.0, 1.0]))
    assert weighted.loss(logits) == pytest.approx((3 * math.log(3) + second) / 4)


def test_only_rows_of_a_fold_are_held_out() -> None:
    problem = replace(problem_of(), folds=[(np.arange(10), np.array([12, 11])), (np.arange(10), np.array([11, 30]))])
    assert problem.held().tolist() == [11, 12, 30]
    assert replace(problem, folds=()).held().tolist() == []


def test_truth_is_one_hot_or_the_labels_themselves() -> None:
    problem = problem_of()
    assert torch.equal(problem.truth(), F.one_hot(problem.targets, 3).float())
    labelled = problem_of(multilabel=True)
    assert torch.equal(labelled.truth(), labelled.targets)
