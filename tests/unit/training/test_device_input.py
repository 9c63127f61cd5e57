"""Bytes on the device: augmented in training by the same key as on the CPU, normalised always."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ringlight.data.preprocess import InputSpec, to_tensor
from ringlight.training.device_input import DeviceInput

SPEC = InputSpec(3, (4, 5), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8))


class Recorder:
    """An augmentation that adds one and remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[Any] = []

    def __call__(self, images: Tensor, *, epoch: int, record_ids: Sequence[str], heavy: Tensor | None = None) -> Tensor:
        self.given.append((epoch, list(record_ids), None if heavy is None else heavy.tolist()))
        return images + 1


def batch_of(**more: Tensor) -> Any:
    return {"input": IMAGES, "target": torch.zeros(3), "index": torch.tensor([2, 0, 2]), **more}


def test_bytes_become_what_the_cpu_would_have_made_of_them() -> None:
    made = DeviceInput(SPEC)(batch_of(), epoch=0, training=False, device=torch.device("cpu"))
    expected = torch.stack([to_tensor(image.numpy(), SPEC) for image in IMAGES])
    assert torch.equal(made["input"], expected)


def test_only_training_batches_are_augmented_each_copy_of_a_record_differently() -> None:
    recorder = Recorder()
    turn = DeviceInput(SPEC, record_ids=["a", "b", "c"], augmenter=recorder, heavy_rows=[False, False, True])
    turn(batch_of(), epoch=4, training=False, device=torch.device("cpu"))
    assert recorder.given == []
    batch = batch_of(copy=torch.tensor([0, 0, 5]))
    made = turn(batch, epoch=4, training=True, device=torch.device("cpu"))
    assert recorder.given == [(4, ["c", "a", "c#5"], [True, False, True])]
    assert torch.equal(made["input"][0], to_tensor((IMAGES[0] + 1).numpy(), SPEC))


def test_a_batch_that_is_input_already_passes() -> None:
    batch = {"input": torch.rand(2, 3, 4, 5), "target": torch.zeros(2), "index": torch.arange(2)}
    assert DeviceInput(SPEC)(batch, epoch=0, training=True, device=torch.device("cpu")) is batch  # type: ignore[arg-type]
