from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight

from ringlight.errors import ConfigError, DataError
from ringlight.losses import BCEWithLogits, CrossEntropy, WeightedCrossEntropy

GENERATOR = torch.Generator().manual_seed(3)
LOGITS = torch.randn(8, 3, generator=GENERATOR) * 2
CLASSES = torch.tensor([0, 1, 2, 2, 1, 0, 0, 0])
LABELS = (torch.rand(8, 3, generator=GENERATOR) < 0.4).float()


def _naive_bce(pos_weight: list[float], smoothing: float) -> float:
    total = 0.0
    for row in range(8):
        for c in range(3):
            p = 1 / (1 + math.exp(-float(LOGITS[row, c])))
            y = (1 - smoothing) * float(LABELS[row, c]) + smoothing / 2
            total -= pos_weight[c] * y * math.log(p) + (1 - y) * math.log(1 - p)
    return total / 24


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_bce_equals_a_naive_loop(smoothing):
    loss = BCEWithLogits(3, pos_weight=[1.0, 4.0, 0.5], smoothing=smoothing)
    assert float(loss(LOGITS, LABELS)) == pytest.approx(_naive_bce([1.0, 4.0, 0.5], smoothing), rel=1e-5)


def test_bce_by_hand():
    # p = 3/4, a positive that counts twice, a negative: (2 * -log 3/4 - log 1/4) / 2
    loss = BCEWithLogits(2, pos_weight=2.0)
    value = loss(torch.full((1, 2), math.log(3)), torch.tensor([[1.0, 0.0]]))
    assert float(value) == pytest.approx((-2 * math.log(0.75) - math.log(0.25)) / 2, rel=1e-6)


def test_bce_equals_scikit_learn_class_by_class():
    probabilities = torch.sigmoid(LOGITS.double()).numpy()
    expected = np.mean([log_loss(LABELS[:, c], probabilities[:, c], labels=[0, 1]) for c in range(3)])
    assert float(BCEWithLogits(3)(LOGITS, LABELS)) == pytest.approx(expected, rel=1e-5)


def test_bce_takes_class_indices_as_one_against_the_rest():
    one_hot = torch.eye(3)[CLASSES]
    multiclass = BCEWithLogits(3, task="multiclass")(LOGITS, CLASSES)
    torch.testing.assert_close(multiclass, BCEWithLogits(3)(LOGITS, one_hot))


def _naive_ce(weights: list[float], smoothing: float) -> float:
    total, weight_sum = 0.0, 0.0
    for row in range(8):
        exponentials = [math.exp(value) for value in LOGITS[row].tolist()]
        true = int(CLASSES[row])
        for c in range(3):
            y = (1 - smoothing) * (c == true) + smoothing / 3
            total -= weights[c] * y * math.log(exponentials[c] / sum(exponentials))
        weight_sum += weights[true]
    return total / weight_sum


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_equals_a_naive_loop(smoothing):
    loss = CrossEntropy(3, label_smoothing=smoothing)
    assert float(loss(LOGITS, CLASSES)) == pytest.approx(_naive_ce([1.0] * 3, smoothing), rel=1e-5)
    weighted = WeightedCrossEntropy(3, weights=[0.5, 1.0, 3.0], label_smoothing=smoothing)
    assert float(weighted(LOGITS, CLASSES)) == pytest.approx(_naive_ce([0.5, 1.0, 3.0], smoothing), rel=1e-5)


def test_weighted_cross_entropy_by_hand():
    # p = 1/2 each: both images cost log 2, and the weights cancel in the mean
    loss = WeightedCrossEntropy(2, weights=[1.0, 3.0], reduction="sum")
    assert float(loss(torch.zeros(2, 2), torch.tensor([0, 1]))) == pytest.approx(4 * math.log(2), rel=1e-6)


def test_cross_entropy_equals_scikit_learn():
    probabilities = torch.softmax(LOGITS.double(), dim=1).numpy()
    assert float(CrossEntropy(3)(LOGITS, CLASSES)) == pytest.approx(log_loss(CLASSES, probabilities), rel=1e-5)
    weights = WeightedCrossEntropy(3, weights=[0.5, 1.0, 3.0])
    expected = log_loss(CLASSES, probabilities, sample_weight=np.array([0.5, 1.0, 3.0])[CLASSES])
    assert float(weights(LOGITS, CLASSES)) == pytest.approx(expected, rel=1e-5)


def test_balanced_weights_are_scikit_learns():
    counts = np.bincount(CLASSES)
    ours = WeightedCrossEntropy(3, class_counts=counts.tolist()).get_params()["weights"]
    theirs = compute_class_weight("balanced", classes=np.arange(3), y=CLASSES.numpy())
    assert ours == pytest.approx(theirs.tolist(), abs=1e-6)


def test_probabilities_are_targets_too():
    torch.testing.assert_close(CrossEntropy(3)(LOGITS, torch.eye(3)[CLASSES]), CrossEntropy(3)(LOGITS, CLASSES))


@pytest.mark.parametrize("kind", [CrossEntropy, WeightedCrossEntropy])
def test_cross_entropy_refuses_multilabel_data(kind):
    with pytest.raises(ConfigError) as caught:
        kind(3, task="multilabel", class_counts=[1, 1, 1])
    assert str(caught.value) == (
        f"loss.name: expected a multiclass data set for `{kind.name}`, got multilabel; "
        "use bce_with_logits or focal_loss"
    )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: WeightedCrossEntropy(2, class_counts=[4, 0]),
            "loss.weights: expected training images of every class for balanced, got none of class 1 ([4, 0]); "
            "add images of it, or list the weights",
        ),
        (
            lambda: WeightedCrossEntropy(2),
            "loss.weights: expected the training set's label count of each of 2 classes for balanced, got none; "
            "pass class_counts=[...], or set loss.weights to numbers",
        ),
        (
            lambda: WeightedCrossEntropy(2, weights="balance"),
            "loss.weights: expected balanced or a list of numbers, got `balance`; did you mean `balanced`?",
        ),
        (
            lambda: CrossEntropy(1),
            "num_classes: expected 2 or more classes for a multiclass loss, got 1; add images of another "
            "class: of one class there is nothing to learn",
        ),
        (
            lambda: BCEWithLogits(2, smoothing=2.0),
            "loss.smoothing: expected a number between 0 and 1, got 2; correct the value",
        ),
        (
            lambda: BCEWithLogits(2, pos_weight=-1.0),
            "loss.pos_weight: expected a number of 0 or more, got -1; correct the value",
        ),
    ],
)
def test_bad_arguments_are_refused_in_one_line(build, message):
    with pytest.raises(ConfigError) as caught:
        build()
    assert str(caught.value) == message


def test_logits_of_another_width_are_refused():
    with pytest.raises(DataError, match=r"expected logits \(B, 3\) and targets of \(B,\) class indices or \(B, 3\)"):
        CrossEntropy(3)(torch.zeros(2, 4), torch.zeros(2, dtype=torch.long))


def test_parameters_are_json():
    params = [
        BCEWithLogits(2, pos_weight=3).get_params(),
        CrossEntropy(2, label_smoothing=0.1).get_params(),
        WeightedCrossEntropy(2, weights=[1, 2]).get_params(),
    ]
    assert json.loads(json.dumps(params)) == params
    assert params[0]["pos_weight"] == [3.0, 3.0]
    assert params[2]["weights"] == [1.0, 2.0]
