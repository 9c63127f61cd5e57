from __future__ import annotations

import json
import math

import pytest
import torch
from sklearn.metrics import hinge_loss

from ringlight.errors import ConfigError, DataError
from ringlight.losses import LDAM, CrossEntropy, WeightedCrossEntropy

COUNTS = [81, 1, 16]
GENERATOR = torch.Generator().manual_seed(7)
LOGITS = torch.randn(7, 3, generator=GENERATOR)
CLASSES = torch.tensor([0, 1, 2, 2, 1, 0, 0])


def test_margins_and_loss_by_hand():
    # fourth roots 3, 1, 2: margins 1/6, 1/2, 1/4
    loss = LDAM(3, class_counts=COUNTS, reduction="none")
    assert loss.get_params()["margins"] == pytest.approx([1 / 6, 1 / 2, 1 / 4], rel=1e-6)
    values = loss(torch.zeros(3, 3), torch.tensor([0, 1, 2])).tolist()
    expected = [math.log(1 + 2 * math.exp(margin)) for margin in (1 / 6, 1 / 2, 1 / 4)]
    assert values == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("epoch", [0, 8])
def test_it_equals_a_naive_loop(scale, epoch):
    loss = LDAM(3, class_counts=COUNTS, scale=scale, max_margin=0.7)
    loss.set_progress(epoch, 10)
    raw = [1 / math.fsum(0.999**power for power in range(count)) for count in COUNTS]
    weights = [3 * weight / sum(raw) for weight in raw] if epoch == 8 else [1.0] * 3
    total, weight_sum = 0.0, 0.0
    for row, true in zip(LOGITS.tolist(), CLASSES.tolist(), strict=True):
        moved = list(row)
        moved[true] -= 0.7 / COUNTS[true] ** 0.25
        exponentials = [math.exp(scale * value) for value in moved]
        total -= weights[true] * math.log(exponentials[true] / sum(exponentials))
        weight_sum += weights[true]
    assert float(loss(LOGITS, CLASSES)) == pytest.approx(total / weight_sum, rel=1e-4)


def test_without_margins_it_is_cross_entropy_and_late_it_is_the_weighted_one():
    loss = LDAM(3, class_counts=COUNTS, max_margin=0.0, beta=0.99)
    torch.testing.assert_close(loss(LOGITS, CLASSES), CrossEntropy(3)(LOGITS, CLASSES))
    loss.set_progress(9, 10)
    weighted = WeightedCrossEntropy(3, class_counts=COUNTS, weights="effective_number", beta=0.99)
    torch.testing.assert_close(loss(LOGITS, CLASSES), weighted(LOGITS, CLASSES))


def test_a_large_scale_approaches_scikit_learns_hinge_loss():
    """Another library: the soft-max at scale s, over s, tends to max(0, D_y - (z_y - largest other))."""
    loss = LDAM(3, class_counts=[5, 5, 5], max_margin=1.0, scale=2000.0)  # equal margins of 1: the ordinary hinge
    expected = hinge_loss(CLASSES.numpy(), LOGITS.numpy(), labels=[0, 1, 2])
    assert float(loss(LOGITS, CLASSES)) / 2000 == pytest.approx(expected, abs=1e-3)


def test_a_sure_example_of_the_rarest_class_counts_e_to_the_margin_times():
    logits = torch.tensor([[9.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
    loss = LDAM(3, class_counts=[10**8, 1, 1], max_margin=0.5, reduction="none")  # the common margin is 0.005
    common, rare = loss(logits, torch.tensor([0, 1])).tolist()
    assert rare / common == pytest.approx(math.exp(0.495), rel=1e-3)


@pytest.mark.parametrize(
    ("drw_start", "num_epochs", "first"),
    [
        (0.8, 200, 160),
        (0.8, 10, 8),
        (0.8, 4, 3),  # 3.2 rounds up to beyond the end: the last epoch has them all the same
        (0.8, 1, 0),
        (0.8, 6, 5),
        (0.55, 100, 55),
        (0.7, 10, 7),
        (0.0, 3, 0),
        (1.0, 3, None),
        (None, 3, None),
    ],
)
def test_the_weights_join_at_their_epoch(drw_start, num_epochs, first):
    """0.55 x 100 is 55.00000000000001 in binary; taken as it stands, the weights would join an epoch late."""
    loss = LDAM(3, class_counts=COUNTS, drw_start=drw_start)
    late = []
    for epoch in range(num_epochs):
        loss.set_progress(epoch, num_epochs)
        late.append(not torch.equal(loss.weight, torch.ones(3)))
    assert late == [first is not None and epoch >= first for epoch in range(num_epochs)]


def test_a_resumed_training_has_the_weights_of_its_epoch():
    """The state holds them, and the epoch's start sets them again: both ways lead to the same numbers."""
    straight = LDAM(3, class_counts=COUNTS)
    straight.set_progress(8, 10)
    resumed = LDAM(3, class_counts=COUNTS)
    resumed.load_state_dict(straight.state_dict())
    assert torch.equal(resumed.weight, straight.weight)
    fresh = LDAM(3, class_counts=COUNTS)
    fresh.set_progress(8, 10)
    assert torch.equal(fresh.weight, straight.weight)
    fresh.set_progress(7, 10)
    assert torch.equal(fresh.weight, torch.ones(3))


def test_the_parameters_do_not_change_in_the_course_of_the_training():
    """They stand in results.json as what was chosen; when the weights act follows from drw_start."""
    loss = LDAM(2, class_counts=[16, 1], drw_start=None)
    before = loss.get_params()
    loss.set_progress(9, 10)
    assert loss.get_params() == before
    assert json.loads(json.dumps(before)) == before
    assert before["margins"] == [0.25, 0.5]
    assert before["drw_start"] is None
    assert sum(before["late_weights"]) == pytest.approx(2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"class_counts": [4, 0]},
            "loss.name: expected training images of every class for ldam, got none of class 1 ([4, 0]); "
            "add images of it, or use cross_entropy",
        ),
        (
            {},
            "loss.name: expected the training set's label count of each of 2 classes for ldam, got none; "
            "pass class_counts=[...]",
        ),
        (
            {"class_counts": [4, 1], "task": "multilabel"},
            "loss.name: expected a multiclass data set for `ldam`, got multilabel; "
            "use logit_adjustment or asymmetric_loss",
        ),
        (
            {"class_counts": [4, 1], "drw_start": 1.5},
            "loss.drw_start: expected a number between 0 and 1, got 1.5; correct the value",
        ),
        (
            {"class_counts": [4, 1], "scale": 0.0},
            "loss.scale: expected a number of 0.001 or more, got 0; correct the value",
        ),
        (
            {"class_counts": [4, 1], "max_margin": -0.5},
            "loss.max_margin: expected a number of 0 or more, got -0.5; correct the value",
        ),
    ],
)
def test_bad_arguments_are_refused_in_one_line(arguments, message):
    with pytest.raises(ConfigError) as caught:
        LDAM(2, **arguments)
    assert str(caught.value) == message


def test_soft_targets_are_refused():
    with pytest.raises(DataError, match=r"targets of \(B,\) class indices, got"):
        LDAM(3, class_counts=COUNTS)(LOGITS, torch.full((7, 3), 1 / 3))
