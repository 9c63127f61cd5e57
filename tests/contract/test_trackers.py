"""What every tracker promises: it takes whatever a run tells, in silence, and a run told twice is no other run."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ringlight.config.tracking import TRACKER_NAMES
from ringlight.training.trackers import TensorBoardTracker, png_of
from ringlight.training.trackers_csv import CsvTracker
from ringlight.training.trackers_mlflow import MlflowPlace, MlflowTracker, remembered_run
from ringlight.training.tracking import TRACKERS
from ringlight.types import Tracker

PLACE = MlflowPlace("http://127.0.0.1:5000", "plant")

MAKE: Mapping[str, Callable[[Path], Tracker]] = {
    "tensorboard": lambda folder: TensorBoardTracker(folder / "logs"),
    "csv": lambda folder: CsvTracker(folder / "logs" / "metrics.csv"),
    "mlflow": lambda folder: MlflowTracker(folder, PLACE, tags={"ringlight.seed": "42"}),
}
"""How each tracker is made in a run's folder; a new one joins here."""

Points = dict[str, list[tuple[int, float]]]


def events(folder: Path, fake: Any) -> Points:
    found = EventAccumulator(str(folder / "logs"))
    found.Reload()
    return {name: [(one.step, one.value) for one in found.Scalars(name)] for name in found.Tags()["scalars"]}


def table(folder: Path, fake: Any) -> Points:
    points: Points = {}
    with (folder / "logs" / "metrics.csv").open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            points.setdefault(row["name"], []).append((int(row["step"]), float(row["value"])))
    return points


def requests(folder: Path, fake: Any) -> Points:
    points: Points = {}
    for point in fake.runs[remembered_run(folder)].points:
        points.setdefault(point.key, []).append((point.step, point.value))
    return points


READ: Mapping[str, Callable[[Path, Any], Points]] = {"tensorboard": events, "csv": table, "mlflow": requests}


@pytest.fixture(params=list(MAKE))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def figure() -> Figure:
    drawn = Figure(figsize=(1, 1))
    drawn.add_subplot().plot([0, 1])
    return drawn


def test_every_tracker_of_the_configuration_is_here_and_can_be_made() -> None:
    assert set(MAKE) == set(READ) == set(TRACKERS) == set(TRACKER_NAMES)


def test_it_takes_whatever_a_run_tells_and_says_nothing(
    name: str, tmp_path: Path, fake_mlflow: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    tracker = MAKE[name](tmp_path)
    assert isinstance(tracker, Tracker)
    tracker.set_status("running")
    tracker.log_params({"optimizer.lr": 0.1, "data.root": None, "data.image_size": [8, 8], "loss": {"alpha": {}}})
    tracker.log_metrics({"train/loss": 0.5, "val/recall/Kratzer (fein), 1%": math.nan, "lr": 1e-9}, 0)
    tracker.log_metrics({"train/loss": 0.25}, 1)
    tracker.log_metrics({}, 1)
    tracker.log_figure("val/confusion", figure(), 1)
    tracker.log_figure("test/roc_pr", png_of(figure()), 2)
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "results.json", tmp_path / "folder" / "model.safetensors"):
        path.write_text("{}")
    tracker.log_artifact(tmp_path / "results.json")
    tracker.log_artifact(tmp_path / "folder")
    tracker.log_metrics({"final/macro_f1": 0.75}, 2)
    tracker.set_status("completed")
    told = READ[name](tmp_path, fake_mlflow)
    assert told["train/loss"] == [(0, 0.5), (1, 0.25)]
    assert told["lr"] == [(0, pytest.approx(1e-9))]
    assert capfd.readouterr() == ("", "")


def test_a_run_goes_on_where_it_stopped(name: str, tmp_path: Path, fake_mlflow: Any) -> None:
    """The epoch between the last checkpoint and the interruption is told a second time."""
    for steps, status in ((range(2), "interrupted"), (range(1, 4), "completed")):
        tracker = MAKE[name](tmp_path)
        tracker.set_status("running")
        tracker.log_params({"training.num_epochs": 4, "training.device": f"cuda:{steps[0]}"})
        for step in steps:
            tracker.log_metrics({"val/loss": 1 / (step + 1), "val/auroc": math.nan}, step)
        tracker.set_status(status)
    told = READ[name](tmp_path, fake_mlflow)
    assert set(told) >= {"val/loss", "val/auroc"}
    expected = [(step, pytest.approx(1 / (step + 1))) for step in range(4)]
    if name == "tensorboard":  # event files are only ever added to; its viewer shows the later of two
        expected.insert(1, expected[1])
    assert told["val/loss"] == expected
