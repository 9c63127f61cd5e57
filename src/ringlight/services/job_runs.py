"""What a job leaves in its run's folder when it stops before its end: no temporary file, and a status that is true.

Also of a run whose process was killed and could not say so itself. Loads no torch: a worker stays small.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ringlight.errors import WorkspaceError
from ringlight.files import remove_parts, unwritable, write_json
from ringlight.runtime import LOGGER
from ringlight.store.session import UnitOfWork
from ringlight.store.tables import JobRow

MANIFEST = "manifest.json"
"""As in :mod:`ringlight.services.standing`, which would load torch."""

STATUS_OF_RUN: Mapping[str, str] = {
    "cancelled": "cancelled", "paused": "paused", "queued": "interrupted", "failed": "failed",
}  # fmt: skip
"""How the run of a job stands that was let go of."""

OPEN = ("created", "running", "paused", "interrupted")
"""How a run may stand that its process did not bring to an end itself."""


def log_of(root: Path, number: int) -> Path:
    """Return where the log of a job lies; told by its number alone, whatever stands in a database."""
    return root / "logs" / "jobs" / f"{number}.log"


def folder_of(row: JobRow, root: Path) -> Path | None:
    """Return the folder that a job works in, None while there is none: of a run, or of a study."""
    if row.run is None:
        return None
    folder = (root / (row.run if row.run.startswith("studies/") else f"runs/{row.run}")).resolve()
    return folder if folder.is_dir() and folder.is_relative_to(root.resolve()) else None


def stopped(unit: UnitOfWork, row: JobRow, root: Path, now: datetime) -> None:
    """Bring a stopped job's run in line with it: in the history at once, its folder as soon as that holds."""
    status = STATUS_OF_RUN[row.state]
    if row.run is not None:
        known = unit.runs.get(row.run)
        if known is not None and known.status in OPEN:
            unit.runs.change(row.run, status=status, error=row.error, finished=now, process=None)
            unit.events.add("run", row.run, status, error=row.error)
    folder = folder_of(row, root)
    if folder is None:
        return
    keep = row.state != "cancelled" or row.keep_checkpoint
    why = row.error
    unit.afterwards(lambda: tidy(folder, status, why, now, keep_checkpoints=keep))


def tidy(folder: Path, status: str, why: str | None, now: datetime, *, keep_checkpoints: bool) -> None:
    """Remove what a killed process left half written, and what a cancelled run does not need; mark the run.

    A folder that cannot be written is told in the log: the job has ended all the same.
    """
    try:
        remove_parts(folder)
        if not keep_checkpoints:
            for checkpoints in [path for path in folder.rglob("checkpoints") if path.is_dir()]:
                shutil.rmtree(checkpoints)
        values = manifest_of(folder)
        if values is not None and values.get("status") in OPEN:
            write_json(
                folder / MANIFEST, {**values, "status": status, "error": why, "updated": now.isoformat("T", "seconds")}
            )
    except WorkspaceError as error:
        LOGGER.warning("could not tidy up: %s", error)
    except OSError as error:
        LOGGER.warning("could not tidy up: %s", unwritable(folder, error))


def manifest_of(folder: Path) -> dict[str, Any] | None:
    """Return how a run says it stands, None where it does not."""
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return None
    return dict(found) if isinstance(found, dict) else None
