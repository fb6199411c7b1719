"""A real year, replayed over every door, in every disorder, and across a kill: always the file's own sums."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.store.database import plain_url
from tests.e2e.a_plant import Plant, running_plant
from tests.e2e.service import COMMAND, run
from tests.e2e.steel import ZONE, steel_file, sums
from tests.wait import until

KGCE_PER_KWH = Decimal("0.1229")
LEVELS = {"PT1H": "%Y-%m-%dT%H", "P1D": "%Y-%m-%d", "P1M": "%Y-%m", "P1Y": "%Y"}
RELATIVE = Decimal("1e-9")
DISORDER = ("--shuffle", "7", "--double", "--split", "3")

WAYS: dict[str, tuple[str, ...]] = {
    "MQTT in order": ("--door", "mqtt"),
    "MQTT shuffled, doubled and split": ("--door", "mqtt", *DISORDER),
    "HTTP JSON": ("--door", "http-json"),
    "HTTP CSV": ("--door", "http-csv", *DISORDER),
    "intervals instead of a register": ("--door", "mqtt", "--as", "interval", *DISORDER),
}


@pytest.fixture
def plant(own_database_url: str, broker_url: str, tmp_path: Path) -> Iterator[Plant]:
    env = {
        "TCEWATCH_DATABASE_URL": own_database_url,
        "TCEWATCH_MQTT_URL": broker_url,
        "TCEWATCH_MQTT_CLIENT_ID": f"tcewatch-{secrets.token_hex(4)}",
        "TCEWATCH_TIMEZONE": ZONE,
    }
    with running_plant(env, tmp_path / "service.log") as plant:
        yield plant


def replay_command(plant: Plant, gateway: str, *options: str) -> list[str]:
    return [
        *("replay", str(steel_file()), "--preset", "steel-2018", "--gateway", gateway, "--meter", "E001"),
        *("--secret", plant.secrets[gateway], *options),
        *("--url", plant.env["TCEWATCH_MQTT_URL"] if "mqtt" in options else plant.service.url),
    ]


def figures(plant: Plant, interval: str, **params: Any) -> dict[str, dict[str, Any]]:
    """All buckets of 2018 by their local name; a year of hours is asked for by the quarter."""
    bounds = ["2018-01-01", "2018-04-01", "2018-07-01", "2018-10-01", "2019-01-01"]
    pieces = pairwise(bounds) if interval == "PT1H" else [(bounds[0], bounds[-1])]
    cut = {"PT1H": 13, "P1D": 10, "P1M": 7, "P1Y": 4}[interval]
    found = [bucket for start, end in pieces for bucket in plant.energy(interval, start, end, **params)]
    return {bucket["start"][:cut]: bucket for bucket in found}


def close(found: Decimal, expected: Decimal) -> bool:
    return abs(Decimal(found) - expected) <= RELATIVE * abs(expected)


def assert_the_files_own_sums(plant: Plant) -> None:
    plant.rolled_up()
    for interval, form in LEVELS.items():
        expected = sums(steel_file(), form)
        found = figures(plant, interval, by="carrier")
        assert found.keys() == expected.keys()
        for name, kwh in expected.items():
            bucket = found[name]
            assert bucket["status"] == "measured", (interval, bucket)
            assert close(bucket["carriers"][0]["quantity"], kwh), (interval, name, kwh, bucket)
            assert close(bucket["tce"], kwh * KGCE_PER_KWH / 1000), (interval, name, kwh, bucket)
    verified = run("verify", env=plant.env)
    assert verified.returncode == 0, verified.stdout + verified.stderr


@pytest.mark.parametrize("way", WAYS)
def test_every_hour_day_and_month_and_the_year_equal_the_files_own_sums(plant: Plant, way: str) -> None:
    steel_file()
    options = WAYS[way]
    plant.add_gateway("gw-steel")
    kind = "interval" if "interval" in options else "register"
    plant.add_meter("E001", "gw-steel", kind=kind, carrier="electricity")
    done = run(*replay_command(plant, "gw-steel", *options), env=plant.env, timeout_s=300)
    assert done.returncode == 0, done.stdout + done.stderr + plant.service.log()
    assert_the_files_own_sums(plant)


def test_a_killed_service_loses_nothing_that_the_gateway_can_send_again(plant: Plant) -> None:
    steel_file()
    plant.add_gateway("gw-steel")
    plant.add_meter("E001", "gw-steel")
    command = replay_command(plant, "gw-steel", "--door", "mqtt", "--batch", "100")
    replay = subprocess.Popen([*COMMAND, *command], env={**os.environ, **plant.env}, stdout=subprocess.PIPE, text=True)
    for least in (3_000, 12_000, 24_000):
        until(partial(reached, plant, least), what="the replay goes on", pause_s=0.01)
        plant.service.kill()
        plant.service.start()
    output, _ = replay.communicate(timeout=300)
    assert replay.returncode == 0, output
    assert_the_files_own_sums(plant)


def reached(plant: Plant, least: int) -> bool:
    """Whether so many readings are in the database, counted there."""

    async def count() -> int:
        connection = await asyncpg.connect(plain_url(plant.env["TCEWATCH_DATABASE_URL"]))
        try:
            return int(await connection.fetchval("SELECT count(*) FROM reading"))
        finally:
            await connection.close()

    return asyncio.run(count()) >= least
