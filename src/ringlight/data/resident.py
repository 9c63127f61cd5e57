"""Batches of pictures that all lie on the device: an epoch moves nothing but the order in which they are shown.

Shapes: N records, P different pictures among them, E keys in an epoch, B batch, H x W pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch

from ringlight.data.cache import PixelCache
from ringlight.data.cache_budget import gib
from ringlight.data.loader import target_tensor
from ringlight.data.preprocess import InputSpec
from ringlight.data.sampling import EpochSampler
from ringlight.errors import DataError
from ringlight.runtime import LOGGER
from ringlight.types import Batch, Dataset

BLOCK_BYTES = 64 * 2**20
"""How much is read at once while the pictures move: all of them need never lie in the machine's own memory."""
SHARE = 0.5
"""Of the device's free memory: the model, its gradients and a step's activations need the rest."""


class ResidentLoader:
    """Yields raw batches out of one tensor on the device, uint8 (P, H, W, C): those of `make_loader(raw=True)`.

    Like a torch loader it is iterated once an epoch and has a `sampler`: there Lightning, or a bare loop, calls
    `set_epoch`. Its state, as that of the other loaders, is how many batches of the epoch it has given. `image` and
    `target` of a batch lie on the device; `index` and `copy` stay on the CPU, where the names are that an augmentation
    is drawn from. :func:`resident_loader` makes it.

    Args:
        pictures: uint8 (P, H, W, C), on the device.
        places: int64 (N,) for each record its picture.
        targets: (N,) or (N, K).
        sampler: which records an epoch shows, and in which order.
        batch_size: records in a batch; the last one has fewer.
        drop_last: leave an incomplete last batch out.
    """

    def __init__(
        self,
        pictures: torch.Tensor,
        *,
        places: torch.Tensor,
        targets: torch.Tensor,
        sampler: EpochSampler,
        batch_size: int,
        drop_last: bool = False,
    ) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last
        self._pictures: torch.Tensor | None = pictures
        self._places = places
        self._targets = targets.to(pictures.device)
        self.given = 0
        self._start = 0

    def state_dict(self) -> dict[str, int]:
        """Return how many batches of the epoch were given."""
        return {"batches": self.given}

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        """Begin the next epoch behind the batches that were given."""
        self._start = state_dict["batches"]

    @property
    def nbytes(self) -> int:
        """The memory the pictures take; 0 once they were released."""
        return 0 if self._pictures is None else self._pictures.nbytes

    def __len__(self) -> int:
        keys = len(self.sampler)
        return keys // self.batch_size if self.drop_last else -(-keys // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        self.given, self._start = self._start, 0
        return self._batches(self.given)

    def _batches(self, first: int) -> Iterator[Batch]:
        if self._pictures is None:
            raise DataError(
                "a loader that holds its pictures", got="one that was released", where="loader", fix="make a new one"
            )
        drawn = np.fromiter(self.sampler, np.dtype((np.int64, 3)))
        rows, copies = (torch.from_numpy(np.ascontiguousarray(drawn[:, part])) for part in (1, 2))
        device = self._pictures.device
        # The whole epoch's order in one go: a transfer in every step would make the processor wait for the device.
        places, known = self._places[rows].to(device), rows.to(device)
        for start in range(first * self.batch_size, len(self) * self.batch_size, self.batch_size):
            part = slice(start, start + self.batch_size)
            self.given += 1
            yield Batch(
                input=self._pictures.index_select(0, places[part]),
                target=self._targets.index_select(0, known[part]),
                index=rows[part],
                copy=copies[part],
            )

    def release(self) -> None:
        """Give the memory back: what holds the loader, such as a trainer, may live longer than the training."""
        self._pictures = None


def resident_loader(
    dataset: Dataset,
    spec: InputSpec,
    cache: PixelCache,
    *,
    device: torch.device | str,
    free: int,
    batch_size: int,
    seed: int,
    shuffle: bool = False,
    drop_last: bool = False,
    sampler: EpochSampler | None = None,
) -> ResidentLoader | None:
    """Move the pictures of a data set to a device and return the loader over them.

    Its batches are those of :func:`~ringlight.data.loader.make_loader` with `raw=True` and no augmenter: to augment
    and to normalise is left to the device. Identical images lie there once.

    Args:
        dataset: records whose images are in `cache`.
        spec: what the model expects.
        cache: decoded pictures of this data set or of one that it is a part of.
        device: where the pictures shall lie.
        free: its free memory in bytes; the pictures may take half of it.
        batch_size: records in a batch; the last one has fewer.
        seed: of the order, when there is no `sampler`.
        shuffle: every epoch in another order, when there is no `sampler`.
        drop_last: leave an incomplete last batch out.
        sampler: which records an epoch shows, and in which order.

    Returns:
        The loader; None, and a line in the log why, when the pictures have several sizes or do not fit.

    Raises:
        DataError: an image is not in `cache`, or `spec` asks for other pictures.
    """
    own = cache.of(dataset, spec)
    contents = np.array(dataset.table.column("content").to_pylist())
    _, first, places = np.unique(contents, return_index=True, return_inverse=True)
    if not own.is_uniform:
        return _without("the pictures have several sizes")
    shape = (len(first), *own.read(0).shape)
    needed = int(np.prod(shape))
    if needed > free * SHARE:
        return _without(f"the pictures take {gib(needed)}, more than half of the {gib(free)} that are free")
    try:
        pictures = _moved(own, first, shape, torch.device(device))
    except torch.OutOfMemoryError:
        return _without(f"the device has no room for {gib(needed)} in one piece")
    return ResidentLoader(
        pictures,
        places=torch.from_numpy(np.ascontiguousarray(places.reshape(-1), np.int64)),
        targets=target_tensor(dataset),
        sampler=EpochSampler(len(dataset), seed=seed, shuffle=shuffle) if sampler is None else sampler,
        batch_size=batch_size,
        drop_last=drop_last,
    )


def _moved(cache: PixelCache, rows: np.ndarray, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    pictures = torch.empty(shape, dtype=torch.uint8, device=device)
    step = max(1, BLOCK_BYTES // int(np.prod(shape[1:])))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        pictures[part] = torch.from_numpy(cache.batch(rows[part])).to(device)
    return pictures


def _without(reason: str) -> ResidentLoader | None:
    LOGGER.warning("data.keep_on_device: %s; batches come from the cache instead", reason)
    return None
