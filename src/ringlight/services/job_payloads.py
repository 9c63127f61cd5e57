"""What a job may ask for: plain configuration data, checked before it waits and again before it runs; never code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ringlight.errors import DataError, JobError, Problems, did_you_mean
from ringlight.services.version_files import MODELS, reference_of


class Payload(BaseModel):
    """What every job tells: the folder it was submitted from, which its relative paths begin at."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    folder: str = Field(min_length=1)


class RecipePayload(Payload):
    """A recipe with what is laid over it; `file` is read again when the job begins."""

    recipe: str | None = None
    overrides: tuple[str, ...] = Field((), strict=False)
    file: str | None = None


class EvaluatePayload(Payload):
    """A saved model to judge again, on its own test part or on `source`."""

    model: str = Field(min_length=1)
    source: str | None = None
    overrides: tuple[str, ...] = Field((), strict=False)
    operating_point: str | None = None
    tta_runs: int | None = Field(None, ge=1, le=8)


class PredictPayload(Payload):
    """A saved model and the files it scores."""

    model: str = Field(min_length=1)
    paths: tuple[str, ...] = Field(min_length=1, strict=False)
    batch_size: int | None = Field(None, ge=1)
    threshold: float | None = Field(None, ge=0, le=1)
    operating_point: str | None = None


PAYLOADS: dict[str, type[Payload]] = {
    "train": RecipePayload,
    "evaluate": EvaluatePayload,
    "tune": RecipePayload,
    "crossval": RecipePayload,
    "predict": PredictPayload,
}
"""The kinds of jobs, and what each takes."""


def payload_of(kind: str, values: Mapping[str, Any]) -> Payload:
    """Return the checked payload of a job.

    Raises:
        JobError: there is no such kind.
        Problems: unknown keys and wrong values, a line each.
    """
    if kind not in PAYLOADS:
        raise JobError("a kind of job", got=f"`{kind}`", where="jobs submit", fix=did_you_mean(kind, PAYLOADS))
    try:
        return PAYLOADS[kind].model_validate(dict(values))
    except ValidationError as error:
        raise Problems([_line(kind, fault) for fault in error.errors(include_url=False)]) from error


def about(values: Mapping[str, Any]) -> str:
    """Say in a word what a job works on: the recipe, its file, or the model.

    Examples:
        >>> about({"recipe": "demo"}), about({"recipe": None, "file": "/a/best.yaml"}), about({"model": "demo-2026"})
        ('demo', 'best.yaml', 'demo-2026')
    """
    return str(values.get("recipe") or values.get("model") or Path(values.get("file") or "-").name)


def _line(kind: str, fault: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    where = f"payload of a {kind} job: {key}"
    if fault["type"] == "extra_forbidden":
        return f"{where}: expected a key that it knows, got `{key}`; {did_you_mean(key, PAYLOADS[kind].model_fields)}"
    if fault["type"] == "missing":
        return f"{where}: expected a value, got none; set it"
    return f"{where}: expected {fault['msg'][0].lower()}{fault['msg'][1:]}, got {fault['input']!r:.60}; correct it"


@dataclass(frozen=True, slots=True)
class Checked:
    """What is known of a job that could run.

    `device` is what it asks for, `version` the registered version that it uses (`strips@3`), which its payload names
    by its number: whatever becomes active before its turn comes, it uses the one that was meant.
    """

    payload: Payload
    device: str = "auto"
    version: str | None = None


def check(kind: str, payload: Payload, workspace: Path) -> Checked:
    """Look whether a job could run, as far as that is known before it does.

    Raises:
        UserError: a mistake in the configuration, no such run or model, no such files.
    """
    if isinstance(payload, RecipePayload):
        return Checked(payload, _device_of(kind, payload))
    if not isinstance(payload, EvaluatePayload | PredictPayload):
        raise TypeError(f"no payload of a job: {type(payload).__name__}")
    from ringlight.services.model_places import model_folder

    folder = model_folder(payload.model, workspace).absolute()
    if isinstance(payload, PredictPayload):
        _require(payload.paths)
    version = reference_of(folder) if folder.is_relative_to(workspace / MODELS) else None
    return Checked(payload if version is None else payload.model_copy(update={"model": version}), version=version)


def _device_of(kind: str, payload: RecipePayload) -> str:
    file = None if payload.file is None else Path(payload.file)
    if kind == "tune":
        from ringlight.services import tune

        config = tune.configure(payload.recipe, payload.overrides, file=file)
        tune.space_of(config)
    else:
        from ringlight.services import runs

        config = runs.configure(payload.recipe, payload.overrides, file=file)
    return str(config.training.device)


def _require(paths: Sequence[str]) -> None:
    missing = [path for path in paths if not Path(path).exists()]
    if missing:
        raise DataError("a file or a folder", got="nothing", where=missing[0], fix="correct the path")
