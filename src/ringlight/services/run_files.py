"""The folders of runs: each is there exactly where its row is, whenever the power fails.

A folder that goes is renamed, its row is deleted, its files are removed, in this order and one process at a time, so
that wherever the power fails :func:`recover` finds a run that is whole, or gone.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from ringlight.errors import WorkspaceError
from ringlight.files import unwritable
from ringlight.runtime import LOGGER
from ringlight.services.aside import move_aside
from ringlight.services.inside import inside

if TYPE_CHECKING:
    from ringlight.store.session import Store, UnitOfWork
    from ringlight.store.tables import RunRow

SHELVES = ("runs", "studies")
ASIDE = ".deleted-"
_ASIDE = re.compile(re.escape(ASIDE) + r"(.+)-[0-9a-f]{8}")


def folder_of(root: Path, row: RunRow) -> Path:
    """Return the folder of a run, which lies on one of the shelves and nowhere else.

    Raises:
        WorkspaceError: the row says otherwise.
    """
    parts = Path(row.path).parts
    if len(parts) != 2 or parts[0] not in SHELVES or parts[1] == "..":
        raise WorkspaceError(
            f"a folder in {' or '.join(SHELVES)}", got=repr(row.path), where=row.name,
            fix="the store was edited: put it right",
        )  # fmt: skip
    return inside(root, parts[0]) / parts[1]  # not its target: of a link the link goes, never what it leads to


def set_aside(unit: UnitOfWork, folder: Path) -> Path:
    """Rename the folder of a run that is being deleted; back if its row stays, and off the disk once it is gone.

    Raises:
        WorkspaceError: it cannot be renamed.
    """
    return move_aside(unit, folder, f"{ASIDE}{folder.name}", _remove)


def _remove(aside: Path) -> None:
    if aside.is_symlink():
        aside.unlink(missing_ok=True)
        return
    shutil.rmtree(aside, ignore_errors=True)
    if aside.exists():
        LOGGER.warning("could not remove %s: the next command on runs tries again", aside)


@contextlib.contextmanager
def alone(root: Path, *, wait: bool = True) -> Iterator[bool]:
    """Move folders of runs alone; False where another process is at it and nobody wants to wait.

    Raises:
        WorkspaceError: the workspace cannot be written.
    """
    lock = FileLock(root / ".runs.lock", timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:
        raise unwritable(root, error) from error
    try:
        yield True
    finally:
        lock.release()


def recover(store: Store) -> None:
    """Finish, or take back, a deletion whose process died.

    Raises:
        WorkspaceError: the workspace cannot be written.
    """
    if not any(_left_behind(store.root)):
        return
    with alone(store.root, wait=False) as free:
        for aside in list(_left_behind(store.root)) if free else []:
            found = _ASIDE.fullmatch(aside.name)
            if found is None:
                continue  # none of ours
            place = aside.with_name(found[1])
            with store.reading() as unit:
                row = unit.runs.get(place.name if place.parent.name == "runs" else f"{place.parent.name}/{place.name}")
            try:
                if row is None:
                    _remove(aside)
                    LOGGER.info("%s: the deletion that was cut off is finished", place)
                elif not place.exists():
                    aside.rename(place)
                    LOGGER.info("%s: the deletion that was cut off is taken back", place)
            except OSError as error:
                raise unwritable(aside, error) from error


def _left_behind(root: Path) -> Iterator[Path]:
    for shelf in SHELVES:
        yield from (root / shelf).glob(f"{ASIDE}*")
