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


def _steel(weights, reduction="mean", **params):
    return WeightedCrossEntropy(3, class_counts=[46, 2, 10], weights=weights, reduction=reduction, **params)


def test_inverse_weights_by_hand():
    # 1/46, 1/2, 1/10 over their mean, 0.6217/3
    mean = (1 / 46 + 1 / 2 + 1 / 10) / 3
    expected = [1 / 46 / mean, 1 / 2 / mean, 1 / 10 / mean]
    assert _steel("inverse").get_params()["weights"] == pytest.approx(expected, rel=1e-6)
    assert sum(expected) == pytest.approx(3)


def test_inverse_is_balanced_times_one_number_which_the_mean_loss_does_not_see():
    balanced, inverse = _steel("balanced"), _steel("inverse")
    factor = (inverse.weight / balanced.weight).tolist()
    assert factor == pytest.approx([3 / 58 / ((1 / 46 + 1 / 2 + 1 / 10) / 3)] * 3, rel=1e-6)
    assert factor[0] < 1
    torch.testing.assert_close(inverse(LOGITS, CLASSES), balanced(LOGITS, CLASSES))
    summed = [_steel(word, "sum")(LOGITS, CLASSES) for word in ("balanced", "inverse")]
    torch.testing.assert_close(summed[1], summed[0] * factor[0])


@pytest.mark.parametrize("beta", [0.9, 0.99, 0.999, 0.9999])
def test_effective_number_weights_equal_a_sum_of_powers(beta):
    """The closed form (1 - beta^n) / (1 - beta) is the sum 1 + beta + ... + beta^(n-1)."""
    raw = [1 / math.fsum(beta**power for power in range(count)) for count in (46, 2, 10)]
    expected = [3 * weight / math.fsum(raw) for weight in raw]
    ours = _steel("effective_number", beta=beta)
    assert ours.get_params()["weights"] == pytest.approx(expected, rel=1e-6)
    naive = _naive_ce(expected, 0.0)
    assert float(ours(LOGITS, CLASSES)) == pytest.approx(naive, rel=1e-5)


def test_effective_number_weights_by_hand():
    # beta = 1/2: two images count 1.5, one counts 1; 2/3 and 1 over their mean 5/6
    loss = WeightedCrossEntropy(2, class_counts=[2, 1], weights="effective_number", beta=0.5)
    assert loss.get_params()["weights"] == pytest.approx([0.8, 1.2], rel=1e-6)


def test_effective_number_weights_are_scikit_learns_of_the_effective_counts():
    """Another library: balanced weights of classes that have as many images as they effectively have."""
    counts, beta = [2, 3], 0.5  # effective numbers 1.5 and 1.75: as 6 to 7
    theirs = compute_class_weight("balanced", classes=np.arange(2), y=np.repeat([0, 1], [6, 7]))
    ours = WeightedCrossEntropy(2, class_counts=counts, weights="effective_number", beta=beta).weight
    assert ours.tolist() == pytest.approx((2 * theirs / theirs.sum()).tolist(), rel=1e-6)


def test_effective_numbers_lie_between_equal_weights_and_inverse_ones():
    assert _steel("effective_number", beta=0.0).weight.tolist() == [1.0, 1.0, 1.0]
    torch.testing.assert_close(_steel("effective_number", beta=1.0).weight, _steel("inverse").weight)
    torch.testing.assert_close(_steel("effective_number", beta=1 - 1e-12).weight, _steel("inverse").weight)
    ratios = [
        float(weight[1] / weight[0]) for weight in (_steel("effective_number", beta=b).weight for b in (0.9, 0.999))
    ]
    assert 1 < ratios[0] < ratios[1] < 23


def test_balanced_pos_weight_is_negatives_over_positives():
    labels = np.array([[1, 0], [1, 0], [1, 1], [0, 0], [0, 0], [1, 0]])
    loss = BCEWithLogits(2, pos_weight="balanced", class_counts=labels.sum(0).tolist(), num_records=len(labels))
    assert loss.get_params()["pos_weight"] == [0.5, 5.0]
    for column, ours in enumerate([0.5, 5.0]):
        negative, positive = compute_class_weight("balanced", classes=np.arange(2), y=labels[:, column])
        assert ours == pytest.approx(positive / negative)


def test_balanced_pos_weight_of_a_multiclass_set_counts_the_other_classes_as_negatives():
    """One class an image: the records are the labels, whatever number is passed."""
    for records in (None, 45):
        loss = BCEWithLogits(3, task="multiclass", pos_weight="balanced", class_counts=[30, 5, 10], num_records=records)
        assert loss.get_params()["pos_weight"] == [0.5, 8.0, 3.5]


def test_under_balanced_pos_weight_a_score_of_one_half_is_the_share_of_the_class():
    """The gradient at a score of one half is zero where one target in six is positive."""
    loss = BCEWithLogits(1, pos_weight="balanced", class_counts=[1], num_records=6, reduction="sum")
    logits = torch.zeros(6, 1, requires_grad=True)
    loss(logits, torch.tensor([[1.0], [0], [0], [0], [0], [0]])).backward()
    assert float(logits.grad.sum()) == pytest.approx(0.0, abs=1e-6)


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
            "loss.weights: expected balanced, inverse, effective_number or a list of numbers, got `balance`; "
            "did you mean `balanced`?",
        ),
        (
            lambda: WeightedCrossEntropy(2, class_counts=[4, 0], weights="effective_number"),
            "loss.weights: expected training images of every class for effective_number, got none of class 1 ([4, 0]); "
            "add images of it, or list the weights",
        ),
        (
            lambda: WeightedCrossEntropy(2, class_counts=[4, 1], weights="effective_number", beta=1.5),
            "loss.beta: expected a number between 0 and 1, got 1.5; correct the value",
        ),
        (
            lambda: BCEWithLogits(2, pos_weight="balancd"),
            "loss.pos_weight: expected balanced, a number, a list of numbers or null, got `balancd`; "
            "did you mean `balanced`?",
        ),
        (
            lambda: BCEWithLogits(2, pos_weight="balanced"),
            "loss.pos_weight: expected the training set's label count of each of 2 classes for balanced, got none; "
            "pass class_counts=[...], or set loss.pos_weight to numbers",
        ),
        (
            lambda: BCEWithLogits(2, pos_weight="balanced", class_counts=[4, 1]),
            "loss.pos_weight: expected the number of training records for balanced, got none; "
            "pass num_records=N, or list the weights",
        ),
        (
            lambda: BCEWithLogits(2, pos_weight="balanced", class_counts=[4, 1], num_records=3),
            "loss.pos_weight: expected the number of training records for balanced, got 3 for label counts [4, 1]; "
            "pass num_records=N, or list the weights",
        ),
        (
            lambda: BCEWithLogits(2, pos_weight="balanced", class_counts=[4, 0], num_records=9),
            "loss.pos_weight: expected training images of every class for balanced, got none of class 1 ([4, 0]); "
            "add images of it, or list the weights",
        ),
        (
            lambda: BCEWithLogits(2, pos_weight="balanced", class_counts=[4, 1], num_records=4),
            "loss.pos_weight: expected training records without each class for balanced, got class 0 on all 4; "
            "add records without it, or list the weights",
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
