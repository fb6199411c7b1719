"""One local stack for the whole run, and a database of its own for each test module."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import make_url

from app.stack.stack import Addresses, Stack
from app.store.database import plain_url
from app.store.migrate import migrate


@pytest.fixture(scope="session")
def stack_parts() -> Iterator[Stack]:
    """The stack of this run. With addresses given in the environment those are used and nothing is started."""
    state = Path(tempfile.mkdtemp(prefix="tcewatch-test-"))
    stack = Stack(state=state)
    stack.up()
    yield stack
    stack.down()
    shutil.rmtree(state)


@pytest.fixture(scope="session")
def stack(stack_parts: Stack) -> Addresses:
    """Where the parts of the stack answer."""
    return stack_parts.up()


@pytest.fixture(scope="session")
def broker_url(stack: Addresses) -> str:
    """The broker, with the service's own account."""
    return stack.mqtt_url


@pytest.fixture(scope="module")
def database_url(stack: Addresses) -> Iterator[str]:
    """A fresh database at the newest schema, for one module; dropped afterwards."""
    with scratch_database(stack) as url:
        yield url


@pytest.fixture
def own_database_url(stack: Addresses) -> Iterator[str]:
    """A fresh database for one test alone."""
    with scratch_database(stack) as url:
        yield url


@contextmanager
def scratch_database(stack: Addresses) -> Iterator[str]:
    name = f"test_{secrets.token_hex(6)}"
    asyncio.run(_execute(stack.database_url, f"CREATE DATABASE {name}"))
    url = make_url(stack.database_url).set(database=name).render_as_string(hide_password=False)
    asyncio.run(migrate(url))
    yield url
    asyncio.run(_execute(stack.database_url, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(database_url: str, statement: str) -> None:
    connection = await asyncpg.connect(plain_url(database_url))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
