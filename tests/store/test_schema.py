"""The schema: built from nothing, the same twice, and the same as the code believes."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

import asyncpg
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from app.store import tables
from app.store.database import plain_url
from app.store.migrate import migrate
from app.store.tables.metadata import metadata

for family in pkgutil.iter_modules(tables.__path__, f"{tables.__name__}."):
    import_module(family.name)


def not_timescales_own(thing: Any, name: str | None, kind: str, reflected: bool, other: Any) -> bool:
    return not (kind == "table" and name == "alembic_version")


def differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(
        connection,
        opts={"compare_type": True, "compare_server_default": True, "include_object": not_timescales_own},
    )
    return list(compare_metadata(context, metadata))


async def test_code_and_schema_agree(database_url: str) -> None:
    engine = create_async_engine(database_url)
    async with engine.connect() as connection:
        found = await connection.run_sync(differences)
    await engine.dispose()
    assert found == []


async def test_migrating_again_changes_nothing(database_url: str) -> None:
    connection = await asyncpg.connect(plain_url(database_url))
    count = "SELECT (SELECT count(*) FROM factor_set), (SELECT count(*) || chr(32) || max(factor_id) FROM coal_factor)"
    before = await connection.fetchrow(count)
    await migrate(database_url)
    assert await connection.fetchrow(count) == before
    await connection.close()


async def test_readings_are_a_hypertable_with_one_index(database_url: str) -> None:
    connection = await asyncpg.connect(plain_url(database_url))
    tables = await connection.fetch("SELECT hypertable_name FROM timescaledb_information.hypertables ORDER BY 1")
    assert [row[0] for row in tables] == ["enterprise_hour", "meter_hour", "reading"]
    indexes = await connection.fetch("SELECT indexname FROM pg_indexes WHERE tablename = 'reading'")
    assert [row[0] for row in indexes] == ["reading_key"]
    await connection.close()


async def test_a_new_reference_table_leaves_alone_what_was_entered_by_hand(own_database_url: str) -> None:
    """Coke of 2026 was entered for the nation: the reference holds before and after it, and only there."""
    connection = await asyncpg.connect(plain_url(own_database_url))
    coke = "carrier = 'coke' AND basis = 'equal'"
    await connection.execute(f"UPDATE coal_factor SET valid_to = '2026-01-01' WHERE {coke} AND valid_to IS NULL")
    await connection.execute(
        """INSERT INTO coal_factor (carrier, basis, kgce_per_unit, valid_from, valid_to, edition, source, verified)
           VALUES ('coke', 'equal', 0.95, '2026-01-01', '2027-01-01', 'test', 'by hand', true)"""
    )
    await connection.execute("DELETE FROM factor_set")
    await migrate(own_database_url)
    found = await connection.fetch(
        f"SELECT kgce_per_unit::text, valid_from::text, valid_to::text, origin FROM coal_factor WHERE {coke} ORDER BY 2"
    )
    assert [tuple(row) for row in found] == [
        ("0.9714", "2000-01-01", "2021-04-01", "reference"),
        ("0.9714", "2021-04-01", "2026-01-01", "reference"),
        ("0.95", "2026-01-01", "2027-01-01", "entered"),
        ("0.9714", "2027-01-01", None, "reference"),
    ]
    sets = await connection.fetch("SELECT id FROM factor_set ORDER BY loaded_at DESC")
    assert sets[0][0].startswith("factors-"), "the set has a name that tells it from the bare reference"
    await connection.close()
