"""Studies in the training history: a row under `studies/NAME`, whose epochs are the trials."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringlight.config.load import read_config
from ringlight.config.schema import Config
from ringlight.errors import InterruptedRunError, RinglightError
from ringlight.runtime import LOGGER
from ringlight.services.history import home_of, put_epochs, read_json
from ringlight.services.processes import this_process
from ringlight.services.standing import STATUS_OF
from ringlight.services.stores import open_store
from ringlight.store.tables import RUN_STATES, ArtifactRow, RunRow

if TYPE_CHECKING:
    from ringlight.store.session import UnitOfWork

STUDIES = "studies"
STUDY = "study.json"

ARTIFACTS = {
    "study.json": "results", "trials.csv": "results", "report.html": "report", "report.md": "report",
    "best.yaml": "configuration", "study.log": "log",
}  # fmt: skip
"""What a study leaves, with its kind."""


@contextmanager
def recorded_study(folder: Path, config: Config) -> Iterator[None]:
    """Record how a study goes on and ends, under `studies/NAME`; one that lies elsewhere is left out."""
    _try_to_record(folder, config, "running")
    try:
        yield
    except InterruptedRunError as error:
        _try_to_record(folder, config, STATUS_OF[error.signal], str(error))
        raise
    except Exception as error:
        _try_to_record(folder, config, "failed", str(error))
        raise
    _try_to_record(folder, config, "completed")


def _try_to_record(folder: Path, config: Config, status: str, error: str | None = None) -> None:
    if folder.parent.name != STUDIES:
        return
    try:
        with open_store(home_of(folder)) as store, store.writing() as unit:
            record_study(unit, folder, config, status, error, datetime.now(UTC))
    except RinglightError as fault:
        LOGGER.warning("the study is not recorded: %s; later: ringlight runs import", fault)


def record_study(
    unit: UnitOfWork, folder: Path, config: Config, status: str, error: str | None, moment: datetime | None
) -> RunRow:
    """Write how a study stands into the store, in the place of what is known of it.

    Raises:
        RunError: its `study.json` cannot be read.
    """
    name, values = f"{STUDIES}/{folder.name}", read_json(folder / STUDY) or {}
    row = unit.runs.get(name)
    if row is None:
        row = unit.runs.add(RunRow(name=name, path=name, kind="tune", config={}))
    former, running = row.status, status == "running"
    row.config, row.recipe, row.seed = config.model_dump(mode="json"), config.recipe, config.experiment.seed
    row.status, row.error, row.started = status, error, row.started or moment
    row.finished, row.process = None if running else moment, this_process() if running else None
    best, row.device = values.get("best") or {}, values.get("device")
    row.metrics = {config.tune.metric: float(best["value"])} if "value" in best else None
    unit.flush()
    if not running:
        trials = [trial for trial in values.get("trials", []) if trial.get("value") is not None]
        put_epochs(unit, row, {int(trial["number"]): {config.tune.metric: trial["value"]} for trial in trials})
        unit.runs.put_artifacts(row.id, _artifacts(row.id, folder))
    if status != former:
        unit.events.add("run", name, status, error=error)
    return row


def take_in(unit: UnitOfWork, folder: Path) -> RunRow:
    """Record a study that was not recorded while it ran.

    Raises:
        RunError: its `study.json` cannot be read.
        UserError: its configuration cannot be read.
    """
    path = folder / STUDY
    values: dict[str, Any] = read_json(path) or {}
    told = {"stopped": "completed", "running": "interrupted"}  # as `recorded_study` has them
    status = told.get(str(values.get("status")), str(values.get("status")))
    changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    config = read_config(folder / "config.yaml")
    return record_study(unit, folder, config, status if status in RUN_STATES else "interrupted", None, changed)


def _artifacts(number: int, folder: Path) -> list[ArtifactRow]:
    paths = [folder / name for name in ARTIFACTS if (folder / name).is_file()]
    return [
        ArtifactRow(run_id=number, kind=ARTIFACTS[path.name], path=path.name, num_bytes=path.stat().st_size)
        for path in paths
    ]
