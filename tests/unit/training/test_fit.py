"""The recipe: what it writes and in which order, what the tracker hears, and that nothing of the process is changed."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from ringlight.training import fit as recipe
from ringlight.training.fit import fit
from ringlight.training.plan import Plan
from ringlight.training.trackers import QuietControl, QuietTracker

PlanOf = Callable[..., Plan]


class Notebook(QuietTracker):
    """Keeps everything it hears."""

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}
        self.metrics: dict[int, dict[str, float]] = {}
        self.figures: list[tuple[str, int]] = []

    def log_params(self, params: Mapping[str, Any]) -> None:
        self.params |= params

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self.metrics[step] = dict(metrics)

    def log_figure(self, name: str, figure: Any, step: int) -> None:
        self.figures.append((name, step))


@pytest.fixture(autouse=True)
def random_state() -> Any:
    with torch.random.fork_rng():
        yield


def test_a_recipe_writes_its_folder_and_tells_its_tracker(plan_of: PlanOf, tmp_path: Path) -> None:
    folder, tracker = tmp_path / "run", Notebook()
    plan = plan_of("training.confusion_every_n_epochs=2", "training.num_epochs=3", "evaluation.embedding=true")
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    outcome = fit(plan, folder, tracker=tracker, control=QuietControl(), resume=None)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before
    assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(outcome.results))
    with (folder / "history.csv").open() as stream:
        assert [row["epoch"] for row in csv.DictReader(stream)] == ["0", "1", "2"]
    assert {path.name for path in folder.iterdir()} >= {"checkpoints", "bundle", "figures", "predictions.parquet"}
    assert (outcome.results["retrieval"]["part"], outcome.results["retrieval"]["num_features"]) == ("test", 512)
    assert {path.stem for path in (folder / "figures").iterdir()} >= {"embedding", "neighbors"}
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert ">Embedding<" in page
    assert "Further pictures" not in page
    assert {("test/embedding", 3), ("test/neighbors", 3)} <= set(tracker.figures)
    assert tracker.params["model.name"] == "resnet10t"
    assert sorted(tracker.metrics) == [0, 1, 2, 3]
    assert tracker.metrics[3]["final/macro_f1"] == outcome.results["test"]["scalars"]["macro_f1"]
    assert [figure for figure in tracker.figures if figure[0].startswith("val/")] == [
        ("val/confusion", 1),
        ("val/samples", 1),
    ]


def test_no_pictures_in_between_when_the_run_is_shorter_than_their_interval(plan_of: PlanOf, tmp_path: Path) -> None:
    tracker = Notebook()
    plan = plan_of("training.confusion_every_n_epochs=2", "training.num_epochs=1")
    fit(plan, tmp_path / "run", tracker=tracker, control=QuietControl(), resume=None)
    assert not [name for name, _ in tracker.figures if name.startswith("val/")]


def test_results_are_written_last(plan_of: PlanOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with `results.json` is a finished run: a bundle that cannot be written must not leave one."""

    def full(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(recipe, "write_bundle", full)
    with pytest.raises(OSError, match="no room"):
        fit(
            plan_of("training.num_epochs=1"), tmp_path / "run",
            tracker=QuietTracker(), control=QuietControl(), resume=None,
        )  # fmt: skip
    assert not (tmp_path / "run" / "results.json").exists()
