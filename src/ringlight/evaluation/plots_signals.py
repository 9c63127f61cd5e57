"""Pictures of a window of a signal: one small panel a channel above one axis of time, for the mistakes in a report.

Shapes: T samples, C channels.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ringlight.errors import DataError
from ringlight.evaluation.lettering import printable, set_fonts
from ringlight.evaluation.plots import BLUE, ORANGE

MOST_CHANNELS = 16
"""Panels of a figure: of more channels the first are shown, and the others counted."""
MOST_POINTS = 2000
"""Longer windows are drawn as the band between the least and the largest value of each stretch."""

Signal = npt.NDArray[Any]


def signal_figure(
    window: Signal,
    channels: Sequence[str],
    sampling_rate: float | None,
    *,
    title: str,
    other: Signal | None = None,
    labels: tuple[str, str] = ("this window", "for comparison"),
) -> Figure:
    """Draw a window, a panel a channel with its own scale, all above one axis of time.

    Args:
        window: (T, C); values that are not finite leave gaps.
        channels: their names, C.
        sampling_rate: hertz; None numbers the samples.
        title: of the figure.
        other: a window (T', C) drawn behind it in another colour: a typical one, or the same before augmentation.
        labels: of the two, where there is another.

    Raises:
        DataError: a window that is not (T, C) with a sample and a name for each channel.
    """
    _check(window, channels, "window")
    if other is not None:
        _check(other, channels, "other")
    shown = min(len(channels), MOST_CHANNELS)
    figure = Figure(figsize=(7.0, 0.95 + 0.62 * shown), layout="constrained")
    panels = figure.subplots(shown, 1, sharex=True, squeeze=False)[:, 0]
    for column, axes in enumerate(panels):
        if other is not None:
            _draw(axes, other[:, column], sampling_rate, ORANGE, labels[1])
        _draw(axes, window[:, column], sampling_rate, BLUE, labels[0])
        axes.set_ylabel(printable(channels[column]), rotation=0, ha="right", va="center", fontsize=8)
        axes.tick_params(labelsize=7, length=2)
        axes.locator_params(axis="y", nbins=3)
        axes.margins(x=0)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    hidden = len(channels) - shown
    more = f"   (the first {shown} of {len(channels)} channels)" if hidden else ""
    panels[-1].set_xlabel(("sample" if sampling_rate is None else "time [s]") + more, fontsize=9)
    if other is not None:
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles[::-1], names[::-1], loc="outside lower right", ncols=2, fontsize=8, frameon=False)
    figure.suptitle(printable(title, limit=90), fontsize=10, x=0.01, ha="left")
    return set_fonts(figure)


def signal_png(
    window: Signal,
    channels: Sequence[str],
    sampling_rate: float | None,
    *,
    title: str,
    other: Signal | None = None,
    labels: tuple[str, str] = ("this window", "for comparison"),
    dpi: int = 100,
) -> bytes:
    """Return :func:`signal_figure` as a PNG.

    Raises:
        DataError: see :func:`signal_figure`.
    """
    stream = io.BytesIO()
    figure = signal_figure(window, channels, sampling_rate, title=title, other=other, labels=labels)
    figure.savefig(stream, format="png", dpi=dpi)
    return stream.getvalue()


def _draw(axes: Axes, values: Signal, sampling_rate: float | None, colour: str, label: str) -> None:
    step = 1.0 if sampling_rate is None else 1.0 / sampling_rate
    finite = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    if len(finite) <= MOST_POINTS:
        marker = "." if len(finite) == 1 else None
        axes.plot(np.arange(len(finite)) * step, finite, color=colour, linewidth=0.8, marker=marker, label=label)
        return
    stretch = math.ceil(len(finite) / MOST_POINTS)
    filled = np.full(math.ceil(len(finite) / stretch) * stretch, np.nan)
    filled[: len(finite)] = finite
    pieces = filled.reshape(-1, stretch)
    empty = np.isnan(pieces).all(axis=1)
    low = np.where(empty, np.nan, np.where(np.isnan(pieces), np.inf, pieces).min(axis=1))
    high = np.where(empty, np.nan, np.where(np.isnan(pieces), -np.inf, pieces).max(axis=1))
    times = np.arange(len(pieces)) * stretch * step
    axes.fill_between(times, low, high, color=colour, linewidth=0.5, alpha=0.9, label=label)


def _check(window: Signal, channels: Sequence[str], where: str) -> None:
    if window.ndim != 2 or not len(window) or not len(channels) or window.shape[1] != len(channels):
        raise DataError(
            f"a window (T, {len(channels)}), a column for each channel",
            got=f"shape {window.shape}",
            where=where,
            fix="pass samples in rows and channels in columns",
        )
