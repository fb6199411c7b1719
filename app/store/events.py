"""What happened, told outside: written in the transaction of the fact, read in an order that passes nothing over.

Readers see an event once every transaction that began before it has ended (`pg_snapshot_xmin`), so the order (tx,
event_id) never grows in the middle and a reader's place is one pair of numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.access import TokenRole
from app.store.rollups import Connection

CHANNEL = "event"
DATA_ARRIVED = "data.arrived"
KEPT_DAYS = 7
"""A client that was away for longer is told to read anew."""
PLACE = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")

RECORD = "SELECT record_event($1, $2, $3, $4::text::jsonb)"
RECORD_ARRIVALS = f"""
SELECT count(record_event('{DATA_ARRIVED}', enterprise, NULL, jsonb_build_object(
    'from', to_timestamp(from_us / 1e6), 'to', to_timestamp(to_us / 1e6))))
FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS told (enterprise, from_us, to_us)
"""
SETTLED = "tx < pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
AFTER = f"""
SELECT tx, event_id, at, kind, enterprise, region, payload FROM event
WHERE (tx, event_id) > ($1, $2) AND {SETTLED} ORDER BY tx, event_id LIMIT $3
"""
NEWEST = f"SELECT tx, event_id FROM event WHERE {SETTLED} ORDER BY tx DESC, event_id DESC LIMIT 1"
OLDEST = "SELECT tx, event_id FROM event ORDER BY tx, event_id LIMIT 1"
# The newest stays, so that a place can be judged after a quiet week too.
FORGET = "DELETE FROM event WHERE at < $1 AND event_id <> (SELECT max(event_id) FROM event)"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a reader stands: after the event with these two numbers."""

    tx: int
    event_id: int

    def __str__(self) -> str:
        return f"{self.tx}-{self.event_id}"

    @classmethod
    def read(cls, words: str) -> Place | None:
        """The place, or None for what no event was ever called."""
        found = PLACE.fullmatch(words)
        return None if found is None else cls(int(found[1]), int(found[2]))


BEGINNING = Place(0, 0)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, in a region and mostly at one enterprise."""

    place: Place
    at: datetime
    kind: str
    enterprise: str | None
    region: str
    payload: Mapping[str, Any]

    def visible_to(self, role: str, scope: str) -> bool:
        """The rule of `record_event` for webhooks: an enterprise sees its own, others the subtree of their region."""
        if role == TokenRole.ENTERPRISE:
            return self.enterprise == scope
        return self.region.startswith(scope)


async def record(
    connection: AsyncConnection | Connection,
    kind: str,
    enterprise: str | None,
    payload: Mapping[str, Any],
    *,
    region: str | None = None,
) -> int:
    """Tell of something in the transaction in which it happens; answers the event's number.

    `kind` is a family and a word, `alert.raised`; `payload` is plain JSON and ends up with whoever may see the
    enterprise, or the region where there is no enterprise. Live listeners hear it and webhooks are queued when the
    transaction commits, and never when it does not.
    """
    if enterprise is None and region is None:
        raise ValueError("an event happens at an enterprise or in a region")
    words = json.dumps(payload, ensure_ascii=False)
    if isinstance(connection, AsyncConnection):
        asked = text("SELECT record_event(:kind, :enterprise, :region, CAST(CAST(:payload AS text) AS jsonb))")
        facts = {"kind": kind, "enterprise": enterprise, "region": region, "payload": words}
        return int(await connection.scalar(asked, facts) or 0)
    return int(await connection.fetchval(RECORD, kind, enterprise, region, words))


async def record_arrivals(connection: Connection, arrived: Sequence[tuple[str, int, int]]) -> None:
    """Tell that figures of [from_us, to_us) were brought up to date: (enterprise, from_us, to_us), one each."""
    if arrived:
        await connection.execute(RECORD_ARRIVALS, *map(list, zip(*arrived, strict=True)))


async def after(connection: Connection | asyncpg.Pool, place: Place, limit: int) -> list[Event]:
    """The next events that nothing can come in front of any more."""
    rows = await connection.fetch(AFTER, place.tx, place.event_id, limit)
    return [
        Event(
            Place(row["tx"], row["event_id"]),
            row["at"],
            row["kind"],
            row["enterprise"],
            row["region"],
            json.loads(row["payload"]),
        )
        for row in rows
    ]


async def newest(connection: Connection | asyncpg.Pool) -> Place:
    """Where somebody stands who wants only what is to come."""
    row = await connection.fetchrow(NEWEST)
    return BEGINNING if row is None else Place(row[0], row[1])


async def is_kept(connection: Connection | asyncpg.Pool, place: Place) -> bool:
    """Whether everything after the place is still there."""
    row = await connection.fetchrow(OLDEST)
    return row is None or Place(row[0], row[1]) <= place


async def forget(connection: Connection | asyncpg.Pool, before: datetime) -> None:
    """Events older than this are told no more."""
    await connection.execute(FORGET, before)
