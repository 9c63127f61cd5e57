"""Found duplicates, remembered: looking into ten thousand files takes minutes, reading what came of it takes none.

The key is what a search looks at and names: the ids and the digests of the files. Labels are no part of it, so that a
data set whose labels were corrected is not searched again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ringlight.data.links import Duplicates, Link
from ringlight.errors import WorkspaceError
from ringlight.files import write_json
from ringlight.runtime import LOGGER, package_versions
from ringlight.types import Dataset

FORMAT = 1
"""The layout of the file."""

WORTH_IT = 100
"""Fewer files are searched in about a second: a look at a small folder leaves nothing behind in the workspace."""


def remembered_duplicates(
    dataset: Dataset,
    *,
    find: Callable[[Dataset], Duplicates],
    cache: Path,
    settings: Mapping[str, float] | None = None,
) -> Duplicates:
    """Return what `find` answers, from the folder `cache` when it was asked before for the same files.

    The answer does not depend on the order of the records: groups are named after their first record in order of the
    ids. A file that is damaged, or that another version of Ringlight wrote, is written anew; a folder that cannot be
    written only costs the time of the next search.

    Args:
        dataset: the records; fewer than :data:`WORTH_IT`, or without the digests of their files, are not remembered.
        find: the search, asked with the records in order of their ids.
        settings: what the search was told beside the records; with others it is asked anew.
        cache: the folder for `duplicates-<key>.json`.

    Raises:
        DataError: what `find` raises.
    """
    order = np.argsort(np.asarray(dataset.ids, dtype=object), kind="stable")
    data = dataset.take(order)
    if len(data) < WORTH_IT or data.table.column("content").null_count:
        return _in_order(find(data), order)
    key = _key(data)
    header: dict[str, Any] = {"format": FORMAT, **package_versions(("ringlight",)), "key": key}
    header["settings"] = dict(settings or {})
    file = cache / f"duplicates-{key[:16]}.json"
    found = _read(file, header, len(data))
    if found is None:
        found = find(data)
        try:
            write_json(file, {**header, **found.to_dict()})
        except WorkspaceError as error:
            LOGGER.debug("duplicates are not remembered: %s", error)
    return _in_order(found, order)


def _key(data: Dataset) -> str:
    rows = zip(data.ids, data.table.column("content").to_pylist(), strict=True)
    return hashlib.sha256(json.dumps(list(rows)).encode()).hexdigest()


def _read(file: Path, header: dict[str, Any], count: int) -> Duplicates | None:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if any(values[name] != value for name, value in header.items()):
            return None
        found = Duplicates.from_dict(values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        LOGGER.debug("no duplicates are remembered in %s: %s", file, error)
        return None
    rows = {row for link in found.links for row in (link.a, link.b)}
    whole = len(found.groups) == count and all(0 <= row < count for row in rows)
    return found if whole and all(isinstance(name, str) for name in found.groups) else None


def _in_order(found: Duplicates, order: np.ndarray[Any, np.dtype[np.int64]]) -> Duplicates:
    """Bring groups and links from the order of the ids to that of the records."""
    groups = np.empty(len(order), object)
    groups[order] = found.groups
    rows = order.tolist()
    pairs = sorted(
        (min(rows[link.a], rows[link.b]), max(rows[link.a], rows[link.b]), link.similarity) for link in found.links
    )
    return Duplicates(tuple(groups), tuple(Link(*pair) for pair in pairs), found.notes)
