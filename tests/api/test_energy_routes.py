"""Figures, readings and the overview, as a caller gets them."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from app.rollup.worker import RollupWorker
from energy.interval import SiteCalendar
from tests.api.a_service import CITY, FOREIGN, OWN, Api

ZONE = ZoneInfo("Asia/Shanghai")
DAY = {"from": "2026-11-23", "to": "2026-11-24"}


async def readings(api: Api, rows: list[tuple[str, float]]) -> None:
    """Register readings of the own meter at local times, stored and rolled up."""
    ((meter,),) = await api.sql("SELECT meter_id FROM meter WHERE enterprise = $1", OWN)
    moments = [datetime.fromisoformat(at).replace(tzinfo=ZONE) for at, _ in rows]
    await api.sql(
        """INSERT INTO reading
           SELECT ts, $1, value, 0, now() FROM unnest($2::timestamptz[], $3::float8[]) AS row (ts, value)""",
        meter,
        moments,
        [value for _, value in rows],
    )
    await api.sql("UPDATE meter SET first_at = $2 WHERE meter_id = $1", meter, min(moments))
    await api.sql("INSERT INTO touched (meter_id, hour) VALUES (ARRAY[$1::int], NULL)", meter)
    await RollupWorker(api.database, SiteCalendar(ZONE)).catch_up()


async def energy(api: Api, **params: str) -> Any:
    answer = await api.get(f"enterprises/{OWN}/energy", params=DAY | params)
    assert answer.status_code == 200, answer.text
    return json.loads(answer.text, parse_float=Decimal)


async def test_the_contracts_example_is_answered_to_the_last_digit(api: Api) -> None:
    await readings(api, [("2026-11-23T00:00", 0.0), ("2026-11-24T00:00", 100450.0)])
    answer = await energy(api)
    assert (answer["enterprise"], answer["interval"], answer["basis"]) == (OWN, "P1D", "equivalent")
    assert answer["factor_set"].startswith("reference-")
    (bucket,) = answer["buckets"]
    assert (bucket["start"], bucket["end"]) == ("2026-11-23T00:00:00+08:00", "2026-11-24T00:00:00+08:00")
    assert bucket["tce"] == Decimal("12.345305")
    assert bucket["tce_net"] == Decimal("12.345305")
    (carrier,) = bucket["carriers"]
    assert (carrier["carrier"], carrier["quantity"], carrier["unit"]) == ("electricity", 100450, "kWh")
    assert carrier["tce"] == Decimal("12.345305")
    assert bucket["tco2"] == carrier["tco2"] > 0


async def test_what_nobody_measured_is_null_and_never_zero(api: Api) -> None:
    for bucket in (await energy(api, interval="PT1H"))["buckets"]:
        assert bucket["status"] == "missing"
        assert (bucket["tce"], bucket["tco2"], bucket["coverage"]) == (None, None, 0)


@pytest.mark.parametrize(("interval", "count"), [("PT1H", 24), ("P1D", 1), ("P1M", 1), ("P1Y", 1)])
async def test_buckets_of_every_length_add_up_to_the_register(api: Api, interval: str, count: int) -> None:
    await readings(api, [("2026-11-23T00:00", 10.0), ("2026-11-23T13:20", 47.5), ("2026-11-24T00:00", 110.0)])
    buckets = (await energy(api, interval=interval))["buckets"]
    assert len(buckets) == count
    assert abs(sum(bucket["carriers"][0]["quantity"] for bucket in buckets) - 100) <= Decimal("1e-9") * count


async def test_the_parts_of_a_bucket_are_as_fine_as_asked_for(api: Api) -> None:
    await readings(api, [("2026-11-23T00:00", 0.0), ("2026-11-24T00:00", 240.0)])
    total, carrier, meter = [(await energy(api, by=by))["buckets"][0] for by in ("total", "carrier", "meter")]
    assert (total["carriers"], total["meters"], carrier["meters"]) == ([], [], [])
    assert total["tce"] == carrier["carriers"][0]["tce"] == meter["meters"][0]["tce"] == Decimal("0.029496")
    assert (meter["meters"][0]["meter"], meter["meters"][0]["role"]) == ("E001", "purchase")


async def test_the_equal_basis_is_another_figure_of_the_same_quantity(api: Api) -> None:
    await readings(api, [("2026-11-23T00:00", 0.0), ("2026-11-24T00:00", 1000.0)])
    (one,), (other,) = [(await energy(api, basis=basis))["buckets"] for basis in ("equivalent", "equal")]
    assert one["carriers"][0]["quantity"] == other["carriers"][0]["quantity"] == 1000
    assert one["tce"] < other["tce"]


async def test_unchanged_figures_are_not_sent_again(api: Api) -> None:
    await readings(api, [("2026-11-23T00:00", 0.0), ("2026-11-23T12:00", 50.0)])
    path = f"enterprises/{OWN}/energy"
    tag = (await api.get(path, params=DAY)).headers["etag"]
    assert tag.startswith('W/"')
    again = await api.get(path, params=DAY, headers={"if-none-match": tag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    other = await api.get(path, params=DAY | {"basis": "equal"}, headers={"if-none-match": tag})
    assert other.status_code == 200
    await readings(api, [("2026-11-24T00:00", 90.0)])
    assert (await api.get(path, params=DAY, headers={"if-none-match": tag})).status_code == 200


async def test_figures_come_as_a_table(api: Api) -> None:
    await readings(api, [("2026-11-23T00:00", 0.0), ("2026-11-24T00:00", 100450.0)])
    params = DAY | {"format": "csv", "interval": "P1D"}
    answer = await api.get(f"enterprises/{OWN}/energy", params=params)
    (row,) = csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig")))
    assert (row["carrier"], row["tce"], row["start"]) == ("electricity", "12.345305", "2026-11-23T00:00:00+08:00")


async def test_readings_are_shown_as_they_came_in_pages(api: Api) -> None:
    await readings(api, [(f"2026-11-23T{hour:02d}:00", float(hour)) for hour in range(7)])
    await api.sql("INSERT INTO held_reading SELECT meter_id, ts, 'register-fell' FROM reading WHERE value = 3")
    found, cursor = [], None
    while True:
        params: dict[str, Any] = {"from": "2026-11-23T01:00:00+08:00", "to": "2026-11-23T06:00:00+08:00", "limit": 2}
        page = (
            await api.get(f"meters/{OWN}/E001/readings", params=params | ({"cursor": cursor} if cursor else {}))
        ).json()
        found += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    assert [row["value"] for row in found] == [1, 2, 3, 4, 5]
    assert [row["held"] for row in found] == [None, None, "register-fell", None, None]


async def test_a_revision_is_kept_with_who_and_when(api: Api) -> None:
    await api.sql(
        """INSERT INTO reading_revision (meter_id, ts, old_value, old_quality, new_value, new_quality, revised_at,
               revised_by) SELECT meter_id, now(), 1, 0, 2, 0, now(), 'gw-own' FROM meter WHERE enterprise = $1""",
        OWN,
    )
    (row,) = (await api.get(f"meters/{OWN}/E001/revisions")).json()["items"]
    assert (row["old_value"], row["new_value"], row["revised_by"]) == (1, 2, "gw-own")


async def test_a_refused_message_can_be_had_byte_by_byte(api: Api) -> None:
    await api.sql(
        r"""WITH message AS (
               INSERT INTO rejected_message (received_at, door, gateway, content_type, raw, digest, last_at)
               VALUES (now(), 'http', 'gw-own', 'application/json', '\x00ff', 'x', now()) RETURNING message_id)
           INSERT INTO rejected_reading (message_id, position, meter, code, detail)
           SELECT message_id, 0, 'E009', 'unknown-meter', 'x' FROM message"""
    )
    (row,) = (await api.get("rejections", params={"raw": "true", "code": "unknown-meter"})).json()["items"]
    assert row["raw"] == "AP8="
    assert (await api.get("rejections", params={"code": "conflict"})).json()["items"] == []
    assert (await api.get("rejections")).json()["items"][0]["raw"] is None


async def test_a_region_at_a_glance(api: Api) -> None:
    await readings(api, [("2026-11-23T00:00", 0.0), ("2026-11-24T00:00", 1000.0)])
    await api.sql("UPDATE gateway SET last_data_at = '2026-11-24T00:50Z', state = 'online' WHERE id = 'gw-own'")
    body = json.loads((await api.get(f"regions/{CITY}/overview")).text, parse_float=Decimal)
    assert body["month"]["tce"] == body["year"]["tce"] == Decimal("0.1229")
    assert (body["month"]["enterprises"], body["month"]["measured"], body["month"]["missing"]) == (2, 1, [FOREIGN])
    assert (body["month"]["start"], body["year"]["start"]) == ("2026-11-01T00:00:00+08:00", "2026-01-01T00:00:00+08:00")
    assert body["gateways"] == {"online": 1, "late": 0, "silent": 0, "offline": 0, "never": 1}
    before = (await api.get(f"regions/{CITY}/overview", params={"at": "2026-10"})).json()
    assert before["month"]["tce"] is None
