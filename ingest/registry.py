"""What ingest knows of the registry: which gateway may report which meter, and what that meter can show."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
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


class RegistryView:
    """The picture at hand. It is read once and again when it is told or found to be old.

    Whoever is about to refuse because something is not in the picture asks `renewed` first, so that what was created a
    moment ago is known at once.
    """

    def __init__(self, source: RegistrySource) -> None:
        self._source = source
        self._stale = True
        self._reading = asyncio.Lock()
        self._told: list[Callable[[], None]] = []
        self.picture: Registry | None = None

    def when_stale(self, tell: Callable[[], None]) -> None:
        """Have `tell` called whenever the picture is called stale: somebody may have lost a right."""
        self._told.append(tell)

    def stale(self) -> None:
        """The picture is known to be old (a notification came): read it again before the next use."""
        self._stale = True
        for tell in self._told:
            tell()

    async def current(self) -> Registry:
        """The picture, read if there is none or it was called stale. Raises what the source raises."""
        if self._stale or self.picture is None:
            async with self._reading:
                if self._stale or self.picture is None:
                    await self._read()
        assert self.picture is not None, "just read"
        return self.picture

    async def renewed(self) -> bool:
        """Ask whether there is a newer picture and read it if so. Raises what the source raises."""
        async with self._reading:
            if self.picture is not None and await self._source.version() <= self.picture.version:
                return False
            await self._read()
            return True

    async def gateway_of(self, secret_sha256: bytes) -> str | None:
        """Whose secret has this digest, by the newest picture if the one at hand does not know it."""
        picture = await self.current()
        if secret_sha256 not in picture.by_secret:
            await self.renewed()  # or somebody else has just done so: the picture at hand may be newer either way
            picture = await self.current()
        return picture.by_secret.get(secret_sha256)

    async def _read(self) -> None:
        self._stale = False  # before the question: what changes meanwhile makes it stale again
        try:
            self.picture = await self._source.read()
        except BaseException:
            self._stale = True
            raise
