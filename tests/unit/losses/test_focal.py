from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torchvision.ops import sigmoid_focal_loss

from ringlight.errors import ConfigError, DataError
from ringlight.losses import FocalLoss
from ringlight.losses.focal import dynamic_alpha

SEED_SHARES = [7347, 1538, 955, 160]


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_one_positive_and_one_negative_by_hand():
    loss = FocalLoss(2, alpha=[0.9, 0.3], gamma=2.0, reduction="none")
    logits = torch.tensor([[math.log(3), math.log(3)]])  # p = 3/4
    values = loss(logits, torch.tensor([[1.0, 0.0]]))[0].tolist()
    assert values[0] == pytest.approx(0.9 * 0.25**2 * -math.log(0.75), abs=1e-7)
    assert values[1] == pytest.approx(0.3 * 0.75**2 * -math.log(0.25), abs=1e-6)


def test_multilabel_equals_a_naive_loop():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 4, generator=generator) * 3
    targets = (torch.rand(5, 4, generator=generator) < 0.4).float()
    alphas = dynamic_alpha(SEED_SHARES)
    total = 0.0
    for row in range(5):
        for c in range(4):
            p = _sigmoid(float(logits[row, c]))
            truth = p if targets[row, c] == 1 else 1 - p
            total += -alphas[c] * (1 - truth) ** 1.5 * math.log(truth)
    loss = FocalLoss(4, class_counts=SEED_SHARES, alpha="dynamic", gamma=1.5)
    assert float(loss(logits, targets)) == pytest.approx(total / 20, rel=1e-5)


@pytest.mark.parametrize("alpha", [0.25, 0.5, 0.9])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_one_number_equals_torchvision(alpha, gamma, reduction):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(64, 4, generator=generator) * 4
    targets = (torch.rand(64, 4, generator=generator) < 0.2).float()
    ours = FocalLoss(4, alpha=alpha, gamma=gamma, reduction=reduction)(logits, targets)
    theirs = sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma, reduction=reduction)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_multiclass_equals_a_naive_loop_and_cross_entropy_at_gamma_zero():
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(6, 3, generator=generator) * 2
    targets = torch.tensor([0, 1, 2, 2, 1, 0])
    total = 0.0
    for row in range(6):
        exponentials = [math.exp(value) for value in logits[row].tolist()]
        p = exponentials[targets[row]] / sum(exponentials)
        total += -[0.2, 0.5, 0.9][targets[row]] * (1 - p) ** 2 * math.log(p)
    loss = FocalLoss(3, task="multiclass", alpha=[0.2, 0.5, 0.9])
    assert float(loss(logits, targets)) == pytest.approx(total / 6, rel=1e-5)
    plain = FocalLoss(3, task="multiclass", alpha=None, gamma=0.0)
    torch.testing.assert_close(plain(logits, targets), torch.nn.functional.cross_entropy(logits, targets))


def test_two_class_softmax_equals_the_sigmoid_of_the_difference():
    logits = torch.tensor([[0.3, 1.7], [2.0, -1.0]])
    soft = FocalLoss(2, task="multiclass", alpha=None, reduction="none")(logits, torch.tensor([1, 0]))
    difference = (logits[:, 1] - logits[:, 0]).unsqueeze(1)
    hard = FocalLoss(1, alpha=None, reduction="none")(difference, torch.tensor([[1.0], [0.0]]))
    torch.testing.assert_close(soft, hard.squeeze(1))


def test_dynamic_alpha_of_the_steel_shares():
    assert FocalLoss(4, class_counts=SEED_SHARES).get_params()["alpha"] == pytest.approx(
        [0.265, 0.846, 0.905, 0.984], abs=6e-4
    )


def test_inverse_frequency_alpha_by_hand():
    # the rarest counts fully, the others as often as it is contained in them
    params = FocalLoss(4, class_counts=SEED_SHARES, alpha="inverse_frequency").get_params()
    assert params["alpha"] == pytest.approx([160 / 7347, 160 / 1538, 160 / 955, 1.0], rel=1e-6)
    assert params["alpha_mode"] == "inverse_frequency"


def test_inverse_frequency_alpha_is_scikit_learns_balanced_weight_over_its_largest():
    weights = compute_class_weight("balanced", classes=np.arange(3), y=np.repeat([0, 1, 2], [30, 5, 10]))
    ours = FocalLoss(3, class_counts=[30, 5, 10], alpha="inverse_frequency").alpha.tolist()
    assert ours == pytest.approx((weights / weights.max()).tolist(), rel=1e-6)


@pytest.mark.parametrize("beta", [0.5, 0.99, 0.999])
def test_effective_number_alpha_equals_a_sum_of_powers(beta):
    sums = [math.fsum(beta**power for power in range(count)) for count in (30, 5, 10)]
    loss = FocalLoss(3, class_counts=[30, 5, 10], alpha="effective_number", beta=beta)
    assert loss.alpha.tolist() == pytest.approx([min(sums) / value for value in sums], rel=1e-6)


def test_effective_number_alpha_goes_from_equal_to_inverse():
    def alpha(word: str, beta: float = 0.999) -> list[float]:
        return FocalLoss(4, class_counts=SEED_SHARES, alpha=word, beta=beta).alpha.tolist()

    assert alpha("effective_number", 0.0) == [1.0] * 4
    assert alpha("effective_number", 1.0) == alpha("inverse_frequency")
    middle = alpha("effective_number")
    assert all(a < b < 1 for a, b in zip(alpha("inverse_frequency")[:3], middle[:3], strict=True))


@pytest.mark.parametrize("word", ["inverse_frequency", "effective_number"])
def test_equal_classes_leave_the_loss_unweighted(word):
    logits, targets = torch.tensor([[0.3, -2.0]]), torch.tensor([[1.0, 0.0]])
    ours = FocalLoss(2, class_counts=[7, 7], alpha=word)(logits, targets)
    torch.testing.assert_close(ours, FocalLoss(2, alpha=None)(logits, targets))


def test_the_score_keeps_its_meaning_under_class_weights():
    """With 1 - alpha on the negatives, a class that is there 2 times in 100 was scored above one half."""
    loss = FocalLoss(2, class_counts=[98, 2], gamma=0.0)
    logits = torch.zeros(1, 2, requires_grad=True)
    target = torch.tensor([[0.5, 0.02]])
    optimizer = torch.optim.LBFGS([logits], max_iter=50)

    def closure():
        optimizer.zero_grad()
        value = loss(logits, target)
        value.backward()
        return value

    for _ in range(4):
        optimizer.step(closure)
    torch.testing.assert_close(torch.sigmoid(logits.detach()), target, atol=1e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_huge_logits_stay_finite_with_finite_gradients(dtype, task, gamma):
    """Written as (1 - p)^gamma, a gamma below one gave NaN gradients for a sure answer: 0^(gamma - 1)."""
    extreme = 1e4
    logits = torch.tensor([[extreme, -extreme], [-extreme, extreme], [0.0, 0.0]], dtype=dtype, requires_grad=True)
    targets = torch.tensor([0, 0, 1]) if task == "multiclass" else torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    value = FocalLoss(2, task=task, alpha=[0.5, 0.5], gamma=gamma)(logits, targets)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()
    assert value > 1000


def test_gradients_are_those_of_finite_differences():
    logits = torch.tensor([[0.4, -1.2], [2.0, 0.1]], requires_grad=True)
    targets = torch.tensor([[1.0, 0.0], [0.3, 1.0]])
    loss = FocalLoss(2, alpha=[0.7, 0.2], gamma=1.7)
    loss(logits, targets).backward()
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        step = torch.zeros(2, 2)
        step[row, column] = 1e-2
        with torch.no_grad():
            slope = (loss(logits + step, targets) - loss(logits - step, targets)) / 2e-2
        assert float(logits.grad[row, column]) == pytest.approx(float(slope), abs=1e-4)


def test_soft_targets_are_the_expectation_of_hard_ones():
    loss = FocalLoss(1, alpha=[0.6])
    logits = torch.tensor([[0.8]])
    hit, miss = (float(loss(logits, torch.tensor([[value]]))) for value in (1.0, 0.0))
    assert float(loss(logits, torch.tensor([[0.3]]))) == pytest.approx(0.3 * hit + 0.7 * miss, rel=1e-6)


def test_first_batch_warns_keeps_the_first_batch_and_survives_a_resume():
    with pytest.warns(UserWarning, match=r"loss\.alpha=first_batch weighs the classes by the first batch alone"):
        loss = FocalLoss(3, alpha="first_batch")
    assert loss.get_params()["alpha"] is None
    logits = torch.zeros(4, 3)
    first = torch.tensor([[1.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0]])
    loss(logits, first)
    assert loss.get_params()["alpha"] == [0.25, 0.75, 1.0]
    loss(logits, torch.ones(4, 3))
    assert loss.get_params()["alpha"] == [0.25, 0.75, 1.0]
    with pytest.warns(UserWarning, match="first_batch"):
        resumed = FocalLoss(3, alpha="first_batch")
    resumed.load_state_dict(loss.state_dict())
    resumed(logits, torch.ones(4, 3))
    assert resumed.get_params() == loss.get_params()


def test_first_batch_is_not_decided_by_a_validation_batch():
    """Lightning runs a few validation batches before the first training one."""
    with pytest.warns(UserWarning, match="first_batch"):
        loss = FocalLoss(2, task="multiclass", alpha="first_batch").eval()
    assert torch.isfinite(loss(torch.zeros(2, 2), torch.tensor([0, 0])))
    assert loss.get_params()["alpha"] is None
    loss.train()(torch.zeros(4, 2), torch.tensor([0, 1, 1, 1]))
    assert loss.get_params()["alpha"] == [0.75, 0.25]


def test_first_batch_without_any_label_weighs_every_class_fully():
    with pytest.warns(UserWarning, match="first_batch"):
        loss = FocalLoss(2, alpha="first_batch")
    loss(torch.zeros(4, 2), torch.zeros(4, 2))
    assert loss.get_params()["alpha"] == [1.0, 1.0]


def test_parameters_are_json():
    params = FocalLoss(2, class_counts=[3, 1], gamma=1).get_params()
    assert json.loads(json.dumps(params)) == {
        "alpha": [0.25, 0.75],
        "alpha_mode": "dynamic",
        "gamma": 1.0,
        "reduction": "mean",
        "task": "multilabel",
        "num_classes": 2,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"alpha": "dynamic"},
            "loss.alpha: expected the training set's label count of each of 2 classes for dynamic, got none; "
            "pass class_counts=[...], or set loss.alpha to numbers",
        ),
        (
            {"class_counts": [5, 0]},
            "loss.alpha: expected positive labels of two classes or more in the training set for dynamic, got [5, 0]; "
            "set loss.alpha=null or a number: a class with all the labels would weigh 0",
        ),
        (
            {"alpha": "dynamc"},
            "loss.alpha: expected dynamic, inverse_frequency, effective_number, first_batch, a number, a list or null, "
            "got `dynamc`; did you mean `dynamic`?",
        ),
        (
            {"alpha": "inverse_frequency", "class_counts": [5, 0]},
            "loss.alpha: expected training images of every class for inverse_frequency, got none of class 1 ([5, 0]); "
            "add images of it, or set loss.alpha=dynamic",
        ),
        (
            {"alpha": "effective_number", "class_counts": [0, 5]},
            "loss.alpha: expected training images of every class for effective_number, got none of class 0 ([0, 5]); "
            "add images of it, or set loss.alpha=dynamic",
        ),
        (
            {"alpha": "effective_number", "class_counts": None},
            "loss.alpha: expected the training set's label count of each of 2 classes for effective_number, got none; ",
        ),
        ({"alpha": None, "beta": 1.1}, "loss.beta: expected a number between 0 and 1, got 1.1; correct the value"),
        ({"alpha": 1.5}, "loss.alpha: expected a number between 0 and 1, got 1.5; correct the value"),
        ({"alpha": [0.5]}, "loss.alpha: expected a list of 2 numbers, one a class, got 1; list the classes"),
        ({"alpha": None, "gamma": -1.0}, "loss.gamma: expected a number of 0 or more, got -1; correct the value"),
        ({"alpha": None, "gamma": math.nan}, "loss.gamma: expected a number of 0 or more, got nan; correct the value"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(arguments, message):
    with pytest.raises(ConfigError) as caught:
        FocalLoss(2, **arguments)
    assert str(caught.value).startswith(message)


def test_targets_of_the_wrong_shape_are_refused():
    with pytest.raises(DataError) as caught:
        FocalLoss(4, alpha=None)(torch.zeros(2, 4), torch.zeros(2, dtype=torch.long))
    assert str(caught.value) == (
        "loss: expected logits (B, 4) and targets of (B, 4) scores, got logits (2, 4), targets (2,) of torch.int64; "
        "compare model.num_classes and the task with the data set"
    )


@pytest.mark.parametrize("counts", [[7347, 1538, 955, 160], [1, 3, 7, 11]])
def test_reported_weights_read_back_to_the_same_bits(counts: list[int]) -> None:
    """Weights once were reported with six digits; a run from its own config.yaml then ended with other weights."""
    first = FocalLoss(4, class_counts=counts, alpha="dynamic")
    again = FocalLoss(4, alpha=json.loads(json.dumps(first.get_params()["alpha"])))
    assert torch.equal(first.alpha, again.alpha)


def test_one_number_for_a_soft_max_scales_the_whole_loss_as_keras_does():
    """Keras' CategoricalFocalCrossentropy by its own formula: alpha (1 - p)^gamma (-log p) of the truth."""
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(11))
    truth = torch.tensor([0, 1, 2, 3, 3, 1])
    p = torch.softmax(logits.double(), 1)
    theirs = (0.25 * (1 - p) ** 2.0 * -torch.log(p) * torch.eye(4)[truth]).sum(1).mean()
    ours = FocalLoss(4, task="multiclass", alpha=0.25, gamma=2.0)
    assert float(ours(logits, truth)) == pytest.approx(float(theirs), rel=1e-5)
    whole = FocalLoss(4, task="multiclass", alpha=None, gamma=2.0)
    torch.testing.assert_close(ours(logits, truth), 0.25 * whole(logits, truth))
