"""Processes that are killed in the middle: an evaluation at its commit, a sender in its conversation.

Who is to die is a process of its own, forked from a server that has the modules loaded; who is not works here, with
connections and an engine of its own. So a thousand lives take minutes and not hours.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from multiprocessing.context import ForkServerContext
from typing import Any

import asyncpg

from alerts.engine import AlertEngine, Schedule
from alerts.sender import LEASE, UNSURE_WAIT
from alerts.smtp import Probe
from app.store.alerts import StoredAlerts
from app.store.database import plain_url
from tests.alerts.a_mail_server import MailServer, serving
from tests.alerts.an_engine import FIRST, MadeUp
from tests.alerts.an_outbox import DOMAIN, ENTERPRISE, ZONE, Clock, Outbox, an_outbox
from tests.bench.ground import own_stack
from tests.stack_fixtures import scratch_database
from tests.wait import eventually

POINTS = ("before commit", "after commit", "while sending", "after 250")
"""After 250 is before the row is updated."""
OF_THE_EVALUATION = POINTS[:2]
NIGHTS = 7


def context() -> ForkServerContext:
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["tests.alerts.killing"])
    return found


def end_at(wanted: str | None) -> Probe:
    """A probe that kills its own process at a point; no handler runs and nothing is flushed."""

    def probe(point: str) -> None:
        if point == wanted:
            os.kill(os.getpid(), signal.SIGKILL)

    return probe


Job = Callable[..., Coroutine[Any, Any, None]]
"""Its last argument is the point at which its process dies; None: it comes to its end."""


async def evaluate_once(url: str, now: datetime, point: str | None) -> None:
    """Evaluates what is due."""
    async with asyncpg.create_pool(plain_url(url), min_size=1, max_size=4) as pool:
        book = StoredAlerts(pool, domain=DOMAIN, zone=ZONE, probe=end_at(point))
        source = MadeUp([ENTERPRISE], lambda name, day: 0.9)
        schedule = Schedule(ZONE, longest_wait=timedelta(0))
        engine = AlertEngine(source, book, schedule, clock=lambda: now)

        async def done() -> bool:
            """The turn of a killed process is free once the server has noticed; the engine looks again until then."""
            await engine.look()
            return await book.last_day() == schedule.today(now)

        await eventually(done, what="the evaluation of a day")


async def send_once(url: str, port: int, now: datetime, point: str | None) -> None:
    """Sends what is due."""
    async with asyncpg.create_pool(plain_url(url), min_size=1, max_size=4) as pool:
        outbox = Outbox(pool)
        outbox.clock.now = now
        await outbox.sender(f"smtp://127.0.0.1:{port}", probe=end_at(point)).drain()


@dataclass(frozen=True, slots=True)
class Life:
    """One alert's life: at which point a process is killed, and how many nights it takes until one is."""

    point: str
    seed: int


async def live(url: str, server: MailServer, life: Life) -> None:
    """An alert is raised, told and received although its process is killed once. Raises AssertionError."""
    chance = random.Random(life.seed)
    async with an_outbox(url) as outbox:
        server.kept.clear()
        clock = Clock(datetime.combine(FIRST, time(5, 30), ZONE))
        killed_on = chance.randrange(NIGHTS)
        for night in range(NIGHTS):
            dies = life.point in OF_THE_EVALUATION and night == killed_on
            await doing(evaluate_once, url, clock.now, life.point if dies else None)
            if dies:
                await doing(evaluate_once, url, clock.on(minutes=chance.randrange(1, 20)), None)
            clock.now = datetime.combine(FIRST + timedelta(days=night + 1), time(5, 30), ZONE)
        now = clock.on(minutes=1)
        await doing(send_once, url, server.port, now, None if life.point in OF_THE_EVALUATION else life.point)
        for _ in range(4):
            now = clock.on(seconds=(LEASE + UNSURE_WAIT).total_seconds() + 60)
            await doing(send_once, url, server.port, now, None)
        await _is_told_once(outbox, server, life)


async def _is_told_once(outbox: Outbox, server: MailServer, life: Life) -> None:
    """Manager and deputy: one mail each; after 250 the one that was being sent may come twice, under one number."""
    counted = Counter(server.ids())
    extra = len(server.kept) - len(counted)
    assert len(counted) == 2, f"{life}: {counted}"
    assert extra == (1 if life.point == "after 250" else 0), f"{life}: {counted}"
    assert max(counted.values()) <= 2, f"{life}: {counted}"
    assert set(await outbox.rows()) == {"sent"}, f"{life}"
    alerts = await outbox.pool.fetchval("SELECT count(*) FROM alert WHERE kind = 'trend' AND closed_at IS NULL")
    assert alerts == 1, f"{life}: {alerts} alerts"


async def doing(job: Job, *args: object) -> None:
    """A job to its end, or in a process that dies at the point it is given. Raises AssertionError where it lives."""
    if args[-1] is None:
        await job(*args)
        return
    process = context().Process(target=_run, args=(job, *args))
    process.start()
    await asyncio.to_thread(process.join)
    assert process.exitcode == -signal.SIGKILL, f"{job.__name__} ended with {process.exitcode}"
    process.close()


def _run(job: Job, *args: object) -> None:
    asyncio.run(job(*args))


@contextmanager
def killed_alerts() -> Iterator[Callable[[int], str]]:
    """Lives of alerts for the soak: each seed chooses the point at which a process is killed, and the night."""
    with own_stack() as (addresses, _), scratch_database(addresses) as url, serving(MailServer()) as server:

        def run(seed: int) -> str:
            life = Life(random.Random(seed).choice(POINTS), seed)
            asyncio.run(live(url, server, life))
            return f"killed {life.point}: two mails to two people"

        yield run
