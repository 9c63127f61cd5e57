"""How well two windows of a signal agree where they overlap, at the time shift at which they agree best.

For a shift s the end of one window, from sample s on, is compared with the beginning of the other. Each channel is
normalised on the overlap itself (Pearson's r: offset and scale drop out), and the channels are averaged. The sums of
products of all shifts come from one Fourier transform, means and energies from running sums (Lewis, "Fast normalized
cross-correlation", 1995).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import fft

from ringlight.data.content import parallel

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

OVERLAP = 0.4
"""The least overlap that is looked for, as a share of the window."""
AMBIGUOUS = 0.5
"""An overlap must leave less than this share of what the next best shift leaves unexplained (a ratio test, after
Lowe 2004, section 7.1): a periodic signal agrees with itself at many shifts, which is no sign of an overlap."""
SLACK = 0.01
"""What the sampling of a peak may hide of it."""
BLOCK = 64


def overlap_similarities(
    left: Floats, right: Floats, pairs: Rows, *, num_threads: int | None = None
) -> npt.NDArray[np.float64]:
    """Return how well each pair (P, 2) agrees, from 0 to 1; 0 where the shift is ambiguous.

    Args:
        left: windows (N, C, T).
        right: windows (M, C, T).
        pairs: row of `left`, row of `right`.
        num_threads: how many blocks of pairs are compared at once.
    """

    def compare(start: int) -> npt.NDArray[np.float64]:
        block = pairs[start : start + BLOCK]
        a, b = left[block[:, 0]].astype(np.float64), right[block[:, 1]].astype(np.float64)
        later, earlier = _agreement(a, b), _agreement(b, a)
        # From the largest shift one way over 0 to the largest the other way.
        return _unambiguous(np.concatenate([earlier[:, :0:-1], later], axis=1))

    work: Callable[[int], npt.NDArray[np.float64]] = compare
    return np.concatenate([np.zeros(0), *parallel(work, range(0, len(pairs), BLOCK), num_threads)])


def _agreement(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the mean over channels of Pearson's r of a[..., s:] and b[..., :T-s]: (P, shifts s = 0, 1, ...)."""
    a, b = (x - x.mean(axis=2, keepdims=True) for x in (a, b))
    length = a.shape[2]
    shifts = int((1 - OVERLAP) * length) + 1
    size = fft.next_fast_len(2 * length, True)
    products = fft.irfft(fft.rfft(a, size) * np.conj(fft.rfft(b, size)), size)[..., :shifts]
    counts = length - np.arange(shifts)
    sum_a, energy_a = (np.cumsum(x[..., ::-1], axis=2)[..., ::-1][..., :shifts] for x in (a, a * a))
    sum_b, energy_b = (np.cumsum(x, axis=2)[..., ::-1][..., :shifts] for x in (b, b * b))
    spread_a = np.maximum(energy_a - sum_a**2 / counts, 0)
    spread_b = np.maximum(energy_b - sum_b**2 / counts, 0)
    spread = np.sqrt(spread_a * spread_b)
    # A channel that stands still says nothing; running sums leave about 1e-12 of its energy.
    least_a, least_b = (1e-9 * (x * x).sum(axis=2, keepdims=True) + 1e-30 for x in (a, b))
    moving = (spread_a > least_a) & (spread_b > least_b)
    r = np.where(moving, (products - sum_a * sum_b / counts) / np.where(moving, spread, 1), 0)
    # A channel that stands still in one window only speaks against the pair: it counts with r = 0.
    either = ((spread_a > least_a) | (spread_b > least_b)).sum(axis=1)
    return np.asarray(r.sum(axis=1) / np.maximum(either, 1))


def _unambiguous(curve: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the best of each curve over the shifts (P, S), 0 where another peak comes too close."""
    rows = np.arange(len(curve))
    best = curve.argmax(axis=1)
    peak = np.zeros(curve.shape, bool)
    peak[:, 1:-1] = (curve[:, 1:-1] >= curve[:, :-2]) & (curve[:, 1:-1] >= curve[:, 2:])
    peak[rows, best] = False
    peak[rows, np.minimum(best + 1, curve.shape[1] - 1)] = False  # a plateau is one peak
    peak[rows, np.maximum(best - 1, 0)] = False
    # Where a peak falls between two samples, a parabola through three of them says how high it is.
    slope = (curve[:, 2:] - curve[:, :-2]) / 2
    bend = np.maximum(2 * curve[:, 1:-1] - curve[:, 2:] - curve[:, :-2], 1e-9)
    heights = curve.copy()
    heights[:, 1:-1] += np.minimum(slope**2 / (2 * bend), 0.2)
    second = np.where(peak, heights, -1.0).max(axis=1)
    top = curve[rows, best]
    return np.where(1 - top + SLACK < AMBIGUOUS * (1 - second), np.clip(top, 0, 1), 0.0)
