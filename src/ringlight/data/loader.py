"""Batches for training: a torch data set of pictures, and the loader around it and a sampler.

The sampler (:mod:`ringlight.data.sampling`) yields (epoch, row, copy) keys. So a worker that lives through all epochs,
or one that starts in the middle of a resumed run, knows all it needs.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, default_collate
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from ringlight.data.augment import Augmenter
from ringlight.data.augment_config import needs_boxes
from ringlight.data.cache import PixelCache
from ringlight.data.content import require_files
from ringlight.data.preprocess import InputSpec, Pixels, fit_boxes, fit_size, read_image, to_tensor, to_tensors
from ringlight.data.sampling import EpochSampler, Key
from ringlight.errors import DataError, RinglightError, TrainingError
from ringlight.types import Batch, Dataset

MOMENT = 0.5
"""Seconds in which a process that was killed is known to be dead."""


class ImageDataset(TorchDataset[Batch]):
    """The records of a data set as a model's inputs and targets.

    A picture is read, brought to size, augmented and normalised, in this order.

    Args:
        dataset: records with a file each.
        spec: what the model expects.
        augmenter: for training; None leaves the pictures as they are.
        cache: where pictures are read instead of their files: one of the whole data set or more, for the same `spec`.
        raw: leave the normalisation to the device.

    Raises:
        DataError: a record has no file, or is not in the cache.
    """

    def __init__(
        self,
        dataset: Dataset,
        spec: InputSpec,
        *,
        augmenter: Augmenter | None = None,
        cache: PixelCache | None = None,
        raw: bool = False,
    ) -> None:
        require_files(dataset)
        self.dataset = dataset
        self.spec = spec
        self.augmenter = augmenter
        self.cache = None if cache is None else cache.of(dataset, spec)
        self.raw = raw
        # Arrow columns and one tensor, not a million Python objects, which every forked worker would copy one by one.
        self._ids = dataset.table.column("id").combine_chunks()
        self._uris = dataset.table.column("uri").combine_chunks()
        self._targets = target_tensor(dataset)
        self._heavy = None if augmenter is None else augmenter.heavy_rows(dataset)
        parts = () if augmenter is None else (*augmenter.enabled, *(augmenter.heavy or ()))
        # Only for a part that asks where the defects lie: to fetch and move boxes costs more than a flip.
        wanted = any(needs_boxes(name) for name in parts)
        self._boxes = dataset.table.column("boxes").combine_chunks() if wanted else None

    @property
    def is_straight(self) -> bool:
        """Whether batches are copied out of the cache as they lie there, with no work on single pictures."""
        return self.cache is not None and self.augmenter is None and self.cache.is_uniform

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Key) -> Batch:
        """Return one sample: image float32 (C, H, W), raw uint8 (H, W, C), target a class index or (K,), row and copy.

        Raises:
            DataError: the file cannot be read.
        """
        _, row, copy = key
        image = self._pixels(key)
        ready = torch.from_numpy(image) if self.raw else to_tensor(image, self.spec)
        return Batch(input=ready, target=self._targets[row], index=row, copy=copy)

    def __getitems__(self, keys: Sequence[Key]) -> Batch | RinglightError:
        """Return a batch, or the error that stopped it: torch cannot carry ours out of a worker."""
        try:
            rows = [row for _, row, _ in keys]
            if self.cache is not None and self.is_straight:
                pictures = self.cache.batch(rows)
                images = torch.from_numpy(pictures) if self.raw else to_tensors(pictures, self.spec)
            else:
                images = self._stack([self[key]["input"] for key in keys], rows)
        except RinglightError as error:
            return error
        index = torch.tensor(rows)
        copies = torch.tensor([copy for _, _, copy in keys])
        return Batch(input=images, target=self._targets[index], index=index, copy=copies)

    def _pixels(self, key: Key) -> Pixels:
        """Return a picture as it goes to the normalisation."""
        epoch, row, copy = key
        if self.cache is not None:
            image, shape = self.cache.read(row), self.cache.source_shape(row)
        else:
            picture = read_image(self._uris[row].as_py(), in_chans=self.spec.in_chans)
            image, shape = fit_size(picture, self.spec), picture.shape[:2]
        if self.augmenter is None or self._heavy is None:
            return image
        record_id = self._ids[row].as_py()
        boxes = None if self._boxes is None else self._boxes[row].as_py()
        return self.augmenter(
            image,
            epoch=epoch,
            record_id=f"{record_id}#{copy}" if copy else record_id,
            heavy=bool(self._heavy[row]),
            boxes=None if boxes is None else fit_boxes(boxes, shape, self.spec),
        ).image

    def _stack(self, images: list[torch.Tensor], rows: Sequence[int]) -> torch.Tensor:
        shapes = [tuple(image.shape[:2] if self.raw else image.shape[1:]) for image in images]
        other = next((position for position, shape in enumerate(shapes) if shape != shapes[0]), None)
        if other is not None:
            first, odd = (self._ids[rows[position]].as_py() for position in (0, other))
            raise DataError(
                "pictures of one size in a batch",
                got=f"{shapes[0][0]}x{shapes[0][1]} (`{first}`) and {shapes[other][0]}x{shapes[other][1]} (`{odd}`)",
                where=self.dataset.name,
                fix="set data.image_size, or data.batch_size=1",
            )
        stacked: torch.Tensor = default_collate(images)  # in a worker straight into shared memory, which saves a copy
        return stacked


class ImageLoader(DataLoader[Batch]):
    """A torch loader that raises our one-line errors wherever they arose, also in a worker that was killed.

    Its state is how many batches of the epoch it has given: one that is given this state goes on behind them, the next
    time it is gone through, and the records left out are not read.
    """

    given = 0
    _start = 0

    def state_dict(self) -> dict[str, int]:
        """Return how many batches of the epoch were given."""
        return {"batches": self.given}

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        """Begin the next epoch behind the batches that were given."""
        self._start = state_dict["batches"]

    def stop(self) -> None:
        """End the workers.

        As long as torch knows of one that died, it raises the error anew whenever any other child process ends.
        """
        running, self._iterator = self._iterator, None
        if isinstance(running, _MultiProcessingDataLoaderIter):
            with contextlib.suppress(RuntimeError):  # the last of these: while the others end
                running._shutdown_workers()

    def _next(self, batches: Iterator[Any]) -> Any:
        """Return the next batch, None after the last."""
        try:
            return next(batches, None)
        except (EOFError, OSError, RuntimeError) as error:
            if self.num_workers and lost_worker(error) is None:
                # A worker that is being killed hangs up in the middle of a batch before it counts as dead.
                time.sleep(MOMENT)  # here torch's own error comes up
                gone = [worker.pid for worker in getattr(self._iterator, "_workers", ()) if not worker.is_alive()]
                if gone:
                    message = f"DataLoader worker (pid(s) {', '.join(map(str, gone))}) exited unexpectedly"
                    raise RuntimeError(message) from error
            raise

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # torch promises its private iterator class
        self.given, self._start = self._start, 0
        return self._batches(self.given)

    def _batches(self, start: int) -> Iterator[Any]:
        if start:
            self.sampler.start_at(start * int(self.batch_size or 1))  # type: ignore[attr-defined]  # an EpochSampler
        batches = super().__iter__()
        while True:
            with translating_lost_workers(self):
                batch = self._next(batches)
            if batch is None:
                return
            if isinstance(batch, RinglightError):
                try:
                    raise batch
                finally:
                    # Error, traceback, frame, error is a circle that keeps the workers until the garbage collector
                    # comes, which takes their queues away first: each then waits out its five seconds.
                    del batch
            self.given += 1
            yield batch


@contextlib.contextmanager
def translating_lost_workers(*loaders: object) -> Iterator[None]:
    """Turn torch's error of a worker process that died in the block into one line; other errors pass.

    Whatever ends the block early ends the workers, too: who goes on in this process, or reads the error, would wait for
    them, five seconds each.

    Put it around a whole training as well: torch raises that error in whichever line the main process is, which is
    seldom the one that asks for a batch.

    Args:
        loaders: those whose workers may die; of :class:`ImageLoader` they are ended.

    Raises:
        TrainingError: a worker died.
    """
    try:
        yield
    except BaseException as error:
        for loader in loaders:
            if isinstance(loader, ImageLoader):
                loader.stop()
        dead = lost_worker(error) if isinstance(error, RuntimeError) else None
        if dead is None:
            raise
        raise dead from None


def lost_worker(error: Exception) -> TrainingError | None:
    """Return the one line for torch's error of a worker process that died; None for any other error.

    torch raises it from a signal handler, so that it may come up in any line of the main process, not only while the
    loader is asked for a batch.

    Examples:
        >>> lost_worker(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")).got
        'one that died (process 7, signal Killed)'
    """
    message = str(error)
    found = re.search(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)", message)
    if found is None:
        return None
    signal = re.search(r"by signal: ([^.]+)\.", message)
    return TrainingError(
        "worker processes that live to the end of the run",
        got=f"one that died (process {found[1].strip()}{f', signal {signal[1]}' if signal else ''})",
        where="loader",
        fix="most likely the machine's memory ran out: lower data.num_workers (0 loads in the main process) or "
        "data.batch_size",
    )


def target_tensor(dataset: Dataset) -> torch.Tensor:
    """Return what a model is trained on: int64 (N,) class indices, or the float32 (N, K) binary matrix."""
    kind = torch.int64 if dataset.task == "multiclass" else torch.float32
    return torch.as_tensor(np.asarray(dataset.targets())).to(kind)


def make_loader(
    dataset: Dataset,
    spec: InputSpec,
    *,
    batch_size: int,
    seed: int,
    shuffle: bool = False,
    augmenter: Augmenter | None = None,
    num_workers: int = 0,
    drop_last: bool = False,
    start_method: Literal["fork", "spawn", "forkserver"] | None = None,
    pin_memory: bool = False,
    sampler: EpochSampler | None = None,
    cache: PixelCache | None = None,
    prefetch_factor: int | None = None,
    raw: bool = False,
) -> ImageLoader:
    """Return a loader of :class:`~ringlight.types.Batch`; the batches do not depend on `num_workers` or `start_method`.

    The global random state is neither used nor changed. Where batches are copied straight out of a cache, no workers
    are started: to hand a batch over from another process takes several times as long as the copy itself.

    Args:
        dataset: records with a file each.
        spec: what the model expects.
        batch_size: records in a batch; the last one has fewer.
        seed: of the order, when there is no `sampler`.
        shuffle: every epoch in another order, when there is no `sampler`.
        augmenter: for training.
        num_workers: processes that load; 0 loads in this one.
        drop_last: leave an incomplete last batch out.
        start_method: how workers start; None takes the platform's way.
        pin_memory: speeds the way to a GPU up.
        sampler: which records an epoch shows, and in which order.
        cache: decoded pictures of this data set or of one that it is a part of; they are found by content.
        prefetch_factor: batches each worker is ahead; None takes torch's 2. Without workers it has no meaning.
        raw: yield `input` as uint8 (B, H, W, C), to be normalised on the device
            (:func:`~ringlight.data.preprocess.normalise`), instead of float32 (B, C, H, W).

    Raises:
        DataError: a record has no file, or is not in `cache`. Iterating raises it for a file that cannot be read, and
            TrainingError when a worker dies.
    """
    images = ImageDataset(dataset, spec, augmenter=augmenter, cache=cache, raw=raw)
    num_workers = 0 if images.is_straight else num_workers
    return ImageLoader(
        images,
        batch_size=batch_size,
        sampler=EpochSampler(len(images), seed=seed, shuffle=shuffle) if sampler is None else sampler,
        num_workers=num_workers,
        collate_fn=_as_it_is,
        drop_last=drop_last,
        pin_memory=pin_memory,
        worker_init_fn=_one_thread,
        multiprocessing_context=start_method if num_workers else None,
        persistent_workers=num_workers > 0,
        prefetch_factor=prefetch_factor if num_workers else None,
        generator=torch.Generator().manual_seed(seed),  # else the loader draws its workers' seeds from the global one
    )


def _as_it_is(batch: Any) -> Any:
    """`__getitems__` has made the batch already."""
    return batch


def _one_thread(_worker: int) -> None:
    """Keep OpenCV to one thread in a worker: workers times cores threads fight for the same cores."""
    cv2.setNumThreads(0)
