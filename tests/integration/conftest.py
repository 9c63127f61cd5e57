"""A training so small that it takes a second or two: 36 tiles of 64 x 64, a small residual network at 32 x 32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ringlight.services import runs
from ringlight.services.runs import Run

SMALL = (
    "data.num_images=36",
    "data.height=64",
    "data.width=64",
    "data.image_size=32",
    "data.batch_size=8",
    "data.clean_share=0.2",
    "model.name=resnet10t",
    "loss=focal_loss",
    "scheduler=warmup_cosine",
    "optimizer.lr=0.001",
    "training.num_epochs=2",
    "training.device=cpu",
    "training.num_threads=1",
    "training.precision=32",
    "scheduler.warmup_epochs=1",
)


@pytest.fixture(scope="session")
def shared_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tiles are drawn, once for all tests."""
    return tmp_path_factory.mktemp("tiles") / "strips"


@pytest.fixture(scope="session")
def small(shared_root: Path) -> list[str]:
    return [*SMALL, f"data.root={shared_root}"]


@pytest.fixture(autouse=True)
def _own_logging(own_logging: None) -> None:
    """Every test here may run the command line."""


@pytest.fixture
def train_small(tmp_path: Path, small: list[str]) -> Callable[..., Run]:
    def train(*overrides: str, workspace: str = "workspace", **options: object) -> Run:
        return runs.train("demo", [*small, *overrides], workspace=tmp_path / workspace, **options)  # type: ignore[arg-type]

    return train


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, small: list[str]) -> Run:
    """One finished run that several tests look at."""
    return runs.train("demo", small, workspace=tmp_path_factory.mktemp("finished"))
