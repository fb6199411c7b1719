"""Problems in words: every code is documented, every sentence has its Chinese, and no answer has another shape."""

from __future__ import annotations

import ast
import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from app.api import problems, protocol
from app.api.application import HEADERS_MAX_BYTES, create_api
from app.api.chinese import FAULTS, in_chinese
from app.api.protocol import HEAD_MAX_BYTES, StrictProtocol
from tests.api.a_service import OWN, Api, is_problem
from tests.wait import soon

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| `([a-z0-9-]+)` \| (\d{3}) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
DOOR_ROW = re.compile(r"^\| `([a-z0-9-]+)` \| (\d{3}) \| ([^|]+) \|$", re.MULTILINE)
ROOMS = ("app/api", "app/store", "energy", "ingest/accounts.py", "ingest/mqtt.py", "alerts", "app/webhooks/address.py")
SAYING = {kind.__name__ for kind in problems.PROBLEMS} | {"of_status", "HTTPException", "ForbiddenAddress"}


def page() -> str:
    return (ROOT / "docs/problems.md").read_text(encoding="utf-8")


def test_the_page_lists_every_problem_and_no_other() -> None:
    rows = {(int(status), code, title, zh) for code, status, title, zh, _ in ROW.findall(page())}
    assert rows == problems.every_problem(), "bring the table of docs/problems.md up to date"


def test_the_page_lists_the_problems_of_the_readings_door() -> None:
    tree = ast.parse((ROOT / "ingest/http.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "Problem"]
    used = {(ast.literal_eval(call.args[1]), HTTPStatus[ast.unparse(call.args[0]).split(".")[1]]) for call in calls}
    assert {(code, int(status)) for code, status, _ in DOOR_ROW.findall(page())} == used


def sentences() -> Iterator[tuple[str, str]]:
    """Every literal sentence that is given to a problem, with `{}` for what is put in."""
    for place in ROOMS:
        path = ROOT / place
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                for said in said_by(node):
                    yield f"{file.relative_to(ROOT)}:{said.lineno}", template(said)


def said_by(node: ast.AST) -> list[ast.Constant | ast.JoinedStr]:
    calls = []
    if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in SAYING:
        calls = [node]
    elif isinstance(node, ast.ClassDef) and node.name in SAYING:
        calls = [part for part in ast.walk(node) if isinstance(part, ast.Call) and "__init__" in ast.unparse(part.func)]
    words = [arg for call in calls for arg in call.args if isinstance(arg, ast.Constant | ast.JoinedStr)]
    return [word for word in words if re.search(r"[a-z]+ ", template(word))]


def template(word: ast.Constant | ast.JoinedStr) -> str:
    if isinstance(word, ast.Constant):
        return str(word.value)
    return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in word.values)  # type: ignore[misc]  # constants of an f-string are text


def door_words() -> Iterator[str]:
    """Titles and details of the readings door: what is given to a problem there, and what is called detail before."""
    for node in ast.walk(ast.parse((ROOT / "ingest/http.py").read_text(encoding="utf-8"))):
        said: list[ast.expr] = []
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Problem", "unauthorized"):
            said = node.args
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "detail":
            said = [node.value]
        words = [template(one) for one in said if isinstance(one, ast.Constant | ast.JoinedStr)]
        yield from (word for word in words if " " in word)


def test_the_readings_door_has_its_chinese() -> None:
    found = list(door_words())
    assert len(found) > 12
    assert [said for said in found if in_chinese(said.replace("{}", "X")) is None] == []


def test_every_sentence_has_its_chinese() -> None:
    found = list(sentences())
    assert len(found) > 20
    without = [f"{where}: {said}" for where, said in found if in_chinese(said.replace("{}", "X")) is None]
    assert without == [], "add these to SENTENCES in app/api/chinese.py"


@pytest.mark.parametrize(
    ("said", "chinese"),
    [
        ("carrier: 'x' is no carrier; GET /api/v1/carriers lists them", "没有能源品种 'x'；见 GET /api/v1/carriers"),
        ("no CO2 data set 'x'; there are a, b", "没有二氧化碳排放因子数据集 'x'；可用：a, b"),
        ("url: has to begin with https://", "url：须以 https:// 开头"),
    ],
)
def test_a_sentence_is_translated_whole(said: str, chinese: str) -> None:
    assert (in_chinese(said) or "").removeprefix("能源品种：") == chinese


def test_no_translation_loses_or_invents_what_a_sentence_holds() -> None:
    from app.api.chinese import SENTENCES

    for said, chinese in SENTENCES.items():
        assert said.count("{}") == len(re.findall(r"\{\d?\}", chinese)), said
        assert not chinese.isascii()
    assert not any(words.isascii() for words in FAULTS.values())


@pytest.mark.parametrize(
    ("accepts", "tongue"),
    [
        ("zh-CN", "zh-CN"),
        ("en;q=0.2, zh;q=0.9", "zh-CN"),
        ("zh;q=0.1, en", "en"),
        ("zh;q=0", "en"),
        ("zh;q=nonsense", "zh-CN"),
        ("*", "en"),
        ("zh-Hant-TW, en", "zh-CN"),
        ("en, zh", "en"),
    ],
)
async def test_the_detail_is_in_the_language_the_caller_prefers(api: Api, accepts: str, tongue: str) -> None:
    answer = await api.get("enterprises?colour=red", headers={"accept-language": accepts})
    assert answer.headers["content-language"] == tongue
    assert "Accept-Language" in answer.headers["vary"]
    assert answer.json()["detail"].startswith("colour: is no parameter" if tongue == "en" else "colour：不是此处的参数")


async def test_what_is_wrong_with_a_field_is_told_in_chinese(api: Api) -> None:
    body = {"id": OWN[:-1] + "7", "name": "", "region": "x", "industry": 5, "colour": "red"}
    headers = {"accept-language": "zh"}
    answer = await api.ask("POST", "/api/v1/enterprises", json=body, headers=headers)
    found = {error["pointer"]: error["detail"] for error in is_problem(answer, 422, "invalid")["errors"]}
    assert found == {
        "/body/name": "至少 1 个字符",
        "/body/region": r"须符合 ^\d{2,12}$",
        "/body/industry": "应为文本",
        "/body/colour": "没有此字段",
    }
    body = {"id": OWN[:-1] + "7", "name": "x", "region": "445302", "industry": "3011"}
    answer = await api.ask("POST", "/api/v1/enterprises", json=body, headers=headers)
    assert is_problem(answer, 422, "wrong-credit-code")["errors"][0]["detail"] == "校验码为 7，应为 J"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_a_body_that_is_not_called_json_is_refused(api: Api, kind: str) -> None:
    answer = await api.ask("POST", "/api/v1/meters", content=b"{}", headers={"content-type": kind})
    is_problem(answer, 415, "unsupported-media-type")


async def test_headers_too_large_are_refused(api: Api) -> None:
    answer = await api.get("enterprises", headers={"x-much": "x" * HEADERS_MAX_BYTES})
    is_problem(answer, 431, "headers-too-large")


async def test_an_address_with_a_slash_too_many_is_not_there(api: Api) -> None:
    """A redirect would repeat the Host header, which is the caller's to choose."""
    is_problem(await api.get("enterprises/", headers={"host": "evil.example"}), 404, "not-found")


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[int]:
    """A real server with our protocol; its port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=StrictProtocol, lifespan="off", log_config=None))
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(server.serve())
        await soon(lambda: server.started, "the server has started")
        yield int(server.servers[0].sockets[0].getsockname()[1])
        server.should_exit = True
        await serving


@pytest.fixture
async def port() -> AsyncIterator[int]:
    app: FastAPI = create_api(None, only_health=True)
    async with served(app) as number:
        yield number


async def listens(scope: Any, receive: Any, send: Any) -> None:
    """An application that hears out every body before it answers."""
    while (event := await receive())["type"] == "http.request" and event.get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"hello\r\n\r\n", 400, "malformed-request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n", 400, "malformed-request"),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, "malformed-request"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * (HEAD_MAX_BYTES + 10), 431, "headers-too-large"),
        (b"GET /" + b"x" * (HEAD_MAX_BYTES + 10), 431, "headers-too-large"),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + b"x" * HEADERS_MAX_BYTES + b"\r\n\r\n", 431, "headers-too-large"),
    ],
)
async def test_bytes_that_are_no_request_are_a_problem_too(port: int, sent: bytes, status: int, code: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(re.findall(r"content-length: (\d+)", head)[0])
    body = json.loads(await reader.readexactly(length))
    assert head.startswith(f"http/1.1 {status} ")
    assert "content-type: application/problem+json" in head
    assert (body["code"], body["status"]) == (code, status)
    writer.close()


SLOW = [
    b"GET /healthz HTT",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: y\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\nHost",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n{",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
]


@pytest.mark.parametrize("sent", SLOW)
async def test_who_is_too_slow_with_a_request_is_told_and_sent_away(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_WITHIN_S", 0.3)
    monkeypatch.setattr(protocol, "BODY_LOOK_S", 0.3)
    async with served(listens) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        answers = (await asyncio.wait_for(reader.read(), 20)).split(b"HTTP/1.1 ")[1:]
        writer.close()
    assert [answer[:3] for answer in answers] == [b"200", b"408"][-(1 + sent.count(b"\r\n\r\nGET")) :]
    assert b'"too-slow"' in answers[-1]


async def test_who_says_nothing_is_sent_away_without_a_word(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_WITHIN_S", 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await asyncio.wait_for(reader.read(), 20) == b""
    writer.close()


async def test_a_body_that_comes_steadily_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "BODY_LOOK_S", 0.3)
    monkeypatch.setattr(protocol, "BODY_LEAST_BYTES", 2)
    async with served(listens) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
        for _ in range(50):
            writer.write(b"xx")
            await asyncio.sleep(0.02)
        assert (await asyncio.wait_for(reader.readline(), 20)).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_a_crowd_that_asks_nothing_keeps_nobody_out(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "WAITING_MAX", 20)
    crowd = [await asyncio.open_connection("127.0.0.1", port) for _ in range(60)]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await asyncio.wait_for(reader.readline(), 20)).startswith(b"HTTP/1.1 200 ")
    await soon(lambda: all(early.at_eof() or early.exception() for early, _ in crowd[:40]), "they made room")
    assert not any(late.at_eof() or late.exception() for late, _ in crowd[41:])
    for _, each in [*crowd, (reader, writer)]:
        each.close()
    await soon(lambda: not StrictProtocol.waiting, "nobody waits any more")
