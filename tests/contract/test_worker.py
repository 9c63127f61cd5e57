"""A worker on each database: several of them share a queue, and a server that restarts ends none."""

from __future__ import annotations

import gc
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ringlight.errors import DATABASE_URL
from ringlight.services import worker
from ringlight.services.worker import Worker
from ringlight.services.worker_slots import Slots
from ringlight.store.session import Store
from ringlight.store.tables import JobRow

TALK = """
import json, sys, time
task = json.loads(sys.stdin.readline())
for step in range({steps}):
    print(json.dumps({{"progress": {{"done": step, "total": {steps}}}}}), flush=True)
    time.sleep(0.1)
print(json.dumps({{"end": "completed", "result": {{"job": task["id"]}}}}), flush=True)
"""


@pytest.fixture(autouse=True)
def _own_logging(own_logging: None) -> None:
    """A worker writes an application log."""


@pytest.fixture
def workspace(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if not store.is_sqlite:
        monkeypatch.setenv(DATABASE_URL, store.url.render_as_string(hide_password=False))
    return tmp_path


def add(store: Store, count: int) -> None:
    with store.writing() as unit:
        for _ in range(count):
            row = unit.jobs.add(JobRow(kind="train", payload={"folder": "/", "recipe": "demo"}))
            unit.flush()
            row.log = f"logs/jobs/{row.id}.log"


def made(workspace: Path, steps: int, **options: Any) -> Worker:
    command = (sys.executable, "-S", "-c", TALK.format(steps=steps))
    return Worker(workspace, Slots(("cpu",), capacity=2), command=command, **options)


@pytest.mark.slow
def test_two_workers_share_a_queue(store: Store, workspace: Path) -> None:
    add(store, 8)
    workers = [made(workspace, 1) for _ in range(2)]
    threads = [threading.Thread(target=one.run, args=("drain",)) for one in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    with store.reading() as unit:
        found = unit.jobs.find()
        assert [(row.state, row.result) for row in found] == [("completed", {"job": row.id}) for row in found]
        stories = [[event.what for event in unit.events.of("job", row.id)] for row in found]
    assert stories == [["running", "completed"]] * 8


# pg8000 cannot say goodbye over a cut connection and leaves its socket to the collector, which warns.
@pytest.mark.filterwarnings("ignore:.*GuardedSocket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_a_server_that_restarts_ends_no_worker(
    postgres: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its connections are cut in the middle of what they do: the driver answers in ways of its own."""
    url = postgres.fresh()
    monkeypatch.setenv(DATABASE_URL, url)
    monkeypatch.setattr(worker, "LONGEST_WAIT", 0.5)
    monkeypatch.setattr(worker, "ASK_EVERY", 0.05)
    with Store(tmp_path, url) as store:
        add(store, 2)
    thread = threading.Thread(target=made(tmp_path, 60).run, args=("drain",))
    thread.start()
    time.sleep(1.5)
    postgres._run("pg_ctl", "stop", "--mode=immediate", "--pgdata", postgres.data)
    time.sleep(1.5)
    settings = f"-c listen_addresses= -c unix_socket_directories={postgres.home} -c fsync=off -c max_connections=60"
    postgres._run(
        "pg_ctl", "start", "--wait", "--pgdata", postgres.data, "--log", postgres.home / "log", "-o", settings
    )
    thread.join(timeout=60)
    assert not thread.is_alive()
    with Store(tmp_path, url) as store, store.reading() as unit:
        found = [(row.state, row.attempts, row.result) for row in unit.jobs.find()]
    assert found == [("completed", 0, {"job": 2}), ("completed", 0, {"job": 1})]
    assert any("the store does not answer" in line for line in caplog.messages)
    gc.collect()  # the sockets end here, not in the middle of another test
