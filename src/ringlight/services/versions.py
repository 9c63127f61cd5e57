"""Register the models of runs as versions of a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ringlight.data.window_spec import WindowSpec
from ringlight.errors import BundleError, ModelError, RunError, UserError
from ringlight.inference.bundle import INDEX, Bundle, check_bundle, find_bundle
from ringlight.inference.bundle_files import listed_files, seal_of
from ringlight.runtime import LOGGER, workspace_folder
from ringlight.services.history import final_metrics, home_of, record
from ringlight.services.inside import inside, plain_name
from ringlight.services.model_places import model_folder
from ringlight.services.registered import MAX_TEXT, Version, line, open_versions, shown, signed
from ringlight.services.standing import MANIFEST, read_manifest
from ringlight.services.version_files import alone, copied, place_of, put_in_place, recover
from ringlight.services.version_trackers import Listener, listeners_of
from ringlight.store.tables import MODEL_KINDS, RunRow, VersionRow
from ringlight.store.versions import REGISTERED, SUBJECT
from ringlight.training.compare import HEADLINES
from ringlight.training.results_file import load_results

if TYPE_CHECKING:
    from ringlight.store.session import UnitOfWork

WINDOW, VIEW, DEFECT, DETECTION = "window", "view", "defect", "detection"


def register(
    model: Path | str,
    *,
    name: str | None = None,
    kind: str | None = None,
    description: str | None = None,
    who: str | None = None,
    workspace: Path | str | None = None,
    listeners: Sequence[Listener] = (),
) -> Version:
    """Copy the model of a finished run, or a bundle, into the workspace as the next version of a name.

    Args:
        model: a run (its folder or name), or a bundle folder.
        name: of the model; by default the recipe of the run.
        kind: detection, view, defect or window; by default window for windows of signals, view for recipes that begin
            so, else defect.
        description: a sentence for those who come later.
        who: registers it; by default whoever is logged in.
        workspace: where runs are looked up and versions are kept.
        listeners: are told of the version, beside the MLflow that the run reported to; one that fails is logged and
            changes nothing.

    Raises:
        RunError: there is no such run, or it is not finished.
        BundleError: the model is damaged, or something else than Ringlight's own files.
        UserError: a name or kind that cannot be used.
        WorkspaceError: the workspace cannot be written; nothing is left.
    """
    root = workspace_folder(workspace)
    folder = model_folder(model, workspace)
    run = folder if (folder / MANIFEST).is_file() else None
    _require_finished(run)
    if name is not None:
        plain_name(name, "--name")
    line(description, MAX_TEXT, "--description")
    who, _ = signed(who)
    with open_versions(workspace) as store, alone(root), copied(find_bundle(folder), root) as copy:
        recover(store)
        bundle = check_bundle(copy)
        name = plain_name(name or _name_of(bundle, folder), "--name")
        kind = kind_of(bundle, kind)
        with store.writing() as unit:
            unit.versions.lock(name)
            row = _new_row(unit, root, name, kind, bundle)
            row.checksum, row.description = seal_of(listed_files(copy)), description
            row.metrics = _metrics(run, copy, bundle)
            row.label = label_of(row.created, row.metrics)
            source = None if run is None else _recorded(unit, root, run)
            if source is not None:
                row.run_id, row.snapshot_id = source.id, source.snapshot_id
            put_in_place(unit, copy, inside(root, row.path, links=False))
            unit.versions.add(row)
            unit.events.add(
                SUBJECT, name, REGISTERED, who=who, version=row.version, checksum=row.checksum,
                run=None if run is None else run.name,
            )  # fmt: skip
            unit.flush()
            made = shown(unit, row)
    _tell([*listeners_of(run, root), *listeners], made, root / made.path)
    return made


def _require_finished(run: Path | None) -> None:
    status = None if run is None else read_manifest(run).get("status")
    if run is not None and status != "completed":
        raise RunError(
            "a completed run", got=f"one that is {status}", where=str(run),
            fix="finish it first, or register its bundle folder by itself",
        )  # fmt: skip


def _name_of(bundle: Bundle, folder: Path) -> str:
    recipe = bundle.training_config.get("recipe")
    if not isinstance(recipe, str) or not recipe:
        raise UserError("a name", got="none, and no recipe to take it from", where=str(folder), fix="pass --name NAME")
    return recipe


def kind_of(bundle: Bundle, wished: str | None = None) -> str:
    """Return the shelf of a model: as wished, where it fits, else window, view or defect.

    Raises:
        UserError: there is no such kind, or the model is none of it.
    """
    is_window = isinstance(bundle.input_spec, WindowSpec)
    recipe = str(bundle.training_config.get("recipe") or "")
    if wished is None:
        return WINDOW if is_window else VIEW if recipe.startswith("view_") else DEFECT
    if wished not in MODEL_KINDS:
        raise UserError(
            "a kind of model", got=f"`{wished}`", where="--kind", fix=f"choose from: {', '.join(MODEL_KINDS)}"
        )
    if (wished == WINDOW) != is_window or (wished == DETECTION) != (str(bundle.task) == DETECTION):
        is_what = "windows of a signal" if is_window else f"whole images ({bundle.task})"
        raise UserError(
            f"a model of kind {wished}", got=f"one of {is_what}", where="--kind",
            fix=f"leave it out: {kind_of(bundle)} fits",
        )  # fmt: skip
    return wished


def _new_row(unit: UnitOfWork, root: Path, name: str, kind: str, bundle: Bundle) -> VersionRow:
    """Return the row of a name's next version; what lies in its place without a row keeps its number."""
    others = unit.versions.find(name=name)
    if others and others[0].kind != kind:
        raise ModelError(
            f"a model of kind {others[0].kind}, as the other versions of {name}", got=kind, where="--name",
            fix="choose another name",
        )  # fmt: skip
    row = VersionRow(
        name=name, version=unit.versions.next_number(name), kind=kind, classes=list(bundle.classes), is_active=False,
        created=datetime.now(UTC),
    )  # fmt: skip
    while (root / place_of(row)).exists():
        row.version += 1
    row.path = place_of(row)
    return row


def label_of(moment: datetime, metrics: Mapping[str, float]) -> str:
    """Return what a version is called beside its number.

    Examples:
        >>> label_of(datetime(2026, 11, 29, 10, 15, tzinfo=UTC), {"macro_f1": 0.9312})
        '20261129_101500_macro_f1_0.93'
    """
    first = next((f"_{name}_{metrics[name]:.2f}" for name in HEADLINES if name in metrics), "")
    return moment.strftime("%Y%m%d_%H%M%S") + first


def _metrics(run: Path | None, copy: Path, bundle: Bundle) -> dict[str, float]:
    """Return the scores of the judged part: of the run, whose model it must be, else as the bundle tells them."""
    if run is None:
        return final_metrics({"test": bundle.metrics})
    if (run / "bundle" / INDEX).read_bytes() != (copy / INDEX).read_bytes():
        raise BundleError(
            "a model that stays as it is while it is copied", got="another one", where=str(run), fix="try again"
        )
    return final_metrics(load_results(run / "results.json")[0])


def _recorded(unit: UnitOfWork, root: Path, run: Path) -> RunRow | None:
    """Return the row of a run, which is recorded now where it was not; None for a run of another workspace."""
    if home_of(run).resolve() != root.resolve():
        return None
    return unit.runs.get(run.name) or record(unit, run)


def _tell(listeners: Sequence[Listener], made: Version, folder: Path) -> None:
    for listener in listeners:
        try:
            listener(made, folder)
        except Exception as error:  # noqa: BLE001 - whoever listens, the version is registered
            LOGGER.warning("%s is registered, but not told on: %s: %s", made, type(error).__name__, error)
