"""The picture of a cross-validation: the score of each fold, their mean, and the interval of the mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ringlight.evaluation.lettering import set_fonts
from ringlight.evaluation.plots import BLUE, GRAY, GREEN, ORANGE

_LOOKS = ((BLUE, "o"), (ORANGE, "D"), (GREEN, "s"), (GRAY, "^"))
"""Colour and marker of a repeat, in turn."""


def folds_figure(card: Mapping[str, Any]) -> Figure:
    """Draw the scores of the folds, a colour and a marker a repeat.

    Args:
        card: what results hold under `cross_validation`.
    """
    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    axes = figure.add_subplot()
    metric, repeats = card["metric"], card["repeats"]
    if card["low"] is not None:
        axes.axhspan(card["low"], card["high"], color=BLUE, alpha=0.12, label=f"{card['confidence']:.0%} interval")
    if card["mean"] is not None:
        axes.axhline(card["mean"], color="k", linewidth=1, label=f"mean {card['mean']:.3f}")
    for repeat in range(repeats):
        colour, marker = _LOOKS[repeat % len(_LOOKS)]
        known = [
            (fold["fold"] + 1, fold["scores"][metric])
            for fold in card["folds"]
            if fold["repeat"] == repeat and fold["scores"].get(metric) is not None
        ]
        if known:
            places, scores = zip(*known, strict=True)
            label = f"repeat {repeat + 1}" if 1 < repeats <= len(_LOOKS) else None
            axes.plot(places, scores, marker, color=colour, linestyle="none", markersize=6, label=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(0.5, card["num_folds"] + 0.5)
    axes.set_xlabel("fold")
    axes.set_ylabel(metric)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return set_fonts(figure)
