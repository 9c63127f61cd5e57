"""A training that is stopped anywhere and gone on with ends like one that was not: to the bit, on one processor."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ringlight.errors import InterruptedRunError
from ringlight.training.checkpoint_files import LAST, MIDWAY, newest
from ringlight.training.learner import DeepLearner
from ringlight.training.plan import Plan
from ringlight.training.trackers import QuietControl, QuietTracker
from ringlight.types import RunControl, Signal

PlanOf = Callable[..., Plan]


class PausesOnce:
    """Says "pause" the first time that it hears of one of these moments: (epoch, step, validating)."""

    def __init__(self, *moments: tuple[int, int, int]) -> None:
        self.left = list(moments)

    def heartbeat(self, progress: Mapping[str, float]) -> Signal:
        moment = (int(progress["epoch"]), int(progress["step"]), int(progress["validating"]))
        if moment not in self.left:
            return "go"
        self.left.remove(moment)
        return "pause"


class Ends:
    """How a training ended: all that can be compared."""

    def __init__(self, learner: DeepLearner, history: list[dict[str, float]], folder: Path) -> None:
        self.history = history
        self.weights = dict(learner.module.state_dict())
        self.files = sorted(path.name for path in folder.iterdir())
        self.last = torch.load(folder / LAST, weights_only=True)
        self.last["callbacks"].pop("Heartbeat")  # it holds times
        self.last["loops"]["fit_loop"].pop("epoch_loop.val_loop.batch_progress")  # counted from 0 in every epoch


def trained(plan: Plan, folder: Path, control: RunControl) -> tuple[Ends, int]:
    """Train, going on as often as the control says "pause"; how it ended, and how often it was stopped."""
    stops = 0
    while True:
        made = replace(plan, module=copy.deepcopy(plan.module), criterion=copy.deepcopy(plan.criterion))
        learner = DeepLearner.from_plan(made, folder, lambda *_: None)
        torch.manual_seed(stops)  # whatever the process did before
        try:
            history = learner.fit(
                plan.part("train"), plan.part("val") if len(plan.split.val) else None, tracker=QuietTracker(),
                control=control, resume=newest(folder),
            )  # fmt: skip
            return Ends(learner, history.rows, folder), stops
        except InterruptedRunError as error:
            assert error.signal == "pause"
            stops += 1


def assert_equal(one: Any, other: Any, where: str = "") -> None:
    """Compare nested values; tensors to the bit."""
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, Mapping):
        assert list(one) == list(other), where
        for key in one:
            assert_equal(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for place, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            assert_equal(mine, theirs, f"{where}/{place}")
    else:
        assert one == other, where


CONFIGURATIONS = {
    "plain": ["optimizer=adamw", "scheduler=warmup_cosine", "augmentation.horizontal_flip=true"],
    "sam-lookahead": ["optimizer.sam.rho=0.05", "optimizer.lookahead.k=3", "optimizer.gradient_centralization=true"],
    "ema-accumulate": ["training.ema_decay=0.9", "training.accumulate_steps=2", "scheduler.name=one_cycle"],
    "plateau-patience": [
        "optimizer.name=sgd", "optimizer.momentum=0.9", "scheduler.name=plateau", "scheduler.patience=1",
        "training.early_stopping_patience=2",
    ],
    "mixup-dropout": ["augmentation.mixup=true", "model.drop_rate=0.3", "loss=focal_loss", "loss.alpha=dynamic"],
    "workers": ["data.num_workers=2", "augmentation.horizontal_flip=true"],
}  # fmt: skip


@pytest.mark.parametrize("name", list(CONFIGURATIONS))
def test_x(plan_of: PlanOf, tmp_path: Path, name: str) -> None:
    import time
    t = time.perf_counter()
    plan = plan_of("data.batch_size=2", "training.num_epochs=2", *CONFIGURATIONS[name])
    print("plan", time.perf_counter() - t)
    t = time.perf_counter()
    whole, _ = trained(plan, tmp_path / "whole", QuietControl())
    steps = whole.last["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["ready"]
    print("whole", time.perf_counter() - t, steps)
    t = time.perf_counter()
    moments = [(0, 1, 0), (0, 3, 0), (0, steps, 0), (0, steps, 1), (1, 1, 0), (1, 2, 0), (1, steps, 0), (1, steps, 1)]
    stopped, times = trained(plan, tmp_path / "stopped", PausesOnce(*moments))
    print("stopped", time.perf_counter() - t)
    assert times == len(moments)
    assert_equal(vars(whole), vars(stopped))
