"""Images found one after the other: a folder's names are held at a time, never a list of all files below it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from ringlight.data.files import EXTENSIONS
from ringlight.errors import DataError


class Seen(NamedTuple):
    """A file that was found; or a folder that cannot be listed, and why."""

    path: Path
    fault: DataError | None = None


def walk_files(root: Path, *, extensions: Collection[str] = EXTENSIONS, recursive: bool = True) -> Iterator[Seen]:
    """Yield the files below `root` that end in one of `extensions`, folder by folder, each in the order of its names.

    Hidden files and folders are left out. Links are followed, cycles are not; a broken link counts as a file, which
    nobody will be able to read. A folder below `root` that cannot be listed is told, and the rest is gone through.

    Raises:
        DataError: `root` itself is no folder, or cannot be listed.
    """
    wanted = tuple(extension.lower() for extension in extensions)
    names = _listed(root)
    yield from _below(root, names, wanted, recursive, (_inode(root),))


class _Names(NamedTuple):
    """The entries of one folder, in order, and which of them are folders."""

    names: list[str]
    folders: set[str]


def _listed(folder: Path) -> _Names:
    names, folders = [], set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                names.append(entry.name)
                if entry.is_dir():
                    folders.add(entry.name)
    except OSError as error:
        raise _unlisted(folder, error) from error
    names.sort()
    return _Names(names, folders)


def _below(
    folder: Path, listed: _Names, wanted: tuple[str, ...], recursive: bool, above: tuple[tuple[int, int], ...]
) -> Iterator[Seen]:
    """Yield what lies in a folder and below; `above` are the folders we stand in, to which a link is a cycle."""
    for name in listed.names:
        path = folder / name
        if name not in listed.folders:
            if name.lower().endswith(wanted):
                yield Seen(path)
            continue
        if not recursive:
            continue
        try:
            inode, inner = _inode(path), _listed(path)
        except DataError as fault:
            yield Seen(path, fault)
            continue
        if inode not in above:
            yield from _below(path, inner, wanted, recursive, (*above, inode))


def _inode(folder: Path) -> tuple[int, int]:
    try:
        state = folder.stat()
    except OSError as error:
        raise _unlisted(folder, error) from error
    return state.st_dev, state.st_ino


def _unlisted(folder: Path, error: OSError) -> DataError:
    got = "nothing there" if isinstance(error, FileNotFoundError) else (error.strerror or str(error)).lower()
    fix = "check the path and its permissions"
    return DataError("a folder that can be read", got=got, where=str(folder), fix=fix)
