"""A store on each database there is; PostgreSQL runs for the tests alone, on a socket."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from ringlight.store.session import Store


class Postgres:
    """A server of its own: made, started on a socket, and gone with the tests."""

    def __init__(self, programs: Path) -> None:
        self.programs = programs
        self.home = Path(tempfile.mkdtemp(prefix="ringlight-pg-"))  # short: a socket's path holds 107 characters
        # The server refuses to run as root; Debian's package brings its own user along.
        self.user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0:
            shutil.chown(self.home, self.user)
        try:
            self._run(
                "initdb", "--pgdata", self.data, "--auth=trust", "--encoding=UTF8", "--no-sync", "--username=test"
            )
            settings = f"-c listen_addresses= -c unix_socket_directories={self.home} -c fsync=off -c max_connections=60"
            self._run("pg_ctl", "start", "--wait", "--pgdata", self.data, "--log", self.home / "log", "-o", settings)
            with Store(self.home, self.url("postgres")) as store:  # migrated once; every test copies it
                store.close()
        except BaseException:
            self.stop()
            raise

    @property
    def data(self) -> Path:
        return self.home / "data"

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [str(self.programs / program), *map(str, arguments)]
        if os.geteuid() == 0:
            command = ["runuser", "-u", self.user, "--", *command]
        done = subprocess.run(command, cwd=self.home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        if done.returncode:
            log = self.home / "log"
            raise RuntimeError(f"{program}: {done.stdout.decode()} {log.read_text() if log.exists() else ''}")

    def url(self, database: str) -> str:
        return f"postgresql+pg8000://test@/{database}?unix_sock={self.home}/.s.PGSQL.5432"

    def fresh(self) -> str:
        """Return the address of a new database with the tables in it."""
        name = f"t{uuid.uuid4().hex[:12]}"
        engine = create_engine(self.url("template1"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE postgres"))
        engine.dispose()
        return self.url(name)

    def stop(self) -> None:
        if self.data.is_dir():
            self._run("pg_ctl", "stop", "--mode=immediate", "--pgdata", self.data)
        shutil.rmtree(self.home, ignore_errors=True)


def _programs() -> Path | None:
    """Return where the server's programs lie: Debian keeps them off the path, a folder for each version."""
    found = shutil.which("pg_ctl")
    places: Sequence[Path] = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((place for place in reversed(places) if (place / "initdb").is_file()), None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    programs = _programs()
    if programs is None:
        reason = "PostgreSQL: expected its programs, got none; install the package postgresql"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    server = Postgres(programs)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the tables in it; every test copies it."""
    folder = tmp_path_factory.mktemp("sqlite")
    Store(folder).close()
    return folder / "ringlight.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    """The address of an empty database for `Store(tmp_path, database_url)`; None is the workspace's own file."""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        return server.fresh()
    shutil.copy(request.getfixturevalue("empty_sqlite"), tmp_path / "ringlight.db")
    return None


@pytest.fixture
def store(database_url: str | None, tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path, database_url) as opened:
        yield opened
