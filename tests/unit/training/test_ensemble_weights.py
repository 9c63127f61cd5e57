"""Weights of members: the least log loss there is, against grids and other libraries; noise gets none."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import expit, log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss as log_loss_of_sklearn
from sklearn.preprocessing import StandardScaler

from ringlight.models.ensemble import stacking_features
from ringlight.training.ensemble_weights import fit_stacking, fit_temperatures, fit_votes, log_loss


def scores(task, count=200, seed=0):
    """Three members of different skill that err apart: (3, N, 3), and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, count)
    matrix = np.eye(3)[truth] if task == "multiclass" else rng.integers(0, 2, (count, 3)).astype(float)
    logits = [skill * (2 * matrix - 1) + rng.normal(0, 2, (count, 3)) for skill in (1.2, 1.0, 0.5)]
    return np.stack(logits).astype(np.float32), truth if task == "multiclass" else matrix.astype(int)


def vote_loss(weights, logits, truth, task):
    """The log loss of a vote, record by record."""
    total, count = 0.0, 0
    for row in range(len(truth)):
        for label in [None] if task == "multiclass" else range(3):
            share = 0.0
            for weight, one in zip(weights, logits[:, row].astype(np.float64), strict=True):
                if label is None:
                    share += weight * np.exp(log_softmax(one))[truth[row]]
                else:
                    share += weight * expit(one[label] if truth[row, label] else -one[label])
            total, count = total - np.log(share), count + 1
    return total / count


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_no_point_of_a_grid_on_the_simplex_is_better(task):
    logits, truth = scores(task, count=40)
    found = fit_votes(logits, truth, task)
    assert found.sum() == pytest.approx(1, abs=1e-12)
    assert (found >= 0).all()
    least = vote_loss(found, logits, truth, task)
    steps = np.linspace(0, 1, 11)
    grid = [(a, b, 1 - a - b) for a, b in itertools.product(steps, steps) if a + b <= 1 + 1e-9]
    losses = [vote_loss(np.maximum(weights, 0), logits, truth, task) for weights in grid]
    assert least <= min(losses) + 1e-6


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_scipys_constrained_search_finds_the_same_weights(task):
    logits, truth = scores(task)
    if task == "multiclass":
        shares = np.exp(log_softmax(logits.astype(np.float64), axis=-1))[:, np.arange(len(truth)), truth]
    else:
        shares = expit(np.where(truth > 0, 1, -1) * logits.astype(np.float64)).reshape(3, -1)
    found = minimize(
        lambda weights: -np.log(weights @ shares).mean(), np.full(3, 1 / 3), bounds=[(0, 1)] * 3, method="SLSQP",
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1}, options={"ftol": 1e-12},
    )  # fmt: skip
    np.testing.assert_allclose(fit_votes(logits, truth, task), found.x, atol=5e-3)


def test_a_member_of_pure_noise_gets_next_to_nothing():
    """Beside a sure member; and beside two of middling skill, where noise could pass for variety."""
    logits, truth = scores("multiclass", count=600)
    noise = np.random.default_rng(9).normal(0, 3, logits[0].shape)
    assert fit_votes([8 * np.eye(3)[truth], noise], truth, "multiclass")[1] < 1e-3
    assert fit_votes([logits[0], logits[1], noise], truth, "multiclass")[2] < 0.02


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_no_temperature_of_a_grid_is_better_than_the_one_found(task):
    """Against the smoothed truth, in the words of the formula."""
    logits, truth = scores(task, count=80)
    share = 1 / 81
    target = (1 - share) * np.eye(3)[truth] + share / 3 if task == "multiclass" else (1 - share) * truth + share / 2

    def loss(one, temperature):
        scaled = one.astype(np.float64) / temperature
        if task == "multiclass":
            return -(target * log_softmax(scaled, axis=-1)).sum(axis=1).mean()
        return -(target * np.log(expit(scaled)) + (1 - target) * np.log(expit(-scaled))).mean()

    for one, found in zip(logits, fit_temperatures(logits, truth, task), strict=True):
        assert loss(one, found) <= min(loss(one, temperature) for temperature in np.geomspace(0.05, 20, 400)) + 1e-7


def test_scores_that_are_no_log_probabilities_count_once_they_have_a_temperature():
    """On nine-channel windows of activities the best single model, a support-vector machine, had a weight of 0.000."""
    logits, truth = scores("multiclass", count=600)
    one, other = fit_temperatures(logits[:2], truth, "multiclass")
    timid = np.stack([logits[0] / one / 30, logits[1] / other])
    assert fit_votes(timid, truth, "multiclass")[0] < 0.01
    heat = fit_temperatures(timid, truth, "multiclass")
    np.testing.assert_allclose(heat, [1 / 30, 1], rtol=1e-2)
    assert fit_votes(timid / heat[:, None, None], truth, "multiclass")[0] > 0.5


def test_a_few_records_without_a_mistake_do_not_make_a_member_infinitely_sure():
    truth = np.array([0, 1, 2, 0, 1])
    logits = 3 * np.eye(3)[truth][None]
    shares = np.exp(log_softmax(logits[0] / fit_temperatures(logits, truth, "multiclass")[0], axis=-1))
    assert shares.max() == pytest.approx(1 - 1 / 6 + 1 / 18, abs=1e-3)


def test_members_that_are_alike_share_equally():
    logits, truth = scores("multiclass")
    np.testing.assert_allclose(fit_votes([logits[0], logits[0]], truth, "multiclass"), 0.5)


def test_one_sure_mistake_of_all_members_is_survived():
    """Where every member gives the truth a probability that rounds to 0, the loss has no finite value."""
    truth = np.array([0, 1, 0])
    logits = np.array([[[9, 0], [0, 9], [-9000, 9000]], [[1, 0], [0, 1], [-9000, 9000]]], np.float32)
    found = fit_votes(logits, truth, "multiclass")
    assert np.isfinite(found).all()
    assert found[0] > 0.99


@pytest.mark.parametrize("penalty", [0.1, 0.001])
def test_stacking_is_scikit_learns_regression_on_the_same_log_probabilities(penalty):
    logits, truth = scores("multiclass")
    features = stacking_features(torch.from_numpy(logits), "multiclass").numpy().astype(np.float64)
    np.testing.assert_allclose(
        features, log_softmax(logits.astype(np.float64), axis=-1).transpose(1, 0, 2).reshape(-1, 9), atol=1e-5
    )
    layer = fit_stacking(logits, truth, "multiclass", penalty=penalty)
    scaler = StandardScaler().fit(features)
    twin = LogisticRegression(C=1 / (len(truth) * penalty), tol=1e-8, max_iter=5000)
    expected = twin.fit(scaler.transform(features), truth).predict_proba(scaler.transform(features))
    found = (torch.from_numpy(features).float() @ layer.weight.T + layer.bias).softmax(-1)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_stacking_of_several_labels_is_a_regression_for_each():
    logits, truth = scores("multilabel")
    features = stacking_features(torch.from_numpy(logits), "multilabel").numpy().astype(np.float64)
    layer = fit_stacking(logits, truth, "multilabel", penalty=0.01)
    scaler = StandardScaler().fit(features)
    found = (torch.from_numpy(features).float() @ layer.weight.T + layer.bias).sigmoid().numpy()
    for label in range(3):
        # The loss is the mean over the labels as well, so that the penalty weighs three times as much for each.
        twin = LogisticRegression(C=1 / (len(truth) * 3 * 0.01), tol=1e-8, max_iter=5000)
        twin.fit(scaler.transform(features), truth[:, label])
        np.testing.assert_allclose(found[:, label], twin.predict_proba(scaler.transform(features))[:, 1], atol=2e-3)


def test_the_log_loss_is_scikit_learns():
    logits, truth = scores("multiclass")
    expected = log_loss_of_sklearn(truth, np.exp(log_softmax(logits[0].astype(np.float64), axis=-1)))
    assert log_loss(logits[0], truth, "multiclass") == pytest.approx(expected, abs=1e-7)
    both, labels = scores("multilabel")
    each = [log_loss_of_sklearn(labels[:, label], expit(both[0][:, label].astype(np.float64))) for label in range(3)]
    assert log_loss(both[0], labels, "multilabel") == pytest.approx(np.mean(each), abs=1e-7)
