"""Figures of scores: ROC and precision-recall, reliability, energy."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from ringlight.errors import DataError
from ringlight.evaluation.plots_curves import energy_figure, reliability_figure, roc_pr_figure

STEP = {"x": [0.0, 0.0, 1.0], "y": [0.0, 1.0, 1.0]}


def drawn(figure: Figure) -> Figure:
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return figure


def texts(figure: Figure) -> set[str]:
    return {text.get_text() for text in figure.findobj(Text)}


def test_both_curves_of_each_class_are_drawn() -> None:
    figure = drawn(roc_pr_figure({"pore": {"roc": STEP, "pr": STEP}, "裂纹": {"roc": STEP, "pr": STEP}}))
    assert [axes.get_title() for axes in figure.axes] == ["ROC", "precision-recall"]
    assert [len(axes.get_lines()) for axes in figure.axes] == [3, 2]  # chance is a line of the first
    assert "pore" in texts(figure)


def test_a_class_without_a_curve_leaves_a_gap_and_no_error() -> None:
    """The judged part may hold no example of a class: its curves are null."""
    figure = drawn(roc_pr_figure({"pore": {"roc": STEP, "pr": STEP}, "absent": {"roc": None, "pr": None}}))
    assert len(figure.axes[0].get_lines()[2].get_xdata()) == 0


def test_very_many_classes_are_a_choice_that_is_told() -> None:
    figure = drawn(roc_pr_figure({f"c{index}": {"roc": STEP, "pr": STEP} for index in range(30)}))
    assert "14 of 30 classes" in texts(figure)
    styles = {(line.get_color(), line.get_linestyle()) for line in figure.axes[1].get_lines()}
    assert len(styles) == 14


def test_no_curve_is_refused() -> None:
    with pytest.raises(DataError, match="curves: expected a curve, got none; judge a class"):
        roc_pr_figure({})


def bins(accuracy: list[float | None], count: list[int]) -> dict[str, Any]:
    places = [None if value is None else (index + 0.5) / len(count) for index, value in enumerate(accuracy)]
    return {"confidence": places, "accuracy": accuracy, "count": count}


def test_reliability_leaves_empty_bins_out() -> None:
    before, after = bins([None, 0.2, 0.9], [0, 5, 15]), bins([0.1, 0.5, 0.9], [4, 8, 8])
    figure = drawn(reliability_figure(before, after))
    chance, first, second = figure.axes[0].get_lines()
    assert first.get_ydata().tolist() == [0.2, 0.9]
    assert second.get_ydata().tolist() == [0.1, 0.5, 0.9]
    assert figure.axes[1].get_lines()[0].get_ydata().tolist() == [0.25, 0.75]
    assert {"before calibration", "after calibration"} <= texts(figure)
    assert np.asarray(chance.get_ydata()).tolist() == [0, 1]


@pytest.mark.parametrize("again", [None, bins([0.2, 0.9], [5, 15])])
def test_what_was_not_calibrated_is_one_line(again: dict[str, Any] | None) -> None:
    figure = drawn(reliability_figure(bins([0.2, 0.9], [5, 15]), again))
    assert "probabilities as they are" in texts(figure)
    assert len(figure.axes[1].get_lines()) == 1


def test_energy_is_drawn_as_shares_of_each_set() -> None:
    figure = drawn(energy_figure([-3.0, -2.0, -1.0], {"good": [3, 1], "absent": [0, 0], "other line": [0, 7]}))
    heights = [patch.get_data().values.tolist() for patch in figure.axes[0].patches[::2]]
    assert heights == [[0.75, 0.25], [0.0, 1.0]]
    assert {"good  (4)", "other line  (7)"} <= texts(figure)


def test_energy_without_records_is_refused() -> None:
    with pytest.raises(DataError, match="energy: expected a record, got none; judge at least one record"):
        energy_figure([0.0, 1.0], {"good": [0]})
