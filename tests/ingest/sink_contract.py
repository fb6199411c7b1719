"""What every `ReadingSink` has to keep. The fake and the real ledger both stand this test.

A test module subclasses `SinkContract` and gives a fixture `ledger` that answers a `ContractLedger`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import msgspec
import numpy as np
import pytest

from ingest.batch import Code, Group, ReadingBatch, Refusal, Verdict
from ingest.pipeline import ReadingSink
from tests.ingest.messages import T0_US, received

Row = tuple[int, int, float, int]
"""Meter number, minutes after T0, value, quality."""


class ContractLedger(Protocol):
    """A sink, meters it knows, and what can be seen in it afterwards."""

    @property
    def sink(self) -> ReadingSink: ...

    @property
    def meters(self) -> tuple[int, int]:
        """Numbers of two meters reported by gateway `gw-1`."""

    async def readings(self) -> dict[tuple[int, int], tuple[float, int]]:
        """(meter, microseconds) → (value, quality)."""

    async def refusals(self) -> list[tuple[str, int | None, str]]:
        """Gateway, position and code of every refusal kept, in order of their keeping."""

    async def revisions(self) -> list[tuple[int, int, float, float, str]]:
        """Meter, microseconds, old value, new value, gateway of every revision, in order."""

    async def last_seq(self, gateway: str) -> int | None: ...

    async def gaps(self, gateway: str) -> list[tuple[int, int]]:
        """First and last missing number, ascending."""


def a_group(
    *messages: list[Row], revise: bool = False, seq: int | None = None, refusals: tuple[Refusal, ...] = ()
) -> Group:
    rows = [(number, position, row) for number, one in enumerate(messages) for position, row in enumerate(one)]
    batch = ReadingBatch(
        at_us=np.array([T0_US + row[1] * 60_000_000 for _, _, row in rows], np.int64),
        meter=np.array([row[0] for _, _, row in rows], np.int32),
        value=np.array([row[2] for _, _, row in rows], np.float64),
        quality=np.array([row[3] for _, _, row in rows], np.int16),
        message=np.array([number for number, _, _ in rows], np.int32),
        position=np.array([position for _, position, _ in rows], np.int32),
        revise=np.full(len(rows), revise),
    )
    sent = [
        msgspec.structs.replace(received(f"message {number} {one} {revise}"), seq=seq)
        for number, one in enumerate(messages)
    ]
    return Group(sent, batch, refusals)


def key(meter: int, minutes: int) -> tuple[int, int]:
    return meter, T0_US + minutes * 60_000_000


class SinkContract:
    async def verdicts(self, ledger: ContractLedger, group: Group) -> list[Verdict]:
        return [Verdict(code) for code in (await ledger.sink.save(group)).tolist()]

    async def test_new_readings_are_stored(self, ledger: ContractLedger) -> None:
        one, two = ledger.meters
        assert await self.verdicts(ledger, a_group([(one, 0, 1.5, 0), (two, 0, 2.5, 3)])) == [Verdict.STORED] * 2
        assert await ledger.readings() == {key(one, 0): (1.5, 0), key(two, 0): (2.5, 3)}

    @pytest.mark.parametrize("count", [1, 150, 1200])
    async def test_saving_twice_changes_nothing(self, ledger: ContractLedger, count: int) -> None:
        group = a_group([(ledger.meters[minute % 2], minute, float(minute), 0) for minute in range(count)])
        assert await self.verdicts(ledger, group) == [Verdict.STORED] * count
        before = await ledger.readings()
        assert await self.verdicts(ledger, group) == [Verdict.DUPLICATE] * count
        assert await ledger.readings() == before
        assert len(before) == count

    async def test_another_value_is_a_conflict_and_is_kept_as_refused(self, ledger: ContractLedger) -> None:
        meter = ledger.meters[0]
        await ledger.sink.save(a_group([(meter, 0, 1.0, 0)]))
        assert await self.verdicts(ledger, a_group([(meter, 1, 5.0, 0), (meter, 0, 2.0, 0)])) == [
            Verdict.STORED,
            Verdict.CONFLICT,
        ]
        assert (await ledger.readings())[key(meter, 0)] == (1.0, 0)

    async def test_a_revision_replaces_and_leaves_history(self, ledger: ContractLedger) -> None:
        meter = ledger.meters[0]
        await ledger.sink.save(a_group([(meter, 0, 1.0, 0)]))
        assert await self.verdicts(ledger, a_group([(meter, 0, 2.0, 1)], revise=True)) == [Verdict.REVISED]
        assert await ledger.readings() == {key(meter, 0): (2.0, 1)}
        assert await ledger.revisions() == [(*key(meter, 0), 1.0, 2.0, "gw-1")]
        assert await self.verdicts(ledger, a_group([(meter, 0, 2.0, 1)], revise=True)) == [Verdict.DUPLICATE]
        assert len(await ledger.revisions()) == 1

    async def test_the_first_under_a_key_wins_within_a_group(self, ledger: ContractLedger) -> None:
        meter = ledger.meters[0]
        group = a_group([(meter, 0, 1.0, 0)], [(meter, 0, 1.0, 0), (meter, 0, 9.0, 0)])
        assert await self.verdicts(ledger, group) == [Verdict.STORED, Verdict.DUPLICATE, Verdict.CONFLICT]
        assert await ledger.readings() == {key(meter, 0): (1.0, 0)}

    async def test_late_readings_find_their_place(self, ledger: ContractLedger) -> None:
        meter = ledger.meters[0]
        await ledger.sink.save(a_group([(meter, 60 * 24 * day, float(day), 0) for day in (9, 30)]))
        assert await self.verdicts(ledger, a_group([(meter, 60 * 24 * 20, 20.0, 0)])) == [Verdict.STORED]
        assert len(await ledger.readings()) == 3

    async def test_refusals_of_the_group_are_kept(self, ledger: ContractLedger) -> None:
        refusal = Refusal(0, 1, "E009", "2026", "x", Code.UNKNOWN_METER, "no such meter")
        whole = Refusal(1, None, None, None, None, Code.MALFORMED, "not JSON")
        group = a_group([(ledger.meters[0], 0, 1.0, 0)], [], refusals=(refusal, whole))
        assert await self.verdicts(ledger, group) == [Verdict.STORED]
        assert sorted(await ledger.refusals(), key=str) == [("gw-1", 1, "unknown-meter"), ("gw-1", None, "malformed")]

    async def test_the_highest_number_of_a_gateway_is_kept(self, ledger: ContractLedger) -> None:
        assert await ledger.last_seq("gw-1") is None
        await ledger.sink.save(a_group([(ledger.meters[0], 0, 1.0, 0)], seq=7))
        await ledger.sink.save(a_group([(ledger.meters[0], 1, 1.0, 0)], seq=5))
        await ledger.sink.save(a_group([(ledger.meters[0], 2, 1.0, 0)]))
        assert await ledger.last_seq("gw-1") == 7

    async def test_a_gap_in_the_count_is_noticed_and_filled(self, ledger: ContractLedger) -> None:
        async def after(*seqs: int) -> list[tuple[int, int]]:
            for seq in seqs:
                for _ in range(2):  # saving twice changes nothing
                    await ledger.sink.save(a_group([(ledger.meters[0], seq, 1.0, 0)], seq=seq))
            return await ledger.gaps("gw-1")

        assert await after(7) == []
        assert await after(8, 12, 14) == [(9, 11), (13, 13)]
        assert await after(10) == [(9, 9), (11, 11), (13, 13)]
        assert await after(15, 13, 9) == [(11, 11)]
        assert await after(11, 16) == []
        assert await ledger.last_seq("gw-1") == 16

    async def test_a_group_is_judged_in_order_of_arrival(self, ledger: ContractLedger) -> None:
        group = a_group([], [], [], [])
        numbered = [
            msgspec.structs.replace(one, seq=seq) for one, seq in zip(group.messages, (3, 4, 7, 6), strict=True)
        ]
        await ledger.sink.save(replace(group, messages=numbered))
        assert await ledger.gaps("gw-1") == [(5, 5)]
        assert await ledger.last_seq("gw-1") == 7

    async def test_a_group_without_rows_is_a_group(self, ledger: ContractLedger) -> None:
        assert await self.verdicts(ledger, a_group([])) == []
        assert await ledger.readings() == {}
