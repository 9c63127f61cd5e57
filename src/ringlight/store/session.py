"""Opening the store, and units of work: one transaction a use case, whose files go with it when it fails."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from ringlight.errors import DATABASE_URL, MissingExtraError, RinglightError, WorkspaceError
from ringlight.files import unwritable
from ringlight.store.activations import Activations
from ringlight.store.annotations import Annotations
from ringlight.store.datasets import Datasets
from ringlight.store.events import Events
from ringlight.store.jobs import Jobs
from ringlight.store.runs import Runs
from ringlight.store.upgrade import bring_up_to_date
from ringlight.store.versions import Versions

DATABASE = "ringlight.db"
"""The file of a workspace, where no other database is named."""

BUSY_SECONDS = 30.0
"""How long a writer waits for another one."""


class UnitOfWork:
    """What one use case does with the store: repositories over one transaction.

    Files belong to it, too: `undo` is called, the last first, when the transaction fails, and what `afterwards` was
    told once it holds.
    """

    def __init__(self, session: Session) -> None:
        self.datasets = Datasets(session)
        self.annotations = Annotations(session)
        self.runs = Runs(session)
        self.versions = Versions(session)
        self.activations = Activations(session)
        self.jobs = Jobs(session)
        self.events = Events(session)
        self._session = session
        self._undo: list[Callable[[], object]] = []
        self._afterwards: list[Callable[[], object]] = []

    def flush(self) -> None:
        """Send what was added to the database, which then knows its numbers and refuses what breaks its rules."""
        self._session.flush()

    def undo(self, action: Callable[[], object]) -> None:
        """Remember what takes a file back if the transaction fails."""
        self._undo.append(action)

    def afterwards(self, action: Callable[[], object]) -> None:
        """Remember what is to be done once the transaction holds."""
        self._afterwards.append(action)

    def take_back(self) -> None:
        """Do what `undo` was told."""
        while self._undo:
            self._undo.pop()()

    def conclude(self) -> None:
        """Do what `afterwards` was told."""
        self._undo.clear()
        while self._afterwards:
            self._afterwards.pop(0)()


class Store:
    """A workspace's database. Use it in a `with` block, or close it.

    Raises:
        WorkspaceError: the database cannot be opened, or a newer Ringlight wrote it.
        MissingExtraError: a PostgreSQL database without its driver.
    """

    def __init__(self, root: Path, url: str | None = None) -> None:
        self.root = root
        named = url or os.environ.get(DATABASE_URL)
        self.url = _url(named) if named else URL.create("sqlite", database=str(root / DATABASE))
        self.engine = self._engine()
        with told(self):
            bring_up_to_date(self.engine, root)

    @property
    def shown(self) -> str:
        """Its address without the password, for messages and logs."""
        return str(self.url.database) if self.is_sqlite else self.url.set(query={}).render_as_string()

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file."""
        return self.url.get_backend_name() == "sqlite"

    def _engine(self) -> Engine:
        if not self.is_sqlite:
            try:
                return create_engine(self.url, pool_pre_ping=True, hide_parameters=True)
            except ModuleNotFoundError as error:
                raise MissingExtraError(
                    "the driver of PostgreSQL", got=f"no module {error.name}", where=DATABASE_URL,
                    fix="install it with pip install 'ringlight[postgres]'",
                ) from error  # fmt: skip
        try:
            Path(str(self.url.database)).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self.root, error) from error
        # A connection a unit: opening a file is cheap, and no connection crosses a fork or stays open behind a run.
        engine = create_engine(
            self.url, poolclass=NullPool, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS}
        )
        event.listen(engine, "connect", _settings)
        event.listen(engine, "begin", _begin)
        return engine

    @contextlib.contextmanager
    def reading(self) -> Iterator[UnitOfWork]:
        """Look at one state of the store; what is changed in the block is dropped."""
        with told(self), Session(self.engine) as session:
            yield UnitOfWork(session)

    @contextlib.contextmanager
    def writing(self) -> Iterator[UnitOfWork]:
        """Change the store: committed once, when the block succeeds; else nothing has happened, to files either.

        Raises:
            WorkspaceError: the database cannot be written.
        """
        engine = self.engine.execution_options(ringlight_writes=True)
        with told(self), Session(engine, expire_on_commit=False) as session:
            unit = UnitOfWork(session)
            try:
                session.connection()  # SQLite: take the place in the queue of writers before anything is read
                yield unit
                session.commit()
            except BaseException:
                session.rollback()
                unit.take_back()
                raise
        unit.conclude()

    def close(self) -> None:
        """Let go of its connections."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        """Return the store."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


def _url(named: str) -> URL:
    """Return the address of a database; PostgreSQL's with the driver that the extra installs.

    Raises:
        WorkspaceError: it is none, or of another kind of database.
    """
    try:
        url = make_url(named)
    except ArgumentError:
        url = None
    kind = None if url is None else url.get_backend_name()
    if url is None or kind not in ("sqlite", "postgresql"):
        raise WorkspaceError(
            "sqlite:///FILE or postgresql://USER@HOST/DATABASE", got=f"`{kind}`" if kind else "something else",
            where=DATABASE_URL, fix="correct the environment variable, or leave it out to use the workspace's own file",
        )  # fmt: skip
    return url.set(drivername="postgresql+pg8000") if url.drivername in ("postgresql", "postgres") else url


def _settings(connection: sqlite3.Connection, _record: Any) -> None:
    """Set up a connection to SQLite: SQLAlchemy begins transactions, not the driver."""
    connection.isolation_level = None
    for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {setting}").close()


def _begin(connection: Connection) -> None:
    """Begin a transaction; one that will write says so at once.

    Else two that have read would both want to write, and one is refused on the spot, however long it would wait.
    """
    writes = connection.get_execution_options().get("ringlight_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextlib.contextmanager
def told(store: Store) -> Iterator[None]:
    """Turn what a database answers into one line; the password of its address is in none of them.

    Raises:
        WorkspaceError: the database is locked, full, read-only, damaged or out of reach.
    """
    try:
        yield
    except RinglightError:
        raise
    except DBAPIError as error:
        raise _in_one_line(store, error) from error
    except SQLAlchemyError as error:
        raise WorkspaceError(
            "a database that answers", got=f"{type(error).__name__}: {error}", where=store.shown, fix="see the log"
        ) from error


def _in_one_line(store: Store, error: DBAPIError) -> WorkspaceError:
    said = error.orig.args[0] if error.orig is not None and error.orig.args else error.orig
    answer = " ".join(str(said.get("M", said) if isinstance(said, dict) else said).split())  # PostgreSQL sends fields
    lowered = answer.lower()
    if "locked" in lowered:
        fix = f"another process has been writing for more than {BUSY_SECONDS:.0f} s: end it, then run again"
    elif "full" in lowered:
        fix = "free some space and run again"
    elif "readonly" in lowered or "unable to open" in lowered:
        fix = "check the permissions or choose another place with --workspace FOLDER"
    elif "malformed" in lowered or "not a database" in lowered:
        fix = "put a copy in its place, or move it away and take the runs in again with ringlight runs import"
    elif isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated:
        fix = "check that the server runs and that the address is right"
    else:
        fix = "run again with --debug and report what it prints"
    return WorkspaceError("a database that can be read and written", got=answer, where=store.shown, fix=fix)
