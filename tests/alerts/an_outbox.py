"""An outbox over a real database: an enterprise with contacts, a region with supervisors, rows to be sent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg

from alerts.notice import Contact, Delivery
from alerts.rule import Level, Role
from alerts.sender import MailSender
from alerts.smtp import Mailer, Probe, Server, server_of, unobserved
from app.store.database import plain_url
from app.store.outbox import Addressee, StoredOutbox, Waiting, enqueue, recipients
from tests.alerts.a_notice import SENDER, facts

ENTERPRISE = "91445303MA4UQ7KJ3D"
REGION = "445303"
DOMAIN = "tcewatch.example"
ZONE = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 7, 20, 1, 0, tzinfo=UTC)
CONTACTS = [
    {"name": "王经理", "email": "manager@example.com", "language": "zh-CN"},
    {"name": "Deputy", "email": "deputy@example.com", "language": "en"},
]
EMPTY = """
TRUNCATE alert_history, alert_evaluation, alert_run, outbox, recipient, alert, platform_alarm, region_contact,
    alert_setting, region_target
"""


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def on(self, **span: float) -> datetime:
        self.now += timedelta(**span)
        return self.now


class Outbox:
    """What a test asks of the outbox, and a sender for it."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.clock = Clock()
        self.book = StoredOutbox(pool, domain=DOMAIN, zone=ZONE)

    async def alert(self, level: Level = Level.ORANGE, **changes: Any) -> int:
        """An alert that stands."""
        values = {"kind": "trend", "period": "2026", "subject": "equivalent"} | changes
        return int(
            await self.pool.fetchval(
                """INSERT INTO alert (enterprise, kind, period, subject, phase, level, seq, over_since, under_since,
                       fact, data, told, worst, facts, opened_at, raised_at, changed_at)
                   VALUES ($1, $2, $3, $4, 'active', $5, 2, $6, $6, false, 'ok', $5, $5, '{}', $7, $7, $7)
                   RETURNING alert_id""",
                ENTERPRISE,
                values["kind"],
                values["period"],
                values["subject"],
                level.word,
                [None] * 3,
                self.clock.now,
            )
        )

    async def put(
        self,
        email: str = "manager@example.com",
        *,
        alert_id: int | None = None,
        seq: int = 2,
        level: Level = Level.ORANGE,
        delivery: Delivery = Delivery.IMMEDIATE,
        state: str = "queued",
        **payload: Any,
    ) -> int:
        """A row for somebody; answers its number."""
        if alert_id is None:
            alert_id = await self.alert(level)
        contact = next((Contact(**one) for one in CONTACTS if one["email"] == email), Contact(email, email))
        async with self.pool.acquire() as connection, connection.transaction():
            (who,) = await recipients(connection, [Addressee(ENTERPRISE, Role.MANAGER, contact)])
            told = facts(level=level.word, alert=alert_id, **payload)
            row = Waiting(alert_id, seq, who, "raised", level, delivery, told, self.clock.now, state=state)
            (made,) = await enqueue(connection, [row], domain=DOMAIN, now=self.clock.now)
        return made

    def sender(
        self,
        url: str,
        *,
        probe: Probe = unobserved,
        server: Server | None = None,
        context: Any = None,
        **options: Any,
    ) -> MailSender:
        there = server or server_of(url)
        return MailSender(
            self.book,
            url,
            SENDER,
            clock=self.clock,
            mailer=lambda: Mailer(there, context=context, probe=probe),
            **options,
        )

    async def rows(self, columns: str = "state", where: str = "true") -> list[Any]:
        """One column's values, or tuples of several, by number."""
        found = await self.pool.fetch(f"SELECT {columns} FROM outbox WHERE {where} ORDER BY outbox_id")
        return [row[0] if len(row) == 1 else tuple(row) for row in found]

    async def alarms(self) -> dict[str, str]:
        found = await self.pool.fetch("SELECT kind, subject FROM platform_alarm WHERE cleared_at IS NULL")
        return {row["kind"]: row["subject"] for row in found}


@asynccontextmanager
async def an_outbox(database_url: str) -> AsyncIterator[Outbox]:
    """Empty, over a database with one enterprise and one supervisor."""
    async with asyncpg.create_pool(plain_url(database_url), min_size=1, max_size=4) as pool:
        await pool.execute(EMPTY)
        await pool.execute(
            """INSERT INTO enterprise (id, name, region, industry, contacts) VALUES ($1, '云安示范水泥', $2, '3011', $3)
               ON CONFLICT (id) DO UPDATE SET contacts = excluded.contacts""",
            ENTERPRISE,
            REGION,
            json.dumps(CONTACTS),
        )
        await pool.execute(
            """INSERT INTO region_contact (region, email, name, language)
               VALUES ($1, 'county@example.com', 'County', 'en')""",
            REGION,
        )
        yield Outbox(pool)
