"""The loop that keeps the figures up to date: woken by the ledger, at the latest every second."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import asyncpg
from prometheus_client import Counter, Gauge

from app.rollup.recompute import Tariff
from app.rollup.rework import PAIRS_AT_ONCE, Book, Outcome, clock_us, rework
from app.store.database import Database
from app.store.energy import backlog
from app.store.factors import FactorRows, factor_rows, factors_of
from app.store.readings import is_unavailable
from app.store.rollups import Connection
from app.store.waiting import first_of
from energy.interval import SiteCalendar

log = logging.getLogger(__name__)

LONGEST_WAIT_S = 10.0
RETRY_ASIDE_S = 60.0
"""A meter that could not be computed is tried again this often: somebody may have mended its row."""

PASSES = Counter("tcewatch_rollup_passes", "Transactions that took marks")
HOURS = Counter("tcewatch_rollup_hours", "Meter hours written")
SECONDS = Counter("tcewatch_rollup_seconds", "Seconds spent in passes")
FAILURES = Counter("tcewatch_rollup_failures", "Passes that were rolled back")
BACKLOG_ROWS = Gauge("tcewatch_rollup_backlog_rows", "Marks not worked off yet")
BACKLOG_AGE = Gauge("tcewatch_rollup_backlog_age_seconds", "Age of the oldest mark")
ASIDE = Gauge("tcewatch_rollup_meters_aside", "Meters whose figures cannot be computed")


@dataclass(frozen=True, slots=True)
class _Aside:
    meter_id: int
    why: str
    retry_at_s: float


class RollupWorker:
    """Works off marks until told to stop. Several may run, in one process or many.

    While the database is away it waits, 10 s at most between two attempts. A meter that cannot be computed is logged,
    counted and kept aside with its marks, so the age of the backlog shows it; the others go on.
    """

    name = "rollup"

    def __init__(
        self,
        database: Database,
        calendar: SiteCalendar,
        *,
        poll_s: float = 1.0,
        pause_s: float = 0.2,
        pairs_at_once: int = PAIRS_AT_ONCE,
        closing_day: int = 10,
        now_us: Callable[[], int] = clock_us,
    ) -> None:
        self._pool = database.pool
        self._calendar = calendar
        self._poll_s = poll_s
        self._pause_s = pause_s
        self._pairs = pairs_at_once
        self._closing_day = closing_day
        self._now_us = now_us
        self._wake = asyncio.Event()
        self._aside: dict[int, _Aside] = {}
        self._one_by_one = 0
        self._waiting = 0
        self._factors: tuple[FactorRows, Tariff] | None = None

    @property
    def aside(self) -> dict[int, str]:
        """Meters whose recomputation fails, and why."""
        return {one.meter_id: one.why for one in self._aside.values()}

    async def run(self, until: asyncio.Event) -> None:
        """Keep the figures up to date until the event is set. Never ends by itself."""
        wait_s = self._pause_s
        while not until.is_set():
            try:
                async with self._listening():
                    while not until.is_set():
                        done = await self.one_pass()
                        wait_s = self._pause_s
                        if not done:
                            await self._idle(until)
                        elif self._waiting <= len(self._aside):
                            await first_of(self._pause_s, until)  # lets marks gather; behind, there is no pause
            except Exception as error:
                FAILURES.inc()
                if is_unavailable(error):
                    log.warning("rollup waits for the database", extra={"why": str(error), "wait_s": wait_s})
                else:
                    log.exception("rollup pass failed, trying meter by meter")
                    self._one_by_one = 100
                await first_of(wait_s, until)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    async def catch_up(self) -> int:
        """Work until no mark is left that can be worked off. Answers how many there were.

        Raises what the database raises.
        """
        total = 0
        while done := await self.one_pass():
            total += done
        return total

    async def one_pass(self) -> int:
        """One transaction: some marks worked off. Answers how many were taken; 0 when there is nothing to do."""
        started_s = time.monotonic()
        aside = self._still_aside(started_s)
        async with self._pool.acquire() as connection:
            book = Book(self._calendar, self._tariff, self._closing_day, self._now_us)
            outcome = await rework(connection, book, pairs=self._pairs, aside=aside, one_by_one=self._one_by_one > 0)
            self._one_by_one = max(0, self._one_by_one - 1)
            waiting = await backlog(connection)
        self._waiting = waiting.rows
        BACKLOG_ROWS.set(waiting.rows)
        BACKLOG_AGE.set(waiting.age_s)
        self._note(outcome, time.monotonic() - started_s, waiting.rows)
        return outcome.marks

    def _still_aside(self, now_s: float) -> list[int]:
        self._aside = {mark: one for mark, one in self._aside.items() if one.retry_at_s > now_s}
        return list(self._aside)

    async def _tariff(self, connection: Connection) -> Tariff:
        """The factors as they are now; built anew only when a row of them changed."""
        rows = await factor_rows(connection)
        if self._factors is None or self._factors[0] != rows:
            self._factors = rows, Tariff(factors_of(rows), self._calendar)
        return self._factors[1]

    def _note(self, outcome: Outcome, seconds: float, waiting: int) -> None:
        for mark, meter in outcome.aside.items():
            why = outcome.failed[meter]
            self._aside[mark] = _Aside(meter, why, time.monotonic() + RETRY_ASIDE_S)
            log.error("meter cannot be computed, kept aside", extra={"meter_id": meter, "why": why})
        ASIDE.set(len(self._aside))
        if not outcome.marks:
            return
        PASSES.inc()
        HOURS.inc(outcome.hours)
        SECONDS.inc(seconds)
        facts = {"marks": outcome.marks, "meters": outcome.meters, "hours": outcome.hours, "waiting": waiting}
        log.info("rolled up", extra={**facts, "seconds": round(seconds, 3)})

    async def _idle(self, until: asyncio.Event) -> None:
        """Until the ledger has something, or it is time to look anyway."""
        await first_of(self._poll_s, until, self._wake)
        self._wake.clear()

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        async with self._pool.acquire() as listener:

            def told(*_: object) -> None:
                self._wake.set()

            await listener.add_listener("touched", told)
            try:
                yield
            finally:
                with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                    await listener.remove_listener("touched", told)
