"""Images decoded once: a memory-mapped file of what :func:`~ringlight.data.preprocess.fit_size` gives.

A cache is named after its contents: the digests of the images, the size, the channels, how they are resized, and the
versions of the libraries that decode. So a changed image, another input size or an update is another cache, new labels
and other splits are the same one, and identical images are kept once. Normalisation is no part of it.

A cache is checked in full once, when it is opened (every picture has a CRC-32): an epoch costs no checks. One that is
damaged is built again. Where none can be kept, because the disk is full or the folder read-only, there is none, and
training reads the images themselves.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ringlight.data.cache_budget import building, gib, make_room, touch
from ringlight.data.cache_build import ImageFile, Progress, build_cache, cache_size, require_unchanged
from ringlight.data.cache_file import FORMAT, CacheFile, DamagedError
from ringlight.data.content import hash_contents, require_files
from ringlight.data.preprocess import InputSpec, Pixels
from ringlight.errors import DataError
from ringlight.runtime import LOGGER, package_versions
from ringlight.types import Dataset

DECODERS = ("pillow", "opencv-python-headless")
"""Whose versions are part of a cache's name: another one may round a pixel differently."""

WITHOUT = "images are decoded anew in every epoch"


class PixelCache:
    """The pictures of a data set, ready for the model but for augmentation and normalisation.

    It is picklable: a worker maps the same file again, and all share its pages. :func:`open_cache` makes it.

    Args:
        path: the file.
        spec: what the pictures were brought to.
        slots: (N,) for each record the place of its picture in the file's index.
        file: the open file; None maps it when it is first needed.
    """

    def __init__(
        self, path: Path, spec: InputSpec, slots: npt.NDArray[np.int64], *, file: CacheFile | None = None
    ) -> None:
        self.path = path
        self.spec = spec
        self._slots = slots
        self._mapped = file

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mapped": None}

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def nbytes(self) -> int:
        """The length of the file; identical images count once."""
        return self._file.nbytes

    @property
    def is_uniform(self) -> bool:
        """Whether all pictures of the file have one size."""
        return self._file.is_uniform

    @property
    def _file(self) -> CacheFile:
        if self._mapped is None:
            try:
                self._mapped = CacheFile(self.path)
            except (OSError, DamagedError) as error:
                raise DataError(
                    "the cache this run has opened",
                    got=f"none ({error})",
                    where=str(self.path),
                    fix="leave the folder alone while a run uses it, and run again",
                ) from None
        return self._mapped

    def of(self, dataset: Dataset, spec: InputSpec | None = None) -> Self:
        """Return the cache of another selection of the same images, such as a part of a split: found by content.

        Raises:
            DataError: an image of `dataset` is not in it, or was never hashed; `spec` asks for other pictures.
        """
        if spec is not None and _shaping(spec) != _shaping(self.spec):
            raise DataError(
                f"a cache of pictures for {_shaping(spec)}",
                got=f"one for {_shaping(self.spec)}",
                where=str(self.path),
                fix="open it with the model's own input specification",
            )
        digests = _digests(dataset)
        kept = self._file.entries["digest"]
        slots = np.minimum(np.searchsorted(kept, digests), len(kept) - 1)
        absent = kept[slots] != digests
        if absent.any():
            row = int(np.argmax(absent))
            raise DataError(
                "a cache that holds every image of the data set",
                got=f"none of record `{dataset.ids[row]}`",
                where=str(self.path),
                fix="open the cache with the whole data set",
            )
        return type(self)(self.path, self.spec, slots.astype(np.int64), file=self._file)

    def holds(self, dataset: Dataset) -> bool:
        """Whether every image of a data set is in the cache, by content."""
        if dataset.table.column("content").null_count:
            return False
        return bool(np.isin(_digests(dataset), self._file.entries["digest"]).all())

    def source_shape(self, row: int) -> tuple[int, int]:
        """Return the (height, width) the upright image had before it was brought to size."""
        height, width = self._file.entries["source"][self._slots[row]].tolist()
        return height, width

    def read(self, row: int) -> Pixels:
        """Return one picture, uint8 (H, W, C): a copy, as if it were decoded anew."""
        picture = self._file.picture(int(self._slots[row])).copy()
        self._file.count_read(picture.nbytes)
        return picture

    def batch(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> Pixels:
        """Return pictures of one size, uint8 (B, H, W, C), in one go.

        Raises:
            DataError: they have several sizes.
        """
        file, slots = self._file, self._slots[np.asarray(rows, np.int64)]
        shapes = file.entries["shape"][slots]
        if (shapes != shapes[0]).any():
            sizes = ", ".join(f"{height}x{width}" for height, width in np.unique(shapes, axis=0).tolist()[:3])
            raise DataError(
                "pictures of one size in a batch",
                got=f"several ({sizes})",
                where=str(self.path),
                fix="set data.image_size, or data.batch_size=1",
            )
        pictures = file.gather(slots)
        file.count_read(pictures.nbytes)
        return pictures


def open_cache(
    dataset: Dataset,
    spec: InputSpec,
    folder: Path,
    *,
    budget_gib: float,
    progress: Progress | None = None,
    num_threads: int | None = None,
) -> PixelCache | None:
    """Return the cache of a data set's images, built when it is not there yet.

    Give it the whole data set: its parts find their pictures in it (:meth:`PixelCache.of`), however it is split. Of
    two processes that want the same cache one builds it and the other waits.

    Args:
        dataset: records with a file each; without the digests of their contents they are hashed first.
        spec: what the pictures are brought to.
        folder: where caches lie; those longest unused are evicted for new ones, but none that a process uses.
        budget_gib: how much all caches of the folder may take, above 0.
        progress: told (done, total) while it is built.
        num_threads: how many decode at once; one a processor, at most 8, when None.

    Returns:
        The cache; None, and a line in the log why, when it does not fit or the folder cannot be written.

    Raises:
        DataError: an image cannot be read, or has changed since it was hashed; a budget that is no number above 0.
        Problems: several of them.
    """
    if isinstance(budget_gib, bool) or not (isinstance(budget_gib, int | float) and 0 < budget_gib < math.inf):
        fix = "set it to the room the disk can spare, or data.cache=off"
        raise DataError("a number above 0", got=repr(budget_gib), where="data.cache_budget_gib", fix=fix)
    require_files(dataset)
    if dataset.table.column("content").null_count:
        dataset = hash_contents(dataset, num_threads=num_threads)
    digests = _digests(dataset)
    unique, first = np.unique(digests, return_index=True)
    path = folder / f"pixels-{_key(unique, spec)[:32]}.bin"
    try:
        file = _existing(path, dataset, num_threads, logging.DEBUG)
        if file is None:
            with building(folder):
                file = _existing(path, dataset, num_threads, logging.WARNING) or _built(
                    path, dataset.take(np.sort(first)), spec, int(budget_gib * 2**30), progress, num_threads
                )
    except OSError as error:
        LOGGER.warning("%s: no cache can be kept here: %s; %s", folder, _why(error), WITHOUT)
        return None
    if file is None:
        return None
    touch(path)
    return PixelCache(path, spec, np.searchsorted(unique, digests).astype(np.int64), file=file)


def _digests(dataset: Dataset) -> npt.NDArray[np.bytes_]:
    contents = dataset.table.column("content").to_pylist()
    if None in contents:
        raise DataError(
            "the digest of every file",
            got="none",
            where=f"{dataset.name}: record `{dataset.ids[contents.index(None)]}`",
            fix="hash the data first (ringlight.data.content.hash_contents)",
        )
    return np.array([bytes.fromhex(content) for content in contents], "S32")


def _key(digests: npt.NDArray[np.bytes_], spec: InputSpec) -> str:
    described = {"format": FORMAT, **_shaping(spec), **package_versions(DECODERS)}
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode() + digests.tobytes()).hexdigest()


def _shaping(spec: InputSpec) -> dict[str, Any]:
    """Return what of a specification shapes the bytes."""
    values = spec.to_dict()
    del values["std"]
    if spec.resize_mode != "letterbox":  # its border has the mean's colour
        del values["mean"]
    return values


def _existing(path: Path, dataset: Dataset, num_threads: int | None, level: int) -> CacheFile | None:
    """Open and check a cache; None when there is none, or none that can be used, which is logged at `level`.

    Raises:
        DataError: an image of `dataset` has changed since it was hashed.
        Problems: several have.
    """
    try:
        file = CacheFile(path)
        file.verify(num_threads)
    except FileNotFoundError:
        return None
    except DamagedError as error:
        LOGGER.log(level, "%s: the cached images cannot be used: %s; built again", path, error)
        return None
    if not file.is_linked:
        return None
    require_unchanged(dataset, file.built_at)
    return file


def _built(
    path: Path, dataset: Dataset, spec: InputSpec, budget: int, progress: Progress | None, num_threads: int | None
) -> CacheFile | None:
    path.unlink(missing_ok=True)  # a damaged one would count against the budget
    contents = dataset.table.column("content").to_pylist()
    sources = [ImageFile(str(uri), digest) for uri, digest in zip(dataset.uris, contents, strict=True)]
    refusal = make_room(path.parent, cache_size(sources, spec, num_threads), budget)
    if refusal is not None:
        LOGGER.warning("%s: no cache can be kept here: %s; %s", path.parent, refusal, WITHOUT)
        return None
    start = time.monotonic()
    build_cache(path, sources, spec, name=dataset.name, progress=progress, num_threads=num_threads)
    file = CacheFile(path)
    seconds = time.monotonic() - start
    LOGGER.info("%s: decoded %d images once (%s, %.1f s)", path, len(sources), gib(file.nbytes), seconds)
    return file


def _why(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
