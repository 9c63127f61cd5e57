"""A linear layer fitted to convergence: by hand, by a plain loop, and as scikit-learn finds it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from ringlight.losses import LOSSES
from ringlight.training.linear_fit import (
    Layer,
    Standard,
    fit_layer,
    fit_path,
    record_losses,
    targets_tensor,
)


def loss_of(num_classes: int, task: Any = "multiclass", name: str | None = None, counts: Any = None, **params: Any):
    chosen = name or ("cross_entropy" if task == "multiclass" else "bce_with_logits")
    return LOSSES.build(
        chosen, num_classes=num_classes, task=task, class_counts=counts or [1] * num_classes, num_records=1000,
        reduction="none", **params,
    )  # fmt: skip


def clusters(
    num: int = 90, features: int = 5, classes: int = 3, apart: float = 1.0, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Overlapping clusters of features on scales from 0.01 to 100, so that standardising matters."""
    rng = np.random.default_rng(seed)
    targets = np.arange(num) % classes
    means = rng.normal(0, apart, (classes, features))
    values = (means[targets] + rng.normal(size=(num, features))) * np.logspace(-2, 2, features) + 7
    return torch.tensor(values, dtype=torch.float32), torch.tensor(targets)


def two_labels(num: int = 80, features: int = 4, seed: int = 1) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(num, features))
    chances = 1 / (1 + np.exp(-values @ rng.normal(size=(features, 2))))
    return torch.tensor(values, dtype=torch.float32), torch.tensor(rng.random((num, 2)) < chances).float()


# --- standardising ----------------------------------------------------------------------------------------------------


def test_standardised_features_have_mean_zero_and_deviation_one() -> None:
    x_nd, _ = clusters()
    standard = Standard.of(x_nd).apply(x_nd).numpy()
    np.testing.assert_allclose(standard.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(standard.std(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, 12345.678, 1e8, -3e-7])
def test_a_constant_feature_is_not_blown_up(value: float) -> None:
    """A served picture differs in the last digit; divided by a deviation that is rounding, it would be an outlier."""
    x_nd = torch.full((50, 2), value)
    x_nd[:, 1] = torch.linspace(0, 1, 50)
    standard = Standard.of(x_nd)
    assert standard.scale[0] == 1
    near = torch.tensor([[np.nextafter(np.float32(value), np.float32(np.inf)), 0.5]])
    assert abs(float(standard.apply(near)[0, 0])) <= max(1e-6 * abs(value), 1e-6)


def test_a_feature_that_is_constant_but_for_rounding_is_constant() -> None:
    noise = torch.arange(40) % 2
    x_nd = (1e5 + 0.01 * noise).unsqueeze(1).float()
    assert x_nd.std() > 1e-6
    assert Standard.of(x_nd).scale.tolist() == [1.0]


def test_the_layer_over_raw_features_gives_the_scores_of_the_standardised_ones() -> None:
    x_nd, targets = clusters()
    standard = Standard.of(x_nd)
    layer = fit_layer(standard.apply(x_nd), targets, loss_of(3), 3, penalty=0.01)
    expected = layer.scores(standard.apply(x_nd))
    torch.testing.assert_close(layer.over_raw(standard).scores(x_nd), expected, rtol=1e-4, atol=1e-4)


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_with_features_that_say_nothing_the_bias_is_the_share_of_each_class() -> None:
    """Stationary in the bias: the mean predicted chance of a class is its share, here 5 : 3 : 2."""
    targets = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
    layer = fit_layer(torch.zeros(10, 4), targets, loss_of(3), 3, penalty=0.1)
    assert not layer.weight.any()
    np.testing.assert_allclose(torch.softmax(layer.bias, 0), [0.5, 0.3, 0.2], atol=1e-4)


def test_one_feature_at_plus_and_minus_one_solves_the_equation_of_its_weight() -> None:
    """BCE at x = 1, y = 1 and x = -1, y = 0: sigmoid(-w) = penalty w, so that sigmoid(-2) / 2 as penalty gives 2."""
    penalty = 1 / (1 + math.exp(2)) / 2
    layer = fit_layer(
        torch.tensor([[1.0], [-1.0]]), torch.tensor([[1.0], [0.0]]), loss_of(1, "multilabel"), 1, penalty=penalty
    )
    assert float(layer.weight) == pytest.approx(2.0, abs=1e-3)
    assert float(layer.bias) == pytest.approx(0.0, abs=1e-4)


def test_a_multi_label_record_costs_the_mean_over_its_classes() -> None:
    logits = torch.tensor([[0.0, 0.0], [20.0, 0.0]])
    told = record_losses(loss_of(2, "multilabel"), logits, torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    np.testing.assert_allclose(told, [math.log(2), math.log(2) / 2], atol=1e-6)


def test_targets_are_what_the_losses_take() -> None:
    assert targets_tensor(np.array([2, 0], np.int32), "multiclass").dtype == torch.int64
    assert targets_tensor([[1, 0]], "multilabel").dtype == torch.float32


# --- a plain loop -----------------------------------------------------------------------------------------------------


def naive_objective(layer: Layer, x_nd: Tensor, targets: Tensor, penalty: float, weights: Any) -> float:
    """The objective of the docstring, one record and one class at a time, in double precision."""
    total = 0.0
    weight_kd, bias_k = layer.weight.double().numpy(), layer.bias.double().numpy()
    for row, values in enumerate(x_nd.double().numpy()):
        logits = [
            sum(w * v for w, v in zip(line, values, strict=True)) + b for line, b in zip(weight_kd, bias_k, strict=True)
        ]
        if targets.ndim == 1:
            loss = math.log(sum(math.exp(value) for value in logits)) - logits[int(targets[row])]
        else:
            each = [
                math.log1p(math.exp(-z)) if y else math.log1p(math.exp(z))
                for z, y in zip(logits, targets[row].tolist(), strict=True)
            ]
            loss = sum(each) / len(each)
        total += weights[row] / sum(weights) * loss
    return total + penalty / 2 * float((weight_kd**2).sum())


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@pytest.mark.parametrize("weighted", [False, True])
def test_no_step_in_any_direction_is_better(task: Any, weighted: bool) -> None:
    """The objective is convex: where every partial derivative is zero, there is its minimum."""
    x_nd, targets = clusters(30, 3) if task == "multiclass" else two_labels(30, 3)
    x_nd = Standard.of(x_nd).apply(x_nd)
    num_classes = 3 if task == "multiclass" else 2
    weights = np.random.default_rng(0).uniform(0.2, 3, 30) if weighted else np.ones(30)
    layer = fit_layer(
        x_nd, targets, loss_of(num_classes, task), num_classes, penalty=0.05,
        weights_n=torch.tensor(weights) if weighted else None,
    )  # fmt: skip

    def at(flat: np.ndarray) -> float:
        moved = Layer(
            torch.tensor(flat[: layer.weight.numel()]).view_as(layer.weight), torch.tensor(flat[-num_classes:])
        )
        return naive_objective(moved, x_nd, targets, 0.05, weights.tolist())

    middle = np.concatenate([layer.weight.double().numpy().ravel(), layer.bias.double().numpy()])
    best = at(middle)
    for place in range(len(middle)):
        step = np.zeros(len(middle))
        step[place] = 0.01
        ahead, behind = at(middle + step), at(middle - step)
        assert min(ahead, behind) > best
        assert abs(ahead - behind) / 0.02 < 1e-4


# --- another library --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", [1.0, 0.01, 0.0001])
def test_cross_entropy_finds_the_layer_of_scikit_learn(penalty: float) -> None:
    x_nd, targets = clusters(apart=0.7)
    x_nd = Standard.of(x_nd).apply(x_nd)
    layer = fit_layer(x_nd, targets, loss_of(3), 3, penalty=penalty)
    other = LogisticRegression(C=1 / (len(x_nd) * penalty), tol=1e-10, max_iter=10_000)
    other.fit(x_nd.double().numpy(), targets.numpy())
    np.testing.assert_allclose(layer.weight, other.coef_, atol=5e-3)
    np.testing.assert_allclose(
        torch.softmax(layer.scores(x_nd), 1), other.predict_proba(x_nd.double().numpy()), atol=5e-4
    )


def test_bce_finds_a_logistic_regression_for_each_class() -> None:
    """The mean over K classes counts a class's loss 1 / K times, so that its penalty is K times as strong."""
    x_nd, targets = two_labels()
    layer = fit_layer(x_nd, targets, loss_of(2, "multilabel"), 2, penalty=0.02)
    for k in range(2):
        other = LogisticRegression(C=1 / (len(x_nd) * 0.02 * 2), tol=1e-10, max_iter=10_000)
        other.fit(x_nd.double().numpy(), targets[:, k].numpy())
        np.testing.assert_allclose(layer.weight[k], other.coef_[0], atol=2e-3)
        np.testing.assert_allclose(layer.bias[k], other.intercept_[0], atol=2e-3)


def test_a_weight_is_what_so_many_copies_of_the_record_are() -> None:
    x_nd, targets = clusters(40, 4)
    x_nd = Standard.of(x_nd).apply(x_nd)
    times = torch.tensor(np.random.default_rng(3).integers(1, 6, 40))
    weighted = fit_layer(x_nd, targets, loss_of(3), 3, penalty=0.01, weights_n=times)
    repeated = fit_layer(
        x_nd.repeat_interleave(times, 0), targets.repeat_interleave(times), loss_of(3), 3, penalty=0.01
    )
    torch.testing.assert_close(weighted.weight, repeated.weight, atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(weighted.bias, repeated.bias, atol=2e-3, rtol=1e-3)


# --- a path of penalties ----------------------------------------------------------------------------------------------


def test_a_path_gives_each_penalty_what_a_fit_of_its_own_gives() -> None:
    x_nd, targets = clusters()
    x_nd = Standard.of(x_nd).apply(x_nd)
    path = fit_path(x_nd, targets, loss_of(3), 3, [0.001, 1.0, 0.03])
    assert list(path) == [1.0, 0.03, 0.001]
    for penalty, layer in path.items():
        alone = fit_layer(x_nd, targets, loss_of(3), 3, penalty=penalty)
        np.testing.assert_allclose(
            torch.softmax(layer.scores(x_nd), 1), torch.softmax(alone.scores(x_nd), 1), atol=2e-3
        )


def test_a_fit_leaves_where_it_started_alone() -> None:
    x_nd, targets = clusters()
    start = Layer(torch.ones(3, 5), torch.ones(3))
    fit_layer(Standard.of(x_nd).apply(x_nd), targets, loss_of(3), 3, penalty=0.1, start=start)
    assert (start.weight == 1).all()
    assert (start.bias == 1).all()


def test_a_fit_within_no_grad_works_and_carries_no_graph() -> None:
    x_nd, targets = clusters(20)
    with torch.no_grad():
        layer = fit_layer(Standard.of(x_nd).apply(x_nd), targets, loss_of(3), 3, penalty=0.1)
    assert layer.weight.abs().sum() > 0
    assert not layer.weight.requires_grad
    assert not layer.bias.requires_grad


# --- where numbers are hard -------------------------------------------------------------------------------------------


def test_separable_classes_without_a_penalty_stay_finite_and_are_told_apart() -> None:
    """There is no minimum: the weights grow until the gradient is as small as asked for."""
    x_nd, targets = clusters(apart=8.0)
    x_nd = Standard.of(x_nd).apply(x_nd)
    layer = fit_layer(x_nd, targets, loss_of(3), 3, penalty=0.0)
    scores = layer.scores(x_nd)
    assert torch.isfinite(scores).all()
    assert (scores.argmax(dim=1) == targets).all()


def test_a_class_without_a_record_is_unlikely_and_nothing_else_breaks() -> None:
    x_nd, targets = clusters()
    x_nd = Standard.of(x_nd).apply(x_nd)
    layer = fit_layer(x_nd, targets, loss_of(4), 4, penalty=0.01)
    chances = torch.softmax(layer.scores(x_nd), 1)
    assert torch.isfinite(chances).all()
    assert chances[:, 3].max() < 0.01
    three = fit_layer(x_nd, targets, loss_of(3), 3, penalty=0.01)
    np.testing.assert_allclose(chances[:, :3], torch.softmax(three.scores(x_nd), 1), atol=0.01)


def test_a_label_that_every_record_has_is_likely() -> None:
    x_nd, _ = two_labels()
    layer = fit_layer(x_nd, torch.ones(80, 1), loss_of(1, "multilabel"), 1, penalty=0.01)
    assert torch.sigmoid(layer.scores(x_nd)).min() > 0.99


@pytest.mark.parametrize("factor", [1e-3, 1e6, 1e15])
def test_the_scale_of_the_features_changes_no_score(factor: float) -> None:
    x_nd, targets = clusters()
    scores = []
    for values in (x_nd, x_nd * factor):
        standard = Standard.of(values)
        layer = fit_layer(standard.apply(values), targets, loss_of(3), 3, penalty=0.01)
        scores.append(layer.over_raw(standard).scores(values))
    torch.testing.assert_close(*scores, atol=5e-3, rtol=5e-3)


@pytest.mark.parametrize("seed", range(5))
def test_balanced_softmax_is_plain_cross_entropy_with_the_prior_taken_out_afterwards(seed: int) -> None:
    """With a free bias both reach the same layer: the one learns the logs of the shares, the other is given them."""
    rng = np.random.default_rng(seed)
    targets = torch.tensor(np.repeat(np.arange(3), [40, 15, 5]))
    x_nd = torch.tensor(rng.normal(size=(60, 6)) + np.eye(3, 6)[targets.numpy()], dtype=torch.float32)
    x_nd = Standard.of(x_nd).apply(x_nd)
    counts = [40, 15, 5]
    penalty = float(rng.choice([0.003, 0.03, 0.3]))
    plain = fit_layer(x_nd, targets, loss_of(3), 3, penalty=penalty)
    balanced = fit_layer(x_nd, targets, loss_of(3, name="balanced_softmax", counts=counts), 3, penalty=penalty)
    afterwards = plain.scores(x_nd) - torch.log(torch.tensor(counts) / 60)
    np.testing.assert_allclose(torch.softmax(balanced.scores(x_nd), 1), torch.softmax(afterwards, 1), atol=2e-3)
