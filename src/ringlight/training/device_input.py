"""Batches of bytes become a model's input on the device: augmented there in training, then normalised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from ringlight.data.preprocess import InputSpec
from ringlight.types import Batch


class BatchAugmentation(Protocol):
    """What changes a whole batch of pictures (B, H, W, C), each drawn from (seed, epoch, record id)."""

    def __call__(self, images: Tensor, *, epoch: int, record_ids: Sequence[str], heavy: Tensor | None = None) -> Tensor:
        """Return pictures of the same shape and type."""
        ...


class DeviceInput:
    """Turns uint8 batches (B, H, W, C) into normalised float32 (B, C, H, W); other batches pass as they are.

    Args:
        spec: the model's input.
        record_ids: the id of every training row, which `batch["index"]` points into.
        augmenter: what augments training batches; None leaves them plain.
        heavy_rows: (N,) whether a training row is augmented with the heavy pipeline.
    """

    def __init__(
        self,
        spec: InputSpec,
        *,
        record_ids: Sequence[str] = (),
        augmenter: BatchAugmentation | None = None,
        heavy_rows: Sequence[bool] | None = None,
    ) -> None:
        self.spec = spec
        self.record_ids = record_ids
        self.augmenter = augmenter
        self.heavy_rows = None if heavy_rows is None else torch.as_tensor(heavy_rows, dtype=torch.bool)

    def __call__(self, batch: Batch, *, epoch: int, training: bool, device: torch.device) -> Batch:
        """Return the batch as the model takes it."""
        from ringlight.data.preprocess import normalise

        images = batch["input"]
        if images.dtype != torch.uint8:
            return batch
        if training and self.augmenter is not None:
            rows = batch["index"].cpu()
            heavy = None if self.heavy_rows is None else self.heavy_rows[rows].to(device)
            images = self.augmenter(images, epoch=epoch, record_ids=self._drawn(batch, rows), heavy=heavy)
        return cast(Batch, {**batch, "input": normalise(images, self.spec, device)})

    def _drawn(self, batch: Mapping[str, Any], rows: Tensor) -> list[str]:
        """Return what each picture's augmentation is drawn from: a record's further copies differ from its first."""
        copies = batch["copy"].tolist() if "copy" in batch else [0] * len(rows)
        ids = (self.record_ids[row] for row in rows.tolist())
        return [f"{key}#{copy}" if copy else key for key, copy in zip(ids, copies, strict=True)]
