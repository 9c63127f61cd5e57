"""A folder that is followed: every file that has come in whole, once."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ringlight.data.walk import Seen, walk_files
from ringlight.errors import DataError
from ringlight.runtime import LOGGER

INTERVAL = 1.0
"""Seconds from one look to the next."""
EMPTY_AFTER = 30
"""Looks after which an empty file is taken as it is: a camera opens a file before it writes to it."""


class _State(NamedTuple):
    size: int
    changed: int
    looks: int
    """How often it looked like this before."""


class FolderWatch:
    """Looks into folders for files that are new and whole.

    A file is whole when its size and its time of change are the same at two looks; files that are written under another
    ending and renamed (`part.png.tmp`) are seen when they have their name. A file that is removed is forgotten: another
    one of its name is new.

    Args:
        folders: those to follow.
        extensions: what a file's name ends in.
        recursive: with all folders below them.

    Raises:
        DataError: one of them is no folder, or cannot be listed.
    """

    def __init__(self, folders: Sequence[Path], *, extensions: Collection[str], recursive: bool = True) -> None:
        for folder in folders:
            if not folder.is_dir():
                got = "a file" if folder.exists() else "nothing there"
                raise DataError("a folder to watch", got=got, where=str(folder), fix="name a folder, or leave --watch")
        self.folders = list(folders)
        self.extensions = extensions
        self.recursive = recursive
        self._states: dict[Path, _State | None] = {}
        self._lost: set[Path] = set()
        for folder in folders:
            next(walk_files(folder, extensions=(), recursive=False), None)

    def look(self) -> list[Seen]:
        """Return the files that have become whole since the last look, folder by folder in order of name."""
        found: list[Seen] = []
        states: dict[Path, _State | None] = {}
        for folder in self.folders:
            for seen in self._listed(folder):
                if seen.fault is not None:  # what was known of it still holds when it is back
                    states |= {path: state for path, state in self._states.items() if path.is_relative_to(seen.path)}
                    continue
                states[seen.path] = self._state(seen.path)
                if states[seen.path] is None and self._states.get(seen.path, ()) is not None:
                    found.append(seen)
        self._states = states
        return found

    def _listed(self, folder: Path) -> Iterator[Seen]:
        """Yield the files of a folder; one that is away for a while (a network's) is waited for."""
        try:
            yield from walk_files(folder, extensions=self.extensions, recursive=self.recursive)
        except DataError as error:
            if folder not in self._lost:
                LOGGER.warning("%s; waiting for it", error)
            self._lost.add(folder)
            yield Seen(folder, error)
        else:
            self._lost.discard(folder)

    def _state(self, path: Path) -> _State | None:
        """Return how a file looks as long as it may grow; None once it is whole."""
        former = self._states.get(path, _State(-1, -1, 0))
        if former is None:
            return None
        try:
            state = path.stat()
        except OSError:  # gone again, or a link to nothing: it may still come
            return _State(-1, -1, 0)
        if (state.st_size, state.st_mtime_ns) != (former.size, former.changed):
            return _State(state.st_size, state.st_mtime_ns, 0)
        if state.st_size == 0 and former.looks < EMPTY_AFTER:
            return former._replace(looks=former.looks + 1)
        return None


def follow(watch: FolderWatch) -> Iterator[list[Seen]]:
    """Yield the files of every look that found some, for ever, with :data:`INTERVAL` between two looks."""
    while True:
        found = watch.look()
        if found:
            yield found
        time.sleep(INTERVAL)
