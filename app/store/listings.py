"""Lists that grow: readings of a meter, revisions, refusals, factors, the trail. Each by its key, a page at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, select

from app.store.database import Database
from app.store.registry import Fields, Page
from app.store.tables.access import audit
from app.store.tables.readings import held_reading, reading, reading_revision
from app.store.tables.registry import carrier, enterprise


async def readings(
    database: Database, meter_id: int, start: datetime, end: datetime, *, limit: int, after: datetime | None
) -> Page:
    """Raw readings of [start, end) by time, each with why it is held out of the figures, if it is."""
    held = and_(held_reading.c.meter_id == reading.c.meter_id, held_reading.c.ts == reading.c.ts)
    query = (
        select(
            reading.c.ts, reading.c.value, reading.c.quality, reading.c.received_at, held_reading.c.why.label("held")
        )
        .join_from(reading, held_reading, held, isouter=True)
        .where(reading.c.meter_id == meter_id, reading.c.ts >= start, reading.c.ts < end)
        .order_by(reading.c.ts)
    )
    if after is not None:
        query = query.where(reading.c.ts > after)
    return await one_page(database, query, limit, lambda row: row["ts"].isoformat())


async def revisions(database: Database, meter_id: int, *, limit: int, after: int | None) -> Page:
    """What replaced what, oldest first."""
    columns = [column for column in reading_revision.c if column.name != "meter_id"]
    query = select(*columns).where(reading_revision.c.meter_id == meter_id).order_by(reading_revision.c.revision_id)
    if after is not None:
        query = query.where(reading_revision.c.revision_id > after)
    return await one_page(database, query, limit, lambda row: str(row["revision_id"]))


async def carriers(database: Database) -> Sequence[Fields]:
    async with database.engine.connect() as connection:
        return [dict(row._mapping) for row in await connection.execute(select(carrier).order_by(carrier.c.code))]


async def trail(database: Database, *, kind: str | None, key: str | None, limit: int, after: int | None) -> Page:
    """Who did what, newest first."""
    shown = [column for column in audit.c if column.name not in ("enterprise", "region", "actor_region")]
    query = select(*shown).order_by(audit.c.audit_id.desc())
    for column, wanted in ((audit.c.object_kind, kind), (audit.c.object_id, key)):
        if wanted is not None:
            query = query.where(column == wanted)
    if after is not None:
        query = query.where(audit.c.audit_id < after)
    return await one_page(database, query, limit, lambda row: str(row["audit_id"]))


def seen_by(scope: str | None, only: str | None) -> ColumnElement[bool]:
    """Whether an enterprise lies in a region's subtree, or is the single one."""
    return enterprise.c.region.startswith(scope, autoescape=True) if scope is not None else enterprise.c.id == only


async def one_page(database: Database, query: Select[Any], limit: int, key_of: Any) -> Page:
    async with database.engine.connect() as connection:
        rows = [dict(row._mapping) for row in await connection.execute(query.limit(limit + 1))]
    return Page(rows[:limit], key_of(rows[limit - 1]) if len(rows) > limit else None)
