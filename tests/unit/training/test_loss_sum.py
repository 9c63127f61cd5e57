"""The loss of an epoch is one of images, not of batches."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from ringlight.training.loss_sum import LatestLoss, LossSum


def test_a_small_batch_counts_as_what_it_is() -> None:
    losses = LossSum()
    assert math.isnan(losses.mean)
    losses.add(torch.tensor(1.0), 3)
    losses.add(torch.tensor(5.0), 1)
    assert (losses.mean, losses.images) == (2.0, 4)


@pytest.mark.parametrize(("device", "seen"), [("cpu", [2.0, 3.0]), ("cuda", [2.0, 2.0])])
def test_a_gpu_is_not_asked_at_every_step(device: str, seen: list[float]) -> None:
    task = SimpleNamespace(device=torch.device(device), losses=SimpleNamespace(mean=2.0))
    latest = LatestLoss()
    told = [latest.of(task)]  # type: ignore[arg-type]
    task.losses.mean = 3.0
    told.append(latest.of(task))  # type: ignore[arg-type]
    assert told == seen
