"""The loader with a cache, raw batches, keys of several copies, heavy records, boxes, and workers that die."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ringlight.data.augment import Augmented, Augmenter
from ringlight.data.cache import PixelCache, open_cache
from ringlight.data.content import hash_contents
from ringlight.data.loader import ImageDataset, lost_worker, make_loader, translating_lost_workers
from ringlight.data.preprocess import InputSpec, fit_boxes, normalise
from ringlight.data.sampling import Key
from ringlight.errors import DataError, TrainingError
from ringlight.types import Box, Dataset, Record

SPEC = InputSpec(3, (12, 10), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
AUGMENTATION: dict[str, object] = {"horizontal_flip": 0.5, "rotation": True, "brightness_contrast": True}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    rng = np.random.default_rng(0)
    records = []
    for index in range(10):
        path = tmp_path / f"{index}.png"
        Image.fromarray(rng.integers(0, 256, (24, 30, 3), dtype=np.uint8)).save(path)
        boxes = (Box(label=0, x_min=3.0, y_min=4.0, x_max=9.0, y_max=12.0),)
        records.append(Record(id=f"part {index}", uri=str(path), labels=(int(index % 3 == 0),), boxes=boxes))
    return hash_contents(Dataset.from_records(records, ["OK", "PASS"], "multiclass"))


@pytest.fixture
def cache(dataset: Dataset, tmp_path: Path) -> PixelCache:
    found = open_cache(dataset, SPEC, tmp_path / "cache", budget_gib=1)
    assert found is not None
    return found


def batches(dataset: Dataset, **options: Any) -> list[Any]:
    loader = make_loader(dataset, SPEC, **{"batch_size": 4, "seed": 7, "shuffle": True, **options})
    loader.sampler.set_epoch(3)  # type: ignore[attr-defined]
    return list(loader)


def assert_same(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for name in ("input", "target", "index", "copy"):
            assert one[name].dtype == other[name].dtype
            assert one[name].stride() == other[name].stride()  # memory in another order would round sums otherwise
            assert torch.equal(one[name], other[name])


@pytest.mark.parametrize("augmentation", [None, AUGMENTATION])
@pytest.mark.parametrize("options", [{}, {"num_workers": 2}, {"num_workers": 1, "start_method": "spawn"}])
def test_batches_from_a_cache_are_those_from_the_files(
    dataset: Dataset, cache: PixelCache, augmentation: dict[str, object] | None, options: dict[str, Any]
) -> None:
    augmenter = None if augmentation is None else Augmenter(augmentation, seed=7)
    assert_same(batches(dataset, augmenter=augmenter, cache=cache, **options), batches(dataset, augmenter=augmenter))


def test_the_files_are_no_longer_read(dataset: Dataset, cache: PixelCache) -> None:
    expected = batches(dataset)
    for uri in dataset.uris:
        Path(str(uri)).unlink()
    assert_same(batches(dataset, cache=cache), expected)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("augmentation", [None, AUGMENTATION])
def test_a_raw_batch_is_what_the_device_has_to_normalise(
    dataset: Dataset, cache: PixelCache, augmentation: dict[str, object] | None, cached: bool
) -> None:
    augmenter = None if augmentation is None else Augmenter(augmentation, seed=7)
    raw = batches(dataset, augmenter=augmenter, raw=True, cache=cache if cached else None)
    for found, expected in zip(raw, batches(dataset, augmenter=augmenter), strict=True):
        assert found["input"].dtype == torch.uint8
        assert found["input"].shape[1:] == (12, 10, 3)
        assert torch.equal(normalise(found["input"], SPEC, "cpu"), expected["input"])


def test_a_part_of_the_data_uses_the_cache_of_the_whole(dataset: Dataset, cache: PixelCache) -> None:
    part = dataset.take([9, 1, 4])
    assert_same(batches(part, cache=cache), batches(part))


def test_no_workers_are_started_for_what_is_only_copied(dataset: Dataset, cache: PixelCache) -> None:
    assert make_loader(dataset, SPEC, batch_size=2, seed=0, num_workers=2, cache=cache).num_workers == 0
    augmenter = Augmenter(AUGMENTATION, seed=0)
    loader = make_loader(
        dataset, SPEC, batch_size=2, seed=0, num_workers=2, cache=cache, augmenter=augmenter, prefetch_factor=5
    )
    assert (loader.num_workers, loader.prefetch_factor) == (2, 5)


def test_a_cache_for_another_input_is_refused(dataset: Dataset, cache: PixelCache) -> None:
    with pytest.raises(DataError, match="expected a cache of pictures for"):
        make_loader(dataset, InputSpec(3, 20), batch_size=2, seed=0, cache=cache)


def test_sizes_that_differ_in_a_cached_batch_name_both_records(dataset: Dataset, tmp_path: Path) -> None:
    Image.new("RGB", (20, 14)).save(str(dataset[2].uri))
    dataset, spec = hash_contents(dataset), InputSpec(3)
    ragged = open_cache(dataset, spec, tmp_path / "cache", budget_gib=1)
    for raw in (False, True):
        with pytest.raises(DataError) as found:
            list(make_loader(dataset, spec, batch_size=4, seed=0, cache=ragged, raw=raw))
        assert "got 24x30 (`part 0`) and 14x20 (`part 2`)" in str(found.value)


# --- copies, heavy records, boxes -------------------------------------------------------------------------------------


class Watched(Augmenter):
    """Writes down how it was asked."""

    def __init__(self, config: dict[str, object], **options: Any) -> None:
        super().__init__(config, **options)
        self.asked: list[dict[str, Any]] = []

    def __call__(self, image: Any, **options: Any) -> Augmented:
        """Augment."""
        self.asked.append({**options, "shape": image.shape})
        return super().__call__(image, **options)


class Listed(torch.utils.data.Sampler[Key]):
    def __init__(self, keys: list[Key]) -> None:
        self.keys = keys

    def __iter__(self) -> Any:
        return iter(self.keys)

    def __len__(self) -> int:
        return len(self.keys)


def test_copies_of_a_record_have_names_of_their_own(dataset: Dataset) -> None:
    """Under one name all 20 copies of a rare image would be turned and lit the same way."""
    augmenter = Watched(AUGMENTATION, seed=0)
    keys = [(4, 1, 0), (4, 1, 1), (4, 1, 2)]
    (batch,) = make_loader(dataset, SPEC, batch_size=3, seed=0, augmenter=augmenter, sampler=Listed(keys))
    assert [asked["record_id"] for asked in augmenter.asked] == ["part 1", "part 1#1", "part 1#2"]
    assert {asked["epoch"] for asked in augmenter.asked} == {4}
    assert batch["index"].tolist() == [1, 1, 1]
    assert batch["copy"].tolist() == [0, 1, 2]
    assert batch["copy"].dtype == torch.int64
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(batch["input"], 2))


def test_records_of_a_class_with_a_factor_take_the_heavy_pipeline(dataset: Dataset) -> None:
    config: dict[str, object] = {"per_class_factor": {"PASS": 2}, "heavy": {"vertical_flip": 1.0}}
    augmenter = Watched(config, seed=0, class_names=dataset.classes)
    (batch,) = make_loader(dataset, SPEC, batch_size=10, seed=0, augmenter=augmenter)
    (plain,) = make_loader(dataset, SPEC, batch_size=10, seed=0)
    heavy = [asked["heavy"] for asked in augmenter.asked]
    assert heavy == [index % 3 == 0 for index in range(10)]
    for turned, found, expected in zip(heavy, batch["input"], plain["input"], strict=True):
        assert torch.equal(found, expected.flip(1) if turned else expected)


@pytest.mark.parametrize("cached", [False, True])
def test_boxes_come_in_the_pixels_of_the_fitted_picture_and_only_for_parts_that_ask(
    dataset: Dataset, cache: PixelCache, cached: bool
) -> None:
    """The cache holds fitted pictures only, so it must know how large the image was that the boxes lie in."""
    asking = Watched({"defect_blackout": 1.0}, seed=0)
    list(make_loader(dataset, SPEC, batch_size=5, seed=0, augmenter=asking, cache=cache if cached else None))
    assert asking.asked[0]["boxes"] == fit_boxes(dataset[0].boxes, (24, 30), SPEC)
    careless = Watched(AUGMENTATION, seed=0)
    list(make_loader(dataset, SPEC, batch_size=5, seed=0, augmenter=careless))
    assert careless.asked[0]["boxes"] is None


# --- workers that die -------------------------------------------------------------------------------------------------


class Deadly(ImageDataset):
    """Its worker is killed at row 5, as the kernel kills one when memory runs out."""

    def __getitem__(self, key: Key) -> Any:
        """Return a sample."""
        if key[1] == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(key)


def test_a_worker_killed_in_the_middle_of_an_epoch_is_one_line(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringlight.data.loader.ImageDataset", Deadly)
    loader = make_loader(dataset, SPEC, batch_size=2, seed=0, num_workers=1)
    seen = []
    with pytest.raises(TrainingError) as found:
        seen.extend(iter(loader))
    line = str(found.value)
    assert len(seen) <= 2
    assert line.startswith("loader: expected worker processes that live to the end of the run, got one that died (proc")
    assert line.endswith(
        "most likely the machine's memory ran out: lower data.num_workers (0 loads in the main process) or "
        "data.batch_size"
    )
    assert "\n" not in line


def test_a_worker_that_hangs_up_before_it_counts_as_dead_is_one_line(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sockets close first: on a busy machine the run ended with a bare EOFError, and torch's own error came later,
    in whichever line the process was when its next child ended.
    """

    def hang_up(batches: Any) -> None:
        for worker in batches._workers:
            os.kill(worker.pid, signal.SIGKILL)
        raise EOFError

    monkeypatch.setattr("torch.utils.data.dataloader._MultiProcessingDataLoaderIter.__next__", hang_up)
    loader = make_loader(dataset, SPEC, batch_size=2, seed=0, num_workers=2)
    with pytest.raises(TrainingError, match=r"loader: expected worker processes that live .*, got one that died"):
        list(loader)
    assert loader._iterator is None


def test_other_faults_of_the_runtime_are_not_renamed(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(ImageDataset, "__getitem__", fail)
    with pytest.raises(RuntimeError, match=r"^something else$"):
        list(make_loader(dataset, SPEC, batch_size=2, seed=0))


@pytest.mark.parametrize(
    ("message", "got"),
    [
        ("DataLoader worker (pid 41) is killed by signal: Killed. ", "one that died (process 41, signal Killed)"),
        (
            "DataLoader worker (pid 41) is killed by signal: Bus error. It is possible that dataloader's workers are "
            "out of shared memory. Please try to raise your shared memory limit.",
            "one that died (process 41, signal Bus error)",
        ),
        ("DataLoader worker (pid(s) 41, 42) exited unexpectedly", "one that died (process 41, 42)"),
        ("DataLoader worker (pid 41) exited unexpectedly with exit code 1.", "one that died (process 41)"),
    ],
)
def test_each_of_torchs_words_for_a_dead_worker_is_understood(message: str, got: str) -> None:
    found = lost_worker(RuntimeError(message))
    assert found is not None
    assert found.got == got


def test_an_error_of_another_kind_is_no_dead_worker() -> None:
    assert lost_worker(RuntimeError("CUDA out of memory")) is None


def test_a_dead_worker_noticed_anywhere_in_a_training_is_one_line() -> None:
    """torch raises it in whichever line the main process is: a training showed its traceback half of the times."""
    with (
        pytest.raises(TrainingError, match=r"got one that died \(process 7, signal Killed\)"),
        translating_lost_workers(),
    ):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
    with pytest.raises(RuntimeError, match=r"^CUDA out of memory$"), translating_lost_workers():
        raise RuntimeError("CUDA out of memory")
