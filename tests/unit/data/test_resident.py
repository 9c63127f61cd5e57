"""All pictures on the device: the batches of the ordinary loader, drawn by index alone."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ringlight.data import resident
from ringlight.data.cache import PixelCache, open_cache
from ringlight.data.content import hash_contents
from ringlight.data.loader import make_loader
from ringlight.data.preprocess import InputSpec
from ringlight.data.resident import ResidentLoader, resident_loader
from ringlight.data.sampling import SAMPLERS, EpochSampler
from ringlight.errors import DataError
from ringlight.types import Dataset, Record

SPEC = InputSpec(3, (12, 10))
PLENTY = 2**40


def data_of(folder: Path, *, task: Any = "multiclass", count: int = 13) -> Dataset:
    """Make pictures of noise; the last two are one image under two names."""
    rng = np.random.default_rng(0)
    records = []
    for index in range(count):
        path = folder / f"{index}.png"
        if index == count - 1:
            path.write_bytes((folder / f"{index - 1}.png").read_bytes())
        else:
            Image.fromarray(rng.integers(0, 256, (24, 30, 3), dtype=np.uint8)).save(path)
        labels = (int(index % 3 == 0),) if task == "multiclass" else tuple(range(index % 3))
        records.append(Record(id=f"part {index}", uri=str(path), labels=labels))
    return hash_contents(Dataset.from_records(records, ["OK", "PASS"], task))


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return data_of(tmp_path)


@pytest.fixture
def cache(dataset: Dataset, tmp_path: Path) -> PixelCache:
    return opened(dataset, tmp_path)


def opened(dataset: Dataset, folder: Path, spec: InputSpec = SPEC) -> PixelCache:
    found = open_cache(dataset, spec, folder / "cache", budget_gib=1)
    assert found is not None
    return found


def made(dataset: Dataset, cache: PixelCache, spec: InputSpec = SPEC, **options: Any) -> ResidentLoader:
    settings: dict[str, Any] = {"device": "cpu", "free": PLENTY, "batch_size": 4, "seed": 7, **options}
    found = resident_loader(dataset, spec, cache, **settings)
    assert found is not None
    return found


def assert_same(found: Any, expected: Any) -> None:
    pairs = list(zip(found, expected, strict=True))
    assert len(found) == len(expected) == len(pairs)
    for one, other in pairs:
        assert one.keys() == other.keys()
        for name in ("input", "target", "index", "copy"):
            assert one[name].dtype == other[name].dtype
            assert torch.equal(one[name], other[name]), name


@pytest.mark.parametrize("options", [{}, {"shuffle": True}, {"shuffle": True, "drop_last": True}, {"batch_size": 13}])
def test_batches_are_those_of_the_ordinary_loader(dataset: Dataset, cache: PixelCache, options: dict[str, Any]) -> None:
    usual = make_loader(dataset, SPEC, **{"batch_size": 4, "seed": 7, "raw": True, **options})
    found = made(dataset, cache, **options)
    for epoch in (0, 1, 5):
        for loader in (usual, found):
            loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        assert_same(found, usual)


def test_it_begins_behind_the_batches_that_were_given(dataset: Dataset, cache: PixelCache) -> None:
    first, second = (made(dataset, cache, shuffle=True) for _ in range(2))
    running = iter(first)
    next(running)
    second.load_state_dict(first.state_dict())
    pairs = list(zip(second, list(first)[1:], strict=True))
    assert len(pairs) == len(first) - 1
    assert all(torch.equal(one["index"], other["index"]) for one, other in pairs)
    assert len(list(second)) == len(first)


@pytest.mark.parametrize("name", list(SAMPLERS))
@pytest.mark.parametrize("factors", [False, True])
@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_every_sampler_is_followed_copies_included(tmp_path: Path, name: str, factors: bool, task: Any) -> None:
    dataset = data_of(tmp_path, task=task)
    cache = opened(dataset, tmp_path)

    def sampler() -> EpochSampler:
        return SAMPLERS.build(
            name, labels=dataset.targets(), task=task, seed=3, batch_size=5, num_replicas=1, rank=0, num_epochs=4,
            factors=np.arange(len(dataset)) % 3 + 1 if factors else None,
        )  # fmt: skip

    usual = make_loader(dataset, SPEC, batch_size=5, seed=3, sampler=sampler(), raw=True)
    found = made(dataset, cache, batch_size=5, sampler=sampler())
    for epoch in (0, 2):
        for loader in (usual, found):
            loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        assert_same(found, usual)
    if factors:
        assert max(int(batch["copy"].max()) for batch in found) >= 1


def test_a_part_of_the_data_takes_its_pictures_once(dataset: Dataset, cache: PixelCache) -> None:
    part = dataset.take([12, 3, 11, 0])
    found = made(part, cache)
    assert found.nbytes == 3 * 12 * 10 * 3
    assert_same(found, make_loader(part, SPEC, batch_size=4, seed=7, raw=True))


def test_pictures_are_read_in_blocks(dataset: Dataset, cache: PixelCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident, "BLOCK_BYTES", 2 * 12 * 10 * 3 + 1)
    assert_same(made(dataset, cache), make_loader(dataset, SPEC, batch_size=4, seed=7, raw=True))


def test_a_batch_may_be_changed_without_changing_the_next_epoch(dataset: Dataset, cache: PixelCache) -> None:
    loader = made(dataset, cache)
    before = [batch["input"].clone() for batch in loader]
    for batch in loader:
        batch["input"].zero_()
    assert all(torch.equal(batch["input"], old) for batch, old in zip(loader, before, strict=True))


def test_lightning_finds_its_sampler_and_tells_it_every_epoch(dataset: Dataset, cache: PixelCache) -> None:
    """A loader that counted its epochs itself would show a resumed run the first one again."""
    from lightning.fabric.utilities.data import _set_sampler_epoch, has_len

    shown = made(dataset, cache, shuffle=True)
    assert has_len(shown)
    _set_sampler_epoch(shown, 5)
    usual = make_loader(dataset, SPEC, batch_size=4, seed=7, shuffle=True, raw=True)
    usual.sampler.set_epoch(5)  # type: ignore[attr-defined]
    assert_same(shown, usual)


@pytest.mark.parametrize(
    ("free", "line"),
    [
        (2 * 12 * 12 * 10 * 3 - 1, "the pictures take 0.0 MiB, more than half of the 0.0 MiB that are free"),
        (2 * 12 * 12 * 10 * 3, None),
    ],
)
def test_pictures_that_take_more_than_half_of_the_memory_stay_away(
    dataset: Dataset, cache: PixelCache, caplog: pytest.LogCaptureFixture, free: int, line: str | None
) -> None:
    with caplog.at_level(logging.WARNING):
        found = resident_loader(dataset, SPEC, cache, device="cpu", free=free, batch_size=4, seed=0)
    assert (found is None) == (line is not None)
    expected = [] if line is None else [f"data.keep_on_device: {line}; batches come from the cache instead"]
    assert caplog.messages == expected


def test_a_device_that_refuses_the_memory_is_one_line(
    dataset: Dataset, cache: PixelCache, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(resident, "_moved", refuse)
    assert resident_loader(dataset, SPEC, cache, device="cpu", free=PLENTY, batch_size=4, seed=0) is None
    assert "the device has no room for 0.0 MiB in one piece" in caplog.text


def test_pictures_of_several_sizes_stay_away(
    dataset: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Image.new("RGB", (20, 14)).save(str(dataset[2].uri))
    dataset, spec = hash_contents(dataset), InputSpec(3)
    ragged = opened(dataset, tmp_path, spec)
    assert resident_loader(dataset, spec, ragged, device="cpu", free=PLENTY, batch_size=1, seed=0) is None
    assert "data.keep_on_device: the pictures have several sizes; batches come from the cache instead" in caplog.text


def test_the_memory_is_given_back(dataset: Dataset, cache: PixelCache) -> None:
    loader = made(dataset, cache)
    loader.release()
    assert loader.nbytes == 0
    with pytest.raises(DataError, match="expected a loader that holds its pictures, got one that was released"):
        next(iter(loader))


def test_pictures_for_another_input_are_refused(dataset: Dataset, cache: PixelCache) -> None:
    with pytest.raises(DataError, match="expected a cache of pictures for"):
        resident_loader(dataset, InputSpec(3, 20), cache, device="cpu", free=PLENTY, batch_size=4, seed=0)
