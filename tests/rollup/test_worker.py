"""The worker among others: several at once, killed halfway, a meter nobody can compute, a database that goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from decimal import Decimal

import asyncpg
import pytest

from app.rollup.verify import verify
from app.rollup.worker import RollupWorker
from app.store.energy import backlog
from app.store.rollups import LOCK_CLASS, LOCK_SLOTS
from tests.rollup.a_plant import CALENDAR, HOUR_US, NEIGHBOUR, PLANT, Plant, at, hourly, set_factor
from tests.wait import eventually

WAITING_BACKENDS = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()
"""


@asynccontextmanager
async def running(*workers: RollupWorker) -> AsyncIterator[None]:
    """The workers at work, as in the service."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for worker in workers:
            tasks.create_task(worker.run(stop))
        try:
            yield
        finally:
            stop.set()


async def none_waits(plant: Plant) -> bool:
    return (await backlog(plant.sql)).rows == 0


async def meters_with_history(plant: Plant, count: int) -> list[int]:
    meters = [
        await plant.meter(f"M{i}", enterprise=(PLANT, NEIGHBOUR)[i % 2], role=("purchase", "sale")[i % 2])
        for i in range(count)
    ]
    for meter in meters:
        await plant.send(meter, hourly("2025-12-30T00:00", [float(i * meter) for i in range(60)]))
    return meters


async def test_the_running_worker_hears_of_new_readings(plant: Plant) -> None:
    meter = await plant.meter("E001")
    async with running(plant.worker()):
        await plant.send(meter, hourly("2026-11-01T00:00", [0.0, 10.0]))
        await eventually(lambda: none_waits(plant), what="all marks worked off")
    (day,) = await plant.figures("enterprise", "day")
    assert day["quantity"] == 10


async def test_two_workers_on_the_same_meters_leave_what_one_would(plant: Plant) -> None:
    meters = await meters_with_history(plant, 4)
    workers = [RollupWorker(plant.database, CALENDAR, poll_s=0.05, pause_s=0.001, pairs_at_once=5) for _ in range(2)]
    async with running(*workers):
        for hour in range(60, 90):
            for meter in meters:
                await plant.send(meter, hourly("2025-12-30T00:00", [float(i * meter) for i in range(hour + 1)])[hour:])
        await eventually(lambda: none_waits(plant), what="all marks worked off")
    assert (await verify(plant.database, CALENDAR)).differences == []


@pytest.mark.parametrize(
    "blocked",
    ["held_reading", "meter_hour", "meter_day", "meter_year", "enterprise_hour", "enterprise_day", "enterprise_year"],
)
async def test_a_worker_killed_halfway_leaves_the_marks_and_no_half_figures(plant: Plant, blocked: str) -> None:
    meters = await meters_with_history(plant, 2)
    worker = plant.worker()
    await worker.catch_up()
    for meter in meters:
        await plant.send(meter, hourly("2026-01-01T12:00", [float(60 * meter + i) for i in range(9)]))
    before, waiting = await plant.everything(), (await backlog(plant.sql)).rows

    blocker = await asyncpg.connect(dsn=plant.url)
    async with blocker.transaction():
        await blocker.execute(f"LOCK TABLE {blocked} IN SHARE MODE")
        task = asyncio.create_task(worker.one_pass())
        await eventually(lambda: plant.sql.fetchval(WAITING_BACKENDS), what="the worker waits for the lock")
        await plant.sql.execute(f"SELECT pg_terminate_backend(pid) FROM ({WAITING_BACKENDS}) AS w")
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await task
    await blocker.close()
    assert (await plant.everything(), (await backlog(plant.sql)).rows) == (before, waiting)

    await plant.worker().catch_up()
    assert (await verify(plant.database, CALENDAR)).differences == []


async def test_the_running_worker_survives_the_loss_of_all_its_connections(plant: Plant) -> None:
    meter = await plant.meter("E001")
    async with running(plant.worker()):
        await plant.sql.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> $1",
            plant.sql.get_server_pid(),
        )
        await plant.send(meter, hourly("2026-11-01T00:00", [0.0, 10.0]))
        await eventually(lambda: none_waits(plant), what="all marks worked off after the loss")
    assert (await verify(plant.database, CALENDAR)).differences == []


async def test_a_worker_waits_while_another_has_the_enterprise(plant: Plant) -> None:
    meter = await plant.meter("E001")
    await plant.send(meter, hourly("2026-11-01T00:00", [0.0, 10.0]))
    other = await asyncpg.connect(dsn=plant.url)
    async with other.transaction():
        await other.execute(
            f"SELECT pg_advisory_xact_lock({LOCK_CLASS}, slot) FROM generate_series(0, {LOCK_SLOTS - 1}) slot"
        )
        task = asyncio.create_task(plant.worker().catch_up())
        await eventually(lambda: plant.sql.fetchval(WAITING_BACKENDS), what="the worker waits for the lock")
        # What is committed while it waits is seen by it: it reads after it has the lock.
        await plant.send(meter, hourly("2026-11-01T02:00", [20.0]))
    await other.close()
    await task
    (day,) = await plant.figures("meter", "day", meter_id=meter)
    assert day["quantity"] == 20


async def test_a_factor_that_changes_while_the_worker_waits_is_the_one_it_uses(plant: Plant) -> None:
    meter = await plant.meter("E001")
    await plant.send(meter, hourly("2026-11-01T00:00", [0.0, 1000.0]))
    other = await asyncpg.connect(dsn=plant.url)
    async with other.transaction():
        await other.execute(
            f"SELECT pg_advisory_xact_lock({LOCK_CLASS}, slot) FROM generate_series(0, {LOCK_SLOTS - 1}) AS slot"
        )
        task = asyncio.create_task(plant.worker().catch_up())
        await eventually(lambda: plant.sql.fetchval(WAITING_BACKENDS), what="the worker waits for the lock")
        await set_factor(plant.sql, PLANT, "electricity", "equivalent", "0.5", date(2026, 1, 1))
    await other.close()
    await task
    (day,) = await plant.figures("enterprise", "day")
    assert day["tce_equivalent"] == Decimal("0.5")


async def test_a_meter_nobody_can_compute_keeps_its_marks_and_stops_no_other(plant: Plant) -> None:
    well = await plant.meter("WELL")
    odd = await plant.meter("ODD", unit="parsec")
    for meter in (odd, well):
        await plant.send(meter, hourly("2026-11-01T00:00", [0.0, 10.0]))
    worker = plant.worker()
    await worker.catch_up()

    assert list(worker.aside) == [odd]
    assert "parsec" in worker.aside[odd]
    (day,) = await plant.figures("enterprise", "day")
    assert day["quantity"] == 10
    waiting = await backlog(plant.sql)
    assert (waiting.rows, waiting.oldest_us is not None) == (1, True)

    await plant.sql.execute("UPDATE meter SET unit = 'kWh' WHERE meter_id = $1", odd)
    await plant.worker().catch_up()
    assert await none_waits(plant)
    assert (await verify(plant.database, CALENDAR)).differences == []


async def test_a_meter_the_database_refuses_stops_no_other(plant: Plant) -> None:
    well, odd = await plant.meter("WELL"), await plant.meter("ODD")
    await plant.sql.execute(f"ALTER TABLE meter_month ADD CONSTRAINT refused CHECK (meter_id <> {odd})")
    try:
        for meter in (odd, well):
            await plant.send(meter, hourly("2026-11-01T00:00", [0.0, 10.0]))
        worker = plant.worker()
        async with running(worker):

            async def only_the_odd_one_is_left() -> bool:
                return list(worker.aside) == [odd] and (await backlog(plant.sql)).rows == 1

            await eventually(only_the_odd_one_is_left, what="the other meter is done")
        (month,) = await plant.figures("enterprise", "month")
        assert month["quantity"] == 10
    finally:
        await plant.sql.execute("ALTER TABLE meter_month DROP CONSTRAINT refused")


async def test_marking_every_meter_whole_changes_nothing(plant: Plant) -> None:
    meters = await meters_with_history(plant, 12)
    worker = plant.worker()
    await worker.catch_up()
    before = await plant.everything()
    await plant.mark_whole(*meters)

    assert await worker.catch_up() == 2, "eight meters at once, and then the rest"
    assert await plant.everything() == before


async def test_readings_that_went_take_their_figures_with_them(plant: Plant) -> None:
    (meter,) = await meters_with_history(plant, 1)
    worker = plant.worker()
    await worker.catch_up()
    await plant.sql.execute("DELETE FROM reading")
    await plant.mark_whole(meter)
    await worker.catch_up()
    assert {name: rows for name, rows in (await plant.everything()).items() if rows} == {}


async def test_many_meters_that_report_in_the_same_hours_come_out_as_each_by_itself(plant: Plant) -> None:
    """Twelve meters, each some minutes later than the one before: one question reads them, each keeps its own."""
    meters = [await plant.meter(f"M{n:02}", expected_interval_s=900) for n in range(12)]
    worker = plant.worker()
    for first in (0, 9, 30):
        for n, meter in enumerate(meters):
            start = at("2026-11-01T00:00") + n * 4 * 60_000_000
            values = [(start + i * HOUR_US // 4, 10.0 * i + n) for i in range(first, first + 9)]
            await plant.send(meter, [(us, 3.0 if (n, us) == (5, values[4][0]) else value) for us, value in values])
        await worker.catch_up()
    assert (await verify(plant.database, CALENDAR)).differences == []
    totals = [row["quantity"] for row in await plant.figures("meter", "year")]
    assert totals == [380] * 12
