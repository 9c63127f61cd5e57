"""SAM and ASAM: the published way up by hand, by a naive loop and by pytorch_optimizer, and back to the bit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import pytorch_optimizer
import torch
from torch import Tensor, nn

from ringlight.errors import ConfigError
from ringlight.optim.sam import ASAM, SAM, Summit, trainable

CURVES = torch.tensor([1.0, 4.0, 0.5])


def bowl(weights: Tensor) -> Tensor:
    """A convex bowl, L(w) = sum c w^2 / 2, whose gradient is c w."""
    return 0.5 * (CURVES * weights.square()).sum()


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def batch(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(8, 3, generator=generator), torch.randint(0, 2, (8,), generator=generator)


def train(module: nn.Module, rule: SAM, optimizer: torch.optim.Optimizer, steps: int = 6) -> list[Tensor]:
    """Step as the task does: up by a gradient that is not accumulated, the gradient there, back, step."""
    parameters, summit = list(module.parameters()), Summit()
    for step in range(steps):
        images, targets = batch(step)
        loss = nn.functional.cross_entropy(module(images), targets)
        summit.climb(rule, parameters, torch.autograd.grad(loss, parameters))
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(images), targets).backward()
        summit.restore()
        optimizer.step()
    return [one.detach() for one in parameters]


def test_a_step_on_a_bowl_is_the_one_computed_by_hand() -> None:
    """w = (3, 0.5, 0): g = (3, 2, 0), e = 0.1 g / sqrt(13), and w - 0.1 c (w + e) is where plain descent ends."""
    weights = nn.Parameter(torch.tensor([3.0, 0.5, 0.0]))
    optimizer, summit = torch.optim.SGD([weights], lr=0.1), Summit()
    assert float(summit.climb(SAM(rho=0.1), [weights], torch.autograd.grad(bowl(weights), [weights]))) == 1
    away = 0.1 / 13**0.5
    assert summit.is_up
    assert weights.tolist() == pytest.approx([3 + 3 * away, 0.5 + 2 * away, 0.0])
    bowl(weights).backward()
    summit.restore()
    assert not summit.is_up
    assert weights.tolist() == [3.0, 0.5, 0.0]
    optimizer.step()
    assert weights.tolist() == pytest.approx([3 - 0.1 * (3 + 3 * away), 0.5 - 0.4 * (0.5 + 2 * away), 0.0])


def test_the_adaptive_way_on_a_bowl_is_the_one_computed_by_hand() -> None:
    """T = (3.5, 1, 0.5) with eta 0.5, g = (3, 2, 1): T g = (10.5, 2, 0.5), e = 0.2 T^2 g / |T g|."""
    ways = ASAM(rho=0.2, eta=0.5).ways([torch.tensor([3.0, -0.5, 0.0])], [torch.tensor([3.0, 2.0, 1.0])])
    norm = (10.5**2 + 2**2 + 0.5**2) ** 0.5
    assert ways[0].tolist() == pytest.approx([0.2 * 36.75 / norm, 0.2 * 2 / norm, 0.2 * 0.25 / norm])


@pytest.mark.parametrize("rule", [SAM(rho=0.3), ASAM(rho=0.3, eta=0.02)], ids=["sam", "asam"])
def test_the_ways_are_those_of_a_naive_loop_over_single_numbers(rule: SAM) -> None:
    weights = [one.detach() for one in net().parameters()]
    gradients = [torch.randn_like(one) for one in weights]
    units = [abs(w) + rule.eta if isinstance(rule, ASAM) else 1.0 for one in weights for w in one.flatten().tolist()]
    flat = [g for one in gradients for g in one.flatten().tolist()]
    norm = sum((g * t) ** 2 for g, t in zip(flat, units, strict=True)) ** 0.5
    expected = [rule.rho * t * t * g / norm for g, t in zip(flat, units, strict=True)]
    before = [one.clone() for one in gradients]
    ways = rule.ways(weights, gradients)
    assert torch.cat([one.flatten() for one in ways]).tolist() == pytest.approx(expected, rel=1e-5, abs=1e-7)
    assert all(torch.equal(one, two) for one, two in zip(gradients, before, strict=True))


@pytest.mark.parametrize("rule", [SAM(rho=0.05), ASAM(rho=0.5, eta=0.0)], ids=["sam", "asam"])
@pytest.mark.parametrize("base", [torch.optim.AdamW, torch.optim.SGD], ids=["adamw", "sgd"])
def test_a_training_is_that_of_pytorch_optimizer(rule: SAM, base: type[torch.optim.Optimizer]) -> None:
    ours, theirs = net(), net()
    settings = {"lr": 0.05, "weight_decay": 0.01}
    trained = train(ours, rule, base(ours.parameters(), **settings))
    optimizer = pytorch_optimizer.SAM(
        theirs.parameters(), base, rho=rule.rho, adaptive=isinstance(rule, ASAM), **settings
    )

    def closure(step: int) -> Callable[[], Tensor]:
        images, targets = batch(step)

        def run() -> Tensor:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(theirs(images), targets)
            loss.backward()
            return loss

        return run

    for step in range(6):
        closure(step)()
        optimizer.step(closure(step))
    for one, two in zip(trained, theirs.parameters(), strict=True):
        torch.testing.assert_close(one, two.detach(), rtol=0, atol=1e-7)


def test_the_adaptive_way_does_not_feel_that_two_layers_are_scaled_against_each_other() -> None:
    """Scaling one layer up and the next down leaves the network the same: so do the losses at the top (section 3)."""

    def top(scale: float, rule: SAM) -> float:
        torch.manual_seed(1)
        module = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False))
        with torch.no_grad():
            module[0].weight.mul_(scale)
            module[2].weight.div_(scale)
        parameters, (images, targets) = list(module.parameters()), batch(0)
        loss = nn.functional.cross_entropy(module(images), targets)
        Summit().climb(rule, parameters, torch.autograd.grad(loss, parameters))
        return float(nn.functional.cross_entropy(module(images), targets).detach())

    assert top(10.0, ASAM(rho=0.3, eta=0.0)) == pytest.approx(top(1.0, ASAM(rho=0.3, eta=0.0)), rel=1e-4)
    assert top(10.0, SAM(rho=0.3)) != pytest.approx(top(1.0, SAM(rho=0.3)), rel=1e-2)


def test_a_scaled_loss_gives_the_same_way() -> None:
    weights, gradients = [torch.tensor([1.0, 2.0])], [torch.tensor([3.0, 4.0])]
    scaled = [65536 * one for one in gradients]
    torch.testing.assert_close(SAM().ways(weights, scaled), SAM().ways(weights, gradients))


def test_a_gradient_that_is_not_finite_moves_nothing_and_marks_the_step() -> None:
    """A NaN at the top would stay in the running statistics of batch normalisation for ever."""
    weights = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(1))]
    summit = Summit()
    factor = summit.climb(SAM(), weights, [torch.tensor([1.0, float("inf")]), torch.ones(1)])
    assert torch.isnan(factor)
    assert weights[0].tolist() == [1.0, 1.0]
    assert weights[1].tolist() == [1.0]


def test_a_gradient_of_zero_has_nowhere_to_climb() -> None:
    weights = nn.Parameter(torch.ones(2))
    assert float(Summit().climb(SAM(), [weights], [torch.zeros(2)])) == 1
    assert weights.tolist() == [1.0, 1.0]


def test_what_has_no_gradient_or_is_frozen_stays_and_a_second_climb_starts_from_below() -> None:
    module, summit = net(), Summit()
    module[0].weight.requires_grad_(requires_grad=False)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    taken = trainable(optimizer.param_groups)
    assert len(taken) == 3
    before = [one.detach().clone() for one in taken]
    gradients = [None, *(torch.ones_like(one) for one in taken[1:])]
    summit.climb(SAM(rho=1.0), taken, gradients)
    once = [one.detach().clone() for one in taken]
    assert torch.equal(once[0], before[0])
    assert not torch.equal(once[1], before[1])
    summit.climb(SAM(rho=1.0), taken, gradients)
    assert all(torch.equal(one, two) for one, two in zip(taken, once, strict=True))
    summit.restore()
    assert all(torch.equal(one, two) for one, two in zip(taken, before, strict=True))
    assert float(summit.climb(SAM(), [], [])) == 1


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: SAM(rho=0.0), "optimizer.sam.rho: expected a way up longer than 0, got 0; try 0.05"),
        (lambda: ASAM(rho=float("nan")), "optimizer.asam.rho: expected a way up longer than 0, got nan; try 0.05"),
        (lambda: ASAM(eta=-1.0), "optimizer.asam.eta: expected an eta of 0 or more, got -1; try 0.01"),
    ],
)
def test_numbers_out_of_range_are_refused(make: Callable[[], SAM], line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        make()
    assert str(refused.value) == line
