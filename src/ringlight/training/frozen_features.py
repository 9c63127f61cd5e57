"""The features a head is fitted to: those that reach the classifier of the very model the run will save.

They are computed once and kept by the images' contents, the model's weights and its input specification (see
:func:`ringlight.training.features.features_of`), so that another split, another head or another seed needs no new pass.
Shapes: N records, D features.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ringlight.data.augment import Augmenter
from ringlight.data.preprocess import InputSpec, Pixels, to_tensor
from ringlight.errors import ModelError
from ringlight.runtime import LOGGER, DeviceChoice
from ringlight.training.features import BATCH_SIZE, Change, Embedder, Features, features_of
from ringlight.types import Dataset

if TYPE_CHECKING:
    from torch import nn

Progress = Callable[[int, int], None]

TELL_EVERY = 5.0
"""Seconds between two lines on how far a pass is."""


def backbone_embedder(module: nn.Module, name: str, spec: InputSpec, device: DeviceChoice) -> Embedder:
    """Return what turns pictures into the features that reach the classifier of `module`.

    The features' name is that of the weights, the classifier's apart: fitting it changes no feature.

    Raises:
        ModelError: the model does not end in one linear layer.
    """
    from ringlight.models.heads import num_features_of

    return Embedder(
        name=f"{name}-{weights_hash(module)[:16]}",
        title=f"frozen {name} features",
        note=f"{name} without its classifier",
        spec=spec,
        num_features=num_features_of(module),
        compute=partial(_before_head, module, spec, device.device),
        batch_size=BATCH_SIZE[device.kind],
    )


def weights_hash(module: nn.Module) -> str:
    """Return the SHA-256 of a model's weights, statistics and settings without those of its classifier.

    Settings are the layers' kinds and plain values: with another pooling the same weights give other features.
    """
    from ringlight.models.heads import classifier_of

    classifier = classifier_of(module)
    head = {id(tensor) for tensor in classifier.state_dict(keep_vars=True).values()}
    digest = hashlib.sha256()
    for key, layer in module.named_modules():
        if layer is not classifier:
            digest.update(f"{key} {type(layer).__name__} {_settings(layer)}".encode())
    for key, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) not in head:
            digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


NOT_OF_THE_FEATURES = frozenset({"training", "num_classes", "drop_rate", "drop_prob", "p"})
"""A layer's plain values that say how it is trained or what follows it."""


def _settings(layer: nn.Module) -> list[tuple[str, object]]:
    return sorted(
        (key, value)
        for key, value in vars(layer).items()
        if isinstance(value, str | int | float | tuple) and not key.startswith("_") and key not in NOT_OF_THE_FEATURES
    )


def _before_head(module: nn.Module, spec: InputSpec, device: str, images: list[Pixels]) -> Features:
    import torch

    from ringlight.models.heads import features_before_head

    with torch.inference_mode():
        # Channels last is the quickest layout for a pass without gradients, on a CPU by a third or more.
        batch = torch.stack([to_tensor(image, spec) for image in images])
        batch = batch.to(device=device, memory_format=torch.channels_last)
        vectors: Features = features_before_head(module, batch).float().cpu().numpy()
    return vectors


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """The features of a data set's records, found by their ids."""

    features: Features
    rows: Mapping[str, int]

    def has(self, data: Dataset) -> bool:
        """Whether every record is in the table."""
        return all(key in self.rows for key in data.ids)

    def of(self, data: Dataset) -> Features:
        """Return the features (N, D) of these records."""
        return self.features[[self.rows[key] for key in data.ids]]


def feature_table(
    module: nn.Module,
    data: Dataset,
    embedder: Embedder,
    device: DeviceChoice,
    *,
    cache: Path | None,
    progress: Progress | None = None,
) -> FeatureTable:
    """Pass a whole data set through the frozen backbone, once, or read what an earlier pass has kept.

    Raises:
        Problems: files that cannot be read, a line each.
        ModelError: the model gives numbers that are not finite.
    """
    started = time.perf_counter()
    told = progress or _told_now_and_then()
    with evaluating(module, device):
        features = _finite(features_of(data, embedder, cache=cache, progress=told), data, embedder)
    LOGGER.info(
        "%s of %d images, %d numbers each: %.1f s", embedder.title, len(data), features.shape[1],
        time.perf_counter() - started,
    )  # fmt: skip
    return FeatureTable(features, {key: row for row, key in enumerate(data.ids)})


def _finite(features: Features, data: Dataset, embedder: Embedder) -> Features:
    """Return the features; a single one that is not finite would spoil every weight of a head."""
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise ModelError(
            "finite numbers",
            got=f"{len(bad)} of {len(features)} images with others, the first record `{data.ids[bad[0]]}`",
            where=embedder.title,
            fix="check the model's weights (weights.folder, model.pretrained)",
        )
    return features


def _told_now_and_then() -> Progress:
    """Return what logs how far a pass is, for one that nobody else follows: a line every few seconds."""
    last = time.perf_counter()

    def progress(done: int, total: int) -> None:
        nonlocal last
        if time.perf_counter() - last >= TELL_EVERY:
            last = time.perf_counter()
            LOGGER.info("features: %d of %d images", done, total)

    return progress


class evaluating:  # noqa: N801 - reads as a statement
    """Hold a model in evaluation mode on the device, in the quickest layout, inside the block; then as it was."""

    def __init__(self, module: nn.Module, device: DeviceChoice) -> None:
        self.module = module
        self.device = device

    def __enter__(self) -> None:
        import torch

        self.was_training = self.module.training
        self.module.eval().to(self.device.device).to(memory_format=torch.channels_last)

    def __exit__(self, *_: object) -> None:
        import torch

        self.module.to(memory_format=torch.contiguous_format)
        self.module.train(self.was_training)


def augmented_features(
    module: nn.Module,
    train: Dataset,
    embedder: Embedder,
    device: DeviceChoice,
    augmenter: Augmenter | None,
    augmentation: Mapping[str, Any],
    *,
    num_views: int,
    cache: Path | None,
    progress: Progress | None = None,
) -> tuple[Features, npt.NDArray[np.int64]]:
    """Return the features of further, augmented copies of training records, and the row each is a copy of.

    A record has `num_views` of them, times its class's factor: of a class with a factor of 20 every record stands there
    20 times, 19 of them augmented by the heavy pipeline.

    Raises:
        Problems: files that cannot be read, a line each.
        ModelError: the model gives numbers that are not finite.
    """
    empty = np.empty((0, embedder.num_features), np.float32), np.empty(0, np.int64)
    if augmenter is None:
        return empty
    copies = augmenter.factors(train) * (1 + num_views) - 1
    heavy = dict(zip(train.ids, augmenter.heavy_rows(train).tolist(), strict=True))
    found, rows = [], []
    with evaluating(module, device):
        for copy in range(1, int(copies.max(initial=0)) + 1):
            taken = np.flatnonzero(copies >= copy)

            def change(pixels: Pixels, record_id: str, copy: int = copy) -> Pixels:
                return augmenter(pixels, epoch=0, record_id=f"{record_id}#{copy}", heavy=heavy[record_id]).image

            # With the labels it changes which pipeline a picture goes through, though not the picture.
            heavily = [row for row, number in enumerate(taken) if heavy[train.ids[number]]]
            name = json.dumps([augmenter.seed, copy, augmentation, heavily], sort_keys=True, default=str)
            part = train.take(taken)
            vectors = features_of(part, embedder, cache=cache, progress=progress, change=Change(name, change))
            found.append(_finite(vectors, part, embedder))
            rows.append(taken)
    return (np.concatenate(found), np.concatenate(rows)) if found else empty
