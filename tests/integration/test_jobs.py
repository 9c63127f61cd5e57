"""Jobs that train, in processes of a worker: killed, paused, cancelled, and gone on with to the same end."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from ringlight.cli.main import main
from ringlight.services import jobs
from ringlight.services.job_kinds import KINDS, Task
from ringlight.services.job_link import Link
from ringlight.services.job_payloads import payload_of
from ringlight.services.jobs import Job
from ringlight.services.runs import Run
from ringlight.services.worker import Worker
from ringlight.services.worker_slots import Slots

TrainSmall = Callable[..., Run]
StartWorker = Callable[..., "subprocess.Popen[bytes]"]
EPOCHS = "training.num_epochs=4"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return tmp_path / "jobs"


@pytest.fixture
def start_worker(workspace: Path) -> Iterator[StartWorker]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "ringlight", "worker", "--devices", "cpu", "--workspace", str(workspace)]
        started.append(subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=60)


def submit(small: list[str], workspace: Path, *overrides: str) -> int:
    return jobs.submit("train", {"recipe": "demo", "overrides": [*small, *overrides]}, workspace=workspace).id


def until(number: int, workspace: Path, what: Callable[[Job], bool]) -> Job:
    deadline = time.monotonic() + 120
    while not what(job := jobs.show(number, workspace)):
        assert job.state not in ("failed", "completed"), job.reason
        assert time.monotonic() < deadline, job.reason
        time.sleep(0.2)
    return job


def in_epoch(epoch: int) -> Callable[[Job], bool]:
    return lambda job: job.progress.get("epoch", -1) >= epoch


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children_of(process: subprocess.Popen[bytes]) -> list[int]:
    return [child.pid for child in psutil.Process(process.pid).children(recursive=True)]


def same_end(workspace: Path, job: Job, whole: Run) -> None:
    run = workspace / "runs" / str(job.run)
    assert json.loads((run / "results.json").read_text())["history"] == whole.results["history"]
    weights = "bundle/model.safetensors"
    assert (run / weights).read_bytes() == (whole.folder / weights).read_bytes()
    assert [path.name for path in run.rglob("*.part")] == []


@pytest.mark.slow
def test_a_job_whose_worker_is_killed_comes_to_the_same_end(
    train_small: TrainSmall, small: list[str], workspace: Path, start_worker: StartWorker,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A worker killed -9 says goodbye to nobody: its process stops, the lease runs out, the next worker goes on."""
    number = submit(small, workspace, EPOCHS)
    first = start_worker("--lease", "3")
    until(number, workspace, in_epoch(1))
    (orphan,) = children_of(first)
    first.kill()
    first.wait()
    second = start_worker()
    assert main(["jobs", "follow", str(number), "--workspace", str(workspace)]) == 0
    assert not is_alive(orphan)
    told = capsys.readouterr().out
    assert told.count("goes on from") == 1
    assert "epoch 4/4" in told
    assert told.endswith(f"job {number}: completed (done)\n")
    states = [event.what for event in jobs.history(number, workspace)]
    assert states == ["submitted", "running", "queued", "running", "completed"]
    assert len(list((workspace / "runs").iterdir())) == 1
    same_end(workspace, jobs.show(number, workspace), train_small(EPOCHS))
    second.send_signal(signal.SIGTERM)
    assert second.wait(timeout=30) == 0


@pytest.mark.slow
def test_pause_frees_the_process_resume_goes_on_cancel_leaves_no_litter(small: list[str], workspace: Path) -> None:
    number = submit(small, workspace, "training.num_epochs=500")
    working = Worker(workspace, Slots(("cpu",)))
    thread = threading.Thread(target=working.run)
    others = set(psutil.Process().children())  # another test's resource tracker stays as long as this process
    thread.start()
    until(number, workspace, in_epoch(1))
    (child,) = set(psutil.Process().children()) - others
    assert main(["jobs", "pause", str(number), "--workspace", str(workspace)]) == 0
    paused = until(number, workspace, lambda job: job.state == "paused")
    assert not is_alive(child.pid)
    assert main(["jobs", "resume", str(number), "--workspace", str(workspace)]) == 0
    resumed = until(number, workspace, in_epoch(int(paused.progress["epoch"]) + 1))
    assert resumed.run == paused.run
    jobs.cancel(number, workspace=workspace)
    until(number, workspace, lambda job: job.state == "cancelled")
    working.stop()
    thread.join()
    run = workspace / "runs" / str(paused.run)
    assert json.loads((run / "manifest.json").read_text())["status"] == "cancelled"
    assert [path for path in workspace.rglob("*") if path.name.endswith((".part", ".ckpt"))] == []
    assert list(run.rglob("*.safetensors")) == []
    assert jobs.retry(number, workspace).state == "queued"


@pytest.mark.slow
def test_other_kinds_of_jobs_do_what_their_commands_do(
    finished: Run, small: list[str], workspace: Path, make_image: Callable[..., Path]
) -> None:
    """In this process: what a process of their own adds is tested with those that train."""
    image = make_image(workspace / "image.png", size=(64, 64))
    recipe = {"recipe": "demo", "overrides": [*small, "training.num_epochs=1", "cv.n_splits=2", "tune.n_trials=1"]}

    def done(kind: str, values: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        reports = io.BytesIO()
        link = Link(io.BytesIO(), reports)
        link._noted.set()
        payload = payload_of(kind, {"folder": "/", **values})
        task = Task(id=7, kind=kind, payload=payload, root=workspace, run=None, device="cpu", link=link)
        return KINDS[kind](task), reports.getvalue()

    evaluated, _ = done("evaluate", {"model": str(finished.folder)})
    assert evaluated["scores"]["macro_f1"] == finished.results["test"]["scalars"]["macro_f1"]
    predicted, _ = done("predict", {"model": str(finished.folder), "paths": [str(image)]})
    assert predicted == {"folder": "predictions", "file": "predictions/job-7.csv", "num_records": 1}
    assert len((workspace / predicted["file"]).read_text().splitlines()) == 2
    validated, said = done("crossval", recipe)
    run = json.loads(said.splitlines()[0])["run"]
    assert validated["folder"] == f"runs/{run}"
    assert (workspace / "runs" / run / "results.json").is_file()
    tuned, said = done("tune", recipe)
    assert json.loads(said.splitlines()[0])["run"] == tuned["folder"] == "studies/demo"
    assert (workspace / tuned["recipe"]).is_file()
