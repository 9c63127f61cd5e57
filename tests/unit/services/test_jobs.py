"""Jobs as users see them: submitted, listed, paused, cancelled, tried again, followed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ringlight.errors import ConfigError, JobError, ModelError, RunError
from ringlight.services import jobs
from ringlight.services.activations import activate, deactivate
from ringlight.services.stores import open_store
from ringlight.services.version_deletion import plan_deletion
from ringlight.services.versions import register
from ringlight.store.tables import JobRow

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def add(workspace: Path, **values: Any) -> int:
    payload = {"folder": "/", "recipe": "demo", "overrides": [], "file": None}
    with open_store(workspace) as store, store.writing() as unit:
        row = unit.jobs.add(JobRow(**{"kind": "train", "payload": payload, **values}))
        unit.flush()
        row.log = f"logs/jobs/{row.id}.log"
        return row.id


def test_a_submitted_job_waits_with_its_checked_payload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    overrides = ["training.num_epochs=2", "training.device=cpu"]
    job = jobs.submit(
        "train", {"recipe": "demo", "overrides": overrides}, priority=4, memory_gib=2.0, workspace=tmp_path
    )
    assert job == jobs.show(1, tmp_path)
    assert job.payload == {"folder": str(tmp_path), "recipe": "demo", "overrides": overrides, "file": None}
    assert (job.state, job.priority, job.device, job.about) == ("queued", 4, "cpu", "demo")
    assert job.reason == "waits for a worker with cpu and 2 GiB free"
    assert job.log == tmp_path / "logs" / "jobs" / "1.log"
    assert [event.what for event in jobs.history(1, tmp_path)] == ["submitted"]
    assert json.dumps(job.to_dict())


def test_what_cannot_run_does_not_wait(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--device: expected auto, cpu, cuda or cuda:N, got `gpu`"):
        jobs.submit("train", {"recipe": "demo"}, device="gpu", workspace=tmp_path)
    with pytest.raises(RunError):
        jobs.submit("evaluate", {"model": "no-run"}, workspace=tmp_path)
    assert jobs.list_jobs(workspace=tmp_path) == []


def test_a_registered_version_is_used_by_its_number_and_cannot_be_deleted_meanwhile(
    tmp_path: Path, make_finished: Callable[..., Path]
) -> None:
    make_finished(tmp_path, "strips-1")
    register("strips-1", workspace=tmp_path)
    activate("strips", 1, workspace=tmp_path)
    job = jobs.submit("predict", {"model": "strips", "paths": [str(tmp_path)]}, workspace=tmp_path)
    assert job.payload["model"] == "strips@1"
    deactivate("strips", workspace=tmp_path)
    with pytest.raises(ModelError, match=rf"got job {job.id} \(predict, queued\)"):
        plan_deletion("strips", 1, workspace=tmp_path)
    jobs.cancel(job.id, workspace=tmp_path)
    plan_deletion("strips", 1, workspace=tmp_path)


def test_jobs_are_listed_by_state_and_kind(tmp_path: Path) -> None:
    first, second = add(tmp_path), add(tmp_path, kind="tune", state="failed", error="no trial could be finished")
    assert [job.id for job in jobs.list_jobs(workspace=tmp_path)] == [second, first]
    (failed,) = jobs.list_jobs(states=("failed",), workspace=tmp_path)
    assert failed.reason == "no trial could be finished"
    assert [job.id for job in jobs.list_jobs(kind="train", limit=1, workspace=tmp_path)] == [first]
    with pytest.raises(JobError, match="--state: expected a state of a job, got `fail`; did you mean `failed`"):
        jobs.list_jobs(states=("fail",), workspace=tmp_path)


@pytest.mark.parametrize(
    ("ask", "becomes"),
    [
        (jobs.pause, {"queued": "paused", "running": "pausing"}),
        (jobs.resume, {"paused": "queued", "pausing": "running"}),
        (jobs.cancel, {
            "queued": "cancelled", "paused": "cancelled", "running": "cancelling", "pausing": "cancelling"
        }),
        (jobs.retry, {"failed": "queued", "cancelled": "queued"}),
    ],
)  # fmt: skip
def test_what_may_be_asked_of_a_job_depends_on_how_it_stands(tmp_path: Path, ask: Any, becomes: dict[str, str]) -> None:
    for state in ("queued", "running", "pausing", "paused", "cancelling", "cancelled", "completed", "failed"):
        number = add(tmp_path, state=state, attempts=2, error="why")
        if state in becomes:
            job = ask(number, workspace=tmp_path)
            assert job.state == jobs.show(number, tmp_path).state == becomes[state]
            assert job.attempts == (0 if ask is jobs.retry else 2)
        else:
            with pytest.raises(JobError, match=f"job {number}: expected .*, got one that is {state}; "):
                ask(number, workspace=tmp_path)
            assert jobs.show(number, tmp_path).reason == "why"


@pytest.mark.parametrize("keep", [False, True])
def test_a_paused_job_that_is_cancelled_takes_its_checkpoints_along(tmp_path: Path, keep: bool) -> None:
    number = add(tmp_path, state="paused", run="demo-1")
    run = tmp_path / "runs" / "demo-1"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "last.ckpt").touch()
    (run / "manifest.json").write_text(json.dumps({"status": "paused"}))
    jobs.cancel(number, keep_checkpoint=keep, workspace=tmp_path)
    assert (run / "checkpoints" / "last.ckpt").exists() is keep
    assert json.loads((run / "manifest.json").read_text())["status"] == "cancelled"


def test_a_run_outside_the_workspace_is_never_touched(tmp_path: Path) -> None:
    workspace, outside = tmp_path / "ws", tmp_path / "outside"
    (outside / "checkpoints").mkdir(parents=True)
    jobs.cancel(add(workspace, state="paused", run="../../outside"), workspace=workspace)
    (workspace / "runs").mkdir()
    (workspace / "runs" / "link").symlink_to(outside)
    jobs.cancel(add(workspace, state="paused", run="link"), workspace=workspace)
    assert (outside / "checkpoints").is_dir()


def test_following_tells_log_lines_and_progress_until_the_end(tmp_path: Path) -> None:
    number = add(tmp_path, state="running", lease="x", worker="w", progress={"done": 1, "total": 4})
    log = tmp_path / "logs" / "jobs" / f"{number}.log"
    log.parent.mkdir(parents=True)
    log.write_text("epoch 1\nepo")
    looks = jobs.follow(number, workspace=tmp_path, every=0.01)
    job, lines = next(looks)
    assert (job.percent, lines, job.reason) == (25.0, ["epoch 1"], "worker w")

    def finish() -> None:
        with log.open("a") as stream:
            stream.write("ch 2\n")
        with open_store(tmp_path) as store, store.writing() as unit:
            unit.jobs.finish(number, "x", "completed", now=NOW, result={})

    thread = threading.Timer(0.05, finish)
    thread.start()
    seen = list(looks)
    thread.join()
    assert [line for _, lines in seen for line in lines] == ["epoch 2"]
    assert (seen[-1][0].state, seen[-1][0].percent) == ("completed", 100.0)
