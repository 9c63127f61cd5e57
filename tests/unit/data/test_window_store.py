"""Windows on disk: written block by block, whole or not at all, read back as they were."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ringlight.data.window_cache import prepared
from ringlight.data.window_store import WindowReader, read_facts, write_store
from ringlight.errors import DataError
from ringlight.types import Dataset, Record, Signals

CHANNELS = ("a", "b", "c")
SCALE = (1.0, 0.5, 2.0)


def steps(count: int = 30, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-30_000, 30_000, (count, 16, 3)).astype(np.int16)


def dataset_of(*places: tuple[Path, int]) -> Dataset:
    records = [
        Record(id=str(n), uri=f"{folder / 'X.npy'}#{row}", labels=(0,)) for n, (folder, row) in enumerate(places)
    ]
    return Dataset.from_records(records, ["x"], "multiclass", signals=Signals(channels=CHANNELS, length=16))


def test_whole_numbers_stay_so_until_they_are_read(tmp_path):
    windows = steps()
    assert write_store(tmp_path / "s", [windows[:7], windows[7:]], channels=CHANNELS, length=16, scale=SCALE) == 30
    assert np.load(tmp_path / "s" / "X.npy").dtype == np.int16
    np.testing.assert_array_equal(np.load(tmp_path / "s" / "X.npy"), windows)
    reader = WindowReader.of(dataset_of(*((tmp_path / "s", row) for row in range(30))))
    np.testing.assert_array_equal(reader.read([5, 2]), windows[[5, 2]] * np.array(SCALE, np.float32))
    np.testing.assert_array_equal(reader.raw([5, 2]), windows[[5, 2]])
    assert reader.raw([5]).dtype == np.int16


def test_records_of_several_stores_are_read_in_their_order(tmp_path):
    one, two = steps(4), np.random.default_rng(1).normal(size=(4, 16, 3)).astype(np.float32)
    write_store(tmp_path / "one", [one], channels=CHANNELS, length=16, scale=SCALE)
    write_store(tmp_path / "two#2", [two], channels=CHANNELS, length=16)
    dataset = dataset_of((tmp_path / "two#2", 3), (tmp_path / "one", 1), (tmp_path / "two#2", 0))
    found = pickle.loads(pickle.dumps(WindowReader.of(dataset))).read([0, 1, 2])
    np.testing.assert_array_equal(found[0], two[3])
    np.testing.assert_array_equal(found[1], one[1] * np.array(SCALE, np.float32))
    np.testing.assert_array_equal(found[2], two[0])
    with pytest.raises(DataError, match="expected values of one type, got float32 and int16"):
        WindowReader.of(dataset).raw([0, 1])


def test_digests_tell_values_and_scales_apart(tmp_path):
    windows = steps(3)
    windows[2] = windows[0]
    write_store(tmp_path / "one", [windows], channels=CHANNELS, length=16, scale=SCALE)
    write_store(tmp_path / "two", [windows], channels=CHANNELS, length=16, scale=(1, 1, 1))
    digests = WindowReader.of(dataset_of(*((tmp_path / "one", row) for row in range(3)))).digests([0, 1, 2])
    assert digests[0] == digests[2] != digests[1]
    assert WindowReader.of(dataset_of((tmp_path / "two", 0))).digests([0]) != digests[:1]


def test_nothing_is_left_of_a_store_that_could_not_be_finished(tmp_path):
    def blocks():
        yield steps(4)
        raise DataError("samples", got="none", where="x", fix="y")

    with pytest.raises(DataError):
        write_store(tmp_path / "s", blocks(), channels=CHANNELS, length=16)
    assert list(tmp_path.iterdir()) == []


def test_a_block_of_another_shape_and_no_block_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"expected windows of shape \(16, 2\), got shape \(16, 3\)"):
        write_store(tmp_path / "s", [steps(1)], channels=("a", "b"), length=16)
    with pytest.raises(DataError, match="expected at least one window, got none"):
        write_store(tmp_path / "s", [], channels=CHANNELS, length=16)


def test_a_store_that_was_cut_off_is_noticed(tmp_path):
    write_store(tmp_path / "s", [steps()], channels=CHANNELS, length=16)
    with (tmp_path / "s" / "X.npy").open("r+b") as stream:
        stream.truncate(500)
    with pytest.raises(DataError, match=r"X\.npy is cut off; delete the folder"):
        read_facts(tmp_path / "s")


def test_records_that_name_no_window_are_refused():
    dataset = Dataset.from_records([Record(id="a", uri="/x/a.png", labels=(0,))], ["x"], "multiclass")
    with pytest.raises(DataError, match="record `a`: expected the place of a window"):
        WindowReader.of(dataset)


def test_a_store_is_made_once_and_made_again_when_damaged(tmp_path):
    made = []

    def make(folder: Path) -> None:
        made.append(folder)
        write_store(folder, [steps()], channels=CHANNELS, length=16)

    for _ in range(2):
        folder, facts = prepared(tmp_path, {"sha256": "1"}, make)
    assert (len(made), facts.num_windows) == (1, 30)
    (folder / "store.json").write_text("{}")
    assert prepared(tmp_path, {"sha256": "1"}, make)[1].num_windows == 30
    assert prepared(tmp_path, {"sha256": "2"}, make)[0] != folder
    assert len(made) == 3


def test_of_two_processes_one_converts_and_the_other_waits(tmp_path):
    """Both once wrote the same folder."""
    np.savez(tmp_path / "rig.npz", X=np.zeros((2000, 64, 4), np.float32), y=np.arange(2000) % 2)
    code = (
        "import sys; from ringlight.data.windows import WindowsSource; "
        "from pathlib import Path; print(WindowsSource(sys.argv[1], cache=Path(sys.argv[2])).load()[0].uri)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "rig.npz"), str(tmp_path / "cache")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=120)[0] for process in running]
    assert told[0] == told[1]
    assert [process.returncode for process in running] == [0, 0]
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [Path(told[0]).parent.name, "windows.lock"]


PEAK = """
import sys, tracemalloc
from pathlib import Path
import numpy as np
from ringlight.data.window_spec import WindowSpec
from ringlight.data.window_checks import inspect_windows
from ringlight.data import window_arrays, window_store, window_survey
from ringlight.data.windows import WindowsSource
window_store.BLOCK_VALUES = window_arrays.BLOCK_VALUES = window_survey.BLOCK_VALUES = 100_000
tracemalloc.start()
data = WindowsSource(Path(sys.argv[1]), cache=Path(sys.argv[2])).load()
WindowSpec.fit(data, normalize="channel")
inspect_windows(data)
print(len(data), tracemalloc.get_traced_memory()[1])
"""


def peak(folder: Path, count: int) -> int:
    """Bytes that converting, fitting and checking `count` windows take at most, in a process of its own."""
    # Half of it zeros, so that the file packs well: it is what a reader unpacks that must stay small.
    windows = np.zeros((count, 256, 4), np.float32)
    windows[:, ::2] = np.random.default_rng(0).normal(size=(count, 128, 4))
    np.savez_compressed(folder / f"{count}.npz", X=windows, y=np.arange(count) % 2)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(folder / f"{count}.npz"), str(folder / "cache")],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    rows, found = map(int, done.stdout.split())
    assert rows == count
    return found


@pytest.mark.slow
def test_memory_stays_flat_as_the_windows_grow(tmp_path):
    """Ten times the windows (4 MB, 41 MB unpacked) in about the same memory: a file is never loaded whole."""
    small, large = peak(tmp_path, 1000), peak(tmp_path, 10_000)
    assert large < 10_000 * 256 * 4 * 4
    assert large < 1.3 * small  # ids, labels and digests do grow, by some hundred bytes a window
