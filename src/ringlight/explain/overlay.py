"""Heat maps drawn over their pictures, with a legend below: which class, how sure, and what the colours mean.

Shapes: H x W pixels of the picture as it is, not as the model sees it.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from ringlight.errors import ConfigError, DataError, did_you_mean

Pixels = npt.NDArray[np.uint8]
Heat = npt.NDArray[np.float32]

COLOURS = "inferno"
"""Matplotlib's colour map: grows evenly brighter, so that it reads the same in gray and to the colour-blind."""
STRENGTH = 0.75
"""How much of the picture the hottest place covers; a cold one covers nothing."""
LEVELS = (0.25, 0.5, 0.75)
"""Where contours are drawn, as shares of the map's greatest value."""
LEAST = 256
"""Pixels across below which a picture is enlarged."""
LEGEND = 400
"""The least width of a legend, in pixels: its text has a place beside its colours."""
GAP = 8


def blend(picture: Pixels, heat: Heat) -> Pixels:
    """Return the picture (H, W, 3) in colours where the map is hot, untouched where it is cold."""
    share = (STRENGTH * heat)[..., None]
    mixed = picture * (1 - share) + _coloured(heat) * share
    return np.asarray(mixed.round(), np.uint8)


def contour(picture: Pixels, heat: Heat) -> Pixels:
    """Return the picture (H, W, 3) with a line where the map reaches each of :data:`LEVELS`, and nothing covered."""
    drawn = picture.copy()  # OpenCV draws into what it is given
    width = max(2, round(min(heat.shape) / 150))
    for level in LEVELS:
        region = np.pad(np.asarray(heat >= level, np.uint8), 1)  # a line where the region leaves the picture, too
        lines, _ = cv2.findContours(region, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE, offset=(-1, -1))
        colour = [int(value) for value in _table()[round(255 * level)]]
        cv2.drawContours(drawn, lines, -1, (255, 255, 255), width + 2)
        cv2.drawContours(drawn, lines, -1, colour, width)
    return np.asarray(drawn, np.uint8)


def side_by_side(picture: Pixels, heat: Heat) -> Pixels:
    """Return the picture and, beside it, the blend; one above the other where the picture is a strip."""
    pair = [picture, blend(picture, heat)]
    axis = 0 if picture.shape[1] > 1.5 * picture.shape[0] else 1
    shape = list(picture.shape)
    shape[axis] = GAP
    return np.concatenate([pair[0], np.full(shape, 255, np.uint8), pair[1]], axis=axis)


STYLES: dict[str, Callable[[Pixels, Heat], Pixels]] = {
    "blend": blend,
    "contour": contour,
    "side_by_side": side_by_side,
}


def check_style(style: str) -> None:
    """Refuse a style that does not exist.

    Raises:
        ConfigError: the message suggests the nearest.
    """
    if style not in STYLES:
        raise ConfigError("a style of overlay", got=f"`{style}`", where="style", fix=did_you_mean(style, STYLES))


def overlay_png(
    picture: Pixels, heat: Heat, *, text: str, style: str = "blend", letter: Callable[[Figure], Figure] | None = None
) -> bytes:
    """Return a picture with its heat map and a legend below, as a PNG.

    Args:
        picture: uint8 (H, W, 1 or 3).
        heat: (H, W), from 0 to 1.
        text: of the legend: the class and its probability.
        style: blend, contour or side_by_side.
        letter: gives a figure the fonts that class names need.

    Raises:
        ConfigError: an unknown style.
        DataError: a map of another size, or with values outside 0 to 1.
    """
    check_style(style)
    if heat.shape != picture.shape[:2]:
        raise DataError(
            f"a map of {picture.shape[0]} x {picture.shape[1]}, as the picture", got=f"{heat.shape}", where="overlay",
            fix="pass the picture that was explained",
        )  # fmt: skip
    if not ((heat >= 0) & (heat <= 1)).all():
        raise DataError("a map of values from 0 to 1", got="others", where="overlay", fix="pass the map as it was made")
    if picture.shape[2] == 1:
        picture = np.repeat(picture, 3, axis=2)
    factor = max(1, -(-LEAST // max(picture.shape[:2])))
    if factor > 1:
        picture = np.repeat(np.repeat(picture, factor, axis=0), factor, axis=1)
        heat = np.asarray(cv2.resize(heat, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR), np.float32)
    drawn = STYLES[style](picture, heat)
    strip = _legend(max(drawn.shape[1], LEGEND), text, letter)
    missing = strip.shape[1] - drawn.shape[1]
    if missing:
        drawn = np.pad(drawn, ((0, 0), (0, missing), (0, 0)), constant_values=255)
    stream = io.BytesIO()
    Image.fromarray(np.concatenate([drawn, strip])).save(stream, format="PNG")
    return stream.getvalue()


def _legend(width: int, text: str, letter: Callable[[Figure], Figure] | None) -> Pixels:
    """Return a strip (h, width, 3): the text, and the colours from 0 to 1."""
    height = max(28, min(width // 24, 96))
    dpi = 100 * height / 28
    figure = Figure(figsize=(width / dpi, height / dpi), dpi=dpi, facecolor="white")
    figure.text(6 * height / 28 / width, 0.5, text, ha="left", va="center", fontsize=8)
    bar = min(0.3, 90 * height / 28 / width)
    axes = figure.add_axes((1 - bar - 0.04, 0.3, bar, 0.4))
    axes.imshow(np.linspace(0, 1, 256)[None], cmap=COLOURS, aspect="auto", extent=(0, 1, 0, 1))
    axes.set_axis_off()
    for place, name in ((1 - bar - 0.05, "0"), (1 - 0.03, "1")):
        figure.text(place, 0.5, name, ha="right" if name == "0" else "left", va="center", fontsize=7)
    if letter is not None:
        letter(figure)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    strip = np.asarray(canvas.buffer_rgba())[:, :width, :3]
    # The size went through inches, and may have lost a pixel there.
    return np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0)), constant_values=255)


@cache
def _table() -> npt.NDArray[np.float32]:
    return np.asarray(colormaps[COLOURS](np.arange(256))[:, :3] * 255, np.float32)


def _coloured(heat: Heat) -> npt.NDArray[np.float32]:
    return _table()[np.asarray((heat * 255).round(), np.uint8)]
