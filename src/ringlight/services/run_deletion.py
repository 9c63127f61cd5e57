"""Delete a run: first everything is listed, then exactly that goes, rows and files together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringlight.errors import RunError, WorkspaceError
from ringlight.files import files_below
from ringlight.services.processes import login
from ringlight.services.run_files import alone, folder_of, set_aside
from ringlight.services.run_lookup import find_row, open_history, place_of

if TYPE_CHECKING:
    from ringlight.store.session import UnitOfWork
    from ringlight.store.tables import RunRow


@dataclass(frozen=True, slots=True)
class Deletion:
    """What goes with a run: files by their path below `path` with their bytes, and rows of the store by table.

    What happened to it stays among the events, and the snapshot of its data for the runs to come.
    """

    home: Path
    """The workspace."""
    name: str
    path: str
    files: Mapping[str, int]
    rows: Mapping[str, int]
    """How many rows of each table go."""
    versions: tuple[str, ...] = ()
    """Registered versions that are not active; they stay, and no longer name the run."""

    @property
    def num_bytes(self) -> int:
        """How much disk it gives back."""
        return sum(self.files.values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "name": self.name, "path": self.path, "num_bytes": self.num_bytes, "rows": dict(self.rows),
            "versions_that_forget_it": list(self.versions),
            "files": [{"path": f"{self.path}/{name}", "num_bytes": size} for name, size in self.files.items()],
        }  # fmt: skip


def plan_deletion(run: Path | str, *, workspace: Path | str | None = None) -> Deletion:
    """List what deleting a run takes with it; nothing is changed.

    Raises:
        RunError: there is no such run, it runs, or a job, another run or an active version needs it.
        WorkspaceError: its row names a folder outside the workspace.
    """
    home, name = place_of(run, workspace)
    with open_history(home) as store, store.reading() as unit:
        row = find_row(unit, name, store.root)
        _require_free(unit, row)
        return _listed(unit, store.root, row, files_below(folder_of(store.root, row)))


def delete(plan: Deletion, *, who: str | None = None) -> None:
    """Delete a run with its files, exactly as they were listed.

    Raises:
        RunError: it is gone or runs by now, or something came to need it.
        WorkspaceError: what there is is not what was listed, or cannot be moved; nothing is deleted.
    """
    with open_history(plan.home) as store, alone(store.root), store.writing() as unit:
        row = unit.runs.held(plan.name) or find_row(unit, plan.name, store.root)
        _require_free(unit, row)
        folder = folder_of(store.root, row)
        files = files_below(set_aside(unit, folder)) if folder.is_dir() else {}
        if _listed(unit, store.root, row, files) != plan:
            changed = sorted(set(files.items()) ^ set(plan.files.items()))
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise WorkspaceError(
                "what was listed", got=f"others: {changed[0][0]}{more}" if changed else "other rows", where=str(folder),
                fix="nothing was deleted: list it again with --dry-run",
            )  # fmt: skip
        _pass_on_split(unit, row)
        unit.runs.delete(row.id)
        unit.events.add(
            "run", plan.name, "deleted", who=who or login(), files=len(plan.files), num_bytes=plan.num_bytes
        )


def _listed(unit: UnitOfWork, home: Path, row: RunRow, files: Mapping[str, int]) -> Deletion:
    owned = row.split_id is not None and not unit.runs.divided_alike(row)
    rows = {
        "training_history": 1, "epoch_metrics": unit.runs.count_epochs(row.id),
        "artifacts": len(unit.runs.artifacts(row.id)), "splits": int(owned),
    }  # fmt: skip
    versions = tuple(f"{one.name}@{one.version}" for one in unit.runs.versions(row.id))
    return Deletion(home, row.name, row.path, files, rows, versions)


def _require_free(unit: UnitOfWork, row: RunRow) -> None:
    def refuse(expected: str, got: str, fix: str) -> RunError:
        return RunError(expected, got=got, where=row.name, fix=fix)

    if row.status == "running":
        raise refuse("a run that has ended", "one that runs", "stop it first")
    jobs = unit.runs.jobs(row.name, ended=False)
    if jobs:
        listed = ", ".join(f"job {job.id} ({job.kind}, {job.state})" for job in jobs[:5])
        raise refuse("a run that no job uses", listed, f"wait for it, or ringlight jobs cancel {jobs[0].id}")
    active = [f"{one.name}@{one.version}" for one in unit.runs.versions(row.id) if one.is_active]
    if active:
        raise refuse(
            "a run that no active version came of", ", ".join(active), "activate another version of that name first"
        )
    children = [child.name for child in unit.runs.children(row.id)]
    if children:
        more = f" and {len(children) - 5} more" if len(children) > 5 else ""
        raise refuse("a run that no other came of", ", ".join(children[:5]) + more, "delete those first")


def _pass_on_split(unit: UnitOfWork, row: RunRow) -> None:
    """Let the split of a run live on in the folder of another that was divided alike; alone it goes."""
    if row.split_id is None:
        return
    others = unit.runs.divided_alike(row)
    if others:
        unit.datasets.move_split(row.split_id, f"{others[0].path}/split.csv")
    else:
        number, row.split_id = row.split_id, None
        unit.flush()
        unit.datasets.delete_split(number)
