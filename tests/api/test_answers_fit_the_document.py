"""What the document promises is what is answered, whatever the parameters hold."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from jsonschema import Draft202012Validator

from app.api.openapi import text
from tests.api.a_service import CITY, JOB, OWN, WEBHOOK, Api, a_meter

DOCUMENT: dict[str, Any] = json.loads(text())
KEYS = {
    "year": "2026",
    "enterprise": OWN,
    "code": "E001",
    "gateway": "gw-own",
    "factor": "tce-900001",
    "token": "900001",
    "user": "person.own",
    "line": "900001",
    "level": "1",
    "correction": "1",
    "alert": "900001",
}
KEYS |= {"webhook": WEBHOOK, "job": JOB}
NEEDED = {"from": "2026-11-01", "to": "2026-12-01"}
STUCK = 3
"""Readings of one value, a day apart: as few as are shown as a meter that does not move."""
RECORDED = (
    "INSERT INTO held_reading SELECT meter_id, '2026-11-02T00:00Z', 'register-fell' FROM meter WHERE enterprise = $1",
    """INSERT INTO meter_exchange (meter_id, at, old_final, new_initial, multiplier, recorded_by)
       SELECT meter_id, '2026-11-02T06:00Z', 9, 0, 2, 'x' FROM meter WHERE enterprise = $1""",
    """INSERT INTO meter_multiplier (meter_id, valid_from, multiplier, recorded_by)
       SELECT meter_id, '2026-11-02T06:00Z', 2, 'x' FROM meter WHERE enterprise = $1""",
    """INSERT INTO reading_decision (meter_id, ts, says, reason, decided_by)
       SELECT meter_id, '2026-11-02T00:00Z', 'real', 'x', 'x' FROM meter WHERE enterprise = $1""",
    """WITH gone AS (INSERT INTO reading_deletion (meter_id, from_ts, to_ts, count, reason, deleted_by)
           SELECT meter_id, '2026-10-01T00:00Z', '2026-10-02T00:00Z', 1, 'x', 'x' FROM meter WHERE enterprise = $1
           RETURNING deletion_id)
       INSERT INTO deleted_reading SELECT deletion_id, '2026-10-01T00:00Z', 5, 0, now() FROM gone""",
    """INSERT INTO restatement (enterprise, month, carrier, after, causes)
       VALUES ($1, '2026-09-30T16:00Z', 'electricity', jsonb_build_object('quantity', 5, 'quantity_net', 5,
           'tce_equivalent', 1, 'tce_equivalent_net', 1, 'tce_equal', 1, 'tce_equal_net', 1, 'tco2', 1, 'tco2_net', 1,
           'measured_us', 1, 'estimated_us', 0, 'held', 0), '[{"why": "x", "who": "x", "meters": ["E001"]}]')""",
    """WITH night AS (INSERT INTO verification (night, started_at, seed, asked) VALUES ('2026-11-02', now(), 1, 1)
           RETURNING verification_id)
       INSERT INTO verification_difference (verification_id, enterprise, table_name, key, start, column_name)
       SELECT verification_id, $1, 'enterprise_day', 'electricity', now(), 'quantity' FROM night""",
)
"""What people and the nightly verification put on record of the caller's own enterprise."""
OPEN = ("/healthz", "/readyz", "/metrics")
WRITTEN = re.compile(r"\{(\w+)\}")


def address(path: str, **keys: str) -> str:
    """A path of the document with its keys filled in; a region's key is called `code` too."""
    known = KEYS | ({"code": CITY} if path.startswith(("/api/v1/regions", "/api/v1/reports")) else {}) | keys
    return WRITTEN.sub(lambda match: quote(known[match[1]], safe=""), path)


def gets() -> Iterator[tuple[str, dict[str, Any]]]:
    """What is asked with GET, without streams that never end (tests/api/test_live.py)."""
    found = ((path, operations["get"]) for path, operations in DOCUMENT["paths"].items() if "get" in operations)
    return ((path, get) for path, get in found if "text/event-stream" not in get["responses"]["200"]["content"])


def params_of(operation: dict[str, Any], place: str) -> list[str]:
    return [one["name"] for one in operation.get("parameters", []) if one["in"] == place]


def needed(path: str) -> dict[str, str]:
    """Query parameters without which the path does not answer; a month is one bucket where only one is explained."""
    known = params_of(DOCUMENT["paths"][path]["get"], "query")
    asked = NEEDED | ({"interval": "P1M"} if path.endswith("/explain") else {})
    return {name: value for name, value in asked.items() if name in known}


def fits(body: Any, schema: dict[str, Any]) -> None:
    """Asserts that a body is what a schema of the document says."""
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", "components": DOCUMENT["components"], **schema}
    faults = [f"{fault.json_path}: {fault.message}" for fault in Draft202012Validator(whole).iter_errors(body)]
    assert faults == []


PATHS = [path for path, get in gets() if "application/json" in get["responses"]["200"]["content"]]


@pytest.mark.parametrize("path", PATHS)
async def test_an_answer_is_of_the_documents_shape(api: Api, path: str) -> None:
    await rich(api)
    operation = DOCUMENT["paths"][path]["get"]
    params = needed(path)
    if "by" in params_of(operation, "query"):
        params["by"] = "meter"
    answer = await api.ask("GET", address(path), params=params)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    fits(body, operation["responses"]["200"]["content"]["application/json"]["schema"])
    if "items" in body:
        assert body["items"], "an empty list shows nothing of its items"


async def rich(api: Api) -> None:
    """Something in every list: a reading with its figures, a revision, a refusal, a line in the trail."""
    await api.sql(
        """INSERT INTO reading SELECT '2026-11-02T00:00Z'::timestamptz + day * interval '1 day', meter_id, 5, 0, now()
           FROM meter, generate_series(0, $2 - 1) AS day WHERE enterprise = $1""",
        OWN,
        STUCK,
    )
    for statement in RECORDED:
        await api.sql(statement, OWN)
    await api.sql(
        """INSERT INTO line_output (line_id, month, revision, quantity, entered_by)
           VALUES (900001, '2026-10-01', 1, 12.5, 'test')"""
    )
    await api.sql(
        """INSERT INTO reading_revision (meter_id, ts, old_value, old_quality, new_value, new_quality, revised_at,
               revised_by) SELECT meter_id, now(), 1, 0, 2, 0, now(), 'gw-own' FROM meter WHERE enterprise = $1""",
        OWN,
    )
    await api.sql(
        r"""WITH message AS (
               INSERT INTO rejected_message (received_at, door, gateway, content_type, raw, digest, last_at)
               VALUES (now(), 'http', 'gw-own', 'application/json', '\x00ff', 'x', now()) RETURNING message_id)
           INSERT INTO rejected_reading (message_id, code, detail) SELECT message_id, 'malformed', 'x' FROM message"""
    )
    await api.sql(
        """INSERT INTO alert_history (alert_id, seq, event, phase_before, phase_after, level_before, level_after, day,
               at, actor, inputs)
           VALUES (900001, 2, 'confirmed', 'pending', 'active', 'green', 'orange', now(), now(), 'x', '{}')"""
    )
    await api.sql("UPDATE alert SET silenced_until = now() + interval '1 day' WHERE alert_id = 900001")
    await api.sql("INSERT INTO alert_setting VALUES ($1, 1, '{\"confirm_days\": 5}', 'x', 'x', now())", CITY)
    await api.sql("INSERT INTO region_contact VALUES ($1, 'county@example.com', 'County', 'en')", CITY)
    await api.sql(
        """INSERT INTO line_attribute (line_id, valid_from, attributes, entered_by)
           VALUES (900001, '2026-01-01', '{"altitude_m": 200}', 'x')"""
    )
    await api.sql("INSERT INTO region_closing VALUES ($1, '2026-12-01', 20, 'x', 'x', now())", CITY)
    await api.sql("INSERT INTO region_target VALUES ($1, 2026, 'equivalent', 2000, 1000, 'x', 'x', now())", CITY)
    await api.sql(
        """INSERT INTO budget_position (enterprise, year, basis, revision, amount, as_of, evaluated_at, spent, excluded,
               plan_to_date, p10, p50, p90, overrun_probability, tier, completeness, recent_cover, months)
           VALUES ($1, 2026, 'equivalent', 1, 1000, now(), now(), 900, 0, 900, 950, 1020, 1090, 0.6, 'green', 1, 1, 10)
           ON CONFLICT DO NOTHING""",
        OWN,
    )
    await api.sql(
        """WITH who AS (INSERT INTO recipient (owner, role, email, name, language)
               VALUES ($1, 'energy_manager', 'm@example.com', 'm', 'zh-CN') RETURNING recipient_id)
           INSERT INTO outbox (alert_id, seq, recipient_id, kind, level, delivery, payload, message_id, state, next_at,
               created_at) SELECT 900001, 2, recipient_id, 'raised', 'orange', 'immediate', '{}', 'x', 'uncertain',
               'infinity', now() FROM who""",
        OWN,
    )
    await api.sql(
        """INSERT INTO platform_alarm (kind, subject, detail, since, last_at)
           VALUES ('smtp-barred', 'x', 'x', now(), now())"""
    )
    await api.sql(
        "UPDATE meter SET multiplier = 0.125, calibrated_until = '2027-05-31', first_at = '2026-11-02T00:00Z'"
    )


@pytest.mark.parametrize("path", [path for path in PATHS if path not in OPEN])
async def test_a_problem_is_of_the_documents_shape(api: Api, path: str) -> None:
    answer = await api.ask("GET", address(path), role=None)
    declared = DOCUMENT["paths"][path]["get"]["responses"][str(answer.status_code)]
    fits(answer.json(), declared["content"]["application/problem+json"]["schema"])


def forms_of(operation: dict[str, Any]) -> list[str]:
    """What `format` may ask of it: a table has more forms than a report."""
    asked: dict[str, Any] = next(
        (one["schema"] for one in operation.get("parameters", []) if one["name"] == "format"), {"anyOf": []}
    )
    names = [one["$ref"].rpartition("/")[2] for one in asked["anyOf"] if "$ref" in one]
    return [form for name in names for form in DOCUMENT["components"]["schemas"][name]["enum"]]


FORMS = [(path, form) for path, operation in gets() for form in forms_of(operation)]


@pytest.mark.parametrize(("path", "form"), FORMS)
async def test_every_form_of_a_table_is_in_the_document(api: Api, path: str, form: str) -> None:
    operation = DOCUMENT["paths"][path]["get"]
    params = needed(path)
    answer = await api.ask("GET", address(path), params=params | {"format": form})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].split(";")[0] in operation["responses"]["200"]["content"]


def a_cursor(*parts: str) -> str:
    return base64.urlsafe_b64encode("\x1f".join(parts).encode()).decode().rstrip("=")


NASTY = (
    "",
    "0",
    "-1",
    "²",
    "9" * 400,
    "1e9",
    "nan",
    "null",
    "%00",
    "\x00",
    "\udcff".encode(errors="surrogateescape").decode(errors="replace"),
    "' OR 1=1 --",
    "%",
    "_",
    "\\",
    "0001",
    "0001-01",
    "0001-01-01",
    "0001-01-01T00:00:00+14:00",
    "9999",
    "9999-12",
    "9999-12-31",
    "9999-12-31T23:59:59.999999-14:00",
    "2026-11-23T00:00:00",
    "2026-11-23T24:00:00Z",
    "2026-W48",
    "2026-13",
    a_cursor("²"),
    a_cursor("9" * 18),
    a_cursor("9" * 19),
    a_cursor("-1"),
    a_cursor("\x00"),
    a_cursor("a", "b"),
    a_cursor("2026-11-23"),
    a_cursor("0001-01-01T00:00:00+14:00"),
    a_cursor("9999-12-31T23:59:59-14:00"),
)
ASKED = [(path, name) for path, operation in gets() if path not in OPEN for name in params_of(operation, "query")]


@pytest.mark.parametrize(("path", "name"), ASKED)
async def test_no_query_is_a_fault_of_ours(api: Api, path: str, name: str) -> None:
    given = needed(path)
    for value in NASTY:
        answer = await api.ask("GET", address(path), params=given | {name: value})
        assert answer.status_code in (200, 422), f"{value!r}: {answer.status_code} {answer.text}"


@pytest.mark.parametrize("path", [path for path in PATHS if "{" in path])
async def test_no_key_is_a_fault_of_ours(api: Api, path: str) -> None:
    given = needed(path)
    for name in WRITTEN.findall(path):
        for value in (one for one in NASTY if one):
            answer = await api.ask("GET", address(path, **{name: value}), params=given)
            assert answer.status_code == 404, f"{value!r}: {answer.status_code} {answer.text}"


BODY_VALUES: tuple[Any, ...] = (
    None,
    "",
    "\x00",
    0,
    -1,
    True,
    1e308,
    10**30,
    0.1 + 0.2,
    "9" * 400,
    "x" * 5000,
    [],
    [None],
    {},
    "2026-02-30",
    "0001-01-01",
)


@pytest.mark.parametrize(
    "name",
    [
        *a_meter(),
        "multiplier",
        "rolls_over_at",
        "max_rate_per_h",
        "expected_interval_s",
        "level",
        "accuracy_class",
        "calibrated_until",
    ],
)
async def test_no_field_of_a_meter_is_a_fault_of_ours(api: Api, name: str) -> None:
    for number, value in enumerate(BODY_VALUES):
        body = a_meter(code=f"N{number}") | {name: value}
        answer = await api.post("meters", body)
        assert answer.status_code in (201, 409, 422), f"{value!r}: {answer.status_code} {answer.text}"
        if answer.status_code == 201:
            schema = DOCUMENT["paths"]["/api/v1/meters"]["post"]["responses"]["201"]["content"]["application/json"]
            fits(answer.json(), schema["schema"])


@pytest.mark.parametrize(
    "raw",
    [
        b'{"name": "\\ud800"}',
        b'{"\\ud800": 1}',
        b'{"multiplier": NaN}',
        b'{"multiplier": 1e400}',
        b'{"rolls_over_at": Infinity}',
        b'{"multiplier": ' + b"9" * 5000 + b"}",
        b"[" * 5000,
        b'{"contacts": [[[[[]]]]]}',
        b"\xff",
        b'{"name": "\xff"}',
    ],
)
async def test_no_bytes_are_a_fault_of_ours(api: Api, raw: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = await api.ask("PATCH", f"/api/v1/meters/{OWN}/E001", content=raw, headers=headers)
    assert answer.status_code in (400, 422), answer.text
    declared = DOCUMENT["paths"]["/api/v1/meters/{enterprise}/{code}"]["patch"]["responses"][str(answer.status_code)]
    fits(answer.json(), declared["content"]["application/problem+json"]["schema"])
