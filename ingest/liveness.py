"""Whether a gateway is there, by its last data and its last word. Pure.

`app.store.gateways` says the same in SQL, so that a list can be filtered; a test holds the two together.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

LATE_AFTER_INTERVALS = 2
"""Expected intervals without data until a gateway is late: one may be under way, one may have been lost."""
SILENT_AFTER_INTERVALS = 4
SILENT_AFTER_S = 86_400
"""A gateway is silent after a day without data, or after SILENT_AFTER_INTERVALS of a slower one."""
INTERVAL_S = 900
"""Expected of a gateway without meters: a quarter of an hour, the rate of the national platform."""


class GatewayState(StrEnum):
    """`offline`: it said so itself, or the broker for it (last will), after its last data. `never`: no data yet."""

    ONLINE = "online"
    LATE = "late"
    SILENT = "silent"
    OFFLINE = "offline"
    NEVER = "never"


def state_of(
    *,
    said: str,
    said_at: datetime | None,
    last_data_at: datetime | None,
    expected_interval_s: float | None,
    now: datetime,
) -> GatewayState:
    """The state of a gateway now. `expected_interval_s` is the shortest of its active meters, None without meters."""
    if last_data_at is None:
        return GatewayState.NEVER
    if said == GatewayState.OFFLINE and said_at is not None and said_at > last_data_at:
        return GatewayState.OFFLINE
    interval_s = INTERVAL_S if expected_interval_s is None else expected_interval_s
    age = now - last_data_at
    if age <= timedelta(seconds=LATE_AFTER_INTERVALS * interval_s):
        return GatewayState.ONLINE
    if age <= timedelta(seconds=max(SILENT_AFTER_S, SILENT_AFTER_INTERVALS * interval_s)):
        return GatewayState.LATE
    return GatewayState.SILENT
