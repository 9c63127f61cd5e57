"""Versions of models."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from ringlight.store.tables import VersionRow


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
        """Return the number of a name's next version; of deleted ones the number stays taken while a later one is."""
        return (self._session.scalar(select(func.max(VersionRow.version)).where(VersionRow.name == name)) or 0) + 1

    def make_active(self, name: str, version: int | None) -> None:
        """Make one version of a name the active one, or none; the database refuses two."""
        self._session.execute(update(VersionRow).where(VersionRow.name == name).values(is_active=False))
        if version is not None:
            one = (VersionRow.name == name, VersionRow.version == version)
            self._session.execute(update(VersionRow).where(*one).values(is_active=True))

    def delete(self, row: VersionRow) -> None:
        """Delete a version's row."""
        self._session.delete(row)
