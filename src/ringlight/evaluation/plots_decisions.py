"""Pictures of decisions: what each operating point reaches, and what a reject option buys.

Pure functions of plain values, as results hold them; a value that is not defined (None) is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ringlight.errors import DataError
from ringlight.evaluation.lettering import class_labels, set_fonts
from ringlight.evaluation.plots_curves import PALETTE

MEASURES = ("recall", "precision", "escape_rate", "overkill_rate")
"""The panels of :func:`operating_figure`; one that no point has is left out."""

_TARGETS = {"recall_at_least": "recall", "precision_at_least": "precision"}


def operating_figure(points: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw what each operating point reaches on the judged records: a dot, its interval, and the target aimed at.

    Args:
        points: each with `name`, `test` (the measures, and `intervals` with `[low, high]` by measure), and, when it
            has one, `kind` and `target`. A point whose `status` is `refused` is drawn hollow.

    Raises:
        DataError: no point has one of :data:`MEASURES`.
    """
    reached = [point.get("test") or {} for point in points]
    panels = [name for name in MEASURES if any(test.get(name) is not None for test in reached)]
    if not panels:
        raise DataError("a point that was judged", got="none", where="operating points", fix="judge them first")
    figure = Figure(figsize=(max(2.0 * len(panels) + 1.6, 4.6), 1.25 + 0.38 * len(points)), layout="constrained")
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, name in zip(all_axes, panels, strict=True):
        for place, (point, test) in enumerate(zip(points, reached, strict=True)):
            _dot(axes, place, name, point, test)
        axes.set_title(name.replace("_", " "), fontsize=10)
        axes.grid(axis="x", alpha=0.3)
        if name.endswith("_rate"):
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
            axes.set_xlim(left=min(0.0, -0.02 * axes.get_xlim()[1]))
        axes.locator_params(axis="x", nbins=4)
        axes.tick_params(axis="x", labelsize=8)
    all_axes[0].set_yticks(range(len(points)), class_labels([str(point["name"]) for point in points]), fontsize=9)
    all_axes[0].set_ylim(len(points) - 0.5, -0.5)
    return set_fonts(figure)


def _dot(axes: Axes, place: int, name: str, point: Mapping[str, Any], test: Mapping[str, Any]) -> None:
    bound = (test.get("intervals") or {}).get(name)
    if bound and None not in bound:
        axes.hlines(place, *bound, color=PALETTE[0], alpha=0.6, linewidth=2.5)
    if test.get(name) is not None:
        fill = "none" if point.get("status") == "refused" else PALETTE[0]
        axes.plot(test[name], place, "o", color=PALETTE[0], markerfacecolor=fill, markersize=6)
    if point.get("target") is not None and _TARGETS.get(str(point.get("kind"))) == name:
        axes.plot([point["target"]] * 2, [place - 0.32, place + 0.32], color=PALETTE[1], linewidth=2)


def reject_figure(curve: Mapping[str, Sequence[float | None]]) -> Figure:
    """Draw the share of wrong decisions against the share of parts that the model decides itself.

    Args:
        curve: `coverage` and `error`, shares from 0 to 1.

    Raises:
        DataError: the curve has no point.
    """
    pairs = zip(curve["coverage"], curve["error"], strict=True)
    points = sorted((share, error) for share, error in pairs if share is not None and error is not None)
    if not points:
        raise DataError("a point", got="an empty curve", where="reject", fix="judge at least one record")
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(*zip(*points, strict=True), color=PALETTE[0], linewidth=1.8, drawstyle="steps-post")
    axes.set(xlabel="decided by the model", ylabel="wrong among them", xlim=(-0.01, 1.01))
    axes.set_ylim(0, max(error for _, error in points) * 1.1 or 0.05)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.grid(alpha=0.3)
    return set_fonts(figure)
