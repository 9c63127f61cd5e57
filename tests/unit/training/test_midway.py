"""A training that is stopped anywhere and gone on with ends like one that was not: to the bit, on one processor."""

from __future__ import annotations

import copy
import io
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ringlight.config.load import compose
from ringlight.data.loader import ImageDataset
from ringlight.errors import InterruptedRunError
from ringlight.training.arrays import dataset_of
from ringlight.training.checkpoint_files import LAST, MIDWAY, newest
from ringlight.training.learner import DeepLearner
from ringlight.training.midway import random_state, set_random_state
from ringlight.training.plan import Plan, part_problems, plan_on, prepare
from ringlight.training.splitting import split_as_configured
from ringlight.training.trackers import QuietControl, QuietTracker
from ringlight.types import RunControl, Signal

PlanOf = Callable[..., Plan]


class PausesOnce:
    """Says `said` the first time that it hears of one of these moments: (epoch, step, validating)."""

    def __init__(self, *moments: tuple[int, int, int], said: Signal = "pause") -> None:
        self.left = list(moments)
        self.said = said

    def heartbeat(self, progress: Mapping[str, float]) -> Signal:
        moment = (int(progress["epoch"]), int(progress["step"]), int(progress["validating"]))
        if moment not in self.left:
            return "go"
        self.left.remove(moment)
        return self.said


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
        except InterruptedRunError:
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


FLIP = "augmentation.horizontal_flip=true"
CONFIGURATIONS = {
    "plain": ["optimizer=adamw", "scheduler=warmup_cosine", FLIP, "loss=focal_loss", "loss.alpha=dynamic"],
    "sam-lookahead": ["optimizer.sam.rho=0.05", "optimizer.lookahead.k=3", "optimizer.gradient_centralization=true"],
    "ema-accumulate": ["training.ema_decay=0.9", "training.accumulate_steps=2", "scheduler.name=one_cycle"],
    "plateau-patience": [
        "optimizer.name=sgd", "optimizer.momentum=0.9", "optimizer.lr=1.0e-9", "scheduler.name=plateau",
        "scheduler.patience=0", "training.early_stopping_patience=1", "training.num_epochs=4",
    ],
    "mixup-dropout": ["augmentation.mixup=true", "optimizer.asam.rho=0.5", "split.strategy=stratified_80_20"],
    "workers": ["data.num_workers=2", FLIP, "sampler.name=class_balanced"],
}  # fmt: skip


def small_network() -> nn.Module:
    """Return what has weights, running statistics and dropout, and can be written in no time."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 5, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Dropout(0.3), nn.Linear(4, 3),
    )  # fmt: skip


@pytest.mark.parametrize("name", list(CONFIGURATIONS))
def test_a_training_paused_at_any_kind_of_moment_ends_like_one_that_was_not(
    plan_of: PlanOf, tmp_path: Path, name: str
) -> None:
    """After the first step, within accumulated gradients, after the last step, in the validation; again and again."""
    plan = replace(plan_of("data.batch_size=2", *CONFIGURATIONS[name]), module=small_network())
    assert_paused_is_whole(plan, tmp_path)


def assert_paused_is_whole(plan: Plan, folder: Path) -> None:
    """Compare an uninterrupted training with one that is paused at every kind of moment."""
    whole, _ = trained(plan, folder / "whole", QuietControl())
    steps = whole.last["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["ready"]
    moments = [(0, 1, 0), (0, 3, 0), (0, steps, 0), (1, 2, 0)]
    if len(plan.split.val):
        moments += [(0, steps, 1), (1, steps, 1)]
    stopped, stops = trained(plan, folder / "stopped", PausesOnce(*moments))
    assert stops == len(moments)
    assert_equal(vars(whole), vars(stopped))
    assert len(whole.history) == 2  # also where it stopped early


def test_windows_go_on_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = rng.permutation(40) % 2
    windows = (rng.normal(size=(40, 16, 2)) * (1 + truth)[:, None, None]).astype(np.float32)
    data = dataset_of(windows, truth, folder=tmp_path / "cache", classes=("calm", "rough"), name="rig")
    config = compose(
        "windows",
        [
            "model.name=cnn1d", "model.filters=[4,4]", "augmentation=signals_light", "data.num_workers=2",
            "data.batch_size=8", "training.num_epochs=2", "training.device=cpu", "training.num_threads=1",
            "scheduler.warmup_epochs=0",
        ],
        check_parts=part_problems,
    )  # fmt: skip
    prepared = prepare(config, tmp_path / "cache", dataset=data)
    split = split_as_configured(prepared.config, prepared.inspection.dataset, tmp_path / "cache")
    assert_paused_is_whole(plan_on(prepared, *split), tmp_path)


def test_what_is_behind_is_not_read_again(plan_of: PlanOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = replace(plan_of("data.batch_size=2", "training.num_epochs=1"), module=small_network())
    read: list[list[int]] = []
    real = ImageDataset.__getitems__

    def reading(self: ImageDataset, keys: Any) -> Any:
        read.append([row for _, row, _ in keys])
        return real(self, keys)

    monkeypatch.setattr(ImageDataset, "__getitems__", reading)
    trained(plan, tmp_path, PausesOnce((0, 2, 0)))
    batches = [rows for rows in read if len(rows) == 2]
    rows = [row for batch in batches[: len(plan.split.train) // 2] for row in batch]
    assert len(set(rows)) == len(rows)


def test_it_is_kept_now_and_then_where_nobody_stops_the_run(plan_of: PlanOf, tmp_path: Path) -> None:
    """An epoch may last hours; a power cut costs minutes. The epoch's end takes the file away."""
    plan = replace(
        plan_of("data.batch_size=2", "training.num_epochs=1", "training.checkpoint_minutes=1.0e-9"),
        module=small_network(),
    )
    seen: list[bool] = []

    class Looks(QuietControl):
        def heartbeat(self, progress: Mapping[str, float]) -> Signal:
            seen.append((tmp_path / MIDWAY).is_file())
            return "go"

    ends, _ = trained(plan, tmp_path, Looks())
    steps = ends.last["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["ready"]
    assert seen[:steps] == [False, *[True] * (steps - 1)]
    assert not (tmp_path / MIDWAY).exists()


def test_a_cancelled_training_keeps_no_middle_of_an_epoch(plan_of: PlanOf, tmp_path: Path) -> None:
    plan = replace(plan_of("data.batch_size=2"), module=small_network())
    folder = tmp_path / "checkpoints"
    learner = DeepLearner.from_plan(plan, folder, lambda *_: None)
    with pytest.raises(InterruptedRunError) as caught:
        learner.fit(
            plan.part("train"), None, tracker=QuietTracker(), control=PausesOnce((1, 2, 0), said="cancel"), resume=None
        )
    assert caught.value.signal == "cancel"
    assert [path.name for path in folder.iterdir()] == [LAST]


def test_random_states_are_put_back() -> None:
    kept = random_state()
    drawn = [(random.random(), np.random.normal(), torch.rand(2).tolist())]
    set_random_state(torch.load(saved(kept), weights_only=True))
    drawn.append((random.random(), np.random.normal(), torch.rand(2).tolist()))
    assert drawn[0] == drawn[1]


def saved(value: Any) -> io.BytesIO:
    stream = io.BytesIO()
    torch.save(value, stream)
    stream.seek(0)
    return stream
