"""Every night a sample of enterprises is computed from raw readings, from nothing, and held against what is stored."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import date, datetime, time

from prometheus_client import Counter, Gauge

from app.rollup.verify import Verification, verify
from app.store import verifications
from app.store.database import Database
from app.store.readings import is_unavailable
from app.store.waiting import first_of
from energy.interval import SiteCalendar, to_us

log = logging.getLogger(__name__)

LOOK_EVERY_S = 60.0
NIGHTS = Counter("tcewatch_verification_nights", "Nights a sample was verified")
DIFFERENCES = Gauge("tcewatch_verification_differences", "Figures that differed in the last night's sample")


class NightlyVerification:
    """Verifies so many enterprises a night, another sample each. One worker of many does it.

    An enterprise with marks that are not worked off yet may rightly differ: it is passed over.
    """

    def __init__(
        self, database: Database, calendar: SiteCalendar, *, at: time, sample: int, now: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._calendar = calendar
        self._at = at
        self._sample = sample
        self._now = now

    async def run(self, until: asyncio.Event) -> None:
        """Look every minute whether the night's verification is due. Ends with the event."""
        while not until.is_set():
            local = self._now().astimezone(self._calendar.zone)
            if self._sample and local.time() >= self._at:
                try:
                    await self.verify_night(local.date())
                except Exception as error:
                    if not is_unavailable(error):
                        log.exception("the nightly verification failed")
            await first_of(LOOK_EVERY_S, until)

    async def verify_night(self, night: date) -> int | None:
        """Verify the night's sample unless that was done. Answers how many figures differ; None: nothing to do."""
        seed = night.toordinal()
        number = await verifications.begin(self._database.pool, night, seed, self._sample)
        if number is None:
            return None
        total, passed_over = Verification(), 0
        for enterprise in sample_of(await verifications.candidates(self._database.pool), self._sample, seed):
            found = await verify(self._database, self._calendar, enterprise=enterprise, now_us=to_us(self._now()))
            if found.unsettled:
                passed_over += 1
                continue
            total.add(found)
            rows = [(d.table, d.key, d.start_us, d.column, d.stored, d.expected) for d in found.differences]
            async with self._database.pool.acquire() as connection, connection.transaction():
                await verifications.keep(connection, number, enterprise, rows)
        differences = len(total.differences)
        counts = (total.enterprises, passed_over, total.meters, total.readings, total.buckets, differences)
        await verifications.finish(self._database.pool, number, *counts)
        NIGHTS.inc()
        DIFFERENCES.set(differences)
        facts = {"enterprises": total.enterprises, "passed_over": passed_over, "differences": differences}
        (log.error if differences else log.info)("verified", extra={"night": night.isoformat(), **facts})
        return differences


def sample_of(enterprises: list[str], count: int, seed: int) -> list[str]:
    """So many of them, others with another seed, the same with the same."""
    return sorted(random.Random(seed).sample(enterprises, min(count, len(enterprises))))  # no secret
