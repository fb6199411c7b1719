"""The city of the benchmarks: 50 gateways with 100 meters each, its readings in order of time, and its messages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import asyncpg
import numpy as np

from ingest.batch import Door, ReadingBatch, Received

ENTERPRISE = "91445300MA4UXXXX0J"
GATEWAYS = 50
METERS_PER_GATEWAY = 100
METERS = GATEWAYS * METERS_PER_GATEWAY
GROUP_ROWS = 5_000
MINUTE_US = 60_000_000
DAY_US = 1440 * MINUTE_US
SPARE = "SPARE"
"""A meter nobody sends: its rows make the chunks before the clock runs."""


@dataclass(slots=True)
class City:
    """Meter numbers in the order of their codes, the number of the spare one, the time not yet used, and the number of
    each gateway's next message."""

    numbers: list[int]
    spare: int
    next_us: int
    next_seqs: list[int] = field(default_factory=lambda: [1] * GATEWAYS)

    def later(self, minutes: int) -> int:
        """The first of so many minutes that no reading of this run has: a service never meets an old one again."""
        first = self.next_us
        self.next_us += minutes * MINUTE_US
        return first

    def numbered(self, messages: int, gateways: int = GATEWAYS) -> list[int]:
        """Where so many messages of each of the first gateways begin to count: a gateway's count never ends."""
        firsts = self.next_seqs[:gateways]
        self.next_seqs[:gateways] = [first + messages for first in firsts]
        return firsts


def gateway_id(gateway: int) -> str:
    return f"gw-{gateway:03}"


def secret(gateway: int) -> str:
    return f"secret-of-{gateway_id(gateway)}"


def meter_code(meter: int) -> str:
    return f"E{meter:05}"


def value_at(meter: int, at_us: int) -> float:
    """A register that turns by one a minute."""
    return at_us // MINUTE_US % 1_000_000 + meter * 0.25


async def found_city(sql: asyncpg.Connection, first_us: int) -> City:
    """The registry, by SQL."""
    await sql.execute(
        "INSERT INTO enterprise (id, name, region, industry) VALUES ($1, '云安水泥', '445303', '3011')", ENTERPRISE
    )
    await sql.executemany(
        "INSERT INTO gateway (id, enterprise, name, secret_sha256) VALUES ($1, $2, $1, $3)",
        [(gateway_id(g), ENTERPRISE, hashlib.sha256(secret(g).encode()).digest()) for g in range(GATEWAYS)],
    )
    meters = [(meter_code(m), gateway_id(m // METERS_PER_GATEWAY)) for m in range(METERS)]
    made = await sql.fetch(
        """INSERT INTO meter (enterprise, code, name, gateway, carrier, kind, unit, role)
           SELECT $1, code, code, gateway, 'electricity', 'register', 'kWh', 'purchase'
           FROM unnest($2::text[], $3::text[]) AS new (code, gateway) RETURNING code, meter_id""",
        ENTERPRISE,
        [SPARE, *(code for code, _ in meters)],
        [gateway_id(0), *(gateway for _, gateway in meters)],
    )
    numbers = {row["code"]: row["meter_id"] for row in made}
    return City([numbers[code] for code, _ in meters], numbers[SPARE], first_us)


def rows_of(city: City, first_us: int, count: int, *, meters: int = METERS, step_us: int = MINUTE_US) -> ReadingBatch:
    """So many readings, all meters at one time, then all at the next."""
    row = np.arange(count)
    meter = row % meters
    at_us = (first_us + row // meters * step_us).astype(np.int64)
    return ReadingBatch(
        at_us=at_us,
        meter=np.array(city.numbers, np.int32)[meter],
        value=at_us // MINUTE_US % 1_000_000 + meter * 0.25,
        quality=np.zeros(count, np.int16),
        message=np.zeros(count, np.int32),
        position=row.astype(np.int32),
        revise=np.zeros(count, np.bool_),
    )


def take(rows: ReadingBatch, first: int, last: int) -> ReadingBatch:
    return ReadingBatch(
        rows.at_us[first:last],
        rows.meter[first:last],
        rows.value[first:last],
        rows.quality[first:last],
        rows.message[first:last],
        rows.position[first:last],
        rows.revise[first:last],
    )


def joined(one: ReadingBatch, other: ReadingBatch) -> ReadingBatch:
    return ReadingBatch(
        np.concatenate([one.at_us, other.at_us]),
        np.concatenate([one.meter, other.meter]),
        np.concatenate([one.value, other.value]),
        np.concatenate([one.quality, other.quality]),
        np.concatenate([one.message, other.message]),
        np.concatenate([one.position, other.position]),
        np.concatenate([one.revise, other.revise]),
    )


def groups_of(rows: ReadingBatch) -> list[ReadingBatch]:
    return [take(rows, first, first + GROUP_ROWS) for first in range(0, len(rows), GROUP_ROWS)]


def a_message(received_at_us: int) -> Received:
    """What a group of rows came in, where only the rows matter."""
    return Received(Door.HTTP, gateway_id(0), None, "application/json", b"{}", received_at_us, 1)


def body(seq: int, meters: Sequence[int], times_us: Sequence[int]) -> bytes:
    """One message in columns: every meter at every time, in order of time."""
    cells = [(meter, at_us) for at_us in times_us for meter in meters]
    message = {
        "v": 1,
        "seq": seq,
        "meters": [meter_code(meter) for meter, _ in cells],
        "t": [at_us // 1000 for _, at_us in cells],
        "values": [value_at(meter, at_us) for meter, at_us in cells],
    }
    return json.dumps(message, separators=(",", ":")).encode()


def messages(
    first_us: int,
    count: int,
    size: int,
    first_seqs: Sequence[int],
    gateways: int = GATEWAYS,
    step_us: int = MINUTE_US,
) -> Iterator[tuple[int, int, bytes]]:
    """(gateway, number, body) in order of time until so many readings of the first gateways' meters are out.

    `size` readings a message, a divisor of 100; `first_seqs` is the number of each gateway's first message.
    """
    seqs = list(first_seqs)
    for place in range(0, count, size):
        minute, meter = divmod(place, gateways * METERS_PER_GATEWAY)
        gateway = meter // METERS_PER_GATEWAY
        yield gateway, seqs[gateway], body(seqs[gateway], range(meter, meter + size), [first_us + minute * step_us])
        seqs[gateway] += 1
