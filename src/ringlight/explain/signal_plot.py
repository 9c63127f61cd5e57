"""A window of a signal with what each sample says about a class: a panel a channel, coloured behind the line.

Shapes: T samples, C channels.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from ringlight.errors import DataError

MOST_CHANNELS = 16
"""Panels of a figure: of more channels those that say the most are shown, and the others counted."""
COLOURS = "RdBu_r"
"""Red speaks for the class, blue against it, white says nothing."""


def attribution_figure(
    window: npt.NDArray[Any],
    attribution: npt.NDArray[np.float32],
    channels: Sequence[str],
    sampling_rate: float | None,
    *,
    title: str,
) -> Figure:
    """Draw a window with its attribution, every channel on the same scale of colours.

    Args:
        window: (T, C), in physical units.
        attribution: (T, C), signed; above 0 speaks for the class.
        channels: their names, C.
        sampling_rate: hertz; None numbers the samples.
        title: of the figure: the class and its probability.

    Raises:
        DataError: arrays that do not fit each other.
    """
    if window.ndim != 2 or window.shape != attribution.shape or window.shape[1] != len(channels):
        raise DataError(
            "a window (T, C), an attribution of its shape and C names",
            got=f"{window.shape}, {attribution.shape} and {len(channels)}", where="attribution",
            fix="pass the window that was explained",
        )  # fmt: skip
    said = np.abs(attribution).sum(axis=0)
    shown = np.sort(np.argsort(-said, kind="stable")[:MOST_CHANNELS])
    figure = Figure(figsize=(7.5, 1.1 + 0.75 * len(shown)), layout="constrained")
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    limit = float(np.abs(attribution).max()) or 1.0
    step = 1.0 if sampling_rate is None else 1.0 / sampling_rate
    end = len(window) * step
    for axes, column in zip(panels, shown, strict=True):
        values = window[:, column].astype(np.float64)
        low, high = float(values.min()), float(values.max())
        room = 0.08 * (high - low) or 1.0
        axes.imshow(
            attribution[None, :, column], cmap=COLOURS, vmin=-limit, vmax=limit, aspect="auto",
            interpolation="nearest", extent=(0, end, low - room, high + room), alpha=0.85,
        )  # fmt: skip
        axes.plot((np.arange(len(values)) + 0.5) * step, values, color="black", linewidth=0.9)
        axes.set_ylabel(channels[column], rotation=0, ha="right", va="center", fontsize=8)
        axes.tick_params(labelsize=7, length=2)
        axes.locator_params(axis="y", nbins=3)
    hidden = len(channels) - len(shown)
    more = f"   (the {len(shown)} of {len(channels)} channels that say the most)" if hidden else ""
    panels[-1].set_xlabel(("sample" if sampling_rate is None else "time [s]") + more, fontsize=9)
    bar = figure.colorbar(panels[0].images[0], ax=list(panels), shrink=min(1.0, 2.0 / len(shown)), pad=0.01)
    bar.set_label("speaks for the class", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure


def attribution_png(
    window: npt.NDArray[Any],
    attribution: npt.NDArray[np.float32],
    channels: Sequence[str],
    sampling_rate: float | None,
    *,
    title: str,
    letter: Callable[[Figure], Figure] | None = None,
) -> bytes:
    """Return :func:`attribution_figure` as a PNG; `letter` gives a figure the fonts that names need.

    Raises:
        DataError: see :func:`attribution_figure`.
    """
    stream = io.BytesIO()
    figure = attribution_figure(window, attribution, channels, sampling_rate, title=title)
    (figure if letter is None else letter(figure)).savefig(stream, format="png", dpi=100)
    return stream.getvalue()
