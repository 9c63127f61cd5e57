"""A training step through Ringlight against the same step in a bare PyTorch loop: ResNet18 at 128 px, batch 16.

Both sides train the same model with the same optimiser on the same batches held in memory, so that only the engine's own
cost is compared. They take turns within one run; the ratio of each pair is what is reported. Target: at most 1.03.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from ringlight.losses import LOSSES
from ringlight.models import build_model
from ringlight.optim import build_optimizer, build_schedule
from ringlight.runtime import quiet_libraries
from ringlight.training.callbacks import Heartbeat, Reporter, WholeCheckpointIO, checkpoints
from ringlight.training.task import ClassificationTask
from ringlight.training.trackers import QuietControl, QuietTracker

STEPS, BATCH, SIZE, PAIRS, CLASSES = 12, 16, 128, 7, 6


class Batches(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """The same few batches for both sides, made once."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(STEPS, BATCH, 3, SIZE, SIZE, generator=generator)
        self.targets = torch.randint(0, CLASSES, (STEPS, BATCH), generator=generator)

    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"image": self.images[index], "target": self.targets[index]}


def parts() -> tuple[torch.nn.Module, torch.nn.Module]:
    torch.manual_seed(0)
    module = build_model("resnet18", num_classes=CLASSES, pretrained=False).module
    return module, LOSSES.build("cross_entropy", num_classes=CLASSES, task="multiclass")


def bare(batches: Batches) -> float:
    module, criterion = parts()
    optimizer = build_optimizer("adamw", module, lr=1e-3, weight_decay=1e-4)
    schedule = build_schedule("warmup_cosine", optimizer, num_epochs=1, steps_per_epoch=STEPS).scheduler
    module.train()
    started = time.perf_counter()
    for batch in DataLoader(batches, batch_size=None):
        optimizer.zero_grad()
        criterion(module(batch["image"]), batch["target"]).backward()
        optimizer.step()
        schedule.step()
    return time.perf_counter() - started


class Clock(Reporter):
    """Times the steps alone: Lightning's set-up is paid once a run, not once a step."""

    seconds = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: object) -> None:
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: object) -> None:
        self.seconds = time.perf_counter() - self.started


def ringlight(batches: Batches, folder: Path) -> float:
    module, criterion = parts()
    task = ClassificationTask(
        module,
        criterion,
        classes=tuple(map(str, range(CLASSES))),
        task="multiclass",
        seed=0,
        optimizer=lambda model: build_optimizer("adamw", model, lr=1e-3, weight_decay=1e-4),
        schedule=lambda built: build_schedule("warmup_cosine", built, num_epochs=1, steps_per_epoch=STEPS),
        monitor=None,
    )
    clock = Clock(QuietTracker(), lambda history, validation: None, 1)
    heartbeat = Heartbeat(QuietControl(), 1, BATCH)
    with quiet_libraries():
        trainer = Trainer(
            accelerator="cpu", max_epochs=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
            callbacks=[clock, heartbeat, *checkpoints(folder, None)], plugins=[WholeCheckpointIO()],
        )  # fmt: skip
        trainer.fit(task, DataLoader(batches, batch_size=None))
    heartbeat.restore()
    return clock.seconds


def main() -> None:
    batches = Batches()
    bare(batches)
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        ringlight(batches, Path(folder))
        for _ in range(PAIRS):
            pairs.append((ringlight(batches, Path(folder)), bare(batches)))
    ratios = [ours / theirs for ours, theirs in pairs]
    print(f"training step, ResNet18, {SIZE} px, batch {BATCH}, {torch.get_num_threads()} thread(s), {PAIRS} pairs")
    print(f"  ringlight {1000 * statistics.median(ours for ours, _ in pairs) / STEPS:8.1f} ms a step (median)")
    print(f"  bare loop {1000 * statistics.median(theirs for _, theirs in pairs) / STEPS:8.1f} ms a step (median)")
    print(
        f"  ratio     {statistics.median(ratios):8.3f}    (min {min(ratios):.3f}, max {max(ratios):.3f}; target <= 1.03)"
    )


if __name__ == "__main__":
    main()
