from __future__ import annotations

import math

import pytest
import torch
from timm.scheduler import CosineLRScheduler

from ringlight.errors import ConfigError
from ringlight.optim import Constant, OneCycle, Plateau, WarmupCosine, build_schedule


def _optimizer(lr: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(2, 2))], lr=lr)


def _rates(optimizer, scheduler, steps: int) -> list[float]:
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_warmup_cosine_by_hand():
    optimizer = _optimizer()
    schedule = WarmupCosine(optimizer, num_epochs=3, steps_per_epoch=2, warmup_epochs=1, min_lr=0.02)
    root = math.sqrt(0.5)
    expected = [0.1 / 3, 0.2 / 3, 0.1, 0.02 + 0.08 * (1 + root) / 2, 0.06, 0.02 + 0.08 * (1 - root) / 2]
    assert _rates(optimizer, schedule, 6) == pytest.approx(expected, rel=1e-12)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.02)


def test_cosine_equals_pytorch_and_timm():
    ours, theirs = _optimizer(), _optimizer()
    schedule = WarmupCosine(ours, num_epochs=5, steps_per_epoch=4, min_lr=0.001)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, T_max=20, eta_min=0.001)
    assert _rates(ours, schedule, 20) == pytest.approx(_rates(theirs, reference, 20), rel=1e-9)
    timm_schedule = CosineLRScheduler(_optimizer(), t_initial=20, lr_min=0.001, t_in_epochs=False)
    expected = [timm_schedule._get_lr(step)[0] for step in range(20)]
    assert [schedule.value(0.1, step) for step in range(20)] == pytest.approx(expected, rel=1e-9)


def test_cosine_equals_a_naive_loop_of_the_recurrence():
    # cos((n + 1) a) = 2 cos(a) cos(n a) - cos((n - 1) a): the same curve without evaluating it at n.
    schedule = WarmupCosine(_optimizer(1.0), num_epochs=10, steps_per_epoch=1)
    before, now = math.cos(-math.pi / 10), 1.0
    for step in range(10):
        assert schedule.value(1.0, step) == pytest.approx((1 + now) / 2, abs=1e-12)
        before, now = now, 2 * math.cos(math.pi / 10) * now - before


@pytest.mark.parametrize(("epochs", "steps", "share"), [(5, 4, 0.3), (3, 7, 0.25), (10, 1, 0.5)])
def test_one_cycle_equals_pytorch(epochs, steps, share):
    ours, theirs = _optimizer(0.4), _optimizer(0.4)
    schedule = OneCycle(ours, num_epochs=epochs, steps_per_epoch=steps, pct_start=share)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        theirs, max_lr=0.4, total_steps=epochs * steps, pct_start=share, cycle_momentum=False
    )
    total = epochs * steps
    expected = []
    for step in range(total):
        expected.append(theirs.param_groups[0]["lr"])
        theirs.step()
        if step < total - 1:
            reference.step()
    assert _rates(ours, schedule, total) == pytest.approx(expected, rel=1e-9)


def test_one_cycle_by_hand():
    optimizer = _optimizer(1.0)
    schedule = OneCycle(optimizer, num_epochs=7, steps_per_epoch=1, warmup_epochs=3, max_lr_factor=2.0)
    # up 0.08 -> 2 over steps 0..2, down to 0.000008 over steps 2..6
    expected = [0.08, 1.04, 2.0, 1.7071, 1.0, 0.2929, 0.000008]
    assert _rates(optimizer, schedule, 7) == pytest.approx(expected, abs=1e-4)


def test_one_cycle_of_a_single_step_has_a_rate():
    """With one step in all, the rise has length zero: a division by zero in a smoke run of one batch."""
    optimizer = _optimizer(1.0)
    schedule = OneCycle(optimizer, num_epochs=1, steps_per_epoch=1)
    assert _rates(optimizer, schedule, 2)[0] == pytest.approx(1.0)


def test_constant_by_hand():
    optimizer = _optimizer(0.4)
    schedule = Constant(optimizer, num_epochs=3, steps_per_epoch=2, warmup_epochs=1.5)
    assert _rates(optimizer, schedule, 6) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])


def test_plateau_by_hand():
    optimizer = _optimizer(0.8)
    schedule = Plateau(optimizer, num_epochs=20, steps_per_epoch=3, mode="max", factor=0.5, patience=1, min_lr=0.2)
    rates = []
    for metric in [0.1, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2]:
        optimizer.step()
        schedule.step(metric)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.8, 0.8, 0.8, 0.4, 0.4, 0.2, 0.2, 0.2, 0.2])


def test_plateau_equals_pytorch():
    ours, theirs = _optimizer(), _optimizer()
    schedule = Plateau(ours, num_epochs=30, steps_per_epoch=1, mode="min", factor=0.3, patience=2)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(
        theirs, mode="min", factor=0.3, patience=2, threshold=1e-4, threshold_mode="abs"
    )
    generator = torch.Generator().manual_seed(0)
    for loss in torch.rand(30, generator=generator).tolist():
        schedule.step(loss)
        reference.step(loss)
        assert ours.param_groups[0]["lr"] == theirs.param_groups[0]["lr"]


def test_plateau_warms_up_by_epochs_and_does_not_wait_meanwhile():
    optimizer = _optimizer(0.3)
    schedule = Plateau(optimizer, num_epochs=9, steps_per_epoch=5, warmup_epochs=2, factor=0.5, patience=0)
    rates = []
    for metric in [0.9, 0.5, 0.4, 0.3, 0.2]:  # the best score of all falls in the warm-up and is not the one to beat
        rates.append(optimizer.param_groups[0]["lr"])
        schedule.step(metric)
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.3, 0.15])


@pytest.mark.parametrize("epochs", [1, 4])
def test_a_warmup_as_long_as_the_run_is_allowed(epochs):
    optimizer = _optimizer(1.0)
    schedule = WarmupCosine(optimizer, num_epochs=epochs, steps_per_epoch=2, warmup_epochs=epochs)
    rates = _rates(optimizer, schedule, epochs * 2)
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(2 * epochs / (2 * epochs + 1))


@pytest.mark.parametrize("name", ["warmup_cosine", "one_cycle", "constant", "plateau"])
def test_a_warmup_longer_than_the_run_is_refused(name):
    with pytest.raises(ConfigError) as caught:
        build_schedule(name, _optimizer(), num_epochs=2, steps_per_epoch=3, warmup_epochs=5)
    assert str(caught.value) == (
        "scheduler.warmup_epochs: expected a warm-up no longer than the run's 2 epochs, got 5; "
        "shorten it, or raise training.num_epochs"
    )


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("warmup_cosine", {"min_lr": 1.0}, "min_lr: expected a rate between 0 and the optimizer's 0.1, got 1;"),
        ("plateau", {"factor": 1.0}, "factor: expected a factor between 0 and 1, got 1;"),
        ("plateau", {"patience": -1}, "patience: expected a number of epochs of 0 or more, got -1;"),
        ("one_cycle", {"pct_start": 1.0}, "pct_start: expected a share of at least 0 and below 1, got 1;"),
        ("one_cycle", {"max_lr_factor": 0.0}, "max_lr_factor: expected a factor above 0, got 0;"),
        ("one_cycle", {"div_factor": 0.5}, "div_factor: expected a divisor of 1 or more, got 0.5;"),
    ],
)
def test_bad_numbers_are_refused_in_one_line(name, params, message):
    with pytest.raises(ConfigError) as caught:
        build_schedule(name, _optimizer(), num_epochs=2, steps_per_epoch=3, params=params)
    assert str(caught.value) == f"scheduler.{message} correct the value"


def test_a_run_without_steps_is_refused():
    with pytest.raises(ConfigError, match=r"expected at least one epoch of one step, got 2 epochs of 0 steps"):
        build_schedule("constant", _optimizer(), num_epochs=2, steps_per_epoch=0)
