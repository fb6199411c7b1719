"""A ledger and a registry in memory that keep the promises of the real ones."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry

from ingest.batch import Group, Received, Refusal, Verdict
from ingest.metrics import IngestMetrics
from ingest.registry import GatewayEntry, MeterEntry, Registry
from ingest.sequence import follow
from ingest.status import Word

NOW_US = 1_795_482_900_000_000
"""2026-11-24T09:15:00+08:00, a day after the first reading of the tests."""
COMPANY = "91445300MA4UXXXX0X"


class FakeLedger:
    """Keeps readings by (meter, time), refusals and sequence numbers; fails and dawdles on demand."""

    def __init__(self) -> None:
        self.readings: dict[tuple[int, int], tuple[float, int]] = {}
        self.history: list[tuple[int, int, float, float, str]] = []
        self.refused: list[tuple[Received, Refusal]] = []
        self.last_seq: dict[str, int | None] = {}
        self.gaps: dict[str, list[tuple[int, int]]] = {}
        self.groups: list[Group] = []
        self.attempts = 0
        self.trouble: Callable[[Group], Exception | None] = lambda group: None
        self.trouble_after: Callable[[Group], Exception | None] = lambda group: None
        self.open = asyncio.Event()
        self.open.set()

    async def save(self, group: Group) -> npt.NDArray[np.int8]:
        self.attempts += 1
        await asyncio.sleep(0)
        await self.open.wait()
        trouble = self.trouble(group)
        if trouble is not None:
            raise trouble
        verdicts = self._commit(group)
        self.groups.append(group)
        lost = self.trouble_after(group)
        if lost is not None:
            raise lost
        return verdicts

    def _commit(self, group: Group) -> npt.NDArray[np.int8]:
        verdicts = np.array([self._keep(group, row) for row in range(len(group.rows))], np.int8)
        self.refused += [(group.messages[refusal.message], refusal) for refusal in group.refusals]
        for message in group.messages:
            if message.seq is not None:
                name = message.gateway
                after = follow(self.last_seq.get(name), self.gaps.get(name, []), [message.seq])
                self.last_seq[name], self.gaps[name] = after.last_seq, after.gaps
        return verdicts

    def _keep(self, group: Group, row: int) -> Verdict:
        rows = group.rows
        key = int(rows.meter[row]), int(rows.at_us[row])
        new = float(rows.value[row]), int(rows.quality[row])
        old = self.readings.setdefault(key, new)
        if old is new:
            return Verdict.STORED
        revise = bool(rows.revise[row])
        if old[0] == new[0] and (old[1] == new[1] or not revise):
            return Verdict.DUPLICATE
        if not revise:
            return Verdict.CONFLICT
        self.readings[key] = new
        self.history.append((*key, old[0], new[0], group.messages[int(rows.message[row])].gateway))
        return Verdict.REVISED

    @property
    def codes(self) -> list[str]:
        return [refusal.code.value for _, refusal in self.refused]


class FakeRegistry:
    """A registry that can be changed; every change raises the version, and every question is counted."""

    def __init__(self) -> None:
        self.number = 1
        self.meters: dict[str, dict[str, MeterEntry]] = {}
        self.gateways: dict[str, tuple[str, str]] = {}
        self.questions = 0
        self.trouble: Exception | None = None

    def gateway(self, gateway: str, secret: str = "", enterprise: str = COMPANY) -> None:
        self.gateways[gateway] = enterprise, secret or f"secret of {gateway}"
        self.meters.setdefault(enterprise, {})
        self.number += 1

    def meter(self, code: str, gateway: str, kind: str = "register", rolls_over_at: float | None = None) -> MeterEntry:
        table = self.meters[self.gateways[gateway][0]]
        known = sum(len(each) for each in self.meters.values())
        table[code] = MeterEntry(101 + known, code, gateway, kind, rolls_over_at)
        self.number += 1
        return table[code]

    async def version(self) -> int:
        self.questions += 1
        if self.trouble is not None:
            raise self.trouble
        return self.number

    async def read(self) -> Registry:
        if self.trouble is not None:
            raise self.trouble
        return self.picture()

    def picture(self) -> Registry:
        entries = {
            name: GatewayEntry(name, enterprise, digest(secret), dict(self.meters[enterprise]))
            for name, (enterprise, secret) in self.gateways.items()
        }
        return Registry(self.number, entries, {entry.secret_sha256: name for name, entry in entries.items()})


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def a_registry() -> FakeRegistry:
    """Two gateways of one enterprise, one of another. gw-1 has E001 to E003, R9 (rolls over at 1000), P1 (a rate)."""
    registry = FakeRegistry()
    registry.gateway("gw-1")
    registry.gateway("gw-2")
    registry.gateway("gw-far", enterprise="91445300MA4UYYYY0Y")
    for code in ("E001", "E002", "E003"):
        registry.meter(code, "gw-1")
    registry.meter("R9", "gw-1", rolls_over_at=1000.0)
    registry.meter("P1", "gw-1", kind="rate")
    registry.meter("S001", "gw-2")
    registry.meter("FAR1", "gw-far")
    return registry


def metrics() -> IngestMetrics:
    return IngestMetrics(CollectorRegistry())


def counted(measured: IngestMetrics, series: str, **labels: str) -> float:
    value = measured.registry.get_sample_value(f"tcewatch_ingest_{series}", labels)
    return 0.0 if value is None else value


def codes_of(refusals: Sequence[Refusal]) -> list[tuple[int | None, str]]:
    return [(refusal.position, refusal.code.value) for refusal in refusals]


@dataclass
class Statuses:
    """Keeps what gateways say of themselves, or has trouble."""

    heard_of: list[tuple[str, str]] = field(default_factory=list)
    trouble: bool = False

    async def heard(self, words: Sequence[Word]) -> None:
        if self.trouble:
            raise OSError("no database")
        self.heard_of += [(gateway, state) for gateway, state, _ in words]
