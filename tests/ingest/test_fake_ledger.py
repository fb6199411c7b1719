"""The fake keeps the contract of the real one."""

from __future__ import annotations

import pytest

from tests.ingest.fakes import FakeLedger
from tests.ingest.sink_contract import ContractLedger, SinkContract


class Fake:
    def __init__(self) -> None:
        self.sink = FakeLedger()
        self.meters = (101, 102)

    async def readings(self) -> dict[tuple[int, int], tuple[float, int]]:
        return self.sink.readings

    async def refusals(self) -> list[tuple[str, int | None, str]]:
        return [(message.gateway, refusal.position, refusal.code.value) for message, refusal in self.sink.refused]

    async def revisions(self) -> list[tuple[int, int, float, float, str]]:
        return self.sink.history

    async def last_seq(self, gateway: str) -> int | None:
        return self.sink.last_seq.get(gateway)

    async def gaps(self, gateway: str) -> list[tuple[int, int]]:
        return self.sink.gaps.get(gateway, [])


class TestFakeLedger(SinkContract):
    @pytest.fixture
    def ledger(self) -> ContractLedger:
        return Fake()
