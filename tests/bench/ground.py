"""Where a benchmark runs: a stack and a database of its own, emptied before each measurement; and the yardstick."""

from __future__ import annotations

import io
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import numpy as np

from app.stack.stack import Addresses, Stack
from app.store.database import plain_url
from app.store.judging import in_order
from app.store.readings import COLUMNS, COPY_HEADER, COPY_TRAILER, CopyRows, int4_array, touched_hours
from ingest.batch import ReadingBatch, Verdict
from tests.bench.city import DAY_US, City, found_city
from tests.rollup.a_plant import ROLLUPS

EMPTY = f"TRUNCATE reading, reading_revision, touched, held_reading, {', '.join(ROLLUPS)}"
DAYS_BACK = 30
PACKER = CopyRows()


@contextmanager
def own_stack() -> Iterator[tuple[Addresses, Path]]:
    """Database and broker for this run, and a folder for what is logged."""
    state = Path(tempfile.mkdtemp(prefix="tcewatch-bench-"))
    state.chmod(0o755)  # the servers run as another user when we are root
    stack = Stack(state=state)
    try:
        yield stack.up(), state
    finally:
        stack.down()
        shutil.rmtree(state, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Ground:
    """A database with the city in it, a connection to look into it, and one that hears of each commit.

    `heard_s`: when each commit of new readings was heard of, seconds of the monotonic clock.
    """

    url: str
    sql: asyncpg.Connection
    ear: asyncpg.Connection
    heard_s: list[float]
    city: City

    async def clear(self, first_us: int, last_us: int) -> None:
        """No reading, no mark, no rollup; the chunks between the two times are there already."""
        await self.sql.execute(EMPTY)
        days = range(first_us // DAY_US, last_us // DAY_US + 1)
        times = [datetime.fromtimestamp(day * 86_400, UTC) for day in days]
        await self.sql.executemany(
            "INSERT INTO reading (ts, meter_id, value, quality, received_at) VALUES ($1, $2, 0, 0, now())",
            [(moment, self.city.spare) for moment in times],
        )

    async def count(self) -> int:
        """Committed readings of the city."""
        return int(await self.sql.fetchval("SELECT count(*) FROM reading WHERE meter_id <> $1", self.city.spare))

    async def last_commit_s(self) -> float:
        """When the newest commit of readings was heard of, seconds of the monotonic clock."""
        await self.commits_heard()
        return self.heard_s[-1]

    async def commits_heard(self) -> int:
        """How many commits of readings there have been."""
        await self.ear.execute("SELECT 1")  # what was told before is delivered before the answer
        return len(self.heard_s)


@asynccontextmanager
async def ground(database_url: str, *, days_back: int = DAYS_BACK) -> AsyncIterator[Ground]:
    sql, ear = [await asyncpg.connect(plain_url(database_url)) for _ in range(2)]
    heard_s: list[float] = []

    def hear(*_: object) -> None:
        heard_s.append(time.monotonic())

    try:
        await ear.add_listener("touched", hear)
        first_us = (time.time_ns() // 1000 // DAY_US - days_back) * DAY_US
        yield Ground(database_url, sql, ear, heard_s, await found_city(sql, first_us))
        await ear.remove_listener("touched", hear)
    finally:
        await sql.close()
        await ear.close()


async def copy_seconds(sql: asyncpg.Connection, groups: Sequence[ReadingBatch]) -> float:
    """The yardstick: each group by one binary COPY, committed by itself. Making the bytes is part of it."""
    now_us = time.time_ns() // 1000
    started = time.perf_counter()
    for rows in groups:
        await _copy(sql, rows, now_us)
    return time.perf_counter() - started


async def copy_with_marks_seconds(sql: asyncpg.Connection, groups: Sequence[ReadingBatch]) -> float:
    """The same with the marks of its hours in the same transaction, so that the rollup finds them."""
    now_us = time.time_ns() // 1000
    started = time.perf_counter()
    for rows in groups:
        async with sql.transaction():
            await _copy(sql, rows, now_us)
            source = io.BytesIO(_marks(rows))
            await sql.copy_to_table("touched", source=source, columns=("meter_id", "hour"), format="binary")
    return time.perf_counter() - started


async def _copy(sql: asyncpg.Connection, rows: ReadingBatch, now_us: int) -> None:
    source = io.BytesIO(PACKER.packed(rows, np.arange(len(rows)), now_us))
    await sql.copy_to_table("reading", source=source, columns=COLUMNS, format="binary")


def _marks(rows: ReadingBatch) -> bytes:
    verdicts = np.full(len(rows), Verdict.STORED, np.int8)
    meters, hours = touched_hours(rows, in_order(rows), verdicts)
    return COPY_HEADER + b"\x00\x02" + int4_array(meters) + int4_array(hours) + COPY_TRAILER
