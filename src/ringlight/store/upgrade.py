"""Bring a database to the schema of this Ringlight, forward or back, one process at a time."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock
from sqlalchemy import Connection, Engine, inspect, text

from ringlight.errors import WorkspaceError

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

HEAD = "0002"
"""The newest schema; a test compares it with the migrations. Known here so that a store opens without Alembic."""

_LOCK_NUMBER = 7248301965
"""Of PostgreSQL's advisory lock: any number, the same in every Ringlight."""


def bring_up_to_date(engine: Engine, root: Path) -> None:
    """Create the tables, or upgrade those of an older Ringlight; of a file's earlier state a copy is kept.

    Raises:
        WorkspaceError: a newer Ringlight wrote the database.
    """
    if current(engine) == HEAD:
        return
    with _alone(engine, root):
        found = current(engine)  # another process may have done it meanwhile
        if found != HEAD:
            if found is not None:
                _refuse_unknown(engine, found)
                _keep_copy(engine, found)
            migrate(engine, HEAD)


def current(engine: Engine) -> str | None:
    """Return the schema of a database, None of an empty one."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        version: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return version


def migrate(engine: Engine, revision: str) -> None:
    """Take a database forward or back to a schema, in one transaction; "base" is none at all."""
    with engine.execution_options(ringlight_writes=True).begin() as connection:
        migrate_over(connection, revision)


def migrate_over(connection: Connection, revision: str) -> None:
    """Do so over a connection; whoever opened its transaction ends it."""
    from alembic.runtime.environment import EnvironmentContext

    script = scripts()
    target = None if revision == "base" else revision
    known = [one.revision for one in script.walk_revisions()]  # the newest first

    def steps(at: object, _context: object) -> list[object]:
        found = at[0] if isinstance(at, tuple) and at else at or None
        places = [*known, None]
        down = places.index(target) > places.index(found)  # type: ignore[arg-type]
        move = script._downgrade_revs if down else script._upgrade_revs
        return list(move(revision, found))  # type: ignore[arg-type]

    with EnvironmentContext(_config(), script, fn=steps) as environment:
        environment.configure(connection=connection, transactional_ddl=True, render_as_batch=True)
        environment.run_migrations()


def scripts() -> ScriptDirectory:
    """Return the migrations there are."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@contextlib.contextmanager
def _alone(engine: Engine, root: Path) -> Iterator[None]:
    if engine.dialect.name == "sqlite":
        with FileLock(root / ".ringlight.db.lock"):
            yield
        return
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:number)"), {"number": _LOCK_NUMBER})
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:number)"), {"number": _LOCK_NUMBER})


def _refuse_unknown(engine: Engine, found: str) -> None:
    if found not in {one.revision for one in scripts().walk_revisions()}:
        raise WorkspaceError(
            f"a database of schema {HEAD} or older", got=f"schema {found}",
            where=engine.url.database or engine.url.render_as_string(),
            fix="a newer Ringlight wrote it: install that one, or name another workspace",
        )  # fmt: skip


def _keep_copy(engine: Engine, found: str) -> None:
    """Copy a database file as it is before it is changed; a server has copies of its own."""
    if engine.dialect.name != "sqlite":
        return
    path = Path(str(engine.url.database))
    with (
        contextlib.closing(sqlite3.connect(path)) as source,
        contextlib.closing(sqlite3.connect(path.with_name(f"{path.name}.schema-{found}"))) as copy,
    ):
        source.backup(copy)
