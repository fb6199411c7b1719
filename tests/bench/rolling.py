"""The rollup of fresh readings beside COPY with marks, and a year of one meter computed again."""

from __future__ import annotations

import time

from app.rollup.worker import RollupWorker
from app.settings import Settings
from app.store.database import open_database
from energy.interval import SiteCalendar
from tests.bench.city import DAY_US, METERS_PER_GATEWAY, MINUTE_US, groups_of, rows_of
from tests.bench.doors import broker_fresh_seconds, http_fresh_seconds
from tests.bench.figures import Sheet
from tests.bench.ground import Ground, copy_with_marks_seconds

GATEWAYS_TAKEN = 5
METERS = GATEWAYS_TAKEN * METERS_PER_GATEWAY
QUARTER_US = 15 * MINUTE_US
YEAR_DAYS = 365
FRESH = (("rollup_fresh_15min", QUARTER_US), ("rollup_fresh_hourly", 60 * MINUTE_US))


async def measure_rollup(ground: Ground, sheet: Sheet, readings: int, service_url: str, broker_url: str) -> None:
    """500 meters, all at one time and then all at the next, and then every mark is worked off.

    The same beside COPY with marks, and beside what the service itself needed to take such readings in at its doors.
    """
    async with open_database(ground.url) as database:
        worker = RollupWorker(database, SiteCalendar(Settings().zone))
        for key, step_us in FRESH:
            steps = readings // METERS
            first_us = ground.city.next_us
            await ground.clear(first_us, first_us + steps * step_us)
            groups = groups_of(rows_of(ground.city, first_us, readings, meters=METERS, step_us=step_us))
            copied_s = await copy_with_marks_seconds(ground.sql, groups)
            sheet.note("copy_marks_rows_s", readings / copied_s)
            sheet.note(key, await _catch_up_seconds(worker) / copied_s)
            doors = (
                ("http", http_fresh_seconds(ground, service_url, readings, GATEWAYS_TAKEN, step_us)),
                ("mqtt", broker_fresh_seconds(ground, broker_url, readings, GATEWAYS_TAKEN, step_us)),
            )
            for door, taking_in in doors:
                taken_in_s = await taking_in
                sheet.note(f"{key}_of_{door}", await _catch_up_seconds(worker) / taken_in_s)
        await _measure_year(ground, sheet, worker)


async def _measure_year(ground: Ground, sheet: Sheet, worker: RollupWorker) -> None:
    last_us = ground.city.next_us
    first_us = last_us - YEAR_DAYS * DAY_US
    await ground.clear(first_us, last_us)
    rows = rows_of(ground.city, first_us, YEAR_DAYS * 96, meters=1, step_us=QUARTER_US)
    await copy_with_marks_seconds(ground.sql, groups_of(rows))
    await worker.catch_up()
    await ground.sql.execute("INSERT INTO touched (meter_id) VALUES ($1)", ground.city.numbers[:1])
    sheet.note("rollup_meter_year_s", await _catch_up_seconds(worker))


async def _catch_up_seconds(worker: RollupWorker) -> float:
    started = time.perf_counter()
    marks = await worker.catch_up()
    seconds = time.perf_counter() - started
    if not marks or worker.aside:
        raise AssertionError(f"{marks} marks worked off; aside: {worker.aside}")
    return seconds
