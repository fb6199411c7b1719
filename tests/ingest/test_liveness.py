"""When a gateway is called online, late, silent, offline, never; and the loop that counts them."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest

from ingest.fleet import Fleet, FleetWatch
from ingest.liveness import GatewayState, state_of
from tests.ingest.fakes import counted, metrics

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


def ago(seconds: float | None) -> datetime | None:
    return None if seconds is None else NOW - timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("data_s", "said", "said_s", "interval_s", "expected"),
    [
        (None, "never", None, 900, "never"),
        (None, "online", 10, 900, "never"),
        (0, "never", None, 900, "online"),
        (1800, "online", 9000, 900, "online"),
        (1801, "online", 9000, 900, "late"),
        (120, "never", None, 60, "online"),
        (121, "never", None, 60, "late"),
        (86_400, "never", None, 60, "late"),
        (86_401, "never", None, 60, "silent"),
        (86_400 * 3, "never", None, 86_400, "late"),
        (86_400 * 4 + 1, "never", None, 86_400, "silent"),
        (1801, "never", None, None, "late"),
        (10, "offline", 5, 900, "offline"),
        (10, "offline", 10, 900, "online"),
        (10, "offline", 20, 900, "online"),
        (86_400 * 9, "offline", 5, 900, "offline"),
        (86_400 * 9, "online", 5, 900, "silent"),
    ],
)
def test_the_state_of_a_gateway(
    data_s: float | None, said: str, said_s: float | None, interval_s: float | None, expected: str
) -> None:
    found = state_of(said=said, said_at=ago(said_s), last_data_at=ago(data_s), expected_interval_s=interval_s, now=NOW)
    assert found == expected


class Seen:
    def __init__(self) -> None:
        self.fleet = Fleet({}, {})

    async def look(self, now: datetime) -> Fleet:
        return self.fleet


async def test_gauges_show_the_fleet_and_a_wrong_clock_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    seen, measured = Seen(), metrics()
    watch = FleetWatch(seen, metrics=measured, now=lambda: NOW)
    caplog.set_level(logging.WARNING, "ingest.fleet")

    async def named(**off_s: float) -> list[str]:
        caplog.clear()
        seen.fleet = Fleet({"online": 3, "silent": 1}, off_s)
        await watch.look()
        return [record.__dict__["gateway"] for record in caplog.records]

    assert await named(a=-3600.0, b=200.0) == ["a", "b"]
    assert counted(measured, "gateways", state=GatewayState.ONLINE.value) == 3
    assert counted(measured, "gateways", state=GatewayState.LATE.value) == 0
    assert counted(measured, "gateway_clocks_off") == 2
    assert counted(measured, "gateway_clock_skew_worst_seconds") == 3600
    assert await named(a=-3601.0) == []
    assert await named() == []
    assert counted(measured, "gateway_clocks_off") == 0
    assert watch.warnings == []
    assert await named(a=-3600.0) == ["a"]


@pytest.mark.parametrize(
    ("clocks", "off_s", "ours_s"),
    [
        (3, (3600.0, 3602.0, 3590.0), 3600.0),
        (3, (-86_400.0, -86_000.0), -86_200.0),
        (4, (3600.0, 3600.0), None),
        (2, (3600.0, 3600.0), None),
        (4, (3600.0, -3600.0, 7200.0), None),
        (0, (), None),
    ],
    ids=["all alike", "most alike", "half of them", "too few", "each its own", "none"],
)
def test_when_most_clocks_are_off_alike_it_is_our_own(
    clocks: int, off_s: tuple[float, ...], ours_s: float | None
) -> None:
    fleet = Fleet({}, {f"gw-{number}": skew_s for number, skew_s in enumerate(off_s)}, clocks)
    assert fleet.ours_off_s == ours_s


async def test_our_own_clock_is_warned_of_as_long_as_it_is_off(caplog: pytest.LogCaptureFixture) -> None:
    seen = Seen()
    watch = FleetWatch(seen, metrics=metrics(), now=lambda: NOW)
    seen.fleet = Fleet({}, dict.fromkeys("abc", -7200.0), 3, heard_ahead=2)
    for _ in range(2):
        await watch.look()
    assert len(watch.warnings) == 1
    assert "7200 s behind" in watch.warnings[0]
    assert caplog.text.count("is it ours?") == 1
    assert "heard in the future" in caplog.text
    seen.fleet = Fleet({}, {}, 3)
    await watch.look()
    assert watch.warnings == []
