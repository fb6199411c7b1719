"""Jobs: long exports that somebody asked for, made by whichever worker has time, kept until they expire.

A worker holds a job by a lease. One that dies loses it, and another begins anew; `attempts` is the fence that keeps the
first, should it wake again, from writing over the second.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from app.store.database import Database
from app.store.registry import Fields, NotThere, Page

CHANNEL = "job"
LEASE_S = 60
ATTEMPTS_MAX = 3
KEPT_S = 24 * 3600
WAITING_MAX = 10
PART_BYTES = 256 << 10
PUBLIC = """job_id AS id, path, query, format, state, rows, problem::text AS problem, filename, size,
       created_at, started_at, finished_at, expires_at"""

WAITING = "SELECT count(*) FROM job WHERE token_id = $1 AND state IN ('queued', 'running')"
CREATE = f"""
INSERT INTO job (token_id, path, query, format, language, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING {PUBLIC}
"""
OF = f"SELECT {PUBLIC} FROM job WHERE job_id = $1 AND token_id = $2"
LIST = f"""
SELECT {PUBLIC} FROM job
WHERE token_id = $1 AND ($2::timestamptz IS NULL OR (created_at, job_id) < ($2, $3::uuid))
ORDER BY created_at DESC, job_id DESC LIMIT $4
"""
CLAIM = f"""
UPDATE job SET state = 'running', attempts = attempts + 1, rows = 0, started_at = coalesce(started_at, $1),
    lease_until = $2
WHERE job_id = (
    SELECT job_id FROM job
    WHERE state = 'queued' OR state = 'running' AND lease_until < $1 AND attempts < {ATTEMPTS_MAX}
    ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING job_id, token_id, path, query, format, language, attempts
"""
GIVE_UP = f"""
UPDATE job SET state = 'failed', finished_at = $1, problem = '{{"code": "interrupted"}}'
WHERE state = 'running' AND lease_until < $1 AND attempts >= {ATTEMPTS_MAX}
"""
MINE = "job_id = $1 AND attempts = $2 AND state = 'running'"
RENEW = f"UPDATE job SET rows = $3, lease_until = $4 WHERE {MINE} RETURNING true"
LOCK = f"SELECT true FROM job WHERE {MINE} FOR UPDATE"
PART = "INSERT INTO job_part (job_id, part, bytes) VALUES ($1, $2, $3)"
FORGET_PARTS = "DELETE FROM job_part WHERE job_id = $1"
DONE = f"""
UPDATE job SET state = 'done', rows = $3, filename = $4, content_type = $5, size = $6, finished_at = $7 WHERE {MINE}
"""
FAIL = f"UPDATE job SET state = 'failed', problem = $3::text::jsonb, finished_at = $4 WHERE {MINE}"
CANCEL = """
UPDATE job SET state = 'cancelled', finished_at = $3
WHERE job_id = $1 AND token_id = $2 AND state IN ('queued', 'running')
"""
DROP = "DELETE FROM job WHERE job_id = $1 AND token_id = $2 AND state NOT IN ('queued', 'running')"
EXPIRE = "DELETE FROM job WHERE expires_at < $1"
READ_PART = "SELECT bytes FROM job_part WHERE job_id = $1 AND part = $2"
RESULT = "SELECT filename, content_type, size FROM job WHERE job_id = $1 AND token_id = $2 AND state = 'done'"


class TooManyJobs(Exception):
    """A token has as many unfinished jobs as one may."""


class NotDone(Exception):
    """The job has no result (yet). Attribute: state."""

    def __init__(self, state: str) -> None:
        self.state = state
        super().__init__(f"the job is {state}; only one that is done has a result")


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job that a worker holds."""

    job_id: uuid.UUID
    token_id: int
    path: str
    query: str
    format: str
    language: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a job."""

    job_id: uuid.UUID
    filename: str
    content_type: str
    size: int


async def create(
    database: Database, token_id: int, *, path: str, query: str, form: str, language: str, now: datetime
) -> Fields:
    """A job that waits for a worker. Raises TooManyJobs."""
    async with database.pool.acquire() as connection, connection.transaction():
        if await connection.fetchval(WAITING, token_id) >= WAITING_MAX:
            raise TooManyJobs(f"{WAITING_MAX} jobs of this token are not finished; wait for one or cancel it")
        expires = now + timedelta(seconds=KEPT_S)
        row = await connection.fetchrow(CREATE, token_id, path, query, form, language, now, expires)
        await connection.execute(f"NOTIFY {CHANNEL}")
    return _shown(row)


async def one(database: Database, token_id: int, key: str) -> Fields:
    """A job of this token. Raises NotThere."""
    row = await database.pool.fetchrow(OF, _number(key), token_id)
    if row is None:
        raise NotThere("job", key)
    return dict(row)


async def listed(database: Database, token_id: int, *, limit: int, after: tuple[datetime, uuid.UUID] | None) -> Page:
    """The jobs of this token, newest first."""
    rows = [dict(row) for row in await database.pool.fetch(LIST, token_id, *(after or (None, None)), limit + 1)]
    last = rows[limit - 1] if len(rows) > limit else None
    return Page(rows[:limit], None if last is None else f"{last['created_at'].isoformat()}\x1f{last['id']}")


async def end(database: Database, token_id: int, key: str, now: datetime) -> None:
    """Cancel a job that is not finished, remove one that is. Raises NotThere."""
    number = _number(key)
    for statement, facts in ((CANCEL, (now,)), (DROP, ())):
        if (await database.pool.execute(statement, number, token_id, *facts)).endswith(" 1"):
            return
    raise NotThere("job", key)


async def result(database: Database, token_id: int, key: str) -> Result:
    """What came of a job of this token. Raises NotThere and NotDone."""
    found = await one(database, token_id, key)
    row = await database.pool.fetchrow(RESULT, found["id"], token_id)
    if row is None:
        raise NotDone(found["state"])
    return Result(found["id"], row["filename"], row["content_type"], row["size"])


async def parts(database: Database, found: Result) -> AsyncIterator[bytes]:
    """The file in pieces, each read when the one before has gone out."""
    for part in range(-(-found.size // PART_BYTES)):
        yield await database.pool.fetchval(READ_PART, found.job_id, part)


# What a worker does ---------------------------------------------------------------------------------------------------


async def claim(pool: asyncpg.Pool, now: datetime) -> Claimed | None:
    """The oldest job that nobody works on; it is this worker's for LEASE_S seconds."""
    await pool.execute(GIVE_UP, now)
    row = await pool.fetchrow(CLAIM, now, now + timedelta(seconds=LEASE_S))
    return None if row is None else Claimed(*row)


async def renew(pool: asyncpg.Pool, held: Claimed, rows: int, now: datetime) -> bool:
    """Tells how far it is. False when the job was cancelled or is another's: leave it."""
    until = now + timedelta(seconds=LEASE_S)
    return bool(await pool.fetchval(RENEW, held.job_id, held.attempt, rows, until))


async def finish(
    pool: asyncpg.Pool, held: Claimed, *, rows: int, filename: str, content_type: str, file: Any, now: datetime
) -> None:
    """Keeps the result, whole or not at all; nothing where the job was cancelled meanwhile."""
    async with pool.acquire() as connection, connection.transaction():
        if not await connection.fetchval(LOCK, held.job_id, held.attempt):
            return
        await connection.execute(FORGET_PARTS, held.job_id)
        size = number = 0
        while part := file.read(PART_BYTES):
            await connection.execute(PART, held.job_id, number, part)
            size, number = size + len(part), number + 1
        await connection.execute(DONE, held.job_id, held.attempt, rows, filename, content_type, size, now)


async def fail(pool: asyncpg.Pool, held: Claimed, problem: str, now: datetime) -> None:
    """Ends the job with a problem document (JSON)."""
    await pool.execute(FAIL, held.job_id, held.attempt, problem, now)


async def expire(pool: asyncpg.Pool, now: datetime) -> None:
    """Removes what is kept no longer, with its result."""
    await pool.execute(EXPIRE, now)


def _shown(row: asyncpg.Record | None) -> Fields:
    assert row is not None, "the statement answers a row"
    return dict(row)


def _number(key: str) -> uuid.UUID:
    try:
        return uuid.UUID(key)
    except ValueError as error:
        raise NotThere("job", key) from error
