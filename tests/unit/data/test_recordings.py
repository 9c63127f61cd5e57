"""Recordings cut into windows: where each begins, what it is called, and what is refused."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ringlight.data.recording_cuts import cut
from ringlight.data.recordings import open_recording
from ringlight.data.window_store import WindowReader
from ringlight.data.windows import WindowsSource
from ringlight.errors import ConfigError, DataError, Problems

FAKE = runpy.run_path(str(Path(__file__).parents[2] / "data" / "windows" / "make.py"))
SAMPLES = "file,start_sample,end_sample,label"
signal, write_csv, write_wav = FAKE["signal"], FAKE["write_csv"], FAKE["write_wav"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    FAKE["make"](tmp_path / "rec")
    return tmp_path / "rec"


def load(folder: Path, **settings):
    return WindowsSource(folder, cache=folder.parent / "cache", **settings).load()


def values(dataset) -> np.ndarray:
    return WindowReader.of(dataset).read(range(len(dataset)))


def naive(samples: np.ndarray, length: int, hop: int, *, pad: bool) -> list[np.ndarray]:
    """The windows of a recording that is held whole."""
    found, covered, start = [], 0, 0
    while start + length <= len(samples):
        found.append(samples[start : start + length])
        covered, start = start + length, start + hop
    if pad and len(samples) > max(covered, start):
        rest = samples[start:]
        found.append(np.concatenate([rest, np.repeat(rest[-1:], length - len(rest), axis=0)]))
    return found


@pytest.mark.parametrize("samples", [10, 17, 40])
@pytest.mark.parametrize(("length", "hop"), [(10, 10), (10, 3), (10, 14), (7, 7), (1, 1)])
@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize("block", [1, 4, 100])
def test_windows_are_those_of_a_naive_loop(tmp_path, monkeypatch, samples, length, hop, fit, block):
    """Whatever the blocks a file is read in, and where a hop leaves gaps."""
    monkeypatch.setattr("ringlight.data.recordings.ROWS", block)
    raw = np.arange(2 * samples, dtype=np.int16).reshape(-1, 2)
    write_wav(tmp_path / "a.wav", raw)
    found = list(cut(open_recording(tmp_path / "a.wav"), length=length, hop=hop, fit_length=fit))
    expected = naive(raw, length, hop, pad=fit == "pad")
    assert len(found) == len(expected)
    for window, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(window.values, other)
        assert window.values[0, 0] == 2 * window.start


def test_windows_of_one_recording_share_its_group_and_its_folder_is_the_class(folder):
    dataset = load(folder, window_length=32, hop=16)
    assert dataset.classes == ("leak", "tight")
    assert dataset.signals.channels == ("pressure", "flow")
    assert dataset.ids[:5] == [f"leak/leak_0.csv@{16 * place}" for place in range(5)]
    assert set(dataset.groups) == {
        f"{name}.csv" for name in ("leak/leak_0", "leak/leak_1", "tight/tight_2", "tight/tight_3")
    }
    assert dataset[1].time == pytest.approx(1.6)
    np.testing.assert_allclose(values(dataset)[1], signal(0)[16:48], atol=1e-5)


def test_without_a_length_every_recording_is_a_window(folder):
    dataset = load(folder)
    assert (len(dataset), dataset.signals.length, dataset.groups) == (4, 100, None)
    write_csv(folder / "tight" / "short.csv", signal(9, 60))
    with pytest.raises(
        DataError, match=r"data\.fit_length: expected recordings of one length.*got 60 samples \(`tight/short"
    ):
        load(folder)
    assert load(folder, fit_length="crop").signals.length == 60
    padded = load(folder, fit_length="pad")
    np.testing.assert_array_equal(values(padded)[2, 60:], np.repeat(values(padded)[2, 59:60], 40, axis=0))


def test_a_recording_shorter_than_a_window_is_refused_unless_asked_how(folder):
    write_csv(folder / "tight" / "short.csv", signal(9, 20))
    with pytest.raises(
        DataError, match=r"short\.csv: expected 32 samples or more \(data\.window_length\), got 20; set data\.fit"
    ):
        load(folder, window_length=32)
    assert len(load(folder, window_length=32, fit_length="crop")) == 12
    assert len(load(folder, window_length=32, fit_length="pad")) == 17


def test_labels_and_groups_may_stand_in_the_name(folder):
    flat = folder.parent / "flat"
    for number, name in enumerate(("s1_leak_a", "s1_tight_a", "s2_leak_b")):
        write_csv(flat / f"{name}.csv", signal(number))
    dataset = load(flat, window_length=50, label_regex=r"_(\w+)_", group_regex=r"^(s\d)")
    assert (dataset.classes, sorted(set(dataset.groups))) == (("leak", "tight"), ["s1", "s2"])
    with pytest.raises(
        DataError, match=r"expected a class for every recording: its folder, got recordings without one: 3"
    ):
        load(flat)
    with pytest.raises(DataError, match=r"expected names that `x(.)` matches".replace("(.)", r"\(\.\)")):
        load(flat, label_regex="x(.)")
    with pytest.raises(DataError, match="correct the pattern: a recording without its group can leak"):
        load(flat, window_length=50, label_regex=r"_(\w+)_", group_regex="^(s1)", class_names=["leak", "tight"])


def test_intervals_label_the_windows_that_lie_in_them(folder):
    rows = ["file,start,end,label", "leak/leak_0.csv,0,5,quiet", "leak/leak_0.csv,5,10,loud"]
    (folder / "intervals.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(DataError, match=r"intervals\.csv: expected the sampling rate.*set data\.sampling_rate=HERTZ"):
        load(folder, window_length=20)
    dataset = load(folder, window_length=20, sampling_rate=10.0)
    assert dataset.ids == [f"leak/leak_0.csv@{start}" for start in (0, 20, 60, 80)]
    assert [dataset.classes[label] for label in dataset.targets()] == ["quiet", "quiet", "loud", "loud"]
    assert any(note.startswith("left out windows that lie in no interval, or in two: 16") for note in dataset.notes)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["file,start_sample,label", "a,0,x"], r"expected the column `end_sample` \(data\.intervals\)"),
        ([SAMPLES, "leak/leak_0.csv,9,9,x"], "row 2: expected file, start_sample below end_sample"),
        ([SAMPLES, "leak/leak_0.csv,a,9,x"], "got leak/leak_0.csv, a, 9, x; correct the row"),
        ([SAMPLES, "leak/leak_9.csv,0,9,x"], "expected a recording, got `leak/leak_9.csv`; did"),
        (
            [SAMPLES, "leak/leak_0.csv,0,9,x", "leak/leak_0.csv,8,12,y"],
            "expected intervals that do not overlap, got `x` until 9 and `y` from 8",
        ),
    ],
)  # fmt: skip
def test_a_table_of_intervals_that_cannot_be_used_is_refused(folder, rows, message):
    (folder / "intervals.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(DataError, match=message):
        load(folder, window_length=20)


def test_channels_can_be_chosen_and_must_be_everywhere(folder):
    dataset = load(folder, window_length=50, channels=["flow"])
    np.testing.assert_allclose(values(dataset)[0], signal(0)[:50, 1:], atol=1e-5)
    with pytest.raises(Problems, match=r"expected channels that are there.*got `flwo`; did you mean `flow`"):
        load(folder, window_length=50, channels=["flwo"])
    (folder / "leak" / "odd.csv").write_text("time,pressure\n0,1\n1,2\n")
    with pytest.raises(
        DataError, match=r"leak/odd\.csv: expected the channels of `leak/leak_0\.csv`: pressure, flow, got pressure"
    ):
        load(folder, window_length=2)


def test_sound_stays_int16_at_full_scale(tmp_path):
    raw = np.random.default_rng(0).integers(-9999, 9999, (100, 1)).astype(np.int16)
    write_wav(tmp_path / "rec" / "a" / "1.wav", raw, rate=16_000)
    dataset = load(tmp_path / "rec", window_length=50)
    assert (dataset.signals.channels, dataset.signals.sampling_rate) == (("sound",), 16_000.0)
    assert WindowReader.of(dataset).raw([0]).dtype == np.int16
    np.testing.assert_allclose(values(dataset).reshape(-1, 1), raw / 32768)


@pytest.mark.parametrize("kind", ["u1", "i4", "f4"])
def test_other_sound_becomes_a_share_of_full_scale(tmp_path, kind):
    share = np.random.default_rng(0).uniform(-0.9, 0.9, (64, 2))
    raw = {"u1": share * 128 + 128, "i4": share * 2.0**31, "f4": share}[kind].astype(kind)
    write_wav(tmp_path / "rec" / "a" / "1.wav", raw)
    write_wav(tmp_path / "rec" / "b" / "2.wav", (share * 32768).astype(np.int16))
    dataset = load(tmp_path / "rec", window_length=64)
    np.testing.assert_allclose(values(dataset), [share, share], atol=0.01)


def test_sound_of_two_rates_is_refused(tmp_path):
    for rate in (8000, 16_000):
        write_wav(tmp_path / "rec" / "a" / f"{rate}.wav", np.zeros((64, 1), np.int16), rate=rate)
    with pytest.raises(
        DataError, match=r"a/8000\.wav: expected a sampling rate of 16000 Hz, as `a/16000\.wav`, got 8000 Hz"
    ):
        load(tmp_path / "rec", window_length=64)


def test_parquet_is_read_as_csv_is(tmp_path):
    samples = signal(0, 40)
    (tmp_path / "rec" / "a").mkdir(parents=True)
    table = pa.table({"Time": np.arange(40) / 10, "pressure": samples[:, 0], "flow": samples[:, 1].astype(np.float32)})
    pq.write_table(table, tmp_path / "rec" / "a" / "1.parquet")
    dataset = load(tmp_path / "rec", window_length=20)
    np.testing.assert_allclose(values(dataset).reshape(-1, 2), samples, rtol=1e-5)
    pq.write_table(pa.table({"pressure": ["a"] * 40}), tmp_path / "rec" / "a" / "1.parquet")
    with pytest.raises(DataError, match="column `pressure`: expected numbers, got type string"):
        load(tmp_path / "rec", window_length=20)


@pytest.mark.parametrize(
    ("text", "channels"),
    [
        ("p;q\n1,5;2\n2,5;3\n", ("p", "q")),
        ("1.5\t2\n2.5\t3\n", ("channel_1", "channel_2")),
        ("\ufeffp,q\r\n1.5,2\r\n2.5,3\r\n", ("p", "q")),
    ],
)
def test_csv_comes_in_several_dialects(tmp_path, text, channels):
    (tmp_path / "rec" / "a").mkdir(parents=True)
    (tmp_path / "rec" / "a" / "1.csv").write_text(text, encoding="utf-8", newline="")
    dataset = load(tmp_path / "rec")
    assert dataset.signals.channels == channels
    assert values(dataset).tolist() == [[[1.5, 2], [2.5, 3]]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p,q\n1,2\n3,x\n", r"1\.csv: expected rows of numbers, got .*'x'"),
        ("p,q\n1,2\n3\n", r"1\.csv: expected rows of numbers"),
        ("", r"1\.csv: expected samples, got an empty file"),
        ("p,p\n1,2\n", "expected columns, each channel once, got a name twice"),
        ("p,q\n", r"1\.csv: expected samples, got none|expected"),
    ],
)
def test_a_recording_that_cannot_be_read_is_refused(tmp_path, text, message):
    (tmp_path / "rec" / "a").mkdir(parents=True)
    (tmp_path / "rec" / "a" / "1.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        load(tmp_path / "rec")


def test_what_is_no_sound_and_an_unknown_time_column_are_told(tmp_path, folder):
    (tmp_path / "x" / "a").mkdir(parents=True)
    (tmp_path / "x" / "a" / "1.wav").write_bytes(b"no sound at all")
    with pytest.raises(DataError, match=r"1\.wav: expected a WAV file, got"):
        load(tmp_path / "x")
    with pytest.raises(Problems, match=r"expected the column `tme` \(data\.time_column\).*did you mean `time`"):
        load(folder, time_column="tme")


def test_a_pattern_without_a_group_is_refused(folder):
    with pytest.raises(ConfigError, match=r"data\.label_regex"):
        WindowsSource(folder, label_regex="abc")


def test_another_column_of_time_is_not_answered_from_the_cache(tmp_path):
    """With the channels named, a second `data.time_column` found the windows of the first, and their times."""
    rows = [f"{place},{place},{100 + place}" for place in range(8)]
    for name in ("leak", "tight"):
        path = tmp_path / "rec" / name / "0.csv"
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(["flow,early,late", *rows]) + "\n", encoding="utf-8")
    times = [
        WindowsSource(tmp_path / "rec", cache=tmp_path / "c", channels=["flow"], window_length=4, time_column=column)
        .load()
        .table.column("time")
        .to_pylist()
        for column in ("early", "late")
    ]
    assert times == [[0.0, 4.0, 0.0, 4.0], [100.0, 104.0, 100.0, 104.0]]
