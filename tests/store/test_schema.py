"""The schema: built from nothing, the same twice, and the same as the code believes."""

from __future__ import annotations

from typing import Any

import asyncpg
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from app.store.database import plain_url
from app.store.migrate import migrate
from app.store.tables import metadata


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
