"""Runs, their epochs and their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Float, Select, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, defer

from ringlight.store.tables import ENDED, ArtifactRow, EpochRow, JobRow, RunRow, VersionRow


class Runs:
    """The training history."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, row: RunRow) -> RunRow:
        """Add a run; its name must be new."""
        self._session.add(row)
        return row

    def get(self, name: str) -> RunRow | None:
        """Return the run of this name."""
        return self._session.scalars(select(RunRow).where(RunRow.name == name)).one_or_none()

    def held(self, name: str) -> RunRow | None:
        """Return the run of this name as it is now; nobody else changes it until this unit of work has ended."""
        query = select(RunRow).where(RunRow.name == name).with_for_update().execution_options(populate_existing=True)
        return self._session.scalars(query).one_or_none()

    def by_id(self, number: int) -> RunRow | None:
        """Return the run of this number."""
        return self._session.get(RunRow, number)

    def beginning_with(self, prefix: str, limit: int = 6) -> Sequence[RunRow]:
        """Return the runs whose names begin so, the latest first."""
        query = select(RunRow).where(RunRow.name.startswith(prefix, autoescape=True))
        return self._session.scalars(query.order_by(RunRow.id.desc()).limit(limit)).all()

    def find(
        self,
        *,
        status: Sequence[str] = (),
        recipe: str | None = None,
        kind: str | None = None,
        metric: str | None = None,
        at_least: float | None = None,
        at_most: float | None = None,
        limit: int | None = None,
    ) -> Sequence[RunRow]:
        """Return runs, the latest first, or the best in `metric` first; the configuration is read when asked for.

        Args:
            status: one of these.
            recipe: trained from it.
            kind: train, crossval or tune.
            metric: of the final scores; runs without it are left out.
            at_least: the least value of `metric`.
            at_most: the greatest value of `metric`.
            limit: no more than this many.
        """
        query = select(RunRow).options(defer(RunRow.config))
        if status:
            query = query.where(RunRow.status.in_(status))
        if recipe is not None:
            query = query.where(RunRow.recipe == recipe)
        if kind is not None:
            query = query.where(RunRow.kind == kind)
        query = self._by_metric(query, metric, at_least, at_most)
        return self._session.scalars(query if limit is None else query.limit(limit)).all()

    def _by_metric(
        self, query: Select[RunRow], metric: str | None, at_least: float | None, at_most: float | None
    ) -> Select[RunRow]:
        if metric is None:
            return query.order_by(RunRow.id.desc())
        value = self._metric(metric)
        query = query.where(value.is_not(None))
        if at_least is not None:
            query = query.where(value >= at_least)
        if at_most is not None:
            query = query.where(value <= at_most)
        return query.order_by(value.desc(), RunRow.id.desc())

    def _metric(self, name: str) -> ColumnElement[float]:
        found: ColumnElement[float] = RunRow.metrics[name].as_float()
        return found if self._session.get_bind().dialect.name == "sqlite" else func.cast(found, Float)

    def count(self) -> int:
        """Return how many runs there are."""
        return self._session.scalar(select(func.count()).select_from(RunRow)) or 0

    def children(self, number: int) -> Sequence[RunRow]:
        """Return the runs that came of this one."""
        return self._session.scalars(select(RunRow).where(RunRow.parent_id == number).order_by(RunRow.id)).all()

    def metric_names(self) -> set[str]:
        """Return the names of all final scores there are."""
        found = self._session.scalars(select(RunRow.metrics).where(RunRow.metrics.is_not(None)))
        return {name for metrics in found for name in metrics or ()}

    def versions(self, number: int) -> Sequence[VersionRow]:
        """Return the registered versions that came of this run."""
        query = select(VersionRow).where(VersionRow.run_id == number).order_by(VersionRow.name, VersionRow.version)
        return self._session.scalars(query).all()

    def jobs(self, name: str, *, ended: bool) -> Sequence[JobRow]:
        """Return the jobs that name a run: those that have ended, or those that have not."""
        state = JobRow.state.in_(ENDED) if ended else JobRow.state.not_in(ENDED)
        return self._session.scalars(select(JobRow).where(JobRow.run == name, state).order_by(JobRow.id)).all()

    def divided_alike(self, row: RunRow) -> Sequence[RunRow]:
        """Return the other runs on the same split."""
        query = select(RunRow).where(RunRow.split_id == row.split_id, RunRow.id != row.id).order_by(RunRow.id)
        return [] if row.split_id is None else self._session.scalars(query).all()

    def count_epochs(self, number: int) -> int:
        """Return how many epochs of a run are known."""
        query = select(func.count()).select_from(EpochRow).where(EpochRow.run_id == number)
        return self._session.scalar(query) or 0

    def delete(self, number: int) -> None:
        """Delete a run with its epochs and artifacts (rows, not files)."""
        self._session.execute(delete(RunRow).where(RunRow.id == number))

    def change(self, name: str, **values: Any) -> bool:
        """Set columns of a run; False where there is none of this name."""
        changed = self._session.execute(update(RunRow).where(RunRow.name == name).values(**values))
        return bool(changed.rowcount)  # type: ignore[attr-defined]

    def put_epochs(self, number: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write epochs, `{"epoch": 0, "train/loss": ...}` each, in the place of those known by the same number."""
        if not rows:
            return
        values = [
            {
                "run_id": number,
                "epoch": int(row["epoch"]),
                "metrics": {name: value for name, value in row.items() if name != "epoch"},
            }
            for row in rows
        ]
        dialect = sqlite if self._session.get_bind().dialect.name == "sqlite" else postgresql
        statement = dialect.insert(EpochRow)
        self._session.execute(
            statement.on_conflict_do_update(
                index_elements=["run_id", "epoch"], set_={"metrics": statement.excluded.metrics}
            ),
            values,
        )

    def forget_epochs(self, number: int, first: int = 0) -> None:
        """Delete the epochs from `first` on."""
        self._session.execute(delete(EpochRow).where(EpochRow.run_id == number, EpochRow.epoch >= first))

    def epochs(self, number: int) -> list[dict[str, Any]]:
        """Return the epochs of a run in order."""
        query = select(EpochRow.epoch, EpochRow.metrics).where(EpochRow.run_id == number).order_by(EpochRow.epoch)
        return [{"epoch": epoch, **metrics} for epoch, metrics in self._session.execute(query)]

    def put_artifacts(self, number: int, rows: Sequence[ArtifactRow]) -> None:
        """Write the files of a run in the place of those known so far."""
        self._session.execute(delete(ArtifactRow).where(ArtifactRow.run_id == number))
        self._session.add_all(rows)

    def artifacts(self, number: int) -> Sequence[ArtifactRow]:
        """Return the files of a run by path."""
        query = select(ArtifactRow).where(ArtifactRow.run_id == number).order_by(ArtifactRow.path)
        return self._session.scalars(query).all()
