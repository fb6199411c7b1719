"""Alerts as people meet them: lists and filters, acknowledging, commenting, silencing, settings, targets."""

from __future__ import annotations

import csv
import io
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from alerts.rule import AlertSettings
from app.store.outbox import StoredOutbox
from tests.api.a_service import CITY, FOREIGN, FOREIGN_REGION, NOW, OWN, OWN_REGION, Api, is_problem

ALERT = 900_001


async def test_alerts_are_listed_with_what_they_are_based_on(api: Api) -> None:
    body = (await api.get("alerts", params={"enterprise": OWN})).json()
    (item,) = body["items"]
    assert (item["id"], item["level"], item["phase"], item["inputs"]["p_over"]) == (ALERT, "orange", "active", 0.91)
    assert len((await api.get("alerts")).json()["items"]) == 2
    for params in ({"level": "red"}, {"kind": "data"}, {"phase": "held"}, {"region": "445381"}):
        assert (await api.get("alerts", params=params)).json()["items"] == []
    answer = await api.get("alerts", params={"format": "csv", "limit": 1})
    rows = list(csv.DictReader(io.StringIO(answer.text.lstrip("\ufeff"))))
    assert [row["enterprise"] for row in rows] == [FOREIGN]
    assert 'rel="next"' in answer.headers["link"]


async def test_what_has_told_nobody_is_listed_only_when_asked_for(api: Api) -> None:
    await api.sql("UPDATE alert SET phase = 'pending', level = 'green' WHERE alert_id = $1", ALERT)
    assert (await api.get("alerts", params={"enterprise": OWN})).json()["items"] == []
    assert len((await api.get("alerts", params={"enterprise": OWN, "phase": "pending"})).json()["items"]) == 1


async def test_an_enterprise_acknowledges_and_explains_its_own_alert(api: Api) -> None:
    words = {"comment": "窑检修后恢复"}
    answer = await api.post(f"alerts/{ALERT}/acknowledge", words, role="enterprise")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["acked_until"] == "2026-12-24T01:00:00Z"
    assert [(one["event"], one["row"], one["comment"]) for one in body["history"]] == [
        ("acknowledged", 12, "窑检修后恢复")
    ]
    await api.post(f"alerts/{ALERT}/comment", {"comment": "more"}, role="supervisor")
    last = (await api.get(f"alerts/{ALERT}")).json()["history"][-1]
    assert (last["event"], last["row"], last["comment"]) == ("commented", None, "more")
    assert last["actor"].endswith("the supervisor")
    trail = (await api.get("audit", params={"object_kind": "alert"})).json()["items"]
    assert [one["action"] for one in trail] == ["alert.comment", "alert.acknowledged"]
    assert (trail[1]["before"]["acked_until"], trail[1]["after"]["acked_by"]) == (None, body["acked_by"])
    where = await api.sql("SELECT DISTINCT enterprise, region FROM audit WHERE object_kind = 'alert'")
    assert where == [(OWN, OWN_REGION)]


async def test_what_does_not_stand_is_not_acknowledged(api: Api) -> None:
    await api.sql("UPDATE alert SET phase = 'inactive', level = 'green' WHERE alert_id = $1", ALERT)
    answer = await api.post(f"alerts/{ALERT}/acknowledge", {"comment": "x"})
    assert "inactive" in is_problem(answer, 409, "transition-refused")["detail"]


@pytest.mark.parametrize(
    ("level", "role", "days", "status"),
    [
        ("orange", "enterprise", 14, 201),
        ("orange", "enterprise", 15, 422),
        ("red", "enterprise", 1, 422),
        ("red", "supervisor", 30, 201),
        ("red", "supervisor", 31, 422),
    ],
)
async def test_who_silences_what_and_for_how_long(api: Api, level: str, role: str, days: int, status: int) -> None:
    await api.sql("UPDATE alert SET level = $1 WHERE alert_id = $2", level, ALERT)
    answer = await api.post("silences", {"alert": ALERT, "days": days, "reason": "maintenance"}, role=role)
    assert answer.status_code == status, answer.text
    if status == 422:
        is_problem(answer, 422, "silence-refused")
    shown = (await api.get("silences", role=role)).json()["items"]
    assert [item["id"] for item in shown] == ([ALERT] if status == 201 else [])


async def test_an_enterprise_cannot_silence_a_red_alert_beforehand(api: Api) -> None:
    words = {"alert": ALERT, "days": 14, "reason": "maintenance"}
    assert (await api.post("silences", words, role="enterprise")).json()["silence_covers"] == "orange"
    assert (await api.post("silences", words, role="supervisor")).json()["silence_covers"] == "red"
    assert (await api.get(f"alerts/{ALERT + 1}")).json()["silence_covers"] is None
    (last, first) = (await api.get("audit", params={"object_kind": "alert"})).json()["items"]
    assert (first["before"]["silence_covers"], first["after"]["silence_covers"]) == ("red", "orange")
    assert last["before"]["silenced_until"] == first["after"]["silenced_until"]


async def test_what_a_region_set_before_is_in_the_trail(api: Api) -> None:
    county = f"regions/{OWN_REGION}"
    for number in (1, 2):
        person = {"name": f"name {number}", "email": "county@example.com", "language": "en"}
        await api.put(f"{county}/contacts", {"contacts": [person]})
        await api.put(f"{county}/targets/2026", {"base": 1000 + number, "incentive": 900, "reason": "plan"})
        await api.put(f"{county}/alert-settings", {"changes": {"confirm_days": 4 + number}, "reason": "x"})
    trail = (await api.get("audit", params={"object_kind": "region"})).json()["items"][:3]
    settings, target, contacts = ((one["before"], one["after"]) for one in trail)
    assert (settings[0]["changes"], settings[1]["changes"]) == ({"confirm_days": 5}, {"confirm_days": 6})
    assert (target[0]["base"], target[1]["base"]) == ("1001", "1002")
    assert [side["contacts"][0]["name"] for side in contacts] == ["name 1", "name 2"]


async def test_every_threshold_is_shown_with_its_meaning(api: Api) -> None:
    items = (await api.get("alert-settings", role="enterprise")).json()["items"]
    assert {item["name"] for item in items} == set(AlertSettings.__dataclass_fields__)
    assert all(item["meaning"] and item["meaning_zh"] and item["unit"] for item in items)


async def test_settings_are_versions_that_lower_regions_follow(api: Api) -> None:
    body = {"changes": {"trend_orange_on": 0.9, "confirm_days": 5}, "reason": "calmer"}
    assert (await api.put(f"regions/{CITY}/alert-settings", body)).json()["in_force"] == f"{CITY}/1"
    below = (await api.get(f"regions/{OWN_REGION}/alert-settings", role="supervisor")).json()
    assert below["calibration"] is None, "nothing was fitted yet"
    assert (below["in_force"], below["versions"]) == (f"{CITY}/1", [])
    assert values(below)["trend_orange_on"] == 0.9
    own: dict[str, Any] = {"changes": {"confirm_days": 3}, "reason": "quicker"}
    answer = await api.put(f"regions/{OWN_REGION}/alert-settings", own, role="supervisor")
    assert (answer.json()["in_force"], values(answer.json())["trend_orange_on"]) == (f"{OWN_REGION}/1", 0.85)
    again = await api.put(f"regions/{OWN_REGION}/alert-settings", own, role="supervisor")
    assert [one["version"] for one in again.json()["versions"]] == [2, 1]


def values(body: dict[str, Any]) -> dict[str, Any]:
    return {item["name"]: item["value"] for item in body["settings"]}


@pytest.mark.parametrize(
    "changes", [{"trend_red_on": 2}, {"nonsense": 1}, {"confirm_days": "7"}, {"escalate_red": "x"}]
)
async def test_settings_that_cannot_be_are_refused(api: Api, changes: dict[str, Any]) -> None:
    answer = await api.put(f"regions/{CITY}/alert-settings", {"changes": changes, "reason": "x"})
    assert next(iter(changes)) in is_problem(answer, 422, "wrong-setting")["detail"]
    assert (await api.get(f"regions/{CITY}/alert-settings")).json()["versions"] == []


async def test_supervisors_say_who_is_written_to(api: Api) -> None:
    one = {"name": "County", "email": "county@example.com", "language": "both"}
    answer = await api.put(f"regions/{OWN_REGION}/contacts", {"contacts": [one]}, role="supervisor")
    assert answer.json()["items"] == [one]
    twice = {"contacts": [one, one | {"email": "COUNTY@example.com"}]}
    is_problem(await api.put(f"regions/{OWN_REGION}/contacts", twice, role="supervisor"), 422, "wrong-field")
    for address in ("", "nobody", "two@at@signs", "王经理@example.com", "a b@example.com", "a..b@example.com"):
        without = {"contacts": [{"name": "x", "email": address, "language": "en"}]}
        is_problem(await api.put(f"regions/{OWN_REGION}/contacts", without, role="supervisor"), 422, "invalid")
    for address in ("a.b+c@example.com", "manager@例子.中国"):
        fine = {"contacts": [{"name": "x", "email": address, "language": "en"}]}
        answer = await api.put(f"regions/{OWN_REGION}/contacts", fine, role="supervisor")
        assert answer.status_code == 200, address


POSITION = """
INSERT INTO budget_position (enterprise, year, basis, revision, amount, as_of, evaluated_at, spent, excluded,
    plan_to_date, p10, p50, p90, overrun_probability, tier, completeness, recent_cover, months)
VALUES ($1, 2026, 'equivalent', 1, 1000, now(), now(), 900, 0, 890, 950, $2, 1090, 0.6, 'orange', 1, $3, 10)
"""


@pytest.mark.parametrize(
    ("projected", "level", "number"),
    [(990.0, "green", "三级"), (1010.0, "yellow", "二级"), (1025.0, "orange", "二级"), (1080.0, "red", "一级")],
)
async def test_a_county_is_shown_its_colour_and_why(api: Api, projected: float, level: str, number: str) -> None:
    target = {"base": 1020, "incentive": 1000, "reason": "plan"}
    answer = await api.put(f"regions/{OWN_REGION}/targets/2026", target, role="supervisor")
    assert answer.status_code == 200, answer.text
    body = (await api.get(f"regions/{OWN_REGION}/overview")).json()
    assert (body["warning"], body["target"]) == (None, {"base": 1020, "incentive": 1000})
    await api.sql(POSITION, OWN, projected, 0.5)
    body = (await api.get(f"regions/{OWN_REGION}/overview")).json()
    warning = body["warning"]
    assert (warning["level"], warning["number"]) == (level, number)
    assert f"{projected:,.0f} tce" in warning["reason"]
    assert "50%" in warning["reason"]
    assert (body["units"]["orange"], body["units"]["with_budget"], body["alerts"]["orange"]) == (1, 1, 1)


async def test_a_county_is_told_how_much_of_its_projection_is_assumed(api: Api) -> None:
    """Days of plants that were connected in the middle of the year."""
    await api.put(f"regions/{OWN_REGION}/targets/2026", {"base": 1020, "incentive": 1000, "reason": "plan"})
    await api.sql(POSITION, OWN, 1200.0, 1.0)
    for assumed, said in ((11.0, False), (430.0, True)):
        await api.sql("UPDATE budget_position SET assumed = $1", assumed)
        body = (await api.get(f"regions/{OWN_REGION}/overview")).json()
        assert body["units"]["assumed"] == assumed
        assert ("430 tce of it are assumed" in body["warning"]["reason"]) == said
        assert ("未计量天数" in body["warning"]["reason_zh"]) == said


async def test_a_region_names_its_colours_as_it_does(api: Api) -> None:
    names = {"barometer_numbers": "red=Ⅲ,orange=Ⅱ,yellow=Ⅰ,green=0"}
    await api.put(f"regions/{CITY}/alert-settings", {"changes": names, "reason": "as in Hangzhou"})
    await api.put(f"regions/{OWN_REGION}/targets/2026", {"base": 1020, "incentive": 1000, "reason": "plan"})
    await api.sql(POSITION, OWN, 1200.0, 1.0)
    assert (await api.get(f"regions/{OWN_REGION}/overview")).json()["warning"]["number"] == "Ⅲ"


async def test_the_outbox_shows_what_nobody_got(api: Api) -> None:
    await api.sql(
        """WITH who AS (INSERT INTO recipient (owner, role, email, name, language)
               VALUES ($1, 'energy_manager', 'm@example.com', 'm', 'zh-CN') RETURNING recipient_id)
           INSERT INTO outbox (alert_id, seq, recipient_id, kind, level, delivery, payload, message_id, state, doubts,
               next_at, created_at)
           SELECT 900001, seq, recipient_id, 'raised', 'orange', 'immediate', '{}', 'x', state, 2, 'infinity', now()
           FROM who, (VALUES (2, 'failed'), (3, 'uncertain')) AS rows (seq, state)""",
        OWN,
    )
    (failed,) = (await api.get("outbox", params={"state": "failed"})).json()["items"]
    assert (failed["state"], failed["next_at"], failed["email"]) == ("failed", None, "m@example.com")
    notices = (await api.get(f"alerts/{ALERT}", role="enterprise")).json()["notices"]
    assert [one["state"] for one in notices] == ["failed", "sent?"]


async def test_a_failed_mail_is_sent_again_by_an_admin_of_its_region_and_the_trail_says_so(api: Api) -> None:
    await api.sql(
        """WITH who AS (INSERT INTO recipient (owner, role, email, name, language)
               VALUES ($1, 'energy_manager', 'm@example.com', 'm', 'en') RETURNING recipient_id)
           INSERT INTO outbox (seq, digest_key, recipient_id, kind, level, delivery, payload, message_id, state,
               next_at, attempts, plain, last_code, created_at)
           SELECT 2, 'x', recipient_id, 'raised', 'orange', 'immediate', '{}', 'x', 'failed', 'infinity', 9, true, 550,
               $2::timestamptz - interval '9 days' FROM who""",
        OWN,
        NOW,
    )
    ((number,),) = await api.sql("SELECT outbox_id FROM outbox")
    for scope, status in ((FOREIGN_REGION, 404), (OWN_REGION, 202)):
        token = (await api.post("tokens", {"name": scope, "role": "admin", "scope": scope})).json()["token"]
        api.tokens["county"] = token
        answer = await api.post(f"outbox/{number}/resend", {}, role="county")
        assert answer.status_code == status, answer.text
    assert (answer.json()["state"], answer.json()["attempts"]) == ("queued", 0)
    is_problem(await api.post(f"outbox/{number}/resend", {}), 409, "mail-not-failed")
    row = await StoredOutbox(api.database.pool, domain="x", zone=ZoneInfo("Asia/Shanghai")).claim("me", NOW, NOW)
    assert row is not None
    assert (row.outbox_id, row.tried_since, row.plain) == (number, NOW, False), "its three days begin anew"
    line = await api.sql("SELECT before ->> 'last_code', enterprise FROM audit WHERE action = 'mail.resend'")
    assert line == [("550", OWN)]


async def test_alarms_name_nobody_outside_the_admins_region(api: Api) -> None:
    await api.sql(
        """INSERT INTO recipient (owner, role, email, name, language)
           VALUES ($1, 'energy_manager', 'own@example.com', 'x', 'en'),
                  ($2, 'energy_manager', 'foreign@foreign.example', 'x', 'en')""",
        OWN,
        FOREIGN,
    )
    await api.sql(
        """INSERT INTO platform_alarm (kind, subject, detail, since, last_at)
           SELECT kind, subject, 'x', now(), now() FROM unnest($1::text[], $2::text[]) AS new (kind, subject)""",
        [*["smtp-refused"] * 3, *["mail-failed"] * 2, *["nobody-to-tell"] * 2, "nobody-left"],
        [
            *("smtp", "example.com", "foreign.example"),
            *("own@example.com", "foreign@foreign.example", OWN, FOREIGN, FOREIGN_REGION),
        ],
    )
    everything = (await api.get("platform-alarms")).json()["items"]
    assert len(everything) == 8
    token = {"name": "county", "role": "admin", "scope": OWN_REGION}
    api.tokens["county"] = (await api.post("tokens", token)).json()["token"]
    seen = (await api.get("platform-alarms", role="county")).json()["items"]
    assert {one["subject"] for one in seen} == {"smtp", "example.com", "own@example.com", OWN}
