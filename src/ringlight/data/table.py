"""Labels in a table: CSV or Parquet, with or without images."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from ringlight.data.faults import Faults, first_of
from ringlight.data.files import require_folder
from ringlight.data.folder import compile_pattern
from ringlight.data.labels import PARTS, count_flags, is_one_hot, read_labels
from ringlight.data.tabular import SUFFIXES, Sheet, read_sheet
from ringlight.errors import ConfigError, DataError
from ringlight.types import Dataset, Record, Task

DEFAULT_FILES = ("labels.csv", "labels.parquet")


class TableSource:
    """A CSV or Parquet file with a row per image: its path, its label or labels, optional group, time and split.

    A table without a path column is a data set of labels alone (to study splits, for instance); its ids are then the
    column `id`, or else the first. What holds the labels is found out unless `label_columns` says it: the column
    `label` or `labels`; else all columns left over when they hold 0 and 1 (one-hot); else the one column left over.

    Args:
        root: the folder of the table and the images, or the table itself.
        file: the table, relative to `root`; `labels.csv`, `labels.parquet` or the only table there when None.
        path_column: paths relative to `images` (or absolute); the column `path` when None and there is one.
        id_column: unique names; the path as written when None.
        label_columns: one column of class names, several of them, or one-hot columns of 0 and 1.
        label_separator: what divides the class names in one cell.
        group_column: the part, coil or subject that no split may divide.
        group_regex: searched in the path as written (in the id of a table without paths); its group `group`, or else
            its first group, is what no split may divide. Instead of `group_column`.
        time_column: a number, or an ISO 8601 date (taken as UTC unless it says otherwise).
        split_column: train, val (valid, validation) or test, or empty.
        task: found out from the labels when None (see `ringlight.data.labels.read_labels`).
        classes: the class names in order; those of the table when None.
        images: the folder that paths are relative to, itself relative to `root`; `root` when None.
        missing: what to do with rows whose image is not there: "error", or "skip" them with a note.

    Raises:
        ConfigError: the pattern is malformed or has no group, or groups are asked for in two ways.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        file: str | None = None,
        path_column: str | None = None,
        id_column: str | None = None,
        label_columns: str | Sequence[str] | None = None,
        label_separator: str = ";",
        group_column: str | None = None,
        group_regex: str | None = None,
        time_column: str | None = None,
        split_column: str | None = None,
        task: Task | None = None,
        classes: Sequence[str] | None = None,
        images: str | None = None,
        missing: Literal["error", "skip"] = "error",
    ) -> None:
        self.root = Path(root).expanduser()
        self.file = file
        self.path_column = path_column
        self.id_column = id_column
        self.label_columns = [label_columns] if isinstance(label_columns, str) else label_columns
        self.label_separator = label_separator
        self.group_column = group_column
        self.group_regex = compile_pattern(group_regex, "data.group_regex")
        if group_column is not None and group_regex is not None:
            raise ConfigError(
                "one way to name the groups",
                got="data.group_column and data.group_regex",
                where="data",
                fix="leave one of them out (null)",
            )
        self.time_column = time_column
        self.split_column = split_column
        self.task = task
        self.classes = classes
        self.images = images
        self.missing = missing

    def load(self) -> Dataset:
        """Read the table; no image is opened.

        Raises:
            DataError: no table, no such column, images that are not there, a cell that cannot be used.
            Problems: several such cells, a line each.
        """
        sheet = read_sheet(self._table())
        path_column, id_column = self._identity(sheet)
        columns = self._labels(sheet, {path_column, id_column})
        faults = Faults(sheet.path.name)
        ids = self._required(sheet, id_column, faults)
        _check_unique(sheet, ids, id_column, faults)
        uris: list[str | None] = [None] * len(sheet)
        if path_column is not None:
            uris = self._uris(ids if id_column == path_column else self._required(sheet, path_column, faults))
        groups = self._groups(sheet, ids, path_column, faults)
        times = [
            _time(cell, sheet, row, faults) for row, cell in self._cells(sheet, self.time_column, "data.time_column")
        ]
        parts = [
            _part(cell, sheet, row, faults) for row, cell in self._cells(sheet, self.split_column, "data.split_column")
        ]
        faults.raise_if_any()
        labels = read_labels(sheet, columns, separator=self.label_separator, task=self.task, classes=self.classes)
        records = [
            Record(id=key, uri=uri, labels=label, group=group, time=time, split=part)
            for key, uri, label, group, time, part in zip(ids, uris, labels.rows, groups, times, parts, strict=True)
        ]
        notes = [f"labels: column(s) {', '.join(columns)}; task {labels.task}"]
        if path_column is not None:
            records = self._present(sheet, records, notes)
        return Dataset.from_records(records, labels.classes, labels.task, name=sheet.path.stem, notes=notes)

    def _table(self) -> Path:
        if self.file is None and self.root.is_file():
            return self.root
        root = require_folder(self.root, "data.root")
        if self.file is not None:
            return root / self.file
        for name in DEFAULT_FILES:
            if (root / name).is_file():
                return root / name
        tables = sorted(file.name for file in root.iterdir() if file.suffix.lower() in SUFFIXES)
        if len(tables) != 1:
            got = f"{len(tables)} tables: {', '.join(tables)}" if tables else "none"
            raise DataError("labels.csv or one table", got=got, where=str(root), fix="set data.file to the label table")
        return root / tables[0]

    def _identity(self, sheet: Sheet) -> tuple[str | None, str]:
        path_column = self.path_column
        if path_column is not None:
            sheet.require(path_column, "data.path_column")
        elif "path" in sheet.columns:
            path_column = "path"
        if self.id_column is not None:
            return path_column, sheet.require(self.id_column, "data.id_column")
        if path_column is not None:
            return path_column, path_column
        return None, "id" if "id" in sheet.columns else sheet.columns[0]

    def _labels(self, sheet: Sheet, identity: set[str | None]) -> list[str]:
        if self.label_columns:
            return [sheet.require(column, "data.label_columns") for column in self.label_columns]
        for name in ("label", "labels"):
            if name in sheet.columns:
                return [name]
        taken = identity | {self.group_column, self.time_column, self.split_column}
        left = [column for column in sheet.columns if column not in taken]
        others = [column for column in left if not count_flags(sheet, column)] if is_one_hot(sheet, left) else left
        if len(left) == 1 or (left and not others):
            return left
        got = "no column left"
        if left:
            got = f"columns {', '.join(left)}" + (f", of which {', '.join(others)} not" if others != left else "")
        raise DataError(
            "a column `label`, one column left over, or one-hot columns",
            got=got,
            where=sheet.path.name,
            fix="set data.label_columns to the column or columns with the labels",
        )

    def _required(self, sheet: Sheet, column: str, faults: Faults) -> list[str]:
        cells = sheet.cells(column)
        for row, cell in enumerate(cells):
            if cell is None:
                faults.add(
                    "a value", got="an empty cell", where=sheet.where(row, column), fix="fill it or remove the row"
                )
        return [cell or "" for cell in cells]

    def _optional(self, sheet: Sheet, column: str | None, key: str) -> list[str | None]:
        return [None] * len(sheet) if column is None else sheet.cells(sheet.require(column, key))

    def _groups(
        self, sheet: Sheet, ids: Sequence[str], path_column: str | None, faults: Faults
    ) -> Sequence[str | None]:
        if self.group_regex is None:
            return self._optional(sheet, self.group_column, "data.group_column")
        names = ids if path_column is None else [cell or "" for cell in sheet.cells(path_column)]
        groups = [_group_of(self.group_regex, name) for name in names]
        lost = [row for row, (name, group) in enumerate(zip(names, groups, strict=True)) if name and not group]
        if lost:
            faults.add(
                f"a {'path' if path_column else 'name'} that data.group_regex `{self.group_regex.pattern}` matches",
                got=f"rows that it does not: {first_of([names[row] for row in lost])}",
                where=sheet.where(lost[0], path_column),
                fix="correct the pattern: an image without its group can leak from training into the test",
            )
        return groups

    def _cells(self, sheet: Sheet, column: str | None, key: str) -> list[tuple[int, str | None]]:
        return list(enumerate(self._optional(sheet, column, key)))

    def _uris(self, paths: Sequence[str]) -> list[str | None]:
        base = self.root if self.root.is_dir() else self.root.parent
        folder = base.absolute() / (self.images or "")
        return [str(folder / path) for path in paths]

    def _present(self, sheet: Sheet, records: list[Record], notes: list[str]) -> list[Record]:
        there = [record.uri is not None and Path(record.uri).is_file() for record in records]
        lost = [record.id for record, present in zip(records, there, strict=True) if not present]
        if lost and (self.missing == "error" or len(lost) == len(records)):
            row = there.index(False)
            raise DataError(
                "an image for every row",
                got=f"no image for {first_of(lost)} of {len(records)}; {records[row].uri} is not there",
                where=sheet.where(row),
                fix="add the images, set data.images to their folder, or leave these rows out with data.missing=skip",
            )
        if lost:
            notes.append(f"left out rows without an image: {first_of(lost)}")
        return [record for record, present in zip(records, there, strict=True) if present]


def _group_of(pattern: re.Pattern[str], text: str) -> str | None:
    match = pattern.search(text)
    if match is None:
        return None
    return match["group"] if "group" in pattern.groupindex else match[1]


def _check_unique(sheet: Sheet, ids: Sequence[str], column: str, faults: Faults) -> None:
    seen: dict[str, int] = {}
    for row, key in enumerate(ids):
        first = seen.setdefault(key, row)
        if first != row and key:
            faults.add(
                "every id once",
                got=f"`{key}` again (first in row {sheet.rows[first]})",
                where=sheet.where(row, column),
                fix="keep one row per image; several labels go into one cell, divided by data.label_separator",
            )


def _time(cell: str | None, sheet: Sheet, row: int, faults: Faults) -> float | None:
    if cell is None:
        return None
    try:
        seconds = float(cell)
    except ValueError:
        seconds = _seconds_of_date(cell)
    if not math.isfinite(seconds):
        faults.add(
            "a number or an ISO 8601 date (data.time_column)",
            got=f"`{cell}`",
            where=sheet.where(row),
            fix="write it as 2024-05-31T13:45:00",
        )
        return None
    return seconds


def _seconds_of_date(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return math.nan
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _part(cell: str | None, sheet: Sheet, row: int, faults: Faults) -> str | None:
    if cell is None or cell.lower() in PARTS:
        return None if cell is None else PARTS[cell.lower()]
    faults.add(
        "train, val or test (data.split_column)",
        got=f"`{cell}`",
        where=sheet.where(row),
        fix="correct it or leave it empty",
    )
    return None
