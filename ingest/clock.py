"""This machine's own clock: whether somebody sets it while the service runs.

Nothing here waits by it: windows, timers and retries count by a clock that is never set. But readings are judged by the
moment of their receipt, so who runs the service has to know.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from ingest.metrics import IngestMetrics

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
STEP_S = 2.0
"""What a clock that is disciplined, or a loop that was late for its look, does not do between two looks."""
TOLD_FOR_S = 3600.0
SET = (
    "the clock of this machine was set by {:+.0f} s at {}; readings it refused by a wrong time are in GET /rejections "
    "and can be replayed with clock_was_wrong"
)


class ClockWatch:
    """Compares the clock of the day with the one that only runs, as long as the service does."""

    def __init__(
        self,
        *,
        metrics: IngestMetrics,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = metrics
        self._wall = wall
        self._steady = steady
        self._apart_s = wall() - steady()
        self._told: tuple[float, str] | None = None

    async def run(self, until: asyncio.Event) -> None:
        """Until told to stop."""
        while not until.is_set():
            self.look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(until.wait(), LOOK_EVERY_S)

    def look(self) -> None:
        """Once: whether the clock was set since the last look, and by how much."""
        apart_s = self._wall() - self._steady()
        by_s, self._apart_s = apart_s - self._apart_s, apart_s
        if abs(by_s) < STEP_S:
            return
        self._metrics.clock_steps.inc()
        log.warning("the clock of this machine was set", extra={"by_s": round(by_s, 3)})
        at = datetime.fromtimestamp(self._wall(), UTC).isoformat(timespec="seconds")
        self._told = self._steady(), SET.format(by_s, at)

    @property
    def warnings(self) -> list[str]:
        """The last step, for an hour."""
        if self._told is None or self._steady() - self._told[0] > TOLD_FOR_S:
            return []
        return [self._told[1]]
