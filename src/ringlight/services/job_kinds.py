"""What a job of each kind does, in a process of its own. Services are imported where they run: they load torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringlight.files import remove_parts
from ringlight.services.job_link import JobTracker, Link
from ringlight.services.job_payloads import EvaluatePayload, Payload, PredictPayload, RecipePayload
from ringlight.services.job_runs import manifest_of

LISTENING = ("train", "tune", "crossval")
"""Kinds that ask after every step whether to go on, and go on later from where they stopped."""


@dataclass(frozen=True, slots=True)
class Task:
    """A job to do: `run` is the name of the run that it has begun already, `device` auto, cpu or cuda."""

    id: int
    kind: str
    payload: Payload
    root: Path
    run: str | None
    device: str
    link: Link

    @property
    def run_folder(self) -> Path | None:
        """The folder of the run to go on with; None where there is none, or one that never began."""
        folder = None if self.run is None else self.root / "runs" / self.run
        return folder if folder is not None and manifest_of(folder) is not None else None


def _recipe(task: Task) -> tuple[str | None, list[str], Path | None]:
    payload = task.payload
    if not isinstance(payload, RecipePayload):
        raise TypeError(f"a {task.kind} job has a recipe, not {type(payload).__name__}")
    device = [] if task.device == "auto" else [f"training.device={task.device}"]
    return payload.recipe, [*payload.overrides, *device], None if payload.file is None else Path(payload.file)


def _train(task: Task) -> dict[str, Any]:
    from ringlight.services import runs

    tracker = JobTracker(task.link)
    former = task.run_folder
    if former is None or _was_forgotten(former):
        recipe, overrides, file = _recipe(task)
        made = runs.plan(runs.configure(recipe, overrides, file=file), task.root)
        folder = runs.new_run(made, task.root)
        task.link.begun(folder, task.root)
        run = runs.execute(made, folder, None, task.link, [tracker])
        return summary(run.results, folder, task.root)
    task.link.begun(former, task.root)
    remove_parts(former)
    if _is_complete(former):
        return summary(_results(former), former, task.root)
    run = runs.resume(former, workspace=task.root, control=task.link, trackers=[tracker])
    return summary(run.results, former, task.root)


def _crossval(task: Task) -> dict[str, Any]:
    from ringlight.services import crossval, runs

    folder = task.run_folder
    options: dict[str, Any] = {
        "workspace": task.root, "control": task.link, "trackers": [JobTracker(task.link)]
    }  # fmt: skip
    if folder is None:
        recipe, overrides, file = _recipe(task)
        found = crossval.cross_validate_config(
            runs.configure(recipe, overrides, file=file),
            begun=lambda made: task.link.begun(made, task.root),
            **options,
        )
        return summary(found.results, found.folder or task.root, task.root)  # one that was written has a folder
    task.link.begun(folder, task.root)
    remove_parts(folder)
    if _is_complete(folder):
        return summary(_results(folder), folder, task.root)
    return summary(crossval.resume(folder, **options).results, folder, task.root)


def _is_complete(folder: Path) -> bool:
    """Whether the run ended, and only its worker did not live to say so."""
    return (manifest_of(folder) or {}).get("status") == "completed"


def _was_forgotten(folder: Path) -> bool:
    """Whether the run was cancelled and its checkpoints removed: then a new one begins."""
    cancelled = (manifest_of(folder) or {}).get("status") == "cancelled"
    return cancelled and next(folder.rglob("*.ckpt"), None) is None


def _results(folder: Path) -> dict[str, Any]:
    from ringlight.services.saved_models import stored_results

    return stored_results(folder)


def _tune(task: Task) -> dict[str, Any]:
    from ringlight.services import tune

    recipe, overrides, file = _recipe(task)
    folder = tune.folder_of(tune.configure(recipe, overrides, file=file), task.root)
    task.link.begun(folder, task.root)
    if folder.is_dir():
        remove_parts(folder)
    found = tune.tune(recipe, overrides, file=file, workspace=task.root, control=task.link)
    best = found.study["best"]
    return {
        "folder": _place(found.folder, task.root), "scores": {found.study["metric"]: best["value"]},
        "best": best["values"], "recipe": _place(found.recipe, task.root),
    }  # fmt: skip


def _evaluate(task: Task) -> dict[str, Any]:
    from ringlight.services import evaluations

    payload = task.payload
    if not isinstance(payload, EvaluatePayload):
        raise TypeError(f"no payload of an evaluation: {type(payload).__name__}")
    found = evaluations.evaluate(
        payload.model, payload.source, payload.overrides, operating_point=payload.operating_point,
        tta_runs=payload.tta_runs, workspace=task.root,
    )  # fmt: skip
    return summary(found.results, found.folder, task.root)


def _predict(task: Task) -> dict[str, Any]:
    from ringlight.files import write_csv
    from ringlight.services.predictions import predict_files

    payload = task.payload
    if not isinstance(payload, PredictPayload):
        raise TypeError(f"no payload of a prediction: {type(payload).__name__}")
    found = predict_files(
        payload.model, [Path(path) for path in payload.paths], batch_size=payload.batch_size,
        threshold=payload.threshold, operating_point=payload.operating_point, workspace=task.root,
    )  # fmt: skip
    rows = found.rows()
    path = task.root / "predictions" / f"job-{task.id}.csv"
    write_csv(path, rows)
    return {"folder": "predictions", "file": _place(path, task.root), "num_records": len(rows)}


KINDS: Mapping[str, Callable[[Task], dict[str, Any]]] = {
    "train": _train, "evaluate": _evaluate, "tune": _tune, "crossval": _crossval, "predict": _predict,
}  # fmt: skip


def summary(results: Mapping[str, Any], folder: Path, root: Path) -> dict[str, Any]:
    """Return what a job keeps of its results: where they lie, the scores, and what the run had to say."""
    test = results.get("test") or {}
    return {
        "folder": _place(folder, root),
        "part": results.get("judged_part"),
        "scores": {name: value for name, value in (test.get("scalars") or {}).items() if value is not None},
        "notes": list(results.get("notes") or ()),
        "device": (results.get("environment") or {}).get("device"),
    }


def _place(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
