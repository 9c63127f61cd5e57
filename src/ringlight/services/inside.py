"""Names that become folders, and paths that come back from the store: neither leads out of the workspace."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from ringlight.errors import UserError, WorkspaceError

MAX_NAME = 100
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_NAME - 1}}}")


def is_plain(name: str) -> bool:
    """Return whether a name may become a folder."""
    return _NAME.fullmatch(name) is not None


def plain_name(name: str, where: str) -> str:
    """Return a name that may become a folder.

    Raises:
        UserError: it has other characters than letters, digits, `-`, `_` and `.`, begins with one of the latter three,
            or is longer than 100.

    Examples:
        >>> plain_name("strips-2.1", "--name")
        'strips-2.1'
    """
    if not is_plain(name):
        got = repr(name) if len(name) <= MAX_NAME else f"{len(name)} characters"
        raise UserError(
            f"a name of 1 to {MAX_NAME} letters (a-z), digits, `-`, `_` and `.`, a letter or digit first", got=got,
            where=where, fix="choose another, such as severstal-2",
        )  # fmt: skip
    return name


def inside(root: Path, relative: str, *, links: bool = True) -> Path:
    """Return the place that a path from the store names, links followed; the store may have been edited.

    Args:
        root: the workspace.
        relative: the path.
        links: whether a link on the way to another place of the workspace will do.

    Raises:
        WorkspaceError: it is absolute, goes up, holds what no path holds, or leads out of the workspace by a link.
    """
    base = root.resolve()
    place = None
    if not any(sign in relative for sign in "\0\\") and ".." not in PurePosixPath(relative).parts:
        try:
            place = (base / relative).resolve()
        except (OSError, RuntimeError):  # too long, or links that lead in a circle
            place = None
    if place is None or base not in place.parents or not (links or place == base / relative):
        raise WorkspaceError(
            "a path inside the workspace", got=repr(relative), where=str(root),
            fix="the store was edited or a link leads out: put what it names back into the workspace",
        )  # fmt: skip
    return place
