"""The registry as ingest needs it: one consistent picture, with the number that tells when it is old."""

from __future__ import annotations

from collections import defaultdict

import asyncpg

from ingest.registry import GatewayEntry, MeterEntry, Registry

VERSION = "SELECT version FROM registry_version"
GATEWAYS = "SELECT id, enterprise, secret_sha256 FROM gateway WHERE active"
METERS = "SELECT meter_id, enterprise, code, gateway, kind, rolls_over_at FROM meter WHERE active"
HEARD_STATE = """
UPDATE gateway SET state = $2, state_at = 'epoch'::timestamptz + $3::bigint * interval '1 microsecond' WHERE id = $1
"""


class StoredRegistry:
    """`ingest.registry.RegistrySource` and `ingest.mqtt.StatusSink` on the database."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def version(self) -> int:
        return int(await self._pool.fetchval(VERSION))

    async def read(self) -> Registry:
        async with self._pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
            version = await connection.fetchval(VERSION)
            gateways = await connection.fetch(GATEWAYS)
            meters = await connection.fetch(METERS)
        return picture(version, gateways, meters)

    async def heard(self, gateway: str, state: str, at_us: int) -> None:
        """What a gateway (or its last will) said of itself; an unknown gateway changes nothing."""
        await self._pool.execute(HEARD_STATE, gateway, state, at_us)


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
