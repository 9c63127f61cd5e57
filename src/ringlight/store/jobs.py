"""Jobs: who waits, who is at work, and what may follow what."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from ringlight.store.tables import JobRow


class Jobs:
    """The queue."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, row: JobRow) -> JobRow:
        """Add a job."""
        self._session.add(row)
        return row

    def get(self, number: int) -> JobRow | None:
        """Return the job of this number."""
        return self._session.scalars(select(JobRow).where(JobRow.id == number)).one_or_none()
