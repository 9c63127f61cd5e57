"""`ringlight jobs` and `ringlight worker`: what is asked for, and what is printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ringlight.cli.main import main
from ringlight.services import jobs
from ringlight.services.stores import open_store
from ringlight.store.tables import JobRow

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RESULT = {"folder": "runs/demo-1", "scores": {"macro_f1": 0.5, "ece": 0.1}, "notes": ["random weights"]}
PROGRESS = {
    "done": 5, "total": 20, "epoch": 1, "num_epochs": 4, "images_per_second": 12.5, "elapsed": 61.0, "eta": 3725.0,
    "memory_gib": 1.5,
    "metrics": {"val/macro_f1": 0.25, "val/ece": 0.1}, "notes": ["steps of 4 images for want of memory"],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _own_logging(own_logging: None) -> None:
    """The command line sets up logging."""


@pytest.fixture
def add(tmp_path: Path) -> Callable[..., int]:
    def make(**values: Any) -> int:
        payload = {"folder": "/", "recipe": "demo", "overrides": [], "file": None}
        with open_store(tmp_path) as store, store.writing() as unit:
            row = unit.jobs.add(JobRow(**{"kind": "train", "payload": payload, "created": NOW, **values}))
            unit.flush()
            row.log = f"logs/jobs/{row.id}.log"
            return row.id

    return make


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("words", "payload"),
    [
        (["train", "demo", "a.b=1"], {"recipe": "demo", "overrides": ["a.b=1"], "file": None}),
        (["tune", "a.b=1"], {"recipe": None, "overrides": ["a.b=1"], "file": None}),
        (["evaluate", "RUN", "parts/", "a.b=1"], {"model": "RUN", "source": "parts/", "overrides": ["a.b=1"]}),
        (["predict", "RUN", "/a=b.png"], {"model": "RUN", "paths": ["/a=b.png"]}),
    ],
)
def test_words_become_a_payload(
    words: list[str], payload: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    tmp_path: Path, add: Callable[..., int],
) -> None:  # fmt: skip
    asked: list[Any] = []

    def submit(kind: str, values: dict[str, Any], **options: Any) -> jobs.Job:
        asked.extend([kind, values, options])
        return jobs.show(add(), tmp_path)

    monkeypatch.setattr(jobs, "submit", submit)
    assert main(["jobs", "submit", *words, "--priority", "2", "--memory", "1.5", "--workspace", str(tmp_path)]) == 0
    assert asked[:2] == [words[0], payload]
    assert (asked[2]["priority"], asked[2]["memory_gib"], asked[2]["device"]) == (2, 1.5, None)
    assert lines(capsys) == ["job 1: train demo queued; follow it with ringlight jobs follow 1"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train", "demo", "severstal"], "jobs submit: expected one recipe, then KEY=VALUE, got demo severstal"),
        (["evaluate", "a", "b", "c"], "expected a run and at most one source of data, got a b c"),
        (["predict", "a", "b", "--config", "x.yaml"], "expected --config with train, tune, crossval, got predict"),
        (["trian", "demo"], "expected a kind of job, got `trian`; did you mean `train`?"),
        (["predict"], "payload of a predict job: model: expected"),
    ],
)
def test_what_is_no_job_is_refused(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "submit", *words]) == 2
    assert told in capsys.readouterr().err


def test_jobs_are_listed_a_line_each(
    tmp_path: Path, add: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    add(state="running", worker="w", progress=PROGRESS, run="demo-1")
    add(state="failed", error="a loss that is not finite", priority=3)
    assert main(["jobs", "list", "--workspace", str(tmp_path)]) == 0
    header, failed, running = lines(capsys)
    assert header.split() == ["id", "state", "kind", "what", "done", "priority", "device", "run", "submitted", "why"]
    assert failed.endswith("a loss that is not finite")
    assert running.split()[:8] == ["1", "running", "train", "demo", "25%", "0", "auto", "demo-1"]
    assert main(["jobs", "list", "--state", "failed", "--json", "--workspace", str(tmp_path)]) == 0
    assert [job["id"] for job in json.loads(capsys.readouterr().out)] == [2]


def test_a_job_at_work_is_shown_with_progress_metrics_and_notes(
    tmp_path: Path, add: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    add(state="running", worker="w", progress=PROGRESS, run="demo-1", attempts=1, memory_gib=4.0)
    assert main(["jobs", "show", "1", "--workspace", str(tmp_path)]) == 0
    assert lines(capsys)[:10] == [
        "job: 1, train demo", "state: running: worker w", "asks for: device auto, 4 GiB, priority 0",
        "tries that were lost: 1 of 3", "progress: 25%, epoch 2/4, 12.5 images/s, 0:01:01 so far, about 1:02:05 left",
        "memory: 1.50 GiB", "metrics: val/macro_f1 0.250", "run: demo-1", f"log: {tmp_path}/logs/jobs/1.log",
        "note: steps of 4 images for want of memory",
    ]  # fmt: skip


def test_a_job_is_asked_and_followed_to_its_end(
    tmp_path: Path, add: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--workspace", str(tmp_path)]
    add(state="queued")
    for command in ("pause", "resume"):
        assert main(["jobs", command, "1", *where]) == 0
    assert main(["jobs", "cancel", "1", "--keep-checkpoint", *where]) == 0
    assert main(["jobs", "follow", "1", *where]) == 1
    assert main(["jobs", "retry", "1", *where]) == 0
    assert lines(capsys) == [
        "job 1: paused (go on with ringlight jobs resume 1)",
        "job 1: queued (waits for a worker with any device)",
        "job 1: cancelled (as asked; begin again with ringlight jobs retry 1)",
        "job 1: cancelled (as asked; begin again with ringlight jobs retry 1)",
        "job 1: queued (waits for a worker with any device)",
    ]
    assert main(["jobs", "pause", "1", "--json", *where]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "paused"
    done = add(state="completed", progress=PROGRESS, result=RESULT)
    log = tmp_path / "logs" / "jobs" / f"{done}.log"
    log.parent.mkdir(parents=True)
    log.write_text("epoch 1/4\nepoch 2/4\n")
    assert main(["jobs", "follow", str(done), *where]) == 0
    told = lines(capsys)
    assert told[:2] == ["epoch 1/4", "epoch 2/4"]
    assert told[-1] == f"job {done}: completed (done)"
    assert main(["jobs", "follow", str(done), "--json", *where]) == 0
    (line,) = lines(capsys)
    assert (json.loads(line)["state"], json.loads(line)["lines"]) == ("completed", ["epoch 1/4", "epoch 2/4"])
    assert main(["jobs", "show", str(done), *where]) == 0
    told = lines(capsys)
    assert "scores: macro_f1 0.500" in told
    assert "folder: runs/demo-1" in told
    assert "note: random weights" in told
    assert main(["jobs", "resume", "9", *where]) == 2
    assert "got 9; the latest is 2" in capsys.readouterr().err


def test_on_a_terminal_following_draws_a_bar(
    tmp_path: Path, add: Callable[..., int], open_terminal: Callable[[], Any]
) -> None:
    add(state="completed", progress=PROGRESS)
    terminal = open_terminal()
    assert main(["jobs", "follow", "1", "--workspace", str(tmp_path)]) == 0
    assert "100%, epoch 2/4" in terminal.getvalue()


def test_a_worker_ends_when_nothing_waits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["worker", "--devices", "cpu", "--drain", "--json", "--workspace", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert "ended after 0 job(s)" in told.err
    assert json.loads(told.out) == {"jobs": 0}
    assert main(["worker", "--once", "--drain"]) == 2
    assert "ringlight worker: expected --once or --drain, got both" in capsys.readouterr().err
    assert main(["worker", "--devices", "gpu"]) == 2
    assert "--devices: expected cpu, cuda:0" in capsys.readouterr().err
