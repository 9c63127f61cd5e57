"""All that is known of one run, and of several beside each other."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringlight.config.load import compose, recipe_names
from ringlight.errors import RinglightError, RunError
from ringlight.services.history import read_json
from ringlight.services.run_files import folder_of
from ringlight.services.run_history import RunCard, card_of, differing, iso
from ringlight.services.run_lookup import find_row, open_history, place_of
from ringlight.services.standing import MANIFEST

if TYPE_CHECKING:
    from ringlight.store.session import UnitOfWork
    from ringlight.store.tables import RunRow

LOGS = {"train": "train.log", "crossval": "train.log", "tune": "study.log"}
"""The log of each kind of run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDetails:
    """A run with what it came of, what it left, and what came of it."""

    card: RunCard
    folder: Path
    reproducibility: str | None
    against: str
    """What the configuration is compared with: `run NAME`, its parent, or `recipe NAME`; empty where neither is."""
    differences: Mapping[str, Sequence[Any]]
    """By key of the configuration: the value there, and the run's."""
    snapshot: Mapping[str, Any] | None
    split: Mapping[str, Any] | None
    scores: Mapping[str, Mapping[str, Any]]
    """By name: `value` and its `interval`, `[low, high]` or None."""
    best: Mapping[str, Any] | None
    num_epochs: int
    timings: Mapping[str, float]
    artifacts: Sequence[Mapping[str, Any]]
    parent: str | None
    children: Sequence[str]
    versions: Sequence[Mapping[str, Any]]
    events: Sequence[Mapping[str, Any]] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "card"}
        differences = {key: list(pair) for key, pair in self.differences.items()}
        return {**self.card.to_dict(), **values, "folder": str(self.folder), "differences": differences}


def show(run: Path | str, *, workspace: Path | str | None = None) -> RunDetails:
    """Return all that is known of a run.

    Raises:
        RunError: there is no such run, or its results cannot be read.
    """
    home, name = place_of(run, workspace)
    with open_history(home) as store, store.reading() as unit:
        row = find_row(unit, name, store.root)
        folder = folder_of(store.root, row)
        results, manifest = read_json(folder / "results.json") or {}, read_json(folder / MANIFEST) or {}
        parent = None if row.parent_id is None else unit.runs.by_id(row.parent_id)
        against, differences = _differences(row, parent)
        return RunDetails(
            card=card_of(row), folder=folder, reproducibility=manifest.get("reproducibility"), against=against,
            differences=differences, snapshot=_snapshot(unit, row), split=_split(unit, row), scores=_scores(results),
            best=results.get("best"), num_epochs=unit.runs.count_epochs(row.id), timings=row.timings or {},
            artifacts=[
                {"kind": one.kind, "path": one.path, "num_bytes": one.num_bytes} for one in unit.runs.artifacts(row.id)
            ],
            parent=None if parent is None else parent.name,
            children=[child.name for child in unit.runs.children(row.id)],
            versions=[
                {"name": one.name, "version": one.version, "is_active": one.is_active}
                for one in unit.runs.versions(row.id)
            ],
            events=[
                {"at": iso(one.at), "what": one.what, "who": one.who, "data": one.data}
                for one in unit.events.of("run", row.name)
            ],
        )  # fmt: skip


def _differences(row: RunRow, parent: RunRow | None) -> tuple[str, dict[str, list[Any]]]:
    if parent is not None:
        return f"run {parent.name}", differing([parent.config, row.config])
    if row.recipe is None or row.recipe not in recipe_names():
        return "", {}
    try:
        recipe = compose(row.recipe)
    except RinglightError:  # a shipped recipe that needs a key, such as the folder of its data
        return "", {}
    return f"recipe {row.recipe}", differing([recipe.model_dump(mode="json"), row.config])


def _snapshot(unit: UnitOfWork, row: RunRow) -> dict[str, Any] | None:
    found = None if row.snapshot_id is None else unit.datasets.snapshot_by_id(row.snapshot_id)
    if found is None:
        return None
    keys = ("fingerprint", "task", "classes", "num_records", "path")
    return {key: getattr(found, key) for key in keys}


def _split(unit: UnitOfWork, row: RunRow) -> dict[str, Any] | None:
    found = None if row.split_id is None else unit.datasets.split_by_id(row.split_id)
    return None if found is None else {key: getattr(found, key) for key in ("method", "seed", "sizes", "path")}


def _scores(results: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    test = results.get("test") or {}
    intervals = (test.get("intervals") or {}).get("scalars") or {}
    scalars = test.get("scalars") or {}
    return {
        name: {"value": value, "interval": intervals.get(name)} for name, value in scalars.items() if value is not None
    }


def epochs(run: Path | str, *, workspace: Path | str | None = None) -> list[dict[str, Any]]:
    """Return what the epochs of a run measured: of a cross-validation its folds, of a study its trials.

    Raises:
        RunError: there is no such run.
    """
    home, name = place_of(run, workspace)
    with open_history(home) as store, store.reading() as unit:
        return unit.runs.epochs(find_row(unit, name, store.root).id)


def log_lines(
    run: Path | str, *, lines: int = 40, follow: bool = False, workspace: Path | str | None = None, pause: float = 0.5
) -> Iterator[str]:
    """Yield the last lines of a run's log, without their ends, and then those that are added while it runs.

    Args:
        run: its folder or name.
        lines: how many; 0 is all of them.
        follow: go on until the run has ended.
        workspace: where it is.
        pause: seconds between two looks at the file.

    Raises:
        RunError: there is no such run, or it has no log.
    """
    home, name = place_of(run, workspace)
    with open_history(home) as store, store.reading() as unit:
        row = find_row(unit, name, store.root)
        path, name = folder_of(store.root, row) / LOGS[row.kind], row.name
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            yield from (line.rstrip("\n") for line in (deque(stream, lines) if lines else stream))
            while follow:
                goes_on = _runs(name, home)  # asked first: what was written before the end is read after it
                yield from (line.rstrip("\n") for line in stream)
                if not goes_on:
                    return
                time.sleep(pause)
    except OSError as error:
        raise RunError(
            "the run's log", got=error.strerror or str(error), where=str(path), fix="was it moved or deleted?"
        ) from error


def _runs(name: str, home: Path) -> bool:
    with open_history(home) as store, store.reading() as unit:
        row = unit.runs.get(name)
        return row is not None and row.status == "running"


def settings_apart(runs: Sequence[Path | str], *, workspace: Path | str | None = None) -> dict[str, dict[str, Any]]:
    """Return the keys in which the configurations of runs differ: by key, each run's value by its name.

    Raises:
        RunError: one of them is not in the training history.
    """
    configs = {}
    for run in runs:
        home, name = place_of(run, workspace)
        with open_history(home) as store, store.reading() as unit:
            row = find_row(unit, name, store.root)
            configs[row.name] = row.config
    return {key: dict(zip(configs, values, strict=True)) for key, values in differing(list(configs.values())).items()}


def folder_and_kind(run: Path | str, *, workspace: Path | str | None = None) -> tuple[Path, str]:
    """Return the folder of a run and what it is: train, crossval or tune.

    Raises:
        RunError: there is no such run.
    """
    home, name = place_of(run, workspace)
    with open_history(home) as store, store.reading() as unit:
        row = find_row(unit, name, store.root)
        return folder_of(store.root, row), row.kind
