"""The figure of a window and its attribution."""

from __future__ import annotations

import numpy as np
import pytest

from ringlight.errors import DataError
from ringlight.explain.signal_plot import MOST_CHANNELS, attribution_figure, attribution_png

WINDOW = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
SAID = np.zeros((50, 3), np.float32)
SAID[10:20, 1] = -2


def test_every_channel_has_a_panel_coloured_by_what_it_says_on_one_scale() -> None:
    figure = attribution_figure(WINDOW, SAID, ["p", "q", "r"], 100.0, title="leak 0.9")
    panels = figure.axes[:3]
    assert [axes.get_ylabel() for axes in panels] == ["p", "q", "r"]
    for column, axes in enumerate(panels):
        np.testing.assert_allclose(axes.get_lines()[0].get_ydata(), WINDOW[:, column])
        np.testing.assert_array_equal(axes.images[0].get_array()[0], SAID[:, column])
        assert axes.images[0].get_clim() == (-2, 2)
        assert axes.get_xlim() == pytest.approx((0, 0.5))
    assert panels[-1].get_xlabel() == "time [s]"
    assert figure.get_suptitle() == "leak 0.9"


def test_of_many_channels_those_are_shown_that_say_the_most() -> None:
    window = np.zeros((8, 20), np.float32)
    said = np.tile(np.arange(20, dtype=np.float32), (8, 1))
    figure = attribution_figure(window, said, [f"c{n}" for n in range(20)], None, title="")
    assert [axes.get_ylabel() for axes in figure.axes[:-1]] == [f"c{n}" for n in range(20 - MOST_CHANNELS, 20)]
    assert figure.axes[MOST_CHANNELS - 1].get_xlabel() == "sample   (the 16 of 20 channels that say the most)"


def test_an_attribution_of_nothing_is_drawn_and_a_wrong_one_refused() -> None:
    assert attribution_png(WINDOW, SAID * 0, ["p", "q", "r"], None, title="").startswith(b"\x89PNG")
    with pytest.raises(DataError, match=r"attribution: expected a window \(T, C\), an attribution of its shape and C"):
        attribution_figure(WINDOW, SAID[:10], ["p", "q", "r"], None, title="")
