"""What is to be mailed: written with the transition it tells of, claimed by lease, settled when it is known.

One row an alert, number, recipient and channel, whatever runs at once: the index `outbox_once` sees to it. `now` is an
argument everywhere; the database's own clock decides nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg

from alerts.notice import Contact, Delivery, Limits, Reason, Sent, put_off, with_roles
from alerts.rule import Level, Role
from alerts.sender import UNSURE_WAIT, Row, Settled
from app.store.rollups import Connection

CLAIMS_AT_ONCE = 50
"""Rows looked at in one claim before it answers that nothing is due: each that is put off costs a statement."""

# A sender that died while it sent: nobody knows whether the mail went. Once more, and then it stays as it is.
ORPHANS = """
UPDATE outbox SET state = 'uncertain', doubts = doubts + 1, lease_until = NULL, lease_owner = NULL, sent_at = $1,
    next_at = CASE WHEN doubts = 0 THEN $1::timestamptz + $2::interval ELSE 'infinity' END,
    last_error = 'the sender ended before it knew'
WHERE state = 'sending' AND lease_until <= $1
"""
DUE = """
SELECT outbox_id FROM outbox
WHERE state IN ('queued', 'retry', 'uncertain') AND delivery = 'immediate' AND next_at <= $1
ORDER BY next_at, outbox_id LIMIT 1 FOR UPDATE SKIP LOCKED
"""
# Senders count one after the other what a recipient got, so that two at once do not each see room for one more.
ONE_COUNTS = """
SELECT pg_advisory_xact_lock(hashtextextended('outbox recipient ' || recipient_id, 0)) FROM outbox WHERE outbox_id = $1
"""
CLAIM = """
UPDATE outbox SET state = 'sending', lease_owner = $2, lease_until = $3, attempts = attempts + 1
FROM recipient WHERE outbox_id = $1 AND recipient.recipient_id = outbox.recipient_id
RETURNING outbox_id, alert_id, seq, outbox.recipient_id, message_id, "references", email, name, language, payload,
    attempts, doubts, plain, coalesce(resent_at, created_at) AS tried_since, level, digest_key
"""
PUT_OFF = """
UPDATE outbox SET state = 'queued', delivery = 'daily', next_at = $2, attempts = attempts - 1, lease_owner = NULL,
    lease_until = NULL
WHERE outbox_id = $1
"""
# What is being sent counts as sent, and so does what may have been: of both nobody can say that it did not arrive.
SENT = """
SELECT count(*) FILTER (WHERE at > $2::timestamptz - interval '1 hour'), count(*)
FROM (
    SELECT sent_at AS at FROM outbox WHERE recipient_id = $1 AND state = 'sent' AND digest_key = ''
    UNION ALL
    SELECT CASE state WHEN 'sending' THEN $2 ELSE sent_at END FROM outbox
    WHERE recipient_id = $1 AND state IN ('sending', 'uncertain') AND digest_key = '' AND outbox_id <> $3
) AS told WHERE at > $2::timestamptz - interval '1 day'
"""
SETTLE = """
UPDATE outbox SET state = $3, next_at = coalesce($4::timestamptz, 'infinity'), last_code = $5, last_error = $6,
    plain = $7, doubts = $8, sent_at = CASE WHEN $3 IN ('sent', 'uncertain') THEN $9::timestamptz END,
    lease_owner = NULL, lease_until = NULL
WHERE outbox_id = $1 AND state = 'sending' AND lease_owner = $2
RETURNING digest_key, seq, level
"""
ADDRESS_BAD = """
UPDATE recipient SET refused_times = refused_times + 1, bad_at = $2, bad_why = $3 WHERE recipient_id = $1
RETURNING owner, email
"""
RAISE_ALARM = """
INSERT INTO platform_alarm (kind, subject, detail, since, last_at) VALUES ($1, $2, $3, $4, $4)
ON CONFLICT (kind, subject) WHERE cleared_at IS NULL
DO UPDATE SET last_at = excluded.last_at, detail = excluded.detail, times = platform_alarm.times + 1
"""
CLEAR_ALARM = "UPDATE platform_alarm SET cleared_at = $3 WHERE kind = $1 AND subject = $2 AND cleared_at IS NULL"
RECIPIENTS = """
INSERT INTO recipient (owner, role, email, name, language)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
ON CONFLICT (owner, email) DO UPDATE
SET role = excluded.role, name = excluded.name, language = excluded.language
RETURNING recipient_id, owner, email
"""
ENQUEUE = """
INSERT INTO outbox (alert_id, digest_key, seq, recipient_id, kind, level, delivery, payload, message_id, "references",
    state, next_at, created_at)
SELECT alert_id, digest_key, seq, recipient_id, kind, level, delivery, payload::jsonb,
    '<' || coalesce('a' || alert_id || '.' || seq, 'd' || digest_key) || '.' || recipient_id || '@' || $11 || '>',
    '<a' || alert_id || '@' || $11 || '>', state, next_at, $12
FROM unnest($1::bigint[], $2::text[], $3::int[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[],
            $9::text[], $10::timestamptz[])
    AS new (alert_id, digest_key, seq, recipient_id, kind, level, delivery, payload, state, next_at)
ON CONFLICT DO NOTHING RETURNING outbox_id
"""
WAITING = """
SELECT min(recipient_id) AS recipient_id, array_agg(outbox_id ORDER BY outbox_id) AS rows,
    jsonb_agg(payload ORDER BY outbox_id) AS items, min(delivery) AS delivery
FROM (
    SELECT outbox_id, recipient_id, lower(email) AS email, delivery, payload - 'chart' - 'contributors' AS payload
    FROM outbox JOIN recipient USING (recipient_id)
    WHERE state = 'queued' AND delivery = ANY ($2) AND next_at <= $1 FOR UPDATE OF outbox SKIP LOCKED
) AS each GROUP BY email ORDER BY recipient_id
"""
# Of a digest: what each owner's part of it was. One address may stand for several owners.
PARTS = """
SELECT owner, jsonb_agg(payload - 'chart' - 'contributors' ORDER BY outbox_id) AS items
FROM outbox JOIN recipient USING (recipient_id) WHERE digest_id = $1 GROUP BY owner ORDER BY owner
"""
MERGED = "UPDATE outbox SET state = 'merged', digest_id = $2, next_at = 'infinity' WHERE outbox_id = ANY ($1)"
# Where an enterprise lies, from its county upwards.
CHAIN = """
WITH RECURSIVE up (code, parent, step) AS (
    SELECT code, parent, 0 FROM region WHERE code = $1
    UNION ALL SELECT region.code, region.parent, step + 1 FROM region JOIN up ON region.code = up.parent
)
SELECT up.code, region_contact.name, region_contact.email, region_contact.language, step
FROM up JOIN region_contact ON region_contact.region = up.code ORDER BY step, region_contact.email
"""
CLEAR_FAILED = """
UPDATE platform_alarm SET cleared_at = $2 FROM recipient
WHERE recipient_id = $1 AND platform_alarm.kind = 'mail-failed' AND subject = email AND cleared_at IS NULL
    AND NOT EXISTS (SELECT FROM outbox JOIN recipient AS other USING (recipient_id)
                    WHERE outbox.state = 'failed' AND other.email = subject)
"""
OWNER = "SELECT id, region, contacts FROM enterprise WHERE id = $1"
TRIED = """
SELECT recipient.email FROM outbox JOIN recipient USING (recipient_id)
WHERE alert_id IS NOT DISTINCT FROM $1 AND digest_key = $2 AND seq = $3
"""
REGION_ROLES = (Role.COUNTY, Role.CITY, Role.PROVINCE)


@dataclass(frozen=True, slots=True)
class Addressee:
    """Somebody who can be written to, with what they own (an enterprise's id or a region's code) and their role."""

    owner: str
    role: Role
    contact: Contact


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row to be put into the outbox. `delivery` and `next_at` say when; `state` is queued or suppressed."""

    alert_id: int | None
    seq: int
    recipient_id: int
    kind: str
    level: Level
    delivery: Delivery
    payload: Mapping[str, Any]
    next_at: datetime
    digest_key: str = ""
    state: str = "queued"


class StoredOutbox:
    """`alerts.sender.OutboxBook` on the database. `domain` is what Message-IDs end in."""

    def __init__(self, pool: asyncpg.Pool, *, domain: str, zone: ZoneInfo) -> None:
        self._pool = pool
        self._domain = domain
        self._zone = zone

    async def claim(self, owner: str, now: datetime, until: datetime) -> Row | None:
        async with self._pool.acquire() as connection:
            await connection.execute(ORPHANS, now, UNSURE_WAIT)
            for _ in range(CLAIMS_AT_ONCE):
                async with connection.transaction():
                    outbox_id = await connection.fetchval(DUE, now)
                    if outbox_id is None:
                        return None
                    await connection.execute(ONE_COUNTS, outbox_id)
                    found = await connection.fetchrow(CLAIM, outbox_id, owner, until)
                    assert found is not None, "locked above"
                    later = await self._put_off(connection, found, now)
                    if later is None:
                        return _row(found)
                    await connection.execute(PUT_OFF, outbox_id, later)
        return None

    async def _put_off(self, connection: Connection, found: asyncpg.Record, now: datetime) -> datetime | None:
        if found["digest_key"] or found["doubts"]:
            return None  # a mail that may have come is sent again under its own number or not at all
        limits = Limits(**json.loads(found["payload"]).get("limits", {}))
        sent = Sent(*await connection.fetchrow(SENT, found["recipient_id"], now, found["outbox_id"]))  # type: ignore[misc]  # counts always answer a row
        return put_off(limits, sent, Level.of(found["level"]), now.astimezone(self._zone))

    async def settle(self, row: Row, owner: str, settled: Settled, now: datetime) -> bool:
        async with self._pool.acquire() as connection, connection.transaction():
            done = await connection.fetchrow(
                SETTLE,
                row.outbox_id,
                owner,
                settled.state,
                settled.next_at,
                settled.code,
                settled.error,
                settled.plain,
                settled.doubts,
                now,
            )
            if done is None:
                return False
            if settled.address_bad:
                await connection.execute(ADDRESS_BAD, row.recipient_id, now, settled.error or "")
            if settled.state == "sent":
                await connection.execute(CLEAR_FAILED, row.recipient_id, now)
            if settled.state == "failed":
                await self._tell_next(connection, row, done, now)
        return True

    async def _tell_next(self, connection: Connection, row: Row, done: asyncpg.Record, now: datetime) -> None:
        """The next contact hears what the failed one did not: the enterprise's others, then the regions above it."""
        key, seq, level = done["digest_key"], done["seq"], Level.of(done["level"])
        tried = {found["email"].lower() for found in await connection.fetch(TRIED, row.alert_id, key, seq)}
        further: dict[int, dict[str, Any]] = {}
        for owner, payload in await self._parts(connection, row):
            others = [one for one in await addressees(connection, owner) if one.contact.email.lower() not in tried]
            if not others:
                why = f"nobody could be told of {row.message_id}"
                await connection.execute(RAISE_ALARM, "nobody-left", owner, why, now)
                continue
            (recipient_id,) = await recipients(connection, others[:1])
            if recipient_id in further:
                further[recipient_id]["items"] += payload["items"]
            else:
                further[recipient_id] = payload
        following = [
            Waiting(row.alert_id, seq, who, str(Reason.NEXT_CONTACT), level, Delivery.IMMEDIATE, payload, now, key)
            for who, payload in further.items()
        ]
        await enqueue(connection, following, domain=self._domain, now=now)

    async def _parts(self, connection: Connection, row: Row) -> list[tuple[str, dict[str, Any]]]:
        """What was to be told, by whose it is: nobody is told in the place of an owner what is another's."""
        payload = dict(row.payload)
        if "items" not in payload:
            payload["reason"] = str(Reason.NEXT_CONTACT)
        parts = await connection.fetch(PARTS, row.outbox_id)
        if len(parts) > 1:
            return [(part["owner"], payload | {"items": json.loads(part["items"])}) for part in parts]
        owner = await connection.fetchval("SELECT owner FROM recipient WHERE recipient_id = $1", row.recipient_id)
        return [(owner, payload)]

    async def alarm(self, kind: str, subject: str, detail: str, now: datetime) -> None:
        await self._pool.execute(RAISE_ALARM, kind, subject, detail[:2000], now)

    async def clear_alarm(self, kind: str, subject: str, now: datetime) -> None:
        await self._pool.execute(CLEAR_ALARM, kind, subject, now)


def _row(found: asyncpg.Record) -> Row:
    return Row(
        outbox_id=found["outbox_id"],
        alert_id=found["alert_id"],
        seq=found["seq"],
        recipient_id=found["recipient_id"],
        message_id=found["message_id"],
        references=found["references"],
        email=found["email"],
        name=found["name"],
        language=found["language"],
        payload=json.loads(found["payload"]),
        attempts=found["attempts"],
        doubts=found["doubts"],
        plain=found["plain"],
        tried_since=found["tried_since"],
    )


async def addressees(connection: Connection, owner: str) -> list[Addressee]:
    """Everybody who may be told in the place of an owner, nearest first: an enterprise's contacts by role, then those
    of the regions it lies in; of a region its own contacts and those of the regions above it."""
    enterprise = await connection.fetchrow(OWNER, owner)
    found: list[Addressee] = []
    if enterprise is not None:
        held = with_roles([contact_of(one) for one in json.loads(enterprise["contacts"])])
        for role in Role:
            found += [Addressee(owner, role, contact) for contact in held.get(role, ())]
    above = await connection.fetch(CHAIN, owner if enterprise is None else enterprise["region"])
    for row in above:
        role = REGION_ROLES[min(row["step"], len(REGION_ROLES) - 1)]
        found.append(Addressee(row["code"], role, Contact(row["name"], row["email"], row["language"])))
    return found


def contact_of(entry: Mapping[str, Any]) -> Contact:
    return Contact(entry["name"], entry.get("email") or "", entry.get("language", "zh-CN"), entry.get("role") or "")


async def recipients(connection: Connection, wanted: Sequence[Addressee]) -> list[int]:
    """The numbers of these recipients, in their order; entered or brought up to date."""
    distinct = {(one.owner, one.contact.email): one for one in wanted}
    ordered = [distinct[key] for key in sorted(distinct)]  # locked in one order by everybody
    rows = await connection.fetch(
        RECIPIENTS,
        [one.owner for one in ordered],
        [str(one.role) for one in ordered],
        [one.contact.email for one in ordered],
        [one.contact.name for one in ordered],
        [one.contact.language for one in ordered],
    )
    numbers = {(row["owner"], row["email"]): row["recipient_id"] for row in rows}
    return [numbers[one.owner, one.contact.email] for one in wanted]


async def enqueue(connection: Connection, rows: Sequence[Waiting], *, domain: str, now: datetime) -> list[int]:
    """Put rows in, in the caller's transaction; those that are there already stay as they are. Answers the new ones."""
    found = await connection.fetch(
        ENQUEUE,
        [row.alert_id for row in rows],
        [row.digest_key for row in rows],
        [row.seq for row in rows],
        [row.recipient_id for row in rows],
        [row.kind for row in rows],
        [row.level.word for row in rows],
        [str(row.delivery) for row in rows],
        [json.dumps(row.payload, ensure_ascii=False) for row in rows],
        [row.state for row in rows],
        [row.next_at for row in rows],
        domain,
        now,
    )
    return [row["outbox_id"] for row in found]


async def merge(
    connection: Connection,
    deliveries: Sequence[Delivery],
    *,
    key: str,
    top: int,
    link: str | None,
    domain: str,
    now: datetime,
) -> int:
    """One mail an address of all that waits for it by now, in the caller's transaction. Answers how many mails.

    `now` carries the local zone: its day stands in the mail. `key` names the digest; the same key makes no second one.
    """
    waiting = await connection.fetch(WAITING, now, [str(one) for one in deliveries])
    for group in waiting:
        items = json.loads(group["items"])
        payload = {"items": items, "delivery": group["delivery"], "day": f"{now:%Y-%m-%d}", "top": top, "link": link}
        worst = max((Level.of(item["level"]) for item in items), default=Level.GREEN)
        kind = f"digest-{group['delivery']}"
        row = Waiting(None, 0, group["recipient_id"], kind, worst, Delivery.IMMEDIATE, payload, now, key)
        made = await enqueue(connection, [row], domain=domain, now=now)
        if made:
            await connection.execute(MERGED, group["rows"], made[0])
    return len(waiting)
