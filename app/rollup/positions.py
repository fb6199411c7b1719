"""The loop that keeps the positions of budgets fresh: what lists show is at most an hour old."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import asyncpg

from app.store.calibrations import when_due
from app.store.kept_positions import left_behind
from app.store.positions import only_one_refreshes, refresh
from app.store.readings import is_unavailable
from app.store.waiting import first_of
from energy.interval import SiteCalendar, from_us

log = logging.getLogger(__name__)

EVERY_S = 3600.0
RETRY_S = 60.0
YEAR_BEFORE_UNTIL = 31
"""Through January the year before is still being closed: late data and corrections come in."""


class PositionWorker:
    """Evaluates every budget of the running year once an hour. Of several workers one does it at a time."""

    name = "positions"

    def __init__(self, pool: asyncpg.Pool, calendar: SiteCalendar, now_us: Callable[[], int]) -> None:
        self._pool = pool
        self._calendar = calendar
        self._now_us = now_us

    async def run(self, until: asyncio.Event) -> None:
        """Until the event is set. Never ends by itself: what fails is logged and tried again."""
        while not until.is_set():
            wait_s = EVERY_S
            try:
                await self.one_pass()
            except Exception as error:
                wait_s = RETRY_S
                if is_unavailable(error):
                    log.warning("positions wait for the database", extra={"why": str(error), "wait_s": wait_s})
                else:
                    log.exception("positions could not be evaluated, tried again")
            await first_of(wait_s, until)

    async def one_pass(self) -> int:
        """Answers how many budgets were evaluated; 0 when another worker is at it."""
        started_s, now_us = time.monotonic(), self._now_us()
        day = self._calendar.local_date(now_us)
        years = [day.year] if day.timetuple().tm_yday > YEAR_BEFORE_UNTIL else [day.year - 1, day.year]
        async with only_one_refreshes(self._pool) as ours:
            if not ours:
                return 0
            await self._recalibrate(now_us)
            count = await refresh(self._pool, self._calendar, years=years, now_us=now_us)
            count += await self._catch_up(years[0], now_us)
        log.info("budgets evaluated", extra={"count": count, "seconds": round(time.monotonic() - started_s, 2)})
        return count

    async def _catch_up(self, before_year: int, now_us: int) -> int:
        """Years that are over are evaluated again where a restatement changed their figures."""
        async with self._pool.acquire() as connection:
            behind = await left_behind(connection, self._calendar, before_year)
        found = 0
        for year, names in behind.items():
            found += await refresh(self._pool, self._calendar, years=[year], now_us=now_us, enterprises=names)
        return found

    async def _recalibrate(self, now_us: int) -> None:
        """Once a year, when its late data have come in."""
        fit = await when_due(self._pool, self._calendar, from_us(now_us))
        if fit is not None:
            facts = {"last_year": fit.last_year, "site_years": fit.found.site_years, "cover": fit.found.cover_after}
            log.info("intervals fitted to closed years", extra=facts)
