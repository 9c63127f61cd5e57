"""The pipes between a job's process and its worker."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ringlight.services import job_link
from ringlight.services.job_link import JobTracker, Link, NoteHandler
from ringlight.types import RunControl, Tracker

SERVE = """
import sys, time
from ringlight.services.job_process import serve
from ringlight.services import job_link
job_link.ORPHAN_SECONDS = 100.0
def train(task):
    for step in range(4000):
        if task.link.heartbeat({"done": step, "total": 4000}) != "go":
            print("asked to", task.link.order)
            raise KeyboardInterrupt
        time.sleep(0.05)
def evaluate(task):
    time.sleep(200)  # it is interrupted long before, also on a busy machine
def predict(task):
    import os
    return {"folder": os.getcwd(), "value": float("nan")}
sys.exit(serve({"train": train, "evaluate": evaluate, "predict": predict}))
"""


ENDED: list[int] = []


def said(reports: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in reports.getvalue().splitlines()]


@pytest.fixture
def pair() -> Iterator[tuple[Link, Any, io.BytesIO]]:
    """A link, what its worker writes to, and what was reported."""
    ours, theirs = os.pipe()
    reports = io.BytesIO()
    with os.fdopen(ours, "rb") as orders:
        link = Link(orders, reports, end_by_force=ENDED.append)
        with os.fdopen(theirs, "wb", buffering=0) as worker:
            yield link, worker, reports
        link.end("completed")


def test_an_order_is_heard_at_the_next_step(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_link, "REPORT_EVERY", 0.01)
    link, worker, _ = pair
    assert isinstance(link, RunControl)
    assert isinstance(JobTracker(link), Tracker)
    link.start()
    assert link.heartbeat({"done": 1.0, "total": 4.0}) == "go"
    worker.write(b"pause\n")
    deadline = time.monotonic() + 5
    while link.heartbeat({"done": 2.0, "total": 4.0}) == "go":
        assert time.monotonic() < deadline
    assert (link.order, link.keep_checkpoint) == ("pause", False)
    worker.write(b"cancel_keep\n")
    while link.order != "cancel":
        assert time.monotonic() < deadline
    assert link.keep_checkpoint
    monkeypatch.setattr(job_link, "ORPHAN_SECONDS", 0.05)
    worker.close()
    while not ENDED:
        assert time.monotonic() < deadline
    assert link.is_orphan
    link.end("stopped")
    while any(thread.name == "reports" for thread in threading.enumerate()):
        assert time.monotonic() < deadline


def test_progress_metrics_and_notes_are_told_as_plain_json() -> None:
    reports = io.BytesIO()
    link = Link(io.BytesIO(), reports)
    JobTracker(link).log_metrics({"val/loss": float("nan"), "val/macro_f1": 0.5, "val/f1/scratch": 0.4}, 0)
    link.heartbeat({"done": 1.0, "total": 4.0})
    logger = logging.Logger("a run")
    logger.addHandler(NoteHandler(link))
    for _ in range(2):
        logger.warning("too little memory:\n steps of %d images", 4)
    logger.info("no note")
    link.report()
    link.report()  # nothing new
    link.end("completed", result={"path": Path("a")})
    first, end = said(reports)
    assert first["progress"]["metrics"] == {"val/loss": None, "val/macro_f1": 0.5}
    assert first["progress"]["notes"] == ["too little memory: steps of 4 images"]
    assert (first["progress"]["done"], first["progress"]["memory_gib"] > 0) == (1.0, True)
    assert end == {"end": "completed", "result": {"path": "a"}}


def test_a_run_is_named_before_it_begins_and_waits_until_that_is_noted(pair: Any, tmp_path: Path) -> None:
    link, worker, reports = pair
    link.start()
    worker.write(b"noted\n")
    link.begun(tmp_path / "runs" / "demo-1", tmp_path)
    link.begun(tmp_path / "studies" / "demo", tmp_path)
    link.begun(tmp_path.parent / "elsewhere", tmp_path)
    assert [line["run"] for line in said(reports) if "run" in line] == ["demo-1", "studies/demo"]


def start(kind: str, tmp_path: Path) -> subprocess.Popen[bytes]:
    payload = {"train": {"recipe": "demo"}, "evaluate": {"model": "m"}, "predict": {"model": "m", "paths": ["p"]}}
    task = {
        "id": 3, "kind": kind, "payload": {"folder": str(tmp_path), **payload[kind]}, "workspace": str(tmp_path),
        "run": None, "device": "auto", "place": "cpu",
    }  # fmt: skip
    with (tmp_path / f"{kind}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
    assert process.stdin is not None
    process.stdin.write(json.dumps(task).encode() + b"\n")
    process.stdin.flush()
    return process


@pytest.mark.slow
def test_a_job_process_stops_when_asked_and_when_its_worker_is_gone(tmp_path: Path) -> None:
    """Four processes side by side: importing what they need takes the time."""
    paused, interrupted, orphan, whole = (start(kind, tmp_path) for kind in ("train", "evaluate", "train", "predict"))
    assert paused.stdout is not None
    assert orphan.stdin is not None
    orphan.stdin.close()  # what a kill -9 of the worker leaves
    paused.stdout.readline()  # it is at work
    ends = [one.communicate(word, timeout=120)[0] for one, word in ((paused, b"pause\n"), (interrupted, b"cancel\n"))]
    assert [json.loads(end.splitlines()[-1]) for end in ends] == [
        {"end": "stopped", "why": "asked to pause"}, {"end": "stopped", "why": "asked to cancel"}
    ]  # fmt: skip
    assert json.loads(whole.communicate(timeout=120)[0].splitlines()[-1]) == {
        "end": "completed", "result": {"folder": str(tmp_path), "value": None}
    }  # fmt: skip
    orphan.stdin = None
    orphan.communicate(timeout=120)
    assert [one.returncode for one in (paused, interrupted, whole)] == [130, 130, 0]
    assert orphan.returncode == 130
    log = (tmp_path / "train.log").read_text()
    assert "asked to pause" in log  # what is printed goes to the log, not to the worker
    assert "job 3, train: begins on cpu" in log
