"""The doors of a real service process: HTTP with 16 clients, and the broker with a live publisher."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from tests.bench.city import GATEWAYS, METERS, METERS_PER_GATEWAY, MINUTE_US, body, secret
from tests.bench.figures import Sheet, p99
from tests.bench.ground import Ground
from tests.bench.publisher import Job, Seen
from tests.bench.writing import yardstick
from tests.wait import eventually

CLIENTS = 16
HTTP_SIZE = 500
HTTP_MINUTES = HTTP_SIZE // METERS_PER_GATEWAY
STEADY_READINGS_S = 5_000
STEADY_S = 5
COMMITTED_WITHIN_S = 120.0
LOOK_S = 0.05


async def _fresh(ground: Ground, readings: int) -> int:
    minutes = -(-readings // METERS)
    first_us = ground.city.later(minutes)
    await ground.clear(first_us, first_us + minutes * MINUTE_US)
    return first_us


async def measure_http(ground: Ground, sheet: Sheet, service_url: str, readings: int) -> None:
    """Every gateway sends five minutes of its meters a body; 16 of them are on at a time, each in its own order."""
    copy_rate = await yardstick(ground, sheet, readings)
    seconds = await http_seconds(ground, service_url, readings)
    sheet.note("http_n500", readings / seconds / copy_rate)


async def http_seconds(ground: Ground, service_url: str, readings: int) -> float:
    """From the first request to the last receipt."""
    first_us = await _fresh(ground, readings)
    rounds = range(readings // (METERS * HTTP_MINUTES))
    times = [[first_us + (HTTP_MINUTES * r + m) * MINUTE_US for m in range(HTTP_MINUTES)] for r in rounds]
    waiting: asyncio.Queue[tuple[int, list[bytes]]] = asyncio.Queue()
    for gateway in range(GATEWAYS):
        own = range(gateway * METERS_PER_GATEWAY, (gateway + 1) * METERS_PER_GATEWAY)
        waiting.put_nowait((0, [_request(gateway, body(r, own, times[r])) for r in rounds]))
    parts = urlsplit(service_url)
    wires = [await asyncio.open_connection(parts.hostname, parts.port) for _ in range(CLIENTS)]
    started = time.perf_counter()
    async with asyncio.TaskGroup() as clients:
        for reader, writer in wires:
            clients.create_task(_client(waiting, reader, writer))
    seconds = time.perf_counter() - started
    for _, writer in wires:
        writer.close()
    await _all_there(ground, readings)
    return seconds


async def _client(
    waiting: asyncio.Queue[tuple[int, list[bytes]]], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Takes the gateway that waited longest, sends its next body, and puts it back behind the others."""
    while not waiting.empty():
        at, requests = waiting.get_nowait()
        writer.write(requests[at])
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        receipt = await reader.readexactly(int(length.partition(b":")[2]))
        if not head.startswith(b"HTTP/1.1 200 "):
            raise AssertionError(f"{head.decode()}{receipt.decode()}")
        if at + 1 < len(requests):
            waiting.put_nowait((at + 1, requests))


def _request(gateway: int, content: bytes) -> bytes:
    head = (
        "POST /api/v1/readings HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {secret(gateway)}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def measure_broker(
    ground: Ground, sheet: Sheet, broker_url: str, sizes: Sequence[tuple[int, int]], copy_rows: int
) -> None:
    """For each (readings a message, readings): from the first packet sent to the last reading committed."""
    for size, readings in sizes:
        copy_rate = await yardstick(ground, sheet, copy_rows)
        first_us = await _fresh(ground, readings)
        seen, ended_s = await _publish(ground, Job(broker_url, first_us, readings, size))
        sheet.note(f"mqtt_n{size}", readings / (ended_s - seen.began_s) / copy_rate)


async def measure_delay(ground: Ground, sheet: Sheet, broker_url: str) -> None:
    readings, size = STEADY_READINGS_S * STEADY_S, 20
    first_us = await _fresh(ground, readings)
    job = Job(broker_url, first_us, readings, size, per_second=STEADY_READINGS_S / size)
    seen, _ = await _publish(ground, job)
    sheet.note("p99_ms_n20", p99(seen.delays_ms))


async def _publish(ground: Ground, job: Job) -> tuple[Seen, float]:
    """What the publisher saw, and when every reading was committed on the same clock."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.publisher"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(msgspec.json.encode(job) + b"\n")
    if await process.stdout.readline() != b"ready\n":
        raise AssertionError("the publisher could not begin")
    process.stdin.write(b"go\n")
    line = await process.stdout.readline()
    if not line:
        raise AssertionError("the publisher ended early")
    seen = msgspec.json.decode(line, type=Seen)
    await _all_there(ground, job.readings)
    await process.wait()
    return seen, await ground.last_commit_s()


async def _all_there(ground: Ground, readings: int) -> None:
    async def all_there() -> bool:
        return await ground.count() == readings

    await eventually(
        all_there, what=f"{readings} readings are committed", deadline_s=COMMITTED_WITHIN_S, pause_s=LOOK_S
    )
