"""Answers of creating calls, kept for those who ask again with the same key; and changes one after the other."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text

from app.store.database import Database

KEPT = timedelta(hours=24)
IN_FLIGHT = timedelta(seconds=60)
"""A call that has not been answered for so long was cut off: its key may be used again."""

BEGIN = """
INSERT INTO idempotent_answer (caller, key, request_sha256, started_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (caller, key) DO UPDATE SET request_sha256 = excluded.request_sha256, started_at = excluded.started_at,
    status = NULL, headers = NULL, body = NULL
WHERE idempotent_answer.started_at < $5 OR idempotent_answer.status IS NULL AND idempotent_answer.started_at < $6
RETURNING true
"""
FOUND = "SELECT request_sha256, status, headers::text, body FROM idempotent_answer WHERE caller = $1 AND key = $2"
KEEP = """
UPDATE idempotent_answer SET status = $3, headers = $4::text::jsonb, body = $5 WHERE caller = $1 AND key = $2
"""
FORGET = "DELETE FROM idempotent_answer WHERE caller = $1 AND key = $2 AND status IS NULL"
OLD = "DELETE FROM idempotent_answer WHERE started_at < $1"
IN_TURN = "SELECT pg_advisory_xact_lock(hashtextextended(:what, 7463776))"


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What was answered the first time. `body` is None where it held a secret: that is not kept."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None


class KeyReused(Exception):
    """The key came before with another request."""


class StillInFlight(Exception):
    """The first call with this key is still being worked on."""


async def begin(database: Database, caller: str, key: str, request_sha256: bytes, now: datetime) -> KeptAnswer | None:
    """None for the first call. Raises KeyReused, StillInFlight."""
    values = (caller, key, request_sha256, now, now - KEPT, now - IN_FLIGHT)
    if await database.pool.fetchval(BEGIN, *values):
        return None
    row = await database.pool.fetchrow(FOUND, caller, key)
    if row is None:  # it was given up between the two questions
        raise StillInFlight("the first call with this key is still being worked on")
    if row["request_sha256"] != request_sha256:
        raise KeyReused("this Idempotency-Key came before with another request")
    if row["status"] is None:
        raise StillInFlight("the first call with this key is still being worked on")
    return KeptAnswer(row["status"], json.loads(row["headers"]), row["body"])


async def keep(database: Database, caller: str, key: str, answer: KeptAnswer, now: datetime) -> None:
    """Before the answer goes out, so that whoever missed it finds it."""
    await database.pool.execute(KEEP, caller, key, answer.status, json.dumps(dict(answer.headers)), answer.body)
    await database.pool.execute(OLD, now - KEPT)


async def forget(database: Database, caller: str, key: str) -> None:
    """The call changed nothing: it may be tried again with the same key."""
    await database.pool.execute(FORGET, caller, key)


@asynccontextmanager
async def in_turn(database: Database, what: str) -> AsyncIterator[None]:
    """One at a time over all processes of the service, so that what was compared is what is changed."""
    async with database.engine.begin() as connection:
        await connection.execute(text(IN_TURN), {"what": what})
        yield
