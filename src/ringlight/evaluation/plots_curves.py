"""Pictures of scores before they become decisions: ROC and precision-recall, reliability, energy.

Pure functions of plain values, as results hold them; a value that is not defined (None) is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ringlight.errors import DataError
from ringlight.evaluation.lettering import class_labels, set_fonts

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555")
"""Okabe and Ito's colours without the yellow that white paper swallows; a further class takes the next line style."""

MOST_CURVES = 14
"""Classes drawn in one picture: twice the palette; the first ones given."""

_LINES = ("-", "--")


def roc_pr_figure(curves: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]], *, total: int = 0) -> Figure:
    """Draw the ROC and the precision-recall curve of each class, side by side.

    Args:
        curves: by class, `{"roc": {"x", "y"}, "pr": {"x", "y"}}`; at most :data:`MOST_CURVES` are drawn.
        total: number of classes there are, when `curves` holds a choice of them.

    Raises:
        DataError: there is no curve.
    """
    shown = list(curves)[:MOST_CURVES]
    if not shown:
        raise DataError("a curve", got="none", where="curves", fix="judge a class that has records with and without it")
    figure = Figure(figsize=(8.6, 4.0 + 0.2 * (-(-len(shown) // 4))), layout="constrained")
    names = class_labels(shown)
    panels = (("roc", "ROC", "false positive rate", "recall"), ("pr", "precision-recall", "recall", "precision"))
    for place, (key, title, x_label, y_label) in enumerate(panels, 1):
        axes = figure.add_subplot(1, 2, place)
        if key == "roc":
            axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle=":")
        for index, label in enumerate(shown):
            curve = curves[label].get(key) or {"x": [], "y": []}
            told = names[index] if key == "roc" else None
            colour, style = PALETTE[index % len(PALETTE)], _LINES[index // len(PALETTE)]
            axes.plot(curve["x"], curve["y"], linewidth=1.6, label=told, color=colour, linestyle=style)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=x_label, ylabel=y_label)
        axes.set_title(title, fontsize=11)
        axes.set_aspect("equal")
        axes.grid(alpha=0.3)
    number = max(total, len(curves))
    choice = None if len(shown) == number else f"{len(shown)} of {number} classes"
    figure.legend(frameon=False, fontsize=9, ncols=4, loc="outside lower center", title=choice)
    return set_fonts(figure)


def reliability_figure(
    before: Mapping[str, Sequence[float | None]], after: Mapping[str, Sequence[float | None]] | None = None
) -> Figure:
    """Draw how often the model is right where it is so sure, and how many records are so sure.

    Args:
        before: `confidence`, `accuracy` and `count` of each bin; empty bins are left out.
        after: the same after calibration; None or the same values when nothing was calibrated.
    """
    figure = Figure(figsize=(4.9, 5.1), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle=":")
    series = [("probabilities as they are", PALETTE[0], "o", before)]
    if after is not None and dict(after) != dict(before):
        series = [("before calibration", PALETTE[1], "D", before), ("after calibration", PALETTE[0], "o", after)]
    for name, colour, marker, bins in series:
        points = _filled(bins)
        upper.plot(points[:, 0], points[:, 1], marker=marker, markersize=4.5, color=colour, linewidth=1.6, label=name)
        shares = points[:, 2] / max(points[:, 2].sum(), 1)
        lower.plot(points[:, 0], shares, marker=marker, markersize=4, color=colour, linewidth=1.2)
    upper.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="share that is right")
    lower.set(ylim=(0, None), xlabel="how sure the model is", ylabel="share of records")
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    figure.legend(frameon=False, fontsize=9, ncols=2, loc="outside upper center")
    return set_fonts(figure)


def _filled(bins: Mapping[str, Sequence[float | None]]) -> Any:
    rows = zip(bins["confidence"], bins["accuracy"], bins["count"], strict=True)
    kept = [row for row in rows if None not in row and row[2]]
    return np.array(kept, float).reshape(-1, 3)


def energy_figure(edges: Sequence[float], counts: Mapping[str, Sequence[float]]) -> Figure:
    """Draw the histogram of the energy of each class's records, as shares, and of other sets under their names.

    Args:
        edges: the bins' edges, one more than there are counts.
        counts: by class or set; at most :data:`MOST_CURVES` are drawn, the largest.

    Raises:
        DataError: no set has a record.
    """
    largest = sorted((name for name in counts if sum(counts[name])), key=lambda name: -sum(counts[name]))[:MOST_CURVES]
    if not largest:
        raise DataError("a record", got="none", where="energy", fix="judge at least one record")
    shown = [name for name in counts if name in largest]
    figure = Figure(figsize=(8.0, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for index, (name, label) in enumerate(zip(shown, class_labels(shown), strict=True)):
        _histogram(axes, np.asarray(edges, float), np.asarray(counts[name], float), label, index)
    axes.set(xlabel="energy (minus log-sum-exp of the raw scores)", ylabel="share of the set", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    return set_fonts(figure)


def _histogram(axes: Axes, edges: Any, counts: Any, label: str, index: int) -> None:
    colour, style = PALETTE[index % len(PALETTE)], _LINES[index // len(PALETTE)]
    shares = counts / counts.sum()
    axes.stairs(shares, edges, color=colour, linestyle=style, linewidth=1.6, label=f"{label}  ({counts.sum():.0f})")
    axes.stairs(shares, edges, color=colour, alpha=0.07, fill=True)
