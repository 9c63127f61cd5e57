"""Overlays: the picture is left alone where the map is cold, and its size is kept; the figures themselves."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from ringlight.errors import ConfigError, DataError
from ringlight.explain.overlay import LEAST, LEGEND, STYLES, blend, check_style, contour, overlay_png, side_by_side

PICTURE = np.full((300, 500, 3), 100, np.uint8)
HEAT = np.zeros((300, 500), np.float32)
HEAT[100:200, 200:300] = 1


def drawn(picture: np.ndarray, heat: np.ndarray, **how: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(overlay_png(picture, heat, text="crack 0.9", **how))))


def test_a_blend_covers_what_is_hot_and_nothing_else() -> None:
    found = blend(PICTURE, HEAT)
    assert (found[HEAT == 0] == 100).all()
    brightest = np.array([0.988362, 0.998364, 0.644924]) * 255  # the end of matplotlib's inferno
    np.testing.assert_allclose(found[150, 250], 0.25 * 100 + 0.75 * brightest, atol=0.51)
    half = blend(PICTURE, HEAT * np.float32(0.5))
    assert np.abs(half[150, 250].astype(int) - 100).max() < np.abs(found[150, 250].astype(int) - 100).max()


def test_a_contour_is_a_line_and_leaves_the_picture_as_it_was() -> None:
    before = PICTURE.copy()
    found = contour(PICTURE, HEAT)
    changed = (found != 100).any(axis=2)
    assert changed[100, 250]
    assert changed[150, 200]
    assert not changed[150, 250]
    assert not changed[20, 20]
    np.testing.assert_array_equal(PICTURE, before)


def test_side_by_side_is_one_above_the_other_for_a_strip() -> None:
    strip = side_by_side(PICTURE, HEAT)
    assert strip.shape == (608, 500, 3)
    assert (strip[:300] == 100).all()
    square = side_by_side(PICTURE[:, :300], HEAT[:, :300])
    assert square.shape == (300, 608, 3)


@pytest.mark.parametrize("style", STYLES)
def test_pictures_have_a_legend_below(style: str) -> None:
    found = drawn(PICTURE, HEAT, style=style)
    height = STYLES[style](PICTURE, HEAT).shape[0]
    assert found.shape == (height + 28, 500, 3)
    legend = found[height:]
    assert (legend[:, :5] == 255).all()
    assert (legend[:, 5:200].min(axis=2) < 100).any()  # the text
    assert (np.ptp(legend[14, -100:-20].astype(int), axis=0)).max() > 150


def test_small_gray_pictures_are_enlarged() -> None:
    found = drawn(PICTURE[:20, :30, :1], HEAT[:20, :30])
    factor = -(-LEAST // 30)
    assert found.shape == (20 * factor + 28, LEGEND, 3)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"style: expected a style of overlay, got `contours`; did you mean `contour`"
    ):
        check_style("contours")
    with pytest.raises(DataError, match=r"overlay: expected a map of 300 x 500, as the picture, got \(10, 500\)"):
        overlay_png(PICTURE, HEAT[:10], text="")
    with pytest.raises(DataError, match="overlay: expected a map of values from 0 to 1, got others"):
        overlay_png(PICTURE, HEAT * np.float32(np.nan), text="")
