"""What people said of the records of a data set: revisions, of which the last one counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from ringlight.store.tables import AnnotationRow, DatasetRow, RecordRow


class Annotations:
    """Records, and every revision of what was said of them; revisions are added, never changed."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def dataset(self, name: str) -> DatasetRow | None:
        """Return the data set of this name."""
        return self._session.scalars(select(DatasetRow).where(DatasetRow.name == name)).one_or_none()

    def add_dataset(self, row: DatasetRow) -> DatasetRow:
        """Add a data set; its name must be new."""
        self._session.add(row)
        return row

    def add_records(self, rows: Sequence[RecordRow]) -> None:
        """Add records; each is in its data set once."""
        self._session.add_all(rows)

    def record(self, dataset: int, name: str) -> RecordRow | None:
        """Return a record of a data set by its id there."""
        query = select(RecordRow).where(RecordRow.dataset_id == dataset, RecordRow.record == name)
        return self._session.scalars(query).one_or_none()

    def revise(
        self, record: int, *, labels: Sequence[str], author: str, boxes: Sequence[dict[str, Any]] = (),
        state: str = "draft",
    ) -> AnnotationRow:  # fmt: skip
        """Say something else of a record; what was said before stays, as an earlier revision.

        Args:
            record: its number in the store.
            labels: names of classes.
            author: who says so.
            boxes: `{"label", "x", "y", "width", "height"}` each, in pixels.
            state: draft, submitted, approved or rejected.
        """
        former = self.current(record)
        self._session.execute(update(AnnotationRow).where(AnnotationRow.record_id == record).values(is_current=False))
        row = AnnotationRow(
            record_id=record, revision=1 if former is None else former.revision + 1, labels=list(labels),
            boxes=list(boxes), author=author, state=state,
        )  # fmt: skip
        self._session.add(row)
        self._session.flush()
        return row

    def review(self, record: int, state: str, *, author: str) -> AnnotationRow | None:
        """Say how what is current of a record was judged, as a revision by whoever judged; None without anything."""
        former = self.current(record)
        if former is None:
            return None
        return self.revise(record, labels=former.labels, boxes=former.boxes, author=author, state=state)

    def current(self, record: int) -> AnnotationRow | None:
        """Return what counts of a record."""
        query = select(AnnotationRow).where(AnnotationRow.record_id == record, AnnotationRow.is_current)
        return self._session.scalars(query).one_or_none()

    def revisions(self, record: int) -> Sequence[AnnotationRow]:
        """Return all that was said of a record, the earliest first."""
        query = select(AnnotationRow).where(AnnotationRow.record_id == record).order_by(AnnotationRow.revision)
        return self._session.scalars(query).all()
