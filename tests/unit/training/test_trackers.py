"""Trackers: one that fails is left out once and for all; TensorBoard gets scalars, pictures and hyper-parameters."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ringlight.training.trackers import QuietControl, QuietTracker, TensorBoardTracker, Trackers
from ringlight.types import RunControl, Tracker


class Recording(QuietTracker):
    """Keeps the names of the calls it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self.heard.append(f"metrics {step}")

    def set_status(self, status: str) -> None:
        self.heard.append(status)


class Broken(Recording):
    """A server that is down."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        super().log_metrics(metrics, step)
        raise ConnectionError("the server is down")


def test_a_tracker_that_fails_is_left_out_once_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    broken, sound = Broken(), Recording()
    trackers = Trackers([broken, sound])
    with caplog.at_level(logging.WARNING, logger="ringlight"):
        trackers.log_metrics({"a": 1.0}, 0)
        trackers.log_metrics({"a": 1.0}, 1)
        trackers.set_status("completed")
    assert broken.heard == ["metrics 0"]
    assert sound.heard == ["metrics 0", "metrics 1", "completed"]
    assert caplog.messages == ["tracker Broken failed and is left out: the server is down"]


def test_every_call_reaches_every_tracker(tmp_path: Path) -> None:
    calls: list[str] = []

    class Spy:
        def __getattr__(self, name: str) -> object:
            return lambda *_: calls.append(name)

    trackers = Trackers([Spy(), Spy()])  # type: ignore[list-item]
    trackers.log_params({})
    trackers.log_metrics({}, 0)
    trackers.log_figure("f", None, 0)
    trackers.log_artifact(tmp_path)
    trackers.set_status("running")
    assert calls == [
        name for name in ("log_params", "log_metrics", "log_figure", "log_artifact", "set_status") for _ in "ab"
    ]


def test_trackers_and_control_keep_their_protocols(tmp_path: Path) -> None:
    for tracker in (QuietTracker(), Trackers([]), TensorBoardTracker(tmp_path)):
        assert isinstance(tracker, Tracker)
        tracker.set_status("completed")
    assert isinstance(QuietControl(), RunControl)
    assert QuietControl().heartbeat({}) == "go"


def test_tensorboard_gets_scalars_pictures_status_and_final_hyper_parameters(tmp_path: Path) -> None:
    tracker = TensorBoardTracker(tmp_path)
    tracker.log_params({"optimizer.lr": 0.1, "data.image_size": [32, 32], "data.root": None})
    tracker.log_metrics({"train/loss": 0.5}, 0)
    tracker.log_metrics({"train/loss": 0.25}, 1)
    figure = Figure(figsize=(1, 1))
    figure.add_subplot().plot([0, 1])
    tracker.log_figure("val/curve", figure, 1)
    tracker.log_metrics({"final/macro_f1": 0.75}, 2)
    tracker.set_status("completed")
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(0, 0.5), (1, 0.25)]
    assert events.Tags()["images"] == ["val/curve"]
    final = EventAccumulator(str(tmp_path / "hparams"))
    final.Reload()
    assert final.Scalars("final/macro_f1")[0].value == 0.75
