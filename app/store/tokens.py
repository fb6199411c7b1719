"""Tokens as their admins keep them: listed, rotated, revoked. What one is recognised by is never read back."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.access import TOKEN_PREFIX, digest, place_of, write_audit
from app.store.database import Database
from app.store.registry import Fields, NotThere, Page, plain
from app.store.tables.access import api_token

HIDDEN = ("token_sha256", "previous_sha256")
SHOWN = tuple(column for column in api_token.c if column.name not in HIDDEN)


async def list_tokens(database: Database, *, limit: int, after: int | None) -> Page:
    """Every token the database shows the caller, by number."""
    query = select(*SHOWN).order_by(api_token.c.token_id).limit(limit + 1)
    if after is not None:
        query = query.where(api_token.c.token_id > after)
    async with database.engine.connect() as connection:
        rows = [dict(row._mapping) for row in await connection.execute(query)]
    return Page(rows[:limit], str(rows[limit - 1]["token_id"]) if len(rows) > limit else None)


async def token_of(connection: AsyncConnection, number: int) -> Fields:
    """Raises NotThere."""
    row = (await connection.execute(select(*SHOWN).where(api_token.c.token_id == number))).one_or_none()
    if row is None:
        raise NotThere("token", str(number))
    return dict(row._mapping)


async def revoke_token(connection: AsyncConnection, number: int, actor: str, now: datetime) -> Fields:
    """Worth nothing from the commit on; revoking it again changes nothing. Raises NotThere."""
    before = await token_of(connection, number)
    if before["revoked_at"] is not None:
        return before
    changes = {"revoked_at": now}
    await connection.execute(update(api_token).where(api_token.c.token_id == number).values(**changes))
    await write_audit(
        connection,
        actor,
        "token.revoke",
        "token",
        str(number),
        before=plain(before),
        after=plain(before | changes),
        place=place_of(before),
    )
    return before | changes


async def rotate_token(
    connection: AsyncConnection, number: int, actor: str, now: datetime, overlap_s: int
) -> tuple[Fields, str]:
    """Another secret for the same token, seen only here; the old one is taken for `overlap_s` seconds more.

    Raises NotThere, also for a revoked one: it stays revoked.
    """
    before = await token_of(connection, number)
    if before["revoked_at"] is not None:
        raise NotThere("token", str(number))
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    changes = {"rotated_at": now, "previous_until": now + timedelta(seconds=overlap_s)}
    # A trigger keeps the hash of the old one where the overlap is not nothing: nobody here can read it.
    is_it = api_token.c.token_id == number
    await connection.execute(update(api_token).where(is_it).values(token_sha256=digest(token), **changes))
    after = plain(before | changes)
    await write_audit(
        connection,
        actor,
        "token.rotate",
        "token",
        str(number),
        before=plain(before),
        after=after,
        place=place_of(before),
    )
    return before | changes, token
