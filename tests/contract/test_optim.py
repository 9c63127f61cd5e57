"""What every optimiser and every schedule of the catalogues promises, run on each."""

from __future__ import annotations

import inspect
import io
from importlib.resources import files

import pytest
import torch
import yaml
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from ringlight.optim import (
    OPTIMIZERS,
    RATES,
    SCHEDULERS,
    build_optimizer,
    build_schedule,
    optimizers,
    schedules,
    schedules_steps,
    slow_weights,
)

EPOCHS, STEPS = 4, 3


def _net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 1))


class _Run:
    """A tiny regression; steps its schedule as it asks."""

    def __init__(
        self, optimizer: str = "adamw", scheduler: str = "constant", warmup: float = 1.0, **wrapped: object
    ) -> None:
        self.net = _net()
        self.optimizer = build_optimizer(optimizer, self.net, lr=0.01, weight_decay=0.01, **wrapped)
        self.schedule = build_schedule(
            scheduler, self.optimizer, num_epochs=EPOCHS, steps_per_epoch=STEPS, warmup_epochs=warmup
        )
        self.rates: list[float] = []
        self.losses: list[float] = []

    def epochs(self, first: int, last: int) -> None:
        for epoch in range(first, last):
            for step in range(STEPS):
                generator = torch.Generator().manual_seed(epoch * STEPS + step)
                x = torch.randn(16, 3, generator=generator)
                self.rates.append(self.optimizer.param_groups[0]["lr"])
                loss = (self.net(x) - x.sum(dim=1, keepdim=True)).square().mean()
                self.losses.append(float(loss.detach()))
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                if self.schedule.interval == "step":
                    self.schedule.scheduler.step()
            if self.schedule.needs_metric:
                self.schedule.scheduler.step(0.5)  # never better: the rate must fall

    def state(self) -> dict[str, object]:
        return {
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.schedule.scheduler.state_dict(),
        }

    def restore(self, state: dict[str, object]) -> None:
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.scheduler.load_state_dict(state["scheduler"])


def test_nothing_public_is_missing_from_the_catalogues():
    functions = {
        value
        for name, value in vars(optimizers).items()
        if inspect.isfunction(value) and not name.startswith("_") and value.__module__ == optimizers.__name__
    }
    assert functions == set(OPTIMIZERS.parts.values())
    classes = {
        value
        for module in (schedules, schedules_steps)
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, LRScheduler)
        and not name.startswith("_")
        and value.__module__ == module.__name__
    }
    assert classes == set(SCHEDULERS.parts.values())


@pytest.mark.parametrize("name", sorted(OPTIMIZERS.parts))
def test_an_optimizer_learns_and_moves_every_parameter(name):
    run = _Run(optimizer=name, warmup=0.0)
    before = [parameter.detach().clone() for parameter in run.net.parameters()]
    run.epochs(0, EPOCHS)
    assert run.losses[-1] < run.losses[0]
    assert all(not torch.equal(old, new) for old, new in zip(before, run.net.parameters(), strict=True))


@pytest.mark.parametrize("scheduler", sorted(SCHEDULERS.parts))
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS.parts))
def test_a_resumed_run_ends_at_the_same_bits(optimizer, scheduler):
    whole = _Run(optimizer, scheduler)
    whole.epochs(0, EPOCHS)
    first = _Run(optimizer, scheduler)
    first.epochs(0, 2)
    buffer = io.BytesIO()
    torch.save(first.state(), buffer)
    buffer.seek(0)
    second = _Run(optimizer, scheduler)
    second.restore(torch.load(buffer, weights_only=True))
    second.epochs(2, EPOCHS)
    assert first.rates + second.rates == whole.rates
    for ours, theirs in zip(second.net.parameters(), whole.net.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("optimizer", "scheduler"),
    [("adamw", name) for name in sorted(SCHEDULERS.parts)]
    + [(name, "one_cycle") for name in sorted(OPTIMIZERS.parts) if name != "adamw"],
)
def test_wrapped_it_goes_the_same_rates_and_resumes_to_the_same_bits(optimizer, scheduler):
    """A schedule has to reach the groups of the optimiser inside, and the slow weights belong to the state."""
    wrapped = {"gradient_centralization": True, "lookahead": {"k": 4, "alpha": 0.5}}
    plain, whole, first, second = (
        _Run(optimizer, scheduler, **settings) for settings in ({}, wrapped, wrapped, wrapped)
    )
    plain.epochs(0, EPOCHS)
    whole.epochs(0, EPOCHS)
    first.epochs(0, 2)
    buffer = io.BytesIO()
    torch.save(first.state(), buffer)
    buffer.seek(0)
    second.restore(torch.load(buffer, weights_only=True))
    second.epochs(2, EPOCHS)
    assert first.rates + second.rates == whole.rates == plain.rates
    for ours, theirs, bare in zip(second.net.parameters(), whole.net.parameters(), plain.net.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert not torch.equal(ours, bare)
    for ours, theirs in zip(
        slow_weights(second.optimizer).values(), slow_weights(whole.optimizer).values(), strict=True
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", sorted(SCHEDULERS.parts))
@pytest.mark.parametrize("warmup", [0.0, 1.0])
def test_a_rate_is_never_zero_nor_above_the_configured_one(name, warmup):
    run = _Run(scheduler=name, warmup=warmup)
    run.epochs(0, EPOCHS)
    assert len(run.rates) == EPOCHS * STEPS
    assert all(0 < rate <= 0.01 for rate in run.rates)
    assert max(run.rates) == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize("name", sorted(SCHEDULERS.parts))
def test_a_warmup_rises(name):
    run = _Run(scheduler=name, warmup=1.0)
    run.epochs(0, 2)
    assert run.rates[0] < run.rates[STEPS]
    assert sorted(run.rates[:STEPS]) == run.rates[:STEPS]


@pytest.mark.parametrize("name", sorted(SCHEDULERS.parts))
def test_a_schedule_has_a_group_file_that_builds(name):
    params = yaml.safe_load((files("ringlight") / "configs" / "scheduler" / f"{name}.yaml").read_text())
    assert params.pop("name") == name
    assert SCHEDULERS.problems(name, params) == []
    assert _Run(scheduler=name).schedule.scheduler is not None


@pytest.mark.parametrize("name", sorted(set(SCHEDULERS.parts) - {"plateau"}))
def test_a_schedule_by_step_is_its_pure_function_whenever_it_is_asked(name):
    """A resumed run continues from the step count alone, so that nothing else may decide a rate."""
    run = _Run(scheduler=name)
    curve = run.schedule.scheduler
    run.epochs(0, EPOCHS)
    assert [curve.value(0.01, step) for step in reversed(range(EPOCHS * STEPS))] == run.rates[::-1]
    taken = inspect.signature(RATES[name]).parameters
    settings = {key: value for key, value in vars(curve).items() if key in taken and value is not None}
    if name == "polynomial":
        settings["decay_steps"] = EPOCHS * STEPS - STEPS
    assert [RATES[name](step, base_lr=0.01, **settings) for step in range(EPOCHS * STEPS)] == run.rates
