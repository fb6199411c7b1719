"""Production lines, their output and their levels: entered, refused, and what they make of a month's energy."""

from __future__ import annotations

from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from app.store.benchmarks import line_standings, sure_position
from energy.benchmark import Position
from energy.interval import SiteCalendar
from tests.api.a_service import CITY, FOREIGN, FOREIGN_REGION, NOW, OWN, OWN_REGION, Api, a_meter, is_problem

CALENDAR = SiteCalendar(ZoneInfo("Asia/Shanghai"))
CLINKER = {
    "enterprise": OWN,
    "code": "K1",
    "product": "cement_clinker",
    "capacity_per_year": 1_500_000,
    "unit": "t",
    "meters": [{"code": "E001", "share": 1.0}],
}


@pytest.fixture
async def api(api: Api) -> Api:
    """No line but those of the test."""
    await api.sql("TRUNCATE line_output, line_meter, line_attribute, line")
    return api


async def a_line(api: Api, role: str = "admin", **changes: Any) -> int:
    answer = await api.post("lines", CLINKER | changes, role=role)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


async def output(api: Api, line: int, month: str, quantity: float, role: str = "admin") -> None:
    answer = await api.post(f"lines/{line}/outputs", {"month": month, "quantity": quantity}, role=role)
    assert answer.status_code == 201, answer.text


async def drawn(api: Api, *months: tuple[str, float], enterprise: str = OWN, code: str = "E001") -> None:
    """What the meter drew in each of these months, as registers at their beginnings."""
    number = (await api.sql("SELECT meter_id FROM meter WHERE enterprise = $1 AND code = $2", enterprise, code))[0][0]
    value = 0.0
    for month, amount in months:
        first = date.fromisoformat(f"{month}-01")
        after = date(first.year + first.month // 12, first.month % 12 + 1, 1)
        for day, shown in ((first, value), (after, value + amount)):
            await api.sql(
                """INSERT INTO reading VALUES (cast($1::text AS timestamptz), $2, $3, 0, now())
                   ON CONFLICT DO NOTHING""",
                f"{day}T00:00+08:00",
                number,
                shown,
            )
        value += amount
    await api.sql("INSERT INTO touched (meter_id) VALUES (ARRAY[$1::int])", number)
    await api.rolled_up()


async def the_line(api: Api, month: str = "2026-10", **params: str) -> dict[str, Any]:
    answer = await api.get(f"enterprises/{OWN}/benchmarks", params={"month": month} | params)
    assert answer.status_code == 200, answer.text
    (line,) = answer.json()["lines"]
    found: dict[str, Any] = line
    return found


async def test_a_clinker_line_in_a_month_and_in_the_running_year(api: Api) -> None:
    """October: 90 GWh × 0.1229 = 11,061 tce for 100,000 t: 110.61 kgce/t, 1.1061 of 标杆 100, 1,061 tce above it.

    September: 70 GWh = 8,603 tce for 100,000 t. The year: 19,664 tce for 200,000 t, 98.32 kgce/t, better than 标杆.
    """
    line = await a_line(api)
    await drawn(api, ("2026-09", 70_000_000), ("2026-10", 90_000_000))
    await output(api, line, "2026-09", 100_000)
    await output(api, line, "2026-10", 100_000)
    found = await the_line(api)
    assert (found["tce_equivalent"], found["output"], found["unit_energy"]) == (11061, 100_000, 110.61)
    assert (found["unit"], found["basis"], found["edition"]) == ("kgce/t", "equivalent", "2023")
    assert (found["benchmark"], found["baseline"]) == (100, 117)
    assert (found["ratio_to_benchmark"], found["ratio_to_baseline"]) == (1.1061, 0.945385)
    assert (found["position"], found["position_share"]) == ("between", 0.624118)
    assert (found["gap_tce"], found["gap_to_baseline_tce"]) == (1061, -639)
    assert (found["standard"], found["limit_level"]) == ("GB 16780-2021", 3)
    assert found["kgce_per_unit_equal"] == 256.482, "90 GWh × 0.28498 for 100,000 t"
    electricity = next(one for one in found["others"] if one["indicator"] == "electricity")
    assert (electricity["unit_energy"], electricity["limit_level"]) == (900, 0)
    year = found["year"]
    assert (year["months"], year["unit_energy"], year["position"]) == (
        ["2026-09", "2026-10"],
        98.32,
        "better-than-benchmark",
    )
    assert year["limit_level"] == 1
    assert "missing-output@2026-01" in year["reasons"]


async def test_a_part_of_a_meter_is_a_part_of_its_energy(api: Api) -> None:
    line = await a_line(api, meters=[{"code": "E001", "share": 0.25}])
    await drawn(api, ("2026-10", 40_000_000))
    await output(api, line, "2026-10", 10_000)
    assert (await the_line(api))["tce_equivalent"] == 1229


async def test_what_is_missing_is_named_and_never_zero(api: Api) -> None:
    line = await a_line(api)
    found = await the_line(api)
    assert (found["unit_energy"], found["output"], found["tce_equivalent"]) == (None, None, None)
    assert (found["position"], found["status"], found["complete"]) == (None, "missing", False)
    assert {"missing-output", "missing-energy:E001"} <= set(found["reasons"])
    await drawn(api, ("2026-10", 1000))
    found = await the_line(api)
    assert (found["tce_equivalent"], found["unit_energy"]) == (0.1229, None)
    assert "missing-output" in found["reasons"]
    await output(api, line, "2026-10", 0)
    found = await the_line(api)
    assert (found["output"], found["unit_energy"], found["kgce_per_unit_equivalent"]) == (0, None, None)
    assert "output-is-zero" in found["reasons"]


async def test_a_month_covered_by_a_day_of_readings_is_told_and_does_not_count_for_the_region(api: Api) -> None:
    line = await a_line(api)
    await output(api, line, "2026-10", 10)
    for day in ("2026-10-01", "2026-10-02"):
        await api.sql(
            """INSERT INTO reading SELECT cast($1::text AS timestamptz), meter_id, extract(day FROM $2::date) * 1000, 0,
               now() FROM meter WHERE enterprise = $3""",
            f"{day}T00:00+08:00",
            date.fromisoformat(day),
            OWN,
        )
    await api.sql("INSERT INTO touched (meter_id) SELECT array_agg(meter_id) FROM meter")
    await api.rolled_up()
    found = await the_line(api)
    assert found["complete"] is False
    assert "low-coverage:E001" in found["reasons"]
    region = (await api.get(f"regions/{CITY}/benchmarks", params={"month": "2026-10"})).json()
    (industry,) = region["industries"]
    assert (industry["unknown"], industry["share_at_benchmark"]) == (1_500_000, 0)


async def test_every_revision_of_an_output_is_kept(api: Api) -> None:
    line = await a_line(api)
    await output(api, line, "2026-10", 100)
    again = await api.post(f"lines/{line}/outputs", {"month": "2026-10", "quantity": 100})
    assert (again.status_code, again.json()["revision"]) == (200, 1)
    corrected = await api.post(
        f"lines/{line}/outputs", {"month": "2026-10", "quantity": 90.5, "note": "weighed again"}, role="enterprise"
    )
    assert (corrected.status_code, corrected.json()["revision"]) == (201, 2)
    (last,) = (await api.get(f"lines/{line}/outputs")).json()["items"]
    assert (last["month"], last["quantity"], last["unit"], last["note"]) == ("2026-10", 90.5, "t", "weighed again")
    both = (await api.get(f"lines/{line}/outputs", params={"revisions": "true"})).json()["items"]
    assert [(one["revision"], one["quantity"]) for one in both] == [(1, 100), (2, 90.5)]
    assert "the admin" in both[0]["entered_by"]
    assert "the enterprise" in both[1]["entered_by"]
    pages = (await api.get(f"lines/{line}/outputs", params={"revisions": "true", "limit": "1"})).json()
    rest = await api.get(f"lines/{line}/outputs", params={"revisions": "true", "cursor": pages["next"]})
    assert pages["items"] + rest.json()["items"] == both


async def test_shares_of_a_meter_over_lines_do_not_exceed_one(api: Api) -> None:
    await a_line(api, meters=[{"code": "E001", "share": 0.7}])
    body = CLINKER | {"code": "K2", "meters": [{"code": "E001", "share": 0.4}]}
    told = is_problem(await api.post("lines", body), 422, "shares-exceed-one")
    assert "K1 0.7" in told["detail"]
    assert "K2 0.4" in told["detail"]
    assert [one["code"] for one in (await api.get("lines")).json()["items"]] == ["K1"], "nothing of it was kept"
    second = await a_line(api, code="K2", meters=[{"code": "E001", "share": 0.3}])
    more = {name: value for name, value in body.items() if name not in ("enterprise", "code")}
    is_problem(await api.put(f"lines/{second}", more), 422, "shares-exceed-one")
    assert (await api.get(f"lines/{second}")).json()["meters"] == [{"code": "E001", "share": 0.3}]
    away = await api.put(f"lines/{second}", more | {"active": False})
    assert away.status_code == 200, "a line that stands takes nothing"


async def test_floor_area_and_heads_divide_the_same_energy_each_for_itself(api: Api) -> None:
    for code, product, unit in (("A1", "public_floor_area", "m2"), ("H1", "public_head_count", "person")):
        await a_line(api, code=code, product=product, unit=unit)


async def test_a_meter_inside_is_not_counted_beside_the_one_it_hangs_on(api: Api) -> None:
    assert (await api.post("meters", a_meter(code="E101", role="internal"))).status_code == 201
    both = [{"code": "E001"}, {"code": "E101"}]
    told = is_problem(await api.post("lines", CLINKER | {"meters": both}), 422, "counted-twice")
    assert "E101" in told["detail"]
    await a_line(api, meters=[{"code": "E101"}])
    await drawn(api, ("2026-10", 1000), code="E101")
    assert (await the_line(api))["tce_equivalent"] == 0.1229, "what reaches the line counts for it"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"product": "perpetual motion"}, "product"),
        ({"unit": "m2"}, "unit"),
        ({"unit": "bushel"}, "unit"),
        ({"meters": [{"code": "E999"}]}, "meters"),
        ({"meters": [{"code": "E001", "share": 0.5}, {"code": "E001", "share": 0.5}]}, "meters"),
        ({"product": "ceramic_tile", "unit": "m2", "condition": "glazed"}, "condition"),
        ({"enterprise": "91445302MA4UTEE01U"}, "enterprise"),
    ],
)
async def test_a_wrong_line_is_told_where_and_not_kept(api: Api, changes: dict[str, Any], field: str) -> None:
    told = is_problem(await api.post("lines", CLINKER | changes), 422, "wrong-field")
    assert told["errors"][0]["pointer"] == f"/body/{field}"
    assert await api.sql("SELECT count(*) FROM line") == [(0,)]


@pytest.mark.parametrize(
    "changes",
    [
        {"capacity_per_year": -1},
        {"capacity_per_year": 0},
        {"meters": [{"code": "E001", "share": 1.2}]},
        {"meters": [{"code": "E001", "share": 0}]},
        {"meters": [{"code": "E001", "share": -0.5}]},
        {"code": "no spaces"},
        {"colour": "grey"},
    ],
)
async def test_a_line_outside_of_all_bounds_is_refused(api: Api, changes: dict[str, Any]) -> None:
    is_problem(await api.post("lines", CLINKER | changes), 422, "invalid")


async def test_the_same_line_twice_is_refused(api: Api) -> None:
    await a_line(api)
    is_problem(await api.post("lines", CLINKER | {"meters": []}), 409, "exists-already")


async def test_output_of_a_line_that_is_not_there_or_of_a_month_that_is_to_come(api: Api) -> None:
    line = await a_line(api)
    body = {"month": "2026-10", "quantity": 1}
    is_problem(await api.post("lines/999999/outputs", body), 404, "not-found")
    is_problem(await api.post(f"lines/0{line}/outputs", body), 404, "not-found")
    told = is_problem(await api.post(f"lines/{line}/outputs", body | {"month": "2026-12"}), 422, "month-in-future")
    assert "2026-11" in told["detail"]
    for wrong in ({"quantity": -1}, {"month": "2026-13"}, {"month": "2026-10-01"}, {"month": None}, {"quantity": "a"}):
        is_problem(await api.post(f"lines/{line}/outputs", body | wrong), 422, "invalid")
    assert (await api.get(f"lines/{line}/outputs")).json()["items"] == []
    to_come = await api.get(f"enterprises/{OWN}/benchmarks", params={"month": "2026-12"})
    is_problem(to_come, 422, "month-in-future")


async def test_products_are_found_by_code_and_by_both_names(api: Api) -> None:
    for code, name in (("A", "水泥熟料"), ("B", "Cement clinker"), ("C", "CEMENT_CLINKER")):
        await a_line(api, code=code, product=name, meters=[])
    listed = (await api.get("lines", params={"product": "水泥熟料"})).json()["items"]
    assert [one["product"] for one in listed] == ["cement_clinker"] * 3


async def test_a_line_and_its_output_are_seen_by_who_sees_the_enterprise(api: Api) -> None:
    own = await a_line(api, role="supervisor")
    theirs = await a_line(api, enterprise=FOREIGN, code="F1")
    for role in ("supervisor", "enterprise"):
        assert [one["id"] for one in (await api.get("lines", role=role)).json()["items"]] == [own]
        is_problem(await api.get(f"lines/{theirs}", role=role), 404, "not-found")
        is_problem(await api.get(f"lines/{theirs}/outputs", role=role), 404, "not-found")
        body = {"month": "2026-10", "quantity": 1}
        is_problem(await api.post(f"lines/{theirs}/outputs", body, role=role), 404, "not-found")
    is_problem(await api.post("lines", CLINKER | {"code": "X"}, role="enterprise"), 403, "read-only")
    foreign = CLINKER | {"enterprise": FOREIGN, "code": "X"}
    is_problem(await api.post("lines", foreign, role="supervisor"), 422, "wrong-field")


async def test_a_condition_decides_which_level_holds(api: Api) -> None:
    """Tiles of 0.3 % absorption: 标杆 4, limit 4.0/4.9/6.5. `E <= 0.5 %` spans two limits and one benchmark."""
    tile: dict[str, Any] = {"product": "ceramic_tile", "unit": "万m2", "capacity_per_year": 800}
    await a_line(api, **tile, condition="E = 0.3 %")
    found = await the_line(api)
    assert [(one["benchmark"], one["baseline"]) for one in found["benchmark_levels"]] == [(4, 7)]
    assert [(one["level1"], one["level3"]) for one in found["limit_levels"]] == [(4, 6.5)]
    await api.sql("TRUNCATE line_output, line_meter, line_attribute, line")
    await a_line(api, **tile, condition="water absorption E <= 0.5%")
    found = await the_line(api)
    assert len(found["benchmark_levels"]) == 1
    assert found["limit_levels"] == []
    assert "limit-condition-too-coarse" in found["reasons"]
    await api.sql("TRUNCATE line_output, line_meter, line_attribute, line")
    await a_line(api, **tile)
    assert {"benchmark-condition-needed", "limit-condition-needed"} <= set((await the_line(api))["reasons"])


async def test_the_edition_in_force_is_used_and_another_may_be_asked_for(api: Api) -> None:
    await a_line(api, product="pvc_carbide_general")
    assert (await the_line(api))["benchmark_levels"][0]["edition"] == "2023"
    assert (await the_line(api, edition="2021"))["benchmark_levels"] == [], "PVC came with the edition of 2023"
    assert (await the_line(api, month="2023-06"))["benchmark_levels"] == []


async def test_a_new_edition_of_a_level_holds_from_its_day_and_may_not_overlap(api: Api) -> None:
    line = await a_line(api)
    await drawn(api, ("2026-09", 90_000_000), ("2026-10", 90_000_000))
    for month in ("2026-09", "2026-10"):
        await output(api, line, month, 100_000)
    clinker = {"kind": "benchmark", "product": "水泥熟料", "unit": "kgce/t", "source": "a notice", "edition": "2026"}
    stricter = clinker | {"benchmark": 94, "baseline": 109, "valid_from": "2026-10-01"}
    told = is_problem(await api.post("levels", stricter), 409, "level-overlap")
    old = (await api.get("levels", params={"product": "cement_clinker", "on": "2026-10-01"})).json()["items"][0]
    assert str(old["id"]) in told["detail"]
    kept = {name: old[name] for name in ("benchmark", "baseline", "unit", "edition", "valid_from", "source")}
    ended = await api.put(f"levels/{old['id']}", kept | {"valid_to": "2026-10-01"})
    assert (ended.status_code, ended.json()["valid_to"], ended.json()["origin"]) == (200, "2026-10-01", "entered")
    made = await api.post("levels", stricter)
    assert made.status_code == 201, made.text
    september, october = await the_line(api, "2026-09"), await the_line(api, "2026-10")
    assert (september["edition"], september["position"]) == ("2023", "between")
    assert (october["edition"], october["position"]) == ("2026", "worse-than-baseline")
    assert (await api.delete(f"levels/{made.json()['id']}")).status_code == 204
    assert (await api.put(f"levels/{old['id']}", kept)).status_code == 200
    await api.sql("UPDATE level SET origin = 'reference' WHERE level_id = $1", old["id"])


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"product": "nothing"}, "product"),
        ({"baseline": None}, "baseline"),
        ({"baseline": 90}, "baseline"),
        ({"level3": 120}, "level3"),
        ({"unit": "kgce"}, "unit"),
        ({"unit": "kgce/m2"}, "unit"),
        ({"valid_to": "2030-01-01"}, "valid_to"),
        ({"kind": "limit", "benchmark": None, "baseline": None}, "level3"),
    ],
)
async def test_a_wrong_level_is_told_where(api: Api, changes: dict[str, Any], field: str) -> None:
    level = {"kind": "benchmark", "product": "cement", "unit": "kgce/t", "benchmark": 100, "baseline": 117}
    body = level | {"edition": "x", "source": "x", "valid_from": "2030-01-01"} | changes
    told = is_problem(await api.post("levels", body), 422, "wrong-field")
    assert told["errors"][0]["pointer"] == f"/body/{field}"


async def test_a_level_holds_for_everybody_and_is_kept_by_who_supervises_everybody(api: Api) -> None:
    level = {"kind": "limit", "product": "cement", "unit": "kgce/t", "level3": 90, "edition": "x", "source": "x"}
    body = level | {"valid_from": "2030-01-01", "indicator": "coal"}
    is_problem(await api.post("levels", body, role="supervisor"), 403, "read-only")
    is_problem(await api.post("levels", body, role="enterprise"), 403, "read-only")
    await api.sql("UPDATE api_token SET scope = $1 WHERE role = 'supervisor'", CITY)
    assert (await api.post("levels", body, role="supervisor")).status_code == 201
    assert (await api.get("levels", params={"product": "cement"}, role="enterprise")).status_code == 200


async def test_a_region_sees_its_share_at_benchmark_and_who_is_worse_than_the_baseline(api: Api) -> None:
    """K1 (1.5 Mt) at 98.32 kgce/t is better than 标杆, F1 (0.5 Mt) at 122.9 is worse than 基准: 75 % are at 标杆."""
    good = await a_line(api)
    bad = await a_line(api, enterprise=FOREIGN, code="F1", capacity_per_year=50, unit="万t")
    unknown = await a_line(api, enterprise=FOREIGN, code="F2", product="cement", meters=[])
    await drawn(api, ("2026-10", 80_000_000))
    await drawn(api, ("2026-10", 100_000_000), enterprise=FOREIGN)
    await output(api, good, "2026-10", 100_000)
    await output(api, bad, "2026-10", 10)
    found = (await api.get(f"regions/{CITY}/benchmarks", params={"month": "2026-10"})).json()
    (cement,) = found["industries"]
    assert (cement["industry"], cement["unit"], cement["lines"]) == ("3011", "t", 2)
    assert (cement["capacity_per_year"], cement["at_benchmark"]) == (2_000_000, 1_500_000)
    assert (cement["worse_than_baseline"], cement["share_at_benchmark"]) == (500_000, 0.75)
    assert [one["id"] for one in found["worse_than_baseline"]] == [bad]
    assert unknown not in [one["id"] for one in found["worse_than_baseline"]]

    district = (await api.get(f"regions/{OWN_REGION}/benchmarks", role="supervisor")).json()
    assert [one["share_at_benchmark"] for one in district["industries"]] == [1]
    is_problem(await api.get(f"regions/{FOREIGN_REGION}/benchmarks", role="supervisor"), 404, "not-found")

    now_us = int(NOW.timestamp() * 1_000_000)
    standings = await line_standings(api.database.pool, month=date(2026, 10, 1), calendar=CALENDAR, now_us=now_us)
    sure = {one.line.line_id: sure_position(one) for one in standings}
    assert sure == {good: Position.BETTER, bad: Position.WORSE, unknown: None}, "what an alert may be raised on"


async def test_lines_held_against_levels_come_as_a_table(api: Api) -> None:
    line = await a_line(api)
    await drawn(api, ("2026-10", 90_000_000))
    await output(api, line, "2026-10", 100_000)
    answer = await api.get(f"enterprises/{OWN}/benchmarks", params={"month": "2026-10", "format": "csv"})
    header, row = answer.content.decode("utf-8-sig").splitlines()
    cells = dict(zip(header.split(","), row.split(","), strict=False))
    assert cells["code"] == "K1"
    assert "unit_energy" in header
    assert "year_unit_energy" in header


# Corrections ----------------------------------------------------------------------------------------------------------

CEMENT = {"product": "cement", "code": "C1"}


async def test_a_limit_is_corrected_for_what_is_said_of_the_line_and_the_answer_shows_how(api: Api) -> None:
    """70 % clinker: 5 points less than 75, so 94 - 5 x 1.20 = 88; 90.3315 kgce/t keep the printed limit alone."""
    line = await a_line(api, **CEMENT, attributes={"clinker_percent": 70})
    await drawn(api, ("2026-10", 73_500_000))
    await output(api, line, "2026-10", 100_000)
    found = await the_line(api)
    assert (found["unit_energy"], found["limit_level"], found["difference_to_limit"]) == (90.3315, 0, 2.3315)
    assert found["attributes"] == {"clinker_percent": 70}
    (level,) = (one for one in found["limit_levels"] if one["indicator"] == "energy")
    assert (level["level1"], level["level2"], level["level3"]) == (80, 87, 94)
    assert (level["corrected_level1"], level["corrected_level2"], level["corrected_level3"]) == (74.5, 81.25, 88)
    (made,) = level["corrections"]
    assert (made["attribute"], made["value"], made["how"]) == ("clinker_percent", 70, "add")
    assert (made["level1"], made["level2"], made["level3"]) == (-5.5, -5.75, -6)
    assert made["source"].startswith("GB 16780-2021")

    change = {name: CLINKER[name] for name in ("capacity_per_year", "unit", "meters")} | {"product": "cement"}
    refused = await api.put(f"lines/{line}", change | {"attributes_from": "2026-10-01"})
    assert "2026-10" in is_problem(refused, 409, "restates-closed-months")["detail"]
    assert (await the_line(api))["limit_level"] == 0, "nothing half-done"
    meant = change | {"attributes_from": "2026-10-01", "restates": True}
    assert (await api.put(f"lines/{line}", meant)).json()["attributes"] == {}
    found = await the_line(api)
    assert (found["limit_level"], found["difference_to_limit"]) == (3, -3.6685)
    assert found["limit_levels"][0]["corrections"] == []
    trail = (await api.get("audit", params={"object_kind": "line"})).json()["items"]
    said = next(one for one in trail if one["action"] == "line.attributes")
    assert said["before"]["attributes"] == {"clinker_percent": 70}
    assert said["after"]["closed_months"] == ["2026-10"]


async def test_what_is_said_of_a_line_holds_from_a_day_on_and_the_past_keeps_its_own(api: Api) -> None:
    """70 % clinker, 72 % from 5 August: August's limit is 94 - 5 x 1.20, September's 94 - 3 x 1.20."""
    line = await a_line(api, **CEMENT, attributes={"clinker_percent": 70})
    said = {"valid_from": "2026-08-05", "attributes": {"clinker_percent": 72}, "note": "new mill"}
    made = await api.post(f"lines/{line}/attributes", said)
    assert made.status_code == 201, made.text
    assert (await api.post(f"lines/{line}/attributes", said)).status_code == 200

    async def level3(month: str) -> float:
        (level,) = (one for one in (await the_line(api, month))["limit_levels"] if one["indicator"] == "energy")
        return float(level["corrected_level3"])

    assert [await level3(month) for month in ("2026-07", "2026-08", "2026-09")] == [88, 88, 90.4]
    # a PUT without a day changes the running month and leaves the others alone
    change = {name: CLINKER[name] for name in ("capacity_per_year", "unit", "meters")} | {"product": "cement"}
    await api.put(f"lines/{line}", change | {"attributes": {"clinker_percent": 74}})
    assert [await level3(month) for month in ("2026-10", "2026-11")] == [90.4, 92.8]
    kept = (await api.get(f"lines/{line}/attributes")).json()["items"]
    assert [(one["valid_from"], one["attributes"], one["note"]) for one in kept] == [
        ("2000-01-01", {"clinker_percent": 70}, ""),
        ("2026-08-05", {"clinker_percent": 72}, "new mill"),
        ("2026-11-01", {"clinker_percent": 74}, ""),
    ]
    assert (await api.get(f"lines/{line}")).json()["attributes"] == {"clinker_percent": 74}


async def test_another_entry_for_a_closed_month_is_meant_or_refused_and_the_old_one_is_kept(api: Api) -> None:
    line = await a_line(api, **CEMENT, attributes={"clinker_percent": 70})
    await drawn(api, ("2026-09", 1_000), ("2026-10", 1_000))
    for month in ("2026-09", "2026-10"):
        await output(api, line, month, 100)
    body = {"valid_from": "2026-09-01", "attributes": {"clinker_percent": 75}}
    told = is_problem(await api.post(f"lines/{line}/attributes", body), 409, "restates-closed-months")
    assert "2026-09, 2026-10" in told["detail"]
    assert (await api.post(f"lines/{line}/attributes", body | {"valid_from": "2026-11-01"})).status_code == 201
    told = is_problem(await api.post(f"lines/{line}/attributes", body), 409, "restates-closed-months")
    assert (await api.post(f"lines/{line}/attributes", body | {"restates": True})).status_code == 201
    assert len((await api.get(f"lines/{line}/attributes")).json()["items"]) == 3
    is_problem(await api.post(f"lines/{line}/attributes", body | {"valid_from": "2026-11-25"}), 422, "wrong-field")
    is_problem(await api.post(f"lines/{line}/attributes", body, role="enterprise"), 403, "read-only")


@pytest.mark.parametrize(
    "change", [{"meters": [{"code": "E001", "share": 0.4}]}, {"capacity_per_year": 1}, {"active": False}]
)
async def test_what_would_judge_closed_months_anew_is_meant_or_refused(api: Api, change: dict[str, Any]) -> None:
    line = await a_line(api)
    await drawn(api, ("2026-10", 90_000_000))
    await output(api, line, "2026-10", 100_000)
    before = await the_line(api)
    body = {name: CLINKER[name] for name in ("product", "capacity_per_year", "unit", "meters")}
    assert (await api.put(f"lines/{line}", body | {"name": "kiln 1"})).status_code == 200, "a name judges nothing"
    refused = is_problem(await api.put(f"lines/{line}", body | change), 409, "restates-closed-months")
    assert "2026-10" in refused["detail"]
    assert (await the_line(api))["unit_energy"] == before["unit_energy"]
    assert (await api.put(f"lines/{line}", body | change | {"restates": True})).status_code == 200
    trail = (await api.get("audit", params={"object_kind": "line"})).json()["items"][0]
    assert trail["after"]["closed_months"] == ["2026-10"]


A_CORRECTION = {
    "product": "cement",
    "edition": "GB 16780-2021",
    "attribute": "altitude_m",
    "how": "times",
    "side": "above",
    "base": 1500,
    "unit": 100,
    "most": 10,
    "constant": 1,
    "level3": 0.005,
    "valid_from": "2026-01-01",
    "source": "a notice of the province",
}


async def test_a_correction_is_entered_holds_is_ended_and_taken_out(api: Api) -> None:
    """1,700 m are two points: x (1 + 2 x 0.005). Clinker is not said, so no addition meets the factor."""
    made = await api.post("corrections", A_CORRECTION)
    assert made.status_code == 201, made.text
    number = made.json()["id"]
    assert (made.json()["origin"], made.json()["verified"]) == ("entered", True)
    await a_line(api, **CEMENT, attributes={"altitude_m": 1700})

    async def level3(month: str) -> float:
        (level,) = (one for one in (await the_line(api, month))["limit_levels"] if one["indicator"] == "energy")
        return float(level["corrected_level3"])

    assert [await level3("2026-10"), await level3("2025-12")] == [94.94, 94]
    told = is_problem(
        await api.post("corrections", A_CORRECTION | {"valid_from": "2027-01-01"}), 409, "correction-overlap"
    )
    assert str(number) in told["detail"]
    names = ("how", "side", "base", "unit", "most", "constant", "level3", "valid_from", "source")
    ended = {name: A_CORRECTION[name] for name in names} | {"valid_to": "2026-10-01"}
    assert (await api.put(f"corrections/{number}", ended)).status_code == 200
    assert [await level3("2026-09"), await level3("2026-10")] == [94.94, 94]
    assert (await api.delete(f"corrections/{number}")).status_code == 204
    assert await level3("2026-09") == 94
    trail = (await api.get("audit", params={"object_kind": "correction"})).json()["items"]
    assert [one["action"] for one in trail] == ["correction.remove", "correction.change", "correction.create"]


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"edition": "GB 1-1901"}, "wrong-field", "edition"),
        ({"product": "bread"}, "wrong-field", "product"),
        ({"level3": None}, "wrong-field", "level3"),
        ({"needs": "clinker_percent"}, "wrong-field", "needs_above"),
        ({"valid_to": "2026-01-01"}, "wrong-field", "valid_to"),
        ({"source": ""}, "invalid", "source"),
        ({"edition": None}, "invalid", "edition"),
        ({"attribute": "colour"}, "invalid", "attribute"),
        ({"unit": 0}, "invalid", "unit"),
    ],
)
async def test_a_correction_that_cannot_be_is_refused(api: Api, change: dict[str, Any], code: str, said: str) -> None:
    before = (await api.get("corrections")).json()["items"]
    told = is_problem(await api.post("corrections", A_CORRECTION | change), 422, code)
    assert said in str(told)
    assert (await api.get("corrections")).json()["items"] == before


async def test_corrections_of_the_reference_tables_are_changed_and_not_removed(api: Api) -> None:
    (clinker,) = (one for one in (await api.get("corrections")).json()["items"] if one["product"] == "cement_clinker")
    is_problem(await api.delete(f"corrections/{clinker['id']}"), 422, "wrong-field")
    is_problem(await api.post("corrections", A_CORRECTION, role="supervisor"), 403, "read-only")
    is_problem(await api.get("corrections/900003"), 404, "not-found")


async def test_corrections_are_listed_with_their_source(api: Api) -> None:
    found = (await api.get("corrections", role="enterprise")).json()["items"]
    (clinker,) = (one for one in found if one["product"] == "cement_clinker")
    assert (clinker["attribute"], clinker["needs"], clinker["needs_above"]) == ("pressure_pa", "altitude_m", 1500)
    assert (clinker["constant"], clinker["level3"], clinker["unit"]) == (1.179, -0.211, 101_325)
    table = await api.get("corrections", params={"format": "csv"})
    assert table.text.count("\n") == len(found) + 1
    assert (await api.get("lines", params={"format": "csv"})).status_code == 200
    assert (await api.get(f"enterprises/{OWN}/benchmarks", params={"format": "csv"})).status_code == 200


async def test_attributes_that_cannot_be_are_refused(api: Api) -> None:
    for said in ({"clinker_percent": 101}, {"pressure_pa": 101}, {"wet_quenching": "perhaps"}, {"colour": 1}):
        is_problem(await api.post("lines", CLINKER | {"attributes": said}), 422, "invalid")
    assert await api.sql("SELECT FROM line") == []
