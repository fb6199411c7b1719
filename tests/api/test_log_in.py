"""People log in with a password and work in a session: what lets them in, what keeps others out, and what ends it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import httpx2
import pytest
from argon2 import PasswordHasher

from app.api.access import SESSION_COOKIE
from app.api.application import create_api
from app.api.limits import RateLimits, share_of
from app.store import passwords
from app.store.accounts import IDLE, LONGEST, csrf_of
from app.store.passwords import FREE_TRIES_ACCOUNT, FREE_TRIES_ADDRESS, WeakPassword, wait_s
from tests.api.a_service import FOREIGN_REGION, NOW, OWN, OWN_REGION, Api, is_problem

PASSWORD = "a long walk by the river"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
HASHED, NOBODYS_HASH = CHEAP.hash(PASSWORD), CHEAP.hash("nobody")


@pytest.fixture(autouse=True)
def _cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real ones are meant to be slow; what they are made with is looked at below."""
    monkeypatch.setattr(passwords, "_hasher", CHEAP)
    monkeypatch.setattr(passwords, "NOBODYS_HASH", NOBODYS_HASH)


REAL = passwords._hasher, passwords.NOBODYS_HASH


def test_a_hash_costs_what_the_rfc_asks_for() -> None:
    """RFC 9106, second recommended option: Argon2id, three passes over 64 MiB, four lanes."""
    for kept in (REAL[1], REAL[0].hash(PASSWORD)):
        assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert passwords.AT_ONCE <= 4


class Clock:
    """The service's clock, moved by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
async def clock(api: Api) -> Clock:
    clock = Clock()
    api.app.state.deps = replace(api.app.state.deps, clock=clock)
    return clock


@pytest.fixture
async def people(api: Api) -> Api:
    """With a supervisor named chen and an admin named li. Hashed once: it is meant to be slow."""
    for name, role in (("chen", "supervisor"), ("li", "admin")):
        await api.sql(
            "INSERT INTO account (name, role, scope, password_hash) VALUES ($1, $2, $3, $4)",
            name,
            role,
            OWN_REGION,
            HASHED,
        )
    return api


async def log_in(api: Api, name: str = "chen", password: str = PASSWORD, **headers: str) -> httpx2.Response:
    body = {"name": name, "password": password}
    return await api.ask("POST", "/api/v1/session", role=None, json=body, headers=headers)


async def with_session(api: Api, method: str, path: str, csrf: str | None = None, **more: object) -> httpx2.Response:
    headers = {} if csrf is None else {"X-CSRF-Token": csrf}
    return await api.ask(method, f"/api/v1/{path}", role=None, headers=headers, **more)


async def test_a_person_logs_in_and_sees_what_is_theirs(people: Api) -> None:
    answer = await log_in(people, "CHEN")
    assert answer.status_code == 200, answer.text
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "secure" not in cookie, "the test's address is http"
    assert PASSWORD not in answer.text
    seen = (await with_session(people, "GET", "enterprises")).json()["items"]
    assert [item["id"] for item in seen] == [OWN]
    is_problem(await with_session(people, "GET", f"regions/{FOREIGN_REGION}"), 404, "not-found")
    session = (await with_session(people, "GET", "session")).json()
    assert (session["name"], session["kind"], session["role"]) == ("chen", "user", "supervisor")
    assert session["csrf_token"] == answer.json()["csrf_token"]


async def test_an_admin_makes_an_account_and_the_person_comes_in(api: Api) -> None:
    body = {"name": "Wang", "full_name": "王", "role": "supervisor", "scope": OWN_REGION, "password": PASSWORD}
    made = await api.post("users", body)
    assert (made.status_code, made.headers["location"]) == (201, "/api/v1/users/wang")
    assert PASSWORD not in made.text
    assert (await log_in(api, "wang")).json()["full_name"] == "王"
    is_problem(await api.post("users", body), 409, "exists-already")
    is_problem(await api.post("users", body | {"name": "x", "password": "short"}), 422, "weak-password")
    line = (await api.sql("SELECT after::text FROM audit WHERE action = 'account.create'"))[0][0]
    assert PASSWORD not in line
    assert "argon2" not in line


async def test_over_https_the_cookie_is_secure(people: Api) -> None:
    transport = httpx2.ASGITransport(app=people.app)
    async with httpx2.AsyncClient(transport=transport, base_url="https://service") as client:
        answer = await client.post("/api/v1/session", json={"name": "chen", "password": PASSWORD})
    assert "secure" in answer.headers["set-cookie"].lower()


async def test_nothing_is_kept_in_the_clear(people: Api) -> None:
    await log_in(people)
    rows = await people.sql("SELECT a::text FROM account AS a UNION ALL SELECT s::text FROM login_session AS s")
    whole = "\n".join(row[0] for row in rows)
    assert "$argon2id$" in whole
    assert PASSWORD not in whole
    assert people.client.cookies[SESSION_COOKIE] not in whole


@pytest.mark.parametrize(("name", "password"), [("chen", "another walk by the sea"), ("nobody", PASSWORD), ("", "")])
async def test_wrong_name_and_wrong_password_look_and_cost_the_same(
    people: Api, name: str, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No stopwatch: what is asserted is that a hash is verified for a name that does not exist, too."""
    verified = []
    fits = passwords._fits

    def noted(said: str, kept: str) -> bool:
        verified.append(kept)
        return fits(said, kept)

    monkeypatch.setattr(passwords, "_fits", noted)
    answer = await log_in(people, name, password)
    body = is_problem(answer, 401, "login-refused")
    assert body["detail"] == body["title"]
    assert "set-cookie" not in answer.headers
    assert len(verified) == 1
    assert (verified[0] == NOBODYS_HASH) == (name != "chen")


async def test_an_account_that_is_shut_or_has_no_password_lets_nobody_in(people: Api) -> None:
    await people.patch("users/chen", {"active": False})
    is_problem(await log_in(people), 401, "login-refused")
    is_problem(await log_in(people, "person.own", ""), 401, "login-refused")


async def test_a_session_is_new_at_each_log_in_and_one_set_beforehand_is_worth_nothing(people: Api) -> None:
    """Session fixation: what somebody put into the browser before does not become the session."""
    people.client.cookies.set(SESSION_COOKIE, "fixed-by-somebody", domain="service")
    first = (await log_in(people)).cookies[SESSION_COOKIE]
    assert first != "fixed-by-somebody"
    second = (await log_in(people)).cookies[SESSION_COOKIE]
    assert second != first
    assert len(await people.sql("SELECT FROM login_session")) == 1, "the one before ended"
    for stale in (first, "fixed-by-somebody"):
        people.client.cookies.clear()
        people.client.cookies.set(SESSION_COOKIE, stale)
        is_problem(await with_session(people, "GET", "session"), 401, "token-invalid")


async def test_a_change_needs_the_sessions_own_token(people: Api) -> None:
    csrf = (await log_in(people, "li")).json()["csrf_token"]
    for wrong in (None, "", csrf[:-1], csrf_of("another")):
        answer = await with_session(people, "PATCH", f"enterprises/{OWN}", wrong, json={"name": "x"})
        is_problem(answer, 403, "csrf-refused")
    done = await with_session(people, "PATCH", f"enterprises/{OWN}", csrf, json={"name": "x"})
    assert done.status_code == 200
    assert (await people.sql("SELECT actor FROM audit WHERE action = 'enterprise.change'"))[0][0].startswith("user:")
    refused = await people.sql("SELECT count(*) FROM audit WHERE action = 'enterprise.change'")
    assert refused[0][0] == 1


async def test_another_sites_page_cannot_log_somebody_in(people: Api) -> None:
    is_problem(await log_in(people, **{"sec-fetch-site": "cross-site"}), 403, "csrf-refused")
    form = {"content-type": "application/x-www-form-urlencoded"}
    answer = await people.ask("POST", "/api/v1/session", role=None, content=b"name=chen", headers=form)
    is_problem(answer, 415, "unsupported-media-type")


async def test_a_session_ends_when_it_is_idle_and_at_its_longest(people: Api, clock: Clock) -> None:
    await log_in(people)
    begun = clock.now
    while clock.now + IDLE * 0.9 < begun + LONGEST:
        clock.now += IDLE * 0.9
        assert (await with_session(people, "GET", "session")).status_code == 200
    clock.now = begun + LONGEST
    is_problem(await with_session(people, "GET", "session"), 401, "token-invalid")
    people.client.cookies.clear()
    await log_in(people)
    clock.now += IDLE
    is_problem(await with_session(people, "GET", "session"), 401, "token-invalid")


async def test_log_out_ends_one_session_and_log_out_everywhere_all(people: Api) -> None:
    first = await log_in(people)
    people.client.cookies.clear()
    second = await log_in(people)
    gone = await with_session(people, "DELETE", "session", second.json()["csrf_token"])
    assert gone.status_code == 204
    assert 'tcewatch_session=""' in gone.headers["set-cookie"]
    assert len(await people.sql("SELECT FROM login_session")) == 1
    people.client.cookies.clear()
    third = await log_in(people)
    await with_session(people, "DELETE", "sessions", third.json()["csrf_token"])
    people.client.cookies.clear()
    people.client.cookies.set(SESSION_COOKIE, first.cookies[SESSION_COOKIE])
    is_problem(await with_session(people, "GET", "session"), 401, "token-invalid")


async def test_a_password_is_changed_by_who_knows_it_and_that_ends_every_session(people: Api) -> None:
    csrf = (await log_in(people)).json()["csrf_token"]
    new = "another walk by the sea"
    wrong = {"current": "not the one, not the one", "password": new}
    is_problem(await with_session(people, "PUT", "session/password", csrf, json=wrong), 401, "login-refused")
    weak = {"current": PASSWORD, "password": "short"}
    answer = await with_session(people, "PUT", "session/password", csrf, json=weak)
    assert is_problem(answer, 422, "weak-password")["errors"][0]["pointer"] == "/body/password"
    right = {"current": PASSWORD, "password": new}
    assert (await with_session(people, "PUT", "session/password", csrf, json=right)).status_code == 204
    assert await people.sql("SELECT FROM login_session") == []
    is_problem(await log_in(people), 401, "login-refused")
    assert (await log_in(people, password=new)).status_code == 200


@pytest.mark.parametrize(
    "change", [{"password": "another walk by the sea"}, {"active": False}, {"role": "admin"}, {"scope": "4453"}]
)
async def test_what_an_admin_changes_ends_the_sessions(people: Api, change: dict[str, object]) -> None:
    await log_in(people)
    before = (await people.get("users/chen")).json()
    assert len(before["sessions"]) == 1
    assert (await people.patch("users/chen", change)).status_code == 200
    is_problem(await with_session(people, "GET", "session"), 401, "token-invalid")
    line = (await people.get("audit?object_kind=account&object_id=chen&limit=1")).json()["items"][0]
    assert line["action"] == "account.change"
    assert line["before"]["role"] == "supervisor"
    assert PASSWORD not in str(line)
    assert "another walk" not in str(line)


async def test_wrong_tries_make_an_account_wait_longer_and_longer(people: Api, clock: Clock) -> None:
    for _ in range(FREE_TRIES_ACCOUNT):
        is_problem(await log_in(people, password="wrong wrong wrong"), 401, "login-refused")
    waits = []
    for _ in range(3):
        answer = await log_in(people)
        is_problem(answer, 429, "login-locked")
        waits.append(int(answer.headers["retry-after"]))
        clock.now += timedelta(seconds=waits[-1])
        is_problem(await log_in(people, password="wrong wrong wrong"), 401, "login-refused")
    assert waits == [30, 60, 120]
    clock.now += timedelta(seconds=240)
    assert (await log_in(people)).status_code == 200, "the right one after the wait"
    people.client.cookies.clear()
    is_problem(await log_in(people, password="wrong wrong wrong"), 401, "login-refused")


async def test_an_address_that_tries_many_names_waits_too(people: Api) -> None:
    await people.sql("INSERT INTO login_attempt VALUES ('address:127.0.0.1', $1, $2)", FREE_TRIES_ADDRESS, NOW)
    is_problem(await log_in(people), 429, "login-locked")


def test_the_wait_grows_to_a_quarter_of_an_hour() -> None:
    waits = [wait_s(failures, FREE_TRIES_ACCOUNT) for failures in range(100)]
    assert waits[:8] == [0, 0, 0, 0, 0, 30, 60, 120]
    assert max(waits) == 900
    assert waits == sorted(waits)


@pytest.mark.parametrize("password", ["short", "aaaaaaaaaaaaaaaaaa", "chen.weiming1", "x" * 257])
def test_a_password_that_is_none(password: str) -> None:
    with pytest.raises(WeakPassword):
        passwords.checked_password(password, "chen.weiming")


async def test_a_token_is_made_used_rotated_and_revoked(api: Api, clock: Clock) -> None:
    made = (await api.post("tokens", {"name": "bureau", "role": "supervisor", "scope": OWN_REGION})).json()
    number, first = made["token_id"], made["token"]
    api.tokens["made"] = first
    assert (await api.get("enterprises", role="made")).status_code == 200
    listed = (await api.get("tokens")).json()["items"]
    assert first not in str(listed)
    assert next(item for item in listed if item["token_id"] == number)["last_used_at"] is not None

    rotated = await api.post(f"tokens/{number}/rotate", {"overlap_s": 60})
    api.tokens["next"] = rotated.json()["token"]
    for role in ("made", "next"):
        assert (await api.get("enterprises", role=role)).status_code == 200
    clock.now += timedelta(seconds=61)
    is_problem(await api.get("enterprises", role="made"), 401, "token-invalid")
    assert (await api.get("enterprises", role="next")).status_code == 200

    assert (await api.delete(f"tokens/{number}")).json()["revoked_at"] is not None
    is_problem(await api.get("enterprises", role="next"), 401, "token-invalid")
    is_problem(await api.post(f"tokens/{number}/rotate", {}), 404, "not-found")
    actions = await api.sql("SELECT action FROM audit WHERE object_id = $1 ORDER BY audit_id", str(number))
    assert [action for (action,) in actions] == ["token.create", "token.rotate", "token.revoke"]


async def test_nobody_hands_on_more_than_they_have(people: Api) -> None:
    csrf = (await log_in(people, "li")).json()["csrf_token"]
    for body in ({"role": "admin", "scope": "4453"}, {"role": "enterprise", "scope": "91445303MA4UQ7KJ3D"}):
        for path in ("tokens", "users"):
            answer = await with_session(people, "POST", path, csrf, json={"name": "x", **body})
            assert is_problem(answer, 422, "wrong-field")["errors"][0]["pointer"] == "/body/scope"
    answer = await with_session(people, "PATCH", "users/chen", csrf, json={"scope": "4453"})
    is_problem(answer, 422, "wrong-field")


async def test_who_asks_too_much_is_told_when_to_go_on(api: Api, clock: Clock) -> None:
    api.app.state.deps = replace(api.app.state.deps, limits=RateLimits(3))
    left = [(await api.get("carriers")).headers["ratelimit"] for _ in range(3)]
    assert left == ['"requests";r=2;t=60', '"requests";r=1;t=60', '"requests";r=0;t=60']
    clock.now += timedelta(seconds=20)
    answer = await api.get("carriers")
    is_problem(answer, 429, "rate-limited")
    assert answer.headers["retry-after"] == "40"
    assert answer.headers["ratelimit-policy"] == '"requests";q=3;w=60'
    assert (await api.get("carriers", role="supervisor")).status_code == 200, "each caller has an own allowance"
    clock.now += timedelta(seconds=40)
    assert (await api.get("carriers")).status_code == 200


async def test_an_answer_that_says_nothing_new_is_not_counted(api: Api) -> None:
    api.app.state.deps = replace(api.app.state.deps, limits=RateLimits(2))
    path = f"enterprises/{OWN}/energy?from=2026-11-01&to=2026-11-02"
    tag = (await api.get(path)).headers["etag"]
    for _ in range(3):
        assert (await api.get(path, headers={"if-none-match": tag})).status_code == 304
    assert (await api.get(path)).status_code == 200
    is_problem(await api.get(path), 429, "rate-limited")


def test_the_session_routes_are_in_the_document() -> None:
    paths = create_api(None).openapi()["paths"]
    assert paths["/api/v1/session"]["post"]["operationId"] == "logIn"
    schemes = paths["/api/v1/enterprises"]["get"]["security"]
    assert schemes == [{"token": []}, {"session": []}]


def test_processes_share_a_limit_and_never_exceed_it() -> None:
    assert [share_of(6000, processes) for processes in (1, 4, 7)] == [6000, 1500, 857]
    assert share_of(3, 5) == 1, "nobody is shut out altogether"
    assert share_of(0, 5) == 0, "no limit stays none"
