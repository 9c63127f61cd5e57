from __future__ import annotations

import json
import math

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from torch.nn import functional as F  # noqa: N812

from ringlight.errors import ConfigError, DataError
from ringlight.losses import BalancedSoftmax, CrossEntropy, LogitAdjustment
from ringlight.losses.adjust import post_hoc_logit_adjustment

COUNTS = [46, 2, 10]
GENERATOR = torch.Generator().manual_seed(5)
LOGITS = torch.randn(7, 3, generator=GENERATOR) * 2
CLASSES = torch.tensor([0, 1, 2, 2, 1, 0, 0])
LABELS = (torch.rand(7, 3, generator=GENERATOR) < 0.4).float()


def test_balanced_softmax_by_hand():
    # logits 0 and log 2: (1 * 1) / (3 * 1 + 1 * 2) for the rare class, which comes second
    loss = BalancedSoftmax(2, class_counts=[3, 1])
    value = loss(torch.tensor([[0.0, math.log(2)]]), torch.tensor([1]))
    assert float(value) == pytest.approx(-math.log(2 / 5), rel=1e-6)


def test_balanced_softmax_equals_a_naive_loop():
    total = 0.0
    for row, true in zip(LOGITS.tolist(), CLASSES.tolist(), strict=True):
        weighed = [count * math.exp(logit) for count, logit in zip(COUNTS, row, strict=True)]
        total -= math.log(weighed[true] / sum(weighed))
    assert float(BalancedSoftmax(3, class_counts=COUNTS)(LOGITS, CLASSES)) == pytest.approx(total / 7, rel=1e-5)


def test_balanced_softmax_equals_scikit_learns_log_loss_of_the_reweighed_probabilities():
    shares = torch.tensor(COUNTS, dtype=torch.float64) * torch.softmax(LOGITS.double(), dim=1)
    probabilities = (shares / shares.sum(dim=1, keepdim=True)).numpy()
    ours = float(BalancedSoftmax(3, class_counts=COUNTS)(LOGITS, CLASSES))
    assert ours == pytest.approx(log_loss(CLASSES, probabilities, labels=[0, 1, 2]), rel=1e-5)


def test_balanced_softmax_takes_probabilities_and_smoothing_as_cross_entropy_does():
    loss = BalancedSoftmax(3, class_counts=COUNTS, label_smoothing=0.1)
    torch.testing.assert_close(loss(LOGITS, F.one_hot(CLASSES, 3).float()), loss(LOGITS, CLASSES))
    plain = CrossEntropy(3, label_smoothing=0.1)
    torch.testing.assert_close(loss(LOGITS, CLASSES), plain(LOGITS + torch.tensor(COUNTS).log(), CLASSES))
    equal = BalancedSoftmax(3, class_counts=[5, 5, 5], label_smoothing=0.1)
    torch.testing.assert_close(equal(LOGITS, CLASSES), plain(LOGITS, CLASSES))


def test_logit_adjustment_at_one_is_balanced_softmax_and_at_zero_cross_entropy():
    for reduction in ("mean", "sum", "none"):
        adjusted = LogitAdjustment(3, class_counts=COUNTS, tau=1.0, reduction=reduction)(LOGITS, CLASSES)
        balanced = BalancedSoftmax(3, class_counts=COUNTS, reduction=reduction)(LOGITS, CLASSES)
        torch.testing.assert_close(adjusted, balanced, rtol=1e-5, atol=1e-6)
        plain = LogitAdjustment(3, class_counts=COUNTS, tau=0.0, reduction=reduction)(LOGITS, CLASSES)
        torch.testing.assert_close(plain, CrossEntropy(3, reduction=reduction)(LOGITS, CLASSES))


def test_logit_adjustment_equals_a_naive_loop():
    """Equation 10 in its pairwise form: log(1 + sum over the others of (pi_c / pi_y)^tau e^(z_c - z_y))."""
    tau, total = 1.7, 0.0
    for row, true in zip(LOGITS.tolist(), CLASSES.tolist(), strict=True):
        others = [c for c in range(3) if c != true]
        total += math.log1p(sum((COUNTS[c] / COUNTS[true]) ** tau * math.exp(row[c] - row[true]) for c in others))
    loss = LogitAdjustment(3, class_counts=COUNTS, tau=tau)
    assert float(loss(LOGITS, CLASSES)) == pytest.approx(total / 7, rel=1e-5)


def test_logit_adjustment_by_hand():
    # shares 3/4 and 1/4, tau 2: 9 to 1
    loss = LogitAdjustment(2, class_counts=[3, 1], tau=2.0, reduction="none")
    values = loss(torch.zeros(2, 2), torch.tensor([0, 1])).tolist()
    assert values == pytest.approx([-math.log(0.9), -math.log(0.1)], rel=1e-6)


def test_multilabel_logit_adjustment_by_hand():
    # one record in five, tau 2: odds (1/4)^2, a chance of 1 in 17
    loss = LogitAdjustment(1, task="multilabel", class_counts=[2], num_records=10, tau=2.0, reduction="none")
    values = loss(torch.zeros(2, 1), torch.tensor([[1.0], [0.0]])).flatten().tolist()
    assert values == pytest.approx([math.log(17), math.log(17 / 16)], rel=1e-6)


def test_multilabel_logit_adjustment_equals_the_two_class_one_for_each_class():
    """What carries the paper over: a class that is there or not is a problem of two classes."""
    loss = LogitAdjustment(3, task="multilabel", class_counts=COUNTS, num_records=60, tau=0.7, reduction="none")
    ours = loss(LOGITS, LABELS)
    for c, count in enumerate(COUNTS):
        pair = LogitAdjustment(2, class_counts=[60 - count, count], tau=0.7, reduction="none")
        two = torch.stack([torch.zeros(7), LOGITS[:, c]], dim=1)
        torch.testing.assert_close(ours[:, c], pair(two, LABELS[:, c].long()), rtol=1e-5, atol=1e-6)


def test_multilabel_logit_adjustment_equals_a_naive_loop():
    total = 0.0
    for row in range(7):
        for c, count in enumerate(COUNTS):
            weighed = count / (60 - count) * math.exp(float(LOGITS[row, c]))
            p = weighed / (1 + weighed)
            total -= math.log(p if LABELS[row, c] else 1 - p)
    loss = LogitAdjustment(3, task="multilabel", class_counts=COUNTS, num_records=60)
    assert float(loss(LOGITS, LABELS)) == pytest.approx(total / 21, rel=1e-5)


def test_the_best_constant_logits_under_the_adjusted_loss_prefer_no_class():
    """Without any picture to go by, cross-entropy learns the shares; the adjusted loss learns equal logits."""
    targets = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))
    logits = torch.zeros(1, 3, requires_grad=True)
    LogitAdjustment(3, class_counts=COUNTS)(logits.expand(58, 3), targets).backward()
    torch.testing.assert_close(logits.grad, torch.zeros(1, 3), atol=1e-6, rtol=0)
    labels = torch.stack([(torch.arange(60) < count).float() for count in COUNTS], dim=1)
    logits = torch.zeros(1, 3, requires_grad=True)
    LogitAdjustment(3, task="multilabel", class_counts=COUNTS, num_records=60)(logits.expand(60, 3), labels).backward()
    torch.testing.assert_close(logits.grad, torch.zeros(1, 3), atol=1e-6, rtol=0)


def test_post_hoc_adjustment_by_hand():
    assert post_hoc_logit_adjustment([3, 1], 2.0, "multiclass").tolist() == pytest.approx(
        [-2 * math.log(0.75), -2 * math.log(0.25)], rel=1e-6
    )
    assert post_hoc_logit_adjustment([3, 1], 0.5, "multilabel", 5).tolist() == pytest.approx(
        [-0.5 * math.log(3 / 2), -0.5 * math.log(1 / 4)], rel=1e-6
    )


@pytest.mark.parametrize("tau", [0.0, 1.0, 2.5])
@pytest.mark.parametrize(("task", "records"), [("multiclass", None), ("multilabel", 60)])
def test_post_hoc_adjustment_takes_off_what_the_loss_adds(tau, task, records):
    offset = post_hoc_logit_adjustment(COUNTS, tau, task, records)
    loss = LogitAdjustment(3, task=task, class_counts=COUNTS, num_records=records, tau=tau)
    assert offset.shape == (3,)
    assert offset.dtype == torch.float32
    torch.testing.assert_close(offset, -loss.offset)


def test_post_hoc_adjustment_divides_the_probabilities_by_the_shares():
    """Equation 8: the balanced decision is the largest p_c / pi_c."""
    probabilities = torch.softmax(LOGITS, dim=1)
    shares = torch.tensor(COUNTS) / sum(COUNTS)
    expected = probabilities / shares
    adjusted = torch.softmax(LOGITS + post_hoc_logit_adjustment(COUNTS, 1.0, "multiclass"), dim=1)
    torch.testing.assert_close(adjusted, expected / expected.sum(dim=1, keepdim=True))


def test_post_hoc_adjustment_moves_scikit_learns_decision_to_that_of_balanced_data():
    """Another library: for one feature with overlapping classes, the threshold moves to the middle between them."""
    generator = torch.Generator().manual_seed(0)
    common, rare = torch.randn(4000, 1, generator=generator), torch.randn(200, 1, generator=generator) + 2
    features = torch.cat([common, rare]).numpy()
    model = LogisticRegression(C=1e6).fit(features, [0] * 4000 + [1] * 200)
    slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
    first, second = post_hoc_logit_adjustment([4000, 200], 1.0, "multiclass").tolist()
    assert -intercept / slope > 2
    assert -(intercept + second - first) / slope == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: BalancedSoftmax(2, class_counts=[4, 0]),
            "loss.name: expected training images of every class for balanced_softmax, got none of class 1 ([4, 0]); "
            "add images of it, or use cross_entropy",
        ),
        (
            lambda: BalancedSoftmax(2),
            "loss.name: expected the training set's label count of each of 2 classes for balanced_softmax, got none; "
            "pass class_counts=[...]",
        ),
        (
            lambda: BalancedSoftmax(2, task="multilabel", class_counts=[4, 1]),
            "loss.name: expected a multiclass data set for `balanced_softmax`, got multilabel; use logit_adjustment",
        ),
        (
            lambda: LogitAdjustment(2, class_counts=[0, 4]),
            "loss.name: expected training images of every class for logit_adjustment, got none of class 0 ([0, 4]); "
            "add images of it, or use cross_entropy",
        ),
        (
            lambda: LogitAdjustment(2, class_counts=[3, 4], tau=-1.0),
            "loss.tau: expected a number of 0 or more, got -1; correct the value",
        ),
        (
            lambda: LogitAdjustment(2, task="multilabel", class_counts=[3, 4]),
            "loss.name: expected the number of training records for logit_adjustment, got none; "
            "pass num_records=N, or use bce_with_logits",
        ),
        (
            lambda: LogitAdjustment(2, task="multilabel", class_counts=[3, 4], num_records=4),
            "loss.name: expected training records without each class for logit_adjustment, got class 1 on all 4; "
            "add records without it, or use bce_with_logits",
        ),
        (
            lambda: post_hoc_logit_adjustment([3, 0], 1.0, "multiclass"),
            "class_counts: expected training images of every class for post-hoc logit adjustment, got none of class 1 "
            "([3, 0]); add images of it, or leave the logits as they are",
        ),
        (
            lambda: post_hoc_logit_adjustment([3, 2], 1.0, "multilabel"),
            "class_counts: expected the number of training records for post-hoc logit adjustment, got none; "
            "pass num_records=N, or leave the logits as they are",
        ),
        (
            lambda: post_hoc_logit_adjustment([3, 2], math.nan, "multiclass"),
            "tau: expected a number of 0 or more, got nan; correct the value",
        ),
    ],
)
def test_bad_arguments_are_refused_in_one_line(build, message):
    with pytest.raises(ConfigError) as caught:
        build()
    assert str(caught.value) == message


def test_logits_of_another_width_are_refused():
    for loss in (BalancedSoftmax(3, class_counts=COUNTS), LogitAdjustment(3, class_counts=COUNTS)):
        with pytest.raises(DataError, match=r"expected logits \(B, 3\) and targets of"):
            loss(torch.zeros(2, 4), torch.zeros(2, dtype=torch.long))


def test_parameters_are_json():
    params = [
        BalancedSoftmax(2, class_counts=[1, 1]).get_params(),
        LogitAdjustment(2, class_counts=[1, 1], tau=1).get_params(),
    ]
    assert json.loads(json.dumps(params)) == params
    assert params[0]["log_counts"] == [0.0, 0.0]
    assert params[1]["offset"] == pytest.approx([-math.log(2)] * 2)
    assert params[1]["tau"] == 1.0
