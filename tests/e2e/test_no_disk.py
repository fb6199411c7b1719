"""The database's disk fills up while a gateway sends: nothing acknowledged is lost, and it goes on by itself."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx2
import pytest

from app.stack.stack import Stack
from app.store.database import plain_url
from app.store.migrate import migrate
from tests.e2e.a_plant import Plant, running_plant
from tests.wait import until

ROWS = 5_000
T0_MS = 1_767_196_800_000


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of its own with room for a database and little more."""
    if os.geteuid() != 0:
        pytest.skip("a small file system can only be mounted by root: a full disk is not tested")
    folder = Path(tempfile.mkdtemp(prefix="tcewatch-small-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=420m,mode=755", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)
    folder.rmdir()


@pytest.fixture
def plant(small_disk: Path, broker_url: str, tmp_path: Path) -> Iterator[Plant]:
    given = {"TCEWATCH_MQTT_URL": broker_url, "TCEWATCH_SMTP_URL": "smtp://127.0.0.1:1"}
    stack = Stack(state=small_disk / "state", environment=given)
    addresses = stack.up()
    asyncio.run(migrate(addresses.database_url))
    env = {**addresses.environment(), "TCEWATCH_MQTT_CLIENT_ID": f"tcewatch-{secrets.token_hex(4)}"}
    try:
        with running_plant(env, tmp_path / "service.log") as plant:
            yield plant
    finally:
        stack.down()


def send(plant: Plant, number: int) -> httpx2.Response:
    seconds = range(number * ROWS, (number + 1) * ROWS)
    body = {
        "v": 1,
        "seq": number,
        "meters": ["E001"] * ROWS,
        "t": [T0_MS + second * 1000 for second in seconds],
        "values": [float(second) for second in seconds],
    }
    return plant.push("gw-a", body)


def test_a_full_disk_is_a_503_that_kept_nothing_and_mends_itself(plant: Plant, small_disk: Path) -> None:
    plant.add_gateway("gw-a")
    plant.add_meter("E001", "gw-a", expected_interval_s=1)
    assert send(plant, 0).json()["stored"] == ROWS
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - 1_500_000))

    acknowledged = 1
    while (answer := send(plant, acknowledged)).status_code == 200:
        acknowledged += 1
    assert (answer.status_code, answer.json()["code"]) == (503, "ledger-unavailable")
    assert "retry-after" in answer.headers
    assert httpx2.get(f"{plant.service.url}/healthz").status_code == 200

    filler.unlink()
    until(lambda: send(plant, acknowledged).status_code == 200, what="there is room again")
    assert stored(plant) == (acknowledged + 1) * ROWS


def stored(plant: Plant) -> int:
    async def count() -> int:
        connection = await asyncpg.connect(plain_url(plant.env["TCEWATCH_DATABASE_URL"]))
        try:
            return int(await connection.fetchval("SELECT count(*) FROM reading"))
        finally:
            await connection.close()

    return asyncio.run(count())
