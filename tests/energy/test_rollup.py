"""Hours of meters to an enterprise's hours, days, months and years: exact sums, and never a part shown as the whole."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.interval import HOUR_US, Level, SiteCalendar, parse_range_bound
from energy.reading import Role
from energy.rollup import Figures, MeterHour, Status, coverage, enterprise_hours, normal_quantity, roll_up, status
from energy.tce import EXACT, Basis, Co2Factor, CoalFactor, FactorBook
from tests.energy.test_tce import a_co2_factor, a_factor

ZONE = ZoneInfo("Asia/Shanghai")
CALENDAR = SiteCalendar(ZONE)
PLANT, REGION = "91445300MA4UXXXX0X", "445302"
NEW_YEAR_US = parse_range_bound("2026", ZONE)


def the_factors() -> FactorBook:
    coal = [a_factor("0.1229", "a"), a_factor("0.28498", "b", basis=Basis.EQUAL)]
    lignite = CoalFactor(
        "lignite", Basis.EQUIVALENT, Decimal("0.4286"), date(2000, 1, 1), None, None, None, "", "", "l"
    )
    return FactorBook([*coal, lignite], [a_co2_factor("0.4419", region="44"), methane()])


def methane() -> Co2Factor:
    return Co2Factor("gas", Decimal("2.16219"), "default", date(2000, 1, 1), None, None, None, "", "g")


def an_hour(
    kwh: float, *, at: int = 0, role: Role = Role.PURCHASE, carrier: str = "electricity", per_raw: str = "1"
) -> MeterHour:
    """The at-th hour of 2026."""
    nano = round(kwh * 1e9)
    return MeterHour(NEW_YEAR_US + at * HOUR_US, carrier, role, nano, Decimal(per_raw), HOUR_US, 0, HOUR_US)


def booked(*hours: MeterHour) -> list[Figures]:
    return enterprise_hours(hours, the_factors(), CALENDAR, enterprise=PLANT, region=REGION)


def test_raw_billionths_become_normal_units() -> None:
    assert normal_quantity(12_345_678_901, Decimal(4000)) == Decimal("49382.715604")


def test_an_hour_of_an_enterprise_is_the_signed_sum_of_its_meters() -> None:
    """Gross 100 − 30 + 20 = 90, net 70; the meter inside counts in nothing, not even in the time covered."""
    (found,) = booked(
        an_hour(100),
        an_hour(30, role=Role.SALE),
        an_hour(20, role=Role.OWN_RENEWABLE),
        an_hour(50, role=Role.INTERNAL),
    )
    assert (found.quantity_gross, found.quantity_net) == (Decimal(90), Decimal(70))
    assert (found.tce_equivalent_gross, found.tce_equivalent_net) == (Decimal("0.011061"), Decimal("0.008603"))
    assert (found.tce_equal_gross, found.tco2_net) == (Decimal("0.0256482"), Decimal("0.030933"))
    assert (found.measured_us, found.due_us) == (3 * HOUR_US, 3 * HOUR_US)


def test_hours_come_by_time_and_carrier() -> None:
    found = booked(an_hour(1, at=1), an_hour(2, carrier="lignite"), an_hour(3), an_hour(4, at=1))
    assert [(row.start_us - NEW_YEAR_US, row.carrier, row.quantity_gross) for row in found] == [
        (0, "electricity", Decimal(3)),
        (0, "lignite", Decimal(2)),
        (HOUR_US, "electricity", Decimal(5)),
    ]


def test_a_bucket_of_which_a_part_has_no_factor_has_no_figure() -> None:
    hours = booked(an_hour(1, carrier="lignite"), an_hour(1, carrier="gas"))
    assert [(row.carrier, row.tce_equivalent_gross is None, row.tco2_net is None) for row in hours] == [
        ("gas", True, False),
        ("lignite", False, True),
    ]
    early = NEW_YEAR_US - 30 * 365 * 24 * HOUR_US
    without = MeterHour(early, "electricity", Role.PURCHASE, 10**9, Decimal(1), HOUR_US, 0, HOUR_US)
    (lone,) = enterprise_hours([without], the_factors(), CALENDAR, enterprise=PLANT, region=REGION)
    assert (lone.quantity_gross, lone.tce_equivalent_gross, lone.tco2_gross) == (Decimal(1), None, None)


def test_one_hour_without_a_factor_takes_the_figure_from_its_day_but_not_from_the_next() -> None:
    turn = date(2026, 1, 2)
    factors = FactorBook([a_factor("0.1229", since=turn)], [])
    hours = enterprise_hours(
        [an_hour(1, at=at) for at in (23, 24, 25)], factors, CALENDAR, enterprise=PLANT, region=REGION
    )
    days = roll_up(hours, CALENDAR, Level.DAY)
    assert [day.tce_equivalent_gross for day in days] == [None, Decimal("0.0002458")]
    (month,) = roll_up(days, CALENDAR, Level.MONTH)
    assert (month.quantity_gross, month.tce_equivalent_gross) == (Decimal(3), None)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3 * 8760),
            st.integers(0, 10**18),
            st.sampled_from(Role),
            st.sampled_from(["electricity", "lignite", "gas"]),
            st.sampled_from(["1", "4000", "0.931775541532"]),
        ),
        max_size=25,
    ),
    st.sampled_from(["Asia/Shanghai", "Europe/Berlin", "Australia/Lord_Howe"]),
)
@settings(max_examples=60, deadline=None)
def test_hours_days_months_and_years_are_one_sum(hours: list[tuple[int, int, Role, str, str]], zone: str) -> None:
    calendar = SiteCalendar(ZoneInfo(zone))
    meters = [
        MeterHour(
            calendar.bucket_start(Level.HOUR, NEW_YEAR_US + at * HOUR_US),
            carrier,
            role,
            nano,
            Decimal(per_raw),
            HOUR_US,
            0,
            HOUR_US,
        )
        for at, nano, role, carrier, per_raw in hours
    ]
    by_hour = enterprise_hours(meters, the_factors(), calendar, enterprise=PLANT, region=REGION)
    by_day = roll_up(by_hour, calendar, Level.DAY)
    by_month = roll_up(by_day, calendar, Level.MONTH)
    assert roll_up(by_hour, calendar, Level.HOUR) == by_hour
    assert roll_up(by_hour, calendar, Level.MONTH) == by_month
    assert roll_up(by_month, calendar, Level.YEAR) == roll_up(by_hour, calendar, Level.YEAR)
    assert totals(by_hour) == totals(by_day) == totals(by_month) == totals(roll_up(by_month, calendar, Level.YEAR))


def totals(rows: list[Figures]) -> dict[str, tuple[Decimal, int]]:
    found: dict[str, tuple[Decimal, int]] = {}
    for row in rows:
        quantity, time_us = found.get(row.carrier, (Decimal(0), 0))
        found[row.carrier] = EXACT.add(quantity, row.quantity_net), time_us + row.measured_us
    return found


def test_nothing_adds_up_to_nothing() -> None:
    assert roll_up([], CALENDAR, Level.YEAR) == []
    assert booked() == []


@pytest.mark.parametrize(
    ("measured_us", "estimated_us", "what"),
    [(1, 0, Status.MEASURED), (1, 1, Status.ESTIMATED), (0, 1, Status.ESTIMATED), (0, 0, Status.MISSING)],
)
def test_a_bucket_is_an_estimate_as_soon_as_a_part_of_it_is(measured_us: int, estimated_us: int, what: Status) -> None:
    assert status(measured_us, estimated_us) is what


def test_coverage_is_what_was_measured_of_what_was_due() -> None:
    assert [coverage(3, 4), coverage(5, 4), coverage(0, 4), coverage(0, 0)] == [0.75, 1.0, 0.0, 0.0]
