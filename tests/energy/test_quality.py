"""Gaps and their repair clocks, completeness, calibration: worked out by hand."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from energy.interval import SiteCalendar
from energy.quality import (
    Calibration,
    Gap,
    Repair,
    after_working_days,
    calibration,
    deviation,
    due_readings,
    energy_class,
    gaps_of,
    share,
)
from energy.reading import Role
from tests.rollup.a_plant import HOUR_US, at

CALENDAR = SiteCalendar(ZoneInfo("Asia/Shanghai"))
NOVEMBER = at("2026-11-01T00:00"), at("2026-12-01T00:00")


def weekday(day: date) -> bool:
    return day.weekday() < 5


def found(times: list[str], now: str) -> list[Gap]:
    points = [at(one) for one in times]
    stretches = list(zip(points, [*points[1:], None], strict=True)) if points else []
    return gaps_of(stretches, NOVEMBER, at(now), HOUR_US, CALENDAR.local_date, weekday)


def test_a_stretch_of_two_intervals_is_no_gap_and_one_longer_is() -> None:
    assert found(["2026-11-02T00:00", "2026-11-02T02:00"], "2026-11-02T03:00") == []
    (gap,) = found(["2026-11-02T00:00", "2026-11-02T02:01"], "2026-11-02T03:00")
    assert (gap.start_us, gap.end_us) == (at("2026-11-02T00:00"), at("2026-11-02T02:01"))


@pytest.mark.parametrize(
    ("ends", "now", "repair"),
    [
        ("2026-11-11T23:00", "2026-11-20T00:00", Repair.IN_TIME),
        ("2026-11-12T00:00", "2026-11-20T00:00", Repair.LATE),
        (None, "2026-11-11T12:00", Repair.RUNNING),
        (None, "2026-11-12T12:00", Repair.OVERDUE),
    ],
)
def test_a_fault_of_a_friday_is_to_be_mended_by_the_wednesday(ends: str | None, now: str, repair: Repair) -> None:
    times = ["2026-11-06T18:00", *([ends] if ends else [])]
    gap = found(times, "2026-11-12T00:30" if ends == "2026-11-12T00:00" else now)[0]
    assert (gap.deadline, gap.repair) == (date(2026, 11, 11), repair)


def test_a_gap_that_began_before_the_month_reaches_into_it() -> None:
    (gap,) = found(["2026-10-20T00:00", "2026-11-01T06:00"], "2026-11-01T07:00")
    assert gap.start_us == at("2026-10-20T00:00")
    assert found(["2026-10-20T00:00", "2026-10-31T23:30", "2026-11-01T00:30"], "2026-11-01T01:00") == []


def test_a_meter_that_never_sent_is_missing_from_the_day_it_owes() -> None:
    (gap,) = found([], "2026-11-20T00:00")
    assert (gap.start_us, gap.end_us, gap.repair) == (NOVEMBER[0], None, Repair.OVERDUE)


def test_working_days_leave_out_what_is_none() -> None:
    assert after_working_days(date(2026, 11, 6), 3, weekday) == date(2026, 11, 11)
    assert after_working_days(date(2026, 11, 2), 3, weekday) == date(2026, 11, 5)


def test_what_is_due_and_what_share_came() -> None:
    assert due_readings(at("2026-11-01T00:00"), at("2026-11-02T00:00"), HOUR_US // 4) == 96
    assert due_readings(at("2026-11-02T00:00"), at("2026-11-01T00:00"), HOUR_US) == 0
    assert share(95, 96) == 95 / 96
    assert share(200, 96) == 1.0
    assert share(0, 0) is None


def test_a_calibration_holds_up_to_its_last_day() -> None:
    assert calibration(date(2026, 11, 30), date(2026, 11, 30)) is Calibration.VALID
    assert calibration(date(2026, 11, 29), date(2026, 11, 30)) is Calibration.LAPSED
    assert calibration(None, date(2026, 11, 30)) is Calibration.UNKNOWN


def test_days_against_their_month() -> None:
    assert deviation(Decimal(95), Decimal(100)) == Decimal("0.05")
    assert deviation(Decimal(0), Decimal(0)) == 0
    assert deviation(None, Decimal(100)) is None
    assert deviation(Decimal(1), Decimal(0)) is None


@pytest.mark.parametrize(
    ("carrier", "role", "expected"),
    [
        ("electricity", Role.PURCHASE, "electricity"),
        ("electricity", Role.RECOVERED, "recovered"),
        ("raw_coal", Role.PURCHASE, "coal"),
        ("coke", Role.PURCHASE, "coal"),
        ("coke_oven_gas_max", Role.PURCHASE, "coal_gas"),
        ("coal_tar", Role.PURCHASE, "coal"),
        ("natural_gas_max", Role.PURCHASE, "natural_gas"),
        ("fuel_oil", Role.PURCHASE, "heavy_oil"),
        ("diesel", Role.PURCHASE, "oil"),
        ("heat", Role.SALE, "steam"),
        ("water_gas", Role.PURCHASE, "coal_gas"),
        ("coke_gasification_gas", Role.PURCHASE, "coal_gas"),
        ("pressure_gasification_gas", Role.PURCHASE, "coal_gas"),
        ("water_fresh", Role.PURCHASE, "water"),
        ("oxygen", Role.PURCHASE, "other"),
    ],
)
def test_kinds_of_energy_of_the_standard(carrier: str, role: Role, expected: str) -> None:
    assert energy_class(carrier, role) == expected
