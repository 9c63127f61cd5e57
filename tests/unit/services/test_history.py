"""Runs are recorded while they run and when they end; a store that does not answer never ends a training."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ringlight.data.split import write_split
from ringlight.errors import InterruptedRunError
from ringlight.services import history
from ringlight.services.history import LOST, Recorder, mark_lost
from ringlight.services.imports import import_runs
from ringlight.services.processes import this_process
from ringlight.services.standing import status_of
from ringlight.services.stores import open_store
from ringlight.services.study_history import recorded_study
from ringlight.store import session
from ringlight.store.tables import EventRow, RunRow
from ringlight.types import Dataset, Split

MakeFinished = Callable[..., Path]
GONE = {**this_process(), "began": 1.0}
"""A process of this machine that is no more: its number belongs to another by now."""


@pytest.fixture
def run(make_finished: MakeFinished, tmp_path: Path) -> Path:
    """A run that has just been made: no results yet."""
    folder = make_finished(tmp_path, "strips-20260301-123000-ab12")
    (folder / "results.json").rename(folder / "later.json")
    return folder


@pytest.fixture
def data(dataset_of: Callable[..., Dataset]) -> Dataset:
    return dataset_of([0, 1, 0, 1, 0, 1])


def stand(folder: Path, status: str, **changes: Any) -> None:
    """Write how a run stands, as `status_of` does."""
    values = {"status": status, "error": None, "updated": "2026-03-01T12:40:00+00:00", "process": this_process(),
              "device": "cpu", "dataset_fingerprint": "f" * 64}  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps({**values, **changes}))


def row_of(folder: Path, name: str | None = None) -> RunRow:
    with open_store(folder.parent.parent) as store, store.reading() as unit:
        row = unit.runs.get(name or folder.name)
        assert row is not None
        return row


def events_of(folder: Path, name: str | None = None) -> list[EventRow]:
    with open_store(folder.parent.parent) as store, store.reading() as unit:
        return list(unit.events.of("run", name or folder.name))


def epochs_of(folder: Path) -> list[dict[str, Any]]:
    with open_store(folder.parent.parent) as store, store.reading() as unit:
        return unit.runs.epochs(row_of(folder).id)


def split_of(data: Dataset, folder: Path) -> Split:
    import numpy as np

    split = Split(np.array([0, 1, 2, 3]), np.array([4]), np.array([5]), strategy="stratified_70_15_15")
    write_split(split, data, folder / "split.csv")
    return split


def test_a_run_is_in_the_store_while_it_runs_and_whole_when_it_has_ended(run: Path, data: Dataset) -> None:
    recorder = Recorder(run, data, split_of(data, run))
    stand(run, "running")
    recorder.set_status("running")
    recorder.log_metrics({"train/loss": 0.5, "val/macro_f1": float("nan")}, 0)
    row = row_of(run)
    assert (row.status, row.finished, row.device, row.path) == ("running", None, "cpu", f"runs/{run.name}")
    assert row.started == datetime(2026, 3, 1, 12, 30, tzinfo=UTC)  # as its name says
    assert row.process == this_process()
    assert epochs_of(run) == [{"epoch": 0, "train/loss": 0.5, "val/macro_f1": None}]

    recorder.log_metrics({"final/macro_f1": 0.9}, 1)
    values = json.loads((run / "later.json").read_text())
    (run / "results.json").write_text(json.dumps({**values, "history": [{"epoch": 0, "train/loss": 0.25}]}))
    stand(run, "completed")
    recorder.set_status("completed")
    row = row_of(run)
    assert (row.status, row.process, row.metrics) == (
        "completed", None, {"macro_f1": 1.0, "recall/crack": 1.0, "recall/good": 1.0, "recall/scratch": 1.0},
    )  # fmt: skip
    assert row.finished == datetime(2026, 3, 1, 12, 40, tzinfo=UTC)
    assert epochs_of(run) == [{"epoch": 0, "train/loss": 0.25}]  # as the results have it
    with open_store(run.parent.parent) as store, store.reading() as unit:
        kinds = {artifact.path: artifact.kind for artifact in unit.runs.artifacts(row.id)}
    assert kinds["bundle/model.safetensors"] == "bundle"
    assert kinds["results.json"] == "results"
    assert [event.what for event in events_of(run)] == ["running", "completed"]


def test_data_and_split_are_kept_once(make_finished: MakeFinished, data: Dataset, tmp_path: Path) -> None:
    rows = []
    for name in ("a", "b"):
        folder = make_finished(tmp_path, name)
        split = split_of(data, folder)
        stand(folder, "completed", dataset_fingerprint=data.fingerprint)
        Recorder(folder, data, split, parent="a").set_status("completed")
        rows.append(row_of(folder))
    assert rows[0].snapshot_id == rows[1].snapshot_id is not None
    assert rows[0].split_id == rows[1].split_id is not None
    assert (rows[0].parent_id, rows[1].parent_id) == (rows[0].id, rows[0].id)
    (file,) = (tmp_path / "snapshots").iterdir()
    with open_store(tmp_path) as store, store.reading() as unit:
        snapshot = unit.datasets.snapshot(data.fingerprint)
        (split_row,) = unit.datasets.splits(rows[0].snapshot_id)
        assert snapshot is not None
    assert (snapshot.num_records, snapshot.path) == (6, f"snapshots/{file.name}")
    assert (split_row.sizes, split_row.path) == ({"train": 4, "val": 1, "test": 1}, "runs/a/split.csv")


def test_a_lost_database_is_made_again_from_what_lies_beside_it(
    make_finished: MakeFinished, data: Dataset, tmp_path: Path
) -> None:
    folder = make_finished(tmp_path, "a")
    stand(folder, "completed", dataset_fingerprint=data.fingerprint)
    Recorder(folder, data, split_of(data, folder)).set_status("completed")
    (tmp_path / "ringlight.db").unlink()
    assert import_runs(tmp_path).added == ["a"]
    row = row_of(folder)
    with open_store(tmp_path) as store, store.reading() as unit:
        snapshot = unit.datasets.snapshot(data.fingerprint)
        assert snapshot is not None
        (split_row,) = unit.datasets.splits(snapshot.id)
        assert (snapshot.num_records, snapshot.classes, split_row.sizes["train"]) == (6, ["c0", "c1"], 4)
    assert (row.snapshot_id, row.split_id) == (snapshot.id, split_row.id)
    (tmp_path / snapshot.path).write_text("torn")
    (tmp_path / "ringlight.db").unlink()
    (line,) = import_runs(tmp_path).refused
    assert "expected the snapshot of the run's data, got ArrowInvalid" in line


@pytest.mark.parametrize(
    ("error", "status"),
    [(InterruptedRunError("the end", got="Ctrl-C", where="run", fix="x"), "interrupted"), (OSError("gone"), "failed")],
)
def test_how_a_run_ends_is_recorded_with_its_error(
    run: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, status: str
) -> None:
    monkeypatch.setattr(
        "ringlight.services.standing._manifest",
        lambda _made, status, error: {"status": status, "error": error, "process": this_process()},
    )
    recorder = Recorder(run, None, None)
    made: Any = None
    with pytest.raises(type(error)), status_of(made, run, recorder):  # noqa: PT012
        assert row_of(run).status == "running"
        raise error
    row = row_of(run)
    assert (row.status, row.process) == (status, None)
    assert str(error) in str(row.error)
    assert [(event.what, event.data) for event in events_of(run)] == [
        ("running", {"error": None}), (status, {"error": row.error}),
    ]  # fmt: skip


@pytest.mark.parametrize("fault", ["locked", "damaged", "a folder in its place"])
def test_a_store_that_does_not_answer_is_told_once_and_the_run_taken_in_later(
    run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    """Waiting half a minute for a locked file at the end of every epoch would cost a training hours."""
    monkeypatch.setattr(session, "BUSY_SECONDS", 0.05)
    database = run.parent.parent / "ringlight.db"
    aside = database.with_name("aside.db")
    other = sqlite3.connect(database, isolation_level=None)
    recorder = Recorder(run, None, None)
    stand(run, "running")
    if fault == "locked":
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN IMMEDIATE")
    else:
        database.rename(aside)
        database.write_bytes(b"no database at all, but long enough to be read as one" * 100) if (
            fault == "damaged"
        ) else database.mkdir()
    with caplog.at_level(logging.WARNING, "ringlight"):
        recorder.set_status("running")
        opened: list[object] = []
        monkeypatch.setattr(history, "open_store", opened.append)
        for epoch in range(3):
            recorder.log_metrics({"train/loss": 1.0 - epoch / 4}, epoch)
        monkeypatch.undo()
    assert opened == []
    (warning,) = (record.getMessage() for record in caplog.records)
    assert warning.startswith("the run is not recorded: ")
    assert warning.endswith("; later: ringlight runs import")
    assert "\n" not in warning
    if fault == "locked":
        other.execute("ROLLBACK")
    else:
        database.unlink() if fault == "damaged" else database.rmdir()
        aside.rename(database)
    other.close()
    stand(run, "interrupted", error="Ctrl-C")
    recorder.set_status("interrupted")
    assert [row["train/loss"] for row in epochs_of(run)] == [1.0, 0.75, 0.5]  # nothing of it is lost
    assert row_of(run).error == "Ctrl-C"


def test_a_run_outside_a_workspace_leaves_no_database_around(run: Path, tmp_path: Path) -> None:
    """Going on with a copy in a downloads folder once put a database into the home above it."""
    copy = run.rename(tmp_path / "copy")
    (tmp_path / "ringlight.db").unlink()
    stand(copy, "completed")
    Recorder(copy, None, None).set_status("completed")
    assert not list(tmp_path.parent.glob("ringlight.db"))
    assert not (tmp_path / "ringlight.db").exists()


def test_a_run_whose_process_is_gone_is_marked(run: Path) -> None:
    recorder = Recorder(run, None, None)
    stand(run, "running")
    recorder.set_status("running")
    assert mark_lost(run.parent.parent) == []
    (run / "train.log").touch()
    stand(run, "running", process=GONE)
    for process, lost in (({**GONE, "host": "elsewhere"}, []), (GONE, [run.name]), (GONE, [])):
        with open_store(run.parent.parent) as store, store.writing() as unit:
            unit.runs.change(run.name, process=process)
        assert mark_lost(run.parent.parent) == lost
    row = row_of(run)
    assert (row.status, row.error) == ("interrupted", LOST)
    assert row.finished is not None
    assert [event.what for event in events_of(run)] == ["running", "interrupted"]


def test_a_run_that_ended_while_the_store_was_away_did_not_get_lost(run: Path) -> None:
    """It was shown as interrupted, with its report beside it."""
    stand(run, "running")
    Recorder(run, None, None).set_status("running")
    with open_store(run.parent.parent) as store, store.writing() as unit:
        unit.runs.change(run.name, process=GONE)
    (run / "later.json").rename(run / "results.json")
    stand(run, "completed", process=GONE)
    assert mark_lost(run.parent.parent) == []
    row = row_of(run)
    assert (row.status, row.error, row.metrics and row.metrics["macro_f1"]) == ("completed", None, 1.0)


def test_a_run_that_somebody_goes_on_with_meanwhile_is_not_marked(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(run, None, None)
    stand(run, "running")
    recorder.set_status("running")
    answers = iter([False, True])
    monkeypatch.setattr(history, "process_runs", lambda _known: next(answers))
    assert mark_lost(run.parent.parent) == []
    assert row_of(run).status == "running"


def test_older_runs_are_taken_in_and_what_cannot_be_read_is_told(make_finished: MakeFinished, tmp_path: Path) -> None:
    whole, torn = make_finished(tmp_path, "whole"), make_finished(tmp_path, "torn")
    killed, old = make_finished(tmp_path, "killed", status="running"), make_finished(tmp_path, "strange", status="x")
    (torn / "manifest.json").write_text("{")
    aside = make_finished(tmp_path, ".deleted-gone-0123abcd")
    told = import_runs(tmp_path)
    assert (told.added, told.updated) == (["killed", "strange", "whole"], [])
    (line,) = told.refused
    assert line.startswith(f"{torn}/manifest.json: expected a readable manifest")
    assert (row_of(killed).status, row_of(killed).error, row_of(old).status) == ("interrupted", LOST, "interrupted")
    assert row_of(whole).metrics["macro_f1"] == 1.0  # type: ignore[index]
    assert aside.is_dir()

    again = import_runs(tmp_path)
    assert (again.added, again.updated) == ([], [])
    assert len(events_of(killed)) == 1
    (whole / "results.json").write_text(
        (whole / "results.json").read_text().replace('"macro_f1": 1.0', '"macro_f1": 0')
    )
    assert import_runs(tmp_path).updated == ["whole"]


def test_what_runs_right_now_is_not_taken_in(run: Path) -> None:
    stand(run, "running")
    Recorder(run, None, None).set_status("running")
    stand(run, "failed")  # by somebody else
    assert import_runs(run.parent.parent).updated == []
    assert row_of(run).status == "running"


def test_a_cross_validation_is_recorded_a_fold_an_epoch(make_finished: MakeFinished, tmp_path: Path) -> None:
    folds = {"folds": [{"scores": {"macro_f1": 0.5}}, {"scores": {"macro_f1": 0.75}}]}
    folder = make_finished(tmp_path, "strips-crossval", cross_validation=folds, history=[])
    (folder / "folds").mkdir()
    (folder / "folds" / "division.parquet").touch()
    Recorder(folder, None, None).set_status("completed")
    assert row_of(folder).kind == "crossval"
    assert [row["macro_f1"] for row in epochs_of(folder)] == [0.5, 0.75]


def test_a_study_is_recorded_and_one_elsewhere_is_not(
    tmp_path: Path, make_finished: MakeFinished, caplog: pytest.LogCaptureFixture
) -> None:
    from ringlight.config.load import read_config

    config = read_config(make_finished(tmp_path, "any") / "config.yaml")
    folder = tmp_path / "studies" / "lr"
    folder.mkdir(parents=True)
    with recorded_study(folder, config):
        assert row_of(folder, "studies/lr").status == "running"
        trials = [{"number": 0, "value": 0.5}, {"number": 1, "value": None}, {"number": 2, "value": 0.75}]
        values = {"status": "stopped", "best": trials[2], "trials": trials, "device": "cpu"}
        (folder / "study.json").write_text(json.dumps(values))
    row = row_of(folder, "studies/lr")
    assert (row.kind, row.status, row.metrics) == ("tune", "completed", {config.tune.metric: 0.75})
    with open_store(tmp_path) as store, store.reading() as unit:
        assert [one["epoch"] for one in unit.runs.epochs(row.id)] == [0, 2]
        assert [one.path for one in unit.runs.artifacts(row.id)] == ["study.json"]
    with pytest.raises(KeyError), recorded_study(folder, config):
        raise KeyError("trial")
    assert [event.what for event in events_of(folder, "studies/lr")] == ["running", "completed", "running", "failed"]
    (folder / "config.yaml").write_text((tmp_path / "runs" / "any" / "config.yaml").read_text())
    assert "studies/lr" in import_runs(tmp_path).updated  # it says of itself that it ended

    with recorded_study(tmp_path / "lr", config):
        pass
    (tmp_path / "ringlight.db").write_bytes(b"no database at all" * 100)
    with recorded_study(folder, config):
        pass
    assert "the study is not recorded: " in caplog.text
