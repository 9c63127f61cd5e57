"""Centralised gradients and slow weights: by hand, by a naive loop; schedules, closures, scalers, state go through."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import Tensor, nn

from ringlight.errors import ConfigError
from ringlight.optim import (
    GradientCentralization,
    build_optimizer,
    build_schedule,
    centralize,
    holding_slow_weights,
    slow_weights,
    with_lookahead,
)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))


def loss_of(module: nn.Module, step: int) -> Tensor:
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(4, 1, 4, 4, generator=generator)
    return nn.functional.cross_entropy(module(images), torch.randint(0, 3, (4,), generator=generator))


def flat(module: nn.Module) -> Tensor:
    return torch.cat([one.detach().flatten() for one in module.parameters()])


def run(module: nn.Module, optimizer: torch.optim.Optimizer, first: int, last: int, *, closures: bool = False) -> None:
    for step in range(first, last):

        def closure(step: int = step) -> Tensor:
            optimizer.zero_grad()
            loss = loss_of(module, step)
            loss.backward()
            return loss

        if closures:
            assert optimizer.step(closure) is not None
        else:
            closure()
            optimizer.step()


def test_a_centralised_step_on_a_bowl_is_the_one_computed_by_hand() -> None:
    """g = W = [[1, 3], [2, 6]]: their rows' means 2 and 4 go; the bias keeps its gradient."""
    weights, bias = nn.Parameter(torch.tensor([[1.0, 3.0], [2.0, 6.0]])), nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer = GradientCentralization(torch.optim.SGD([weights, bias], lr=0.5))
    (0.5 * weights.square().sum() + 0.5 * bias.square().sum()).backward()
    optimizer.step()
    assert weights.tolist() == [[1.5, 2.5], [3.0, 5.0]]
    assert bias.tolist() == [0.5, 1.0]


def test_centralised_gradients_are_those_of_a_naive_loop() -> None:
    gradients = [torch.randn(3, 2, 2, 2), torch.randn(4, 5), torch.randn(6)]
    expected = [one.clone() for one in gradients]
    for gradient in expected[:2]:
        for output in range(len(gradient)):
            numbers = gradient[output].flatten().tolist()
            gradient[output] -= sum(numbers) / len(numbers)
    centralize(gradients)
    torch.testing.assert_close(gradients, expected)


@pytest.mark.parametrize("closures", [False, True])
def test_the_wrapper_steps_as_its_optimizer_does_on_centralised_gradients(closures: bool) -> None:
    """Lightning computes gradients inside the step, by a closure: centralised before, they would be the last step's."""
    ours, theirs = net(), net()
    run(ours, GradientCentralization(torch.optim.AdamW(ours.parameters(), lr=0.01)), 0, 5, closures=closures)
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=0.01)
    for step in range(5):
        optimizer.zero_grad()
        loss_of(theirs, step).backward()
        for one in theirs.parameters():
            if one.ndim > 1:
                one.grad -= one.grad.mean(dim=tuple(range(1, one.ndim)), keepdim=True)
        optimizer.step()
    torch.testing.assert_close(flat(ours), flat(theirs), rtol=0, atol=1e-7)


@pytest.mark.parametrize("closures", [False, True])
def test_slow_weights_are_those_of_algorithm_1(closures: bool) -> None:
    ours, theirs, alpha, k = net(), net(), 0.3, 3
    optimizer = with_lookahead(torch.optim.Adam(ours.parameters(), lr=0.05), k=k, alpha=alpha)
    run(ours, optimizer, 0, 8, closures=closures)
    inner = torch.optim.Adam(theirs.parameters(), lr=0.05)
    slow = [one.detach().clone() for one in theirs.parameters()]
    for step in range(8):
        inner.zero_grad()
        loss_of(theirs, step).backward()
        inner.step()
        if (step + 1) % k == 0:
            with torch.no_grad():
                for kept, one in zip(slow, theirs.parameters(), strict=True):
                    kept += alpha * (one - kept)
                    one.copy_(kept)
    torch.testing.assert_close(flat(ours), flat(theirs), rtol=0, atol=1e-7)
    found = slow_weights(optimizer)
    for kept, one in zip(slow, ours.parameters(), strict=True):
        torch.testing.assert_close(found[one], kept, rtol=0, atol=1e-7)


def test_lookahead_on_a_bowl_is_the_one_computed_by_hand() -> None:
    """w = 1, lr 0.5: halved every step, so 0.25 after two; half the way there from 1 is 0.625."""
    weights = nn.Parameter(torch.tensor([1.0]))
    optimizer = with_lookahead(torch.optim.SGD([weights], lr=0.5), k=2, alpha=0.5)
    seen = []
    for _ in range(3):
        optimizer.zero_grad()
        (0.5 * weights.square().sum()).backward()
        optimizer.step()
        seen.append(weights.item())
    assert seen == [0.5, 0.625, 0.3125]
    assert slow_weights(optimizer)[weights].item() == 0.625
    with holding_slow_weights(optimizer):
        assert weights.item() == 0.625
    assert weights.item() == 0.3125


def test_there_are_no_slow_weights_without_lookahead() -> None:
    module = net()
    optimizer = torch.optim.Adam(module.parameters())
    run(module, optimizer, 0, 1)
    before = flat(module)
    assert slow_weights(optimizer) == {}
    with holding_slow_weights(optimizer):
        assert torch.equal(flat(module), before)


@pytest.mark.parametrize("scheduler", ["one_cycle", "warmup_cosine", "plateau"])
def test_schedules_move_the_inner_optimizers_rates_and_a_restart_ends_at_the_same_bits(scheduler: str) -> None:
    """OneCycle changes the momentum, too; a wrapper with groups of its own would keep what it was built with."""

    def build() -> tuple[nn.Module, torch.optim.Optimizer, object]:
        module = net()
        optimizer = build_optimizer(
            "adamw", module, lr=0.01, weight_decay=0.1, gradient_centralization=True, lookahead={"k": 3, "alpha": 0.5}
        )
        return module, optimizer, build_schedule(scheduler, optimizer, num_epochs=2, steps_per_epoch=4)

    def train(parts: tuple[nn.Module, torch.optim.Optimizer, object], first: int, last: int) -> list[float]:
        module, optimizer, schedule = parts
        rates = []
        for step in range(first, last):
            rates.append(optimizer.optimizer.optimizer.param_groups[0]["lr"])
            run(module, optimizer, step, step + 1)
            schedule.scheduler.step(*([0.5] if schedule.needs_metric else []))
        return rates

    whole = build()
    rates = train(whole, 0, 8)
    assert len(set(rates)) > 1 or scheduler == "plateau"
    first = build()
    train(first, 0, 4)
    buffer = io.BytesIO()
    torch.save([first[0].state_dict(), first[1].state_dict(), first[2].scheduler.state_dict()], buffer)
    buffer.seek(0)
    second = build()
    for part, state in zip(
        (second[0], second[1], second[2].scheduler), torch.load(buffer, weights_only=True), strict=True
    ):
        part.load_state_dict(state)
    assert train(second, 4, 8) == rates[4:]
    assert torch.equal(flat(second[0]), flat(whole[0]))
    for one, two in zip(slow_weights(second[1]).values(), slow_weights(whole[1]).values(), strict=True):
        assert torch.equal(one, two)


def test_a_step_that_loss_scaling_skips_counts_for_nothing() -> None:
    module = net()
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    optimizer = with_lookahead(GradientCentralization(torch.optim.SGD(module.parameters(), lr=0.1)), k=2)
    before = flat(module)
    scaler.scale(loss_of(module, 0)).backward()
    next(module.parameters()).grad[0] = float("inf")
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 2.0
    assert optimizer.param_groups[0]["counter"] == 0
    assert torch.equal(flat(module), before)


def test_groups_that_come_later_and_copies_go_through() -> None:
    first, later = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    optimizer = GradientCentralization(torch.optim.SGD([first], lr=0.1))
    optimizer.add_param_group({"params": [later]})
    assert optimizer.optimizer.param_groups[1]["params"] == [later]
    twin = copy.deepcopy(optimizer)
    assert len(twin.param_groups) == 2
    assert twin.state == {}


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"k": 0}, "optimizer.lookahead.k: expected 1 step or more, got 0; try 5"),
        ({"alpha": 0.0}, "optimizer.lookahead.alpha: expected a share above 0, up to 1, got 0; try 0.5"),
        ({"alpha": 1.5}, "optimizer.lookahead.alpha: expected a share above 0, up to 1, got 1.5; try 0.5"),
    ],
)
def test_numbers_out_of_range_are_refused(settings: dict[str, float], line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        build_optimizer("sgd", net(), lr=0.1, weight_decay=0.0, lookahead=settings)
    assert str(refused.value) == line
