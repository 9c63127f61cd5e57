"""Judging: the right part, the worst predictions first, captions that tell what was predicted, files that read back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from ringlight.errors import DataError
from ringlight.training.judge import Verdict, judge, mean_loss, pictures, score, write_figures, write_predictions
from ringlight.training.plan import Plan
from ringlight.training.trackers import QuietTracker
from ringlight.types import Dataset, History, Prediction


class Oracle:
    """A learner that knows the truth, but for one record."""

    def __init__(self, wrong: str | None = None) -> None:
        self.wrong = wrong
        self.asked: list[list[str]] = []

    def predict(self, data: Dataset) -> Prediction:
        self.asked.append(data.ids)
        logits = 6.0 * np.eye(len(data.classes), dtype=np.float32)[data.targets()]
        rows = [row for row, key in enumerate(data.ids) if key == self.wrong]
        logits[rows] = logits[rows][:, ::-1] + np.float32([0, 1, 0])
        return Prediction(data.ids, logits, data.classes, data.task, data.targets())


def multilabel(truth: Sequence[Sequence[int]], probabilities: Sequence[Sequence[float]]) -> Prediction:
    chances = np.asarray(probabilities)
    logits = np.log(chances / (1 - chances)).astype(np.float32)
    ids = [f"r{row}" for row in range(len(truth))]
    return Prediction(ids, logits, ("a", "b"), "multilabel", np.asarray(truth))


def test_the_test_part_is_judged_and_no_other(plan_of: Callable[..., Plan]) -> None:
    plan, oracle = plan_of(), Oracle()
    verdict = judge(plan, oracle)  # type: ignore[arg-type]
    assert verdict.part == "test"
    assert oracle.asked == [plan.part("test").ids]
    assert verdict.metrics.scalars["accuracy"] == 1.0


def test_without_a_test_part_the_validation_part_is_judged_and_named(
    plan_of: Callable[..., Plan], tile_folder: Path, tmp_path: Path
) -> None:
    plan = plan_of()
    split = tmp_path / "split.csv"
    lines = [f"{key},{'val' if row % 3 == 0 else 'train'}" for row, key in enumerate(plan.dataset.ids)]
    split.write_text("\n".join(["id,split", *lines]))
    made = plan_of("split.strategy=predefined", f"split.file={split}")
    assert judge(made, Oracle()).part == "val"  # type: ignore[arg-type]


def test_scores_without_truth_are_refused() -> None:
    unlabelled = Prediction(["r0"], np.zeros((1, 2), np.float32), ("a", "b"), "multiclass")
    with pytest.raises(DataError, match="expected labelled records, got none with a label"):
        score(unlabelled)


def test_a_wrong_prediction_leads_the_pictures_and_its_caption_tells_both(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of("training.num_sample_predictions=2")
    wrong = plan.part("train").ids[-1]
    prediction = Oracle(wrong).predict(plan.part("train"))
    titles = [axes.get_title() for axes in pictures(plan, prediction, "train")["samples"].axes]
    assert len(titles) == 2
    truth = plan.dataset.classes[int(plan.part("train").targets()[-1])]
    assert titles[0].startswith(f"truth: {truth}\npredicted: ")
    assert truth not in titles[0].splitlines()[1]
    right = titles[1].splitlines()
    assert right[0].removeprefix("truth: ") in right[1]


def test_captions_of_several_labels_tell_what_passes_the_threshold(
    plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clean part whose highest score was 0.45 looked as if a defect had been found in it."""
    plan = plan_of("training.num_sample_predictions=3")
    prediction = multilabel([[1, 1], [0, 0], [1, 0]], [[0.9, 0.05], [0.45, 0.2], [0.8, 0.6]])
    monkeypatch.setattr(Plan, "part", lambda self, _name: self.dataset.take([0, 1, 2]))
    titles = [axes.get_title() for axes in pictures(plan, prediction, "test")["samples"].axes]
    assert titles == [
        "truth: a, b\npredicted: a 0.90",
        "truth: a\npredicted: a 0.80, b 0.60",
        "truth: none\npredicted: none (highest: a 0.45)",
    ]


def test_no_sample_pictures_when_none_are_wished(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of("training.num_sample_predictions=0")
    assert list(pictures(plan, Oracle().predict(plan.part("test")), "test")) == ["confusion"]


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_predictions_read_back_with_ids_truth_and_both_scores(tmp_path: Path, task: str) -> None:
    prediction = multilabel([[1, 1], [0, 0]], [[0.9, 0.2], [0.5, 0.25]])
    truth: list[list[int]] = [[0, 1], []]
    if task == "multiclass":
        prediction = Prediction(prediction.ids, prediction.logits, ("a", "b"), "multiclass", np.array([1, 0]))
        truth = [[1], [0]]
    write_predictions(tmp_path / "p.parquet", Verdict("test", prediction, score(prediction), 0.25))
    table = pq.read_table(tmp_path / "p.parquet")
    assert table.schema.metadata == {b"part": b"test"}
    columns = table.to_pydict()
    assert columns["id"] == ["r0", "r1"]
    assert columns["truth"] == truth
    np.testing.assert_array_equal(np.float32(columns["logit/b"]), prediction.logits[:, 1])
    np.testing.assert_array_equal(columns["probability/a"], prediction.probabilities[:, 0])


def test_figures_are_written_as_pictures_and_handed_to_the_tracker(
    plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    shown: list[tuple[str, int]] = []

    class Album(QuietTracker):
        def log_figure(self, name: str, figure: Any, step: int) -> None:
            shown.append((name, step))

    plan = plan_of()
    history = History([{"epoch": 0, "train/loss": 1.0, "val/loss": 1.0, "val/macro_f1": 0.5, "lr": 0.1}])
    write_figures(plan, judge(plan, Oracle()), history, tmp_path / "figures", Album())  # type: ignore[arg-type]
    assert shown == [("test/history", 1), ("test/confusion", 1), ("test/samples", 1)]
    for name in ("history", "confusion", "samples"):
        with Image.open(tmp_path / "figures" / f"{name}.png") as image:
            assert image.format == "PNG"
            assert min(image.size) > 100


def test_the_loss_of_a_part_is_that_of_all_its_records_at_once() -> None:
    """A mean of batch losses weighs the records of a short last batch more than the others."""
    logits = np.array([[2.0, -1.0], [0.0, 3.0], [-4.0, 1.0]], np.float32)
    truth = np.array([[1, 0], [0, 0], [1, 1]], np.uint8)
    prediction = Prediction(["a", "b", "c"], logits, ("x", "y"), "multilabel", truth)
    by_hand = np.mean(
        [np.log1p(np.exp(-z)) if y else np.log1p(np.exp(z)) for z, y in zip(logits.flat, truth.flat, strict=True)]
    )
    assert mean_loss(torch.nn.BCEWithLogitsLoss(), prediction) == pytest.approx(by_hand, rel=1e-6)
