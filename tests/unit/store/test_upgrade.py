"""A workspace of any earlier schema opens with everything in it, and one of a later schema is left alone."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ringlight.errors import WorkspaceError
from ringlight.store.session import DATABASE, Store
from ringlight.store.upgrade import HEAD, current, migrate, scripts

DUMPS = Path(__file__).parents[2] / "data" / "store"
SCHEMAS = sorted(path.stem for path in DUMPS.glob("*.sql"))


def rows_of(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Every table's rows, by column."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            name: [dict(row) for row in connection.execute(f"SELECT * FROM {name}")]
            for name in names
            if name != "alembic_version"
        }


def restored(folder: Path, schema: str) -> Path:
    path = folder / DATABASE
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript((DUMPS / f"{schema}.sql").read_text(encoding="utf-8"))
    return path


def test_every_schema_has_one_before_it_and_a_database_that_is_kept() -> None:
    """A new migration needs HEAD raised, and `python tests/data/store/make.py` run."""
    known = list(scripts().walk_revisions())
    assert scripts().get_current_head() == HEAD
    assert sorted(one.revision for one in known) == SCHEMAS
    assert [one.down_revision for one in known] == [*(one.revision for one in known[1:]), None]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_database_of_every_schema_is_upgraded_with_its_rows(tmp_path: Path, schema: str) -> None:
    path = restored(tmp_path, schema)
    before = rows_of(path)
    assert all(before.values())
    with Store(tmp_path) as store:
        assert current(store.engine) == HEAD
        with store.reading() as unit:
            run = unit.runs.get("demo-1")
            active = unit.versions.active("strips")
            assert run is not None
            assert active is not None
            assert (run.metrics, unit.runs.epochs(run.id)[0]["val/auroc"]) == ({"macro_f1": 0.5}, None)
            assert (active.run_id, unit.activations.of("strips")[0].who) == (run.id, "ann")
            assert unit.datasets.splits(1)[0].sizes["train"] == 26
    after = rows_of(path)
    for table, rows in before.items():
        assert [{column: row[column] for column in rows[0]} for row in after[table]] == rows
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    copies = sorted(one.name for one in tmp_path.glob(f"{DATABASE}.schema-*"))
    assert copies == ([] if schema == HEAD else [f"{DATABASE}.schema-{schema}"])
    if copies:
        assert rows_of(tmp_path / copies[0]) == before


def test_an_upgrade_that_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    path = restored(tmp_path, SCHEMAS[0])
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE jobs (mine TEXT)")
        before = list(connection.iterdump())
    with pytest.raises(WorkspaceError, match=rf"^{path}: expected a database .* got table jobs already exists; "):
        Store(tmp_path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert list(connection.iterdump()) == before


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = restored(tmp_path, HEAD)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(WorkspaceError) as caught:
        Store(tmp_path)
    assert str(caught.value) == (
        f"{path}: expected a database of schema {HEAD} or older, got schema 9999; a newer Ringlight wrote it: install "
        "that one, or name another workspace"
    )
    assert sorted(one.name for one in tmp_path.iterdir() if "lock" not in one.name) == [DATABASE]


def test_two_processes_that_open_an_empty_workspace_at_once_both_succeed(tmp_path: Path) -> None:
    """Both found no tables, both made them, and one was told that they exist already."""
    program = (
        "import sys; from pathlib import Path; from ringlight.store.session import Store; Store(Path(sys.argv[1]))"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "ws")], stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    ends = [(process.communicate(timeout=60)[1].decode(), process.returncode) for process in both]
    assert ends == [("", 0)] * 2
    with Store(tmp_path / "ws") as store:
        assert current(store.engine) == HEAD


def test_a_database_goes_back_step_by_step_to_what_each_schema_had(tmp_path: Path) -> None:
    path = restored(tmp_path, HEAD)
    with Store(tmp_path) as store:
        for schema in reversed(SCHEMAS):
            migrate(store.engine, schema)
            assert current(store.engine) == schema
            other = tmp_path / schema
            other.mkdir()
            assert rows_of(path) == rows_of(restored(other, schema))
        migrate(store.engine, "base")
    assert rows_of(path) == {}
