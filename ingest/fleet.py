"""The gateways as a whole, looked at from time to time: how many are there, and whose clock is off."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ingest.liveness import GatewayState
from ingest.metrics import IngestMetrics

log = logging.getLogger(__name__)

LOOK_EVERY_S = 15.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """How many active gateways are in each state, and of the clocks that are off by more than the bound by how much:
    gateway → receipt less reading, in seconds."""

    states: Mapping[str, int]
    clocks_off_s: Mapping[str, float]


class FleetSource(Protocol):
    """Where the picture comes from; `app.store` keeps it."""

    async def look(self, now: datetime) -> Fleet: ...


class FleetWatch:
    """The loop. A clock is named when it is found to be off, and again when it was right in between."""

    def __init__(self, source: FleetSource, *, metrics: IngestMetrics, now: Callable[[], datetime]) -> None:
        self._source = source
        self._metrics = metrics
        self._now = now
        self._named: frozenset[str] = frozenset()

    async def run(self, until: asyncio.Event) -> None:
        """Until told to stop. While the database is away the gauges keep what they last showed."""
        while not until.is_set():
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001  # whatever the trouble of the store, the picture can wait
                log.warning("gateways not looked at", extra={"why": str(error)})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(until.wait(), LOOK_EVERY_S)

    async def look(self) -> None:
        """Once. Raises what the source raises."""
        fleet = await self._source.look(self._now())
        for state in GatewayState:
            self._metrics.gateways.labels(state.value).set(fleet.states.get(state.value, 0))
        self._metrics.clocks_off.set(len(fleet.clocks_off_s))
        self._metrics.clock_skew_worst.set(max(map(abs, fleet.clocks_off_s.values()), default=0.0))
        for gateway, skew_s in fleet.clocks_off_s.items():
            if gateway not in self._named:
                log.warning("a gateway's clock is off", extra={"gateway": gateway, "skew_s": round(skew_s, 1)})
        self._named = frozenset(fleet.clocks_off_s)
