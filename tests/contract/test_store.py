"""What every database must do the same."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from ringlight.errors import WorkspaceError
from ringlight.store.session import Store
from ringlight.store.tables import AnnotationRow, ArtifactRow, DatasetRow, RecordRow, RunRow, SnapshotRow, VersionRow


def run(name: str, **values: object) -> RunRow:
    return RunRow(**{"name": name, "path": f"runs/{name}", "config": {"training": {"num_epochs": 3}}, **values})


def version(number: int, **values: object) -> VersionRow:
    given = {"name": "strips", "version": number, "kind": "defect", "label": f"v{number}", "path": f"m/{number}",
             "checksum": "0" * 64, "metrics": {}, "classes": ["a", "b"]}  # fmt: skip
    return VersionRow(**{**given, **values})


def test_what_is_written_is_read_back_by_another_connection(store: Store, tmp_path: Path) -> None:
    moment = datetime(2026, 3, 1, 12, 30, tzinfo=timezone(timedelta(hours=2)))
    with store.writing() as unit:
        unit.runs.add(run("a", started=moment, metrics={"macro_f1": 0.5}, seed=7))
    with Store(tmp_path, store.url.render_as_string(hide_password=False)) as other, other.reading() as unit:
        row = unit.runs.get("a")
        assert row is not None
        assert (row.config, row.metrics, row.seed, row.status) == (
            {"training": {"num_epochs": 3}}, {"macro_f1": 0.5}, 7, "created",
        )  # fmt: skip
        assert row.started == datetime(2026, 3, 1, 10, 30, tzinfo=UTC)
        assert row.started.utcoffset() == timedelta(0)


def test_a_time_without_a_zone_is_refused(store: Store) -> None:
    with pytest.raises(WorkspaceError, match="a time without a zone"), store.writing() as unit:
        unit.runs.add(run("a", started=datetime(2026, 3, 1)))


def test_a_failure_leaves_neither_rows_nor_files(store: Store, tmp_path: Path) -> None:
    file, order = tmp_path / "file", []
    with pytest.raises(RuntimeError, match="in between"), store.writing() as unit:  # noqa: PT012
        unit.runs.add(run("a"))
        unit.flush()
        file.write_text("half")
        unit.undo(lambda: order.append("first"))
        unit.undo(file.unlink)
        unit.afterwards(lambda: order.append("never"))
        raise RuntimeError("in between")
    with store.reading() as unit:
        assert unit.runs.count() == 0
    assert not file.exists()
    assert order == ["first"]


def test_a_refused_commit_takes_files_back_too(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "file"
    with store.writing() as unit:
        unit.runs.add(run("a"))
    with pytest.raises(WorkspaceError, match="database"), store.writing() as unit:  # noqa: PT012
        file.write_text("half")
        unit.undo(file.unlink)
        unit.runs.add(run("a"))
    assert not file.exists()


def test_what_is_to_follow_follows_the_commit(store: Store) -> None:
    seen = []

    def look() -> None:
        with store.reading() as inner:
            seen.append(inner.runs.count())

    with store.writing() as unit:
        unit.runs.add(run("a"))
        unit.afterwards(look)
    assert seen == [1]


def test_reading_changes_nothing(store: Store) -> None:
    with store.reading() as unit:
        unit.runs.add(run("a"))
        unit.flush()
    with store.reading() as unit:
        assert unit.runs.count() == 0


def test_runs_are_found_by_what_they_are_and_by_what_they_reached(store: Store) -> None:
    with store.writing() as unit:
        for number, (status, recipe, score) in enumerate(
            [("completed", "demo", 0.5), ("completed", "demo", 0.9), ("failed", "demo", None), ("completed", "x", 0.7)]
        ):
            metrics = None if score is None else {"macro_f1": score, "recall/leak: big": score / 2}
            unit.runs.add(run(f"r{number}", status=status, recipe=recipe, metrics=metrics))
            unit.flush()
    with store.reading() as unit:

        def names(**wanted: object) -> list[str]:
            return [row.name for row in unit.runs.find(**wanted)]  # type: ignore[arg-type]

        assert names() == ["r3", "r2", "r1", "r0"]
        assert names(limit=1) == ["r3"]
        assert names(status=("failed",)) == ["r2"]
        assert names(recipe="demo", status=("completed",)) == ["r1", "r0"]
        assert names(kind="tune") == []
        assert names(metric="macro_f1") == ["r1", "r3", "r0"]
        assert names(metric="macro_f1", at_least=0.7) == ["r1", "r3"]
        assert names(metric="macro_f1", at_least=0.6, at_most=0.8) == ["r3"]
        assert names(metric="recall/leak: big", at_least=0.4) == ["r1"]
        assert names(metric="unknown") == []


def test_a_names_beginning_is_no_pattern(store: Store) -> None:
    with store.writing() as unit:
        for name in ("a_1", "ab1", "a%1"):
            unit.runs.add(run(name))
    with store.reading() as unit:
        assert [row.name for row in unit.runs.beginning_with("a_")] == ["a_1"]
        assert [row.name for row in unit.runs.beginning_with("a%")] == ["a%1"]


def test_epochs_are_replaced_and_go_with_their_run(store: Store) -> None:
    with store.writing() as unit:
        row = unit.runs.add(run("a"))
        unit.flush()
        number = row.id
        unit.runs.put_epochs(number, [{"epoch": 0, "loss": 1.0}, {"epoch": 1, "loss": 0.5}])
        unit.runs.put_artifacts(number, [ArtifactRow(run_id=number, kind="report", path="report.html", num_bytes=3)])
    with store.writing() as unit:
        unit.runs.put_epochs(number, [{"epoch": 1, "loss": 0.25, "undefined": None}, {"epoch": 2, "loss": 0.1}])
        unit.runs.put_artifacts(number, [ArtifactRow(run_id=number, kind="report", path="report.html", num_bytes=4)])
    with store.reading() as unit:
        assert unit.runs.epochs(number) == [
            {"epoch": 0, "loss": 1.0}, {"epoch": 1, "loss": 0.25, "undefined": None}, {"epoch": 2, "loss": 0.1},
        ]  # fmt: skip
        assert [artifact.num_bytes for artifact in unit.runs.artifacts(number)] == [4]
    with store.writing() as unit:
        unit.runs.forget_epochs(number, 2)
        assert len(unit.runs.epochs(number)) == 2
        unit.runs.delete(number)
    with store.engine.connect() as connection:
        for table in ("epoch_metrics", "artifacts", "training_history"):
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar() == 0


def test_one_version_of_a_name_is_active_whoever_asks(store: Store) -> None:
    with store.writing() as unit:
        unit.versions.add(version(1, is_active=True))
        unit.versions.add(version(1, name="tiles", path="t/1", is_active=True))
    with pytest.raises(WorkspaceError), store.writing() as unit:
        unit.versions.add(version(2, is_active=True))
    with store.writing() as unit:
        unit.versions.add(version(2))
        unit.flush()
        unit.versions.make_active("strips", 2)
    with store.reading() as unit:
        active = unit.versions.active("strips")
        assert active is not None
        assert active.version == 2
        assert [row.name for row in unit.versions.find(active=True)] == ["strips", "tiles"]


def test_known_words_only(store: Store) -> None:
    with pytest.raises(WorkspaceError), store.writing() as unit:
        unit.runs.add(run("a", status="done"))


def test_a_snapshot_stays_while_a_run_was_trained_on_it(store: Store) -> None:
    with store.writing() as unit:
        snapshot = unit.datasets.add_snapshot(
            SnapshotRow(fingerprint="f" * 64, task="multiclass", classes=["a"], num_records=1, path="s", checksum="c")
        )
        unit.flush()
        unit.runs.add(run("a", snapshot_id=snapshot.id))
    with pytest.raises(DBAPIError, match=r"(?i)foreign key"), store.engine.begin() as connection:
        connection.execute(text("DELETE FROM snapshots"))


def test_what_was_said_of_a_record_stays_and_the_last_word_counts(store: Store) -> None:
    box = {"label": "a", "x": 1, "y": 2, "width": 3, "height": 4}
    with store.writing() as unit:
        given = {"name": "parts", "task": "multiclass", "classes": ["a", "b"], "source": {"folder": "parts"}}
        dataset = unit.annotations.add_dataset(DatasetRow(**given))
        unit.flush()
        unit.annotations.add_records([RecordRow(dataset_id=dataset.id, record=f"{n}.png", uri=f"{n}") for n in "12"])
        unit.flush()
        record = unit.annotations.record(dataset.id, "1.png")
        assert record is not None
        number = record.id
        assert unit.annotations.review(number, "approved", author="lee") is None
        unit.annotations.revise(number, labels=["a"], author="kim", boxes=[box], state="submitted")
        unit.annotations.revise(number, labels=["b"], author="kim")
        unit.annotations.review(number, "approved", author="lee")
    with store.reading() as unit:
        assert unit.annotations.dataset("parts") is not None
        assert [(row.revision, row.labels, row.author, row.state) for row in unit.annotations.revisions(number)] == [
            (1, ["a"], "kim", "submitted"), (2, ["b"], "kim", "draft"), (3, ["b"], "lee", "approved"),
        ]  # fmt: skip
        assert unit.annotations.revisions(number)[0].boxes == [box]
        current = unit.annotations.current(number)
        assert current is not None
        assert current.revision == 3
    with pytest.raises(WorkspaceError), store.writing() as unit:  # the database itself allows no second current one
        unit._session.add(AnnotationRow(record_id=number, revision=4, labels=[], boxes=[], author="kim"))


def test_writers_wait_for_each_other(store: Store, tmp_path: Path) -> None:
    """Four that read, think and write: nobody is told that the database is locked, and no count is lost."""
    with store.writing() as unit:
        unit.runs.add(run("a", seed=0))
    failures: list[BaseException] = []

    def count_up() -> None:
        try:
            with Store(tmp_path, store.url.render_as_string(hide_password=False)) as own:
                for _ in range(5):
                    with own.writing() as unit:
                        unit._session.execute(text("UPDATE training_history SET seed = seed + 1"))
        except BaseException as error:  # noqa: BLE001 - a thread's failure is the test's
            failures.append(error)

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with store.reading() as unit:
        row = unit.runs.get("a")
        assert row is not None
        assert row.seed == 20
