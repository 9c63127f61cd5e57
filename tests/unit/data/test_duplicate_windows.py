from __future__ import annotations

import numpy as np
import pytest

from ringlight.data.duplicate_windows import near_duplicate_windows
from ringlight.data.window_overlap import overlap_similarities
from ringlight.errors import DataError


def recording(seed, samples, channels=3):
    """A signal with a memory, as sensors give it: noise through a first-order filter."""
    signal = np.random.default_rng(seed).normal(size=(samples, channels))
    for row in range(1, samples):
        signal[row] += 0.9 * signal[row - 1]
    return signal


def cut(signal, length, hop):
    return [signal[start : start + length] for start in range(0, len(signal) - length + 1, hop)]


def groups_of(found):
    return [int(group.removeprefix("near:")) for group in found.groups]


@pytest.mark.parametrize("hop", [16, 32, 38])
def test_overlapping_windows_of_a_recording_share_a_group(hop):
    windows, expected = [], []
    for seed in range(12):
        part = cut(recording(seed, 64 + 3 * hop), 64, hop)
        expected += [len(windows)] * len(part)
        windows += part
    assert groups_of(near_duplicate_windows(np.array(windows))) == expected


def test_offset_scale_and_a_little_noise_do_not_hide_an_overlap():
    rng = np.random.default_rng(7)
    first = [recording(seed, 96) for seed in range(20)]
    windows = [signal[:64] for signal in first]
    windows += [3 * signal[32:] + 5 + 0.1 * signal.std() * rng.normal(size=(64, 3)) for signal in first]
    assert groups_of(near_duplicate_windows(np.array(windows))) == [*range(20), *range(20)]


def test_windows_that_only_touch_are_not_linked():
    windows = [window for seed in range(20) for window in cut(recording(seed, 192), 64, 64)]
    assert near_duplicate_windows(np.array(windows)).links == ()


def test_periodic_windows_are_linked_only_when_identical():
    """Sines agree at one shift or another, whichever recording they come from."""
    time = np.arange(64)[:, None] * np.ones(2)
    windows = [np.sin(0.7 * time + phase) for phase in np.linspace(0, 5, 8)]
    windows.append(windows[3])
    found = near_duplicate_windows(np.array(windows))
    assert [(link.a, link.b) for link in found.links] == [(3, 8)]


def test_windows_that_stand_still_are_linked_only_when_identical():
    levels = [0.0, 1.0, 2.0, 1.0]
    found = near_duplicate_windows(np.array([np.full((16, 2), level) for level in levels]), ids=list("abcd"))
    assert found.groups == ("near:a", "near:b", "near:c", "near:b")
    assert any("4 windows stand still" in note or "windows stand still" in note for note in found.notes)


def test_answers_do_not_depend_on_threads():
    windows = np.array([window for seed in range(10) for window in cut(recording(seed, 128), 64, 32)])
    assert near_duplicate_windows(windows, num_threads=1) == near_duplicate_windows(windows, num_threads=4)


def test_overlap_similarity_equals_a_naive_search():
    a, b = (recording(seed, 40, 2).T.astype(np.float32) for seed in (1, 2))
    b[:, :25] = 2 * a[:, 15:] + 0.4 * b[:, :25]
    curve = {}
    for shift in range(-24, 25):
        ends = (a[:, shift:], b[:, : 40 - shift]) if shift >= 0 else (a[:, : 40 + shift], b[:, -shift:])
        curve[shift] = np.mean([np.corrcoef(x, y)[0, 1] for x, y in zip(*ends, strict=True)])
    assert max(curve, key=curve.get) == 15
    found = overlap_similarities(a[None], b[None], np.array([[0, 0]]))
    assert found[0] == pytest.approx(curve[15], abs=1e-6)


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        (np.zeros((3, 16)), r"windows of shape \(N, T, C\), T at least 8, got shape \(3, 16\); stack them"),
        (np.zeros((3, 4, 2)), r"got shape \(3, 4, 2\)"),
        (np.zeros((0, 16, 2)), r"got shape \(0, 16, 2\)"),
        (np.array([[["a"] * 2] * 16]), "expected numbers, got <U1"),
    ],
)
def test_what_is_no_stack_of_windows_is_refused(windows, message):
    with pytest.raises(DataError, match=message):
        near_duplicate_windows(windows)


@pytest.mark.parametrize(("value", "kind"), [(np.nan, "NaN"), (np.inf, "an infinite value")])
def test_gaps_are_refused_in_one_line(value, kind):
    windows = np.zeros((5, 16, 2))
    windows[3, 4, 1] = value
    with pytest.raises(DataError) as error:
        near_duplicate_windows(windows, ids=list("abcde"))
    assert str(error.value) == (
        f"near_duplicate_windows: window `d`: expected finite values, got {kind} (1 windows in all); "
        "fill the gaps or leave these windows out"
    )


def test_ids_must_fit():
    with pytest.raises(DataError, match="expected 5 ids, got 2; pass one per window"):
        near_duplicate_windows(np.zeros((5, 16, 2)), ids=["a", "b"])


@pytest.mark.data
def test_half_overlapping_windows_of_real_recordings_are_found(real_data):
    archive = np.load(real_data.file("har9.npz"))
    raw = archive["X"][archive["recording"] <= 2]
    overlapping = {(row, row + 1) for row in range(len(raw) - 1) if np.array_equal(raw[row, 64:], raw[row + 1, :64])}
    found = near_duplicate_windows(raw * archive["scale"])
    linked = {(link.a, link.b) for link in found.links}
    assert len(overlapping) > 200
    assert len(overlapping & linked) / len(overlapping) >= 0.95
    assert len(overlapping & linked) / len(linked) >= 0.95
