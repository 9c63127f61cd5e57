"""Data sets, their snapshots and splits."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
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

    def add_split(self, row: SplitRow) -> SplitRow:
        """Add a split."""
        self._session.add(row)
        return row

    def splits(self, snapshot: int) -> Sequence[SplitRow]:
        """Return the splits of a snapshot."""
        return self._session.scalars(select(SplitRow).where(SplitRow.snapshot_id == snapshot)).all()
