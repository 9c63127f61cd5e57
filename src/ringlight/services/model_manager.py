"""The names of the first inspection trainer's database over the same use cases: its history and its versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringlight.errors import RunError, did_you_mean
from ringlight.services.activations import Activation, activate
from ringlight.services.inside import inside, plain_name
from ringlight.services.registered import ACTIVE, Version, list_versions, load_version
from ringlight.services.stores import open_store
from ringlight.services.version_deletion import Deletion, delete, plan_deletion
from ringlight.store.tables import RUN_STATES, RunRow

if TYPE_CHECKING:
    from ringlight.inference.predictor import Predictor
    from ringlight.services.version_compare import VersionComparison

ENDED = ("completed", "failed", "cancelled", "interrupted")
"""What a run may be that is over."""


class ModelManager:
    """Training history and model versions of one workspace.

    What `ringlight train` runs is recorded by itself; `add_training_run` and `update_training_run` are for trainings
    that something else runs.
    """

    def __init__(self, workspace: Path | str | None = None) -> None:
        self.workspace = workspace

    def add_training_run(
        self, name: str, config: Mapping[str, Any], *, recipe: str | None = None, seed: int | None = None,
        device: str | None = None, status: str = "running",
    ) -> int:  # fmt: skip
        """Add a run to the training history; return its number.

        Args:
            name: new, of letters, digits, `-`, `_` and `.`; its folder is `runs/<name>`.
            config: what it was told, as plain values.
            recipe: the name of the recipe it follows.
            seed: of its random numbers.
            device: `cpu`, `cuda:0`.
            status: created, running, paused, interrupted, completed, failed or cancelled.

        Raises:
            UserError: the name cannot be used, or is taken; or there is no such status.
        """
        _require_state(status)
        with open_store(self.workspace) as store, store.writing() as unit:
            path = f"runs/{plain_name(name, 'name')}"
            inside(store.root, path)
            if unit.runs.get(name) is not None:
                raise RunError("a new name", got=f"`{name}`, which is taken", where="name", fix="choose another")
            row = unit.runs.add(
                RunRow(
                    name=name, path=path, config=dict(config), recipe=recipe, seed=seed, device=device, status=status,
                    started=datetime.now(UTC),
                )
            )  # fmt: skip
            unit.events.add("run", name, status)
            unit.flush()
            return row.id

    def update_training_run(
        self, name: str, *, status: str | None = None, metrics: Mapping[str, float] | None = None,
        error: str | None = None,
    ) -> None:  # fmt: skip
        """Write how a run stands and what it reached; what is None stays as it is.

        Raises:
            RunError: there is no such run.
            UserError: there is no such status.
        """
        given = {"status": status, "metrics": None if metrics is None else dict(metrics), "error": error}
        values: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        if status is not None:
            _require_state(status)
            values["finished"] = datetime.now(UTC) if status in ENDED else None
        with open_store(self.workspace) as store, store.writing() as unit:
            row = unit.runs.get(name)
            if row is None:
                fix = did_you_mean(name, [one.name for one in unit.runs.find(limit=100)])
                raise RunError("a run of the training history", got=f"`{name}`", where="name", fix=fix)
            if values:
                unit.runs.change(name, **values)
            if status not in (None, row.status):
                unit.events.add("run", name, str(status), error=error)

    def get_training_history(
        self, *, status: Sequence[str] = (), recipe: str | None = None, limit: int | None = None
    ) -> list[dict[str, Any]]:
        """Return runs as plain values, the latest first."""
        columns = ("name", "path", "kind", "recipe", "status", "seed", "device", "metrics", "error")
        with open_store(self.workspace) as store, store.reading() as unit:
            return [
                {
                    **{column: getattr(row, column) for column in columns},
                    **{column: _moment(getattr(row, column)) for column in ("started", "finished")},
                }
                for row in unit.runs.find(status=status, recipe=recipe, limit=limit)
            ]

    def save_model_version(
        self, model: Path | str, name: str | None = None, *, kind: str | None = None, description: str | None = None
    ) -> Version:
        """Copy the model of a run, or a bundle, as the next version (:func:`ringlight.services.versions.register`)."""
        from ringlight.services.versions import register

        return register(model, name=name, kind=kind, description=description, workspace=self.workspace)

    def list_model_versions(self, name: str | None = None, *, kind: str | None = None) -> list[Version]:
        """Return versions by name, the latest of each first."""
        return list_versions(name=name, kind=kind, workspace=self.workspace)

    def get_active_model(self, name: str) -> Version | None:
        """Return the active version of a name, None where none is."""
        return next(iter(list_versions(name=name, active=True, workspace=self.workspace)), None)

    def set_active_model(
        self, name: str, version: int | str, *, who: str | None = None, why: str | None = None, gate: bool = False,
        guard: Sequence[str] = (),
    ) -> Activation:  # fmt: skip
        """Make a version the active one (:func:`ringlight.services.activations.activate`)."""
        return activate(name, version, who=who, why=why, gate=gate, guard=guard, workspace=self.workspace)

    def compare_models(self, name: str, first: int | str, second: int | str) -> VersionComparison:
        """Put two versions side by side (:func:`ringlight.services.version_compare.compare_versions`)."""
        from ringlight.services.version_compare import compare_versions

        return compare_versions(name, first, second, workspace=self.workspace)

    def delete_model_version(self, name: str, version: int | str, *, dry_run: bool = False) -> Deletion:
        """Delete a version with its files, and return what went; with `dry_run`, what would go.

        Raises:
            ModelError: there is no such version, it is active, or a job uses it.
        """
        plan = plan_deletion(name, version, workspace=self.workspace)
        if not dry_run:
            delete(plan, workspace=self.workspace)
        return plan

    def load_model(self, name: str, version: int | str = ACTIVE, *, device: str = "auto") -> Predictor:
        """Load a version: a number, or the one that is active.

        Raises:
            ModelError: there is no such name or version, or none is active.
            BundleError: its files are missing, or were changed since it was registered.
        """
        return load_version(name, version, workspace=self.workspace, device=device)


def _require_state(status: str) -> None:
    if status not in RUN_STATES:
        raise RunError("a status of a run", got=f"`{status}`", where="status", fix=did_you_mean(status, RUN_STATES))


def _moment(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat(timespec="seconds")
