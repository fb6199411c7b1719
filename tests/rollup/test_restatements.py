"""Closed months: what changes them later is kept with who and why, and what was known on a day can still be asked."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

from app.rollup.worker import RollupWorker
from app.store.closings import known_on
from app.store.energy import By, known_series
from energy.closing import ClosingDays, closes_us
from energy.interval import DAY_US, Level
from energy.rollup import Status
from energy.tce import Basis
from tests.rollup.a_plant import CALENDAR, PLANT, Plant, at, hourly

OCTOBER, NOVEMBER = at("2025-10-01T00:00"), at("2025-11-01T00:00")


async def registered_long_ago(plant: Plant) -> None:
    await plant.sql.execute("UPDATE enterprise SET created_at = '2020-01-01T00:00:00Z'")


async def restatements(plant: Plant) -> list[dict[str, Any]]:
    rows = await plant.sql.fetch("SELECT * FROM restatement ORDER BY restatement_id")
    return [
        dict(row) | {side: json.loads(row[side] or "null") for side in ("before", "after", "causes")} for row in rows
    ]


def quantities(row: dict[str, Any]) -> list[Decimal]:
    return [Decimal(row[side]["quantity"]) for side in ("before", "after")]


def test_a_month_is_closed_on_the_set_day_of_the_next_at_local_midnight() -> None:
    assert closes_us(CALENDAR, OCTOBER, 10) == at("2025-11-10T00:00")
    assert closes_us(CALENDAR, at("2025-12-01T00:00"), 5) == at("2026-01-05T00:00")
    assert ClosingDays(10).last_closed_us(CALENDAR, at("2025-11-10T00:00")) == OCTOBER
    assert ClosingDays(10).last_closed_us(CALENDAR, at("2025-11-10T00:00") - 1) == at("2025-09-01T00:00")


def test_the_innermost_region_with_a_day_of_its_own_closes_a_month() -> None:
    """The city: 20 from October on, 8 from December. The county: 15 from November on."""
    city, county = "4453", "445303"
    dated = ((city, date(2025, 10, 1), 20), (city, date(2025, 12, 1), 8), (county, date(2025, 11, 1), 15))
    days = ClosingDays(10, dated)
    assert [days.day_of(date(2025, month, 1)) for month in (9, 10, 11, 12)] == [10, 20, 15, 15]
    assert ClosingDays(10, dated[:2]).day_of(date(2026, 1, 1)) == 8
    assert days.closes_us(CALENDAR, NOVEMBER) == at("2025-12-15T00:00")
    assert days.last_closed_us(CALENDAR, at("2025-11-19T23:59")) == at("2025-09-01T00:00")
    assert days.last_closed_us(CALENDAR, at("2025-11-20T00:00")) == OCTOBER


async def test_a_region_with_a_later_closing_day_has_no_restatement_before_it(plant: Plant) -> None:
    """October, closed on the 10th of November by the setting, on the 20th where the county says so."""
    await registered_long_ago(plant)
    meter = await plant.meter("E001")
    await plant.send(meter, hourly("2025-10-05T00:00", [0.0, 90.0]))
    worker = RollupWorker(plant.database, CALENDAR, now_us=lambda: at("2025-11-05T09:00"))
    await worker.catch_up()
    for region, day, changed, rows in (("445303", 20, 95.0, 0), ("445303", 12, 100.0, 1)):
        await plant.sql.execute("TRUNCATE region_closing")
        await plant.sql.execute(
            """INSERT INTO region_closing (region, from_month, day, reason, made_by)
               VALUES ($1, '2025-10-01', $2, 'x', 'x')""",
            region,
            day,
        )
        await plant.send(meter, [(at("2025-10-05T02:00"), changed)])
        await RollupWorker(plant.database, CALENDAR, now_us=lambda: at("2025-11-15T09:00")).catch_up()
        assert len(await restatements(plant)) == rows


async def test_a_late_reading_in_a_closed_month_leaves_before_and_after_and_who_sent_it(plant: Plant) -> None:
    """90 kWh of October by two readings of one day; a month later the missing 10 of the next hour come."""
    await registered_long_ago(plant)
    meter = await plant.meter("E001")
    await plant.send(meter, hourly("2025-10-05T00:00", [0.0, 90.0]))
    await plant.worker().catch_up()
    await plant.send(meter, [(at("2025-10-05T02:00"), 100.0)])
    await plant.worker().catch_up()

    first, late = await restatements(plant)
    assert (first["before"], first["after"]["quantity"]) == (None, "90.0000000000000000")
    assert quantities(late) == [90, 100]
    assert late["carrier"] == "electricity"
    assert late["causes"] == [
        {"why": "readings that came late or were corrected", "who": "gateway:gw-1", "meters": ["E001"]}
    ]


async def test_what_changes_an_open_month_or_nothing_is_no_restatement(plant: Plant) -> None:
    await registered_long_ago(plant)
    meter = await plant.meter("E001")
    await plant.send(meter, hourly("2026-11-20T00:00", [0.0, 90.0]))
    worker = RollupWorker(plant.database, CALENDAR, now_us=lambda: at("2026-11-24T09:00"))
    await worker.catch_up()
    assert await restatements(plant) == []
    await plant.send(meter, hourly("2025-10-05T00:00", [5.0, 6.0]))
    await worker.catch_up()
    kept = len(await restatements(plant))
    await plant.mark_whole(meter)
    await worker.catch_up()
    assert len(await restatements(plant)) == kept


async def test_the_history_of_a_newcomer_is_no_restatement_but_its_correction_is(plant: Plant) -> None:
    meter = await plant.meter("E001")
    await plant.send(meter, hourly("2025-10-05T00:00", [0.0, 90.0]))
    await plant.worker().catch_up()
    assert await restatements(plant) == []
    await plant.sql.execute(
        "INSERT INTO touched (meter_id, hour, cause, actor) VALUES ($1, NULL, 'meter.change', 'token:1:anna')", [meter]
    )
    await plant.sql.execute("UPDATE meter SET multiplier = 2 WHERE meter_id = $1", meter)
    await plant.worker().catch_up()
    (only,) = await restatements(plant)
    assert only["causes"] == [{"why": "meter.change", "who": "token:1:anna", "meters": ["E001"]}]
    assert quantities(only) == [90, 180]


async def test_what_was_known_on_a_day_stays_what_it_was(plant: Plant) -> None:
    """October's figure was 90 until the late reading made it 100; the change is moved to two days ago."""
    await registered_long_ago(plant)
    meter = await plant.meter("E001")
    await plant.send(meter, hourly("2025-10-05T00:00", [0.0, 90.0]))
    await plant.worker().catch_up()
    await plant.sql.execute("UPDATE restatement SET at = '2025-12-01T00:00:00Z'")
    await plant.send(meter, [(at("2025-10-05T02:00"), 100.0)])
    await plant.worker().catch_up()

    async def october(known: str) -> Decimal | None:
        found = await known_on(plant.sql, PLANT, OCTOBER, NOVEMBER, at(known))
        return found[OCTOBER]["electricity"]["quantity"] if OCTOBER in found else None

    assert await october("2025-11-15T00:00") is None, "nothing was known of it yet"
    assert await october("2025-12-05T00:00") == 90
    assert await october("2199-01-01T00:00") == 100


async def test_a_newcomers_month_that_went_and_came_back_is_on_record_both_times(plant: Plant) -> None:
    """Its first load nobody could have known; that it was gone for a while somebody may have read."""
    meter = await plant.meter("E001")
    gone, back = (f"2025-12-{day:02d}T00:00:00Z" for day in (2, 3))
    await plant.send(meter, hourly("2025-10-05T00:00", [0.0, 90.0]))
    await plant.worker().catch_up()
    await plant.delete(meter, OCTOBER, NOVEMBER)
    await plant.worker().catch_up()
    await plant.sql.execute("UPDATE restatement SET at = $1::text::timestamptz", gone)
    await plant.send(meter, hourly("2025-10-05T00:00", [0.0, 80.0]))
    await plant.worker().catch_up()
    went, came = await restatements(plant)
    assert (went["before"]["quantity"][:2], went["after"]) == ("90", None)
    assert (came["before"], came["after"]["quantity"][:2]) == (None, "80")
    await plant.sql.execute("UPDATE restatement SET at = $1::text::timestamptz WHERE before IS NULL", back)

    async def october(known: str) -> Decimal | None:
        found = await known_on(plant.sql, PLANT, OCTOBER, NOVEMBER, at(known))
        return found[OCTOBER]["electricity"]["quantity"] if OCTOBER in found else None

    assert [await october(f"2025-12-0{day}T12:00") for day in (1, 2, 3)] == [90, None, 80]


async def test_a_year_is_known_only_when_all_its_months_are_closed(plant: Plant) -> None:
    await registered_long_ago(plant)
    meter = await plant.meter("E001")
    await plant.send(meter, [(at("2025-01-01T00:00") + day * DAY_US, float(day)) for day in range(366)])
    await plant.worker().catch_up()
    await plant.sql.execute("UPDATE restatement SET at = '2025-01-01T00:00:00Z'")

    async def year(known: str) -> tuple[Status, Decimal | None, tuple[str, ...]]:
        series = await known_series(
            plant.database.pool,
            enterprise=PLANT,
            start_us=at("2025-01-01T00:00"),
            end_us=at("2026-01-01T00:00"),
            level=Level.YEAR,
            by=By.CARRIER,
            basis=Basis.EQUIVALENT,
            calendar=CALENDAR,
            known_us=at(known),
            closing_day=10,
        )
        (bucket,) = series.buckets
        return bucket.status, bucket.tce, bucket.reasons

    assert await year("2026-01-09T23:59") == (Status.MISSING, None, ("not-closed:2025-12",))
    status, tce, _ = await year("2026-01-10T00:00")
    assert (status, tce) == (Status.ESTIMATED, Decimal(365) * Decimal("0.0001229"))
