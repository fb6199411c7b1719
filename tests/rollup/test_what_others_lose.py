"""Cases in which published programs of this kind lose, invent or double energy. Here they come out right.

Readings go in as ingest stores them, through the ledger itself, and come out as an enterprise's figures.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from app.rollup.verify import verify
from app.rollup.worker import RollupWorker
from app.store.readings import ReadingLedger
from energy.interval import DAY_US, SiteCalendar, to_us
from ingest.batch import Door, Group, ReadingBatch, Received
from tests.rollup.a_plant import CALENDAR, HOUR_US, PLANT, QUARTER_US, Plant, at, hourly

Reading = tuple[int, int, float]
"""Meter, time in microseconds, value."""


@asynccontextmanager
async def a_ledger(plant: Plant) -> AsyncIterator[ReadingLedger]:
    ledger = ReadingLedger(plant.url)
    try:
        yield ledger
    finally:
        await ledger.close()


async def store(ledger: ReadingLedger, readings: Sequence[Reading]) -> None:
    """One group, as it comes from a door."""
    count = len(readings)
    rows = ReadingBatch(
        at_us=np.array([at_us for _, at_us, _ in readings], np.int64),
        meter=np.array([meter for meter, _, _ in readings], np.int32),
        value=np.array([value for _, _, value in readings], np.float64),
        quality=np.zeros(count, np.int16),
        message=np.zeros(count, np.int32),
        position=np.arange(count, dtype=np.int32),
        revise=np.zeros(count, np.bool_),
    )
    message = Received(Door.HTTP, "gw-1", None, "application/json", b"{}", at("2026-11-24T00:00"), None)
    await ledger.save(Group([message], rows, []))


async def figures(plant: Plant) -> dict[str, list[tuple[object, ...]]]:
    """All rollups as they stand; numbers compare by value."""
    await plant.worker().catch_up()
    assert (await verify(plant.database, CALENDAR)).differences == []
    return {
        name: sorted(rows, key=lambda row: tuple(map(str, row[:3])))
        for name, rows in (await plant.everything()).items()
        if name.startswith("enterprise")
    }


def over_the_year(meters: Sequence[int]) -> list[Reading]:
    """Quarter hours of two days on both sides of New Year, the meters at different paces."""
    first = at("2025-12-31T00:00")
    return [
        (m, first + i * QUARTER_US, 100.0 + i * (1 + n * 0.37)) for i in range(2 * 96) for n, m in enumerate(meters)
    ]


WAYS: Mapping[str, Callable[[list[Reading]], list[list[Reading]]]] = {
    "at once": lambda readings: [readings],
    "three times": lambda readings: [readings, readings, readings],
    "shuffled": lambda readings: [random.Random(7).sample(readings, len(readings))],
    "split into pieces of every size": lambda readings: [
        readings[i:j] for i, j in ((0, 1), (1, 3), (3, 90), (90, None))
    ],
    "backwards, one by one hour": lambda readings: [
        readings[i : i + 8] for i in range(len(readings) - 8, -8, -8) if i >= 0
    ],
    "the middle an hour late": lambda readings: [readings[:150] + readings[160:], readings[150:160]],
    "the first day forty days late": lambda readings: [readings[len(readings) // 2 :], readings[: len(readings) // 2]],
}


async def test_however_a_batch_comes_the_totals_are_the_same(plant: Plant) -> None:
    """Replayed, shuffled, split, late, across a month's and a year's end; the worker runs after every piece."""
    found = {}
    for way, pieces_of in WAYS.items():
        await plant.sql.execute("DELETE FROM meter WHERE enterprise = $1", PLANT)
        for table in ("reading", *(name for name in await plant.everything())):
            await plant.sql.execute(f"TRUNCATE {table}")
        meters = [await plant.meter(f"M{i}", expected_interval_s=900, multiplier="40") for i in range(2)]
        async with a_ledger(plant) as ledger:
            for piece in pieces_of(over_the_year(meters)):
                await store(ledger, piece)
                await plant.worker().catch_up()
        found[way] = await figures(plant)
    first = found.pop("at once")
    assert first["enterprise_year"] != []
    for way, figures_of_it in found.items():
        assert figures_of_it == first, way


@pytest.mark.parametrize(
    ("values", "kwh", "held"),
    [
        ((999_900.0, 999_984.0, 20.0, 60.0), 160, []),
        ((38_300.0, 38_312.0, 0.0, 38_315.0), 15, ["register-fell"]),
        ((84_200.0, 84_210.0, 12.0, 20.0), 10, ["register-fell", "register-fell"]),
        ((100.0, 110.0, 90_000.0, 130.0, 140.0), 40, ["spike"]),
    ],
    ids=[
        "a rollover counts on",
        "a glitch to zero is discarded",
        "an exchange nobody recorded is held",
        "a spike goes",
    ],
)
async def test_a_register_that_falls(plant: Plant, values: tuple[float, ...], kwh: int, held: list[str]) -> None:
    meter = await plant.meter("E001", rolls_over_at=1_000_000)
    await plant.send(meter, hourly("2026-11-01T00:00", values))
    await plant.worker().catch_up()
    (year,) = await plant.figures("enterprise", "year", enterprise=PLANT)
    assert year["quantity"] == kwh
    assert [row["why"] for row in await plant.sql.fetch("SELECT why FROM held_reading ORDER BY ts")] == held


async def test_an_exchange_on_record_adds_old_and_new(plant: Plant) -> None:
    """84,200 → 84,210, exchanged at 84,213 for a register at 5, which then shows 12 and 20: 13 + 15."""
    meter = await plant.meter("E001")
    await plant.send(meter, hourly("2026-11-01T00:00", [84_200.0, 84_210.0, 12.0, 20.0]))
    await plant.worker().catch_up()
    await plant.exchange(meter, at("2026-11-01T01:30"), 84_213.0, 5.0)
    await plant.worker().catch_up()
    hours = await plant.figures("meter", "hour", meter_id=meter)
    assert [row["quantity"] for row in hours] == [10, 3 + 7, 8]
    assert {row["estimated_us"] for row in hours} == {0}
    assert await plant.sql.fetchval("SELECT count(*) FROM held_reading") == 0


async def test_six_hours_offline_and_one_catch_up_reading_keep_the_energy_spread_and_marked(plant: Plant) -> None:
    """Limit 100 an hour; six hours bring 540 at once: 90 an hour, an estimate, none of it lost and no hour 0."""
    meter = await plant.meter("E001", max_rate_per_h=100.0, expected_interval_s=900)
    start = at("2026-11-01T00:00")
    await plant.send(meter, [(start + i * QUARTER_US, 20.0 * i) for i in range(5)])
    await plant.send(meter, [(start + 7 * HOUR_US, 80.0 + 540.0)])
    await plant.worker().catch_up()
    hours = await plant.figures("meter", "hour", meter_id=meter)
    assert [row["quantity"] for row in hours] == [80] + [90] * 6
    assert [row["estimated_us"] for row in hours] == [0] + [HOUR_US] * 6


async def test_a_meters_backlog_of_three_days_counts_while_all_others_are_current(plant: Plant) -> None:
    meters = [await plant.meter(f"M{i}") for i in range(6)]
    start, now = at("2026-11-20T00:00"), at("2026-11-23T00:00")
    async with a_ledger(plant) as ledger:
        for others_us in range(start, now, HOUR_US):
            await store(ledger, [(meter, others_us, (others_us - start) / HOUR_US) for meter in meters[1:]])
        await plant.worker().catch_up()
        await store(ledger, [(meters[0], start + i * HOUR_US, 7.0 * i) for i in range(73)])
    await plant.worker().catch_up()
    days = await plant.figures("meter", "day", meter_id=meters[0])
    assert [row["quantity"] for row in days] == [7 * 24] * 3
    assert (await verify(plant.database, CALENDAR)).differences == []


async def test_a_day_of_23_and_a_day_of_25_hours_hold_what_flowed_in_them(plant: Plant) -> None:
    """Berlin, 2026: 29 March has 23 hours, 25 October has 25; one kWh an hour."""
    calendar = SiteCalendar(ZoneInfo("Europe/Berlin"))
    meter = await plant.meter("E001")
    for first, days in (("2026-03-28T00:00", 3), ("2026-10-24T00:00", 3)):
        start = at(first)
        await plant.send(
            meter,
            [(start + i * HOUR_US, (start - at("2026-03-01T00:00")) / HOUR_US + i) for i in range(24 * days + 12)],
        )
    worker = RollupWorker(plant.database, calendar)
    await worker.catch_up()
    lengths = {
        calendar.local_date(to_us(row["start"])).isoformat(): row["quantity"]
        for row in await plant.figures("enterprise", "day", enterprise=PLANT)
    }
    assert (lengths["2026-03-29"], lengths["2026-10-25"], lengths["2026-03-30"]) == (23, 25, 24)
    sums = [
        sum((row["quantity"] for row in await plant.figures("enterprise", level, enterprise=PLANT)), Decimal(0))
        for level in ("hour", "day", "month", "year")
    ]
    assert sums == [sums[0]] * 4
    assert (await verify(plant.database, calendar)).differences == []


async def test_forty_days_without_a_word_are_an_estimate_and_no_zero(plant: Plant) -> None:
    """A register does not forget: 40 days later it shows what flowed, across a month's end."""
    meter = await plant.meter("E001")
    start = at("2026-09-20T00:00")
    await plant.send(meter, [(start, 0.0), (start + HOUR_US, 1.0), (start + HOUR_US + 40 * DAY_US, 961.0)])
    await plant.worker().catch_up()
    months = await plant.figures("meter", "month", meter_id=meter)
    assert [row["quantity"] for row in months] == [264, 697]
    assert all(row["estimated_us"] > 0 for row in months)
