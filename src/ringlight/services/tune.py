"""Studies in their folders: begin one or go on with it, alone or in several processes, and keep what was found."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringlight.config.load import compose, group_names, read_config, to_yaml
from ringlight.config.schema import Config
from ringlight.config.shipped import CONFIGS
from ringlight.config.spaces import Space, grid
from ringlight.config.spaces_keys import configuration_space, shipped_space
from ringlight.errors import InterruptedRunError, RunError, TrainingError
from ringlight.files import write_csv, write_json, write_text
from ringlight.models import MODELS
from ringlight.runtime import LOGGER, cpu_count, log_file, package_versions, workspace_folder
from ringlight.services.history import recorded_study
from ringlight.services.tune_pages import write_study_pages
from ringlight.training.plan import part_problems
from ringlight.training.trackers import QuietControl
from ringlight.training.tune import Study
from ringlight.training.tune_objective import Bench, RecipeObjective, make_bench, remove_checkpoints, trial_folder
from ringlight.training.tune_places import hidden, sqlite_address, trial_line
from ringlight.training.tune_results import (
    best_configuration,
    direction_of,
    family_of,
    study_values,
    trial_table,
)
from ringlight.training.tune_trials import StudySettings, TrialRow
from ringlight.types import RunControl

DATABASE, CONFIG, LOCK = "study.db", "config.yaml", "study.lock"
MAY_CHANGE = ("n_trials", "timeout", "workers", "folder")
"""Keys of `tune` that a study may be gone on with changed."""

CHOSEN_ONCE = ("precision", "memory_format", "compile", "num_threads")
"""Keys of `training` that are chosen when a study begins, where the configuration leaves them open."""


@dataclass(frozen=True, slots=True)
class StudyResult:
    """A study that has ended: its folder and what `study.json` holds."""

    folder: Path
    study: dict[str, Any]

    @property
    def recipe(self) -> Path:
        """The best configuration; `ringlight train --config` takes it."""
        return self.folder / "best.yaml"


def configure(
    recipe: str | None, overrides: Sequence[str] = (), *, file: Path | None = None, resume: Path | None = None
) -> Config:
    """Compose the configuration of a study, or read that of the folder it is gone on with.

    Raises:
        Problems: every mistake, a line each.
        RunError: there is no study in the folder.
    """
    if resume is None:
        return compose(recipe, overrides, file=file, check_parts=part_problems)
    path = Path(resume).expanduser() / CONFIG
    if not path.is_file():
        raise RunError("a study's folder", got="no config.yaml in it", where=str(resume), fix="name its folder")
    found = compose(None, overrides, file=path, check_parts=part_problems)
    return found.replacing({"tune.folder": str(path.parent.absolute())})


def suggested(name: str) -> str:
    """Return the space that is shipped for a model or a family, as the text of its file.

    Raises:
        ConfigError: there is no such model; the message suggests the nearest.
    """
    if name not in group_names("tune"):
        name = space_name(Config().replacing({"model.name": name}))
    return (CONFIGS / "tune" / f"{name}.yaml").read_text(encoding="utf-8")


def space_name(config: Config) -> str:
    """Return the name of the space that is shipped for a configuration's model, else for its family."""
    MODELS.factory(config.model.name)
    return config.model.name if config.model.name in group_names("tune") else family_of(config)


def space_of(config: Config) -> tuple[Space, dict[str, Any]]:
    """Return the checked space of a configuration, and the values of keys that only its conditions name.

    Raises:
        Problems: every mistake, a line each.
        ConfigError: there is no such shipped space.
    """
    given = config.tune.space
    if given is None or isinstance(given, str):
        given = shipped_space(given if given is not None else space_name(config))
    return configuration_space(config, given, check_parts=part_problems)


def tune(
    recipe: str | None,
    overrides: Sequence[str] = (),
    *,
    file: Path | None = None,
    resume: Path | None = None,
    workspace: Path | str | None = None,
    control: RunControl | None = None,
) -> StudyResult:
    """Search better settings for a recipe; a study that is there already is gone on with.

    Raises:
        UserError: the configuration, the space or the data cannot be used; nothing was trained.
        InterruptedRunError: Ctrl-C or the control stopped it; the same command goes on.
        TrainingError: no trial could be finished.
    """
    config = configure(recipe, overrides, file=file, resume=resume)
    root = workspace_folder(workspace)
    folder = folder_of(config, root)
    config = _as_begun(config, folder)
    space, fixed = space_of(config)
    if config.tune.workers > 1 and config.training.num_threads is None:
        # Else each process would take all cores, and all would wait for each other.
        config = config.replacing({"training.num_threads": max(1, cpu_count() // config.tune.workers)})
    cache = cache_of(folder, root)
    bench = make_bench(config, cache)
    settings = settings_of(bench, space, folder)
    if settings.method == "grid":
        grid(space, fixed)  # refused before there is a folder
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CONFIG, to_yaml(bench.config))
    with log_file(folder / "study.log"), recorded_study(folder, bench.config):
        study = Study(settings, space, fixed)
        keeper = Keeper(study, bench, folder)
        _announce(keeper)
        try:
            with _only_trials():
                if config.tune.workers > 1:
                    from ringlight.services.tune_workers import run_workers

                    run_workers(keeper, control or QuietControl(), cache)
                else:
                    objective = RecipeObjective(bench, folder / "trials", control or QuietControl())
                    study.run(objective, keeper.ended)
        except (InterruptedRunError, KeyboardInterrupt) as error:
            keeper.write("interrupted")
            fix = f"go on with ringlight tune --resume {shlex.quote(str(folder))}"
            raise InterruptedRunError(
                "a study to its end", got=f"Ctrl-C after {_done(study.rows())} of {study.num_places} trials",
                where=str(folder), fix=fix,
            ) from error  # fmt: skip
        return StudyResult(folder, keeper.finish())


def folder_of(config: Config, root: Path) -> Path:
    """Return the folder of a study: the configured one, else by its name in the workspace."""
    if config.tune.folder is not None:
        return Path(config.tune.folder).expanduser().absolute()
    return root / "studies" / (config.experiment.name or config.recipe or "study")


def cache_of(folder: Path, root: Path) -> Path:
    """Return the cache of the workspace that a study lies in; a study elsewhere uses the given one's."""
    return (folder.parent.parent if folder.parent.name == "studies" else root) / "cache"


def settings_of(bench: Bench, space: Space, folder: Path) -> StudySettings:
    """Return how a study is made as its configuration says."""
    tune = bench.config.tune
    epochs = [int(axis.high) for axis in space if axis.key == "training.num_epochs" and axis.kind == "int"]
    folds = len(bench.divisions)
    return StudySettings(
        name=folder.name,
        method=tune.method,
        direction=direction_of(tune.metric),
        n_trials=tune.n_trials,
        timeout=tune.timeout,
        pruner=tune.pruner,
        min_steps=tune.min_epochs,
        max_steps=folds if folds > 1 else max([bench.config.training.num_epochs, *epochs]),
        reduction_factor=tune.reduction_factor,
        seed=bench.config.experiment.seed,
        storage=tune.storage or sqlite_address(folder / DATABASE),
        lock=folder / LOCK,
    )


def _as_begun(config: Config, folder: Path) -> Config:
    """Return the configuration with what was chosen when the study in the folder began.

    Raises:
        RunError: the study was begun with other settings.
    """
    if not (folder / CONFIG).is_file():
        return config
    former = read_config(folder / CONFIG)
    chosen = {
        f"training.{key}": getattr(former.training, key)
        for key in CHOSEN_ONCE
        if getattr(config.training, key) in ("auto", None)
    }
    config = config.replacing(chosen)
    was, now = _flat(former), _flat(config)
    changed = [key for key in now if was.get(key) != now[key] and key not in [f"tune.{name}" for name in MAY_CHANGE]]
    if changed:
        key = changed[0]
        raise RunError(
            f"the study's own settings ({key}={was.get(key)!r:.60})", got=f"{key}={now[key]!r:.60}", where=str(folder),
            fix="give the new study a name of its own (experiment.name=NAME), or go on with the old one by --resume",
        )  # fmt: skip
    return config


def _flat(config: Config) -> dict[str, Any]:
    tree = config.model_dump(mode="json")
    return {
        f"{section}.{key}": value
        for section, keys in tree.items()
        if isinstance(keys, Mapping)
        for key, value in keys.items()
    }


class Keeper:
    """Writes down how a study stands after every trial, and all that it found in the end."""

    def __init__(self, study: Study, bench: Bench, folder: Path) -> None:
        self.study = study
        self.bench = bench
        self.folder = folder

    def ended(self, row: TrialRow, study: Study) -> None:
        """Tell a trial, and write how the study stands."""
        metric = self.bench.config.tune.metric
        LOGGER.info(trial_line(row, study.num_places, metric, study.best()), extra={"study": True})
        self.write("running")
        self.clean()

    def clean(self) -> None:
        """Remove the checkpoints of trials that do not go on, so that few are kept at a time."""
        for place in self.study.out():
            remove_checkpoints(trial_folder(self.folder / "trials", place))

    def write(self, status: str, importances: Mapping[str, Mapping[str, float]] | None = None) -> dict[str, Any]:
        """Write `study.json`, `trials.csv` and, as soon as there is one, the best configuration."""
        rows, bench = self.study.rows(), self.bench
        about = {
            "data": {
                "name": bench.dataset.name, "num_records": len(bench.dataset), "classes": list(bench.dataset.classes),
                "num_divisions": len(bench.divisions), "num_held_back": bench.num_held_back,
                "num_judged": sum(len(one.parts()[bench.part]) for one in bench.divisions),
            },
            "storage": hidden(self.study.settings.storage or ""),
            "device": bench.prepared.device.device,
            "versions": package_versions((*package_versions(), "optuna")),
        }  # fmt: skip
        values = study_values(
            bench.config, self.study.space, rows, name=self.folder.name, status=status,
            # A study that was asked for fewer trials than it has keeps those it has.
            num_trials=max(self.study.num_places, len(rows)), importances=importances or {}, about=about,
        )  # fmt: skip
        write_json(self.folder / "study.json", values)
        write_csv(self.folder / "trials.csv", trial_table(rows, self.study.space))
        best = self.study.best()
        if best is not None:
            write_text(self.folder / "best.yaml", to_yaml(best_configuration(bench.config, best.values)))
        return values

    def finish(self) -> dict[str, Any]:
        """Write the report, too.

        Raises:
            TrainingError: no trial could be finished.
        """
        rows = self.study.rows()
        whole = self.study.is_whole()
        if whole:
            for row in rows:
                remove_checkpoints(trial_folder(self.folder / "trials", row.number))
        values = self.write("completed" if whole else "stopped", self.study.importances())
        write_study_pages(values, self.folder)
        if self.study.best() is None:
            reasons = [row.reason for row in rows if row.reason]
            got = f"{len(reasons)} that failed, the last with: {reasons[-1]}" if reasons else "none in that time"
            raise TrainingError(
                "a trial that was finished", got=got, where=str(self.folder),
                fix="mend that and choose another name for the study (experiment.name=NAME)"
                if reasons else "raise tune.timeout, or set tune.pruner=none",
            )  # fmt: skip
        return values


def _done(rows: Sequence[TrialRow]) -> int:
    return sum(row.state != "running" for row in rows)


def _announce(keeper: Keeper) -> None:
    study, bench = keeper.study, keeper.bench
    tune, done = bench.config.tune, _done(study.rows())
    LOGGER.info("study %s%s", keeper.folder, f" goes on after {done} trials" if done else "", extra={"study": True})
    LOGGER.info(
        "%s, %d trials, %s of %s records on %s; %d records held back", tune.method, study.num_places, tune.metric,
        len(bench.dataset), "the validation part" if bench.part == "val" else f"{len(bench.divisions)} folds",
        bench.num_held_back, extra={"study": True},
    )  # fmt: skip
    points = len(study.grid or ())
    if points > max(study.num_places, done):
        LOGGER.info("%d of the grid's %d points are tried, as tune.n_trials says", study.num_places, points,
                    extra={"study": True})  # fmt: skip
    for note in bench.notes:
        LOGGER.info("note: %s", note)


@contextmanager
def _only_trials() -> Iterator[None]:
    """Leave the epochs of trials out of the console; `-v` and the log file have them."""

    def belongs(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or bool(getattr(record, "study", False))

    consoles = [
        handler for handler in LOGGER.handlers
        if getattr(handler, "ringlight_console", False) and handler.level >= logging.INFO
    ]  # fmt: skip
    for handler in consoles:
        handler.addFilter(belongs)
    try:
        yield
    finally:
        for handler in consoles:
            handler.removeFilter(belongs)
