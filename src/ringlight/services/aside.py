"""Folders that are being deleted: renamed first, removed once their rows are gone."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ringlight.files import sync_folder, unwritable

if TYPE_CHECKING:
    from ringlight.store.session import UnitOfWork


def move_aside(unit: UnitOfWork, folder: Path, name: str, remove: Callable[[Path], None]) -> Path:
    """Rename a folder to `<name>-<8 hex digits>`; back if its rows stay, and given to `remove` once they are gone.

    Raises:
        WorkspaceError: it cannot be renamed.
    """
    aside = folder.with_name(f"{name}-{secrets.token_hex(4)}")
    try:
        folder.rename(aside)
        unit.undo(lambda: aside.rename(folder))
        sync_folder(folder.parent)
    except OSError as error:
        raise unwritable(folder, error) from error
    unit.afterwards(lambda: remove(aside))
    return aside
