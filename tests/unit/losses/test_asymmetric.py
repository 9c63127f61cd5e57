from __future__ import annotations

import json
import math

import pytest
import torch
from timm.loss import AsymmetricLossMultiLabel

from ringlight.errors import ConfigError, DataError
from ringlight.losses import AsymmetricLoss, BCEWithLogits, FocalLoss

GENERATOR = torch.Generator().manual_seed(11)
LOGITS = torch.randn(64, 4, generator=GENERATOR) * 3
LABELS = (torch.rand(64, 4, generator=GENERATOR) < 0.2).float()
SETTINGS = [(0.0, 4.0, 0.05), (1.0, 4.0, 0.05), (0.0, 2.0, 0.2), (2.0, 2.0, 0.0), (0.0, 0.0, 0.05), (0.5, 1.5, 0.05)]


def _loss(setting, reduction="mean", classes=4):
    gamma_pos, gamma_neg, clip = setting
    return AsymmetricLoss(classes, gamma_pos=gamma_pos, gamma_neg=gamma_neg, clip=clip, reduction=reduction)


def test_by_hand():
    # p = 3/4: a positive with gamma 1; a negative cut to 1/2 with gamma 2
    loss = _loss((1.0, 2.0, 0.25), "none", classes=2)
    values = loss(torch.full((1, 2), math.log(3)), torch.tensor([[1.0, 0.0]]))[0].tolist()
    assert values == pytest.approx([0.25 * -math.log(0.75), 0.5**2 * math.log(2)], rel=1e-6)


@pytest.mark.parametrize("setting", SETTINGS)
def test_it_equals_a_naive_loop(setting):
    gamma_pos, gamma_neg, clip = setting
    total = 0.0
    for row in range(64):
        for c in range(4):
            p = 1 / (1 + math.exp(-float(LOGITS[row, c])))
            cut = max(p - clip, 0.0)
            total -= (1 - p) ** gamma_pos * math.log(p) if LABELS[row, c] else cut**gamma_neg * math.log(1 - cut)
    assert float(_loss(setting)(LOGITS, LABELS)) == pytest.approx(total / 256, rel=1e-5)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_it_equals_timm(setting, reduction):
    gamma_pos, gamma_neg, clip = setting
    theirs = AsymmetricLossMultiLabel(gamma_neg=gamma_neg, gamma_pos=gamma_pos, clip=clip, reduction=reduction)
    torch.testing.assert_close(_loss(setting, reduction)(LOGITS, LABELS), theirs(LOGITS, LABELS), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("setting", [(1.0, 4.0, 0.05), (2.0, 2.0, 0.1)])
def test_its_gradient_equals_timms(setting):
    gamma_pos, gamma_neg, clip = setting
    theirs = AsymmetricLossMultiLabel(gamma_neg=gamma_neg, gamma_pos=gamma_pos, clip=clip, reduction="mean")
    gradients = []
    for loss in (_loss(setting), theirs):
        logits = LOGITS.clone().requires_grad_()
        loss(logits, LABELS).backward()
        gradients.append(logits.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-7)


def test_without_asymmetry_it_is_focal_loss_and_without_gamma_binary_cross_entropy():
    torch.testing.assert_close(
        _loss((2.0, 2.0, 0.0))(LOGITS, LABELS), FocalLoss(4, alpha=None, gamma=2.0)(LOGITS, LABELS)
    )
    torch.testing.assert_close(_loss((0.0, 0.0, 0.0))(LOGITS, LABELS), BCEWithLogits(4)(LOGITS, LABELS))


def test_a_negative_below_the_clip_costs_nothing_and_pulls_nowhere():
    logits = torch.tensor([[-4.0, -1.0]], requires_grad=True)  # p = 0.018 and 0.269
    AsymmetricLoss(2, reduction="sum")(logits, torch.zeros(1, 2)).backward()
    assert float(logits.grad[0, 0]) == 0.0
    assert float(logits.grad[0, 1]) > 0.0


def test_soft_targets_are_the_expectation_of_hard_ones():
    loss, logits = AsymmetricLoss(1), torch.tensor([[0.8]])
    hit, miss = (float(loss(logits, torch.tensor([[value]]))) for value in (1.0, 0.0))
    assert float(loss(logits, torch.tensor([[0.3]]))) == pytest.approx(0.3 * hit + 0.7 * miss, rel=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 4.0])
@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_huge_logits_stay_finite_with_finite_gradients(gamma, clip):
    """0^gamma has an infinite gradient below a gamma of 1: an easy negative would make the whole step NaN."""
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4], [0.0, -3.5]], requires_grad=True)
    targets = torch.tensor([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    value = _loss((gamma, gamma, clip), classes=2)(logits, targets)
    value.backward()
    assert torch.isfinite(value)
    assert value > 1000
    assert torch.isfinite(logits.grad).all()


def test_gradients_are_those_of_finite_differences():
    logits = torch.tensor([[0.4, -1.2], [2.0, 0.1]], dtype=torch.float32, requires_grad=True)
    targets = torch.tensor([[1.0, 0.0], [0.3, 1.0]])
    loss = _loss((1.0, 2.5, 0.05), "sum", classes=2)
    loss(logits, targets).backward()
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        step = torch.zeros(2, 2)
        step[row, column] = 1e-2
        with torch.no_grad():
            slope = (loss(logits + step, targets) - loss(logits - step, targets)) / 2e-2
        assert float(logits.grad[row, column]) == pytest.approx(float(slope), abs=2e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"task": "multiclass"},
            "loss.name: expected a multilabel data set for `asymmetric_loss`, got multiclass; "
            "use focal_loss or balanced_softmax",
        ),
        ({"clip": 0.95}, "loss.clip: expected a number between 0 and 0.9, got 0.95; correct the value"),
        ({"gamma_neg": -1.0}, "loss.gamma_neg: expected a number of 0 or more, got -1; correct the value"),
        ({"gamma_pos": math.inf}, "loss.gamma_pos: expected a number of 0 or more, got inf; correct the value"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(arguments, message):
    with pytest.raises(ConfigError) as caught:
        AsymmetricLoss(2, **arguments)
    assert str(caught.value) == message


def test_class_indices_are_refused():
    with pytest.raises(DataError, match=r"targets of \(B, 4\) scores, got logits \(2, 4\), targets \(2,\)"):
        AsymmetricLoss(4)(torch.zeros(2, 4), torch.zeros(2, dtype=torch.long))


def test_parameters_are_json():
    params = AsymmetricLoss(2, gamma_neg=3).get_params()
    assert json.loads(json.dumps(params)) == {
        "gamma_pos": 0.0,
        "gamma_neg": 3.0,
        "clip": 0.05,
        "reduction": "mean",
        "task": "multilabel",
        "num_classes": 2,
    }
