"""One pass over all windows, block by block: what each channel holds, and the digest of each window's values.

What is kept grows with the number of windows only by a digest and the mean of each channel.

Shapes: N windows, B a block of them, T samples, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.data.window_store import BLOCK_VALUES, WindowReader, require_signals
from ringlight.types import Dataset

Numbers = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

LEVELS = 32
"""A channel with no more values than this is a switch or a state, not a clipped measurement."""


@dataclass(slots=True)
class Survey:
    """What the windows of a data set hold, by channel (C,) unless it says otherwise.

    `low`, `high`, `mean`, `std` are of the finite samples; `still` counts the windows in which the channel stands
    still; `bad` those with a value that is not finite, `first_bad` is the first of these (-1: none) and `infinite` says
    whether it is infinity; `lost` counts the windows without any finite value. `top` and `bottom` count the samples
    that stay at the highest and lowest value of all, for two samples or longer in a window where the channel moves.
    `inside` is the mean square deviation from the window's own mean, `levels` the number of different values, at most
    :data:`LEVELS` + 1. `means` (N, C) are the windows' means, NaN where nothing is finite; `contents` (N,) the digests.
    """

    count: int
    length: int
    low: Numbers
    high: Numbers
    mean: Numbers
    std: Numbers
    still: Counts
    bad: Counts
    first_bad: Counts
    infinite: npt.NDArray[np.bool_]
    lost: Counts
    top: Counts
    bottom: Counts
    inside: Numbers
    levels: list[int]
    means: npt.NDArray[np.float32]
    contents: list[str] = field(default_factory=list)


def survey(dataset: Dataset) -> Survey:
    """Look at every window once.

    Raises:
        DataError: the records are no windows, or their store is gone.
    """
    signals = require_signals(dataset)
    reader = WindowReader.of(dataset)
    channels, size = len(signals.channels), max(1, BLOCK_VALUES // (signals.length * len(signals.channels)))
    found = _Sums(len(dataset), signals.length, channels)
    contents: list[str] = []
    for start in range(0, len(dataset), size):
        rows = np.arange(start, min(start + size, len(dataset)))
        contents += reader.digests(rows)
        found.add(reader.read(rows), start)
    return found.result(contents)


class _Sums:
    """What has been seen so far."""

    def __init__(self, count: int, length: int, channels: int) -> None:
        self.count, self.length = count, length
        self.low, self.high = np.full(channels, np.inf), np.full(channels, -np.inf)
        self.samples, self.mean, self.squares = (np.zeros(channels) for _ in range(3))
        self.inside = np.zeros(channels)
        self.still, self.bad, self.lost, self.top, self.bottom = (np.zeros(channels, np.int64) for _ in range(5))
        self.first_bad, self.infinite = np.full(channels, -1), np.zeros(channels, bool)
        self.values: list[set[float]] = [set() for _ in range(channels)]
        self.means = np.empty((count, channels), np.float32)

    def add(self, windows: npt.NDArray[np.float32], start: int) -> None:
        finite = np.isfinite(windows)
        if finite.all():
            values = windows
            low, high = windows.min(axis=1), windows.max(axis=1)
        else:
            self._note_bad(windows, finite, start)
            values = np.where(finite, windows, 0)
            low = np.where(finite, windows, np.inf).min(axis=1)
            high = np.where(finite, windows, -np.inf).max(axis=1)
        counts = finite.sum(axis=1)
        sums = values.sum(axis=1, dtype=np.float64)
        means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        self.means[start : start + len(windows)] = means
        around = np.where(finite, values - np.nan_to_num(means)[:, None], 0)
        inside = np.square(around, dtype=np.float64).sum(axis=1)
        self.still += ((low == high) & (counts == self.length)).sum(axis=0)
        self._note_extremes(windows, low, high)
        self._note_levels(windows)
        self._merge(counts, sums, inside, np.nan_to_num(means))

    def _merge(self, counts: Any, sums: Numbers, inside: Numbers, means: Numbers) -> None:
        """Add the block's sums (Chan et al. 1979): digits survive a large offset."""
        here = counts.sum(axis=0)
        mean = sums.sum(axis=0) / np.maximum(here, 1)
        squares = inside.sum(axis=0) + (counts * np.square(means - mean)).sum(axis=0)
        total = np.maximum(self.samples + here, 1)
        step = mean - self.mean
        self.squares += squares + step**2 * (self.samples * here / total)
        self.mean += step * (here / total)
        self.samples += here
        self.inside += inside.sum(axis=0)

    def _note_bad(self, windows: Any, finite: Any, start: int) -> None:
        bad = ~finite.all(axis=1)
        self.bad += bad.sum(axis=0)
        self.lost += (~finite.any(axis=1)).sum(axis=0)
        for channel in np.flatnonzero(bad.any(axis=0) & (self.first_bad < 0)):
            row = int(bad[:, channel].argmax())
            self.first_bad[channel] = start + row
            self.infinite[channel] = not np.isnan(windows[row, :, channel]).any()

    def _note_extremes(self, windows: Any, low: Any, high: Any) -> None:
        moving = (low < high)[:, None]
        for name, sign, ends in (("bottom", -1, low.min(axis=0)), ("top", 1, high.max(axis=0))):
            seen = self.low if sign < 0 else self.high
            beyond = sign * ends > sign * seen
            seen[beyond] = ends[beyond]
            counts = getattr(self, name)
            counts[beyond] = 0
            touching = ((high if sign > 0 else low) == seen).any(axis=0)
            if touching.any():
                there = (windows[..., touching] == seen[touching]) & moving[..., touching]
                counts[touching] += (there[:, 1:] & there[:, :-1]).sum(axis=(0, 1))

    def _note_levels(self, windows: Any) -> None:
        for channel, values in enumerate(self.values):
            if len(values) <= LEVELS:
                values.update(np.unique(windows[:, :, channel])[: LEVELS + 1].tolist())

    def result(self, contents: list[str]) -> Survey:
        samples = np.maximum(self.samples, 1)
        return Survey(
            count=self.count, length=self.length, low=self.low, high=self.high, mean=self.mean,
            std=np.sqrt(self.squares / samples), still=self.still, bad=self.bad, first_bad=self.first_bad,
            infinite=self.infinite, lost=self.lost, top=self.top, bottom=self.bottom, inside=self.inside / samples,
            levels=[min(len(values), LEVELS + 1) for values in self.values], means=self.means, contents=contents,
        )  # fmt: skip
