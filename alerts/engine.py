"""The loop that evaluates: once each local day, at once for a revised budget, and for every day that was missed.

Declares what it needs: ProjectionSource answers where budgets, data and meters stand, AlertBook keeps alerts. Both are
`app.store`'s. One process evaluates at a time; one that is killed gives its turn back, and the next goes on where the
last transaction ended.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as clock_time
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from prometheus_client import Counter, Gauge

from alerts.evaluate import Position

log = logging.getLogger(__name__)

EVALUATED = Counter("tcewatch_alert_evaluations", "Positions evaluated")
TOLD = Counter("tcewatch_alert_notices", "Notices written to the outbox")
FAILURES = Counter("tcewatch_alert_failures", "Turns of the alert engine that failed")
LAST_DAY = Gauge("tcewatch_alert_last_day", "Day of the newest finished daily evaluation, as seconds since 1970")
LONGEST_MAKING_UP = timedelta(days=400)


class ProjectionSource(Protocol):
    """Where everything stands on a local day."""

    def positions(
        self, day: date, now: datetime, enterprises: Sequence[str] | None = None
    ) -> AsyncGenerator[Sequence[Position], None]:
        """All positions, a group of enterprises at a time, so that memory does not grow with their number."""

    async def revised_since(self, moment: datetime) -> Sequence[str]:
        """Enterprises whose budget was revised after a moment."""

    async def note_outage(self, now: datetime) -> None:
        """Called once at the start: what was missed until now is nobody's lateness."""

    async def caught_up(self) -> bool:
        """Whether what gateways had kept back has come in and is in the figures."""


class Run(Protocol):
    """An evaluation under way."""

    @property
    def finished(self) -> bool: ...


class Tally(Protocol):
    """What a group came to."""

    @property
    def evaluated(self) -> int: ...
    @property
    def told(self) -> int: ...


class AlertBook(Protocol):
    """Keeps alerts and what is to be told of them; a transition and its notices are one transaction."""

    def turn(self) -> AbstractAsyncContextManager[bool]:
        """Whether it is this process's turn, held until the block ends."""

    async def settings(self) -> Any: ...
    async def last_day(self) -> date | None: ...
    async def last_run(self) -> datetime | None: ...
    async def begin(self, day: date, why: str, now: datetime) -> Any: ...
    async def record(
        self, run: Any, positions: Sequence[Position], settings: Any, now: datetime, *, tell: bool
    ) -> Any: ...
    async def finish(self, run: Any, settings: Any, now: datetime) -> int: ...
    async def digests(self, settings: Any, now: datetime) -> int: ...
    async def ripen(self, settings: Any, now: datetime) -> int: ...
    async def close_years(self, settings: Any, day: date, now: datetime) -> int: ...


@dataclass(frozen=True, slots=True)
class Schedule:
    """When to evaluate. `at`: local time of the daily evaluation. `longest_wait`: for the data after a start."""

    zone: ZoneInfo
    at: clock_time = clock_time(5, 30)
    longest_wait: timedelta = timedelta(minutes=30)
    look_every_s: float = 20.0

    def today(self, now: datetime) -> date:
        """The newest local day whose evaluation is due."""
        local = now.astimezone(self.zone)
        return local.date() if local.time() >= self.at else local.date() - timedelta(days=1)


def days_due(last: date | None, today: date) -> list[date]:
    """The days to evaluate, oldest first: all that were missed; the first time only today."""
    if last is None:
        return [today]
    first = max(last + timedelta(days=1), today - LONGEST_MAKING_UP)
    return [first + timedelta(days=number) for number in range((today - first).days + 1)]


class AlertEngine:
    """Evaluates until told to stop. What the database does is waited out."""

    name = "alerts"

    def __init__(
        self, source: ProjectionSource, book: AlertBook, schedule: Schedule, *, clock: Callable[[], datetime]
    ) -> None:
        self._source = source
        self._book = book
        self._schedule = schedule
        self._clock = clock
        self._until = asyncio.Event()

    async def run(self, until: asyncio.Event) -> None:
        """Look every 20 s whether something is due. Never ends by itself."""
        self._until = until
        await self._patiently(until, self._start)
        while not until.is_set():
            await self._patiently(until, self.look, once=True)
            await _wait(until, self._schedule.look_every_s)

    async def _start(self) -> None:
        await self._source.note_outage(self._clock())

    async def _patiently(self, until: asyncio.Event, job: Callable[[], Any], *, once: bool = False) -> None:
        while not until.is_set():
            try:
                await job()
            except Exception:
                FAILURES.inc()
                log.exception("a turn of the alert engine failed; it is tried again")
                if once:
                    return
                await _wait(until, self._schedule.look_every_s)
            else:
                return

    async def look(self) -> None:
        """Whatever is due now, if it is our turn."""
        async with self._book.turn() as ours:
            if not ours:
                return
            await self._evaluate_due()
            settings = await self._book.settings()
            now = self._clock()
            await self._book.ripen(settings, now)
            await self._book.digests(settings, now)

    async def _evaluate_due(self) -> None:
        now = self._clock()
        days = days_due(await self._book.last_day(), self._schedule.today(now))
        if days:
            if not await self._wait_for_data():
                return
            await self.evaluate_days(days, why="daily")
            return
        since = await self._book.last_run()
        revised = [] if since is None else await self._source.revised_since(since)
        if revised:
            await self.evaluate(self._schedule.today(now), why="revised", tell=True, enterprises=revised)

    async def _wait_for_data(self) -> bool:
        """After a start gateways send what they kept; judging before that would take it for missing.

        False when it is time to stop meanwhile: the next start judges.
        """
        begun = time.monotonic()
        while not await self._source.caught_up():
            if time.monotonic() - begun > self._schedule.longest_wait.total_seconds():
                log.warning("evaluating although not all data has come in")
                break
            await _wait(self._until, min(5.0, self._schedule.look_every_s))
            if self._until.is_set():
                return False
        return True

    async def evaluate_days(
        self, days: Sequence[date], *, why: str, enterprises: Sequence[str] | None = None
    ) -> tuple[int, int]:
        """Several days, oldest first; only what stands after the last is told. Answers positions and notices."""
        evaluated = told = 0
        for day in days:
            found = await self.evaluate(day, why=why, tell=day == days[-1], enterprises=enterprises)
            evaluated, told = evaluated + found[0], told + found[1]
        return evaluated, told

    async def evaluate(
        self, day: date, *, why: str, tell: bool, enterprises: Sequence[str] | None = None
    ) -> tuple[int, int]:
        """Evaluate one day now. Answers how many positions, and how many notices were written."""
        begun = time.monotonic()
        settings, now = await self._book.settings(), self._clock()
        run = await self._book.begin(day, why, now)
        evaluated = told = 0
        if not run.finished:
            async with aclosing(self._source.positions(day, now, enterprises)) as groups:
                async for group in groups:
                    tally = await self._book.record(run, group, settings, now, tell=tell)
                    evaluated, told = evaluated + tally.evaluated, told + tally.told
            await self._book.close_years(settings, day, now)
            mails = await self._book.finish(run, settings, now)
            facts = {"day": day.isoformat(), "why": why, "positions": evaluated, "notices": told, "grouped": mails}
            log.info("alerts evaluated", extra=facts | {"seconds": round(time.monotonic() - begun, 2)})
        EVALUATED.inc(evaluated)
        TOLD.inc(told)
        if why == "daily":
            LAST_DAY.set(datetime.combine(day, clock_time(), self._schedule.zone).timestamp())
        return evaluated, told


async def _wait(until: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await until.wait()
