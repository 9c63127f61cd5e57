"""Registered versions: listed, looked up by name, `NAME@3` or `NAME@active`, and loaded; nothing heavy till then."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringlight.errors import DATABASE_URL, BundleError, ModelError, RunError, UserError, WorkspaceError, did_you_mean
from ringlight.inference.bundle_files import INDEX, check_files, listed_files, seal_of
from ringlight.runtime import workspace_folder
from ringlight.services.inside import inside, is_plain, plain_name
from ringlight.services.processes import login
from ringlight.services.stores import open_store
from ringlight.services.version_files import MODELS, place_of, recover, reference_of
from ringlight.store.session import DATABASE, Store
from ringlight.store.tables import MODEL_KINDS
from ringlight.store.versions import SUBJECT

if TYPE_CHECKING:
    from ringlight.inference.predictor import Predictor
    from ringlight.store.session import UnitOfWork
    from ringlight.store.tables import VersionRow

ACTIVE = "active"
MAX_WHO, MAX_TEXT = 200, 2000
"""Characters of a name, and of a sentence, that somebody gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A registered bundle; `run` and `snapshot` (the fingerprint of its data) are None where they are not known."""

    name: str
    version: int
    kind: str
    label: str
    path: str
    """Relative to the workspace."""
    checksum: str
    metrics: Mapping[str, float]
    classes: tuple[str, ...]
    description: str | None
    run: str | None
    snapshot: str | None
    is_active: bool
    created: datetime

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {
            **values, "metrics": dict(self.metrics), "classes": list(self.classes),
            "created": self.created.isoformat(timespec="seconds"),
        }  # fmt: skip


@contextlib.contextmanager
def open_versions(workspace: Path | str | None) -> Iterator[Store]:
    """Open the store of a workspace, once what a process that died left undone in `models/` is settled."""
    with open_store(workspace) as store:
        recover(store)
        yield store


def shown(unit: UnitOfWork, row: VersionRow) -> Version:
    """Return a version as whoever asks is told it."""
    return shown_all(unit, [row])[0]


def shown_all(unit: UnitOfWork, rows: Iterable[VersionRow]) -> list[Version]:
    """Return versions as whoever asks is told them."""
    runs, snapshots = unit.versions.runs(), unit.versions.snapshots()
    return [
        Version(
            name=row.name, version=row.version, kind=row.kind, label=row.label, path=row.path, checksum=row.checksum,
            metrics=row.metrics, classes=tuple(row.classes), description=row.description,
            run=None if row.run_id is None else runs.get(row.run_id),
            snapshot=None if row.snapshot_id is None else snapshots.get(row.snapshot_id),
            is_active=row.is_active, created=row.created,
        )
        for row in rows
    ]  # fmt: skip


def find_row(unit: UnitOfWork, name: str, version: int | str) -> VersionRow:
    """Return the row of a version: a number (`3`, `v3`), or `active`.

    Raises:
        ModelError: there is no such name or version, or none is active.
    """
    known = [one.version for one in unit.versions.find(name=name)] if is_plain(name) else []
    if not known:
        names = sorted({one.name for one in unit.versions.find()})
        fix = did_you_mean(name, names) if names else "there is none yet: ringlight models register RUN"
        raise ModelError(
            "a registered model", got=f"`{name}`" if is_plain(name) else repr(name), where="models", fix=fix
        )
    number = _number(name, version)
    row = unit.versions.active(name) if number is None else unit.versions.get(name, number)
    if row is not None:
        return row
    if number is None:
        fix = f"activate one: ringlight models activate {name} {known[0]}"
        raise ModelError("an active version", got=f"none of {len(known)}", where=name, fix=fix)
    listed = ", ".join(str(one) for one in known[:12])
    raise ModelError("a version that is there", got=str(number), where=name, fix=f"choose from: {listed}")


def _number(name: str, version: int | str) -> int | None:
    """Return the number of a version, None for the active one."""
    text = str(version)
    if text == ACTIVE:
        return None
    digits = text.removeprefix("v")
    if not digits.isdecimal() or not digits.isascii() or len(digits) > 9:
        raise ModelError("a version's number, or active", got=repr(text), where=name, fix="write 3, or v3")
    return int(digits)


def folder_of(root: Path, row: VersionRow) -> Path:
    """Return where a version's files lie.

    Raises:
        WorkspaceError: its row was edited, or a link leads elsewhere.
        UserError: its name was edited.
        BundleError: they are not there.
    """
    folder = inside(root, row.path, links=False)
    if row.path != place_of(row):
        raise WorkspaceError(
            f"the files of {row.name}@{row.version} in {place_of(row)}", got=repr(row.path), where=str(root / MODELS),
            fix="the store was edited: put back what it said",
        )  # fmt: skip
    plain_name(row.name, "models")
    if not folder.is_dir():
        raise BundleError(
            f"the files of {row.name}@{row.version}", got="nothing there", where=str(folder),
            fix=f"bring them back, or delete what is left: ringlight models delete {row.name} {row.version}",
        )  # fmt: skip
    return folder


def require_whole(root: Path, row: VersionRow) -> Path:
    """Return where a version's files lie, every one of them as it was registered.

    Raises:
        BundleError: one is missing, was changed, or is no file of a bundle.
    """
    folder = folder_of(root, row)
    _require_seal(folder, row)
    check_files(folder)
    return folder


def _require_seal(folder: Path, row: VersionRow) -> None:
    """Refuse an index that is not the one that was registered; it holds the checksums of the other files."""
    if seal_of(listed_files(folder)) != row.checksum:
        raise BundleError(
            f"{row.name}@{row.version} as it was registered", got="another checksum", where=str(folder),
            fix=f"its files were changed: register the run again, or ringlight models rollback {row.name}",
        )  # fmt: skip


def run_of(unit: UnitOfWork, root: Path, row: VersionRow) -> Path:
    """Return the folder of the run that a version came of.

    Raises:
        RunError: the run is gone, or its model is another by now.
    """
    reference = f"{row.name}@{row.version}"
    run = None if row.run_id is None else unit.runs.by_id(row.run_id)
    fix = "judge both on one test set: ringlight evaluate, then ringlight compare"
    if run is None:
        raise RunError("the run it came of", got="none", where=reference, fix=fix)
    folder = inside(root, run.path)
    if not (folder / "results.json").is_file():
        raise RunError("the folder of its run", got=f"no results in {folder}", where=reference, fix=fix)
    try:
        is_same = (folder / "bundle" / INDEX).read_bytes() == (folder_of(root, row) / INDEX).read_bytes()
    except OSError:
        is_same = False
    if not is_same:
        raise RunError("a run whose model it is", got=f"another model in {folder}", where=reference, fix=fix)
    return folder


def run_behind(folder: Path) -> Path | None:
    """Return the run that the files of a version came of, which knows its test part and what the model has seen.

    None where the folder is none of a version, or the run is gone.
    """
    reference = reference_of(folder)
    if reference is None:
        return None
    root, (name, _, version) = folder.absolute().parents[3], reference.partition("@")
    if not _has_store(root):
        return None
    with open_store(root) as store, store.reading() as unit:
        row = unit.versions.get(name, int(version))
        try:
            return None if row is None else run_of(unit, root, row)
        except (RunError, BundleError):
            return None


def _has_store(root: Path) -> bool:
    """Return whether there is a store to ask; asking must not make one."""
    return (root / DATABASE).is_file() or bool(os.environ.get(DATABASE_URL))


def version_asked(model: str) -> tuple[str, str]:
    """Return the name and the version that `NAME`, `NAME@3`, `NAME:3` or `NAME@active` ask for.

    Examples:
        >>> version_asked("strips"), version_asked("strips:3"), version_asked("strips@active")
        (('strips', 'active'), ('strips', '3'), ('strips', 'active'))
    """
    name, mark, version = model.partition("@" if "@" in model else ":")
    return name, version if mark else ACTIVE


def registered_folder(model: str, workspace: Path | str | None = None) -> Path | None:
    """Return the files of `NAME` (its active version), `NAME@3`, `NAME:3` or `NAME@active`.

    None where no model has this name.

    Raises:
        ModelError: there is no such version of it, or none is active.
        BundleError: its files were changed.
    """
    from ringlight.services.standing import MANIFEST  # with all of training behind it

    root = workspace_folder(workspace)
    name, version = version_asked(model)
    if not _has_store(root) or not is_plain(name) or (root / "runs" / model / MANIFEST).is_file():
        return None
    with open_versions(workspace) as store, store.reading() as unit:
        if not unit.versions.find(name=name):
            return None
        row = find_row(unit, name, version)
        folder = folder_of(root, row)
        _require_seal(folder, row)
        return folder


def load_version(
    name: str, version: int | str = ACTIVE, *, workspace: Path | str | None = None, device: str = "auto",
    threshold: float | None = None, operating_point: str | None = None,
) -> Predictor:  # fmt: skip
    """Load a registered version: a number, or the one that is active.

    Raises:
        ModelError: there is no such name or version, or none is active.
        BundleError: its files are missing, or were changed since it was registered.
    """
    from ringlight.inference.predictor import Predictor

    with open_versions(workspace) as store, store.reading() as unit:
        row = find_row(unit, name, version)
        folder = folder_of(store.root, row)
        _require_seal(folder, row)
    return Predictor.from_path(folder, device=device, threshold=threshold, operating_point=operating_point)


def signed(who: str | None, why: str | None = None) -> tuple[str, str | None]:
    """Return who does something, by default whoever is logged in, and why, as the audit trail keeps them.

    Raises:
        UserError: they are longer than it has room for, or hold what no line holds.
    """
    for text, most, where in ((who, MAX_WHO, "--who"), (why, MAX_TEXT, "--why")):
        line(text, most, where)
    return who or login(), why


def line(text: str | None, most: int, where: str) -> str | None:
    """Return a text that somebody typed, if it is one line that is short enough.

    Raises:
        UserError: it is not.
    """
    if text is not None and (len(text) > most or not text.isprintable()):
        got = f"{len(text)} characters" if len(text) > most else "line breaks or signs that cannot be printed"
        raise UserError(f"one line of up to {most} characters", got=got, where=where, fix="say it shorter, on one line")
    return text


def list_versions(
    *, name: str | None = None, kind: str | None = None, active: bool = False, workspace: Path | str | None = None
) -> list[Version]:
    """Return versions by name, the latest of each first.

    Raises:
        UserError: there is no such kind.
    """
    if kind is not None and kind not in MODEL_KINDS:
        raise UserError(
            "a kind of model", got=f"`{kind}`", where="--kind", fix=f"choose from: {', '.join(MODEL_KINDS)}"
        )
    with open_versions(workspace) as store, store.reading() as unit:
        return shown_all(unit, unit.versions.find(name=name, kind=kind, active=active))


def get_version(name: str, version: int | str, *, workspace: Path | str | None = None) -> Version:
    """Return one version: by its number, or the active one.

    Raises:
        ModelError: there is no such name or version, or none is active.
    """
    with open_versions(workspace) as store, store.reading() as unit:
        return shown(unit, find_row(unit, name, version))


def events_of(name: str, *, workspace: Path | str | None = None) -> list[dict[str, Any]]:
    """Return what happened to the versions of a name, the earliest first: registered, activated, refused, deleted."""
    with open_versions(workspace) as store, store.reading() as unit:
        return [
            {"at": one.at.isoformat(timespec="seconds"), "what": one.what, "who": one.who, **(one.data or {})}
            for one in unit.events.of(SUBJECT, name)
        ]
