"""Cross-validate a recipe: a run folder like any other, with a folder for each fold, that can be gone on with."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ringlight.config.load import read_config, to_yaml
from ringlight.config.schema import Config
from ringlight.data.folds_methods import Division
from ringlight.errors import InterruptedRunError, RunError, WorkspaceError
from ringlight.files import write_text
from ringlight.runtime import LOGGER, determinism, environment, log_file, new_run_folder, workspace_folder
from ringlight.services.history import Recorder
from ringlight.services.model_places import find_run
from ringlight.services.runs import configure
from ringlight.services.standing import read_manifest, status_of
from ringlight.training.fold_files import is_cross_validation, read_division, write_division
from ringlight.training.fold_report import cross_validation_results, judged, told, write_cross_validation
from ringlight.training.fold_results import CrossValidation, cross_validation_of
from ringlight.training.folds import divided, reference_plan, train_folds, with_choices
from ringlight.training.plan import Plan, Prepared, prepare
from ringlight.training.results_file import Results
from ringlight.training.trackers import QuietControl
from ringlight.training.tracking import trackers_of
from ringlight.types import Dataset, RunControl, Tracker

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class _Job:
    """A cross-validation ready to run: `plan` is that of the fold which made the automatic choices."""

    prepared: Prepared
    division: Division
    plan: Plan


def cross_validate(
    recipe: str | None,
    overrides: Sequence[str] = (),
    *,
    file: Path | None = None,
    workspace: Path | str | None = None,
    control: RunControl | None = None,
    trackers: Sequence[Tracker] = (),
) -> CrossValidation:
    """Cross-validate a recipe from the beginning.

    Raises:
        UserError: the configuration or the data cannot be used; nothing was written.
        InterruptedRunError: Ctrl-C or the control stopped it; finished folds are kept.
    """
    return cross_validate_config(
        configure(recipe, overrides, file=file), workspace=workspace, control=control, trackers=trackers
    )


def cross_validate_config(
    config: Config,
    *,
    dataset: Callable[[Path], Dataset] | None = None,
    make_module: Callable[[], nn.Module] | None = None,
    check: Callable[[Dataset], None] | None = None,
    workspace: Path | str | None = None,
    control: RunControl | None = None,
    trackers: Sequence[Tracker] = (),
    begun: Callable[[Path], object] | None = None,
) -> CrossValidation:
    """Cross-validate a configuration from the beginning.

    Args:
        config: it.
        dataset: makes the records in the place of the configured source; told the workspace's cache.
        make_module: builds the model in the place of the configured one, anew for each fold.
        check: is shown the records before anything is trained, and may refuse.
        workspace: where the run folder is made.
        control: may stop it.
        trackers: are told the folds' scores.
        begun: is told the run's folder before anything is trained.

    Raises:
        UserError: the configuration or the data cannot be used; nothing was written.
        InterruptedRunError: Ctrl-C or the control stopped it; finished folds are kept.
    """
    root = workspace_folder(workspace)
    cache = root / "cache"
    records = None if dataset is None else dataset(cache)
    prepared = prepare(config, cache, dataset=records, make_module=make_module)
    if check is not None:
        check(prepared.inspection.dataset)
    job = _job(prepared, divided(prepared))
    folder = new_run_folder(root, f"{config.experiment.name or config.recipe or 'run'}-crossval")
    _write_job(job, folder)
    if begun is not None:
        begun(folder)
    return _execute(job, folder, control, trackers)


def resume(
    run: Path | str,
    *,
    workspace: Path | str | None = None,
    control: RunControl | None = None,
    trackers: Sequence[Tracker] = (),
) -> CrossValidation:
    """Go on with an interrupted cross-validation: finished folds are read, the others trained.

    Raises:
        RunError: there is no such cross-validation, it is complete, or its data has changed.
    """
    folder = find_run(run, workspace)
    if not is_cross_validation(folder):
        raise RunError(
            "the folder of a cross-validation", got="a single run", where=str(folder),
            fix="go on with it with ringlight train --resume",
        )  # fmt: skip
    manifest = read_manifest(folder)
    if manifest.get("status") == "completed":
        raise RunError(
            "an interrupted cross-validation", got="a completed one", where=str(folder),
            fix="start a new one with ringlight crossval",
        )  # fmt: skip
    home = folder.absolute().parent
    root = home.parent if home.name == "runs" else workspace_folder(workspace)
    return _execute(_job_again(folder, root), folder, control, trackers)


def repeat(
    folder: Path, *, workspace: Path, control: RunControl | None = None, trackers: Sequence[Tracker] = ()
) -> Path:
    """Cross-validate again as in a folder, divided as there, under a new name; return the new folder.

    Raises:
        RunError: its data has changed.
    """
    job, name = _job_again(folder, workspace), read_config(folder / "config.yaml")
    again = new_run_folder(workspace, f"{name.experiment.name or name.recipe or 'run'}-crossval")
    _write_job(job, again)
    _execute(job, again, control, trackers, parent=folder.name)
    return again


def _job_again(folder: Path, root: Path) -> _Job:
    """Return what a folder of a cross-validation was made of.

    Raises:
        RunError: the data is another by now.
    """
    prepared = prepare(read_config(folder / "config.yaml"), root / "cache")
    given, expected = prepared.inspection.dataset, read_manifest(folder).get("dataset_fingerprint")
    if expected != given.fingerprint:
        raise RunError(
            f"the data of the run (fingerprint {str(expected)[:12]})", got=given.fingerprint[:12], where=str(folder),
            fix="bring the data back as it was, or start a new one",
        )  # fmt: skip
    return _job(prepared, read_division(folder, given))


def _write_job(job: _Job, folder: Path) -> None:
    try:
        write_text(folder / "config.yaml", to_yaml(job.prepared.config))
        write_division(job.division, folder)
    except WorkspaceError:
        shutil.rmtree(folder, ignore_errors=True)  # it is no run yet: nothing could find or resume it
        raise


def _job(prepared: Prepared, division: Division) -> _Job:
    plan = reference_plan(prepared, division)
    config = with_choices(prepared.config, plan.config)
    # What the report tells of method and loss is what the first plan chose; the folds choose again, each for itself.
    return _Job(replace(prepared, config=config), division, plan)


def _execute(
    job: _Job, folder: Path, control: RunControl | None, trackers: Sequence[Tracker], parent: str | None = None
) -> CrossValidation:
    plan, recorder = job.plan, Recorder(folder, job.plan.given, None, parent)
    try:
        reporting = trackers_of(plan, folder, [recorder, *trackers])
        with log_file(folder / "train.log"), status_of(plan, folder, reporting, control) as say:
            tracker = say.tracker
            LOGGER.info("cross-validation %s: %s", folder, told(job.division))
            for note in dict.fromkeys((*plan.notes, *job.division.notes)):
                LOGGER.info("note: %s", note)
            found = train_folds(job.prepared, job.division, folder, tracker=tracker, control=control or QuietControl())
            trained = time.perf_counter()
            with determinism(num_threads=plan.config.training.num_threads, device=plan.device):
                where = environment(plan.device, plan.config.training.precision)
                verdict = judged(plan, job.division, found)
            spent = {"folds": sum(result.card["seconds"] for result in found), "judge": time.perf_counter() - trained}
            values = cross_validation_results(plan, job.division, found, verdict, folder.name, where, spent)
            write_cross_validation(plan, verdict, values, folder, tracker)
    except InterruptedRunError as error:
        raise error.retold(fix=error.fix.replace("ringlight train", "ringlight crossval")) from error
    return cross_validation_of(Results(values, folder), verdict.prediction)
