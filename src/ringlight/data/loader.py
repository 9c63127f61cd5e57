"""Batches for training: a torch data set of pictures, a sampler that knows the epoch, and the loader around them.

The sampler yields (epoch, row) pairs. So a worker that lives through all epochs, or one that starts in the middle of a
resumed run, knows all it needs, and the order of an epoch is a function of the seed and the epoch's number alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler, default_collate
from torch.utils.data import Dataset as TorchDataset

from ringlight.data.augment import Augmenter
from ringlight.data.preprocess import InputSpec, fit_size, read_image, to_tensor
from ringlight.errors import DataError, RinglightError
from ringlight.types import Batch, Dataset

Key = tuple[int, int]


class ImageDataset(TorchDataset[Batch]):
    """The records of a data set as a model's inputs and targets.

    A picture is read, brought to size, augmented and normalised, in this order.

    Args:
        dataset: records with a file each.
        spec: what the model expects.
        augmenter: for training; None leaves the pictures as they are.

    Raises:
        DataError: a record has no file.
    """

    def __init__(self, dataset: Dataset, spec: InputSpec, *, augmenter: Augmenter | None = None) -> None:
        if not dataset.has_content:
            row = dataset.uris.index(None)
            raise DataError(
                "a file for every record",
                got="none",
                where=f"{dataset.name}: record `{dataset.ids[row]}`",
                fix="leave it out (data.missing=skip), or add the file",
            )
        self.dataset = dataset
        self.spec = spec
        self.augmenter = augmenter
        # Arrow columns and one tensor, not a million Python objects, which every forked worker would copy one by one.
        self._ids = dataset.table.column("id").combine_chunks()
        self._uris = dataset.table.column("uri").combine_chunks()
        kind = torch.int64 if dataset.task == "multiclass" else torch.float32
        self._targets = torch.as_tensor(np.asarray(dataset.targets())).to(kind)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Key) -> Batch:
        """Return one sample: image float32 (C, H, W), target a class index or (K,), index its row.

        Raises:
            DataError: the file cannot be read.
        """
        epoch, row = key
        image = fit_size(read_image(self._uris[row].as_py(), in_chans=self.spec.in_chans), self.spec)
        if self.augmenter is not None:
            image = self.augmenter(image, epoch=epoch, record_id=self._ids[row].as_py()).image
        return Batch(image=to_tensor(image, self.spec), target=self._targets[row], index=row)

    def __getitems__(self, keys: Sequence[Key]) -> list[Batch] | RinglightError:
        """Return the samples of a batch, or the error that stopped it: torch cannot carry ours out of a worker."""
        try:
            return [self[key] for key in keys]
        except RinglightError as error:
            return error

    def collate(self, samples: list[Batch] | RinglightError) -> Batch | RinglightError:
        """Stack samples to a batch; pass an error on."""
        if isinstance(samples, RinglightError):
            return samples
        images = [sample["image"] for sample in samples]
        shapes = [tuple(image.shape[1:]) for image in images]
        other = next((position for position, shape in enumerate(shapes) if shape != shapes[0]), None)
        if other is not None:
            first, odd = (self._ids[samples[position]["index"]].as_py() for position in (0, other))
            return DataError(
                "pictures of one size in a batch",
                got=f"{shapes[0][0]}x{shapes[0][1]} (`{first}`) and {shapes[other][0]}x{shapes[other][1]} (`{odd}`)",
                where=self.dataset.name,
                fix="set data.image_size, or data.batch_size=1",
            )
        return Batch(
            image=default_collate(images),  # in a worker straight into shared memory, which saves a copy
            target=torch.stack([sample["target"] for sample in samples]),
            index=torch.tensor([sample["index"] for sample in samples]),
        )


class EpochSampler(Sampler[Key]):
    """Yields (epoch, row) for every row once.

    Lightning calls :meth:`set_epoch` by itself before each epoch; a bare loop does it by hand.

    Args:
        n: number of rows.
        seed: with the epoch's number it determines the order.
        shuffle: False keeps the order of the rows.

    Examples:
        >>> list(EpochSampler(3, seed=0, shuffle=False))
        [(0, 0), (0, 1), (0, 2)]
    """

    def __init__(self, n: int, *, seed: int, shuffle: bool) -> None:
        self.n = n
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[Key]:
        epoch = self.epoch
        order = np.arange(self.n)
        if self.shuffle:
            order = np.random.default_rng([self.seed, epoch]).permutation(self.n)
        return ((epoch, row) for row in order.tolist())


class ImageLoader(DataLoader[Batch]):
    """A torch loader that raises our one-line errors wherever they arose, also in a worker."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # torch promises its private iterator class
        for batch in super().__iter__():
            if isinstance(batch, RinglightError):
                try:
                    raise batch
                finally:
                    # Error, traceback, frame, error is a circle that keeps the workers until the garbage collector
                    # comes, which takes their queues away first: each then waits out its five seconds.
                    del batch
            yield batch


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
) -> ImageLoader:
    """Return a loader of :class:`~ringlight.types.Batch`; the batches do not depend on `num_workers` or `start_method`.

    The global random state is neither used nor changed. `start_method` None takes the platform's way to start workers;
    `pin_memory` speeds the way to a GPU up.

    Raises:
        DataError: a record has no file. Iterating raises it for a file that cannot be read.
    """
    images = ImageDataset(dataset, spec, augmenter=augmenter)
    return ImageLoader(
        images,
        batch_size=batch_size,
        sampler=EpochSampler(len(images), seed=seed, shuffle=shuffle),
        num_workers=num_workers,
        collate_fn=images.collate,
        drop_last=drop_last,
        pin_memory=pin_memory,
        worker_init_fn=_one_thread,
        multiprocessing_context=start_method if num_workers else None,
        persistent_workers=num_workers > 0,
        generator=torch.Generator().manual_seed(seed),  # else the loader draws its workers' seeds from the global one
    )


def _one_thread(_worker: int) -> None:
    """Keep OpenCV to one thread in a worker: workers times cores threads fight for the same cores."""
    cv2.setNumThreads(0)
