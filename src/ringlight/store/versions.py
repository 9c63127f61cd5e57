"""Versions of models."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from ringlight.store.tables import ENDED, EventRow, JobRow, RunRow, SnapshotRow, VersionRow

SUBJECT = "version"
"""What the events of versions are about; their `subject_id` is the model's name, their `data` has the `version`."""

REGISTERED = "registered"
"""The event of a new version, which is there when its row no longer is."""


_LOCKS = 72483
"""Of PostgreSQL's advisory locks on names: any number, the same in every Ringlight."""


class Versions:
    """The registered bundles; at most one of a name is active."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, row: VersionRow) -> VersionRow:
        """Add a version."""
        self._session.add(row)
        return row

    def get(self, name: str, version: int) -> VersionRow | None:
        """Return a version by its number."""
        query = select(VersionRow).where(VersionRow.name == name, VersionRow.version == version)
        return self._session.scalars(query).one_or_none()

    def active(self, name: str) -> VersionRow | None:
        """Return the active version of a name."""
        query = select(VersionRow).where(VersionRow.name == name, VersionRow.is_active)
        return self._session.scalars(query).one_or_none()

    def find(self, *, name: str | None = None, kind: str | None = None, active: bool = False) -> Sequence[VersionRow]:
        """Return versions by name, the latest of each first."""
        query = select(VersionRow).order_by(VersionRow.name, VersionRow.version.desc())
        if name is not None:
            query = query.where(VersionRow.name == name)
        if kind is not None:
            query = query.where(VersionRow.kind == kind)
        if active:
            query = query.where(VersionRow.is_active)
        return self._session.scalars(query).all()

    def next_number(self, name: str) -> int:
        """Return the number of a name's next version; a number that was taken once stays taken, row or no row."""
        known = select(func.max(VersionRow.version)).where(VersionRow.name == name)
        told = select(func.max(EventRow.data["version"].as_integer())).where(
            EventRow.subject == SUBJECT, EventRow.subject_id == name, EventRow.what == REGISTERED
        )
        return max(self._session.scalar(query) or 0 for query in (known, told)) + 1

    def lock(self, name: str) -> None:
        """Let one unit of work at a time change the versions of a name; others wait until it has ended.

        SQLite has a single writer anyway.
        """
        if self._session.get_bind().dialect.name == "postgresql":
            self._session.execute(select(func.pg_advisory_xact_lock(_LOCKS, func.hashtext(name))))

    def hold(self, row: VersionRow) -> None:
        """Let nothing new refer to a version until this unit of work has ended."""
        self._session.execute(select(VersionRow.id).where(VersionRow.id == row.id).with_for_update())

    def runs(self) -> dict[int, str]:
        """Return the names of the runs that versions came of, by number."""
        query = select(RunRow.id, RunRow.name).where(RunRow.id.in_(select(VersionRow.run_id)))
        return {row[0]: row[1] for row in self._session.execute(query)}

    def snapshots(self) -> dict[int, str]:
        """Return the fingerprints of the data that versions were trained on, by number."""
        query = select(SnapshotRow.id, SnapshotRow.fingerprint)
        query = query.where(SnapshotRow.id.in_(select(VersionRow.snapshot_id)))
        return {row[0]: row[1] for row in self._session.execute(query)}

    def jobs(self, row: VersionRow, *, ended: bool) -> Sequence[JobRow]:
        """Return the jobs that name a version: those that have ended, or those that have not."""
        state = JobRow.state.in_(ENDED) if ended else JobRow.state.not_in(ENDED)
        return self._session.scalars(select(JobRow).where(JobRow.version_id == row.id, state).order_by(JobRow.id)).all()

    def make_active(self, name: str, version: int | None) -> None:
        """Make one version of a name the active one, or none; the database refuses two."""
        self._session.execute(update(VersionRow).where(VersionRow.name == name).values(is_active=False))
        if version is not None:
            one = (VersionRow.name == name, VersionRow.version == version)
            self._session.execute(update(VersionRow).where(*one).values(is_active=True))

    def delete(self, row: VersionRow) -> None:
        """Delete a version's row."""
        self._session.delete(row)
