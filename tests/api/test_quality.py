"""Quality of a month's data through the API: complete, late, gapped, held, calibrated, and what a region sees of it."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest

from tests.api.a_service import CITY, FOREIGN, OWN, OWN_REGION, Api, is_problem

HOURS = 31 * 24


async def october(api: Api, *, without: range = range(0), delay_s: int = 60, last: int = HOURS) -> None:
    """A register every hour of October, each committed `delay_s` later, but for some hours."""
    await api.sql("UPDATE meter SET expected_interval_s = 3600, created_at = '2026-01-01', first_at = '2026-01-01'")
    (number,) = (await api.sql("SELECT meter_id FROM meter WHERE enterprise = $1", OWN))[0]
    start = datetime.fromisoformat("2026-10-01T00:00+08:00")
    for hour in (hour for hour in range(last + 1) if hour not in without):
        at = start + timedelta(hours=hour)
        await api.database.pool.execute(
            "INSERT INTO reading VALUES ($1, $2, $3, 0, $4)", at, number, hour * 5.0, at + timedelta(seconds=delay_s)
        )
    await api.sql("INSERT INTO touched (meter_id) VALUES (ARRAY[$1::int])", number)
    await api.rolled_up()


async def quality(api: Api, month: str = "2026-10") -> dict[str, Any]:
    answer = await api.get(f"enterprises/{OWN}/quality", params={"month": month})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_whole_month_is_complete_and_timely(api: Api) -> None:
    await api.patch(f"meters/{OWN}/E001", {"calibrated_until": "2026-12-31"})
    await october(api)
    found = await quality(api)
    (meter,) = found["meters"]
    assert (meter["due"], meter["received"], meter["completeness"]) == (HOURS, HOURS, 1)
    assert (meter["median_delay_s"], meter["timeliness"], meter["gaps"]) == (60, 1, [])
    assert (meter["days"], meter["month"], meter["deviation"], meter["days_fit_month"]) == (3720, 3720, 0, True)
    assert (meter["calibration"], meter["in_order"], meter["estimated_share"]) == ("valid", True, 0)
    assert (found["completeness"], found["complete"], found["calibration_valid"]) == (1, True, 1)
    (fitting,) = found["fitting"]
    assert (fitting["energy"], fitting["rate"], fitting["required_rate"], fitting["met"]) == ("electricity", 1, 1, True)
    assert (fitting["edition"], fitting["verified"]) == ("GB 17167-2025", False)


async def test_four_days_without_readings_are_a_gap_that_was_mended_late(api: Api) -> None:
    """From Tuesday 13th 00:00 the last reading to Saturday 17th: to be mended by Friday 16th; 96 of 744 are missing."""
    await october(api, without=range(12 * 24 + 1, 16 * 24))
    (meter,) = (await quality(api))["meters"]
    assert (meter["received"], meter["due"]) == (HOURS - 95, HOURS)
    assert meter["completeness"] == (HOURS - 95) / HOURS
    assert meter["gaps"] == [
        {
            "start": "2026-10-13T00:00:00+08:00",
            "end": "2026-10-17T00:00:00+08:00",
            "mend_by": "2026-10-16",
            "repair": "late",
        }
    ]
    assert meter["estimated_share"] == pytest.approx(96 / HOURS)


async def test_a_meter_that_fell_silent_is_overdue(api: Api) -> None:
    await october(api, last=100)
    found = await quality(api)
    (gap,) = found["meters"][0]["gaps"]
    assert (gap["end"], gap["repair"]) == (None, "overdue")
    assert (found["open_gaps"], found["overdue_gaps"], found["complete"]) == (1, 1, False)
    november = await quality(api, "2026-11")
    assert november["meters"][0]["completeness"] == 0
    assert november["meters"][0]["gaps"] == [gap], "it is still open"


async def test_backlog_is_complete_and_late(api: Api) -> None:
    await october(api, delay_s=3 * 86400)
    (meter,) = (await quality(api))["meters"]
    assert (meter["completeness"], meter["timeliness"], meter["median_delay_s"]) == (1, 0, 259200)


async def test_held_readings_and_lapsed_calibration_are_counted(api: Api) -> None:
    await api.patch(f"meters/{OWN}/E001", {"calibrated_until": "2026-10-30"})
    await october(api)
    await api.sql("UPDATE reading SET value = 0 WHERE ts = '2026-10-10T00:00+08:00'")
    await api.sql("INSERT INTO touched (meter_id) SELECT array_agg(meter_id) FROM meter")
    await api.rolled_up()
    found = await quality(api)
    (meter,) = found["meters"]
    assert (meter["held"], meter["held_share"]) == (1, 1 / HOURS)
    assert (meter["calibration"], meter["in_order"]) == ("lapsed", False)
    assert (found["held"], found["calibration_lapsed"], found["fitting"][0]["met"]) == (1, 1, False)


async def test_a_month_that_was_tampered_with_does_not_fit_its_days(api: Api) -> None:
    await october(api)
    await api.sql("UPDATE meter_month SET quantity = quantity * 1.1")
    (meter,) = (await quality(api))["meters"]
    assert (meter["deviation"], meter["days_fit_month"]) == (0.090909, False)


async def test_a_meter_that_is_taken_out_of_service_owes_nothing(api: Api) -> None:
    await october(api, last=10)
    await api.patch(f"meters/{OWN}/E001", {"active": False})
    found = await quality(api)
    assert (found["meters"][0]["due"], found["meters"][0]["gaps"], found["completeness"]) == (0, [], None)


async def test_a_region_sees_covered_time_and_calibrations(api: Api) -> None:
    """Two meters owe October; one covers it all, the other sent nothing."""
    await api.patch(f"meters/{OWN}/E001", {"calibrated_until": "2027-01-31"})
    await october(api)
    found = (await api.get(f"regions/{CITY}/quality", params={"month": "2026-10"})).json()
    assert (found["enterprises"], found["meters"], found["completeness"]) == (2, 2, 0.5)
    assert (found["complete_meters"], found["owing_meters"], found["complete"]) == (1, 2, False)
    assert (found["calibration_valid"], found["calibration_unknown"]) == (1, 1)
    own = (await api.get(f"regions/{OWN_REGION}/quality", role="supervisor")).json()
    assert (own["meters"], own["completeness"], own["complete"]) == (1, 1, True)


async def test_quality_as_a_table_and_for_those_who_may_see_it(api: Api) -> None:
    answer = await api.get(f"enterprises/{OWN}/quality", params={"month": "2026-10", "format": "csv"})
    assert "completeness" in answer.content.decode("utf-8-sig").splitlines()[0]
    is_problem(await api.get(f"enterprises/{FOREIGN}/quality", role="enterprise"), 404, "not-found")
    future = await api.get(f"enterprises/{OWN}/quality", params={"month": f"{date(2027, 1, 1):%Y-%m}"})
    is_problem(future, 422, "month-in-future")
    is_problem(await api.get(f"enterprises/{OWN}/quality", params={"month": "October"}), 422, "bad-query")
