"""Jobs: who waits, who is at work, and what may follow what.

A worker holds a job by a lease: a word that no other worker knows and that runs out. Every write of a worker names it;
where another word stands, the job has passed on, and nothing is written. The time is an argument everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.orm import Session

from ringlight.errors import JobError, LeaseLostError
from ringlight.store.tables import ENDED, EventRow, JobRow

Order = Literal["go", "pause", "cancel", "cancel_keep"]
"""What a worker is asked to do with a job; `cancel_keep` keeps its last whole checkpoint."""

TRANSITIONS: Mapping[str, tuple[str, ...]] = {
    "queued": ("running", "paused", "cancelled"),
    "running": ("queued", "pausing", "cancelling", "completed", "failed"),
    "pausing": ("running", "paused", "cancelling", "completed", "failed"),
    "paused": ("queued", "cancelled"),
    "cancelling": ("cancelled", "completed", "failed"),
    "cancelled": ("queued",),
    "completed": (),
    "failed": ("queued",),
}
"""What may follow what; everything else is refused. One that was asked to stop may still come to its end first."""

AT_WORK = ("running", "pausing", "cancelling")
"""States in which a worker holds the job."""


_MAY_NOTE = ("run", "log")


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

    def known(self, number: int) -> JobRow:
        """Return the job of this number.

        Raises:
            JobError: there is none.
        """
        found = self.get(number)
        if found is None:
            last = self._session.scalar(select(func.max(JobRow.id)))
            known = "there is none yet" if last is None else f"the latest is {last}"
            raise JobError(
                "the number of a job", got=str(number), where="jobs", fix=f"{known}: see ringlight jobs list"
            )
        return found

    def find(
        self, *, states: Sequence[str] = (), kind: str | None = None, limit: int | None = None
    ) -> Sequence[JobRow]:  # fmt: skip
        """Return jobs, the latest first."""
        query = select(JobRow).order_by(JobRow.id.desc())
        if states:
            query = query.where(JobRow.state.in_(states))
        if kind is not None:
            query = query.where(JobRow.kind == kind)
        return self._session.scalars(query if limit is None else query.limit(limit)).all()

    def count(self, states: Sequence[str]) -> int:
        """Return how many jobs are in one of these states."""
        query = select(func.count()).select_from(JobRow).where(JobRow.state.in_(states))
        return self._session.scalar(query) or 0

    # --- what users ask ------------------------------------------------------------------------------------------

    def locked(self, number: int) -> JobRow:
        """Return a job that nobody else changes until this transaction ends.

        Raises:
            JobError: there is none of this number.
        """
        query = select(JobRow).where(JobRow.id == number).with_for_update()
        found = self._session.scalars(query.execution_options(populate_existing=True)).one_or_none()
        return self.known(number) if found is None else found

    def move(self, row: JobRow, state: str, now: datetime, *, who: str | None = None, why: str | None = None) -> None:
        """Change the state of a job, and note it among the events.

        Raises:
            JobError: the one may not follow the other.
        """
        if state not in TRANSITIONS[row.state]:
            before = [name for name, after in TRANSITIONS.items() if state in after]
            raise JobError(
                f"a job that is {' or '.join(before)}, which may become {state}" if before else "a state of a job",
                got=f"one that is {row.state}", where=f"job {row.id}",
                fix=f"ringlight jobs show {row.id} tells how it stands",
            )  # fmt: skip
        row.state = state
        if state == "running" and row.started is None:
            row.started = now
        row.finished = now if state in ENDED else None
        if state not in AT_WORK:
            row.lease = row.lease_until = None
        self._session.add(EventRow(
            at=now, subject="job", subject_id=str(row.id), what=state, who=who, data={"why": why} if why else None
        ))  # fmt: skip

    # --- what workers do -----------------------------------------------------------------------------------------

    def is_due(self, now: datetime) -> bool:
        """Say whether there is a job to claim or to put back, without keeping any writer waiting."""
        lost = and_(JobRow.state.in_(AT_WORK), JobRow.lease_until < now)
        query = select(JobRow.id).where(or_(JobRow.state == "queued", lost)).limit(1)
        return self._session.scalar(query) is not None

    def claim(
        self, *, worker: str, lease: str, devices: Sequence[str], memory_gib: float | None, now: datetime,
        until: datetime,
    ) -> JobRow | None:  # fmt: skip
        """Take the most urgent job, the oldest of equals; None where there is none that fits.

        On SQLite the transaction of a writer stands alone; PostgreSQL skips jobs that another worker is just taking.

        Args:
            worker: its name, for people.
            lease: the word that its writes will name.
            devices: the wishes it can fulfil (`auto`, `cpu`, `cuda`, `cuda:1`).
            memory_gib: what is free; jobs that need more wait. None does not look at it.
            now: this moment.
            until: when the lease runs out.
        """
        query = select(JobRow).where(JobRow.state == "queued", JobRow.device.in_(devices))
        if memory_gib is not None:
            query = query.where(or_(JobRow.memory_gib.is_(None), JobRow.memory_gib <= memory_gib))
        query = query.order_by(JobRow.priority.desc(), JobRow.id).limit(1).with_for_update(skip_locked=True)
        row = self._session.scalars(query).one_or_none()
        if row is None:
            return None
        row.worker, row.lease, row.lease_until, row.heartbeat, row.error = worker, lease, until, now, None
        self.move(row, "running", now, who=worker)
        return row

    def orders(self, leases: Mapping[int, str]) -> dict[int, Order | None]:
        """Return what is asked of each job that a worker holds; None of one that it holds no more."""
        query = select(JobRow.id, JobRow.lease, JobRow.state, JobRow.keep_checkpoint).where(JobRow.id.in_(leases))
        found: dict[int, Order | None] = dict.fromkeys(leases)
        for number, lease, state, keeps in self._session.execute(query):
            found[number] = _order(state, keeps) if lease == leases[number] and state in AT_WORK else None
        return found

    def heartbeat(
        self, number: int, lease: str, *, now: datetime, until: datetime, progress: Mapping[str, Any] | None = None
    ) -> Order:
        """Extend a lease, write how far the job is, and return what is asked of it.

        Raises:
            LeaseLostError: the lease is another's.
        """
        values: dict[str, Any] = {"heartbeat": now, "lease_until": until}
        if progress is not None:
            values["progress"] = dict(progress)
        changed = update(JobRow).where(*_held(number, lease)).values(**values)
        found = self._session.execute(changed.returning(JobRow.state, JobRow.keep_checkpoint)).one_or_none()
        if found is None:
            raise _lost(number)
        return _order(*found)

    def note(self, number: int, lease: str, **values: Any) -> None:
        """Set `run` or `log` of a job.

        Raises:
            LeaseLostError: the lease is another's.
            ValueError: another column, which is not a worker's to set.
        """
        wrong = [name for name in values if name not in _MAY_NOTE]
        if wrong:
            raise ValueError(f"no column that a worker sets: {wrong[0]}")
        changed = update(JobRow).where(*_held(number, lease)).values(**values).returning(JobRow.id)
        if self._session.scalar(changed) is None:
            raise _lost(number)

    def held(self, number: int, lease: str) -> JobRow:
        """Return a job that a worker holds, locked.

        Raises:
            LeaseLostError: the lease is another's.
        """
        query = select(JobRow).where(*_held(number, lease)).with_for_update()
        row = self._session.scalars(query.execution_options(populate_existing=True)).one_or_none()
        if row is None:
            raise _lost(number)
        return row

    def finish(
        self, number: int, lease: str, state: Literal["completed", "failed"], *, now: datetime,
        result: Mapping[str, Any] | None = None, error: str | None = None,
    ) -> JobRow:  # fmt: skip
        """Write the end of a job.

        Raises:
            LeaseLostError: the lease is another's.
        """
        row = self.held(number, lease)
        row.result = None if result is None else dict(result)
        row.error = error
        self.move(row, state, now, who=row.worker, why=error)
        return row

    def let_go(self, number: int, lease: str, *, now: datetime, why: str, failed_try: bool) -> JobRow:
        """Give back a job that has stopped before its end: to the queue, or to where it was asked to go.

        A `failed_try` counts; the last of `max_attempts` fails the job.

        Raises:
            LeaseLostError: the lease is another's.
        """
        row = self.held(number, lease)
        self._settle(row, now, why, failed_try)
        return row

    def put_back_expired(self, now: datetime) -> list[JobRow]:
        """Take jobs from workers whose leases have run out; each counts as a failed try."""
        query = select(JobRow).where(JobRow.state.in_(AT_WORK), JobRow.lease_until < now).order_by(JobRow.id)
        rows = list(self._session.scalars(query.with_for_update(skip_locked=True)))
        for row in rows:
            self._settle(row, now, f"worker {row.worker} was not heard of any more", True)
        return rows

    def _settle(self, row: JobRow, now: datetime, why: str, failed_try: bool) -> None:
        state = {"pausing": "paused", "cancelling": "cancelled"}.get(row.state, "queued")
        row.attempts += failed_try
        if state == "queued" and row.attempts >= row.max_attempts and failed_try:
            state, why = "failed", f"{why} (try {row.attempts} of {row.max_attempts})"
        elif state == "queued" and failed_try:
            why = f"put back: {why} (try {row.attempts} of {row.max_attempts})"
        row.error = why if failed_try or state == "queued" else None
        self.move(row, state, now, who=row.worker, why=why)


def _order(state: str, keeps_checkpoint: bool) -> Order:
    if state == "cancelling":
        return "cancel_keep" if keeps_checkpoint else "cancel"
    return "pause" if state == "pausing" else "go"


def _held(number: int, lease: str) -> tuple[ColumnElement[bool], ...]:
    return JobRow.id == number, JobRow.lease == lease, JobRow.state.in_(AT_WORK)


def _lost(number: int) -> LeaseLostError:
    return LeaseLostError(
        "a job that this worker holds", got="a lease that has run out or passed to another", where=f"job {number}",
        fix="nothing is lost: another worker goes on from its last checkpoint",
    )  # fmt: skip
