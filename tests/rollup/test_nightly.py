"""The nightly verification: its sample, its record, and what it does with a difference."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, time

from app.rollup.nightly import NightlyVerification, sample_of
from app.store.verifications import open_differences
from tests.rollup.a_plant import CALENDAR, PLANT, Plant, hourly
from tests.wait import eventually

NIGHT = date(2026, 11, 24)


def nightly(plant: Plant, *, sample: int = 10, now: str = "2026-11-23T18:31:00+00:00") -> NightlyVerification:
    def clock() -> datetime:
        return datetime.fromisoformat(now).astimezone(UTC)

    return NightlyVerification(plant.database, CALENDAR, at=time(2, 30), sample=sample, now=clock)


async def a_rolled_up_meter(plant: Plant) -> int:
    meter = await plant.meter("E001")
    await plant.send(meter, hourly("2026-11-01T00:00", [float(i) for i in range(30)]))
    await plant.worker().catch_up()
    return meter


def test_the_sample_follows_from_its_seed() -> None:
    everybody = [f"{i:018}" for i in range(100)]
    assert sample_of(everybody, 5, 1) == sample_of(everybody, 5, 1)
    assert sample_of(everybody, 5, 1) != sample_of(everybody, 5, 2)
    assert sample_of(everybody, 500, 1) == everybody


async def test_a_night_without_differences_says_what_it_looked_at(plant: Plant) -> None:
    await a_rolled_up_meter(plant)
    assert await nightly(plant).verify_night(NIGHT) == 0
    assert await nightly(plant).verify_night(NIGHT) is None, "one of many workers did it"
    (row,) = await plant.sql.fetch("SELECT * FROM verification")
    assert (row["enterprises"], row["meters"], row["readings"], row["differences"]) == (1, 1, 30, 0)
    assert row["finished_at"] is not None


async def test_a_difference_is_open_until_a_night_does_not_find_it(plant: Plant) -> None:
    meter = await a_rolled_up_meter(plant)
    await plant.sql.execute("UPDATE enterprise_day SET tce_equal = tce_equal + 1")
    found = await nightly(plant).verify_night(NIGHT)
    assert found == len(await plant.sql.fetch("SELECT FROM enterprise_day"))
    (one,) = await open_differences(plant.database.pool)
    assert (one.enterprise, one.differences) == (PLANT, found)

    await plant.mark_whole(meter)
    await plant.worker().catch_up()
    assert await nightly(plant).verify_night(date(2026, 11, 25)) == 0
    assert await open_differences(plant.database.pool) == []
    assert await plant.sql.fetchval("SELECT count(*) FROM verification_difference WHERE gone_at IS NOT NULL") == found


async def test_an_enterprise_whose_figures_are_still_to_be_computed_is_passed_over(plant: Plant) -> None:
    meter = await a_rolled_up_meter(plant)
    await plant.send(meter, hourly("2026-11-05T00:00", [100.0, 200.0]))
    assert await nightly(plant).verify_night(NIGHT) == 0
    assert await plant.sql.fetchval("SELECT passed_over FROM verification") == 1


async def test_it_waits_for_its_hour(plant: Plant) -> None:
    await a_rolled_up_meter(plant)
    for now, done in (("2026-11-23T18:29:00+00:00", 0), ("2026-11-23T18:30:00+00:00", 1)):
        stop = asyncio.Event()
        loop = asyncio.create_task(nightly(plant, now=now).run(stop))

        async def it_looked(wanted: int = done) -> bool:
            return wanted == int(await plant.sql.fetchval("SELECT count(finished_at) FROM verification"))

        await eventually(it_looked, what="the night is done or not")
        stop.set()
        await loop
