"""Losses that know the cost of a mistake: by hand, by a loop, against PyTorch, and what they do to a decision."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix

from ringlight.errors import ConfigError, DataError, Problems
from ringlight.losses import LOSSES, CostSensitive, CrossEntropy, LeakAwareLoss, WeightedCrossEntropy

RIG = ("no_leak", "small", "large", "blocked")
LOGITS = torch.randn(8, 4, generator=torch.Generator().manual_seed(5)) * 2
TRUTH = torch.tensor([0, 1, 2, 3, 1, 0, 0, 2])
COSTS = [[0.0, 1.0, 1.0, 2.0], [10.0, 0.0, 0.5, 1.0], [20.0, 0.5, 0.0, 1.0], [5.0, 1.0, 1.0, 0.0]]


def _softmax(row):
    powers = [math.exp(value) for value in row.tolist()]
    return [power / sum(powers) for power in powers]


# --- a leak missed or called wrongly ----------------------------------------------------------------------------------


def test_a_missed_leak_costs_double_and_a_wrong_kind_does_not():
    """With class weights alone, a small leak called large cost as much as a small leak missed."""
    loss = LeakAwareLoss(3, leak_classes=[1, 2], reduction="none")
    half = math.log(0.5)
    sure = -60.0
    missed, wrong_kind, false_alarm = (
        torch.tensor([[half, half, sure]]), torch.tensor([[sure, half, half]]), torch.tensor([[half, half, sure]]),
    )  # fmt: skip
    two = math.log(2)
    assert float(loss(missed, torch.tensor([1]))) == pytest.approx(2 * two, rel=1e-6)
    assert float(loss(wrong_kind, torch.tensor([1]))) == pytest.approx(two, rel=1e-6)
    assert float(loss(false_alarm, torch.tensor([0]))) == pytest.approx(two, rel=1e-6)
    weighted = LeakAwareLoss(3, leak_classes=[1, 2], kind_penalty=None, reduction="none")
    assert float(weighted(wrong_kind, torch.tensor([1]))) == pytest.approx(2 * two, rel=1e-6)


@pytest.mark.parametrize("kind", [0.0, 1.0, 0.3, None])
def test_leak_aware_equals_a_naive_loop(kind):
    loss = LeakAwareLoss(4, classes=RIG, leak_classes=["small", "large"], leak_penalty=5, non_leak_penalty=0.5,
                         kind_penalty=kind, reduction="none")  # fmt: skip
    expected = []
    for row, truth in zip(LOGITS, TRUTH.tolist(), strict=True):
        p = _softmax(row)
        side, weight = ((1, 2), 5.0) if truth in (1, 2) else ((0, 3), 0.5)
        on_side = sum(p[c] for c in side)
        expected.append(-weight * math.log(on_side) - (weight if kind is None else kind) * math.log(p[truth] / on_side))
    np.testing.assert_allclose(loss(LOGITS, TRUTH), expected, rtol=2e-5)


def _weighted(weights, reduction):
    return torch.nn.functional.cross_entropy(LOGITS, TRUTH, weight=torch.tensor(weights), reduction=reduction)


@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_leak_aware_is_weighted_cross_entropy_where_a_wrong_kind_costs_as_much_as_its_side(reduction):
    loss = LeakAwareLoss(4, leak_classes=[1, 2, 3], leak_penalty=3.0, kind_penalty=None, reduction=reduction)
    torch.testing.assert_close(loss(LOGITS, TRUTH), _weighted([1.0, 3.0, 3.0, 3.0], reduction))
    ours = WeightedCrossEntropy(4, weights=[1.0, 3.0, 3.0, 3.0], reduction=reduction)
    torch.testing.assert_close(loss(LOGITS, TRUTH), ours(LOGITS, TRUTH))


@pytest.mark.parametrize("kind", [0.0, 1.0, None])
def test_leak_aware_is_weighted_cross_entropy_of_two_classes(kind):
    logits, truth = LOGITS[:, :2], TRUTH.clamp(max=1)
    loss = LeakAwareLoss(2, leak_classes=[1], leak_penalty=2.0, kind_penalty=kind, reduction="none")
    expected = WeightedCrossEntropy(2, weights=[1.0, 2.0], reduction="none")(logits, truth)
    torch.testing.assert_close(loss(logits, truth), expected)
    mean = WeightedCrossEntropy(2, weights=[1.0, 2.0])(logits, truth)
    scale = float((1.0 + truth).sum()) / 8  # its mean divides by the weights of the batch, ours by its size
    loss.reduction = "mean"
    torch.testing.assert_close(loss(logits, truth), mean * scale)


def test_leak_aware_with_penalties_of_one_is_cross_entropy():
    loss = LeakAwareLoss(4, leak_classes=[2], leak_penalty=1.0)
    torch.testing.assert_close(loss(LOGITS, TRUTH), CrossEntropy(4)(LOGITS, TRUTH))


@pytest.mark.parametrize("kind", [1.0, None])
def test_its_least_value_has_the_true_odds_times_the_penalties(kind):
    """What the docstring promises of the scores, found by descent on a record of known chances."""
    chances = torch.tensor([[0.7, 0.1, 0.2]])
    loss = LeakAwareLoss(3, leak_classes=[1, 2], leak_penalty=4.0, non_leak_penalty=1.0, kind_penalty=kind)
    logits = torch.zeros(1, 3, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=100, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = loss(logits, chances)
        value.backward()
        return value

    optimizer.step(closure)
    none, small, large = torch.softmax(logits.detach()[0], 0).tolist()
    assert (small + large) / none == pytest.approx(4.0 * 0.3 / 0.7, rel=1e-3)
    assert large / small == pytest.approx(2.0, rel=1e-3)
    assert small + large > none, "a leak of three chances in ten is announced when missing it costs four false alarms"


def test_the_leaks_are_every_class_but_the_good_one_unless_they_are_named(caplog):
    assert LeakAwareLoss(4, classes=RIG[::-1], good_class="no_leak").get_params()["leak_classes"] == [0, 1, 2]
    assert LeakAwareLoss(4, classes=RIG, leak_classes=["large", 1]).get_params()["leak_classes"] == [1, 2]
    assert LeakAwareLoss(4, classes=RIG, leak_classes="large").get_params()["leak_classes"] == [2]
    assert not caplog.records
    with caplog.at_level(logging.WARNING, logger="ringlight"):
        logging.getLogger("ringlight").addHandler(caplog.handler)
        try:
            guessed = LeakAwareLoss(3, classes=("a", "b", "c"))
        finally:
            logging.getLogger("ringlight").removeHandler(caplog.handler)
    assert guessed.get_params()["leak_classes"] == [1, 2]
    assert "every class but the first, `a`, is a leak" in caplog.text


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"leak_classes": ["smal"]},
            "loss.leak_classes: expected a class of the data set, by name or number, got `smal`; did you mean `small`?",
        ),
        (
            {"leak_classes": [4]},
            "loss.leak_classes: expected a class of the data set, by name or number, got `4`; choose from: 0, 1, 2, 3, "
            "blocked, large, no_leak, small",
        ),
        (
            {"leak_classes": []},
            "loss.leak_classes: expected some of the classes, not all and not none, got []; list the classes that are "
            "leaks",
        ),
        (
            {"leak_classes": [0, 1, 2, 3]},
            "loss.leak_classes: expected some of the classes, not all and not none, got [0, 1, 2, 3]; leave out the "
            "class without a leak",
        ),
        (
            {"leak_classes": [1], "leak_penalty": -1.0},
            "loss.leak_penalty: expected a number of 0 or more, got -1; correct the value",
        ),
        (
            {"leak_classes": [1], "kind_penalty": float("nan")},
            "loss.kind_penalty: expected a number of 0 or more, got nan; correct the value",
        ),
    ],
)
def test_what_leak_aware_refuses_is_one_line(params, message):
    with pytest.raises(ConfigError) as caught:
        LeakAwareLoss(4, classes=RIG, **params)
    assert str(caught.value) == message


# --- a table of costs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_cost_sensitive_equals_a_naive_loop(share):
    loss = CostSensitive(4, costs=COSTS, cross_entropy_weight=share, reduction="none")
    expected = []
    for row, truth in zip(LOGITS, TRUTH.tolist(), strict=True):
        p = _softmax(row)
        expected.append(sum(COSTS[truth][j] * p[j] for j in range(4)) - share * math.log(p[truth]))
    np.testing.assert_allclose(loss(LOGITS, TRUTH), expected, rtol=2e-5)


def test_without_costs_it_is_the_chance_of_a_wrong_decision():
    wrong = 1 - torch.softmax(LOGITS, 1).gather(1, TRUTH.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(CostSensitive(4, reduction="none")(LOGITS, TRUTH), wrong)


def test_for_sure_scores_it_is_the_mean_cost_of_the_decisions():
    """Against scikit-learn's confusion matrix: what the scores decide, priced by the table."""
    decided = LOGITS.argmax(dim=1)
    table = confusion_matrix(TRUTH, decided, labels=range(4))
    value = CostSensitive(4, costs=COSTS)(torch.eye(4)[decided] * 200, TRUTH)
    assert float(value) == pytest.approx((table * np.array(COSTS)).sum() / 8, rel=1e-5)


def test_mixed_labels_count_in_their_shares():
    for loss in (CostSensitive(4, costs=COSTS, cross_entropy_weight=0.5), LeakAwareLoss(4, leak_classes=[1, 2])):
        first, second = loss(LOGITS[:1], torch.tensor([1])), loss(LOGITS[:1], torch.tensor([0]))
        mixed = loss(LOGITS[:1], torch.tensor([[0.25, 0.75, 0.0, 0.0]]))
        torch.testing.assert_close(mixed, 0.75 * first + 0.25 * second)
        torch.testing.assert_close(loss(LOGITS, torch.eye(4)[TRUTH]), loss(LOGITS, TRUTH))


def test_costs_by_name_leave_the_others_at_one():
    loss = CostSensitive(3, classes=("good", "small", "large"), costs={"large": {"good": 20, 1: 0.5}, 1: {"good": 10}})
    assert loss.get_params()["costs"] == [[0.0, 1.0, 1.0], [10.0, 0.0, 1.0], [20.0, 0.5, 0.0]]
    assert LOSSES.problems("cost_sensitive", {"costs": {"large": {"good": 20}}}) == []
    assert LOSSES.problems("cost_sensitive", {"costs": [[0, 1], [2.5, 0]]}) == []


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        ([[0, 1], [1, 0]], "3 lists of 3 numbers, a row for each truth, got 2 of 2; list the classes in the data "),
        ([[0, 1, 1], [1, 0], [1, 1, 0]], "3 lists of 3 numbers, a row for each truth, got 3 of 2 and 3; list the"),
        ([], "3 lists of 3 numbers, a row for each truth, got 0 of none; list the"),
        ([[0, 1, 1], [1, 0, -2], [1, 1, 0]], "a number of 0 or more, got -2; correct the value"),
        (
            [[0, 1, 1], [1, 4, 2], [1, 1, 0]],
            "a right decision that costs no more than a wrong one, got 4 for class 1 decided right and 1 for it "
            "decided wrong; let rows be the truth and columns the decision, with 0 on the diagonal",
        ),
        ([[2, 2, 2], [0, 0, 0], [1, 1, 1]], "a decision that costs more than another, got none; give wrong decisions"),
        ({"b": {"x": 2}}, "a class of the data set, by name or number, got `x`; choose from: 0, 1, 2, a, b, c"),
    ],
)
def test_a_table_that_is_none_is_one_line(costs, message):
    with pytest.raises(ConfigError) as caught:
        CostSensitive(3, classes=("a", "b", "c"), costs=costs)
    assert str(caught.value).startswith(f"loss.costs: expected {message}")


def test_other_shapes_are_refused():
    with pytest.raises(DataError, match=r"expected logits \(B, 3\) and targets of \(B,\) class indices or \(B, 3\)"):
        CostSensitive(3)(LOGITS, TRUTH)
    with pytest.raises(Problems, match=r"loss\.costs: expected .*got 'high'"):
        LOSSES.build("cost_sensitive", num_classes=3, costs="high")


@pytest.mark.parametrize("costs", [[[0, 1], [1, 0]], [[0, 1], [12, 0]]])
def test_dear_misses_move_the_border_of_a_trained_model(costs):
    """Two overlapping bells: where misses cost twelve, fewer are missed than where they cost one."""
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(200, 1, generator=generator), torch.randn(200, 1, generator=generator) + 1.5])
    truth = torch.arange(400) // 200
    torch.manual_seed(0)
    model = torch.nn.Linear(1, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for loss in [CostSensitive(2, costs=costs, cross_entropy_weight=0.1)] * 120:
        optimizer.zero_grad()
        loss(model(x), truth).backward()
        optimizer.step()
    missed = int((model(x).argmax(1)[200:] == 0).sum())
    assert (missed < 10) is (costs[1][0] == 12)


def test_a_training_in_half_precision_prices_in_single():
    """Autocast multiplies matrices in bfloat16, where a probability has two digits."""
    for loss in (CostSensitive(4, costs=COSTS), LeakAwareLoss(4, leak_classes=[1, 2])):
        with torch.autocast("cpu", torch.bfloat16):
            half = loss(LOGITS, TRUTH)
        assert half.dtype == torch.float32
        assert torch.equal(half, loss(LOGITS, TRUTH))
