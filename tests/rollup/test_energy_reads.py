"""What the API is told: every bucket of a range, None for what nobody measured, coverage, and sums over a region."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from app.store.energy import (
    CARRIER_ROWS,
    By,
    EnergySeries,
    EnterpriseUnknown,
    TooManyBuckets,
    backlog,
    energy_series,
    enterprise_totals,
    total_question,
)
from app.store.readings import MOMENT
from app.store.region_totals import region_totals
from energy.interval import Level
from energy.rollup import Status
from energy.tce import Basis
from tests.rollup.a_plant import CALENDAR, NEIGHBOUR, PLANT, Plant, at, hourly

LATER_US = at("2026-12-01T00:00")


async def series(plant: Plant, start: str, end: str, **other: Any) -> EnergySeries:
    asked: dict[str, Any] = {"level": Level.HOUR, "by": By.CARRIER, "basis": Basis.EQUIVALENT, "now_us": LATER_US}
    return await energy_series(
        plant.database.pool,
        enterprise=other.pop("enterprise", PLANT),
        start_us=at(start),
        end_us=at(end),
        calendar=CALENDAR,
        **asked | other,
    )


async def a_morning(plant: Plant) -> None:
    """Electricity from 00:00 to 03:00, 100 kWh an hour; 7 kg of coal an hour from 01:00 to 03:00."""
    power = await plant.meter("E1")
    coal = await plant.meter("C1", carrier="raw_coal", unit="kg")
    await plant.send(power, hourly("2026-11-01T00:00", [100.0 * i for i in range(4)]))
    await plant.send(coal, hourly("2026-11-01T01:00", [7.0 * i for i in range(3)]))
    await plant.worker().catch_up()


async def test_every_bucket_of_the_range_is_there_and_the_empty_one_is_none(plant: Plant) -> None:
    await a_morning(plant)
    found = await series(plant, "2026-10-31T23:00", "2026-11-01T05:00")

    assert [bucket.tce for bucket in found.buckets] == [
        None,
        Decimal("0.01229"),
        Decimal("0.0172901"),  # 12.29 kgce of electricity and 7 × 0.7143 = 5.0001 kgce of coal
        Decimal("0.0172901"),
        None,
        None,
    ]
    assert [str(bucket.status) for bucket in found.buckets] == ["missing", *["measured"] * 3, "missing", "missing"]
    assert [bucket.coverage for bucket in found.buckets] == [0.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    assert [one.carrier for one in found.buckets[2].carriers] == ["electricity", "raw_coal"]
    assert (found.buckets[0].carriers, found.buckets[-1].carriers) == ((), ())
    assert found.as_of_us == LATER_US


async def test_a_carrier_that_owes_readings_is_listed_as_missing(plant: Plant) -> None:
    await a_morning(plant)
    await plant.send(await plant.meter("E2"), hourly("2026-11-01T00:00", [float(i) for i in range(7)]))
    await plant.worker().catch_up()
    (bucket,) = (await series(plant, "2026-11-01T05:00", "2026-11-01T06:00")).buckets

    assert bucket.coverage == pytest.approx(1 / 3)
    coal = next(one for one in bucket.carriers if one.carrier == "raw_coal")
    assert (coal.quantity, coal.tce, coal.status, coal.coverage) == (None, None, Status.MISSING, 0.0)


async def test_the_day_that_is_not_over_owes_no_more_than_its_past(plant: Plant) -> None:
    await plant.send(await plant.meter("E1"), hourly("2026-11-01T00:00", [float(i) for i in range(7)]))
    await plant.worker().catch_up()
    found = await series(plant, "2026-11-01T00:00", "2026-11-02T00:00", level=Level.DAY, now_us=at("2026-11-01T08:00"))
    assert [bucket.coverage for bucket in found.buckets] == [0.75]


async def test_both_bases_and_meters_one_by_one(plant: Plant) -> None:
    await a_morning(plant)
    await plant.send(
        await plant.meter("S1", role="sale", multiplier="10"), hourly("2026-11-01T00:00", [0.0, 1.0, 2.0, 3.0])
    )
    await plant.worker().catch_up()
    found = await series(plant, "2026-11-01T01:00", "2026-11-01T02:00", level=Level.DAY, by=By.METER, basis=Basis.EQUAL)

    (day,) = found.buckets
    assert [(one.code, one.quantity, one.tce) for one in day.meters] == [
        ("C1", Decimal(14), Decimal("0.0100002")),
        ("E1", Decimal(300), Decimal("0.09")),
        ("S1", Decimal(30), Decimal("0.009")),
    ]
    assert day.tce == Decimal("0.09") - Decimal("0.009") + Decimal("0.0100002")


async def test_a_bucket_with_only_a_held_reading_says_so(plant: Plant) -> None:
    await plant.send(await plant.meter("E1"), [(at("2026-11-01T00:30"), 5.0)], quality=3)
    await plant.worker().catch_up()
    (bucket,) = (await series(plant, "2026-11-01T00:00", "2026-11-01T01:00", by=By.TOTAL)).buckets
    assert (bucket.tce, bucket.status, bucket.held) == (None, Status.MISSING, 1)


async def test_a_missing_factor_is_named_and_takes_the_total_away(plant: Plant) -> None:
    await a_morning(plant)
    odd = await plant.meter("E9")
    await plant.send(odd, hourly("1960-01-01T00:00", [0.0, 5.0]))
    await plant.worker().catch_up()
    (bucket,) = (await series(plant, "1960-01-01T00:00", "1960-01-01T01:00")).buckets

    assert (bucket.tce, bucket.tco2, bucket.status) == (None, None, Status.MEASURED)
    assert bucket.reasons == ("no-factor:electricity", "no-co2-factor:electricity")
    assert bucket.carriers[0].quantity == 5


async def test_as_of_is_the_oldest_mark_that_waits_for_this_enterprise(plant: Plant) -> None:
    await a_morning(plant)
    theirs = await plant.meter("E1", enterprise=NEIGHBOUR)
    await plant.send(theirs, hourly("2026-11-01T00:00", [0.0]))
    waiting = await backlog(plant.sql)

    ours, other = [
        await series(plant, "2026-11-01T00:00", "2026-11-01T01:00", enterprise=enterprise, now_us=2**52)
        for enterprise in (PLANT, NEIGHBOUR)
    ]
    assert (ours.as_of_us, other.as_of_us) == (2**52, waiting.oldest_us)


async def test_an_unknown_enterprise_and_an_endless_range_are_refused(plant: Plant) -> None:
    with pytest.raises(EnterpriseUnknown) as unknown:
        await series(plant, "2026-11-01T00:00", "2026-11-02T00:00", enterprise="91445300MA4UZZZZ0Z")
    assert unknown.value.enterprise == "91445300MA4UZZZZ0Z"
    with pytest.raises(TooManyBuckets) as many:
        await series(plant, "1900-01-01T00:00", "2100-01-01T00:00")
    assert many.value.count > many.value.limit


async def test_a_region_is_the_sum_of_its_enterprises_and_names_who_is_missing(plant: Plant) -> None:
    await a_morning(plant)
    asked: dict[str, Any] = {
        "level": Level.MONTH,
        "start_us": at("2026-11-15T00:00"),
        "basis": Basis.EQUIVALENT,
        "calendar": CALENDAR,
        "now_us": at("2026-11-01T03:00"),
    }
    one_sided = await region_totals(plant.database.pool, region="4453", **asked)
    assert (one_sided.tce, one_sided.tce_known) == (Decimal("0.0468702"), Decimal("0.0468702"))
    assert (one_sided.enterprises, one_sided.measured, one_sided.missing) == (2, 1, (NEIGHBOUR,))
    assert (one_sided.start_us, one_sided.end_us) == (at("2026-11-01T00:00"), LATER_US)
    assert one_sided.coverage == 1.0

    both = await enterprise_totals(plant.database.pool, region="445303", **asked)
    assert {name: one.tce for name, one in both.items()} == {PLANT: Decimal("0.0468702"), NEIGHBOUR: None}
    named = await enterprise_totals(plant.database.pool, enterprises=[NEIGHBOUR], **asked)
    assert list(named) == [NEIGHBOUR]
    assert (await region_totals(plant.database.pool, region="no such", **asked)).enterprises == 0


async def test_a_region_with_an_enterprise_without_a_factor_has_no_total(plant: Plant) -> None:
    """In 1995 no default is in force, and only one of the two has factors of its own."""
    await plant.sql.execute("DELETE FROM coal_factor WHERE enterprise = $1", NEIGHBOUR)
    for enterprise in (PLANT, NEIGHBOUR):
        meter = await plant.meter("E1", enterprise=enterprise)
        await plant.send(meter, hourly("1995-11-01T00:00", [0.0, 1000.0]))
    await plant.worker().catch_up()
    total = await region_totals(
        plant.database.pool,
        region="4453",
        level=Level.YEAR,
        start_us=at("1995-11-15T00:00"),
        basis=Basis.EQUIVALENT,
        calendar=CALENDAR,
        now_us=LATER_US,
    )
    assert (total.tce, total.unknown) == (None, (NEIGHBOUR,))
    assert total.tce_known == Decimal("0.1229")


async def test_a_carrier_of_which_everything_is_held_makes_no_figure_unknown(plant: Plant) -> None:
    """Its meter fell and may have been exchanged: nothing of it is measured, which is no missing factor."""
    await a_morning(plant)
    fell = await plant.meter("E9", carrier="raw_coal", unit="t")
    await plant.send(fell, hourly("2026-11-01T00:00", [1000.0, 5.0, 6.0]))
    await plant.worker().catch_up()
    asked: dict[str, Any] = {"level": Level.MONTH, "start_us": at("2026-11-15T00:00"), "basis": Basis.EQUIVALENT}
    asked |= {"calendar": CALENDAR, "now_us": at("2026-11-01T03:00"), "region": "4453"}
    region = await region_totals(plant.database.pool, **asked)
    one = (await enterprise_totals(plant.database.pool, **asked))[PLANT]
    assert (region.tce, region.unknown, region.held) == (Decimal("0.0468702"), (), 2)
    assert (one.tce, one.reasons, one.held) == (Decimal("0.0468702"), (), 2)


RAW = ("reading", "held_reading")


async def relations_read(plant: Plant, question: str, *values: object) -> set[str]:
    """The tables that the plan of a question really reads, hypertables under their own name."""
    plan = await plant.sql.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {question}", *values)
    rows = await plant.sql.fetch("SELECT chunk_name, hypertable_name FROM timescaledb_information.chunks")
    chunks = {row[0]: row[1] for row in rows}
    found: set[str] = set()
    nodes = [json.loads(plan)[0]["Plan"]]
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", [])
        if "Relation Name" in node and node["Actual Loops"] > 0:
            found.add(chunks.get(node["Relation Name"], node["Relation Name"]))
    return found


async def test_a_days_figures_of_everybody_come_from_rollups_and_never_from_readings(plant: Plant) -> None:
    await a_morning(plant)
    day_us, end_us = at("2026-11-01T00:00"), at("2026-11-02T00:00")
    everybody = total_question(Level.DAY, Basis.EQUIVALENT, of_region=True, named=False)
    read = await relations_read(plant, everybody, "4453", None, day_us, end_us, LATER_US)
    assert "enterprise_day" in read
    assert not read & set(RAW)
    bounds = {"first": MOMENT.format(us="$2::bigint"), "end": MOMENT.format(us="$3::bigint")}
    words = {"level": "day", "basis": "equal", "start": "extract(epoch FROM start)", **bounds}
    one = await relations_read(plant, CARRIER_ROWS.format(**words), PLANT, day_us, end_us)
    assert one == {"enterprise_day", "carrier"}
