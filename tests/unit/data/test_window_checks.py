"""Checks of windows: each fault is told in one line, however many windows have it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ringlight.data.checks import check, hash_contents, inspect_dataset
from ringlight.data.summary import statistics
from ringlight.data.window_duplicates import window_duplicates
from ringlight.data.window_labels import WindowLabels
from ringlight.data.window_preview import window_pairs_sheet, window_sheet
from ringlight.data.window_records import window_dataset
from ringlight.data.window_spec import WindowSpec
from ringlight.data.window_store import read_facts, write_store
from ringlight.data.windows import WindowsSource
from ringlight.errors import DataError
from ringlight.types import Dataset

COUNT, LENGTH = 40, 50
CHANNELS = ("p", "q", "r")


@pytest.fixture
def windows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(COUNT, LENGTH, 3)).astype(np.float32)


@pytest.fixture
def dataset_of(tmp_path: Path):
    def made(windows: np.ndarray, labels: np.ndarray | None = None, **columns) -> Dataset:
        folder = tmp_path / f"s{len(list(tmp_path.iterdir()))}"
        write_store(folder, [windows], channels=CHANNELS, length=windows.shape[1], sampling_rate=10.0)
        codes = np.arange(len(windows)) % 2 if labels is None else labels
        known = WindowLabels(("a", "b"), "multiclass", np.arange(len(windows)), codes)
        return window_dataset(folder, read_facts(folder), known, name="rig", **columns)

    return made


def told(dataset: Dataset) -> list[str]:
    return [f"{finding.severity}: {finding}" for finding in check(dataset)]


def test_good_windows_have_no_findings(windows, dataset_of):
    assert told(dataset_of(windows)) == []


@pytest.mark.parametrize("value", [3e12, -3e12])
def test_numbers_that_mark_what_is_missing_are_errors(windows, dataset_of, value):
    """They passed, and a classical model refused them after its run folder was written."""
    windows[4, 2, 1] = value
    (first, *_) = told(dataset_of(windows))
    assert first == (
        "error: rig: channel `q`: expected values below 1e+12 in size, whose squares single precision can hold, "
        "got 3e+12; give it in a larger unit, or mend the marks of missing values"
    )


@pytest.mark.parametrize("block", [150, 1_000_000])
def test_gaps_are_told_by_channel(windows, dataset_of, monkeypatch, block):
    monkeypatch.setattr("ringlight.data.window_survey.BLOCK_VALUES", block)
    windows[7:20, 3, 1] = np.nan
    windows[5, 4, 2] = np.inf
    windows[:, :, 0] = np.nan
    assert told(dataset_of(windows)) == [
        "error: rig: channel `p`: expected finite values, got none in all 40 windows; "
        "leave the channel out, or look why it was not recorded",
        "error: rig: record `07`, channel `q`: expected finite values, got NaN (in 13 of 40 windows); "
        "fill the gaps, or leave these windows out",
        "error: rig: record `05`, channel `r`: expected finite values, got an infinite value (in 1 of 40 windows); "
        "fill the gaps, or leave these windows out",
    ]


def test_a_dead_channel_and_one_that_stands_still_at_times_are_told_apart(windows, dataset_of):
    """A sensor of the hydraulic rig is constant in 1,238 cycles: that is one line, not 1,238."""
    windows[:, :, 0] = 3
    windows[:, :, 1] = np.random.default_rng(1).normal(size=(COUNT, 1))
    windows[:30, :, 2] = 0
    dead, held, some = told(dataset_of(windows))
    assert dead.startswith("warning: rig: channel `p`: expected a channel that moves, got 3 throughout")
    assert held.startswith(
        "warning: rig: channel `q`: expected a channel that moves, got one that stands still in every"
    )
    assert "note: rig: expected channels that move in every window, got some that stand still: `r` in 30 of 40" in some


@pytest.mark.parametrize("block", [150, 1_000_000])
def test_a_clipped_channel_is_told_and_a_switch_is_not(windows, dataset_of, monkeypatch, block):
    monkeypatch.setattr("ringlight.data.window_survey.BLOCK_VALUES", block)
    slow = np.sin(np.arange(COUNT * LENGTH) / 9).reshape(COUNT, LENGTH) + 0.01 * windows[..., 0]
    windows[..., 0] = np.minimum(slow, 0.8)
    windows[..., 1] = (slow > 0).round()
    windows[..., 2] = np.maximum(slow, 0)  # a flow ends at zero
    (line,) = told(dataset_of(windows))
    assert line.startswith("warning: rig: channel `p`: expected less than 0.5% of the samples resting at its highest")
    assert line.endswith("at 0.8; it looks clipped: check the range of the sensor or converter")


def test_a_drifting_offset_is_told_over_time_where_that_is_known(windows, dataset_of):
    windows[..., 1] += np.linspace(0, 5, COUNT)[:, None]
    (line,) = told(dataset_of(windows))
    assert line.startswith(
        "warning: rig: expected channels whose offset stays, over the rows, got a drift of more than"
    )
    assert "1 (`q` by 4.98)" in line
    shuffled = np.random.default_rng(0).permutation(COUNT)
    assert "over time" in told(dataset_of(windows[shuffled], times=shuffled.tolist()))[0]
    assert told(dataset_of(windows[shuffled])) == []


def test_rows_sorted_by_class_are_no_drift(windows, dataset_of):
    labels = np.arange(COUNT) // 20
    windows[..., 1] += 5 * labels[:, None]
    assert told(dataset_of(windows, labels)) == []


def test_copies_are_told(windows, dataset_of):
    windows[11] = windows[1]
    windows[12] = windows[1]
    assert told(dataset_of(windows)) == [
        "warning: rig: record `01`: expected the same labels on identical windows, got `01`: b, `11`: b, `12`: a; "
        "keep the window whose label is right"
    ]
    windows[12] = windows[20]
    (line,) = told(dataset_of(windows, np.zeros(COUNT, int)))[1:]
    assert line.startswith("note: rig: expected every window once, got copies of other windows: 2 (11, 20)")


def test_many_contradictions_are_counted(windows, dataset_of):
    windows[20:36] = windows[1:17]
    lines = told(dataset_of(windows))
    assert len(lines) == 6
    assert "got 11 more sets of identical windows with different labels" in lines[-1]


def test_a_class_without_windows_is_rare(windows, dataset_of):
    assert "class `b`: expected at least 2 records" in told(dataset_of(windows, np.zeros(COUNT, int)))[0]
    assert "add windows of it" in told(dataset_of(windows, np.zeros(COUNT, int)))[0]


def test_a_store_of_another_length_and_one_that_is_gone_are_told(windows, dataset_of):
    dataset = dataset_of(windows)
    folder = Path(str(dataset[0].uri).partition("#")[0]).parent
    text = (folder / "store.json").read_text()
    (folder / "store.json").write_text(text.replace('"length": 50', '"length": 49'))
    assert "expected windows of 50 samples of p, q, r, got 49 samples of p, q, r" in told(dataset)[0]
    (folder / "X.npy").unlink()
    assert "expected a folder of prepared windows, got FileNotFoundError" in told(dataset)[0]


def test_the_inspection_knows_the_digests_that_hashing_gives(windows, dataset_of):
    dataset = dataset_of(windows)
    inspection = inspect_dataset(dataset)
    assert inspection.image_sizes == {}
    assert inspection.dataset.fingerprint == hash_contents(dataset).fingerprint != dataset.fingerprint


def test_statistics_are_those_of_numpy(windows, dataset_of, monkeypatch):
    monkeypatch.setattr("ringlight.data.window_survey.BLOCK_VALUES", 150)
    windows[..., 1] += 1000
    found = statistics(dataset_of(windows)).to_dict()["windows"]
    assert (found["length"], found["sampling_rate"]) == (50, 10.0)
    for channel, name in enumerate(CHANNELS):
        flat = windows[..., channel].astype(np.float64)
        expected = {"mean": flat.mean(), "std": flat.std(), "low": flat.min(), "high": flat.max()}
        assert found["channels"][name] == pytest.approx(expected)
    rows = {name: (count, text) for name, count, text in statistics(dataset_of(windows)).rows()}
    assert rows["samples in a window"] == (50, "5 s at 10 Hz")
    assert rows["channels"] == (3, "")


def overlapping(recordings: int, *, length: int = 64, hop: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Windows of smooth noise that overlap by half, five of each recording; and the recording of each."""
    rng = np.random.default_rng(0)
    series = np.stack(
        [np.convolve(rng.normal(size=4 * hop + length + 4), np.ones(5) / 5, "valid") for _ in range(recordings * 3)]
    )
    series = series.reshape(recordings, 3, -1)
    found = [series[one, :, start * hop : start * hop + length].T for one in range(recordings) for start in range(5)]
    return np.stack(found).astype(np.float32), np.repeat(np.arange(recordings), 5)


def test_overlapping_windows_are_one_group(dataset_of):
    windows, recording = overlapping(20)
    groups = np.array(window_duplicates(dataset_of(windows)).groups)
    assert len(set(groups)) == 20
    assert all(len(set(groups[recording == one])) == 1 for one in range(20))


def test_many_windows_are_searched_in_parts_that_share_rows(dataset_of, monkeypatch):
    """The search holds no more than a part, and a recording that lies across two parts is still one group."""
    monkeypatch.setattr("ringlight.data.window_duplicates.PART", 40)
    monkeypatch.setattr("ringlight.data.window_duplicates.SHARED", 12)
    windows, recording = overlapping(20)
    windows[3] = windows[96]
    sizes = []
    found = window_duplicates(dataset_of(windows), progress=lambda done, total: sizes.append((done, total)))
    groups = np.array(found.groups)
    assert [len(set(groups[recording == one])) for one in range(1, 20)] == [1] * 19
    assert groups[3] == groups[96]  # identical ones are found wherever they stand
    assert sizes[-1] == (100, 100)
    assert len(sizes) > 2
    assert found.notes[0].startswith("searched among 40 neighbouring windows at a time")


def test_long_windows_are_thinned(dataset_of, monkeypatch):
    monkeypatch.setattr("ringlight.data.window_duplicates.VALUES", 100 * 3 * 70)
    windows, recording = overlapping(20, length=256, hop=128)
    found = window_duplicates(dataset_of(windows))
    assert "compared at 4 samples averaged into one" in found.notes
    groups = np.array(found.groups)
    assert np.mean([len(set(groups[recording == one])) == 1 for one in range(20)]) > 0.9


def test_very_short_windows_are_linked_only_when_identical(dataset_of):
    windows = np.random.default_rng(0).normal(size=(6, 4, 3)).astype(np.float32)
    windows[5] = windows[0]
    found = window_duplicates(dataset_of(windows))
    assert found.linked == 2
    assert found.notes == ("windows of 4 samples are too short to compare: only identical ones are linked",)


def test_sheets_show_windows(windows, dataset_of, tmp_path):
    from PIL import Image

    dataset = dataset_of(windows)
    spec = WindowSpec.fit(dataset, normalize="channel")
    with Image.open(window_sheet(dataset, spec, None, tmp_path / "a.png", num_samples=2)) as sheet:
        assert sheet.height > 2 * 3 * 26
        assert len(sheet.convert("RGB").getcolors(100_000)) > 3
    overlaps, _ = overlapping(6)
    some = dataset_of(overlaps)
    with Image.open(window_pairs_sheet(some, window_duplicates(some), tmp_path / "b.png", num_pairs=3)) as sheet:
        assert sheet.height > 3 * 3 * 26
    with Image.open(window_pairs_sheet(dataset, window_duplicates(dataset), tmp_path / "c.png")) as sheet:
        assert sheet.height < 100
    with pytest.raises(DataError, match=r"preview\.num_samples: expected 1 or more, got 0"):
        window_sheet(dataset, spec, None, tmp_path / "a.png", num_samples=0)


@pytest.mark.data
def test_the_still_sensor_of_the_hydraulic_rig_is_one_line(real_data, tmp_path):
    dataset = WindowsSource(real_data.file("hydraulic-1hz.npz"), cache=tmp_path).load()
    lines = told(dataset)
    assert [line for line in lines if "stand still" in line] == [
        "note: hydraulic-1hz: expected channels that move in every window, got some that stand still: "
        "`PS4` in 1238 of 2205; look whether it is the process or the sensor"
    ]
    assert len(lines) == 2  # and the offsets drift, as the states of the cooler follow each other


@pytest.mark.data
@pytest.mark.parametrize("name", ["har9", "gpla12"])
def test_sound_data_has_no_findings(real_data, tmp_path, name):
    assert told(WindowsSource(real_data.file(f"{name}.npz"), cache=tmp_path).load()) == []
