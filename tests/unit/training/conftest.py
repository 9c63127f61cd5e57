"""A linear model on pictures of one value: the smallest thing that can be trained, and a plan of a few tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ringlight.config.load import compose
from ringlight.optim import build_optimizer, build_schedule
from ringlight.runtime import quiet_libraries
from ringlight.training.checkpoints import WholeCheckpointIO
from ringlight.training.plan import Plan, make_plan, part_problems
from ringlight.training.task import ClassificationTask

TILES = (
    "data.image_size=32",
    "data.batch_size=4",
    "data.num_workers=0",
    "model.name=resnet10t",
    "model.pretrained=false",
    "training.num_epochs=2",
    "training.device=cpu",
    "training.num_threads=1",
    "training.precision=32",
    "scheduler.warmup_epochs=0",
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Hold torch to one thread: on matrices this small a second one only spins, for minutes where cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Rows(list[dict[str, Tensor]]):
    """Samples as a torch data set."""


def rows(images: Sequence[float], targets: Sequence[Any], kind: torch.dtype = torch.int64) -> Rows:
    """Return one-pixel pictures with targets."""
    return Rows(
        {"input": torch.full((1, 1, 1), float(image)), "target": torch.tensor(target, dtype=kind)}
        for image, target in zip(images, targets, strict=True)
    )


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., Rows]:
    return rows


@pytest.fixture
def make_task() -> Callable[..., ClassificationTask]:
    def make(
        *,
        classes: tuple[str, ...] = ("a", "b"),
        task: Any = "multiclass",
        monitor: str | None = "macro_f1",
        lr: float = 0.1,
        schedule: str = "constant",
        num_epochs: int = 2,
        criterion: nn.Module | None = None,
        **params: Any,
    ) -> ClassificationTask:
        torch.manual_seed(0)
        return ClassificationTask(
            nn.Sequential(nn.Flatten(), nn.Linear(1, len(classes))),
            criterion or nn.CrossEntropyLoss(),
            classes=classes,
            task=task,
            seed=0,
            optimizer=lambda module: build_optimizer("sgd", module, lr=lr, weight_decay=0.0),
            schedule=lambda built: build_schedule(
                schedule, built, num_epochs=num_epochs, steps_per_epoch=2, params=params
            ),
            monitor=monitor,
        )

    return make


@pytest.fixture
def run_trainer() -> Callable[..., Trainer]:
    """Fit a task with the given callbacks on the CPU, two pictures a batch, as the learner does."""

    def run(
        task: ClassificationTask,
        train: Rows,
        val: Rows | None,
        callbacks: Sequence[Any] = (),
        *,
        num_epochs: int = 2,
        resume: Path | None = None,
    ) -> Trainer:
        with quiet_libraries():
            trainer = Trainer(
                accelerator="cpu", devices=1, max_epochs=num_epochs, logger=False, enable_progress_bar=False,
                enable_model_summary=False, num_sanity_val_steps=0, callbacks=list(callbacks),
                enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
                plugins=[WholeCheckpointIO()],
            )  # fmt: skip
            loaders = [None if part is None else DataLoader(part, batch_size=2) for part in (train, val)]
            trainer.fit(task, *loaders, ckpt_path=resume, weights_only=True)
        return trainer

    return run


@pytest.fixture
def plan_of(tile_folder: Path, tmp_path: Path) -> Callable[..., Plan]:
    """Plan a training on the fifteen tiles (dark 6, middle 5, bright 4)."""

    def make(*overrides: str, recipe: str = "folder", root: Path | None = tile_folder) -> Plan:
        settings = [*TILES, *([] if root is None else [f"data.root={root}"]), *overrides]
        return make_plan(compose(recipe, settings, check_parts=part_problems), tmp_path / "cache")

    return make
