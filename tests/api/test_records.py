"""What people say about a meter, through the API: exchanges, decisions, dated multipliers, deletions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.api.a_service import OWN, Api, is_problem

METER = f"meters/{OWN}/E001"
START = datetime.fromisoformat("2026-11-01T00:00:00+08:00")


def hour(count: float) -> str:
    return (START + timedelta(hours=count)).isoformat()


async def readings(api: Api, values: Sequence[float], *, first: float = 0, done: bool = True) -> None:
    """Readings an hour apart, and the figures that follow."""
    (row,) = await api.sql("SELECT meter_id FROM meter WHERE enterprise = $1", OWN)
    times = [START + timedelta(hours=first + i) for i in range(len(values))]
    await api.database.pool.executemany(
        "INSERT INTO reading (ts, meter_id, value, quality, received_at) VALUES ($1, $2, $3, 0, now())",
        [(time, row[0], value) for time, value in zip(times, values, strict=True)],
    )
    await api.sql("INSERT INTO touched (meter_id) VALUES ($1)", [row[0]])
    if done:
        await api.rolled_up()


async def drawn(api: Api) -> Decimal:
    await api.rolled_up()
    return Decimal(
        (await api.sql("SELECT coalesce(sum(quantity), 0) FROM enterprise_year WHERE enterprise = $1", OWN))[0][0]
    )


async def held(api: Api, **asked: Any) -> list[tuple[str, float]]:
    await api.rolled_up()
    answer = await api.get(f"{METER}/held", params=asked)
    return [(one["reason"], one["value"]) for one in answer.json()["items"]]


def exchanged(**changes: Any) -> dict[str, Any]:
    return {"at": hour(2.5), "old_final": 84_215, "new_initial": 10, "serial": "B-17", "multiplier": None} | changes


async def test_without_a_record_a_new_register_is_held_and_with_one_both_add_up(api: Api) -> None:
    """84,200 → 84,210, then a register that shows 12: (84,215 − 84,200) + (32 − 10) = 37."""
    await readings(api, [84_200, 84_205, 84_210, 12, 22, 32])
    assert await held(api, waiting="true") == [("register-fell", 32), ("register-fell", 22), ("register-fell", 12)]
    assert await drawn(api) == 10

    made = await api.post(f"{METER}/exchanges", exchanged(), role="supervisor")

    assert made.status_code == 201, made.text
    assert await held(api) == []
    assert await drawn(api) == 37
    (listed,) = (await api.get(f"{METER}/exchanges")).json()["items"]
    assert (listed["serial"], listed["old_final"], listed["new_initial"]) == ("B-17", 84_215, 10)
    assert listed["recorded_by"].endswith("the supervisor")
    trail = (await api.get("audit", params={"object_kind": "meter"})).json()["items"]
    assert trail[0]["action"] == "exchange.record"


async def test_an_exchange_before_the_last_reading_is_refused_with_its_code(api: Api) -> None:
    await readings(api, [100, 110, 120, 130])
    answer = await api.post(f"{METER}/exchanges", exchanged(at=hour(1.5), old_final=115, new_initial=0))
    is_problem(answer, 409, "exchange-before-last-reading")
    assert (await api.get(f"{METER}/exchanges")).json()["items"] == []
    assert await drawn(api) == 30
    # On purpose it may be: 110 → 115 and then, from the new one's 0, nothing says it ever showed 120.
    again = exchanged(at=hour(1.5), old_final=115, new_initial=0, restates=True, reason="found in the paper log")
    assert (await api.post(f"{METER}/exchanges", again)).status_code == 201
    assert await drawn(api) == 15 + 130


async def test_wrong_exchanges_each_have_their_code(api: Api) -> None:
    await readings(api, [100, 110, 12])
    for changes, status, code in (
        ({"at": "2027-01-01T00:00:00+08:00"}, 422, "exchange-in-future"),
        ({"at": hour(1.5), "old_final": 109, "new_initial": 0}, 422, "exchange-below-register"),
        ({"at": "2026-11-01T01:30:00"}, 422, "invalid"),
        ({"old_final": -1}, 422, "invalid"),
        ({"multiplier": 0}, 422, "invalid"),
    ):
        is_problem(await api.post(f"{METER}/exchanges", exchanged(**changes)), status, code)
    good = exchanged(at=hour(1.5), old_final=112, new_initial=0)
    assert (await api.post(f"{METER}/exchanges", good)).status_code == 201
    is_problem(await api.post(f"{METER}/exchanges", good), 409, "exchange-before-last-exchange")
    is_problem(await api.post(f"{METER}/exchanges", good, role="enterprise"), 403, "read-only")


async def test_a_revoked_exchange_leaves_everything_as_it_was_and_stays_on_record(api: Api) -> None:
    await readings(api, [100, 110, 12, 20])
    made = await api.post(f"{METER}/exchanges", exchanged(at=hour(1.5), old_final=112, new_initial=10, multiplier=2))
    assert await drawn(api) == 12 + 10 * 2
    path = f"{METER}/exchanges/{made.json()['exchange_id']}/revoke"
    assert (await api.post(path, {"reason": "another meter's"})).status_code == 200
    assert await drawn(api) == 10
    is_problem(await api.post(path, {"reason": "another meter's"}), 409, "revoked-already")
    (listed,) = (await api.get(f"{METER}/exchanges")).json()["items"]
    assert listed["revoked_because"] == "another meter's"
    assert (await api.get(f"{METER}/multipliers")).json()["items"][0]["revoked_at"] is not None


async def test_a_multiplier_from_a_date_leaves_the_past_alone(api: Api) -> None:
    """10 an hour; from half past two on times 80: 25 × 1 + 15 × 80."""
    await readings(api, [0, 10, 20, 30, 40])
    answer = await api.patch(METER, {"multiplier": 80, "multiplier_from": hour(2.5)})
    assert answer.status_code == 200, answer.text
    assert await drawn(api) == 25 + 15 * 80
    is_problem(await api.patch(METER, {"multiplier": 60}), 422, "wrong-field")
    is_problem(await api.patch(METER, {"multiplier_from": hour(3)}), 422, "wrong-field")
    (dated,) = (await api.get(f"{METER}/multipliers")).json()["items"]
    assert dated["multiplier"] == 80
    undone = await api.post(f"{METER}/multipliers/{dated['multiplier_id']}/revoke", {"reason": "not yet built in"})
    assert undone.status_code == 200, undone.text
    assert await drawn(api) == 40


async def test_a_reset_counts_only_after_a_person_says_what_it_was(api: Api) -> None:
    """500 → 7: nobody knows what was lost. Said to be a reset from 0, 7 were drawn since, and then 8."""
    await readings(api, [480, 500, 7, 15])
    assert await drawn(api) == 20
    decision = {"ts": hour(2), "says": "reset", "reason": "the device lost its memory in the outage"}
    made = await api.post(f"{METER}/decisions", decision, role="supervisor")
    assert made.status_code == 201, made.text
    assert await drawn(api) == 20 + 7 + 8
    assert await held(api) == []
    path = f"{METER}/decisions/{made.json()['decision_id']}/revoke"
    assert (await api.post(path, {"reason": "it was exchanged"})).status_code == 200
    assert await drawn(api) == 20
    assert len(await held(api, waiting="true")) == 2


async def test_a_rollover_a_real_surge_and_a_discarded_reading_are_said_by_a_person(api: Api) -> None:
    await readings(api, [990_000, 15, 40])
    said = {"ts": hour(1), "says": "rollover", "amount": 1_000_000, "reason": "six digits, read on site"}
    assert (await api.post(f"{METER}/decisions", said)).status_code == 201
    assert await drawn(api) == 10_040
    is_problem(await api.post(f"{METER}/decisions", said), 409, "exists-already")
    gone = {"ts": hour(2), "says": "discard", "reason": "line noise"}
    assert (await api.post(f"{METER}/decisions", gone)).status_code == 201
    assert await held(api) == [("discarded", 40)]
    assert await drawn(api) == 10_015


async def test_what_a_reading_cannot_have_been_is_refused(api: Api) -> None:
    await readings(api, [990, 15])
    for changes, status, code in (
        ({"says": "rollover"}, 422, "decision-does-not-fit"),
        ({"says": "rollover", "amount": 10}, 422, "decision-does-not-fit"),
        ({"says": "reset", "amount": 16}, 422, "decision-does-not-fit"),
        ({"ts": hour(1.5)}, 404, "not-found"),
        ({"says": "perhaps"}, 422, "invalid"),
        ({"reason": ""}, 422, "invalid"),
    ):
        body = {"ts": hour(1), "says": "reset", "reason": "read on site"} | changes
        is_problem(await api.post(f"{METER}/decisions", body), status, code)


async def test_what_flowed_faster_than_the_limit_counts_when_a_person_says_it_is_real(api: Api) -> None:
    await api.patch(METER, {"max_rate_per_h": 50})
    await readings(api, [0, 10, 200, 210])
    assert await held(api) == [("rate-above-limit", 210), ("rate-above-limit", 200)]
    said = {"ts": hour(2), "says": "real", "reason": "the second kiln was lit"}
    assert (await api.post(f"{METER}/decisions", said)).status_code == 201
    assert await held(api) == []
    assert await drawn(api) == 210


async def test_deleted_readings_leave_the_figures_and_stay_on_record(api: Api) -> None:
    await readings(api, [0, 10, 20, 90, 100])
    body = {"from": hour(2.5), "to": hour(9), "reason": "a test of the meter shop"}
    is_problem(await api.post(f"{METER}/deletions", body, role="supervisor"), 403, "read-only")
    made = await api.post(f"{METER}/deletions", body)
    assert (made.status_code, made.json()["count"]) == (201, 2)
    assert await drawn(api) == 20
    page = (await api.get(f"{METER}/deleted-readings", params={"limit": 1})).json()
    rest = (await api.get(f"{METER}/deleted-readings", params={"cursor": page["next"]})).json()["items"]
    assert [one["value"] for one in [*page["items"], *rest]] == [90, 100]
    is_problem(await api.post(f"{METER}/deletions", body), 404, "not-found")


async def test_held_readings_of_others_are_not_seen(api: Api) -> None:
    await readings(api, [10, 5])
    assert [one["meter"] for one in (await api.get("held", role="supervisor")).json()["items"]] == ["E001"]
    await api.sql("UPDATE enterprise SET region = '445303' WHERE id = $1", OWN)
    assert (await api.get("held", role="supervisor")).json()["items"] == []
    is_problem(await api.get(f"{METER}/held", role="supervisor"), 404, "not-found")


async def test_a_corrected_closed_month_is_listed_and_the_old_figure_can_still_be_asked(api: Api) -> None:
    """October 2025: 20 kWh, known since December; then the multiplier is corrected to 3."""
    await api.sql("UPDATE enterprise SET created_at = '2020-01-01T00:00:00Z'")
    start = datetime.fromisoformat("2025-10-05T00:00:00+08:00")
    await readings(api, [0, 10, 20], first=(start - START).total_seconds() / 3600)
    await api.sql("UPDATE restatement SET at = '2025-12-01T00:00:00Z'")
    await api.patch(METER, {"multiplier": 3})
    await api.rolled_up()
    await api.sql("UPDATE restatement SET at = '2026-01-01T00:00:00Z' WHERE at > '2025-12-01T00:00:00Z'")

    newest = (await api.get("restatements", params={"month": "2025-10", "enterprise": OWN})).json()["items"][0]
    assert (newest["before"]["quantity"], newest["after"]["quantity"]) == (20, 60)
    assert newest["month"] == "2025-10-01T00:00:00+08:00"
    assert newest["causes"][0]["why"] == "meter.change"
    assert newest["causes"][0]["who"].endswith("the admin")
    asked = {"from": "2025-10", "to": "2025-11", "interval": "P1M"}
    for known, kwh in ((None, 60), ("2025-12-24", 20), ("2026-12-31", 60)):
        more = {} if known is None else {"known_on": known}
        answer = await api.get(f"enterprises/{OWN}/energy", params=asked | more)
        (bucket,) = answer.json()["buckets"]
        assert bucket["carriers"][0]["quantity"] == kwh
    early = (await api.get(f"enterprises/{OWN}/energy", params=asked | {"known_on": "2025-11-09"})).json()
    assert early["buckets"][0]["status"] == "missing"
    assert early["buckets"][0]["reasons"] == ["not-closed:2025-10"]
    hourly = {"from": "2025-10-05", "to": "2025-10-06", "interval": "PT1H", "known_on": "2025-12-24"}
    is_problem(await api.get(f"enterprises/{OWN}/energy", params=hourly), 422, "not-known-then")


async def test_a_register_that_stands_still_is_shown_as_suspect_and_counts(api: Api) -> None:
    await readings(api, [5, 6, *[7] * 30, 9])
    asked = {"from": "2026-11-01", "to": "2026-11-04"}
    (run,) = (await api.get(f"{METER}/stuck", params=asked)).json()["items"]
    assert (run["value"], run["readings"], run["start"]) == (7, 30, hour(2))
    assert await drawn(api) == 4
    is_problem(await api.get(f"{METER}/stuck", params={"from": "2020", "to": "2026"}), 422, "bad-query")


STANDS = "reading-not-held"


# It was an exchange ---------------------------------------------------------------------------------------------------


def said_exchange(**changes: Any) -> dict[str, Any]:
    body = {
        "ts": hour(3),
        "says": "exchange",
        "at": hour(2.5),
        "old_final": 84_215,
        "new_initial": 10,
        "serial": "B-17",
    }
    return body | {"reason": "the card in the meter cabinet"} | changes


async def test_a_held_reading_said_to_be_a_new_registers_is_counted_and_the_exchange_is_on_record(api: Api) -> None:
    """84,200 → 84,210, then 12, 22, 32 on a new register: (84,215 − 84,200) + (32 − 10) = 37, in one decision."""
    await readings(api, [84_200, 84_205, 84_210, 12, 22, 32])
    made = await api.post(f"{METER}/decisions", said_exchange(multiplier=1), role="supervisor")
    assert made.status_code == 201, made.text
    assert await held(api) == []
    assert await drawn(api) == 37
    (exchange,) = (await api.get(f"{METER}/exchanges")).json()["items"]
    assert made.json()["exchange_id"] == exchange["exchange_id"]
    assert (exchange["serial"], exchange["reason"]) == ("B-17", "the card in the meter cabinet")
    assert [one["multiplier"] for one in (await api.get(f"{METER}/multipliers")).json()["items"]] == [1]
    actions = [one["action"] for one in (await api.get("audit", params={"object_kind": "meter"})).json()["items"]]
    assert actions[:2] == ["reading.decide", "exchange.record"]


async def test_a_decision_takes_its_exchange_and_multiplier_back_with_it(api: Api) -> None:
    await readings(api, [84_200, 84_210, 12, 22], first=1)
    made = (await api.post(f"{METER}/decisions", said_exchange(multiplier=80))).json()
    assert await drawn(api) == 15 + 12 * 80
    alone = await api.post(f"{METER}/exchanges/{made['exchange_id']}/revoke", {"reason": "another meter's"})
    is_problem(alone, 409, "part-of-decision")
    assert await drawn(api) == 15 + 12 * 80
    undone = await api.post(f"{METER}/decisions/{made['decision_id']}/revoke", {"reason": "another meter's"})
    assert undone.status_code == 200, undone.text
    assert await drawn(api) == 10
    for many in ("exchanges", "multipliers"):
        assert (await api.get(f"{METER}/{many}")).json()["items"][0]["revoked_at"] is not None
    assert (await api.post(f"{METER}/decisions", said_exchange())).status_code == 201
    assert await drawn(api) == 15 + 12


async def test_an_exchange_without_an_instant_was_at_the_reading_itself(api: Api) -> None:
    """The new register's first reading is its initial one: (84,215 − 84,200) + (32 − 12)."""
    await readings(api, [84_200, 84_205, 84_210, 12, 22, 32])
    body = said_exchange(at=None, new_initial=None)
    assert (await api.post(f"{METER}/decisions", body)).status_code == 201
    assert await drawn(api) == 15 + 20
    assert await held(api, waiting="true") == []


async def test_a_new_registers_first_reading_counts_however_fast_it_came(api: Api) -> None:
    await api.patch(METER, {"max_rate_per_h": 20})
    await readings(api, [1000, 1010, 1020, 40, 50])
    body = said_exchange(old_final=1025, new_initial=0)
    assert (await api.post(f"{METER}/decisions", body)).status_code == 201
    assert await held(api) == []
    assert await drawn(api) == 25 + 50


async def test_what_cannot_have_been_an_exchange_is_refused_and_leaves_nothing(api: Api) -> None:
    await readings(api, [84_200, 84_205, 84_210, 12, 22])
    for changes, status, code in (
        ({"old_final": None}, 422, "decision-does-not-fit"),
        ({"new_initial": 13}, 422, "decision-does-not-fit"),
        ({"at": hour(3.5)}, 422, "decision-does-not-fit"),
        ({"at": None}, 422, "decision-does-not-fit"),
        ({"amount": 5}, 422, "decision-does-not-fit"),
        ({"says": "discard"}, 422, "decision-does-not-fit"),
        ({"old_final": 84_209}, 422, "exchange-below-register"),
        ({"at": hour(1.5), "old_final": 84_206}, 409, "exchange-before-last-reading"),
        ({"ts": hour(2), "at": hour(1.5), "old_final": 84_206}, 409, STANDS),
        ({"ts": hour(2), **dict.fromkeys(("at", "old_final", "new_initial", "serial")), "says": "real"}, 409, STANDS),
        ({"multiplier": -1}, 422, "invalid"),
        ({"old_final": -1}, 422, "invalid"),
    ):
        is_problem(await api.post(f"{METER}/decisions", said_exchange(**changes)), status, code)
    for table in ("meter_exchange", "reading_decision", "meter_multiplier"):
        assert await api.sql(f"SELECT * FROM {table}") == []
    assert await drawn(api) == 10


async def test_of_two_decisions_at_once_one_is_taken_and_the_other_is_told_so(api: Api) -> None:
    await readings(api, [84_200, 84_205, 84_210, 12, 22])
    said = [said_exchange(), said_exchange(), said_exchange(old_final=84_220)]
    answers = await asyncio.gather(*(api.post(f"{METER}/decisions", body) for body in said))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} <= {
        "exists-already",
        "exchange-before-last-exchange",
    }
    assert len(await api.sql("SELECT FROM meter_exchange")) == len(await api.sql("SELECT FROM reading_decision")) == 1


@pytest.mark.parametrize("kind", ["exchanges", "multipliers", "decisions"])
@pytest.mark.parametrize("number", [0, -1, (1 << 31) - 1, 1 << 31, 1 << 63, 1 << 70])
async def test_a_number_beyond_all_numbers_is_of_nothing(api: Api, kind: str, number: int) -> None:
    is_problem(await api.post(f"{METER}/{kind}/{number}/revoke", {"reason": "not there"}), 404, "not-found")
