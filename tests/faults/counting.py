"""Gateways that count: what each was promised is set against what the ledger holds.

Each gateway has one meter and sends its numbers in order, one reading a second of its own time (or as far apart as
asked, backwards when negative), each value once. So a
reading that was acknowledged and is not stored is found by its number, and so is one that is stored twice or otherwise.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from urllib.parse import urlsplit

import asyncpg
import numpy as np

from app.store.database import plain_url
from simulators.message import Message, Readings, message
from simulators.wire import Door, Login, Receipt, open_door
from tests.e2e.a_plant import Plant
from tests.faults.puback import PubackDoor
from tests.wait import until

T0_MS = 1_793_462_400_000
"""2026-10-31T16:00:00Z"""
ROWS = 20
CHUNK = 5


@dataclass(slots=True)
class CountingGateway:
    """One gateway and one meter behind one door. `acknowledged`: the numbers of the messages it has a receipt for."""

    gateway: str
    meter: str
    door: Door
    acknowledged: set[int] = field(default_factory=set)
    trouble: str = ""
    apart_ms: int = 1000
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self, first: int = 0) -> None:
        self._thread = threading.Thread(target=self._run, args=(first,), daemon=True)
        self._thread.start()

    def stop(self, patience_s: float = 120.0) -> None:
        """No new message; those on their way get their receipts. Raises AssertionError when they do not."""
        self._stop.set()
        assert self._thread is not None
        self._thread.join(patience_s)
        assert not self._thread.is_alive(), f"{self.gateway} still waits for a receipt"
        assert not self.trouble, f"{self.gateway}: {self.trouble}"
        self.door.close()

    def _run(self, first: int) -> None:
        numbers = iter(range(first, 1 << 30))
        try:
            while not self._stop.is_set():
                self.door.deliver([self.numbered(number) for number in islice(numbers, CHUNK)], self._heard)
        except Exception as error:  # noqa: BLE001  # a thread's death has to reach the test, whatever it was
            self.trouble = f"{type(error).__name__}: {error}"

    def numbered(self, number: int) -> Message:
        """Message `number`: the readings ROWS·number … of the meter, each a second after the other."""
        first = number * ROWS
        reading = np.arange(first, first + ROWS)
        return message(
            number + 1,
            Readings(
                (self.meter,),
                np.zeros(ROWS, np.int32),
                T0_MS + reading * self.apart_ms,
                reading.astype(np.float64),
                np.zeros(ROWS, np.int16),
            ),
        )

    def _heard(self, sent: Message, receipt: Receipt) -> None:
        taken = receipt["stored"] + receipt["duplicate"]
        if taken != ROWS:
            self.trouble = f"message {sent.seq}: {receipt}"
        self.acknowledged.add(sent.seq - 1)


def gateways_on(plant: Plant, urls: Sequence[str]) -> list[CountingGateway]:
    """One registered gateway with its meter for each address."""
    made = []
    for url in urls:
        name = f"gw-{secrets.token_hex(4)}"
        secret = plant.add_gateway(name)
        meter = f"M-{name}"
        plant.add_meter(meter, name, expected_interval_s=1)
        made.append(CountingGateway(name, meter, _door(url, Login(name, secret))))
    return made


def _door(url: str, login: Login) -> Door:
    """A gateway brings an account of its own. An address `puback+mqtt://…` is that of the listener."""
    kind, _, bare = url.rpartition("+")
    parts = urlsplit(bare)
    address = f"{parts.scheme}://{parts.hostname}:{parts.port}"
    if kind:
        return PubackDoor(address, login)
    options = {"resend_after_s": 2.0} if parts.scheme == "mqtt" else {}
    return open_door(address, login, **options)


@dataclass(frozen=True, slots=True)
class Account:
    """What was promised and what is there, in readings."""

    acknowledged: int
    stored: int
    lost: int
    twice: int
    wrong: int

    def __str__(self) -> str:
        return (
            f"{self.acknowledged} acknowledged, {self.stored} stored, "
            f"{self.lost} lost, {self.twice} twice, {self.wrong} wrong"
        )

    @property
    def balanced(self) -> bool:
        return self.lost == self.twice == self.wrong == 0


async def account(database_url: str, gateways: Sequence[CountingGateway]) -> Account:
    """Every acknowledged reading looked up in the ledger."""
    sql = await asyncpg.connect(plain_url(database_url))
    try:
        parts = [_compared(one, await sql.fetch(THEIRS, one.meter)) for one in gateways]
    finally:
        await sql.close()
    return Account(*(sum(column) for column in zip(*parts, strict=True)))


THEIRS = """
SELECT extract(epoch FROM ts)::bigint * 1000 AS ms, value FROM reading JOIN meter USING (meter_id) WHERE code = $1
"""


def _compared(one: CountingGateway, rows: Sequence[asyncpg.Record]) -> tuple[int, int, int, int, int]:
    promised = {number * ROWS + place for number in one.acknowledged for place in range(ROWS)}
    found = [(row["ms"] - T0_MS) // one.apart_ms for row in rows]
    wrong = sum(number != int(row["value"]) for number, row in zip(found, rows, strict=True))
    return len(promised), len(found), len(promised - set(found)), len(found) - len(set(found)), wrong


def progress(gateways: Sequence[CountingGateway]) -> list[int]:
    """Messages acknowledged by each, now."""
    return [len(one.acknowledged) for one in gateways]


def goes_on(gateways: Sequence[CountingGateway], more: int, *, within_s: float = 60.0) -> None:
    """Waits until each gateway has that many more receipts. Raises AssertionError with who stands still."""
    wanted = [(one, len(one.acknowledged) + more) for one in gateways]

    def all_there() -> bool:
        return all(len(one.acknowledged) >= least or one.trouble for one, least in wanted)

    until(all_there, what=f"each gateway hears {more} more receipts", deadline_s=within_s, pause_s=0.01)
    assert not (troubles := [f"{one.gateway}: {one.trouble}" for one in gateways if one.trouble]), troubles
