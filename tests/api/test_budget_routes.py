"""Budgets over the API: plans, revisions, proposals and decisions, exclusions, positions, the list by probability."""

from __future__ import annotations

import asyncio
import csv
import io
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import openpyxl
import pytest

from tests.api.a_service import CITY, FOREIGN, OWN, Api, is_problem

BUDGET = f"enterprises/{OWN}/budgets/2026"
NEXT = f"enterprises/{OWN}/budgets/2027"
PLAN = [10000] * 12
FIGURES = """
INSERT INTO enterprise_{level} (enterprise, carrier, start, quantity, quantity_net, tce_equivalent, tce_equivalent_net,
    tce_equal, tce_equal_net, tco2, tco2_net, measured_us, estimated_us)
SELECT $1, 'electricity', date_trunc('{level}', day) AT TIME ZONE 'Asia/Shanghai', sum(q), sum(q), sum(q), sum(q),
    sum(q), sum(q), sum(2 * q), sum(2 * q), sum(86400000000)::bigint, 0
FROM unnest($2::date[], $3::numeric[]) AS days (day, q) GROUP BY 3
"""


def a_budget(**changes: Any) -> dict[str, Any]:
    return {"basis": "equivalent", "tce": 120000, "monthly": PLAN, "reason": "decision 14"} | changes


async def consumed(api: Api, key: str, days: dict[date, float]) -> None:
    """Net tonnes a local day, as the rollups would have them; a day that is not named was not measured."""
    await api.sql("UPDATE meter SET first_at = '2022-12-31T16:00Z' WHERE enterprise = $1", key)
    amounts = [Decimal(str(one)) for one in days.values()]
    for level in ("day", "month"):
        await api.sql(FIGURES.format(level=level), key, list(days), amounts)


def every_day(first: date, end: date, tonnes: float) -> dict[date, float]:
    return {first + timedelta(days=i): tonnes for i in range((end - first).days)}


def four_years(now: float = 100.0) -> dict[date, float]:
    """100 t a day in the three years before, another amount in this one, up to the day before NOW."""
    return every_day(date(2023, 1, 1), date(2026, 1, 1), 100) | every_day(date(2026, 1, 1), date(2026, 11, 24), now)


# Plans and revisions --------------------------------------------------------------------------------------------------


async def test_a_budget_is_put_and_read(api: Api) -> None:
    made = await api.put(NEXT, a_budget())
    assert made.status_code == 201, made.text
    found = (await api.get(NEXT)).json()
    assert found == made.json()
    assert (found["tce"], found["tco2"], found["unit"], found["monthly"]) == (120000, None, "tce", PLAN)
    assert (found["revision"], found["plan_source"], found["reason"]) == (1, "given", "decision 14")
    assert "the admin" in found["approved_by"]


async def test_a_revision_takes_over_and_the_old_one_is_kept(api: Api) -> None:
    await api.put(NEXT, a_budget())
    revised = await api.put(NEXT, a_budget(tce=130000, monthly=None, reason="new furnace"))
    assert revised.status_code == 200
    body = revised.json()
    assert (body["tce"], body["revision"], body["reason"]) == (130000, 2, "new furnace")
    assert [(one["revision"], one["tce"], one["reason"]) for one in body["revisions"]] == [
        (1, 120000, "decision 14"),
        (2, 130000, "new furnace"),
    ]
    trail = (await api.get("audit", params={"object_kind": "budget"})).json()["items"][0]
    assert (trail["action"], trail["before"]["amount"], trail["after"]["amount"]) == (
        "budget.revise",
        "120000",
        "130000",
    )


async def test_the_same_again_is_no_other_revision(api: Api) -> None:
    await api.put(NEXT, a_budget())
    again = await api.put(NEXT, a_budget())
    assert again.status_code == 200
    assert len(again.json()["revisions"]) == 1


async def test_two_at_once_are_two_revisions(api: Api) -> None:
    answers = await asyncio.gather(*(api.put(NEXT, a_budget(reason=f"decision {i}")) for i in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert [one["revision"] for one in (await api.get(NEXT)).json()["revisions"]] == [1, 2, 3, 4]


@pytest.mark.parametrize("change", ["amount = 1", "reason = 'x'", "monthly[1] = 5", "state = 'proposed'"])
async def test_what_was_decided_cannot_be_changed_even_in_the_database(api: Api, change: str) -> None:
    with pytest.raises(Exception, match="kept for ever"):
        await api.sql(f"UPDATE budget_revision SET {change}")
    with pytest.raises(Exception, match="kept for ever"):
        await api.sql("DELETE FROM budget_revision")


async def test_a_budget_of_carbon_stands_beside_that_of_coal(api: Api) -> None:
    await api.put(NEXT, a_budget())
    await api.put(NEXT, {"basis": "co2", "tco2": 300000, "reason": "decision 15"})
    coal, carbon = (await api.get(NEXT)).json(), (await api.get(NEXT, params={"basis": "co2"})).json()
    assert (coal["basis"], coal["tce"], coal["tco2"]) == ("equivalent", 120000, None)
    assert (carbon["basis"], carbon["unit"], carbon["tce"], carbon["tco2"]) == ("co2", "tCO2", None, 300000)


async def test_without_months_and_history_the_plan_follows_the_calendar(api: Api) -> None:
    body = (await api.put(NEXT, a_budget(tce=365, monthly=None))).json()
    assert body["plan_source"] == "even"
    assert body["monthly"] == [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]


async def test_without_months_the_plan_follows_the_own_years(api: Api) -> None:
    days = every_day(date(2025, 1, 1), date(2026, 1, 1), 100)
    await consumed(api, OWN, {day: 200.0 if day.month == 7 else tonnes for day, tonnes in days.items()})
    body = (await api.put(BUDGET, a_budget(tce=39600, monthly=None))).json()
    assert body["plan_source"] == "history"
    assert body["monthly"][6] == pytest.approx(2 * body["monthly"][7], abs=0.02)
    assert sum(map(Decimal, map(str, body["monthly"]))) == 39600


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"tce": 0}, "budget-not-positive", "tce"),
        ({"tce": -5}, "budget-not-positive", "tce"),
        ({"tce": 1e13}, "wrong-budget", "tce"),
        ({"tce": None}, "wrong-budget", "tce"),
        ({"tco2": 5}, "wrong-budget", "tce"),
        ({"monthly": [9000] * 13}, "months-not-twelve", "monthly"),
        ({"monthly": []}, "months-not-twelve", "monthly"),
        ({"monthly": [9999] * 12}, "months-do-not-add-up", "monthly"),
        ({"monthly": [120001, -1] + [0] * 10}, "wrong-budget", "monthly"),
    ],
)
async def test_what_cannot_be_a_budget_is_refused_and_leaves_nothing(
    api: Api, change: dict[str, Any], code: str, field: str
) -> None:
    body = is_problem(await api.put(NEXT, a_budget(**change)), 422, code)
    assert body["errors"][0]["pointer"] == f"/body/{field}"
    is_problem(await api.get(NEXT), 404, "not-found")


@pytest.mark.parametrize(
    "change", [{"basis": "coal"}, {"reason": ""}, {"monthly": ["x"]}, {"months": PLAN}, {"tce": []}]
)
async def test_a_body_of_another_shape_is_refused(api: Api, change: dict[str, Any]) -> None:
    is_problem(await api.put(NEXT, a_budget(**change)), 422, "invalid")


@pytest.mark.parametrize("year", ["1999", "2101", "26", "next"])
async def test_a_year_that_cannot_be_is_refused(api: Api, year: str) -> None:
    is_problem(await api.put(f"enterprises/{OWN}/budgets/{year}", a_budget()), 422, "wrong-budget")
    is_problem(await api.get(f"enterprises/{OWN}/budgets/{year}"), 404, "not-found")


async def test_an_enterprise_reads_its_budget_and_does_not_set_it(api: Api) -> None:
    assert (await api.get(BUDGET, role="enterprise")).status_code == 200
    is_problem(await api.put(BUDGET, a_budget(), role="enterprise"), 403, "read-only")
    assert (await api.put(BUDGET, a_budget(), role="supervisor")).status_code == 200
    is_problem(await api.put(f"enterprises/{FOREIGN}/budgets/2026", a_budget(), role="supervisor"), 404, "not-found")


# Proposals ------------------------------------------------------------------------------------------------------------


async def test_a_proposal_counts_when_it_is_approved(api: Api) -> None:
    await api.put(BUDGET, a_budget(approved=False))
    assert (await api.get(BUDGET)).json()["revision"] == 1
    decision = {"approve": True, "note": "minutes of 3 March"}
    is_problem(await api.post(f"{BUDGET}/revisions/2/decision", decision, role="enterprise"), 403, "read-only")
    body = (await api.post(f"{BUDGET}/revisions/2/decision", decision, role="supervisor")).json()
    assert (body["revision"], body["tce"]) == (2, 120000)
    assert body["revisions"][1]["decision_note"] == "minutes of 3 March"
    again = await api.post(f"{BUDGET}/revisions/2/decision", decision)
    is_problem(again, 409, "already-decided")


async def test_a_refused_proposal_never_counts(api: Api) -> None:
    await api.put(NEXT, a_budget(approved=False))
    assert (await api.get(NEXT)).json()["tce"] is None
    is_problem(await api.get(f"{NEXT}/position"), 404, "not-found")
    await api.post(f"{NEXT}/revisions/1/decision", {"approve": False})
    body = (await api.get(NEXT)).json()
    assert (body["revision"], body["revisions"][0]["state"]) == (None, "refused")


async def test_a_proposal_older_than_what_is_in_force_is_too_late(api: Api) -> None:
    await api.put(BUDGET, a_budget(approved=False))
    await api.put(BUDGET, a_budget(reason="decision 15"))
    is_problem(await api.post(f"{BUDGET}/revisions/2/decision", {"approve": True}), 409, "budget-overtaken")
    is_problem(await api.post(f"{BUDGET}/revisions/9/decision", {"approve": True}), 404, "not-found")


# Positions ------------------------------------------------------------------------------------------------------------


async def position(api: Api, **params: str) -> dict[str, Any]:
    answer = await api.get(f"{BUDGET}/position", params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_steady_year_ends_where_it_is_heading(api: Api) -> None:
    await consumed(api, OWN, four_years())
    await api.put(BUDGET, a_budget(tce=40000, monthly=None))
    found = await position(api)
    assert (found["spent"], found["unit"], found["months"], found["completeness"]) == (
        32700,
        "tce",
        10,
        pytest.approx(1, abs=0.002),
    )
    assert found["projection"]["p50"] == pytest.approx(36500, rel=0.002)
    assert found["projection"]["p10"] < found["projection"]["p50"] < found["projection"]["p90"] < 40000
    assert (found["tier"], found["expected_crossing"]) == ("green", None)
    assert found["overrun_probability"] < 0.01
    assert found["plan_to_date"] == pytest.approx(40000 * 327.375 / 365, rel=0.001)
    assert found["notes"] == []


async def test_a_year_that_will_be_too_much_is_red_and_says_when(api: Api) -> None:
    await consumed(api, OWN, four_years(now=110))
    await api.put(BUDGET, a_budget(tce=36500, monthly=None))
    found = await position(api, as_of="2026-09-01")
    assert found["spent"] == 110 * 243
    assert found["overrun_probability"] > 0.85
    assert found["tier"] in ("orange", "red")
    # 36,500 t at 110 t a day are gone on the 332nd day
    assert abs(date.fromisoformat(found["expected_crossing"]) - date(2026, 11, 28)) <= timedelta(days=4)
    assert found["crossing"]["earliest"] <= found["expected_crossing"] <= found["crossing"]["latest"]


async def test_more_than_the_budget_is_red_whatever_is_to_come(api: Api) -> None:
    await consumed(api, OWN, four_years())
    await api.put(BUDGET, a_budget(tce=32699, monthly=None))
    found = await position(api)
    assert (found["tier"], found["overrun_probability"], found["expected_crossing"]) == ("red", 1, "2026-11-24")


@pytest.mark.parametrize("hole", [7, 14, 30])
async def test_a_hole_in_the_data_does_not_hide_an_overrun(api: Api, hole: int) -> None:
    days = four_years(now=106)
    for day in every_day(date(2026, 6, 10), date(2026, 6, 10) + timedelta(days=hole), 0):
        del days[day]
    await consumed(api, OWN, days)
    await api.put(BUDGET, a_budget(tce=37500, monthly=None))
    found = await position(api)
    assert found["spent"] == 106 * (327 - hole)
    assert found["projection"]["p50"] == pytest.approx(106 * 365, rel=0.005)
    assert found["overrun_probability"] > 0.98
    assert found["completeness"] == pytest.approx(1 - hole / 327, abs=0.005)
    assert found["notes"] == ["missing-days-added"]
    assert found["unmeasured_days"] == pytest.approx(hole, abs=0.5)
    assert found["assumed"] == pytest.approx(106 * found["unmeasured_days"], rel=0.03)
    assert found["measured_from"] == "2026-01-01"


async def test_a_plant_connected_in_the_middle_of_the_year_says_how_much_of_its_end_is_assumed(api: Api) -> None:
    await consumed(api, OWN, every_day(date(2026, 6, 20), date(2026, 11, 24), 100))
    await api.put(BUDGET, a_budget(tce=36500, monthly=None))
    found = await position(api)
    assert (found["spent"], found["measured_from"]) == (15700, "2026-06-20")
    assert found["unmeasured_days"] == pytest.approx(170, abs=0.5)
    assert found["assumed"] == pytest.approx(100 * found["unmeasured_days"], rel=0.05)
    to_come = found["projection"]["p50"] - found["spent"] - found["assumed"]
    assert to_come == pytest.approx(38 * 100, rel=0.05)


async def test_a_year_without_history_stands_on_its_plan(api: Api) -> None:
    await consumed(api, OWN, every_day(date(2026, 1, 1), date(2026, 11, 24), 100))
    found = await position(api)
    assert found["notes"] == ["no-history"]
    assert found["projection"]["p10"] < found["projection"]["p50"] < found["projection"]["p90"]


async def test_nothing_measured_is_null_and_not_zero(api: Api) -> None:
    found = await position(api)
    assert (found["spent"], found["completeness"]) == (None, 0)
    assert found["projection"]["p50"] == pytest.approx(1200)


async def test_a_closed_year_is_certain(api: Api) -> None:
    await consumed(api, OWN, four_years())
    await api.put(f"enterprises/{OWN}/budgets/2025", a_budget(tce=36500, monthly=None))
    answer = (await api.get(f"enterprises/{OWN}/budgets/2025/position")).json()
    assert (answer["spent"], answer["overrun_probability"], answer["tier"]) == (36500, 0, "green")
    assert answer["projection"] == {"p10": 36500, "p50": 36500, "p90": 36500}


async def test_a_budget_of_carbon_is_held_against_carbon(api: Api) -> None:
    await consumed(api, OWN, four_years())
    await api.put(BUDGET, {"basis": "co2", "tco2": 80000, "reason": "x"})
    found = await position(api, basis="co2")
    assert (found["unit"], found["spent"]) == ("tCO2", 65400)


# Exclusions -----------------------------------------------------------------------------------------------------------


async def test_what_is_excluded_is_taken_off_and_can_be_taken_back(api: Api) -> None:
    await consumed(api, OWN, four_years())
    entry = {"month": "2026-03", "kind": "listed_project", "amount": 500, "evidence": "letter 2026/31"}
    made = await api.post(f"{BUDGET}/exclusions", entry, role="supervisor")
    assert made.status_code == 201, made.text
    found = await position(api)
    assert (found["spent"], found["excluded"]) == (32200, 500)
    number = made.json()["exclusion_id"]
    await api.post(f"{BUDGET}/exclusions/{number}/withdraw", {"reason": "entered twice"})
    assert (await position(api))["spent"] == 32700
    kept = (await api.get(f"{BUDGET}/exclusions", params={"basis": "equivalent"})).json()["items"]
    assert [(one["evidence"], one["withdrawn_why"]) for one in kept] == [("letter 2026/31", "entered twice")]
    is_problem(await api.post(f"{BUDGET}/exclusions/{number}/withdraw", {"reason": "x"}), 409, "already-decided")


@pytest.mark.parametrize(
    ("change", "code"),
    [({"month": "2025-03"}, "wrong-budget"), ({"evidence": ""}, "invalid"), ({"amount": 0}, "invalid")],
)
async def test_an_exclusion_needs_a_month_of_the_year_an_amount_and_evidence(
    api: Api, change: dict[str, Any], code: str
) -> None:
    entry = {"month": "2026-03", "kind": "feedstock", "amount": 5, "evidence": "x"} | change
    is_problem(await api.post(f"{BUDGET}/exclusions", entry), 422, code)
    is_problem(await api.post(f"{BUDGET}/exclusions", entry, role="enterprise"), 403, "read-only")


# Lists ----------------------------------------------------------------------------------------------------------------


async def test_the_list_of_enterprises_begins_with_the_likeliest_to_exceed_its_budget(api: Api) -> None:
    for key, now in ((OWN, 100), (FOREIGN, 110)):
        await consumed(api, key, four_years(now))
        await api.put(f"enterprises/{key}/budgets/2026", a_budget(tce=37500, monthly=None))
    listed = (await api.get("enterprises", params={"sort": "-overrun_probability"})).json()["items"]
    assert [one["id"] for one in listed] == [FOREIGN, OWN]
    assert listed[0]["overrun_probability"] > 0.98 > listed[1]["overrun_probability"]
    for colour, keys in (("red", [FOREIGN]), ("green", [OWN]), ("yellow", [])):
        for sort in ("-overrun_probability", "id", "name", "-tce"):
            found = (await api.get("enterprises", params={"tier": colour, "sort": sort})).json()["items"]
            assert [one["id"] for one in found] == keys


async def test_an_enterprise_without_a_budget_stays_in_the_list(api: Api) -> None:
    await api.put(f"enterprises/{FOREIGN}/budgets/2026", a_budget())
    shown = []
    params: dict[str, Any] = {"sort": "-overrun_probability", "limit": 1}
    while True:
        answer = (await api.get("enterprises", params=params)).json()
        shown += [(one["id"], one["tier"]) for one in answer["items"]]
        if answer["next"] is None:
            break
        params["cursor"] = answer["next"]
    assert shown == [(FOREIGN, "green"), (OWN, None)]


async def test_a_list_of_budgets_is_a_file_for_the_import(api: Api) -> None:
    await api.put(BUDGET, a_budget())
    answer = await api.get("budgets", params={"year": 2026, "region": CITY, "format": "csv"})
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert [(row["enterprise"], row["tce"], row["m12"]) for row in rows] == [
        (OWN, "120000", "10000"),
        (FOREIGN, "1200", "100"),
    ]
    book = openpyxl.load_workbook(io.BytesIO((await api.get(BUDGET, params={"format": "xlsx"})).content))
    assert [cell.value for cell in book.worksheets[0][2]][:5] == [OWN, 2026, "equivalent", 120000, None]
