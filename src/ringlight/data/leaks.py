"""Leaks: a group, or the same file to the byte, on two sides of a split, so that the test holds what was trained on."""

from __future__ import annotations

from collections.abc import Sequence

from ringlight.data.split_file import PARTS
from ringlight.data.stratify import IntArray
from ringlight.errors import SplitError
from ringlight.types import Dataset

ALLOW = "or set split.allow_leak=true: the run is then marked leaky"


def find_leaks(data: Dataset, part: IntArray) -> tuple[str, ...]:
    """Name what stands in two parts, one line a kind, with its number and the first example.

    Args:
        data: the records; their groups and, where they are known, the digests of their files are looked at.
        part: the part of each record, (N,): 0, 1, 2; any other number is no part.
    """
    ids, groups = data.ids, data.groups
    divided = _divided(groups or [], part)
    lines = [_line(divided, ids, part, "group", f"`{next(iter(divided))}`, ")] if divided else []
    # Identical files of one group are told with their group.
    contents = [
        content if groups is None or content is None or groups[row] not in divided else None
        for row, content in enumerate(data.table.column("content").to_pylist())
    ]
    identical = _divided(contents, part)
    return (*lines, _line(identical, ids, part, "identical file", "")) if identical else tuple(lines)


def _divided(names: Sequence[str | None], part: IntArray) -> dict[str, tuple[int, int]]:
    """Return, of each name that is in two parts, a row in one and the first row in another."""
    home: dict[str, int] = {}
    divided: dict[str, tuple[int, int]] = {}
    for row, name in enumerate(names):
        if name is None or not 0 <= part[row] < len(PARTS):
            continue
        first = home.setdefault(name, row)
        if part[first] != part[row]:
            divided.setdefault(name, (first, row))
    return divided


def _line(divided: dict[str, tuple[int, int]], ids: Sequence[str], part: IntArray, kind: str, label: str) -> str:
    first, second = next(iter(divided.values()))
    example = f"{label}{ids[first]} in {PARTS[part[first]]} and {ids[second]} in {PARTS[part[second]]}"
    return f"{len(divided)} {kind}{'' if len(divided) == 1 else 's'} in two parts (first: {example})"


def leak_error(leaks: tuple[str, ...], *, where: str, fix: str) -> SplitError:
    """Build the error that stops a split which leaks; `fix` is what mends it."""
    return SplitError("what belongs together in one part", got=" and ".join(leaks), where=where, fix=f"{fix}, {ALLOW}")
