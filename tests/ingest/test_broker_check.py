"""A broker that can lose acknowledged messages is named, with the setting that mends it. Against real Mosquittos."""

from __future__ import annotations

import asyncio
import getpass
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.stack.broker import LIMITS
from app.stack.places import cache_dir
from app.stack.process import free_port, start, within
from app.stack.programs import find_programs
from app.stack.stack import Addresses
from ingest.broker_check import (
    SESSION_S,
    BrokerCheck,
    CheckFailed,
    Experiment,
    examine,
    judge_experiment,
    judge_greeting,
    judge_rights,
)
from ingest.packet import ConnAck, Property
from tests.ingest.fakes import counted, metrics

BARE = {"allow_anonymous": "true"}
OPEN_TO_ALL = judge_rights(lets_in_anybody=True, takes_accounts=False)


@contextmanager
def mosquitto(folder: Path, **settings: str) -> Iterator[str]:
    """One broker with these settings and else its own defaults; its address."""
    port = free_port(None)
    lines = [f"listener {port} 127.0.0.1", *(f"{name} {value}" for name, value in (BARE | settings).items())]
    if os.getuid() == 0:
        lines.append(f"user {getpass.getuser()}")
    configuration = folder / "mosquitto.conf"
    configuration.write_text("\n".join([*lines, ""]))
    process = start([find_programs(cache_dir()).mosquitto, "-c", configuration], folder / "log", user=None)
    try:
        assert within(10, lambda: listens(port)), (folder / "log").read_text()
        yield f"mqtt://127.0.0.1:{port}"
    finally:
        process.end(signal.SIGTERM)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_the_broker_of_the_stack_has_no_weakness(stack: Addresses) -> None:
    assert await examine(stack.mqtt_url) == []


@pytest.mark.parametrize(
    ("settings", "words", "mend"),
    [
        ({}, "2000 messages acknowledged for a client that was away 1000 came", "max_queued_messages"),
        ({"max_queued_messages": "1500"}, "1500 came", "max_queued_messages"),
        ({**LIMITS, "max_packet_size": "4000"}, "packets up to 4000 bytes", "max_packet_size"),
        ({**LIMITS, "max_qos": "0"}, "no QoS 1", "max_qos"),
    ],
)
async def test_a_setting_that_loses_messages_is_named(
    tmp_path: Path, settings: dict[str, str], words: str, mend: str
) -> None:
    with mosquitto(tmp_path, **{name: value for name, value in settings.items() if name not in BARE}) as url:
        found = await examine(url)
    assert any(words in one.what and mend in one.mend for one in found), list(map(str, found))


async def test_nothing_is_left_at_the_broker(tmp_path: Path) -> None:
    """A second look finds the same, and the broker holds no session of the first."""
    with mosquitto(tmp_path, persistence="true", persistence_location=f"{tmp_path}/", max_queued_messages="0") as url:
        assert await examine(url) == OPEN_TO_ALL
        assert await examine(url) == OPEN_TO_ALL
    stored = (tmp_path / "mosquitto.db").read_bytes()
    assert b"tcewatch-check" not in stored


async def test_a_broker_that_is_away_is_no_finding(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with pytest.raises(CheckFailed):
            await examine(f"mqtt://127.0.0.1:{probe.getsockname()[1]}")
    with pytest.raises(CheckFailed):
        await examine("mqtt://127.0.0.1:port")


async def test_a_wrong_log_in_is_said(stack: Addresses) -> None:
    with pytest.raises(CheckFailed, match="refuses the log-in"):
        await examine(stack.mqtt_url.replace("tcewatch:", "tcewatch:not-"))


def test_a_broker_that_keeps_gateways_apart_has_nothing_to_mend() -> None:
    assert judge_rights(lets_in_anybody=False, takes_accounts=True) == []
    assert [one.mend.split()[1] for one in OPEN_TO_ALL] == ["allow_anonymous", "plugin"]


def test_what_a_greeting_tells() -> None:
    assert judge_greeting(ConnAck()) == []
    (one,) = judge_greeting(ConnAck(properties={Property.SESSION_EXPIRY_S: 3600}))
    assert "3600 s" in one.what
    assert judge_greeting(ConnAck(properties={Property.SESSION_EXPIRY_S: SESSION_S})) == []
    (one,) = judge_greeting(ConnAck(properties={Property.WILDCARDS_AVAILABLE: 0}))
    assert "wildcard" in one.what


def test_what_the_experiment_says() -> None:
    assert judge_experiment(Experiment(2000, 2000, True)) == []
    assert "1000 came" in judge_experiment(Experiment(2000, 1000, True))[0].what
    assert "forgets" in judge_experiment(Experiment(2000, 0, False))[0].what


async def test_the_check_waits_for_the_broker_and_keeps_what_it_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    measured, stop = metrics(), asyncio.Event()
    caplog.set_level("INFO", "ingest.broker_check")
    with mosquitto(tmp_path) as url:
        check = BrokerCheck(url, metrics=measured)
        await check.run(stop)
    assert [one.mend.split()[1] for one in check.weaknesses] == ["allow_anonymous", "plugin", "max_queued_messages"]
    assert counted(measured, "broker_weaknesses") == 3
    assert [record.__dict__["mend"] for record in caplog.records if "mend" in record.__dict__]
    away = BrokerCheck("mqtt://127.0.0.1:1", metrics=measured)
    stop.set()
    await away.run(stop)
    assert away.weaknesses == ()
