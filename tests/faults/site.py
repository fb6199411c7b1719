"""A service with everything it needs in reach of harm: its own servers, and a proxy on the way to each of them."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
from sqlalchemy import make_url

from app.stack.stack import Stack
from app.store.database import plain_url
from app.store.migrate import migrate
from tests.e2e.a_plant import Plant, running_plant
from tests.e2e.service import free_port
from tests.faults.clock import MachineClock
from tests.faults.counting import Account, CountingGateway, account, gateways_on
from tests.faults.proxy import Proxy

DOORS = ("http", "broker", "listener")
DATABASE_TIMEOUT_S = "3"


@dataclass(slots=True)
class Site:
    """The service under test. It reaches its database and broker through the proxies, the tests reach them directly."""

    plant: Plant
    stack: Stack
    to_database: Proxy
    to_broker: Proxy
    database_url: str
    broker_url: str
    clock: MachineClock

    def gateways(self, *doors: str) -> list[CountingGateway]:
        """A counting gateway at each of the named doors, not started yet."""
        addresses = {
            "http": self.plant.service.url,
            "broker": self.broker_url,
            "listener": f"puback+{self.plant.env['TCEWATCH_MQTT_LISTEN']}",
        }
        return gateways_on(self.plant, [addresses[door] for door in doors])

    def account(self, gateways: Sequence[CountingGateway]) -> Account:
        return asyncio.run(account(self.database_url, gateways))

    def sql(self, statement: str) -> None:
        """One statement as the database's owner, past the proxy."""
        asyncio.run(_execute(self.database_url, statement))

    def publish(self, gateway: CountingGateway, body: bytes) -> None:
        """A body as it stands, by the broker, under the gateway's name; returns when the broker has it."""
        program, broker = self.stack.mosquitto_pub(), urlsplit(self.broker_url)
        assert program is not None
        secret = self.plant.secrets[gateway.gateway]
        subprocess.run(
            [
                *(
                    str(program),
                    "-h",
                    broker.hostname or "",
                    "-p",
                    str(broker.port),
                    "-q",
                    "1",
                    "-i",
                    f"{gateway.gateway}",
                ),
                *("-u", gateway.gateway, "-P", secret, "-t", f"energy/v1/{gateway.gateway}/data"),
                *(("-s",) if body else ("-n",)),
            ],
            input=body,
            check=True,
            timeout=30,
        )

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def restart(self) -> None:
        self.plant.service.start()


@contextmanager
def site(**settings: str) -> Iterator[Site]:
    """A stack of its own, both proxies, and a running service with one enterprise."""
    with ExitStack() as after:
        state = Path(tempfile.mkdtemp(prefix="tcewatch-faults-"))
        after.callback(shutil.rmtree, state, ignore_errors=True)
        clock = MachineClock(state)
        stack = Stack(state=state, environment={})
        after.callback(stack.down)
        addresses = stack.up()
        asyncio.run(migrate(addresses.database_url))
        database, broker = make_url(addresses.database_url), urlsplit(addresses.mqtt_url)
        assert database.host, database.port
        to_database = after.enter_context(Proxy(database.host, database.port or 5432))
        to_broker = after.enter_context(Proxy(broker.hostname or "", broker.port or 1883))
        env = {
            **addresses.environment(),
            "TCEWATCH_DATABASE_URL": database.set(port=to_database.port).render_as_string(hide_password=False),
            "TCEWATCH_MQTT_URL": addresses.mqtt_url.replace(f":{broker.port}", f":{to_broker.port}"),
            "TCEWATCH_MQTT_CLIENT_ID": f"tcewatch-{secrets.token_hex(4)}",
            "TCEWATCH_MQTT_LISTEN": f"mqtt://127.0.0.1:{free_port()}",
            "TCEWATCH_DATABASE_TIMEOUT_S": DATABASE_TIMEOUT_S,
            **clock.environment,
            **settings,
        }
        plant = after.enter_context(running_plant(env, state / "service.log"))
        yield Site(plant, stack, to_database, to_broker, addresses.database_url, addresses.mqtt_url, clock)


async def _execute(database_url: str, statement: str) -> None:
    # Read-only may be what the database is by default, and what is to be ended.
    writable = {"default_transaction_read_only": "off"}
    connection = await asyncpg.connect(plain_url(database_url), server_settings=writable)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
