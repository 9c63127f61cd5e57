"""Who made which version active, when and why: added to, never changed."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from ringlight.store.tables import ActivationRow


class Activations:
    """The audit trail of what was active."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, row: ActivationRow) -> ActivationRow:
        """Add what happened."""
        self._session.add(row)
        return row

    def of(self, name: str) -> Sequence[ActivationRow]:
        """Return what happened to a model name, the latest first."""
        query = select(ActivationRow).where(ActivationRow.name == name).order_by(ActivationRow.id.desc())
        return self._session.scalars(query).all()
