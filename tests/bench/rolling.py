"""The rollup of fresh readings beside what taking them in costs, and a year of one meter computed again."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from app.rollup.worker import RollupWorker
from app.settings import Settings
from app.store.database import open_database
from energy.interval import SiteCalendar
from tests.bench.city import DAY_US, METERS_PER_GATEWAY, MINUTE_US, groups_of, rows_of
from tests.bench.doors import broker_fresh_seconds, http_fresh_seconds
from tests.bench.figures import Sheet
from tests.bench.ground import Ground, copy_with_marks_seconds
from tests.bench.processors import parent_of, spent_s
from tests.e2e.service import Service

GATEWAYS_TAKEN = 5
METERS = GATEWAYS_TAKEN * METERS_PER_GATEWAY
QUARTER_US = 15 * MINUTE_US
YEAR_DAYS = 365
FRESH = (("rollup_fresh_15min", QUARTER_US), ("rollup_fresh_hourly", 60 * MINUTE_US))


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds on the clock, and seconds of processors."""

    clock_s: float
    processors_s: float


async def measure_rollup(ground: Ground, sheet: Sheet, readings: int, service: Service, broker_url: str) -> None:
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
            await _measure_doors(ground, sheet, readings, service, broker_url, worker, key, step_us)
        await _measure_year(ground, sheet, worker)


async def _measure_doors(
    ground: Ground,
    sheet: Sheet,
    readings: int,
    service: Service,
    broker_url: str,
    worker: RollupWorker,
    key: str,
    step_us: int,
) -> None:
    """On the clock: the doors work on all processors side by side, and share them with whoever sends; the rollup is
    one after the other. In processor seconds: service and database on the one side, worker and database on the other.
    """
    doors = (
        ("http", lambda: http_fresh_seconds(ground, service.url, readings, GATEWAYS_TAKEN, step_us)),
        ("mqtt", lambda: broker_fresh_seconds(ground, broker_url, readings, GATEWAYS_TAKEN, step_us)),
    )
    for door, take_in in doors:
        taken_in = await _cost(ground, service.pid, take_in)
        rolled = await _cost(ground, os.getpid(), lambda: _catch_up_seconds(worker))
        sheet.note(f"{key}_of_{door}", rolled.clock_s / taken_in.clock_s)
        sheet.note(f"{key}_cpu_of_{door}", rolled.processors_s / taken_in.processors_s)


async def _cost(ground: Ground, pid: int, work: Callable[[], Awaitable[float]]) -> Cost:
    """What some work costs that this process and the database do; the work answers its seconds on the clock.

    Of the database all processes count but the benchmark's own two connections, which empty and look.
    """
    own = {ground.sql.get_server_pid(), ground.ear.get_server_pid()}
    server = parent_of(ground.sql.get_server_pid())

    def spent() -> float:
        mine = time.process_time() if pid == os.getpid() else spent_s(pid)
        return mine + spent_s(server, without=own)

    before_s = spent()
    clock_s = await work()
    return Cost(clock_s, spent() - before_s)


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
