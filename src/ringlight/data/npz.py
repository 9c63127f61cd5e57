"""Arrays of an `.npz` file, read without loading it whole and without ever unpickling anything."""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError, did_you_mean

SUFFIX = ".npy"
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Header:
    """What an array is, before it is read."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool


class NpzFile:
    """The arrays of an `.npz` file by name.

    Args:
        path: the file.

    Raises:
        DataError: it is not there, is no `.npz` file, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.headers: dict[str, Header] = {}
        try:
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    if name.endswith(SUFFIX):
                        with archive.open(name) as stream:
                            self.headers[name.removesuffix(SUFFIX)] = _read_header(stream)
        except FileNotFoundError:
            raise DataError(
                "an .npz file", got="nothing there", where=str(path), fix="set data.root to the file"
            ) from None
        except (zipfile.BadZipFile, OSError, ValueError, EOFError, zlib.error) as error:
            raise self._damaged(error) from error

    def __contains__(self, key: object) -> bool:
        return key in self.headers

    @property
    def keys(self) -> list[str]:
        """The names of the arrays, in the order of the file."""
        return list(self.headers)

    def require(self, key: str, setting: str) -> Header:
        """Return what the array `key` is.

        Raises:
            DataError: there is no such array (`setting` is the configuration key that asked for it), or it holds Python
                objects.
        """
        if key not in self.headers:
            raise DataError(
                f"the array `{key}` ({setting})",
                got=f"arrays {', '.join(self.keys) or '(none)'}",
                where=self.path.name,
                fix=did_you_mean(key, self.keys) if self.keys else "save the windows as X with numpy.savez",
            )
        header = self.headers[key]
        if header.dtype.hasobject:
            raise DataError(
                "numbers or text",
                got="Python objects, which are stored as a pickle: it could run code and is not opened",
                where=f"{self.path.name}: `{key}`",
                fix="save it with a plain type; windows of unequal lengths go into one file each (data.fit_length)",
            )
        return header

    def read(self, key: str, setting: str) -> npt.NDArray[Any]:
        """Return a small array whole.

        Raises:
            DataError: there is no such array, it holds Python objects, or it is damaged.
        """
        self.require(key, setting)
        try:
            with np.load(self.path, allow_pickle=False) as arrays:
                return np.asarray(arrays[key])
        except (zipfile.BadZipFile, OSError, ValueError, EOFError, zlib.error) as error:
            raise self._damaged(error, key) from error

    def first(self, names: Sequence[str]) -> str | None:
        """Return the first of these names that there is an array of."""
        return next((name for name in names if name in self.headers), None)

    def blocks(self, key: str, size: int, scratch: Path) -> Iterator[npt.NDArray[Any]]:
        """Yield an array block by block along its first axis, `size` rows at a time; memory stays flat.

        An array in Fortran order has its first axis scattered over the whole file: it is unpacked into a file without a
        name in the folder `scratch` and mapped.

        Raises:
            DataError: it is damaged.
        """
        header = self.require(key, "data.x_key")
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(key + SUFFIX) as stream:
                _read_header(stream)
                yield from (
                    _scattered(stream, header, size, scratch) if header.fortran else _in_order(stream, header, size)
                )
        except (zipfile.BadZipFile, ValueError, EOFError, zlib.error) as error:
            raise self._damaged(error, key) from error

    def _damaged(self, error: Exception, key: str | None = None) -> DataError:
        return DataError(
            "an .npz file that is whole",
            got=f"{type(error).__name__}: {(str(error) or 'it ends too early').splitlines()[0]}",
            where=self.path.name if key is None else f"{self.path.name}: `{key}`",
            fix="copy or write the file again",
        )


def _read_header(stream: IO[bytes]) -> Header:
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"an array of the unknown version {version}")
    shape, fortran, dtype = readers[version](stream)
    return Header(tuple(shape), dtype, bool(fortran) and len(shape) > 1)


def _in_order(stream: IO[bytes], header: Header, size: int) -> Iterator[npt.NDArray[Any]]:
    total, rest = header.shape[0], header.shape[1:]
    for start in range(0, total, size):
        shape = (min(size, total - start), *rest)
        block = np.empty(shape, header.dtype)
        _fill(stream, block.reshape(-1).view(np.uint8).data)
        yield block


def _fill(stream: IO[bytes], target: memoryview) -> None:
    done = 0
    while done < len(target):
        piece = stream.read(min(CHUNK, len(target) - done))
        if not piece:
            raise EOFError("the array ends too early")
        target[done : done + len(piece)] = piece
        done += len(piece)


def _scattered(stream: IO[bytes], header: Header, size: int, scratch: Path) -> Iterator[npt.NDArray[Any]]:
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=scratch) as unpacked:
        for piece in iter(lambda: stream.read(CHUNK), b""):
            unpacked.write(piece)
        unpacked.flush()
        array: npt.NDArray[Any] = np.memmap(unpacked, header.dtype, "r", shape=header.shape, order="F")
        for start in range(0, header.shape[0], size):
            yield np.ascontiguousarray(array[start : start + size])
