"""Several ingest processes on one database and one broker: every reading once, and what is acknowledged is stored."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import pytest

from ingest.partition import Partition
from tests.e2e.a_plant import Plant, running_plant
from tests.e2e.service import Service
from tests.faults.counting import CHUNK, CountingGateway, account, gateways_on, goes_on
from tests.wait import until

TAKEN_IN = re.compile(r'^tcewatch_ingest_messages_total\{door="broker"\} (\S+)$', re.MULTILINE)


@contextmanager
def another(env: dict[str, str], log: Path, port: int | None = None) -> Iterator[Service]:
    service = Service(env, log, port)
    service.start("--roles", "ingest")
    try:
        yield service
    finally:
        service.stop()


@pytest.fixture
def env(own_database_url: str, broker_url: str) -> dict[str, str]:
    return {
        "TCEWATCH_DATABASE_URL": own_database_url,
        "TCEWATCH_MQTT_URL": broker_url,
        "TCEWATCH_MQTT_CLIENT_ID": f"tcewatch-{secrets.token_hex(4)}",
    }


def balanced(env: dict[str, str], gateways: list[CountingGateway]) -> None:
    for one in gateways:
        one.stop()
    found = asyncio.run(account(env["TCEWATCH_DATABASE_URL"], gateways))
    assert found.balanced, str(found)
    assert found.acknowledged > 0


def taken_in(service: Service) -> float:
    found = TAKEN_IN.search(httpx2.get(f"{service.url}/metrics", timeout=10).text)
    return float(found[1]) if found else 0.0


def committed(log: Path) -> int:
    return log.read_text().count('"group committed"')


def test_two_processes_on_one_topic_store_every_reading_once(
    env: dict[str, str], broker_url: str, tmp_path: Path
) -> None:
    """Each message comes to both; one of them dies in the middle and comes back."""
    other = env | {"TCEWATCH_MQTT_CLIENT_ID": f"tcewatch-{secrets.token_hex(4)}"}
    with running_plant(env, tmp_path / "one") as plant, another(other, tmp_path / "two") as second:
        gateways = gateways_on(plant, [broker_url] * 3)
        for one in gateways:
            one.start()
        goes_on(gateways, 10)
        second.kill()
        goes_on(gateways, 5)
        second.start("--roles", "ingest")
        goes_on(gateways, 10)
        assert taken_in(second) > 0
        balanced(env, gateways)


def test_processes_that_share_the_gateways_each_take_their_own(
    env: dict[str, str], broker_url: str, tmp_path: Path
) -> None:
    """Also one that is created later; and while one process is away its gateways wait, and nobody else's."""
    parts = [env | {"TCEWATCH_INGEST_PARTITION": f"{number}/2"} for number in (1, 2)]
    with running_plant(parts[0], tmp_path / "one") as plant, another(parts[1], tmp_path / "two") as second:
        gateways = gateways_of_both(plant, broker_url)
        theirs = [one for one in gateways if Partition(2, 2).owns(one.gateway)]
        ours = [one for one in gateways if one not in theirs]
        for one in gateways:
            one.start()
        goes_on(gateways, 10)
        came = [taken_in(service) for service in (plant.service, second)]
        acknowledged = sum(len(one.acknowledged) for one in gateways)
        # Counted before the receipts were: no message came to both, but for a few that were on their way.
        assert sum(came) <= acknowledged + CHUNK * len(gateways)
        assert min(came) > 0
        second.kill()
        goes_on(ours, 5)
        standing = [len(one.acknowledged) for one in theirs]
        goes_on(ours, 5)
        assert [len(one.acknowledged) for one in theirs] == standing
        second.start("--roles", "ingest")
        goes_on(theirs, 5)
        balanced(env, gateways)


def gateways_of_both(plant: Plant, broker_url: str) -> list[CountingGateway]:
    """At least two gateways of each process, in names as they come."""
    gateways: list[CountingGateway] = []
    while min(sum(Partition(number, 2).owns(one.gateway) for one in gateways) for number in (1, 2)) < 2:
        gateways += gateways_on(plant, [broker_url])
    return gateways


def test_processes_share_the_http_port(env: dict[str, str], tmp_path: Path) -> None:
    shared = {name: value for name, value in env.items() if name != "TCEWATCH_MQTT_URL"}
    shared["TCEWATCH_REUSE_PORT"] = "true"
    with ExitStack() as stack:
        plant = stack.enter_context(running_plant(shared, tmp_path / "one"))
        gateways = gateways_on(plant, [plant.service.url] * 2)
        stack.enter_context(another(shared, tmp_path / "two", plant.service.port))
        until(lambda: '"listening"' in (tmp_path / "two").read_text(), what="the second process listens")
        url = plant.service.url
        # The kernel gives each new connection to one of them: with this many, both get some.
        secret = plant.secrets[gateways[0].gateway]
        for second in range(40):
            body = {"v": 1, "ts": f"2026-10-01T00:00:{second:02}+08:00", "vals": {gateways[0].meter: float(second)}}
            answer = httpx2.post(f"{url}/api/v1/readings", json=body, headers={"Authorization": f"Bearer {secret}"})
            assert (answer.status_code, answer.json()["stored"]) == (200, 1)
        assert min(committed(tmp_path / name) for name in ("one", "two")) > 0
        for one in gateways:
            one.start()
        goes_on(gateways, 10)
        for one in gateways:
            one.stop()
