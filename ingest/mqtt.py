"""The broker door: paho on asyncio, messages acknowledged in order after their commit. The only importer of paho.

paho reads a packet in three calls of `recv` and writes each packet in a call of its own. `BufferedSocket` stands
between it and the kernel, so that one system call brings or takes many packets.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import msgspec
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from ingest import packet
from ingest.acks import AckLine, Ticket
from ingest.batch import Door, Received
from ingest.metrics import IngestMetrics
from ingest.pipeline import Outcome, Pipeline
from ingest.wire import JSON_TYPE, Channel, Receipt, answer_topic, read_status, read_topic, shown, topic_of

log = logging.getLogger(__name__)

KEEPALIVE_S = 30
CONNECT_TIMEOUT_S = 10.0
RETRY_FIRST_S, RETRY_MOST_S = 0.2, 10.0
LEAVE_TIMEOUT_S = 5.0
CHUNK_BYTES = 256 * 1024
PACKETS_PER_TURN = 500
TURN_S = 0.01
"""Longest stretch of reading before the loop may turn to others: the writer, HTTP, the keep-alive."""
SESSION_EXPIRY_S = 7 * 86_400
COMMAND_EXPIRY_S = 86_400
DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}


class BrokerUnavailable(Exception):
    """The broker cannot be reached, or did not answer in time."""


class StatusSink(Protocol):
    """Where the word of a gateway about itself is kept; `app.store` keeps it."""

    async def heard(self, gateway: str, state: str, at_us: int) -> None:
        """Keep that the gateway was `online` or `offline` at a time (microseconds since 1970). May be repeated."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message as the broker delivered it. `packet_id` is None for QoS 0, which nobody waits to see acknowledged."""

    topic: str
    payload: bytes
    packet_id: int | None
    content_type: str | None
    response_topic: str | None
    correlation: bytes | None


class BufferedSocket:
    """A socket that reads ahead and holds back what is written until `flush`."""

    def __init__(self, plain: Any, written: Callable[[], None]) -> None:
        self._plain = plain
        self._written = written
        self._in = b""
        self._at = 0
        self._out = bytearray()
        self.dry = True

    def recv(self, count: int) -> bytes:
        if self._at >= len(self._in):
            try:
                self._in, self._at = self._plain.recv(CHUNK_BYTES), 0
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                self.dry = True
                raise
        part = self._in[self._at : self._at + count]
        self._at += len(part)
        return part

    def send(self, packet: bytes | bytearray) -> int:
        self._out += packet
        self._written()
        return len(packet)

    def flush(self) -> bool:
        """Give the kernel what it takes; False when something is left. Raises OSError when the peer is gone."""
        while self._out:
            try:
                sent = self._plain.send(self._out)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            del self._out[:sent]
        return True

    def fileno(self) -> int:
        number: int = self._plain.fileno()
        return number

    def setblocking(self, flag: bool) -> None:
        self._plain.setblocking(flag)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # a last word (DISCONNECT) if the peer still listens
            self.flush()
        self._plain.close()


class _Client(paho.Client):
    """paho with our socket under it."""

    written: Callable[[], None]

    def _create_socket(self) -> Any:
        plain: Any = super()._create_socket()
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return BufferedSocket(plain, self.written)


@dataclass(frozen=True, slots=True)
class Subscription:
    """A filter, and who takes what comes by it. `prefix` and `suffix` are how its topics begin and end."""

    pattern: str
    qos: int
    prefix: str
    take: Callable[[Arrival], None]


class BrokerLink:
    """One connection to the broker that is made again whenever it is lost.

    With `session_expiry_s` above 0 the session outlives the connection: what the broker took in meanwhile comes when
    the same client id is back. `receive_maximum` is the window: so many messages may be in flight to us unacknowledged.
    """

    def __init__(
        self,
        url: str,
        *,
        client_id: str,
        metrics: IngestMetrics,
        receive_maximum: int = 1000,
        session_expiry_s: int = SESSION_EXPIRY_S,
        ca_file: str | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
            raise ValueError("the broker's address should be mqtt://user:password@host:port or mqtts://…")
        self._metrics = metrics
        self._subscriptions: list[Subscription] = []
        self._opened: list[Callable[[], None]] = []
        self._busy: list[Callable[[], bool]] = []
        self._published: dict[int, asyncio.Future[None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lost = asyncio.Event()
        self._greeted: asyncio.Future[None] | None = None
        self._flush_is_due = False
        self._attached = False
        self._reading = False
        self._accepted = False
        self._leaving = False
        self._told = ""
        self.connected = False
        self.username = None if parts.username is None else unquote(parts.username)
        self._client = self._paho(client_id, parts.username, parts.password)
        if parts.scheme == "mqtts":
            self._client.tls_set_context(ssl.create_default_context(cafile=ca_file))
        connect = _properties(PacketTypes.CONNECT)
        connect.ReceiveMaximum = receive_maximum
        if session_expiry_s:
            connect.SessionExpiryInterval = session_expiry_s
        self._client.connect_async(
            parts.hostname,
            parts.port or DEFAULT_PORTS[parts.scheme],
            keepalive=KEEPALIVE_S,
            clean_start=not session_expiry_s,
            properties=connect,
        )

    def _paho(self, client_id: str, username: str | None, password: str | None) -> _Client:
        client = _Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5, manual_ack=True)
        client.written = self._flush_soon
        client.suppress_exceptions = True  # what slips through is logged by paho; the connection lives on
        client.connect_timeout = CONNECT_TIMEOUT_S
        if username is not None:
            client.username_pw_set(unquote(username), None if password is None else unquote(password))
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_socket_close = self._on_socket_close
        client.enable_logger(logging.getLogger("ingest.paho"))
        return client

    # For doors and accounts -------------------------------------------------------------------------------------------

    def listen(self, pattern: str, take: Callable[[Arrival], None], *, qos: int = 1) -> None:
        """Subscribe to a filter; `take` is called with each message. To be called before the link runs."""
        prefix = pattern.partition("+")[0].partition("#")[0]
        self._subscriptions.append(Subscription(pattern, qos, prefix, take))

    def when_opened(self, tell: Callable[[], None]) -> None:
        """Have `tell` called for each new connection, before its first message."""
        self._opened.append(tell)

    def while_busy(self, busy: Callable[[], bool]) -> None:
        """Have the connection kept at the stop, for a while, as long as `busy` answers true."""
        self._busy.append(busy)

    def acknowledge(self, packet_ids: Sequence[int]) -> None:
        """Answer messages of the present connection, in order."""
        out = self._client.socket()
        if isinstance(out, BufferedSocket) and packet_ids:
            out.send(packet.pubacks(packet_ids))

    def tell(self, topic: str, payload: bytes, *, correlation: bytes | None = None) -> None:
        """Publish with QoS 0: sent if the broker is there, else dropped."""
        out = self._client.socket()
        if self._accepted and isinstance(out, BufferedSocket):
            out.send(packet.publish(topic, payload, content_type=JSON_TYPE, correlation=correlation))

    async def publish(self, topic: str, payload: bytes, *, expiry_s: int | None = None) -> None:
        """Publish with QoS 1 and wait until the broker has it. Raises BrokerUnavailable."""
        if not self.connected:
            raise BrokerUnavailable("not connected to the broker")
        properties = _properties(PacketTypes.PUBLISH)
        if expiry_s is not None:
            properties.MessageExpiryInterval = expiry_s
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        info = self._client.publish(topic, payload, 1, properties=properties)
        self._published[info.mid] = future
        try:
            await asyncio.wait_for(future, CONNECT_TIMEOUT_S)
        except TimeoutError as error:
            raise BrokerUnavailable("the broker did not answer in time") from error
        finally:
            self._published.pop(info.mid, None)

    async def run(self, until: asyncio.Event) -> None:
        """Keep the connection until told to stop, then leave once nobody is busy with it."""
        self._loop = asyncio.get_running_loop()
        stopping = asyncio.create_task(until.wait())
        failures = 0
        try:
            while not until.is_set():
                if await self._connect():
                    failures = 0
                    await self._stay(stopping)
                else:
                    failures += 1
                if until.is_set():
                    break
                delay_s = min(RETRY_MOST_S, RETRY_FIRST_S * 2.0 ** min(failures, 10)) * random.uniform(0.5, 1)
                await asyncio.wait((stopping,), timeout=delay_s)
            await self._leave()
        finally:
            stopping.cancel()
            self._forget_socket()

    # Connection -------------------------------------------------------------------------------------------------------

    async def _connect(self) -> bool:
        """Connect and wait for the broker's greeting and its answer to the subscriptions; whether that worked."""
        assert self._loop is not None, "called by run"
        self._lost.clear()
        self._greeted = self._loop.create_future()
        for tell in self._opened:
            tell()
        try:
            # Name look-up, TCP and TLS handshake block in paho, so they happen in a thread.
            await asyncio.to_thread(self._client.reconnect)
            self._watch_socket()
            await asyncio.wait_for(self._greeted, CONNECT_TIMEOUT_S)
        except (OSError, ValueError, BrokerUnavailable, TimeoutError) as error:
            self._complain(f"{type(error).__name__}: {error}")
            self._forget_socket()
            return False
        self.connected = True
        self._told = ""
        self._metrics.connections.inc()
        self._metrics.broker_connected.set(1)
        log.info("broker connected")
        return True

    async def _stay(self, stopping: asyncio.Task[Any]) -> None:
        lost = asyncio.create_task(self._lost.wait())
        try:
            while not lost.done() and not stopping.done():
                self._client.loop_misc()
                await asyncio.wait((lost, stopping), timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
        finally:
            lost.cancel()

    async def _leave(self) -> None:
        """Read no more, wait a while for the acknowledgements still due, then say good-bye."""
        sock = self._client.socket()
        if sock is None or self._loop is None:
            return
        self._reading = False
        self._loop.remove_reader(sock.fileno())
        give_up_s = time.monotonic() + LEAVE_TIMEOUT_S
        lost = asyncio.create_task(self._lost.wait())
        while any(busy() for busy in self._busy) and time.monotonic() < give_up_s and not lost.done():
            await asyncio.wait((lost,), timeout=0.01)
        lost.cancel()
        self._flush()
        self._leaving = True
        self._client.disconnect()
        self._client.loop_write()

    def _watch_socket(self) -> None:
        sock = self._client.socket()
        if sock is None or self._loop is None:
            raise BrokerUnavailable("the connection was closed at once")
        self._attached = self._reading = True
        self._loop.add_reader(sock.fileno(), self._read)
        self._flush()

    def _forget_socket(self) -> None:
        if self._client.socket() is not None:
            self._client.disconnect()
            self._client.loop_write()
        self._gone()

    def _gone(self) -> None:
        self._attached = self._reading = self._accepted = False
        self.connected = False
        self._metrics.broker_connected.set(0)
        self._lost.set()
        for future in self._published.values():
            if not future.done():
                future.set_exception(BrokerUnavailable("the connection to the broker was lost"))
        if self._greeted is not None and not self._greeted.done():
            self._greeted.set_exception(BrokerUnavailable("the broker closed the connection"))
            self._greeted.exception()  # seen, also when nobody waits any more

    def _read(self) -> None:
        """Take in what is there, but not longer than a turn."""
        sock = self._client.socket()
        if not isinstance(sock, BufferedSocket) or not self._reading or self._loop is None:
            return
        sock.dry = False
        turn_ends_s = time.monotonic() + TURN_S
        for count in range(PACKETS_PER_TURN):
            if self._client.loop_read() != paho.MQTT_ERR_SUCCESS:
                return
            if sock.dry:
                self._client.loop_write()
                return
            if count % 32 == 31 and time.monotonic() > turn_ends_s:
                break
        self._client.loop_write()
        # The kernel has nothing new to report about what the buffer already holds.
        self._loop.call_soon(self._read)

    def _flush_soon(self) -> None:
        if not self._flush_is_due and self._loop is not None and self._attached:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        sock = self._client.socket()
        if not isinstance(sock, BufferedSocket) or self._loop is None:
            return
        try:
            done = sock.flush()
        except OSError as error:
            # The reader finds the same end of the connection and cleans up after it.
            self._complain(f"{type(error).__name__}: {error}")
            return
        if done:
            self._loop.remove_writer(sock.fileno())
        else:
            self._loop.add_writer(sock.fileno(), self._flush)

    def _complain(self, why: str) -> None:
        """Log why there is no connection, once for each reason and not once for each attempt."""
        if why != self._told:
            log.warning("broker not connected", extra={"why": why})
            self._told = why

    # What paho tells --------------------------------------------------------------------------------------------------

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        if reason.is_failure:
            self._refuse(f"the broker refuses the connection: {reason}")
            return
        # A session that goes on brings its messages before the answer to our subscriptions, and they want receipts.
        self._accepted = True
        if not self._subscriptions:
            self._greet()
            return
        # Retained messages only with a new subscription: on every reconnect they would be old news.
        wanted = [(each.pattern, SubscribeOptions(each.qos, retainHandling=1)) for each in self._subscriptions]
        self._client.subscribe(wanted)

    def _on_subscribe(self, client: Any, userdata: Any, mid: int, reasons: list[ReasonCode], properties: Any) -> None:
        refused = [
            f"{each.pattern}: {reason}"
            for each, reason in zip(self._subscriptions, reasons, strict=False)
            if reason.is_failure
        ]
        if refused:
            self._refuse(f"the broker refuses the subscription to {', '.join(refused)}")
        else:
            self._greet()

    def _greet(self) -> None:
        if self._greeted is not None and not self._greeted.done():
            self._greeted.set_result(None)

    def _refuse(self, why: str) -> None:
        if self._greeted is not None and not self._greeted.done():
            self._greeted.set_exception(BrokerUnavailable(why))

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        if self.connected and not self._leaving:
            log.warning("broker connection ended", extra={"why": str(reason)})
        self._gone()

    def _on_socket_close(self, client: Any, userdata: Any, sock: Any) -> None:
        # Before the number is closed, and only on the loop's own thread: reconnect finds no old socket to close.
        if self._loop is not None and sock.fileno() >= 0:
            self._loop.remove_reader(sock.fileno())
            self._loop.remove_writer(sock.fileno())

    def _on_publish(self, client: Any, userdata: Any, packet_id: int, reason: ReasonCode, properties: Any) -> None:
        future = self._published.get(packet_id)
        if future is None or future.done():
            return
        if reason.is_failure:
            future.set_exception(BrokerUnavailable(f"the broker refuses the message: {reason}"))
        else:
            future.set_result(None)

    def _on_message(self, client: Any, userdata: Any, message: paho.MQTTMessage) -> None:
        """Hand a message to whoever listens to its topic. Never raises: that would end paho's reading."""
        try:
            arrival = _arrival(message)
            for each in self._subscriptions:
                if arrival.topic.startswith(each.prefix):
                    each.take(arrival)
                    return
        except Exception:
            # Not acknowledged, so not lost: the broker brings it again with the next connection.
            log.exception("a broker message could not be taken in", extra={"packet_id": message.mid})
            return
        self._metrics.stray_messages.inc()
        if message.qos:
            self.acknowledge([message.mid])


def _properties(packet_type: int) -> Properties:
    return Properties(packet_type)  # type: ignore[no-untyped-call]  # paho types everything but this


def _arrival(message: paho.MQTTMessage) -> Arrival:
    try:
        topic = message.topic
    except UnicodeDecodeError:
        topic = ""
    properties = message.properties
    return Arrival(
        topic,
        bytes(message.payload),
        message.mid if message.qos else None,
        getattr(properties, "ContentType", None),
        getattr(properties, "ResponseTopic", None),
        getattr(properties, "CorrelationData", None),
    )


class BrokerDoor:
    """Messages of gateways from the broker to the pipeline; receipt and acknowledgement go back after the commit."""

    def __init__(
        self,
        link: BrokerLink,
        pipeline: Pipeline,
        statuses: StatusSink,
        *,
        metrics: IngestMetrics,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._link = link
        self._pipeline = pipeline
        self._statuses = statuses
        self._metrics = metrics
        self._now_us = now_us
        self._line = AckLine()
        self._ack_is_due = False
        self._said: asyncio.Queue[tuple[str, str, int, Ticket | None]] = asyncio.Queue()
        link.listen("energy/v1/+/data", self._take)
        link.listen("energy/v1/+/status", self._take)
        link.when_opened(self._line.opened)
        link.while_busy(lambda: len(self._line) > 0)

    @property
    def unacknowledged(self) -> int:
        """Messages of the present connection that wait for their commit."""
        return len(self._line)

    async def command(self, gateway: str, payload: bytes) -> None:
        """Tell a gateway what to do (`ingest.wire.resend`). Raises BrokerUnavailable."""
        await self._link.publish(topic_of(gateway, Channel.CMD), payload, expiry_s=COMMAND_EXPIRY_S)

    async def run(self, until: asyncio.Event) -> None:
        """Keep what gateways say of themselves, until told to stop. What cannot be kept now stays unacknowledged."""
        stopping = asyncio.create_task(until.wait())
        try:
            while not until.is_set():
                said = asyncio.create_task(self._said.get())
                await asyncio.wait((said, stopping), return_when=asyncio.FIRST_COMPLETED)
                if not said.done():
                    said.cancel()
                    return
                await self._keep_status(*said.result(), stopping)
        finally:
            stopping.cancel()

    async def _keep_status(
        self, gateway: str, state: str, at_us: int, ticket: Ticket | None, stopping: asyncio.Task[Any]
    ) -> None:
        delay_s = RETRY_FIRST_S
        while not stopping.done():
            try:
                await self._statuses.heard(gateway, state, at_us)
            except Exception as error:  # noqa: BLE001  # whatever the store's trouble, the status waits for its end
                log.warning("status not kept", extra={"gateway": gateway, "why": str(error), "retry_s": delay_s})
                await asyncio.wait((stopping,), timeout=delay_s)
                delay_s = min(delay_s * 2, RETRY_MOST_S)
            else:
                self._settled(ticket)
                return

    def _take(self, arrival: Arrival) -> None:
        ticket = None if arrival.packet_id is None else self._line.arrived(arrival.packet_id)
        self._metrics.unacknowledged.set(len(self._line))
        addressed = read_topic(arrival.topic)
        if addressed is None:
            self._metrics.stray_messages.inc()
            self._settled(ticket)
        elif addressed[1] is Channel.STATUS:
            self._take_status(addressed[0], arrival, ticket)
        else:
            self._take_readings(addressed[0], arrival, ticket)

    def _take_status(self, gateway: str, arrival: Arrival, ticket: Ticket | None) -> None:
        try:
            state = read_status(arrival.payload).state
        except msgspec.DecodeError:
            state = None
        self._metrics.status_messages.labels(state or "unreadable").inc()
        if state is None:
            self._settled(ticket)  # a zero-length one only clears what the broker retains
        else:
            self._said.put_nowait((gateway, state, self._now_us(), ticket))

    def _take_readings(self, gateway: str, arrival: Arrival, ticket: Ticket | None) -> None:
        content_type = shown(arrival.content_type) or JSON_TYPE
        received = Received(Door.BROKER, gateway, arrival.topic, content_type, arrival.payload, self._now_us())

        def settle(outcome: Outcome) -> None:
            if isinstance(outcome, Receipt):
                topic = answer_topic(gateway, arrival.response_topic)
                self._link.tell(topic, outcome.encode(), correlation=arrival.correlation)
                self._settled(ticket)

        self._pipeline.put(received, settle)

    def _settled(self, ticket: Ticket | None) -> None:
        if ticket is None:
            return
        if not self._line.settle(ticket):
            self._metrics.stale_acks.inc()
        elif not self._ack_is_due:
            self._ack_is_due = True
            asyncio.get_running_loop().call_soon(self._acknowledge)

    def _acknowledge(self) -> None:
        """Once for all that a commit settled."""
        self._ack_is_due = False
        self._link.acknowledge(self._line.ready())
        self._metrics.unacknowledged.set(len(self._line))
