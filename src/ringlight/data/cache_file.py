"""The file of a cache: a header, an index, then the pictures one after the other, raw.

* Header, :data:`HEADER`: what the rest is, how long the whole file is, a CRC-32 of the index and one of itself.
* Index, :data:`ENTRY`: an entry a picture, in order of the digests, so that a picture is found by its content.
* The pictures, uint8 (H, W, C) each, in the order in which they were decoded, from a multiple of 4096 on.

Everything is little-endian. Pictures are 8-bit because :mod:`ringlight.data.decode` makes every picture so, a 16-bit
one from its full range: there is nothing deeper to keep.
"""

from __future__ import annotations

import itertools
import mmap
import os
import struct
import weakref
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ringlight.data.cache_budget import hold
from ringlight.data.content import parallel

FORMAT = 1
"""The layout; part of a cache's name, so that another version looks past it."""

MAGIC = b"RINGPIXL"
HEADER = struct.Struct("<8sIIQQQI")
"""Magic, format, channels, number of pictures, bytes of the whole file, when it was built (ns since 1970), CRC-32 of
the index; its own CRC-32 follows."""
FRONT = HEADER.size + 4

ENTRY = np.dtype([("digest", "S32"), ("offset", "<i8"), ("shape", "<i4", 2), ("source", "<i4", 2), ("crc", "<u4")])
"""SHA-256 of the image file; where in this file its picture starts; (H, W) of the picture, and of the upright image
before it was brought to size; CRC-32 of the picture's bytes."""

PAGE = 4096
RELEASE_BYTES = 16 * 2**20
"""After so many bytes read a process gives the pages of its map back: else every worker would come to count the whole
file as its own memory. They stay in the system's page cache, which all processes share."""

Entries = np.ndarray[Any, np.dtype[np.void]]


class DamagedError(Exception):
    """The file is not what was written; `reason` says in what."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


def data_start(count: int) -> int:
    """Return where the pictures begin in a file of `count` pictures.

    Examples:
        >>> data_start(10), data_start(100)
        (4096, 8192)
    """
    return -(-(FRONT + count * ENTRY.itemsize) // PAGE) * PAGE


def write_front(stream: IO[bytes], entries: Entries, *, channels: int, size: int, built_at: int) -> None:
    """Write header and index over the room left for them; `entries` in order of the digests, `size` in bytes."""
    index = entries.tobytes()
    header = HEADER.pack(MAGIC, FORMAT, channels, len(entries), size, built_at, zlib.crc32(index))
    stream.seek(0)
    stream.write(header + struct.pack("<I", zlib.crc32(header)) + index)


class CacheFile:
    """An open cache file: mapped into memory, and held so that no other process evicts it.

    Args:
        path: the file.

    Raises:
        DamagedError: header, index or length are not what was written; the pictures are looked at by :meth:`verify`.
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream = path.open("rb")  # kept open: the lock goes when it is closed
        weakref.finalize(self, self._stream.close)
        hold(self._stream)
        count, self.channels, self.built_at, index_crc = self._header()
        self._map = mmap.mmap(self._stream.fileno(), 0, access=mmap.ACCESS_READ)
        self._bytes = np.frombuffer(self._map, np.uint8)
        # Views of the map, not copies: a worker's own memory does not grow with the number of pictures.
        self.entries: Entries = np.frombuffer(self._map, ENTRY, count, FRONT)
        if zlib.crc32(self._bytes[FRONT : FRONT + count * ENTRY.itemsize].data) != index_crc:
            raise DamagedError("its index is damaged")
        self._read = 0
        shapes = self.entries["shape"]
        self._shape = None if (shapes != shapes[0]).any() else tuple(shapes[0].tolist())

    def _header(self) -> tuple[int, int, int, int]:
        header = self._stream.read(FRONT)
        size = os.fstat(self._stream.fileno()).st_size
        if len(header) < FRONT or int.from_bytes(header[-4:], "little") != zlib.crc32(header[:-4]):
            raise DamagedError("its header is damaged")
        magic, layout, channels, count, whole, built_at, index_crc = HEADER.unpack(header[:-4])
        if magic != MAGIC or layout != FORMAT:
            raise DamagedError("its header is of another kind")
        if size != whole:
            raise DamagedError(f"it has {size} bytes instead of {whole}")
        return count, channels, built_at, index_crc

    @property
    def is_uniform(self) -> bool:
        """Whether all pictures have one size."""
        return self._shape is not None

    @property
    def is_linked(self) -> bool:
        """Whether the file still has its name: it may have been evicted in the moment before it was held."""
        return os.fstat(self._stream.fileno()).st_nlink > 0

    @property
    def nbytes(self) -> int:
        """The length of the file."""
        return int(self._bytes.size)

    def verify(self, num_threads: int | None = None) -> None:
        """Compare every picture with its CRC-32, in threads: several GB/s.

        Raises:
            DamagedError: one differs.
        """
        edges = np.linspace(0, len(self.entries), min(64, len(self.entries)) + 1).astype(int).tolist()
        spans = list(itertools.pairwise(edges))
        damaged = sum(parallel(self._damaged, spans, num_threads))
        self.release()
        if damaged:
            raise DamagedError(f"{damaged} of {len(self.entries)} pictures are damaged")

    def _damaged(self, span: tuple[int, int]) -> int:
        return sum(zlib.crc32(self.picture(slot).data) != self.entries["crc"][slot] for slot in range(*span))

    def picture(self, slot: int) -> npt.NDArray[np.uint8]:
        """Return one picture (H, W, C): a read-only view."""
        entry = self.entries[slot]
        height, width = entry["shape"].tolist()
        start = int(entry["offset"])
        return self._bytes[start : start + height * width * self.channels].reshape(height, width, self.channels)

    def gather(self, slots: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Return a copy of several pictures of one size, (B, H, W, C)."""
        if self._shape is None:
            return np.stack([self.picture(slot) for slot in slots.tolist()])
        start, area = data_start(len(self.entries)), self._shape[0] * self._shape[1] * self.channels
        pictures = self._bytes[start:].reshape(-1, *self._shape, self.channels)
        places = (self.entries["offset"][slots] - start) // area
        return np.asarray(np.take(pictures, places, axis=0), np.uint8)

    def count_read(self, nbytes: int) -> None:
        """Say that so many bytes were copied out of the map; now and then its pages are given back."""
        self._read += nbytes
        if self._read > RELEASE_BYTES:
            self.release()

    def release(self) -> None:
        """Give back the pages this process has touched."""
        self._read = 0
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
