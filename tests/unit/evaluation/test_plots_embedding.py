"""Pictures of an embedding: every class in the legend, pale and ringed points, frames that say right and wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ringlight.errors import DataError
from ringlight.evaluation.plots_embedding import (
    MOST_CLASSES,
    RIGHT,
    WRONG,
    Neighbor,
    NeighborRow,
    embedding_figure,
    neighbors_figure,
)

POINTS = np.random.default_rng(0).normal(size=(90, 2))


def legend(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_every_class_has_a_sign_and_its_count() -> None:
    labels = np.arange(90) % 20
    figure = embedding_figure(POINTS, labels, [f"class {number}" for number in range(21)], method="t-SNE")
    assert legend(figure) == [f"class {number}  ({5 if number < 10 else 4})" for number in range(20)]
    drawn = [one for one in figure.axes[0].collections if len(one.get_offsets()) and one.get_label()[0] == "c"]
    signs = {(tuple(one.get_facecolor()[0]), len(one.get_paths()[0].vertices)) for one in drawn}
    assert len(signs) == 20
    assert figure.axes[0].get_title() == "t-SNE of 90 records"


def test_classes_beyond_the_signs_share_a_gray() -> None:
    labels = np.concatenate([np.arange(MOST_CLASSES).repeat(2), [MOST_CLASSES, MOST_CLASSES + 1]])
    figure = embedding_figure(POINTS[: len(labels)], labels, [str(n) for n in range(30)], method="PCA")
    assert legend(figure)[0] == "2 further classes  (2)"
    assert len(legend(figure)) == MOST_CLASSES + 1


def test_learnt_records_are_pale_and_wrong_ones_ringed() -> None:
    faint = np.arange(90) < 60
    wrong = np.isin(np.arange(90), [1, 70, 80])  # the first one is a training record: no ring
    figure = embedding_figure(POINTS, [0] * 90, ["a"], method="PCA", faint=faint, wrong=wrong)
    assert legend(figure) == ["a  (90)", "decided wrongly  (2)", "training: small"]
    figure.canvas.draw()


@pytest.mark.parametrize(
    ("points", "labels", "given", "message"),
    [
        ([[0.0]], [0], {}, r"embedding: expected points \(N, 2\) and a class number for each, got \(1, 1\) and \(1,\)"),
        ([[0.0, 1.0]], [1], {}, "embedding: expected class numbers below 1, got 1; pass the name of every class"),
        ([[0.0, 1.0]], [0], {"wrong": [True] * 2}, r"embedding: expected flags \(1,\), got \(2,\)"),
    ],
)
def test_what_cannot_be_drawn_is_refused(points: Any, labels: Any, given: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        embedding_figure(points, labels, ["a"], method="PCA", **given)


def picture(value: int) -> Any:
    return np.full((20, 30), value, np.uint8)


def test_a_sheet_frames_neighbours_by_their_class() -> None:
    near = (Neighbor(picture(10), "pore", 0.91, True), Neighbor(picture(20), "dent", 0.8, False))
    figure = neighbors_figure(
        [NeighborRow(picture(0), "pore", "1 of 2 right", near), NeighborRow(picture(9), "dent", "", near[:1])]
    )
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [
        "query: pore\n1 of 2 right",
        "pore\nright, 0.91",
        "dent\nwrong, 0.80",
        "query: dent",
        "pore\nright, 0.91",
        "",
    ]
    frames = [axes.patches[0] for axes in figure.axes if axes.patches]
    assert [(one.get_edgecolor()[:3], one.get_linestyle()) for one in frames] == [
        (pytest.approx(rgb(RIGHT)), "-"), (pytest.approx(rgb(WRONG)), "--"), (pytest.approx(rgb(RIGHT)), "-"),
    ]  # fmt: skip
    figure.canvas.draw()


def rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))


@pytest.mark.parametrize("rows", [[], [NeighborRow(picture(0), "pore", "", ())]])
def test_a_sheet_without_neighbours_is_refused(rows: Any) -> None:
    with pytest.raises(DataError, match="neighbors: expected a query with a neighbour, got none; embed at least one"):
        neighbors_figure(rows)
