"""The service's own MQTT listener: a gateway's PUBACK is the commit.

It is no broker. Gateways publish their data and status and hear what is addressed to them, receipts and commands, and
nothing else goes from one to another. MQTT 3.1.1 and 5.0, QoS 0 and 1; no session outlives its connection, because what
was not acknowledged is sent again by its owner.

`GatewayConnection` is the state machine of one connection: greeting → log-in → open → closed. `ListenerDoor` knows them
all, and puts what they bring into the pipeline.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import hmac
import itertools
import logging
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, cast

from ingest.acks import AckLine, Ticket
from ingest.batch import Code, Door, Received
from ingest.listening import CertificateFiles, ListenAt
from ingest.metrics import IngestMetrics
from ingest.packet import (
    NONE,
    PACKET_MOST,
    PINGRESP,
    V5,
    V311,
    Ack,
    ConnAck,
    Connect,
    Disconnect,
    Kind,
    Opening,
    Packet,
    PacketReader,
    PingReq,
    Properties,
    Property,
    Publish,
    Reason,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    VersionUnknown,
    encode,
    opening,
    pubacks,
    publish_after,
)
from ingest.pipeline import Outcome, Pipeline
from ingest.registry import GatewayEntry, Registry
from ingest.resend import GatewayAway
from ingest.status import Said, StatusDesk, StatusSink, state_of
from ingest.wire import JSON_TYPE, Channel, Receipt, Receipts, answer_topic, content_type_of, is_level, topic_of

log = logging.getLogger(__name__)

GREETING_MAX_BYTES = 80 * 1024
"""A CONNECT with the longest will stays below it."""
STRANGERS_MAX = 2000
"""Connections that are not logged in, those that still shake hands included. When more come, or no place is left, the
oldest of them goes: to log in takes a moment, so it is not a gateway's."""
CONNECT_WITHIN_S = 10.0
PACKET_WITHIN_S = 60.0
"""From the first byte of a packet to its last; who takes longer only holds a place."""
WRITE_WITHIN_S = 30.0
"""How long a gateway may leave unread what is sent to it."""
KEEP_ALIVE_GRACE = 1.5  # 3.1.2.10
KEEP_ALIVE_MOST_S = 1200
COMMAND_WITHIN_S = 10.0
DRAIN_WITHIN_S = 5.0
LOOK_EVERY_S = 1.0
BACKLOG = 1024
CERTIFICATES_EVERY_S = 10.0
"""How often the files of the certificates are looked at."""
REFUSED_AFTER_S = 0.5
"""A wrong secret is answered no sooner, so that guessing takes long."""
FILTERS_MAX = 64
STATUSES_WAITING_MOST = 10_000
"""Statuses sent with QoS 0 are dropped when so many wait."""
UNSENT_MAX_BYTES = 4 << 20
"""Receipts for a gateway that does not read are left out beyond it; its acknowledgements are not."""
DEAD_AFTER = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 60_000}
"""What the kernel is told, where it knows the option: two minutes of silence to its questions, or one to our bytes."""
# 3.2.2.3 of MQTT 3.1.1: what CONNACK can say there.
RETURN_CODES = {
    Reason.UNSUPPORTED_VERSION: 1,
    Reason.BAD_CLIENT_ID: 2,
    Reason.SERVER_UNAVAILABLE: 3,
    Reason.SERVER_BUSY: 3,
    Reason.BAD_LOGIN: 4,
}
NOT_AUTHORIZED_311 = 5


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one gateway and all together may take; the settings of the same names say what each costs."""

    window: int = 1000
    packet_max_bytes: int = 2 << 20
    connections_max: int = 10_000

    @property
    def window_bytes(self) -> int:
        """Unacknowledged bytes of one connection from which on no more is read of it."""
        return max(4 << 20, 2 * self.packet_max_bytes)


class Stage(Enum):
    """Where a connection is. Closed is the end, from every other."""

    GREETING = auto()
    LOGIN = auto()
    OPEN = auto()
    CLOSED = auto()


class GatewayConnection(asyncio.Protocol):
    """One gateway's connection, from its first byte to its last."""

    def __init__(self, door: ListenerDoor) -> None:
        self.door = door
        self.stage = Stage.GREETING
        self.gateway = ""
        self.entry: GatewayEntry | None = None
        self.line = AckLine()
        self.began_s = self.heard_s = door.clock()
        self._transport: asyncio.Transport | None = None
        self._reader = PacketReader(packet_max=GREETING_MAX_BYTES)
        self._packet_since_s: float | None = None
        self._version = V5
        self._keep_alive_s = 0
        self._will: tuple[Channel, bytes, str] | None = None
        self._filters: dict[str, int] = {}
        self._hears: dict[str, int | None] = {}
        self._unanswered_bytes = 0
        self._held: list[Packet] = []
        self._paused = False
        self._stuck_since_s: float | None = None
        self._reasons: dict[int, Reason] = {}
        self._out: list[bytes] = []
        self._ack_is_due = False
        self._data_topic = self._status_topic = ""
        self._opening: Opening = (b"", None, b"")
        self._numbers = itertools.cycle(range(1, 65_536))
        self._commands: dict[int, asyncio.Future[None]] = {}
        self._hears_most = PACKET_MOST
        self.arriving: asyncio.Task[None] | None = None
        """What makes a connection of it, with TLS the handshake; nobody else holds the socket until it is done."""

    # asyncio ----------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        watch_for_the_dead(transport.get_extra_info("socket"))
        if self.stage is Stage.CLOSED:  # it had to give way while it shook hands
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        now_s = self.heard_s = self.door.clock()
        packets = self._reader.feed(data)
        if not self._reader.begun:
            self._packet_since_s = None
        elif packets or self._packet_since_s is None:
            self._packet_since_s = now_s
        if packets:
            self._take(packets)
        error = self._reader.error
        if error is not None and self.stage is not Stage.CLOSED:
            self.end(error.reason, f"{type(error).__name__}: {error}")

    def pause_writing(self) -> None:
        """What we send is not read: read nothing more either, or the answers would pile up."""
        self._stuck_since_s = self.door.clock()
        self.regulate()

    def resume_writing(self) -> None:
        self._stuck_since_s = None
        self.regulate()

    def connection_lost(self, error: Exception | None) -> None:
        if self.stage is Stage.OPEN:
            self.door.count_end("lost" if error else "closed")
        self._over()
        self._speak_will()

    # Ending -----------------------------------------------------------------------------------------------------------

    def end(self, reason: Reason, why: str, *, with_will: bool = True) -> None:
        """Say why, as far as the version has words for it, and close."""
        if self.stage is Stage.CLOSED or self._transport is None:
            return
        facts = {"gateway": self.gateway or None, "why": why, "from": self._transport.get_extra_info("peername")}
        log.info("gateway connection ended", extra=facts)
        self.door.count_end(reason.name.lower())
        if self.stage is not Stage.OPEN:
            if isinstance(self._reader.error, VersionUnknown):
                self._write(encode(ConnAck(False, RETURN_CODES[reason]), V311))  # 3.1.2.2: the oldest words there are
            elif self._reader.version is not None:
                self._write(encode(ConnAck(False, self._refusal(reason), NONE), self._version))
        elif self._version == V5:
            said: Properties = {Property.REASON_STRING: why[:200]}
            self._write(encode(Disconnect(reason, said), V5))
        self._close(with_will=with_will)

    def drop(self) -> None:
        """Go without a word."""
        self._over()
        if self._transport is not None:
            self._transport.abort()
        elif self.arriving is not None:
            self.arriving.cancel()

    def _refusal(self, reason: Reason) -> int:
        return reason if self._version == V5 else RETURN_CODES.get(reason, NOT_AUTHORIZED_311)

    def _close(self, *, with_will: bool) -> None:
        if not with_will:
            self._will = None
        self._over()
        if self._transport is not None:
            self._transport.close()
            # Who does not read never lets the last bytes go: do not wait for them.
            if self._stuck_since_s is not None:
                self._transport.abort()
        self._speak_will()

    def _over(self) -> None:
        if self.stage is Stage.CLOSED:
            return
        self.stage = Stage.CLOSED
        self.door.left(self)
        self.line.opened()
        self._held.clear()
        for future in self._commands.values():
            if not future.done():
                future.set_exception(GatewayAway(self.gateway))

    def _speak_will(self) -> None:
        will, self._will = self._will, None
        if will is None:
            return
        channel, payload, content_type = will
        if channel is Channel.STATUS:
            self.door.take_status(self.gateway, payload, lambda: None)
        else:
            received = self._received(payload, content_type, self.door.now_us())
            self.door.pipeline.put([received], lambda outcome: None)

    def check(self, now_s: float) -> None:
        """Whether time is up for this connection; called every second or so."""
        if self.stage is Stage.CLOSED:
            return
        if self._stuck_since_s is not None and now_s - self._stuck_since_s > WRITE_WITHIN_S:
            self.end(Reason.UNSPECIFIED, "what is sent is not read")
        elif self.stage is not Stage.OPEN:
            if now_s - self.began_s > CONNECT_WITHIN_S:
                self.end(Reason.KEEP_ALIVE_TIMEOUT, "no log-in in time")
        elif self._paused:
            self.regulate()
        elif self._packet_since_s is not None and now_s - self._packet_since_s > PACKET_WITHIN_S:
            self.end(Reason.KEEP_ALIVE_TIMEOUT, "a packet takes too long")
        elif self._keep_alive_s and now_s - self.heard_s > KEEP_ALIVE_GRACE * self._keep_alive_s:
            self.end(Reason.KEEP_ALIVE_TIMEOUT, "nothing heard in one and a half keep-alives")

    # Reading ----------------------------------------------------------------------------------------------------------

    def regulate(self) -> None:
        """Read as long as there is room for what comes: in the window, in the pipeline, and in what the peer reads."""
        if self.stage is Stage.CLOSED or self._transport is None:
            return
        bounds = self.door.bounds
        full = (
            self.stage is Stage.LOGIN
            or self.door.closing
            or self._stuck_since_s is not None
            or len(self.line) >= bounds.window
            or self._unanswered_bytes >= bounds.window_bytes
            or self.door.pipeline.crowded
        )
        if full != self._paused:
            self._paused = full
            if full:
                self._transport.pause_reading()
            else:
                self.heard_s = self.door.clock()
                self._transport.resume_reading()

    def _take(self, packets: Sequence[Packet]) -> None:
        if self.stage is Stage.LOGIN:
            self._held += packets
            return
        if self.stage is Stage.GREETING:
            greeting = packets[0]
            if not isinstance(greeting, Connect):  # the reader knows no other before it
                self.end(Reason.PROTOCOL_ERROR, "the first packet is no CONNECT")
                return
            self._held += packets[1:]
            self._greeted(greeting)
            return
        self._take_open(packets)

    def _take_open(self, packets: Sequence[Packet]) -> None:
        """Readings in runs, everything else one by one, all in order."""
        run: list[Publish] = []
        topic = self._data_topic
        for packet in packets:
            if (
                type(packet) is Publish
                and packet.topic == topic
                and packet.qos < 2
                and (not packet.properties or Property.TOPIC_ALIAS not in packet.properties)
            ):
                run.append(packet)
                continue
            if run:
                self._readings(run)
                run = []
            self._other(packet)
            if self.stage is Stage.CLOSED:
                return
        if run:
            self._readings(run)

    def _other(self, packet: Packet) -> None:
        match packet:
            case Publish():
                self._publication(packet)
            case Ack(kind=Kind.PUBACK):
                future = self._commands.get(packet.packet_id)
                if future is not None and not future.done():
                    future.set_result(None)
            case PingReq():
                self._write(PINGRESP)
            case Subscribe():
                self._subscribe(packet)
            case Unsubscribe():
                self._unsubscribe(packet)
            case Disconnect():
                if packet.reason != Reason.DISCONNECT_WITH_WILL:
                    self._will = None
                self.door.count_end("disconnect")
                self._close(with_will=True)
            case Connect():
                self.end(Reason.PROTOCOL_ERROR, "a second CONNECT")
            case _:
                self.end(Reason.PROTOCOL_ERROR, f"a gateway does not send {type(packet).__name__}")

    # Log-in -----------------------------------------------------------------------------------------------------------

    def _greeted(self, connect: Connect) -> None:
        self._version = connect.version
        self.gateway = connect.username or ""
        fault = fault_of(connect, self._certificate_names())
        if fault is not None:
            self.end(*fault)
            return
        self.stage = Stage.LOGIN
        entry = self.door.known(self.gateway, connect.password or b"")
        if entry is not None:
            self._open(connect, entry)
            return
        self.regulate()
        self.door.look_up(self, connect)

    def looked_up(self, connect: Connect, entry: GatewayEntry | Reason) -> None:
        """The answer of the newest registry, or why there is none."""
        if self.stage is not Stage.LOGIN:
            return
        if isinstance(entry, Reason):
            self.door.metrics.unauthorised.inc()
            self.end(entry, "wrong gateway or secret" if entry is Reason.BAD_LOGIN else "the registry cannot be asked")
        else:
            self._open(connect, entry)

    def _certificate_names(self) -> set[str] | None:
        """The names in the gateway's certificate; None when certificates are not asked for."""
        if self._transport is None or not self.door.wants_certificates:
            return None
        return names_in(self._transport.get_extra_info("peercert") or {})

    def _open(self, connect: Connect, entry: GatewayEntry) -> None:
        self.entry = entry
        self._data_topic = topic_of(self.gateway, Channel.DATA)
        self._status_topic = topic_of(self.gateway, Channel.STATUS)
        ack_topic = topic_of(self.gateway, Channel.ACK)
        self._opening = opening(ack_topic, JSON_TYPE) if self._version == V5 else opening(ack_topic, None)
        if connect.will is not None:
            channel = Channel.STATUS if connect.will.topic == self._status_topic else Channel.DATA
            self._will = channel, connect.will.payload, content_type_of(connect.will.properties)
        self._keep_alive_s = connect.keep_alive_s
        self._hears_most = connect.properties.get(Property.MAXIMUM_PACKET_SIZE, PACKET_MOST)
        properties: Properties = NONE
        if self._version == V5:
            properties = self._offers(connect)
        bounds = self.door.bounds
        self._reader.packet_max = bounds.packet_max_bytes
        self.door.entered(self)
        self.stage = Stage.OPEN
        self._write(encode(ConnAck(False, Reason.SUCCESS, properties), self._version))
        held, self._held = self._held, []
        self.regulate()
        if held:
            self._take_open(held)

    def _offers(self, connect: Connect) -> Properties:
        """What an MQTT 5 gateway is told about this listener."""
        bounds = self.door.bounds
        offers: dict[int, Any] = {
            Property.RECEIVE_MAXIMUM: bounds.window,
            Property.MAXIMUM_QOS: 1,
            Property.MAXIMUM_PACKET_SIZE: bounds.packet_max_bytes,
            Property.SUBSCRIPTION_IDS_AVAILABLE: 0,
            Property.SHARED_AVAILABLE: 0,
        }
        if connect.properties.get(Property.SESSION_EXPIRY_S):
            offers[Property.SESSION_EXPIRY_S] = 0
        if not 0 < connect.keep_alive_s <= KEEP_ALIVE_MOST_S:
            self._keep_alive_s = offers[Property.SERVER_KEEP_ALIVE_S] = KEEP_ALIVE_MOST_S
        return offers

    # Messages ---------------------------------------------------------------------------------------------------------

    def _received(self, payload: bytes, content_type: str, now_us: int) -> Received:
        return Received(Door.LISTENER, self.gateway, self._data_topic, content_type, payload, now_us)

    def _readings(self, run: list[Publish]) -> None:
        ticket = self.line.arrived(*[message.packet_id for message in run if message.qos])
        if self._version == V5 and len(self.line) > self.door.bounds.window:
            self.end(Reason.RECEIVE_MAXIMUM_EXCEEDED, f"more than {self.door.bounds.window} messages unacknowledged")
            return
        now_us = self.door.now_us()
        gateway, topic = self.gateway, self._data_topic
        received = [
            Received(
                Door.LISTENER,
                gateway,
                topic,
                content_type_of(message.properties) if message.properties else JSON_TYPE,
                message.payload,
                now_us,
            )
            for message in run
        ]
        size = sum([len(message.payload) for message in run])
        self._unanswered_bytes += size

        def settle(outcome: Outcome) -> None:
            self._unanswered_bytes -= size
            if isinstance(outcome, Receipts):
                self._settle(ticket, run, outcome)

        self.door.pipeline.put(received, settle)
        self.regulate()

    def _settle(self, ticket: Ticket, run: Sequence[Publish], receipts: Receipts) -> None:
        if not self.line.settle(ticket):
            self.door.metrics.stale_acks.inc(len(run))
            return
        if self._filters:
            self._answer(run, receipts)
        if receipts.refused and self._version == V5:
            for place, refused in receipts.refused.items():
                if run[place].qos and not receipts.taken(place):
                    whole = refused[0].code is Code.MALFORMED and refused[0].position is None
                    reason = Reason.PAYLOAD_FORMAT_INVALID if whole else Reason.IMPLEMENTATION_SPECIFIC
                    self._reasons[run[place].packet_id] = reason
        self._acknowledge_soon()

    def _answer(self, run: Sequence[Publish], receipts: Receipts) -> None:
        """The receipts of those who listen for them. They are dropped for a gateway that does not read."""
        if self._transport is None or self._transport.get_write_buffer_size() > UNSENT_MAX_BYTES:
            return
        hears_acks = self._granted(topic_of(self.gateway, Channel.ACK)) is not None
        asked = any(message.properties for message in run)
        if not hears_acks and not asked:
            return
        for place, (message, payload) in enumerate(zip(run, receipts.encoded(), strict=True)):
            begun, correlation = self._opening, None
            if message.properties:
                topic = answer_topic(self.gateway, message.properties.get(Property.RESPONSE_TOPIC))
                if self._granted(topic) is None:
                    continue
                correlation = message.properties.get(Property.CORRELATION_DATA)
                begun = opening(topic, JSON_TYPE)
            elif not hears_acks:
                continue
            packet = publish_after(begun, payload, correlation)
            if len(packet) > self._hears_most:
                packet = self._shorter(receipts[place], begun, correlation)
            self._out.append(packet)

    def _shorter(self, receipt: Receipt, begun: Opening, correlation: bytes | None) -> bytes:
        """The receipt with fewer refusals spelled out; nothing if the gateway takes not even the counts."""
        spelled = len(receipt.rejected)
        while spelled:
            spelled //= 2
            packet = publish_after(begun, receipt.encode(spelled), correlation)
            if len(packet) <= self._hears_most:
                return packet
        return b""

    def _publication(self, message: Publish) -> None:
        """A message that is no plain one with readings."""
        if Property.TOPIC_ALIAS in message.properties:
            self.end(Reason.TOPIC_ALIAS_INVALID, "no topic alias was offered")
        elif message.qos == 2:
            self.end(Reason.QOS_NOT_SUPPORTED, "QoS 2; QoS 0 and 1 are spoken here")
        elif message.topic == self._status_topic:
            self._status(message)
        elif self._version == V5:
            self.door.metrics.stray_messages.inc()
            if message.qos:
                self._reasons[message.packet_id] = Reason.NOT_AUTHORIZED
                self.line.settle(self.line.arrived(message.packet_id))
                self._acknowledge_soon()
        else:
            # MQTT 3.1.1 has no word for it, and an acknowledgement means "committed" here.
            self.door.metrics.stray_messages.inc()
            self.end(Reason.NOT_AUTHORIZED, f"not its own topic: {message.topic[:200]}")

    def _status(self, message: Publish) -> None:
        ticket = self.line.arrived(message.packet_id) if message.qos else None

        def kept() -> None:
            if ticket is not None and self.line.settle(ticket):
                self._acknowledge_soon()

        self.door.take_status(self.gateway, message.payload, kept, may_be_lost=not message.qos)
        self.regulate()

    def _acknowledge_soon(self) -> None:
        """Once for all that a commit settled."""
        if not self._ack_is_due:
            self._ack_is_due = True
            self.door.loop.call_soon(self._acknowledge)

    def _acknowledge(self) -> None:
        self._ack_is_due = False
        if self.stage is Stage.CLOSED:
            self._out.clear()
            return
        ready = self.line.ready()
        if self._reasons:
            reasons = self._reasons
            self._out += [encode(Ack(Kind.PUBACK, number, reasons.get(number, 0)), V5) for number in ready]
            for number in ready:  # only now: who uses a number twice at once hears of no success that was none
                reasons.pop(number, None)
        else:
            self._out.append(pubacks(ready))
        self._write(b"".join(self._out))
        self._out.clear()
        self.regulate()

    def _write(self, packets: bytes) -> None:
        if self._transport is not None and packets:
            self._transport.write(packets)

    # Subscriptions and commands ---------------------------------------------------------------------------------------

    def _subscribe(self, packet: Subscribe) -> None:
        if Property.SUBSCRIPTION_ID in packet.properties:
            self.end(Reason.SUBSCRIPTION_IDS_NOT_SUPPORTED, "subscription identifiers were not offered")
            return
        reasons = tuple(self._grant(pattern, options) for pattern, options in packet.filters)
        if self._version != V5:
            reasons = tuple(min(128, reason) for reason in reasons)
        self._hears.clear()
        self._write(encode(SubAck(packet.packet_id, reasons), self._version))

    def _grant(self, pattern: str, options: int) -> int:
        if not is_filter(pattern):
            return Reason.TOPIC_FILTER_INVALID
        if pattern.startswith("$share/"):
            return Reason.SHARED_NOT_SUPPORTED
        if not pattern.startswith(f"energy/v1/{self.gateway}/"):
            return Reason.NOT_AUTHORIZED
        if len(self._filters) >= FILTERS_MAX and pattern not in self._filters:
            return Reason.QUOTA_EXCEEDED
        self._filters[pattern] = min(options & 3, 1)
        return self._filters[pattern]

    def _unsubscribe(self, packet: Unsubscribe) -> None:
        found = tuple(0 if self._filters.pop(pattern, None) is not None else 0x11 for pattern in packet.filters)
        self._hears.clear()
        self._write(encode(UnsubAck(packet.packet_id, found), self._version))

    def _granted(self, topic: str) -> int | None:
        """The highest QoS of a filter that a topic of its own matches, or None."""
        if topic not in self._hears:
            if len(self._hears) >= FILTERS_MAX:
                self._hears.clear()
            granted = [qos for pattern, qos in self._filters.items() if matches(pattern, topic)]
            self._hears[topic] = max(granted) if granted else None
        return self._hears[topic]

    async def command(self, payload: bytes) -> None:
        """Send on `cmd`. With QoS 1 granted, until the gateway has it. Raises GatewayAway."""
        topic = topic_of(self.gateway, Channel.CMD)
        qos = self._granted(topic)
        if qos is None or self.stage is not Stage.OPEN:
            raise GatewayAway(self.gateway)
        properties: Properties = {Property.CONTENT_TYPE: JSON_TYPE} if self._version == V5 else NONE
        number = next(self._numbers) if qos else 0
        packet = encode(Publish(topic, payload, qos, number, properties), self._version)
        if len(packet) > self._hears_most:
            raise GatewayAway(self.gateway)
        if not qos:
            self._write(packet)
            return
        future = self._commands[number] = self.door.loop.create_future()
        try:
            self._write(packet)
            await asyncio.wait_for(future, COMMAND_WITHIN_S)
        except TimeoutError as error:
            raise GatewayAway(self.gateway) from error
        finally:
            del self._commands[number]


def fault_of(connect: Connect, certificate_names: set[str] | None) -> tuple[Reason, str] | None:
    """What is wrong with a CONNECT before anybody looks at the secret."""
    if Property.AUTH_METHOD in connect.properties:
        return Reason.BAD_AUTH_METHOD, "no extended authentication here"
    if connect.username is None or connect.password is None:
        return Reason.BAD_LOGIN, "no user name or no password"
    if not is_level(connect.username) or connect.client_id != connect.username:
        return Reason.BAD_CLIENT_ID, "client id and user name should both be the gateway's id"
    if certificate_names is not None and connect.username not in certificate_names:
        return Reason.NOT_AUTHORIZED, "the certificate is not this gateway's"
    will = connect.will
    if will is not None:
        if will.qos == 2 and connect.version == V5:
            return Reason.QOS_NOT_SUPPORTED, "a will with QoS 2; QoS 0 and 1 are spoken here"
        if will.topic not in (topic_of(connect.username, Channel.DATA), topic_of(connect.username, Channel.STATUS)):
            return Reason.NOT_AUTHORIZED, f"a will on a topic that is not its own: {will.topic[:200]}"
    return None


def names_in(certificate: Mapping[str, Any]) -> set[str]:
    """Common name and DNS names of a certificate as the `ssl` module tells it."""
    names = {value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"}
    for part in certificate.get("subject", ()):
        names |= {value for kind, value in part if kind == "commonName"}
    return names


def is_filter(pattern: str) -> bool:
    """Whether a topic filter is one (4.7): `+` alone in its level, `#` alone in the last."""
    levels = pattern.split("/")
    return bool(pattern) and all(
        (not set(level) & set("+#")) or level == "+" or (level == "#" and place == len(levels) - 1)
        for place, level in enumerate(levels)
    )


def matches(pattern: str, topic: str) -> bool:
    """Whether a filter takes in a topic (4.7.1)."""
    wanted, levels = pattern.split("/"), topic.split("/")
    for place, level in enumerate(wanted):
        if level == "#":
            return True
        if place >= len(levels) or level not in ("+", levels[place]):
            return False
    return len(wanted) == len(levels)


def watch_for_the_dead(sock: socket.socket | None) -> None:
    """Let the kernel find out when the other side is gone without a word, also while nothing is sent."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in DEAD_AFTER.items():
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def open_port(at: ListenAt) -> socket.socket:
    """The port, listened on. Raises OSError."""
    family = socket.AF_INET6 if ":" in at.host else socket.AF_INET
    return socket.create_server((at.host, at.port), family=family, backlog=BACKLOG)


class ListenerDoor:
    """The port, all connections, and what they share."""

    def __init__(
        self,
        at: ListenAt,
        pipeline: Pipeline,
        statuses: StatusSink,
        *,
        metrics: IngestMetrics,
        bounds: Bounds | None = None,
        context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.at = at
        self.pipeline = pipeline
        self.metrics = metrics
        self.bounds = bounds or Bounds()
        self.clock = clock
        self.now_us = now_us
        self.loop: asyncio.AbstractEventLoop
        self._desk = StatusDesk(statuses)
        self._context = context
        self._all: set[GatewayConnection] = set()
        self._open: dict[str, GatewayConnection] = {}
        self._strangers: dict[GatewayConnection, None] = {}
        self._look_ups: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._renewal = asyncio.Event()
        self.closing = False
        self.port = at.port
        metrics.watch_listener(lambda: len(self._open), lambda: sum(len(one.line) for one in self._open.values()))
        pipeline.registry.when_stale(self._changed.set)

    @property
    def wants_certificates(self) -> bool:
        return self.at.tls and self.at.client_ca is not None

    def has(self, gateway: str) -> bool:
        """Whether the gateway is connected here."""
        return gateway in self._open

    async def command(self, gateway: str, payload: bytes) -> None:
        """Tell a gateway what to do (`ingest.wire.resend`). Raises GatewayAway when it is not here or does not hear."""
        connection = self._open.get(gateway)
        if connection is None:
            raise GatewayAway(gateway)
        await connection.command(payload)

    def renew(self) -> None:
        """Read the certificates again now, whatever their files look like."""
        self._renewal.set()

    async def run(self, until: asyncio.Event, listening: socket.socket | None = None) -> None:
        """Until told to stop; then nobody new is let in, what is in is answered, and everybody is sent away."""
        self.loop = asyncio.get_running_loop()
        with listening or open_port(self.at) as port:
            port.setblocking(False)
            port.listen(BACKLOG)
            self.port = port.getsockname()[1]
            log.info("mqtt listening", extra={"host": self.at.host, "port": self.port, "tls": self.at.tls})
            desk_stop = asyncio.Event()
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._desk.run(desk_stop))
                    watching = [tasks.create_task(part) for part in (self._watch(), self._expel(), self._let_in(port))]
                    await self._keep_certificates(until)
                    self.closing = True
                    watching.pop().cancel()
                    port.close()
                    await self._drain()
                    for task in watching:
                        task.cancel()
                    desk_stop.set()
            finally:
                for connection in list(self._all):
                    connection.end(Reason.SHUTTING_DOWN, "the service stops", with_will=False)
                    if connection.arriving is not None:
                        connection.drop()

    async def _let_in(self, port: socket.socket) -> None:
        """Take who comes to the port as long as there is room, each with the certificates of that moment."""
        while True:
            try:
                sock, _ = await self.loop.sock_accept(port)
            except OSError as error:  # no file is left for it, or the caller is gone already
                log.warning("a connection cannot be taken", extra={"why": str(error)})
                await asyncio.sleep(LOOK_EVERY_S if error.errno in (errno.EMFILE, errno.ENFILE) else 0)
                continue
            connection = GatewayConnection(self)
            if self.admits(connection):
                connection.arriving = self.loop.create_task(self._shake_hands(connection, sock))
            else:
                sock.close()

    async def _shake_hands(self, connection: GatewayConnection, sock: socket.socket) -> None:
        """Make a connection of a socket, with TLS by a handshake that may take its time and no more."""
        tls: dict[str, Any] = {}
        if self._context is not None:
            tls = {"ssl": self._context, "ssl_handshake_timeout": CONNECT_WITHIN_S}
        try:
            await self.loop.connect_accepted_socket(lambda: connection, sock, **tls)
        except OSError as error:  # ssl.SSLError is one, and so is the end of its time
            log.debug("no handshake", extra={"why": str(error)})
            self.count_end("no_handshake")
            connection.drop()
        finally:
            connection.arriving = None

    async def _keep_certificates(self, until: asyncio.Event) -> None:
        """Until told to stop, have the certificates of the day. Who is in stays; new files that cannot be used leave
        the old certificate as it is."""
        files = CertificateFiles(self.at)
        stopping = asyncio.create_task(until.wait())
        stopping.add_done_callback(lambda _: self._renewal.set())
        try:
            while not until.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._renewal.wait(), CERTIFICATES_EVERY_S)
                context = None if until.is_set() else self._renewed(files)
                self._renewal.clear()
                if context is not None:
                    self._context = context
                    log.info("listener certificate renewed")
        finally:
            stopping.cancel()

    def _renewed(self, files: CertificateFiles) -> ssl.SSLContext | None:
        try:
            return files.renewed(asked=self._renewal.is_set())
        except OSError as error:  # ssl.SSLError is one
            log.warning("listener certificate not renewed, the old one stays", extra={"why": str(error)})
            return None

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now_s = self.clock()
            for connection in list(self._all):
                connection.check(now_s)

    async def _expel(self) -> None:
        """Whose secret is not the present one any more goes at once."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                registry = await self.pipeline.registry.current()
            except Exception as error:  # noqa: BLE001  # the registry cannot be read now; the ledger cannot be written either
                log.warning("registry not read again", extra={"why": str(error)})
                await asyncio.sleep(LOOK_EVERY_S)
                self._changed.set()
                continue
            for connection in list(self._open.values()):
                now = registry.gateways.get(connection.gateway)
                was = connection.entry
                if now is None or was is None or now.secret_sha256 != was.secret_sha256:
                    connection.end(Reason.NOT_AUTHORIZED, "the secret is not valid any more")

    async def _drain(self) -> None:
        """No message is read any more; those that are in get their answers, for a while."""
        give_up_s = self.clock() + DRAIN_WITHIN_S
        for connection in self._all:
            connection.regulate()
        while any(len(one.line) for one in self._all) and self.clock() < give_up_s:  # noqa: ASYNC110  # many lines, one wait
            await asyncio.sleep(0.005)
        await asyncio.sleep(0)  # the last acknowledgements are written in the turn after their commit

    # For connections --------------------------------------------------------------------------------------------------

    def admits(self, connection: GatewayConnection) -> bool:
        crowded = len(self._all) >= self.bounds.connections_max
        if self.closing or (crowded and not self._strangers):
            self.count_end("crowded")
            return False
        if crowded or len(self._strangers) >= STRANGERS_MAX:
            self.count_end("crowded_out")
            next(iter(self._strangers)).drop()
        self._all.add(connection)
        self._strangers[connection] = None
        self.metrics.listener_connections.inc()
        return True

    def entered(self, connection: GatewayConnection) -> None:
        """Logged in. An older connection of the same gateway ends; its will stays unsaid, for the gateway is here."""
        older = self._open.get(connection.gateway)
        if older is not None:
            older.end(Reason.TAKEN_OVER, "the gateway connected again", with_will=False)
        self._open[connection.gateway] = connection
        del self._strangers[connection]

    def left(self, connection: GatewayConnection) -> None:
        self._all.discard(connection)
        self._strangers.pop(connection, None)
        if self._open.get(connection.gateway) is connection:
            del self._open[connection.gateway]

    def count_end(self, why: str) -> None:
        self.metrics.listener_ended.labels(why).inc()

    def take_status(self, gateway: str, payload: bytes, kept: Callable[[], None], *, may_be_lost: bool = False) -> None:
        state = state_of(payload)
        self.metrics.status_messages.labels(state or "unreadable").inc()
        if state is None:
            kept()  # a zero-length one only clears what a broker retains
        elif may_be_lost and self._desk.waiting >= STATUSES_WAITING_MOST:
            return
        else:
            self._desk.put(Said(gateway, state, self.now_us(), kept))

    def known(self, gateway: str, secret: bytes) -> GatewayEntry | None:
        """The gateway by the registry at hand, if the secret is its own."""
        picture = self.pipeline.registry.picture
        return None if picture is None else entry_of(picture, gateway, secret)

    def look_up(self, connection: GatewayConnection, connect: Connect) -> None:
        """Ask the newest registry before anybody is refused."""
        task = self.loop.create_task(self._look_up(connection, connect))
        self._look_ups.add(task)
        task.add_done_callback(self._look_ups.discard)

    async def _look_up(self, connection: GatewayConnection, connect: Connect) -> None:
        began_s = self.clock()
        view = self.pipeline.registry
        found: GatewayEntry | Reason | None
        try:
            registry = await view.current()
            found = entry_of(registry, connection.gateway, connect.password or b"")
            if found is None:
                await view.renewed()
                found = entry_of(await view.current(), connection.gateway, connect.password or b"")
        except Exception as error:  # noqa: BLE001  # whatever the store's trouble, the gateway is told to come again
            log.warning("registry unavailable", extra={"why": str(error)})
            found = Reason.SERVER_UNAVAILABLE
        if found is None:
            found = Reason.BAD_LOGIN
            await asyncio.sleep(max(0.0, REFUSED_AFTER_S - (self.clock() - began_s)))
        connection.looked_up(connect, found)


def entry_of(registry: Registry, gateway: str, secret: bytes) -> GatewayEntry | None:
    """The gateway, if this is its secret."""
    entry = registry.gateways.get(gateway)
    if entry is None or not hmac.compare_digest(entry.secret_sha256, hashlib.sha256(secret).digest()):
        return None
    return entry
