"""What lies in the files: digests of their bytes, and the size an image's header says."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PIL import Image

from ringlight.data.faults import Faults
from ringlight.errors import DataError
from ringlight.types import Dataset

A = TypeVar("A")
B = TypeVar("B")

UPRIGHT_SWAPS = (5, 6, 7, 8)
"""EXIF orientations that turn an image by a quarter."""
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
"""What Pillow raises on a damaged file, by format."""


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
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(0x0112) in UPRIGHT_SWAPS
            return Header((width, height) if turned else (height, width), image.mode)
    except UNREADABLE as error:
        raise unreadable(path, error) from error


def unreadable(path: Path | str, error: Exception) -> DataError:
    """Return the error for a file that cannot be read: it says whether the file is missing, empty or damaged."""
    file = Path(path)
    if not file.is_file():
        return DataError("an image file", got="nothing there", where=str(path), fix="add the file or remove its record")
    if file.stat().st_size == 0:
        return DataError("an image", got="a file of 0 bytes", where=str(path), fix="copy the file again or remove it")
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return DataError("an image that can be read", got=reason, where=str(path), fix="copy the file again or remove it")


def hash_contents(dataset: Dataset, *, num_threads: int | None = None) -> Dataset:
    """Return the data set with `content` filled in: the SHA-256 of each file's bytes; None where there is no file.

    Args:
        dataset: the records.
        num_threads: how many read at once; one a processor, at most 8, when None.

    Raises:
        DataError: a file cannot be read.
        Problems: several cannot.
    """
    faults = Faults(dataset.name)
    digests: list[str | None] = []
    for result in parallel(_digest, dataset.uris, num_threads):
        if isinstance(result, DataError):
            faults.catch(result)
        else:
            digests.append(result)
    faults.raise_if_any()
    return dataset.with_column("content", digests)


def digest_of(path: Path | str) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        DataError: the file is not there or cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def _digest(uri: str | None) -> str | DataError | None:
    try:
        return None if uri is None else digest_of(uri)
    except DataError as error:
        return error


def parallel(function: Callable[[A], B], items: Iterable[A], num_threads: int | None = None) -> list[B]:
    """Apply `function` to all items in threads, keeping their order; reading and decoding let go of Python's lock."""
    with ThreadPoolExecutor(num_threads or min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(function, items))
