"""How a phase reports: as a part of its run, counted on from the phases before it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ringlight.training.progress import in_a_row
from ringlight.types import RunControl, Signal, Tracker


class PhaseTracker:
    """Passes on what a phase reports, its metrics under the phase's name, its steps counted on by `offset` epochs."""

    def __init__(self, tracker: Tracker, name: str, offset: int) -> None:
        self._tracker = tracker
        self._name = name
        self._offset = offset

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Pass on."""
        self._tracker.log_params(params)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Pass on as `supcon/train/loss`."""
        named = {f"{self._name}/{key}": value for key, value in metrics.items()}
        self._tracker.log_metrics(named, step + self._offset)

    def log_figure(self, name: str, figure: Any, step: int) -> None:
        """Pass on."""
        self._tracker.log_figure(f"{self._name}/{name}", figure, step + self._offset)

    def log_artifact(self, path: Path) -> None:
        """Pass on."""
        self._tracker.log_artifact(path)

    def set_status(self, status: str) -> None:
        """Pass on."""
        self._tracker.set_status(status)


class PhaseControl:
    """Tells the run's control how far all phases together are, `offset` of `total` epochs being behind them.

    Those took `seconds`; the epochs of the phases to come are expected to be as long as this one's.
    """

    def __init__(self, control: RunControl, offset: int, total: int, seconds: float = 0.0) -> None:
        self._control = control
        self._seconds = seconds
        self._offset = offset
        self._total = total

    def heartbeat(self, progress: Mapping[str, float]) -> Signal:
        """Pass on, in steps as long as this phase's."""
        epochs = max(1.0, progress["num_epochs"])
        per_epoch, later = progress["total"] / epochs, (self._total - self._offset - epochs) / epochs
        whole = {
            "epoch": progress["epoch"] + self._offset,
            "num_epochs": self._total,
            "done": round(self._offset * per_epoch + progress["done"]),
            "total": round(self._total * per_epoch),
            **in_a_row(progress, earlier=self._seconds, later=later),
        }
        return self._control.heartbeat({**progress, **whole})
