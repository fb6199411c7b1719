"""People: their accounts, their log-ins and their sessions.

A session is known by a long random secret of which the hash is kept; it ends after a while without use, after its
longest life, by log-out, and when the account's password or rights change.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.access import Caller, CallerKind, TokenRole, digest, place_of, require_scope, write_audit
from app.store.database import Database
from app.store.passwords import (
    FORGOTTEN_AFTER,
    FREE_TRIES_ACCOUNT,
    FREE_TRIES_ADDRESS,
    Hashing,
    checked_password,
    waits_until,
)
from app.store.registry import AlreadyThere, Fields, NotThere, Page, plain
from app.store.tables.access import account, login_session

NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,99}")
IDLE = timedelta(hours=2)
LONGEST = timedelta(hours=12)
"""A working day; OWASP's advice for a session of moderate worth is half an hour to hours idle, a day at most."""
SEEN_EVERY = timedelta(seconds=60)
SHOWN = tuple(column for column in account.c if column.name != "password_hash")
SESSIONS_SHOWN = tuple(column for column in login_session.c if column.name != "session_sha256")


class LoginRefused(Exception):
    """Name and password do not fit. Nothing tells which of them, nor whether the account exists."""


class LoginLocked(Exception):
    """Too many wrong tries. Attribute: wait_s."""

    def __init__(self, wait_s: int) -> None:
        self.wait_s = wait_s
        super().__init__(f"too many wrong tries; the next one is heard in {wait_s} s")


@dataclass(frozen=True, slots=True)
class Session:
    """A person who logged in. `csrf` is sent back in a header with everything that changes something."""

    caller: Caller
    account_id: int
    full_name: str
    secret: str
    csrf: str
    expires_at: datetime
    idle_until: datetime


def csrf_of(secret: str) -> str:
    """Belongs to one session and tells nothing of its secret."""
    return hashlib.sha256(f"csrf {secret}".encode(errors="surrogateescape")).hexdigest()


# Accounts -------------------------------------------------------------------------------------------------------------


async def create_account(connection: AsyncConnection, fields: Fields, hashing: Hashing, actor: str) -> Fields:
    """Raises ScopeUnknown, WeakPassword, AlreadyThere. Without a password the person comes by OpenID Connect alone."""
    await require_scope(connection, fields["role"], fields["scope"])
    values = {name: value for name, value in fields.items() if name != "password"}
    password = fields.get("password")
    if password is not None:
        values["password_hash"] = await hashing.hash(checked_password(password, fields["name"]))
    try:
        async with connection.begin_nested():
            row = (await connection.execute(insert(account).values(**values).returning(*SHOWN))).one()
    except IntegrityError as error:
        if "unique" in str(error.orig).lower():
            raise AlreadyThere("account", fields["name"]) from error
        raise
    made = dict(row._mapping)
    await _audit(connection, actor, "account.create", None, made)
    return made


async def change_account(
    connection: AsyncConnection, name: str, changes: Fields, hashing: Hashing, actor: str
) -> Fields:
    """A changed password, right or state ends every session of the account. Raises as create_account, NotThere."""
    before = await account_of(connection, name)
    wanted = before | changes
    if {"role", "scope"} & set(changes):
        await require_scope(connection, wanted["role"], wanted["scope"])
    values = {key: value for key, value in changes.items() if key != "password"}
    if "password" in changes:
        values["password_hash"] = await hashing.hash(checked_password(changes["password"], name))
    after = await _update(connection, name, values)
    if set(changes) - {"full_name"}:
        await end_sessions(connection, before["account_id"])
    await _audit(connection, actor, "account.change", before, after, password="password" in changes)
    return after


async def account_of(connection: AsyncConnection, name: str) -> Fields:
    """Raises NotThere."""
    row = (await connection.execute(select(*SHOWN).where(account.c.name == name))).one_or_none()
    if row is None:
        raise NotThere("account", name)
    return dict(row._mapping)


async def list_accounts(database: Database, *, limit: int, after: str | None) -> Page:
    query = select(*SHOWN).order_by(account.c.name).limit(limit + 1)
    if after is not None:
        query = query.where(account.c.name > after)
    async with database.engine.connect() as connection:
        rows = [dict(row._mapping) for row in await connection.execute(query)]
    return Page(rows[:limit], rows[limit - 1]["name"] if len(rows) > limit else None)


async def sessions_of(connection: AsyncConnection, account_id: int) -> list[Fields]:
    query = select(*SESSIONS_SHOWN).where(login_session.c.account_id == account_id)
    return [dict(row._mapping) for row in await connection.execute(query.order_by(login_session.c.session_id))]


async def end_sessions(connection: AsyncConnection, account_id: int) -> int:
    """Logs the account out everywhere. Answers how many sessions that were."""
    gone = await connection.execute(delete(login_session).where(login_session.c.account_id == account_id))
    return gone.rowcount


async def end_sessions_for(connection: AsyncConnection, name: str, actor: str) -> None:
    """The same by an admin, with its line in the trail. Raises NotThere."""
    found = await account_of(connection, name)
    count = await end_sessions(connection, found["account_id"])
    await write_audit(
        connection, actor, "account.log-out", "account", name, after={"sessions": count}, place=place_of(found)
    )


async def _update(connection: AsyncConnection, name: str, values: Mapping[str, Any]) -> Fields:
    changes = dict(values)
    # The database's clock: an ETag is made of it, and two changes never share a moment.
    changes["updated_at"] = func.clock_timestamp()
    if "password_hash" in values:
        changes["password_set_at"] = func.clock_timestamp()
    row = (
        await connection.execute(update(account).where(account.c.name == name).values(**changes).returning(*SHOWN))
    ).one()
    return dict(row._mapping)


async def _audit(
    connection: AsyncConnection,
    actor: str,
    action: str,
    before: Fields | None,
    after: Fields,
    *,
    password: bool = False,
) -> None:
    told = plain(after) | ({"password": "changed"} if password else {})
    await write_audit(
        connection,
        actor,
        action,
        "account",
        after["name"],
        before=None if before is None else plain(before),
        after=told,
        place=place_of(after),
    )


# Log-in ---------------------------------------------------------------------------------------------------------------

KNOWN = "SELECT account_id, password_hash FROM account WHERE name = $1 AND active"
ENTERED = "INSERT INTO login_attempt (key, failures, last_at) VALUES ($1, 0, $2) ON CONFLICT DO NOTHING"
TRIED = "SELECT failures, last_at FROM login_attempt WHERE key = $1 FOR UPDATE"
COUNTED = "UPDATE login_attempt SET failures = $2, last_at = $3 WHERE key = $1"
CLEARED = "DELETE FROM login_attempt WHERE key = $1 OR last_at < $2"
FORGIVEN = "UPDATE login_attempt SET failures = greatest(failures - 1, 0) WHERE key = $1"
BEGUN = """
INSERT INTO login_session (session_sha256, account_id, created_at, seen_at, expires_at, address, agent)
VALUES ($1, $2, $3, $3, $4, $5, $6)
"""
OVER = "DELETE FROM login_session WHERE expires_at <= $1 OR seen_at <= $2"
CAME_IN = "UPDATE account SET last_login_at = $2 WHERE account_id = $1"
TOLD = """
INSERT INTO audit (actor, action, object_kind, object_id, outcome, after, region, enterprise, actor_region)
SELECT $1, $2, 'account', $3, $4, jsonb_build_object('address', $5::text),
       CASE WHEN role <> 'enterprise' THEN scope END, CASE WHEN role = 'enterprise' THEN scope END,
       CASE WHEN role <> 'enterprise' THEN scope END
FROM (SELECT) AS always LEFT JOIN account ON account.name = $3
"""


async def log_in(
    database: Database, hashing: Hashing, *, name: str, password: str, address: str, agent: str, now: datetime
) -> Session:
    """A new session. Raises LoginLocked before any work is done, and LoginRefused after the same work in every case."""
    name = name.strip().lower()
    await _count_try(database, name, address, now)
    row = await database.pool.fetchrow(KNOWN, name)
    if not await hashing.fits(password, None if row is None else row["password_hash"]):
        await database.pool.execute(TOLD, f"address:{address}", "account.log-in", name[:100], "refused", address)
        raise LoginRefused
    assert row is not None, "only a kept hash fits"
    return await begin_session(database, row["account_id"], name=name, address=address, agent=agent, now=now)


async def begin_session(
    database: Database, account_id: int, *, name: str, address: str, agent: str, now: datetime
) -> Session:
    """For an account that has just proved itself. The secret is new each time: nobody can fix it beforehand."""
    secret = secrets.token_urlsafe(32)
    async with database.pool.acquire() as connection, connection.transaction():
        await connection.execute(OVER, now, now - IDLE)
        await connection.execute(CLEARED, f"account:{name}", now - FORGOTTEN_AFTER)
        await connection.execute(FORGIVEN, f"address:{address}")
        await connection.execute(BEGUN, digest(secret), account_id, now, now + LONGEST, address, agent[:200])
        await connection.execute(CAME_IN, account_id, now)
        await connection.execute(TOLD, f"user:{account_id}:{name}", "account.log-in", name, "done", address)
    session = await session_of(database, secret, now)
    if session is None:
        raise LoginRefused
    return session


async def _count_try(database: Database, name: str, address: str, now: datetime) -> None:
    """Counts a try before it is heard, so that many at once are no way around the wait. Raises LoginLocked."""
    async with database.pool.acquire() as connection, connection.transaction():
        counts = []
        for key, free in ((f"account:{name[:100]}", FREE_TRIES_ACCOUNT), (f"address:{address}", FREE_TRIES_ADDRESS)):
            await connection.execute(ENTERED, key, now)
            row = await connection.fetchrow(TRIED, key)
            assert row is not None, "entered above"
            failures = 0 if now - row["last_at"] > FORGOTTEN_AFTER else row["failures"]
            until = waits_until(failures, row["last_at"], free)
            if now < until:
                raise LoginLocked(max(1, int((until - now).total_seconds())))
            counts.append((key, failures + 1, now))
        await connection.executemany(COUNTED, counts)


OIDC_BEGUN = "INSERT INTO oidc_login (state_sha256, nonce, verifier, created_at) VALUES ($1, $2, $3, $4)"
OIDC_OLD = "DELETE FROM oidc_login WHERE created_at < $1"
OIDC_TAKEN = "DELETE FROM oidc_login WHERE state_sha256 = $1 AND created_at > $2 RETURNING nonce, verifier"
OIDC_WITHIN = timedelta(minutes=10)


async def begin_oidc(database: Database, now: datetime) -> tuple[str, str, str]:
    """State, nonce and verifier of a log-in that goes by the identity provider; each serves once."""
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    await database.pool.execute(OIDC_OLD, now - OIDC_WITHIN)
    await database.pool.execute(OIDC_BEGUN, digest(state), nonce, verifier, now)
    return state, nonce, verifier


async def take_oidc(database: Database, state: str, now: datetime) -> tuple[str, str]:
    """Nonce and verifier of a log-in that comes back. Raises LoginRefused where none was begun, or too long ago."""
    row = await database.pool.fetchrow(OIDC_TAKEN, digest(state), now - OIDC_WITHIN)
    if row is None:
        raise LoginRefused
    return row["nonce"], row["verifier"]


async def log_in_vouched(database: Database, *, name: str, address: str, agent: str, now: datetime) -> Session:
    """For a person whom the identity provider vouches for. Raises LoginRefused without an account of this name."""
    row = await database.pool.fetchrow(KNOWN, name)
    if row is None:
        await database.pool.execute(TOLD, f"address:{address}", "account.log-in", name[:100], "refused", address)
        raise LoginRefused
    return await begin_session(database, row["account_id"], name=name, address=address, agent=agent, now=now)


# Sessions -------------------------------------------------------------------------------------------------------------

SESSION = """
SELECT account_id, name, full_name, role, scope, seen_at, expires_at FROM login_session JOIN account USING (account_id)
WHERE session_sha256 = $1 AND account.active AND expires_at > $2 AND seen_at > $3
"""
SEEN = "UPDATE login_session SET seen_at = $2 WHERE session_sha256 = $1"
ENDED = "DELETE FROM login_session WHERE session_sha256 = $1"
ENDED_ALL = "DELETE FROM login_session WHERE account_id = $1"
HASH = "SELECT password_hash FROM account WHERE account_id = $1"
NEW_HASH = """
UPDATE account SET password_hash = $2, password_set_at = $3, updated_at = now() WHERE account_id = $1
"""


async def session_of(database: Database, secret: str, now: datetime) -> Session | None:
    """Whose session this is; None when it is unknown or over. Notes the minute of its use."""
    row = await database.pool.fetchrow(SESSION, digest(secret), now, now - IDLE)
    if row is None:
        return None
    if now - row["seen_at"] > SEEN_EVERY:
        await database.pool.execute(SEEN, digest(secret), now)
    caller = Caller(row["account_id"], row["name"], TokenRole(row["role"]), row["scope"], CallerKind.USER)
    idle_until = min(now + IDLE, row["expires_at"])
    return Session(caller, row["account_id"], row["full_name"], secret, csrf_of(secret), row["expires_at"], idle_until)


async def end_session(database: Database, secret: str) -> None:
    """Log-out. One that is over already stays so."""
    await database.pool.execute(ENDED, digest(secret))


async def log_out(database: Database, session: Session, *, everywhere: bool) -> None:
    """With a line in the trail."""
    async with database.pool.acquire() as connection, connection.transaction():
        if everywhere:
            await connection.execute(ENDED_ALL, session.account_id)
        else:
            await connection.execute(ENDED, digest(session.secret))
        await _tell(connection, session, "account.log-out-everywhere" if everywhere else "account.log-out")


async def change_own_password(
    database: Database, hashing: Hashing, session: Session, *, current: str, new: str, address: str, now: datetime
) -> None:
    """Ends every session of the account, this one too. Raises LoginLocked, LoginRefused, WeakPassword."""
    name = session.caller.name
    await _count_try(database, name, address, now)
    kept = await database.pool.fetchval(HASH, session.account_id)
    if not await hashing.fits(current, kept):
        raise LoginRefused
    hashed = await hashing.hash(checked_password(new, name))
    async with database.pool.acquire() as connection, connection.transaction():
        await connection.execute(NEW_HASH, session.account_id, hashed, now)
        await connection.execute(ENDED_ALL, session.account_id)
        await _tell(connection, session, "account.change-password")


async def _tell(connection: asyncpg.pool.PoolConnectionProxy[Any], session: Session, action: str) -> None:
    await connection.execute(TOLD, session.caller.actor, action, session.caller.name, "done", "")
