"""What gateways say of themselves, `online` or in their last will `offline`, on its way into the books."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from ingest.wire import read_status

log = logging.getLogger(__name__)

RETRY_FIRST_S, RETRY_MOST_S = 0.2, 10.0


AT_ONCE = 1000
"""Most words kept in one go."""

Word = tuple[str, str, int]
"""Gateway, `online` or `offline`, and when it said so in microseconds since 1970."""


class StatusSink(Protocol):
    """Where the word of a gateway about itself is kept; `app.store` keeps it."""

    async def heard(self, words: Sequence[Word]) -> None:
        """Keep what gateways said, each gateway once. May be repeated."""


@dataclass(frozen=True, slots=True)
class Said:
    """A gateway's word, when it came, and who is to be told once it is kept."""

    gateway: str
    state: str
    at_us: int
    kept: Callable[[], None]


def state_of(payload: bytes) -> str | None:
    """The state a message on a status topic tells, or None if it tells none. A zero-length one tells none."""
    try:
        return read_status(payload).state
    except msgspec.DecodeError:
        return None


class StatusDesk:
    """Keeps what gateways say, in order: all that came while the last was kept goes together, of each gateway the last.

    What cannot be kept now waits, and so does its acknowledgement. The doors' windows bound how many wait.
    """

    def __init__(self, sink: StatusSink) -> None:
        self._sink = sink
        self._said: deque[Said] = deque()
        self._arrived = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Words that nobody is keeping yet."""
        return len(self._said)

    def put(self, said: Said) -> None:
        self._said.append(said)
        self._arrived.set()

    async def run(self, until: asyncio.Event) -> None:
        """Until told to stop."""
        stopping = asyncio.create_task(until.wait())
        stopping.add_done_callback(lambda _: self._arrived.set())
        try:
            while not until.is_set():
                self._arrived.clear()
                while self._said and not until.is_set():
                    some = [self._said.popleft() for _ in range(min(AT_ONCE, len(self._said)))]
                    await self._keep(some, stopping)
                if not until.is_set():
                    await self._arrived.wait()
        finally:
            stopping.cancel()

    async def _keep(self, some: Sequence[Said], stopping: asyncio.Task[Literal[True]]) -> None:
        last = {said.gateway: (said.gateway, said.state, said.at_us) for said in some}
        delay_s = RETRY_FIRST_S
        while not stopping.done():
            try:
                await self._sink.heard(list(last.values()))
            except Exception as error:  # noqa: BLE001  # whatever the store's trouble, the status waits for its end
                log.warning("status not kept", extra={"gateways": len(last), "why": str(error), "retry_s": delay_s})
                await asyncio.wait((stopping,), timeout=delay_s)
                delay_s = min(delay_s * 2, RETRY_MOST_S)
            else:
                for said in some:
                    said.kept()
                return
