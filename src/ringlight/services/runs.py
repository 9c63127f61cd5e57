"""Train, resume and find runs: a run is a folder, and its `manifest.json` says how it stands."""

from __future__ import annotations

import glob
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringlight.config.load import compose, read_config, to_yaml
from ringlight.config.schema import Config
from ringlight.data.split import write_split
from ringlight.errors import RunError, WorkspaceError
from ringlight.files import whole_file, write_text
from ringlight.runtime import (
    LOGGER,
    DeviceChoice,
    choose_device,
    log_file,
    new_run_folder,
    workspace_folder,
)
from ringlight.services.history import Recorder
from ringlight.services.model_places import find_run
from ringlight.services.standing import read_manifest, refuse_cancelled, status_of
from ringlight.training.checkpoint_files import newest
from ringlight.training.compare import Comparison, compare_results, load_results
from ringlight.training.compare_figure import comparison_figure
from ringlight.training.device_faults import cpu_fallback, is_cuda_failure
from ringlight.training.fit import fit
from ringlight.training.fold_files import is_cross_validation
from ringlight.training.imbalance_choice import Choice
from ringlight.training.plan import Plan, make_plan, part_problems
from ringlight.training.trackers import QuietControl
from ringlight.training.tracking import trackers_of
from ringlight.types import RunControl, Tracker

if TYPE_CHECKING:
    pass

ARRAYS = "arrays"
"""What `data.source` is of a run on arrays from Python."""


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run: its folder and what `results.json` holds."""

    folder: Path
    results: dict[str, Any]

    @property
    def bundle(self) -> Path:
        """Where the saved model lies; `ringlight.load` takes it."""
        return self.folder / "bundle"


def configure(recipe: str | None, overrides: Sequence[str] = (), *, file: Path | None = None) -> Config:
    """Compose a configuration and check every name and parameter in it.

    Raises:
        Problems: every mistake, a line each.
    """
    return compose(recipe, overrides, file=file, check_parts=part_problems)


def plan(config: Config, workspace: Path | str | None = None) -> Plan:
    """Build and check every part of a run; writes nothing but a synthetic source's images (into the cache).

    A GPU that fails in a trial step, and that nobody named, is replaced by the CPU.
    """
    cache, wish = workspace_folder(workspace) / "cache", config.training.device
    try:
        return make_plan(config, cache)
    except Exception as error:
        if not is_cuda_failure(error):
            raise
        found = DeviceChoice("cuda" if wish == "auto" else wish, "", asked=wish != "auto")
        device = cpu_fallback(error, found)
    LOGGER.warning("%s", device.reason)
    again = make_plan(for_the_cpu(config), cache)
    return replace(again, device=device, notes=(*again.notes, f"{device.reason}; the run is on the CPU"))


def train(
    recipe: str | None,
    overrides: Sequence[str] = (),
    *,
    file: Path | None = None,
    workspace: Path | str | None = None,
    control: RunControl | None = None,
    trackers: Sequence[Tracker] = (),
) -> Run:
    """Train a recipe from the beginning.

    Raises:
        UserError: the configuration or the data cannot be used; nothing was written.
        InterruptedRunError: Ctrl-C or the control stopped it; unless it was cancelled the run can be resumed.
    """
    root = workspace_folder(workspace)
    made = plan(configure(recipe, overrides, file=file), root)
    return execute(made, new_run(made, root), None, control, trackers)


def new_run(made: Plan, root: Path) -> Path:
    """Make the folder of a run with its configuration and split.

    Raises:
        WorkspaceError: it cannot be written; nothing is left.
    """
    folder = new_run_folder(root, made.config.experiment.name or made.config.recipe or "run")
    try:
        write_text(folder / "config.yaml", to_yaml(made.config))
        write_split(made.split, made.dataset, folder / "split.csv")
    except WorkspaceError:
        shutil.rmtree(folder, ignore_errors=True)  # it is no run yet: nothing could find or resume it
        raise
    return folder


def resume(
    run: Path | str,
    *,
    workspace: Path | str | None = None,
    control: RunControl | None = None,
    trackers: Sequence[Tracker] = (),
) -> Run:
    """Go on with a run that was stopped from its last checkpoint (from the beginning when it has none yet).

    Raises:
        RunError: there is no such run, it is complete, it was cancelled for good, or its data has changed.
    """
    folder = find_run(run, workspace)
    if is_cross_validation(folder):
        raise RunError(
            "a single run", got="a cross-validation", where=str(folder),
            fix=f"go on with it with ringlight crossval --resume {shlex.quote(str(folder))}",
        )  # fmt: skip
    manifest = read_manifest(folder)
    if manifest.get("status") == "completed":
        raise RunError(
            "an interrupted run", got="a completed one", where=str(folder), fix="start a new one with ringlight train"
        )
    refuse_cancelled(folder)
    # A run that is named by its path brings its workspace along: there lie the images that a synthetic source drew.
    home = folder.absolute().parent
    refuse_arrays(folder)
    # The run's own split, whatever became of the file it was once read from.
    config = read_config(folder / "config.yaml").replacing({"split.file": str(folder.absolute() / "split.csv")})
    if str(manifest.get("device", "")).startswith("cuda") and str(manifest.get("device_reason")).startswith("auto"):
        # Nobody named that GPU: another one, or the CPU, may go on.
        has_gpu = choose_device("auto").kind == "cuda"
        config = config.replacing({"training.device": "auto"}) if has_gpu else for_the_cpu(config)
    made = plan(config, home.parent if home.name == "runs" else workspace)
    if manifest.get("dataset_fingerprint") != made.fingerprint:
        raise RunError(
            f"the data of the run (fingerprint {str(manifest.get('dataset_fingerprint'))[:12]})",
            got=made.fingerprint[:12],
            where=str(folder),
            fix="bring the data back as it was, or start a new run",
        )
    former, now = manifest.get("device"), made.device.device
    if former not in (None, now):
        made = replace(made, notes=(*made.notes, f"the run began on {former} and goes on on {now}"))
        write_text(folder / "config.yaml", to_yaml(made.config))
    if manifest.get("imbalance"):
        made = as_chosen(made, Choice.from_dict(manifest["imbalance"]))
    return execute(made, folder, newest(folder / "checkpoints"), control, trackers)


def refuse_arrays(folder: Path) -> None:
    """Refuse to read the data of a run again that was trained on arrays from Python.

    Raises:
        RunError: it was.
    """
    if read_config(folder / "config.yaml").data.source == ARRAYS:
        raise RunError(
            "a run whose data a configuration names", got="one on arrays from Python", where=str(folder),
            fix="pass the arrays again: ModelTrainer.train, ModelTrainer.evaluate",
        )  # fmt: skip


def as_chosen(made: Plan, choice: Choice | None) -> Plan:
    """Return a plan made from a run's own configuration with the choice that `imbalance.method=auto` was there."""
    if choice is None:
        return made
    return replace(made, choice=choice, notes=(*made.notes, choice.sentence))


def execute(
    made: Plan, folder: Path, checkpoint: Path | None, control: RunControl | None, trackers: Sequence[Tracker],
    planned: Callable[[Config, Path], Plan] | None = None, parent: str | None = None,
) -> Run:  # fmt: skip
    """Train and judge a plan in the run's folder; `planned` makes it again where its GPU fails.

    `parent` is the name of the run that it came of.
    """
    others = [Recorder(folder, made.given, made.split, parent), *trackers]
    with log_file(folder / "train.log"), status_of(made, folder, trackers_of(made, folder, others), control) as say:
        tracker = say.tracker
        _announce(made, folder, checkpoint)
        control = control or QuietControl()
        try:
            outcome = fit(made, folder, tracker=tracker, control=control, resume=checkpoint)
        except Exception as error:
            if not is_cuda_failure(error):
                raise
            made = _on_the_cpu(made, folder, cpu_fallback(error, made.device), planned or make_plan)
            say.made = made
            say("running")
            outcome = fit(made, folder, tracker=tracker, control=control, resume=newest(folder / "checkpoints"))
        say.reproducibility = outcome.results.get("environment", {}).get("reproducibility")
    return Run(folder, outcome.results)


def for_the_cpu(config: Config) -> Config:
    """Return a configuration with what was chosen for a GPU chosen for the CPU; what is open stays open."""
    chosen = {
        "training.precision": (config.training.precision, "32"),
        "data.augment_on": (config.data.augment_on, "cpu"),
        "data.keep_on_device": (config.data.keep_on_device, False),
        "data.num_workers": (config.data.num_workers, "auto"),
    }
    values = {key: new for key, (old, new) in chosen.items() if old != "auto"}
    return config.replacing({"training.device": "cpu", **values})


def _on_the_cpu(
    made: Plan, folder: Path, device: DeviceChoice, planned: Callable[[Config, Path], Plan]
) -> Plan:  # fmt: skip
    """Plan the run again for the CPU, from its own split: what lay on the GPU is lost with it."""
    LOGGER.warning("%s", device.reason)
    config = for_the_cpu(made.config).replacing({"split.file": str(folder.absolute() / "split.csv")})
    again = as_chosen(planned(config, made.cache), made.choice)
    write_text(folder / "config.yaml", to_yaml(again.config))
    return replace(again, device=device, notes=(*again.notes, f"{device.reason}; the run went on on the CPU"))


def _announce(made: Plan, folder: Path, checkpoint: Path | None) -> None:
    LOGGER.info("run %s%s", folder, f" goes on from {checkpoint.name}" if checkpoint else "")
    LOGGER.info("device %s (%s), precision %s", made.device.device, made.device.reason, made.config.training.precision)
    for note in made.notes:
        LOGGER.info("note: %s", note)


def cache_of(run: Path, workspace: Path | str | None) -> Path:
    """Return the cache of the workspace a run lies in: there are the images that a synthetic source drew for it."""
    home = run.absolute().parent
    return workspace_folder(home.parent if home.name == "runs" else workspace) / "cache"


def compare_runs(runs: Sequence[str], *, workspace: Path | str | None = None) -> Comparison:
    """Put runs side by side; each is a folder, a `results.json`, a pattern, or the name of a run in the workspace.

    Raises:
        RunError: one of them has no results.
    """
    found: list[dict[str, Any]] = []
    for run in runs:
        known = Path(run).exists() or glob.has_magic(run)
        found += load_results(run if known else find_run(run, workspace))
    return compare_results(found)


def draw_comparison(comparison: Comparison, path: Path) -> Path:
    """Draw the differences of a comparison with their intervals into the PNG `path`.

    Raises:
        RunError: there is nothing that can be compared.
        WorkspaceError: the file cannot be written.
    """
    figure = comparison_figure(comparison)
    with whole_file(path) as part:
        figure.savefig(part, format="png", dpi=120)
    return path
