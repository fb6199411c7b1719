"""Every route, asked by every role for what is theirs, what is another's, and what does not exist."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute

from app.api.access import RULES, reporting, supervising
from app.api.application import PREFIX, ROUTERS
from tests.api.a_service import (
    CITY,
    FOREIGN,
    FOREIGN_REGION,
    MISSING,
    MISSING_REGION,
    OWN,
    OWN_REGION,
    Api,
    is_problem,
)

RANGE = {"from": "2026-11-01", "to": "2026-11-02"}
OBJECTS: dict[str, dict[str, dict[str, str]]] = {
    "/regions/{code}": {
        "own": {"code": OWN_REGION},
        "foreign": {"code": FOREIGN_REGION},
        "missing": {"code": MISSING_REGION},
    },
    "/enterprises/{enterprise}/budgets": {
        which: {"enterprise": key, "year": "2026", "revision": "1", "exclusion": "1"}
        for which, key in (("own", OWN), ("foreign", FOREIGN), ("missing", MISSING))
    },
    "/enterprises/{enterprise}": {
        "own": {"enterprise": OWN},
        "foreign": {"enterprise": FOREIGN},
        "missing": {"enterprise": MISSING},
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
    "/levels/{level}": {"own": {"level": "1"}, "foreign": {"level": "2"}, "missing": {"level": "900003"}},
    **{
        f"/meters/{{enterprise}}/{{code}}/{many}/{{{one}}}": {
            "own": {"enterprise": OWN, "code": "E001", one: "1"},
            "foreign": {"enterprise": FOREIGN, "code": "E001", one: "1"},
        }
        for many, one in (("exchanges", "exchange"), ("multipliers", "multiplier"), ("decisions", "decision"))
    },
    "/meters/{enterprise}/{code}": {
        "own": {"enterprise": OWN, "code": "E001"},
        "foreign": {"enterprise": FOREIGN, "code": "E001"},
        "missing": {"enterprise": OWN, "code": "E999"},
    },
}
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
    "/levels/{level}": {"unit": "kgce/t", "edition": "x", "source": "x", "valid_from": "2030-01-01"},
}
"""Bodies of changes that need more than nothing to be read."""
LISTS = (
    "/regions",
    "/budgets",
    "/enterprises",
    "/gateways",
    "/meters",
    "/rejections",
    "/carriers",
    "/factors",
    "/lines",
    "/products",
    "/levels",
    "/held",
)
OF_EVERYBODY = ("/levels/{level}",)


def routes() -> Iterator[APIRoute]:
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            yield route


def keys_of(route: APIRoute) -> dict[str, dict[str, str]]:
    return next(keys for start, keys in OBJECTS.items() if route.path.startswith(start))


def dependencies(dependant: Any) -> Iterator[Any]:
    for part in dependant.dependencies:
        yield part.call
        yield from dependencies(part)


ALL = list(routes())
READS = [route for route in ALL if "{" in route.path and route.methods == {"GET"} and route.path not in OF_EVERYBODY]
WRITES = [route for route in ALL if route.methods != {"GET"}]


def may_write(role: str, route: APIRoute) -> bool:
    """What a supervisor keeps, and what everybody reports of what is theirs."""
    rules = set(dependencies(route.dependant))
    return reporting in rules or (role == "supervisor" and supervising in rules)


def method_of(route: APIRoute) -> str:
    assert route.methods is not None
    return next(iter(route.methods))


def ids(found: list[APIRoute]) -> list[str]:
    return [str(route.operation_id) for route in found]


@pytest.mark.parametrize("route", ALL, ids=lambda route: str(route.operation_id))
def test_every_route_has_a_rule_and_a_name(route: APIRoute) -> None:
    assert set(RULES) & set(dependencies(route.dependant)), f"{route.path} asks nobody who they are"
    assert route.operation_id


def test_operation_names_are_unique_and_every_list_is_looked_at() -> None:
    names = [route.operation_id for route in ALL]
    assert len(names) == len(set(names))
    lists = {route.path for route in ALL if "{" not in route.path and route.methods == {"GET"}}
    assert lists == {*LISTS, "/audit"}


@pytest.mark.parametrize("route", READS, ids=ids(READS))
@pytest.mark.parametrize("role", ["admin", "supervisor", "enterprise"])
async def test_what_is_not_theirs_looks_to_them_as_if_it_did_not_exist(api: Api, route: APIRoute, role: str) -> None:
    answers = {}
    for which, keys in keys_of(route).items():
        path = PREFIX + route.path.format(**keys)
        answers[which] = await api.ask("GET", path, role=role, params=RANGE if "from" in str(names(route)) else {})
    sees = {"admin": {"own", "foreign"}, "supervisor": {"own"}, "enterprise": {"own"}}[role]
    if role == "enterprise" and route.path.startswith("/regions"):
        sees = set()
    for which, answer in answers.items():
        if which in sees:
            assert answer.status_code == 200, answer.text
        else:
            is_problem(answer, 404, "not-found")
    if "foreign" not in sees:
        assert telling(answers["foreign"], route, "foreign") == telling(answers["missing"], route, "missing")
        refused = await api.sql("SELECT actor FROM audit WHERE outcome = 'not-found-or-out-of-scope'")
        assert len(refused) == 3 - len(sees)
        assert {f"the {role}" in actor for (actor,) in refused} == {True}


def names(route: APIRoute) -> list[str]:
    return [parameter.alias for parameter in route.dependant.query_params]


def telling(answer: Any, route: APIRoute, which: str) -> dict[str, Any]:
    """The problem without what may differ: the request's id, and the key that was asked for."""
    body: dict[str, Any] = answer.json()
    body.pop("instance")
    keys = keys_of(route)[which]
    for key in ("/".join(keys.values()), *keys.values()):
        body["detail"] = body["detail"].replace(key, "…")
    return body


@pytest.mark.parametrize("route", WRITES, ids=ids(WRITES))
@pytest.mark.parametrize("role", ["supervisor", "enterprise"])
async def test_who_may_read_may_not_write(api: Api, route: APIRoute, role: str) -> None:
    if may_write(role, route):
        return
    keys = keys_of(route)["own"] if "{" in route.path else {}
    method = method_of(route)
    answer = await api.ask(method, PREFIX + route.path.format(**keys), role=role, json={})
    is_problem(answer, 403, "read-only")


@pytest.mark.parametrize("route", ALL, ids=lambda route: str(route.operation_id))
async def test_without_a_token_nothing_is_told(api: Api, route: APIRoute) -> None:
    keys = keys_of(route)["own"] if "{" in route.path else {}
    method = method_of(route)
    answer = await api.ask(method, PREFIX + route.path.format(**keys), role=None, json={})
    is_problem(answer, 401, "token-invalid")
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("route", WRITES, ids=ids(WRITES))
async def test_an_admin_writes_only_within_the_own_scope(api: Api, route: APIRoute) -> None:
    await api.sql("UPDATE api_token SET scope = $1 WHERE role = 'admin'", OWN_REGION)
    method = method_of(route)
    if route.path.startswith("/levels"):
        body = PARTS["/levels/{level}"] | ({} if "{" in route.path else {"kind": "limit", "product": "cement"})
        path = PREFIX + route.path.format(level="1")
        is_problem(await api.ask(method, path, json=body), 403, "read-only")
        return
    if "{" in route.path:
        path = PREFIX + route.path.format(**keys_of(route)["foreign"])
        is_problem(await api.ask(method, path, json=PARTS.get(route.path, {})), 404, "not-found")
        return
    bodies: dict[str, dict[str, Any]] = {
        "/lines": PARTS["/lines/{line}"] | {"enterprise": FOREIGN, "code": "X1"},
        "/factors": {
            "carrier": "coke",
            "enterprise": FOREIGN,
            "value": 1,
            "valid_from": "2026-01-01",
            "source": "x",
        },
        "/enterprises": {"id": MISSING, "name": "x", "region": FOREIGN_REGION, "industry": "3011"},
        "/gateways": {"id": "gw-x", "enterprise": FOREIGN, "name": "x"},
        "/meters": {
            "enterprise": FOREIGN,
            "code": "E002",
            "name": "x",
            "gateway": "gw-foreign",
            "carrier": "electricity",
            "unit": "kWh",
            "role": "purchase",
        },
    }
    if route.path == "/rejections/replay":  # names nothing: tests/api/test_rejections.py looks at what it reaches
        return
    answer = await api.ask(method, PREFIX + route.path, json=bodies[route.path])
    is_problem(answer, 422, "wrong-field")


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(("role", "unseen"), [("supervisor", FOREIGN), ("enterprise", FOREIGN)])
async def test_a_list_holds_only_what_the_caller_may_see(api: Api, path: str, role: str, unseen: str) -> None:
    await api.sql(
        """WITH message AS (
               INSERT INTO rejected_message (received_at, door, gateway, content_type, raw, digest, last_at)
               SELECT now(), 'http', unnest, 'application/json', 'x', unnest::bytea, now()
               FROM unnest(ARRAY['gw-own', 'gw-foreign', 'gw-stranger']) RETURNING message_id)
           INSERT INTO rejected_reading (message_id, code, detail) SELECT message_id, 'malformed', 'x' FROM message"""
    )
    answer = await api.get(path.lstrip("/"), role=role)
    assert answer.status_code == 200
    for word in (unseen, "gw-foreign", "gw-stranger", FOREIGN_REGION):
        assert word not in answer.text
    if path == "/rejections":
        assert [item["gateway"] for item in answer.json()["items"]] == ["gw-own"]
        everybodys = (await api.get("rejections")).json()["items"]
        assert {item["gateway"] for item in everybodys} == {"gw-own", "gw-foreign", "gw-stranger"}


async def test_the_trail_is_for_admins(api: Api) -> None:
    is_problem(await api.get("audit", role="supervisor"), 403, "read-only")
    assert (await api.get("audit")).status_code == 200


@pytest.mark.parametrize(
    "spoil",
    ["revoked_at = now()", "expires_at = '2026-11-24T00:59:59Z'", "token_sha256 = sha256('another')"],
)
async def test_a_token_ends(api: Api, spoil: str) -> None:
    assert (await api.get("enterprises")).status_code == 200
    await api.sql(f"UPDATE api_token SET {spoil} WHERE role = 'admin'")
    is_problem(await api.get("enterprises"), 401, "token-invalid")


async def test_the_use_of_a_token_is_noted_and_only_its_digest_is_kept(api: Api) -> None:
    await api.get(f"regions/{CITY}")
    rows = await api.sql(
        "SELECT last_used_at, token_sha256 = sha256($1::bytea) FROM api_token WHERE role = 'admin'",
        api.tokens["admin"].encode(),
    )
    assert rows[0][0] is not None
    assert rows[0][1] is True
