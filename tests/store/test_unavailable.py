"""Which errors are the database's state (the same group may succeed later) and which are about the rows."""

from __future__ import annotations

import asyncpg
import pytest

from app.store.readings import is_unavailable

STATES = (
    asyncpg.DiskFullError("could not extend file"),
    asyncpg.TooManyConnectionsError("too many clients"),
    asyncpg.CannotConnectNowError("the database system is starting up"),
    asyncpg.AdminShutdownError("terminating connection"),
    asyncpg.ReadOnlySQLTransactionError("cannot execute INSERT in a read-only transaction"),
    asyncpg.SerializationError("could not serialize access"),
    asyncpg.DeadlockDetectedError("deadlock detected"),
    asyncpg.LockNotAvailableError("canceling statement due to lock timeout"),
    asyncpg.ConnectionDoesNotExistError("connection was closed"),
    asyncpg.InterfaceError("connection is closed"),
    ConnectionRefusedError("nobody listens"),
    TimeoutError(),
)
ROWS = (
    asyncpg.UniqueViolationError("duplicate key"),
    asyncpg.NumericValueOutOfRangeError("value out of range"),
    asyncpg.CheckViolationError("check"),
    asyncpg.UndefinedTableError("relation does not exist"),
    ValueError("ours"),
)


@pytest.mark.parametrize("error", STATES, ids=lambda error: type(error).__name__)
def test_a_state_of_the_database_is_waited_out(error: Exception) -> None:
    assert is_unavailable(error)


@pytest.mark.parametrize("error", ROWS, ids=lambda error: type(error).__name__)
def test_an_error_about_the_rows_is_not(error: Exception) -> None:
    assert not is_unavailable(error)
