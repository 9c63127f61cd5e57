"""Which trackers a run has: those its configuration names, beside those that its caller brings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ringlight.config.schema import Config
from ringlight.config.tracking import TrackerName
from ringlight.training.trackers import TensorBoardTracker, Trackers, tell_failure
from ringlight.training.trackers_csv import CsvTracker
from ringlight.training.trackers_mlflow import MlflowTracker, mlflow_place, require_mlflow
from ringlight.types import Tracker

if TYPE_CHECKING:
    from ringlight.training.plan import Plan


def _tensorboard(made: Plan, folder: Path) -> Tracker:  # noqa: ARG001 - all of them are told the same
    return TensorBoardTracker(folder / "logs")


def _csv(made: Plan, folder: Path) -> Tracker:  # noqa: ARG001
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
    return MlflowTracker(folder, mlflow_place(config.mlflow, made.cache.parent), tags=told)


TRACKERS: dict[TrackerName, Callable[[Plan, Path], Tracker]] = {
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "csv": _csv,
}
"""Name of a tracker: what makes one for a planned run in its folder."""


def require_trackers(config: Config) -> None:
    """Refuse a tracker whose package is missing: it was asked for, and nothing is written yet.

    Raises:
        MissingExtraError: the extra is not installed.
    """
    if "mlflow" in config.training.trackers:
        require_mlflow()


def trackers_of(made: Plan, folder: Path, others: Sequence[Tracker] = ()) -> Trackers:
    """Return the trackers of a planned run as one; one that cannot be opened is left out with a warning.

    `others` are told before those that the configuration names: these may be slow.
    """
    opened: list[Tracker] = []
    for name in made.config.training.trackers:
        try:
            opened.append(TRACKERS[name](made, folder))
        # A server that is not there, a disk that is full: the training goes on without (logged with the reason).
        except Exception as error:  # noqa: BLE001
            tell_failure(f"tracker {name} cannot be opened", error)
    return Trackers([*others, *opened])
