"""Batches of windows for training: read, normalised, augmented; keys and order as for images.

The samplers, the keys (epoch, row, copy) and the loader that turns errors into one line are those of
:mod:`ringlight.data.loader`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset as TorchDataset

from ringlight.data.loader import ImageLoader, target_tensor
from ringlight.data.sampling import EpochSampler, Key
from ringlight.data.window_spec import WindowSpec, to_input
from ringlight.data.window_store import WindowReader
from ringlight.errors import RinglightError
from ringlight.types import Batch, Dataset

Windows = npt.NDArray[np.float32]


class WindowAugmenter(Protocol):
    """What augments a window; strengths are in standard deviations of a channel."""

    def __call__(self, window: Windows, *, epoch: int, record_id: str, heavy: bool = False) -> Windows:
        """Return another window float32 (T, C)."""

    def heavy_rows(self, dataset: Dataset) -> npt.NDArray[np.bool_]:
        """Return which records get the heavy pipeline."""


class WindowDataset(TorchDataset[Batch]):
    """The records of a data set as a model's inputs and targets.

    A window is read in physical units, normalised, then augmented: an augmentation's strength is measured in deviations
    of a channel. Where the model takes values as they are, they are standardised for the augmentation only.

    Args:
        dataset: windows.
        spec: what the model expects.
        augmenter: for training; None leaves the windows as they are.

    Raises:
        DataError: the records are no windows, or not those that `spec` expects.
    """

    def __init__(self, dataset: Dataset, spec: WindowSpec, *, augmenter: WindowAugmenter | None = None) -> None:
        spec.require(dataset.signals, dataset.name)
        self.dataset = dataset
        self.spec = spec
        self.augmenter = augmenter
        self.reader = WindowReader.of(dataset)
        self._ids = dataset.table.column("id").combine_chunks()
        self._targets = target_tensor(dataset)
        self._heavy = None if augmenter is None else augmenter.heavy_rows(dataset)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Key) -> Batch:
        """Return one sample: window float32 (C, T), target a class index or (K,), row and copy."""
        _, row, copy = key
        return Batch(input=self._inputs([key])[0], target=self._targets[row], index=row, copy=copy)

    def __getitems__(self, keys: Sequence[Key]) -> Batch | RinglightError:
        """Return a batch, or the error that stopped it: torch cannot carry ours out of a worker."""
        try:
            inputs = self._inputs(keys)
        except RinglightError as error:
            return error
        index = torch.tensor([row for _, row, _ in keys])
        copies = torch.tensor([copy for _, _, copy in keys])
        return Batch(input=inputs, target=self._targets[index], index=index, copy=copies)

    def _inputs(self, keys: Sequence[Key]) -> torch.Tensor:
        windows = self.reader.read([row for _, row, _ in keys])
        if self.augmenter is None:
            return self.spec.apply(windows)
        if self.spec.normalize == "none":
            return to_input(self.spec.restored(self._augmented(self.spec.standardised(windows), keys)))
        return to_input(self._augmented(self.spec.normalised(windows), keys))

    def _augmented(self, windows: Windows, keys: Sequence[Key]) -> Windows:
        if self.augmenter is None or self._heavy is None:
            return windows
        changed = np.empty_like(windows)
        for place, (epoch, row, copy) in enumerate(keys):
            record_id = self._ids[row].as_py()
            changed[place] = self.augmenter(
                windows[place],
                epoch=epoch,
                record_id=f"{record_id}#{copy}" if copy else record_id,
                heavy=bool(self._heavy[row]),
            )
        return changed


def make_window_loader(
    dataset: Dataset,
    spec: WindowSpec,
    *,
    batch_size: int,
    seed: int,
    shuffle: bool = False,
    augmenter: WindowAugmenter | None = None,
    num_workers: int = 0,
    drop_last: bool = False,
    start_method: Literal["fork", "spawn", "forkserver"] | None = None,
    pin_memory: bool = False,
    sampler: EpochSampler | None = None,
    prefetch_factor: int | None = None,
) -> ImageLoader:
    """Return a loader of :class:`~ringlight.types.Batch`; the batches do not depend on `num_workers`.

    The global random state is neither used nor changed. Without an augmenter no workers are started: to hand a batch
    over from another process takes longer than to read and normalise it.

    Args:
        dataset: windows.
        spec: what the model expects.
        batch_size: windows in a batch; the last one has fewer.
        seed: of the order, when there is no `sampler`.
        shuffle: every epoch in another order, when there is no `sampler`.
        augmenter: for training.
        num_workers: processes that load; 0 loads in this one.
        drop_last: leave an incomplete last batch out.
        start_method: how workers start; None takes the platform's way.
        pin_memory: speeds the way to a GPU up.
        sampler: which records an epoch shows, and in which order.
        prefetch_factor: batches each worker is ahead; None takes torch's 2. Without workers it has no meaning.

    Raises:
        DataError: the records are no windows, or not those that `spec` expects. Iterating raises it where a store is
            gone, and TrainingError when a worker dies.
    """
    windows = WindowDataset(dataset, spec, augmenter=augmenter)
    num_workers = 0 if augmenter is None else num_workers
    return ImageLoader(
        windows,
        batch_size=batch_size,
        sampler=EpochSampler(len(windows), seed=seed, shuffle=shuffle) if sampler is None else sampler,
        num_workers=num_workers,
        collate_fn=_as_it_is,
        drop_last=drop_last,
        pin_memory=pin_memory,
        multiprocessing_context=start_method if num_workers else None,
        persistent_workers=num_workers > 0,
        prefetch_factor=prefetch_factor if num_workers else None,
        generator=torch.Generator().manual_seed(seed),  # else the loader draws its workers' seeds from the global one
    )


def _as_it_is(batch: Any) -> Any:
    """`__getitems__` has made the batch already."""
    return batch
