"""The migrations lead to the tables of the code, and back, on every database."""

from __future__ import annotations

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect

from ringlight.store.session import Store
from ringlight.store.tables import Base, RunRow
from ringlight.store.upgrade import HEAD, current, migrate, scripts

SCHEMAS = [one.revision for one in scripts().walk_revisions()]
"""The newest first."""


def gaps(store: Store) -> list[Any]:
    """What would have to change for the database to be as the code says."""
    with store.engine.connect() as connection:
        found = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(found, Base.metadata))


def checks(connection: Connection) -> dict[str, dict[str | None, str]]:
    """Every table's check constraints, which Alembic does not compare."""
    inspector = inspect(connection)
    return {
        table: {check["name"]: check["sqltext"] for check in inspector.get_check_constraints(table)}
        for table in Base.metadata.tables
    }


def test_the_migrations_lead_to_the_tables_of_the_code_and_back(store: Store) -> None:
    assert current(store.engine) == HEAD
    assert gaps(store) == []
    with store.engine.connect() as connection:
        migrated = checks(connection)
    with store.writing() as unit:
        unit.runs.add(RunRow(name="a", path="runs/a", config={}))
    for schema in SCHEMAS[1:]:
        migrate(store.engine, schema)
        assert current(store.engine) == schema
        with store.reading() as unit:
            assert unit.runs.count() == 1
    migrate(store.engine, "base")
    assert inspect(store.engine).get_table_names() == ["alembic_version"]

    with store.engine.connect() as connection:  # as the code alone makes them; rolled back
        Base.metadata.create_all(connection)
        made = checks(connection)
    assert migrated == made
    for schema in reversed(SCHEMAS):
        migrate(store.engine, schema)
    assert gaps(store) == []
