"""Jobs: submitted here, run by workers (:mod:`ringlight.services.worker`), followed from anywhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ringlight.errors import ConfigError, JobError, did_you_mean
from ringlight.runtime import workspace_folder
from ringlight.services.job_payloads import about, check, payload_of
from ringlight.services.job_runs import log_of, stopped
from ringlight.services.processes import login
from ringlight.services.registered import find_row
from ringlight.services.stores import open_store
from ringlight.store.jobs import AT_WORK
from ringlight.store.tables import ENDED, JOB_STATES, EventRow, JobRow
from ringlight.store.types import now as this_moment

LOOK_EVERY = 0.5
"""Seconds between two looks at a job that is followed."""

_HINTS = {
    "running": "worker {worker}",
    "pausing": "worker {worker} stops after the step it is in",
    "cancelling": "worker {worker} stops after the step it is in",
    "paused": "go on with ringlight jobs resume {id}",
    "cancelled": "as asked; begin again with ringlight jobs retry {id}",
    "completed": "done",
}


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands. Times are in UTC; `progress` is what the run last told, `result` what came of it."""

    id: int
    kind: str
    about: str
    state: str
    reason: str
    priority: int
    device: str
    memory_gib: float | None
    attempts: int
    max_attempts: int
    worker: str | None
    run: str | None
    log: Path
    payload: dict[str, Any]
    progress: dict[str, Any]
    result: dict[str, Any] | None
    submitted_by: str | None
    created: datetime
    started: datetime | None
    finished: datetime | None
    heartbeat: datetime | None

    @property
    def percent(self) -> float | None:
        """How much of it is done, from 0 to 100; None where nothing is counted."""
        if self.state == "completed":
            return 100.0
        done, total = self.progress.get("done"), self.progress.get("total")
        return 100.0 * done / total if done is not None and total else None

    @property
    def has_ended(self) -> bool:
        """Whether nothing will happen to it by itself."""
        return self.state in (*ENDED, "paused")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = asdict(self) | {"percent": self.percent}
        return {
            key: value.isoformat() if isinstance(value, datetime) else str(value) if isinstance(value, Path) else value
            for key, value in values.items()
        }


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to a job."""

    at: datetime
    what: str
    who: str | None
    why: str | None


def submit(
    kind: str,
    values: Mapping[str, Any],
    *,
    priority: int = 0,
    device: str | None = None,
    memory_gib: float | None = None,
    max_attempts: int = 3,
    workspace: Path | str | None = None,
) -> Job:
    """Put a job into the queue; what is wrong with it is told now, not when its turn comes.

    Args:
        kind: train, evaluate, tune, crossval or predict.
        values: its payload (:mod:`ringlight.services.job_payloads`); `folder` is the current one where it is left out.
        priority: the greater goes first.
        device: auto, cpu, cuda or cuda:N; None takes what the configuration asks for.
        memory_gib: of main memory, which must be free before it begins.
        max_attempts: after how many lost workers or killed processes it fails.
        workspace: whose queue.

    Raises:
        UserError: an unknown key, a mistake in the configuration, no such model or files.
    """
    root = workspace_folder(workspace)
    payload = payload_of(kind, {"folder": str(Path.cwd()), **values})
    checked = check(kind, payload, root)
    row = JobRow(
        kind=kind, payload=checked.payload.model_dump(mode="json"), priority=priority,
        device=_device(device or checked.device),
        memory_gib=memory_gib, max_attempts=max_attempts, submitted_by=login(),
    )  # fmt: skip
    with open_store(root) as store, store.writing() as unit:
        if checked.version is not None:
            name, _, version = checked.version.partition("@")
            row.version_id = find_row(unit, name, version).id  # it cannot be deleted while the job waits or runs
        unit.jobs.add(row)
        unit.flush()
        row.log = log_of(root, row.id).relative_to(root).as_posix()
        unit.events.add("job", row.id, "submitted", who=row.submitted_by)
    return _job(row, root)


def _device(wish: str) -> str:
    known = ("auto", "cpu", "cuda")
    if wish not in known and not (wish.startswith("cuda:") and wish[5:].isdigit()):
        raise ConfigError("auto, cpu, cuda or cuda:N", got=f"`{wish}`", where="--device", fix=did_you_mean(wish, known))
    return wish


def list_jobs(
    *, states: Sequence[str] = (), kind: str | None = None, limit: int | None = None,
    workspace: Path | str | None = None,
) -> list[Job]:  # fmt: skip
    """Return jobs, the latest first.

    Raises:
        JobError: there is no such state.
    """
    for state in states:
        if state not in JOB_STATES:
            raise JobError("a state of a job", got=f"`{state}`", where="--state", fix=did_you_mean(state, JOB_STATES))
    root = workspace_folder(workspace)
    with open_store(root) as store, store.reading() as unit:
        return [_job(row, root) for row in unit.jobs.find(states=states, kind=kind, limit=limit)]


def show(number: int, workspace: Path | str | None = None) -> Job:
    """Return a job as it stands.

    Raises:
        JobError: there is none of this number.
    """
    root = workspace_folder(workspace)
    with open_store(root) as store, store.reading() as unit:
        return _job(unit.jobs.known(number), root)


def history(number: int, workspace: Path | str | None = None) -> list[Event]:
    """Return what happened to a job, the earliest first."""
    with open_store(workspace) as store, store.reading() as unit:
        return [_event(row) for row in unit.events.of("job", number)]


def pause(number: int, workspace: Path | str | None = None) -> Job:
    """Stop a job after the step it is in, or keep one from beginning; its process and memory are freed.

    Raises:
        JobError: it is not waiting and not at work.
    """
    return _change(number, workspace, lambda row: "paused" if row.state == "queued" else "pausing")


def resume(number: int, workspace: Path | str | None = None) -> Job:
    """Let a paused job go on from where it stopped.

    Raises:
        JobError: it is not paused.
    """

    def after(row: JobRow) -> str:
        if row.state not in ("paused", "pausing"):
            again = f"let it run again with ringlight jobs retry {number}"
            raise JobError(
                "a paused job", got=f"one that is {row.state}", where=f"job {number}",
                fix=again if row.state in ("failed", "cancelled") else "there is no need",
            )  # fmt: skip
        return "running" if row.state == "pausing" else "queued"

    return _change(number, workspace, after)


def cancel(number: int, *, keep_checkpoint: bool = False, workspace: Path | str | None = None) -> Job:
    """End a job: after the step it is in, and by force where it does not listen.

    Its run is marked as cancelled; its checkpoints are removed, unless `keep_checkpoint` says otherwise.

    Raises:
        JobError: it has ended.
    """

    def after(row: JobRow) -> str:
        row.keep_checkpoint = keep_checkpoint
        return "cancelling" if row.state in AT_WORK else "cancelled"

    return _change(number, workspace, after)


def retry(number: int, workspace: Path | str | None = None) -> Job:
    """Let a failed or cancelled job run again, from its run's last checkpoint where there is one.

    Raises:
        JobError: it has not failed and was not cancelled.
    """

    def after(row: JobRow) -> str:
        if row.state not in ("failed", "cancelled"):
            fix = f"go on with it with ringlight jobs resume {number}" if row.state == "paused" else "there is no need"
            raise JobError(
                "a job that failed or was cancelled", got=f"one that is {row.state}", where=f"job {number}", fix=fix
            )
        row.attempts, row.result = 0, None
        return "queued"

    return _change(number, workspace, after)


def _change(number: int, workspace: Path | str | None, after: Callable[[JobRow], str]) -> Job:
    root = workspace_folder(workspace)
    with open_store(root) as store, store.writing() as unit:
        row = unit.jobs.locked(number)
        state = after(row)
        row.error = None
        unit.jobs.move(row, state, this_moment(), who=login())
        if state == "cancelled":
            stopped(unit, row, root, this_moment())
    return _job(row, root)


def follow(
    number: int, *, workspace: Path | str | None = None, every: float = LOOK_EVERY
) -> Iterator[tuple[Job, list[str]]]:
    """Yield a job with its new log lines whenever something has changed, until it has ended or is paused.

    Raises:
        JobError: there is none of this number.
    """
    root = workspace_folder(workspace)
    former, read = None, 0
    with open_store(root) as store:
        while True:
            with store.reading() as unit:
                job = _job(unit.jobs.known(number), root)
            lines, read = _new_lines(job.log, read)  # after the job: what one that has ended wrote is all there
            if lines or job != former:
                yield job, lines
            if job.has_ended:
                return
            former = job
            time.sleep(every)


def _new_lines(path: Path, read: int) -> tuple[list[str], int]:
    """Return the whole lines of a log beyond what was read, and how much is read then."""
    if not path.is_file():
        return [], read
    with path.open("rb") as stream:
        stream.seek(read)
        found = stream.read()
    whole = found[: found.rfind(b"\n") + 1]
    return whole.decode("utf-8", errors="replace").splitlines(), read + len(whole)


def _job(row: JobRow, root: Path) -> Job:
    return Job(
        id=row.id, kind=row.kind, about=about(row.payload), state=row.state, reason=_reason(row), priority=row.priority,
        device=row.device, memory_gib=row.memory_gib, attempts=row.attempts, max_attempts=row.max_attempts,
        worker=row.worker, run=row.run, log=log_of(root, row.id), payload=row.payload,
        progress=row.progress or {}, result=row.result, submitted_by=row.submitted_by, created=row.created,
        started=row.started, finished=row.finished, heartbeat=row.heartbeat,
    )  # fmt: skip


def _reason(row: JobRow) -> str:
    if row.error:
        return row.error
    if row.state == "queued":
        memory = f" and {row.memory_gib:g} GiB free" if row.memory_gib else ""
        return f"waits for a worker with {'any device' if row.device == 'auto' else row.device}{memory}"
    return _HINTS.get(row.state, "").format(worker=row.worker, id=row.id)


def _event(row: EventRow) -> Event:
    return Event(row.at, row.what, row.who, (row.data or {}).get("why"))
