"""Figures worked out by hand, from readings to enterprise years, and what late, wrong or missing data does to them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal

import pytest

from alerts.evaluate import IntegrityPosition, integrity
from alerts.rule import DEFAULTS
from alerts.rule import Level as Severity
from app.rollup.nightly import NightlyVerification
from app.rollup.verify import verify
from app.store.outlooks import StoredPositions
from energy.interval import to_us
from tests.rollup.a_plant import CALENDAR, HOUR_US, PLANT, ROLLUPS, Plant, at, hourly, set_factor


async def test_a_day_of_a_current_transformer_meter_by_hand(plant: Plant) -> None:
    """25 readings, 10 apart, times 4000: 24 × 40,000 kWh = 960,000 kWh; × 0.1229 / 1000 = 117.984 tce."""
    meter = await plant.meter("E001", multiplier="4000")
    await plant.send(meter, hourly("2026-11-01T00:00", [1000.0 + 10 * i for i in range(25)]))
    await plant.worker().catch_up()

    hours = await plant.figures("meter", "hour", meter_id=meter)
    assert [row["quantity"] for row in hours] == [Decimal(40_000)] * 24
    assert {row["measured_us"] for row in hours} == {HOUR_US}
    for level in ("day", "month", "year"):
        (mine,) = await plant.figures("meter", level, meter_id=meter)
        assert (mine["quantity"], mine["tce_equivalent"]) == (Decimal(960_000), Decimal("117.984"))
        assert (mine["tce_equal"], mine["tco2"]) == (Decimal(288), Decimal("424.224"))
        (all_of_it,) = await plant.figures("enterprise", level, enterprise=PLANT)
        assert all_of_it["tce_equivalent"] == all_of_it["tce_equivalent_net"] == Decimal("117.984")


async def test_what_is_sold_subtracts_and_own_sun_counts_only_gross(plant: Plant) -> None:
    """Per hour: 100 bought, 30 sold, 20 from the roof, 50 inside: gross 100 − 30 + 20 = 90, net 70."""
    for code, role, kwh in (
        ("E1", "purchase", 100.0),
        ("E2", "sale", 30.0),
        ("E3", "own_renewable", 20.0),
        ("E4", "internal", 50.0),
    ):
        meter = await plant.meter(code, role=role)
        await plant.send(meter, hourly("2026-11-01T00:00", [kwh * i for i in range(3)]))
    await plant.worker().catch_up()

    for row in await plant.figures("enterprise", "hour", enterprise=PLANT):
        assert (row["quantity"], row["quantity_net"]) == (Decimal(90), Decimal(70))
        assert row["tce_equivalent"] == Decimal("0.011061")
        assert row["tce_equivalent_net"] == Decimal("0.008603")
        assert row["measured_us"] == 3 * HOUR_US, "the meter inside does not count"
        assert row["tco2"] == row["tco2_net"] == Decimal("0.030933"), "70 kWh at 0.4419: the own sun emits nothing"
    assert (await verify(plant.database, CALENDAR)).differences == []


async def test_readings_that_come_late_land_in_the_month_and_year_they_belong_to(plant: Plant) -> None:
    """40 kWh over the eight hours around New Year; then one late reading says that 16 of them went in the first two."""
    meter = await plant.meter("E001")
    first, last, late = at("2025-12-31T20:00"), at("2026-01-01T04:00"), at("2025-12-31T22:00")
    worker = plant.worker()
    await plant.send(meter, [(first, 0.0), (last, 40.0)])
    await worker.catch_up()
    assert [row["quantity"] for row in await plant.figures("meter", "year", meter_id=meter)] == [20, 20]

    await plant.send(meter, [(late, 16.0)])
    await worker.catch_up()
    for level in ("day", "month", "year"):
        assert [row["quantity"] for row in await plant.figures("enterprise", level)] == [24, 16]
    assert (await verify(plant.database, CALENDAR)).differences == []


async def test_a_factor_changed_from_the_first_of_july_leaves_june_alone(plant: Plant) -> None:
    meter = await plant.meter("E001")
    await plant.send(meter, hourly("2026-06-30T22:00", [1000.0 * i for i in range(5)]))
    worker = plant.worker()
    await worker.catch_up()
    await set_factor(plant.sql, PLANT, "electricity", "equivalent", "0.2", date(2026, 7, 1))
    await plant.mark_whole(meter)
    await worker.catch_up()

    months = await plant.figures("enterprise", "month", enterprise=PLANT)
    assert [row["tce_equivalent"] for row in months] == [Decimal("0.2458"), Decimal("0.4")]
    assert [row["quantity"] for row in months] == [2000, 2000]


async def test_the_backlog_of_one_meter_is_counted_while_the_others_are_current(plant: Plant) -> None:
    current = [await plant.meter(f"E{i}") for i in range(5)]
    behind = await plant.meter("LATE")
    worker = plant.worker()
    for meter in current:
        await plant.send(meter, hourly("2026-11-01T00:00", [float(i) for i in range(73)]))
    await plant.send(behind, hourly("2026-11-01T00:00", [0.0]))
    await worker.catch_up()
    await plant.send(behind, hourly("2026-11-01T01:00", [7.0 * i for i in range(1, 73)]))
    await worker.catch_up()

    days = await plant.figures("enterprise", "day", enterprise=PLANT)
    assert [row["quantity"] for row in days] == [24 * 12] * 3


async def test_without_a_factor_there_is_a_quantity_and_no_tonnes(plant: Plant) -> None:
    """Never a part of the sum shown as the whole: one meter without a factor takes the carrier's figure away."""
    # In 1960 no factor was in force.
    meter = await plant.meter("E001")
    await plant.send(meter, hourly("1960-01-01T00:00", [0.0, 10.0, 20.0]))
    await plant.worker().catch_up()

    (day,) = await plant.figures("enterprise", "day", enterprise=PLANT)
    assert (day["quantity"], day["tce_equivalent"], day["tce_equivalent_net"], day["tco2"]) == (20, None, None, None)
    assert (await verify(plant.database, CALENDAR)).differences == []


async def test_a_held_reading_is_shown_and_out_of_the_sum(plant: Plant) -> None:
    meter = await plant.meter("E001")
    await plant.send(meter, hourly("2026-11-01T00:00", [100.0, 110.0, 3.0, 130.0]))
    await plant.worker().catch_up()

    (day,) = await plant.figures("meter", "day", meter_id=meter)
    assert (day["quantity"], day["held"]) == (Decimal(30), 1)
    kept = await plant.sql.fetch("SELECT why FROM held_reading WHERE meter_id = $1", meter)
    assert [row["why"] for row in kept] == ["register-fell"]


async def test_a_lone_spike_is_discarded_when_the_register_is_back_on_its_course(plant: Plant) -> None:
    """10 an hour; one reading says 5,000. Until two are back nobody can know; then the spike alone is out."""
    meter = await plant.meter("E001")
    course = hourly("2026-11-01T00:00", [float(10 * i) for i in range(60)])
    worker = plant.worker()
    await plant.send(meter, [*course[:50], (course[50][0], 5000.0)])
    await worker.catch_up()
    for reading in course[51:]:
        await plant.send(meter, [reading])
        await worker.catch_up()

    held = await plant.sql.fetch("SELECT ts, why FROM held_reading")
    assert [(to_us(row["ts"]), row["why"]) for row in held] == [(course[50][0], "spike")]
    (year,) = await plant.figures("meter", "year", meter_id=meter)
    assert year["quantity"] == 590
    (hour,) = [
        row for row in await plant.figures("meter", "hour", meter_id=meter) if to_us(row["start"]) == course[50][0]
    ]
    assert (hour["quantity"], hour["estimated_us"]) == (10, HOUR_US)
    assert (await verify(plant.database, CALENDAR)).differences == []


async def test_a_late_reading_can_free_what_was_held_long_after_it(plant: Plant) -> None:
    """A glitch at the start held everything after it; corrected, days of readings stand again."""
    meter = await plant.meter("E001")
    history = hourly("2026-11-01T00:00", [float(i) for i in range(200)])
    worker = plant.worker()
    await plant.send(meter, [(history[0][0], 5000.0), *history[1:]])
    await worker.catch_up()
    assert await plant.sql.fetchval("SELECT count(*) FROM held_reading") == 199
    await plant.send(meter, [history[0]])
    await worker.catch_up()

    assert await plant.sql.fetchval("SELECT count(*) FROM held_reading") == 0
    (month,) = await plant.figures("meter", "month", meter_id=meter)
    assert month["quantity"] == 199
    assert (await verify(plant.database, CALENDAR)).differences == []


async def test_a_register_set_back_without_a_record_is_held_until_it_is_back_on_its_course(plant: Plant) -> None:
    """Ten days of readings from a register that started again, one by one, and then one above the old value."""
    meter = await plant.meter("E001")
    worker = plant.worker()
    await plant.send(meter, hourly("2026-11-01T00:00", [800.0, 900.0]))
    for value in range(0, 240, 6):
        await plant.send(meter, hourly("2026-11-01T02:00", [float(value)] * (value + 1))[value:])
        await worker.catch_up()
    assert await plant.sql.fetchval("SELECT count(*) FROM held_reading") == 40
    assert (await verify(plant.database, CALENDAR)).differences == []
    days = await plant.figures("enterprise", "day", enterprise=PLANT)
    assert [row["held"] for row in days] == [4] * 10
    assert sum(row["quantity"] for row in days) == 100

    await plant.send(meter, hourly("2026-11-11T10:00", [1000.0]))
    await worker.catch_up()
    assert sum(row["quantity"] for row in await plant.figures("enterprise", "day", enterprise=PLANT)) == 200
    assert (await verify(plant.database, CALENDAR)).differences == []


async def test_a_reading_corrected_to_less_takes_back_what_it_carried_over_days(plant: Plant) -> None:
    """Two days with one reading at each end and a held one between; then the last turns out to be a fall as well."""
    meter = await plant.meter("E001")
    worker = plant.worker()
    await plant.send(meter, hourly("2026-11-01T00:00", [1.0, 0.0]))
    await plant.send(meter, hourly("2026-11-03T00:00", [900.0]))
    await worker.catch_up()
    assert sum(row["quantity"] for row in await plant.figures("meter", "day", meter_id=meter)) == 899

    await plant.send(meter, hourly("2026-11-03T00:00", [0.0]))
    await worker.catch_up()
    assert sum(row["quantity"] for row in await plant.figures("meter", "day", meter_id=meter)) == 0
    assert (await verify(plant.database, CALENDAR)).differences == []


async def test_verify_finds_a_single_changed_digit(plant: Plant) -> None:
    meter = await plant.meter("E001")
    await plant.send(meter, hourly("2026-11-01T00:00", [0.0, 10.0, 20.0]))
    await plant.worker().catch_up()
    assert (await verify(plant.database, CALENDAR)).differences == []
    await plant.sql.execute("UPDATE enterprise_month SET tco2_net = tco2_net + 0.000000000000000001")

    (difference,) = (await verify(plant.database, CALENDAR)).differences
    assert (difference.table, difference.column) == ("enterprise_month", "tco2_net")
    assert difference.start_us == at("2026-11-01T00:00")


BROKEN = [
    *(
        (f"{whose}_{level}", column)
        for whose, column in (("meter", "tce_equal"), ("enterprise", "tco2_net"))
        for level in ("hour", "day", "month", "year")
    ),
    ("enterprise_hour", "measured_us"),
    ("meter_month", "quantity"),
    ("enterprise_rank", "tce_equivalent"),
]


@pytest.mark.parametrize(("table", "column"), BROKEN)
async def test_a_stored_figure_broken_at_any_level_is_found_and_named_and_alerted(
    plant: Plant, table: str, column: str
) -> None:
    """One row of one table is changed by one unit behind the service's back."""
    meter = await plant.meter("E001")
    await plant.send(meter, hourly("2026-10-31T22:00", [0.0, 10.0, 20.0, 30.0]))
    await plant.worker().catch_up()
    last = f"(SELECT max(start) FROM {table})"
    await plant.sql.execute(f"UPDATE {table} SET {column} = {column} + 1 WHERE start = {last}")

    (difference,) = (await verify(plant.database, CALENDAR)).differences
    assert (difference.table, difference.column) == (table, column)
    assert difference.key.startswith(PLANT)
    assert difference.stored is not None
    assert difference.expected is not None
    assert Decimal(difference.stored) == Decimal(difference.expected) + 1

    clock = datetime(2026, 11, 24, 2, tzinfo=UTC)
    nightly = NightlyVerification(plant.database, CALENDAR, at=time(2, 30), sample=5, now=lambda: clock)
    assert await nightly.verify_night(clock.date()) == 1
    source = StoredPositions(plant.database.pool, CALENDAR)
    positions = [one async for group in source.positions(clock.date(), clock) for one in group]
    (alarming,) = [one for one in positions if isinstance(one, IntegrityPosition)]
    assert (alarming.enterprise, integrity(DEFAULTS, alarming).on) == (PLANT, Severity.ORANGE)


@pytest.mark.parametrize("table", [*ROLLUPS, "held_reading", "enterprise_rank"])
async def test_a_stored_row_that_is_gone_is_found(plant: Plant, table: str) -> None:
    meter = await plant.meter("E001")
    await plant.send(meter, hourly("2026-10-31T22:00", [0.0, 10.0, 20.0, 5.0]))
    await plant.worker().catch_up()
    moment = "ts" if table == "held_reading" else "start"
    gone = await plant.sql.execute(f"DELETE FROM {table} WHERE {moment} = (SELECT max({moment}) FROM {table})")
    assert gone == "DELETE 1"
    found = (await verify(plant.database, CALENDAR)).differences
    # Ranks follow the years by themselves: without a year there is none, and that is another difference.
    assert table in {one.table for one in found} <= {table, "enterprise_rank"}
    assert all(one.stored is None for one in found)


async def test_verify_tells_how_many_marks_still_wait(plant: Plant) -> None:
    meter = await plant.meter("E001")
    await plant.send(meter, hourly("2026-11-01T00:00", [0.0, 10.0]))

    found = await verify(plant.database, CALENDAR)

    assert found.waiting == 1
    assert {difference.stored for difference in found.differences} == {None}


@pytest.mark.parametrize("kind", ["interval", "rate"])
async def test_an_amount_or_a_rate_covers_its_own_time(plant: Plant, kind: str) -> None:
    """Readings of 6 every hour, then silence: an interval lasts one expected hour, a rate at most two."""
    unit = "kWh" if kind == "interval" else "kW"
    meter = await plant.meter("E001", kind=kind, unit=unit)
    await plant.send(meter, hourly("2026-11-01T00:00", [6.0, 6.0]))
    await plant.worker().catch_up()

    hours = await plant.figures("meter", "hour", meter_id=meter)
    assert [row["quantity"] for row in hours] == [6] * (2 if kind == "interval" else 3)
