"""From the files to the weights: the cache, the workers and pictures on the device change nothing but the time."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from ringlight.data.loader import ImageDataset
from ringlight.data.sampling import Key
from ringlight.errors import InterruptedRunError, TrainingError
from ringlight.services import runs
from ringlight.services.runs import Run
from ringlight.types import Signal

FAST = (
    "data.image_size=32", "data.batch_size=4", "model.name=resnet10t", "model.pretrained=false",
    "training.num_epochs=2", "training.device=cpu", "training.num_threads=1", "training.precision=32",
    "scheduler.warmup_epochs=0", "data.cache=disk", "data.num_workers=0", "evaluation.num_resamples=100",
)  # fmt: skip

KEPT = ("data.augment_on=device", "data.keep_on_device=true", "sampler=balanced")

Train = Callable[..., Run]


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory, make_image: Callable[..., Path]) -> Path:
    """Fifteen tiles in three classes, told apart by brightness."""
    root = tmp_path_factory.mktemp("data") / "tiles"
    for name, brightness, count in (("dark", 50.0, 6), ("middle", 128.0, 5), ("bright", 205.0, 4)):
        for index in range(count):
            make_image(root / name / f"{name}_{index}.png", brightness=brightness, seed=1000 * count + index)
    return root


def trained(root: Path, workspace: Path, *overrides: str, **options: Any) -> Run:
    return runs.train("folder", [f"data.root={root}", *FAST, *overrides], workspace=workspace, **options)


@pytest.fixture(scope="module")
def plain(tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run without a cache, which all others must equal."""
    return trained(tiles, tmp_path_factory.mktemp("plain"), "data.cache=off")


@pytest.fixture(scope="module")
def cached(tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tiles, tmp_path_factory.mktemp("cached"))


@pytest.fixture(scope="module")
def kept(tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose pictures lie on the device, which here is the CPU, and are augmented there."""
    return trained(tiles, tmp_path_factory.mktemp("kept"), *KEPT)


@pytest.fixture
def train(tiles: Path, tmp_path: Path) -> Train:
    """Train in a workspace of the test's own."""
    return partial(trained, tiles, tmp_path)


def assert_same(first: Run, second: Run) -> None:
    assert first.results["history"] == second.results["history"]
    assert first.results["test"] == second.results["test"]
    weights = [load_file(run.bundle / "model.safetensors") for run in (first, second)]
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[0].items():
        assert tensor.equal(weights[1][name]), name


def told(run: Run) -> str:
    return (run.folder / "train.log").read_text(encoding="utf-8")


def warnings_of(run: Run) -> list[str]:
    return [line for line in told(run).splitlines() if " WARNING " in line]


def manifest(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "manifest.json").read_text(encoding="utf-8")))


def caches(run: Run) -> list[Path]:
    """Return the caches in the workspace of a run, parts of such included."""
    return sorted((run.folder.parents[1] / "cache" / "pixels").glob("*pixels-*.bin*"))


class StopAt:
    """A control that pauses after a number of steps."""

    def __init__(self, step: int) -> None:
        self.left = step

    def heartbeat(self, progress: Any) -> Signal:
        self.left -= 1
        return "go" if self.left > 0 else "pause"


# --- the same bits ----------------------------------------------------------------------------------------------------


def test_a_cache_changes_no_bit(cached: Run, plain: Run) -> None:
    assert_same(cached, plain)
    assert "decoded 15 images once" in told(cached)
    assert len(caches(cached)) == 1
    assert caches(plain) == []


def test_workers_change_no_bit_beside_a_cache(train: Train, plain: Run) -> None:
    assert_same(train("data.num_workers=2"), plain)


def test_pictures_on_the_device_change_no_bit(train: Train, kept: Run) -> None:
    assert_same(train(*KEPT, "data.keep_on_device=false"), kept)
    assert "data.keep_on_device" not in told(kept)


@pytest.mark.parametrize("where", ["cache", "device"])
def test_a_resumed_run_is_the_uninterrupted_one(
    train: Train, tmp_path: Path, where: str, cached: Run, kept: Run
) -> None:
    with pytest.raises(InterruptedRunError):
        train(*(KEPT if where == "device" else ()), control=StopAt(4))
    (folder,) = (tmp_path / "runs").iterdir()
    assert (folder / "checkpoints" / "midway.ckpt").is_file()
    assert_same(runs.resume(folder), kept if where == "device" else cached)


# --- caches that are damaged, or cannot be ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda whole: whole[:-50], "it has 50126 bytes instead of 50176"),
        (lambda whole: whole[:-50] + bytes(50), "1 of 15 pictures are damaged"),
        (lambda whole: whole[:100] + b"?" + whole[101:], "its index is damaged"),
        (lambda whole: whole[:0], "its header is damaged"),
    ],
)
def test_a_damaged_cache_is_built_again_and_said_in_one_line(
    train: Train, tmp_path: Path, cached: Run, damage: Callable[[bytes], bytes], reason: str
) -> None:
    (found,) = caches(cached)
    path = tmp_path / "cache" / "pixels" / found.name
    path.parent.mkdir(parents=True)
    path.write_bytes(damage(found.read_bytes()))
    run = train()
    (line,) = warnings_of(run)
    assert f"{path}: the cached images cannot be used: " in line
    assert line.endswith(f"{reason}; built again")
    assert_same(run, cached)
    assert path.read_bytes()[-1000:] == found.read_bytes()[-1000:]


def test_a_folder_that_cannot_be_written_costs_the_cache_and_not_the_run(
    train: Train, tmp_path: Path, plain: Run
) -> None:
    """A file in its place, as root, who runs many of these tests, may write into any folder."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "pixels").touch()
    run = train()
    (line,) = warnings_of(run)
    assert line.endswith("no cache can be kept here: not a directory; images are decoded anew in every epoch")
    assert_same(run, plain)


@pytest.mark.parametrize(
    ("code", "words"), [(errno.ENOSPC, "no space left on device"), (errno.EROFS, "read-only file system")]
)
def test_a_disk_that_takes_no_more_costs_the_cache_and_not_the_run(
    train: Train, plain: Run, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    def refuse(*_arguments: Any, **_options: Any) -> None:
        raise OSError(code, os.strerror(code))

    # The last bytes of the file: pictures have been written by then.
    monkeypatch.setattr("ringlight.data.cache_build.write_front", refuse)
    run = train()
    (line,) = warnings_of(run)
    assert line.endswith(f"no cache can be kept here: {words}; images are decoded anew in every epoch")
    assert caches(run) == []
    assert_same(run, plain)


def test_a_changed_image_is_other_data_and_another_cache(
    tiles: Path, make_image: Callable[..., Path], tmp_path: Path, cached: Run
) -> None:
    """A cache named after the files' paths or times would train on the old picture."""
    root = shutil.copytree(tiles, tmp_path / "tiles")
    shutil.copytree(caches(cached)[0].parent, tmp_path / "cache" / "pixels")
    path = root / "dark" / "dark_0.png"
    before = path.stat()
    make_image(path, brightness=70.0, seed=99)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = trained(root, tmp_path)
    assert manifest(cached.folder)["dataset_fingerprint"] != manifest(second.folder)["dataset_fingerprint"]
    assert len(caches(second)) == 2
    assert_same(second, trained(root, tmp_path, "data.cache=off"))


# --- a worker that dies -----------------------------------------------------------------------------------------------


class Deadly(ImageDataset):
    """Its worker is killed in the second epoch, as the kernel kills one when memory runs out."""

    def __getitem__(self, key: Key) -> Any:
        """Return a sample."""
        if key[0] == 1 and self.augmenter is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(key)


def test_a_killed_worker_is_one_line_and_the_run_goes_on_later(
    train: Train, tmp_path: Path, cached: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringlight.data.loader.ImageDataset", Deadly)
    with pytest.raises(TrainingError) as found:
        train("data.num_workers=2")
    line = str(found.value)
    assert line.startswith("loader: expected worker processes that live to the end of the run, got one that died (proc")
    assert "\n" not in line
    monkeypatch.undo()
    (folder,) = (tmp_path / "runs").iterdir()
    assert (manifest(folder)["status"], manifest(folder)["error"]) == ("failed", line)
    assert_same(runs.resume(folder), cached)
