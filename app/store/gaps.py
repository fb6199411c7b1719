"""Gaps in the gateways' counts: noticed and filled in the ledger's transaction, asked for from outside of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime

import asyncpg

from app.store.database import prompt_connection
from ingest.resend import Missing
from ingest.sequence import Gap, follow

log = logging.getLogger(__name__)

ASK_AT_ONCE = 1000
# The gateways' rows are held by the transaction already; the lock here keeps a request of this moment from being lost.
OPEN = """
SELECT gateway, first_seq, last_seq, noticed_at, asked_at, asked_times FROM sequence_gap
WHERE gateway = ANY($1::text[]) ORDER BY gateway, first_seq FOR UPDATE
"""
COUNT_ON = "UPDATE gateway SET last_seq = $2 WHERE id = $1"
CLOSE = "DELETE FROM sequence_gap WHERE gateway = $1 AND first_seq = ANY($2::bigint[])"
NOTICE = """
INSERT INTO sequence_gap (gateway, first_seq, last_seq, noticed_at, asked_at, asked_times)
VALUES ($1, $2, $3, coalesce($4, now()), $5, $6)
"""
# A moment that is still to come is of a clock that was set since: nobody knows how long ago it was.
DUE = """
SELECT gap.gateway, gap.first_seq, gap.last_seq, gap.asked_times
FROM sequence_gap AS gap
JOIN gateway ON gateway.id = gap.gateway AND gateway.active
JOIN unnest($2::float8[]) WITH ORDINALITY AS pause (s, number) ON pause.number = gap.asked_times + 1
WHERE coalesce(gap.asked_at, gap.noticed_at) + pause.s * interval '1 second' <= $1
   OR coalesce(gap.asked_at, gap.noticed_at) > $1 + interval '1 minute'
ORDER BY coalesce(gap.asked_at, gap.noticed_at) LIMIT $3
"""
ASKED = """
UPDATE sequence_gap SET asked_at = $5, asked_times = asked_times + 1
WHERE gateway = $1 AND first_seq = $2 AND last_seq = $3 AND asked_times = $4
"""


async def follow_counts(
    connection: asyncpg.Connection, last_seqs: Mapping[str, int | None], seen: Mapping[str, Sequence[int]]
) -> None:
    """Carries on the counts of gateways whose rows this transaction holds; `seen` are the numbers of one group."""
    standing: dict[str, list[asyncpg.Record]] = {gateway: [] for gateway in seen}
    for row in await connection.fetch(OPEN, list(seen)):
        standing[row["gateway"]].append(row)
    for gateway, rows in standing.items():
        before = [(row["first_seq"], row["last_seq"]) for row in rows]
        after = follow(last_seqs[gateway], before, seen[gateway])
        if after.last_seq != last_seqs[gateway]:
            await connection.execute(COUNT_ON, gateway, after.last_seq)
        if after.gaps != before:
            await _rewrite(connection, gateway, rows, after.gaps)
        for old, new in after.anew:
            # Nobody can be asked for what lies between two counts, so at least somebody is told.
            log.warning("a gateway counts anew", extra={"gateway": gateway, "last_seq": old, "seq": new})
        if after.dropped:
            log.warning("too many gaps in a gateway's count", extra={"gateway": gateway, "dropped": after.dropped})


async def _rewrite(
    connection: asyncpg.Connection, gateway: str, rows: Sequence[asyncpg.Record], gaps: list[Gap]
) -> None:
    """Only what changed. What is left of a gap keeps its history."""
    before = {(row["first_seq"], row["last_seq"]) for row in rows}
    await connection.execute(CLOSE, gateway, [first for first, _ in before - set(gaps)])
    fresh = [gap for gap in gaps if gap not in before]
    await connection.executemany(NOTICE, [(gateway, first, last, *_history(rows, first)) for first, last in fresh])


def _history(rows: Sequence[asyncpg.Record], seq: int) -> tuple[datetime | None, datetime | None, int]:
    """When the gap around a number was noticed and asked for, and how often; nothing for a new one."""
    for row in rows:
        if row["first_seq"] <= seq <= row["last_seq"]:
            return row["noticed_at"], row["asked_at"], row["asked_times"]
    return None, None, 0


class StoredGaps:
    """`ingest.resend.GapBook` on the database."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def count(self) -> int:
        async with prompt_connection(self._pool) as connection:
            return int(await connection.fetchval("SELECT count(*) FROM sequence_gap"))

    async def due(self, now: datetime, pauses_s: Sequence[float]) -> list[Missing]:
        async with prompt_connection(self._pool) as connection:
            rows = await connection.fetch(DUE, now, list(pauses_s), ASK_AT_ONCE)
        return [Missing(*row) for row in rows]

    async def asked(self, gap: Missing, now: datetime) -> None:
        async with prompt_connection(self._pool) as connection:
            await connection.execute(ASKED, gap.gateway, gap.first_seq, gap.last_seq, gap.asked_times, now)
