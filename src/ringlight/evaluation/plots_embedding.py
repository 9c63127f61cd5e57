"""Pictures of an embedding: the plane it is laid out in, and queries beside their nearest records.

Pure functions of plain values. Right and wrong are told by a word and a line as well as by a colour.

Shapes: N points, K classes, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ringlight.errors import DataError
from ringlight.evaluation.inputs import BoolArray, FloatArray, IntArray
from ringlight.evaluation.lettering import class_labels, printable, set_fonts
from ringlight.evaluation.plots_curves import PALETTE

MARKERS = ("o", "^", "s")
"""With the palette's seven colours: 21 classes that can be told apart."""

MOST_CLASSES = len(MARKERS) * len(PALETTE)
"""Classes with a colour and sign of their own, the most frequent; those beyond are drawn gray together."""

RIGHT, WRONG = PALETTE[2], PALETTE[1]

_OTHER = "#BBBBBB"


def embedding_figure(
    points: npt.ArrayLike, labels: npt.ArrayLike, classes: Sequence[str], *, method: str,
    faint: npt.ArrayLike | None = None, wrong: npt.ArrayLike | None = None, faint_name: str = "training",
) -> Figure:  # fmt: skip
    """Draw embeddings in a plane, a colour and a sign for each class.

    Args:
        points: (N, 2).
        labels: class numbers (N,).
        classes: the K class names.
        method: how the plane was found, for the title: t-SNE or PCA.
        faint: (N,) which points are small and pale: records that were learnt from. None: none of them.
        wrong: (N,) which points get a ring: records that are decided wrongly. None: none of them.
        faint_name: what the pale points are called.

    Raises:
        DataError: no point, shapes that do not fit, or a class without a name.
    """
    places, numbers = np.asarray(points, np.float64), np.asarray(labels, np.int64)
    if places.ndim != 2 or places.shape[1] != 2 or not len(places) or numbers.shape != (len(places),):
        raise _wrong("points (N, 2) and a class number for each", f"{places.shape} and {numbers.shape}", "one a record")
    if not 0 <= numbers.min() <= numbers.max() < len(classes):
        raise _wrong(f"class numbers below {len(classes)}", str(numbers.max()), "pass the name of every class")
    pale, ringed = _flags(faint, numbers), _flags(wrong, numbers)
    figure = Figure(figsize=(8.6, 5.6), layout="constrained")
    axes = figure.add_subplot()
    counts = np.bincount(numbers, minlength=len(classes))
    styled = sorted(sorted(np.flatnonzero(counts).tolist(), key=lambda number: -counts[number])[:MOST_CLASSES])
    names = class_labels(classes)
    others = ~np.isin(numbers, styled)
    if others.any():
        label = f"{(counts > 0).sum() - len(styled)} further classes  ({others.sum()})"
        _cloud(axes, places, others, pale, _OTHER, ".", label)
    for index, number in enumerate(styled):
        colour, marker = PALETTE[index % len(PALETTE)], MARKERS[index // len(PALETTE)]
        label = f"{names[number]}  ({counts[number]})"
        _cloud(axes, places, numbers == number, pale, colour, marker, label)
    _rings(axes, places[ringed & ~pale])
    if pale.any():
        axes.scatter([], [], s=9, color="#888888", alpha=0.45, linewidths=0, label=f"{printable(faint_name)}: small")
    axes.set_title(f"{method} of {len(places):,} records", fontsize=11)
    axes.set(xticks=[], yticks=[])
    axes.margins(0.04)
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    return set_fonts(figure)


def _cloud(
    axes: Axes, points: FloatArray, mine: BoolArray, pale: BoolArray, colour: str, marker: str, label: str
) -> None:
    """Draw the points of a class: pale ones small and beneath the others."""
    small, large = points[mine & pale], points[mine & ~pale]
    axes.scatter(small[:, 0], small[:, 1], s=9, color=colour, marker=marker, alpha=0.3, linewidths=0, zorder=1)
    axes.scatter(
        large[:, 0], large[:, 1], s=30, color=colour, marker=marker, alpha=0.85, linewidths=0.4, edgecolors="white",
        zorder=2, label=label,
    )  # fmt: skip


def _rings(axes: Axes, points: FloatArray) -> None:
    if len(points):
        axes.scatter(
            points[:, 0], points[:, 1], s=85, facecolors="none", edgecolors="black", linewidths=0.9, zorder=3,
            label=f"decided wrongly  ({len(points)})",
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A picture (H, W), (H, W, 1) or (H, W, 3) of 8 bits, its class, how near it is, and whether the class is right."""

    image: npt.NDArray[np.uint8]
    label: str
    cosine: float
    right: bool


@dataclass(frozen=True, slots=True)
class NeighborRow:
    """A query's picture, what stands under it, and its nearest records, nearest first."""

    image: npt.NDArray[np.uint8]
    label: str
    caption: str
    neighbors: tuple[Neighbor, ...]


def neighbors_figure(rows: Sequence[NeighborRow]) -> Figure:
    """Draw queries, a row each, with their nearest records to the right: framed by whether the class is the query's.

    Raises:
        DataError: no row, or one without a neighbour.
    """
    if not rows or not all(row.neighbors for row in rows):
        raise _wrong("a query with a neighbour", "none", "embed at least one record of either part", "neighbors")
    columns = 1 + max(len(row.neighbors) for row in rows)
    ratio = float(np.median([row.image.shape[1] / row.image.shape[0] for row in rows]))
    width = 1.75 if ratio < 1.8 else 2.6
    # Strips are stacked flat: their height follows the width, with room for two lines of text above each.
    figure = Figure(figsize=(width * columns, len(rows) * (width / ratio + 0.5)), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for line, row in zip(grid, rows, strict=True):
        for axes in line:
            axes.set_axis_off()
        _picture(line[0], row.image, f"query: {printable(row.label)}", row.caption)
        for axes, near in zip(line[1:], row.neighbors, strict=False):
            told = f"{'right' if near.right else 'wrong'}, {near.cosine:.2f}"
            _picture(axes, near.image, printable(near.label), told)
            _frame(axes, near.image, right=near.right)
    return set_fonts(figure)


def _picture(axes: Axes, image: npt.NDArray[np.uint8], first: str, second: str) -> None:
    flat = image.squeeze(-1) if image.ndim == 3 and image.shape[2] == 1 else image
    axes.imshow(flat, cmap="gray", vmin=0, vmax=255)
    axes.set_title(f"{first}\n{printable(second, 30)}" if second else first, fontsize=8)


def _frame(axes: Axes, image: npt.NDArray[np.uint8], *, right: bool) -> None:
    height, width = image.shape[:2]
    style: dict[str, Any] = {"edgecolor": RIGHT if right else WRONG, "linestyle": "-" if right else "--"}
    axes.add_patch(Rectangle((-0.5, -0.5), width, height, fill=False, linewidth=3.0, clip_on=False, **style))


def _flags(values: npt.ArrayLike | None, labels: IntArray) -> BoolArray:
    if values is None:
        return np.zeros(len(labels), bool)
    flags = np.asarray(values, bool)
    if flags.shape != labels.shape:
        raise _wrong(f"flags ({len(labels)},)", f"{flags.shape}", "pass one for each point")
    return flags


def _wrong(expected: str, got: str, fix: str, where: str = "embedding") -> DataError:
    return DataError(expected, got=got, where=where, fix=fix)
