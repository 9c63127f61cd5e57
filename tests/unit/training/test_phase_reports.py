"""What the world is told of a phase: its numbers counted on from the phases before it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ringlight.training.phase_reports import PhaseControl, PhaseTracker


class Kept:
    """A tracker and control that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def log_params(self, params: Mapping[str, Any]) -> None:
        self.told.append(("params", dict(params)))

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self.told.append(("metrics", dict(metrics), step))

    def log_figure(self, name: str, figure: Any, step: int) -> None:
        self.told.append(("figure", name, figure, step))

    def log_artifact(self, path: Path) -> None:
        self.told.append(("artifact", path))

    def set_status(self, status: str) -> None:
        self.told.append(("status", status))

    def heartbeat(self, progress: Mapping[str, float]) -> Any:
        self.told.append(("heartbeat", dict(progress)))
        return "pause"


def test_metrics_and_figures_are_a_phases_own_and_their_epochs_the_runs() -> None:
    kept = Kept()
    tracker = PhaseTracker(kept, "margin", 20)
    tracker.log_params({"a": 1})
    tracker.log_metrics({"train/loss": 0.5}, 3)
    tracker.log_figure("confusion", "drawn", 4)
    tracker.log_artifact(Path("x"))
    tracker.set_status("done")
    assert kept.told == [
        ("params", {"a": 1}),
        ("metrics", {"margin/train/loss": 0.5}, 23),
        ("figure", "margin/confusion", "drawn", 24),
        ("artifact", Path("x")),
        ("status", "done"),
    ]


def test_progress_is_that_of_all_phases_in_steps_of_this_one() -> None:
    """The second of phases of 2, 3 and 5 epochs, 4 batches an epoch, in its second epoch."""
    kept = Kept()
    progress = {"epoch": 1, "num_epochs": 3, "done": 6, "total": 12, "images_per_second": 7.0}
    assert PhaseControl(kept, 2, 10).heartbeat(progress) == "pause"
    assert kept.told == [
        ("heartbeat", {"epoch": 3, "num_epochs": 10, "done": 14, "total": 40, "images_per_second": 7.0})
    ]


def test_the_time_left_counts_the_phases_to_come() -> None:
    """Six seconds of thirty are over in a phase of 3 epochs; 5 more are to come, and 20 seconds lie behind."""
    kept = Kept()
    progress = {"epoch": 0, "num_epochs": 3, "done": 2, "total": 12, "elapsed": 6.0, "eta": 24.0}
    PhaseControl(kept, 2, 10, seconds=20.0).heartbeat(progress)
    assert kept.told[0][1].items() >= {"elapsed": 26.0, "eta": 24.0 + 5 / 3 * 30.0}.items()


def test_progress_of_the_last_step_is_the_whole_and_none_is_none() -> None:
    kept = Kept()
    PhaseControl(kept, 5, 10).heartbeat({"epoch": 5, "num_epochs": 5, "done": 20, "total": 20})
    PhaseControl(kept, 0, 10).heartbeat({"epoch": 0, "num_epochs": 5, "done": 0, "total": 20})
    shown = [(one["done"], one["total"]) for _, one in kept.told]
    assert shown == [(40, 40), (0, 40)]
