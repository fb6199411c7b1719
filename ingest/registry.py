"""What ingest knows of the registry: which gateway may report which meter, and what that meter can show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class MeterEntry:
    """A meter as ingest sees it. `gateway` is the only one that may report it."""

    meter_id: int
    code: str
    gateway: str
    kind: str
    rolls_over_at: float | None


@dataclass(frozen=True, slots=True)
class GatewayEntry:
    """A gateway, the digest of its secret, and every meter of its enterprise by code (its own and foreign ones)."""

    gateway: str
    enterprise: str
    secret_sha256: bytes
    meters: Mapping[str, MeterEntry]


@dataclass(frozen=True, slots=True)
class Registry:
    """One consistent picture of the registry. `version` rises with every change."""

    version: int
    gateways: Mapping[str, GatewayEntry]
    by_secret: Mapping[bytes, str]


class RegistrySource(Protocol):
    """Where the picture comes from; `app.store` keeps it."""

    async def version(self) -> int:
        """The number of the newest picture: one cheap question."""

    async def read(self) -> Registry:
        """The whole newest picture."""
