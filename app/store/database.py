"""The two ways to the database: SQLAlchemy for questions, asyncpg's own wire for the hot path."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy import event, make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry


@dataclass(frozen=True, slots=True)
class Database:
    """`engine` for the registry and the API, `pool` for readings, rollups and long reads."""

    engine: AsyncEngine
    pool: asyncpg.Pool


def plain_url(database_url: str) -> str:
    """The address as asyncpg itself takes it."""
    return make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)


CONNECT_WITHIN_S = 10.0
AWAY_CLASSES = ("08", "53", "57")
"""Connection, resources, and an operator's doing, such as a server that is still starting."""


def is_away(error: Exception) -> bool:
    """Whether the database is not there yet, so that waiting helps. A log-in, a name or a certificate that is refused
    is somebody's to mend."""
    cause = getattr(error, "orig", None) if isinstance(error, DBAPIError) else error
    if isinstance(cause, OSError):
        return not isinstance(cause, ssl.SSLError)
    return (getattr(cause, "sqlstate", None) or "")[:2] in AWAY_CLASSES


def _still_open(_: Any, record: ConnectionPoolEntry, __: Any) -> None:
    """Replaces a connection that was cut while nobody used it: asyncpg knows; asking the server is three trips."""
    if record.driver_connection is None or record.driver_connection.is_closed():
        raise DisconnectionError


@asynccontextmanager
async def open_database(
    database_url: str, *, pool_size: int = 6, setup: Callable[[Any], Coroutine[Any, Any, None]] | None = None
) -> AsyncIterator[Database]:
    """Both ways open, both closed at the end. Raises OSError or asyncpg.PostgresError when nobody answers.

    `setup` is awaited with each connection the pool hands out.
    """
    engine = create_async_engine(database_url, pool_size=pool_size)
    event.listen(engine.sync_engine, "checkout", _still_open)
    try:
        async with asyncpg.create_pool(
            plain_url(database_url),
            min_size=1,
            max_size=pool_size,
            timeout=CONNECT_WITHIN_S,
            server_settings={"timezone": "UTC"},
            setup=setup,
        ) as pool:
            yield Database(engine, pool)
    finally:
        await engine.dispose()


ANSWER_WITHIN_S = 30.0
"""What a question of the ingest way may take. A connection that died without a word answers nothing for a quarter of an
hour, and doors would wait as long for the registry, for gateways' states and for gaps."""


@asynccontextmanager
async def prompt_connection(pool: asyncpg.Pool) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
    """A connection of the pool that is given up, and with it what is asked, when that takes longer than it may."""
    connection = await pool.acquire(timeout=ANSWER_WITHIN_S)
    timer = asyncio.get_running_loop().call_later(ANSWER_WITHIN_S, connection.terminate)
    try:
        yield connection
    finally:
        timer.cancel()
        await pool.release(connection, timeout=ANSWER_WITHIN_S)
