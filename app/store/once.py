"""Answers of creating calls, kept for those who ask again with the same key; and changes one after the other."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.database import Database
from app.store.rollups import Connection

KEPT = timedelta(hours=24)
IN_FLIGHT = timedelta(seconds=60)
"""A call that has not been answered for so long was cut off: its key may be used again, unless its work was done."""

BEGIN = """
INSERT INTO idempotent_answer (caller, key, request_sha256, started_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (caller, key) DO UPDATE SET request_sha256 = excluded.request_sha256, started_at = excluded.started_at,
    claim = excluded.claim, worked = false, status = NULL, headers = NULL, body = NULL
WHERE idempotent_answer.started_at < $5
    OR idempotent_answer.status IS NULL AND NOT idempotent_answer.worked AND idempotent_answer.started_at < $6
RETURNING claim
"""
FOUND = """
SELECT request_sha256, status, headers::text, body, worked AND started_at < $3 AS lost
FROM idempotent_answer WHERE caller = $1 AND key = $2
"""
KEEP = """
UPDATE idempotent_answer SET status = $4, headers = $5::text::jsonb, body = $6
WHERE caller = $1 AND key = $2 AND claim = $3
"""
FORGET = """
DELETE FROM idempotent_answer WHERE caller = $1 AND key = $2 AND claim = $3 AND status IS NULL AND NOT worked
"""
WORKED = "SELECT claim_worked({}, {}, {})"
WORKED_PLAIN, WORKED_NAMED = WORKED.format("$1", "$2", "$3"), WORKED.format(":caller", ":key", ":claim")
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

    def __init__(self) -> None:
        super().__init__("the first call with this key is still being worked on")


class AnswerLost(Exception):
    """The first call did its work and was cut off before its answer was kept."""

    def __init__(self) -> None:
        super().__init__("the first call with this key was carried out; its answer was lost, so read what it made")


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to do the work of a key, until somebody else is given it."""

    caller: str
    key: str
    number: uuid.UUID


_working: ContextVar[Claim | None] = ContextVar("working", default=None)


def work_for(claim: Claim | None) -> None:
    """From here on what this task writes is the work of this claim."""
    _working.set(claim)


async def begin(database: Database, caller: str, key: str, request_sha256: bytes, now: datetime) -> Claim | KeptAnswer:
    """A claim for the first call. Raises KeyReused, StillInFlight, AnswerLost."""
    values = (caller, key, request_sha256, now, now - KEPT, now - IN_FLIGHT)
    claim = await database.pool.fetchval(BEGIN, *values)
    if claim is not None:
        return Claim(caller, key, claim)
    row = await database.pool.fetchrow(FOUND, caller, key, now - IN_FLIGHT)
    if row is None:  # it was given up between the two questions
        raise StillInFlight
    if row["request_sha256"] != request_sha256:
        raise KeyReused("this Idempotency-Key came before with another request")
    if row["status"] is None:
        raise AnswerLost if row["lost"] else StillInFlight
    return KeptAnswer(row["status"], json.loads(row["headers"]), row["body"])


async def mark_worked(connection: AsyncConnection) -> None:
    """In the transaction of the work: from its commit on nobody is given the key for a second run.

    Raises StillInFlight where the key was given to somebody else meanwhile: then theirs is the one run.
    """
    claim = _working.get()
    if claim is not None:
        values = {"caller": claim.caller, "key": claim.key, "claim": claim.number}
        if not await connection.scalar(text(WORKED_NAMED), values):
            raise StillInFlight


async def mark_worked_plain(connection: Connection) -> None:
    """The same over asyncpg's own wire. Raises StillInFlight."""
    claim = _working.get()
    if claim is not None and not await connection.fetchval(WORKED_PLAIN, claim.caller, claim.key, claim.number):
        raise StillInFlight


async def keep(database: Database, claim: Claim, answer: KeptAnswer, now: datetime) -> None:
    """Before the answer goes out, so that whoever missed it finds it."""
    said = (answer.status, json.dumps(dict(answer.headers)), answer.body)
    await database.pool.execute(KEEP, claim.caller, claim.key, claim.number, *said)
    await database.pool.execute(OLD, now - KEPT)


async def forget(database: Database, claim: Claim) -> None:
    """Where the call changed nothing, it may be tried again with the same key."""
    await database.pool.execute(FORGET, claim.caller, claim.key, claim.number)


@asynccontextmanager
async def in_turn(database: Database, what: str) -> AsyncIterator[None]:
    """One at a time over all processes of the service, so that what was compared is what is changed."""
    async with database.engine.begin() as connection:
        await connection.execute(text(IN_TURN), {"what": what})
        yield
