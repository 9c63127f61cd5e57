"""Find a run of the training history by its folder, its name, or the beginning of its name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ringlight.errors import RunError, nearest
from ringlight.runtime import workspace_folder
from ringlight.services.history import home_of, mark_lost_in
from ringlight.services.run_files import recover
from ringlight.services.standing import MANIFEST
from ringlight.services.stores import open_store
from ringlight.services.study_history import STUDIES, STUDY

if TYPE_CHECKING:
    from ringlight.store.session import Store, UnitOfWork
    from ringlight.store.tables import RunRow


@contextlib.contextmanager
def open_history(workspace: Path | str | None) -> Iterator[Store]:
    """Open a workspace's store, once runs whose process is gone are marked and deletions that were cut off are ended.

    Raises:
        WorkspaceError: the store cannot be opened.
    """
    with open_store(workspace) as store:
        recover(store)
        mark_lost_in(store)
        yield store


def place_of(run: Path | str, workspace: Path | str | None = None) -> tuple[Path, str]:
    """Return the workspace of a run and what to look it up by: its folder names both, any other word is a name.

    Raises:
        RunError: a folder that lies in no workspace.
    """
    path = Path(run).expanduser()
    for mark, shelf, prefix in ((MANIFEST, "runs", ""), (STUDY, STUDIES, f"{STUDIES}/")):
        if (path / mark).is_file():
            if path.absolute().parent.name != shelf:
                raise RunError(
                    f"a run in a workspace's {shelf}/", got="a folder elsewhere, which no store knows",
                    where=str(path), fix=f"move it into <workspace>/{shelf}/ and run ringlight runs import",
                )  # fmt: skip
            return home_of(path), prefix + path.absolute().name
    return workspace_folder(workspace), str(run)


def find_row(unit: UnitOfWork, run: str, where: Path) -> RunRow:
    """Return the row of a run by its name, or the beginning of one that no other begins with; a study's may lack
    `studies/`.

    Raises:
        RunError: there is none, or more than one; the message names what there is.
    """
    exact = unit.runs.get(run) or unit.runs.get(f"{STUDIES}/{run}")
    if exact is not None:
        return exact
    found = [*unit.runs.beginning_with(run), *unit.runs.beginning_with(f"{STUDIES}/{run}")] if run else []
    if len(found) == 1:
        return found[0]
    if not found and run and (where / "runs" / run / MANIFEST).is_file():
        raise RunError(
            "a run of the training history", got=f"`{run}`, which was never recorded", where=str(where),
            fix="take it in with ringlight runs import",
        )  # fmt: skip
    names = [row.name for row in found or unit.runs.find(limit=200)]
    likely = names if found else ([name] if (name := nearest(run, names)) else names)
    raise RunError(
        "a run's folder, name, or the beginning of one name",
        got=f"`{run}`, which names {f'{len(found)} or more' if len(found) > 5 else len(found)}", where=str(where),
        fix=f"name one of them, such as {', '.join(likely[:5])}"
        if names
        else "there is none yet: start with ringlight train, or take older ones in with ringlight runs import",
    )  # fmt: skip
