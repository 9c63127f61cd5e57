"""Figures of decisions: operating points and the reject option."""

from __future__ import annotations

import io
from typing import Any

import pytest
from matplotlib.figure import Figure

from ringlight.errors import DataError
from ringlight.evaluation.plots_decisions import operating_figure, reject_figure


def drawn(figure: Figure) -> Figure:
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return figure


def point(name: str, **values: Any) -> dict[str, Any]:
    test = {"recall": 0.9, "precision": 0.5, "intervals": {"recall": [0.8, 0.95]}}
    return {"name": name, "kind": "recall_at_least", "target": 0.85, "test": test, **values}


def test_points_show_what_they_reach_their_interval_and_their_target() -> None:
    figure = drawn(operating_figure([point("careful"), point("impossible", status="refused", target=0.99)]))
    recall, precision = figure.axes
    assert [label.get_text() for label in recall.get_yticklabels()] == ["careful", "impossible"]
    assert [bar.get_segments()[0][:, 0].tolist() for bar in recall.collections] == [[0.8, 0.95], [0.8, 0.95]]
    dots = [line for line in recall.get_lines() if len(line.get_xdata()) == 1]
    assert [dot.get_markerfacecolor() for dot in dots] == ["#0072B2", "none"]  # a refused point is hollow
    targets = [line.get_xdata()[0] for line in recall.get_lines() if len(line.get_xdata()) == 2]
    assert targets == [0.85, 0.99]
    assert not precision.collections  # no interval, no whisker


def test_a_measure_that_no_point_has_gets_no_panel() -> None:
    figure = drawn(operating_figure([point("cheap", test={"escape_rate": 0.0, "overkill_rate": 0.1, "recall": None})]))
    assert [axes.get_title() for axes in figure.axes] == ["escape rate", "overkill rate"]


def test_points_that_were_never_judged_are_refused() -> None:
    with pytest.raises(DataError, match="operating points: expected a point that was judged, got none; judge them"):
        operating_figure([point("new", test=None)])


def test_the_reject_curve_stands_in_order_of_coverage() -> None:
    figure = drawn(reject_figure({"coverage": [1.0, 0.5, None], "error": [0.1, 0.02, None]}))
    line = figure.axes[0].get_lines()[0]
    assert list(line.get_xdata()) == [0.5, 1.0]
    assert figure.axes[0].get_ylim() == pytest.approx((0, 0.11))


def test_a_model_without_errors_has_a_curve() -> None:
    assert drawn(reject_figure({"coverage": [0.5, 1.0], "error": [0.0, 0.0]})).axes[0].get_ylim() == (0, 0.05)


def test_an_empty_reject_curve_is_refused() -> None:
    with pytest.raises(DataError, match="reject: expected a point, got an empty curve"):
        reject_figure({"coverage": [], "error": []})
