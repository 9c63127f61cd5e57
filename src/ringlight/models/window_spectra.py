"""Numbers from the spectrum and the autocorrelation of a block of windows; see :mod:`ringlight.models.window_features`.

Shapes: N windows, C channels, T samples, S segments, B bands. Blocks are float32 (N, C, T), centred: each channel of
each window has the mean zero. Frequencies are in cycles a sample.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import fft

Floats = npt.NDArray[np.float32]
Named = list[tuple[str, Floats]]
"""Features of one kind: a name and an array (N, C) each."""

NUM_BANDS = 8
"""Bands of equal width in log frequency, fewer where a short window has not as many frequencies."""
SEGMENT = 256
"""Samples a segment of Welch's method, or T where that is less; segments overlap by a half."""
LAGS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Samples between a window and itself; those up to T / 2 are used."""
FLOOR = 1e-20
"""Densities below this count as this before the logarithm: log10 gives -20 for a channel without any motion."""


@cache
def band_edges(num_bins: int) -> tuple[int, ...]:
    """Return where bands begin and the last one ends, over the frequencies 1 to `num_bins` of a transform.

    Every band holds at least one frequency; the zeroth, which is the mean, is in none.

    Examples:
        >>> band_edges(4)
        (1, 2, 3, 4, 5)
        >>> band_edges(128)
        (1, 2, 3, 6, 11, 21, 38, 70, 129)
    """
    edges = [1]
    for place in range(1, NUM_BANDS + 1):
        edge = round((num_bins + 1) ** (place / NUM_BANDS))
        edges.append(min(max(edge, edges[-1] + 1), num_bins + 1))
    return tuple(dict.fromkeys(edges))


@cache
def _hann(length: int) -> Floats:
    """Return the periodic Hann window, w_t = (1 - cos(2 pi t / T)) / 2, as `scipy.signal.get_window` has it."""
    return np.asarray((1 - np.cos(2 * np.pi * np.arange(length) / length)) / 2, np.float32)


def _power(tapered: Floats) -> Floats:
    """Return |FFT|^2 along the last axis, one-sided: every frequency but 0 and Nyquist stands for two."""
    found = fft.rfft(tapered, axis=-1)
    power = np.asarray(found.real**2 + found.imag**2, np.float32)
    power[..., 1 : (tapered.shape[-1] + 1) // 2] *= 2
    return power


def _bands(power: Floats) -> list[Floats]:
    """Return the sums over the bands, from power (N, C, bins) to arrays (N, C)."""
    edges = band_edges(power.shape[-1] - 1)
    return [power[..., a:b].sum(axis=-1) for a, b in pairwise(edges)]


def spectrum_features(centred: Floats, rate: float) -> Named:
    """Return relative band powers, centroid, spread, entropy, flatness and peak frequency of the whole window.

    With p_f the share of frequency f in the power of the Hann-tapered window (f = 1/T, 2/T, ... 1/2, times `rate`):
    `band_i` is the sum of p over band i; `centroid` m = sum p_f f; `spread` = sqrt(sum p_f (f - m)^2); `entropy`
    = -sum p_f ln p_f / ln(number of frequencies); `peak` the f of the largest p. All are 0 where there is no power.
    """
    power = _power(centred * _hann(centred.shape[-1]))
    total = power[..., 1:].sum(axis=-1)
    share = _safe_divide(power, total[..., None])
    bins = share.shape[-1] - 1
    frequency = (np.arange(1, bins + 1) * (rate / centred.shape[-1])).astype(np.float32)
    used = share[..., 1:]
    centroid = np.einsum("ncf,f->nc", used, frequency)
    square = np.einsum("ncf,f->nc", used, frequency**2)
    logs = np.log(np.maximum(used, np.float32(1e-20)))
    entropy = -np.einsum("ncf,ncf->nc", used, logs) / np.float32(np.log(bins))
    peak = np.where(total > 0, frequency[used.argmax(axis=-1)], np.float32(0))
    named = [(f"band_{place}", values) for place, values in enumerate(_bands(share))]
    spread = np.sqrt(np.maximum(square - centroid**2, 0))
    return [*named, ("centroid", centroid), ("spread", spread), ("entropy", entropy), ("peak", peak)]


def welch_features(centred: Floats, rate: float) -> Named:
    """Return log10 of the mean power density in each band, by Welch's method (Welch 1967).

    Segments of `SEGMENT` samples that overlap by a half, each with its mean taken out and a periodic Hann taper w,
    density |FFT|^2 / (rate sum w^2), averaged over segments: `scipy.signal.welch` with its defaults. A band's density
    is the mean over its frequencies, at least `FLOOR`.
    """
    length = centred.shape[-1]
    size = min(SEGMENT, length)
    taper = _hann(size)
    cut = np.lib.stride_tricks.sliding_window_view(centred, size, axis=-1)[..., :: size - size // 2, :]
    power = _power((cut - cut.mean(axis=-1, keepdims=True)) * taper).mean(axis=-2)
    density = power / np.float32(rate * float((taper.astype(np.float64) ** 2).sum()))
    edges = band_edges(density.shape[-1] - 1)
    floor = np.float32(FLOOR)
    return [
        (f"density_{place}", np.log10(np.maximum(density[..., a:b].mean(axis=-1), floor)))
        for place, (a, b) in enumerate(pairwise(edges))
    ]


def autocorrelation_features(centred: Floats) -> Named:
    """Return r_k = sum_t c_t c_(t+k) / sum_t c_t^2 at the lags k of `LAGS` up to T / 2; 0 for a constant channel."""
    energy = np.einsum("nct,nct->nc", centred, centred)
    return [
        (f"autocorrelation_{lag}",
         _safe_divide(np.einsum("nct,nct->nc", centred[..., :-lag], centred[..., lag:]), energy))
        for lag in LAGS
        if lag <= centred.shape[-1] // 2
    ]  # fmt: skip


def _safe_divide(numerator: Floats, denominator: Floats) -> Floats:
    """Divide, giving 0 where the denominator is."""
    positive = denominator > 0
    return np.asarray(np.where(positive, numerator / np.where(positive, denominator, 1), 0), np.float32)
