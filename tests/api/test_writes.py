"""Writes that are sent twice, and changes of what has changed meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from app.store import once
from app.store.access import write_audit
from app.store.once import IN_FLIGHT, KEPT
from tests.api.a_service import MISSING, NOW, OWN, Api, a_meter, is_problem

COMPANY = {"id": MISSING, "name": "新能", "region": "445302", "industry": "3011"}


async def post(api: Api, path: str, body: dict[str, Any], key: str, role: str = "admin") -> httpx2.Response:
    return await api.ask("POST", f"/api/v1/{path}", role=role, json=body, headers={"Idempotency-Key": key})


async def test_the_same_call_with_the_same_key_is_done_once_and_answered_twice(api: Api) -> None:
    first = await post(api, "enterprises", COMPANY, "k-1")
    again = await post(api, "enterprises", COMPANY, '"k-1"')
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert len(await api.sql("SELECT FROM audit WHERE action = 'enterprise.create' AND object_id = $1", MISSING)) == 1
    is_problem(await post(api, "enterprises", COMPANY, "k-2"), 409, "exists-already")


async def test_a_key_belongs_to_one_request_and_one_caller(api: Api) -> None:
    await post(api, "enterprises", COMPANY, "k-1")
    is_problem(await post(api, "enterprises", COMPANY | {"name": "x"}, "k-1"), 422, "idempotency-key-reused")
    is_problem(await post(api, "meters", a_meter(code="E7"), "k-1"), 422, "idempotency-key-reused")
    is_problem(await post(api, "enterprises", COMPANY, "k-1", role="supervisor"), 403, "read-only")


async def test_a_call_that_failed_may_be_tried_again_with_its_key(api: Api) -> None:
    is_problem(await post(api, "meters", a_meter(code="E7", unit="t"), "k-1"), 422, "unit-mismatch")
    assert (await post(api, "meters", a_meter(code="E7"), "k-1")).status_code == 201


async def test_a_second_call_while_the_first_is_worked_on_is_told_to_wait(api: Api) -> None:
    answers = await asyncio.gather(*(post(api, "enterprises", COMPANY, "k-1") for _ in range(4)))
    codes = sorted(answer.status_code for answer in answers)
    assert set(codes) <= {201, 409}
    for answer in answers:
        if answer.status_code == 409:
            is_problem(answer, 409, "idempotency-in-flight")
    assert len(await api.sql("SELECT FROM audit WHERE action = 'enterprise.create' AND object_id = $1", MISSING)) == 1


async def test_a_call_that_was_cut_off_is_forgotten_after_a_minute_and_an_answer_after_a_day(api: Api) -> None:
    started = "UPDATE idempotent_answer SET started_at = $1"
    await post(api, "enterprises", COMPANY, "k-1")
    await api.sql("UPDATE idempotent_answer SET status = NULL, worked = false")
    is_problem(await post(api, "enterprises", COMPANY, "k-1"), 409, "idempotency-in-flight")
    await api.sql(started, NOW - IN_FLIGHT - timedelta(seconds=1))
    is_problem(await post(api, "enterprises", COMPANY, "k-1"), 409, "exists-already")
    assert (await post(api, "meters", a_meter(code="E7"), "k-2")).status_code == 201
    later = replace(api.app.state.deps, clock=lambda: NOW + KEPT + timedelta(seconds=1))
    api.app.state.deps = later
    is_problem(await post(api, "meters", a_meter(code="E7"), "k-2"), 409, "exists-already")


ONCE_ONLY: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("alerts/900001/comment", {"comment": "looked at"}, "alert_history WHERE comment = 'looked at'"),
    (
        f"enterprises/{OWN}/budgets/2026/exclusions",
        {"month": "2026-05", "basis": "equal", "kind": "feedstock", "amount": "3", "evidence": "contract 9"},
        "budget_exclusion WHERE evidence = 'contract 9'",
    ),
    ("webhooks", {"url": "https://hooks.example/once", "kinds": ["alert"]}, "webhook WHERE url LIKE '%/once'"),
)


@pytest.mark.parametrize(("path", "body", "made"), ONCE_ONLY, ids=[path for path, _, _ in ONCE_ONLY])
async def test_what_was_done_before_the_service_died_is_not_done_again(
    api: Api, path: str, body: dict[str, Any], made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(*_: object) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patched:
        patched.setattr("app.store.once.keep", dies)
        with pytest.raises(asyncio.CancelledError):
            await post(api, path, body, "k-1")
    is_problem(await post(api, path, body, "k-1"), 409, "idempotency-in-flight")
    await api.sql("UPDATE idempotent_answer SET started_at = $1", NOW - IN_FLIGHT - timedelta(seconds=1))
    is_problem(await post(api, path, body, "k-1"), 409, "answer-lost")
    assert await api.sql(f"SELECT count(*) FROM {made}") == [(1,)]  # ours


async def test_a_call_that_lost_its_key_to_a_later_one_does_nothing(api: Api) -> None:
    late = NOW + IN_FLIGHT + timedelta(seconds=1)
    first = await once.begin(api.database, "token:1", "k-1", b"same", NOW)
    second = await once.begin(api.database, "token:1", "k-1", b"same", late)
    assert isinstance(first, once.Claim)
    assert isinstance(second, once.Claim)
    once.work_for(first)
    with pytest.raises(once.StillInFlight):
        async with api.database.engine.begin() as connection:
            await write_audit(connection, "somebody", "try.once", "try", "1")
    await once.forget(api.database, first)
    once.work_for(second)
    async with api.database.engine.begin() as connection:
        await write_audit(connection, "somebody", "try.once", "try", "2")
    assert await api.sql("SELECT object_id FROM audit WHERE action = 'try.once'") == [("2",)]
    with pytest.raises(once.AnswerLost):
        await once.begin(api.database, "token:1", "k-1", b"same", late + IN_FLIGHT + timedelta(seconds=1))


async def test_a_secret_is_not_kept_for_a_second_answer(api: Api) -> None:
    gateway = {"id": "gw-new", "enterprise": OWN, "name": "x"}
    secret = (await post(api, "gateways", gateway, "k-1")).json()["secret"]
    is_problem(await post(api, "gateways", gateway, "k-1"), 409, "answered-already")
    token = {"name": "x", "role": "supervisor", "scope": "445302"}
    made = (await post(api, "tokens", token, "k-2")).json()["token"]
    kept = str(await api.sql("SELECT key, headers::text, convert_from(body, 'UTF8') FROM idempotent_answer"))
    assert secret not in kept
    assert made not in kept


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 201, "\t", '"half', '""'])
async def test_a_key_that_is_none(api: Api, key: str) -> None:
    is_problem(await post(api, "enterprises", COMPANY, key), 422, "bad-idempotency-key")


OBJECTS = (
    (f"enterprises/{OWN}", {"name": "甲"}, {"name": "乙"}),
    ("gateways/gw-own", {"name": "one"}, {"name": "two"}),
    (f"meters/{OWN}/E001", {"name": "one"}, {"name": "two"}),
    ("users/person.own", {"full_name": "one"}, {"full_name": "two"}),
)


@pytest.mark.parametrize(("path", "first", "second"), OBJECTS, ids=[path for path, _, _ in OBJECTS])
async def test_a_change_holds_only_for_what_the_caller_has_seen(
    api: Api, path: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    tag = (await api.get(path)).headers["etag"]
    assert tag.startswith('W/"')
    address = f"/api/v1/{path}"
    done = await api.ask("PATCH", address, json=first, headers={"If-Match": tag})
    assert done.status_code == 200, done.text
    stale = await api.ask("PATCH", address, json=second, headers={"If-Match": f'"other", {tag}'})
    is_problem(stale, 412, "changed-since")
    assert first.items() <= (await api.get(path)).json().items()
    now = (await api.get(path)).headers["etag"]
    assert now != tag
    for shape in ("W/{}", "{}", "*", '"other", {}'):
        held = shape.format(now.removeprefix("W/"))
        assert (await api.ask("PATCH", address, json=second, headers={"If-Match": held})).status_code == 200
        now = (await api.get(path)).headers["etag"]
    assert (await api.ask("PATCH", address, json=first)).status_code == 200, "without If-Match the last one wins"


MOVED_BY_DATA = (
    ("gateways/gw-own", "UPDATE gateway SET last_data_at = now(), last_seq = 7, clock_skew_s = 1 WHERE id = 'gw-own'"),
    (f"meters/{OWN}/E001", "UPDATE meter SET first_at = now() WHERE code = 'E001'"),
    ("users/person.own", "UPDATE account SET last_login_at = now() WHERE name = 'person.own'"),
)


@pytest.mark.parametrize(("path", "moves"), MOVED_BY_DATA, ids=[path for path, _ in MOVED_BY_DATA])
async def test_data_that_comes_meanwhile_refuses_no_change_but_is_told(api: Api, path: str, moves: str) -> None:
    tag = (await api.get(path)).headers["etag"]
    await api.sql(moves)
    answer = await api.get(path, headers={"If-None-Match": tag})
    assert answer.status_code == 200, "what moved is told"
    assert answer.headers["etag"] != tag
    body = next(first for one, first, _ in OBJECTS if one == path)
    changed = await api.ask("PATCH", f"/api/v1/{path}", json=body, headers={"If-Match": tag})
    assert changed.status_code == 200, changed.text
    is_problem(await api.ask("PATCH", f"/api/v1/{path}", json=body, headers={"If-Match": tag}), 412, "changed-since")


async def test_of_two_who_saw_the_same_one_changes_it(api: Api) -> None:
    tag = (await api.get(f"enterprises/{OWN}")).headers["etag"]
    address = f"/api/v1/enterprises/{OWN}"
    answers = await asyncio.gather(
        *(api.ask("PATCH", address, json={"name": f"n{i}"}, headers={"If-Match": tag}) for i in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412, 412]


async def test_what_is_not_there_is_told_before_what_has_changed(api: Api) -> None:
    for path in ("enterprises/x", "enterprises/91445303MA4UQ7KJ3D"):
        answer = await api.ask(
            "PATCH", f"/api/v1/{path}", role="supervisor", json={"name": "x"}, headers={"If-Match": '"x"'}
        )
        is_problem(answer, 403, "read-only")
    answer = await api.ask("PATCH", "/api/v1/enterprises/x", json={"name": "x"}, headers={"If-Match": '"x"'})
    is_problem(answer, 404, "not-found")


async def test_an_object_the_caller_has_already_is_not_sent_again(api: Api) -> None:
    for path in (f"enterprises/{OWN}", "enterprises", "regions/4453", "carriers"):
        answer = await api.get(path)
        tag = answer.headers["etag"]
        again = await api.get(path, headers={"if-none-match": tag})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert "content-type" not in again.headers
        assert (await api.get(path, headers={"if-none-match": 'W/"other"'})).status_code == 200
