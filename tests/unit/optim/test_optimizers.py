from __future__ import annotations

import math

import pytest
import torch

from ringlight.optim import OPTIMIZERS

W0, G, LR, DECAY = 2.0, 0.5, 0.1, 0.3


def _one_step(name, **params):
    weight = torch.nn.Parameter(torch.tensor([[W0]], dtype=torch.float64))
    optimizer = OPTIMIZERS.build(
        name, parameters=[{"params": [weight], "weight_decay": DECAY}], lr=LR, weight_decay=DECAY, **params
    )
    weight.grad = torch.full_like(weight, G)
    optimizer.step()
    return float(weight.detach())


def test_adamw_by_hand():
    # The first step of Adam is lr * sign(g); decay shrinks the weight by lr * decay beforehand.
    assert _one_step("adamw") == pytest.approx(W0 * (1 - LR * DECAY) - LR, abs=1e-7)


def test_adam_by_hand():
    # Decay joins the gradient, and the first step is lr * sign(g) all the same.
    assert _one_step("adam") == pytest.approx(W0 - LR, abs=1e-7)


def test_sgd_by_hand():
    gradient = G + DECAY * W0
    assert _one_step("sgd") == pytest.approx(W0 - LR * (gradient + 0.9 * gradient), abs=1e-12)
    assert _one_step("sgd", nesterov=False) == pytest.approx(W0 - LR * gradient, abs=1e-12)


def test_rmsprop_by_hand():
    gradient = G + DECAY * W0
    assert _one_step("rmsprop") == pytest.approx(W0 - LR * gradient / math.sqrt(0.01 * gradient**2), abs=1e-6)
