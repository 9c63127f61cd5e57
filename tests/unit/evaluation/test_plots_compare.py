"""The figure of a comparison: one scale, whiskers where there are limits, verdicts told apart without colour."""

from __future__ import annotations

import io

import pytest

from ringlight.errors import DataError
from ringlight.evaluation.plots_compare import Whisker, differences_figure

ROWS = [
    Whisker("macro_f1", 0.03, 0.01, 0.05, "better"),
    Whisker("accuracy", -0.02, -0.04, -0.01, "worse"),
    Whisker("recall of $5 hole$", 0.0, None, None, "not shown"),
]


def test_every_difference_has_a_dot_and_a_whisker_where_it_has_limits() -> None:
    figure = differences_figure([("run b", ROWS), ("run c", ROWS[:1])], "run a")
    first, second = figure.axes
    assert len(first.get_lines()) == 1 + 3 + 2  # zero, dots, whiskers
    assert first.get_xlim() == second.get_xlim()
    low, high = first.get_xlim()
    assert low < -0.04
    assert high > 0.05
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["better", "worse", "no difference shown"]
    assert second.get_xlabel() == "difference from run a, with its interval"
    markers = {line.get_marker() for line in first.get_lines()} - {"None"}
    assert len(markers) == 3
    figure.savefig(io.BytesIO(), format="png")


def test_differences_of_zero_alone_can_be_drawn() -> None:
    figure = differences_figure([("run b", ROWS[2:])], "run a")
    assert figure.axes[0].get_xlim() == (-1, 1)


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(DataError, match="expected at least one difference, got none; compare runs that were judged on"):
        differences_figure([("run b", [])], "run a")
