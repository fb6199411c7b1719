"""The service is killed with -9 while gateways keep the listener busy: what it acknowledged is stored."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

from app.store.database import plain_url
from ingest.packet import V5, V311, Publish
from tests.e2e.a_plant import running_plant
from tests.e2e.service import free_port
from tests.ingest.wire_client import WireClient
from tests.wait import soon

START = datetime(2026, 11, 1, tzinfo=UTC)
KILLS = 2
WINDOW = 200


@dataclass
class Counter:
    """A gateway that numbers its readings, and sends again what was not acknowledged."""

    name: str
    secret: str
    version: int
    next: int = 1
    acknowledged: set[int] = field(default_factory=set)
    waiting: dict[int, int] = field(default_factory=dict)
    """Packet id → number of the reading."""

    def message(self, number: int, packet_id: int) -> Publish:
        at = (START + timedelta(minutes=number)).isoformat()
        body = {"v": 1, "seq": number, "rows": [[f"E-{self.name}", at, number]]}
        return Publish(f"energy/v1/{self.name}/data", json.dumps(body).encode(), 1, packet_id)

    async def send_until_lost(self, port: int) -> None:
        """Keeps the window full until the connection is lost."""
        client = await WireClient.to(port, self.version)
        assert (await client.greet(self.name, self.secret)).reason == 0
        unsent, heard = sorted(self.waiting.values()), 0
        self.waiting.clear()
        packet_id = 0
        while not client.ended:
            for number, _ in client.acknowledged[heard:]:
                heard += 1
                self.acknowledged.add(self.waiting.pop(number))
            while len(self.waiting) < WINDOW:
                if not unsent:
                    unsent.append(self.next)
                    self.next += 1
                packet_id += 1
                self.waiting[packet_id] = unsent[0]
                client.say(self.message(unsent.pop(0), packet_id))
            await asyncio.sleep(0.001)
        for number, _ in client.acknowledged[heard:]:
            self.acknowledged.add(self.waiting.pop(number))
        self.waiting.update({-number: number for number in unsent})
        client.leave()


async def test_what_the_listener_acknowledged_survives_kill_9(own_database_url: str, tmp_path: Path) -> None:
    chance, port = random.Random(20261124), free_port()
    env = {"TCEWATCH_DATABASE_URL": own_database_url, "TCEWATCH_MQTT_LISTEN": f"mqtt://127.0.0.1:{port}"}
    with running_plant(env, tmp_path / "log") as plant:
        gateways = []
        for name, version in (("gw-a", V5), ("gw-b", V311)):
            gateways.append(Counter(name, plant.add_gateway(name), version))
            plant.add_meter(f"E-{name}", name)
        for _ in range(KILLS):
            before = sum(len(each.acknowledged) for each in gateways)
            async with asyncio.TaskGroup() as sending:
                for each in gateways:
                    sending.create_task(each.send_until_lost(port))
                more = before + chance.randint(1, 800)
                await soon(
                    lambda enough=more: sum(len(each.acknowledged) for each in gateways) >= enough,  # type: ignore[misc]  # the default binds this round's number
                    "some are acknowledged",
                )
                plant.service.kill()
            await asyncio.to_thread(plant.service.start)
        sql = await asyncpg.connect(plain_url(own_database_url))
        for each in gateways:
            stored = await sql.fetch(
                "SELECT value FROM reading JOIN meter USING (meter_id) WHERE gateway = $1", each.name
            )
            numbers = [int(row["value"]) for row in stored]
            assert len(numbers) == len(set(numbers))
            assert each.acknowledged - set(numbers) == set(), "acknowledged and lost"
            assert len(each.acknowledged) > KILLS
        await sql.close()
