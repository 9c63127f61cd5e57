"""The picture of a window: a panel a channel, time in seconds, gaps where values are missing, long windows in full."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from ringlight.errors import DataError
from ringlight.evaluation.plots import BLUE, ORANGE
from ringlight.evaluation.plots_signals import MOST_CHANNELS, MOST_POINTS, signal_figure, signal_png

RNG = np.random.default_rng(0)
CHANNELS = ("pressure", "flow", "sound")
WINDOW = RNG.normal(size=(200, 3)).astype(np.float32)


def test_each_channel_has_a_panel_above_one_axis_of_seconds() -> None:
    figure = signal_figure(WINDOW, CHANNELS, 100.0, title="part 7: leak, taken for none")
    assert [axes.get_ylabel() for axes in figure.axes] == list(CHANNELS)
    assert figure.axes[-1].get_xlabel() == "time [s]"
    for column, axes in enumerate(figure.axes):
        (line,) = axes.get_lines()
        np.testing.assert_allclose(line.get_xdata(), np.arange(200) / 100)
        np.testing.assert_allclose(line.get_ydata(), WINDOW[:, column])
        assert to_hex(line.get_color()) == BLUE.lower()
    assert figure.get_suptitle() == "part 7: leak, taken for none"


def test_without_a_sampling_rate_samples_are_numbered() -> None:
    figure = signal_figure(WINDOW, CHANNELS, None, title="")
    assert figure.axes[-1].get_xlabel() == "sample"
    assert figure.axes[0].get_lines()[0].get_xdata()[-1] == 199


def test_another_window_lies_behind_in_another_colour_and_is_named() -> None:
    figure = signal_figure(WINDOW, CHANNELS, 10.0, title="", other=WINDOW[:50], labels=("wrong", "a typical one"))
    behind, front = figure.axes[1].get_lines()
    assert (to_hex(behind.get_color()), to_hex(front.get_color())) == (ORANGE.lower(), BLUE.lower())
    assert len(behind.get_ydata()) == 50
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["wrong", "a typical one"]
    assert not signal_figure(WINDOW, CHANNELS, 10.0, title="").legends


def test_what_is_not_finite_leaves_a_gap() -> None:
    broken = WINDOW.copy()
    broken[20:30, 0] = np.nan
    broken[40, 0] = np.inf
    broken[:, 1] = np.nan
    figure = signal_figure(broken, CHANNELS, None, title="")
    drawn = figure.axes[0].get_lines()[0].get_ydata()
    assert np.isnan(drawn[[25, 40]]).all()
    assert np.isfinite(drawn).sum() == 189
    assert signal_png(broken, CHANNELS, None, title="").startswith(b"\x89PNG")


def test_a_peak_of_one_sample_in_a_long_window_is_drawn() -> None:
    """Every hundredth sample would have left out the knock that the label is about."""
    length = 100 * MOST_POINTS + 7
    window = np.zeros((length, 1), np.float32)
    window[123_456] = 9.0
    window[-5:] = np.nan
    figure = signal_figure(window, ["sound"], 1000.0, title="")
    (band,) = figure.axes[0].collections
    assert band.get_datalim(figure.axes[0].transData).y1 == pytest.approx(9.0)
    assert not figure.axes[0].get_lines()
    assert signal_png(window, ["sound"], 1000.0, title="").startswith(b"\x89PNG")


def test_of_very_many_channels_the_first_are_shown_and_all_counted() -> None:
    window = RNG.normal(size=(20, 40))
    figure = signal_figure(window, [f"channel {number}" for number in range(40)], 1.0, title="")
    assert len(figure.axes) == MOST_CHANNELS
    assert figure.axes[-1].get_xlabel() == f"time [s]   (the first {MOST_CHANNELS} of 40 channels)"


def test_the_png_grows_with_the_channels() -> None:
    sizes = [
        Image.open(io.BytesIO(signal_png(WINDOW[:, :count], CHANNELS[:count], 1.0, title="$5", dpi=50))).size
        for count in (1, 3)
    ]
    assert sizes[0][0] == sizes[1][0] == 350
    assert sizes[1][1] > 1.5 * sizes[0][1]


def test_a_single_sample_is_a_point() -> None:
    (line,) = signal_figure(WINDOW[:1, :1], ["x"], 1.0, title="").axes[0].get_lines()
    assert line.get_marker() == "."


@pytest.mark.parametrize(
    ("window", "other", "message"),
    [
        (
            WINDOW[:, 0],
            None,
            r"window: expected a window \(T, 3\), a column for each channel, got shape \(200,\)",
        ),
        (WINDOW.T, None, r"got shape \(3, 200\); pass samples in rows and channels in columns"),
        (WINDOW[:0], None, r"got shape \(0, 3\)"),
        (WINDOW, WINDOW[:, :2], r"other: expected a window \(T, 3\)"),
    ],
)
def test_a_window_that_does_not_fit_its_channels_is_refused(window, other, message) -> None:
    with pytest.raises(DataError, match=message):
        signal_figure(window, CHANNELS, 1.0, title="", other=other)
