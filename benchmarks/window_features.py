"""Window features: windows per second on one core, beside a loop over scipy and numpy that computes the same numbers.

The shape is that of the air-leak rig, (1024, 9). Both ways are timed in turn, several times, and the ratio of each pair
is printed with its median: on a busy machine it holds where a number of seconds does not. Usage:

    OMP_NUM_THREADS=1 python benchmarks/window_features.py [--windows 300] [--rounds 5]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt
from scipy import signal, stats

from ringlight.models.window_features import GROUPS, window_features
from ringlight.models.window_spectra import LAGS, SEGMENT, band_edges

LENGTH, CHANNELS = 1024, 9


def channel_by_channel(windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the same features (N, D), a channel of a window at a time, in another order of columns."""
    rows = []
    for window in windows:
        row = [number for channel in window.T for number in one_channel(channel)]
        matrix = np.corrcoef(window.T)
        rows.append([*row, *(matrix[a, b] for a, b in combinations(range(window.shape[1]), 2))])
    return np.array(rows)


def one_channel(x: npt.NDArray[np.float32]) -> list[float]:
    length, steps, c = len(x), np.diff(x), x - x.mean()
    low, median, high = np.quantile(x, [0.25, 0.5, 0.75])
    found = [
        x.mean(), x.std(), np.sqrt((x**2).mean()), x.min(), x.max(), np.ptp(x), stats.skew(x), stats.kurtosis(x),
        low, median, high, high - low, np.abs(c).mean(), np.abs(steps).mean(), steps.std() / x.std(),
        np.abs(c).max() / x.std(), np.mean(np.diff(c > 0)), stats.linregress(np.arange(length), x).slope * (length - 1),
        x[length // 2 :].mean() - x[: length // 2].mean(),
    ]  # fmt: skip
    f, power = signal.periodogram(x, window="hann", detrend="constant")
    share = power[1:] / power[1:].sum()
    centroid = (share * f[1:]).sum()
    found += [share[a - 1 : b - 1].sum() for a, b in pairwise(band_edges(len(share)))]
    found += [
        centroid,
        np.sqrt((share * (f[1:] - centroid) ** 2).sum()),
        stats.entropy(share, base=len(share)),
        f[1:][share.argmax()],
    ]
    _, density = signal.welch(x, nperseg=min(SEGMENT, length))
    found += [np.log10(density[a:b].mean()) for a, b in pairwise(band_edges(len(density) - 1))]
    return [*found, *((c[:-lag] * c[lag:]).sum() / (c**2).sum() for lag in LAGS if lag <= length // 2)]


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--windows", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    windows = np.random.default_rng(0).normal(size=(options.windows, LENGTH, CHANNELS)).astype(np.float32)
    few = windows[: max(1, options.windows // 10)]
    widths = window_features(few)[0].shape[1], channel_by_channel(few).shape[1]
    print(f"{widths[0]} features of windows ({LENGTH}, {CHANNELS}); the loop computes {widths[1]}")
    ratios = []
    for _ in range(options.rounds):
        rate = len(windows) / seconds(lambda: window_features(windows))
        naive = len(few) / seconds(lambda: channel_by_channel(few))
        ratios.append(rate / naive)
        print(f"  {rate:7.0f} windows/s, loop {naive:5.0f} windows/s: {rate / naive:5.1f} times as fast")
    print(f"median ratio {np.median(ratios):.1f}")
    for group in GROUPS:
        best = min(seconds(lambda group=group: window_features(windows, groups=[group])) for _ in range(3))
        print(f"  {group:16s} {len(windows) / best:7.0f} windows/s")


if __name__ == "__main__":
    main()
