"""A gateway on a bare connection that says exactly what a test wants it to say, and keeps every packet it hears."""

from __future__ import annotations

import asyncio
import ssl
from typing import TypeVar

from ingest.packet import (
    V5,
    Ack,
    ConnAck,
    Connect,
    Disconnect,
    Kind,
    Packet,
    PacketReader,
    Publish,
    Will,
    encode,
)
from tests.wait import soon

P = TypeVar("P", bound=Packet)


class WireClient:
    """`heard`: all packets so far. `ended`: the other side closed."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, version: int) -> None:
        self.version = version
        self.heard: list[Packet] = []
        self.ended = False
        self._writer = writer
        self._listening = asyncio.create_task(self._listen(reader, PacketReader(version)))

    @classmethod
    async def to(cls, port: int, version: int = V5, tls: ssl.SSLContext | None = None) -> WireClient:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
        return cls(reader, writer, version)

    async def _listen(self, reader: asyncio.StreamReader, packets: PacketReader) -> None:
        try:
            while part := await reader.read(65_536):
                self.heard += packets.feed(part)
        except OSError:
            pass
        self.ended = True

    def say(self, *packets: Packet) -> None:
        self.raw(b"".join(encode(packet, self.version) for packet in packets))

    def raw(self, data: bytes) -> None:
        self._writer.write(data)

    async def flushed(self) -> None:
        await self._writer.drain()

    async def greet(
        self,
        gateway: str,
        secret: str,
        *,
        client_id: str | None = None,
        will: Will | None = None,
        keep_alive_s: int = 60,
    ) -> ConnAck:
        name = gateway if client_id is None else client_id
        self.say(Connect(self.version, name, True, keep_alive_s, gateway, secret.encode(), will))
        return await self.first(ConnAck)

    async def first(self, kind: type[P]) -> P:
        """The first packet of a kind, as soon as it is there."""
        await soon(lambda: self.of(kind) or self.ended, f"a {kind.__name__} is heard")
        assert self.of(kind), f"closed without {kind.__name__}; heard {self.heard}"
        return self.of(kind)[0]

    def of(self, kind: type[P]) -> list[P]:
        return [packet for packet in self.heard if isinstance(packet, kind)]

    @property
    def acknowledged(self) -> list[tuple[int, int]]:
        """Packet id and reason of each PUBACK, in order."""
        return [(ack.packet_id, ack.reason) for ack in self.of(Ack) if ack.kind is Kind.PUBACK]

    @property
    def farewell(self) -> int | None:
        """The reason of the other side's DISCONNECT."""
        return self.of(Disconnect)[0].reason if self.of(Disconnect) else None

    def messages(self, topic: str) -> list[Publish]:
        return [message for message in self.of(Publish) if message.topic == topic]

    async def closed(self) -> None:
        await soon(lambda: self.ended, "the other side closes")

    def drop(self) -> None:
        """Away without a word."""
        self._writer.transport.abort()

    def leave(self) -> None:
        self._listening.cancel()
        self._writer.transport.abort()
