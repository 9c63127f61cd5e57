"""The source of windows: what an `.npz` file may hold, and what is refused."""

from __future__ import annotations

import runpy
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ringlight.data.window_store import WindowReader
from ringlight.data.windows import WindowsSource
from ringlight.errors import ConfigError, DataError
from ringlight.types import Dataset

FAKE = runpy.run_path(str(Path(__file__).parents[2] / "data" / "windows" / "make.py"))
make_npz = FAKE["make_npz"]


@pytest.fixture
def load(tmp_path: Path):
    """Write an npz file with these arrays and load it with these settings."""

    def loaded(arrays: dict | None = None, **settings) -> Dataset:
        path = make_npz(tmp_path / "rig.npz", **(arrays or {}))
        return WindowsSource(path, cache=tmp_path / "cache", **settings).load()

    return loaded


def values(dataset: Dataset) -> np.ndarray:
    return WindowReader.of(dataset).read(range(len(dataset)))


def test_everything_has_its_usual_name(load):
    dataset = load()
    assert dataset.signals.channels == ("pressure", "flow")
    assert (dataset.signals.length, dataset.signals.sampling_rate) == (8, 10.0)
    assert (dataset.task, dataset.classes) == ("multiclass", ("tight", "leak"))
    assert dataset.groups[:5] == ["7", "7", "7", "7", "8"]
    assert dataset.ids[:2] == ["00", "01"]
    np.testing.assert_array_equal(dataset.targets(), np.arange(12) % 2)
    np.testing.assert_array_equal(values(dataset), np.random.default_rng(0).normal(size=(12, 8, 2)).astype(np.float32))


def test_the_usual_group_is_the_coarsest(load):
    dataset = load({"group": None, "recording": np.arange(12), "subject": np.repeat([1, 2], 6)})
    assert dataset.groups[5:7] == ["1", "2"]
    assert "groups: subject" in dataset.notes


def test_int16_is_kept_with_its_scale(load):
    steps = np.random.default_rng(1).integers(-99, 99, (12, 8, 2)).astype(">i2")
    dataset = load({"X": steps, "scale": np.array([0.5, 2.0])})
    assert WindowReader.of(dataset).raw([0]).dtype == np.int16
    np.testing.assert_array_equal(values(dataset), steps * np.array([0.5, 2.0]))


@pytest.mark.parametrize("kind", ["u1", "u2", "i4", "i8", "f2", "f8", "?"])
def test_other_numbers_are_taken(load, kind):
    raw = np.random.default_rng(1).integers(0, 2, (12, 8, 2)).astype(kind)
    np.testing.assert_array_equal(
        values(load({"X": raw, "scale": np.float64(3)})), raw * (1 if kind[0] == "f" else 3.0)
    )


def test_an_array_in_fortran_order_is_read_block_by_block(load, monkeypatch):
    """The second set of GPLA-12 is stored so: its first axis is scattered over the whole file."""
    monkeypatch.setattr("ringlight.data.window_arrays.BLOCK_VALUES", 50)
    raw = np.random.default_rng(1).normal(size=(12, 8, 2)).astype(np.float32)
    np.testing.assert_array_equal(values(load({"X": np.asfortranarray(raw)})), raw)


def test_a_second_set_brings_its_own_labels(load):
    second = {"X_v2": np.ones((5, 4, 1), np.float32), "y_v2": np.array([1, 0, 1, 0, 1])}
    dataset = load({**second, "channels": None}, x_key="X_v2")
    assert (len(dataset), dataset.signals.length, dataset.classes) == (5, 4, ("tight", "leak"))
    assert dataset.targets().tolist() == [1, 0, 1, 0, 1]
    assert dataset.groups is None


def test_a_column_is_taken_by_number_and_by_name(load):
    table = {
        "profile": np.stack([np.arange(12) // 4, np.arange(12) // 6], axis=1),
        "profile_names": np.array(["a", "b"]),
    }
    assert load(table, group_key="profile.0").groups == [str(n // 4) for n in range(12)]
    assert load(table, group_key="profile.b").groups == [str(n // 6) for n in range(12)]
    assert load(table, label_key="profile.a").classes == ("0", "1", "2")
    with pytest.raises(DataError, match=r"rig\.npz: `profile` \(data\.group_key\): expected a column of it, got `c`"):
        load(table, group_key="profile.c")
    with pytest.raises(DataError, match=r"expected one value a window, got shape \(12, 2\); choose a column"):
        load(table, group_key="profile")


@pytest.mark.parametrize(
    ("labels", "settings", "classes", "first"),
    [
        (np.array(["b", "a"] * 6), {}, ("a", "b"), 1),
        (np.array([b"b", b"a"] * 6), {}, ("a", "b"), 1),
        (np.array(["b", "a"] * 6), {"class_names": ["b", "a"]}, ("b", "a"), 0),
        (np.array([3.0, 5.0] * 6), {}, ("3", "5"), 0),
        (np.array([True, False] * 6), {}, ("0", "1"), 1),
        (np.array([[5], [3]] * 6), {}, ("3", "5"), 1),
    ],
)
def test_labels_may_be_names_or_numbers(load, labels, settings, classes, first):
    dataset = load({"y": labels, "class_names": None}, **settings)
    assert (dataset.classes, dataset.task, dataset.targets()[0]) == (classes, "multiclass", first)


def test_a_binary_matrix_is_multilabel_unless_every_row_has_one(load):
    several = np.array([[1, 1], [0, 0], [0, 1]] * 4)
    assert load({"y": several}).task == "multilabel"
    assert load({"y": several}).label_matrix().tolist() == several.tolist()
    assert load({"y": np.eye(2)[np.arange(12) % 2]}).task == "multiclass"
    with pytest.raises(DataError, match=r"`y`: window 0: expected exactly one label a window .*, got 2; use"):
        load({"y": several}, task="multiclass")


def test_windows_without_labels_are_taken(load):
    dataset = load({"y": None})
    assert (dataset.classes, dataset.task, len(dataset)) == ((), "multilabel", 12)
    assert any(note.startswith("no labels") for note in dataset.notes)


def test_parts_may_be_flags_or_text(load):
    flags = load({"is_official_test_subject": np.arange(12) > 8})
    assert flags.table.column("split").to_pylist() == ["train"] * 9 + ["test"] * 3
    text = load({"part": np.array(["train", "valid", "TEST"] * 4)}, split_key="part")
    assert text.table.column("split").to_pylist()[:3] == ["train", "val", "test"]
    with pytest.raises(DataError, match=r"expected train, val or test .* got `dev` \(window 1\)"):
        load({"part": np.array(["train", "dev"] * 6)}, split_key="part")


def test_times_may_be_dates(load):
    dataset = load({"when": np.datetime64("1970-01-01T00:01") + np.arange(12).astype("m8[s]")}, time_key="when")
    assert dataset.table.column("time").to_pylist()[:2] == [60.0, 61.0]


def test_lengths_are_changed_only_when_asked_how(load):
    with pytest.raises(
        DataError, match=r"expected windows of 6 samples \(data\.window_length\), got 8 samples; set data\.fit"
    ):
        load(window_length=6)
    cropped, padded = load(window_length=6, fit_length="crop"), load(window_length=10, fit_length="pad")
    np.testing.assert_array_equal(values(cropped), values(load())[:, :6])
    np.testing.assert_array_equal(values(padded)[:, 8:], np.repeat(values(load())[:, 7:], 2, axis=1))
    with pytest.raises(DataError, match=r"set data\.fit_length=pad"):
        load(window_length=10, fit_length="crop")


def test_it_is_converted_once(load, tmp_path):
    first = load()
    before = [path.stat().st_mtime_ns for path in sorted((tmp_path / "cache").rglob("X.npy"))]
    assert load().uris == first.uris
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "cache").rglob("X.npy"))] == before
    assert load({"X": np.zeros((12, 8, 2))}).uris != first.uris


@pytest.mark.parametrize(
    ("arrays", "settings", "message"),
    [
        (
            {"X": np.zeros((12, 8))},
            {},
            r"`X`: expected windows of shape \(N, T, C\), got shape \(12, 8\); windows of a single",
        ),
        ({"X": np.zeros((0, 8, 2))}, {}, r"got shape \(0, 8, 2\)"),
        ({"X": np.full((12, 8, 2), "a")}, {}, "`X`: expected numbers, got type <U1"),
        ({"y": np.zeros(11)}, {}, r"`y`: expected 12 values, one for each window of `X`, got 11; set data\.label_key"),
        ({"y": np.arange(12) / 5}, {}, r"`y`: window 1: expected whole numbers as labels, got 0\.2"),
        ({"y": np.full(12, np.nan)}, {}, "expected whole numbers as labels, got nan"),
        ({"y": np.arange(12)}, {}, "`y`: window 2: expected labels from 0 to 1, places in the 2 class names, got 2"),
        (
            {"y": np.array(["tigt", "leak"] * 6)},
            {},
            "window 0: expected a known class, got `tigt`; did you mean `tight`",
        ),
        ({"channels": np.array(["a"])}, {}, r"`channels`: expected 2 names, one a channel, got 1"),
        ({}, {"channels": ["a"] * 8}, r"data\.channels: .*time comes before channels"),
        ({"channels": np.array(["a", "a"])}, {}, "expected every channel once, got `a` twice"),
        (
            {"channels": np.array(["", "a"])},
            {},
            "`channels`: expected a name for every channel, got an empty one; name",
        ),
        ({"class_names": np.array(["a", "a"])}, {}, "`y`: expected class names, each once, got `a` twice; rename one"),
        ({}, {"x_key": "Xs"}, r"expected the array `Xs` \(data\.x_key\), got arrays X, y,.*did you mean `X`"),
        ({}, {"label_key": "ys"}, r"expected the array `ys` \(data\.label_key\)"),
        ({}, {"group_key": "grup"}, r"expected the array `grup` \(data\.group_key\).*did you mean `group`"),
        ({"X": np.zeros((12, 8, 2), int), "scale": np.zeros(2)}, {}, "`scale`: expected 1 or 2 finite factors"),
        ({"fs_hz": np.zeros(1)}, {}, r"`fs_hz`: expected a number above 0, got \[0\.0\]"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(load, arrays, settings, message):
    with pytest.raises(DataError, match=message) as caught:
        load(arrays, **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["group", "subject"])
def test_groups_of_another_length_are_refused(load, name):
    """`group` with a value too few was left aside without a word, and windows of one recording came on both sides."""
    arrays = {"group": None, name: np.repeat([7, 8, 9], 4)[:-1]}
    with pytest.raises(DataError, match=f"`{name}`: expected 12 values, one for each window of `X`, got 11; set data"):
        load(arrays)
    assert load({"group": None, name: np.str_("machine 4")}).groups is None  # said of the file, not of a window


def test_a_number_beyond_single_precision_is_told_by_the_check_alone(load):
    """numpy's own "overflow encountered in cast" came before the message."""
    windows = np.zeros((12, 8, 2))
    windows[3, 0, 1] = 1e300
    dataset = load({"X": windows})  # a warning is an error here
    assert np.isinf(values(dataset)[3, 0, 1])


def test_a_pickle_is_never_opened(load):
    """An object array is a pickle, which may run code when it is read."""

    class Trap:
        def __reduce__(self):
            return (exec, ("raise SystemExit('it ran')",))

    trap = np.empty(12, object)
    trap[:] = [Trap() for _ in range(12)]
    for key in ("X", "y"):
        with pytest.raises(
            DataError, match=f"`{key}`: expected numbers or text, got Python objects, which are stored as"
        ):
            load({key: trap})


@pytest.mark.parametrize("damage", ["cut", "other bytes", "no zip"])
def test_a_damaged_file_is_refused(tmp_path, damage):
    path = make_npz(tmp_path / "rig.npz")
    content = path.read_bytes()
    if damage == "other bytes":
        with zipfile.ZipFile(path) as archive:
            start = archive.getinfo("X.npy").header_offset
        content = (
            content[: start + 400]
            + bytes(byte ^ 255 for byte in content[start + 400 : start + 440])
            + content[start + 440 :]
        )
    else:
        content = content[: len(content) // 2] if damage == "cut" else b"no"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"rig\.npz.*expected an \.npz file that is whole, got"):
        WindowsSource(path, cache=tmp_path / "cache").load()
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_what_is_not_there_and_what_is_no_windows_is_told(tmp_path):
    with pytest.raises(DataError, match=r"expected an \.npz file, got nothing there; set data\.root"):
        WindowsSource(tmp_path / "x.npz", cache=tmp_path).load()
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(DataError, match=r"expected an \.npz file or a folder of recordings, got a file `\.csv`"):
        WindowsSource(tmp_path / "a.csv", cache=tmp_path).load()


def test_settings_of_the_other_kind_are_refused(load, tmp_path):
    with pytest.raises(
        ConfigError, match=r"data\.hop: expected data\.hop with a folder of recordings only, got an \.npz file"
    ):
        load(hop=3)
    FAKE["make"](tmp_path / "rec")
    with pytest.raises(ConfigError, match=r"data\.x_key: expected data\.x_key with an \.npz file only, got a folder"):
        WindowsSource(tmp_path / "rec", cache=tmp_path, x_key="X").load()
    with pytest.raises(ConfigError, match=r"data\.hop: expected a number above 0, got 0"):
        WindowsSource(tmp_path / "rec", hop=0)


@pytest.mark.data
def test_the_real_files_need_no_settings(real_data, tmp_path):
    har = WindowsSource(real_data.file("har9.npz"), cache=tmp_path).load()
    assert (len(har), har.signals.length, len(har.signals.channels), har.signals.sampling_rate) == (
        10_411,
        128,
        9,
        50.0,
    )
    assert har.table.column("split").to_pylist().count("test") == 2996
    assert len(set(har.groups)) == 30
    pump = WindowsSource(real_data.file("hydraulic-1hz.npz"), cache=tmp_path).load()
    assert list(pump.class_counts().values()) == [1221, 492, 492]
    assert len(set(pump.groups)) == 194
    pipe = WindowsSource(real_data.file("gpla12.npz"), cache=tmp_path, x_key="X_v2").load()
    with np.load(real_data.file("gpla12.npz")) as arrays:
        np.testing.assert_array_equal(values(pipe), arrays["X_v2"])
