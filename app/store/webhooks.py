"""Webhooks and their deliveries: endpoints of a token, and the queue that `record_event` fills.

A delivery is taken by moving its time on: a sender that dies leaves it to be due again after LEASE_S seconds.
"""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from app.store.access import Caller, TokenRole
from app.store.database import Database
from app.store.once import mark_worked_plain
from app.store.registry import Fields, NotThere, Page, plain
from app.store.rollups import Connection

LEASE_S = 60
WEBHOOKS_MAX = 20
ROTATION_S = 24 * 3600
"""So long the secret before signs beside the new one."""
KEPT_DAYS = 30
PUBLIC = """webhook_id AS id, url, description, kinds, active, disabled_why, failing_since, previous_until,
    created_at, updated_at"""
DELIVERY = """delivery_id, message_id, kind, at, state, attempts, next_at, last_status, last_error, delivered_at,
    payload::text AS payload"""

COUNT = "SELECT count(*) FROM webhook WHERE token_id = $1"
CREATE = f"""
INSERT INTO webhook (token_id, role, scope, url, description, kinds, secret) VALUES ($1, $2, $3, $4, $5, $6, $7)
RETURNING {PUBLIC}
"""
LIST = f"SELECT {PUBLIC} FROM webhook WHERE token_id = $1 ORDER BY created_at, webhook_id"
OF = f"SELECT {PUBLIC} FROM webhook WHERE webhook_id = $1 AND token_id = $2"
CHANGE = f"""
UPDATE webhook SET url = coalesce($3, url), description = coalesce($4, description), kinds = coalesce($5, kinds),
    active = coalesce($6, active), disabled_why = CASE WHEN $6 THEN NULL ELSE disabled_why END,
    failing_since = CASE WHEN $6 THEN NULL ELSE failing_since END, updated_at = now()
WHERE webhook_id = $1 AND token_id = $2 RETURNING {PUBLIC}
"""
ROTATE = f"""
UPDATE webhook SET previous_secret = secret, previous_until = $4, secret = $3, updated_at = now()
WHERE webhook_id = $1 AND token_id = $2 RETURNING {PUBLIC}
"""
DROP = "DELETE FROM webhook WHERE webhook_id = $1 AND token_id = $2"
DELIVERIES = f"""
SELECT {DELIVERY} FROM webhook_delivery
WHERE webhook_id = $1 AND ($2::text IS NULL OR state = $2) AND ($3::bigint IS NULL OR delivery_id < $3)
ORDER BY delivery_id DESC LIMIT $4
"""
AGAIN = f"""
UPDATE webhook_delivery SET state = 'queued', attempts = 0, next_at = now()
WHERE delivery_id = $1 AND webhook_id = $2 RETURNING {DELIVERY}
"""
TEST = f"""
INSERT INTO webhook_delivery (message_id, webhook_id, kind, at, payload)
VALUES ('msg_' || replace(gen_random_uuid()::text, '-', ''), $1, 'webhook.test', $2, $3::text::jsonb)
RETURNING {DELIVERY}
"""
# What belongs to a token that is worth nothing any more is not sent, and neither is what an endpoint that is switched
# off has waiting: it is due again when somebody switches it on.
CLAIM = """
UPDATE webhook_delivery AS d SET attempts = attempts + 1, next_at = $2
FROM webhook AS w WHERE w.webhook_id = d.webhook_id AND d.delivery_id IN (
    SELECT delivery_id FROM webhook_delivery JOIN webhook USING (webhook_id)
    WHERE state = 'queued' AND next_at <= $1 AND webhook.active AND (
        EXISTS (SELECT FROM api_token WHERE api_token.token_id = webhook.token_id AND revoked_at IS NULL
                AND (expires_at IS NULL OR expires_at > $1))
        OR EXISTS (SELECT FROM account WHERE account_id = -webhook.token_id AND account.active))
    ORDER BY next_at LIMIT $3 FOR UPDATE OF webhook_delivery SKIP LOCKED)
RETURNING d.delivery_id, d.message_id, d.webhook_id, w.url, d.payload::text AS payload, d.attempts, w.failing_since,
    CASE WHEN w.previous_until > $1 THEN ARRAY[w.secret, w.previous_secret] ELSE ARRAY[w.secret] END AS secrets
"""
DELIVERED = """
WITH told AS (
    UPDATE webhook_delivery SET state = 'delivered', last_status = $2, last_error = NULL, delivered_at = $3
    WHERE delivery_id = $1 RETURNING webhook_id)
UPDATE webhook SET failing_since = NULL FROM told
WHERE webhook.webhook_id = told.webhook_id AND failing_since IS NOT NULL
"""
FAILED = """
UPDATE webhook_delivery SET last_status = $2, last_error = $3, next_at = coalesce($4, next_at),
    state = CASE WHEN $4::timestamptz IS NULL THEN 'dead' ELSE state END
WHERE delivery_id = $1
"""
FAILING = """
UPDATE webhook SET failing_since = coalesce(failing_since, $2), active = active AND $3::text IS NULL,
    disabled_why = coalesce($3, disabled_why)
WHERE webhook_id = $1
"""
NOTED = """
INSERT INTO audit (actor, action, object_kind, object_id, outcome, before, after, enterprise, region)
VALUES ($1, $2, 'webhook', $3, 'done', $4::text::jsonb, $5::text::jsonb, $6, $7)
"""
FORGET = "DELETE FROM webhook_delivery WHERE state <> 'queued' AND at < $1"


class TooManyWebhooks(Exception):
    """A token has as many endpoints as one may."""


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery that a sender has taken."""

    delivery_id: int
    message_id: str
    webhook_id: uuid.UUID
    url: str
    payload: Mapping[str, Any]
    attempts: int
    failing_since: datetime | None
    secrets: Sequence[bytes]


async def create(
    database: Database, caller: Caller, *, url: str, description: str, kinds: Sequence[str], secret: bytes
) -> Fields:
    """An endpoint that hears what the caller may see. Raises TooManyWebhooks."""
    async with database.pool.acquire() as connection, connection.transaction():
        if await connection.fetchval(COUNT, caller.number) >= WEBHOOKS_MAX:
            raise TooManyWebhooks(f"a token has {WEBHOOKS_MAX} webhooks at most; remove one")
        owner = (caller.number, caller.role.value, caller.scope)
        made = _shown(await connection.fetchrow(CREATE, *owner, url, description, list(kinds), secret))
        await _note(connection, caller, "webhook.create", made["id"], after=made)
        return made


async def listed(database: Database, token_id: int) -> list[Fields]:
    return [_shown(row) for row in await database.pool.fetch(LIST, token_id)]


async def one(database: Database, token_id: int, key: str) -> Fields:
    """Raises NotThere."""
    return _found(await database.pool.fetchrow(OF, _number(key), token_id), key)


async def change(database: Database, caller: Caller, key: str, changes: Mapping[str, Any]) -> Fields:
    """Switching an endpoint on again forgets that it failed. Raises NotThere."""
    values = [changes.get(name) for name in ("url", "description", "kinds", "active")]
    return await _changed(database, caller, "webhook.change", key, CHANGE, *values)


async def rotate(database: Database, caller: Caller, key: str, secret: bytes, now: datetime) -> Fields:
    """Another secret; the one before signs too for ROTATION_S seconds. Raises NotThere."""
    until = now + timedelta(seconds=ROTATION_S)
    return await _changed(database, caller, "webhook.new-secret", key, ROTATE, secret, until)


async def _changed(
    database: Database, caller: Caller, action: str, key: str, statement: str, *values: object
) -> Fields:
    async with database.pool.acquire() as connection, connection.transaction():
        before = _found(await connection.fetchrow(f"{OF} FOR UPDATE", _number(key), caller.number), key)
        after = _found(await connection.fetchrow(statement, _number(key), caller.number, *values), key)
        await _note(connection, caller, action, after["id"], before=before, after=after)
        return after


async def drop(database: Database, caller: Caller, key: str) -> None:
    """Raises NotThere."""
    async with database.pool.acquire() as connection, connection.transaction():
        before = _found(await connection.fetchrow(f"{OF} FOR UPDATE", _number(key), caller.number), key)
        await connection.execute(DROP, _number(key), caller.number)
        await _note(connection, caller, "webhook.remove", before["id"], before=before)


async def deliveries(
    database: Database, token_id: int, key: str, *, state: str | None, limit: int, after: int | None
) -> Page:
    """Newest first. Raises NotThere."""
    endpoint = await one(database, token_id, key)
    rows = await database.pool.fetch(DELIVERIES, endpoint["id"], state, after, limit + 1)
    items = [_delivery(row) for row in rows[:limit]]
    return Page(items, str(items[-1]["delivery_id"]) if len(rows) > limit else None)


async def again(database: Database, caller: Caller, key: str, delivery_id: int) -> Fields:
    """A delivery is sent once more from the first attempt on. Raises NotThere."""
    endpoint = await one(database, caller.number, key)
    async with database.pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(AGAIN, delivery_id, endpoint["id"])
        if row is None:
            raise NotThere("delivery", str(delivery_id))
        await _note(connection, caller, "webhook.resend", endpoint["id"], after={"delivery": delivery_id})
        return _delivery(row)


async def test(database: Database, caller: Caller, key: str, now: datetime) -> Fields:
    """A delivery that tells nothing, to try the endpoint. Raises NotThere."""
    endpoint = await one(database, caller.number, key)
    nothing: Fields = {"region": None, "enterprise": None, "data": {}}
    payload = {"type": "webhook.test", "timestamp": now.isoformat()} | nothing
    async with database.pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(TEST, endpoint["id"], now, json.dumps(payload))
        await _note(connection, caller, "webhook.test", endpoint["id"])
        return _delivery(row)


async def _note(
    connection: Connection, caller: Caller, action: str, key: str, *, before: Any = None, after: Any = None
) -> None:
    """A line of the trail, in the transaction of what it tells of; with the address but for what follows its path."""
    await mark_worked_plain(connection)
    sides = (None if side is None else json.dumps(_for_the_trail(side), ensure_ascii=False) for side in (before, after))
    own = caller.role is TokenRole.ENTERPRISE
    place = (caller.scope, None) if own else (None, caller.scope)
    await connection.execute(NOTED, caller.actor, action, key, *sides, *place)


def _for_the_trail(endpoint: Fields) -> Fields:
    told = plain(endpoint)
    return told | {"url": told["url"].partition("?")[0]} if "url" in told else told


# What a sender does ---------------------------------------------------------------------------------------------------


async def claim(pool: asyncpg.Pool, now: datetime, limit: int) -> list[Due]:
    """What is due, for this sender alone for LEASE_S seconds."""
    rows = await pool.fetch(CLAIM, now, now + timedelta(seconds=LEASE_S), limit)
    return [Due(*(json.loads(row[4]) if at == 4 else value for at, value in enumerate(row))) for row in rows]


async def delivered(pool: asyncpg.Pool, due: Due, status: int | None, now: datetime) -> None:
    await pool.execute(DELIVERED, due.delivery_id, status, now)


async def failed(
    pool: asyncpg.Pool,
    due: Due,
    status: int | None,
    error: str,
    *,
    next_at: datetime | None,
    now: datetime,
    disabled_why: str | None,
) -> None:
    """Without a next time the delivery is dead: it stays in the list and can be sent again by hand."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(FAILED, due.delivery_id, status, error, next_at)
        await connection.execute(FAILING, due.webhook_id, now, disabled_why)


async def forget(pool: asyncpg.Pool, now: datetime) -> None:
    """What is done or dead for a month is kept no longer."""
    await pool.execute(FORGET, now - timedelta(days=KEPT_DAYS))


def new_secret(size: int) -> bytes:
    return secrets.token_bytes(size)


def _found(row: asyncpg.Record | None, key: str) -> Fields:
    if row is None:
        raise NotThere("webhook", key)
    return _shown(row)


def _shown(row: asyncpg.Record | None) -> Fields:
    assert row is not None, "the statement answers a row"
    return dict(row) | {"id": str(row["id"])}


def _delivery(row: asyncpg.Record | None) -> Fields:
    assert row is not None, "the statement answers a row"
    return dict(row) | {"payload": json.loads(row["payload"])}


def _number(key: str) -> uuid.UUID:
    try:
        return uuid.UUID(key)
    except ValueError as error:
        raise NotThere("webhook", key) from error
