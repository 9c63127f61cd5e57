"""Predictions as Parquet: parts that are whole, put together in the end.

A Parquet file has its index at its end, so that one that was cut off cannot be read. Rows are therefore written to
`results.parquet.parts/`, a whole file every :data:`ROWS` rows or :data:`SECONDS`; closing puts the parts together, one
after the other, and removes them. What was cut off goes on after its last part; at most one part's rows are judged
again.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ringlight.errors import RunError
from ringlight.files import remove_parts, unwritable, whole_file
from ringlight.services.prediction_files import Column, Done, Row, Rows

ROWS = 4096
SECONDS = 60.0
PARTS = ".parts"
TYPES = {"text": pa.string(), "number": pa.float64(), "flag": pa.bool_()}


class ParquetRows(Rows):
    """A Parquet file, compressed with zstd; a cell without a value is null."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self.path = path
        self.schema = pa.schema([(column.name, TYPES[column.kind]) for column in columns])
        self._parts = path.with_name(path.name + PARTS)
        if path.exists():  # it was finished once: parts that are left are in it, and it is the first of what goes on
            shutil.rmtree(self._parts, ignore_errors=True)
        self._parts.mkdir(exist_ok=True)
        remove_parts(self._parts)
        if path.exists():
            path.replace(self._parts / _name(0))
        self.done = Done(self._whole())
        self._number = len(self._found())
        self._held: list[Row] = []
        self._written = time.monotonic()

    @classmethod
    def begun(cls, path: Path) -> bool:
        """Return whether there are parts of it."""
        return path.with_name(path.name + PARTS).is_dir()

    def _found(self) -> list[Path]:
        return sorted(self._parts.glob("*.parquet"))

    def _whole(self) -> Iterator[tuple[str, bool]]:
        for part in self._found():
            try:
                with pq.ParquetFile(part) as file:
                    if file.schema_arrow != self.schema:
                        raise RunError(
                            f"the columns {', '.join(self.schema.names[:4])}, ...",
                            got=", ".join(file.schema_arrow.names[:4]), where=f"--resume {self.path}",
                            fix="write to another file",
                        )  # fmt: skip
                    for batch in file.iter_batches(columns=["id", "error"]):
                        errors = batch.column("error").is_valid().to_pylist()
                        yield from zip(batch.column("id").to_pylist(), errors, strict=True)
            except (OSError, pa.ArrowInvalid) as error:
                raise RunError(
                    "a part of a file of results", got=str(error).splitlines()[0], where=str(part),
                    fix="remove this part: its rows are judged again",
                ) from error  # fmt: skip

    def write(self, rows: Sequence[Row]) -> None:
        """Hold rows until they fill a part, or for a minute."""
        self._held += rows
        if len(self._held) >= ROWS or (self._held and time.monotonic() - self._written > SECONDS):
            self._write_part()

    def _write_part(self) -> None:
        table = pa.Table.from_pylist([dict(row) for row in self._held], schema=self.schema)
        with whole_file(self._parts / _name(self._number)) as part:
            pq.write_table(table, part, compression="zstd")
        self._number += 1
        self._held, self._written = [], time.monotonic()

    def close(self) -> None:
        """Put the parts together into one file, which has the rows that were held as well."""
        if self._held or not self._number:
            self._write_part()
        with whole_file(self.path) as whole, pq.ParquetWriter(whole, self.schema, compression="zstd") as writer:
            for part in self._found():
                with pq.ParquetFile(part) as file:
                    for batch in file.iter_batches():
                        writer.write_batch(batch)
        try:
            shutil.rmtree(self._parts)
        except OSError as error:
            raise unwritable(self._parts, error) from error


def _name(number: int) -> str:
    return f"part-{number:06d}.parquet"
