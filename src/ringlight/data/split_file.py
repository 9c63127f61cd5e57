"""The saved split: a CSV table `id,split,group`, so that a later run judges on the very same test set.

The column `split` says train, val, test, or left_out for a record that is in no part; `group` is what the split kept
together, found groups included, so that a run that is resumed need not find them again.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ringlight.data.faults import Faults
from ringlight.errors import SplitError, did_you_mean
from ringlight.files import write_csv
from ringlight.types import Dataset, Split

PARTS = ("train", "val", "test")
"""The names of the parts, in order."""

LEFT_OUT = len(PARTS)
"""The number of a record that is in no part, beside 0, 1, 2 of the parts."""

PLACES = (*PARTS, "left_out")
"""What the column `split` may say."""

DIGEST = 16
"""Characters of a file's digest that are kept: enough to know a file again among billions, and a row stays short."""


@dataclass(frozen=True, slots=True)
class SavedSplit:
    """What a split file says: the part of every id (or `left_out`), and the group of the ids that have one.

    `contents` holds the beginning of the digests of the files that had one, :data:`DIGEST` characters each.
    """

    parts: dict[str, str]
    groups: dict[str, str]
    contents: dict[str, str] = field(default_factory=dict)


def write_split(split: Split, dataset: Dataset, path: Path | str) -> None:
    """Write a split as CSV (UTF-8; columns id, split, group, content), whole or not at all.

    Raises:
        SplitError: the split was not made from this data set.
        WorkspaceError: the file cannot be written.
    """
    places = {**split.parts(), "left_out": split.left_out}
    rows = [int(row) for part in places.values() for row in part]
    if sorted(rows) != list(range(len(dataset))):
        raise SplitError(
            f"each of the {len(dataset)} records in one part or left out",
            got=f"{len(rows)} rows in all parts",
            where=str(path),
            fix="write the split with the data set it was made from",
        )
    part_of = {int(row): name for name, part in places.items() for row in part}
    records = zip(*(dataset.table.column(name).to_pylist() for name in ("id", "group", "content")), strict=True)
    table = [
        {"id": key, "split": part_of[row], "group": group or "", "content": (content or "")[:DIGEST]}
        for row, (key, group, content) in enumerate(records)
    ]
    write_csv(Path(path), table)


def read_split(path: Path | str) -> SavedSplit:
    """Read a split file written by :func:`write_split` or by hand (the columns `group` and `content` may be missing).

    Raises:
        SplitError: there is no such file, it is no CSV table, it has no header `id,split`, or one row is at fault.
        Problems: several rows have no id, an unknown part, or an id that was there before; a line each.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            _check_header(reader.fieldnames or [], path)
            return _read_rows(reader, path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SplitError(
            "a CSV table with the columns id, split, group",
            got=getattr(error, "strerror", None) or str(error),
            where=str(path),
            fix="give the split.csv of a run or a file that `ringlight data split` wrote",
        ) from error


def _check_header(columns: Sequence[str], path: Path) -> None:
    if not {"id", "split"} <= set(columns):
        raise SplitError(
            "a header with the columns id, split, group",
            got=f"`{','.join(columns)}`" if columns else "an empty file",
            where=f"{path}: row 1",
            fix="add the header line id,split,group",
        )


def _read_rows(reader: csv.DictReader[str], path: Path) -> SavedSplit:
    saved = SavedSplit({}, {})
    faults = Faults(str(path))
    for row in reader:
        fault = _fault(row, saved, f"{path}: row {reader.line_num}")
        if fault is not None:
            faults.catch(fault)
            continue
        saved.parts[row["id"]] = row["split"]
        if row.get("group"):
            saved.groups[row["id"]] = row["group"]
        if row.get("content"):
            saved.contents[row["id"]] = row["content"]
    faults.raise_if_any()
    return saved


def _fault(row: dict[str, str], saved: SavedSplit, where: str) -> SplitError | None:
    name = row["split"] or ""  # csv fills a short row with None
    if not row["id"]:
        return SplitError("an id", got="nothing", where=where, fix="add the record's id or remove the row")
    if name not in PLACES:
        expected = "train, val, test or left_out"
        return SplitError(expected, got=f"`{name}`", where=where, fix=did_you_mean(name, PLACES))
    if row["id"] in saved.parts:
        return SplitError("every id once", got=f"`{row['id']}` again", where=where, fix="remove one of the two rows")
    return None
