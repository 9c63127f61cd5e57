"""Train, resume and find runs: a run is a folder, and its `manifest.json` says how it stands."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ringlight.config.load import compose, read_config, to_yaml
from ringlight.config.schema import Config
from ringlight.data.split import write_split
from ringlight.errors import InterruptedRunError, RinglightError, RunError
from ringlight.files import unwritable, write_json, write_text
from ringlight.inference.predictor import Predictor
from ringlight.runtime import (
    LOGGER,
    log_file,
    new_run_folder,
    package_versions,
    promise,
    workspace_folder,
)
from ringlight.training.compare import Comparison, compare_results, load_results
from ringlight.training.fit import fit
from ringlight.training.plan import Plan, make_plan, part_problems
from ringlight.training.trackers import QuietControl, TensorBoardTracker, Trackers
from ringlight.types import RunControl, Tracker

MANIFEST = "manifest.json"


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
    """Build and check every part of a run; writes nothing but a synthetic source's images (into the cache)."""
    return make_plan(config, workspace_folder(workspace) / "cache")


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
        InterruptedRunError: Ctrl-C or the control stopped it; the run folder can be resumed.
    """
    root = workspace_folder(workspace)
    made = plan(configure(recipe, overrides, file=file), root)
    folder = new_run_folder(root, made.config.experiment.name or made.config.recipe or "run")
    write_text(folder / "config.yaml", to_yaml(made.config))
    write_split(made.split, made.dataset, folder / "split.csv")
    return _execute(made, folder, None, control, trackers)


def resume(
    run: Path | str,
    *,
    workspace: Path | str | None = None,
    control: RunControl | None = None,
    trackers: Sequence[Tracker] = (),
) -> Run:
    """Go on with an interrupted run from its last checkpoint (from the beginning when it has none yet).

    Raises:
        RunError: there is no such run, it is complete, or its data has changed.
    """
    folder = find_run(run, workspace)
    manifest = read_manifest(folder)
    if manifest.get("status") == "completed":
        raise RunError(
            "an interrupted run", got="a completed one", where=str(folder), fix="start a new one with ringlight train"
        )
    made = plan(read_config(folder / "config.yaml"), workspace)
    if manifest.get("dataset_fingerprint") != made.dataset.fingerprint:
        raise RunError(
            f"the data of the run (fingerprint {str(manifest.get('dataset_fingerprint'))[:12]})",
            got=made.dataset.fingerprint[:12],
            where=str(folder),
            fix="bring the data back as it was, or start a new run",
        )
    last = folder / "checkpoints" / "last.ckpt"
    return _execute(made, folder, last if last.is_file() else None, control, trackers)


def _execute(
    made: Plan, folder: Path, checkpoint: Path | None, control: RunControl | None, trackers: Sequence[Tracker]
) -> Run:
    tracker = Trackers([TensorBoardTracker(folder / "logs"), *trackers])
    with log_file(folder / "train.log"), _status(made, folder, tracker):
        _announce(made, folder, checkpoint)
        outcome = fit(made, folder, tracker=tracker, control=control or QuietControl(), resume=checkpoint)
    return Run(folder, outcome.results)


def _announce(made: Plan, folder: Path, checkpoint: Path | None) -> None:
    LOGGER.info("run %s%s", folder, f" goes on from {checkpoint.name}" if checkpoint else "")
    LOGGER.info("device %s (%s), precision %s", made.device.device, made.device.reason, made.config.training.precision)
    for note in made.notes:
        LOGGER.info("note: %s", note)


@contextmanager
def _status(made: Plan, folder: Path, tracker: Tracker) -> Iterator[None]:
    """Write how the run stands into its manifest: running, then completed, interrupted or failed."""

    def say(status: str, error: str | None = None) -> None:
        write_json(folder / MANIFEST, _manifest(made, status, error))
        tracker.set_status(status)

    say("running")
    try:
        yield
    except (InterruptedRunError, KeyboardInterrupt) as error:
        say("interrupted", str(error) or "Ctrl-C")
        raise
    except OSError as error:
        raise unwritable(folder, error) from error
    except RinglightError as error:
        LOGGER.debug("the run failed", exc_info=True)
        _try_to_say(say, str(error))
        raise
    except Exception as error:
        LOGGER.debug("the run failed", exc_info=True)
        _try_to_say(say, f"{type(error).__name__}: {error}")
        raise
    say("completed")


def _try_to_say(say: Any, error: str) -> None:
    try:
        say("failed", error)
    except RinglightError as second:  # a full disk: the first error is the one to report
        LOGGER.debug("could not mark the run as failed: %s", second)


def _manifest(made: Plan, status: str, error: str | None) -> dict[str, Any]:
    return {
        "status": status,
        "error": error,
        "updated": datetime.now(UTC).isoformat(timespec="seconds"),
        "recipe": made.config.recipe,
        "seed": made.config.experiment.seed,
        "dataset_fingerprint": made.dataset.fingerprint,
        "device": made.device.device,
        "device_reason": made.device.reason,
        "precision": made.config.training.precision,
        "num_threads": made.config.training.num_threads,
        "reproducibility": promise(made.device, made.config.training.num_threads or 0),
        "versions": package_versions(),
    }


def find_run(run: Path | str, workspace: Path | str | None = None) -> Path:
    """Return a run's folder: a path, or the (beginning of the) name of a run in the workspace.

    Raises:
        RunError: there is none, or more than one.
    """
    path = Path(run).expanduser()
    if (path / MANIFEST).is_file():
        return path
    runs = workspace_folder(workspace) / "runs"
    found = sorted(folder for folder in runs.glob(f"{glob.escape(str(run))}*") if (folder / MANIFEST).is_file())
    if len(found) == 1:
        return found[0]
    names = ", ".join(folder.name for folder in found[:5])
    raise RunError(
        "a run folder, or the beginning of the name of one run",
        got=f"`{run}`, which names {len(found)}{': ' + names if found else ''}",
        where=str(runs),
        fix="list the folder and name one of its runs",
    )


def load_model(model: Path | str, *, workspace: Path | str | None = None, threshold: float = 0.5) -> Predictor:
    """Load a bundle folder, a run folder, or a run of the workspace by (the beginning of) its name.

    Raises:
        BundleError: the bundle is missing, damaged, or of an unknown version.
        RunError: there is no such run.
    """
    path = Path(model).expanduser()
    return Predictor.from_path(path if path.exists() else find_run(model, workspace), threshold=threshold)


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


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read how a run stands.

    Raises:
        RunError: the manifest cannot be read.
    """
    try:
        return dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RunError(
            "a readable manifest", got=str(error), where=str(folder / MANIFEST), fix="is this a run folder?"
        ) from error
