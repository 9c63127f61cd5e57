"""The section on parts of no known class, and its figure: with strangers, without, and where the limit fails."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ringlight.errors import DataError
from ringlight.evaluation.open_set import fix_open_set
from ringlight.evaluation.open_set_scores import open_set_scores
from ringlight.evaluation.plots_open_set import open_set_figure
from ringlight.evaluation.plots_results import result_figures
from ringlight.evaluation.report import run_report
from ringlight.evaluation.report_blocks import Estimate, Picture, Sentence, Table
from ringlight.evaluation.report_open_set import open_set_section

FAKE = runpy.run_path(str(Path(__file__).parents[2] / "data" / "report" / "make.py"))


def found(shift: float = 0.0, *, strangers: bool = True) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    rule = fix_open_set({name: rng.normal(size=100) for name in ("energy", "distance")}, 0.95)
    known = {name: rng.normal(shift, 1, 200) for name in rule.thresholds}
    others = {name: rng.normal(3, 1, 50) for name in rule.thresholds} if strangers else None
    return {
        "kind": "both", "held_out_class": "dent" if strangers else None, "accept": 0.95,
        "thresholds": dict(rule.thresholds), "validation": {"num_records": 100, "accepted": rule.accepted},
        "part": "test", "num_known": 200, "num_unknown": 50 if strangers else 0, "confidence": 0.95,
        **open_set_scores(rule, known, others, num_resamples=100),
    }  # fmt: skip


def test_without_a_rule_there_is_no_section() -> None:
    assert open_set_section({}) is None


def test_both_sides_of_the_limit_are_told() -> None:
    section = open_set_section({"open_set": found()})
    assert section is not None
    kept, flagged, table, picture = section.blocks
    assert isinstance(kept, Sentence)
    assert kept.tone == "plain"
    assert kept.text.startswith(
        "The limit was fixed to accept 95% of 100 validation records; of the test data it accepts"
    )
    assert isinstance(flagged, Sentence)
    assert flagged.text.startswith("Of the 50 records of `dent`, which the model never saw, it flags 1.00 [0.93")
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == ["energy", "distance"]
    assert all(isinstance(cell, Estimate) and cell.value is not None for row in table.rows for cell in row[2:])
    assert isinstance(picture, Picture)


def test_a_limit_that_keeps_too_few_known_parts_warns() -> None:
    section = open_set_section({"open_set": found(shift=1.0)})
    assert section is not None
    assert section.blocks[0].tone == "warn"  # type: ignore[union-attr]


def test_a_class_that_is_not_told_apart_is_named() -> None:
    values = found()
    values["scores"]["energy"]["auroc"] = {"value": 0.51, "low": 0.4, "high": 0.62}
    section = open_set_section({"open_set": values})
    assert section is not None
    assert section.blocks[2] == Sentence("By energy it is not shown to look stranger than the known classes.", "warn")
    assert isinstance(section.blocks[3], Table)


def test_without_strangers_the_page_says_that_nobody_knows() -> None:
    section = open_set_section({"open_set": found(strangers=False)})
    assert section is not None
    assert section.blocks[1] == Sentence(
        "No class was held out of training (split.held_out_class): what the limit finds is not known.", "warn"
    )


@pytest.mark.parametrize("strangers", [True, False])
def test_the_figure_is_made_from_results_alone(*, strangers: bool) -> None:
    results = {**FAKE["full_results"](), "history": [], "open_set": found(strangers=strangers)}
    figure = result_figures({key: results[key] for key in ("test", "open_set")} | {"test": {}})["open_set"]
    figure.canvas.draw()
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["known classes  (200)", *(["held out  (50)"] if strangers else []), "limit"]
    assert [axes.get_xlabel()[:8] for axes in figure.axes] == ["energy (", "distance"]
    report = run_report(results, {"open_set": b"x"})
    assert [one.title for one in report.sections if one.key == "open_set"] == ["Parts of no known class"]


def test_a_figure_of_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="open_set: expected a score of a known record, got none; judge at least one"):
        open_set_figure({})
