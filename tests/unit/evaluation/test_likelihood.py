"""The likelihood and its slope, by finite differences and by torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ringlight.evaluation.likelihood import SCALES, likelihood, most_likely


def problem(task: str, count: int = 40, size: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    targets = generator.random((count, size))
    if task == "multiclass":
        targets /= targets.sum(1, keepdims=True)
    return generator.normal(size=(count, size)) * 3, targets


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_loss_and_slope_are_torchs(task: Any) -> None:
    logits, targets = problem(task)
    loss, slope = likelihood(logits, targets, task)
    leaf = torch.tensor(logits, requires_grad=True)
    functional = torch.nn.functional
    wanted = (
        functional.cross_entropy(leaf, torch.tensor(targets))
        if task == "multiclass"
        else functional.binary_cross_entropy_with_logits(leaf, torch.tensor(targets))
    )
    wanted.backward()
    assert loss == pytest.approx(wanted.item(), abs=1e-12)
    np.testing.assert_allclose(slope, leaf.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize(("task", "shared"), [("multiclass", True), ("multiclass", False), ("multilabel", False)])
def test_the_minimum_is_the_one_torchs_lbfgs_finds(task: Any, shared: bool) -> None:
    generator = np.random.default_rng(1)
    logits = generator.normal(size=(300, 3)) * 2
    truth = np.eye(3)[(logits + generator.gumbel(size=logits.shape)).argmax(1)]
    if task == "multilabel":
        truth = (generator.random(logits.shape) < 1 / (1 + np.exp(-0.5 * logits - 1))).astype(float)
    targets = 0.98 * truth + 0.02 / 3
    scale, offset = most_likely(logits, targets, task, shared=shared)
    moved = torch.ones(1 if shared else 3, dtype=torch.float64, requires_grad=True)
    shift = torch.zeros(3, dtype=torch.float64, requires_grad=not shared)
    solver = torch.optim.LBFGS(
        [moved] if shared else [moved, shift],
        max_iter=500,
        tolerance_grad=1e-10,
        tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )
    functional = torch.nn.functional
    loss_of = functional.cross_entropy if task == "multiclass" else functional.binary_cross_entropy_with_logits

    def closure() -> torch.Tensor:
        solver.zero_grad()
        loss = loss_of(torch.tensor(logits) * moved + shift, torch.tensor(targets))
        loss.backward()
        return loss

    solver.step(closure)
    ours, _ = likelihood(logits * scale + (0 if shared else offset), targets, task)
    assert ours == pytest.approx(closure().item(), abs=1e-9)
    np.testing.assert_allclose(scale, moved.detach().numpy(), rtol=1e-4)


def test_scales_stay_positive_whatever_the_scores_say() -> None:
    """Scores turned upside down would be turned back by a negative scale, and the best class with them."""
    logits = np.array([[3.0, -3.0], [-3.0, 3.0]] * 20)
    upside_down = np.array([[0.0, 1.0], [1.0, 0.0]] * 20)
    for shared in (True, False):
        scale, _ = most_likely(logits, upside_down, "multiclass", shared=shared)
        np.testing.assert_allclose(scale, SCALES[0])
