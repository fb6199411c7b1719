"""Database and broker killed while a gateway sends a real year: the totals are the file's own all the same."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from app.stack.stack import Stack
from app.store.migrate import migrate
from tests.e2e.a_plant import Plant, running_plant
from tests.e2e.service import COMMAND
from tests.e2e.steel import ZONE, steel_file
from tests.e2e.test_steel_plant import assert_the_files_own_sums, reached, replay_command
from tests.wait import until


@pytest.fixture
def own_stack() -> Iterator[Stack]:
    """A stack that may be killed: nobody else uses it."""
    state = Path(tempfile.mkdtemp(prefix="tcewatch-kills-"))
    stack = Stack(state=state, environment={})
    stack.up()
    yield stack
    stack.down()
    shutil.rmtree(state)


@pytest.fixture
def plant(own_stack: Stack, tmp_path: Path) -> Iterator[Plant]:
    addresses = own_stack.up()
    asyncio.run(migrate(addresses.database_url))
    env = {
        **addresses.environment(),
        "TCEWATCH_TIMEZONE": ZONE,
        "TCEWATCH_MQTT_CLIENT_ID": f"tcewatch-{secrets.token_hex(4)}",
    }
    with running_plant(env, tmp_path / "service.log") as plant:
        yield plant


@pytest.mark.parametrize("door", ["mqtt", "http-json"])
def test_killed_servers_lose_nothing_that_was_acknowledged(plant: Plant, own_stack: Stack, door: str) -> None:
    steel_file()
    plant.add_gateway("gw-steel")
    plant.add_meter("E001", "gw-steel")
    command = replay_command(plant, "gw-steel", "--door", door, "--batch", "150", "--shuffle", "3")
    replay = subprocess.Popen([*COMMAND, *command], env={**os.environ, **plant.env}, stdout=subprocess.PIPE, text=True)
    for least, server in ((3_000, own_stack.database()), (9_000, own_stack.broker()), (15_000, own_stack.database())):
        until(partial(reached, plant, least), what="the replay goes on", pause_s=0.01)
        server.kill()
        own_stack.up()
    output, _ = replay.communicate(timeout=300)
    assert replay.returncode == 0, output
    assert "rejected: none" in output
    assert_the_files_own_sums(plant)
