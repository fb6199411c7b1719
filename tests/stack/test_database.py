"""What the local database owes to a history of real failures."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.stack.database import DatabaseServer
from app.stack.places import cache_dir
from app.stack.process import start_of
from app.stack.programs import find_programs
from tests.wait import eventually


@pytest.fixture(scope="module")
def database() -> Iterator[DatabaseServer]:
    """A database of this module's own: its record is taken away here."""
    state = Path(tempfile.mkdtemp(prefix="tcewatch-test-"))
    state.chmod(0o755)
    server = DatabaseServer(state / "database", find_programs(cache_dir()))
    server.up()
    yield server
    server.down()
    shutil.rmtree(state)


def value_of(database: DatabaseServer, *statements: str) -> Any:
    """The last statement's value, all of them in one session."""

    async def ask() -> Any:
        connection = await asyncpg.connect(database.url(driver="postgresql"))
        try:
            return [await connection.fetchval(statement) for statement in statements][-1]
        finally:
            await connection.close()

    return asyncio.run(ask())


def test_a_server_whose_record_was_lost_is_taken_back_and_can_be_ended(database: DatabaseServer) -> None:
    """The record is written after the start: a crash between the two left a server nobody could end."""
    before = database.record.process()
    assert before is not None
    port = database.record.port()
    next(database.log.parent.glob("server.json")).unlink()
    database.up()
    assert (database.record.process(), database.record.port()) == (before, port)
    database.down()
    assert not before.alive()
    database.up()


def test_a_costly_query_needs_no_compiler(database: DatabaseServer) -> None:
    """The packages' compiler is left out; a plan above jit_above_cost must not ask for it."""
    costly = ("SET jit_above_cost = 0", "SET jit_inline_above_cost = 0", "SET jit_optimize_above_cost = 0")
    assert value_of(database, *costly, "SELECT sum(n) FROM generate_series(1, 100000) AS n") == 5_000_050_000


def test_a_session_that_outlives_its_killed_server_does_not_keep_the_next_one_down(database: DatabaseServer) -> None:
    """A session in the middle of a statement does not notice that its server is gone and holds on to shared memory."""

    async def kill_while_busy() -> None:
        connection = await asyncpg.connect(database.url(driver="postgresql"))
        number = int(await connection.fetchval("SELECT pg_backend_pid()"))
        endless = asyncio.create_task(connection.execute("DO $$ BEGIN LOOP NULL; END LOOP; END $$"))
        watcher = await asyncpg.connect(database.url(driver="postgresql"))
        state = "SELECT state = 'active' FROM pg_stat_activity WHERE pid = $1"
        await eventually(lambda: watcher.fetchval(state, number), what="the session is busy")
        database.kill()
        assert start_of(number) is not None
        await asyncio.to_thread(database.up)
        assert start_of(number) is None
        with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
            await endless
        for client in (connection, watcher):
            client.terminate()

    asyncio.run(kill_while_busy())
    assert value_of(database, "SELECT 1") == 1
