"""Delete a version: first everything is listed, then exactly that goes, rows and files together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringlight.errors import BundleError, ModelError, WorkspaceError
from ringlight.files import files_below
from ringlight.runtime import workspace_folder
from ringlight.services.registered import find_row, folder_of, open_versions, signed
from ringlight.services.version_files import alone, recover, set_aside
from ringlight.store.versions import SUBJECT

if TYPE_CHECKING:
    from ringlight.store.session import UnitOfWork
    from ringlight.store.tables import VersionRow


@dataclass(frozen=True, slots=True)
class Deletion:
    """What goes with a version: files by their path below `path` with their bytes, and rows of the store.

    Its activations and events stay: the audit trail outlives it.
    """

    name: str
    version: int
    path: str
    checksum: str
    files: Mapping[str, int]
    jobs: tuple[int, ...] = ()
    """Jobs that have ended and no longer name it afterwards."""

    @property
    def num_bytes(self) -> int:
        """How much disk it gives back."""
        return sum(self.files.values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "name": self.name, "version": self.version, "path": self.path, "num_bytes": self.num_bytes,
            "rows": {"model_versions": [self.version], "jobs_that_forget_it": list(self.jobs)},
            "files": [{"path": f"{self.path}/{name}", "num_bytes": size} for name, size in self.files.items()],
        }  # fmt: skip


def plan_deletion(name: str, version: int | str, *, workspace: Path | str | None = None) -> Deletion:
    """List what deleting a version takes with it; nothing is changed.

    Raises:
        ModelError: there is no such version, it is active, or a job uses it.
    """
    with open_versions(workspace) as store, store.reading() as unit:
        row = find_row(unit, name, version)
        _require_free(unit, row)
        try:
            files = files_below(folder_of(store.root, row))
        except BundleError:  # somebody removed them by hand: the row alone is left to go
            files = {}
        jobs = tuple(job.id for job in unit.versions.jobs(row, ended=True))
        return Deletion(name, row.version, row.path, row.checksum, files, jobs)


def delete(plan: Deletion, *, who: str | None = None, workspace: Path | str | None = None) -> None:
    """Delete a version with its files, exactly as they were listed.

    Raises:
        ModelError: it is gone or active by now, or a job uses it.
        WorkspaceError: its files are not those that were listed, or cannot be moved; nothing is deleted.
    """
    root, (who, _) = workspace_folder(workspace), signed(who)
    with open_versions(workspace) as store, alone(root):
        recover(store)
        with store.writing() as unit:
            unit.versions.lock(plan.name)
            row = find_row(unit, plan.name, plan.version)
            unit.versions.hold(row)
            _require_free(unit, row)
            _move_away(unit, root, row, plan)
            unit.versions.delete(row)
            unit.events.add(
                SUBJECT, plan.name, "deleted", who=who, version=plan.version, checksum=plan.checksum,
                files=len(plan.files), num_bytes=plan.num_bytes,
            )  # fmt: skip


def _move_away(unit: UnitOfWork, root: Path, row: VersionRow, plan: Deletion) -> None:
    """Move the files out of reach, then look: what appears now appears elsewhere."""
    try:
        folder = folder_of(root, row)
    except BundleError:
        found: dict[str, int] = {}
    else:
        found = files_below(set_aside(unit, folder))
    if found != dict(plan.files) or row.checksum != plan.checksum:
        changed = sorted(set(found.items()) ^ set(plan.files.items()))
        shown = f"{changed[0][0]} and {len(changed) - 1} more" if len(changed) > 1 else "".join(x for x, _ in changed)
        raise WorkspaceError(
            "the files that were listed", got=f"others: {shown}", where=str(root / row.path),
            fix="nothing was deleted: list them again with --dry-run",
        )  # fmt: skip


def _require_free(unit: UnitOfWork, row: VersionRow) -> None:
    reference = f"{row.name}@{row.version}"
    if row.is_active:
        raise ModelError(
            "a version that is not active", got="the active one", where=reference,
            fix=f"activate another first, or ringlight models deactivate {row.name}",
        )  # fmt: skip
    jobs = unit.versions.jobs(row, ended=False)
    if jobs:
        listed = ", ".join(f"job {job.id} ({job.kind}, {job.state})" for job in jobs[:5])
        raise ModelError(
            "a version that no job uses", got=listed + (f" and {len(jobs) - 5} more" if len(jobs) > 5 else ""),
            where=reference, fix=f"wait for it, or ringlight jobs cancel {jobs[0].id}",
        )  # fmt: skip
