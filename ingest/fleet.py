"""The gateways as a whole, looked at from time to time: how many are there, and whose clock is off."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Protocol

from ingest.liveness import GatewayState
from ingest.metrics import IngestMetrics

log = logging.getLogger(__name__)

LOOK_EVERY_S = 15.0
CLOCKS_MIN = 3
"""With fewer measured clocks it is theirs that is taken to be wrong."""
ALIKE_S = 60.0
"""Clocks that are off by the same, or by one part in a hundred of it: each is late by its own way here."""
OURS = "the clock of this machine seems to be {:.0f} s {}: most gateways differ from it by that; check its time service"


@dataclass(frozen=True, slots=True)
class Fleet:
    """How many active gateways are in each state, and of the clocks that are off by more than the bound by how much:
    gateway → receipt less reading, in seconds. `clocks` are those that were measured at all, `heard_ahead` those whose
    last sign of life lay in the future and was set back to now."""

    states: Mapping[str, int]
    clocks_off_s: Mapping[str, float]
    clocks: int = 0
    heard_ahead: int = 0

    @property
    def ours_off_s(self) -> float | None:
        """By how much our own clock seems to be off: most gateways are by as much, and to the same side. Positive for
        one that is ahead of theirs."""
        off = list(self.clocks_off_s.values())
        if self.clocks < CLOCKS_MIN or 2 * len(off) <= self.clocks:
            return None
        middle = median(off)
        alike = sum(abs(skew - middle) <= max(ALIKE_S, abs(middle) / 100) for skew in off)
        return middle if 2 * alike > self.clocks else None


class FleetSource(Protocol):
    """Where the picture comes from; `app.store` keeps it."""

    async def look(self, now: datetime) -> Fleet:
        """Signs of life that lie in the future, of a clock that was set since, are set back to now on the way."""


class FleetWatch:
    """The loop. A clock is named when it is found to be off, and again when it was right in between."""

    def __init__(self, source: FleetSource, *, metrics: IngestMetrics, now: Callable[[], datetime]) -> None:
        self._source = source
        self._metrics = metrics
        self._now = now
        self._named: frozenset[str] = frozenset()
        self.warnings: list[str] = []
        """That our own clock seems to be off, as of the last look."""

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
        if fleet.heard_ahead:
            log.warning("gateways were heard in the future, which is now", extra={"gateways": fleet.heard_ahead})
        ours_s = fleet.ours_off_s
        if ours_s is not None and not self.warnings:
            log.warning("most gateways' clocks are off alike: is it ours?", extra={"by_s": round(ours_s, 1)})
        self.warnings = [] if ours_s is None else [OURS.format(abs(ours_s), "ahead" if ours_s > 0 else "behind")]
        for gateway, skew_s in fleet.clocks_off_s.items():
            if gateway not in self._named:
                log.warning("a gateway's clock is off", extra={"gateway": gateway, "skew_s": round(skew_s, 1)})
        self._named = frozenset(fleet.clocks_off_s)
