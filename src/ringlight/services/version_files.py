"""The files of versions: `models/<kind>/<name>/v<number>/` is there exactly where its row is, whenever the power fails.

A folder is moved into or out of its place inside the transaction that writes or deletes its row, beside a note of what
was about to happen; :func:`recover` reads the note and asks the store how it ended. One process at a time moves
folders, so that nobody takes what another is just doing for something left behind.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from ringlight.errors import BundleError
from ringlight.files import sync_folder, unwritable
from ringlight.inference.bundle_files import listed_files
from ringlight.runtime import LOGGER
from ringlight.services.aside import move_aside

if TYPE_CHECKING:
    from ringlight.store.session import Store, UnitOfWork
    from ringlight.store.tables import VersionRow

MODELS = "models"
COPY, ADDING, DELETED = ".copy-", ".adding-v", ".deleted-v"
_DELETED = re.compile(re.escape(DELETED) + r"(\d+)-[0-9a-f]{8}")


def place_of(row: VersionRow) -> str:
    """Return where a version's files lie, relative to the workspace."""
    return f"{MODELS}/{row.kind}/{row.name}/v{row.version}"


def reference_of(folder: Path) -> str | None:
    """Return `NAME@3` of the folder of a version, None of any other.

    Examples:
        >>> reference_of(Path("workspace/models/defect/strips/v3")), reference_of(Path("runs/demo-1/bundle"))
        ('strips@3', None)
    """
    place = folder.absolute()
    found = re.fullmatch(r"v(\d+)", place.name)
    is_version = found is not None and len(place.parts) > 4 and place.parts[-4] == MODELS
    return f"{place.parent.name}@{found[1]}" if is_version and found is not None else None


@contextlib.contextmanager
def alone(root: Path, *, wait: bool = True) -> Iterator[bool]:
    """Move folders below `models/` alone; False where another process is at it and nobody wants to wait.

    Raises:
        WorkspaceError: the workspace cannot be written.
    """
    models = root / MODELS
    try:
        models.mkdir(parents=True, exist_ok=True)
        lock = FileLock(models / ".lock", timeout=-1 if wait else 0)
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:
        raise unwritable(models, error) from error
    try:
        yield True
    finally:
        lock.release()


@contextlib.contextmanager
def copied(bundle: Path, root: Path) -> Iterator[Path]:
    """Copy the files of a bundle, and nothing else that lies beside them, to where they can be checked in peace.

    Whoever holds :func:`alone` moves the copy on; what is left of it when the block ends is removed.

    Raises:
        BundleError: the index lists a file that is a link or no file.
        WorkspaceError: the copy cannot be written.
    """
    copy = root / MODELS / f"{COPY}{secrets.token_hex(4)}"
    try:
        try:
            copy.mkdir()
            for name in listed_files(bundle):
                _copy_file(bundle / name, copy / name)
            sync_folder(copy)
        except OSError as error:
            raise unwritable(copy, error) from error
        yield copy
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def _copy_file(source: Path, target: Path) -> None:
    if source.is_symlink() or not source.is_file():
        got = "a link" if source.is_symlink() else "none"
        raise BundleError(
            "a file that the bundle lists", got=got, where=str(source), fix="put the file itself in its place"
        )
    with source.open("rb") as read, target.open("xb") as written:
        shutil.copyfileobj(read, written, 1 << 20)
        written.flush()
        os.fsync(written.fileno())


def put_in_place(unit: UnitOfWork, copy: Path, place: Path) -> None:
    """Move a checked copy to where a new row says that it lies; it goes again if the row is not committed.

    Raises:
        WorkspaceError: it cannot be written.
    """
    note = place.with_name(f"{ADDING}{place.name[1:]}")
    unit.undo(lambda: remove_empty(place.parent))
    unit.undo(lambda: note.unlink(missing_ok=True))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        note.touch()
        sync_folder(place.parent)
        copy.rename(place)
        unit.undo(lambda: shutil.rmtree(place, ignore_errors=True))
        sync_folder(place.parent)
    except OSError as error:
        raise unwritable(place, error) from error
    unit.afterwards(lambda: note.unlink(missing_ok=True))


def set_aside(unit: UnitOfWork, place: Path) -> Path:
    """Move the files of a version that is being deleted; back if its row stays, and off the disk once it is gone.

    Raises:
        WorkspaceError: they cannot be moved.
    """
    return move_aside(unit, place, f"{DELETED}{place.name[1:]}", _remove)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        LOGGER.warning("could not remove %s: the next command on models tries again", folder)
    remove_empty(folder.parent)


def remove_empty(folder: Path) -> None:
    """Remove the folder of a name, and that of its kind, where nothing is left in them."""
    for one in (folder, folder.parent):
        with contextlib.suppress(OSError):
            one.rmdir()


def recover(store: Store) -> None:
    """Finish, or take back, what a process that died was doing with the folders of versions.

    Raises:
        WorkspaceError: the workspace cannot be written.
    """
    models = store.root / MODELS
    if not any(_left_behind(models)):
        return
    with alone(store.root, wait=False) as free:
        if not free:
            return
        for path in list(_left_behind(models)):
            try:
                _recover(store, path)
            except OSError as error:
                raise unwritable(path, error) from error


def _left_behind(models: Path) -> Iterator[Path]:
    yield from models.glob(f"{COPY}*")
    for begin in (ADDING, DELETED):
        yield from models.glob(f"*/*/{begin}*")


def _recover(store: Store, path: Path) -> None:
    if path.name.startswith(COPY):
        shutil.rmtree(path, ignore_errors=True)
        return
    deleted = _DELETED.fullmatch(path.name)
    number = deleted[1] if deleted else path.name.removeprefix(ADDING)
    if not number.isdecimal() or path.is_symlink():
        return  # none of ours
    place = path.with_name(f"v{number}")
    with store.reading() as unit:
        row = unit.versions.get(path.parent.name, int(number))
        is_there = row is not None and row.path == place.relative_to(store.root).as_posix()
    if deleted and is_there and not place.exists():
        path.rename(place)
        LOGGER.info("%s: the deletion that was cut off is taken back", place)
    elif deleted and not is_there:
        _remove(path)
        LOGGER.info("%s: the deletion that was cut off is finished", place)
    elif not deleted:
        if not is_there:
            shutil.rmtree(place, ignore_errors=True)
            LOGGER.info("%s: the registration that was cut off is taken back", place)
        path.unlink(missing_ok=True)
        remove_empty(path.parent)
