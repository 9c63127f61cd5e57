"""Pages: every file there, all of it made again from results and pictures alone, and the pictures of an epoch."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ringlight.config.schema import EvaluationConfig
from ringlight.runtime import environment
from ringlight.training.judge import verdict_of
from ringlight.training.pages import epoch_pictures, write_pages, write_report, write_sheet
from ringlight.training.plan import Plan
from ringlight.training.results import results
from ringlight.training.rules import Rules
from ringlight.training.trackers import QuietTracker
from ringlight.types import History, Prediction, Split

PlanOf = Callable[..., Plan]

REPORT = ("report.html", "report.json", "report.md", "metrics.csv", "per_class.csv", "confusion.csv")
HISTORY = [{"epoch": 0, "train/loss": 1.0, "val/loss": 1.0, "val/macro_f1": 0.5, "lr": 0.1}]


class Album(QuietTracker):
    def __init__(self) -> None:
        self.shown: list[tuple[str, int]] = []

    def log_figure(self, name: str, figure: Any, step: int) -> None:
        self.shown.append((name, step))


def guessed(plan: Plan, part: str, wrong: Sequence[str] = ()) -> Prediction:
    """The truth, but for the records that are named: they are given the next class."""
    data = plan.part(part)
    targets = np.asarray(data.targets())
    given = [(target + (key in wrong)) % 3 for key, target in zip(data.ids, targets, strict=True)]
    generator = np.random.default_rng(0)
    logits = 4.0 * np.eye(3)[given] + generator.normal(0, 0.1, (len(data), 3))
    return Prediction(data.ids, logits.astype(np.float32), data.classes, data.task, targets)


@pytest.fixture
def judged(plan_of: PlanOf) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The results and the pictures of a test part with one mistake."""
    plan = plan_of()
    prediction = guessed(plan, "test", plan.part("test").ids[:1])
    rules = Rules(task="multiclass", classes=plan.dataset.classes)
    settings = EvaluationConfig(num_resamples=100)
    verdict = verdict_of("test", plan.part("test"), prediction, rules, settings, seed=0, in_chans=3)
    values = results(plan, "run-1", History(HISTORY), verdict, None, environment(plan.device, "32"), {})
    return values, dict(verdict.pictures)


def test_a_run_leaves_every_page_and_picture(judged: tuple[dict[str, Any], dict[str, bytes]], tmp_path: Path) -> None:
    album = Album()
    write_pages(*judged, tmp_path / "run", album)
    folder = tmp_path / "run"
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    figures = {name for name in names if name.startswith("figures/")}
    assert names == {*REPORT, "mistakes/mistake-01.png", *figures}
    assert {f"figures/{name}.png" for name in ("history", "confusion", "per_class", "roc_pr", "reliability")} <= figures
    for name in figures:
        with Image.open(folder / name) as image:
            assert image.format == "PNG"
            assert min(image.size) > 100
    assert {name for name, _ in album.shown} == {f"test/{Path(name).stem}" for name in figures}
    assert {step for _, step in album.shown} == {1}
    assert (folder / "mistakes" / "mistake-01.png").read_bytes() == judged[1]["mistake-01"]


def test_the_report_shows_the_mistake_and_names_the_run(
    judged: tuple[dict[str, Any], dict[str, bytes]], tmp_path: Path
) -> None:
    write_pages(*judged, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "run-1" in page
    assert judged[0]["mistakes"][0]["id"] in page
    assert page.count("data:image/png;base64,") >= 2


def test_the_report_is_made_again_from_results_and_pictures_alone(
    judged: tuple[dict[str, Any], dict[str, bytes]], tmp_path: Path
) -> None:
    write_pages(*judged, tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in REPORT}
    for name in REPORT:
        (tmp_path / name).unlink()
    write_report(json.loads(json.dumps(judged[0])), tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in REPORT} == before


def test_an_evaluation_without_a_history_has_no_learning_curves(
    judged: tuple[dict[str, Any], dict[str, bytes]], tmp_path: Path
) -> None:
    values, mistakes = judged
    write_pages({**values, "history": []}, mistakes, tmp_path)
    assert not (tmp_path / "figures" / "history.png").exists()
    assert (tmp_path / "figures" / "confusion.png").exists()


def test_a_wrong_prediction_leads_the_pictures_and_its_caption_tells_both(plan_of: PlanOf) -> None:
    plan = plan_of("training.num_sample_predictions=2")
    plan = replace(plan, split=Split(np.arange(10), np.arange(10, 15), np.empty(0, np.int64)))
    data = plan.part("val")
    drawn = epoch_pictures(plan, guessed(plan, "val", data.ids[-1:]))
    titles = [axes.get_title() for axes in drawn["samples"].axes]
    assert len(titles) == 2
    truth = plan.dataset.classes[int(data.targets()[-1])]
    assert titles[0].startswith(f"truth: {truth}\npredicted: ")
    assert truth not in titles[0].splitlines()[1]
    right = titles[1].splitlines()
    assert right[0].removeprefix("truth: ") in right[1]


def test_captions_of_several_labels_tell_what_passes_the_threshold(
    plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clean part whose highest score was 0.45 looked as if a defect had been found in it."""
    plan = plan_of("training.num_sample_predictions=3")
    chances = np.array([[0.9, 0.05], [0.45, 0.2], [0.8, 0.6]])
    logits = np.log(chances / (1 - chances)).astype(np.float32)
    prediction = Prediction(["r0", "r1", "r2"], logits, ("a", "b"), "multilabel", np.array([[1, 1], [0, 0], [1, 0]]))
    monkeypatch.setattr(Plan, "part", lambda self, _name: self.dataset.take([0, 1, 2]))
    titles = [axes.get_title() for axes in epoch_pictures(plan, prediction)["samples"].axes]
    assert titles == [
        "truth: a, b\npredicted: a 0.90",
        "truth: a\npredicted: a 0.80, b 0.60",
        "truth: none\npredicted: none (highest: a 0.45)",
    ]


def test_no_sample_pictures_when_none_are_wished(plan_of: PlanOf) -> None:
    plan = plan_of("training.num_sample_predictions=0")
    assert list(epoch_pictures(plan, guessed(plan, "val"))) == ["confusion"]


def test_the_pairs_a_split_kept_together_are_drawn(plan_of: PlanOf, tile_folder: Path, tmp_path: Path) -> None:
    """The report's data section had a place for the contact sheet, and no run ever filled it."""
    write_sheet(plan_of(), tmp_path / "none")
    assert not (tmp_path / "none").exists()
    (tile_folder / "dark" / "copy.png").write_bytes((tile_folder / "dark" / "dark_0.png").read_bytes())
    write_sheet(plan_of(), tmp_path / "run")
    assert (tmp_path / "run" / "figures" / "duplicates.png").is_file()
    write_sheet(plan_of("split.groups=none", "split.allow_leak=true"), tmp_path / "none")
    assert not (tmp_path / "none").exists()
