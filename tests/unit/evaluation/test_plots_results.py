"""Every figure that results alone give: all of them from full results, fewer from results with less."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ringlight.evaluation.metrics import classification_metrics
from ringlight.evaluation.plots_results import metrics_of, result_figures

FAKE = runpy.run_path(str(Path(__file__).parents[2] / "data" / "report" / "make.py"))


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return json.loads(json.dumps(FAKE["full_results"](), allow_nan=False))


def test_full_results_give_every_figure(results: dict[str, Any]) -> None:
    assert list(result_figures(results)) == [
        "confusion", "per_class", "history", "roc_pr", "reliability", "energy", "operating", "reject",
    ]  # fmt: skip


def test_only_the_numbers_that_are_there_are_drawn(results: dict[str, Any]) -> None:
    assert list(result_figures({"test": {"per_class": {}}})) == []
    nothing = {"reject": {"coverage": [None], "error": [None]}, "curves": {}, "calibration": None, "history": []}
    empty = {"operating_points": [{"name": "new", "test": None}], "energy": {"edges": [0, 1], "counts": {"a": [0]}}}
    assert list(result_figures({"test": {"confusion": []}, **nothing, **empty})) == []
    assert list(result_figures({"test": {}, "reject": results["reject"]})) == ["reject"]


def test_the_hardest_classes_are_shown_when_there_are_too_many(results: dict[str, Any]) -> None:
    step = {"x": [0.0, 1.0], "y": [0.0, 1.0]}
    names = [f"c{index:02}" for index in range(20)]
    rows = {name: {**results["test"]["per_class"]["good"], "auroc": index / 20} for index, name in enumerate(names)}
    some = {
        "test": {"per_class": rows},
        "curves": {name: {"roc": step, "pr": step} for name in names},
    }
    legend = result_figures(some)["roc_pr"].legends[0]
    assert {text.get_text() for text in legend.get_texts()} == set(names[:14])


def test_metrics_come_back_as_they_were_written() -> None:
    targets = np.array([[1, 0], [0, 1], [1, 1]])
    metrics = classification_metrics(targets, 0.2 + 0.6 * targets, ["a", "b"], "multilabel", threshold=[0.5, 0.6])
    again = metrics_of(json.loads(json.dumps(metrics.to_dict())))
    assert again.to_dict() == metrics.to_dict()
    assert again.threshold == (0.5, 0.6)
