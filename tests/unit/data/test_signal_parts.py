"""What each augmentation of windows does to a signal, by hand and by a naive loop."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from ringlight.data.signal_parts_cover import ChannelDropout, CutOut, FrequencyMask, Jitter
from ringlight.data.signal_parts_shape import MagnitudeWarp, Scaling, TimeShift, TimeWarp, spline_basis

T, C = 400, 3


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def ramp() -> np.ndarray:
    """Each channel rises steadily: a value tells the time it was read at."""
    return (np.arange(T, dtype=np.float32)[:, None] + 1000 * np.arange(C, dtype=np.float32)).astype(np.float32)


@pytest.mark.parametrize("knots", [1, 2, 4, 9])
def test_the_curve_is_scipys_cubic_spline_through_the_knots(knots: int) -> None:
    values = rng().normal(1, 0.3, (knots + 2, C))
    expected = CubicSpline(np.linspace(0, T - 1, knots + 2), values)(np.arange(T))
    np.testing.assert_allclose(spline_basis(T, knots) @ values, expected, atol=1e-5)


def test_jitter_adds_noise_of_the_given_deviation_whatever_the_signal() -> None:
    """Um et al.: independent for each sample and channel."""
    signal = ramp() / 100
    noise = Jitter(deviation=0.25).apply(signal, rng()) - signal
    assert noise.std() == pytest.approx(0.25, rel=0.05)
    assert abs(noise.mean()) < 0.02
    assert np.abs(np.corrcoef(noise.T) - np.eye(C)).max() < 0.15
    assert abs(np.corrcoef(noise[1:, 0], noise[:-1, 0])[0, 1]) < 0.15


def test_scaling_is_one_factor_a_channel() -> None:
    signal = ramp() + 1
    factors = np.stack([Scaling(deviation=0.3).apply(signal, rng(seed)) / signal for seed in range(300)])
    np.testing.assert_allclose(factors, np.broadcast_to(factors[:, :1], factors.shape), rtol=1e-5)
    assert factors[:, 0].std() == pytest.approx(0.3, rel=0.1)
    assert factors[:, 0].mean() == pytest.approx(1.0, abs=0.04)


def test_magnitude_warp_is_a_smooth_factor_of_its_own_for_each_channel() -> None:
    factors = MagnitudeWarp(deviation=0.2, knots=4).apply(np.ones((T, C), np.float32), rng())
    values = rng().normal(1.0, 0.2, (6, C))
    for channel in range(C):  # the naive way: one spline a channel
        expected = CubicSpline(np.linspace(0, T - 1, 6), values[:, channel])(np.arange(T))
        np.testing.assert_allclose(factors[:, channel], expected, atol=1e-5)
    assert np.abs(np.diff(factors, axis=0)).max() < 0.02
    assert not np.allclose(factors[:, 0], factors[:, 1], atol=0.05)


def test_time_warp_keeps_the_order_of_time_its_ends_and_the_channels_in_step() -> None:
    for seed in range(20):
        warped = TimeWarp(deviation=1.0, knots=6).apply(ramp(), rng(seed))
        assert (np.diff(warped, axis=0) > 0).all()
        np.testing.assert_allclose(warped[[0, -1]], ramp()[[0, -1]], atol=1e-3)
        np.testing.assert_allclose(warped - warped[:, :1], ramp() - ramp()[:, :1], atol=1e-3)


def test_time_warp_reads_the_signal_at_the_warped_times_as_a_loop_would() -> None:
    part = TimeWarp(deviation=0.3, knots=4)
    times = part.apply(ramp(), rng(5))[:, 0].astype(np.float64)
    signal = np.sin(np.arange(T) / 9.0).astype(np.float32)[:, None]
    np.testing.assert_allclose(
        part.apply(signal, rng(5))[:, 0], np.interp(times, np.arange(T), signal[:, 0]), atol=1e-4
    )
    assert np.abs(times - np.arange(T)).max() > 3


def test_time_shift_moves_by_whole_samples_and_holds_the_ends() -> None:
    moves = set()
    for seed in range(200):
        shifted = TimeShift(share=0.05).apply(ramp(), rng(seed))
        move = round(float(T / 2 - shifted[T // 2, 0]))
        moves.add(move)
        expected = np.clip(np.arange(T) - move, 0, T - 1)
        np.testing.assert_array_equal(shifted, ramp()[expected])
    assert moves == set(range(-20, 21))


@pytest.mark.parametrize("length", [T, T - 1])
def test_frequency_mask_takes_one_band_away_and_nothing_else(length: int) -> None:
    signal = rng().normal(2.0, 1.0, (length, C)).astype(np.float32)
    for seed in range(10):
        masked = FrequencyMask(bands=1, width=0.3).apply(signal, rng(seed))
        before, after = np.abs(np.fft.rfft(signal, axis=0)), np.abs(np.fft.rfft(masked, axis=0))
        gone = np.flatnonzero((after < 1e-3).all(1))
        np.testing.assert_array_equal(gone, np.arange(gone[0], gone[0] + len(gone)))  # one piece
        assert gone[0] > 0
        assert len(gone) <= 0.3 * length / 2 + 1
        kept = np.setdiff1d(np.arange(len(before)), gone)
        np.testing.assert_allclose(after[kept], before[kept], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(masked.mean(0), signal.mean(0), atol=1e-5)


def test_many_wide_bands_leave_little_but_the_mean() -> None:
    signal = rng().normal(2.0, 1.0, (T, C)).astype(np.float32)
    masked = FrequencyMask(bands=16, width=1.0).apply(signal, rng(1))
    assert (masked.std(0) < 0.3 * signal.std(0)).all()
    np.testing.assert_allclose(masked.mean(0), signal.mean(0), atol=1e-5)


@pytest.mark.parametrize(("most", "channels", "expected"), [(1, 3, {1}), (2, 3, {1, 2}), (9, 3, {1, 2}), (1, 1, {0})])
def test_channel_dropout_silences_some_channels_and_never_all(most: int, channels: int, expected: set[int]) -> None:
    part, silent, counts = ChannelDropout(channels=most), set(), set()
    for seed in range(60):
        result = part.apply(np.ones((5, channels), np.float32), rng(seed))
        off = np.flatnonzero((result == 0).all(0))
        assert (np.delete(result, off, axis=1) == 1).all()
        counts.add(len(off))
        silent |= set(off.tolist())
    assert counts == expected
    assert silent == (set(range(channels)) if channels > 1 else set())


def test_cut_out_sets_spans_of_the_asked_length_to_zero_anywhere() -> None:
    starts = set()
    for seed in range(300):
        gone = np.flatnonzero((CutOut(spans=1, length=0.25).apply(np.ones((40, C), np.float32), rng(seed)) == 0).all(1))
        np.testing.assert_array_equal(gone, np.arange(gone[0], gone[0] + 10))
        starts.add(int(gone[0]))
    assert {0, 30} <= starts
    three = CutOut(spans=3, length=0.1).apply(np.ones((40, C), np.float32), rng())
    assert 4 <= int((three[:, 0] == 0).sum()) <= 12
