"""A live publisher in a process of its own: MQTT 3.1.1 on a bare socket, so that it costs the machine little.

Told what to send by a line of JSON on standard input, it makes all packets, connects, says `ready`, waits for another
line, sends, and prints what it saw as a line of JSON. Times are of the machine's monotonic clock, in seconds.
"""

from __future__ import annotations

import json
import re
import secrets
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

import msgspec

from tests.bench.city import gateway_id, messages

CONNECT, CONNACK, PUBLISH_QOS_1, PUBACK, SUBSCRIBE, SUBACK, PUBLISH = 0x10, 0x20, 0x32, 0x40, 0x82, 0x90, 0x30
PUBACK_BYTES = 4
PACKET_IDS = 65_535
AT_ONCE = 50
QUIET_S = 30.0
SEQ = re.compile(rb'"seq":(\d+)')


class Job(msgspec.Struct):
    """What to send. With `per_second` (messages) it keeps time and listens for the receipts; else as fast as it can."""

    url: str
    first_us: int
    readings: int
    size: int
    window: int = 1000
    per_second: float | None = None
    leaf: str = "data"


class Seen(msgspec.Struct):
    """When sending began, and of each receipt how long after its message it came, in milliseconds."""

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


def connected(url: str) -> socket.socket:
    """A log-in under a name of its own. Raises ConnectionError when the broker refuses."""
    parts = urlsplit(url)
    wire = socket.create_connection((parts.hostname or "", parts.port or 1883), timeout=QUIET_S)
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = text("MQTT") + bytes([4, 0b1100_0010]) + struct.pack("!H", 600)
    login = (
        text(f"bench-{secrets.token_hex(4)}")
        + text(unquote(parts.username or ""))
        + text(unquote(parts.password or ""))
    )
    wire.sendall(frame(CONNECT, head + login))
    answer = wire.recv(4)
    if answer != bytes([CONNACK, 2, 0, 0]):
        raise ConnectionError(f"the broker answers {answer.hex()} to the log-in")
    return wire


def packets_of(job: Job) -> list[bytes]:
    return [
        publish(f"energy/v1/{gateway_id(gateway)}/{job.leaf}", number % PACKET_IDS + 1, payload)
        for number, (gateway, payload) in enumerate(messages(job.first_us, job.readings, job.size))
    ]


def pour(wire: socket.socket, packets: list[bytes], window: int) -> None:
    """Everything, with at most a window of messages the broker has not acknowledged."""
    acknowledged_bytes = sent = 0
    while acknowledged_bytes < PUBACK_BYTES * len(packets):
        room = window - (sent - acknowledged_bytes // PUBACK_BYTES)
        if room and sent < len(packets):
            part = packets[sent : sent + min(room, AT_ONCE)]
            wire.sendall(b"".join(part))
            sent += len(part)
            if not select.select([wire], [], [], 0)[0]:
                continue
        answer = wire.recv(65_536)
        if not answer:
            raise ConnectionError("the broker closed the connection")
        acknowledged_bytes += len(answer)


def drip(wire: socket.socket, packets: list[bytes], per_second: float) -> list[float]:
    """One message after the other in equal steps; answers the milliseconds from each to its receipt."""
    wire.sendall(frame(SUBSCRIBE, struct.pack("!H", 1) + text("energy/v1/+/ack") + b"\x00"))
    sent_s: list[float] = []
    delays_ms: list[float] = []
    buffer = bytearray()
    began_s = time.monotonic() + 0.1
    while len(delays_ms) < len(packets):
        now_s = time.monotonic()
        due_s = began_s + len(sent_s) / per_second if len(sent_s) < len(packets) else now_s + QUIET_S
        if due_s <= now_s:
            sent_s.append(now_s)
            wire.sendall(packets[len(sent_s) - 1])
        elif select.select([wire], [], [], due_s - now_s)[0]:
            answer = wire.recv(65_536)
            heard_s = time.monotonic()
            if not answer:
                raise ConnectionError("the broker closed the connection")
            buffer += answer
            receipts = (SEQ.search(payload) for kind, payload in unframed(buffer) if kind & 0xF0 == PUBLISH)
            delays_ms += [(heard_s - sent_s[int(receipt[1])]) * 1000 for receipt in receipts if receipt]
        elif len(sent_s) == len(packets):
            raise TimeoutError(f"{len(packets) - len(delays_ms)} receipts did not come")
    return delays_ms


def main() -> None:
    job = msgspec.json.decode(sys.stdin.readline(), type=Job)
    packets = packets_of(job)
    with connected(job.url) as wire:
        print("ready", flush=True)
        sys.stdin.readline()
        seen = Seen(time.monotonic())
        if job.per_second is None:
            pour(wire, packets, job.window)
        else:
            seen.delays_ms = drip(wire, packets, job.per_second)
        print(json.dumps(msgspec.to_builtins(seen)), flush=True)
        wire.sendall(b"\xe0\x00")


if __name__ == "__main__":
    main()
