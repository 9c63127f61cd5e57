"""A training step through Ringlight, in a bare PyTorch loop and in timm: ResNet18 at 128 px, batch 16, fp32.

All three train the same model with AdamW on the same batches held in memory, so that only the engine's own cost is
compared. timm's side is what its training script does: its task (forward and loss), its optimiser and schedule, its
running mean of the loss. They take turns within one run; the ratio in each round is what is reported, by the clock on
the wall and by the processor's (which other programs disturb less). Target: at most 1.03. Usage:

    python benchmarks/training_step.py [--pairs 7]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import timm.optim
import timm.scheduler
import timm.task
import timm.utils
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader

from ringlight.losses import LOSSES
from ringlight.models import build_model
from ringlight.optim import build_optimizer, build_schedule
from ringlight.runtime import quiet_libraries
from ringlight.training.callbacks import Heartbeat, Reporter
from ringlight.training.checkpoints import Keeper, WholeCheckpointIO
from ringlight.training.task import ClassificationTask
from ringlight.training.trackers import QuietControl, QuietTracker

STEPS, BATCH, SIZE, CLASSES = 12, 16, 128, 6


class Batches(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """The same few batches for both sides, made once."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(STEPS, BATCH, 3, SIZE, SIZE, generator=generator)
        self.targets = torch.randint(0, CLASSES, (STEPS, BATCH), generator=generator)

    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input": self.images[index], "target": self.targets[index]}


def parts() -> tuple[torch.nn.Module, torch.nn.Module]:
    torch.manual_seed(0)
    module = build_model("resnet18", num_classes=CLASSES, pretrained=False).module
    return module, LOSSES.build("cross_entropy", num_classes=CLASSES, task="multiclass")


class Stopwatch(Callback):
    """Times the steps alone: Lightning's set-up is paid once a run, not once a step."""

    def __init__(self) -> None:
        self.times = (0.0, 0.0)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Start."""
        self.start()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Stop."""
        self.stop()

    def start(self) -> None:
        """Look at the clocks."""
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        """Look again."""
        self.times = time.perf_counter() - self._wall, time.process_time() - self._cpu


def bare(batches: Batches) -> tuple[float, float]:
    module, criterion = parts()
    optimizer = build_optimizer("adamw", module, lr=1e-3, weight_decay=1e-4)
    schedule = build_schedule("warmup_cosine", optimizer, num_epochs=1, steps_per_epoch=STEPS).scheduler
    module.train()
    watch = Stopwatch()
    watch.start()
    for batch in DataLoader(batches, batch_size=None):
        optimizer.zero_grad()
        criterion(module(batch["input"]), batch["target"]).backward()
        optimizer.step()
        schedule.step()
    watch.stop()
    return watch.times


def timms(batches: Batches) -> tuple[float, float]:
    module, _ = parts()
    task = timm.task.ClassificationTask(module, torch.nn.CrossEntropyLoss(), device=torch.device("cpu"), verbose=False)
    optimizer = timm.optim.create_optimizer_v2(module, opt="adamw", lr=1e-3, weight_decay=1e-4)
    schedule = timm.scheduler.CosineLRScheduler(optimizer, t_initial=STEPS, t_in_epochs=False)
    mean = timm.utils.AverageMeter()
    module.train()
    watch = Stopwatch()
    watch.start()
    for step, batch in enumerate(DataLoader(batches, batch_size=None)):
        loss = task(batch["input"], batch["target"])["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        mean.update(loss.detach(), len(batch["input"]))
        schedule.step_update(step + 1, metric=mean.avg)
    watch.stop()
    return watch.times


def ringlight(batches: Batches, folder: Path) -> tuple[float, float]:
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
    watch, reporter = Stopwatch(), Reporter(QuietTracker(), lambda *_: None, 1)
    heartbeat = Heartbeat(QuietControl(), 1, BATCH)
    with quiet_libraries():
        trainer = Trainer(
            accelerator="cpu", max_epochs=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
            callbacks=[watch, reporter, heartbeat, Keeper(folder, None)], plugins=[WholeCheckpointIO()],
        )  # fmt: skip
        trainer.fit(task, DataLoader(batches, batch_size=None))
    heartbeat.restore()
    return watch.times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    count = parser.parse_args().pairs
    batches = Batches()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bare(batches), timms(batches), ringlight(batches, folder)  # allocators and caches settle
        rounds = [(ringlight(batches, folder), bare(batches), timms(batches)) for _ in range(count)]
    threads = torch.get_num_threads()
    print(f"training step, ResNet18, {SIZE} px, batch {BATCH}, {threads} thread(s), {count} rounds of {STEPS} steps")
    for clock, title in enumerate(("wall", "processor")):
        steps = [1000 * statistics.median(side[clock] for side in sides) / STEPS for sides in zip(*rounds, strict=True)]
        print(f"  {title:10} ringlight {steps[0]:7.1f} ms, bare {steps[1]:7.1f} ms, timm {steps[2]:7.1f} ms a step")
        for other, name in ((1, "bare PyTorch"), (2, "timm")):
            ratios = [sides[0][clock] / sides[other][clock] for sides in rounds]
            spread = f"median; {min(ratios):.3f} to {max(ratios):.3f}; target 1.03"
            print(f"  {'':10} ratio to {name:12} {statistics.median(ratios):.3f} ({spread})")


if __name__ == "__main__":
    main()
