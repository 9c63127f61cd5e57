"""Rates as functions of the step: golden values by hand, loops that step, PyTorch's schedules, and what is refused."""

from __future__ import annotations

import logging
import math

import pytest
import torch

from ringlight.errors import ConfigError
from ringlight.optim import RATES, SCHEDULERS, build_schedule
from ringlight.optim.schedules_rates import (
    constant_rate,
    cosine_rate,
    exponential_rate,
    one_cycle_rate,
    polynomial_rate,
    warmup_rate,
)

SEED = {"initial_lr": 1e-4, "warmup_steps": 1000, "decay_steps": 5000, "decay_rate": 0.96}
"""The settings of the warm-up that the air-leak system documents."""


def _optimizer(lr: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(2, 2))], lr=lr)


def _rates(optimizer, scheduler, steps: int) -> list[float]:
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 1e-4),
        (500, 5.5e-4),
        (999, 9.991e-4),
        (1000, 1e-3),
        (6000, 9.6e-4),
        (11_000, 9.216e-4),
        (3500, 0.9797958971e-3),
    ],
)
def test_warmup_golden(step, expected):
    assert warmup_rate(step, base_lr=1e-3, **SEED) == pytest.approx(expected, rel=1e-9)


def test_warmup_equals_a_loop_that_steps():
    """Straight up by equal steps, then a hundred-and-twentieth root of 0.5 off each time."""
    rate, rates = 0.2, []
    for step in range(12):
        rates.append(rate)
        rate = rate + (0.8 - 0.2) / 4 if step < 4 else rate * 0.5 ** (1 / 120)
    settings = {"base_lr": 0.8, "initial_lr": 0.2, "warmup_steps": 4, "decay_steps": 120, "decay_rate": 0.5}
    assert [warmup_rate(step, **settings) for step in range(12)] == pytest.approx(rates, rel=1e-12)


def test_warmup_and_exponential_equal_pytorch():
    optimizer = _optimizer(0.5)
    rising = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=5)
    falling = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9 ** (1 / 7))
    reference = torch.optim.lr_scheduler.SequentialLR(optimizer, [rising, falling], milestones=[5])
    expected = _rates(optimizer, reference, 30)
    settings = {"base_lr": 0.5, "initial_lr": 0.05, "warmup_steps": 5, "decay_steps": 7, "decay_rate": 0.9}
    assert [warmup_rate(step, **settings) for step in range(30)] == pytest.approx(expected, rel=1e-9)
    ours = _optimizer(0.5)
    schedule = build_schedule(
        "warmup", ours, num_epochs=5, steps_per_epoch=6,
        params={key: value for key, value in settings.items() if key != "base_lr"},
    )  # fmt: skip
    assert _rates(ours, schedule.scheduler, 30) == pytest.approx(expected, rel=1e-9)


def test_without_an_initial_rate_the_warmup_starts_one_step_above_zero():
    assert [constant_rate(step, base_lr=0.4, warmup_steps=3) for step in range(5)] == pytest.approx(
        [0.1, 0.2, 0.3, 0.4, 0.4]
    )
    given = [constant_rate(step, base_lr=0.4, warmup_steps=3, initial_lr=0.1) for step in range(5)]
    assert given == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4]), "L / (W + 1) is the same line"
    assert constant_rate(0, base_lr=0.4, warmup_steps=2, initial_lr=0.0) == 0.0


def test_staircase_equals_pytorch():
    optimizer = _optimizer(1.0)
    expected = _rates(optimizer, torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.5), 10)
    found = [exponential_rate(step, base_lr=1.0, decay_steps=3, decay_rate=0.5, staircase=True) for step in range(10)]
    assert found == pytest.approx(expected)
    assert found[:4] == [1.0, 1.0, 1.0, 0.5]


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 1e-3 / 501), (250, 1e-3 * 251 / 501), (500, 1e-3), (5250, 5.05e-4), (10_000, 1e-5), (12_000, 1e-5)],
)
def test_cosine_golden(step, expected):
    found = cosine_rate(step, base_lr=1e-3, min_lr=1e-5, total_steps=10_000, warmup_steps=500)
    assert found == pytest.approx(expected, rel=1e-12)


def test_cosine_equals_the_usual_formula_with_warmup():
    """Half a cosine after the warm-up as language-model trainers write it: max(0, (1 + cos(pi progress)) / 2)."""
    for step in range(7, 40):
        progress = (step - 7) / (40 - 7)
        expected = max(0.0, 0.5 * (1.0 + math.cos(math.pi * 0.5 * 2.0 * progress)))
        assert cosine_rate(step, base_lr=1.0, total_steps=40, warmup_steps=7) == pytest.approx(expected, abs=1e-12)


def test_cosine_in_steps_is_warmup_cosine_in_epochs_to_the_last_bit():
    params = {"num_epochs": 6, "steps_per_epoch": 5}
    by_epochs, by_steps = _optimizer(), _optimizer()
    one = build_schedule("warmup_cosine", by_epochs, warmup_epochs=2, params={"min_lr": 0.01}, **params)
    other = build_schedule("cosine", by_steps, params={"min_lr": 0.01, "warmup_steps": 10}, **params)
    assert _rates(by_epochs, one.scheduler, 30) == _rates(by_steps, other.scheduler, 30)


def test_cosine_stays_at_its_least_rate_beyond_its_own_length():
    optimizer = _optimizer(1.0)
    schedule = build_schedule(
        "cosine", optimizer, num_epochs=3, steps_per_epoch=2, params={"total_steps": 4, "min_lr": 0.2}
    )
    root = math.sqrt(0.5)
    expected = [1.0, 0.2 + 0.4 * (1 + root), 0.6, 0.2 + 0.4 * (1 - root), 0.2, 0.2]
    assert _rates(optimizer, schedule.scheduler, 6) == pytest.approx(expected)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_polynomial_equals_pytorch(power):
    theirs, ours = _optimizer(0.3), _optimizer(0.3)
    reference = torch.optim.lr_scheduler.PolynomialLR(theirs, total_iters=8, power=power)
    expected = _rates(theirs, reference, 10)
    schedule = build_schedule(
        "polynomial", ours, num_epochs=5, steps_per_epoch=2, params={"power": power, "decay_steps": 8}
    )
    assert _rates(ours, schedule.scheduler, 10) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("step", "expected"), [(0, 1.0), (5, 0.325), (10, 0.1), (11, 0.1)])
def test_polynomial_golden(step, expected):
    assert polynomial_rate(step, base_lr=1.0, end_lr=0.1, power=2.0, decay_steps=10) == pytest.approx(expected)


def test_polynomial_takes_the_rest_of_the_run():
    optimizer = _optimizer(1.0)
    schedule = build_schedule("polynomial", optimizer, num_epochs=3, steps_per_epoch=2, warmup_epochs=1)
    assert _rates(optimizer, schedule.scheduler, 6) == pytest.approx([1 / 3, 2 / 3, 1.0, 0.75, 0.5, 0.25])


def test_one_cycle_golden():
    found = [one_cycle_rate(step, base_lr=1.0, total_steps=7, warmup_steps=3, max_lr_factor=2.0) for step in range(7)]
    assert found == pytest.approx([0.08, 1.04, 2.0, 1.7071068, 1.0000004, 0.2929, 0.000008], abs=1e-4)


def test_lengths_are_an_epoch_or_a_tenth_of_the_run_unless_they_are_given():
    optimizer = _optimizer(0.8)
    exponential = build_schedule("exponential", optimizer, num_epochs=2, steps_per_epoch=4, params={"decay_rate": 0.5})
    assert exponential.scheduler.value(0.8, 4) == pytest.approx(0.4)
    warmup = build_schedule("warmup", _optimizer(), num_epochs=10, steps_per_epoch=10).scheduler
    assert (warmup.warmup_steps, warmup.decay_steps) == (10, 10)
    assert (
        build_schedule(
            "warmup", _optimizer(), num_epochs=10, steps_per_epoch=10, warmup_epochs=2
        ).scheduler.warmup_steps
        == 20
    )


def test_every_schedule_but_plateau_has_its_function():
    assert set(RATES) == set(SCHEDULERS) - {"plateau"}


@pytest.mark.parametrize("name", ["warmup", "cosine", "exponential", "polynomial"])
def test_a_warmup_in_epochs_and_in_steps_is_refused(name):
    """Which one should win is a guess: a recipe's epochs, or the steps that somebody has just typed."""
    with pytest.raises(ConfigError) as caught:
        build_schedule(name, _optimizer(), num_epochs=4, steps_per_epoch=3, warmup_epochs=2, params={"warmup_steps": 5})
    assert str(caught.value) == (
        "scheduler.warmup_steps: expected the warm-up in epochs or in steps, got scheduler.warmup_epochs=2 and "
        "scheduler.warmup_steps=5; set scheduler.warmup_epochs=0, or leave out warmup_steps"
    )


def test_a_warmup_that_the_run_does_not_see_the_end_of_is_told(caplog):
    logger = logging.getLogger("ringlight")
    logger.addHandler(caplog.handler)
    try:
        optimizer = _optimizer(1.0)
        schedule = build_schedule("cosine", optimizer, num_epochs=2, steps_per_epoch=2, params={"warmup_steps": 9})
    finally:
        logger.removeHandler(caplog.handler)
    assert _rates(optimizer, schedule.scheduler, 4) == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert "scheduler.warmup_steps=9 is longer than the run of 4 steps: its full rate is never reached" in caplog.text


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("warmup", {"initial_lr": 0.2}, "initial_lr: expected a rate between 0 and the optimizer's 0.1, got 0.2;"),
        ("warmup", {"decay_rate": 1.5}, "decay_rate: expected a factor above 0, at most 1, got 1.5;"),
        ("exponential", {"decay_steps": 0}, "decay_steps: expected 1 step or more, got 0;"),
        ("exponential", {"warmup_steps": -1}, "warmup_steps: expected a number of steps of 0 or more, got -1;"),
        ("cosine", {"min_lr": 0.5}, "min_lr: expected a rate between 0 and the optimizer's 0.1, got 0.5;"),
        (
            "cosine",
            {"total_steps": 4, "warmup_steps": 4},
            "total_steps: expected 5 steps or more, beyond the warm-up, got 4;",
        ),
        ("polynomial", {"power": 0.0}, "power: expected a power above 0, got 0;"),
        ("polynomial", {"end_lr": -0.1}, "end_lr: expected a rate between 0 and the optimizer's 0.1, got -0.1;"),
        ("polynomial", {"decay_steps": 0}, "decay_steps: expected 1 step or more, got 0;"),
    ],
)
def test_bad_numbers_are_refused_in_one_line(name, params, message):
    with pytest.raises(ConfigError) as caught:
        build_schedule(name, _optimizer(), num_epochs=2, steps_per_epoch=3, params=params)
    assert str(caught.value) == f"scheduler.{message} correct the value"


def test_plateau_keeps_the_metric_it_follows():
    schedule = build_schedule(
        "plateau", _optimizer(), num_epochs=2, steps_per_epoch=3, mode="min", params={"monitor": "loss"}
    )
    assert (schedule.monitor, schedule.scheduler.mode) == ("loss", "min")
    assert build_schedule("plateau", _optimizer(), num_epochs=2, steps_per_epoch=3).monitor is None
