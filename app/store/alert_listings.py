"""Alerts as they are shown and handled by people: lists, one with its history, acknowledgements, comments, silences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
from sqlalchemy import Select, and_, insert, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from alerts.notice import may_silence
from alerts.rule import AlertSettings, Level
from alerts.states import Change, Phase, acknowledge, silence
from app.store.access import write_audit
from app.store.alerts import history_line, state_of
from app.store.database import Database
from app.store.registry import Fields, NotThere, Page, plain
from app.store.tables.alerts import alert, alert_history
from app.store.tables.registry import enterprise

SHOWN = (
    "alert_id",
    "enterprise",
    "kind",
    "period",
    "subject",
    "phase",
    "level",
    "worst",
    "seq",
    "data",
    "acked_until",
    "acked_by",
    "silenced_until",
    "silenced_by",
    "silence_covers",
    "opened_at",
    "raised_at",
    "changed_at",
    "closed_at",
    "outcome",
    "facts",
)
NOTICES = """
SELECT outbox_id, seq, kind, level, delivery, state, role, email, attempts, doubts, last_code, last_error, message_id,
    outbox.created_at, sent_at, next_at, digest_id
FROM outbox JOIN recipient USING (recipient_id) WHERE alert_id = $1 ORDER BY outbox_id
"""
OUTBOX = """
SELECT outbox_id, outbox.alert_id, digest_key, outbox.seq, outbox.kind, outbox.level, delivery, state, role, email,
    attempts, doubts, last_code, last_error, message_id, outbox.created_at, sent_at, next_at, digest_id
FROM outbox JOIN recipient USING (recipient_id)
    LEFT JOIN alert ON alert.alert_id = outbox.alert_id
    LEFT JOIN enterprise ON enterprise.id = coalesce(alert.enterprise, recipient.owner)
WHERE starts_with(coalesce(enterprise.region, recipient.owner), $1) AND ($2::text IS NULL OR state = $2)
    AND ($3::bigint IS NULL OR outbox_id < $3)
ORDER BY outbox_id DESC LIMIT $4
"""
A_MAIL = """
SELECT outbox.state, last_code, last_error, enterprise.id AS enterprise,
    CASE WHEN enterprise.id IS NULL THEN recipient.owner END AS region
FROM outbox JOIN recipient USING (recipient_id)
    LEFT JOIN alert ON alert.alert_id = outbox.alert_id
    LEFT JOIN enterprise ON enterprise.id = coalesce(alert.enterprise, recipient.owner)
WHERE outbox_id = :number AND starts_with(coalesce(enterprise.region, recipient.owner), :scope) FOR UPDATE OF outbox
"""
SEND_AGAIN = """
UPDATE outbox SET state = 'queued', attempts = 0, plain = false, next_at = :now, resent_at = :now
WHERE outbox_id = :number
"""
ALARMS = """
SELECT alarm_id, kind, subject, detail, since, last_at, times, cleared_at FROM platform_alarm
WHERE ($1 OR cleared_at IS NULL) AND ($2::bigint IS NULL OR alarm_id < $2)
    AND CASE
        WHEN kind = 'mail-failed' THEN EXISTS (
            SELECT FROM recipient LEFT JOIN enterprise ON enterprise.id = recipient.owner
            WHERE subject IN (recipient.email, recipient.recipient_id::text)
                AND starts_with(coalesce(enterprise.region, recipient.owner), $4))
        WHEN kind = 'smtp-refused' AND subject <> 'smtp' THEN EXISTS (
            SELECT FROM recipient LEFT JOIN enterprise ON enterprise.id = recipient.owner
            WHERE lower(split_part(recipient.email, '@', 2)) = subject
                AND starts_with(coalesce(enterprise.region, recipient.owner), $4))
        WHEN kind IN ('nobody-to-tell', 'nobody-left') THEN
            starts_with(coalesce((SELECT region FROM enterprise WHERE id = subject), subject), $4)
        ELSE true END
ORDER BY alarm_id DESC LIMIT $3
"""


class NotFailed(Exception):
    """A mail that has not failed is to be sent again. The text says what it is."""


class SilenceRefused(ValueError):
    """A silence that this caller may not set. The text says why."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a list of alerts is asked for; None asks for everything."""

    enterprise: str | None = None
    region: str | None = None
    kind: str | None = None
    level: str | None = None
    phase: str | None = None
    closed: bool = False
    silenced: bool = False


async def list_alerts(
    database: Database, asked: Asked, *, scope: str | None, only: str | None, limit: int, after: int | None
) -> Page:
    """Alerts, newest first. Without a phase those that stand: what is pending or inactive has told nobody anything."""
    query = _seen(_one_each(), scope, only)
    wanted = (
        (alert.c.enterprise, asked.enterprise),
        (alert.c.kind, asked.kind),
        (alert.c.level, asked.level),
        (alert.c.phase, asked.phase),
    )
    for column, value in wanted:
        if value is not None:
            query = query.where(column == value)
    if asked.region is not None:
        query = query.where(enterprise.c.region.startswith(asked.region, autoescape=True))
    if asked.phase is None:
        stands = and_(alert.c.level != Level.GREEN.word, alert.c.closed_at.is_(None))
        query = query.where(or_(stands, alert.c.closed_at.is_not(None)) if asked.closed else stands)
    if asked.silenced:
        query = query.where(alert.c.silenced_until.is_not(None))
    if after is not None:
        query = query.where(alert.c.alert_id < after)
    async with database.engine.connect() as connection:
        rows = [
            _shown(row) for row in await connection.execute(query.order_by(alert.c.alert_id.desc()).limit(limit + 1))
        ]
    more = len(rows) > limit
    return Page(rows[:limit], str(rows[limit - 1]["id"]) if more else None)


def _one_each() -> Select[Any]:
    shown: list[Any] = [alert.c[name] for name in SHOWN]
    return select(*shown, enterprise.c.name, enterprise.c.region).join(enterprise)


def _seen(query: Select[Any], scope: str | None, only: str | None) -> Select[Any]:
    if scope is not None:
        return query.where(enterprise.c.region.startswith(scope, autoescape=True))
    return query.where(alert.c.enterprise == only)


async def alert_of(database: Database, number: int) -> Fields:
    """One alert with its history, oldest first. Raises NotThere."""
    query = _one_each()
    past = select(alert_history).where(alert_history.c.alert_id == number).order_by(alert_history.c.history_id)
    async with database.engine.connect() as connection:
        row = (await connection.execute(query.where(alert.c.alert_id == number))).one_or_none()
        if row is None:
            raise NotThere("alert", str(number))
        history = [dict(one._mapping) for one in await connection.execute(past)]
    return _shown(row) | {"history": history}


async def notices_of(pool: asyncpg.Pool, number: int) -> list[Fields]:
    """Who was told of an alert, and what became of each mail."""
    return [_timed(row) for row in await pool.fetch(NOTICES, number)]


async def outbox_rows(pool: asyncpg.Pool, *, scope: str, state: str | None, limit: int, after: int | None) -> Page:
    """The outbox of a region's subtree, newest first."""
    rows = [_timed(row) for row in await pool.fetch(OUTBOX, scope, state, after, limit + 1)]
    more = len(rows) > limit
    return Page(rows[:limit], str(rows[limit - 1]["outbox_id"]) if more else None)


async def send_again(connection: AsyncConnection, number: int, *, scope: str, actor: str, now: datetime) -> None:
    """A failed mail of a region's subtree is tried anew, for as long as a new one. Raises NotThere, NotFailed."""
    found = (await connection.execute(text(A_MAIL), {"number": number, "scope": scope})).one_or_none()
    if found is None:
        raise NotThere("mail", str(number))
    if found.state != "failed":
        raise NotFailed(f"the mail is {found.state}; only one that failed is sent again")
    await connection.execute(text(SEND_AGAIN), {"number": number, "now": now})
    before = {"state": found.state, "last_code": found.last_code, "last_error": found.last_error}
    place = {"enterprise": found.enterprise} if found.enterprise else {"region": found.region}
    await write_audit(
        connection, actor, "mail.resend", "mail", str(number), before=before, after={"state": "queued"}, place=place
    )


async def one_mail(pool: asyncpg.Pool, number: int, *, scope: str) -> Fields:
    """A mail as the outbox shows it. Raises NotThere."""
    row = await pool.fetchrow(OUTBOX, scope, None, number + 1, 1)
    if row is None or row["outbox_id"] != number:
        raise NotThere("mail", str(number))
    return _timed(row)


async def alarms(pool: asyncpg.Pool, *, scope: str, cleared: bool, limit: int, after: int | None) -> Page:
    """What is wrong with the platform itself, newest first; of people and enterprises, those of a region's subtree."""
    rows = [dict(row) for row in await pool.fetch(ALARMS, cleared, after, limit + 1, scope)]
    more = len(rows) > limit
    return Page(rows[:limit], str(rows[limit - 1]["alarm_id"]) if more else None)


def _timed(row: asyncpg.Record) -> Fields:
    """A row whose `next_at` is a time or nothing: what is done with has none. Doubtful for good is shown as `sent?`."""
    found = dict(row)
    never = found["next_at"].year >= 9999
    found["next_at"] = None if never else found["next_at"]
    if found["state"] == "uncertain" and never:
        found["state"] = "sent?"
    return found


def _shown(row: Any) -> Fields:
    found = dict(row._mapping)
    facts = found.pop("facts") or {}
    facts.pop("told_before", None)
    if found["silenced_until"] is None:
        found["silence_covers"] = None
    return {"id": found.pop("alert_id"), **found, "inputs": facts}


@dataclass(frozen=True, slots=True)
class Doing:
    """Who does something to an alert, when, and in which words."""

    actor: str
    now: datetime
    zone: ZoneInfo
    comment: str


async def acknowledge_alert(connection: AsyncConnection, number: int, doing: Doing, settings: AlertSettings) -> None:
    """Raises NotThere, and alerts.states.TransitionRefused where no level stands."""
    row = await _locked(connection, number)
    change = acknowledge(state_of(row), doing.now, settings.ack_days)
    await _write(connection, row, change, doing, {"acked_until": change.after.acked_until, "acked_by": doing.actor})


async def silence_alert(
    connection: AsyncConnection, number: int, doing: Doing, settings: AlertSettings, *, days: float, supervisor: bool
) -> None:
    """Raises NotThere, SilenceRefused, TransitionRefused."""
    row = await _locked(connection, number)
    state = state_of(row)
    refused = may_silence(settings, state.level, supervisor=supervisor, days=days)
    if refused is not None:
        raise SilenceRefused(refused)
    change = silence(state, doing.now + timedelta(days=days), Level.RED if supervisor else Level.ORANGE)
    told = {
        "silenced_until": change.after.silenced_until,
        "silenced_by": doing.actor,
        "silence_covers": change.after.silence_covers.word,
    }
    await _write(connection, row, change, doing, told)


async def comment_alert(connection: AsyncConnection, number: int, doing: Doing) -> None:
    """A word of explanation in the history. Raises NotThere; a closed alert may be commented as well."""
    row = await _locked(connection, number)
    line = {
        "alert_id": number,
        "seq": row["seq"],
        "row": None,
        "event": "commented",
        "phase_before": row["phase"],
        "phase_after": row["phase"],
        "level_before": row["level"],
        "level_after": row["level"],
        "day": doing.now.astimezone(doing.zone).date().isoformat(),
        "actor": doing.actor,
        "comment": doing.comment,
        "inputs": {},
    }
    await _add(connection, [line], doing.now)
    after, place = {"comment": doing.comment}, {"enterprise": row["enterprise"]}
    await write_audit(connection, doing.actor, "alert.comment", "alert", str(number), after=after, place=place)


async def _locked(connection: AsyncConnection, number: int) -> Mapping[str, Any]:
    row = (await connection.execute(select(alert).where(alert.c.alert_id == number).with_for_update())).one_or_none()
    if row is None:
        raise NotThere("alert", str(number))
    return row._mapping  # type: ignore[return-value]  # a mapping of column names


async def _write(
    connection: AsyncConnection, row: Mapping[str, Any], change: Change, doing: Doing, values: Mapping[str, Any]
) -> None:
    number = row["alert_id"]
    assert change.after.phase is not Phase.CLOSED, "people acknowledge and silence; time closes"
    written = {**values, "seq": change.after.seq, "changed_at": doing.now}
    await connection.execute(update(alert).where(alert.c.alert_id == number).values(**written))
    day = doing.now.astimezone(doing.zone).date()
    await _add(connection, [history_line(number, change, day, doing.actor, doing.comment, {})], doing.now)
    before = plain({name: row[name] for name in values})
    after = plain(values) | {"comment": doing.comment}
    action, place = f"alert.{change.event}", {"enterprise": row["enterprise"]}
    await write_audit(connection, doing.actor, action, "alert", str(number), before=before, after=after, place=place)


async def _add(connection: AsyncConnection, lines: Sequence[Mapping[str, Any]], now: datetime) -> None:
    rows = [{**line, "day": date.fromisoformat(line["day"]), "at": now} for line in lines]
    await connection.execute(insert(alert_history), rows)
