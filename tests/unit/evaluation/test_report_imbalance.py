"""The report's section on rare classes: when it is there, and what it tells of `auto`."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ringlight.evaluation.report import run_report
from ringlight.evaluation.report_blocks import Estimate, Facts, Mark, Sentence, Table
from ringlight.evaluation.report_imbalance import imbalance_section

FAKE = runpy.run_path(str(Path(__file__).parents[2] / "data" / "report" / "make.py"))


def entry(method: str = "none", *, sampler: str = "shuffle", auto: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "imbalance": {
            "method": method, "loss": "cross_entropy", "sampler": sampler,
            "seen_per_epoch": {"good": 40, "<PASS>": 8}, "auto": auto,
        }
    }  # fmt: skip


def one(method: str, tau: float | None, macro_f1: float, **gain: float) -> dict[str, Any]:
    return {
        "method": method, "tau": tau, "macro_f1": macro_f1, "recall_of_rarest": 0.5,
        **{key: gain.get(key) for key in ("gain", "low", "high")},
    }  # fmt: skip


AUTO = {
    "method": "post_hoc", "tau": 0.5, "rarest": "<PASS>",
    "sentence": "imbalance: auto chose post_hoc (tau 0.5): macro-F1 0.700 -> 0.800",
    "tried": [
        one("none", None, 0.7), one("post_hoc", 0.5, 0.8, gain=0.1, low=0.05, high=0.15),
        one("post_hoc", 1.0, 0.75, gain=0.05, low=-0.05, high=0.15),
    ],
}  # fmt: skip


@pytest.mark.parametrize("results", [{}, {"imbalance": None}, entry()], ids=["older", "empty", "nothing done"])
def test_where_nothing_was_done_nothing_is_said(results: dict[str, Any]) -> None:
    assert imbalance_section(results) is None


def test_a_method_is_told_with_its_loss_its_sampler_and_what_an_epoch_shows() -> None:
    section = imbalance_section(entry("class_weights"))
    assert section is not None
    assert (section.key, section.title) == ("imbalance", "Rare classes")
    (facts,) = section.blocks
    assert isinstance(facts, Facts)
    assert dict(facts.items) == {
        "method": "class_weights", "loss": "cross_entropy", "sampler": "shuffle",
        "records seen in the first epoch": "good 40, <PASS> 8",
    }  # fmt: skip


def test_a_sampler_alone_is_told_too() -> None:
    section = imbalance_section(entry(sampler="balanced"))
    assert section is not None
    assert len(section.blocks) == 1


def test_how_auto_chose_is_told_with_everything_it_tried() -> None:
    section = imbalance_section(entry("post_hoc", auto=AUTO))
    assert section is not None
    sentence, facts, table = section.blocks
    assert isinstance(sentence, Sentence)
    assert isinstance(facts, Facts)
    assert isinstance(table, Table)
    assert sentence.text == "Imbalance: auto chose post_hoc (tau 0.5): macro-F1 0.700 -> 0.800."
    assert "recall of <PASS>" in table.columns
    assert table.rows == (
        ("plain cross-entropy", Estimate(0.7), Estimate(0.5), None, None),
        ("post_hoc, tau 0.5", Estimate(0.8), Estimate(0.5), Estimate(0.1, 0.05, 0.15), Mark("chosen", "good")),
        ("post_hoc, tau 1", Estimate(0.75), Estimate(0.5), Estimate(0.05, -0.05, 0.15), None),
    )


def test_where_auto_kept_plain_cross_entropy_that_is_the_chosen_row() -> None:
    section = imbalance_section(entry(auto={**AUTO, "method": "none", "tau": None}))
    assert section is not None
    table = section.blocks[-1]
    assert isinstance(table, Table)
    assert [row[-1] for row in table.rows] == [Mark("chosen", "good"), None, None]


def test_where_nothing_could_be_tried_the_sentence_says_why_without_a_table() -> None:
    section = imbalance_section(entry(auto={**AUTO, "method": "none", "tau": None, "tried": [], "sentence": "why"}))
    assert section is not None
    assert [type(block) for block in section.blocks] == [Sentence, Facts]


@pytest.fixture
def page_of() -> Callable[[dict[str, Any]], str]:
    return lambda results: run_report({**FAKE["full_results"](), **results}, {}).to_html()


def test_in_the_page_names_are_escaped(page_of: Callable[[dict[str, Any]], str]) -> None:
    page = page_of(entry("post_hoc", auto=AUTO))
    assert "Rare classes" in page
    assert "recall of &lt;PASS&gt;" in page
    assert "<PASS>" not in page


def test_the_page_of_older_results_has_no_such_section(page_of: Callable[[dict[str, Any]], str]) -> None:
    assert "Rare classes" not in page_of({"imbalance": None})
