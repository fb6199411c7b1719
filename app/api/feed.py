"""Live events to whoever listens: one reader of the event table a process, and a bounded memory that all share.

A listener has a place and nothing else: no queue of its own can fill. Who is behind the memory reads the table; who
does not take what is sent within SEND_WITHIN_S seconds is dropped and comes back with its Last-Event-ID.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.store import events
from app.store.database import Database, plain_url
from app.store.events import BEGINNING, Event, Place
from app.store.readings import is_unavailable
from app.store.waiting import first_of

log = logging.getLogger(__name__)

REMEMBERED = 10_000
AT_ONCE = 500
LOOK_EVERY_S = 1.0
"""An event waits for transactions that began before it, and their end is not notified."""
LONGEST_WAIT_S = 10.0
FORGET_EVERY_S = 3600.0
HEARTBEAT_S = 15.0
CHECK_EVERY_S = 5.0
SEND_WITHIN_S = 20.0
RETRY_MS = 3000
STREAM_TYPE = "text/event-stream"


class EventFeed:
    """Reads what happens as it happens, and wakes whoever waits for it."""

    def __init__(self, database_url: str, owner: Database) -> None:
        self._url, self._owner = database_url, owner
        self._memory: deque[Event] = deque(maxlen=REMEMBERED)
        self._from = self._newest = BEGINNING
        self._news = asyncio.Event()
        self._wake = asyncio.Event()
        self.closing: Callable[[], bool] = lambda: False

    async def run(self, until: asyncio.Event) -> None:
        """Never ends by itself; while the database is away it waits."""
        wait_s = LOOK_EVERY_S
        while not until.is_set():
            try:
                await self._follow(until)
            except Exception as error:
                if not is_unavailable(error):
                    log.exception("live events stopped, starting anew")
                await first_of(wait_s, until)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        self._tell()

    async def _follow(self, until: asyncio.Event) -> None:
        connection = await asyncpg.connect(plain_url(self._url), server_settings={"timezone": "UTC"})
        try:
            await connection.add_listener(events.CHANNEL, lambda *_: self._wake.set())
            if self._newest == BEGINNING:
                self._from = self._newest = await events.newest(connection)
            forgot_at = 0.0
            while not until.is_set():
                self._wake.clear()
                await self._read(connection)
                now_s = asyncio.get_running_loop().time()
                if now_s - forgot_at > FORGET_EVERY_S:
                    await events.forget(connection, datetime.now(UTC) - timedelta(days=events.KEPT_DAYS))
                    forgot_at = now_s
                await first_of(LOOK_EVERY_S, until, self._wake)
        finally:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await connection.close(timeout=2)

    async def _read(self, connection: asyncpg.Connection) -> None:
        while found := await events.after(connection, self._newest, AT_ONCE):
            for one in found:
                if len(self._memory) == REMEMBERED:
                    self._from = self._memory[0].place
                self._memory.append(one)
            self._newest = found[-1].place
            self._tell()

    def _tell(self) -> None:
        told, self._news = self._news, asyncio.Event()
        told.set()

    async def newest(self) -> Place:
        """Where somebody stands who wants only what is to come."""
        return self._newest if self._newest > BEGINNING else await events.newest(self._owner.pool)

    async def is_kept(self, place: Place) -> bool:
        return place >= self._from > BEGINNING or await events.is_kept(self._owner.pool, place)

    async def after(self, place: Place) -> list[Event]:
        """What came after the place: from the memory, or for who is far behind from the table."""
        if place < self._from or self._newest == BEGINNING:
            return await events.after(self._owner.pool, place, AT_ONCE)
        return [one for one in self._memory if one.place > place][:AT_ONCE]

    async def news(self, place: Place, within_s: float) -> None:
        """Until something came after the place, or the time is over."""
        if self._newest > place:
            return
        await first_of(within_s, self._news)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a listener wants to hear: families or whole kinds, and perhaps one enterprise."""

    kinds: tuple[str, ...]
    enterprise: str | None

    def take(self, one: Event) -> bool:
        wanted = not self.kinds or one.kind in self.kinds or one.kind.split(".")[0] in self.kinds
        return wanted and (self.enterprise is None or self.enterprise == one.enterprise)


def as_text(one: Event) -> bytes:
    """An event as the stream has it (HTML, section server-sent events)."""
    body = event_out(one)
    return _text(one.kind, body, one.place)


def event_out(one: Event) -> dict[str, Any]:
    return {
        "type": one.kind,
        "timestamp": one.at.isoformat(),
        "region": one.region,
        "enterprise": one.enterprise,
        "data": one.payload,
    }


def _text(kind: str, body: Mapping[str, Any], place: Place) -> bytes:
    return f"id: {place}\nevent: {kind}\ndata: {json.dumps(body, ensure_ascii=False)}\n\n".encode()


async def told(
    feed: EventFeed,
    wishes: Wishes,
    sees: Callable[[Event], bool],
    still_valid: Callable[[], Awaitable[bool]],
    last: Place | None,
    *,
    check_every_s: float = CHECK_EVERY_S,
    heartbeat_s: float = HEARTBEAT_S,
) -> AsyncIterator[bytes]:
    """The stream of one listener: `ready` or `reset` first, then events, and a comment when it is quiet.

    Ends when the token is worth nothing any more, and when the service stops.
    """
    loop = asyncio.get_running_loop()
    kept = last is None or await feed.is_kept(last)
    place = last if last is not None and kept else await feed.newest()
    yield f"retry: {RETRY_MS}\n".encode()
    yield _text("ready" if kept else "reset", {"resumed": last is not None and kept}, place)
    checked_s = spoken_s = loop.time()
    while not feed.closing():
        found = await feed.after(place)
        if found:
            place = found[-1].place
            text = b"".join(as_text(one) for one in found if sees(one) and wishes.take(one))
            if text:
                yield text
                spoken_s = loop.time()
        else:
            await feed.news(place, min(LOOK_EVERY_S, check_every_s))
        if loop.time() - checked_s >= check_every_s:
            if not await still_valid():
                return
            checked_s = loop.time()
        if loop.time() - spoken_s >= heartbeat_s:
            yield b": quiet\n\n"
            spoken_s = loop.time()


class EventStream(Response):
    """The response: no caching on the way, and an end for who does not take what is sent."""

    def __init__(self, stream: AsyncIterator[bytes], *, send_within_s: float = SEND_WITHIN_S) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}, media_type=STREAM_TYPE)
        del self.headers["content-length"]
        self._stream, self._send_within_s = stream, send_within_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_gone(receive))
        sending = asyncio.ensure_future(self._send_all(send))
        try:
            await asyncio.wait((gone, sending), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (gone, sending):
                task.cancel()
            ended = await asyncio.gather(gone, sending, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception) and not isinstance(error, TimeoutError):
                raise error

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for part in self._stream:
            async with asyncio.timeout(self._send_within_s):
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
