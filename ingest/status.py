"""What gateways say of themselves, `online` or in their last will `offline`, on its way into the books."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from ingest.wire import read_status

log = logging.getLogger(__name__)

RETRY_FIRST_S, RETRY_MOST_S = 0.2, 10.0


class StatusSink(Protocol):
    """Where the word of a gateway about itself is kept; `app.store` keeps it."""

    async def heard(self, gateway: str, state: str, at_us: int) -> None:
        """Keep that the gateway was `online` or `offline` at a time (microseconds since 1970). May be repeated."""


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
    """Keeps one word after the other, in order. What cannot be kept now waits, and so does its acknowledgement.

    The doors' windows bound how many wait.
    """

    def __init__(self, sink: StatusSink) -> None:
        self._sink = sink
        self._said: asyncio.Queue[Said] = asyncio.Queue()

    @property
    def waiting(self) -> int:
        """Words that are not kept yet."""
        return self._said.qsize()

    def put(self, said: Said) -> None:
        self._said.put_nowait(said)

    async def run(self, until: asyncio.Event) -> None:
        """Until told to stop."""
        stopping = asyncio.create_task(until.wait())
        try:
            while not until.is_set():
                said = asyncio.create_task(self._said.get())
                await asyncio.wait((said, stopping), return_when=asyncio.FIRST_COMPLETED)
                if not said.done():
                    said.cancel()
                    return
                await self._keep(said.result(), stopping)
        finally:
            stopping.cancel()

    async def _keep(self, said: Said, stopping: asyncio.Task[object]) -> None:
        delay_s = RETRY_FIRST_S
        while not stopping.done():
            try:
                await self._sink.heard(said.gateway, said.state, said.at_us)
            except Exception as error:  # noqa: BLE001  # whatever the store's trouble, the status waits for its end
                facts = {"gateway": said.gateway, "why": str(error), "retry_s": delay_s}
                log.warning("status not kept", extra=facts)
                await asyncio.wait((stopping,), timeout=delay_s)
                delay_s = min(delay_s * 2, RETRY_MOST_S)
            else:
                said.kept()
                return
