"""Which version of a name is active: activated, rolled back or taken off, and every change on the audit trail."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringlight.errors import ModelError, RunError
from ringlight.services.registered import find_row, open_versions, require_whole, signed
from ringlight.store.tables import ActivationRow
from ringlight.store.versions import SUBJECT

if TYPE_CHECKING:
    from ringlight.services.gates import Gate
    from ringlight.store.session import Store, UnitOfWork
    from ringlight.store.tables import VersionRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """A change on the audit trail; `changed` is False where the version was active already and nothing was written."""

    name: str
    action: str
    from_version: int | None
    to_version: int | None
    who: str
    why: str | None
    at: datetime | None
    gate: dict[str, Any] | None = None
    checksum: str | None = None
    changed: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**values, "at": None if self.at is None else self.at.isoformat(timespec="seconds")}


def activate(
    name: str,
    version: int | str,
    *,
    who: str | None = None,
    why: str | None = None,
    gate: bool = False,
    guard: Sequence[str] = (),
    workspace: Path | str | None = None,
) -> Activation:
    """Make a version the active one of its name, once every file of it is found as it was registered.

    Args:
        name: of the model.
        version: its number.
        who: does it; by default whoever is logged in.
        why: a sentence for the audit trail.
        gate: refuse a version that is worse than the active one on a guarded class (:mod:`ringlight.services.gates`).
        guard: the classes that the gate guards; all of them by default.
        workspace: where versions are kept.

    Raises:
        ModelError: there is no such version, the gate refused it, or another became active meanwhile.
        BundleError: its files are missing or were changed.
    """
    who, why = signed(who, why)
    if guard and not gate:
        raise ModelError("--guard with --gate", got="--guard alone", where="activate", fix="add --gate")
    with open_versions(workspace) as store:
        with store.reading() as unit:
            row, current = find_row(unit, name, version), unit.versions.active(name)
            before = None if current is None else current.version
            judged = _judged(unit, store.root, current, row, guard) if gate else None
        require_whole(store.root, row)
        if judged is not None and not judged.passed:
            _refuse(store, row, judged, who)
        with store.writing() as unit:
            unit.versions.lock(name)
            row, current = find_row(unit, name, row.version), unit.versions.active(name)
            now = None if current is None else current.version
            if now == row.version:
                return Activation(
                    name=name, action="activate", from_version=now, to_version=now, who=who, why=why, at=None,
                    checksum=row.checksum, changed=False,
                )  # fmt: skip
            if judged is not None and now != before:
                raise ModelError(
                    f"the gate's {_shown(before)} still active", got=_shown(now), where=name,
                    fix="another version became active meanwhile: run again",
                )  # fmt: skip
            return _write(unit, "activate", row, name, who, why, judged)


def deactivate(
    name: str, *, who: str | None = None, why: str | None = None, workspace: Path | str | None = None
) -> Activation:
    """Leave a name without an active version.

    Raises:
        ModelError: none is active, or there is no such name.
    """
    who, why = signed(who, why)
    with open_versions(workspace) as store, store.writing() as unit:
        unit.versions.lock(name)
        find_row(unit, name, "active")
        return _write(unit, "deactivate", None, name, who, why)


def rollback(
    name: str, *, who: str | None = None, why: str | None = None, workspace: Path | str | None = None
) -> Activation:
    """Make the version active again that was active before; once more goes one further back, not to and fro.

    Raises:
        ModelError: there was none before, or it was deleted.
        BundleError: its files are missing or were changed.
    """
    who, why = signed(who, why)
    with open_versions(workspace) as store:
        with store.reading() as unit:
            target = _before(unit, name)
        require_whole(store.root, target)
        with store.writing() as unit:
            unit.versions.lock(name)
            row = _before(unit, name)
            if row.version != target.version:
                raise ModelError(
                    f"{name}@{target.version} to go back to", got=f"{name}@{row.version}", where=name,
                    fix="another version became active meanwhile: look, then run again",
                )  # fmt: skip
            return _write(unit, "rollback", row, name, who, why)


def trail(name: str, *, workspace: Path | str | None = None) -> list[Activation]:
    """Return every change of what was active, the latest first."""
    with open_versions(workspace) as store, store.reading() as unit:
        return [_told(row) for row in unit.activations.of(name)]


def earlier(rows: Iterable[tuple[str, int | None]]) -> int | None:
    """Return the version that a rollback leads to, None where there is none.

    Args:
        rows: action and version of each change, the earliest first.

    Examples:
        >>> changes = [("activate", 1), ("activate", 2), ("activate", 3)]
        >>> earlier(changes), earlier([*changes, ("rollback", 2)])
        (2, 1)
        >>> earlier([*changes, ("deactivate", None)])
        3
    """
    active: list[int] = []
    is_on = False
    for action, version in rows:
        if action == "rollback":
            while active and active[-1] != version:
                active.pop()
        elif action == "activate" and version is not None and active[-1:] != [version]:
            active.append(version)
        is_on = action != "deactivate"
    former = active[:-1] if is_on else active
    return former[-1] if former else None


def _before(unit: UnitOfWork, name: str) -> VersionRow:
    rows = unit.activations.of(name)
    number = earlier((row.action, row.to_version) for row in reversed(rows))
    if number is None:
        known = unit.versions.find(name=name)
        if not known:
            find_row(unit, name, "active")
        raise ModelError(
            "a version that was active before", got="none", where=name,
            fix=f"activate one: ringlight models activate {name} {known[0].version}",
        )  # fmt: skip
    row = unit.versions.get(name, number)
    if row is None:
        raise ModelError(
            f"{name}@{number}, which was active before", got="nothing: it was deleted", where=name,
            fix=f"choose another one: ringlight models activate {name} VERSION",
        )  # fmt: skip
    return row


def _judged(unit: UnitOfWork, root: Path, current: VersionRow | None, row: VersionRow, guard: Sequence[str]) -> Gate:
    from ringlight.services.gates import FIRST, closed, gate_of, require_known
    from ringlight.services.version_compare import compare_rows, results_of

    require_known(guard, row.classes)
    if current is None or current.version == row.version:
        return FIRST
    try:
        return gate_of(compare_rows(unit, root, current, row), results_of(unit, root, row), tuple(row.classes), guard)
    except RunError as error:
        return closed(f"{current.name}@{current.version}", guard or row.classes, str(error))


def _refuse(store: Store, row: VersionRow, gate: Gate, who: str) -> None:
    with store.writing() as unit:
        unit.events.add(SUBJECT, row.name, "gate_refused", who=who, version=row.version, gate=gate.to_dict())
    raise ModelError(
        f"no guarded class worse than with {gate.against}", got="; ".join(gate.reasons),
        where=f"{row.name}@{row.version}", fix=f"{gate.against} stays active; without --gate it is not asked",
    )  # fmt: skip


def _write(
    unit: UnitOfWork, action: str, row: VersionRow | None, name: str, who: str, why: str | None,
    gate: Gate | None = None,
) -> Activation:  # fmt: skip
    """Change what is active and write it on the trail."""
    current = unit.versions.active(name)
    to = None if row is None else row.version
    unit.versions.make_active(name, to)
    told = unit.activations.add(
        ActivationRow(
            name=name, action=action, from_version=None if current is None else current.version, to_version=to,
            to_checksum=None if row is None else row.checksum, who=who, why=why,
            gate=None if gate is None else gate.to_dict(),
        )
    )  # fmt: skip
    unit.events.add(SUBJECT, name, action, who=who, version=to, before=told.from_version)
    unit.flush()
    return _told(told)


def _told(row: ActivationRow) -> Activation:
    return Activation(
        name=row.name, action=row.action, from_version=row.from_version, to_version=row.to_version, who=row.who,
        why=row.why, at=row.at, gate=row.gate, checksum=row.to_checksum,
    )  # fmt: skip


def _shown(version: int | None) -> str:
    return "no version" if version is None else f"version {version}"
