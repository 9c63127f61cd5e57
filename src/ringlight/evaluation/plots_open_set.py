"""Picture of an open-set rule: how strange known records and strangers look, and where the limits lie.

A pure function of plain values, as results hold them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ringlight.errors import DataError
from ringlight.evaluation.lettering import set_fonts
from ringlight.evaluation.plots_curves import PALETTE

LABELS = {
    "energy": "energy (minus log-sum-exp of the raw scores)",
    "distance": "distance to the nearest class mean (1 - cosine)",
}


def open_set_figure(scores: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw the histograms of known records and strangers, a panel a score, with the limit as a line.

    Args:
        scores: by name, each with `edges`, `known`, `unknown` (None without strangers) and `threshold`.

    Raises:
        DataError: no score, or one without a record.
    """
    if not scores or not all(sum(one["known"]) for one in scores.values()):
        raise DataError("a score of a known record", got="none", where="open_set", fix="judge at least one record")
    figure = Figure(figsize=(4.6 * len(scores) + 0.6, 3.6), layout="constrained")
    for axes, (name, one) in zip(figure.subplots(1, len(scores), squeeze=False)[0], scores.items(), strict=True):
        _sets(axes, one)
        axes.axvline(one["threshold"], color="black", linewidth=1.2, linestyle="--", label="limit")
        axes.set(xlabel=LABELS.get(name, name), ylabel="share of the set", ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=9, ncols=3, loc="outside upper center")
    return set_fonts(figure)


def _sets(axes: Axes, one: Mapping[str, Any]) -> None:
    for key, name, colour, style in (
        ("known", "known classes", PALETTE[0], "-"),
        ("unknown", "held out", PALETTE[1], "--"),
    ):
        counts = np.asarray(one.get(key) or [], float)
        if counts.sum():
            shares = counts / counts.sum()
            label = f"{name}  ({counts.sum():.0f})"
            axes.stairs(shares, one["edges"], color=colour, linestyle=style, linewidth=1.6, label=label)
            axes.stairs(shares, one["edges"], color=colour, alpha=0.1, fill=True)
