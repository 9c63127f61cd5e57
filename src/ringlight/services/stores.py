"""Opening the workspace's store."""

from __future__ import annotations

from pathlib import Path

from ringlight.runtime import workspace_folder
from ringlight.store.session import Store


def open_store(workspace: Path | str | None = None) -> Store:
    """Open the store of a workspace, which appears on first use; use it in a `with` block.

    Raises:
        WorkspaceError: the database cannot be opened, or a newer Ringlight wrote it.
    """
    return Store(workspace_folder(workspace))
