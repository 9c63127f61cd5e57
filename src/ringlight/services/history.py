"""The training history: every run is recorded in the workspace's store, while it runs and when it ends.

A run's folder is what counts; its rows in the store are read from it, so that a run that could not be recorded (a full
disk, a server that was down) is taken in later as it is: :mod:`ringlight.services.imports`.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringlight.config.load import read_config
from ringlight.errors import RinglightError, RunError
from ringlight.runtime import LOGGER
from ringlight.services.processes import process_runs
from ringlight.services.run_files import folder_of
from ringlight.services.snapshots import snapshot_of, split_of
from ringlight.services.standing import read_manifest
from ringlight.services.stores import open_store
from ringlight.store.tables import RUN_STATES, ArtifactRow, RunRow
from ringlight.training.fold_files import is_cross_validation
from ringlight.training.trackers import QuietTracker
from ringlight.types import Dataset, Split

if TYPE_CHECKING:
    from ringlight.store.session import Store, UnitOfWork

ARTIFACTS = {
    "configuration": ("config.yaml", "split.csv"),
    "report": ("report.html", "report.md", "report.json"),
    "results": ("results.json", "metrics.csv", "per_class.csv", "confusion.csv", "history.csv"),
    "predictions": ("predictions.parquet",),
    "figure": ("figures/*.png", "mistakes/*.png"),
    "checkpoint": ("checkpoints/*.ckpt", "checkpoints/*.safetensors"),
    "bundle": ("bundle/*",),
    "log": ("train.log",),
}
"""What a run leaves, by kind."""

METRICS = ("precision", "recall", "f1", "auroc", "ap")
"""What is recorded of each class, as `recall/CLASS`."""


LOST = "its process is gone"
"""The error of a run that was killed."""

REST = 60.0
"""Seconds that a training leaves a store alone which did not answer: waiting for it once an epoch would cost hours."""

_STAMP = re.compile(r"-(\d{8}-\d{6})-[0-9a-f]{4}$")


class Recorder(QuietTracker):
    """Writes a run into the store as it goes; a store that does not answer never ends a training.

    A run that lies in no workspace's `runs/` is not recorded. `parent` is the name of the run that this one came of.
    """

    def __init__(self, folder: Path, dataset: Dataset | None, split: Split | None, parent: str | None = None) -> None:
        self.folder = folder
        self.dataset = dataset
        self.split = split
        self.parent = parent
        self._epochs: dict[int, dict[str, float]] = {}  # what is not written yet
        self._rests_until = 0.0
        self._has_warned = False

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Write an epoch; final scores are read from the results."""
        values = {name: value for name, value in metrics.items() if not name.startswith("final/")}
        if values:
            self._epochs[step] = values
            if time.monotonic() >= self._rests_until:
                self._try(self._put_epochs)

    def set_status(self, status: str) -> None:  # noqa: ARG002 - it is in the manifest by now
        """Write how the run stands, and when it has ended all that it left."""

        def write(unit: UnitOfWork) -> None:
            record(unit, self.folder, self.dataset, self.split, parent=self.parent, epochs=self._epochs)

        self._try(write)

    def _put_epochs(self, unit: UnitOfWork) -> None:
        row = unit.runs.get(self.folder.name)
        if row is not None:
            put_epochs(unit, row, self._epochs)

    def _try(self, write: Callable[[UnitOfWork], None]) -> None:
        if not is_kept(self.folder):
            return
        try:
            with open_store(home_of(self.folder)) as store, store.writing() as unit:
                write(unit)
        except RinglightError as error:
            self._rests_until = time.monotonic() + REST
            if not self._has_warned:
                LOGGER.warning("the run is not recorded: %s; later: ringlight runs import", error)
                self._has_warned = True
        else:
            self._epochs.clear()


def is_kept(folder: Path) -> bool:
    """Whether a run's folder lies where a workspace keeps its runs."""
    return folder.absolute().parent.name == "runs"


def home_of(folder: Path) -> Path:
    """Return the workspace that a run lies in."""
    return folder.absolute().parent.parent


def record(
    unit: UnitOfWork, folder: Path, dataset: Dataset | None = None, split: Split | None = None, *,
    parent: str | None = None, epochs: Mapping[int, Mapping[str, float]] | None = None,
) -> RunRow:  # fmt: skip
    """Write what a run's folder says into the store, in the place of what is known of it.

    Args:
        unit: of work.
        folder: of the run.
        dataset: what it is trained on, where that is at hand.
        split: how that is divided.
        parent: the run that this one came of.
        epochs: what was measured by epoch and is not written yet.

    Raises:
        RunError: the folder has no readable manifest or results.
        UserError: its configuration or its split cannot be read.
    """
    manifest, row = read_manifest(folder), unit.runs.get(folder.name)
    config = read_config(folder / "config.yaml")
    if row is None:
        row = unit.runs.add(RunRow(name=folder.name, path=_inside(folder), config={}))
    former = row.status
    row.path, row.config, row.recipe = _inside(folder), config.model_dump(mode="json"), config.recipe
    row.kind = "crossval" if is_cross_validation(folder) else "train"
    row.status, row.error = _standing(manifest)
    row.seed, row.device = config.experiment.seed, manifest.get("device")
    row.process = manifest.get("process") if row.status == "running" else None
    moment = _moment(manifest.get("updated"))
    row.started = row.started or _began(folder.name) or moment
    row.finished = None if row.status == "running" else _last_sign(folder) if row.error == LOST else moment
    if parent is not None and (origin := unit.runs.get(parent)) is not None:
        row.parent_id = origin.id
    unit.flush()
    row.snapshot_id = snapshot_of(unit, home_of(folder), dataset, str(manifest.get("dataset_fingerprint") or ""))
    row.split_id = split_of(unit, row, folder, split)
    put_epochs(unit, row, epochs or {})
    if row.status != "running":
        _results(unit, row, folder)
    if row.status != former:
        unit.events.add("run", row.name, row.status, error=row.error)
    return row


def _standing(manifest: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return status and error as a manifest has them; what runs in no process any more was interrupted."""
    status, error = str(manifest.get("status")), manifest.get("error")
    if status not in RUN_STATES:
        return "interrupted", error
    process = manifest.get("process")  # earlier releases wrote none
    if status == "running" and (process is None or process_runs(process) is False):
        return "interrupted", error or LOST
    return status, error


def _last_sign(folder: Path) -> datetime | None:
    """Return when a run last wrote into its log, before it was killed."""
    try:
        return datetime.fromtimestamp((folder / "train.log").stat().st_mtime, UTC)
    except OSError:
        return None


def _began(name: str) -> datetime | None:
    """Return when the folder of a run was made, which its name says.

    Examples:
        >>> _began("demo-20260301-123000-ab12").isoformat()
        '2026-03-01T12:30:00+00:00'
    """
    found = _STAMP.search(name)
    try:
        return None if found is None else datetime.strptime(found[1], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _inside(folder: Path) -> str:
    return folder.absolute().relative_to(home_of(folder)).as_posix()


def _moment(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def put_epochs(unit: UnitOfWork, row: RunRow, epochs: Mapping[int, Mapping[str, float]]) -> None:
    """Write epochs of a run in the place of those known by the same number; what is undefined is null."""
    rows = [
        {"epoch": epoch, **{name: value if math.isfinite(value) else None for name, value in values.items()}}
        for epoch, values in epochs.items()
    ]
    unit.runs.put_epochs(row.id, rows)


def _results(unit: UnitOfWork, row: RunRow, folder: Path) -> None:
    """Write the epochs, scores and files of a run that has ended; of a cross-validation a fold is an epoch."""
    values = read_json(folder / "results.json")
    if values is not None:
        row.metrics, row.timings = final_metrics(values), dict(values.get("timings", {}))
        folds = (values.get("cross_validation") or {}).get("folds", [])
        rows = values.get("history") or [fold.get("scores", {}) for fold in folds]
        if rows:
            unit.runs.forget_epochs(row.id)
            put_epochs(unit, row, dict(enumerate(map(_numbers, rows))))
    unit.runs.put_artifacts(row.id, list(_artifacts(row.id, folder)))


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in row.items() if name != "epoch" and isinstance(value, int | float)}


def read_json(path: Path) -> dict[str, Any] | None:
    """Return what a JSON file of a run holds, None where there is none.

    Raises:
        RunError: it cannot be read.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunError("readable results", got=str(error), where=str(path), fix="is the disk whole?") from error


def final_metrics(results: Mapping[str, Any]) -> dict[str, float]:
    """Return the scores of the judged part under one name each: `macro_f1`, `recall/leak`, ...

    Examples:
        >>> final_metrics({"test": {"scalars": {"macro_f1": 0.5, "kappa": None}, "per_class": {"a": {"recall": 1.0}}}})
        {'macro_f1': 0.5, 'recall/a': 1.0}
    """
    test = results.get("test") or {}
    found = {name: float(value) for name, value in (test.get("scalars") or {}).items() if value is not None}
    for label, scores in (test.get("per_class") or {}).items():
        for metric in METRICS:
            value = scores.get(metric)
            if value is not None:
                found[f"{metric}/{label}"] = float(value)
    return found


def _artifacts(number: int, folder: Path) -> Iterable[ArtifactRow]:
    for kind, patterns in ARTIFACTS.items():
        for path in sorted({path for pattern in patterns for path in folder.glob(pattern)}):
            if path.is_file() and not path.is_symlink():
                place = path.relative_to(folder).as_posix()
                yield ArtifactRow(run_id=number, kind=kind, path=place, num_bytes=path.stat().st_size)


def mark_lost(workspace: Path | str | None = None) -> list[str]:
    """Mark runs as interrupted that say they run while their process is gone; return their names.

    One that ended while the store did not answer is recorded as its folder says. A run on another machine, whose
    processes are not seen from here, is left as it is.
    """
    with open_store(workspace) as store:
        return mark_lost_in(store)


def mark_lost_in(store: Store) -> list[str]:
    """Do so in an open store."""
    with store.reading() as unit:
        lost = [row.name for row in unit.runs.find(status=("running",)) if process_runs(row.process) is False]
    return [] if not lost else _mark(store, lost)


def _mark(store: Store, names: Iterable[str]) -> list[str]:
    marked = []
    with store.writing() as unit:
        for name in names:
            row = unit.runs.held(name)
            # Looked at again: somebody may have gone on with the run, or deleted it, meanwhile.
            if row is None or row.status != "running" or process_runs(row.process) is not False:
                continue
            try:
                record(unit, folder_of(store.root, row))
            except RinglightError:  # a study, or a folder that cannot be read
                row.status, row.error, row.process, row.finished = "interrupted", LOST, None, datetime.now(UTC)
                unit.events.add("run", name, "interrupted", error=LOST)
            if row.error == LOST:
                marked.append(name)
    return marked
