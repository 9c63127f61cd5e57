"""The tracker `mlflow`: a run's settings, numbers, pictures and files in MLflow, and versions in its model registry.

The one file that imports MLflow, and only when it is asked for. Whatever MLflow does is bounded in time: a server that
hangs costs a training seconds.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from ringlight.config.tracking import MlflowConfig
from ringlight.errors import RinglightError, TrackerError, redacted
from ringlight.files import file_sha256, write_json
from ringlight.optional import require
from ringlight.training.trackers import QuietTracker, first_line, png_of
from ringlight.training.trackers_quiet import CALL_SECONDS, Patience, quiet
from ringlight.training.trackers_words import cleaned, flat, shortened, written, written_tags
from ringlight.training.tune_places import sqlite_address

FILE_SECONDS: Final = 120.0
"""How long MLflow may take to make a new file: a few seconds, more where the cores are busy."""

UPLOAD_SECONDS: Final = 120
"""How long a server may take to store a file of a version, which nobody trains beside."""

REMEMBERED: Final = "mlflow.json"
"""The file of a run's folder that remembers which run of MLflow is its own."""

STATUS: Final = {"running": "RUNNING", "paused": "SCHEDULED", "completed": "FINISHED", "failed": "FAILED"}
"""How a run stands: the same in MLflow. Any other is KILLED: interrupted, cancelled."""

PARAMS_AT_ONCE: Final = 100
METRICS_AT_ONCE: Final = 1000
"""How many settings and numbers one request of MLflow may hold."""


@dataclass(frozen=True, slots=True)
class MlflowPlace:
    """Where MLflow keeps runs: the address of its store, an experiment, and where the files of a new one go.

    `artifacts` is None where the server decides.
    """

    uri: str
    experiment: str
    artifacts: Path | None = None


def mlflow_place(config: MlflowConfig, workspace: Path) -> MlflowPlace:
    """Return the place a configuration names, else the one of the environment, else a file in the workspace.

    Examples:
        >>> mlflow_place(MlflowConfig(tracking_uri="http://127.0.0.1:5000"), Path("/w")).uri
        'http://127.0.0.1:5000'
    """
    uri = config.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if uri:
        return MlflowPlace(uri, config.experiment)
    home = workspace.absolute() / "mlflow"
    return MlflowPlace(sqlite_address(home / "mlflow.db"), config.experiment, home / "artifacts")


def require_mlflow(module: str = "mlflow") -> ModuleType:
    """Import MLflow, or a module of it.

    Raises:
        MissingExtraError: it is not installed.
    """
    with quiet():
        return require(module, extra="mlflow")


def _client(place: MlflowPlace) -> Any:
    mlflow = require_mlflow()
    if place.artifacts is not None:
        place.artifacts.mkdir(parents=True, exist_ok=True)
    return mlflow.MlflowClient(place.uri, os.environ.get("MLFLOW_REGISTRY_URI") or place.uri)


def _is(error: Exception, code: str) -> bool:
    """Tell whether an error of MLflow has this code: its classes can only be named once it is imported."""
    return getattr(error, "error_code", None) == code


def _experiment(client: Any, place: MlflowPlace) -> str:
    found = client.get_experiment_by_name(place.experiment)
    if found is None:
        location = None if place.artifacts is None else place.artifacts.as_uri()
        try:
            return str(client.create_experiment(place.experiment, artifact_location=location))
        except Exception as error:
            if not _is(error, "RESOURCE_ALREADY_EXISTS"):
                raise
            found = client.get_experiment_by_name(place.experiment)  # another process was quicker
    return str(found.experiment_id)


def remembered_run(folder: Path) -> str | None:
    """Return the id of the run of MLflow that a run's folder remembers, None where it has none."""
    try:
        return str(json.loads((folder / REMEMBERED).read_text(encoding="utf-8"))["run_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


class MlflowTracker(QuietTracker):
    """Reports the run in `folder` to MLflow; goes on with the same run of MLflow where the folder remembers one.

    Settings that were told once stay as they were told: MLflow changes none. A number that is told again, after an
    interruption, is not doubled.

    Raises:
        MissingExtraError: MLflow is not installed.
        TimeoutError: it takes too long.
        Exception: whatever MLflow says of a server that is not there, or refuses.
    """

    def __init__(self, folder: Path, place: MlflowPlace, *, tags: Mapping[str, str]) -> None:
        self._patience = Patience()
        self._names: dict[str, str] = {}
        self._params: set[str] = set()
        self._before: dict[str, dict[int, float]] | None = None
        opening = Patience(limit=CALL_SECONDS if place.artifacts is None else FILE_SECONDS)
        with quiet():
            self._client, self._run = opening(lambda: self._begin(folder, place, tags))

    def _begin(self, folder: Path, place: MlflowPlace, tags: Mapping[str, str]) -> tuple[Any, str]:
        client, known = _client(place), remembered_run(folder)
        if known is not None:
            try:
                run = client.get_run(known)
            except Exception as error:
                if not _is(error, "RESOURCE_DOES_NOT_EXIST"):
                    raise
            else:
                if run.info.lifecycle_stage == "active":
                    self._params, self._before = set(run.data.params), {}
                    return client, known
        told = {"ringlight.run": folder.name, **tags}
        run = client.create_run(_experiment(client, place), tags=written_tags(told), run_name=folder.name)
        write_json(folder / REMEMBERED, {"experiment_id": run.info.experiment_id, "run_id": run.info.run_id})
        return client, str(run.info.run_id)

    def _call(self, name: str, *args: Any, **options: Any) -> Any:
        with quiet():
            return self._patience(lambda: getattr(self._client, name)(*args, **options))

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Write settings down, a group key by key, each name and value cut to the length that MLflow keeps."""
        param = require_mlflow("mlflow.entities").Param
        told = {self._name(key): written(value) for key, value in flat(params)}
        news = [param(key, value) for key, value in told.items() if key not in self._params]
        for start in range(0, len(news), PARAMS_AT_ONCE):
            self._call("log_batch", self._run, params=news[start : start + PARAMS_AT_ONCE])
        self._params |= set(told)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Write numbers at a step; of a run that goes on only those which are not there yet."""
        metric = require_mlflow("mlflow.entities").Metric
        now = round(time.time() * 1000)
        told = {self._name(key): float(value) for key, value in metrics.items()}
        news = [metric(key, value, now, step) for key, value in told.items() if not self._is_there(key, value, step)]
        for start in range(0, len(news), METRICS_AT_ONCE):
            self._call("log_batch", self._run, metrics=news[start : start + METRICS_AT_ONCE])

    def _is_there(self, key: str, value: float, step: int) -> bool:
        if self._before is None:
            return False
        if key not in self._before:
            points = self._call("get_metric_history", self._run, key)
            self._before[key] = {point.step: point.value for point in points}
        former = self._before[key].get(step)
        return former is not None and repr(former) == repr(value)  # repr: what is not a number equals itself

    def log_figure(self, name: str, figure: Any, step: int) -> None:
        """Keep a matplotlib figure, or a picture that was drawn already (PNG bytes), as `figures/NAME-STEP.png`."""
        folder, _, leaf = f"figures/{self._name(name)}".rpartition("/")
        with tempfile.TemporaryDirectory() as home:
            path = Path(home) / f"{leaf}-{step:05}.png"
            path.write_bytes(png_of(figure))
            self._call("log_artifact", self._run, str(path), folder)

    def log_artifact(self, path: Path) -> None:
        """Keep a file, or a folder under its name."""
        if path.is_dir():
            self._call("log_artifacts", self._run, str(path), path.name)
        else:
            self._call("log_artifact", self._run, str(path))

    def set_status(self, status: str) -> None:
        """Tell how the run stands: running, completed, failed; any other is killed in MLflow's words."""
        said = STATUS.get(status, "KILLED")
        self._call("update_run" if said in ("RUNNING", "SCHEDULED") else "set_terminated", self._run, said)

    def _name(self, text: str) -> str:
        """Return a name as MLflow takes it: two that differ stay two."""
        name = cleaned(text)
        if self._names.setdefault(name, text) != text:
            name = shortened(name, text)
        return name


def register_version(
    name: str, bundle: Path, place: MlflowPlace, *, run: Path | None = None, tags: Mapping[str, str] | None = None
) -> str:
    """Register a bundle as the next version of a model in MLflow's registry; return the version's number, as text.

    The bundle's files become the `bundle` of the run of MLflow that the run's folder remembers; without one, of a run
    that is made for them.

    Args:
        name: the registered model; it is made where there is none. Without `/` and `:`.
        bundle: the folder of a saved model.
        place: the server or the file, see :func:`mlflow_place`.
        run: the folder of the run that trained it.
        tags: what the version is labelled with.

    Raises:
        MissingExtraError: MLflow is not installed.
        TrackerError: the bundle is not there, MLflow is not, or it refuses.
    """
    if not bundle.is_dir():
        raise TrackerError("the folder of a saved model", got="none", where=str(bundle), fix="check the path")
    fault = None
    try:
        with quiet(UPLOAD_SECONDS):
            return _register(name, bundle, place, None if run is None else remembered_run(run), tags or {})
    except RinglightError:
        raise
    # MLflow, its HTTP library and its database each have errors of their own; none of them is a fault of ours.
    except Exception as error:  # noqa: BLE001
        fault = first_line(error)
    # Not as the cause: that may show the address with its password.
    raise TrackerError(
        "MLflow to take the version", got=fault, where=f"{name}, {redacted(place.uri)}",
        fix="check the name, and that the server runs and can be reached",
    )  # fmt: skip


def _register(name: str, bundle: Path, place: MlflowPlace, known: str | None, tags: Mapping[str, str]) -> str:
    client = _client(place)
    run = None
    if known is not None:
        try:
            run = client.get_run(known)
        except Exception as error:
            if not _is(error, "RESOURCE_DOES_NOT_EXIST"):
                raise
    if run is None:
        run = client.create_run(_experiment(client, place), tags=written_tags(tags), run_name=f"{name} {bundle.name}")
        client.set_terminated(run.info.run_id, "FINISHED")
    try:
        client.create_registered_model(name)
    except Exception as error:
        if not _is(error, "RESOURCE_ALREADY_EXISTS"):
            raise
    # Two bundles of one run must not overwrite each other's files.
    files = sorted(path for path in bundle.rglob("*") if path.is_file())
    digest = sha256("".join(f"{path.relative_to(bundle)} {file_sha256(path)} " for path in files).encode())
    home = f"bundle-{digest.hexdigest()[:12]}"
    client.log_artifacts(run.info.run_id, str(bundle), home)
    source = f"{run.info.artifact_uri.rstrip('/')}/{home}"
    version = client.create_model_version(name, source=source, run_id=run.info.run_id, tags=written_tags(tags))
    return str(version.version)
