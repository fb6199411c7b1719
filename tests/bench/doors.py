"""The doors of a real service process: HTTP, the broker with a live publisher, and the listener with live gateways."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from tests.bench import caller
from tests.bench.city import GATEWAYS, METERS, METERS_PER_GATEWAY, MINUTE_US
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
WARM_S = 1
"""Before it the same for so long, uncounted: the tables were emptied, so every plan and every page is made anew."""
LISTENER_GATEWAYS = 16
COMMITTED_WITHIN_S = 120.0
LOOK_S = 0.05


async def _fresh(ground: Ground, readings: int, meters: int = METERS) -> int:
    minutes = -(-readings // meters)
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
    parts = urlsplit(service_url)
    rounds = readings // (METERS * HTTP_MINUTES)
    job = caller.Job(parts.hostname or "", parts.port or 80, first_us, rounds, HTTP_MINUTES, CLIENTS)
    job.first_seqs = ground.city.numbered(rounds)
    seen = msgspec.json.decode(await _told("tests.bench.caller", job), type=caller.Seen)
    await _all_there(ground, readings)
    return seen.seconds


async def http_fresh_seconds(ground: Ground, service_url: str, readings: int, gateways: int, step_us: int) -> float:
    """The same of the first gateways' meters, so far apart in time, into a ledger of their own."""
    steps = readings // (gateways * METERS_PER_GATEWAY)
    first_us = await _apart(ground, steps, step_us)
    parts = urlsplit(service_url)
    job = caller.Job(parts.hostname or "", parts.port or 80, first_us, steps // HTTP_MINUTES, HTTP_MINUTES, CLIENTS)
    job.gateways, job.step_us = gateways, step_us
    job.first_seqs = ground.city.numbered(job.rounds, gateways)
    seen = msgspec.json.decode(await _told("tests.bench.caller", job), type=caller.Seen)
    await _all_there(ground, readings)
    return seen.seconds


async def broker_fresh_seconds(ground: Ground, broker_url: str, readings: int, gateways: int, step_us: int) -> float:
    """Through the broker, 100 readings a message, from the first packet to the last commit."""
    steps = readings // (gateways * METERS_PER_GATEWAY)
    first_us = await _apart(ground, steps, step_us)
    first_seqs = ground.city.numbered(steps, gateways)
    job = Job(broker_url, first_us, readings, METERS_PER_GATEWAY, first_seqs, gateways, step_us=step_us)
    seen, ended_s = await _publish(ground, job)
    return ended_s - seen.began_s


async def _apart(ground: Ground, steps: int, step_us: int) -> int:
    """An empty ledger for so many readings of each meter, and when the first of them is."""
    first_us = ground.city.later(steps * step_us // MINUTE_US)
    await ground.clear(first_us, first_us + steps * step_us)
    return first_us


async def measure_broker(
    ground: Ground, sheet: Sheet, broker_url: str, sizes: Sequence[tuple[int, int]], copy_rows: int
) -> None:
    """For each (readings a message, readings): from the first packet sent to the last reading committed."""
    for size, readings in sizes:
        copy_rate = await yardstick(ground, sheet, copy_rows)
        seen, ended_s = await _publish(ground, await _job(ground, broker_url, readings, size))
        sheet.note(f"mqtt_n{size}", readings / (ended_s - seen.began_s) / copy_rate)


async def measure_listener(
    ground: Ground, sheet: Sheet, listener_url: str, sizes: Sequence[tuple[int, int]], readings: int
) -> None:
    """For each (readings a message, window): from the first packet of 16 gateways to the last reading committed."""
    for size, window in sizes:
        copy_rate = await yardstick(ground, sheet, readings)
        job = await _job(ground, listener_url, readings, size, LISTENER_GATEWAYS)
        job.window = window
        seen, ended_s = await _publish(ground, job)
        sheet.note(f"listener_n{size}_w{window}", job.readings / (ended_s - seen.began_s) / copy_rate)


async def measure_delay(ground: Ground, sheet: Sheet, url: str, key: str, sizes: Sequence[int], gateways: int) -> None:
    """From a message to its acknowledgement at a steady 5,000 readings a second, for each size of message."""
    for size in sizes:
        job = await _job(ground, url, STEADY_READINGS_S * (WARM_S + STEADY_S), size, gateways)
        job.per_second = STEADY_READINGS_S / size
        seen, _ = await _publish(ground, job)
        sheet.note(f"{key}_n{size}", p99(seen.delays_ms[WARM_S * STEADY_READINGS_S // size :]))


async def _job(ground: Ground, url: str, readings: int, size: int, gateways: int = GATEWAYS) -> Job:
    """So many readings in whole minutes of the first gateways; fewer than all of them speak each for itself."""
    meters = gateways * METERS_PER_GATEWAY
    readings -= readings % meters
    first_us = await _fresh(ground, readings, meters)
    first_seqs = ground.city.numbered(readings // meters * (METERS_PER_GATEWAY // size), gateways)
    return Job(url, first_us, readings, size, first_seqs, gateways, each_by_itself=gateways < GATEWAYS)


async def _publish(ground: Ground, job: Job) -> tuple[Seen, float]:
    """What the publisher saw, and when every reading was committed on the same clock."""
    seen = msgspec.json.decode(await _told("tests.bench.publisher", job), type=Seen)
    await _all_there(ground, job.readings)
    return seen, await ground.last_commit_s()


async def _told(module: str, job: msgspec.Struct) -> bytes:
    """Runs a load generator in a process of its own: when it is ready it is told to go. Answers what it saw."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(msgspec.json.encode(job) + b"\n")
    if await process.stdout.readline() != b"ready\n":
        raise AssertionError(f"{module} could not begin")
    process.stdin.write(b"go\n")
    line = await process.stdout.readline()
    await process.wait()
    if not line:
        raise AssertionError(f"{module} ended early")
    return line


async def _all_there(ground: Ground, readings: int) -> None:
    async def all_there() -> bool:
        return await ground.count() == readings

    await eventually(
        all_there, what=f"{readings} readings are committed", deadline_s=COMMITTED_WITHIN_S, pause_s=LOOK_S
    )
