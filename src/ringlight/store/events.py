"""What happened, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ringlight.store.tables import EventRow


class Events:
    """The log of the workspace: rows are added, never changed."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, subject: str, subject_id: object, what: str, *, who: str | None = None, **data: Any) -> EventRow:
        """Note that `what` happened to a run, version, job or data set."""
        row = EventRow(subject=subject, subject_id=str(subject_id), what=what, who=who, data=data or None)
        self._session.add(row)
        return row

    def of(self, subject: str, subject_id: object) -> Sequence[EventRow]:
        """Return what happened to one thing, the earliest first."""
        query = select(EventRow).where(EventRow.subject == subject, EventRow.subject_id == str(subject_id))
        return self._session.scalars(query.order_by(EventRow.id)).all()
