"""A gateway as a customer would write it, and a wire to the broker that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.wait import soon


class Gateway:
    """Connected under its own name; what it hears and what the broker answers stands in lists."""

    def __init__(
        self, name: str, secret: str, url: str, protocol: MQTTProtocolVersion = paho.MQTTv5, client_id: str = ""
    ) -> None:
        parts = urlsplit(url)
        self.name = name
        self.heard: list[tuple[str, dict[str, Any], bytes | None]] = []
        self.acknowledged: dict[int, bool] = {}
        self.refused: list[str] = []
        self.granted: dict[int, bool] = {}
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id or name, protocol=protocol, reconnect_on_failure=False
        )
        self._client.username_pw_set(name, secret)
        self.connected = False
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        self._client.on_subscribe = self._on_subscribe
        self._client.will_set(f"energy/v1/{name}/status", '{"state":"offline"}', 1)
        self._client.connect(parts.hostname or "", parts.port or 1883)
        self._client.loop_start()

    def publish(
        self, channel: str, payload: bytes | str | dict[str, Any], *, qos: int = 1, topic: str = "", **more: Any
    ) -> int:
        properties = None
        if more:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho types all but this
            for key, value in more.items():
                setattr(properties, key, value)
        body = json.dumps(payload) if isinstance(payload, dict) else payload
        info = self._client.publish(topic or f"energy/v1/{self.name}/{channel}", body, qos, properties=properties)
        return info.mid

    async def subscribe(self, pattern: str) -> bool:
        """Whether the broker granted it."""
        _, packet_id = self._client.subscribe(pattern, 1)
        assert packet_id is not None
        await soon(lambda: packet_id in self.granted, f"{pattern} is answered")
        return self.granted[packet_id]

    def receipts(self) -> list[dict[str, Any]]:
        return [body for topic, body, _ in list(self.heard) if topic == f"energy/v1/{self.name}/ack"]

    def leave(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def drop(self) -> None:
        """Lose contact without a word: the broker speaks the will."""
        sock = self._client.socket()
        assert sock is not None
        sock.close()
        self._client.loop_stop()

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self.refused.append(str(reason))
        else:
            self.connected = True

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self.connected = False

    def _on_message(self, client: Any, userdata: Any, message: paho.MQTTMessage) -> None:
        if message.topic.endswith(("/data", "/status")):
            return  # its own words
        correlation = getattr(message.properties, "CorrelationData", None)
        self.heard.append((message.topic, json.loads(message.payload), correlation))

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason: Any, properties: Any) -> None:
        self.acknowledged[mid] = not reason.is_failure

    def _on_subscribe(self, client: Any, userdata: Any, mid: int, reasons: list[Any], properties: Any) -> None:
        self.granted[mid] = not any(reason.is_failure for reason in reasons)


class Wire:
    """A port that forwards to the broker until it is cut; while cut, nobody gets through."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._there = parts.hostname or "", parts.port or 1883
        self._credentials = parts.netloc.rpartition("@")[0]
        self._writers: set[asyncio.StreamWriter] = set()
        self._open = True
        self._server: asyncio.Server | None = None
        self.url = ""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"mqtt://{self._credentials}@127.0.0.1:{port}"

    def cut(self) -> None:
        self._open = False
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        self._open = True

    async def close(self) -> None:
        self.cut()
        assert self._server is not None
        self._server.close()
        await soon(lambda: not self._writers, "both ends are closed")

    async def _forward(self, near: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        if not self._open:
            near_out.transport.abort()
            return
        far, far_out = await asyncio.open_connection(*self._there)
        self._writers |= {near_out, far_out}
        try:
            await asyncio.gather(self._pump(near, far_out), self._pump(far, near_out))
        finally:
            self._writers -= {near_out, far_out}

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while part := await source.read(65536):
                sink.write(part)
                await sink.drain()
        sink.close()


@contextlib.asynccontextmanager
async def a_wire(url: str) -> AsyncIterator[Wire]:
    wire = Wire(url)
    await wire.start()
    try:
        yield wire
    finally:
        await wire.close()
