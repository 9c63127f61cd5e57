"""A version goes as it was listed, rows and files together, or not at all; also when the power fails in between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ringlight.errors import ModelError, WorkspaceError
from ringlight.services import version_deletion, version_files
from ringlight.services.activations import activate, rollback
from ringlight.services.registered import events_of, list_versions
from ringlight.services.stores import open_store
from ringlight.services.version_deletion import delete, plan_deletion
from ringlight.services.versions import register
from ringlight.store.tables import JobRow

MakeRun = Callable[..., Path]


@pytest.fixture
def workspace(tmp_path: Path, make_finished: MakeRun) -> Path:
    """A workspace with two versions of `strips`."""
    for number in (1, 2):
        make_finished(tmp_path, f"strips-{number}")
        register(f"strips-{number}", workspace=tmp_path)
    return tmp_path


def numbers(workspace: Path) -> list[int]:
    return [one.version for one in list_versions(workspace=workspace)]


def add_job(workspace: Path, version: int, state: str) -> int:
    with open_store(workspace) as store, store.writing() as unit:
        row = unit.versions.get("strips", version)
        assert row is not None
        job = unit.jobs.add(JobRow(kind="predict", payload={}, state=state, version_id=row.id))
        unit.flush()
        return job.id


def test_what_is_listed_goes_and_its_number_with_it(workspace: Path) -> None:
    home, job = workspace / "models/defect/strips", add_job(workspace, 2, "completed")
    plan = plan_deletion("strips", 2, workspace=workspace)
    assert list(plan.files) == ["bundle.json", "model.safetensors"]
    assert plan.num_bytes == sum(path.stat().st_size for path in (home / "v2").iterdir())
    assert plan.to_dict()["rows"] == {"model_versions": [2], "jobs_that_forget_it": [job]}
    assert plan.to_dict()["files"][0]["path"] == "models/defect/strips/v2/bundle.json"
    assert numbers(workspace) == [2, 1]  # listing changes nothing
    delete(plan, who="kim", workspace=workspace)
    assert numbers(workspace) == [1]
    assert [path.name for path in home.iterdir()] == ["v1"]
    last = events_of("strips", workspace=workspace)[-1]
    assert (last["what"], last["who"], last["version"], last["files"]) == ("deleted", "kim", 2, 2)
    with open_store(workspace) as store, store.reading() as unit:
        kept = unit.jobs.get(job)
        assert kept is not None
        assert kept.version_id is None
    with pytest.raises(ModelError, match="expected a version that is there, got 2; choose from: 1"):
        delete(plan, workspace=workspace)
    assert register("strips-2", workspace=workspace).version == 3  # a number is never given twice
    for version in (1, 3):
        delete(plan_deletion("strips", version, workspace=workspace), workspace=workspace)
    assert [path.name for path in (workspace / "models").iterdir()] == [".lock"]


def test_what_is_active_or_used_by_a_job_stays(workspace: Path) -> None:
    activate("strips", 2, workspace=workspace)
    with pytest.raises(ModelError) as caught:
        plan_deletion("strips", 2, workspace=workspace)
    assert str(caught.value) == (
        "strips@2: expected a version that is not active, got the active one; "
        "activate another first, or ringlight models deactivate strips"
    )
    plan = plan_deletion("strips", 1, workspace=workspace)
    states = ("queued", "running", "pausing", "paused", "cancelling")
    jobs = [add_job(workspace, 1, state) for state in states]
    for ask in (lambda: plan_deletion("strips", 1, workspace=workspace), lambda: delete(plan, workspace=workspace)):
        with pytest.raises(ModelError) as caught:
            ask()
        listed = ", ".join(f"job {job} (predict, {state})" for job, state in zip(jobs, states, strict=True))
        assert str(caught.value) == (
            f"strips@1: expected a version that no job uses, got {listed}; "
            f"wait for it, or ringlight jobs cancel {jobs[0]}"
        )
    assert numbers(workspace) == [2, 1]


def test_nothing_goes_that_was_not_listed(workspace: Path) -> None:
    plan, folder = plan_deletion("strips", 1, workspace=workspace), workspace / "models/defect/strips/v1"
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(
        WorkspaceError, match=r"expected the files that were listed, got others: notes\.txt; nothing was"
    ):
        delete(plan, workspace=workspace)
    assert sorted(path.name for path in folder.iterdir()) == ["bundle.json", "model.safetensors", "notes.txt"]
    assert numbers(workspace) == [2, 1]
    (folder / "notes.txt").unlink()
    (folder / "elsewhere").symlink_to(workspace / "runs", target_is_directory=True)
    listed = plan_deletion("strips", 1, workspace=workspace)
    assert "elsewhere" in listed.files
    delete(listed, workspace=workspace)
    assert (workspace / "runs/strips-1/bundle/bundle.json").is_file()  # a link goes, not what is behind it


def test_a_version_whose_files_were_removed_by_hand_can_go(workspace: Path) -> None:
    for path in (workspace / "models/defect/strips/v1").iterdir():
        path.unlink()
    (workspace / "models/defect/strips/v1").rmdir()
    plan = plan_deletion("strips", 1, workspace=workspace)
    assert (plan.files, plan.num_bytes) == ({}, 0)
    delete(plan, workspace=workspace)
    assert numbers(workspace) == [2]


def test_a_deleted_version_is_not_rolled_back_to(workspace: Path) -> None:
    for version in (1, 2):
        activate("strips", version, workspace=workspace)
    delete(plan_deletion("strips", 1, workspace=workspace), workspace=workspace)
    with pytest.raises(ModelError, match="expected strips@1, which was active before, got nothing: it was deleted"):
        rollback("strips", workspace=workspace)


class PowerCut(BaseException):
    """Nothing that any code catches."""


@pytest.mark.parametrize("moment", ["before the commit", "after the commit"])
def test_a_deletion_that_was_cut_off_is_settled_when_models_are_opened_again(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    home = workspace / "models/defect/strips"
    plan = plan_deletion("strips", 1, workspace=workspace)

    def cut(*_: Any, **__: Any) -> None:
        raise PowerCut

    with monkeypatch.context() as patched:
        if moment == "before the commit":
            # A process that dies takes nothing back.
            patched.setattr("ringlight.store.session.UnitOfWork.take_back", lambda _unit: None)
            patched.setattr(version_deletion, "files_below", cut)
        else:
            patched.setattr(version_files, "_remove", cut)
        with pytest.raises(PowerCut):
            delete(plan, workspace=workspace)
    assert sorted(path.name[:11] for path in home.iterdir()) == [".deleted-v1", "v2"]
    assert numbers(workspace) == ([2, 1] if moment == "before the commit" else [2])
    expected = ["v1", "v2"] if moment == "before the commit" else ["v2"]
    assert sorted(path.name for path in home.iterdir()) == expected


def test_links_and_strangers_are_not_taken_for_what_was_left_behind(workspace: Path) -> None:
    home = workspace / "models/defect/strips"
    (home / ".deleted-v9-0123abcd").symlink_to(workspace / "runs")
    (home / ".deleted-vx").mkdir()
    (home / ".adding-v../..").parent.mkdir(parents=True, exist_ok=True)
    assert numbers(workspace) == [2, 1]
    assert sorted(path.name for path in home.iterdir()) == [
        ".adding-v..",
        ".deleted-v9-0123abcd",
        ".deleted-vx",
        "v1",
        "v2",
    ]
    assert (workspace / "runs/strips-1").is_dir()
