"""Images decoded once: what comes back, when a cache is used again or built again, and what happens without one."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ringlight.data import cache_build, cache_file
from ringlight.data.cache import PixelCache, open_cache
from ringlight.data.content import hash_contents
from ringlight.data.preprocess import InputSpec, fit_size, read_image
from ringlight.errors import DataError, Problems
from ringlight.training.records import check_dataset
from ringlight.types import Dataset, Record

SPEC = InputSpec(3, (10, 14))
MakeImage = Callable[..., Path]


@pytest.fixture
def dataset(tmp_path: Path, make_image: MakeImage) -> Dataset:
    """Nine images of three sizes; the last is a copy of the first."""
    records = []
    for index in range(8):
        path = make_image(tmp_path / "images" / f"{index}.png", size=(12 + index % 3, 16), seed=index)
        records.append(Record(id=f"part {index}", uri=str(path), labels=(index % 2,)))
    shutil.copy(tmp_path / "images" / "0.png", tmp_path / "images" / "8.png")
    records.append(Record(id="part 8", uri=str(tmp_path / "images" / "8.png"), labels=(0,)))
    return hash_contents(Dataset.from_records(records, ["a", "b"], "multiclass"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "workspace" / "cache"


def opened(dataset: Dataset, folder: Path, spec: InputSpec = SPEC, **options: Any) -> PixelCache:
    cache = open_cache(dataset, spec, folder, **{"budget_gib": 1, **options})
    assert cache is not None
    return cache


def decoded(dataset: Dataset, row: int, spec: InputSpec = SPEC) -> Any:
    return fit_size(read_image(str(dataset[row].uri), in_chans=spec.in_chans), spec)


def no_decoding(*_arguments: object, **_more: object) -> None:
    raise AssertionError("an image was decoded")


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        InputSpec(1, (10, 14)),
        InputSpec(3, (20, 20), "letterbox", mean=(0.2, 0.4, 0.6)),
        InputSpec(1),
    ],
)
def test_pictures_are_those_that_reading_the_files_gives(dataset: Dataset, folder: Path, spec: InputSpec) -> None:
    cache = opened(dataset, folder, spec)
    assert len(cache) == len(dataset)
    assert cache.is_uniform == (spec.size is not None)
    for row in range(len(dataset)):
        np.testing.assert_array_equal(cache.read(row), decoded(dataset, row, spec))
        assert cache.source_shape(row) == (12 + row % 8 % 3, 16)
    rows = [0, 3, 6, 8]  # of one size in any case
    np.testing.assert_array_equal(cache.batch(rows), np.stack([decoded(dataset, row, spec) for row in rows]))
    assert cache.batch(rows).dtype == np.uint8


def test_pictures_of_sixteen_bits_are_kept_as_the_eight_that_a_model_gets(tmp_path: Path, folder: Path) -> None:
    from PIL import Image

    path = tmp_path / "deep.png"
    Image.fromarray(np.linspace(0, 65535, 120).astype(np.uint16).reshape(10, 12)).save(path)
    data = hash_contents(Dataset.from_records([Record(id="deep", uri=str(path), labels=(0,))], ["a"], "multiclass"))
    np.testing.assert_array_equal(opened(data, folder, InputSpec(1)).read(0), read_image(path, in_chans=1))


def test_what_is_read_may_be_written_to(dataset: Dataset, folder: Path) -> None:
    """An augmentation in place must not change the cache, nor stop because it may not."""
    cache = opened(dataset, folder)
    cache.read(0)[:] = 0
    cache.batch([0, 1])[:] = 0
    np.testing.assert_array_equal(cache.read(0), decoded(dataset, 0))


def test_identical_images_are_kept_once(dataset: Dataset, folder: Path) -> None:
    cache = opened(dataset, folder)
    assert cache.path.stat().st_size == cache.nbytes == 4096 + 8 * 10 * 14 * 3


def test_second_opening_decodes_nothing(dataset: Dataset, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(dataset, folder)
    monkeypatch.setattr(cache_build, "read_image", no_decoding)
    normalised = InputSpec(3, (10, 14), mean=(0.1,), std=(0.2,))  # normalisation is no part of what is kept
    for data, spec in ((dataset, SPEC), (dataset.take([4, 0, 8, 7, 6, 5, 3, 2, 1]), SPEC), (dataset, normalised)):
        second = opened(data, folder, spec)
        assert second.path == first.path
        np.testing.assert_array_equal(second.read(1), decoded(data, 1))


@pytest.mark.parametrize(
    "spec",
    [InputSpec(3, (10, 15)), InputSpec(1, (10, 14)), InputSpec(3, (10, 14), "letterbox"), InputSpec(3)],
)
def test_another_input_is_another_cache(dataset: Dataset, folder: Path, spec: InputSpec) -> None:
    assert opened(dataset, folder).path != opened(dataset, folder, spec).path


def test_the_border_of_a_letterbox_is_part_of_the_key_where_it_shows(dataset: Dataset, folder: Path) -> None:
    """It has the colour of the mean, which is no part of the key otherwise."""
    dark, bright = (InputSpec(3, (20, 20), "letterbox", mean=(mean,)) for mean in (0.1, 0.9))
    assert opened(dataset, folder, dark).read(0)[0, 0, 0] == 26
    assert opened(dataset, folder, bright).read(0)[0, 0, 0] == 230


def test_parts_of_a_split_find_their_pictures_by_content(dataset: Dataset, folder: Path) -> None:
    cache = opened(dataset, folder)
    part = dataset.take([7, 2, 8])
    np.testing.assert_array_equal(cache.of(part).batch([0, 1, 2]), [decoded(part, row) for row in range(3)])


def test_a_stranger_is_refused_by_name(dataset: Dataset, folder: Path) -> None:
    cache = opened(dataset.take([0, 1]), folder)
    with pytest.raises(DataError, match=r"expected a cache that holds every image .* got none of record `part 2`"):
        cache.of(dataset)
    with pytest.raises(DataError, match=r"expected a cache of pictures for .*'image_size': \[5, 5\].*, got one for"):
        cache.of(dataset.take([0]), InputSpec(3, 5))
    with pytest.raises(DataError, match=r"record `part 0`: expected the digest of every file, got none"):
        cache.of(dataset.with_column("content", [None] * len(dataset)))


def test_batch_of_several_sizes_is_refused(dataset: Dataset, folder: Path) -> None:
    with pytest.raises(DataError, match=r"expected pictures of one size in a batch, got several \(12x16, 13x16\)"):
        opened(dataset, folder, InputSpec(3)).batch([0, 1])


def test_workers_reopen_the_file_instead_of_copying_it(dataset: Dataset, folder: Path) -> None:
    cache = opened(dataset, folder)
    sent = pickle.dumps(cache)
    assert len(sent) < 2000
    copy = pickle.loads(sent)
    np.testing.assert_array_equal(copy.batch([5, 1]), cache.batch([5, 1]))


def test_a_worker_that_finds_the_file_gone_says_so(dataset: Dataset, folder: Path) -> None:
    cache = opened(dataset, folder)
    cache.path.unlink()
    with pytest.raises(DataError, match="expected the cache this run has opened, got none"):
        pickle.loads(pickle.dumps(cache)).read(0)


def test_progress_goes_up_to_the_number_of_different_images(dataset: Dataset, folder: Path) -> None:
    told: list[tuple[int, int]] = []
    opened(dataset, folder, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (8, 8)
    assert told == sorted(told)


def test_records_without_digests_are_hashed_first(dataset: Dataset, folder: Path) -> None:
    blank = dataset.with_column("content", [None] * len(dataset))
    assert opened(blank, folder).path == opened(dataset, folder).path


# --- sources that change ----------------------------------------------------------------------------------------------


def test_a_changed_image_is_seen_by_the_next_run(dataset: Dataset, folder: Path, make_image: MakeImage) -> None:
    """Every run hashes its files when it loads them; the old cache has another key and is not asked."""
    old = opened(check_dataset(dataset).dataset, folder)
    make_image(str(dataset[3].uri), size=(12, 16), seed=99)
    new = opened(check_dataset(dataset).dataset, folder)
    assert new.path != old.path
    np.testing.assert_array_equal(new.read(3), decoded(dataset, 3))
    assert not np.array_equal(new.read(3), old.read(3))


def test_an_image_that_changed_after_it_was_hashed_is_refused(
    dataset: Dataset, folder: Path, make_image: MakeImage
) -> None:
    """The digests would say one thing and the pixels another: the run's fingerprint would be of other data."""
    path = str(dataset[3].uri)
    line = (
        f"{path}: expected the image that was read when the data was loaded, got other bytes: it has changed since; "
        "let nothing write to the data while it is used, then run again"
    )
    opened(dataset, folder)
    make_image(path, size=(12, 16), seed=99)
    with pytest.raises(DataError) as under_an_old_cache:
        open_cache(dataset, SPEC, folder, budget_gib=1)
    assert str(under_an_old_cache.value) == line
    with pytest.raises(DataError) as before_one_was_built:
        open_cache(dataset, InputSpec(3, 5), folder, budget_gib=1)
    assert str(before_one_was_built.value) == line


def test_a_change_with_the_old_time_of_modification_is_seen(dataset: Dataset, folder: Path) -> None:
    """`cp -p` and archives keep the old time."""
    opened(dataset, folder)
    path = Path(str(dataset[3].uri))
    shutil.copy(str(dataset[4].uri), path)
    os.utime(path, (0, 0))
    with pytest.raises(DataError, match="it has changed since"):
        open_cache(dataset, SPEC, folder, budget_gib=1)


def test_only_what_was_written_later_is_read_again(
    dataset: Dataset, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_build, "SLACK_NS", 0)
    opened(dataset, folder)
    monkeypatch.setattr(cache_build, "hash_contents", no_decoding)
    opened(dataset, folder)


def test_unreadable_images_are_all_named_and_nothing_is_left(dataset: Dataset, folder: Path) -> None:
    for row in (2, 5):
        path = Path(str(dataset[row].uri))
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(Problems) as found:
        open_cache(hash_contents(dataset), SPEC, folder, budget_gib=1)
    assert [line.split(":")[0] for line in found.value.problems] == [dataset[2].uri, dataset[5].uri]
    assert all("expected a whole image, got a damaged one" in line for line in found.value.problems)
    assert left_behind(folder) == []


def test_a_record_without_a_file_is_refused(dataset: Dataset, folder: Path) -> None:
    uris = dataset.uris
    uris[1] = None
    with pytest.raises(DataError, match="record `part 1`: expected a file for every record, got none"):
        open_cache(dataset.with_column("uri", uris), SPEC, folder, budget_gib=1)


@pytest.mark.parametrize("budget", [0, -1, float("nan"), float("inf"), True, "1"])
def test_a_budget_that_is_no_number_is_refused(dataset: Dataset, folder: Path, budget: Any) -> None:
    with pytest.raises(DataError, match=r"data\.cache_budget_gib: expected a number above 0, got"):
        open_cache(dataset, SPEC, folder, budget_gib=budget)


# --- files that cannot be used ----------------------------------------------------------------------------------------


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "pixels.lock")


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(b""), "its header is damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:30]), "its header is damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "it has 7455 bytes instead of 7456"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "it has 7457 bytes instead of 7456"),
        (lambda path: path.write_bytes(bytes(7456)), "its header is damaged"),
        (lambda path: flip(path, 17), "its header is damaged"),
        (lambda path: flip(path, 100), "its index is damaged"),
        (lambda path: flip(path, 4096), "1 of 8 pictures are damaged"),
        (lambda path: flip(path, -1), "1 of 8 pictures are damaged"),
    ],
)
def test_a_damaged_cache_is_built_again_and_said_in_one_line(
    dataset: Dataset,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], object],
    reason: str,
) -> None:
    path = opened(dataset, folder).path
    whole = path.read_bytes()
    damage(path)
    with caplog.at_level(logging.WARNING, "ringlight"):
        cache = opened(dataset, folder)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        f"{path}: the cached images cannot be used: {reason}; built again"
    ]
    np.testing.assert_array_equal(cache.batch(range(9)), [decoded(dataset, row) for row in range(9)])
    assert len(path.read_bytes()) == len(whole)


def test_a_full_disk_leaves_nothing_and_training_goes_on(
    dataset: Dataset, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The kernel itself refuses the bytes here: a limit on the size of files stands in for the end of the disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        assert open_cache(dataset, SPEC, folder, budget_gib=1) is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        f"{folder}: no cache can be kept here: file too large; images are decoded anew in every epoch"
    ]
    assert left_behind(folder) == []


def test_a_disk_without_room_is_not_begun_to_fill(
    dataset: Dataset, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: shutil._ntuple_diskusage(10**9, 10**9, 1000))  # type: ignore[attr-defined]
    assert open_cache(dataset, SPEC, folder, budget_gib=1) is None
    assert "no cache can be kept here: 0.0 MiB are needed and the disk has 0.0 MiB left" in caplog.text
    assert left_behind(folder) == []


def test_a_budget_that_is_too_small_is_said(dataset: Dataset, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert open_cache(dataset, InputSpec(3, 1000), folder, budget_gib=0.01) is None
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        f"{folder}: no cache can be kept here: 22.9 MiB are more than the budget of 10.2 MiB (data.cache_budget_gib); "
        "images are decoded anew in every epoch"
    ]


def test_a_place_that_cannot_be_a_folder_is_one_line(
    dataset: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert open_cache(dataset, SPEC, tmp_path / "file" / "cache", budget_gib=1) is None
    assert "no cache can be kept here: not a directory; images are decoded anew" in caplog.text


READ_ONLY = """
import os, sys, logging
from pathlib import Path
from ringlight.data.cache import open_cache
from ringlight.data.content import hash_contents
from ringlight.data.folder import FolderSource
from ringlight.data.preprocess import InputSpec
logging.basicConfig(format="%(message)s")
root, folder = map(Path, sys.argv[1:])
if os.geteuid() == 0:
    os.setegid(65534), os.seteuid(65534)  # permissions do not bind root
cache = open_cache(hash_contents(FolderSource(root).load()), InputSpec(3, 4), folder, budget_gib=1)
print("none" if cache is None else cache.batch([0, 1]).shape)
"""


def test_a_read_only_folder_gives_what_it_has_and_takes_nothing_new(
    tile_folder: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, make_image: MakeImage
) -> None:
    """A plant's shared cache may be mounted read-only: what lies there is used."""
    from ringlight.data.folder import FolderSource

    folder = tmp_path / "cache"

    def run() -> tuple[str, str]:
        command = [sys.executable, "-c", READ_ONLY, str(tile_folder), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout.strip(), done.stderr.strip()

    home = tmp_path_factory.getbasetemp().parent  # pytest's own, of a test process its parent's folder
    for parent in (folder, *folder.parents):
        if parent.is_relative_to(home.parent if "PYTEST_XDIST_WORKER" in os.environ else home):
            parent.mkdir(exist_ok=True)
            parent.chmod(0o755)
    opened(hash_contents(FolderSource(tile_folder).load()), folder, InputSpec(3, 4))
    folder.chmod(0o555)
    try:
        assert run() == ("(2, 4, 4, 3)", "")
        make_image(tile_folder / "dark" / "new.png", seed=7)
        printed, said = run()
        assert printed == "none"
        assert said == (
            f"{folder}: no cache can be kept here: permission denied; images are decoded anew in every epoch"
        )
    finally:
        folder.chmod(0o755)


# --- several processes ------------------------------------------------------------------------------------------------


def _open_in_a_process(dataset: Dataset, folder: Path, answers: Any) -> None:
    built: list[int] = []
    real = cache_build.read_image

    def slow(source: Any, **options: Any) -> Any:
        built.append(1)
        time.sleep(0.1)
        return real(source, **options)

    cache_build.read_image = slow  # type: ignore[assignment]
    cache = open_cache(dataset, SPEC, folder, budget_gib=1, num_threads=1)
    assert cache is not None
    answers.put((len(built), int(cache.batch(range(9)).sum())))


def test_of_two_processes_one_builds_and_the_other_waits(dataset: Dataset, folder: Path) -> None:
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    processes = [context.Process(target=_open_in_a_process, args=(dataset, folder, answers)) for _ in range(2)]
    for process in processes:
        process.start()
    found = sorted(answers.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    assert [count for count, _ in found] == [0, 8]
    assert found[0][1] == found[1][1] == sum(int(decoded(dataset, row).sum()) for row in range(9))


def test_a_build_that_is_killed_leaves_nothing_that_counts(dataset: Dataset, folder: Path) -> None:
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_open_in_a_process, args=(dataset, folder, context.Queue()))
    process.start()
    deadline = time.monotonic() + 30
    while not list(folder.glob(".pixels-*.part")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(int(process.pid or 0), signal.SIGKILL)
    process.join()
    assert left_behind(folder)[0].startswith(".pixels-")
    cache = opened(dataset, folder)
    np.testing.assert_array_equal(cache.read(4), decoded(dataset, 4))
    assert left_behind(folder) == [cache.path.name]


def test_pictures_are_whole_when_their_pages_were_given_back(
    dataset: Dataset, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that keeps every page it has touched comes to count the whole file as its own memory."""
    released = []
    real = cache_file.CacheFile.release
    monkeypatch.setattr(cache_file, "RELEASE_BYTES", 1000)
    monkeypatch.setattr(cache_file.CacheFile, "release", lambda file: (released.append(1), real(file)))
    cache = opened(dataset, folder)
    released.clear()
    for row in range(9):
        np.testing.assert_array_equal(cache.batch([row])[0], decoded(dataset, row))
    assert len(released) == 9 * 10 * 14 * 3 // 1260  # after every third picture of 420 bytes
