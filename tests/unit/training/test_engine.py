"""Optimiser and schedule as a configuration puts them together, in Lightning's own loop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader

from ringlight.config.load import compose
from ringlight.runtime import choose_device, quiet_libraries
from ringlight.training.engine import make_trainer, optimizer_of, schedule_of
from ringlight.training.task import ClassificationTask


class Rates(Callback):
    """The rate and the epoch of every optimiser step."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, float]] = []

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self.seen.append((trainer.current_epoch, optimizer.param_groups[0]["lr"]))


@pytest.mark.parametrize(("num_batches", "accumulate"), [(5, 2), (4, 2), (7, 5)])
def test_one_cycle_ends_with_the_last_optimiser_step_of_the_last_epoch(
    num_batches: int, accumulate: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accumulated batches are one step, and an epoch's odd ones at its end another: counted as batches, or without the
    odd ones, the cycle would end early or never.
    """
    monkeypatch.chdir(tmp_path)  # without a keeper Lightning leaves checkpoints where it stands
    config = compose(
        "folder",
        [
            "data.root=.", "scheduler=one_cycle", "optimizer=sgd", "optimizer.lr=0.5", "training.num_epochs=3",
            f"training.accumulate_steps={accumulate}", "training.precision=32", "training.early_stopping_patience=null",
        ],
    )  # fmt: skip
    batches: Sequence[object] = [{"input": torch.ones(2), "target": torch.tensor(0)}] * num_batches
    torch.manual_seed(0)
    task = ClassificationTask(
        nn.Linear(2, 2), nn.CrossEntropyLoss(), classes=("a", "b"), task="multiclass", seed=0,
        optimizer=optimizer_of(config), schedule=schedule_of(config, None, num_batches), monitor=None,
    )  # fmt: skip
    rates = Rates()
    with quiet_libraries():
        trainer = make_trainer(config, choose_device("cpu"), [rates])
        trainer.fit(task, DataLoader(batches, batch_size=1))  # type: ignore[arg-type]
    per_epoch = -(-num_batches // accumulate)
    assert [epoch for epoch, _ in rates.seen] == [epoch for epoch in range(3) for _ in range(per_epoch)]
    reference = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        reference, max_lr=0.5, total_steps=3 * per_epoch, cycle_momentum=False
    )
    for _, rate in rates.seen:
        assert rate == pytest.approx(schedule.get_last_lr()[0])
        reference.step()
        if schedule.last_epoch + 1 < 3 * per_epoch:
            schedule.step()
    assert rates.seen[-1][1] == pytest.approx(0.5 / 25 / 1e4)
