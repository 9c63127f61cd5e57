"""Losses, rates, optimisers and builders by the seed's names."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ringlight.errors import ConfigError, ModelError, Problems
from ringlight.losses import WeightedCrossEntropy
from ringlight.optim import RATES
from ringlight.trainers import (
    CNN1DBuilder,
    EnsembleModel,
    FocalLoss,
    LeakAwareLoss,
    LSTMBuilder,
    RandomForestModel,
    SVMClassifier,
    WeightedCategoricalCrossentropy,
    get_learning_rate_schedule,
    get_loss_function,
    get_optimizer,
)
from ringlight.trainers.losses import weights_of, with_class_weights

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.5]])
TARGETS = torch.tensor([0, 2])


def test_a_loss_learns_its_number_of_classes_from_the_scores():
    loss = WeightedCategoricalCrossentropy({0: 1.0, 2: 3.0})
    expected = nn.functional.cross_entropy(LOGITS, TARGETS, weight=torch.tensor([1.0, 1.0, 3.0]))
    torch.testing.assert_close(loss(LOGITS, TARGETS), expected)
    assert loss.build(3).num_classes == 3
    loss = get_loss_function("categorical_crossentropy")
    assert float(loss(LOGITS, TARGETS)) == pytest.approx(float(nn.functional.cross_entropy(LOGITS, TARGETS)))
    loss(LOGITS[:, :2], torch.tensor([0, 1]))
    assert loss.loss.num_classes == 2


def test_focal_and_leak_aware_losses_are_the_catalogues():
    focal = get_loss_function("focal_loss", alpha=0.25, gamma=2.0)
    shares = LOGITS.softmax(dim=1).gather(1, TARGETS[:, None])[:, 0]
    expected = (0.25 * (1 - shares) ** 2 * -shares.log()).mean()
    torch.testing.assert_close(focal(LOGITS, TARGETS), expected)
    torch.testing.assert_close(FocalLoss(0.25, 2.0)(LOGITS, TARGETS), expected)
    missed, alarm = torch.tensor([1]), torch.tensor([0])
    loss = LeakAwareLoss(leak_penalty=5.0, leak_classes=[1, 2])
    assert loss(torch.tensor([[3.0, 0.0, 0.0]]), missed) > loss(torch.tensor([[0.0, 3.0, 0.0]]), alarm)


def test_a_wrong_name_or_parameter_of_a_loss_is_refused():
    with pytest.raises(Problems, match="did you mean `focal_loss`"):
        get_loss_function("focal_los")
    with pytest.raises(Problems, match="gama"):
        get_loss_function("focal_loss", gama=2.0)
    with pytest.raises(ConfigError, match="class_weights: expected classes from 0 to 2, got 7; number the classes as"):
        WeightedCategoricalCrossentropy({7: 1.0})(LOGITS, TARGETS)


def test_class_weights_go_where_the_loss_has_them():
    classes = ("no", "small", "large")
    assert weights_of({"small": 2, 2: 4}, 3, classes) == [1.0, 2.0, 4.0]
    for name in ("cross_entropy", "categorical_crossentropy"):
        found = with_class_weights(name, {"label_smoothing": 0.1}, {1: 2.0}, classes)
        assert found == ("weighted_cross_entropy", {"label_smoothing": 0.1, "weights": [1.0, 2.0, 1.0]})
    assert with_class_weights("focal_loss", {"alpha": 0.25}, {1: 2.0}, classes)[1]["alpha"] == [0.25, 0.5, 0.25]
    assert WeightedCrossEntropy(3, weights=[1.0, 2.0, 1.0])
    with pytest.raises(
        ConfigError, match="got leak_aware_loss; leave the weights out: leak_aware_loss has its penalties"
    ):
        with_class_weights("leak_aware_loss", {}, {1: 2.0}, classes)


def test_a_schedule_is_a_pure_function_of_the_step():
    schedule = get_learning_rate_schedule(
        "cosine", base_learning_rate=0.001, config={"min_lr": 1e-5, "total_steps": 10000, "warmup_steps": 500}
    )
    for step in (0, 499, 500, 7000, 20000):
        expected = RATES["cosine"](step, base_lr=0.001, min_lr=1e-5, total_steps=10000, warmup_steps=500)
        assert schedule(step) == expected == schedule(step)


@pytest.mark.parametrize(
    ("name", "config", "line"),
    [
        ("cosin", {}, "get_learning_rate_schedule: expected a schedule by step, got `cosin`; did you mean `cosine`"),
        ("plateau", {}, "got `plateau`; set callbacks.reduce_lr_on_plateau: it follows a metric, not the step"),
        ("cosine", {}, "config: expected total_steps of schedule `cosine`, got none; pass config="),
        (
            "warmup",
            {"warmup_step": 3},
            "config: expected a number of schedule `warmup`, got `warmup_step`; did you mean",
        ),
        ("constant", {"warmup_steps": -1}, "scheduler.warmup_steps: expected a number of steps of 0 or more"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(name, config, line):
    with pytest.raises(ConfigError) as raised:
        get_learning_rate_schedule(name, config=config)
    assert line in str(raised.value)
    with pytest.raises(ConfigError, match="base_learning_rate: expected a learning rate above 0, got 0"):
        get_learning_rate_schedule("constant", 0)


def test_an_optimiser_is_built_over_parameters_and_follows_its_schedule():
    schedule = get_learning_rate_schedule("warmup", 0.1, {"warmup_steps": 2, "decay_steps": 1, "decay_rate": 0.5})
    factory = get_optimizer("Adam", learning_rate=schedule, beta_1=0.8, epsilon=1e-7)
    optimizer = factory.build(nn.Linear(2, 2).parameters())
    assert type(optimizer) is torch.optim.Adam
    assert (optimizer.defaults["betas"], optimizer.defaults["eps"]) == ((0.8, 0.999), 1e-7)
    stepped, rates = factory.schedule(optimizer), []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        stepped.step()
    assert rates == pytest.approx([schedule(step) for step in range(4)])
    fixed = get_optimizer("sgd", learning_rate=0.5)
    optimizer = fixed.build(nn.Linear(2, 2).parameters())
    assert fixed.schedule(optimizer).get_last_lr() == [0.5]


def test_an_optimiser_that_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="get_optimizer: expected a known optimizer, got `adm`; did you mean `adam`"):
        get_optimizer("adm")
    with pytest.raises(ConfigError, match="expected one learning rate, got `lr` in config, too"):
        get_optimizer("adam", 0.1, lr=0.1)


@pytest.mark.parametrize("builder", [CNN1DBuilder, LSTMBuilder])
def test_a_builder_gives_a_network_of_windows(builder):
    built = builder().build(input_shape=(32, 9), n_classes=4)
    assert built.model(torch.zeros(2, 9, 32)).shape == (2, 4)


def test_builders_read_their_models_parameters():
    config = {"models": {"cnn1d": {"filters": [4, 4], "drop_rate": 0.5}, "random_forest": {"n_estimators": 7}}}
    small = CNN1DBuilder(config).build((32, 9), 4).model
    large = CNN1DBuilder().build((32, 9), 4).model
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in large.parameters())
    assert RandomForestModel(config).model.n_estimators == 7
    assert SVMClassifier(config).model.C == 10.0
    members = {"models": {"ensemble": {"members": ["logistic_regression", "svm"]}}}
    assert len(EnsembleModel(members).build((32, 9), 4).model.members) == 2


def test_builders_say_what_is_missing_or_wrong():
    with pytest.raises(ModelError, match=r"CNN1DBuilder: expected a built model, got none; call build\(input_shape="):
        _ = CNN1DBuilder().model
    with pytest.raises(ModelError, match=r"input_shape: expected \(T, C\): time steps and channels, got \(32,\)"):
        CNN1DBuilder().build((32,), 4)
    with pytest.raises(Problems, match="did you mean `filters`"):
        CNN1DBuilder({"models": {"cnn1d": {"filter": [4]}}}).build((32, 9), 4)
    with pytest.raises(ConfigError, match="expected a parameter of SVC, got `c`; did you mean `C`"):
        SVMClassifier({"models": {"svm": {"c": 1}}})
