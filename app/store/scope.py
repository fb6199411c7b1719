"""What the one who asks may see, told to the database with every transaction.

The API is given a guarded database: each of its transactions works as the role API_ROLE with the caller's scope in the
settings that the policies of the tables read. A query that forgot its filter shows nothing foreign, and whoever said
nothing about themselves sees nothing at all. The service's own work uses the database as the owner of the tables.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from sqlalchemy import Connection, event

from app.store.database import Database, open_database

API_ROLE = "tcewatch_api"
TELL = """
SELECT set_config('role', $1, {local}), set_config('tcewatch.role', $2, {local}),
       set_config('tcewatch.region', $3, {local}), set_config('tcewatch.enterprise', $4, {local})
"""
TELL_TRANSACTION = TELL.format(local="true")
TELL_SESSION = TELL.format(local="false")


@dataclass(frozen=True, slots=True)
class Scope:
    """Who asks: a role, and the region whose subtree or the one enterprise it sees. Empty: nothing."""

    role: str = ""
    region: str = ""
    enterprise: str = ""

    def settings(self) -> tuple[str, str, str, str]:
        return API_ROLE, self.role, self.region, self.enterprise


NOTHING = Scope()
_asking: ContextVar[Scope] = ContextVar("asking", default=NOTHING)


def ask_as(scope: Scope) -> None:
    """From here on this task, and every task it starts, asks with this scope."""
    _asking.set(scope)


@contextmanager
def asked_by(scope: Scope) -> Iterator[None]:
    """Asks with this scope inside the block, for work that is done later for somebody who asked for it."""
    token = _asking.set(scope)
    try:
        yield
    finally:
        _asking.reset(token)


def scope_now() -> Scope:
    """Whose scope the guarded database is asked with here."""
    return _asking.get()


@asynccontextmanager
async def open_guarded(database_url: str, *, pool_size: int = 6) -> AsyncIterator[Database]:
    """Both ways to the database with the caller's scope on each. Raises what `open_database` raises."""
    async with open_database(database_url, pool_size=pool_size, setup=_tell_session) as database:
        event.listen(database.engine.sync_engine, "begin", _tell_transaction)
        yield database


def _tell_transaction(connection: Connection) -> None:
    connection.exec_driver_sql(TELL_TRANSACTION, scope_now().settings())


async def _tell_session(connection: PoolConnectionProxy[asyncpg.Record]) -> None:
    """Each time a connection is handed out. What the one before said is overwritten, never inherited."""
    await connection.fetchrow(TELL_SESSION, *scope_now().settings())
