"""Runs the gateways of a city: their history as fast as receipts come, then live."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from simulators.faults import NO_FAULTS, Fault, with_faults
from simulators.message import Form, Message, Readings, message
from simulators.plants import PlantPlan
from simulators.seasons import SLOT_S
from simulators.stream import Recorder
from simulators.wire import Door, Login, Receipt, open_door

HISTORY_BATCH = 4000
HISTORY_STEP = 4
AT_ONCE = 6
"""Gateways that push their history at the same time; more would only wait for each other."""


@dataclass(slots=True)
class Tally:
    """What the receipts of all gateways said, added up; safe to read from another thread."""

    sent: int = 0
    stored: int = 0
    duplicate: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, sent: Message, receipt: Receipt) -> None:
        with self._lock:
            self.sent += sent.count
            self.stored += receipt["stored"]
            self.duplicate += receipt["duplicate"]
            self.rejected.update(refused["code"] for refused in receipt["rejected"])


@dataclass(slots=True)
class Gateway:
    """One plant's recorder and its numbered way to the service, with what goes wrong on that way."""

    recorder: Recorder
    url: str
    secret: str
    faults: Sequence[Fault] = ()
    _seq: int = 0
    _door: Door | None = None

    @property
    def plan(self) -> PlantPlan:
        return self.recorder.plan

    def push(self, batches: Iterable[Readings], tally: Tally) -> None:
        """Deliver every batch; returns when each has its receipt. Raises simulators.wire.DoorClosed."""
        if self._door is None:
            self._door = open_door(self.url, Login(self.plan.gateway, self.secret))
        self._door.deliver(self._numbered(batches), tally.add)

    def close(self) -> None:
        if self._door is not None:
            self._door.close()
            self._door = None

    def _numbered(self, batches: Iterable[Readings]) -> Iterator[Message]:
        for recorded in batches:
            batch = with_faults(recorded, self.faults)
            if len(batch):
                self._seq += 1
                yield message(self._seq, batch, Form.COLUMNS)


def gateways(
    plans: Sequence[PlantPlan],
    origin_slot: int,
    url: str,
    secrets: dict[str, str],
    faults: Mapping[str, Sequence[Fault]] = NO_FAULTS,
) -> list[Gateway]:
    """The gateways of all plants, before their first reading. `faults` (gateway → faults) says which are unsound."""
    return [
        Gateway(Recorder(plan, origin_slot), url, secrets[plan.gateway], tuple(faults.get(plan.gateway, ())))
        for plan in plans
    ]


def readings_of(plans: Sequence[PlantPlan], slots: int) -> int:
    """How many readings a history of so many quarter hours has, the first registers included."""
    steps = slots // HISTORY_STEP
    registers = sum(meter.kind == "register" for plan in plans for meter in plan.meters)
    return steps * sum(len(plan.meters) for plan in plans) + registers


def push_history(city: Sequence[Gateway], until_slot: int, tally: Tally, stop: threading.Event) -> None:
    """Hourly history of every gateway up to a slot. Returns early when told to stop."""

    def one(gateway: Gateway) -> None:
        if not stop.is_set():
            gateway.push(_history(gateway.recorder, until_slot, stop), tally)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(one, gateway) for gateway in city]:
            done.result()


def _history(recorder: Recorder, until_slot: int, stop: threading.Event) -> Iterator[Readings]:
    yield recorder.first()
    month = 30 * 24 * HISTORY_STEP
    while until_slot - recorder.at_slot >= HISTORY_STEP and not stop.is_set():
        stretch = recorder.walk(min(until_slot, recorder.at_slot + month), HISTORY_STEP)
        yield from stretch.batches(HISTORY_BATCH)


def run_live(
    city: Sequence[Gateway],
    tally: Tally,
    stop: threading.Event,
    *,
    speed: float,
    told: Callable[[int], None] = lambda _: None,
) -> None:
    """A quarter hour of meter time after the other, until told to stop; `told` hears each slot that is delivered.

    `speed` is meter seconds a second. Meter time never runs ahead of the clock: once it has caught up it goes at 1.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while not stop.is_set():
            slot = city[0].recorder.at_slot + 1
            begun = time.monotonic()
            ahead_s = slot * SLOT_S - time.time()
            if ahead_s > 0 and stop.wait(ahead_s):
                return
            for done in [pool.submit(gateway.push, [gateway.recorder.walk(slot, 1)], tally) for gateway in city]:
                done.result()
            told(slot)
            stop.wait(max(0.0, SLOT_S / speed - (time.monotonic() - begun)))
