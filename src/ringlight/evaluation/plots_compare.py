"""The picture of a comparison: differences as dots, their intervals as whiskers, zero as a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.artist import Artist
from matplotlib.figure import Figure

from ringlight.errors import DataError
from ringlight.evaluation.lettering import printable, set_fonts
from ringlight.evaluation.plots import BLUE, GRAY, ORANGE

Verdict = Literal["better", "worse", "not shown"]

_LOOKS: dict[Verdict, tuple[str, str, str]] = {
    "better": (BLUE, "o", "better"),
    "worse": (ORANGE, "s", "worse"),
    "not shown": (GRAY, "D", "no difference shown"),
}
"""Colour, marker and legend; the markers tell verdicts apart without colour."""


@dataclass(frozen=True, slots=True)
class Whisker:
    """A difference with its interval; no limits where none can be told."""

    label: str
    value: float
    low: float | None
    high: float | None
    verdict: Verdict


def differences_figure(panels: Sequence[tuple[str, Sequence[Whisker]]], reference: str) -> Figure:
    """Draw differences from a reference, a panel a run.

    Args:
        panels: title and differences of each panel; all panels share one scale.
        reference: what the differences are taken from.

    Raises:
        DataError: there is no difference to draw.
    """
    drawn = [(title, list(rows)) for title, rows in panels if rows]
    if not drawn:
        raise DataError(
            "at least one difference",
            got="none",
            where="differences_figure",
            fix="compare runs that were judged on the same records",
        )
    heights = [0.32 * len(rows) + 0.55 for _, rows in drawn]
    figure = Figure(figsize=(7.0, sum(heights) + 0.9), layout="constrained")
    grid = figure.add_gridspec(len(drawn), 1, height_ratios=heights)
    limits = [
        limit for _, rows in drawn for row in rows for limit in (row.value, row.low, row.high) if limit is not None
    ]
    margin = 0.06 * (max(0.0, *limits) - min(0.0, *limits)) or 1.0
    seen: dict[Verdict, Artist] = {}
    for place, (title, rows) in enumerate(drawn):
        axes = figure.add_subplot(grid[place])
        axes.axvline(0, color="k", linewidth=1)
        for height, row in enumerate(rows):
            colour, marker, _ = _LOOKS[row.verdict]
            if row.low is not None and row.high is not None:
                axes.plot([row.low, row.high], [height, height], color=colour, linewidth=2, solid_capstyle="butt")
            (dot,) = axes.plot([row.value], [height], marker, color=colour, markersize=6, linestyle="none")
            seen.setdefault(row.verdict, dot)
        axes.set_yticks(range(len(rows)), [printable(row.label, 32) for row in rows], fontsize=9)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(min(0.0, *limits) - margin, max(0.0, *limits) + margin)
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
        axes.set_title(printable(title, 60), fontsize=10, loc="left")
        if place < len(drawn) - 1:
            axes.tick_params(labelbottom=False)
    axes.set_xlabel(f"difference from {printable(reference, 48)}, with its interval", fontsize=9)
    known = [verdict for verdict in _LOOKS if verdict in seen]
    figure.legend(
        [seen[verdict] for verdict in known],
        [_LOOKS[verdict][2] for verdict in known],
        loc="outside lower center",
        ncols=len(known),
        frameon=False,
        fontsize=9,
    )
    return set_fonts(figure)
