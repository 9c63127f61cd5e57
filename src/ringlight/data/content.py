"""What lies in the files: digests of their bytes, and the size an image's header says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ringlight.data.decode import file_fault, open_file, open_image
from ringlight.data.faults import Faults
from ringlight.data.window_store import WindowReader
from ringlight.errors import DataError
from ringlight.files import file_sha256
from ringlight.runtime import cpu_count
from ringlight.types import Dataset

A = TypeVar("A")
B = TypeVar("B")

UPRIGHT_SWAPS = (5, 6, 7, 8)
"""EXIF orientations that turn an image by a quarter."""


@dataclass(frozen=True, slots=True)
class Header:
    """Height and width of the upright image in pixels, and Pillow's mode ("L", "RGB", "I;16", ...)."""

    size: tuple[int, int]
    mode: str


def read_header(path: Path | str) -> Header:
    """Read the size and mode of an image; no pixel is decoded.

    Raises:
        DataError: it is not there or not an image.
    """
    with open_file(path) as stream, open_image(stream, str(path)) as image:
        width, height = image.size
        turned = image.getexif().get(0x0112) in UPRIGHT_SWAPS
        return Header((width, height) if turned else (height, width), image.mode)


def hash_contents(dataset: Dataset, *, num_threads: int | None = None) -> Dataset:
    """Return the data set with `content` filled in: the SHA-256 of each file's bytes; None where there is no file.

    Of windows it is the digest of each one's values.

    Args:
        dataset: the records.
        num_threads: how many read at once; one a processor, at most 8, when None.

    Raises:
        DataError: a file cannot be read.
        Problems: several cannot.
    """
    if dataset.signals is not None:
        return dataset.with_column("content", WindowReader.of(dataset).digests(range(len(dataset))))
    faults = Faults(dataset.name)
    digests: list[str | None] = []
    for result in parallel(_digest, dataset.uris, num_threads):
        if isinstance(result, DataError):
            faults.catch(result)
        else:
            digests.append(result)
    faults.raise_if_any()
    return dataset.with_column("content", digests)


def _digest(uri: str | None) -> str | DataError | None:
    try:
        return None if uri is None else file_sha256(Path(uri))
    except OSError as error:
        return file_fault(uri or "", error)


def parallel(function: Callable[[A], B], items: Iterable[A], num_threads: int | None = None) -> list[B]:
    """Apply `function` to all items in threads, keeping their order; reading and decoding let go of Python's lock."""
    with ThreadPoolExecutor(num_threads or min(8, cpu_count())) as pool:
        return list(pool.map(function, items))


def require_files(dataset: Dataset) -> None:
    """Refuse records without a file.

    Raises:
        DataError: there is one; the first is named.
    """
    if not dataset.has_content:
        row = dataset.uris.index(None)
        raise DataError(
            "a file for every record",
            got="none",
            where=f"{dataset.name}: record `{dataset.ids[row]}`",
            fix="leave it out (data.missing=skip), or add the file",
        )
