"""Windows on disk: a folder with `X.npy` (N, T, C) and `store.json`, mapped into memory when it is read.

A store is written block by block and appears under its name only when it is whole. int16 stays int16 and is multiplied
by its channel's scale when a batch is read, so that a recording of a 16-bit converter takes half the room.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ringlight.errors import DataError
from ringlight.files import unwritable, write_json
from ringlight.types import Dataset, Signals

ARRAY = "X.npy"
FACTS = "store.json"
ROWS = "rows.parquet"
FORMAT = 1

DTYPES = ("<i2", "<f4")
"""What a store holds; other numbers become float32."""

BLOCK_VALUES = 1_000_000
"""So many numbers are read together where all windows are looked at."""


class Facts(NamedTuple):
    """What `store.json` says: `scale` has one factor a channel, empty where the values are physical as they are."""

    channels: tuple[str, ...]
    length: int
    sampling_rate: float | None
    scale: tuple[float, ...]
    num_windows: int
    dtype: str


def write_store(
    folder: Path,
    blocks: Iterable[npt.NDArray[Any]],
    *,
    channels: Sequence[str],
    length: int,
    sampling_rate: float | None = None,
    scale: Sequence[float] = (),
    rows: Callable[[], pa.Table] | None = None,
) -> int:
    """Write windows into the new folder `folder`; return their number.

    It is written beside `folder` under another name and renamed when it is whole. One that is there already stays: it
    was written by somebody else in the meantime.

    Args:
        folder: the store.
        blocks: windows (B, T, C), block after block: all int16, or numbers that become float32.
        channels: their names.
        length: T.
        sampling_rate: in hertz.
        scale: physical units of one step of an int16, for each channel; none where the values are physical.
        rows: asked when all blocks are written for a table, a row a window, that is kept beside them.

    Raises:
        DataError: a block of another shape, or no window at all.
        WorkspaceError: the folder cannot be written.
    """
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    try:
        part.mkdir(parents=True)
        count, dtype = _write_array(part / ARRAY, blocks, (length, len(channels)), where=folder.name)
        facts = Facts(tuple(channels), length, sampling_rate, tuple(float(one) for one in scale), count, dtype)
        write_json(part / FACTS, {"format": FORMAT, **facts._asdict()})
        if rows is not None:
            pq.write_table(rows(), part / ROWS)
        if not folder.exists():
            part.replace(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return count


def _write_array(
    path: Path, blocks: Iterable[npt.NDArray[Any]], shape: tuple[int, int], *, where: str
) -> tuple[int, str]:
    count, dtype = 0, ""
    with path.open("wb") as stream:
        start = _write_header(stream, DTYPES[1], (0, *shape))
        for block in blocks:
            if block.shape[1:] != shape:
                raise DataError(
                    f"windows of shape {shape}", got=f"shape {block.shape[1:]}", where=where, fix="correct the source"
                )
            dtype = dtype or (DTYPES[0] if block.dtype == np.int16 else DTYPES[1])
            stream.write(np.ascontiguousarray(block, np.dtype(dtype)).data)
            count += len(block)
        if not count:
            raise DataError(
                "at least one window", got="none", where=where, fix="check the recordings and data.window_length"
            )
        stream.seek(0)
        # numpy leaves room in a header for the first axis to grow, so that it is as long as the one before.
        if _write_header(stream, dtype, (count, *shape)) != start:
            raise DataError(
                f"a header of {start} bytes", got="another length", where=where, fix="report it with numpy's version"
            )
    return count, dtype


def _write_header(stream: BinaryIO, dtype: str, shape: tuple[int, ...]) -> int:
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.tell()


def read_facts(folder: Path) -> Facts:
    """Return what a store holds, without reading its windows.

    Raises:
        DataError: the folder is no store, or is damaged.
    """
    try:
        values = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        if values.pop("format") != FORMAT:
            raise ValueError("another format")
        made: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        facts = Facts(**made)
        values_size = facts.num_windows * facts.length * len(facts.channels) * np.dtype(facts.dtype).itemsize
        if (folder / ARRAY).stat().st_size < values_size:
            raise ValueError(f"{ARRAY} is cut off")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, error) from error
    return facts


def _damaged(folder: Path, error: Exception) -> DataError:
    return DataError(
        "a folder of prepared windows",
        got=f"{type(error).__name__}: {error}",
        where=str(folder),
        fix="delete the folder: it is made again from the data",
    )


class _Open(NamedTuple):
    """An open store: its mapped array (N, T, C) and its scale (C,), None where the values are physical."""

    array: npt.NDArray[Any]
    scale: npt.NDArray[np.float32] | None


class WindowReader:
    """The windows of a data set's records, read from the stores they lie in.

    It is picklable: a worker maps the same files again, and all share their pages. :meth:`of` makes it.

    Args:
        files: the arrays, `.../X.npy`.
        codes: (N,) for each record its place in `files`.
        places: (N,) for each record its row in that array.
    """

    def __init__(self, files: Sequence[Path], codes: npt.NDArray[np.int32], places: npt.NDArray[np.int64]) -> None:
        self.files = tuple(files)
        self._codes = codes
        self._places = places
        self._open: dict[int, _Open] = {}

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """Return the reader of a data set's windows.

        Raises:
            DataError: a record names no window.
        """
        uris = dataset.table.column("uri").combine_chunks()
        parts = pc.split_pattern(uris, "#", max_splits=1, reverse=True)
        if uris.null_count or (len(uris) and pc.min(pc.list_value_length(parts)).as_py() < 2):
            row = next(row for row, uri in enumerate(dataset.uris) if uri is None or "#" not in uri)
            raise DataError(
                "the place of a window, `X.npy#ROW`",
                got=repr(dataset.uris[row]),
                where=f"{dataset.name}: record `{dataset.ids[row]}`",
                fix="choose a source of windows, as data=windows",
            )
        coded = pc.list_element(parts, 0).dictionary_encode()
        places = pc.list_element(parts, 1).cast("int64").to_numpy(zero_copy_only=False)
        codes = coded.indices.to_numpy(zero_copy_only=False).astype(np.int32)
        return cls([Path(path) for path in coded.dictionary.to_pylist()], codes, places)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def __len__(self) -> int:
        return len(self._places)

    def read(self, rows: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return windows in physical units, float32 (B, T, C).

        Raises:
            DataError: a store is gone or damaged.
        """
        chosen = np.asarray(rows, np.int64)
        found: npt.NDArray[np.float32] | None = None
        for code, where in self._files_of(chosen):
            store = self._store(code)
            values = store.array[self._places[chosen[where]]].astype(np.float32)
            if store.scale is not None:
                values *= store.scale
            if found is None:
                found = np.empty((len(chosen), *values.shape[1:]), np.float32)
            found[where] = values
        return self._none() if found is None else found

    def raw(self, rows: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return windows as they lie in the store, int16 or float32 (B, T, C), without their scale.

        Raises:
            DataError: a store is gone or damaged, or they lie in stores of different types.
        """
        chosen = np.asarray(rows, np.int64)
        parts = [
            (where, self._store(code).array[self._places[chosen[where]]]) for code, where in self._files_of(chosen)
        ]
        if not parts:
            return self._none()
        types = {str(values.dtype) for _, values in parts}
        if len(types) > 1:
            raise DataError("values of one type", got=" and ".join(sorted(types)), where="windows", fix="use read()")
        found = np.empty((len(chosen), *parts[0][1].shape[1:]), parts[0][1].dtype)
        for where, values in parts:
            found[where] = values
        return found

    def digests(self, rows: npt.ArrayLike) -> list[str]:
        """Return the SHA-256 of each window: its type, its values as they lie there, and the scale."""
        chosen = np.asarray(rows, np.int64)
        found = [""] * len(chosen)
        for code, where in self._files_of(chosen):
            store = self._store(code)
            head = f"{store.array.dtype.str} {store.array.shape[1:]}".encode()
            head += b"" if store.scale is None else store.scale.tobytes()
            for place in where:
                window = store.array[self._places[chosen[place]]]
                found[place] = hashlib.sha256(head + window.tobytes()).hexdigest()
        return found

    def _files_of(self, rows: npt.NDArray[np.int64]) -> list[tuple[int, npt.NDArray[np.int64]]]:
        codes = self._codes[rows]
        return [(int(code), np.flatnonzero(codes == code)) for code in np.unique(codes)]

    def _none(self) -> npt.NDArray[np.float32]:
        shape = self._store(0).array.shape[1:] if self.files else (0, 0)
        return np.empty((0, *shape), np.float32)

    def _store(self, code: int) -> _Open:
        if code not in self._open:
            path = self.files[code]
            facts = read_facts(path.parent)
            try:
                array = np.load(path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise _damaged(path.parent, error) from error
            scale = np.asarray(facts.scale, np.float32) if facts.scale else None
            self._open[code] = _Open(array, scale)
        return self._open[code]


def require_signals(dataset: Dataset) -> Signals:
    """Return what the windows of a data set are.

    Raises:
        DataError: its records are images.
    """
    if dataset.signals is None:
        raise DataError(
            "windows of a signal", got="images", where=dataset.name, fix="choose a source of windows, as data=windows"
        )
    return dataset.signals


def blocks_of(
    dataset: Dataset, rows: npt.NDArray[np.int64] | None = None
) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """Yield (position among the rows, windows float32 (B, T, C)) so that memory stays flat however many there are."""
    signals = require_signals(dataset)
    chosen = np.arange(len(dataset)) if rows is None else rows
    reader = WindowReader.of(dataset)
    size = max(1, BLOCK_VALUES // (signals.length * len(signals.channels)))
    for start in range(0, len(chosen), size):
        yield start, reader.read(chosen[start : start + size])
