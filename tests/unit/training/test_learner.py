"""The deep learner: which weights count after fitting, and batches that batch normalisation can use."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ringlight.training.learner import DeepLearner
from ringlight.training.plan import Plan
from ringlight.training.trackers import QuietControl, QuietTracker
from ringlight.types import History

PlanOf = Callable[..., Plan]


def fit(plan: Plan, folder: Path) -> tuple[DeepLearner, History]:
    learner = DeepLearner.from_plan(plan, folder, lambda *_: None)
    val = plan.part("val") if len(plan.split.val) else None
    history = learner.fit(plan.part("train"), val, tracker=QuietTracker(), control=QuietControl(), resume=None)
    return learner, history


def weights(path: Path) -> dict[str, Any]:
    return dict(torch.load(path, weights_only=True)["state_dict"])


def same(module: torch.nn.Module, state: dict[str, Any]) -> bool:
    return all(torch.equal(tensor, state[f"module.{name}"]) for name, tensor in module.state_dict().items())


@pytest.fixture(autouse=True)
def random_state() -> Any:
    with torch.random.fork_rng():
        yield


def test_the_best_weights_are_put_back(plan_of: PlanOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.25, 0.75, 0.5])
    monkeypatch.setattr("ringlight.training.task.flatten", lambda _metrics: {"macro_f1": next(scores)})
    plan = plan_of("training.num_epochs=3")
    learner, _ = fit(plan, tmp_path)
    assert learner.weights_from is not None
    assert learner.weights_from.name == "best_epoch001_macro_f1_0.75.ckpt"
    assert same(plan.module, weights(learner.weights_from))
    assert not same(plan.module, weights(tmp_path / "last.ckpt"))


def test_without_validation_the_last_weights_stay(plan_of: PlanOf, tmp_path: Path) -> None:
    plan = plan_of("split.strategy=stratified_80_20", "training.early_stopping_patience=1")
    learner, history = fit(plan, tmp_path)
    assert len(history.rows) == 2
    assert learner.weights_from == tmp_path / "last.ckpt"
    assert [path.name for path in tmp_path.glob("*.ckpt")] == ["last.ckpt"]
    assert same(plan.module, weights(tmp_path / "last.ckpt"))


def test_with_averaging_the_averaged_weights_count(plan_of: PlanOf, tmp_path: Path) -> None:
    plan = plan_of("training.ema_decay=0.9", "split.strategy=stratified_80_20")
    learner, _ = fit(plan, tmp_path)
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert same(learner.module, checkpoint["state_dict"])
    assert not same(learner.module, checkpoint["current_model_state"])


def test_averaging_touches_neither_score_nor_training_of_the_current_weights(plan_of: PlanOf, tmp_path: Path) -> None:
    plain, averaged = (
        fit(plan_of("training.monitor=loss", *extra), tmp_path / name)[1]
        for name, extra in (("plain", ()), ("averaged", ("training.ema_decay=0.5",)))
    )
    assert [row["train/loss"] for row in plain.rows] == [row["train/loss"] for row in averaged.rows]
    assert [row["val/loss"] for row in plain.rows] != [row["val/loss"] for row in averaged.rows]


def test_an_image_that_would_be_alone_in_the_last_batch_is_left_out(
    plan_of: PlanOf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Batch normalisation over one value ended the run with a ValueError at the end of its first epoch."""
    plan = plan_of("data.batch_size=4", "split.strategy=stratified_80_20")
    train = plan.part("train").take(range(9))
    learner = DeepLearner.from_plan(plan, tmp_path, lambda *_: None)
    with caplog.at_level(logging.INFO, logger="ringlight"):
        learner.fit(train, None, tracker=QuietTracker(), control=QuietControl(), resume=None)
    assert any(message.startswith("every epoch leaves one image out") for message in caplog.messages)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 4  # two epochs of two batches
    assert len(learner.predict(train).ids) == 9


def test_the_schedule_counts_optimiser_steps_not_batches(plan_of: PlanOf, tmp_path: Path) -> None:
    plan = plan_of(
        "training.accumulate_steps=2", "scheduler.name=warmup_cosine", "split.strategy=stratified_80_20",
        "data.batch_size=5", "optimizer.lr=0.01",
    )  # fmt: skip
    fit(plan, tmp_path)
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert len(plan.split.train) == 12  # three batches, two steps an epoch
    assert checkpoint["global_step"] == checkpoint["lr_schedulers"][0]["last_epoch"] == 4
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(0.0, abs=1e-9)
