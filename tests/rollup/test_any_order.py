"""Whatever the readings and however they arrive: what is stored is what a recomputation from nothing gives."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import count

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.rollup.verify import verify
from app.rollup.worker import RollupWorker
from tests.rollup.a_plant import CALENDAR, Plant, at, set_factors

MINUTE_US = 60_000_000
START_US = at("2025-12-30T21:00")
"""Three days from here lie on both sides of a month's and a year's end."""
END_US = START_US + 4 * 24 * 60 * MINUTE_US
NUMBERS = count(1)
LETTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"


@dataclass(frozen=True, slots=True)
class Making:
    """A meter as its registration says."""

    kind: str
    role: str
    multiplier: str
    rolls_over_at: float | None
    max_rate_per_h: float | None
    expected_interval_s: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """Readings (minute, value, quality) that arrive together, and what the workers do after it."""

    meter: int
    readings: tuple[tuple[int, float, int], ...]
    passes: str


@dataclass(frozen=True, slots=True)
class Said:
    """Something a person puts on the record of a meter, and what the workers do after it."""

    meter: int
    what: str
    minute: int
    amounts: tuple[float, float]
    passes: str


MAKINGS = st.builds(
    Making,
    kind=st.sampled_from(["register", "register", "interval", "rate"]),
    role=st.sampled_from(["purchase", "sale", "own_renewable", "recovered", "feedstock", "internal"]),
    multiplier=st.sampled_from(["1", "4000", "0.001", "37.5"]),
    rolls_over_at=st.sampled_from([None, 1000.0]),
    max_rate_per_h=st.sampled_from([None, 200.0]),
    expected_interval_s=st.sampled_from([300, 900, 3600]),
)
# Values near both ends of a register of three digits: falls, rollovers, returns and jumps all happen.
VALUES = st.one_of(
    st.integers(0, 60), st.integers(900, 999), st.floats(0, 999, width=32), st.sampled_from([0.1, 500.0, -1.0, 1e6])
)
READINGS = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 3 * 24).map(lambda hour: 60 * hour), st.integers(0, 3 * 24 * 60)),
        VALUES.map(float),
        st.sampled_from([0, 0, 0, 0, 1, 2, 3]),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda reading: reading[0],
).map(tuple)
PASSES = st.sampled_from(["none", "none", "one", "all", "two workers"])
MINUTES = st.integers(0, 3 * 24).map(lambda hour: 60 * hour) | st.integers(0, 3 * 24 * 60)
AMOUNTS = st.sampled_from([0.0, 12.5, 500.0, 990.0])
ARRIVALS = st.builds(Arrival, meter=st.integers(0, 2), readings=READINGS, passes=PASSES)
SAYINGS = st.builds(
    Said,
    meter=st.integers(0, 2),
    what=st.sampled_from(
        ["exchange", "exchange", "multiplier", "real", "rollover", "reset", "discard", "revoke", "delete"]
    ),
    minute=MINUTES,
    amounts=st.tuples(AMOUNTS, AMOUNTS),
    passes=PASSES,
)
EVENTS = st.lists(st.one_of(ARRIVALS, ARRIVALS, SAYINGS), min_size=1, max_size=12)


async def an_enterprise(plant: Plant) -> str:
    """A new one for each example, so that nothing has to be emptied in between."""
    number, digits = next(NUMBERS), ""
    while number:
        number, digit = divmod(number, len(LETTERS))
        digits = LETTERS[digit] + digits
    enterprise = digits.rjust(18, "0")
    await plant.sql.execute(
        "INSERT INTO enterprise (id, name, region, industry) VALUES ($1, $1, '445303', '3011')", enterprise
    )
    await set_factors(plant.sql, enterprise)
    return enterprise


async def a_meter(plant: Plant, enterprise: str, code: str, making: Making) -> int:
    return await plant.meter(
        code,
        enterprise=enterprise,
        kind=making.kind,
        unit="kW" if making.kind == "rate" else "kWh",
        multiplier=making.multiplier,
        role=making.role,
        rolls_over_at=making.rolls_over_at,
        max_rate_per_h=making.max_rate_per_h,
        expected_interval_s=making.expected_interval_s,
    )


async def arrive(plant: Plant, meter: int, arrival: Arrival) -> None:
    for quality in {quality for _, _, quality in arrival.readings}:
        mine = [(START_US + minute * MINUTE_US, value) for minute, value, q in arrival.readings if q == quality]
        await plant.send(meter, mine, quality=quality)


async def said(plant: Plant, meter: int, saying: Said, sent: list[int]) -> None:
    """Decisions are about readings that are there; the rest may be at any time."""
    at_us, amounts = START_US + saying.minute * MINUTE_US, saying.amounts
    if saying.what == "exchange":
        await plant.exchange(meter, at_us, *amounts)
    elif saying.what == "multiplier":
        await plant.multiply(meter, at_us, "80", END_US)
    elif saying.what == "revoke":
        await plant.revoke(meter, END_US)
    elif saying.what == "delete":
        await plant.delete(meter, at_us, at_us + 6 * 60 * MINUTE_US)
    elif sent:
        await plant.decide(meter, sent[saying.minute % len(sent)], saying.what, amounts[0])


async def work(workers: list[RollupWorker], passes: str) -> None:
    if passes == "one":
        await workers[0].one_pass()
    elif passes == "all":
        await workers[0].catch_up()
    elif passes == "two workers":
        await asyncio.gather(*(worker.catch_up() for worker in workers))


@settings(
    max_examples=60,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(makings=st.lists(MAKINGS, min_size=3, max_size=3), events=EVENTS)
async def test_stored_figures_equal_a_recomputation_from_nothing(
    plant: Plant, makings: list[Making], events: list[Arrival | Said]
) -> None:
    """Any meters, any faults, any order and repetition, anything said at any time, two workers in between."""
    enterprise = await an_enterprise(plant)
    meters = [await a_meter(plant, enterprise, f"M{i}", making) for i, making in enumerate(makings)]
    workers = [RollupWorker(plant.database, CALENDAR, pairs_at_once=pairs) for pairs in (3, 1)]
    sent: dict[int, list[int]] = {}
    for event in events:
        meter = meters[event.meter]
        if isinstance(event, Said):
            await said(plant, meter, event, sent.get(meter, []))
        else:
            await arrive(plant, meter, event)
            sent.setdefault(meter, []).extend(START_US + minute * MINUTE_US for minute, _, _ in event.readings)
        await work(workers, event.passes)
    await work(workers, "two workers")

    found = await verify(plant.database, CALENDAR, enterprise=enterprise)

    assert [str(difference) for difference in found.differences] == []
    assert found.waiting == 0
    assert workers[0].aside == workers[1].aside == {}
    await assert_levels_add_up(plant, enterprise)


async def assert_levels_add_up(plant: Plant, enterprise: str) -> None:
    """Σ hours = Σ days = Σ months = Σ years, per meter and carrier, of every figure."""
    for whose, key in (("meter", "meter_id"), ("enterprise", "carrier")):
        mine = (
            "meter_id IN (SELECT meter_id FROM meter WHERE enterprise = $1)" if whose == "meter" else "enterprise = $1"
        )
        sums = [
            await plant.sql.fetch(
                f"SELECT {key}, sum(quantity), sum(tce_equivalent), sum(tce_equal), sum(tco2), sum(measured_us) "
                f"FROM {whose}_{level} WHERE {mine} GROUP BY {key} ORDER BY {key}",
                enterprise,
            )
            for level in ("hour", "day", "month", "year")
        ]
        assert all(one == sums[0] for one in sums)
