"""Prepared windows in a folder of the workspace: made once, found again by what they were made from."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ringlight.data.window_store import FORMAT, Facts, read_facts
from ringlight.errors import DataError
from ringlight.files import unwritable
from ringlight.runtime import LOGGER, workspace_folder


def prepared(cache: Path | None, made_from: Mapping[str, Any], make: Callable[[Path], object]) -> tuple[Path, Facts]:
    """Return the store that was made from these files and settings, and what it holds; make it where there is none.

    One process makes it while others wait. A store that is damaged is made again.

    Args:
        cache: the folder of the stores; that of the workspace when None.
        made_from: digests of the files and all settings that the values depend on, plain values.
        make: writes the store into the folder it is given, which is not there yet.

    Raises:
        DataError: what `make` raises.
        WorkspaceError: the folder cannot be written.
    """
    parent = workspace_folder() / "cache" if cache is None else cache
    text = json.dumps({"format": FORMAT, **made_from}, sort_keys=True)
    folder = (parent / f"windows-{hashlib.sha256(text.encode()).hexdigest()[:16]}").absolute()
    facts = _whole(folder)
    if facts is not None:
        return folder, facts
    try:
        parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(parent / "windows.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            LOGGER.info("%s: another process prepares windows; waiting for it", parent)
            lock.acquire()
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        facts = _whole(folder)
        if facts is None:
            for left in (folder, *parent.glob(f".{folder.name}.*.part")):  # damaged, or of a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            make(folder)
            facts = read_facts(folder)
    finally:
        lock.release()
    return folder, facts


def _whole(folder: Path) -> Facts | None:
    if not folder.is_dir():
        return None
    try:
        return read_facts(folder)
    except DataError as error:
        LOGGER.warning("%s; it is made again", error)
        return None
