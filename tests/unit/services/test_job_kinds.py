"""What a training job does with a run that it finds: goes on, begins another, or only tells its results."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ringlight.services import runs
from ringlight.services.job_kinds import KINDS, Task, summary
from ringlight.services.job_link import Link
from ringlight.services.job_payloads import payload_of

RESULTS = {"schema_version": 1, "judged_part": "test", "test": {"scalars": {"macro_f1": 0.5, "kappa": None}}}


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a job asks of the services that train."""
    found: list[Any] = []

    def new_run(made: Any, root: Path) -> Path:
        folder = root / "runs" / "demo-2"
        folder.mkdir(parents=True)
        return folder

    def resume(folder: Path, **options: Any) -> Any:
        found.append(("resume", folder.name, sorted(options)))
        return SimpleNamespace(results=RESULTS)

    monkeypatch.setattr(runs, "configure", lambda recipe, overrides, file: found.append((recipe, overrides, file)))
    monkeypatch.setattr(runs, "plan", lambda *_: None)
    monkeypatch.setattr(runs, "new_run", new_run)
    monkeypatch.setattr(runs, "execute", lambda *_: SimpleNamespace(results=RESULTS))
    monkeypatch.setattr(runs, "resume", resume)
    return found


def train(root: Path, run: str | None, device: str = "auto") -> tuple[dict[str, Any], list[str]]:
    reports = io.BytesIO()
    link = Link(io.BytesIO(), reports)
    link._noted.set()
    payload = payload_of("train", {"folder": "/", "recipe": "demo", "overrides": ["training.device=cuda:1"]})
    task = Task(id=1, kind="train", payload=payload, root=root, run=run, device=device, link=link)
    result = KINDS["train"](task)
    return result, [json.loads(line)["run"] for line in reports.getvalue().splitlines()]


def former(root: Path, status: str, *files: str) -> Path:
    folder = root / "runs" / "demo-1"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"status": status}))
    (folder / "results.json").write_text(json.dumps(RESULTS))
    for name in files:
        (folder / name).touch()
    return folder


def test_a_new_job_names_its_run_before_it_trains(tmp_path: Path, asked: list[Any]) -> None:
    result, told = train(tmp_path, None, device="cuda")
    assert asked == [("demo", ["training.device=cuda:1", "training.device=cuda"], None)]
    assert told == ["demo-2"]
    assert (result["folder"], result["scores"]) == ("runs/demo-2", {"macro_f1": 0.5})


def test_a_run_that_stopped_is_gone_on_with_and_its_half_files_are_removed(tmp_path: Path, asked: list[Any]) -> None:
    folder = former(tmp_path, "running", "checkpoints/last.ckpt", "checkpoints/.last.ckpt.1f.part")
    _, told = train(tmp_path, "demo-1")
    assert asked == [("resume", "demo-1", ["control", "trackers", "workspace"])]
    assert told == ["demo-1"]
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["last.ckpt"]


def test_a_run_that_had_ended_is_not_trained_again(tmp_path: Path, asked: list[Any]) -> None:
    """Its worker was lost between the last file of the run and the word to the queue."""
    former(tmp_path, "completed")
    result, _ = train(tmp_path, "demo-1")
    assert asked == []
    assert result["scores"] == {"macro_f1": 0.5}


@pytest.mark.parametrize(("kept", "goes_on"), [((), False), (("checkpoints/last.ckpt",), True)])
def test_a_cancelled_run_is_gone_on_with_where_its_checkpoint_was_kept(
    tmp_path: Path, asked: list[Any], kept: tuple[str, ...], goes_on: bool
) -> None:
    former(tmp_path, "cancelled", *kept)
    _, told = train(tmp_path, "demo-1")
    assert told == ["demo-1" if goes_on else "demo-2"]


def test_a_run_that_never_began_or_is_gone_begins_anew(tmp_path: Path, asked: list[Any]) -> None:
    _, told = train(tmp_path, "demo-0")
    assert told == ["demo-2"]


def test_a_summary_keeps_what_the_run_had_to_say(tmp_path: Path) -> None:
    values = {**RESULTS, "notes": ["steps were divided"], "environment": {"device": "cpu"}}
    assert summary(values, Path("/elsewhere"), tmp_path) == {
        "folder": "/elsewhere", "part": "test", "scores": {"macro_f1": 0.5}, "notes": ["steps were divided"],
        "device": "cpu",
    }  # fmt: skip
