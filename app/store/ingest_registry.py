"""The registry as ingest needs it: one consistent picture, with the number that tells when it is old."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence

import asyncpg

from app.store.database import plain_url, prompt_connection
from app.store.readings import is_unavailable
from app.store.waiting import first_of
from ingest.registry import GatewayEntry, MeterEntry, Registry
from ingest.status import Word

VERSION = "SELECT version FROM registry_version"
GATEWAYS = "SELECT id, enterprise, secret_sha256 FROM gateway WHERE active"
METERS = "SELECT meter_id, enterprise, code, gateway, kind, rolls_over_at FROM meter WHERE active"
HEARD_STATES = """
WITH held AS MATERIALIZED (
    SELECT gateway.id, said.state, said.us
    FROM unnest($1::text[], $2::text[], $3::bigint[]) AS said (id, state, us)
    JOIN gateway ON gateway.id = said.id
    ORDER BY gateway.id FOR NO KEY UPDATE OF gateway
)
UPDATE gateway SET state = held.state, state_at = 'epoch'::timestamptz + held.us * interval '1 microsecond'
FROM held WHERE gateway.id = held.id
"""
"""In the order of the ids, as the ledger locks them: two that lock the same gateways never wait for each other."""


class StoredRegistry:
    """`ingest.registry.RegistrySource` and `ingest.mqtt.StatusSink` on the database."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def version(self) -> int:
        async with prompt_connection(self._pool) as connection:
            return int(await connection.fetchval(VERSION))

    async def read(self) -> Registry:
        async with (
            prompt_connection(self._pool) as connection,
            connection.transaction(isolation="repeatable_read"),
        ):
            version = await connection.fetchval(VERSION)
            gateways = await connection.fetch(GATEWAYS)
            meters = await connection.fetch(METERS)
        return picture(version, gateways, meters)

    async def heard(self, words: Sequence[Word]) -> None:
        """What gateways (or their last wills) said of themselves; an unknown gateway changes nothing."""
        gateways, states, moments = zip(*words, strict=True)
        async with prompt_connection(self._pool) as connection:
            await connection.execute(HEARD_STATES, gateways, states, moments)


def picture(version: int, gateways: list[asyncpg.Record], meters: list[asyncpg.Record]) -> Registry:
    """Rows to the picture. Every gateway of an enterprise shares that enterprise's one table of meters."""
    by_enterprise: defaultdict[str, dict[str, MeterEntry]] = defaultdict(dict)
    for row in meters:
        by_enterprise[row["enterprise"]][row["code"]] = MeterEntry(
            row["meter_id"], row["code"], row["gateway"], row["kind"], row["rolls_over_at"]
        )
    entries = {
        row["id"]: GatewayEntry(row["id"], row["enterprise"], row["secret_sha256"], by_enterprise[row["enterprise"]])
        for row in gateways
    }
    return Registry(version, entries, {entry.secret_sha256: name for name, entry in entries.items()})


RECONNECT_S = 1.0
ASK_EVERY_S = 10.0
ANSWER_WITHIN_S = 10.0
"""A connection that died without a word says nothing either, and somebody may have lost a right: so it is asked."""


async def tell_changes(database_url: str, told: Callable[[], None], until: asyncio.Event) -> None:
    """Calls `told` when the registry changed, and after every gap in which a change could have gone unheard."""
    while not until.is_set():
        try:
            await _listen(database_url, told, until)
        except Exception as error:
            if not is_unavailable(error):
                raise
        await first_of(RECONNECT_S, until)


async def _listen(database_url: str, told: Callable[[], None], until: asyncio.Event) -> None:
    connection = await asyncpg.connect(plain_url(database_url), timeout=10)
    lost = asyncio.Event()
    connection.add_termination_listener(lambda _: lost.set())
    try:
        await connection.add_listener("registry", lambda *_: told())
        told()
        while not until.is_set() and not lost.is_set():
            await first_of(ASK_EVERY_S, until, lost)
            await connection.execute("SELECT 1", timeout=ANSWER_WITHIN_S)
        await connection.close(timeout=ANSWER_WITHIN_S)
    finally:
        connection.terminate()
