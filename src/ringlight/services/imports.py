"""Take runs and studies into the store that it does not know: older ones, and those it could not be told of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringlight.errors import RinglightError, WorkspaceError
from ringlight.services.history import mark_lost_in, record
from ringlight.services.processes import process_runs
from ringlight.services.standing import MANIFEST
from ringlight.services.stores import open_store
from ringlight.services.study_history import STUDIES, STUDY, take_in

if TYPE_CHECKING:
    from ringlight.store.session import Store, UnitOfWork
    from ringlight.store.tables import RunRow


@dataclass(slots=True)
class Imported:
    """What :func:`import_runs` did: names of runs, and for those that could not be read one line each."""

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, list[str]]:
        """Return plain values for JSON."""
        return asdict(self)


def import_runs(workspace: Path | str | None = None) -> Imported:
    """Take in the runs and studies of a workspace that the store does not know; bring those it knows up to date.

    A folder that cannot be read is told and left out; the others are taken in. What is running is left alone.

    Raises:
        WorkspaceError: the store cannot be written.
    """
    told = Imported()
    with open_store(workspace) as store:
        mark_lost_in(store)
        for manifest in sorted((store.root / "runs").glob(f"[!.]*/{MANIFEST}")):
            _take(store, told, manifest.parent.name, manifest.parent, record)
        for study in sorted((store.root / STUDIES).glob(f"[!.]*/{STUDY}")):
            _take(store, told, f"{STUDIES}/{study.parent.name}", study.parent, take_in)
    return told


def _take(
    store: Store, told: Imported, name: str, folder: Path, write: Callable[[UnitOfWork, Path], RunRow]
) -> None:  # fmt: skip
    try:
        with store.writing() as unit:
            row = unit.runs.held(name)
            if row is not None and row.status == "running" and process_runs(row.process) is not False:
                return
            before = None if row is None else _state(row)
            after = _state(write(unit, folder))
    except WorkspaceError:
        raise
    except RinglightError as error:
        told.refused.append(str(error))
    else:
        if before is None:
            told.added.append(name)
        elif before != after:
            told.updated.append(name)


def _state(row: RunRow) -> dict[str, Any]:
    return {column.key: getattr(row, column.key) for column in row.__table__.columns}
