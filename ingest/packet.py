"""MQTT 3.1.1 and 5.0 as bytes: a reader that is fed and yields packets, and packets written out. Pure, no I/O.

Numbers in brackets are sections of the standard, MQTT Version 5.0 (OASIS, 2019); 3.1.1 differs where it says so.
Strict: whatever breaks the standard is a named error, and nothing after it is read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import Any, ClassVar

import msgspec
import numpy as np

V311, V5 = 4, 5
PACKET_MOST = 268_435_455
"""The largest remaining length four bytes can say (1.5.5)."""


class Kind(IntEnum):
    """Control packet types (2.1.2)."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15


class Reason(IntEnum):
    """The reason codes of 2.4 that this service says or understands."""

    SUCCESS = 0x00
    DISCONNECT_WITH_WILL = 0x04
    UNSPECIFIED = 0x80
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    IMPLEMENTATION_SPECIFIC = 0x83
    UNSUPPORTED_VERSION = 0x84
    BAD_CLIENT_ID = 0x85
    BAD_LOGIN = 0x86
    NOT_AUTHORIZED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_BUSY = 0x89
    SHUTTING_DOWN = 0x8B
    BAD_AUTH_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    TAKEN_OVER = 0x8E
    TOPIC_FILTER_INVALID = 0x8F
    TOPIC_NAME_INVALID = 0x90
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    QUOTA_EXCEEDED = 0x97
    PAYLOAD_FORMAT_INVALID = 0x99
    QOS_NOT_SUPPORTED = 0x9B
    SHARED_NOT_SUPPORTED = 0x9E
    SUBSCRIPTION_IDS_NOT_SUPPORTED = 0xA1


class Property(IntEnum):
    """Property identifiers (2.2.2.2)."""

    PAYLOAD_FORMAT = 0x01
    MESSAGE_EXPIRY_S = 0x02
    CONTENT_TYPE = 0x03
    RESPONSE_TOPIC = 0x08
    CORRELATION_DATA = 0x09
    SUBSCRIPTION_ID = 0x0B
    SESSION_EXPIRY_S = 0x11
    ASSIGNED_CLIENT_ID = 0x12
    SERVER_KEEP_ALIVE_S = 0x13
    AUTH_METHOD = 0x15
    AUTH_DATA = 0x16
    REQUEST_PROBLEM_INFO = 0x17
    WILL_DELAY_S = 0x18
    REQUEST_RESPONSE_INFO = 0x19
    RESPONSE_INFO = 0x1A
    SERVER_REFERENCE = 0x1C
    REASON_STRING = 0x1F
    RECEIVE_MAXIMUM = 0x21
    TOPIC_ALIAS_MAXIMUM = 0x22
    TOPIC_ALIAS = 0x23
    MAXIMUM_QOS = 0x24
    RETAIN_AVAILABLE = 0x25
    USER = 0x26
    MAXIMUM_PACKET_SIZE = 0x27
    WILDCARDS_AVAILABLE = 0x28
    SUBSCRIPTION_IDS_AVAILABLE = 0x29
    SHARED_AVAILABLE = 0x2A


Properties = Mapping[int, Any]
"""Property → number, text or bytes. USER holds a tuple of pairs of text; SUBSCRIPTION_ID in a PUBLISH a tuple."""
NONE: Properties = {}


class PacketError(Exception):
    """What came is no MQTT. `reason` is the code MQTT 5 has for it."""

    reason: ClassVar[Reason] = Reason.MALFORMED_PACKET


class LengthMalformed(PacketError):
    """The remaining length does not end within four bytes, or a length inside the packet within four bytes."""


class LengthWrong(PacketError):
    """The fields reach beyond the end of their packet, or end before it."""


class TextMalformed(PacketError):
    """A text is not UTF-8, or holds the character U+0000."""


class FlagsWrong(PacketError):
    """Flag bits are set that the standard keeps at another value."""


class PropertyWrong(PacketError):
    """A property is unknown, does not belong to this packet, is there twice or has a value it cannot have."""


class TopicWrong(PacketError):
    """A topic name is empty or holds a wildcard."""

    reason = Reason.TOPIC_NAME_INVALID


class VersionUnknown(PacketError):
    """The protocol is neither MQTT 3.1.1 nor MQTT 5.0."""

    reason = Reason.UNSUPPORTED_VERSION


class PacketTooLarge(PacketError):
    """The packet is larger than was agreed."""

    reason = Reason.PACKET_TOO_LARGE


class OutOfPlace(PacketError):
    """A packet that may not come now, or a packet id of 0."""

    reason = Reason.PROTOCOL_ERROR


# Packets --------------------------------------------------------------------------------------------------------------


class Publish(msgspec.Struct, gc=False):
    """3.3. `packet_id` is 0 with QoS 0."""

    topic: str
    payload: bytes
    qos: int = 0
    packet_id: int = 0
    properties: Properties = NONE
    retain: bool = False
    dup: bool = False


class Will(msgspec.Struct, frozen=True):
    """The message to be published when the connection ends without a DISCONNECT (3.1.3.2 to 3.1.3.4)."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Properties = NONE


class Connect(msgspec.Struct, frozen=True):
    """3.1. `version` is 4 for MQTT 3.1.1 and 5 for MQTT 5.0."""

    version: int
    client_id: str
    clean: bool = True
    keep_alive_s: int = 0
    username: str | None = None
    password: bytes | None = None
    will: Will | None = None
    properties: Properties = NONE


class ConnAck(msgspec.Struct, frozen=True):
    """3.2. `reason` is a return code of 0 to 5 in MQTT 3.1.1."""

    session_present: bool = False
    reason: int = 0
    properties: Properties = NONE


class Ack(msgspec.Struct, frozen=True):
    """PUBACK, PUBREC, PUBREL or PUBCOMP (3.4 to 3.7), as `kind` says."""

    kind: Kind
    packet_id: int
    reason: int = 0
    properties: Properties = NONE


class Subscribe(msgspec.Struct, frozen=True):
    """3.8. Each filter with its options byte; the two lowest bits of it are the QoS."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]
    properties: Properties = NONE


class SubAck(msgspec.Struct, frozen=True):
    """3.9. One reason code a filter."""

    packet_id: int
    reasons: tuple[int, ...]
    properties: Properties = NONE


class Unsubscribe(msgspec.Struct, frozen=True):
    """3.10."""

    packet_id: int
    filters: tuple[str, ...]
    properties: Properties = NONE


class UnsubAck(msgspec.Struct, frozen=True):
    """3.11. MQTT 3.1.1 has no reason codes here."""

    packet_id: int
    reasons: tuple[int, ...] = ()
    properties: Properties = NONE


class PingReq(msgspec.Struct, frozen=True):
    """3.12."""


class PingResp(msgspec.Struct, frozen=True):
    """3.13."""


class Disconnect(msgspec.Struct, frozen=True):
    """3.14."""

    reason: int = 0
    properties: Properties = NONE


class Auth(msgspec.Struct, frozen=True):
    """3.15, only in MQTT 5.0."""

    reason: int = 0
    properties: Properties = NONE


Packet = (
    Publish
    | Connect
    | ConnAck
    | Ack
    | Subscribe
    | SubAck
    | Unsubscribe
    | UnsubAck
    | PingReq
    | PingResp
    | Disconnect
    | Auth
)

# Reading --------------------------------------------------------------------------------------------------------------


class Fields:
    """The fields of one packet, read from front to back."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data = data
        self.at = at
        self.end = end

    def take(self, count: int) -> bytes:
        first, self.at = self.at, self.at + count
        if self.at > self.end:
            raise LengthWrong(f"{self.at - self.end} bytes are missing at the end of the packet")
        return self.data[first : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def varying(self) -> int:
        """1.5.5; the shortest form is the only one."""
        value = 0
        for place in range(4):
            byte = self.take(1)[0]
            value |= (byte & 127) << 7 * place
            if byte < 128:
                if byte == 0 and place:
                    raise LengthMalformed("a number is written longer than it has to be")
                return value
        raise LengthMalformed("a number does not end within four bytes")

    def binary(self) -> bytes:
        return self.take(self.number(2))

    def text(self) -> str:
        return text_of(self.binary())

    def packet_id(self) -> int:
        number = self.number(2)
        if not number:
            raise OutOfPlace("0 is no packet id")
        return number

    def rest(self) -> bytes:
        return self.take(self.end - self.at)

    @property
    def left(self) -> int:
        return self.end - self.at

    def properties(self, kind: int, version: int) -> Properties:
        """None at all in MQTT 3.1.1."""
        if version != V5:
            return NONE
        length = self.varying()
        if not length:
            return NONE
        inner = Fields(self.data, self.at, self.at + length)
        self.take(length)
        found: dict[int, Any] = {}
        while inner.left:
            _read_property(inner, kind, found)
        return found


def text_of(raw: bytes) -> str:
    """1.5.4. Python's decoder already refuses surrogates and over-long forms."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise TextMalformed(f"a text is not UTF-8 at its byte {error.start}") from error
    if "\0" in text:
        raise TextMalformed("a text holds the character U+0000")
    return text


def _bit(fields: Fields) -> int:
    value = fields.number(1)
    if value > 1:
        raise PropertyWrong(f"a property that is 0 or 1 is {value}")
    return value


def _u16(fields: Fields) -> int:
    return fields.number(2)


def _u16_not_0(fields: Fields) -> int:
    value = fields.number(2)
    if not value:
        raise PropertyWrong("a property is 0 that may not be 0")
    return value


def _u32(fields: Fields) -> int:
    return fields.number(4)


def _u32_not_0(fields: Fields) -> int:
    value = fields.number(4)
    if not value:
        raise PropertyWrong("a property is 0 that may not be 0")
    return value


def _varying(fields: Fields) -> int:
    value = fields.varying()
    if not value:
        raise PropertyWrong("a subscription identifier is 0")
    return value


def _text(fields: Fields) -> str:
    return fields.text()


def _binary(fields: Fields) -> bytes:
    return fields.binary()


def _pair(fields: Fields) -> tuple[str, str]:
    return fields.text(), fields.text()


WILL = 0
"""Stands for the properties of the will, beside the kinds of packets."""
_MESSAGE = {Kind.PUBLISH, WILL}
_GREETING = {Kind.CONNECT, Kind.CONNACK}
_ACKS = {Kind.PUBACK, Kind.PUBREC, Kind.PUBREL, Kind.PUBCOMP}
_ANSWERS = _ACKS | {Kind.CONNACK, Kind.SUBACK, Kind.UNSUBACK, Kind.DISCONNECT, Kind.AUTH}
_ALL = _ANSWERS | {Kind.CONNECT, Kind.PUBLISH, WILL, Kind.SUBSCRIBE, Kind.UNSUBSCRIBE}

# Table 2-4: how each property is read, and where it may stand.
_TABLE: Mapping[int, tuple[Callable[[Fields], Any], set[Any]]] = {
    Property.PAYLOAD_FORMAT: (_bit, _MESSAGE),
    Property.MESSAGE_EXPIRY_S: (_u32, _MESSAGE),
    Property.CONTENT_TYPE: (_text, _MESSAGE),
    Property.RESPONSE_TOPIC: (_text, _MESSAGE),
    Property.CORRELATION_DATA: (_binary, _MESSAGE),
    Property.SUBSCRIPTION_ID: (_varying, {Kind.PUBLISH, Kind.SUBSCRIBE}),
    Property.SESSION_EXPIRY_S: (_u32, _GREETING | {Kind.DISCONNECT}),
    Property.ASSIGNED_CLIENT_ID: (_text, {Kind.CONNACK}),
    Property.SERVER_KEEP_ALIVE_S: (_u16, {Kind.CONNACK}),
    Property.AUTH_METHOD: (_text, _GREETING | {Kind.AUTH}),
    Property.AUTH_DATA: (_binary, _GREETING | {Kind.AUTH}),
    Property.REQUEST_PROBLEM_INFO: (_bit, {Kind.CONNECT}),
    Property.WILL_DELAY_S: (_u32, {WILL}),
    Property.REQUEST_RESPONSE_INFO: (_bit, {Kind.CONNECT}),
    Property.RESPONSE_INFO: (_text, {Kind.CONNACK}),
    Property.SERVER_REFERENCE: (_text, {Kind.CONNACK, Kind.DISCONNECT}),
    Property.REASON_STRING: (_text, _ANSWERS),
    Property.RECEIVE_MAXIMUM: (_u16_not_0, _GREETING),
    Property.TOPIC_ALIAS_MAXIMUM: (_u16, _GREETING),
    Property.TOPIC_ALIAS: (_u16_not_0, {Kind.PUBLISH}),
    Property.MAXIMUM_QOS: (_bit, {Kind.CONNACK}),
    Property.RETAIN_AVAILABLE: (_bit, {Kind.CONNACK}),
    Property.USER: (_pair, _ALL),
    Property.MAXIMUM_PACKET_SIZE: (_u32_not_0, _GREETING),
    Property.WILDCARDS_AVAILABLE: (_bit, {Kind.CONNACK}),
    Property.SUBSCRIPTION_IDS_AVAILABLE: (_bit, {Kind.CONNACK}),
    Property.SHARED_AVAILABLE: (_bit, {Kind.CONNACK}),
}


def _read_property(fields: Fields, kind: int, found: dict[int, Any]) -> None:
    number = fields.varying()
    entry = _TABLE.get(number)
    if entry is None or kind not in entry[1]:
        raise PropertyWrong(f"property {number:#04x} does not belong here")
    value = entry[0](fields)
    if number == Property.USER or (number == Property.SUBSCRIPTION_ID and kind == Kind.PUBLISH):
        found[number] = (*found.get(number, ()), value)
    elif number in found:
        raise PropertyWrong(f"property {number:#04x} is there twice")
    else:
        found[number] = value


PUBLISH = Kind.PUBLISH << 4
"""The upper half of the first byte of the packet that comes most: a plain number is quicker to look up than a name."""
COUNTED = {
    int(Property.CONTENT_TYPE): True,
    int(Property.RESPONSE_TOPIC): True,
    int(Property.CORRELATION_DATA): False,
}
"""The properties that gateways send with their messages: their length, then their bytes. True: these are a text."""


class PacketReader:
    """Bytes in, packets out.

    `version` is that of the connection: known to a client, learnt from the CONNECT by a server (None until then).
    `packet_max` bounds a whole packet in bytes and may change between two calls. After an error the reader is done.
    """

    def __init__(self, version: int | None = None, *, packet_max: int = PACKET_MOST) -> None:
        self.version = version
        self.packet_max = packet_max
        self.error: PacketError | None = None
        self._begun = bytearray()
        self._needed = 0
        self._topics: dict[bytes, str] = {}

    @property
    def begun(self) -> int:
        """Bytes of a packet whose end has not come yet."""
        return len(self._begun)

    def feed(self, data: bytes) -> list[Packet]:
        """All packets that are whole now. What comes after an `error` is not read."""
        if self.error is not None:
            return []
        if self._begun:
            self._begun += data
            if len(self._begun) < self._needed:
                return []
            data = bytes(self._begun)
            self._begun.clear()
        packets: list[Packet] = []
        try:
            left = self._read(data, packets)
        except PacketError as error:
            self.error = error
            return packets
        if left < len(data):
            self._begun += data[left:] if left else data
        return packets

    def _read(self, data: bytes, packets: list[Packet]) -> int:
        """Read whole packets; where the first that is not whole begins."""
        at, end = 0, len(data)
        append, topics, most, version = packets.append, self._topics, self.packet_max, self.version
        self._needed = 0  # that of an earlier packet says nothing of the one that begins now
        while end - at >= 2:
            first, length, body = data[at], data[at + 1], at + 2
            if length > 127:
                known = _length_at(data, at + 1)
                if known is None:
                    break
                length, body = known
            stop = body + length
            if stop - at > most:
                raise PacketTooLarge(f"a packet of {stop - at} bytes; {most} are allowed")
            if stop > end:
                self._check_head(first)
                self._needed = stop - at
                break
            if first & 0xF0 != PUBLISH:
                append(self._other(first, Fields(data, body, stop)))
                version = self.version
                at = stop
                continue
            if version is None:
                self._check_head(first)
            # What follows is Fields.text and its like in place: nearly every packet comes this way.
            qos = first >> 1 & 3
            if qos == 3 or (not qos and first & 8):
                raise FlagsWrong(f"a PUBLISH with the flags {first & 15:#06b}")
            if length < 2:
                raise LengthWrong("a PUBLISH without a topic")
            rest = body + 2 + (data[body] << 8 | data[body + 1])
            raw = data[body + 2 : rest]
            packet_id = 0
            if qos:
                rest += 2
                if rest <= stop:
                    packet_id = data[rest - 2] << 8 | data[rest - 1]
                    if not packet_id:
                        raise OutOfPlace("0 is no packet id")
            if rest > stop:
                raise LengthWrong(f"{rest - stop} bytes are missing at the end of a PUBLISH")
            topic = topics.get(raw)
            if topic is None:
                topic = self._new_topic(raw)
            properties = NONE
            if version == V5:
                if rest < stop and not data[rest]:
                    rest += 1
                else:
                    properties, rest = self._properties(data, rest, stop)
            if not raw and Property.TOPIC_ALIAS not in properties:
                raise TopicWrong("a PUBLISH with an empty topic")
            if first & 9:
                append(Publish(topic, data[rest:stop], qos, packet_id, properties, first & 1 == 1, first & 8 == 8))
            else:
                append(Publish(topic, data[rest:stop], qos, packet_id, properties))
            at = stop
        return at

    def _properties(self, data: bytes, at: int, stop: int) -> tuple[Properties, int]:
        """Those of a PUBLISH, and where its payload begins. The usual ones in place, all others field by field."""
        end = at + 1 + (data[at] if at < stop else 0)
        if at < stop and data[at] < 128 and end <= stop:
            found: dict[int, Any] = {}
            place = at + 1
            while place < end:
                number = data[place]
                is_text = COUNTED.get(number)
                first = place + 3
                if is_text is None or first > end or number in found:
                    break
                place = first + (data[first - 2] << 8 | data[first - 1])
                if place > end:
                    break
                raw = data[first:place]
                found[number] = (self._topics.get(raw) or text_of(raw)) if is_text else raw
            else:
                return found, end
        fields = Fields(data, at, stop)
        return fields.properties(Kind.PUBLISH, V5), fields.at

    def _new_topic(self, raw: bytes) -> str:
        topic = text_of(raw)
        if "+" in topic or "#" in topic:
            raise TopicWrong(f"a topic with a wildcard: {topic[:100]!r}")
        if len(self._topics) < TOPICS_KEPT and len(raw) <= TOPIC_KEPT_BYTES:
            self._topics[raw] = topic
        return topic

    def _check_head(self, first: int) -> None:
        """What the first byte alone gives away: nobody waits for the rest of a packet that cannot be one."""
        kind, flags = first >> 4, first & 15
        if (kind not in _READERS and kind != Kind.PUBLISH) or (kind == Kind.AUTH and self.version != V5):
            raise OutOfPlace(f"packet type {kind} does not exist here")
        if kind != Kind.PUBLISH and flags != _FLAGS.get(kind, 0):
            raise FlagsWrong(f"a {Kind(kind).name} with the flags {flags:#06b}")
        if kind != Kind.CONNECT and self.version is None:
            raise OutOfPlace(f"{Kind(kind).name} before CONNECT")

    def _other(self, first: int, fields: Fields) -> Packet:
        self._check_head(first)
        kind = first >> 4
        if kind == Kind.CONNECT:
            connect = _read_connect(fields)
            self.version = connect.version
            packet: Packet = connect
        else:
            assert self.version is not None, "checked"
            packet = _READERS[kind](fields, self.version)
        if fields.left:
            raise LengthWrong(f"{fields.left} bytes too many at the end of a {Kind(kind).name}")
        return packet


class Other(msgspec.Struct):
    """A packet that is no PUBLISH, as it came."""

    raw: bytes


class PublishReader(PacketReader):
    """Reads only PUBLISH packets; the others come out whole, for somebody else who knows what to do with them."""

    def _other(self, first: int, fields: Fields) -> Packet:
        return Other(framed(first, fields.rest()))  # type: ignore[return-value]  # the caller tells them apart


TOPICS_KEPT, TOPIC_KEPT_BYTES = 4096, 256
"""How many topics a reader knows by heart, and how long they may be."""
_FLAGS: Mapping[int, int] = {Kind.PUBREL: 2, Kind.SUBSCRIBE: 2, Kind.UNSUBSCRIBE: 2}


def _length_at(data: bytes, at: int) -> tuple[int, int] | None:
    """Remaining length and where the body begins, or None when it is not all there."""
    value = 0
    for place in range(4):
        if at + place >= len(data):
            return None
        byte = data[at + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            if byte == 0 and place:
                raise LengthMalformed("the remaining length is written longer than it has to be")
            return value, at + place + 1
    raise LengthMalformed("the remaining length does not end within four bytes")


def _read_connect(fields: Fields) -> Connect:
    name, version = fields.binary(), fields.number(1)
    if name != b"MQTT" or version not in (V311, V5):
        raise VersionUnknown(f"protocol {name[:20]!r}, level {version}; MQTT 3.1.1 and 5.0 are spoken here")
    flags = fields.number(1)
    with_will, will_qos, will_retain = flags & 4, flags >> 3 & 3, flags & 32
    if flags & 1 or will_qos == 3 or (not with_will and (will_qos or will_retain)):
        raise FlagsWrong(f"a CONNECT with the flags {flags:#010b}")
    if version == V311 and flags & 64 and not flags & 128:
        raise FlagsWrong("a CONNECT with a password and no user name")
    keep_alive_s = fields.number(2)
    properties = fields.properties(Kind.CONNECT, version)
    client_id = fields.text()
    will = None
    if with_will:
        will_properties = fields.properties(WILL, version)
        topic = fields.text()
        if not topic or "+" in topic or "#" in topic:
            raise TopicWrong("a will without a topic, or with a wildcard in it")
        will = Will(topic, fields.binary(), will_qos, bool(will_retain), will_properties)
    username = fields.text() if flags & 128 else None
    password = fields.binary() if flags & 64 else None
    return Connect(version, client_id, bool(flags & 2), keep_alive_s, username, password, will, properties)


def _read_connack(fields: Fields, version: int) -> ConnAck:
    flags, reason = fields.number(1), fields.number(1)
    if flags > 1:
        raise FlagsWrong(f"a CONNACK with the flags {flags:#010b}")
    return ConnAck(bool(flags), reason, fields.properties(Kind.CONNACK, version))


def _read_ack(kind: Kind) -> Callable[[Fields, int], Ack]:
    def read(fields: Fields, version: int) -> Ack:
        packet_id = fields.packet_id()
        if version != V5 or not fields.left:  # 3.4.2.1: with two bytes the reason is "success"
            return Ack(kind, packet_id)
        reason = fields.number(1)
        return Ack(kind, packet_id, reason, fields.properties(kind, version) if fields.left else NONE)

    return read


def _read_subscribe(fields: Fields, version: int) -> Subscribe:
    packet_id, properties = fields.packet_id(), fields.properties(Kind.SUBSCRIBE, version)
    filters: list[tuple[str, int]] = []
    while fields.left or not filters:
        pattern, options = fields.text(), fields.number(1)
        # QoS 3, retain handling 3 and the upper bits do not exist; 3.1.1 knows nothing but the QoS.
        if options & 3 == 3 or options >> (6 if version == V5 else 2) or options & 0x30 == 0x30:
            raise FlagsWrong(f"a subscription with the options {options:#010b}")
        filters.append((pattern, options))
    return Subscribe(packet_id, tuple(filters), properties)


def _read_suback(fields: Fields, version: int) -> SubAck:
    packet_id, properties = fields.packet_id(), fields.properties(Kind.SUBACK, version)
    return SubAck(packet_id, tuple(fields.rest()), properties)


def _read_unsubscribe(fields: Fields, version: int) -> Unsubscribe:
    packet_id, properties = fields.packet_id(), fields.properties(Kind.UNSUBSCRIBE, version)
    filters = [fields.text()]
    while fields.left:
        filters.append(fields.text())
    return Unsubscribe(packet_id, tuple(filters), properties)


def _read_unsuback(fields: Fields, version: int) -> UnsubAck:
    packet_id, properties = fields.packet_id(), fields.properties(Kind.UNSUBACK, version)
    return UnsubAck(packet_id, tuple(fields.rest()) if version == V5 else (), properties)


def _read_reason(kind: Kind, packet: type[Disconnect] | type[Auth]) -> Callable[[Fields, int], Disconnect | Auth]:
    def read(fields: Fields, version: int) -> Disconnect | Auth:
        if version != V5 or not fields.left:
            return packet()
        reason = fields.number(1)
        return packet(reason, fields.properties(kind, version) if fields.left else NONE)

    return read


_READERS: Mapping[int, Callable[[Fields, int], Packet]] = {
    Kind.CONNECT: lambda fields, _: _read_connect(fields),
    Kind.CONNACK: _read_connack,
    **{kind: _read_ack(kind) for kind in (Kind.PUBACK, Kind.PUBREC, Kind.PUBREL, Kind.PUBCOMP)},
    Kind.SUBSCRIBE: _read_subscribe,
    Kind.SUBACK: _read_suback,
    Kind.UNSUBSCRIBE: _read_unsubscribe,
    Kind.UNSUBACK: _read_unsuback,
    Kind.PINGREQ: lambda _, __: PingReq(),
    Kind.PINGRESP: lambda _, __: PingResp(),
    Kind.DISCONNECT: _read_reason(Kind.DISCONNECT, Disconnect),
    Kind.AUTH: _read_reason(Kind.AUTH, Auth),
}

# Writing --------------------------------------------------------------------------------------------------------------


def counted(raw: bytes) -> bytes:
    """With its length in front, in two bytes. Raises ValueError beyond 65,535."""
    if len(raw) > 0xFFFF:
        raise ValueError(f"{len(raw)} bytes are too many for one field of MQTT")
    return len(raw).to_bytes(2, "big") + raw


def varying(number: int) -> bytes:
    """Seven bits a byte, lowest first, the eighth says that more follow (1.5.5)."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _write_u8(value: int) -> bytes:
    return bytes([value])


def _write_u16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def _write_u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def _write_text(value: str) -> bytes:
    return counted(value.encode())


def _write_pair(value: tuple[str, str]) -> bytes:
    return _write_text(value[0]) + _write_text(value[1])


_WRITERS: Mapping[Callable[[Fields], Any], Callable[[Any], bytes]] = {
    _bit: _write_u8,
    _u16: _write_u16,
    _u16_not_0: _write_u16,
    _u32: _write_u32,
    _u32_not_0: _write_u32,
    _varying: varying,
    _text: _write_text,
    _binary: counted,
    _pair: _write_pair,
}


def properties_bytes(properties: Properties, version: int) -> bytes:
    """With their length in front; nothing at all in MQTT 3.1.1."""
    if version != V5:
        return b""
    out = bytearray()
    for number, value in properties.items():
        write = _WRITERS[_TABLE[number][0]]
        for one in value if isinstance(value, tuple) else (value,):
            out += varying(number) + write(one)
    return varying(len(out)) + bytes(out)


def framed(first: int, body: bytes) -> bytes:
    """A whole packet from its first byte and its body."""
    return bytes([first]) + varying(len(body)) + body


def encode(packet: Packet, version: int) -> bytes:
    """Any packet as bytes. What its version does not know (reasons, properties in 3.1.1) is left out."""
    match packet:
        case Publish():
            flags = packet.dup << 3 | packet.qos << 1 | packet.retain
            number = _write_u16(packet.packet_id) if packet.qos else b""
            head = _write_text(packet.topic) + number + properties_bytes(packet.properties, version)
            return framed(Kind.PUBLISH << 4 | flags, head + packet.payload)
        case Connect():
            return framed(Kind.CONNECT << 4, _connect_body(packet))
        case ConnAck():
            head = bytes([packet.session_present, packet.reason])
            return framed(Kind.CONNACK << 4, head + properties_bytes(packet.properties, version))
        case Ack():
            tail = _reason_tail(packet.reason, packet.properties, version)
            return framed(packet.kind << 4 | _FLAGS.get(packet.kind, 0), _write_u16(packet.packet_id) + tail)
        case Disconnect() | Auth():
            kind = Kind.DISCONNECT if isinstance(packet, Disconnect) else Kind.AUTH
            return framed(kind << 4, _reason_tail(packet.reason, packet.properties, version))
        case PingReq():
            return PINGREQ
        case PingResp():
            return PINGRESP
    return _encode_subscribing(packet, version)


def _encode_subscribing(packet: Subscribe | SubAck | Unsubscribe | UnsubAck, version: int) -> bytes:
    head = _write_u16(packet.packet_id) + properties_bytes(packet.properties, version)
    match packet:
        case Subscribe():
            body = b"".join(_write_text(pattern) + bytes([options]) for pattern, options in packet.filters)
            return framed(Kind.SUBSCRIBE << 4 | 2, head + body)
        case SubAck():
            return framed(Kind.SUBACK << 4, head + bytes(packet.reasons))
        case Unsubscribe():
            return framed(Kind.UNSUBSCRIBE << 4 | 2, head + b"".join(map(_write_text, packet.filters)))
        case UnsubAck():
            return framed(Kind.UNSUBACK << 4, head + (bytes(packet.reasons) if version == V5 else b""))


def _connect_body(packet: Connect) -> bytes:
    flags = packet.clean << 1 | (packet.username is not None) << 7 | (packet.password is not None) << 6
    will = b""
    if packet.will is not None:
        flags |= 4 | packet.will.qos << 3 | packet.will.retain << 5
        will = properties_bytes(packet.will.properties, packet.version)
        will += _write_text(packet.will.topic) + counted(packet.will.payload)
    return (
        counted(b"MQTT")
        + struct.pack(">BBH", packet.version, flags, packet.keep_alive_s)
        + properties_bytes(packet.properties, packet.version)
        + _write_text(packet.client_id)
        + will
        + (b"" if packet.username is None else _write_text(packet.username))
        + (b"" if packet.password is None else counted(packet.password))
    )


def _reason_tail(reason: int, properties: Properties, version: int) -> bytes:
    """What may be left out is left out."""
    if version != V5 or (not reason and not properties):
        return b""
    return bytes([reason]) + (properties_bytes(properties, version) if properties else b"")


PINGREQ = bytes([Kind.PINGREQ << 4, 0])
PINGRESP = bytes([Kind.PINGRESP << 4, 0])
_PUBACK = bytes([Kind.PUBACK << 4, 2])
_PUBACK_NUMBER = Kind.PUBACK << 28 | 2 << 16
_ARRAY_FROM = 12


def pubacks(packet_ids: Sequence[int]) -> bytes:
    """One PUBACK "success" for each packet id (1 to 65535), in the order given. The same in both versions."""
    if len(packet_ids) < _ARRAY_FROM:
        return b"".join([_PUBACK + packet_id.to_bytes(2, "big") for packet_id in packet_ids])
    return (np.array(packet_ids, np.uint32) | _PUBACK_NUMBER).astype(">u4").tobytes()


def publish(topic: str, payload: bytes, *, content_type: str, correlation: bytes | None = None) -> bytes:
    """A PUBLISH of MQTT 5 with QoS 0, neither retained nor repeated. Topic and correlation at most 65,535 bytes."""
    return publish_after(opening(topic, content_type), payload, correlation)


Opening = tuple[bytes, bytes | None, bytes]
"""Topic, properties (None in MQTT 3.1.1), and both as they stand in a packet without correlation data."""


def opening(topic: str, content_type: str | None) -> Opening:
    """What of a PUBLISH with QoS 0 only its topic and type decide: worth keeping. No type: MQTT 3.1.1."""
    name = _write_text(topic)
    if content_type is None:
        return name, None, name
    properties = bytes([Property.CONTENT_TYPE]) + _write_text(content_type)
    return name, properties, name + varying(len(properties)) + properties


def publish_after(begun: Opening, payload: bytes, correlation: bytes | None) -> bytes:
    """The packet with such an opening. MQTT 3.1.1 has no place for correlation data."""
    topic, properties, both = begun
    if correlation is not None and properties is not None:
        properties += bytes([Property.CORRELATION_DATA]) + counted(correlation)
        both = topic + varying(len(properties)) + properties
    length = len(both) + len(payload)
    head = _PUBLISH_HEADS[length] if length < 128 else b"\x30" + varying(length)
    return head + both + payload


_PUBLISH_HEADS = [bytes([Kind.PUBLISH << 4, length]) for length in range(128)]
