"""How far a gateway's clock is off, from readings as they come in. Pure.

A live reading is sent at once, so the moment of receipt less the time it bears is the gateway's clock against ours,
plus the way here. Of one gateway only the freshest reading of a commit counts, only if it is newer than any before, and
only if time passed between the two about as fast here as in the readings: a backlog or a history runs through faster
than it happened. The median of the last ones is the answer, so single late messages do not matter.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median

SAMPLES = 15
"""Newest samples the median is taken of: at a message a quarter of an hour, four hours."""
SAMPLES_MIN = 5
"""With fewer nothing is said."""
APART_US = 1_000_000
"""Shortest time between two samples of a gateway; more often tells nothing new."""
PASSES = 0.5
"""Least share of the time between two readings that has to pass between their receipts."""
SECOND_US = 1_000_000


@dataclass(slots=True)
class _Clock:
    received_us: int
    freshest_us: int
    offsets_us: deque[int] = field(default_factory=lambda: deque(maxlen=SAMPLES))


class SkewWatch:
    """The clocks of the gateways of one process."""

    def __init__(self) -> None:
        self._clocks: dict[str, _Clock] = {}

    def note(self, gateway: str, received_us: int, freshest_us: int) -> float | None:
        """A commit holds readings of a gateway up to `freshest_us`, received at `received_us` (both µs since 1970).

        Answers receipt less reading, the median in seconds, if this was a sample and there are enough: positive for a
        clock that is behind or a gateway that sends late, negative for a clock that is ahead.
        """
        clock = self._clocks.get(gateway)
        if clock is None:
            self._clocks[gateway] = _Clock(received_us, freshest_us)
            return None
        if received_us < clock.received_us - APART_US:
            # Our own clock was set back, and what was measured by it is worth nothing.
            self._clocks[gateway] = _Clock(received_us, freshest_us)
            return None
        if (
            abs(received_us - freshest_us) < abs(clock.received_us - clock.freshest_us)
            and freshest_us < clock.freshest_us
        ):
            # Set back to where it belongs. A history that is sent now lies further away, not nearer.
            self._clocks[gateway] = _Clock(received_us, freshest_us)
            return None
        passed_us, moved_us = received_us - clock.received_us, freshest_us - clock.freshest_us
        if moved_us <= 0 or passed_us < APART_US:
            return None
        clock.received_us, clock.freshest_us = received_us, freshest_us
        if passed_us < PASSES * moved_us:
            return None
        clock.offsets_us.append(received_us - freshest_us)
        if len(clock.offsets_us) < SAMPLES_MIN:
            return None
        return median(clock.offsets_us) / SECOND_US
