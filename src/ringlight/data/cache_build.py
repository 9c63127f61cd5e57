"""Building a cache: every image read once, compared with its digest, decoded in threads and written in order.

What is held in memory does not grow with the number of images. The file is written under another name and renamed when
it is whole. It is not forced to the disk: should the power fail in the moment after, its checksums tell, and it is
built again.
"""

from __future__ import annotations

import hashlib
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ringlight.data.cache_file import ENTRY, data_start, write_front
from ringlight.data.content import hash_contents, parallel, read_header
from ringlight.data.decode import file_fault, open_file
from ringlight.data.faults import Faults
from ringlight.data.preprocess import InputSpec, Pixels, fit_of, fit_size, read_image
from ringlight.errors import DataError
from ringlight.runtime import cpu_count
from ringlight.types import Dataset

Progress = Callable[[int, int], None]

TOGETHER = 8
"""Images a thread takes at a time: handing over small ones singly would cost as much as decoding them."""

SLACK_NS = 2 * 10**9
"""File systems keep times to two seconds at worst."""


class ImageFile(NamedTuple):
    """One image file and the digest of its bytes, as hex digits."""

    uri: str
    digest: str


class Decoded(NamedTuple):
    """A picture ready for the model, the size its upright image had, and the CRC-32 of its bytes."""

    pixels: Pixels
    source: tuple[int, int]
    crc: int


def cache_size(sources: Sequence[ImageFile], spec: InputSpec, num_threads: int | None = None) -> int:
    """Return how many bytes the cache of these images has; without a common size their headers are read.

    Raises:
        DataError: an image cannot be read.
    """
    if spec.size is not None:
        areas = len(sources) * spec.size[0] * spec.size[1]
    else:
        sizes = [header.size for header in parallel(read_header, [source.uri for source in sources], num_threads)]
        areas = sum(height * width for height, width in (fit_of(size, spec).canvas for size in sizes))
    return data_start(len(sources)) + areas * spec.in_chans


def build_cache(
    path: Path,
    sources: Sequence[ImageFile],
    spec: InputSpec,
    *,
    name: str,
    progress: Progress | None = None,
    num_threads: int | None = None,
) -> None:
    """Decode images into the cache file `path`; every digest stands once.

    Args:
        path: the file; whoever calls keeps other processes from building it.
        sources: the images.
        spec: what they are brought to.
        name: of the data set, for an error.
        progress: told (done, total) as it goes.
        num_threads: how many decode at once; one a processor, at most 8, when None.

    Raises:
        DataError: an image cannot be read, or has changed since it was hashed.
        Problems: several.
        OSError: the file cannot be written; nothing of it is left behind.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        _write(part, sources, spec, Faults(name), progress, num_threads)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _write(
    part: Path,
    sources: Sequence[ImageFile],
    spec: InputSpec,
    faults: Faults,
    progress: Progress | None,
    num_threads: int | None,
) -> None:
    built_at = time.time_ns()  # before the first image is read: one that is written later is looked at again
    entries = np.zeros(len(sources), ENTRY)
    with part.open("wb") as stream:
        offset = stream.seek(data_start(len(sources)))
        for slot, found in enumerate(_decoded(sources, spec, num_threads)):
            if isinstance(found, DataError):
                faults.catch(found)
            elif not faults.errors:  # once one is found the rest is only read, so that all are told together
                stream.write(found.pixels.data)
                digest = bytes.fromhex(sources[slot].digest)
                entries[slot] = (digest, offset, found.pixels.shape[:2], found.source, found.crc)
                offset += found.pixels.nbytes
            if progress is not None and ((slot + 1) % TOGETHER == 0 or slot + 1 == len(sources)):
                progress(slot + 1, len(sources))
        faults.raise_if_any()
        order = np.argsort(entries["digest"])
        write_front(stream, entries[order], channels=spec.in_chans, size=offset, built_at=built_at)


def _decoded(sources: Sequence[ImageFile], spec: InputSpec, num_threads: int | None) -> Iterator[Decoded | DataError]:
    """Decode in threads and yield in order, a few groups of images ahead of whoever asks."""
    threads = num_threads or min(8, cpu_count())
    pending: deque[Future[list[Decoded | DataError]]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for start in range(0, len(sources), TOGETHER):
            pending.append(pool.submit(_decode_some, sources[start : start + TOGETHER], spec))
            if len(pending) > 2 * threads:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _decode_some(sources: Sequence[ImageFile], spec: InputSpec) -> list[Decoded | DataError]:
    return [_decode(source, spec) for source in sources]


def _decode(source: ImageFile, spec: InputSpec) -> Decoded | DataError:
    try:
        image = read_image(_read(source), in_chans=spec.in_chans)
    except DataError as error:
        # Bytes have no name of their own to stand in the line.
        return DataError(error.expected, got=error.got, where=source.uri, fix=error.fix)
    fitted = np.ascontiguousarray(fit_size(image, spec))
    return Decoded(fitted, (image.shape[0], image.shape[1]), zlib.crc32(fitted.data))


def _read(source: ImageFile) -> bytes:
    try:
        with open_file(source.uri) as stream:
            content = stream.read()
    except OSError as error:
        raise file_fault(source.uri, error) from None
    if hashlib.sha256(content).hexdigest() != source.digest:
        raise _changed(source.uri)
    return content


def require_unchanged(dataset: Dataset, built_at: int) -> None:
    """Hash again what was written after a cache was built: the digests may be older than the images.

    Raises:
        DataError: an image has changed since it was hashed.
        Problems: several have.
    """
    limit = built_at - SLACK_NS
    later = [row for row, uri in enumerate(dataset.uris) if _written(uri) >= limit]
    if not later:
        return
    suspects = dataset.take(later)
    faults = Faults(dataset.name)
    now = hash_contents(suspects).table.column("content").to_pylist()
    for uri, old, new in zip(suspects.uris, suspects.table.column("content").to_pylist(), now, strict=True):
        if old != new:
            faults.catch(_changed(str(uri)))
    faults.raise_if_any()


def _written(uri: str | None) -> int:
    """Return when a file was last written or put in place (ns); 0 when it is gone, as a cache has no need to mind."""
    try:
        state = Path(str(uri)).stat()
    except OSError:
        return 0
    return max(state.st_mtime_ns, state.st_ctime_ns)  # a copy may keep the old time of modification


def _changed(uri: str) -> DataError:
    return DataError(
        "the image that was read when the data was loaded",
        got="other bytes: it has changed since",
        where=uri,
        fix="let nothing write to the data while it is used, then run again",
    )
