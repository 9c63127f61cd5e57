"""Label files as text: CSV or Parquet in, cells and row numbers out.

Everything is read as text, so that an id such as `000123` stays what it is.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from ringlight.data.faults import Faults
from ringlight.errors import DataError, did_you_mean

MISSING = frozenset({"", "nan"})
"""Cells that say nothing, in lower case. Not "none" or "na": plants call classes so."""
SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")


@dataclass(frozen=True, slots=True)
class Sheet:
    """A label file: its cells as text, and the number that each row has in the file (the header is row 1)."""

    path: Path
    table: pa.Table
    rows: Sequence[int]

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def columns(self) -> list[str]:
        """The column names, in order."""
        return list(self.table.column_names)

    def where(self, row: int, column: str | None = None) -> str:
        """Name a row (counted from 0) as an error does."""
        return f"{self.path.name}: row {self.rows[row]}" + (f", column `{column}`" if column is not None else "")

    def require(self, column: str, key: str) -> str:
        """Return the column name.

        Raises:
            DataError: there is no such column; `key` is the configuration key that asked for it.
        """
        if column not in self.columns:
            raise DataError(
                f"the column `{column}` ({key})",
                got="columns " + ", ".join(self.columns),
                where=self.path.name,
                fix=did_you_mean(column, self.columns),
            )
        return column

    def cells(self, column: str) -> list[str | None]:
        """Return a column as text without the white space around it; None where it says nothing."""
        stripped = (
            None if cell is None else str(cell).strip() for cell in _as_text(self.table.column(column)).to_pylist()
        )
        return [None if cell is None or cell.lower() in MISSING else cell for cell in stripped]

    def lists(self, column: str, separator: str) -> list[list[str]]:
        """Return a column of lists: Parquet's own, or text divided by `separator`; empty where it says nothing."""
        values = self.table.column(column)
        if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
            return [[str(item).strip() for item in cell or () if item is not None] for cell in values.to_pylist()]
        parts = ([] if cell is None else cell.split(separator) for cell in self.cells(column))
        return [[item.strip() for item in items if item.strip()] for items in parts]


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Turn numbers into text; pandas writes whole numbers with gaps as 3.0, which means 3."""
    if pa.types.is_floating(column.type):
        return pa.chunked_array(
            [[None if cell is None or cell != cell else f"{cell:.15g}" for cell in column.to_pylist()]], pa.string()
        )
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return pa.chunked_array(
            [[None if cell is None else cell.isoformat() for cell in column.to_pylist()]], pa.string()
        )
    return column if pa.types.is_nested(column.type) else pc.cast(column, pa.string())


def read_sheet(path: Path) -> Sheet:
    """Read a CSV (comma, semicolon or tab, UTF-8) or Parquet file.

    Raises:
        DataError: it is not there, is empty, or cannot be read.
        Problems: several rows have the wrong number of cells.
    """
    if not path.is_file():
        near = sorted(file.name for file in path.parent.glob("*") if file.suffix.lower() in SUFFIXES)
        fix = did_you_mean(path.name, near) if near else "check the path"
        raise DataError("a CSV or Parquet file", got="nothing there", where=str(path), fix=fix)
    sheet = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)
    if not len(sheet):
        raise DataError("at least one row", got="none", where=str(path), fix="check the file")
    return sheet


def _read_parquet(path: Path) -> Sheet:
    try:
        table = pyarrow.parquet.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError("a Parquet file", got=_one_line(error), where=str(path), fix="write it again") from error
    return Sheet(path, table, range(1, table.num_rows + 1))


def _read_csv(path: Path) -> Sheet:
    header, delimiter = _header(path)
    odd: list[Any] = []

    def keep(row: Any) -> str:
        odd.append(row)
        return "skip"

    try:
        table = pyarrow.csv.read_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(use_threads=False),  # with threads, odd rows have no number
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, ignore_empty_lines=False, invalid_row_handler=keep
            ),
            convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(header, pa.string())),
        )
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError("a CSV file in UTF-8", got=_one_line(error), where=str(path), fix="write it again") from error
    faults = Faults(path.name)
    for row in odd:
        faults.add(
            f"{row.expected_columns} cells, as in the header",
            got=str(row.actual_columns),
            where=f"{path.name}: row {row.number}",
            fix="correct the row; a cell that holds the separator needs quotes",
        )
    faults.raise_if_any()
    # A blank line arrives as a row of empty cells: it goes, and the rows after it keep their numbers.
    kept = [row for row, cells in enumerate(zip(*table.to_pydict().values(), strict=True)) if any(cells)]
    return Sheet(path, table if len(kept) == len(table) else table.take(kept), [row + 2 for row in kept])


def _header(path: Path) -> tuple[list[str], str]:
    """Return the column names and what stands between them."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            line = file.readline()
            delimiter = max(",;\t", key=line.count) if line.strip() else ","
            file.seek(0)
            header = next(csv.reader(file, delimiter=delimiter), [])
    except (UnicodeDecodeError, OSError) as error:
        raise DataError("a CSV file in UTF-8", got=_one_line(error), where=str(path), fix="save it as UTF-8") from error
    if not any(header):
        raise DataError("a header of column names", got="none", where=str(path), fix="write the names into row 1")
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise DataError("every column once", got=f"`{twice}` twice", where=f"{path.name}: row 1", fix="rename one")
    return header, delimiter


def _one_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
