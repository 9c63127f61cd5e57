"""The training history: every run is recorded in the workspace's store, while it runs and when it ends.

A run's folder is what counts; its rows in the store are read from it, so that a run that could not be recorded (a full
disk, a server that was down) is taken in later as it is: `ringlight runs import`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from ringlight.config.load import read_config
from ringlight.errors import InterruptedRunError, RinglightError, RunError, WorkspaceError
from ringlight.files import file_sha256, whole_file
from ringlight.runtime import LOGGER
from ringlight.services.processes import process_runs, this_process
from ringlight.services.standing import MANIFEST, read_manifest
from ringlight.services.stores import open_store
from ringlight.store.tables import RUN_STATES, ArtifactRow, RunRow, SnapshotRow, SplitRow
from ringlight.training.fold_files import is_cross_validation
from ringlight.training.trackers import QuietTracker
from ringlight.types import Dataset, Split

if TYPE_CHECKING:
    from ringlight.config.schema import Config
    from ringlight.store.session import UnitOfWork

SNAPSHOTS = "snapshots"
"""The folder of a workspace that holds the records of every data set that was trained on, by fingerprint."""

ARTIFACTS = {
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


class Recorder(QuietTracker):
    """Writes a run into the store as it goes; a store that does not answer never ends a training.

    `parent` is the name of the run that this one came of.
    """

    def __init__(self, folder: Path, dataset: Dataset | None, split: Split | None, parent: str | None = None) -> None:
        self.folder = folder
        self.dataset = dataset
        self.split = split
        self.parent = parent
        self._has_warned = False

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Write an epoch; final scores are read from the results."""
        values = {name: value for name, value in metrics.items() if not name.startswith("final/")}
        if values:
            self._try(lambda unit: _put_epoch(unit, self.folder.name, step, values))

    def set_status(self, status: str) -> None:  # noqa: ARG002 - it is in the manifest by now
        """Write how the run stands, and when it has ended all that it left."""
        self._try(lambda unit: record(unit, self.folder, self.dataset, self.split, parent=self.parent))

    def _try(self, write: Any) -> None:
        try:
            with open_store(home_of(self.folder)) as store, store.writing() as unit:
                write(unit)
        except RinglightError as error:
            if not self._has_warned:
                LOGGER.warning("the run is not recorded: %s; later: ringlight runs import", error)
                self._has_warned = True


def home_of(folder: Path) -> Path:
    """Return the workspace that a run lies in."""
    return folder.absolute().parent.parent


def record(
    unit: UnitOfWork, folder: Path, dataset: Dataset | None = None, split: Split | None = None, *,
    parent: str | None = None,
) -> RunRow:  # fmt: skip
    """Write what a run's folder says into the store, in the place of what is known of it.

    Raises:
        RunError: the folder has no readable manifest or configuration.
    """
    manifest, row = read_manifest(folder), unit.runs.get(folder.name)
    config = read_config(folder / "config.yaml")
    if row is None:
        row = unit.runs.add(RunRow(name=folder.name, path=_inside(folder), config={}))
    former, status = row.status, str(manifest.get("status"))
    row.path, row.config, row.recipe = _inside(folder), config.model_dump(mode="json"), config.recipe
    row.kind = "crossval" if is_cross_validation(folder) else "train"
    row.status = status if status in RUN_STATES else "interrupted"
    row.error, row.seed, row.device = manifest.get("error"), config.experiment.seed, manifest.get("device")
    row.process = manifest.get("process") if row.status == "running" else None
    moment = _moment(manifest.get("updated"))
    row.started = _moment(manifest.get("started")) or row.started or moment
    row.finished = None if row.status == "running" else moment
    if parent is not None and (origin := unit.runs.get(parent)) is not None:
        row.parent_id = origin.id
    unit.flush()
    fingerprint = str(manifest.get("dataset_fingerprint") or "")
    row.snapshot_id = _snapshot(unit, home_of(folder), dataset, fingerprint)
    row.split_id = _split(unit, row, folder, split)
    if row.status != "running":
        _results(unit, row, folder)
    if row.status != former:
        unit.events.add("run", row.name, row.status, error=row.error)
    return row


@contextmanager
def recorded_study(folder: Path, config: Config) -> Iterator[None]:
    """Record how a study goes on and ends, under `studies/NAME`; one that lies elsewhere is left out."""
    _record_study(folder, config, "running")
    try:
        yield
    except InterruptedRunError as error:
        _record_study(folder, config, "interrupted", str(error))
        raise
    except Exception as error:
        _record_study(folder, config, "failed", str(error))
        raise
    _record_study(folder, config, "completed")


def _record_study(folder: Path, config: Config, status: str, error: str | None = None) -> None:
    if folder.parent.name != "studies":
        return
    name, moment, running = f"studies/{folder.name}", datetime.now(UTC), status == "running"
    try:
        best = (_json(folder / "study.json") or {}).get("best") or {}
        with open_store(home_of(folder)) as store, store.writing() as unit:
            row = unit.runs.get(name) or unit.runs.add(RunRow(name=name, path=name, kind="tune", config={}))
            row.config, row.recipe, row.seed = config.model_dump(mode="json"), config.recipe, config.experiment.seed
            row.status, row.error, row.started = status, error, row.started or moment
            row.finished, row.process = None if running else moment, this_process() if running else None
            row.metrics = {config.tune.metric: float(best["value"])} if "value" in best else None
            unit.events.add("run", name, status, error=error)
    except RinglightError as fault:
        LOGGER.warning("the study is not recorded: %s", fault)


def _inside(folder: Path) -> str:
    return folder.absolute().relative_to(home_of(folder)).as_posix()


def _moment(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _put_epoch(unit: UnitOfWork, name: str, step: int, values: Mapping[str, float]) -> None:
    row = unit.runs.get(name)
    if row is not None:
        unit.runs.put_epochs(row.id, [{"epoch": step, **_finite(values)}])


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """Return numbers as JSON knows them: what is undefined is null."""
    return {name: None if value != value or abs(value) == float("inf") else value for name, value in values.items()}


def _snapshot(unit: UnitOfWork, home: Path, dataset: Dataset | None, fingerprint: str) -> int | None:
    """Return the number of the snapshot of a data set; one that is new is written beside the database."""
    found = unit.datasets.snapshot(fingerprint)
    if found is not None:
        return found.id
    if dataset is None:
        return None
    path = home / SNAPSHOTS / f"{fingerprint[:16]}.parquet"
    if not path.exists():
        unit.undo(lambda: path.unlink(missing_ok=True))
    with whole_file(path) as part:
        pq.write_table(dataset.table, part, compression="zstd")
    row = unit.datasets.add_snapshot(
        SnapshotRow(
            fingerprint=fingerprint, task=dataset.task, classes=list(dataset.classes), num_records=len(dataset),
            path=path.relative_to(home).as_posix(), checksum=file_sha256(path),
        )
    )  # fmt: skip
    unit.flush()
    return row.id


def _split(unit: UnitOfWork, row: RunRow, folder: Path, split: Split | None) -> int | None:
    path = folder / "split.csv"
    if row.snapshot_id is None or not path.is_file():
        return None
    checksum = file_sha256(path)
    found = unit.datasets.split(row.snapshot_id, checksum)
    if found is None:
        config = row.config.get("split", {})
        sizes = {} if split is None else {name: len(part) for name, part in split.parts().items()}
        found = unit.datasets.add_split(
            SplitRow(
                snapshot_id=row.snapshot_id, method=str(config.get("strategy", "")), seed=row.seed or 0, sizes=sizes,
                path=f"{row.path}/split.csv", checksum=checksum,
            )
        )  # fmt: skip
        unit.flush()
    return found.id


def _results(unit: UnitOfWork, row: RunRow, folder: Path) -> None:
    """Write the epochs, scores and files of a run that has ended."""
    values = _json(folder / "results.json")
    if values is not None:
        row.metrics, row.timings = final_metrics(values), dict(values.get("timings", {}))
        unit.runs.forget_epochs(row.id)
        rows = values.get("history", [])
        unit.runs.put_epochs(row.id, [{"epoch": index, **_finite(_numbers(one))} for index, one in enumerate(rows)])
    unit.runs.put_artifacts(row.id, list(_artifacts(row.id, folder)))


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in row.items() if name != "epoch" and isinstance(value, int | float)}


def _json(path: Path) -> dict[str, Any] | None:
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


@dataclass(slots=True)
class Imported:
    """What `import_runs` did: names of runs, and for those that could not be read one line each."""

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def import_runs(workspace: Path | str | None = None) -> Imported:
    """Take in the runs of a workspace that the store does not know, and bring those it knows up to date.

    A folder that cannot be read is told and left out; the others are taken in.

    Raises:
        WorkspaceError: the store cannot be written.
    """
    told = Imported()
    with open_store(workspace) as store:
        for manifest in sorted((store.root / "runs").glob(f"*/{MANIFEST}")):
            folder = manifest.parent
            try:
                with store.writing() as unit:
                    known = unit.runs.get(folder.name) is not None
                    record(unit, folder)
            except WorkspaceError:
                raise
            except RinglightError as error:
                told.refused.append(str(error))
            else:
                (told.updated if known else told.added).append(folder.name)
        mark_lost(store.root)
    return told


def mark_lost(workspace: Path | str | None = None) -> list[str]:
    """Mark runs as interrupted that say they run while their process is gone; return their names.

    A run on another machine, whose processes are not seen from here, is left as it is.
    """
    with open_store(workspace) as store:
        with store.reading() as unit:
            lost = [row.name for row in unit.runs.find(status=("running",)) if process_runs(row.process) is False]
        if lost:
            with store.writing() as unit:
                for name in lost:
                    error = "its process is gone"
                    unit.runs.change(name, status="interrupted", error=error, finished=datetime.now(UTC), process=None)
                    unit.events.add("run", name, "interrupted", error=error)
    return lost
