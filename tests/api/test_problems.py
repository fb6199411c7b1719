"""Whatever goes wrong, the answer is one kind of document with a stable code."""

from __future__ import annotations

import asyncpg
import pytest

from app.api import problems
from app.api.deps import Health
from ingest.accounts import BrokerRefused, NameReserved
from ingest.mqtt import BrokerUnavailable
from tests.api.a_service import OWN, Api, a_meter, is_problem

RANGE = "from=2026-11-01&to=2026-11-02"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("nothing", 404, "not-found"),
        ("enterprises?limit=0", 422, "invalid"),
        ("enterprises?limit=1001", 422, "invalid"),
        ("enterprises?sort=colour", 422, "invalid"),
        ("enterprises?cursor=%21%21", 422, "bad-cursor"),
        ("enterprises?cursor=AAAA", 422, "bad-cursor"),
        ("enterprises?sort=-tce&cursor=eA", 422, "bad-cursor"),
        ("rejections?cursor=eA", 422, "bad-cursor"),
        ("enterprises?region=%00", 422, "invalid"),
        ("enterprises/%00", 404, "not-found"),
        ("gateways/%00", 404, "not-found"),
        (f"meters/{OWN}/%00", 404, "not-found"),
        ("regions/%00", 404, "not-found"),
        (f"enterprises/{OWN}/energy", 422, "invalid"),
        (f"enterprises/{OWN}/energy?{RANGE}&interval=P1W", 422, "invalid"),
        (f"enterprises/{OWN}/energy?from=2026-11-01&to=2026-11-01", 422, "bad-query"),
        (f"enterprises/{OWN}/energy?from=2026-11-02&to=2026-11-01", 422, "bad-query"),
        (f"enterprises/{OWN}/energy?from=2026-11-01T00:00:00&to=2026-11-02", 422, "timezone-missing"),
        (f"enterprises/{OWN}/energy?from=yesterday&to=2026-11-02", 422, "bad-time"),
        (f"enterprises/{OWN}/energy?from=2026-02-30&to=2026-11-02", 422, "bad-time"),
        (f"enterprises/{OWN}/energy?from=1900&to=2200&interval=PT1H", 422, "range-too-long"),
        (f"meters/{OWN}/E001/readings?from=2026&to=2025", 422, "bad-query"),
        (f"meters/{OWN}/E001/readings?{RANGE}&cursor=eA", 422, "bad-cursor"),
    ],
)
async def test_a_wrong_question_is_named(api: Api, path: str, status: int, code: str) -> None:
    is_problem(await api.get(path), status, code)


async def test_what_is_wrong_in_a_body_is_pointed_at(api: Api) -> None:
    body = is_problem(await api.post("meters", a_meter(code="E 2", kind="guess", colour="red")), 422, "invalid")
    assert {error["pointer"] for error in body["errors"]} == {"/body/code", "/body/kind", "/body/colour"}
    assert all(error["code"] and error["detail"] for error in body["errors"])


@pytest.mark.parametrize(
    ("change", "code", "pointer"),
    [
        ({"unit": "t"}, "unit-mismatch", "/body/unit"),
        ({"carrier": "moonlight"}, "wrong-field", "/body/carrier"),
        ({"gateway": "gw-foreign"}, "wrong-field", "/body/gateway"),
        ({"kind": "rate", "unit": "kWh"}, "unit-mismatch", "/body/unit"),
    ],
)
async def test_a_meter_that_cannot_be_is_refused(api: Api, change: dict[str, str], code: str, pointer: str) -> None:
    body = is_problem(await api.post("meters", a_meter(code="E002", **change)), 422, code)
    assert [error["pointer"] for error in body["errors"]] == [pointer]
    is_problem(await api.get(f"meters/{OWN}/E002"), 404, "not-found")


async def test_a_wrong_credit_code_is_told_its_right_check_character(api: Api) -> None:
    body = {"id": OWN[:-1] + "7", "name": "x", "region": "445302", "industry": "3011"}
    problem = is_problem(await api.post("enterprises", body), 422, "wrong-credit-code")
    assert "should be J" in problem["errors"][0]["detail"]


async def test_what_exists_cannot_be_created_again(api: Api) -> None:
    is_problem(await api.post("meters", a_meter()), 409, "exists-already")
    is_problem(await api.post("gateways", {"id": "gw-own", "enterprise": OWN, "name": "x"}), 409, "exists-already")


@pytest.mark.parametrize("body", [b"hello", b"[1,", b"[]", b"null", b"", b'{"\\ud800": 1}', b'{"name": "\\ud800"}'])
async def test_a_body_that_is_no_document_is_a_problem(api: Api, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    is_problem(await api.ask("POST", "/api/v1/meters", content=body, headers=headers), 422, "invalid")
    is_problem(await api.ask("POST", "/api/v1/meters", content=b"\xff", headers=headers), 400, "malformed")


async def test_a_body_too_large_is_refused(api: Api) -> None:
    is_problem(await api.ask("POST", "/api/v1/meters", content=b" " * 10_001), 413, "body-too-large")


async def test_a_method_that_is_not_there_is_named(api: Api) -> None:
    answer = await api.ask("DELETE", "/api/v1/enterprises")
    is_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET, POST"


@pytest.mark.parametrize(
    ("accepts", "title"),
    [("zh-CN", "未找到"), ("zh", "未找到"), ("en", "Not found"), ("fr, zh-CN;q=0.5", "未找到"), ("", "Not found")],
)
async def test_the_title_is_in_the_callers_language_and_the_code_never_is(api: Api, accepts: str, title: str) -> None:
    body = is_problem(await api.get("enterprises/x", headers={"accept-language": accepts}), 404, "not-found")
    assert body["title"] == title


@pytest.mark.parametrize("error", [BrokerUnavailable("gone"), BrokerRefused("createClient", "no")])
async def test_a_gateway_the_broker_does_not_take_is_not_created(api: Api, error: Exception) -> None:
    api.accounts.trouble = error
    answer = await api.post("gateways", {"id": "gw-new", "enterprise": OWN, "name": "x"})
    is_problem(answer, 503, "broker-unavailable")
    assert answer.headers["retry-after"]
    assert await api.sql("SELECT FROM gateway WHERE id = 'gw-new'") == []
    before = await api.sql("SELECT secret_sha256 FROM gateway WHERE id = 'gw-own'")
    is_problem(await api.ask("POST", "/api/v1/gateways/gw-own/secret"), 503, "broker-unavailable")
    assert await api.sql("SELECT secret_sha256 FROM gateway WHERE id = 'gw-own'") == before


async def test_a_gateway_cannot_take_the_services_own_name(api: Api) -> None:
    api.accounts.trouble = NameReserved("tcewatch")
    answer = await api.post("gateways", {"id": "tcewatch", "enterprise": OWN, "name": "x"})
    assert is_problem(answer, 422, "name-reserved")["errors"][0]["pointer"] == "/body/id"
    assert await api.sql("SELECT FROM gateway WHERE id = 'tcewatch'") == []


@pytest.mark.parametrize(
    "error", [ConnectionRefusedError("refused"), asyncpg.CannotConnectNowError("starting"), asyncpg.InterfaceError("x")]
)
async def test_a_database_that_is_gone_is_a_503(
    api: Api, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def gone(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("app.api.access.caller_of", gone)
    answer = await api.get("enterprises")
    body = is_problem(answer, 503, "database-unavailable")
    assert answer.headers["retry-after"]
    assert logged_instances(caplog) == [body["instance"]]


def logged_instances(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The instance of every line the API wrote to the log."""
    return [vars(line)["instance"] for line in caplog.records if line.name == problems.log.name]


async def test_a_fault_of_ours_tells_nothing_but_where_to_look(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret things")

    monkeypatch.setattr("app.api.access.caller_of", broken)
    body = is_problem(await api.get("enterprises"), 500, "internal")
    assert "secret" not in str(body)
    assert logged_instances(caplog) == [body["instance"]]


def test_every_problem_has_a_status_a_code_and_both_titles() -> None:
    for status, code, title, title_zh in problems.PROBLEMS.values():
        assert 400 <= status < 600
        assert code == code.lower()
        assert title.isascii()
        assert not title_zh.isascii()


async def test_health_needs_no_token_and_readiness_is_a_status(api: Api) -> None:
    assert (await api.ask("GET", "/healthz", role=None)).json() == {"status": "alive"}
    ready = await api.ask("GET", "/readyz", role=None)
    assert (ready.status_code, ready.json()["backlog"]["rows"]) == (200, 0)
    for said in (Health(False, True, None, None, 0, 0.0), Health(True, False, 0, 0.0, 0, 0.0)):
        api.healthy.said = said
        assert (await api.ask("GET", "/readyz", role=None)).status_code == 503
    metrics = await api.ask("GET", "/metrics", role=None)
    assert metrics.headers["content-type"].startswith("text/plain")
