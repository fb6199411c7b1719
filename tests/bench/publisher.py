"""Live gateways in a process of its own: MQTT 3.1.1 on bare sockets, so that they cost the machine little.

Told what to send by a line of JSON on standard input, it makes all packets, connects, says `ready`, waits for another
line, sends, and prints what it saw as a line of JSON. Times are of the machine's monotonic clock, in seconds.
"""

from __future__ import annotations

import gc
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
BEFORE_S = 0.2
RECEIPT = re.compile(rb'energy/v1/([^/]+)/ack\{"seq":(\d+),')


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


class Drip:
    """Messages in equal steps of time, and how long each takes to be acknowledged as committed.

    All that can be known before the first message is made before it: the machine is shared with what is measured.
    """

    def __init__(self, job: Job, streams: list[Stream]) -> None:
        self._by_receipt = not job.each_by_itself
        self._schedule = list(_schedule(job, streams))
        self._numbers = {key: number for number, (_, _, key) in enumerate(self._schedule)}
        self._streams = {stream.wire.fileno(): stream for stream in streams}
        self._unanswered: dict[int, deque[int]] = {number: deque() for number in self._streams}
        self._begun = dict.fromkeys(self._streams, b"")
        self._sent_s = [0.0] * len(self._schedule)
        self._sent = self._heard = 0
        self.delays_ms = [0.0] * len(self._schedule)

    def run(self, per_second: float) -> None:
        poll = select.epoll()
        for number in self._streams:
            poll.register(number, select.EPOLLIN)
        total, began_s = len(self._schedule), time.monotonic() + BEFORE_S
        while self._heard < total:
            now_s = time.monotonic()
            due_s = began_s + self._sent / per_second if self._sent < total else now_s + QUIET_S
            if due_s <= now_s:
                self._send(now_s)
                continue
            ready = poll.poll(due_s - now_s)
            heard_s = time.monotonic()
            for number, _ in ready:
                self._hear(number, heard_s)
            if not ready and self._sent == total:
                raise TimeoutError(f"{total - self._heard} acknowledgements did not come")

    def _send(self, now_s: float) -> None:
        wire, packet, _ = self._schedule[self._sent]
        self._sent_s[self._sent] = now_s
        self._unanswered[wire.fileno()].append(self._sent)
        self._sent += 1
        wire.sendall(packet)

    def _hear(self, stream: int, heard_s: float) -> None:
        answer = self._streams[stream].wire.recv(65_536)
        if not answer:
            raise ConnectionError("the connection was closed")
        buffer = self._begun[stream] + answer
        if self._by_receipt:
            end = 0
            for found in RECEIPT.finditer(buffer):
                end = found.end()
                self._acknowledged(self._numbers[found[1], found[2]], heard_s)
            self._begun[stream] = buffer[end:] if end else buffer
        else:
            whole = len(buffer) // PUBACK_BYTES
            for _ in range(whole):
                self._acknowledged(self._unanswered[stream].popleft(), heard_s)
            self._begun[stream] = buffer[whole * PUBACK_BYTES :]

    def _acknowledged(self, number: int, heard_s: float) -> None:
        self._heard += 1
        self.delays_ms[number] = (heard_s - self._sent_s[number]) * 1000


def _schedule(job: Job, streams: list[Stream]) -> Iterator[tuple[socket.socket, bytes, tuple[bytes, bytes]]]:
    """In order of time: where each packet goes, the packet, and its gateway and number as they stand in a receipt."""
    rests = [iter(stream.packets) for stream in streams]
    for gateway, seq, _ in messages(job.first_us, job.readings, job.size, job.first_seqs, job.gateways, job.step_us):
        place = gateway if job.each_by_itself else 0
        yield streams[place].wire, next(rests[place]), (gateway_id(gateway).encode(), b"%d" % seq)


def drip(job: Job, streams: list[Stream]) -> Drip:
    """Ready to run. Through a broker the receipts are subscribed to."""
    if not job.each_by_itself:
        streams[0].wire.setblocking(True)
        streams[0].wire.sendall(frame(SUBSCRIBE, struct.pack("!H", 1) + text("energy/v1/+/ack") + b"\x00"))
        answer = streams[0].wire.recv(5)
        if answer != bytes([SUBACK, 3, 0, 1, 0]):
            raise ConnectionError(f"{answer.hex()} is the answer to the subscription")
    return Drip(job, streams)


def main() -> None:
    job = msgspec.json.decode(sys.stdin.readline(), type=Job)
    with ExitStack() as opened:
        streams = streams_of(job, opened)
        steady = None if job.per_second is None else drip(job, streams)
        gc.collect()
        gc.disable()  # what is left to do makes no cycles, and a pause here would be counted as theirs
        print("ready", flush=True)
        sys.stdin.readline()
        seen = Seen(time.monotonic())
        if steady is None or job.per_second is None:
            pour(streams, job.window)
        else:
            steady.run(job.per_second)
            seen.delays_ms = steady.delays_ms
        print(msgspec.json.encode(seen).decode(), flush=True)
        for stream in streams:
            stream.wire.setblocking(True)
            stream.wire.sendall(b"\xe0\x00")


if __name__ == "__main__":
    main()
