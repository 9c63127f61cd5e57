"""Documented numbers that describe windows of multichannel signals, for estimators that take vectors.

Four groups, each of which can be left out (T samples x_t of a channel, m their mean, s their deviation, c_t = x_t - m):

- `statistics`, for every channel: `mean` m; `std` s = sqrt(mean c^2); `rms` = sqrt(mean x^2); `min`; `max`; `range`
  max - min; `skew` mean (c/s)^3; `kurtosis` mean (c/s)^4 - 3; `q25`, `median`, `q75` (quantiles, linear
  interpolation); `iqr` q75 - q25; `abs_deviation` mean |c|; `abs_difference` mean |x_(t+1) - x_t|; `roughness`
  std of x_(t+1) - x_t over s; `crest` max |c| / s; `crossings` share of neighbours on different sides of m (c > 0 or
  not); `slope` of the least-squares line, as its rise from the first sample to the last; `halves` mean of the second
  half less mean of the first.
- `spectrum`, for every channel: relative band powers, centroid, spread, entropy, peak frequency
  (:func:`ringlight.models.window_spectra.spectrum_features`).
- `welch`, for every channel: log power density in bands (:func:`ringlight.models.window_spectra.welch_features`).
- `autocorrelation`, for every channel (:func:`ringlight.models.window_spectra.autocorrelation_features`).
- `correlation`, for every pair of channels: Pearson's coefficient.

A channel that is constant over a window has no shape: skew, kurtosis, roughness, crest, crossings, shares, frequencies,
autocorrelations and correlations are 0 there, and its log density is that of `FLOOR`. No number is ever not finite.

With `invariance="offset"` each channel of each window is centred first, and what is then always 0 (`mean`, and `rms`,
which then is `std`) is left out: adding a constant to a channel of a window changes nothing. With `"scale"` it is
divided by its deviation, too, and `std` is left out: neither changes anything then.

Shapes: N windows, T samples, C channels, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError, did_you_mean
from ringlight.models.window_spectra import (
    Floats,
    Named,
    autocorrelation_features,
    spectrum_features,
    welch_features,
)

Group = Literal["statistics", "spectrum", "welch", "autocorrelation", "correlation"]
Invariance = Literal["none", "offset", "scale"]
GROUPS: tuple[Group, ...] = get_args(Group)
SHORTEST = 8
"""Samples a window has at least."""
BLOCK = 2**17
"""Samples worked on at a time: 512 KiB, which with its intermediate results stays in a core's cache."""
LARGEST = 1e12
"""Values beyond it are faults of a sensor, and squares of spectra would leave single precision."""
VERSION = 1
"""Part of the name under which computed features are kept: raised when a number changes its meaning."""


def window_features(
    windows: npt.NDArray[Any],
    *,
    sampling_rate: float | None = None,
    groups: Sequence[Group] = GROUPS,
    invariance: Invariance = "none",
    channels: Sequence[str] | None = None,
) -> tuple[Floats, tuple[str, ...]]:
    """Describe windows (N, T, C) by D numbers each; return these, float32 (N, D), and their names.

    A window's numbers do not depend on the windows beside it.

    Args:
        windows: real numbers, T >= 8, below 1e12 in size; computed in single precision.
        sampling_rate: in hertz; frequencies and densities are per sample without it.
        groups: which kinds of features, in any order; the columns keep the order of `GROUPS`.
        invariance: what of a channel's level a feature may not know, see above.
        channels: names (C,) for the features' names; `0`, `1`, ... without them.

    Raises:
        DataError: another shape, too few samples, numbers that are not finite, an unknown group, names that do not fit.

    Examples:
        >>> values, names = window_features(np.arange(32.0).reshape(1, 16, 2), groups=["statistics"])
        >>> values.shape, names[:3], values[0, :2].tolist()
        ((1, 38), ('mean_0', 'mean_1', 'std_0'), [15.0, 16.0])
    """
    chosen = _checked(windows, sampling_rate, groups, invariance)
    count, length, num_channels = windows.shape
    named = [str(name) for name in (range(num_channels) if channels is None else channels)]
    if len(named) != num_channels:
        raise DataError(
            f"{num_channels} channel names", got=str(len(named)), where="window_features", fix="name every channel"
        )
    names = feature_names(length, named, groups=chosen, invariance=invariance)
    out = np.empty((count, len(names)), np.float32)
    rows = max(1, BLOCK // (length * num_channels))
    for start in range(0, count, rows):
        block = windows[start : start + rows]
        signals = np.ascontiguousarray(block.transpose(0, 2, 1), np.float32)
        usable = np.abs(signals).max(axis=(1, 2)) < LARGEST  # false where it is NaN
        if not usable.all():
            raise DataError(
                f"finite numbers below {LARGEST:g}", got="NaN, Inf or larger ones",
                where=f"window {start + int(usable.argmin())}", fix="fill or leave out such windows",
            )  # fmt: skip
        parts = [values for _, values in _features(signals, sampling_rate or 1.0, chosen, invariance)]
        np.concatenate(parts, axis=1, out=out[start : start + rows])
    return out, names


def feature_names(
    length: int, channels: Sequence[str], *, groups: Sequence[Group] = GROUPS, invariance: Invariance = "none"
) -> tuple[str, ...]:
    """Return the names (D,) of the features of windows of `length` samples, as `kind_channel` or `kind_one_other`.

    Examples:
        >>> feature_names(16, ["flow", "sound"], groups=["correlation"])
        ('correlation_flow_sound',)
    """
    blank = np.zeros((1, len(channels), length), np.float32)
    pairs = [f"{a}_{b}" for a, b in combinations(channels, 2)]
    return tuple(
        f"{kind}_{suffix}"
        for kind, _ in _features(blank, 1.0, groups, invariance)
        for suffix in (pairs if kind == "correlation" else channels)
    )


def _checked(
    windows: npt.NDArray[Any], sampling_rate: float | None, groups: Sequence[Group], invariance: str
) -> tuple[Group, ...]:
    """Return the groups in their order."""
    if windows.ndim != 3 or windows.shape[1] < SHORTEST or windows.shape[2] < 1:
        raise DataError(
            f"windows (N, T, C) of {SHORTEST} samples or more", got=f"shape {windows.shape}", where="window_features",
            fix="pass samples on the second axis and channels on the third",
        )  # fmt: skip
    if windows.dtype.kind not in "fiu":
        raise DataError("real numbers", got=str(windows.dtype), where="window_features", fix="convert to float32")
    if sampling_rate is not None and not sampling_rate > 0:
        raise DataError(
            "a rate above 0", got=f"{sampling_rate:g}", where="sampling_rate", fix="give it in hertz, or leave it out"
        )
    for name, wished, known in (("groups", list(groups), GROUPS), ("invariance", [invariance], get_args(Invariance))):
        unknown = [one for one in wished if one not in known]
        if unknown or not wished:
            raise DataError(
                "a known name", got=f"`{unknown[0]}`" if unknown else "none", where=name,
                fix=did_you_mean(unknown[0] if unknown else "", known),
            )  # fmt: skip
    return tuple(group for group in GROUPS if group in groups)


def _features(signals: Floats, rate: float, groups: Sequence[Group], invariance: Invariance) -> Named:
    """Return the features of one block (N, C, T), an array (N, C) each, of correlations (N, pairs)."""
    mean, centred, deviation, still = _standing(signals)
    if invariance == "scale":
        centred = centred / deviation[..., None]
        deviation = np.where(still, np.float32(0), np.float32(1))
    if invariance != "none":
        mean = np.zeros_like(mean)
    safe = np.where(still, np.float32(1), deviation)
    named: Named = []
    if "statistics" in groups:
        left_out = {"none": (), "offset": ("mean", "rms"), "scale": ("mean", "rms", "std")}[invariance]
        spread = np.where(still, np.float32(0), deviation)
        named += [pair for pair in _statistics(mean, centred, spread, safe) if pair[0] not in left_out]
    if "spectrum" in groups:
        named += spectrum_features(centred, rate)
    if "welch" in groups:
        named += welch_features(centred, rate)
    if "autocorrelation" in groups:
        named += autocorrelation_features(centred)
    if "correlation" in groups:
        named.append(("correlation", _correlations(centred, safe)))
    return named


def _standing(signals: Floats) -> tuple[Floats, Floats, Floats, npt.NDArray[np.bool_]]:
    """Return mean (N, C), centred signals, deviation (1 where constant), and which channels are constant.

    The mean is taken twice: of numbers around a large level the first one is rounded. A constant channel is exactly 0
    afterwards, so that rounding is not mistaken for a signal.
    """
    mean = signals.mean(axis=-1)
    centred = signals - mean[..., None]
    rest = centred.mean(axis=-1)
    centred -= rest[..., None]
    still = signals.max(axis=-1) == signals.min(axis=-1)
    centred[still] = 0
    mean = np.where(still, signals[..., 0], mean + rest)
    deviation = np.sqrt(np.einsum("nct,nct->nc", centred, centred) / np.float32(signals.shape[-1]))
    still |= deviation == 0  # so small that its square is none
    return mean, centred, np.where(still, np.float32(1), deviation), still


def _statistics(mean: Floats, centred: Floats, deviation: Floats, safe: Floats) -> Named:
    length = centred.shape[-1]
    ordered = np.sort(centred, axis=-1)
    low, high = ordered[..., 0], ordered[..., -1]
    q25, median, q75 = (_quantile(ordered, share) for share in (0.25, 0.5, 0.75))
    shape = centred / safe[..., None]
    square = shape * shape
    steps = centred[..., 1:] - centred[..., :-1]
    wobble = np.einsum("nct,nct->nc", steps, steps) / np.float32(length - 1)
    drift = (centred[..., -1] - centred[..., 0]) / np.float32(length - 1)
    still = deviation == 0
    above = centred > 0
    changes = np.count_nonzero(above[..., 1:] != above[..., :-1], axis=-1)
    time = np.arange(length, dtype=np.float32) - np.float32((length - 1) / 2)
    rise = np.einsum("nct,t->nc", centred, time) * np.float32(12 / (length * (length + 1)))
    half = length // 2
    return [
        ("mean", mean),
        ("std", deviation),
        ("rms", np.hypot(mean, deviation)),
        ("min", mean + low),
        ("max", mean + high),
        ("range", high - low),
        ("skew", np.einsum("nct,nct->nc", square, shape) / np.float32(length)),
        ("kurtosis", np.where(still, 0, np.einsum("nct,nct->nc", square, square) / np.float32(length) - np.float32(3))),
        ("q25", mean + q25),
        ("median", mean + median),
        ("q75", mean + q75),
        ("iqr", q75 - q25),
        ("abs_deviation", np.abs(centred).mean(axis=-1)),
        ("abs_difference", np.abs(steps).mean(axis=-1)),
        ("roughness", np.sqrt(np.maximum(wobble - drift * drift, 0)) / safe),
        ("crest", np.maximum(high, -low) / safe),
        ("crossings", (changes / (length - 1)).astype(np.float32)),
        ("slope", rise),
        ("halves", centred[..., -half:].mean(axis=-1) - centred[..., :half].mean(axis=-1)),
    ]


def _quantile(ordered: Floats, share: float) -> Floats:
    """Return a quantile of sorted values with linear interpolation, as `numpy.quantile` does by default."""
    place = share * (ordered.shape[-1] - 1)
    left = int(place)
    right = min(left + 1, ordered.shape[-1] - 1)
    return ordered[..., left] + (ordered[..., right] - ordered[..., left]) * np.float32(place - left)


def _correlations(centred: Floats, safe: Floats) -> Floats:
    """Return Pearson's coefficients (N, C (C - 1) / 2) of all pairs of channels, 0 beside a constant one."""
    first, second = np.triu_indices(centred.shape[1], 1)
    shape = centred / safe[..., None]
    products = np.matmul(shape, shape.transpose(0, 2, 1)) / np.float32(centred.shape[-1])
    return np.asarray(np.clip(products[:, first, second], -1, 1), np.float32)
