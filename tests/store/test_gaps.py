"""Gaps from the ledger to the request: when they are asked for, how often, and what is left of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from app.store.database import plain_url
from app.store.gaps import StoredGaps
from app.store.readings import ReadingLedger
from ingest.mqtt import BrokerUnavailable
from ingest.resend import ASK_MOST, PAUSE_MOST_S, ResendRequests, pauses_s
from tests.ingest.fakes import counted, metrics
from tests.store.a_city import GATEWAY, a_city, a_group

GRACE_S = 30.0


class Desk:
    """The loop's one look at a time, a clock that is turned by hand, and the requests that went out."""

    def __init__(self, pool: asyncpg.Pool, ledger: ReadingLedger) -> None:
        self.pool = pool
        self.ledger = ledger
        self.now = datetime.now(UTC)
        self.sent: list[tuple[str, list[int]]] = []
        self.broker_is_there = True
        self.metrics = metrics()
        self.requests = ResendRequests(
            StoredGaps(pool), self.command, grace_s=GRACE_S, metrics=self.metrics, now=lambda: self.now
        )

    async def command(self, gateway: str, payload: bytes) -> None:
        if not self.broker_is_there:
            raise BrokerUnavailable("gone")
        self.sent.append((gateway, json.loads(payload)["resend"]))

    async def came(self, *seqs: int) -> None:
        for seq in seqs:
            await self.ledger.save(a_group([], seq=seq))

    async def asks_after(self, seconds: float) -> list[tuple[str, list[int]]]:
        self.now += timedelta(seconds=seconds)
        self.sent.clear()
        await self.requests.look()
        return self.sent

    async def rows(self) -> list[tuple[int, int, int]]:
        query = "SELECT first_seq, last_seq, asked_times FROM sequence_gap ORDER BY first_seq"
        return [tuple(row) for row in await self.pool.fetch(query)]


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[Desk]:
    await a_city(database_url)
    ledger = ReadingLedger(database_url)
    async with asyncpg.create_pool(plain_url(database_url), min_size=1, max_size=2) as pool:
        yield Desk(pool, ledger)
    await ledger.close()


async def test_a_gap_is_asked_for_after_the_grace_time_and_then_ever_more_rarely(desk: Desk) -> None:
    await desk.came(1, 2, 5)
    assert await desk.asks_after(0) == []
    assert counted(desk.metrics, "sequence_gaps") == 1
    assert await desk.asks_after(GRACE_S + 1) == [(GATEWAY, [3, 4])]
    assert await desk.asks_after(GRACE_S) == []
    assert await desk.asks_after(GRACE_S) == [(GATEWAY, [3, 4])]
    assert await desk.rows() == [(3, 4, 2)]


@pytest.mark.parametrize("ahead_s", [90, 86_400])
async def test_a_gap_that_was_noticed_or_asked_for_in_the_future_is_due(desk: Desk, ahead_s: int) -> None:
    """The clock was ahead and was set back: nobody waits until that moment comes again."""
    await desk.came(1, 3)
    assert await desk.asks_after(GRACE_S + ahead_s) == [(GATEWAY, [2, 2])]
    assert await desk.asks_after(-ahead_s) == [(GATEWAY, [2, 2])]
    assert await desk.asks_after(GRACE_S) == [], "from here on it waits as ever"
    assert await desk.asks_after(3 * GRACE_S + 1) == [(GATEWAY, [2, 2])]


async def test_what_is_left_of_a_gap_keeps_its_history(desk: Desk) -> None:
    await desk.came(1, 7)
    assert await desk.asks_after(GRACE_S + 1) == [(GATEWAY, [2, 6])]
    await desk.came(4, 9)
    assert await desk.rows() == [(2, 3, 1), (5, 6, 1), (8, 8, 0)]
    await desk.came(2, 3, 5, 6, 8)
    assert await desk.asks_after(PAUSE_MOST_S) == []
    assert counted(desk.metrics, "sequence_gaps") == 0


async def test_nobody_is_asked_for_ever(desk: Desk) -> None:
    await desk.came(1, 3)
    asked = [len(await desk.asks_after(PAUSE_MOST_S + 1)) for _ in range(ASK_MOST + 2)]
    assert asked == [1] * ASK_MOST + [0, 0]
    assert counted(desk.metrics, "sequence_gaps") == 1


async def test_a_gateway_that_is_shut_out_is_not_asked(desk: Desk) -> None:
    await desk.came(1, 3)
    await desk.pool.execute("UPDATE gateway SET active = false")
    assert await desk.asks_after(GRACE_S + 1) == []


async def test_without_a_broker_nothing_counts_as_asked_and_the_loop_ends_when_told(desk: Desk) -> None:
    await desk.came(1, 3)
    desk.broker_is_there = False
    with pytest.raises(BrokerUnavailable):
        await desk.asks_after(GRACE_S + 1)
    assert await desk.rows() == [(2, 2, 0)]
    stop = asyncio.Event()
    loop = asyncio.create_task(desk.requests.run(stop))
    await asyncio.sleep(0)
    stop.set()
    await asyncio.wait_for(loop, 30)


def test_pauses_double_up_to_an_hour() -> None:
    assert pauses_s(30.0)[:4] == [30.0, 60.0, 120.0, 240.0]
    assert pauses_s(30.0)[-1] == PAUSE_MOST_S
    assert set(pauses_s(7200.0)) == {7200.0}


async def test_a_count_that_begins_anew_is_named(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    await desk.came(5, 2_000_000, 2_000_001, 0)
    named = [record for record in caplog.records if record.message == "a gateway counts anew"]
    assert [(one.__dict__["last_seq"], one.__dict__["seq"]) for one in named] == [(5, 2_000_000), (2_000_001, 0)]
    assert {one.__dict__["gateway"] for one in named} == {GATEWAY}
    assert await desk.asks_after(GRACE_S) == []
