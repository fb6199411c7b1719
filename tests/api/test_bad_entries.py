"""Entries that cannot be: each has its code, and none leaves anything behind, whoever sends it and however often."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.api.a_service import FOREIGN, OWN, Api, a_meter, is_problem

METER = f"meters/{OWN}/E001"
LINE = {"enterprise": OWN, "code": "K1", "product": "cement_clinker", "capacity_per_year": 1, "unit": "t", "meters": []}
LEVEL = {
    "kind": "benchmark",
    "product": "cement_clinker",
    "benchmark": 90,
    "baseline": 100,
    "unit": "kgce/t",
    "edition": "x",
    "valid_from": "2030-01-01",
    "source": "x",
}
FACTOR = {"carrier": "raw_coal", "enterprise": OWN, "value": 0.6, "valid_from": "2026-01-01", "source": "laboratory"}
BUDGET = {"basis": "equivalent", "tce": 1200, "monthly": None, "reason": "annual decision"}
EXCHANGE = {"at": "2026-11-01T00:00:00+08:00", "old_final": 5, "new_initial": 0}
DELETION = {"from": "2026-10-01T00:00:00+08:00", "to": "2026-10-02T00:00:00+08:00", "reason": "a test of the shop"}
READING = "2026-11-01T00:00:00+08:00"

Entry = tuple[str, str, dict[str, Any], int, str]
ENTRIES: dict[str, Entry] = {
    "output of a line that is not there": (
        "POST",
        "lines/987654/outputs",
        {"month": "2026-10", "quantity": 1},
        404,
        "not-found",
    ),
    "output of a line whose number is a word": (
        "POST",
        "lines/K1/outputs",
        {"month": "2026-10", "quantity": 1},
        404,
        "not-found",
    ),
    "output below nothing": ("POST", "lines/900001/outputs", {"month": "2026-10", "quantity": -1}, 422, "invalid"),
    "output that is no number": (
        "POST",
        "lines/900001/outputs",
        {"month": "2026-10", "quantity": "NaN"},
        422,
        "invalid",
    ),
    "output of a month to come": (
        "POST",
        "lines/900001/outputs",
        {"month": "2026-12", "quantity": 1},
        422,
        "month-in-future",
    ),
    "output of a thirteenth month": (
        "POST",
        "lines/900001/outputs",
        {"month": "2026-13", "quantity": 1},
        422,
        "invalid",
    ),
    "a line of a product nobody knows": ("POST", "lines", LINE | {"product": "dreams"}, 422, "wrong-field"),
    "a line of another's meter": ("POST", "lines", LINE | {"meters": [{"code": "E777"}]}, 422, "wrong-field"),
    "a line of an enterprise that is not there": (
        "POST",
        "lines",
        LINE | {"enterprise": "91445302MA4UTEE01U"},
        422,
        "wrong-field",
    ),
    "more than all of a meter": ("POST", "lines", LINE | {"meters": [{"code": "E001", "share": 1.1}]}, 422, "invalid"),
    "a negative share": ("POST", "lines", LINE | {"meters": [{"code": "E001", "share": -0.1}]}, 422, "invalid"),
    "a meter twice at one line": (
        "POST",
        "lines",
        LINE | {"meters": [{"code": "E001"}, {"code": "E001"}]},
        422,
        "wrong-field",
    ),
    "a line counted in pieces": ("POST", "lines", LINE | {"unit": "pieces"}, 422, "wrong-field"),
    "a budget of thirteen months": (
        "PUT",
        f"enterprises/{OWN}/budgets/2027",
        BUDGET | {"monthly": [100] * 13},
        422,
        "months-not-twelve",
    ),
    "months that are not the year": (
        "PUT",
        f"enterprises/{OWN}/budgets/2027",
        BUDGET | {"monthly": [1] * 12},
        422,
        "months-do-not-add-up",
    ),
    "a budget of nothing": ("PUT", f"enterprises/{OWN}/budgets/2027", BUDGET | {"tce": 0}, 422, "budget-not-positive"),
    "a budget on two bases": ("PUT", f"enterprises/{OWN}/budgets/2027", BUDGET | {"tco2": 5}, 422, "wrong-budget"),
    "a factor of a carrier nobody knows": ("POST", "factors", FACTOR | {"carrier": "hope"}, 422, "wrong-field"),
    "a factor that ends before it begins": ("POST", "factors", FACTOR | {"valid_to": "2025-01-01"}, 422, "wrong-field"),
    "a factor that ends when it begins": ("POST", "factors", FACTOR | {"valid_to": "2026-01-01"}, 422, "wrong-field"),
    "a negative factor": ("POST", "factors", FACTOR | {"value": -1}, 422, "invalid"),
    "a factor without a source": ("POST", "factors", FACTOR | {"source": ""}, 422, "invalid"),
    "a level that ends before it begins": ("POST", "levels", LEVEL | {"valid_to": "2029-01-01"}, 422, "wrong-field"),
    "a level of a product nobody knows": ("POST", "levels", LEVEL | {"product": "dreams"}, 422, "wrong-field"),
    "a baseline better than its benchmark": ("POST", "levels", LEVEL | {"baseline": 80}, 422, "wrong-field"),
    "a legal limit with a benchmark": ("POST", "levels", LEVEL | {"kind": "limit"}, 422, "wrong-field"),
    "a level per piece": ("POST", "levels", LEVEL | {"unit": "kgce/piece"}, 422, "wrong-field"),
    "a level that is not there": (
        "PUT",
        "levels/987654",
        {k: v for k, v in LEVEL.items() if k not in ("kind", "product")},
        404,
        "not-found",
    ),
    "a negative multiplier": ("PATCH", METER, {"multiplier": -2}, 422, "invalid"),
    "a multiplier of nothing": ("PATCH", METER, {"multiplier": 0}, 422, "invalid"),
    "a multiplier from a time without zone": (
        "PATCH",
        METER,
        {"multiplier": 2, "multiplier_from": "2026-11-01T00:00:00"},
        422,
        "invalid",
    ),
    "an exchange of a meter that is not there": ("POST", f"meters/{OWN}/E777/exchanges", EXCHANGE, 404, "not-found"),
    "an exchange yet to come": (
        "POST",
        f"{METER}/exchanges",
        EXCHANGE | {"at": "2027-01-01T00:00:00+08:00"},
        422,
        "exchange-in-future",
    ),
    "an exchange before the last reading": (
        "POST",
        f"{METER}/exchanges",
        EXCHANGE | {"at": "2026-10-31T23:30:00+08:00", "old_final": 95},
        409,
        "exchange-before-last-reading",
    ),
    "an exchange with less than the register showed": (
        "POST",
        f"{METER}/exchanges",
        EXCHANGE | {"at": "2026-11-01T03:00:00+08:00"},
        422,
        "exchange-below-register",
    ),
    "a decision without a reading": (
        "POST",
        f"{METER}/decisions",
        {"ts": "2026-11-01T09:00:00+08:00", "says": "real", "reason": "seen"},
        404,
        "not-found",
    ),
    "a decision on a reading that stands": (
        "POST",
        f"{METER}/decisions",
        {"ts": READING, "says": "real", "reason": "seen"},
        409,
        "reading-not-held",
    ),
    "a deletion without a reason": ("POST", f"{METER}/deletions", DELETION | {"reason": ""}, 422, "invalid"),
    "a deletion with the ghost of a reason": (
        "POST",
        f"{METER}/deletions",
        {k: v for k, v in DELETION.items() if k != "reason"},
        422,
        "invalid",
    ),
    "a deletion of nothing": (
        "POST",
        f"{METER}/deletions",
        DELETION | {"to": "2026-10-01T00:00:01+08:00", "from": "2026-10-01T00:00:00.5+08:00"},
        404,
        "not-found",
    ),
    "a deletion that ends before it begins": (
        "POST",
        f"{METER}/deletions",
        DELETION | {"to": "2026-09-01T00:00:00+08:00"},
        422,
        "wrong-field",
    ),
    "a meter that rolls over below nothing": ("POST", "meters", a_meter(code="E002", rolls_over_at=-5), 422, "invalid"),
    "a meter in a unit of something else": ("POST", "meters", a_meter(code="E002", unit="t"), 422, "unit-mismatch"),
}
WHOLE = """
SELECT to_jsonb(array_agg(t)) FROM (SELECT * FROM {} ORDER BY 1) AS t
"""
TABLES = (
    *("line", "line_meter", "line_output", "level", "coal_factor", "co2_factor", "budget_revision", "meter"),
    *("meter_exchange", "meter_multiplier", "reading_decision", "reading_deletion", "deleted_reading", "reading"),
    *("touched", "audit", "held_reading"),
)


async def ledger(api: Api) -> dict[str, Any]:
    return {table: (await api.sql(WHOLE.format(table)))[0][0] for table in TABLES}


@pytest.fixture
async def api(api: Api) -> Api:
    """With three readings of E001 that stand and one that fell, worked off."""
    ((number,),) = await api.sql("SELECT meter_id FROM meter WHERE enterprise = $1", OWN)
    for at, value in (("2026-10-31T23:00+08:00", 90), (READING, 100), ("2026-11-01T01:00+08:00", 110)):
        await api.sql(
            "INSERT INTO reading VALUES (cast($1::text AS timestamptz), $2, $3, 0, now())", at, number, float(value)
        )
    await api.sql("INSERT INTO touched (meter_id) VALUES ($1)", [number])
    await api.rolled_up()
    return api


async def test_what_cannot_be_is_refused_with_its_code_and_leaves_nothing(api: Api) -> None:
    before = await ledger(api)
    wrong = []
    for name, (method, path, body, status, code) in ENTRIES.items():
        answer = await api.ask(method, f"/api/v1/{path}", json=body)
        if (answer.status_code, answer.json().get("code")) != (status, code):
            wrong.append(f"{name}: {answer.status_code} {answer.text}")
    assert not wrong, "\n".join(wrong)
    after = await ledger(api)
    # A look at what one may not see is kept in the trail; nothing else is.
    seen = {"audit"} if after["audit"] != before["audit"] else set()
    assert {table for table in TABLES if before[table] != after[table]} <= seen
    actions = await api.sql("SELECT DISTINCT action FROM audit WHERE action LIKE '%.create' OR action LIKE '%.enter'")
    assert all("line" not in action and "output" not in action for (action,) in actions)


async def test_of_many_lines_at_once_no_more_than_all_of_a_meter_is_given(api: Api) -> None:
    await api.sql("TRUNCATE line_output, line_meter, line_attribute, line")
    bodies = [LINE | {"code": f"K{i}", "meters": [{"code": "E001", "share": 0.4}]} for i in range(4)]
    answers = await asyncio.gather(*(api.post("lines", body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [201, 201, 422, 422]
    assert {answer.json()["code"] for answer in answers if answer.status_code == 422} == {"shares-exceed-one"}
    assert len(await api.sql("SELECT FROM line")) == len(await api.sql("SELECT FROM line_meter")) == 2


async def test_of_many_exchanges_at_one_instant_one_is_recorded(api: Api) -> None:
    body = EXCHANGE | {"at": "2026-11-01T02:00:00+08:00", "old_final": 115, "multiplier": 2}
    answers = await asyncio.gather(*(api.post(f"{METER}/exchanges", body) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {
        "exchange-before-last-exchange"
    }
    assert len(await api.sql("SELECT FROM meter_exchange")) == len(await api.sql("SELECT FROM meter_multiplier")) == 1


async def test_of_overlapping_factors_entered_at_once_one_is_kept(api: Api) -> None:
    bodies = [FACTOR | {"value": 0.5 + i / 10} for i in range(3)]
    answers = await asyncio.gather(*(api.post("factors", body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"factor-overlap"}
    kept = await api.sql("SELECT basis FROM coal_factor WHERE enterprise = $1 AND carrier = 'raw_coal'", OWN)
    assert sorted(basis for (basis,) in kept) == ["equal", "equivalent"], "both accounts, or neither"


async def test_outputs_at_once_are_revisions_one_after_the_other(api: Api) -> None:
    bodies = [{"month": "2026-10", "quantity": 100 + i} for i in range(4)]
    answers = await asyncio.gather(*(api.post("lines/900001/outputs", body) for body in bodies))
    assert sorted(answer.json()["revision"] for answer in answers) == [1, 2, 3, 4]


async def test_nothing_is_entered_for_another_region(api: Api) -> None:
    before = await ledger(api)
    for path, body in (
        (f"meters/{FOREIGN}/E001/exchanges", EXCHANGE),
        (f"meters/{FOREIGN}/E001/decisions", {"ts": READING, "says": "real", "reason": "seen"}),
        ("lines/900002/outputs", {"month": "2026-10", "quantity": 1}),
    ):
        is_problem(await api.post(path, body, role="supervisor"), 404, "not-found")
    unseen = is_problem(await api.post("lines", LINE | {"enterprise": FOREIGN}, role="supervisor"), 422, "wrong-field")
    assert "there is no enterprise" in unseen["detail"]
    after = await ledger(api)
    assert {table for table in TABLES if before[table] != after[table]} == {"audit"}
