"""The HTTP door through a real server on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx2
import pytest
import uvicorn
import zstandard

from app.api.problems import spoken
from ingest.http import OPENAPI_PATH, REQUESTS_PER_GATEWAY, ReadingsEndpoint
from ingest.metrics import IngestMetrics
from ingest.pipeline import LedgerUnavailable, Limits, Pipeline
from tests.ingest.fakes import FakeLedger, FakeRegistry, a_registry, counted, metrics
from tests.ingest.messages import T0, as_csv
from tests.wait import soon

BODY_MAX = 100_000
SECRET = {"authorization": "Bearer secret of gw-1"}
GOOD = {"v": 1, "seq": 3, "ts": T0, "vals": {"E001": 1.5}}


@dataclass
class Served:
    ledger: FakeLedger
    registry: FakeRegistry
    measured: IngestMetrics
    client: httpx2.AsyncClient
    port: int

    async def post(self, body: object, **headers: str) -> httpx2.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post("/api/v1/readings", content=content, headers={**SECRET, **named})


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as it:
        yield it


@contextlib.asynccontextmanager
async def serving(limits: Limits | None = None) -> AsyncIterator[Served]:
    ledger, registry, measured, stop = FakeLedger(), a_registry(), metrics(), asyncio.Event()
    pipeline = Pipeline(ledger, registry, metrics=measured, limits=limits)
    app = ReadingsEndpoint(pipeline, metrics=measured, body_max_bytes=BODY_MAX, speak=spoken)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        config = uvicorn.Config(app, lifespan="off", log_level="warning", interface="asgi3")
        server = uvicorn.Server(config)
        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(pipeline.run(stop))
            serve = tasks.create_task(server._serve([listener]))
            await soon(lambda: server.started, "the server listens")
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                yield Served(ledger, registry, measured, client, port)
            stop.set()
            await writer
            server.should_exit = True
            await serve


def problem(answer: httpx2.Response, status: int, code: str) -> dict[str, object]:
    body: dict[str, object] = answer.json()
    assert (answer.status_code, body["code"], body["status"]) == (status, code, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(body) == {"type", "title", "status", "detail", "code", "instance"}
    return body


async def test_200_when_all_are_taken_and_only_after_the_commit(served: Served) -> None:
    served.ledger.open.clear()
    request = asyncio.create_task(served.post(GOOD))
    await soon(lambda: served.ledger.attempts == 1, "the commit is under way")
    assert not request.done()
    served.ledger.open.set()
    answer = await request
    assert answer.status_code == 200
    assert answer.json() == {"seq": 3, "stored": 1, "duplicate": 0, "revised": 0, "rejected": []}
    assert (await served.post(GOOD)).json()["duplicate"] == 1


async def test_207_when_some_and_422_when_none_are_taken(served: Served) -> None:
    some = await served.post({**GOOD, "vals": {"E001": 1.5, "X": 2}})
    none = await served.post({**GOOD, "vals": {"X": 2}})
    assert (some.status_code, none.status_code) == (207, 422)
    assert [refusal["code"] for refusal in some.json()["rejected"]] == ["unknown-meter"]
    unreadable = await served.post(b"hello")
    assert unreadable.status_code == 422
    assert unreadable.json()["rejected"][0]["code"] == "malformed"
    assert served.ledger.codes == ["unknown-meter", "unknown-meter", "malformed"]


@pytest.mark.parametrize(
    ("wish", "language", "title"),
    [
        ("zh-CN", "zh-CN", "网关密钥无效"),
        ("en, zh;q=0.5", "en", "No valid gateway secret"),
        ("de", "en", "No valid gateway secret"),
    ],
)
async def test_problems_are_in_the_language_that_is_wished(
    served: Served, wish: str, language: str, title: str
) -> None:
    headers = {"accept-language": wish, "authorization": "Bearer wrong"}
    answer = await served.client.post("/api/v1/readings", json=GOOD, headers=headers)
    assert problem(answer, 401, "unauthorized")["title"] == title
    assert (answer.headers["content-language"], answer.headers["vary"]) == (language, "Accept-Language")


async def test_csv_and_compressed_bodies_are_taken(served: Served) -> None:
    table = as_csv([("E001", T0, 1.5, 0), ("E002", T0, 2.5, 2)]).raw
    assert (await served.post(table, content_type="text/csv; charset=UTF-8")).json()["stored"] == 2
    for encoding, pack in (("gzip", gzip.compress), ("zstd", zstandard.compress)):
        answer = await served.post(pack(json.dumps(GOOD).encode()), content_encoding=encoding)
        assert answer.json()["duplicate"] == 1


async def test_a_broken_compressed_body_is_kept_as_it_came(served: Served) -> None:
    answer = await served.post(b"not gzip at all", content_encoding="gzip")
    assert answer.status_code == 422
    message, _ = served.ledger.refused[0]
    assert (message.raw, message.content_type) == (b"not gzip at all", "application/json; encoding=gzip")


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", "Basic c2VjcmV0", "secret of gw-1", "é"])
async def test_401_without_a_secret_that_is_known(served: Served, authorization: str) -> None:
    headers = [(b"authorization", authorization.encode("latin-1"))]
    answer = await served.client.post("/api/v1/readings", content=b"{}", headers=headers)
    problem(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert counted(served.measured, "unauthorised_total") == 1
    assert served.ledger.attempts == 0


async def test_a_secret_given_a_moment_ago_is_known(served: Served) -> None:
    await served.post(GOOD)
    served.registry.gateway("gw-new", "fresh")
    served.registry.meter("N1", "gw-new")
    answer = await served.post({**GOOD, "vals": {"N1": 1}}, authorization="Bearer fresh")
    assert answer.json()["stored"] == 1


async def test_413_before_the_body_is_read(served: Served) -> None:
    problem(await served.post(b" " * (BODY_MAX + 1)), 413, "body-too-large")
    problem(await served.post(gzip.compress(bytes(10 * BODY_MAX)), content_encoding="gzip"), 413, "body-too-large")
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    head = f"POST /api/v1/readings HTTP/1.1\r\nHost: x\r\nAuthorization: {SECRET['authorization']}\r\n"
    writer.write(head.encode() + b"Content-Length: 50000000\r\n\r\n")
    assert b" 413 " in await reader.readline()
    writer.close()
    assert served.ledger.attempts == 0


async def test_413_of_a_body_whose_length_nobody_told(served: Served) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(BODY_MAX // 1000 + 2):
            yield b" " * 1000

    answer = await served.client.post("/api/v1/readings", content=chunks(), headers=SECRET)
    problem(answer, 413, "body-too-large")


async def test_405_and_415(served: Served) -> None:
    answer = await served.client.get("/api/v1/readings", headers=SECRET)
    problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"
    problem(await served.post(b"<a/>", content_type="text/xml"), 415, "unsupported-media-type")
    problem(await served.post(b"x", content_type="text/csv; charset=gb18030"), 415, "unsupported-media-type")
    problem(await served.post(b"{}", content_encoding="br"), 415, "unsupported-encoding")


async def test_503_while_the_ledger_is_down_and_nothing_is_kept(served: Served) -> None:
    await served.post(GOOD)
    served.ledger.trouble = lambda group: LedgerUnavailable("no connection", perhaps_kept=False)
    answer = await served.post({**GOOD, "vals": {"E002": 1}})
    problem(answer, 503, "ledger-unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert len(served.ledger.readings) == 1


async def test_503_when_too_much_waits() -> None:
    async with serving(Limits(pending_max_rows=2)) as it:
        it.ledger.open.clear()
        first = asyncio.create_task(it.post({**GOOD, "vals": {"E001": 1, "E002": 2}}))
        await soon(lambda: it.ledger.attempts == 1, "the commit is under way")
        answer = await it.post(GOOD)
        problem(answer, 503, "pipeline-full")
        assert int(answer.headers["retry-after"]) >= 1
        it.ledger.open.set()
        assert (await first).status_code == 200


async def test_503_when_the_registry_cannot_be_asked(served: Served) -> None:
    served.registry.trouble = OSError("no database")
    problem(await served.post(GOOD), 503, "ledger-unavailable")


async def test_429_when_one_gateway_wants_too_much_at_once() -> None:
    ledger, measured = FakeLedger(), metrics()
    ledger.open.clear()
    pipeline, stop = Pipeline(ledger, a_registry(), metrics=measured), asyncio.Event()
    app = ReadingsEndpoint(pipeline, metrics=measured, body_max_bytes=BODY_MAX)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pipeline.run(stop))
        waiting = [tasks.create_task(call(app, json.dumps(GOOD).encode())) for _ in range(REQUESTS_PER_GATEWAY)]
        await soon(lambda: pipeline.pending_rows == REQUESTS_PER_GATEWAY, "all wait")
        assert await call(app, json.dumps(GOOD).encode()) == 429
        ledger.open.set()
        assert {await one for one in waiting} == {200}
        stop.set()


async def call(app: ReadingsEndpoint, body: bytes) -> int:
    """One request without a server; its status."""
    statuses: list[int] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(event: object) -> None:
        assert isinstance(event, dict)
        if event["type"] == "http.response.start":
            statuses.append(event["status"])

    headers = [(b"authorization", SECRET["authorization"].encode())]
    await app({"type": "http", "method": "POST", "path": "/api/v1/readings", "headers": headers}, receive, send)
    return statuses[0]


async def test_a_sender_that_hangs_up_leaves_nothing_behind(served: Served) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", served.port)
    head = f"POST /api/v1/readings HTTP/1.1\r\nHost: x\r\nAuthorization: {SECRET['authorization']}\r\n"
    writer.write(head.encode() + b"Content-Length: 500\r\n\r\n{")
    await writer.drain()
    writer.close()
    assert (await served.post(GOOD)).status_code == 200
    assert served.ledger.attempts == 1


def test_the_description_names_every_status_that_is_sent() -> None:
    assert set(OPENAPI_PATH["post"]["responses"]) >= {"200", "207", "401", "413", "415", "422", "429", "503"}
    json.dumps(OPENAPI_PATH)
