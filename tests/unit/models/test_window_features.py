"""Window features: by hand, against a naive loop over scipy and numpy, and what they may not depend on."""

from __future__ import annotations

import math
import time
from itertools import pairwise

import numpy as np
import pytest
import scipy.signal
import scipy.stats

from ringlight.errors import DataError
from ringlight.models import window_features as module
from ringlight.models.window_features import GROUPS, feature_names, window_features
from ringlight.models.window_spectra import FLOOR, LAGS, band_edges

LENGTHS = (8, 9, 61, 300, 600)
"""Fewest samples, odd ones, and more than one segment of Welch's method."""


def noise(count: int = 4, length: int = 300, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Coloured noise with offsets of its own in each window: nothing about it is symmetric."""
    rng = np.random.default_rng(seed)
    raw = np.cumsum(rng.normal(size=(count, length, channels)), axis=1) * 0.1 + rng.exponential(
        size=(count, length, channels)
    )
    return (raw * rng.uniform(0.5, 3, (count, 1, channels)) + rng.normal(0, 5, (count, 1, channels))).astype(np.float32)


def named(windows: np.ndarray, **options) -> dict[str, np.ndarray]:
    values, names = window_features(windows, **options)
    assert len(set(names)) == len(names) == values.shape[1]
    return dict(zip(names, values.T, strict=True))


def naive(signal: np.ndarray, rate: float = 1.0) -> dict[str, float]:
    """Every feature of one channel of one window, written out once more in double precision."""
    x = signal.astype(np.float64)
    length, steps = len(x), np.diff(x)
    low, mid, high = np.quantile(x, [0.25, 0.5, 0.75])
    time_axis = np.arange(length)
    found = {
        "mean": x.mean(),
        "std": x.std(),
        "rms": math.sqrt((x**2).mean()),
        "min": x.min(),
        "max": x.max(),
        "range": np.ptp(x),
        "skew": scipy.stats.skew(x),
        "kurtosis": scipy.stats.kurtosis(x),
        "q25": low,
        "median": mid,
        "q75": high,
        "iqr": scipy.stats.iqr(x),
        "abs_deviation": np.abs(x - x.mean()).mean(),
        "abs_difference": np.abs(steps).mean(),
        "roughness": steps.std() / x.std(),
        "crest": np.abs(x - x.mean()).max() / x.std(),
        "crossings": np.mean(np.diff(x > x.mean())),
        "slope": scipy.stats.linregress(time_axis, x).slope * (length - 1),
        "halves": x[-(length // 2) :].mean() - x[: length // 2].mean(),
    }
    frequency, power = scipy.signal.periodogram(x, fs=rate, window="hann", detrend="constant")
    share = power[1:] / power[1:].sum()
    f = frequency[1:]
    centroid = (share * f).sum()
    found |= {
        "centroid": centroid,
        "spread": math.sqrt((share * (f - centroid) ** 2).sum()),
        "entropy": scipy.stats.entropy(share) / math.log(len(share)),
        "peak": f[share.argmax()],
    }
    edges = band_edges(len(f))
    found |= {f"band_{i}": share[a - 1 : b - 1].sum() for i, (a, b) in enumerate(pairwise(edges))}
    _, density = scipy.signal.welch(x, fs=rate, nperseg=min(256, length))
    edges = band_edges(len(density) - 1)
    found |= {f"density_{i}": math.log10(density[a:b].mean()) for i, (a, b) in enumerate(pairwise(edges))}
    c = x - x.mean()
    return found | {
        f"autocorrelation_{lag}": sum(c[t] * c[t + lag] for t in range(length - lag)) / (c**2).sum()
        for lag in LAGS
        if lag <= length // 2
    }


@pytest.mark.parametrize("length", LENGTHS)
def test_every_feature_is_that_of_a_naive_loop_over_scipy(length):
    windows = noise(3, length, 2)
    found = named(windows, sampling_rate=50.0)
    for row in range(3):
        for channel in range(2):
            expected = naive(windows[row, :, channel], 50.0)
            assert {f"{kind}_{channel}" for kind in expected} == {
                name for name in found if name.endswith(f"_{channel}") and not name.startswith("correlation")
            }
            got = {kind: float(found[f"{kind}_{channel}"][row]) for kind in expected}
            assert got == pytest.approx(expected, rel=2e-3, abs=2e-4)


def test_correlations_are_numpys():
    windows = noise(3, 100, 4)
    found = named(windows, groups=["correlation"])
    for row in range(3):
        expected = np.corrcoef(windows[row].T.astype(np.float64))
        for name, values in found.items():
            _, a, b = name.split("_")
            assert values[row] == pytest.approx(expected[int(a), int(b)], abs=1e-5)
    assert list(found) == [f"correlation_{a}_{b}" for a in range(4) for b in range(a + 1, 4)]


def test_a_ramp_and_a_tone_by_hand():
    ramp = np.arange(10.0)
    tone = np.tile([0.0, 1.0, 0.0, -1.0], 16)[:64]
    on_ramp = named(ramp.reshape(1, 10, 1))
    assert on_ramp["mean_0"] == 4.5
    assert on_ramp["slope_0"] == pytest.approx(9)
    assert on_ramp["halves_0"] == 5  # 7 - 2
    assert on_ramp["abs_difference_0"] == 1
    assert on_ramp["roughness_0"] == pytest.approx(0, abs=1e-6)  # every step is the same
    assert on_ramp["crossings_0"] == pytest.approx(1 / 9)
    assert on_ramp["std_0"] == pytest.approx(math.sqrt(8.25))
    on_tone = named(tone.reshape(1, 64, 1), sampling_rate=1000.0)
    assert on_tone["peak_0"] == 250
    assert on_tone["centroid_0"] == pytest.approx(250)
    assert on_tone["autocorrelation_4_0"] == pytest.approx(60 / 64)
    assert on_tone["autocorrelation_2_0"] == pytest.approx(-62 / 64)
    assert on_tone["rms_0"] == pytest.approx(math.sqrt(0.5))


@pytest.mark.parametrize("value", [0.0, 0.1, -150.3, 1e6])
def test_a_constant_channel_gives_zeros_where_nothing_is_defined(value):
    """A mean of a constant is rounded: 0.1 less its mean was 1.5e-9, whose shape and spectrum looked like a signal."""
    windows = noise(1, 300, 2)
    windows[0, :, 1] = value
    found = named(windows)
    assert all(np.isfinite(values).all() for values in found.values())
    level = ("mean", "min", "max", "q25", "median", "q75")
    for name, values in found.items():
        kind = name.rpartition("_")[0]
        if not name.endswith("_1"):
            continue
        if kind in level:
            assert values[0] == np.float32(value)
        elif kind == "rms":
            assert values[0] == pytest.approx(abs(value))
        elif kind.startswith("density"):
            assert values[0] == pytest.approx(math.log10(FLOOR))
        else:
            assert values[0] == 0, name


def test_a_large_level_does_not_swallow_a_small_signal():
    """At a level of 10,000 float32 resolves 0.001: the deviation of what is left must be right."""
    signal = np.sin(np.arange(256) / 5) * 0.5
    windows = (signal + 1e4).astype(np.float32).reshape(1, 256, 1)
    found = named(windows)
    assert found["std_0"][0] == pytest.approx(windows.astype(np.float64).std(), rel=1e-4)
    assert found["slope_0"][0] == pytest.approx(naive(windows[0, :, 0])["slope"], abs=1e-3)


@pytest.mark.parametrize("invariance", ["offset", "scale"])
def test_what_features_may_not_know_changes_none_of_them(invariance):
    windows = noise(5, 128, 3)
    rng = np.random.default_rng(1)
    changed = windows + rng.normal(0, 3, (5, 1, 3)).astype(np.float32)
    if invariance == "scale":
        changed = changed * rng.uniform(0.2, 4, (5, 1, 3)).astype(np.float32)
    a, names = window_features(windows, invariance=invariance)
    b, _ = window_features(changed, invariance=invariance)
    np.testing.assert_allclose(a, b, atol=3e-3, rtol=3e-3)
    left = {name.rpartition("_")[0] for name in names}
    assert not left & ({"mean", "rms"} if invariance == "offset" else {"mean", "rms", "std"})
    plain, _ = window_features(windows)
    shifted, _ = window_features(changed)
    assert np.abs(plain - shifted).max() > 0.1


def test_a_window_does_not_see_its_neighbours_or_the_memory_layout(monkeypatch):
    windows = noise(7, 200, 3)
    whole, _ = window_features(windows)
    monkeypatch.setattr(module, "BLOCK", 1)
    alone, _ = window_features(windows)
    by_one = np.concatenate([window_features(window[None])[0] for window in windows])
    turned, _ = window_features(np.ascontiguousarray(windows.transpose(0, 2, 1)).transpose(0, 2, 1))
    for other in (alone, by_one, turned):
        np.testing.assert_array_equal(whole, other)


def test_integers_are_taken_as_they_lie_in_a_store():
    raw = np.random.default_rng(0).integers(-3000, 3000, (3, 64, 2)).astype(np.int16)
    np.testing.assert_array_equal(window_features(raw)[0], window_features(raw.astype(np.float32))[0])


def test_groups_keep_their_order_and_are_the_columns_of_the_whole():
    windows = noise(3, 64, 3)
    whole = named(windows)
    parts: dict[str, np.ndarray] = {}
    for group in GROUPS:
        parts |= named(windows, groups=[group])
    assert list(parts) == list(whole)
    assert all(np.array_equal(parts[name], whole[name]) for name in whole)
    assert list(named(windows, groups=["correlation", "statistics"])) == list(
        named(windows, groups=["statistics", "correlation"])
    )


def test_names_tell_the_channel():
    names = feature_names(64, ["flow", "sound"])
    assert names[:2] == ("mean_flow", "mean_sound")
    assert names[-1] == "correlation_flow_sound"
    _, same = window_features(noise(1, 64, 2), channels=["flow", "sound"])
    assert same == names


@pytest.mark.parametrize("num_bins", [1, 2, 4, 5, 20, 128, 5000])
def test_bands_cover_every_frequency_once(num_bins):
    edges = band_edges(num_bins)
    assert (edges[0], edges[-1]) == (1, num_bins + 1)
    assert all(a < b for a, b in pairwise(edges))
    assert len(edges) - 1 == min(8, num_bins)


def test_no_window_is_no_row():
    assert window_features(np.empty((0, 64, 2), np.float32))[0].shape == (0, len(feature_names(64, "ab")))


@pytest.mark.parametrize(
    ("windows", "options", "told"),
    [
        (np.zeros((4, 7, 2)), {}, r"window_features: expected windows \(N, T, C\) of 8 samples or more, got shape"),
        (np.zeros((4, 64)), {}, r"got shape \(4, 64\); pass samples on the second axis"),
        (np.zeros((4, 64, 0)), {}, r"got shape \(4, 64, 0\)"),
        (np.array([[["a"]] * 9]), {}, "expected real numbers, got <U1; convert to float32"),
        (np.zeros((4, 64, 2)), {"groups": ["statistic"]}, "groups: expected a known name, got `statistic`; did you"),
        (np.zeros((4, 64, 2)), {"groups": []}, "groups: expected a known name, got none"),
        (np.zeros((4, 64, 2)), {"invariance": "level"}, "invariance: expected a known name, got `level`"),
        (np.zeros((4, 64, 2)), {"sampling_rate": 0.0}, "sampling_rate: expected a rate above 0, got 0"),
        (np.zeros((4, 64, 2)), {"channels": ["a"]}, "expected 2 channel names, got 1"),
        (np.where(np.arange(4)[:, None, None] == 2, np.nan, np.zeros((4, 64, 2))), {},
         "window 2: expected finite numbers below 1e"),
        (np.full((1, 64, 2), 1e20), {}, "window 0: expected finite numbers below 1e"),
    ],
)  # fmt: skip
def test_what_cannot_be_described_is_refused(windows, options, told):
    with pytest.raises(DataError, match=told):
        window_features(windows, **options)


def test_a_window_takes_a_small_part_of_a_loops_time():
    """80 times as fast as a loop over scipy; a ratio of two times holds on a busy machine, seconds do not."""
    windows = noise(60, 1024, 9)

    def seconds(call) -> float:
        started = time.perf_counter()
        call()
        return time.perf_counter() - started

    ratios = []
    for _ in range(3):
        quick = seconds(lambda: window_features(windows)) / 60
        ratios.append(seconds(lambda: [naive(windows[0, :, channel]) for channel in range(9)]) / quick)
    assert sorted(ratios)[1] > 10
