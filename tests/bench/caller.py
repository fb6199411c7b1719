"""HTTP clients in a process of their own: requests made beforehand, bare sockets, so that they cost the machine little.

Told what to send by a line of JSON on standard input, it makes all requests, connects, says `ready`, waits for another
line, sends, and prints what it saw as a line of JSON.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field

import msgspec

from tests.bench.city import GATEWAYS, METERS_PER_GATEWAY, MINUTE_US, body, secret

TAKEN = b"HTTP/1.1 200 "
LENGTH = b"content-length:"
QUIET_S = 60.0


class Job(msgspec.Struct):
    """Every gateway sends `rounds` bodies of `minutes` minutes of its meters; `clients` of them are on at a time."""

    host: str
    port: int
    first_us: int
    rounds: int
    minutes: int
    clients: int
    first_seqs: list[int] = []
    """The number of each gateway's first message; empty: 0."""
    gateways: int = GATEWAYS
    step_us: int = MINUTE_US
    """What lies between two readings of a meter: what is called a minute here."""


class Seen(msgspec.Struct):
    """From the first request to the last receipt."""

    seconds: float


@dataclass(slots=True)
class Client:
    """A connection, whose requests it carries now, and what came of the answer so far."""

    wire: socket.socket
    requests: deque[bytes] = field(default_factory=deque)
    answer: bytes = b""


def request(gateway: int, content: bytes) -> bytes:
    head = (
        "POST /api/v1/readings HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {secret(gateway)}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def requests_of(job: Job, gateway: int) -> deque[bytes]:
    own = range(gateway * METERS_PER_GATEWAY, (gateway + 1) * METERS_PER_GATEWAY)
    times = [
        [job.first_us + (job.minutes * number + minute) * job.step_us for minute in range(job.minutes)]
        for number in range(job.rounds)
    ]
    first = job.first_seqs[gateway] if job.first_seqs else 0
    return deque(request(gateway, body(first + number, own, times[number])) for number in range(job.rounds))


def is_whole(answer: bytes) -> bool:
    """Whether an answer is there to its end. Raises AssertionError when the readings were not taken."""
    head, _, content = answer.partition(b"\r\n\r\n")
    at = head.lower().find(LENGTH)
    if at < 0:
        return False
    if len(content) < int(head[at + len(LENGTH) :].split(b"\r\n", 1)[0]):
        return False
    if not answer.startswith(TAKEN):
        raise AssertionError(answer.decode())
    return True


def send_all(clients: list[Client], waiting: deque[deque[bytes]]) -> None:
    """Each client takes the gateway that waited longest, sends its next body, and puts it back behind the others."""
    answers = selectors.DefaultSelector()
    open_requests = 0
    for client in clients:
        answers.register(client.wire, selectors.EVENT_READ, client)
        open_requests += _next(client, waiting)
    while open_requests:
        ready = answers.select(QUIET_S)
        if not ready:
            raise TimeoutError(f"{open_requests} receipts did not come")
        for key, _ in ready:
            client = key.data
            part = client.wire.recv(65_536)
            if not part:
                raise ConnectionError("the service closed the connection")
            client.answer += part
            if is_whole(client.answer):
                client.answer = b""
                if client.requests:
                    waiting.append(client.requests)
                open_requests += _next(client, waiting) - 1


def _next(client: Client, waiting: deque[deque[bytes]]) -> int:
    if not waiting:
        return 0
    client.requests = waiting.popleft()
    client.wire.sendall(client.requests.popleft())
    return 1


def main() -> None:
    job = msgspec.json.decode(sys.stdin.readline(), type=Job)
    waiting = deque(requests_of(job, gateway) for gateway in range(job.gateways))
    clients = [Client(socket.create_connection((job.host, job.port), timeout=QUIET_S)) for _ in range(job.clients)]
    for client in clients:
        client.wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print("ready", flush=True)
    sys.stdin.readline()
    started = time.perf_counter()
    send_all(clients, waiting)
    print(json.dumps(msgspec.to_builtins(Seen(time.perf_counter() - started))), flush=True)


if __name__ == "__main__":
    main()
