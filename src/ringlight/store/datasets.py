"""Data sets, their snapshots and splits."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from ringlight.store.tables import SnapshotRow, SplitRow


class Datasets:
    """What was trained on."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def snapshot(self, fingerprint: str) -> SnapshotRow | None:
        """Return the snapshot with this fingerprint."""
        return self._session.scalars(select(SnapshotRow).where(SnapshotRow.fingerprint == fingerprint)).one_or_none()

    def snapshot_by_id(self, number: int) -> SnapshotRow | None:
        """Return the snapshot of this number."""
        return self._session.get(SnapshotRow, number)

    def add_snapshot(self, row: SnapshotRow) -> SnapshotRow:
        """Add a snapshot; its fingerprint must be new."""
        self._session.add(row)
        return row

    def split(self, snapshot: int, checksum: str) -> SplitRow | None:
        """Return the split of a snapshot with this checksum."""
        query = select(SplitRow).where(SplitRow.snapshot_id == snapshot, SplitRow.checksum == checksum)
        return self._session.scalars(query).one_or_none()

    def split_by_id(self, number: int) -> SplitRow | None:
        """Return the split of this number."""
        return self._session.get(SplitRow, number)

    def add_split(self, row: SplitRow) -> SplitRow:
        """Add a split."""
        self._session.add(row)
        return row

    def splits(self, snapshot: int) -> Sequence[SplitRow]:
        """Return the splits of a snapshot."""
        return self._session.scalars(select(SplitRow).where(SplitRow.snapshot_id == snapshot)).all()

    def move_split(self, number: int, path: str) -> None:
        """Write where the file of a split lies now."""
        self._session.execute(update(SplitRow).where(SplitRow.id == number).values(path=path))

    def delete_split(self, number: int) -> None:
        """Delete a split's row; no run may refer to it."""
        self._session.execute(delete(SplitRow).where(SplitRow.id == number))
