"""Live gateways in a process of its own: MQTT 3.1.1 on bare sockets, so that they cost the machine little.

Told what to send by a line of JSON on standard input, it makes all packets, connects, says `ready`, waits for another
line, sends, and prints what it saw as a line of JSON. Times are of the machine's monotonic clock, in seconds.
"""

from __future__ import annotations

import re
import secrets
import select
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import accumulate
from urllib.parse import unquote, urlsplit

import msgspec

from tests.bench.city import GATEWAYS, MINUTE_US, gateway_id, messages, secret

CONNECT, CONNACK, PUBLISH_QOS_1, PUBACK, SUBSCRIBE, SUBACK, PUBLISH = 0x10, 0x20, 0x32, 0x40, 0x82, 0x90, 0x30
PUBACK_BYTES = 4
PACKET_IDS = 65_535
QUIET_S = 30.0
RECEIPT = re.compile(rb'energy/v1/([^/]+)/ack\{"seq":(\d+)')


class Job(msgspec.Struct):
    """What to send.

    Through a broker one connection speaks for all gateways. With `each_by_itself` every gateway has its own, under its
    own name. `window`: messages a connection may have unacknowledged. With `per_second` (messages) it keeps time and
    measures how long each message takes to be acknowledged as committed: by its receipt through a broker, else by its
    PUBACK; without it sends as fast as it can.
    """

    url: str
    first_us: int
    readings: int
    size: int
    first_seqs: list[int] = msgspec.field(default_factory=lambda: [1] * GATEWAYS)
    gateways: int = GATEWAYS
    each_by_itself: bool = False
    window: int = 1000
    per_second: float | None = None
    leaf: str = "data"
    step_us: int = MINUTE_US


class Seen(msgspec.Struct):
    """When sending began, and of each message how long its acknowledgement took, in milliseconds."""

    began_s: float
    delays_ms: list[float] = []


def frame(kind: int, payload: bytes) -> bytes:
    """One control packet."""
    length, head = len(payload), bytearray([kind])
    while True:
        length, low = divmod(length, 128)
        head.append(low | 0x80 if length else low)
        if not length:
            return bytes(head) + payload


def text(words: str) -> bytes:
    encoded = words.encode()
    return struct.pack("!H", len(encoded)) + encoded


def publish(topic: str, packet_id: int, payload: bytes) -> bytes:
    return frame(PUBLISH_QOS_1, text(topic) + struct.pack("!H", packet_id) + payload)


def unframed(buffer: bytearray) -> Iterator[tuple[int, bytes]]:
    """Takes whole packets off the front of the buffer; what is cut short stays."""
    while len(buffer) >= 2:
        length, shift, at = 0, 0, 1
        while True:
            if at >= len(buffer):
                return
            length |= (buffer[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if not buffer[at - 1] & 0x80:
                break
        if len(buffer) < at + length:
            return
        packet = buffer[0], bytes(buffer[at : at + length])
        del buffer[: at + length]
        yield packet


def connected(url: str, client_id: str, username: str, password: str) -> socket.socket:
    """A log-in. Raises ConnectionError when it is refused."""
    parts = urlsplit(url)
    wire = socket.create_connection((parts.hostname or "", parts.port or 1883), timeout=QUIET_S)
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = text("MQTT") + bytes([4, 0b1100_0010]) + struct.pack("!H", 600)
    wire.sendall(frame(CONNECT, head + text(client_id) + text(username) + text(password)))
    answer = wire.recv(4)
    if answer != bytes([CONNACK, 2, 0, 0]):
        raise ConnectionError(f"{answer.hex()} is the answer to the log-in of {username}")
    return wire


@dataclass(slots=True)
class Stream:
    """What one connection has to send, side by side, and how far it is."""

    wire: socket.socket
    packets: list[bytes] = field(default_factory=list)
    joined: memoryview = field(default_factory=lambda: memoryview(b""))
    ends: list[int] = field(default_factory=lambda: [0])
    at: int = 0
    acknowledged_bytes: int = 0
    blocked: bool = False
    watched: bool = True
    """Whether we are told when the kernel takes more."""

    def add(self, topic: str, payload: bytes) -> None:
        self.packets.append(publish(topic, len(self.packets) % PACKET_IDS + 1, payload))

    def seal(self) -> None:
        self.joined = memoryview(b"".join(self.packets))
        self.ends = [0, *accumulate(map(len, self.packets))]
        self.wire.setblocking(False)

    @property
    def done(self) -> bool:
        return self.acknowledged_bytes == PUBACK_BYTES * len(self.packets)

    def send(self, window: int) -> None:
        """As much as the window and the kernel take."""
        allowed = min(self.acknowledged_bytes // PUBACK_BYTES + window, len(self.packets))
        end = self.ends[allowed]
        self.blocked = False
        while self.at < end:
            try:
                self.at += self.wire.send(self.joined[self.at : end])
            except BlockingIOError:
                self.blocked = True
                return

    def hear(self) -> None:
        answer = self.wire.recv(65_536)
        if not answer:
            raise ConnectionError("the connection was closed")
        self.acknowledged_bytes += len(answer)


def streams_of(job: Job, opened: ExitStack) -> list[Stream]:
    """All connections with all their packets."""
    if job.each_by_itself:
        logins = [(gateway_id(number), gateway_id(number), secret(number)) for number in range(job.gateways)]
    else:
        parts = urlsplit(job.url)
        name = f"bench-{secrets.token_hex(4)}"
        logins = [(name, unquote(parts.username or ""), unquote(parts.password or ""))]
    streams = [Stream(opened.enter_context(connected(job.url, *login))) for login in logins]
    for gateway, _, payload in messages(
        job.first_us, job.readings, job.size, job.first_seqs, job.gateways, job.step_us
    ):
        stream = streams[gateway if job.each_by_itself else 0]
        stream.add(f"energy/v1/{gateway_id(gateway)}/{job.leaf}", payload)
    for stream in streams:
        stream.seal()
    return streams


def pour(streams: list[Stream], window: int) -> None:
    """Everything, with at most a window of messages unacknowledged on each connection."""
    waiting = {stream.wire.fileno(): stream for stream in streams}
    poll = select.epoll()
    for stream in streams:
        poll.register(stream.wire, select.EPOLLIN | select.EPOLLOUT)
    while waiting:
        ready = poll.poll(QUIET_S)
        if not ready:
            raise TimeoutError(f"{len(waiting)} connections wait for acknowledgements that do not come")
        for number, event in ready:
            stream = waiting[number]
            if event & ~select.EPOLLOUT:
                stream.hear()
            stream.send(window)
            if stream.blocked != stream.watched:
                stream.watched = stream.blocked
                poll.modify(stream.wire, select.EPOLLIN | (select.EPOLLOUT if stream.blocked else 0))
            if stream.done:
                poll.unregister(stream.wire)
                del waiting[number]


def drip(job: Job, streams: list[Stream], per_second: float) -> list[float]:
    """One message after the other in equal steps; answers the milliseconds from each to its acknowledgement."""
    sent_s: dict[tuple[str, int], float] = {}
    unanswered: dict[int, deque[tuple[str, int]]] = {stream.wire.fileno(): deque() for stream in streams}
    buffers = {stream.wire.fileno(): bytearray() for stream in streams}
    delays_ms: list[float] = []
    if not job.each_by_itself:
        streams[0].wire.sendall(frame(SUBSCRIBE, struct.pack("!H", 1) + text("energy/v1/+/ack") + b"\x00"))
    schedule = _schedule(job, streams)
    total = sum(len(stream.packets) for stream in streams)
    began_s = time.monotonic() + 0.2
    while len(delays_ms) < total:
        now_s = time.monotonic()
        due_s = began_s + len(sent_s) / per_second if len(sent_s) < total else now_s + QUIET_S
        if due_s <= now_s:
            stream, key, packet = next(schedule)
            sent_s[key] = now_s
            unanswered[stream.wire.fileno()].append(key)
            stream.wire.sendall(packet)
            continue
        ready, _, _ = select.select([stream.wire for stream in streams], [], [], due_s - now_s)
        heard_s = time.monotonic()
        for wire in ready:
            buffers[wire.fileno()] += wire.recv(65_536)
            for kind, body in unframed(buffers[wire.fileno()]):
                key_heard = _acknowledged(kind, body, job, unanswered[wire.fileno()])
                if key_heard is not None:
                    delays_ms.append((heard_s - sent_s[key_heard]) * 1000)
        if not ready and len(sent_s) == total:
            raise TimeoutError(f"{total - len(delays_ms)} acknowledgements did not come")
    return delays_ms


def _schedule(job: Job, streams: list[Stream]) -> Iterator[tuple[Stream, tuple[str, int], bytes]]:
    """Packets in order of time, each with its gateway and number."""
    rests = [iter(stream.packets) for stream in streams]
    for gateway, seq, _ in messages(job.first_us, job.readings, job.size, job.first_seqs, job.gateways, job.step_us):
        place = gateway if job.each_by_itself else 0
        yield streams[place], (gateway_id(gateway), seq), next(rests[place])


def _acknowledged(kind: int, body: bytes, job: Job, unanswered: deque[tuple[str, int]]) -> tuple[str, int] | None:
    """Which message a packet acknowledges as committed."""
    if job.each_by_itself:
        return unanswered.popleft() if kind == PUBACK else None
    found = RECEIPT.search(body) if kind & 0xF0 == PUBLISH else None
    return (found[1].decode(), int(found[2])) if found else None


def main() -> None:
    job = msgspec.json.decode(sys.stdin.readline(), type=Job)
    with ExitStack() as opened:
        streams = streams_of(job, opened)
        print("ready", flush=True)
        sys.stdin.readline()
        seen = Seen(time.monotonic())
        if job.per_second is None:
            pour(streams, job.window)
        else:
            seen.delays_ms = drip(job, streams, job.per_second)
        print(msgspec.json.encode(seen).decode(), flush=True)
        for stream in streams:
            stream.wire.setblocking(True)
            stream.wire.sendall(b"\xe0\x00")


if __name__ == "__main__":
    main()
