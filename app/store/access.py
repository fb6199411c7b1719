"""Tokens, what they may see, and the trail of who did what."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.database import Database
from app.store.once import mark_worked
from app.store.scope import Scope
from app.store.tables.access import api_token, audit
from app.store.tables.registry import enterprise, region

DONE = "done"
TOKEN_PREFIX = "tw_"  # noqa: S105  # the public start of every token


class TokenRole(StrEnum):
    """Who holds a token."""

    ADMIN = "admin"
    SUPERVISOR = "supervisor"
    ENTERPRISE = "enterprise"


class ScopeUnknown(LookupError):
    """The scope is no region and no enterprise. Attributes: role, scope."""

    def __init__(self, role: str, scope: str) -> None:
        self.role, self.scope = role, scope
        wanted = "an enterprise's id" if role == TokenRole.ENTERPRISE else "a region's code such as 4453"
        super().__init__(f"scope {scope!r} is unknown; for the role {role} it is {wanted}")


class CallerKind(StrEnum):
    """How a caller was recognised."""

    TOKEN = "token"  # noqa: S105  # the word, not a secret
    USER = "user"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: role and scope of a token, or of a person who logged in. Regions are nested: 4453 contains 445302.

    `token_id` is the number of the token or, for a person, of the account.
    """

    token_id: int
    name: str
    role: TokenRole
    scope: str
    kind: CallerKind = CallerKind.TOKEN

    @property
    def may_write(self) -> bool:
        return self.role is TokenRole.ADMIN

    @property
    def may_supervise(self) -> bool:
        return self.role is not TokenRole.ENTERPRISE

    @property
    def actor(self) -> str:
        return f"{self.kind}:{self.token_id}:{self.name}"

    @property
    def number(self) -> int:
        """What its webhooks and jobs are kept under: a token's number, a person's with a minus."""
        return self.token_id if self.kind is CallerKind.TOKEN else -self.token_id

    @property
    def key(self) -> str:
        """What tells callers apart, whatever they are called."""
        return f"{self.kind}:{self.token_id}"

    @property
    def asks_as(self) -> Scope:
        """What the database is told of the caller."""
        if self.role is TokenRole.ENTERPRISE:
            return Scope(self.role.value, enterprise=self.scope)
        return Scope(self.role.value, region=self.scope)

    def sees_enterprise(self, enterprise_id: str, region_code: str) -> bool:
        if self.role is TokenRole.ENTERPRISE:
            return enterprise_id == self.scope
        return region_code.startswith(self.scope)

    def sees_region(self, code: str) -> bool:
        """The own subtree; for an enterprise no region, its own figures are under its id."""
        return self.role is not TokenRole.ENTERPRISE and code.startswith(self.scope)


def digest(secret: str) -> bytes:
    """What is stored of a token or a gateway's secret. Both are long and random, so a plain hash keeps them."""
    return hashlib.sha256(secret.encode(errors="surrogateescape")).digest()


async def require_scope(connection: AsyncConnection, role: str, scope: str) -> TokenRole:
    """Raises ScopeUnknown, or ValueError for an unknown role."""
    wanted = TokenRole(role)
    table = enterprise.c.id if wanted is TokenRole.ENTERPRISE else region.c.code
    if await connection.scalar(select(table).where(table == scope)) is None:
        raise ScopeUnknown(role, scope)
    return wanted


async def create_token(
    database: Database, *, role: str, scope: str, name: str, expires_at: datetime | None = None
) -> str:
    """A new token; this is the only time it is seen. Raises ScopeUnknown, or ValueError for an unknown role."""
    async with database.engine.begin() as connection:
        fields = {"name": name, "role": role, "scope": scope, "expires_at": expires_at}
        _, token = await enter_token(connection, fields, "cli")
    return token


async def enter_token(connection: AsyncConnection, fields: Mapping[str, Any], actor: str) -> tuple[int, str]:
    """A new token's number and the token itself, which is seen only here. Raises ScopeUnknown, ValueError."""
    await require_scope(connection, fields["role"], fields["scope"])
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    made = insert(api_token).values(token_sha256=digest(token), **fields).returning(api_token.c.token_id)
    number: int = (await connection.execute(made)).scalar_one()
    shown = {key: str(value) for key, value in fields.items() if value is not None}
    await write_audit(connection, actor, "token.create", "token", str(number), after=shown, place=place_of(fields))
    return number, token


def place_of(fields: Mapping[str, Any]) -> dict[str, str]:
    """Where a token or an account belongs in the trail, by its role and scope."""
    return {"enterprise" if fields["role"] == TokenRole.ENTERPRISE else "region": fields["scope"]}


CALLER = """
SELECT token_id, name, role, scope, last_used_at FROM api_token
WHERE (token_sha256 = $1 OR previous_sha256 = $1 AND previous_until > $2)
  AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)
"""
BY_NUMBER = """
SELECT token_id, name, role, scope, 'token' FROM api_token
WHERE token_id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)
UNION ALL SELECT account_id, name, role, scope, 'user' FROM account WHERE account_id = -$1 AND active
"""
USED = "UPDATE api_token SET last_used_at = $2 WHERE token_id = $1"
USE_NOTED_EVERY_S = 60


async def caller_of(database: Database, token: str, now: datetime) -> Caller | None:
    """Whose token this is; None when it is unknown, expired or revoked. Notes the minute of its use."""
    row = await database.pool.fetchrow(CALLER, digest(token), now)
    if row is None:
        return None
    if row["last_used_at"] is None or (now - row["last_used_at"]).total_seconds() > USE_NOTED_EVERY_S:
        await database.pool.execute(USED, row["token_id"], now)
    return Caller(row["token_id"], row["name"], TokenRole(row["role"]), row["scope"])


async def caller_by_number(database: Database, number: int, now: datetime) -> Caller | None:
    """Whose `Caller.number` this is, for work that goes on after they were let in; None once they would not be."""
    row = await database.pool.fetchrow(BY_NUMBER, number, now)
    return None if row is None else Caller(row[0], row[1], TokenRole(row[2]), row[3], CallerKind(row[4]))


async def write_audit(
    connection: AsyncConnection,
    actor: str,
    action: str,
    kind: str,
    number: str,
    *,
    outcome: str = DONE,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    place: Mapping[str, str] | None = None,
    repeatable: bool = False,
) -> None:
    """One line of the trail, in the transaction of what it tells of; what was done uses up its `Idempotency-Key`.

    `repeatable`: doing it again does nothing more, so the key stays good. Raises StillInFlight.

    `place` says which enterprise or region (and `actor_region`) it belongs to where the object's key does not.
    """
    if outcome == DONE and not repeatable:
        await mark_worked(connection)
    values = {"actor": actor, "action": action, "object_kind": kind, "object_id": number, "outcome": outcome}
    # Inline: who may add a line need not be one who may read it back.
    await connection.execute(insert(audit).inline().values(**values, before=before, after=after, **(place or {})))


async def note_refusal(database: Database, caller: Caller, action: str, kind: str, number: str) -> None:
    """Somebody asked for what lies outside their scope, or for nothing at all: both look the same to them."""
    async with database.engine.begin() as connection:
        await write_audit(connection, caller.actor, action, kind, number[:200], outcome="not-found-or-out-of-scope")
