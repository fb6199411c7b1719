"""The broker door: paho keeps the connection, our own codec reads the messages; acknowledged in order after the commit.

The only importer of paho. It connects, subscribes, pings and connects again. Messages never reach it: paho takes some
90 microseconds for each of MQTT 5, the codec one. `SplitSocket` stands between paho and the kernel, reads as much as
there is, keeps the PUBLISH packets for us and lets paho have the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from ingest.acks import AckLine, Ticket
from ingest.batch import Door, Received
from ingest.metrics import IngestMetrics
from ingest.packet import V5, Opening, Other, Property, Publish, PublishReader, opening, pubacks, publish_after
from ingest.pipeline import Outcome, Pipeline
from ingest.status import Said, StatusDesk, StatusSink, state_of
from ingest.wire import JSON_TYPE, Channel, Receipts, answer_topic, content_type_of, read_topic, topic_of

log = logging.getLogger(__name__)

KEEPALIVE_S = 30
CONNECT_TIMEOUT_S = 10.0
RETRY_FIRST_S, RETRY_MOST_S = 0.2, 10.0
LEAVE_TIMEOUT_S = 5.0
CHUNK_BYTES = 256 * 1024
CROWDED_PAUSE_S = 0.02
TURN_S = 0.01
"""Longest stretch of reading before the loop may turn to others: the writer, HTTP, the keep-alive."""
SESSION_EXPIRY_S = 7 * 86_400
COMMAND_EXPIRY_S = 86_400
FILTERS_AT_ONCE = 200
"""Filters in one packet: well below the packet sizes brokers allow."""
DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}


class BrokerUnavailable(Exception):
    """The broker cannot be reached, or did not answer in time."""


class SplitSocket:
    """A socket that reads ahead, parts messages from other packets, and holds back what is written until `flush`."""

    def __init__(self, plain: Any, written: Callable[[], None]) -> None:
        self._plain = plain
        self._written = written
        self._reader = PublishReader(V5)
        self._others = bytearray()
        self._trouble: Exception | None = None
        self._over = False
        self._out = bytearray()

    def fill(self) -> list[Publish] | None:
        """Read once: the messages that are whole now, or None when there is nothing to read at present."""
        try:
            data = self._plain.recv(CHUNK_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except OSError as error:
            self._trouble = error
            return []
        self._over = not data
        messages: list[Publish] = []
        for packet in self._reader.feed(data):
            if isinstance(packet, Publish):
                messages.append(packet)
            elif isinstance(packet, Other):
                self._others += packet.raw
        if self._reader.error is not None:
            self._trouble = ConnectionAbortedError(f"the broker sent what is no MQTT: {self._reader.error}")
        return messages

    @property
    def over(self) -> bool:
        """Whether the other side has closed or what it sent cannot be read."""
        return self._over or self._trouble is not None

    @property
    def paho_has_something(self) -> bool:
        """Whether there are packets for paho, or an end of the connection to tell it of."""
        return bool(self._others) or self.over

    def recv(self, count: int) -> bytes:
        """For paho: of the packets that are no messages; then how the connection ended, if it did."""
        if self._others:
            part = bytes(self._others[:count])
            del self._others[:count]
            return part
        if self._trouble is not None:
            raise self._trouble
        if self._over:
            return b""
        raise BlockingIOError

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
        return SplitSocket(plain, self.written)


@dataclass(frozen=True, slots=True)
class Subscription:
    """A filter, and who takes what comes by it. `prefix` and `suffix` are how its topics begin and end."""

    pattern: str
    qos: int
    prefix: str
    take: Callable[[list[Publish]], None]


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
        self._filters: dict[str, int] = {}
        self._own: set[str] = set()
        self._unwanted: set[str] = set()
        self._asked: dict[int, list[str]] = {}
        self._opened: list[Callable[[], None]] = []
        self._busy: list[Callable[[], bool]] = []
        self._crowded: list[Callable[[], bool]] = []
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
        client.on_socket_close = self._on_socket_close
        client.enable_logger(logging.getLogger("ingest.paho"))
        return client

    # For doors and accounts -------------------------------------------------------------------------------------------

    def listen(
        self, pattern: str, take: Callable[[list[Publish]], None], *, qos: int = 1, in_parts: bool = False
    ) -> None:
        """Subscribe to a filter; `take` is called with messages that came together. To be called before the link runs.

        Filters that begin alike have one taker: the first gets the messages of all of them.
        """
        prefix = pattern.partition("+")[0].partition("#")[0]
        self._subscriptions.append(Subscription(pattern, qos, prefix, take))
        if in_parts:
            self._unwanted.add(pattern)
        else:
            self._filters[pattern] = qos

    def only(self, wanted: Iterable[str], unwanted: Iterable[str]) -> None:
        """Of the topics that are listened to in parts, have these and not those, also if an older session had them."""
        own = set(wanted)
        added, gone = own - self._own, (self._own | set(unwanted)) - own - self._unwanted
        self._unwanted = (self._unwanted | gone) - own
        self._own = own
        if self._accepted:
            self._ask(dict.fromkeys(sorted(added), 1))
            self._ask_no_more(sorted(gone))

    def when_opened(self, tell: Callable[[], None]) -> None:
        """Have `tell` called for each new connection, before its first message."""
        self._opened.append(tell)

    def while_busy(self, busy: Callable[[], bool]) -> None:
        """Have the connection kept at the stop, for a while, as long as `busy` answers true."""
        self._busy.append(busy)

    def while_crowded(self, crowded: Callable[[], bool]) -> None:
        """Have nothing read as long as `crowded` answers true."""
        self._crowded.append(crowded)

    def acknowledge(self, packet_ids: Sequence[int]) -> None:
        """Answer messages of the present connection, in order."""
        out = self._client.socket()
        if isinstance(out, SplitSocket) and packet_ids:
            out.send(pubacks(packet_ids))

    def tell(self, packets: bytes) -> None:
        """Send ready packets of QoS 0 if the broker is there; else they are dropped."""
        out = self._client.socket()
        if self._accepted and isinstance(out, SplitSocket):
            out.send(packets)

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
        if not isinstance(sock, SplitSocket) or not self._reading or self._loop is None:
            return
        if any(crowded() for crowded in self._crowded):
            self._loop.remove_reader(sock.fileno())
            self._loop.call_later(CROWDED_PAUSE_S, self._read_again, sock)
            return
        turn_ends_s = time.monotonic() + TURN_S
        while True:
            messages = sock.fill()
            if messages is None:
                return
            while sock.paho_has_something:
                ended = self._client.loop_read() != paho.MQTT_ERR_SUCCESS
                if ended or not self._attached:
                    return  # what was read is not acknowledged, so it comes again
            self._client.loop_write()
            if messages:
                self._hand_on(messages)
            if time.monotonic() > turn_ends_s:
                # The kernel has nothing new to report about what a TLS layer already holds.
                self._loop.call_soon(self._read)
                return

    def _read_again(self, sock: SplitSocket) -> None:
        if self._client.socket() is sock and self._reading and self._loop is not None:
            self._loop.add_reader(sock.fileno(), self._read)
            self._read()

    def _flush_soon(self) -> None:
        if not self._flush_is_due and self._loop is not None and self._attached:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        sock = self._client.socket()
        if not isinstance(sock, SplitSocket) or self._loop is None:
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
        self._asked.clear()
        self._ask(self._filters | dict.fromkeys(sorted(self._own), 1))
        self._ask_no_more(sorted(self._unwanted))
        if not self._asked:
            self._greet()

    def _ask(self, filters: Mapping[str, int]) -> None:
        # Retained messages only with a new subscription: on every reconnect they would be old news.
        patterns = list(filters)
        for first in range(0, len(patterns), FILTERS_AT_ONCE):
            some = patterns[first : first + FILTERS_AT_ONCE]
            wanted = [(pattern, SubscribeOptions(filters[pattern], retainHandling=1)) for pattern in some]
            _, number = self._client.subscribe(wanted)
            if number is not None:
                self._asked[number] = some

    def _ask_no_more(self, patterns: Sequence[str]) -> None:
        for first in range(0, len(patterns), FILTERS_AT_ONCE):
            self._client.unsubscribe(list(patterns[first : first + FILTERS_AT_ONCE]))

    def _on_subscribe(self, client: Any, userdata: Any, mid: int, reasons: list[ReasonCode], properties: Any) -> None:
        asked = self._asked.pop(mid, [])
        refused = [f"{pattern}: {reason}" for pattern, reason in zip(asked, reasons, strict=False) if reason.is_failure]
        if refused and self.connected:
            log.error("the broker refuses subscriptions", extra={"refused": refused})
        elif refused:
            self._refuse(f"the broker refuses the subscription to {', '.join(refused)}")
        elif not self._asked:
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

    def _hand_on(self, messages: list[Publish]) -> None:
        """Hand messages to whoever listens to their topics."""
        for each in self._subscriptions:
            prefix = each.prefix
            mine = [message for message in messages if message.topic.startswith(prefix)]
            if not mine:
                continue
            if len(mine) < len(messages):
                messages = [message for message in messages if not message.topic.startswith(prefix)]
            else:
                messages = []
            try:
                each.take(mine)
            except Exception:
                # Not acknowledged, so not lost: the broker brings them again with the next connection.
                log.exception("broker messages could not be taken in", extra={"messages": len(mine)})
        if messages:
            self._metrics.stray_messages.inc(len(messages))
            self.acknowledge([message.packet_id for message in messages if message.qos])


def _properties(packet_type: int) -> Properties:
    return Properties(packet_type)  # type: ignore[no-untyped-call]  # paho types everything but this


SENDERS_KEPT = 50_000
"""Gateways whose topics a door knows by heart; beyond it the memory starts anew."""


class BrokerDoor:
    """Messages of gateways from the broker to the pipeline; receipt and acknowledgement go back after the commit."""

    def __init__(
        self,
        link: BrokerLink,
        pipeline: Pipeline,
        statuses: StatusSink,
        *,
        metrics: IngestMetrics,
        in_parts: bool = False,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._link = link
        self._pipeline = pipeline
        self._desk = StatusDesk(statuses)
        self._metrics = metrics
        self._now_us = now_us
        self._line = AckLine()
        self._ack_is_due = False
        self._senders: dict[str, str] = {}
        self._openings: dict[str, Opening] = {}
        link.listen("energy/v1/+/data", self._take, in_parts=in_parts)
        link.listen("energy/v1/+/status", self._take, in_parts=in_parts)
        link.when_opened(self._line.opened)
        link.while_busy(lambda: len(self._line) > 0)
        link.while_crowded(lambda: pipeline.crowded)

    @property
    def unacknowledged(self) -> int:
        """Messages of the present connection that wait for their commit."""
        return len(self._line)

    async def command(self, gateway: str, payload: bytes) -> None:
        """Tell a gateway what to do (`ingest.wire.resend`). Raises BrokerUnavailable."""
        await self._link.publish(topic_of(gateway, Channel.CMD), payload, expiry_s=COMMAND_EXPIRY_S)

    async def run(self, until: asyncio.Event) -> None:
        """Keep what gateways say of themselves, until told to stop. What cannot be kept now stays unacknowledged."""
        await self._desk.run(until)

    def _take(self, messages: list[Publish]) -> None:
        """Readings go on in runs; a word about a gateway's state stands between two runs."""
        senders = [self._senders.get(message.topic) or self._sender(message.topic) for message in messages]
        first = 0
        while first < len(messages):
            last = senders.index("", first) if "" in senders[first:] else len(messages)
            if last > first:
                self._take_readings(messages[first:last], senders[first:last])
            if last < len(messages):
                self._take_other(messages[last])
            first = last + 1
        self._metrics.unacknowledged.set(len(self._line))

    def _sender(self, topic: str) -> str:
        """The gateway whose `data` topic this is; nothing for every other topic."""
        addressed = read_topic(topic)
        if addressed is None or addressed[1] is not Channel.DATA:
            return ""
        if len(self._senders) >= SENDERS_KEPT:
            self._senders.clear()
        self._senders[topic] = addressed[0]
        return addressed[0]

    def _take_other(self, message: Publish) -> None:
        ticket = self._line.arrived(message.packet_id) if message.qos else None
        addressed = read_topic(message.topic)
        if addressed is None or addressed[1] is not Channel.STATUS:
            self._metrics.stray_messages.inc()
            self._settled(ticket)
            return
        state = state_of(message.payload)
        self._metrics.status_messages.labels(state or "unreadable").inc()
        if state is None:
            self._settled(ticket)  # a zero-length one only clears what the broker retains
        else:
            self._desk.put(Said(addressed[0], state, self._now_us(), lambda: self._settled(ticket)))

    def _take_readings(self, messages: list[Publish], senders: list[str]) -> None:
        ticket = self._line.arrived(*[message.packet_id for message in messages if message.qos])
        now_us = self._now_us()
        received = [
            Received(
                Door.BROKER,
                sender,
                message.topic,
                content_type_of(message.properties) if message.properties else JSON_TYPE,
                message.payload,
                now_us,
            )
            for message, sender in zip(messages, senders, strict=True)
        ]

        def settle(outcome: Outcome) -> None:
            if isinstance(outcome, Receipts):
                self._answer(messages, senders, outcome)
                self._settled(ticket)

        self._pipeline.put(received, settle)

    def _answer(self, messages: Sequence[Publish], senders: Sequence[str], receipts: Receipts) -> None:
        packets = []
        for message, sender, payload in zip(messages, senders, receipts.encoded(), strict=True):
            if message.properties:
                topic = answer_topic(sender, message.properties.get(Property.RESPONSE_TOPIC))
                correlation = message.properties.get(Property.CORRELATION_DATA)
                packets.append(publish_after(opening(topic, JSON_TYPE), payload, correlation))
            else:
                packets.append(publish_after(self._opening(sender), payload, None))
        self._link.tell(b"".join(packets))

    def _opening(self, sender: str) -> Opening:
        known = self._openings.get(sender)
        if known is None:
            if len(self._openings) >= SENDERS_KEPT:
                self._openings.clear()
            known = self._openings[sender] = opening(topic_of(sender, Channel.ACK), JSON_TYPE)
        return known

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
