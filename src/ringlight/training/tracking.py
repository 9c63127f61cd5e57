"""Which trackers a run has: those its configuration names, beside those that its caller brings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ringlight.config.schema import Config
from ringlight.config.tracking import TrackerName
from ringlight.training.plan import Plan
from ringlight.training.trackers import TensorBoardTracker, Trackers, tell_failure
from ringlight.training.trackers_csv import CsvTracker
from ringlight.training.trackers_mlflow import MlflowTracker, mlflow_place, require_mlflow
from ringlight.types import Tracker


def _tensorboard(made: Plan, folder: Path) -> Tracker:
    return TensorBoardTracker(folder / "logs")


def _csv(made: Plan, folder: Path) -> Tracker:
    return CsvTracker(folder / "logs" / "metrics.csv")


def _mlflow(made: Plan, folder: Path) -> Tracker:
    config = made.config
    tags = {
        "recipe": config.recipe,
        "model": config.model.name,
        "seed": config.experiment.seed,
        "dataset": made.dataset.name,
        "dataset_fingerprint": made.fingerprint,
        "device": made.device.device,
    }
    told = {f"ringlight.{key}": str(value) for key, value in tags.items() if value is not None}
    return MlflowTracker(folder, mlflow_place(config.mlflow, workspace_of(folder)), tags=told)
