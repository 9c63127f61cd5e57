"""Who else is told of a new version: the registry of the MLflow that its run reported to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ringlight.config.load import read_config
from ringlight.services.registered import Version
from ringlight.training.trackers_mlflow import mlflow_place, register_version

Listener = Callable[[Version, Path], None]
"""Is told of a new version and the folder of its files, once it is there."""


def listeners_of(run: Path | None, root: Path) -> list[Listener]:
    """Return who is told of a version of this run's model, by the run's own configuration; nobody without a run."""
    if run is None:
        return []
    config = read_config(run / "config.yaml")
    if "mlflow" not in config.training.trackers:
        return []
    place = mlflow_place(config.mlflow, root)

    def tell_mlflow(version: Version, folder: Path) -> None:
        tags = {"ringlight.version": str(version.version), "ringlight.label": version.label}
        register_version(version.name, folder, place, run=run, tags=tags)

    return [tell_mlflow]
