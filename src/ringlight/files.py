"""Files written whole: a crash, a full disk or a killed process leaves the old file or the new one, never a half."""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ringlight.errors import WorkspaceError


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` when the block succeeds, remove it when it fails.

    Raises:
        WorkspaceError: the folder cannot be written or the disk is full.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        part.open("xb").close()  # not tempfile: its files are private, and asking for the umask means changing it
        temporary = part
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def remove_parts(folder: Path) -> None:
    """Remove what processes that were killed while they wrote have left below `folder`; nobody else may be writing."""
    for part in folder.rglob(".*.part"):
        part.unlink(missing_ok=True)


def unwritable(path: Path, error: OSError) -> WorkspaceError:
    """Describe a failed write in one line."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return WorkspaceError(
            "room on the disk", got=os.strerror(errno.ENOSPC), where=str(path), fix="free some space and run again"
        )
    return WorkspaceError(
        "a place that can be written",
        got=f"{type(error).__name__}: {error.strerror or error}",
        where=str(path),
        fix="check the permissions or choose another place with --workspace FOLDER",
    )


def write_text(path: Path, text: str) -> None:
    """Write a text file whole (UTF-8)."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write JSON whole; refuses NaN and infinity, which JSON does not know."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows as CSV whole; the columns are the union of the rows' keys, in order of appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make sure that renames in a folder outlive a power cut; Windows knows no such thing."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def files_below(folder: Path) -> dict[str, int]:
    """Return every file below a folder with its bytes; a link counts as itself, and nothing behind it is looked at."""
    found = {}
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        for name in (*files, *links):
            path = Path(place) / name
            found[path.relative_to(folder).as_posix()] = path.lstat().st_size
    return dict(sorted(found.items()))
