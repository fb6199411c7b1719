"""The worker that keeps positions: every approved budget of the year, by one worker at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import date, timedelta

import pytest

from app.rollup.positions import PositionWorker
from app.store.budgets import list_by_probability
from app.store.positions import only_one_refreshes, refresh
from tests.rollup.a_plant import CALENDAR, NEIGHBOUR, PLANT, Plant, a_plant, at

BUDGET = """
INSERT INTO budget_revision (enterprise, year, basis, revision, amount, monthly, plan_source, reason, state, entered_by,
    decided_by, decided_at)
VALUES ($1, $2, $3, 1, 1200, array_fill(100::numeric, ARRAY[12]), 'even', 'x', $4::text, 'x',
    CASE WHEN $4::text <> 'proposed' THEN 'x' END, CASE WHEN $4::text <> 'proposed' THEN now() END)
"""
KEPT = "SELECT enterprise, year, basis, tier FROM budget_position ORDER BY 1, 2, 3"
STANDING = "SELECT enterprise, year, basis, tier FROM budget_standing ORDER BY 1"
DAY_TCE = """
INSERT INTO enterprise_{level} (enterprise, carrier, start, quantity, quantity_net, tce_equivalent_net, tce_equal_net,
    tco2_net, measured_us, estimated_us)
SELECT $1, 'electricity', date_trunc('{level}', day) AT TIME ZONE 'Asia/Shanghai', 1, 1, sum(5), sum(3), sum(9),
    sum(86400000000)::bigint, 0 FROM unnest($2::date[]) AS days (day) GROUP BY 3
"""


@pytest.fixture
async def plant(database_url: str) -> AsyncIterator[Plant]:
    async with a_plant(database_url) as plant:
        await plant.sql.execute("TRUNCATE budget_revision, budget_position, budget_standing")
        yield plant
        await plant.sql.execute("TRUNCATE budget_revision, budget_position, budget_standing")


def worker(plant: Plant, now: str) -> PositionWorker:
    return PositionWorker(plant.database.pool, CALENDAR, lambda: at(now))


async def test_the_budgets_of_the_running_year_are_kept_with_the_worst_of_each_enterprise(plant: Plant) -> None:
    for year, basis, state in (
        (2026, "equivalent", "approved"),
        (2026, "equal", "approved"),
        (2026, "co2", "proposed"),
        (2025, "co2", "approved"),
    ):
        await plant.sql.execute(BUDGET, PLANT, year, basis, state)
    await plant.meter("E001")
    await plant.sql.execute("UPDATE meter SET first_at = '2025-12-31T16:00Z'")
    days = [date(2026, 1, 1) + timedelta(days=i) for i in range(250)]
    for level in ("day", "month"):
        await plant.sql.execute(DAY_TCE.format(level=level), PLANT, days)
    assert await worker(plant, "2026-09-08T00:00").one_pass() == 2
    # 5 t a day are 1,250 t of 1,200 on the one account, 3 t a day are 750 t on the other
    assert [tuple(row)[2:] for row in await plant.sql.fetch(KEPT)] == [("equal", "green"), ("equivalent", "red")]
    assert [tuple(row) for row in await plant.sql.fetch(STANDING)] == [(PLANT, 2026, "equivalent", "red")]


async def test_through_january_the_year_before_is_evaluated_too(plant: Plant) -> None:
    for key, year in ((PLANT, 2025), (NEIGHBOUR, 2026)):
        await plant.sql.execute(BUDGET, key, year, "equivalent", "approved")
    assert await worker(plant, "2026-01-31T12:00").one_pass() == 2
    assert await worker(plant, "2026-02-01T12:00").one_pass() == 1


async def test_a_budget_of_the_next_year_hides_nothing_of_the_running_one(plant: Plant) -> None:
    await plant.sql.execute(BUDGET, PLANT, 2026, "equivalent", "approved")
    await worker(plant, "2026-11-24T00:00").one_pass()
    await plant.sql.execute(BUDGET, PLANT, 2027, "equivalent", "approved")
    now_us = at("2026-11-24T01:00")
    await refresh(plant.database.pool, CALENDAR, years=[2027], now_us=now_us, enterprises=[PLANT])  # as a PUT does
    for year in (2026, 2027):
        page = await list_by_probability(
            plant.database,
            scope=None,
            only=PLANT,
            region=None,
            industry=None,
            tier=None,
            year=year,
            limit=10,
            after=None,
        )
        assert page.items[0]["overrun_probability"] is not None, year
    assert [row["year"] for row in await plant.sql.fetch(f"{STANDING}, 2")] == [2026, 2027]


async def test_a_later_evaluation_takes_the_place_of_the_earlier(plant: Plant) -> None:
    await plant.sql.execute(BUDGET, PLANT, 2026, "equivalent", "approved")
    await worker(plant, "2026-03-01T00:00").one_pass()
    await worker(plant, "2026-04-01T00:00").one_pass()
    rows = await plant.sql.fetch("SELECT as_of FROM budget_position")
    assert [row[0] for row in rows] == [date(2026, 4, 1)]


async def test_of_two_workers_one_evaluates(plant: Plant) -> None:
    await plant.sql.execute(BUDGET, PLANT, 2026, "equivalent", "approved")
    async with only_one_refreshes(plant.database.pool) as ours:
        assert ours
        assert await worker(plant, "2026-03-01T00:00").one_pass() == 0
    assert await worker(plant, "2026-03-01T00:00").one_pass() == 1


async def test_it_stops_when_told(plant: Plant) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(worker(plant, "2026-03-01T00:00").run(stop))
    stop.set()
    async with asyncio.timeout(10):
        await running


async def test_what_fails_is_tried_again_and_ends_nothing(plant: Plant, caplog: pytest.LogCaptureFixture) -> None:
    stop = asyncio.Event()

    def broken() -> int:
        stop.set()
        raise ValueError("x")

    await PositionWorker(plant.database.pool, CALENDAR, broken).run(stop)
    assert "positions could not be evaluated" in caplog.text
