"""The MQTT codec: what is written is read back, however the bytes are cut; what breaks the standard has a name."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.packet import (
    V5,
    V311,
    Ack,
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    FlagsWrong,
    Kind,
    LengthMalformed,
    LengthWrong,
    OutOfPlace,
    Packet,
    PacketError,
    PacketReader,
    PacketTooLarge,
    PingReq,
    PingResp,
    Property,
    PropertyWrong,
    Publish,
    SubAck,
    Subscribe,
    TextMalformed,
    TopicWrong,
    UnsubAck,
    Unsubscribe,
    VersionUnknown,
    Will,
    encode,
    pubacks,
)

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
TOPIC = st.text(st.characters(codec="utf-8", exclude_characters="\0+#"), min_size=1, max_size=20)
BINARY = st.binary(max_size=20)
IDS = st.integers(1, 65535)
REASONS = st.integers(0, 255)
U16, U32, BIT = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), st.integers(0, 1)
USER = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3).map(tuple)
VARYING = st.sampled_from([1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455])


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[int, Any]]:
    """Any of these properties."""
    optional = {Property[name].value: values for name, values in fields.items()}
    return st.fixed_dictionaries({}, optional=optional)


MESSAGE = {
    "PAYLOAD_FORMAT": BIT,
    "MESSAGE_EXPIRY_S": U32,
    "CONTENT_TYPE": TEXT,
    "RESPONSE_TOPIC": TEXT,
    "CORRELATION_DATA": BINARY,
    "USER": USER,
}
WILLS = st.builds(Will, TOPIC, BINARY, st.integers(0, 2), st.booleans(), some(**MESSAGE, WILL_DELAY_S=U32))
REASONED = some(REASON_STRING=TEXT, USER=USER)
CONNECTS = st.builds(
    Connect,
    st.just(V5),
    TEXT,
    st.booleans(),
    U16,
    st.none() | TEXT,
    st.none() | BINARY,
    st.none() | WILLS,
    some(
        SESSION_EXPIRY_S=U32,
        RECEIVE_MAXIMUM=IDS,
        MAXIMUM_PACKET_SIZE=st.integers(1, 2**32 - 1),
        TOPIC_ALIAS_MAXIMUM=U16,
        REQUEST_RESPONSE_INFO=BIT,
        REQUEST_PROBLEM_INFO=BIT,
        AUTH_METHOD=TEXT,
        AUTH_DATA=BINARY,
        USER=USER,
    ),
)
CONNACKS = st.builds(
    ConnAck,
    st.booleans(),
    REASONS,
    some(
        ASSIGNED_CLIENT_ID=TEXT,
        SERVER_KEEP_ALIVE_S=U16,
        MAXIMUM_QOS=BIT,
        RETAIN_AVAILABLE=BIT,
        WILDCARDS_AVAILABLE=BIT,
        SUBSCRIPTION_IDS_AVAILABLE=BIT,
        SHARED_AVAILABLE=BIT,
        RESPONSE_INFO=TEXT,
        SERVER_REFERENCE=TEXT,
        REASON_STRING=TEXT,
    ),
)
PROPERTIES_OF_MESSAGE = some(
    **MESSAGE, TOPIC_ALIAS=IDS, SUBSCRIPTION_ID=st.lists(VARYING, min_size=1, max_size=2).map(tuple)
)


@st.composite
def publishes(draw: st.DrawFn) -> Publish:
    qos = draw(st.integers(0, 2))
    packet_id, dup = (draw(IDS), draw(st.booleans())) if qos else (0, False)
    payload = draw(st.binary(max_size=300))
    return Publish(draw(TOPIC), payload, qos, packet_id, draw(PROPERTIES_OF_MESSAGE), draw(st.booleans()), dup)


ACKS = st.builds(Ack, st.sampled_from([Kind.PUBACK, Kind.PUBREC, Kind.PUBREL, Kind.PUBCOMP]), IDS, REASONS, REASONED)
OPTIONS = st.builds(
    lambda qos, flags, handling: qos | flags << 2 | handling << 4, *(st.integers(0, n) for n in (2, 3, 2))
)
SUBSCRIBES = st.builds(
    Subscribe,
    IDS,
    st.lists(st.tuples(TEXT, OPTIONS), min_size=1, max_size=3).map(tuple),
    some(SUBSCRIPTION_ID=VARYING, USER=USER),
)
SUBACKS = st.builds(SubAck, IDS, st.lists(REASONS, max_size=3).map(tuple), REASONED)
UNSUBSCRIBES = st.builds(Unsubscribe, IDS, st.lists(TEXT, min_size=1, max_size=3).map(tuple), some(USER=USER))
UNSUBACKS = st.builds(UnsubAck, IDS, st.lists(REASONS, max_size=3).map(tuple), REASONED)
LEAVES = st.builds(
    Disconnect, REASONS, some(SESSION_EXPIRY_S=U32, REASON_STRING=TEXT, SERVER_REFERENCE=TEXT, USER=USER)
)
AUTHS = st.builds(Auth, REASONS, some(AUTH_METHOD=TEXT, AUTH_DATA=BINARY, REASON_STRING=TEXT, USER=USER))
PINGS = st.sampled_from([PingReq(), PingResp()])
PACKETS: st.SearchStrategy[Packet] = st.one_of(
    publishes(), CONNECTS, CONNACKS, ACKS, SUBSCRIBES, SUBACKS, UNSUBSCRIBES, UNSUBACKS, LEAVES, AUTHS, PINGS
)


def read(data: bytes, version: int | None = V5, **more: int) -> tuple[list[Packet], PacketError | None]:
    reader = PacketReader(version, **more)
    return reader.feed(data), reader.error


def read_in_parts(data: bytes, cuts: list[int], version: int | None) -> list[Packet]:
    reader = PacketReader(version)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    packets = [packet for first, last in pairwise(places) for packet in reader.feed(data[first:last])]
    assert reader.error is None
    assert reader.begun == 0
    return packets


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(PACKETS, min_size=1, max_size=5), st.lists(st.integers(0, 2000), max_size=6))
def test_what_is_written_is_read_back_however_it_is_cut(packets: list[Packet], cuts: list[int]) -> None:
    data = b"".join(encode(packet, V5) for packet in packets)
    assert read_in_parts(data, cuts, V5) == packets


@settings(max_examples=100, deadline=None, derandomize=True)
@given(publishes(), CONNECTS, SUBSCRIBES)
def test_version_311_carries_the_same_without_properties(
    message: Publish, connect: Connect, subscribe: Subscribe
) -> None:
    reader = PacketReader()
    greeting = Connect(V311, connect.client_id, connect.clean, connect.keep_alive_s, "user", connect.password)
    [back, *others] = reader.feed(
        encode(greeting, V311)
        + encode(message, V311)
        + encode(Subscribe(subscribe.packet_id, tuple((name, way & 3) for name, way in subscribe.filters)), V311)
        + encode(Disconnect(), V311)
    )
    assert (back, reader.version) == (greeting, V311)
    bare = Publish(message.topic, message.payload, message.qos, message.packet_id, {}, message.retain, message.dup)
    assert others[0] == bare
    assert others[2] == Disconnect()


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.binary(max_size=200), st.sampled_from([None, V311, V5]))
def test_any_bytes_give_packets_or_a_named_error(data: bytes, version: int | None) -> None:
    packets, error = read(data, version)
    assert error is None or isinstance(error, PacketError)
    assert all(packets)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(PACKETS, st.data())
def test_a_changed_byte_is_another_packet_or_a_named_error(packet: Packet, data: st.DataObject) -> None:
    raw = bytearray(encode(packet, V5))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    _, error = read(bytes(raw))
    assert error is None or isinstance(error, PacketError)


@pytest.mark.parametrize("length", [0, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_every_width_of_the_length_is_read_byte_by_byte(length: int) -> None:
    message = Publish("t", bytes(length))
    raw = encode(message, V311)
    reader = PacketReader(V311)
    for place in range(4):
        assert reader.feed(raw[place : place + 1]) == []
    assert reader.feed(raw[4:] + raw) == [message, message]


def test_the_version_is_learnt_from_the_greeting() -> None:
    reader = PacketReader()
    assert reader.feed(encode(Connect(V5, "gw"), V5)) == [Connect(V5, "gw")]
    assert reader.version == V5


def test_what_came_before_an_error_is_still_answered() -> None:
    packets, error = read(encode(PingReq(), V5) + b"\xc1\x00" + encode(PingReq(), V5))
    assert packets == [PingReq()]
    assert isinstance(error, FlagsWrong)


ONE = encode(Publish("t", b"x", 1, 7), V311)
FAULTS = [
    ("a length of five bytes", b"\x30\xff\xff\xff\xff\x01", V5, LengthMalformed),
    ("a length written too long", b"\xc0\x80\x00", V5, LengthMalformed),
    ("a topic beyond the packet", b"\x30\x03\x00\x09t", V5, LengthWrong),
    ("no room for a topic", b"\x30\x01\x00", V5, LengthWrong),
    ("no room for a packet id", b"\x32\x04\x00\x01t\x01", V311, LengthWrong),
    ("bytes left over", b"\xc0\x01\x00", V5, LengthWrong),
    ("properties beyond the packet", b"\x30\x04\x00\x01t\x05", V5, LengthWrong),
    ("no properties at all", b"\x30\x03\x00\x01t", V5, LengthWrong),
    ("packet id 0", b"\x32\x05\x00\x01t\x00\x00", V311, OutOfPlace),
    ("QoS 3", b"\x36\x05\x00\x01t\x00\x01", V311, FlagsWrong),
    ("repeated with QoS 0", b"\x38\x03\x00\x01t", V311, FlagsWrong),
    ("flags of SUBSCRIBE", b"\x80\x06\x00\x01\x00\x01t\x00", V311, FlagsWrong),
    ("flags of PINGREQ", b"\xc8\x00", V311, FlagsWrong),
    ("a topic that is not UTF-8", b"\x30\x03\x00\x01\xff", V311, TextMalformed),
    ("a surrogate", b"\x30\x05\x00\x03\xed\xa0\x80", V311, TextMalformed),
    ("NUL in a topic", b"\x30\x03\x00\x01\x00", V311, TextMalformed),
    ("a wildcard in a topic", b"\x30\x03\x00\x01#", V311, TopicWrong),
    ("no topic", b"\x30\x02\x00\x00", V311, TopicWrong),
    ("no topic and no alias", b"\x30\x03\x00\x00\x00", V5, TopicWrong),
    ("packet type 0", b"\x00\x00", V5, OutOfPlace),
    ("AUTH in MQTT 3.1.1", b"\xf0\x00", V311, OutOfPlace),
    ("before the greeting", b"\xc0\x00", None, OutOfPlace),
    ("an unknown property", b"\x30\x06\x00\x01t\x02\x7f\x00", V5, PropertyWrong),
    ("a property of another packet", b"\x30\x07\x00\x01t\x03\x21\x00\x01", V5, PropertyWrong),
    ("a property twice", b"\x30\x08\x00\x01t\x04\x01\x00\x01\x00", V5, PropertyWrong),
    ("alias 0", b"\x30\x07\x00\x01t\x03\x23\x00\x00", V5, PropertyWrong),
    ("payload format 2", b"\x30\x06\x00\x01t\x02\x01\x02", V5, PropertyWrong),
    ("QoS 3 asked for", b"\x82\x06\x00\x01\x00\x01t\x03", V311, FlagsWrong),
    ("an option 3.1.1 does not have", b"\x82\x06\x00\x01\x00\x01t\x04", V311, FlagsWrong),
    ("a SUBSCRIBE to nothing", b"\x82\x02\x00\x01", V311, LengthWrong),
    ("MQTT 3.1", b"\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x00", None, VersionUnknown),
    ("level 6", b"\x10\x0c\x00\x04MQTT\x06\x02\x00\x3c\x00\x00", None, VersionUnknown),
    ("the reserved flag", b"\x10\x0c\x00\x04MQTT\x04\x03\x00\x3c\x00\x00", None, FlagsWrong),
    ("will QoS without will", b"\x10\x0c\x00\x04MQTT\x04\x0a\x00\x3c\x00\x00", None, FlagsWrong),
    ("a password and no user name", b"\x10\x0e\x00\x04MQTT\x04\x42\x00\x3c\x00\x00\x00\x00", None, FlagsWrong),
]


@pytest.mark.parametrize(("raw", "version", "named"), [fault[1:] for fault in FAULTS], ids=[one[0] for one in FAULTS])
def test_each_fault_has_its_name(raw: bytes, version: int | None, named: type[PacketError]) -> None:
    packets, error = read(raw, version)
    assert packets == []
    assert type(error) is named, error


def test_a_packet_larger_than_agreed_is_refused_by_its_head() -> None:
    assert read(ONE, V311, packet_max=len(ONE)) == ([Publish("t", b"x", 1, 7)], None)
    _, error = read(ONE[:2], V311, packet_max=len(ONE) - 1)
    assert isinstance(error, PacketTooLarge)
    _, error = read(b"\x30\xff\xff\x7f", V311, packet_max=1000)
    assert isinstance(error, PacketTooLarge)


@pytest.mark.parametrize("count", [0, 1, 5, 500])
def test_many_acknowledgements_are_the_same_as_each(count: int) -> None:
    numbers = [number * 131 % 65_535 + 1 for number in range(count)]
    assert pubacks(numbers) == b"".join(encode(Ack(Kind.PUBACK, number), V5) for number in numbers)
