"""Label columns of a table -> classes, task, and the class indices of every row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ringlight.data.faults import Faults
from ringlight.data.tabular import Sheet
from ringlight.errors import ConfigError, DataError, did_you_mean
from ringlight.types import Task

FLAGS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}

PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""How people call the parts of a split, in lower case."""


def checked_classes(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the class names that a configuration gives.

    Raises:
        ConfigError: there is none, or one stands twice.
    """
    twice = next((name for name in classes if list(classes).count(name) > 1), None)
    if not classes or twice is not None:
        raise ConfigError(
            "class names, each once",
            got="none" if twice is None else f"`{twice}` twice",
            where="data.classes",
            fix="correct the list, or leave it out to take the classes that are found",
        )
    return tuple(classes)


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of every row as class indices."""

    classes: tuple[str, ...]
    task: Task
    rows: list[tuple[int, ...]]


def is_one_hot(sheet: Sheet, columns: Sequence[str]) -> bool:
    """Whether columns hold 0 and 1: there are several, and most of their cells do (the rest are mistakes to report)."""
    if len(columns) < 2:
        return False
    return 2 * sum(count_flags(sheet, column) for column in columns) > len(columns) * len(sheet)


def count_flags(sheet: Sheet, column: str) -> int:
    """Return how many cells of a column say 0 or 1."""
    return sum(cell is not None and cell.lower() in FLAGS for cell in sheet.cells(column))


def read_labels(
    sheet: Sheet,
    columns: Sequence[str],
    *,
    separator: str = ";",
    task: Task | None = None,
    classes: Sequence[str] | None = None,
    key: str = "data.classes",
) -> Labels:
    """Read the label columns.

    Several columns of 0 and 1 are one-hot, their names the classes. Otherwise cells hold class names, several divided
    by `separator`, and the labels of a row are those of all its columns. Without `task`, the data set is multi-label as
    soon as one row carries several labels (or, one-hot, none), else multi-class. In a multi-label data set a row
    without a label is a good part; in a multi-class one it is a mistake.

    Raises:
        ConfigError: a class is named twice.
        DataError: one cell cannot be used, or there is no class at all.
        Problems: several cells, a line each.
    """
    faults = Faults(sheet.path.name)
    if is_one_hot(sheet, columns):
        names = _one_hot_names(sheet, columns, faults)
        inferred: Task = "multiclass" if all(len(row) == 1 for row in names) else "multilabel"
        found: tuple[str, ...] = tuple(columns)
    else:
        lists = [sheet.lists(column, separator) for column in columns]
        names = [list(dict.fromkeys(name for cell in row for name in cell)) for row in zip(*lists, strict=True)]
        inferred = "multilabel" if any(len(row) > 1 for row in names) else "multiclass"
        found = tuple(sorted({name for row in names for name in row}))
    faults.raise_if_any()
    task = task or inferred
    if not found:
        raise DataError(
            "at least one label", got="only empty cells", where=sheet.path.name, fix="fill the label column(s)"
        )
    known = found if classes is None else checked_classes(classes)
    rows = _indices(sheet, names, known, task, key, faults)
    faults.raise_if_any()
    return Labels(known, task, rows)


def _one_hot_names(sheet: Sheet, columns: Sequence[str], faults: Faults) -> list[list[str]]:
    names: list[list[str]] = [[] for _ in range(len(sheet))]
    for column in columns:
        for row, cell in enumerate(sheet.cells(column)):
            flag = None if cell is None else FLAGS.get(cell.lower())
            if flag:
                names[row].append(column)
            elif flag is None:
                got = "an empty cell" if cell is None else f"`{cell}`"
                faults.add("0 or 1", got=got, where=sheet.where(row, column), fix="correct the cell or remove the row")
    return names


def _indices(
    sheet: Sheet, names: Sequence[Sequence[str]], classes: Sequence[str], task: Task, key: str, faults: Faults
) -> list[tuple[int, ...]]:
    index = {name: position for position, name in enumerate(classes)}
    rows = []
    for row, labels in enumerate(names):
        unknown = [name for name in labels if name not in index]
        for name in unknown:
            faults.add(f"a class of {key}", got=f"`{name}`", where=sheet.where(row), fix=did_you_mean(name, classes))
        if task == "multiclass" and len(labels) != 1:
            faults.add(
                "exactly one label",
                got=" and ".join(f"`{name}`" for name in labels) or "none",
                where=sheet.where(row),
                fix="label it, remove the row, or set data.task=multilabel, where a row without a label is a good part",
            )
        rows.append(tuple(sorted(index[name] for name in labels if name in index)))
    return rows
