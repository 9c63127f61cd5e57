from __future__ import annotations

import gc
import itertools
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ringlight.data.augment import Augmenter
from ringlight.data.loader import ImageDataset, ImageLoader, make_loader
from ringlight.data.preprocess import InputSpec, prepare
from ringlight.data.sampling import EpochSampler
from ringlight.errors import DataError
from ringlight.types import Dataset, Record

SPEC = InputSpec(3, 12)
AUGMENTATION: dict[str, object] = {"horizontal_flip": 0.5, "rotation": True, "brightness_contrast": True}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    rng = np.random.default_rng(0)
    records = []
    for index in range(10):
        path = tmp_path / f"{index}.png"
        Image.fromarray(rng.integers(0, 256, (14, 18, 3), dtype=np.uint8)).save(path)
        records.append(Record(id=f"part {index}", uri=str(path), labels=(index % 3,) if index % 4 else (0, 2)))
    return Dataset.from_records(records, ["a", "b", "c"], "multilabel")


def batches(dataset: Dataset, *, epoch: int = 0, **options: Any) -> list[Any]:
    settings: dict[str, Any] = {"batch_size": 4, "seed": 7, "shuffle": True, **options}
    loader = make_loader(dataset, SPEC, augmenter=Augmenter(AUGMENTATION, seed=7), **settings)
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    return list(loader)


def error_of(loader: ImageLoader) -> str:
    """Return the line an iteration stops with; `pytest.raises` would keep the workers as long as the error."""
    try:
        list(loader)
    except DataError as error:
        return str(error)
    return "no error"


def same(first: list[Any], second: list[Any]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(one[key], other[key])
        for one, other in zip(first, second, strict=True)
        for key in ("input", "target", "index", "copy")
    )


def test_batch_holds_prepared_images_targets_and_rows(dataset: Dataset) -> None:
    loader = make_loader(dataset, SPEC, batch_size=4, seed=0)
    found = list(loader)
    assert [len(batch["index"]) for batch in found] == [4, 4, 2]
    assert torch.cat([batch["index"] for batch in found]).tolist() == list(range(10))
    assert found[0]["target"].dtype == torch.float32
    np.testing.assert_array_equal(torch.cat([batch["target"] for batch in found]), dataset.label_matrix())
    for row, image in enumerate(torch.cat([batch["input"] for batch in found])):
        assert torch.equal(image, prepare(str(dataset[row].uri), SPEC))


def test_multiclass_targets_are_class_indices(dataset: Dataset) -> None:
    single = Dataset.from_records(
        [Record(id=record.id, uri=record.uri, labels=record.labels[:1]) for record in dataset],
        dataset.classes,
        "multiclass",
    )
    (batch,) = make_loader(single, SPEC, batch_size=10, seed=0)
    assert batch["target"].dtype == torch.int64
    assert batch["target"].tolist() == single.targets().tolist()


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_two_workers_give_the_batches_of_none_in_every_epoch(dataset: Dataset, start_method: Any) -> None:
    """Workers stay alive over the epochs, so the epoch must reach them with the rows, not by a copy of the sampler."""
    options: dict[str, Any] = {"batch_size": 4, "seed": 7, "shuffle": True}
    loader = make_loader(
        dataset, SPEC, augmenter=Augmenter(AUGMENTATION, seed=7), num_workers=2, start_method=start_method, **options
    )
    for epoch in (0, 1, 5):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        assert same(list(loader), batches(dataset, epoch=epoch))


def test_a_resumed_run_sees_the_epoch_it_left(dataset: Dataset) -> None:
    loader = make_loader(dataset, SPEC, batch_size=4, seed=7, shuffle=True, augmenter=Augmenter(AUGMENTATION, seed=7))
    seen = []
    for epoch in range(3):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        seen.append(list(loader))
    assert same(seen[2], batches(dataset, epoch=2))
    assert not same(seen[1], seen[2])
    assert not same(batches(dataset, seed=8), batches(dataset))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loader_begins_behind_the_batches_that_another_has_given(dataset: Dataset, num_workers: int) -> None:
    """It begins there once: the epoch after that is whole."""
    options: dict[str, Any] = {"batch_size": 4, "seed": 7, "shuffle": True, "num_workers": num_workers}
    first, second = (make_loader(dataset, SPEC, augmenter=Augmenter(AUGMENTATION, seed=7), **options) for _ in range(2))
    running = iter(first)
    next(running)
    assert first.state_dict() == {"batches": 1}
    first.stop()
    second.load_state_dict(first.state_dict())
    behind = iter(second)  # before it knows of the epoch, as Lightning does
    second.sampler.set_epoch(3)  # type: ignore[attr-defined]
    assert same(list(behind), batches(dataset, epoch=3)[1:])
    assert second.state_dict() == {"batches": 3}
    assert same(list(second), batches(dataset, epoch=3))
    second.load_state_dict({"batches": 3})
    assert list(second) == []


def test_global_random_state_is_neither_used_nor_changed(dataset: Dataset) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = batches(dataset)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert same(batches(dataset), first)


def test_sampler_yields_each_row_once_in_an_order_of_its_epoch() -> None:
    sampler = EpochSampler(50, seed=3, shuffle=True)
    first = list(sampler)
    assert list(sampler) == first
    assert sorted(first) == [(0, row, 0) for row in range(50)]
    sampler.set_epoch(1)
    second = list(sampler)
    assert {epoch for epoch, _, _ in second} == {1}
    assert [row for _, row, _ in second] != [row for _, row, _ in first]
    assert list(EpochSampler(50, seed=4, shuffle=True)) != first
    assert len(sampler) == 50


def test_an_iterator_keeps_the_epoch_it_began_with() -> None:
    sampler = EpochSampler(4, seed=0, shuffle=False)
    running = iter(sampler)
    next(running)
    sampler.set_epoch(9)
    assert list(running) == [(0, 1, 0), (0, 2, 0), (0, 3, 0)]


def test_incomplete_last_batch_can_be_dropped(dataset: Dataset) -> None:
    assert [len(batch["index"]) for batch in batches(dataset, drop_last=True)] == [4, 4]


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(b""), "expected an image, got zero bytes"),
        (lambda path: path.write_bytes(path.read_bytes()[:300]), "expected a whole image, got a damaged one"),
        (lambda path: path.unlink(), "expected an image file, got no such file"),
    ],
)
def test_damaged_file_is_one_line_also_from_a_worker(
    dataset: Dataset, num_workers: int, damage: Callable[[Path], object], message: str
) -> None:
    """torch re-raises what it cannot rebuild as a RuntimeError with the worker's traceback in it."""
    path = Path(str(dataset[5].uri))
    damage(path)
    line = error_of(make_loader(dataset, SPEC, batch_size=4, seed=0, num_workers=num_workers))
    assert line.startswith(f"{path}: {message}")
    assert "\n" not in line


def test_workers_leave_at_once_after_an_error(dataset: Dataset) -> None:
    """An error that its own traceback held alive left the workers to the garbage collector: five seconds each."""
    Path(str(dataset[5].uri)).unlink()
    start = time.monotonic()
    assert "no such file" in error_of(make_loader(dataset, SPEC, batch_size=4, seed=0, num_workers=1))
    gc.collect()
    assert time.monotonic() - start < 4


def test_pictures_of_two_sizes_in_a_batch_name_both(dataset: Dataset) -> None:
    Image.new("RGB", (20, 14)).save(str(dataset[2].uri))
    assert error_of(make_loader(dataset, InputSpec(3), batch_size=4, seed=0)) == (
        "dataset: expected pictures of one size in a batch, got 14x18 (`part 0`) and 14x20 (`part 2`); "
        "set data.image_size, or data.batch_size=1"
    )
    assert len(list(make_loader(dataset, InputSpec(3), batch_size=1, seed=0))) == 10


def test_record_without_a_file_is_refused_at_once(dataset: Dataset) -> None:
    uris = dataset.uris
    uris[3] = None
    with pytest.raises(DataError, match="dataset: record `part 3`: expected a file for every record, got none"):
        make_loader(dataset.with_column("uri", uris), SPEC, batch_size=2, seed=0)


def test_augmenter_gets_the_record_id_not_the_row(dataset: Dataset) -> None:
    """Rows move when a data set grows or is split anew; ids do not."""
    turned = dataset.take(list(reversed(range(10))))
    one, other = (ImageDataset(part, SPEC, augmenter=Augmenter(AUGMENTATION, seed=7)) for part in (dataset, turned))
    for epoch, row in itertools.product((0, 1), range(10)):
        assert torch.equal(one[(epoch, row, 0)]["input"], other[(epoch, 9 - row, 0)]["input"])


def test_dataset_is_picklable_for_workers_that_are_spawned(dataset: Dataset) -> None:
    images = ImageDataset(dataset, SPEC, augmenter=Augmenter(AUGMENTATION, seed=7))
    copy = pickle.loads(pickle.dumps(images))
    assert torch.equal(copy[(0, 1, 0)]["input"], images[(0, 1, 0)]["input"])
