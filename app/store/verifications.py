"""The nights on which a sample of the rollups was computed from nothing, and what differed from what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

import asyncpg
from sqlalchemy import func, select

from app.store.database import Database
from app.store.readings import MOMENT
from app.store.registry import Page
from app.store.rollups import Connection
from app.store.tables.registry import enterprise
from app.store.tables.rollups import verification, verification_difference

BEGIN = """
INSERT INTO verification AS v (night, started_at, seed, asked) VALUES ($1, now(), $2, $3)
ON CONFLICT (night) DO UPDATE SET started_at = now()
    WHERE v.finished_at IS NULL AND v.started_at < now() - interval '2 hours'
RETURNING verification_id
"""
FINISH = """
UPDATE verification SET finished_at = now(), enterprises = $2, passed_over = $3, meters = $4, readings = $5,
       buckets = $6, differences = $7
WHERE verification_id = $1
"""
CANDIDATES = "SELECT DISTINCT enterprise FROM meter ORDER BY enterprise"
RANKS = """
SELECT (extract(epoch FROM start) * 1000000)::bigint, tce_equivalent FROM enterprise_rank WHERE enterprise = $1
"""
NO_MORE = """
UPDATE verification_difference SET gone_at = now() WHERE enterprise = $1 AND gone_at IS NULL
"""
KEEP = f"""
INSERT INTO verification_difference
    (verification_id, enterprise, table_name, key, start, column_name, stored, expected)
SELECT $1, $2, table_name, key, {MOMENT.format(us="start_us")}, column_name, stored, expected
FROM unnest($3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[])
     AS found (table_name, key, start_us, column_name, stored, expected)
"""
KEPT_AT_MOST = 1000
"""Differences of one enterprise kept a night: the first of them say what is wrong."""
OPEN = """
SELECT enterprise, count(*)::int AS differences, min(found_at) AS since
FROM verification_difference WHERE gone_at IS NULL GROUP BY enterprise ORDER BY enterprise
"""

Row = tuple[str, str, int, str, str | None, str | None]
"""Table, key, start in microseconds, column, stored, expected."""


@dataclass(frozen=True, slots=True)
class OpenDifferences:
    """An enterprise whose stored figures are not what its readings say, as the last night found it."""

    enterprise: str
    differences: int
    since: datetime


async def ranks(connection: Connection, enterprise: str) -> dict[int, tuple[Decimal | None]]:
    """By which tce an enterprise is ranked in each year."""
    return {row[0]: (row[1],) for row in await connection.fetch(RANKS, enterprise)}


async def begin(pool: asyncpg.Pool, night: date, seed: int, asked: int) -> int | None:
    """Take this night's verification; None when another worker has it or did it."""
    number: int | None = await pool.fetchval(BEGIN, night, seed, asked)
    return number


async def candidates(pool: asyncpg.Pool) -> list[str]:
    """Enterprises with meters, in order."""
    return [row[0] for row in await pool.fetch(CANDIDATES)]


async def keep(connection: Connection, number: int, enterprise_id: str, found: Sequence[Row]) -> None:
    """What the night found in one enterprise takes the place of what earlier nights had found."""
    await connection.execute(NO_MORE, enterprise_id)
    if found:
        columns = [list(column) for column in zip(*found[:KEPT_AT_MOST], strict=True)]
        await connection.execute(KEEP, number, enterprise_id, *columns)


async def finish(pool: asyncpg.Pool, number: int, *counts: int) -> None:
    """Enterprises verified and passed over, meters, readings, buckets and differences of the night."""
    await pool.execute(FINISH, number, *counts)


async def open_differences(pool: asyncpg.Pool) -> list[OpenDifferences]:
    """Enterprises in which the last verification found a difference that has not gone."""
    return [OpenDifferences(*row) for row in await pool.fetch(OPEN)]


async def list_verifications(database: Database, *, limit: int, after: int | None) -> Page:
    """The nights, newest first."""
    query = select(verification).order_by(verification.c.verification_id.desc())
    if after is not None:
        query = query.where(verification.c.verification_id < after)
    async with database.engine.connect() as connection:
        rows = [dict(row._mapping) for row in await connection.execute(query.limit(limit + 1))]
    return Page(rows[:limit], str(rows[limit - 1]["verification_id"]) if len(rows) > limit else None)


async def list_differences(
    database: Database, *, scope: str | None, only: str | None, everything: bool, limit: int, after: int | None
) -> Page:
    """What differed, newest first; without `everything` only what has not gone."""
    table = verification_difference
    query = select(table).join_from(table, enterprise).order_by(table.c.difference_id.desc())
    if scope is not None:
        query = query.where(func.starts_with(enterprise.c.region, scope))
    if only is not None:
        query = query.where(table.c.enterprise == only)
    if not everything:
        query = query.where(table.c.gone_at.is_(None))
    if after is not None:
        query = query.where(table.c.difference_id < after)
    async with database.engine.connect() as connection:
        rows = [dict(row._mapping) for row in await connection.execute(query.limit(limit + 1))]
    return Page(rows[:limit], str(rows[limit - 1]["difference_id"]) if len(rows) > limit else None)
