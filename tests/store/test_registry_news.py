"""News of the registry come, also when the connection they should come by has died without a word."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import asyncpg
import pytest
from sqlalchemy import make_url

from app.store import database, ingest_registry
from app.store.database import plain_url
from app.store.gaps import StoredGaps
from app.store.ingest_registry import StoredRegistry, tell_changes
from app.store.readings import is_unavailable
from tests.wait import soon


class Way:
    """A way to the database. The connections it carried until a moment can be forgotten: they say no more."""

    def __init__(self, host: str, port: int) -> None:
        self._there = host, port
        self._writers: list[asyncio.StreamWriter] = []
        self.connections = self.forgotten = 0

    async def carry(self, near: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        number = self.connections
        self.connections += 1
        far, far_out = await asyncio.open_connection(*self._there)
        self._writers += near_out, far_out
        await asyncio.gather(self._pump(near, far_out, number), self._pump(far, near_out, number))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, number: int) -> None:
        with contextlib.suppress(OSError):
            while part := await source.read(65_536):
                if number >= self.forgotten:
                    sink.write(part)
        if number >= self.forgotten:
            sink.close()

    async def end(self) -> None:
        """Both ends of every connection, forgotten or not."""
        self.forgotten = 0
        for writer in self._writers:
            writer.transport.abort()
        await soon(lambda: all(writer.transport.is_closing() for writer in self._writers), "all are gone")


@contextlib.asynccontextmanager
async def a_way(url: str) -> AsyncIterator[tuple[Way, str]]:
    parts = make_url(url)
    way = Way(parts.host or "", parts.port or 5432)
    server = await asyncio.start_server(way.carry, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield way, parts.set(port=port).render_as_string(hide_password=False)
    finally:
        server.close()
        await way.end()


async def test_a_connection_that_died_without_a_word_is_found_out(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_registry, "ASK_EVERY_S", 0.2)
    monkeypatch.setattr(ingest_registry, "ANSWER_WITHIN_S", 0.5)
    told, stop = [0], asyncio.Event()

    def count() -> None:
        told[0] += 1

    async with a_way(database_url) as (way, url), asyncio.TaskGroup() as tasks:
        tasks.create_task(tell_changes(url, count, stop))
        other = await asyncpg.connect(plain_url(database_url))
        try:
            await soon(lambda: told[0] == 1, "it listens")
            await other.execute("NOTIFY registry")
            await soon(lambda: told[0] == 2, "the news came")
            way.forgotten = way.connections
            await other.execute("NOTIFY registry")
            await soon(lambda: told[0] == 3, "whoever missed news reads again")
            await other.execute("NOTIFY registry")
            await soon(lambda: told[0] == 4, "the new connection listens")
        finally:
            await other.close()
            stop.set()


async def test_questions_on_connections_that_died_without_a_word_end_and_the_next_are_answered(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "ANSWER_WITHIN_S", 1.0)
    async with a_way(database_url) as (way, url), asyncpg.create_pool(plain_url(url), min_size=1, max_size=1) as pool:
        registry, gaps = StoredRegistry(pool), StoredGaps(pool)
        questions: list[Callable[[], Awaitable[object]]] = [
            registry.version,
            registry.read,
            lambda: registry.heard([("gw-1", "online", 0)]),
            gaps.count,
            lambda: gaps.due(datetime.now(UTC), [30.0]),
        ]
        for ask in questions:
            await ask()
            way.forgotten = way.connections
            async with asyncio.timeout(20):
                with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)) as caught:
                    await ask()
            assert is_unavailable(caught.value)
            await ask()
