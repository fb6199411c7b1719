"""The engine over a real database, with positions the test makes up and a clock it moves."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import asyncpg

from alerts.engine import AlertEngine, Schedule
from alerts.evaluate import BudgetPosition, DataPosition, Position
from app.store.alerts import StoredAlerts
from app.store.database import plain_url
from tests.alerts.an_outbox import CONTACTS, DOMAIN, EMPTY, ENTERPRISE, REGION, ZONE, Clock
from tests.alerts.test_evaluate import a_position

FIRST = date(2026, 7, 6)
"""A Monday, long before the next month's close."""
AT = time(5, 30)
Script = Callable[[str, date], float]


class MadeUp:
    """A projection source whose every answer is the test's: `p_over` of (enterprise, day), and changes to positions."""

    def __init__(self, enterprises: Sequence[str], p_over: Script) -> None:
        self.enterprises = list(enterprises)
        self.p_over = p_over
        self.changes: dict[str, dict[str, Any]] = {}
        self.late_s: dict[str, float] = {}
        self.revised: list[str] = []
        self.group = 500
        self.ready = True

    async def positions(
        self, day: date, now: datetime, enterprises: Sequence[str] | None = None
    ) -> AsyncGenerator[Sequence[Position], None]:
        named = [one for one in self.enterprises if enterprises is None or one in enterprises]
        for first in range(0, len(named), self.group):
            part = named[first : first + self.group]
            yield [*(self._budget(name, day) for name in part), *(self._data(name, day, now) for name in part)]

    def _budget(self, name: str, day: date) -> BudgetPosition:
        p_over = self.p_over(name, day)
        found = a_position(
            enterprise=name,
            region=REGION,
            day=day,
            as_of=datetime.combine(day, time(0), ZONE),
            p_over=p_over,
            projected=900 + 200 * p_over,
            low80=850 + 200 * p_over,
            high80=950 + 200 * p_over,
            late_s=self.late_s.get(name, 0.0),
            plan=tuple([Decimal(1000) / 12] * 12),
        )
        return replace(found, **self.changes.get(name, {}))

    def _data(self, name: str, day: date, now: datetime) -> DataPosition:
        return DataPosition(name, REGION, day, now, self.late_s.get(name, 0.0), 0, 0.0, "E001", None)

    async def revised_since(self, moment: datetime) -> Sequence[str]:
        found, self.revised = self.revised, []
        return found

    async def note_outage(self, now: datetime) -> None:
        return

    async def caught_up(self) -> bool:
        return self.ready


class Bench:
    """The engine, its book, its source, and what came of it."""

    def __init__(self, pool: asyncpg.Pool, source: MadeUp) -> None:
        self.pool = pool
        self.source = source
        self.clock = Clock(datetime.combine(FIRST, AT, ZONE))
        self.book = StoredAlerts(pool, domain=DOMAIN, zone=ZONE, portal="https://energy.example")
        self.engine = self.another()

    def another(self) -> AlertEngine:
        """Another process with the same database."""
        schedule = Schedule(ZONE, longest_wait=timedelta(0))
        return AlertEngine(self.source, StoredAlerts(self.pool, domain=DOMAIN, zone=ZONE), schedule, clock=self.clock)

    async def nights(self, count: int) -> None:
        """A night after the other."""
        for _ in range(count):
            await self.engine.look()
            self.clock.on(days=1)

    async def alerts(self, columns: str = "kind, phase, level", where: str = "phase <> 'inactive'") -> list[Any]:
        found = await self.pool.fetch(f"SELECT {columns} FROM alert WHERE {where} ORDER BY kind, enterprise")
        return [tuple(row) for row in found]

    async def outbox(self, columns: str = "kind, level, email, state", where: str = "true") -> list[Any]:
        found = await self.pool.fetch(
            f"""SELECT {columns} FROM outbox JOIN recipient USING (recipient_id)
                WHERE digest_key = '' AND ({where}) ORDER BY outbox_id"""
        )
        return [tuple(row) for row in found]

    async def number(self, kind: str = "trend") -> int:
        return int(await self.pool.fetchval("SELECT alert_id FROM alert WHERE kind = $1", kind))

    async def rows_of_history(self, kind: str = "trend") -> list[int]:
        found = await self.pool.fetch(
            'SELECT "row" FROM alert_history JOIN alert USING (alert_id) WHERE kind = $1 ORDER BY history_id', kind
        )
        return [row[0] for row in found]

    async def settings(self, **changes: Any) -> None:
        """A version of the region's settings."""
        number = await self.pool.fetchval("SELECT count(*) + 1 FROM alert_setting WHERE region = $1", REGION)
        await self.pool.execute(
            "INSERT INTO alert_setting VALUES ($1, $2, $3, 'test', 'test', $4)",
            REGION,
            number,
            json.dumps(changes),
            self.clock.now,
        )


def steady(p_over: float) -> Script:
    return lambda name, day: p_over


def scripted(values: Mapping[date, float], otherwise: float) -> Script:
    return lambda name, day: values.get(day, otherwise)


def code(number: int) -> str:
    """A key that is shaped like a credit code; nobody here verifies its check character."""
    return f"91445303MA5{number:06d}X"


@asynccontextmanager
async def a_bench(
    database_url: str, p_over: Script = lambda name, day: 0.9, enterprises: Sequence[str] = (ENTERPRISE,)
) -> AsyncIterator[Bench]:
    async with asyncpg.create_pool(plain_url(database_url), min_size=1, max_size=6) as pool:
        await pool.execute(f"{EMPTY}, event, webhook_delivery CASCADE; DELETE FROM enterprise")
        await pool.executemany(
            """INSERT INTO enterprise (id, name, region, industry, contacts)
               VALUES ($1, $2, $3, '3011', $4)""",
            [(name, f"企业 {name[-7:]}", REGION, json.dumps(_contacts(name, enterprises))) for name in enterprises],
        )
        await pool.executemany(
            "INSERT INTO region_contact (region, email, name, language) VALUES ($1, $2, $2, 'en')",
            [(REGION, "county@example.com"), ("4453", "city@example.com")],
        )
        yield Bench(pool, MadeUp(enterprises, p_over))


def _contacts(name: str, enterprises: Sequence[str]) -> list[dict[str, str]]:
    if len(enterprises) == 1:
        return [*CONTACTS, {"name": "Legal", "email": "legal@example.com", "language": "both"}]
    return [{"name": name, "email": f"{name.lower()}@example.com", "language": "zh-CN"}]
