"""Every route, asked by every role for what is theirs, what is another's, and what does not exist."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
from fastapi.routing import APIRoute

from app.api.access import RULES, anyone, reader, reporting, supervising, writer
from app.api.application import ROUTERS
from app.api.exports import PREFIX
from tests.api.a_service import (
    CITY,
    FOREIGN,
    FOREIGN_REGION,
    JOB,
    MISSING,
    MISSING_REGION,
    OWN,
    OWN_REGION,
    WEBHOOK,
    Api,
    an_api,
    is_problem,
)

RANGE = {"from": "2026-11-01", "to": "2026-11-02"}
"""Parameters that a route cannot do without."""
OBJECTS: dict[str, dict[str, dict[str, str]]] = {
    "/regions/{code}/targets": {
        which: {"code": code, "year": "2026"}
        for which, code in (("own", OWN_REGION), ("foreign", FOREIGN_REGION), ("missing", MISSING_REGION))
    },
    "/regions/{code}": {
        "own": {"code": OWN_REGION},
        "foreign": {"code": FOREIGN_REGION},
        "missing": {"code": MISSING_REGION},
    },
    "/enterprises/{enterprise}/budgets": {
        which: {"enterprise": key, "year": "2026", "revision": "1", "exclusion": number}
        for which, key, number in (
            ("own", OWN, "900001"),
            ("foreign", FOREIGN, "900002"),
            ("missing", MISSING, "900003"),
        )
    },
    "/enterprises/{enterprise}": {
        "own": {"enterprise": OWN},
        "foreign": {"enterprise": FOREIGN},
        "missing": {"enterprise": MISSING},
    },
    "/alerts/{alert}": {
        "own": {"alert": "900001"},
        "foreign": {"alert": "900002"},
        "missing": {"alert": "900003"},
    },
    "/outbox/{mail}": {
        "own": {"mail": "900001"},
        "foreign": {"mail": "900002"},
        "missing": {"mail": "900003"},
    },
    "/gateways/{gateway}": {
        "own": {"gateway": "gw-own"},
        "foreign": {"gateway": "gw-foreign"},
        "missing": {"gateway": "gw-nowhere"},
    },
    "/factors/{factor}": {
        "own": {"factor": "tce-900001"},
        "foreign": {"factor": "tce-900002"},
        "missing": {"factor": "tce-900003"},
    },
    "/lines/{line}": {
        "own": {"line": "900001"},
        "foreign": {"line": "900002"},
        "missing": {"line": "900003"},
    },
    "/corrections/{correction}": {
        "own": {"correction": "1"},
        "foreign": {"correction": "2"},
        "missing": {"correction": "900003"},
    },
    "/levels/{level}": {"own": {"level": "1"}, "foreign": {"level": "2"}, "missing": {"level": "900003"}},
    **{
        f"/meters/{{enterprise}}/{{code}}/{many}/{{{one}}}": {
            "own": {"enterprise": OWN, "code": "E001", one: "900001"},
            "foreign": {"enterprise": FOREIGN, "code": "E001", one: "900002"},
            "missing": {"enterprise": MISSING, "code": "E001", one: "900003"},
        }
        for many, one in (("exchanges", "exchange"), ("multipliers", "multiplier"), ("decisions", "decision"))
    },
    "/meters/{enterprise}/{code}": {
        "own": {"enterprise": OWN, "code": "E001"},
        "foreign": {"enterprise": FOREIGN, "code": "E001"},
        "missing": {"enterprise": OWN, "code": "E999"},
    },
    "/tokens/{token}": {
        "own": {"token": "900001"},
        "foreign": {"token": "900002"},
        "missing": {"token": "900003"},
    },
    "/users/{user}": {
        "own": {"user": "person.own"},
        "foreign": {"user": "person.foreign"},
        "missing": {"user": "person.nowhere"},
    },
}
OBJECTS |= {
    "/reports/monthly/{code}": OBJECTS["/regions/{code}"],
    "/reports/utilisation/{enterprise}": OBJECTS["/enterprises/{enterprise}"],
    "/webhooks/{webhook}": {"own": {"webhook": WEBHOOK, "delivery": "1"}, "missing": {"webhook": JOB, "delivery": "1"}},
    "/jobs/{job}": {"own": {"job": JOB}, "missing": {"job": WEBHOOK}},
}
"""Start of a path → keys of an object that is the caller's, of another's, and of none. See tests/api/a_service.py."""
A_CORRECTION = {"how": "add", "source": "x", "valid_from": "2030-01-01"}
A_METER = {"code": "E002", "name": "x", "carrier": "electricity", "unit": "kWh", "role": "purchase"}
FOREIGN_BODIES: dict[str, dict[str, Any]] = {
    "createEnterprise": {"id": MISSING, "name": "x", "region": FOREIGN_REGION, "industry": "3011"},
    "createGateway": {"id": "gw-x", "enterprise": FOREIGN, "name": "x"},
    "createMeter": A_METER | {"enterprise": FOREIGN, "gateway": "gw-foreign"},
    "createFactor": {"carrier": "coke", "enterprise": FOREIGN, "value": 1, "valid_from": "2026-01-01", "source": "x"},
    "createLine": {
        "enterprise": FOREIGN,
        "code": "X1",
        "product": "cement",
        "capacity_per_year": 1,
        "unit": "t",
        "meters": [],
    },
    "createLevel": {
        "kind": "limit",
        "product": "cement",
        "unit": "kgce/t",
        "edition": "x",
        "source": "x",
        "valid_from": "2030-01-01",
    },
    "createCorrection": A_CORRECTION | {"product": "cement", "edition": "x", "attribute": "altitude_m"},
    "createSilence": {"alert": 900_002, "days": 1, "reason": "x"},
    "createToken": {"name": "x", "role": "supervisor", "scope": FOREIGN_REGION},
    "createUser": {"name": "x", "role": "enterprise", "scope": FOREIGN},
}
"""A creating call → a body that puts something where it is another's."""
PARTS: dict[str, dict[str, Any]] = {
    "/meters/{enterprise}/{code}/exchanges": {"at": "2026-11-01T00:00:00Z", "old_final": 1, "new_initial": 0},
    "/meters/{enterprise}/{code}/decisions": {"ts": "2026-11-01T00:00:00Z", "says": "discard", "reason": "line noise"},
    "/meters/{enterprise}/{code}/deletions": {
        "from": "2026-11-01T00:00:00Z",
        "to": "2026-11-02T00:00:00Z",
        "reason": "a test",
    },
    **{
        f"/meters/{{enterprise}}/{{code}}/{many}/{{{one}}}/revoke": {"reason": "a test"}
        for many, one in (("exchanges", "exchange"), ("multipliers", "multiplier"), ("decisions", "decision"))
    },
    "/factors/{factor}": {"value": 1, "valid_from": "2026-01-01", "source": "x"},
    "/enterprises/{enterprise}/budgets/{year}": {"tce": 1, "reason": "x"},
    "/enterprises/{enterprise}/budgets/{year}/revisions/{revision}/decision": {"approve": True},
    "/enterprises/{enterprise}/budgets/{year}/exclusions": {
        "month": "2026-05",
        "kind": "feedstock",
        "amount": 1,
        "evidence": "x",
    },
    "/enterprises/{enterprise}/budgets/{year}/exclusions/{exclusion}/withdraw": {"reason": "x"},
    "/lines/{line}": {"product": "cement", "capacity_per_year": 1, "unit": "t", "meters": []},
    "/lines/{line}/outputs": {"month": "2026-10", "quantity": 1},
    "/lines/{line}/attributes": {"valid_from": "2026-11-01", "attributes": {}},
    "/corrections/{correction}": A_CORRECTION,
    "/levels/{level}": {"unit": "kgce/t", "edition": "x", "source": "x", "valid_from": "2030-01-01"},
    "/alerts/{alert}/acknowledge": {"comment": "x"},
    "/alerts/{alert}/comment": {"comment": "x"},
    "/regions/{code}/alert-settings": {"changes": {}, "reason": "x"},
    "/regions/{code}/closing-days": {"from_month": "2026-12", "day": 5, "reason": "as agreed"},
    "/regions/{code}/contacts": {"contacts": []},
    "/regions/{code}/targets/{year}": {"base": 2, "incentive": 1, "reason": "x"},
}
"""The path of a changing call → a body it reads, where {} is none."""
OF_EVERYBODY = ("/levels", "/corrections")
"""Reference data: whoever may read sees all of it, and only an admin of everything changes it."""
OF_A_TOKEN = ("/webhooks", "/jobs", "/events")
"""What belongs to a token and not to a place: whoever holds the token reads and writes it, and nobody else sees it."""
NAMES_NOTHING = {"replayRejections": "tests/api/test_rejections.py looks at what it reaches"}
"""A creating call that works on whatever the caller sees → where that is tried."""
OF_ONESELF = {"getSession", "logOut", "logOutEverywhere", "changePassword"}
"""Calls that are about the caller alone: there is nothing foreign to ask for."""
ROLES = ("admin", "supervisor", "enterprise")
RIGHT = {reader: {*ROLES}, reporting: {*ROLES}, supervising: {"admin", "supervisor"}, writer: {"admin"}}
HOW = """
{route} is a new route, so say in tests/api/test_scopes.py what it is tried with:
  a path with keys: in OBJECTS, by the start of its path, keys of an own, a foreign and a missing object
  a creating call:  in FOREIGN_BODIES, by its operation id, a body that names a foreign region or enterprise
  names nothing:    in NAMES_NOTHING, with the test that looks at what it reaches
  about oneself:    in OF_ONESELF
"""


def routes() -> Iterator[APIRoute]:
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            yield route


def dependencies(dependant: Any) -> Iterator[Any]:
    for part in dependant.dependencies:
        yield part.call
        yield from dependencies(part)


def allowed(route: APIRoute) -> set[str]:
    """The roles a route's rule lets in: the narrowest of its rules counts."""
    if route.path.startswith(OF_EVERYBODY) and method_of(route) != "GET":
        return {"admin"}
    rules = [RIGHT[rule] for rule in dependencies(route.dependant) if rule in RIGHT]
    return set.intersection(*rules) if rules else set(ROLES)


def keys_of(route: APIRoute) -> dict[str, dict[str, str]]:
    found = next((keys for start, keys in OBJECTS.items() if route.path.startswith(start)), None)
    assert found is not None, HOW.format(route=f"{method_of(route)} {route.path}")
    return found


def method_of(route: APIRoute) -> str:
    assert route.methods is not None
    return next(iter(route.methods))


def ids(found: list[APIRoute]) -> list[str]:
    return [str(route.operation_id) for route in found]


ALL = list(routes())
GUARDED = [route for route in ALL if anyone not in set(dependencies(route.dependant))]
OF_PLACES = [route for route in GUARDED if not route.path.startswith(OF_A_TOKEN)]
MINE = [route for route in GUARDED if route.path.startswith(OF_A_TOKEN) and "{" in route.path]
WITH_KEYS = [route for route in OF_PLACES if "{" in route.path]
CREATING = [
    route
    for route in OF_PLACES
    if "{" not in route.path and method_of(route) != "GET" and route.operation_id not in OF_ONESELF
]
LISTS = [route for route in OF_PLACES if "{" not in route.path and method_of(route) == "GET"]


RECORDS = """
INSERT INTO reading SELECT '2026-11-01T00:00Z', meter_id, $1::int, 0, now() FROM meter WHERE enterprise = $2;
INSERT INTO meter_exchange (exchange_id, meter_id, at, old_final, new_initial, recorded_by)
    OVERRIDING SYSTEM VALUE SELECT $1, meter_id, '2026-10-01T00:00Z', 5, 0, 'test' FROM meter WHERE enterprise = $2;
INSERT INTO reading_decision (decision_id, meter_id, ts, says, reason, decided_by)
    OVERRIDING SYSTEM VALUE SELECT $1, meter_id, '2026-10-02T00:00Z', 'discard', 'x', 'test'
    FROM meter WHERE enterprise = $2;
WITH who AS (INSERT INTO recipient (owner, role, email, name, language)
    VALUES ($2, 'energy_manager', 'm@example.com', 'm', 'en') RETURNING recipient_id)
    INSERT INTO outbox (outbox_id, alert_id, seq, recipient_id, kind, level, delivery, payload, message_id, state,
        next_at, created_at)
    OVERRIDING SYSTEM VALUE SELECT $1, $1, 2, recipient_id, 'raised', 'orange', 'immediate', '{}', 'x', 'failed',
        'infinity', now() FROM who;
INSERT INTO meter_multiplier (multiplier_id, meter_id, valid_from, multiplier, recorded_by)
    OVERRIDING SYSTEM VALUE SELECT $1, meter_id, '2026-10-01T00:00Z', 2, 'test' FROM meter WHERE enterprise = $2
"""


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Api]:
    """With an object of every kind on both sides."""
    async with an_api(database_url) as api:
        for number, key in ((900_001, OWN), (900_002, FOREIGN)):
            for statement in RECORDS.split(";"):
                await api.sql(statement, number, key)
        yield api


async def asked(api: Api, route: APIRoute, role: str | None, which: str = "own") -> httpx2.Response:
    """The route asked for an own, a foreign or a missing object."""
    keys = keys_of(route)[which] if "{" in route.path else {}
    method, path = method_of(route), PREFIX + route.path.format(**keys)
    body = PARTS.get(route.path, {}) if keys else FOREIGN_BODIES.get(str(route.operation_id), {})
    needed = {field.alias for field in route.dependant.query_params if field.field_info.is_required()}
    more: dict[str, Any] = {"params": {name: RANGE[name] for name in needed}}
    if method != "GET":
        more["json"] = body
    return await api.ask(method, path, role=role, **more)


@pytest.mark.parametrize("route", ALL, ids=ids(ALL))
def test_every_route_has_a_rule_and_a_name(route: APIRoute) -> None:
    assert set(RULES) & set(dependencies(route.dependant)), f"{route.path} asks nobody who they are"
    assert route.operation_id


def test_every_route_is_tried_below() -> None:
    names = [route.operation_id for route in ALL]
    assert len(names) == len(set(names))
    for route in CREATING:
        assert {route.operation_id} & {*FOREIGN_BODIES, *NAMES_NOTHING}, HOW.format(
            route=f"{method_of(route)} {route.path}"
        )
    for route in WITH_KEYS:
        keys_of(route)


@pytest.mark.parametrize("route", WITH_KEYS, ids=ids(WITH_KEYS))
@pytest.mark.parametrize("role", ROLES)
async def test_what_is_not_theirs_looks_to_them_as_if_it_did_not_exist(api: Api, route: APIRoute, role: str) -> None:
    answers = {which: await asked(api, route, role, which) for which in ("foreign", "missing", "own")}
    if role not in allowed(route):
        if route.path.startswith(OF_EVERYBODY):
            answers.pop("missing")
        assert all(is_problem(answer, 403, "read-only") for answer in answers.values())
        return
    sees = {"own", "foreign"} if role == "admin" or route.path.startswith(OF_EVERYBODY) else {"own"}
    if role == "enterprise" and route.path.startswith(("/regions", "/reports/monthly")):
        sees = set()
    for which, answer in answers.items():
        if which not in sees:
            is_problem(answer, 404, "not-found")
        elif method_of(route) == "GET":
            assert answer.status_code == 200, answer.text
        else:
            assert answer.status_code < 300 or answer.status_code in (409, 422), answer.text
            await leaves_a_line(api, route, role, answer)
    if "foreign" not in sees:
        assert telling(answers["foreign"], route, "foreign") == telling(answers["missing"], route, "missing")
        refused = await api.sql("SELECT actor FROM audit WHERE outcome = 'not-found-or-out-of-scope'")
        assert len(refused) == 3 - len(sees)
        assert {f"the {role}" in actor for (actor,) in refused} == {True}


async def leaves_a_line(api: Api, route: APIRoute, role: str, answer: httpx2.Response) -> None:
    """Whoever changed something has a line in the trail; two objects changed at most lie between."""
    if answer.status_code >= 300 or route.path.startswith(OF_A_TOKEN):
        return  # webhooks: tests/webhooks/test_trail.py
    told = await api.sql("SELECT action FROM audit WHERE outcome = 'done' AND actor LIKE $1", f"%the {role}")
    assert told, f"{method_of(route)} {route.path} changed something and left no line in the trail: write_audit"


def telling(answer: httpx2.Response, route: APIRoute, which: str) -> dict[str, Any]:
    """The problem without what may differ: the request's id, and the key that was asked for."""
    body: dict[str, Any] = answer.json()
    body.pop("instance")
    keys = keys_of(route)[which]
    for key in ("/".join(keys.values()), *keys.values()):
        body["detail"] = body["detail"].replace(key, "…")
    return body


@pytest.mark.parametrize("role", ROLES)
async def test_who_may_not_create_is_told_so(api: Api, role: str) -> None:
    for route in CREATING:
        answer = await asked(api, route, role)
        if role not in allowed(route):
            is_problem(answer, 403, "read-only")
        else:
            assert answer.status_code not in (401, 403, 404), f"{route.path}: {answer.text}"


async def test_what_is_created_leaves_a_line(api: Api) -> None:
    swap = {FOREIGN: OWN, FOREIGN_REGION: OWN_REGION, "gw-foreign": "gw-own"}
    created = 0
    for route in CREATING:
        body = FOREIGN_BODIES.get(str(route.operation_id))
        if body is None or route.path.startswith(OF_A_TOKEN):
            continue
        await api.sql("DELETE FROM audit")
        own = {name: swap.get(value, value) if isinstance(value, str) else value for name, value in body.items()}
        answer = await api.ask(method_of(route), PREFIX + route.path, json=own)
        created += answer.status_code < 300
        await leaves_a_line(api, route, "admin", answer)
    assert created >= 6


@pytest.mark.parametrize("role", [None, "gateway"])
async def test_without_a_token_nothing_is_told(api: Api, role: str | None) -> None:
    """A gateway's secret opens the readings door and no other."""
    for route in GUARDED:
        answer = await asked(api, route, role)
        is_problem(answer, 401, "token-invalid")
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("route", [*WITH_KEYS, *CREATING], ids=ids([*WITH_KEYS, *CREATING]))
async def test_an_admin_is_kept_to_the_own_region(api: Api, route: APIRoute) -> None:
    await api.sql("UPDATE api_token SET scope = $1 WHERE name = 'the admin'", OWN_REGION)
    if route.path.startswith(OF_EVERYBODY):
        answer = await asked(api, route, "admin", "foreign")
        assert method_of(route) == "GET" or is_problem(answer, 403, "read-only")
        return
    if "{" in route.path:
        is_problem(await asked(api, route, "admin", "foreign"), 404, "not-found")
        return
    if route.operation_id in NAMES_NOTHING:
        return
    body = FOREIGN_BODIES[str(route.operation_id)]
    is_problem(await api.ask(method_of(route), PREFIX + route.path, json=body), 422, "wrong-field")


@pytest.mark.parametrize("role", ROLES)
async def test_a_list_holds_only_what_the_caller_may_see(api: Api, role: str) -> None:
    await api.sql("UPDATE api_token SET scope = $1 WHERE name = 'the admin'", OWN_REGION)
    await api.sql(
        """WITH message AS (
               INSERT INTO rejected_message (received_at, door, gateway, content_type, raw, digest, last_at)
               SELECT now(), 'http', unnest, 'application/json', 'x', unnest::bytea, now()
               FROM unnest(ARRAY['gw-own', 'gw-foreign', 'gw-stranger']) RETURNING message_id)
           INSERT INTO rejected_reading (message_id, code, detail) SELECT message_id, 'malformed', 'x' FROM message"""
    )
    for route in LISTS:
        answer = await asked(api, route, role)
        if role not in allowed(route):
            is_problem(answer, 403, "read-only")
            continue
        assert answer.status_code == 200, f"{route.path}: {answer.text}"
        for word in (FOREIGN, "gw-foreign", FOREIGN_REGION, "person.foreign"):
            assert word not in answer.text, route.path
        if route.path == "/rejections":
            seen = {item["gateway"] for item in answer.json()["items"]}
            assert seen == {"gw-own"} | ({"gw-stranger"} if role == "admin" else set())


@pytest.mark.parametrize("route", MINE, ids=ids(MINE))
@pytest.mark.parametrize("role", ["supervisor", "enterprise"])
async def test_what_belongs_to_another_token_looks_as_if_it_did_not_exist(api: Api, route: APIRoute, role: str) -> None:
    told = {}
    for which, keys in keys_of(route).items():
        told[which] = is_problem(await asked(api, route, role, which), 404, "not-found")
        told[which].pop("instance")
        told[which]["detail"] = told[which]["detail"].replace(next(iter(keys.values())), "…")
    assert told["own"] == told["missing"]
    assert len(await api.sql("SELECT FROM audit WHERE outcome = 'not-found-or-out-of-scope'")) == 2


async def test_the_trail_is_for_admins(api: Api) -> None:
    is_problem(await api.get("audit", role="supervisor"), 403, "read-only")
    assert (await api.get("audit")).status_code == 200


@pytest.mark.parametrize(
    "spoil",
    ["revoked_at = now()", "expires_at = '2026-11-24T00:59:59Z'", "token_sha256 = sha256('another')"],
)
async def test_a_token_ends(api: Api, spoil: str) -> None:
    assert (await api.get("enterprises")).status_code == 200
    await api.sql(f"UPDATE api_token SET {spoil} WHERE name = 'the admin'")
    is_problem(await api.get("enterprises"), 401, "token-invalid")


async def test_the_use_of_a_token_is_noted_and_only_its_digest_is_kept(api: Api) -> None:
    await api.get(f"regions/{CITY}")
    rows = await api.sql(
        "SELECT last_used_at, token_sha256 = sha256($1::bytea) FROM api_token WHERE name = 'the admin'",
        api.tokens["admin"].encode(),
    )
    assert rows[0][0] is not None
    assert rows[0][1] is True
