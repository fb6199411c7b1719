"""The real ledger keeps the same contract as the fake one that ingest is tested with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest

from app.store.database import plain_url
from app.store.readings import ReadingLedger
from tests.ingest.sink_contract import SinkContract
from tests.store.a_city import a_city

MICROSECONDS = "(extract(epoch FROM ts) * 1000000)::bigint"


@dataclass(slots=True)
class StoredLedger:
    """The ledger, and what is in its tables."""

    sink: ReadingLedger
    meters: tuple[int, int]
    sql: asyncpg.Connection

    async def readings(self) -> dict[tuple[int, int], tuple[float, int]]:
        rows = await self.sql.fetch(f"SELECT meter_id, {MICROSECONDS}, value, quality FROM reading")
        return {(meter, at_us): (value, quality) for meter, at_us, value, quality in rows}

    async def refusals(self) -> list[tuple[str, int | None, str]]:
        rows = await self.sql.fetch(
            """SELECT gateway, position, code FROM rejected_reading
               JOIN rejected_message USING (message_id) ORDER BY rejected_id"""
        )
        return [(gateway, position, code) for gateway, position, code in rows]

    async def revisions(self) -> list[tuple[int, int, float, float, str]]:
        rows = await self.sql.fetch(
            f"""SELECT meter_id, {MICROSECONDS}, old_value, new_value, revised_by
                FROM reading_revision ORDER BY revision_id"""
        )
        return [(meter, at_us, old, new, by) for meter, at_us, old, new, by in rows]

    async def last_seq(self, gateway: str) -> int | None:
        found: int | None = await self.sql.fetchval("SELECT last_seq FROM gateway WHERE id = $1", gateway)
        return found

    async def gaps(self, gateway: str) -> list[tuple[int, int]]:
        query = "SELECT first_seq, last_seq FROM sequence_gap WHERE gateway = $1 ORDER BY 1"
        return [(first, last) for first, last in await self.sql.fetch(query, gateway)]


class TestStoredLedger(SinkContract):
    @pytest.fixture
    async def ledger(self, database_url: str) -> AsyncIterator[StoredLedger]:
        numbers = await a_city(database_url)
        sink = ReadingLedger(database_url)
        sql = await asyncpg.connect(plain_url(database_url))
        yield StoredLedger(sink, (numbers["E001"], numbers["E002"]), sql)
        await sql.close()
        await sink.close()
