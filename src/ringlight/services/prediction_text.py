"""Predictions as CSV and as JSON lines: appended to, flushed after every batch, healed where a line was cut off."""

from __future__ import annotations

import csv
import json
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, ClassVar

from ringlight.errors import RunError
from ringlight.files import unwritable
from ringlight.services.prediction_files import Column, Done, Row, Rows


class _TextRows(Rows):
    """What both kinds share: what is whole is kept, a torn end is cut off, rows are appended."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self.path = path
        self.names = [column.name for column in columns]
        self._end = 0
        self.done = Done(self._whole()) if path.exists() else Done()
        self._stream = path.open("r+" if path.exists() else "x", newline="", encoding="utf-8")
        self._stream.truncate(self._end)
        self._stream.seek(self._end)

    @abstractmethod
    def _whole(self) -> Iterator[tuple[str, bool]]:
        """Yield id and failure of every row that is whole, and leave in `_end` where the last of them ends."""

    def close(self) -> None:
        """Close the file; every row is in it already."""
        self._stream.close()

    def _flushed(self) -> None:
        self._stream.flush()


class _Counted:
    """The lines of a file as text, with the bytes they take; a last line without an end is none."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.end = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._stream:
            if not line.endswith(b"\n"):
                return
            self.end += len(line)
            yield line.decode("utf-8", "replace")


class CsvRows(_TextRows):
    """A CSV file with a header; an empty cell is no value."""

    LINE: ClassVar[str] = "\n"

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        super().__init__(path, columns)
        self._writer = csv.DictWriter(self._stream, self.names, restval="", lineterminator=self.LINE)
        if not self._end:
            self._writer.writeheader()
            self._flushed()

    def _whole(self) -> Iterator[tuple[str, bool]]:
        with self.path.open("rb") as stream:
            lines = _Counted(stream)
            rows = csv.reader(iter(lines), strict=True)
            try:
                header = next(rows, None)
                if header is not None and header != self.names:
                    raise _other(self.path, f"the columns {', '.join(self.names[:4])}, ...", ", ".join(header[:4]))
                self._end = lines.end
                for row in rows:
                    if len(row) != len(self.names):
                        raise _other(self.path, f"{len(self.names)} cells in row {rows.line_num}", str(len(row)))
                    self._end = lines.end
                    yield row[0], bool(row[-1])
            except csv.Error:  # a quoted cell was cut off: its row is not whole
                return

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows."""
        try:
            self._writer.writerows(rows)
            self._flushed()
        except OSError as error:
            raise unwritable(self.path, error) from error


class JsonRows(_TextRows):
    """A JSON object a line; what has no value is null."""

    def _whole(self) -> Iterator[tuple[str, bool]]:
        with self.path.open("rb") as stream:
            lines = _Counted(stream)
            for number, line in enumerate(lines, 1):
                try:
                    row = dict(json.loads(line))
                    found = str(row["id"]), bool(row["error"])
                except (ValueError, KeyError, TypeError) as error:
                    raise _other(self.path, f"a row of results in line {number}", str(error)) from error
                self._end = lines.end
                yield found

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows."""
        try:
            for row in rows:
                whole = {name: row.get(name) for name in self.names}
                self._stream.write(json.dumps(whole, ensure_ascii=False, allow_nan=False) + "\n")
            self._flushed()
        except OSError as error:
            raise unwritable(self.path, error) from error


def _other(path: Path, expected: str, got: str) -> RunError:
    return RunError(expected, got=got, where=f"--resume {path}", fix="write to another file")
