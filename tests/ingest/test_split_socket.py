"""The socket under paho: messages are ours, everything else is paho's, and so is the end."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from ingest.mqtt import SplitSocket
from ingest.packet import V5, Ack, Kind, Packet, PingResp, Publish, SubAck, encode

MESSAGES = [Publish("energy/v1/gw-1/data", b"x" * size, 1, 7) for size in (0, 1, 300, 70_000)]


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, SplitSocket]]:
    far, near = socket.socketpair()
    near.setblocking(False)
    split = SplitSocket(near, lambda: None)
    yield far, split
    far.close()
    split.close()


def drained(split: SplitSocket) -> list[Publish]:
    messages: list[Publish] = []
    while (found := split.fill()) is not None:
        messages += found
        if split.over:
            break
    return messages


def test_messages_and_the_other_packets_part(ends: tuple[socket.socket, SplitSocket]) -> None:
    far, split = ends
    others: list[Packet] = [PingResp(), SubAck(7, (1, 1)), Ack(Kind.PUBACK, 9)]
    mixed: list[Packet] = [part for pair in zip(MESSAGES, [*others, PingResp()], strict=True) for part in pair]
    far.sendall(b"".join(encode(packet, V5) for packet in mixed))
    assert drained(split) == MESSAGES
    for_paho = b""
    while split.paho_has_something:
        for_paho += split.recv(3)
    assert for_paho == b"".join(encode(packet, V5) for packet in [*others, PingResp()])
    with pytest.raises(BlockingIOError):
        split.recv(1)


def test_paho_is_told_of_the_end(ends: tuple[socket.socket, SplitSocket]) -> None:
    far, split = ends
    far.sendall(encode(MESSAGES[1], V5) + encode(PingResp(), V5))
    far.shutdown(socket.SHUT_WR)
    assert drained(split) == [MESSAGES[1]]
    assert split.recv(100) == encode(PingResp(), V5)
    assert split.paho_has_something
    assert split.recv(1) == b""


def test_what_is_no_mqtt_ends_the_connection_after_what_came_before(ends: tuple[socket.socket, SplitSocket]) -> None:
    far, split = ends
    far.sendall(encode(MESSAGES[1], V5) + b"\x36\x05\x00\x01t\x00\x01")
    assert drained(split) == [MESSAGES[1]]
    with pytest.raises(ConnectionAbortedError, match="no MQTT"):
        split.recv(1)


def test_what_is_written_leaves_in_one_piece(ends: tuple[socket.socket, SplitSocket]) -> None:
    far, split = ends
    for part in (b"ab", b"cd", b"ef"):
        assert split.send(part) == 2
    assert split.flush()
    assert far.recv(100) == b"abcdef"
