"""Workers, with processes that only talk as a job's does: nothing is trained here, and they start in no time."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ringlight.errors import WorkspaceError
from ringlight.services import job_child, jobs, worker
from ringlight.services.job_runs import MANIFEST
from ringlight.services.standing import MANIFEST as MANIFEST_OF_A_RUN
from ringlight.services.stores import open_store
from ringlight.services.worker import Worker
from ringlight.services.worker_slots import Slots
from ringlight.store.session import Store
from ringlight.store.tables import JobRow, RunRow

BEGIN = """
import json, os, signal, sys, time
task = json.loads(sys.stdin.readline())
def say(**values): print(json.dumps(values), flush=True)
def heard(): return sys.stdin.readline().strip()
"""
COMPLETES = "say(progress={'done': 3, 'total': 4}); say(end='completed', result={'device': task['device']})"
LISTENS = "say(progress={'done': 1, 'total': 4}); word = heard(); say(end='stopped', why=word)"
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN); say(progress={'deaf': 1}); time.sleep(60)"


@pytest.fixture(autouse=True)
def _own_logging(own_logging: None) -> None:
    """A worker writes an application log."""


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Path]:
    with open_store(tmp_path):  # the tables are there
        yield tmp_path


def add(workspace: Path, **values: Any) -> int:
    with open_store(workspace) as store, store.writing() as unit:
        row = JobRow(**{"kind": "train", "payload": {"folder": "/", "recipe": "demo"}, **values})
        unit.jobs.add(row)
        unit.flush()
        row.log = f"logs/jobs/{row.id}.log"
        return row.id


def made(workspace: Path, script: str, **options: Any) -> Worker:
    command = (sys.executable, "-S", "-c", BEGIN + script)
    return Worker(workspace, options.pop("slots", Slots(("cpu",))), command=command, **options)


def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def at_work(working: Worker, *actions: Callable[[], object]) -> None:
    """Run a worker until its job has ended, and do something once its process has spoken."""
    thread = threading.Thread(target=working.run, args=("once",))
    thread.start()
    until(lambda: bool(working._children) and working._children[0].progress is not None)
    for action in actions:
        action()
    thread.join(timeout=20)
    assert not thread.is_alive()


def test_a_job_is_run_and_all_that_it_said_is_kept(workspace: Path) -> None:
    number = add(workspace)
    script = "say(run='demo-1'); heard(); print('from a library', file=sys.stderr); " + COMPLETES
    assert made(workspace, script).run("drain") == 1
    job = jobs.show(number, workspace)
    assert (job.state, job.run, job.result, job.percent) == ("completed", "demo-1", {"device": "auto"}, 100.0)
    assert job.log.read_text() == "from a library\n"
    assert [event.what for event in jobs.history(number, workspace)] == ["running", "completed"]
    told = (workspace / "logs" / "ringlight.log").read_text()
    assert f"job {number}, train: begins on cpu" in told
    assert f"job {number}: completed" in told


def test_a_job_is_told_its_device_and_sees_no_other(workspace: Path) -> None:
    number = add(workspace, device="cuda")
    assert made(workspace, COMPLETES).run("drain") == 0  # no worker for it
    script = "say(end='completed', result={'device': task['device'], 'sees': os.environ['CUDA_VISIBLE_DEVICES']})"
    assert made(workspace, script, slots=Slots(("cuda:1",))).run("drain") == 1
    assert jobs.show(number, workspace).result == {"device": "cuda", "sees": "1"}


def test_the_urgent_job_goes_first_and_one_without_memory_waits(workspace: Path) -> None:
    plain, big, urgent = add(workspace), add(workspace, memory_gib=1e6), add(workspace, priority=3)
    assert made(workspace, COMPLETES).run("drain") == 2
    begun = {number: jobs.show(number, workspace).started for number in (plain, urgent)}
    assert begun[urgent] < begun[plain]  # type: ignore[operator]
    job = jobs.show(big, workspace)
    assert (job.state, job.reason) == ("queued", "waits for a worker with any device and 1e+06 GiB free")


def test_a_job_that_fails_says_why(workspace: Path) -> None:
    number = add(workspace)
    made(workspace, "say(end='failed', error='training: expected a finite loss, got nan; lower it')").run("drain")
    job = jobs.show(number, workspace)
    assert (job.state, job.reason) == ("failed", "training: expected a finite loss, got nan; lower it")


def test_a_process_that_is_killed_is_begun_again_and_fails_after_its_last_try(workspace: Path) -> None:
    """The system ends a process that wants too much memory with SIGKILL: it says nothing any more."""
    number = add(workspace, max_attempts=2)
    once = (
        f"mark = {str(workspace / 'mark')!r}\nif not os.path.exists(mark): open(mark, 'w'); os.kill(os.getpid(), 9)\n"
    )
    made(workspace, once + COMPLETES).run("drain")
    job = jobs.show(number, workspace)
    assert (job.state, job.attempts) == ("completed", 1)
    why = [event.why for event in jobs.history(number, workspace) if event.what == "queued"]
    assert why == [
        "put back: its process was ended by SIGKILL: often the system's answer to a want of memory (try 1 of 2)"
    ]
    lost = add(workspace, max_attempts=1)
    made(workspace, "sys.exit(3)").run("drain")
    job = jobs.show(lost, workspace)
    assert (job.state, job.reason) == ("failed", "its process ended with code 3, see its log (try 1 of 1)")


def test_pause_frees_the_process_and_resume_puts_it_back(workspace: Path) -> None:
    number = add(workspace)
    working = made(workspace, LISTENS)
    at_work(working, lambda: jobs.pause(number, workspace))
    job = jobs.show(number, workspace)
    assert (job.state, job.reason) == ("paused", f"go on with ringlight jobs resume {number}")
    assert (job.percent, job.attempts, working._children) == (25.0, 0, [])
    assert jobs.resume(number, workspace).state == "queued"


def test_cancel_marks_the_run_and_leaves_no_half_file_and_no_checkpoint(workspace: Path) -> None:
    number = add(workspace)
    run = workspace / "runs" / "demo-1"
    (run / "checkpoints").mkdir(parents=True)
    for name in ("checkpoints/last.ckpt", "checkpoints/.last.ckpt.1f.part", ".results.json.2a.part", "train.log"):
        (run / name).touch()
    (run / MANIFEST).write_text(json.dumps({"status": "running", "seed": 1}))
    with open_store(workspace) as store, store.writing() as unit:
        unit.runs.add(RunRow(name="demo-1", path="runs/demo-1", config={}, status="running"))
    at_work(made(workspace, "say(run='demo-1'); heard(); " + LISTENS), lambda: jobs.cancel(number, workspace=workspace))
    assert jobs.show(number, workspace).state == "cancelled"
    assert sorted(path.name for path in run.rglob("*")) == [MANIFEST, "train.log"]
    manifest = json.loads((run / MANIFEST).read_text())
    assert (manifest["status"], manifest["seed"]) == ("cancelled", 1)
    with open_store(workspace) as store, store.reading() as unit:
        row = unit.runs.get("demo-1")
        assert row is not None
        assert row.status == "cancelled"


def test_a_process_that_does_not_listen_is_made_to_end(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(job_child, "KILL_SECONDS", 0.2)
    number = add(workspace)
    at_work(made(workspace, DEAF, grace_seconds=0.1), lambda: jobs.cancel(number, workspace=workspace))
    assert jobs.show(number, workspace).state == "cancelled"
    assert [record.args for record in caplog.records if "does not stop" in record.msg] == [
        (number, "TERM"), (number, "KILL")
    ]  # fmt: skip


def test_a_worker_that_is_stopped_gives_its_jobs_back_unharmed(workspace: Path) -> None:
    number = add(workspace, max_attempts=1)
    working = made(workspace, LISTENS)
    at_work(working, lambda: working._heard(signal.SIGTERM, None))
    job = jobs.show(number, workspace)
    assert (job.state, job.attempts, job.reason) == ("queued", 0, "its worker was ended")
    with open_store(workspace) as store, store.reading() as unit:
        row = unit.jobs.known(number)
        assert (row.lease, row.lease_until) == (None, None)


def test_a_lost_lease_ends_the_process_and_writes_nothing(workspace: Path) -> None:
    number = add(workspace)

    def taken() -> None:
        with open_store(workspace) as store, store.writing() as unit:
            unit.jobs.put_back_expired(datetime.now(UTC) + timedelta(hours=1))
            unit.jobs.claim(
                worker="other", lease="theirs", devices=("auto",), memory_gib=None, now=datetime.now(UTC),
                until=datetime.now(UTC) + timedelta(hours=1),
            )  # fmt: skip

    at_work(made(workspace, LISTENS), taken)
    job = jobs.show(number, workspace)
    assert (job.state, job.worker, job.attempts) == ("running", "other", 1)


def test_what_a_dead_worker_held_is_taken_up_after_its_lease(workspace: Path) -> None:
    number = add(workspace)
    then = datetime.now(UTC) - timedelta(minutes=5)
    with open_store(workspace) as store, store.writing() as unit:
        unit.jobs.claim(worker="dead", lease="x", devices=("auto",), memory_gib=None, now=then, until=then)
    assert made(workspace, COMPLETES).run("drain") == 1
    story = [(event.what, event.who) for event in jobs.history(number, workspace)]
    assert [what for what, _ in story] == ["running", "queued", "running", "completed"]
    assert story[1][1] == "dead"


def test_a_store_that_does_not_answer_is_asked_again(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A locked file, a server that restarts: the worker waits, and loses nothing."""
    number = add(workspace)
    writing, faults = Store.writing, iter(range(5))

    def sometimes(self: Store) -> Any:
        if next(faults, None) is not None:
            raise WorkspaceError("a database that answers", got="database is locked", where="here", fix="wait")
        return writing(self)

    monkeypatch.setattr(Store, "writing", sometimes)
    monkeypatch.setattr(worker, "LONGEST_WAIT", 0.2)
    monkeypatch.setattr(worker, "CLAIM_EVERY", 0.1)
    assert made(workspace, COMPLETES).run("once") == 1
    assert jobs.show(number, workspace).state == "completed"
    assert "the store answers again" in caplog.messages
    assert any("database is locked" in line for line in caplog.messages)


def test_a_worker_knows_manifests_by_the_name_that_runs_give_them() -> None:
    assert MANIFEST == MANIFEST_OF_A_RUN
