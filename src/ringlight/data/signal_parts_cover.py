"""Augmentations that add noise to windows of a signal or take parts of them away.

Windows arrive with about zero mean and unit deviation in every channel: strengths are in deviations of a channel, and
what is taken away becomes 0, the channel's mean.

Shapes: T samples, C channels.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ringlight.data.augmentations_base import Window, check_range


class FrequencyMask:
    """Take bands of frequencies out of all channels; the mean of a channel stays.

    The idea is the frequency mask of D. S. Park and others, "SpecAugment", 2019, arXiv:1904.08779, on the spectrum of
    the whole window.

    Args:
        bands: number of bands, 1 to 16; they may overlap.
        width: largest width of a band as a share of the frequencies up to half the sampling rate, 0 to 1; drawn evenly
            from 0 to there.
        probability: of a window being changed.
    """

    takes: ClassVar[str] = "windows"

    def __init__(self, *, bands: int = 1, width: float = 0.1, probability: float = 0.5) -> None:
        check_range("bands", bands, 1, 16, "frequency_mask")
        check_range("width", width, 0, 1, "frequency_mask")
        check_range("probability", probability, 0, 1, "frequency_mask")
        self.bands = bands
        self.width = width
        self.probability = probability

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Return the window without some of its frequencies."""
        length = len(window)
        count = length // 2  # bins above zero frequency
        masked = np.zeros(count + 1, bool)
        for _ in range(self.bands):
            wide = int(np.ceil(rng.uniform(0, self.width) * count))
            first = 1 + int(rng.integers(0, max(count - wide, 0), endpoint=True))
            masked[first : first + wide] = True
        spectrum = np.fft.rfft(window.astype(np.float64), axis=0)
        spectrum[masked] = 0
        return np.fft.irfft(spectrum, length, axis=0).astype(np.float32)


class Jitter:
    """Add Gaussian noise, independent for each sample and channel (Um et al. 2017, arXiv:1706.00527, "Jitter").

    Args:
        deviation: standard deviation of the noise, in deviations of a channel, 0 to 5.
        probability: of a window being changed.
    """

    takes: ClassVar[str] = "windows"

    def __init__(self, *, deviation: float = 0.1, probability: float = 0.5) -> None:
        check_range("deviation", deviation, 0, 5, "jitter")
        check_range("probability", probability, 0, 1, "jitter")
        self.deviation = deviation
        self.probability = probability

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Return the window with noise."""
        noisy: Window = window + np.float32(self.deviation) * rng.standard_normal(window.shape, np.float32)
        return noisy


class ChannelDropout:
    """Silence some channels: set them to 0. One at least is kept, so that a signal of one channel stays as it is.

    Args:
        channels: most channels that are silenced at once, 1 to 1000; drawn evenly from 1 to there.
        probability: of a window losing channels.
    """

    takes: ClassVar[str] = "windows"

    def __init__(self, *, channels: int = 1, probability: float = 0.2) -> None:
        check_range("channels", channels, 1, 1000, "channel_dropout")
        check_range("probability", probability, 0, 1, "channel_dropout")
        self.channels = channels
        self.probability = probability

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Return the window with fewer live channels."""
        most = min(self.channels, window.shape[1] - 1)
        silenced = window.copy()
        if most > 0:
            count = int(rng.integers(1, most, endpoint=True))
            silenced[:, rng.permutation(window.shape[1])[:count]] = 0
        return silenced


class CutOut:
    """Set spans of time to 0 in all channels (T. DeVries, G. W. Taylor, 2017, arXiv:1708.04552, for pictures).

    Args:
        spans: number of spans, 1 to 64; they may overlap.
        length: of a span, as a share of the window, 0 to 0.5.
        probability: of a window being cut.
    """

    takes: ClassVar[str] = "windows"

    def __init__(self, *, spans: int = 1, length: float = 0.1, probability: float = 0.5) -> None:
        check_range("spans", spans, 1, 64, "cut_out")
        check_range("length", length, 0, 0.5, "cut_out")
        check_range("probability", probability, 0, 1, "cut_out")
        self.spans = spans
        self.length = length
        self.probability = probability

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Return the window with gaps."""
        cut = window.copy()
        wide = round(self.length * len(window))
        for start in rng.integers(0, len(window) - wide, self.spans, endpoint=True):
            cut[start : start + wide] = 0
        return cut
