"""A store in trouble: full, read-only, locked, damaged, out of reach. One line each, and nothing is lost."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ringlight.errors import DATABASE_URL, WorkspaceError
from ringlight.store import session
from ringlight.store.session import DATABASE, Store
from ringlight.store.tables import RunRow

PROJECT = Path(__file__).resolve().parents[2]


def put(store: Store, name: str, size: int = 1) -> None:
    with store.writing() as unit:
        unit.runs.add(RunRow(name=name, path=f"runs/{name}", config={"text": "x" * size}))


def names(store: Store) -> list[str]:
    with store.reading() as unit:
        return [row.name for row in unit.runs.find()]


def is_whole(root: Path) -> bool:
    with contextlib.closing(sqlite3.connect(root / DATABASE)) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchone() == ("ok",))


def test_a_full_disk_is_told_and_the_store_goes_on_when_there_is_room(tmp_path: Path) -> None:
    from sqlalchemy import event

    with Store(tmp_path) as store:
        put(store, "before")

        def small(connection: sqlite3.Connection, _record: object) -> None:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages + 2}").close()

        event.listen(store.engine, "connect", small)
        with pytest.raises(WorkspaceError, match=r"ringlight\.db: .*is full; free some space and run again"):
            put(store, "too large", size=1_000_000)
        event.remove(store.engine, "connect", small)
        put(store, "after")
        assert names(store) == ["after", "before"]
    assert is_whole(tmp_path)


def test_a_read_only_store_is_told_and_can_be_read(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        put(store, "before")
    with Store(tmp_path, f"sqlite:///file:{tmp_path / DATABASE}?mode=ro&uri=true") as store:
        assert names(store) == ["before"]
        with pytest.raises(WorkspaceError, match="readonly database; check the permissions or choose another place"):
            put(store, "never")
    assert is_whole(tmp_path)


def test_a_workspace_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WorkspaceError, match="expected a place that can be written"):
        Store(tmp_path / "file" / "workspace")


def test_whoever_waits_too_long_is_told_who_is_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "BUSY_SECONDS", 0.05)
    with Store(tmp_path) as store:
        put(store, "before")
        with contextlib.closing(sqlite3.connect(tmp_path / DATABASE, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert names(store) == ["before"]  # readers are never in anybody's way
            with pytest.raises(WorkspaceError, match="locked; another process has been writing"):
                put(store, "never")
            other.execute("ROLLBACK")
        put(store, "after")


@pytest.mark.parametrize("content", [b"this is no database, only as long as one " * 100, None])
def test_a_damaged_database_is_told_and_left_as_it_is(tmp_path: Path, content: bytes | None) -> None:
    with Store(tmp_path) as store:
        put(store, "before", size=50_000)
    path = tmp_path / DATABASE
    if content is None:  # its first page is whole, the rest is not
        content = path.read_bytes()[:4096] + b"\xff" * (path.stat().st_size - 4096)
    path.write_bytes(content)
    with pytest.raises(WorkspaceError, match="ringlight runs import") as caught, Store(tmp_path) as store:
        names(store)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://kim:geheim@/x?unix_sock=/nowhere/.s.PGSQL.5432", "check that the server runs"),
        ("mysql://kim:geheim@host/x", "got `mysql`"),
        ("kim:geheim", "got something else"),
    ],
)
def test_an_address_that_leads_nowhere_is_told_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, url: str, told: str
) -> None:
    monkeypatch.setenv(DATABASE_URL, url)
    with caplog.at_level(logging.DEBUG), pytest.raises(WorkspaceError, match=told) as caught:
        Store(tmp_path)
    assert "geheim" not in str(caught.value) + caplog.text
    assert "\n" not in str(caught.value)


def test_many_readers_and_writers_are_never_refused(tmp_path: Path) -> None:
    """50 read while 4 write; nobody hears that the database is locked, and every write is there."""
    with Store(tmp_path) as store:
        for number in range(4):
            put(store, f"run-{number}")
    failures: list[BaseException] = []
    start = threading.Barrier(54)

    def read() -> None:
        with Store(tmp_path) as own:
            start.wait()
            for _ in range(3):
                assert len(names(own)) == 4

    def write(run: int) -> None:
        with Store(tmp_path) as own:
            start.wait()
            for epoch in range(10):
                with own.writing() as unit:
                    unit.runs.put_epochs(run, [{"epoch": epoch, "loss": 0.5}])

    def guarded(work: object, *arguments: int) -> None:
        try:
            work(*arguments)  # type: ignore[operator]
        except BaseException as error:  # noqa: BLE001 - a thread's failure is the test's
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(read,)) for _ in range(50)]
    threads += [threading.Thread(target=guarded, args=(write, run)) for run in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with Store(tmp_path) as store, store.reading() as unit:
        assert [len(unit.runs.epochs(run)) for run in range(1, 5)] == [10] * 4


def test_a_thousand_runs_are_listed_without_reading_their_configurations(tmp_path: Path) -> None:
    """What made listing slow elsewhere; how long it takes, `benchmarks/store_load.py` prints."""
    from sqlalchemy import event

    with Store(tmp_path) as store:
        with store.writing() as unit:
            for number in range(1000):
                metrics = {"macro_f1": number / 1000}
                unit.runs.add(RunRow(name=f"r{number}", path=f"runs/r{number}", config={"a": 1}, metrics=metrics))
        asked: list[str] = []
        event.listen(store.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
        with store.reading() as unit:
            found = unit.runs.find(metric="macro_f1", at_least=0.99)
            assert [row.name for row in found] == [f"r{number}" for number in range(999, 989, -1)]
            assert len(unit.runs.find()) == 1000
    selects = [one for one in asked if one.startswith("SELECT")]
    assert len(selects) == 2
    assert not any("config" in one for one in selects)


def test_a_process_killed_in_the_middle_of_a_write_loses_that_step_at_most() -> None:
    done = subprocess.run(
        [sys.executable, PROJECT / "benchmarks" / "power_cut.py", "--times", "20"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20 kills" in done.stdout
    assert "0 faults" in done.stdout
