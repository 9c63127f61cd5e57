"""The report's section on a cross-validation, and the picture of its folds."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from ringlight.evaluation.cross_validated import summarize_folds
from ringlight.evaluation.plots_folds import folds_figure
from ringlight.evaluation.report import run_report
from ringlight.evaluation.report_blocks import Estimate, Mark, Picture, Sentence, Table
from ringlight.evaluation.report_folds import fold_sentences, folds_section

FAKE = runpy.run_path(str(Path(__file__).parents[2] / "data" / "report" / "make.py"))
SCORES = [0.8, 0.9, 0.7, 0.85]


def part(number: int, groups: int | None) -> dict[str, Any]:
    return {"num_records": number, "num_groups": groups, "class_counts": {"good": number - 2, "<PASS>": 2}}


def card(*, repeats: int = 2, groups: int | None = 4, leaks: list[str] | None = None) -> dict[str, Any]:
    summary = summarize_folds(SCORES, test_share=0.5).to_dict()
    folds = [
        {
            "repeat": index // (4 // repeats), "fold": index % (4 // repeats), "train": part(16, groups),
            "val": part(4, groups), "test": part(10, groups), "leaks": leaks or [],
            "leak_check": "groups: no leak found", "scores": {"macro_f1": score, "accuracy": 0.9},
        }
        for index, score in enumerate(SCORES)
    ]  # fmt: skip
    return {
        "method": "stratified_group_kfold", "num_folds": 4 // repeats, "repeats": repeats, "metric": "macro_f1",
        "confidence": 0.95, **summary, "scores": {"macro_f1": summary, "accuracy": {**summary, "mean": 0.9}},
        "folds": folds,
    }  # fmt: skip


def results(**options: Any) -> dict[str, Any]:
    return {"cross_validation": card(**options), "dataset": {"classes": ["good", "<PASS>"]}}


def test_a_single_run_has_no_such_section() -> None:
    assert folds_section({}) is None
    assert list(fold_sentences({})) == []


def test_means_stand_with_their_interval_and_spread() -> None:
    section = folds_section(results())
    assert section is not None
    means, folds = section.tables()
    assert means.title == "Mean over 4 folds"
    assert [row[0] for row in means.rows] == ["macro-F1", "accuracy"]
    estimate = means.rows[0][1]
    assert isinstance(estimate, Estimate)
    assert estimate.low is not None
    assert estimate.value == pytest.approx(0.8125)
    assert "Nadeau and Bengio" in means.note
    assert folds.columns == (
        "repeat", "fold", "macro-F1", "leak check", "trained", "held out", "tested", "groups tested", "of good",
        "of <PASS>",
    )  # fmt: skip
    assert folds.rows[2] == (2, 1, 0.7, Mark("no leak found", "good"), 16, 4, 10, 4, 8, 2)
    assert [block.name for block in section.blocks if isinstance(block, Picture)] == ["folds"]
    assert isinstance(section.blocks[0], Sentence)


def test_columns_that_say_nothing_are_left_out() -> None:
    section = folds_section(results(repeats=1, groups=None))
    assert section is not None
    table = section.tables()[1]
    assert table.columns[:2] == ("fold", "macro-F1")
    assert "groups tested" not in table.columns


def test_many_classes_are_left_to_the_results() -> None:
    many = {**results(), "dataset": {"classes": [f"c{index}" for index in range(9)]}}
    section = folds_section(many)
    assert section is not None
    assert isinstance(section.tables()[1], Table)
    assert not any(name.startswith("of ") for name in section.tables()[1].columns)


def test_a_fold_that_leaks_is_red() -> None:
    section = folds_section(results(leaks=["2 groups in two parts"]))
    assert section is not None
    assert section.tables()[1].rows[0][3] == Mark("leaks", "bad")


def test_the_picture_is_named_as_the_score_is_written() -> None:
    """It was "Macro-f1 of each fold", beside macro-F1 everywhere else."""
    section = folds_section(results())
    assert section is not None
    (picture,) = [block for block in section.blocks if isinstance(block, Picture)]
    assert picture.caption == "Macro-F1 of each fold, their mean and its interval."


def test_the_verdict_tells_the_mean_and_names_the_part() -> None:
    full = {**FAKE["full_results"](), "judged_part": "out-of-fold"}
    full["cross_validation"] = {**card(), "folds": []}
    report = run_report(full, {})
    told = [sentence.text for sentence in report.verdict]
    assert any("out-of-fold predictions" in text for text in told)
    (mean,) = [text for text in told if text.startswith("Over 4 folds the mean macro-F1 is 0.81 [")]
    assert mean.endswith("; it varies by 0.09 from fold to fold.")
    assert "folds" in [section.key for section in report.sections]


def test_a_mean_that_missing_classes_lower_is_told_with_the_score_of_all_predictions() -> None:
    """Leave-one-group-out over recordings of one class each told "the mean macro-F1 is 0.21" beside one of 0.79."""
    lone = {**card(), "out_of_fold": 0.79}
    for fold, name in zip(lone["folds"], ("good", "<PASS>", "good", "<PASS>"), strict=True):
        fold["test"] = {"num_records": 4, "num_groups": 1, "class_counts": {"good": 0, "<PASS>": 0, name: 4}}
    _, sentence = fold_sentences({"cross_validation": lone})
    assert sentence.tone == "warn"
    assert sentence.text == (
        "In 4 folds a class has no record to test on and counts 0, which lowers that mean: the macro-F1 of all "
        "out-of-fold predictions together, 0.79, tells more."
    )
    assert len(list(fold_sentences({"cross_validation": {**lone, "metric": "accuracy"}}))) == 1
    assert len(list(fold_sentences({"cross_validation": {**card(), "out_of_fold": 0.79}}))) == 1


def test_equal_scores_have_no_interval_to_tell() -> None:
    same = {**card(), "mean": 1.0, "std": 0.0, "low": None, "high": None}
    (sentence,) = fold_sentences({"cross_validation": same})
    assert sentence.text == "Over 4 folds the mean macro-F1 is 1.00 in every one."


@pytest.mark.parametrize("repeats", [1, 2])
def test_every_fold_is_a_mark_in_the_picture(repeats: int) -> None:
    (axes,) = folds_figure(card(repeats=repeats)).axes
    marks = [line for line in axes.lines if line.get_linestyle() == "None"]
    assert len(marks) == repeats
    assert sum(len(line.get_xdata()) for line in marks) == 4
    assert axes.get_ylabel() == "macro_f1"


def test_a_picture_without_an_interval_is_drawn_all_the_same() -> None:
    one = {**card(repeats=1), "low": None, "high": None, "mean": None}
    one["folds"] = [{**fold, "scores": {}} for fold in one["folds"]]
    (axes,) = folds_figure(one).axes
    assert not [line for line in axes.lines if line.get_linestyle() == "None"]
