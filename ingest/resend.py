"""Asks gateways for messages that are missing in their count, until they come or nobody can hope any more."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ingest.metrics import IngestMetrics
from ingest.wire import resend

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
ASK_MOST = 10
"""After so many requests without an answer the gateway has lost the messages; the gap stays in the books."""
PAUSE_MOST_S = 3600.0


@dataclass(frozen=True, slots=True)
class Missing:
    """Messages first_seq to last_seq of a gateway, both included, and how often they were asked for."""

    gateway: str
    first_seq: int
    last_seq: int
    asked_times: int


class GapBook(Protocol):
    """The open gaps, kept by the ledger's database."""

    async def count(self) -> int:
        """All open gaps, those given up included."""

    async def due(self, now: datetime, pauses_s: Sequence[float]) -> list[Missing]:
        """Gaps to ask for, longest waiting first. `pauses_s[n]` is the wait after n requests; beyond its end: none."""

    async def asked(self, gap: Missing, now: datetime) -> None:
        """One more request went out. Does nothing when the gap changed meanwhile."""


def pauses_s(grace_s: float) -> list[float]:
    """Seconds from noticing to the first request and from each request to the next: doubled, at most an hour."""
    return [max(grace_s, min(grace_s * 2.0**times, PAUSE_MOST_S)) for times in range(ASK_MOST)]


class GatewayAway(Exception):
    """The gateway is not connected, or does not listen for commands. Attribute: gateway."""

    def __init__(self, gateway: str) -> None:
        self.gateway = gateway
        super().__init__(f"{gateway} does not listen for commands now")


Command = Callable[[str, bytes], Awaitable[None]]
"""Sends a gateway a command. Raises GatewayAway, or what the way to it raises."""


def first_that_reaches(commands: Sequence[Command]) -> Command:
    """The ways to a gateway tried one after the other."""

    async def command(gateway: str, payload: bytes) -> None:
        for number, send in enumerate(commands, 1):
            try:
                return await send(gateway, payload)
            except GatewayAway:
                if number == len(commands):
                    raise
        raise GatewayAway(gateway)

    return command


class ResendRequests:
    """The loop. Late messages fill a gap by themselves, so the first request waits `grace_s` seconds."""

    def __init__(
        self,
        book: GapBook,
        command: Command,
        *,
        grace_s: float,
        metrics: IngestMetrics,
        now: Callable[[], datetime],
        own: Callable[[str], bool] = lambda gateway: True,
    ) -> None:
        self._book = book
        self._command = command
        self._grace_s = grace_s
        self._metrics = metrics
        self._now = now
        self._own = own

    async def run(self, until: asyncio.Event) -> None:
        """Until told to stop. While the database or the broker is away nothing is asked and nothing counts as asked."""
        while not until.is_set():
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001  # whatever the trouble of the store or the broker, gaps can wait
                log.warning("missing messages not asked for", extra={"why": str(error)})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(until.wait(), min(LOOK_EVERY_S, self._grace_s))

    async def look(self) -> None:
        """Ask once for every gap that is due. Raises BrokerUnavailable or what the book raises."""
        self._metrics.sequence_gaps.set(await self._book.count())
        for gap in await self._book.due(self._now(), pauses_s(self._grace_s)):
            if not self._own(gap.gateway):
                continue  # the process whose gateway it is asks
            try:
                await self._command(gap.gateway, resend(gap.first_seq, gap.last_seq))
            except GatewayAway:
                continue  # not asked: its turn comes when it is back
            await self._book.asked(gap, self._now())
            facts = {"gateway": gap.gateway, "first_seq": gap.first_seq, "last_seq": gap.last_seq}
            log.info("asked for missing messages", extra=facts | {"times": gap.asked_times + 1})
