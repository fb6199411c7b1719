"""Factors as dated data: entered, changed, ended, and what each change does to the figures and to nothing else."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from app.rollup.windows import NEAR_HOURS
from app.store.coefficients import MARK_EVERY_H, changed_days
from tests.api.a_service import CITY, FOREIGN, OWN, OWN_REGION, Api, is_problem

COAL = {"carrier": "raw_coal", "enterprise": OWN, "valid_from": "2026-07-01", "source": "laboratory, batch 7"}
MONTHS = {"from": "2026-06", "to": "2026-08", "interval": "P1M"}


async def counting(api: Api, *readings: tuple[str, float], enterprise: str = OWN) -> None:
    """Readings of E001 straight into the ledger, with their mark."""
    (meter,) = (await api.sql("SELECT meter_id FROM meter WHERE enterprise = $1 AND code = 'E001'", enterprise))[0]
    for at, value in readings:
        await api.sql("INSERT INTO reading VALUES (cast($1::text AS timestamptz), $2, $3, 0, now())", at, meter, value)
    await api.sql("INSERT INTO touched (meter_id) VALUES (ARRAY[$1::int])", meter)
    await api.rolled_up()


async def around_july(api: Api) -> None:
    """1,000 kWh in the last two hours of June and 1,000 kWh in the first two of July."""
    hours = ("06-30T22", "06-30T23", "07-01T00", "07-01T01", "07-01T02")
    await counting(api, *((f"2026-{hour}:00+08:00", 500.0 * i) for i, hour in enumerate(hours)))


async def months(api: Api, **params: str) -> list[dict[str, Any]]:
    answer = await api.get(f"enterprises/{OWN}/energy", params=MONTHS | params)
    assert answer.status_code == 200, answer.text
    buckets: list[dict[str, Any]] = answer.json()["buckets"]
    return buckets


async def enter(api: Api, role: str = "admin", **fields: Any) -> list[dict[str, Any]]:
    answer = await api.post("factors", fields, role=role)
    assert answer.status_code == 201, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def test_a_factor_from_the_first_of_july_leaves_june_alone_and_both_editions_stay_visible(api: Api) -> None:
    await around_july(api)
    before = (await api.get(f"enterprises/{OWN}/energy", params=MONTHS)).json()["factor_set"]

    electricity = {"carrier": "electricity", "basis": "equal", "enterprise": OWN, "source": "coal rate of the year"}
    await enter(api, **electricity, value=0.29, valid_from="2026-01-01", edition="2025")
    await enter(api, **electricity, value=0.3, valid_from="2026-07-01", edition="2026", ends_previous=True)
    await api.rolled_up()
    found = await months(api, basis="equal")
    assert [bucket["tce"] for bucket in found] == [0.29, 0.3]
    assert [bucket["tce"] for bucket in await months(api)] == [0.1229, 0.1229], "the other account is as it was"

    kept = (await api.get("factors", params={"enterprise": OWN, "carrier": "electricity"})).json()["items"]
    spans = [(one["edition"], one["valid_from"], one["valid_to"]) for one in kept]
    assert spans == [("2025", "2026-01-01", "2026-07-01"), ("2026", "2026-07-01", None)]
    after = (await api.get(f"enterprises/{OWN}/energy", params=MONTHS)).json()["factor_set"]
    assert before != after, "another set of factors has another name"

    written = "SELECT start, xmin::text FROM meter_hour WHERE start < '2026-06-30T15:00Z'"
    june = await api.sql(written)
    await api.put(f"factors/{kept[1]['id']}", {"value": 0.31, "valid_from": "2026-07-01", "source": "corrected"})
    await api.rolled_up()
    assert [bucket["tce"] for bucket in await months(api, basis="equal")] == [0.29, 0.31]
    assert len(june) == 1
    assert await api.sql(written) == june, "no hour before the last reading of June was written again"


async def test_a_change_marks_only_the_meters_of_the_carrier_and_of_its_owner(api: Api) -> None:
    await around_july(api)
    await counting(api, ("2026-07-01T00:00+08:00", 0.0), ("2026-07-01T02:00+08:00", 9.0), enterprise=FOREIGN)
    await enter(api, **COAL, value=0.75)
    assert await api.sql("SELECT count(*) FROM touched") == [(0,)], "nobody here burns coal"
    await enter(api, carrier="electricity", region=OWN_REGION, value=0.3, valid_from="2026-07-01", source="x")
    marked = await api.sql("SELECT DISTINCT unnest(meter_id) FROM touched")
    assert marked == await api.sql("SELECT meter_id FROM meter WHERE enterprise = $1", OWN)
    hours = await api.sql("SELECT min(h), max(h) FROM touched, unnest(hour) AS h")
    first = int((await api.sql("SELECT extract(epoch FROM '2026-06-30T16:00Z'::timestamptz)::int / 3600"))[0][0])
    assert hours == [(first, first + 1)], "from the first of July to the last hour there is"


async def test_a_meter_without_figures_has_nothing_to_be_computed_again(api: Api) -> None:
    await enter(api, carrier="electricity", enterprise=OWN, value=0.3, valid_from="2026-07-01", source="x")
    assert await api.sql("SELECT count(*) FROM touched") == [(0,)]


def test_marks_lie_near_enough_to_make_one_stretch() -> None:
    assert MARK_EVERY_H <= NEAR_HOURS


async def test_a_measured_heating_value_makes_the_factor_on_both_bases(api: Api) -> None:
    """22,190 kJ/kg / 29,307.6 kJ/kgce = 0.757141… kgce/kg, to six decimals 0.757141."""
    made = await enter(api, **COAL, heating_value_kj_per_unit=22190)
    assert {one["basis"] for one in made} == {"equivalent", "equal"}
    for one in made:
        assert one["value"] == 0.757141
        assert (one["heating_value_kj_per_unit"], one["enterprise"], one["unit"]) == (22190, OWN, "kgce per kg")
        shown = await api.get(f"factors/{one['id']}")
        assert shown.json() == one


async def test_the_co2_of_a_fuel_follows_from_heating_value_carbon_and_oxidation(api: Api) -> None:
    """22,190 kJ/kg × 26.18 tC/TJ × 0.93 × 44/12 = 1.980986 kg CO2 a kg."""
    fuel: dict[str, Any] = {"heating_value_kj_per_unit": 22190, "carbon_content_tc_per_tj": 26.18, "oxidation": 0.93}
    (made,) = await enter(api, **COAL, kind="co2", **fuel)
    assert made["value"] == 1.980986
    assert made["dataset"] == "default"
    is_problem(await api.post("factors", COAL | {"kind": "co2", "heating_value_kj_per_unit": 1}), 422, "wrong-field")


@pytest.mark.parametrize(
    ("begins", "ends"),
    [("2026-07-01", None), ("2025-01-01", "2026-07-02"), ("2026-12-31", "2027-01-01"), ("2025-01-01", None)],
)
async def test_overlapping_dates_are_refused_with_the_factor_that_stands_there(
    api: Api, begins: str, ends: str | None
) -> None:
    (stands,) = await enter(api, **COAL, basis="equal", value=0.7)
    body = COAL | {"valid_from": begins, "valid_to": ends, "value": 0.8}
    told = is_problem(await api.post("factors", body), 409, "factor-overlap")
    assert stands["id"] in told["detail"]
    assert "2026-07-01" in told["detail"]
    kept = (await api.get("factors", params={"enterprise": OWN, "carrier": "raw_coal"})).json()["items"]
    assert kept == [stands], "the other basis was not entered either"
    assert await api.sql("SELECT count(*) FROM touched") == [(0,)]


async def test_a_factor_moved_onto_another_is_refused_too(api: Api) -> None:
    (first,) = await enter(api, **COAL | {"valid_to": "2026-08-01"}, basis="equal", value=0.7)
    await enter(api, **COAL | {"valid_from": "2026-08-01"}, basis="equal", value=0.8)
    moved = await api.put(f"factors/{first['id']}", {"value": 0.7, "valid_from": "2026-07-01", "source": "x"})
    is_problem(moved, 409, "factor-overlap")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"carrier": "phlogiston"}, "carrier"),
        ({"valid_to": "2026-07-01"}, "valid_to"),
        ({"value": None}, "value"),
        ({"heating_value_kj_per_unit": 20000}, "value"),
        ({"enterprise": None, "region": "445399"}, "region"),
        ({"enterprise": "91445302MA4UTEE01U"}, "enterprise"),
        ({"region": OWN_REGION}, "region"),
        ({"dataset": "default"}, "dataset"),
        ({"kind": "co2", "basis": "equal"}, "basis"),
        ({"carrier": "electricity", "value": None, "heating_value_kj_per_unit": 3600}, "heating_value_kj_per_unit"),
    ],
)
async def test_a_wrong_field_is_named_and_nothing_is_kept(api: Api, changes: dict[str, Any], field: str) -> None:
    told = is_problem(await api.post("factors", COAL | {"value": 0.7} | changes), 422, "wrong-field")
    assert told["errors"][0]["pointer"] == f"/body/{field}"
    assert await api.sql("SELECT count(*) FROM coal_factor WHERE origin = 'entered' AND source <> 'by hand'") == [(0,)]


@pytest.mark.parametrize("value", [-0.1, "much", 1e9, None])
async def test_a_factor_is_a_number_from_zero_on(api: Api, value: Any) -> None:
    assert (await api.post("factors", COAL | {"value": value})).status_code == 422


async def test_a_supervisor_keeps_the_factors_of_the_own_region_and_no_others(api: Api) -> None:
    mine: dict[str, Any] = {"value": 0.7, "valid_from": "2026-07-01", "source": "x", "carrier": "coke"}
    await enter(api, "supervisor", **mine, enterprise=OWN)
    await enter(api, "supervisor", **mine, region=OWN_REGION)
    for reaching_beyond in ({"enterprise": FOREIGN}, {"region": CITY}, {"region": "44"}, {}):
        is_problem(await api.post("factors", mine | reaching_beyond, role="supervisor"), 422, "wrong-field")
    is_problem(await api.post("factors", mine | {"enterprise": OWN}, role="enterprise"), 403, "read-only")
    (theirs, *_) = await enter(api, **mine, enterprise=FOREIGN)
    for asked in (
        await api.get(f"factors/{theirs['id']}", role="supervisor"),
        await api.put(f"factors/{theirs['id']}", mine_only(mine), role="supervisor"),
        await api.delete(f"factors/{theirs['id']}", role="supervisor"),
    ):
        is_problem(asked, 404, "not-found")


def mine_only(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "carrier"}


async def test_the_equal_value_of_electricity_is_set_by_year_and_region(api: Api) -> None:
    await around_july(api)
    electricity = {"carrier": "electricity", "basis": "equal", "region": "44", "source": "provincial announcement"}
    for year, value in (("2025", 0.2995), ("2026", 0.2987)):
        days = {"valid_from": f"{year}-01-01", "valid_to": f"{int(year) + 1}-01-01"}
        await enter(api, **electricity, **days, value=value, edition=year)
    await api.rolled_up()
    assert [bucket["tce"] for bucket in await months(api, basis="equal")] == [0.2987, 0.2987]
    on = {"carrier": "electricity", "basis": "equal", "on": "2025-06-01"}
    found = (await api.get("factors", params=on)).json()["items"]
    assert [(one["region"], one["value"]) for one in found] == [(None, 0.28498), ("44", 0.2995)]


async def test_a_factor_that_is_taken_out_lets_the_default_hold_again(api: Api) -> None:
    await around_july(api)
    (made,) = await enter(
        api, carrier="electricity", basis="equal", enterprise=OWN, value=0.5, valid_from="2000-01-01", source="wrong"
    )
    await api.rolled_up()
    assert [bucket["tce"] for bucket in await months(api, basis="equal")] == [0.5, 0.5]
    assert (await api.delete(f"factors/{made['id']}")).status_code == 204
    await api.rolled_up()
    assert [bucket["tce"] for bucket in await months(api, basis="equal")] == [0.28498, 0.28498]
    is_problem(await api.get(f"factors/{made['id']}"), 404, "not-found")
    trail = await api.sql("SELECT action FROM audit WHERE object_id = $1 ORDER BY audit_id", made["id"])
    assert trail == [("factor.create",), ("factor.remove",), ("factor.read",)]


async def test_a_row_of_the_reference_tables_is_corrected_and_not_taken_out(api: Api) -> None:
    found = (await api.get("factors", params={"carrier": "lng", "basis": "equal"})).json()["items"]
    is_problem(await api.delete(f"factors/{found[-1]['id']}"), 422, "wrong-field")


async def test_the_co2_data_set_is_chosen_and_is_part_of_the_answer(api: Api) -> None:
    """100 t of anthracite: 232.28 t by the guide of 2015, 192.38 t by the first batch of 2013."""
    await api.sql("UPDATE meter SET carrier = 'anthracite', unit = 't' WHERE enterprise = $1", OWN)
    await counting(api, ("2026-07-01T00:00+08:00", 0.0), ("2026-07-02T00:00+08:00", 100.0))
    for dataset, tonnes in (("default", 232.28), ("first_batch_2013", 192.38)):
        for interval in ("PT1H", "P1D", "P1M", "P1Y"):
            params = {"from": "2026-07-01", "to": "2026-07-02", "interval": interval, "by": "meter"}
            answer = await api.get(f"enterprises/{OWN}/energy", params=params | {"co2_dataset": dataset})
            body = answer.json()
            assert body["co2_dataset"] == dataset
            in_all = sum(Decimal(str(bucket["tco2"])) for bucket in body["buckets"])
            assert in_all == Decimal(str(tonnes)), (interval, body)
            assert sum(Decimal(str(b["meters"][0]["tco2"])) for b in body["buckets"]) == in_all
    unknown = await api.get(f"enterprises/{OWN}/energy", params=MONTHS | {"co2_dataset": "guesses"})
    told = is_problem(unknown, 422, "co2-dataset-unknown")
    assert "first_batch_2013" in told["detail"]


async def test_a_factor_of_another_data_set_touches_no_stored_figure(api: Api) -> None:
    await around_july(api)
    await enter(
        api, kind="co2", carrier="electricity", dataset="market", value=0.6, valid_from="2026-01-01", source="x"
    )
    assert await api.sql("SELECT count(*) FROM touched") == [(0,)]
    assert [bucket["tco2"] for bucket in await months(api, co2_dataset="market")] == [0.6, 0.6]
    assert [bucket["tco2"] for bucket in await months(api)] == [0.4419, 0.4419]


async def test_a_long_list_comes_in_pages(api: Api) -> None:
    whole = (await api.get("factors")).json()["items"]
    paged, cursor = [], None
    while True:
        params = {"limit": "200"} | ({"cursor": cursor} if cursor else {})
        page = (await api.get("factors", params=params)).json()
        paged += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    assert paged == whole


def days(begins: str, ends: str | None, value: int) -> dict[str, Any]:
    to = None if ends is None else date.fromisoformat(ends)
    return {"valid_from": date.fromisoformat(begins), "valid_to": to, "value": value}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (("2026-01-01", None, 1), ("2026-01-01", None, 1), []),
        (("2026-01-01", None, 1), ("2026-01-01", "2026-07-01", 1), [("2026-07-01", None)]),
        (("2026-01-01", None, 1), ("2026-02-01", None, 1), [("2026-01-01", "2026-02-01")]),
        (
            ("2026-01-01", "2026-03-01", 1),
            ("2026-02-01", "2026-04-01", 1),
            [("2026-01-01", "2026-02-01"), ("2026-03-01", "2026-04-01")],
        ),
        (
            ("2026-01-01", "2026-02-01", 1),
            ("2026-05-01", None, 1),
            [("2026-01-01", "2026-02-01"), ("2026-05-01", None)],
        ),
        (("2026-01-01", None, 1), ("2026-01-01", None, 2), [("2026-01-01", None), ("2026-01-01", None)]),
    ],
)
def test_the_days_a_change_touches(before: Any, after: Any, expected: list[Any]) -> None:
    found = [
        (str(begin), None if end is None else str(end)) for begin, end in changed_days(days(*before), days(*after))
    ]
    assert found == expected
