"""Attributions of windows: by hand, by a naive loop, and what integrated gradients promise."""

from __future__ import annotations

import pytest
import torch

from ringlight.errors import ConfigError, Problems
from ringlight.explain.signals import SIGNAL_METHODS, IntegratedGradients, Occlusion

WINDOWS = torch.randn(2, 3, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
REST = torch.full_like(WINDOWS, 0.25)
TARGETS = torch.tensor([1, 0])


def score(windows: torch.Tensor) -> torch.Tensor:
    """Two scores that no channel and no sample decides alone."""
    mixed = torch.tanh(windows[:, 0] * windows[:, 1]) + windows[:, 2].pow(2)
    return torch.stack([mixed.sum(dim=1), (mixed * torch.arange(12)).sum(dim=1)], dim=1)


def test_occlusion_is_the_mean_loss_over_the_stretches_that_hide_a_sample() -> None:
    found = Occlusion(width=5, stride=3)(score, WINDOWS, TARGETS, REST)
    starts = [0, 3, 6, 9]  # the last reaches beyond the end
    expected = torch.zeros_like(WINDOWS)
    for row, target in enumerate(TARGETS.tolist()):
        for channel in range(3):
            losses = []
            for start in starts:
                hidden = WINDOWS[row : row + 1].clone()
                hidden[0, channel, start : start + 5] = 0.25
                losses.append((score(WINDOWS[row : row + 1]) - score(hidden))[0, target])
            for sample in range(12):
                covering = [loss for start, loss in zip(starts, losses, strict=True) if start <= sample < start + 5]
                expected[row, channel, sample] = sum(covering) / len(covering)
    torch.testing.assert_close(found, expected.float())


def test_a_sample_at_a_time_of_a_sum_is_the_sample_itself() -> None:
    found = Occlusion(width=1)(lambda x: x.sum(dim=(1, 2))[:, None], WINDOWS, torch.zeros(2, dtype=torch.long), REST)
    torch.testing.assert_close(found, (WINDOWS - 0.25).float())


def test_integrated_gradients_are_a_mean_gradient_on_the_straight_line() -> None:
    """Against the mid-point rule with a thousand points: captum's quadrature is another one."""
    found = IntegratedGradients(steps=50)(score, WINDOWS, TARGETS, REST)
    total = torch.zeros_like(WINDOWS)
    for step in range(1000):
        point = (REST + (step + 0.5) / 1000 * (WINDOWS - REST)).requires_grad_()
        score(point).gather(1, TARGETS[:, None]).sum().backward()
        total += point.grad / 1000
    torch.testing.assert_close(found, (WINDOWS - REST) * total, atol=1e-4, rtol=1e-4)


def test_integrated_gradients_are_complete() -> None:
    """They add up to what the score gains over the baseline's (proposition 1), the better the more steps there are."""
    gained = (score(WINDOWS) - score(REST)).gather(1, TARGETS[:, None])[:, 0]
    errors = [
        (IntegratedGradients(steps=steps)(score, WINDOWS, TARGETS, REST).sum(dim=(1, 2)) - gained).abs().max()
        for steps in (2, 8, 64)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-6


def test_wrong_values_are_told_in_a_line() -> None:
    with pytest.raises(ConfigError, match=r"explanation.width: expected 1 sample or more, got 0; try 16"):
        Occlusion(width=0)
    with pytest.raises(ConfigError, match=r"explanation.stride: expected a stride of at most the width, got 5 above 4"):
        Occlusion(width=4, stride=5)
    with pytest.raises(ConfigError, match=r"explanation.steps: expected 1 step or more, got 0; try 64"):
        IntegratedGradients(steps=0)
    with pytest.raises(Problems, match=r"explanation.method: expected a known explanation, got `occlude`; did you"):
        SIGNAL_METHODS.build("occlude")
