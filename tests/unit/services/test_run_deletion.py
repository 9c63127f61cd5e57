"""Nothing is deleted that was not listed, and a crash leaves a run whole or gone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ringlight.errors import RunError, WorkspaceError
from ringlight.services import run_files
from ringlight.services.imports import import_runs
from ringlight.services.run_deletion import delete, plan_deletion
from ringlight.services.run_history import list_runs
from ringlight.services.stores import open_store
from ringlight.store.tables import JobRow, SnapshotRow, SplitRow, VersionRow

MakeFinished = Callable[..., Path]


@pytest.fixture
def workspace(make_finished: MakeFinished, tmp_path: Path) -> Path:
    make_finished(tmp_path, "a", history=[{"train/loss": 1.0}])
    make_finished(tmp_path, "b")
    import_runs(tmp_path)
    return tmp_path


def names(workspace: Path) -> list[str]:
    return sorted(card.name for card in list_runs(workspace=workspace))


def version(run_id: int, **values: object) -> VersionRow:
    given = {"name": "strips", "version": 1, "kind": "view", "label": "v", "path": "m/1", "checksum": "0" * 64,
             "metrics": {}, "classes": ["x"]}  # fmt: skip
    return VersionRow(**given, run_id=run_id, **values)


def test_what_was_listed_goes_and_nothing_else(workspace: Path) -> None:
    plan = plan_deletion("a", workspace=workspace)
    folder = workspace / "runs" / "a"
    assert set(plan.files) == {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert plan.num_bytes == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert plan.rows == {"training_history": 1, "epoch_metrics": 1, "artifacts": 5, "splits": 0}
    assert folder.is_dir()  # listing changes nothing
    delete(plan, who="ann")
    assert names(workspace) == ["b"]
    assert sorted(path.name for path in (workspace / "runs").iterdir()) == ["b"]
    with open_store(workspace) as store, store.reading() as unit:
        *_, last = unit.events.of("run", "a")
        assert unit.runs.epochs(1) == []
    assert (last.what, last.who, last.data) == ("deleted", "ann", {"files": 6, "num_bytes": plan.num_bytes})


def test_what_came_since_is_not_deleted_unseen(workspace: Path) -> None:
    plan = plan_deletion("a", workspace=workspace)
    (workspace / "runs" / "a" / "notes.txt").write_text("do not lose me")
    with pytest.raises(WorkspaceError, match=r"expected what was listed, got others: notes.txt; nothing was deleted"):
        delete(plan)
    assert (workspace / "runs" / "a" / "notes.txt").read_text() == "do not lose me"
    assert names(workspace) == ["a", "b"]


def test_a_folder_removed_by_hand_leaves_its_rows_to_go(workspace: Path) -> None:
    shutil.rmtree(workspace / "runs" / "a")
    delete(plan_deletion("a", workspace=workspace))
    assert names(workspace) == ["b"]


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_of_a_link_the_link_goes_and_not_what_it_leads_to(workspace: Path) -> None:
    other = (workspace / "runs" / "a").rename(workspace / "elsewhere")
    (workspace / "runs" / "a").symlink_to(other)
    delete(plan_deletion("a", workspace=workspace))
    assert (other / "results.json").is_file()
    assert not (workspace / "runs" / "a").is_symlink()


def test_what_is_needed_is_not_deleted(workspace: Path) -> None:
    def refused(message: str) -> None:
        with pytest.raises(RunError, match=message):
            plan_deletion("a", workspace=workspace)

    with open_store(workspace) as store:
        with store.writing() as unit:
            run = unit.runs.get("a")
            assert run is not None
            unit.runs.change("b", parent_id=run.id)
        refused(r"^a: expected a run that no other came of, got b; delete those first")
        with store.writing() as unit:
            unit.runs.change("b", parent_id=None)
            row = unit.versions.add(version(run.id, is_active=True))
        refused(r"expected a run that no active version came of, got strips@1; activate another version")
        with store.writing() as unit:
            unit.versions.make_active("strips", None)
            job = unit.jobs.add(JobRow(kind="evaluate", payload={}, run="a"))
        refused(
            rf"expected a run that no job uses, got job {job.id} \(evaluate, queued\); wait for it, or ringlight jobs"
        )
        plan = None
        with store.writing() as unit:
            found = unit.jobs.get(job.id)
            assert found is not None
            found.state = "completed"
        plan = plan_deletion("a", workspace=workspace)
        assert plan.versions == ("strips@1",)
        with store.writing() as unit:
            unit.runs.change("a", status="running")
        refused(r"expected a run that has ended, got one that runs")
        with pytest.raises(RunError, match="one that runs"):
            delete(plan)
        with store.writing() as unit:
            unit.runs.change("a", status="completed")
        delete(plan)
        with store.reading() as unit:
            kept = unit.versions.get("strips", 1)
            assert kept is not None
            assert (kept.id, kept.run_id) == (row.id, None)


def test_a_split_moves_on_with_the_runs_that_share_it(workspace: Path) -> None:
    with open_store(workspace) as store:
        with store.writing() as unit:
            snapshot = unit.datasets.add_snapshot(
                SnapshotRow(fingerprint="f", task="multiclass", classes=[], num_records=1, path="p", checksum="c")
            )
            unit.flush()
            split = unit.datasets.add_split(
                SplitRow(snapshot_id=snapshot.id, method="m", seed=1, sizes={}, path="runs/a/split.csv", checksum="c")
            )
            unit.flush()
            for name in ("a", "b"):
                unit.runs.change(name, split_id=split.id, snapshot_id=snapshot.id)
        delete(plan_deletion("a", workspace=workspace))
        with store.reading() as unit:
            assert [one.path for one in unit.datasets.splits(snapshot.id)] == ["runs/b/split.csv"]
        plan = plan_deletion("b", workspace=workspace)
        assert plan.rows["splits"] == 1
        delete(plan)
        with store.reading() as unit:
            assert unit.datasets.splits(snapshot.id) == []
            assert unit.datasets.snapshot("f") is not None


@pytest.mark.parametrize(("moment", "left"), [("before", ["a", "b"]), ("after", ["b"])])
def test_a_crash_leaves_a_run_whole_or_gone(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, moment: str, left: list[str]
) -> None:
    """The process dies before its transaction holds, or after that and before the files are removed."""
    folder = workspace / "runs" / "a"
    if moment == "before":
        folder.rename(folder.with_name(".deleted-a-0123abcd"))
    else:
        plan = plan_deletion("a", workspace=workspace)
        with monkeypatch.context() as patch:
            patch.setattr(run_files, "_remove", lambda _aside: None)
            delete(plan)
    (aside,) = (workspace / "runs").glob(".deleted-a-*")
    assert (aside / "results.json").is_file()
    assert names(workspace) == left
    assert sorted(path.name for path in (workspace / "runs").iterdir()) == left


def test_what_another_process_is_just_deleting_is_left_to_it(workspace: Path) -> None:
    """Taken back while its deletion was about to be committed, a folder would have stayed without a row."""
    folder = workspace / "runs" / "a"
    aside = folder.rename(folder.with_name(".deleted-a-0123abcd"))
    strange = workspace / "runs" / ".deleted-x"
    strange.mkdir()
    with run_files.alone(workspace):
        names(workspace)
        assert aside.is_dir()
    names(workspace)
    assert folder.is_dir()
    assert strange.is_dir()
