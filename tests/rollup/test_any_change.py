"""Whatever is changed on the way: roles, carriers, units, limits, factors and regions, in zones whose clocks turn.

What is stored is what a recomputation from nothing gives, and the longer buckets add up, as in `test_any_order`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.rollup.verify import verify
from app.rollup.worker import RollupWorker
from app.store.coefficients import FactorsOverlap, enter_factor
from app.store.positions import refresh
from energy.interval import SiteCalendar, from_us
from tests.rollup.a_plant import HOUR_US, Plant, a_plant
from tests.rollup.test_any_order import (
    AMOUNTS,
    MAKINGS,
    MINUTE_US,
    MINUTES,
    PASSES,
    READINGS,
    Arrival,
    Making,
    a_meter,
    an_enterprise,
    assert_levels_add_up,
)
from tests.rollup.test_positions import BUDGET

TABLES = "budget_revision, budget_position, budget_standing, budget_exclusion"
SPAN = timedelta(days=4)
# Each place with the first day of four on which its clocks turn, or which lie on both ends of a year.
PLACES = {
    "Asia/Shanghai": date(2025, 12, 30),
    "Europe/Berlin": date(2025, 10, 25),
    "America/St_Johns": date(2026, 3, 7),
    "Australia/Lord_Howe": date(2026, 4, 4),
    "Asia/Kathmandu": date(2025, 12, 30),
}
CHANGES = {
    "role": st.sampled_from(["purchase", "sale", "own_renewable", "recovered", "feedstock", "internal"]),
    "carrier": st.sampled_from(["electricity", "raw_coal"]),
    "expected_interval_s": st.sampled_from([300, 900, 3600, 21_600]),
    "max_rate_per_h": st.sampled_from([None, 200.0, 5.0]),
    "rolls_over_at": st.sampled_from([None, 1000.0, 10_000.0]),
    "multiplier": st.sampled_from([Decimal(1), Decimal(80), Decimal("0.001")]),
}


@dataclass(frozen=True, slots=True)
class Changed:
    """Something of a meter that is not what it was, and what the workers do after it."""

    meter: int
    column: str
    value: object
    passes: str


@dataclass(frozen=True, slots=True)
class Swapped:
    """An exchange on record, with another multiplier from then on or the same."""

    meter: int
    minute: int
    amounts: tuple[float, float]
    multiplier: str | None
    passes: str


@dataclass(frozen=True, slots=True)
class Priced:
    """A factor of the enterprise's own from a day of the four on, while workers may be busy."""

    carrier: str
    day: int
    value: str
    passes: str


@dataclass(frozen=True, slots=True)
class Revoked:
    """All that is on record of a meter is taken back."""

    meter: int
    passes: str


@pytest.fixture
async def plant(database_url: str) -> AsyncIterator[Plant]:
    async with a_plant(database_url) as plant:
        await plant.sql.execute(f"TRUNCATE {TABLES}")
        yield plant
        await plant.sql.execute(f"TRUNCATE {TABLES}")


METERS = st.integers(0, 2)
EVENTS = st.lists(
    st.one_of(
        st.builds(Arrival, meter=METERS, readings=READINGS, passes=PASSES),
        st.builds(Arrival, meter=METERS, readings=READINGS, passes=PASSES),
        st.sampled_from(sorted(CHANGES)).flatmap(
            lambda column: st.builds(
                Changed, meter=METERS, column=st.just(column), value=CHANGES[column], passes=PASSES
            )
        ),
        st.builds(
            Swapped,
            meter=METERS,
            minute=MINUTES,
            amounts=st.tuples(AMOUNTS, AMOUNTS),
            multiplier=st.sampled_from([None, None, "80", "0.5"]),
            passes=PASSES,
        ),
        st.builds(
            Priced,
            carrier=st.sampled_from(["electricity", "raw_coal"]),
            day=st.integers(0, 3),
            value=st.sampled_from(["0.2", "0.757141", "0"]),
            passes=PASSES,
        ),
        st.builds(Revoked, meter=METERS, passes=PASSES),
    ),
    min_size=1,
    max_size=12,
)
Event = Arrival | Changed | Swapped | Priced | Revoked


class Story:
    """One example: an enterprise with three meters, two workers, and what happens to them."""

    def __init__(self, plant: Plant, calendar: SiteCalendar, first: date, enterprise: str, meters: list[int]) -> None:
        self._plant, self._calendar, self._first = plant, calendar, first
        self._start_us = calendar.date_start_us(first)
        self._end_us = calendar.date_start_us(first + SPAN)
        self._enterprise, self._meters = enterprise, meters
        self.workers = [RollupWorker(plant.database, calendar, pairs_at_once=pairs) for pairs in (3, 1)]

    async def happens(self, event: Event) -> None:
        match event:
            case Arrival():
                await self._arrive(event)
            case Changed():
                await self._change(event)
            case Swapped():
                await self._swap(event)
            case Priced():
                busy = asyncio.gather(*(worker.catch_up() for worker in self.workers))
                await self._price(event)
                await busy
            case Revoked():
                await self._plant.revoke(self._meters[event.meter], self._end_us)
        await self.work(event.passes)

    async def work(self, passes: str) -> None:
        if passes == "one":
            await self.workers[0].one_pass()
        elif passes == "all":
            await self.workers[0].catch_up()
        elif passes == "two workers":
            await asyncio.gather(*(worker.catch_up() for worker in self.workers))

    async def positions(self) -> None:
        """A budget on each basis, something taken off, judged in the middle of the last day."""
        years = sorted({self._first.year, (self._first + SPAN).year})
        for basis in ("equivalent", "equal", "co2"):
            for year in years:
                await self._plant.sql.execute(BUDGET, self._enterprise, year, basis, "approved")
        await self._plant.sql.execute(
            """INSERT INTO budget_exclusion (enterprise, basis, month, kind, amount, evidence, entered_by)
               VALUES ($1, 'equal', date_trunc('month', $2::date), 'feedstock', 0.5, 'test', 'test')""",
            self._enterprise,
            self._first,
        )
        now_us = self._end_us - 12 * HOUR_US
        pool = self._plant.database.pool
        await refresh(pool, self._calendar, years=years, now_us=now_us, enterprises=[self._enterprise])

    async def _arrive(self, event: Arrival) -> None:
        for quality in sorted({quality for _, _, quality in event.readings}):
            mine = [(self._start_us + at * MINUTE_US, value) for at, value, q in event.readings if q == quality]
            await self._plant.send(self._meters[event.meter], mine, quality=quality)

    async def _change(self, event: Changed) -> None:
        """As the registry does it: the row and the mark of the whole meter in one transaction."""
        number, sql = self._meters[event.meter], self._plant.sql
        async with sql.transaction():
            await sql.execute(f"UPDATE meter SET {event.column} = $2 WHERE meter_id = $1", number, event.value)
            if event.column == "carrier":
                unit = "CASE WHEN kind = 'rate' THEN unit ELSE $2 END"
                told = "kWh" if event.value == "electricity" else "kg"
                await sql.execute(f"UPDATE meter SET unit = {unit} WHERE meter_id = $1", number, told)
                await sql.execute(
                    "UPDATE meter SET carrier = 'electricity' WHERE meter_id = $1 AND kind = 'rate'", number
                )
            await self._plant.mark_whole(number)

    async def _swap(self, event: Swapped) -> None:
        number, at_us = self._meters[event.meter], self._start_us + event.minute * MINUTE_US
        await self._plant.exchange(number, at_us, *event.amounts)
        if event.multiplier is not None:
            await self._plant.multiply(number, at_us, event.multiplier, self._end_us)

    async def _price(self, event: Priced) -> None:
        fields = {
            "kind": "coal_equivalent",
            "carrier": event.carrier,
            "basis": None,
            "dataset": None,
            "value": Decimal(event.value),
            "valid_from": self._first + timedelta(days=event.day),
            "valid_to": None,
            "region": None,
            "enterprise": self._enterprise,
            "edition": "test",
            "source": "test",
            "verified": True,
            "ends_previous": True,
        }
        try:
            async with self._plant.database.engine.begin() as connection:
                await enter_factor(connection, fields, "test", self._calendar.zone)
        except FactorsOverlap:
            pass  # one from this day on, or from a later one, is there


@pytest.mark.parametrize("zone", sorted(PLACES))
@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(makings=st.lists(MAKINGS, min_size=3, max_size=3), events=EVENTS)
async def test_stored_figures_equal_a_recomputation_from_nothing_whatever_is_changed(
    plant: Plant, zone: str, makings: list[Making], events: list[Event]
) -> None:
    calendar = SiteCalendar(ZoneInfo(zone))
    enterprise = await an_enterprise(plant)
    meters = [await a_meter(plant, enterprise, f"M{i}", making) for i, making in enumerate(makings)]
    story = Story(plant, calendar, PLACES[zone], enterprise, meters)
    for event in events:
        await story.happens(event)
    await story.work("two workers")
    await story.positions()
    found = await verify(plant.database, calendar, enterprise=enterprise)
    assert [str(difference) for difference in found.differences] == []
    assert (found.waiting, story.workers[0].aside, story.workers[1].aside) == (0, {}, {})
    await assert_levels_add_up(plant, enterprise)


async def test_clocks_that_turn_by_half_an_hour_leave_no_hour_without_its_day(plant: Plant) -> None:
    """Lord Howe, 5 April 2026: at two o'clock clocks go back to half past one, so the day has 24.5 hours."""
    calendar = SiteCalendar(ZoneInfo("Australia/Lord_Howe"))
    meter = await plant.meter("E001")
    first = calendar.date_start_us(date(2026, 4, 5))
    await plant.send(meter, [(first + i * HOUR_US, 10.0 * i) for i in range(25)])
    await plant.send(meter, [(calendar.date_start_us(date(2026, 4, 6)), 245.0)])
    await RollupWorker(plant.database, calendar).catch_up()
    (day,) = await plant.figures("meter", "day")
    assert (day["quantity"], day["measured_us"], from_us(first)) == (245, 24.5 * HOUR_US, day["start"])
    hours = await plant.figures("meter", "hour")
    assert sum(row["quantity"] for row in hours) == 245
