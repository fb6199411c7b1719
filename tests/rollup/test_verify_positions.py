"""Positions of budgets are held against the readings too: what was spent, planned, excluded, and who stands worst."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, datetime
from decimal import Decimal

import pytest

from app.rollup.nightly import NightlyVerification
from app.rollup.positions import PositionWorker
from app.rollup.verify import Difference, verify
from app.store.closings import FIGURES, TIMES
from app.store.rollups import ENTERPRISE_COLUMNS
from energy.interval import from_us
from tests.rollup.a_plant import CALENDAR, HOUR_US, PLANT, Plant, a_plant, at
from tests.rollup.test_positions import BUDGET

TABLES = "budget_revision, budget_position, budget_standing, budget_exclusion"
NOW = "2026-04-20T10:00"


@pytest.fixture
async def plant(database_url: str) -> AsyncIterator[Plant]:
    async with a_plant(database_url) as plant:
        await plant.sql.execute(f"TRUNCATE {TABLES}")
        yield plant
        await plant.sql.execute(f"TRUNCATE {TABLES}")


async def evaluated(plant: Plant, now: str = NOW) -> None:
    await PositionWorker(plant.database.pool, CALENDAR, lambda: at(now)).one_pass()


async def a_plant_with_budgets(plant: Plant) -> int:
    """1,000 kWh every six hours since December, a year before with a budget too, and something taken off February."""
    meter = await plant.meter("E001", expected_interval_s=6 * 3600)
    first, last = at("2025-12-20T00:00"), at(NOW)
    times = range(first, last, 6 * HOUR_US)
    await plant.send(meter, [(us, 1000.0 * place) for place, us in enumerate(times, start=1)])
    await plant.sql.execute("UPDATE meter SET first_at = $1", from_us(first))
    await plant.worker().catch_up()
    for year, basis in ((2025, "equivalent"), (2026, "equivalent"), (2026, "equal"), (2026, "co2")):
        await plant.sql.execute(BUDGET, PLANT, year, basis, "approved")
    await plant.sql.execute(
        """INSERT INTO budget_exclusion (enterprise, basis, month, kind, amount, evidence, entered_by)
           VALUES ($1, 'equivalent', '2026-02-01', 'feedstock', 1.25, 'test', 'test')""",
        PLANT,
    )
    await evaluated(plant, "2026-01-20T10:00")
    await evaluated(plant)
    return meter


async def differences(plant: Plant, now: str | None = None) -> list[Difference]:
    return (await verify(plant.database, CALENDAR, now_us=None if now is None else at(now))).differences


def test_the_columns_of_a_restatement_are_those_of_a_month() -> None:
    assert FIGURES + TIMES == ENTERPRISE_COLUMNS


async def test_positions_follow_from_the_readings(plant: Plant) -> None:
    await a_plant_with_budgets(plant)
    assert await differences(plant) == []
    (spent,) = await plant.sql.fetch("SELECT spent FROM budget_position WHERE year = 2026 AND basis = 'equal'")
    # 109 days and the readings of a morning at four times 1,000 kWh, 0.3 kgce each
    assert abs(spent[0] - Decimal("0.3") * (109 * 4 + 1)) < Decimal("0.31")


@pytest.mark.parametrize(
    "column", ["spent", "excluded", "plan_to_date", "amount", "unmeasured_days", "assumed", "p50", "months"]
)
async def test_a_kept_position_that_is_not_what_the_readings_say_is_found(plant: Plant, column: str) -> None:
    await a_plant_with_budgets(plant)
    where = "year = 2026 AND basis = 'equivalent'"
    await plant.sql.execute(f"UPDATE budget_position SET {column} = {column} + 1 WHERE {where}")
    (found,) = await differences(plant)
    assert (found.table, found.key, found.column) == ("budget_position", f"{PLANT}/2026/equivalent", column)
    await evaluated(plant)
    assert await differences(plant) == []


async def test_the_worst_of_a_year_is_held_against_its_positions(plant: Plant) -> None:
    await a_plant_with_budgets(plant)
    await plant.sql.execute("UPDATE budget_standing SET tier = 'red' WHERE year = 2026")
    (found,) = await differences(plant)
    assert (found.table, found.column, found.stored) == ("budget_standing", "tier", "red")


async def test_a_position_younger_than_two_hours_may_lag_behind_its_figures(plant: Plant) -> None:
    meter = await a_plant_with_budgets(plant)
    await plant.send(meter, [(at("2026-04-20T06:00"), 1_000_000.0)])
    await plant.worker().catch_up()
    assert await differences(plant, "2026-04-20T12:00") == []
    late = await differences(plant, "2026-04-20T12:01")
    assert {one.table for one in late} == {"budget_position"}
    assert "spent" in {one.column for one in late}
    # a backup of that hour, restored later: what came after the evaluation was never evaluated
    await plant.sql.execute("UPDATE gateway SET last_data_at = $1", from_us(at("2026-04-20T10:40")))
    assert await differences(plant, "2026-05-03T00:00") == []
    await plant.sql.execute("UPDATE gateway SET last_data_at = $1", from_us(at("2026-04-20T12:40")))
    assert await differences(plant, "2026-05-03T00:00") != []


async def test_a_year_that_is_over_is_evaluated_again_when_it_is_restated(plant: Plant) -> None:
    meter = await a_plant_with_budgets(plant)
    await plant.send(meter, [(at("2025-12-19T18:00"), 0.0)])
    await plant.worker().catch_up()
    assert {one.key for one in await differences(plant, "2026-04-20T10:30")} == {f"{PLANT}/2025/equivalent"}
    await evaluated(plant, "2026-04-20T11:00")
    assert await differences(plant, "2026-04-20T11:30") == []


async def test_months_that_cannot_be_priced_are_left_out_of_both(plant: Plant) -> None:
    """Waste has a heating value and no CO2 factor: from March on the year's carbon is not known, and April's days."""
    await a_plant_with_budgets(plant)
    waste = await plant.meter("W001", carrier="municipal_waste", unit="kg", expected_interval_s=6 * 3600)
    times = range(at("2026-03-10T00:00"), at(NOW), 6 * HOUR_US)
    await plant.send(waste, [(us, 10.0 * place) for place, us in enumerate(times)])
    await plant.worker().catch_up()
    await evaluated(plant)
    kept = await plant.sql.fetch("SELECT basis, spent, notes FROM budget_position WHERE year = 2026")
    carbon = next(row for row in kept if row["basis"] == "co2")
    assert (carbon["spent"] is not None, carbon["notes"]) == (True, ["no-factor", "no-history", "missing-days-added"])
    assert await differences(plant) == []


async def test_the_newest_restatement_says_what_stands(plant: Plant) -> None:
    meter = await a_plant_with_budgets(plant)
    await plant.send(meter, [(at("2025-12-19T18:00"), 0.0)])
    await plant.worker().catch_up()
    await evaluated(plant)
    assert await plant.sql.fetchval("SELECT count(*) FROM restatement") > 0
    assert await differences(plant) == []
    await plant.sql.execute("""UPDATE restatement SET after = jsonb_set(after, '{tco2}', '"1"')""")
    found = await differences(plant)
    assert {(one.table, one.column) for one in found} == {("restatement", "tco2")}


async def test_the_night_holds_positions_against_the_readings_too(plant: Plant) -> None:
    await a_plant_with_budgets(plant)
    await plant.sql.execute("UPDATE budget_position SET spent = spent + 1 WHERE year = 2025")

    def clock() -> datetime:
        return from_us(at("2026-04-21T02:30"))

    await evaluated(plant, "2026-04-21T02:00")
    night = NightlyVerification(plant.database, CALENDAR, at=clock().time(), sample=10, now=clock)
    assert await night.verify_night(date(2026, 4, 21)) == 0, "the hourly pass saw that 2025 is not what its months are"
    await plant.sql.execute("UPDATE budget_standing SET overrun_probability = 0.123 WHERE year = 2026")
    assert await night.verify_night(date(2026, 4, 22)) == 1
