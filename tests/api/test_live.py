"""Live events over a real server: heard as they happen, by who may, and taken up again where they broke off."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
import uvicorn

from app.api.feed import AT_ONCE, EventFeed, EventStream, Wishes, told
from app.store import events
from app.store.events import Event, Place
from tests.api.a_service import FOREIGN, OWN, Api, is_problem
from tests.wait import soon


class Ear:
    """One listener: what it was told, as (kind, body, id)."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines
        self.comments = 0

    async def hear(self) -> tuple[str, dict[str, Any], str]:
        fields: dict[str, str] = {}
        async for line in self._lines:
            if not line and "data" in fields:
                return fields["event"], json.loads(fields["data"]), fields["id"]
            if line.startswith(":"):
                self.comments += 1
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
        raise EOFError


@asynccontextmanager
async def serving(api: Api) -> AsyncIterator[str]:
    """The application behind a real server; streams do not end inside one process without it."""
    stop = asyncio.Event()
    feed: EventFeed = api.app.state.deps.feed
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(api.app, lifespan="off", log_config=None, timeout_graceful_shutdown=5))
    feed.closing = lambda: server.should_exit
    running = asyncio.gather(feed.run(stop), server.serve(sockets=[listener]))
    await soon(lambda: server.started, "a server")
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/api/v1"
    finally:
        server.should_exit = True
        stop.set()
        await running


@asynccontextmanager
async def listening(api: Api, url: str, role: str = "admin", query: str = "", **headers: str) -> AsyncIterator[Ear]:
    headers |= {"Authorization": f"Bearer {api.tokens[role]}"}
    async with (
        httpx2.AsyncClient(timeout=20) as client,
        client.stream("GET", f"{url}/events{query}", headers=headers) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Ear(answer.aiter_lines())


async def tell(api: Api, kind: str, enterprise: str, **payload: Any) -> None:
    async with api.database.engine.begin() as connection:
        await events.record(connection, kind, enterprise, payload)


async def test_each_hears_what_is_theirs_and_what_they_wish(api: Api) -> None:
    async with (
        serving(api) as url,
        listening(api, url) as admin,
        listening(api, url, "supervisor") as district,
        listening(api, url, "enterprise", "?kinds=data") as plant,
    ):
        for ear in (admin, district, plant):
            assert (await ear.hear())[0] == "ready"
        await tell(api, "alert.raised", FOREIGN, tier="red")
        await tell(api, "alert.raised", OWN, tier="yellow")
        await tell(api, "data.arrived", OWN, to="x")
        assert [(await admin.hear())[1]["data"] for _ in range(3)] == [{"tier": "red"}, {"tier": "yellow"}, {"to": "x"}]
        assert [(await district.hear())[1]["enterprise"] for _ in range(2)] == [OWN, OWN]
        kind, body, _ = await plant.hear()
        assert (kind, body["type"], body["enterprise"], body["region"]) == (
            "data.arrived",
            "data.arrived",
            OWN,
            "445302",
        )


async def test_a_stream_goes_on_where_it_broke_off(api: Api) -> None:
    async with serving(api) as url:
        async with listening(api, url) as ear:
            await ear.hear()
            await tell(api, "alert.first", OWN)
            _, _, place = await ear.hear()
        await tell(api, "alert.second", OWN)
        async with listening(api, url, **{"Last-Event-ID": place}) as ear:
            assert (await ear.hear())[:2] == ("ready", {"resumed": True})
            await tell(api, "alert.third", OWN)
            assert [(await ear.hear())[0] for _ in range(2)] == ["alert.second", "alert.third"]
        await api.sql("DELETE FROM event WHERE kind <> 'alert.third'")
        async with listening(api, url, **{"Last-Event-ID": "1-1"}) as ear:
            assert (await ear.hear())[:2] == ("reset", {"resumed": False})


async def _valid() -> bool:
    return True


async def test_a_revoked_token_is_cut(api: Api) -> None:
    async def valid() -> bool:
        return False

    feed = EventFeed("", api.database)
    stream = told(feed, Wishes((), None), lambda _: True, valid, None, check_every_s=0.01)
    assert [b"event: ready" in part async for part in stream] == [False, True]
    async with serving(api) as url, listening(api, url) as ear:
        await ear.hear()
        await api.sql("UPDATE api_token SET revoked_at = '2026-01-01T00:00Z'")
        with pytest.raises(EOFError):
            await ear.hear()


async def test_a_quiet_stream_says_that_it_lives(api: Api) -> None:
    stream = told(
        EventFeed("", api.database), Wishes((), None), lambda _: True, _valid, None, check_every_s=0.01, heartbeat_s=0.0
    )
    assert [await anext(stream) for _ in range(3)][-1] == b": quiet\n\n"


async def test_who_does_not_take_what_is_sent_is_dropped() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"data: x\n\n"

    async def stuck(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def silent() -> Any:
        await asyncio.Event().wait()

    await asyncio.wait_for(EventStream(endless(), send_within_s=0.01)({"type": "http"}, silent, stuck), 10)


async def test_who_is_far_behind_reads_the_table_and_misses_nothing(api: Api) -> None:
    count = 2 * AT_ONCE + 3
    await api.sql(
        "SELECT count(record_event('alert.n', $1, NULL, to_jsonb(n))) FROM generate_series(1, $2) AS n", OWN, count
    )
    place = (await events.after(api.database.pool, events.BEGINNING, 1))[0].place
    stream = told(EventFeed("", api.database), Wishes((), None), lambda _: True, _valid, place)
    text = b"".join([await anext(stream) for _ in range(2 + 3)]).decode()
    numbers = [
        json.loads(line[6:])["data"] for line in text.splitlines() if line.startswith("data: ") and '"alert.n"' in line
    ]
    assert numbers == list(range(2, count + 1))


@pytest.mark.parametrize("last", ["x", "1", "-1-2", "1-1-1"])
async def test_a_place_that_was_never_given_out_is_refused(api: Api, last: str) -> None:
    headers = {"Last-Event-ID": last.encode().decode("latin-1")}
    is_problem(await api.get("events", headers=headers), 422, "bad-query")


async def test_the_enterprise_of_another_cannot_be_listened_to(api: Api) -> None:
    is_problem(await api.get("events", role="enterprise", params={"enterprise": FOREIGN}), 404, "not-found")


def test_wishes_are_families_or_kinds() -> None:
    event = Event(Place(1, 1), None, "alert.raised", OWN, "445302", {})  # type: ignore[arg-type]  # no time is looked at
    assert Wishes(("alert",), None).take(event)
    assert Wishes(("data", "alert.raised"), OWN).take(event)
    assert not Wishes(("alert.resolved",), None).take(event)
    assert not Wishes((), FOREIGN).take(event)
