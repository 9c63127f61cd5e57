from __future__ import annotations

import pytest
import torch
from torch import nn

from ringlight.errors import ConfigError, ModelError, Problems
from ringlight.optim import build_optimizer, build_schedule, parameter_groups


def _net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def test_biases_and_normalisation_are_not_decayed():
    net = _net()
    decayed, spared = parameter_groups(net, 0.1)
    assert [id(p) for p in decayed["params"]] == [id(net[0].weight), id(net[3].weight)]
    assert len(spared["params"]) == 4
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)


def test_an_undecayed_parameter_without_gradient_signal_stays_where_it_is():
    """AdamW shrinks whatever it decays, even at zero gradient: the scale of a normalisation went to zero."""
    net = _net()
    optimizer = build_optimizer("adamw", net, lr=0.1, weight_decay=0.5)
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in net.named_parameters():
        expected = before[name] * (1 - 0.1 * 0.5) if parameter.ndim > 1 else before[name]
        torch.testing.assert_close(parameter.detach(), expected)


def test_what_the_module_asks_to_spare_is_spared():
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pos_embed = nn.Parameter(torch.zeros(1, 4, 8))
            self.head = nn.Linear(8, 2)

        def no_weight_decay(self) -> set[str]:
            return {"pos_embed"}

    net = Positions()
    _, spared = parameter_groups(net, 0.1)
    assert any(parameter is net.pos_embed for parameter in spared["params"])


class _TwoRates(nn.Module):
    """A body that learns at a tenth of the head's rate."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(3, 4)
        self.head = nn.Linear(4, 2)

    def lr_scales(self) -> dict[str, float]:
        return {"body.": 0.1}


def test_parts_with_a_scale_have_groups_and_rates_of_their_own():
    net = _TwoRates()
    groups = build_optimizer("adamw", net, lr=0.5, weight_decay=0.2).param_groups
    assert [(group["name"], group["lr"], group["weight_decay"]) for group in groups] == [
        ("decay", 0.5, 0.2), ("no_decay", 0.5, 0.0), ("decay x0.1", 0.05, 0.2), ("no_decay x0.1", 0.05, 0.0),
    ]  # fmt: skip
    assert [group["params"][0] is wanted for group, wanted in zip(
        groups, (net.head.weight, net.head.bias, net.body.weight, net.body.bias), strict=True
    )] == [True] * 4  # fmt: skip


@pytest.mark.parametrize("name", ["one_cycle", "warmup_cosine", "plateau", "constant", "exponential", "polynomial"])
def test_schedules_keep_the_proportion_of_the_rates(name):
    optimizer = build_optimizer("sgd", _TwoRates(), lr=0.5, weight_decay=0.0)
    schedule = build_schedule(name, optimizer, num_epochs=4, steps_per_epoch=2, warmup_epochs=1)
    optimizer.step()
    for _ in range(7):
        schedule.scheduler.step(*([0.1] if schedule.needs_metric else []))
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates[2] == pytest.approx(0.1 * rates[0])
        assert rates[1:] == [rates[0], rates[2], rates[2]]


def test_frozen_parameters_are_left_out():
    net = _net()
    net[0].requires_grad_(False)
    groups = parameter_groups(net, 0.0)
    assert sum(len(group["params"]) for group in groups) == 4
    net.requires_grad_(False)
    with pytest.raises(ModelError, match="expected a model with trainable parameters, got none; unfreeze a layer"):
        parameter_groups(net, 0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": 0.0}, "optimizer.lr: expected a learning rate above 0, got 0; try 0.001"),
        ({"lr": float("nan")}, "optimizer.lr: expected a learning rate above 0, got nan; try 0.001"),
        ({"weight_decay": -1.0}, "optimizer.weight_decay: expected a weight decay of 0 or more, got -1; try 0.01"),
        (
            {"params": {"betas": [0.9, 1.0]}},
            "optimizer.betas: expected a number of at least 0 and below 1, got 1; correct the value",
        ),
    ],
)
def test_bad_numbers_are_refused_in_one_line(arguments, message):
    with pytest.raises(ConfigError) as caught:
        build_optimizer("adamw", _net(), **{"lr": 0.1, "weight_decay": 0.0, **arguments})
    assert str(caught.value) == message


def test_nesterov_needs_momentum():
    with pytest.raises(ConfigError, match=r"optimizer\.momentum: expected momentum above 0 for Nesterov's form"):
        build_optimizer("sgd", _net(), lr=0.1, weight_decay=0.0, params={"momentum": 0.0})


def test_unknown_names_and_parameters_come_together():
    with pytest.raises(Problems) as caught:
        build_optimizer("adamw", _net(), lr=0.1, weight_decay=0.0, params={"beta": 1, "eps": "small"})
    assert caught.value.problems == [
        "optimizer.beta: expected a parameter of optimizer `adamw`, got unknown key `optimizer.beta`; "
        "did you mean `betas`?",
        "optimizer.eps: expected a valid number, got 'small'; correct the value (default: 1e-08)",
    ]
    optimizer = build_optimizer("sgd", _net(), lr=0.1, weight_decay=0.0)
    with pytest.raises(Problems, match=r"scheduler\.name: expected a known scheduler, got `cosin`"):
        build_schedule("cosin", optimizer, num_epochs=2, steps_per_epoch=2)


def test_what_the_engine_supplies_cannot_be_configured_twice():
    with pytest.raises(Problems, match=r"optimizer\.lr: expected a parameter"):
        build_optimizer("adamw", _net(), lr=0.1, weight_decay=0.0, params={"lr": 1.0})
    optimizer = build_optimizer("sgd", _net(), lr=0.1, weight_decay=0.0)
    with pytest.raises(Problems, match=r"scheduler\.mode: expected a parameter"):
        build_schedule("plateau", optimizer, num_epochs=2, steps_per_epoch=2, params={"mode": "min"})


def test_the_schedule_says_how_to_step_it():
    optimizer = build_optimizer("sgd", _net(), lr=0.1, weight_decay=0.0)
    cosine = build_schedule("warmup_cosine", optimizer, num_epochs=2, steps_per_epoch=2)
    assert (cosine.interval, cosine.needs_metric) == ("step", False)
    plateau = build_schedule("plateau", optimizer, num_epochs=2, steps_per_epoch=2, mode="min")
    assert (plateau.interval, plateau.needs_metric) == ("epoch", True)
    assert plateau.scheduler.mode == "min"
