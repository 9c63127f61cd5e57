"""Recordings of sensors: CSV, Parquet and WAV files, read in blocks of samples so that a long one needs no more memory.

Shapes: S samples, C channels.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from ringlight.errors import DataError, did_you_mean

Samples = npt.NDArray[Any]

TABLES = (".csv", ".tsv", ".txt", ".parquet")
EXTENSIONS = (*TABLES, ".wav")
"""What counts as a recording, whatever the case of the letters."""

TIME_COLUMNS = ("time", "timestamp", "t")
"""A column of this name is no channel, whatever the case of the letters."""

ROWS = 1 << 16
"""Samples read together."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One file: what its header says.

    `scale` is the physical size of one step where the samples are int16, None where they are floats; `time_column` the
    column that is no channel.
    """

    path: Path
    channels: tuple[str, ...]
    sampling_rate: float | None = None
    scale: float | None = None
    time_column: str | None = None

    def blocks(self) -> Iterator[tuple[Samples, npt.NDArray[np.float64] | None]]:
        """Yield samples (S, C), int16 or float32, and their times (S,) where there is a column of them.

        Raises:
            DataError: the file cannot be read, or a cell is no number.
        """
        suffix = self.path.suffix.lower()
        if suffix == ".wav":
            for block in _wav_blocks(self):
                yield block, None
            return
        for batch in (_parquet_batches if suffix == ".parquet" else _csv_batches)(self):
            columns = [_floats(batch.column(name)) for name in self.channels]
            times = None if self.time_column is None else _floats(batch.column(self.time_column)).astype(np.float64)
            yield np.stack(columns, axis=1).astype(np.float32), times


def open_recording(path: Path, *, time_column: str | None = None) -> Recording:
    """Read what a file's header says: channels, and of a WAV the sampling rate.

    Args:
        path: CSV (comma, semicolon or tab; the first row names the channels, or there are no names), Parquet or WAV.
        time_column: a column that is no channel; `time`, `timestamp` or `t` when None and there is one.

    Raises:
        DataError: it is no such file, or there is no such column.
    """
    suffix = path.suffix.lower()
    if suffix == ".wav":
        return _open_wav(path)
    if suffix == ".parquet":
        try:
            names = list(pyarrow.parquet.read_schema(path).names)
        except (pa.ArrowInvalid, OSError) as error:
            raise _unreadable(path, "a Parquet file", error) from error
    else:
        names = _csv_layout(path).names
    if time_column is None:
        time_column = next((name for name in names if name.strip().lower() in TIME_COLUMNS), None)
    elif time_column not in names:
        raise DataError(
            f"the column `{time_column}` (data.time_column)",
            got=f"columns {', '.join(names)}",
            where=path.name,
            fix=did_you_mean(time_column, names),
        )
    channels = tuple(name for name in names if name != time_column)
    if not channels or len(set(names)) < len(names):
        got = "none" if not channels else "a name twice"
        raise DataError("columns, each channel once", got=got, where=path.name, fix="correct the first row")
    return Recording(path, channels, time_column=time_column)


def _wav_data(path: Path) -> tuple[int, Samples]:
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks of other programs are of no concern
            try:
                rate, data = wavfile.read(path, mmap=True)
            except ValueError:  # 24 bits a sample cannot be mapped
                rate, data = wavfile.read(path)
    except (ValueError, OSError, EOFError) as error:
        raise _unreadable(path, "a WAV file", error) from error
    return int(rate), data if data.ndim == 2 else data[:, None]


def _open_wav(path: Path) -> Recording:
    rate, data = _wav_data(path)
    count = data.shape[1]
    names = ("sound",) if count == 1 else tuple(f"channel_{number}" for number in range(1, count + 1))
    return Recording(path, names, float(rate), scale=1 / 32768 if data.dtype == np.int16 else None)


def _wav_blocks(recording: Recording) -> Iterator[Samples]:
    """Yield int16 as it is, other formats as shares of full scale."""
    _, data = _wav_data(recording.path)
    for start in range(0, len(data), ROWS):
        block = np.asarray(data[start : start + ROWS])
        if block.dtype == np.uint8:
            yield ((block.astype(np.float32) - 128) / 128).astype(np.float32)
        elif block.dtype.kind == "i" and block.dtype.itemsize > 2:
            yield (block / 2.0 ** (8 * block.dtype.itemsize - 1)).astype(np.float32)
        else:
            yield block if block.dtype == np.int16 else block.astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a CSV file is written."""

    names: list[str]
    delimiter: str
    has_names: bool
    decimal_point: str


def _csv_layout(path: Path) -> _Layout:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            first, second = stream.readline(), stream.readline()
    except (UnicodeDecodeError, OSError) as error:
        raise _unreadable(path, "a CSV file in UTF-8", error) from error
    if not first.strip():
        raise DataError("samples", got="an empty file", where=path.name, fix="leave the file out")
    delimiter = max(",;\t", key=first.count)
    cells = [cell.strip() for cell in next(csv.reader([first.strip("\r\n")], delimiter=delimiter))]
    comma = delimiter != "," and "," in (second or first) and "." not in (second or first)
    named = not all(_is_number(cell.replace(",", ".") if comma else cell) for cell in cells)
    names = cells if named else [f"channel_{number}" for number in range(1, len(cells) + 1)]
    return _Layout(names, delimiter, named, "," if comma else ".")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _csv_batches(recording: Recording) -> Iterator[pa.RecordBatch]:
    layout = _csv_layout(recording.path)
    try:
        with pyarrow.csv.open_csv(
            recording.path,
            read_options=pyarrow.csv.ReadOptions(
                use_threads=False, column_names=layout.names, skip_rows=int(layout.has_names)
            ),
            parse_options=pyarrow.csv.ParseOptions(delimiter=layout.delimiter),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(layout.names, pa.float64()), decimal_point=layout.decimal_point
            ),
        ) as batches:
            yield from batches
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(recording.path, "rows of numbers", error) from error


def _parquet_batches(recording: Recording) -> Iterator[pa.RecordBatch]:
    wanted = [*recording.channels, *([] if recording.time_column is None else [recording.time_column])]
    try:
        with pyarrow.parquet.ParquetFile(recording.path) as file:
            for name in wanted:
                kind = file.schema_arrow.field(name).type
                if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
                    raise DataError(
                        "numbers",
                        got=f"type {kind}",
                        where=f"{recording.path.name}: column `{name}`",
                        fix="leave the column out, or name it as data.time_column when it holds the time as a number",
                    )
            yield from file.iter_batches(ROWS, columns=wanted)
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(recording.path, "a Parquet file", error) from error


def _floats(column: pa.Array) -> npt.NDArray[np.float64]:
    """Return a column as floats; an empty cell is NaN, which the check of the data reports."""
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))


def _unreadable(path: Path, expected: str, error: Exception) -> DataError:
    text = (str(error) or type(error).__name__).splitlines()[0]
    return DataError(expected, got=text, where=path.name, fix="write the file again, or leave it out")
