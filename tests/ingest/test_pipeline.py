"""The loop: answered after the commit, in order, whatever the ledger does."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from ingest.batch import Group, Received
from ingest.decode import decode
from ingest.metrics import IngestMetrics
from ingest.pipeline import Full, LedgerUnavailable, Limits, Outcome, Pipeline, Unavailable, Undecided
from ingest.registry import RegistryView
from ingest.validate import Rules
from ingest.wire import RECEIPT_REFUSALS_MAX, Receipt, Receipts
from tests.ingest.fakes import FakeLedger, FakeRegistry, a_registry, codes_of, counted, digest, metrics
from tests.ingest.messages import T0, as_columns, as_rows, minutes_after, received
from tests.wait import soon


@dataclass
class Running:
    """A pipeline at work on a fake ledger, and everything it answered, in order."""

    ledger: FakeLedger
    registry: FakeRegistry
    pipeline: Pipeline
    measured: IngestMetrics
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    answers: list[Receipt | Outcome] = field(default_factory=list)

    def put(self, *messages: Received) -> None:
        self.pipeline.put(messages, self.answered)

    def answered(self, outcome: Outcome) -> None:
        self.answers += outcome if isinstance(outcome, Receipts) else [outcome]

    @property
    def receipts(self) -> list[Receipt]:
        return [answer for answer in self.answers if isinstance(answer, Receipt)]


def build(limits: Limits | None = None, rules: Rules | None = None) -> Running:
    ledger, registry, measured = FakeLedger(), a_registry(), metrics()
    pipeline = Pipeline(ledger, registry, metrics=measured, limits=limits, rules=rules, jitter=lambda: 0.0)
    measured.watch(lambda: pipeline.pending_rows, lambda: pipeline.oldest_pending_s)
    return Running(ledger, registry, pipeline, measured)


@contextlib.asynccontextmanager
async def running(limits: Limits | None = None, rules: Rules | None = None) -> AsyncIterator[Running]:
    it = build(limits, rules)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(it.pipeline.run(it.stop))
        yield it
        it.stop.set()


def a_message(minute: int, value: float = 1.0, seq: int | None = None, **more: object) -> Received:
    row = ["E001", minutes_after(minute), value]
    return received({"v": 1, **({} if seq is None else {"seq": seq}), "rows": [row], **more})


async def test_a_receipt_counts_every_reading() -> None:
    async with running() as it:
        await it.pipeline.submit(a_message(-1, 5.0))
        body = {"v": 1, "seq": 4711, "rows": [["E001", minutes_after(-1), 5.0], ["E002", T0, 2], ["X", T0, 1]]}
        receipt = await it.pipeline.submit(received(body))
    assert json.loads(receipt.encode()) == {
        "seq": 4711,
        "stored": 1,
        "duplicate": 1,
        "revised": 0,
        "rejected": [
            {
                "i": 2,
                "meter": "X",
                "code": "unknown-meter",
                "detail": "this enterprise has no active meter of this code",
            }
        ],
    }
    assert it.ledger.last_seq == {"gw-1": 4711}
    assert it.ledger.codes == ["unknown-meter"]


async def test_conflicts_and_revisions_are_told_apart() -> None:
    async with running() as it:
        await it.pipeline.submit(a_message(0, 1.0))
        conflict = await it.pipeline.submit(a_message(0, 2.0))
        revised = await it.pipeline.submit(a_message(0, 2.0, revise=True))
    assert codes_of(conflict.rejected) == [(0, "conflict")]
    assert conflict.rejected[0].meter == "E001"
    assert (revised.revised, revised.rejected) == (1, ())
    assert counted(it.measured, "readings_rejected_total", code="conflict") == 1


async def test_a_malformed_message_is_kept_and_answered() -> None:
    async with running() as it:
        receipt = await it.pipeline.submit(received("hello"))
    assert codes_of(receipt.rejected) == [(None, "malformed")]
    assert it.ledger.refused[0][0].raw == b"hello"


def test_a_receipt_spells_out_so_many_refusals_and_counts_the_others() -> None:
    many = RECEIPT_REFUSALS_MAX + 5
    refusals = decode(as_columns([("E001", "bad", 1, 0)] * many)).refusals
    answer = json.loads(Receipt(received("x"), 0, 0, 0, refusals).encode())
    assert (len(answer["rejected"]), answer["rejected_more"]) == (RECEIPT_REFUSALS_MAX, 5)


async def test_what_arrives_during_a_commit_is_the_next_group() -> None:
    async with running() as it:
        it.ledger.open.clear()
        it.put(a_message(0))
        await soon(lambda: it.ledger.attempts == 1, "the first commit is under way")
        for minute in range(1, 100):
            it.put(a_message(minute))
        assert it.pipeline.pending_rows == 100
        it.ledger.open.set()
        await soon(lambda: len(it.answers) == 100, "all are answered")
    assert [len(group.messages) for group in it.ledger.groups] == [1, 99]
    assert it.pipeline.pending_rows == 0
    assert counted(it.measured, "pending_rows") == 0


async def test_groups_are_bounded_by_rows_and_by_messages() -> None:
    async with running(Limits(group_max_rows=30, group_max_messages=20)) as it:
        it.ledger.open.clear()
        for minute in range(100):
            it.put(a_message(minute))
        it.put(as_rows([("E002", minutes_after(minute), 1.0, 0) for minute in range(50)]))
        it.put(a_message(200))
        it.ledger.open.set()
        await soon(lambda: len(it.answers) == 102, "all are answered")
    assert max(len(group.messages) for group in it.ledger.groups) == 20
    assert max(len(group.rows) for group in it.ledger.groups) == 50


async def test_answers_come_in_order_of_arrival() -> None:
    async with running(Limits(group_max_messages=7)) as it:
        for minute in range(100):
            it.put(a_message(minute, seq=minute))
        await soon(lambda: len(it.answers) == 100, "all are answered")
    assert [receipt.received.seq for receipt in it.receipts] == list(range(100))


async def test_nothing_is_answered_while_the_ledger_is_down_and_everything_after() -> None:
    async with running() as it:
        it.ledger.trouble = lambda group: LedgerUnavailable("gone")
        for minute in range(5):
            it.put(a_message(minute))
        await soon(lambda: it.ledger.attempts >= 2 and it.pipeline.down, "it was tried twice")
        assert it.answers == []
        it.ledger.trouble = lambda group: None
        await soon(lambda: len(it.answers) == 5, "all are answered")
    assert [receipt.stored for receipt in it.receipts] == [1] * 5
    assert counted(it.measured, "retries_total") >= 2


async def test_a_commit_lost_on_the_way_is_simply_done_again() -> None:
    async with running() as it:
        losses = iter([LedgerUnavailable("connection lost at COMMIT")])
        it.ledger.trouble_after = lambda group: next(losses, None)
        receipt = await it.pipeline.submit(a_message(0))
    assert (receipt.stored, receipt.duplicate) == (0, 1)
    assert len(it.ledger.readings) == 1


async def test_a_request_that_waits_when_the_ledger_goes_down_is_given_back_unkept() -> None:
    async with running() as it:
        it.ledger.open.clear()
        it.put(a_message(0))
        await soon(lambda: it.ledger.attempts == 1, "the first commit is under way")
        request = asyncio.create_task(it.pipeline.submit(a_message(1)))
        await soon(lambda: it.pipeline.pending_rows == 2, "the request waits")
        it.ledger.trouble = lambda group: LedgerUnavailable("gone")
        it.ledger.open.set()
        with pytest.raises(Unavailable):
            await request
        it.ledger.trouble = lambda group: None
        await soon(lambda: len(it.answers) == 1, "the broker's message is answered")
    assert len(it.ledger.readings) == 1


async def test_a_request_that_was_perhaps_kept_is_only_answered_by_its_commit() -> None:
    async with running() as it:
        it.ledger.trouble_after = lambda group: LedgerUnavailable("connection lost at COMMIT")
        request = asyncio.create_task(it.pipeline.submit(a_message(0)))
        await soon(lambda: it.ledger.attempts >= 2, "it was tried again")
        assert not request.done()
        it.ledger.trouble_after = lambda group: None
        assert (await request).duplicate == 1


async def test_a_request_that_was_certainly_not_kept_is_given_back() -> None:
    async with running() as it:
        it.ledger.trouble = lambda group: LedgerUnavailable("no connection", perhaps_kept=False)
        with pytest.raises(Unavailable) as caught:
            await it.pipeline.submit(a_message(0))
        assert caught.value.retry_after_s > 0
        with pytest.raises(Unavailable):
            await it.pipeline.submit(a_message(0))
        it.ledger.trouble = lambda group: None
        await soon(lambda: not it.pipeline.down, "the next may try")
        assert (await it.pipeline.submit(a_message(0))).stored == 1


async def test_what_came_in_is_accounted_for_to_the_last_reading() -> None:
    async with running() as it:
        it.put(a_message(0), a_message(1, value=1.0), a_message(1, value=2.0), received(b"hello"))
        it.put(a_message(0), as_rows([("NOBODY", T0, 1, 0), ("E001", minutes_after(5), 1, 0)]))
        await soon(lambda: len(it.answers) == 6, "all are answered")
        it.ledger.trouble = lambda group: LedgerUnavailable("no connection", perhaps_kept=False)
        with pytest.raises(Unavailable):
            await it.pipeline.submit(a_message(9))
        it.put(a_message(8))
        await soon(lambda: it.pipeline.down and it.pipeline.pending_rows == 1, "one waits")
        came = counted(it.measured, "readings_total", door="broker") + counted(
            it.measured, "readings_total", door="http"
        )
        ends = ("stored", "duplicate", "revised", "given_back")
        became = sum(counted(it.measured, f"readings_{end}_total") for end in ends)
        refused = sum(
            counted(it.measured, "readings_rejected_total", code=code)
            for code in ("conflict", "malformed", "unknown-meter")
        )
        assert came == became + refused + it.pipeline.pending_rows == 9
        it.ledger.trouble = lambda group: None


async def test_a_fault_of_ours_in_judging_a_message_holds_nothing_up() -> None:
    async with running(rules=Rules(max_age_days=10**12)) as it:  # more microseconds than there are
        it.put(a_message(0))
        await soon(lambda: it.answers, "it is answered")
    assert codes_of(it.receipts[0].rejected) == [(None, "malformed")]
    assert len(it.ledger.refused) == 1


async def test_a_full_pipeline_turns_requests_away_but_never_a_broker_message() -> None:
    async with running(Limits(pending_max_rows=3)) as it:
        it.ledger.open.clear()
        for minute in range(4):
            it.put(a_message(minute))
        with pytest.raises(Full):
            await it.pipeline.submit(a_message(9))
        it.ledger.open.set()
        await soon(lambda: len(it.answers) == 4, "all are answered")
        assert (await it.pipeline.submit(a_message(9))).stored == 1
    assert counted(it.measured, "full_total") == 1


async def test_the_message_the_ledger_cannot_take_is_refused_alone() -> None:
    def poisoned(group: Group) -> Exception | None:
        return ValueError("what is this") if np.any(group.rows.value == 666) else None

    async with running() as it:
        it.ledger.open.clear()
        it.ledger.trouble = poisoned
        for minute in range(20):
            it.put(a_message(minute, 666 if minute == 13 else 1.0, seq=minute))
        it.ledger.open.set()
        await soon(lambda: len(it.answers) == 20, "all are answered")
    assert [receipt.received.seq for receipt in it.receipts] == list(range(20))
    assert [receipt.stored for receipt in it.receipts] == [0 if minute == 13 else 1 for minute in range(20)]
    assert codes_of(it.receipts[13].rejected) == [(None, "malformed")]
    assert "what is this" in it.receipts[13].rejected[0].detail
    assert len(it.ledger.readings) == 19
    assert it.ledger.codes == ["malformed"]


async def test_a_ledger_that_takes_nothing_at_all_ends_the_process() -> None:
    it = build()
    it.ledger.trouble = lambda group: RuntimeError("no such table")
    it.put(a_message(0))
    with pytest.raises(RuntimeError, match="no such table"):
        await it.pipeline.run(it.stop)
    assert it.answers == []


async def test_a_meter_created_a_moment_ago_is_known_at_once() -> None:
    async with running() as it:
        assert (await it.pipeline.submit(a_message(0))).stored == 1
        it.registry.meter("NEW", "gw-1")
        assert (await it.pipeline.submit(as_rows([("NEW", T0, 1.0, 0)]))).stored == 1


async def test_a_meter_another_door_has_just_read_of_is_known_too() -> None:
    """The picture changes hands while a group that was judged by the old one asks whether there is a newer."""

    class ReadMeanwhile(FakeRegistry):
        async def version(self) -> int:
            view.picture = registry.picture()
            return await super().version()

    registry = ReadMeanwhile()
    registry.gateway("gw-1")
    view = RegistryView(registry)
    pipeline = Pipeline(FakeLedger(), view, metrics=metrics())
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pipeline.run(stop))
        await view.current()
        registry.meter("E001", "gw-1")
        receipt = await pipeline.submit(a_message(-1))
        stop.set()
    assert (receipt.stored, list(receipt.rejected)) == (1, [])
    registry.gateway("gw-new")
    assert await view.gateway_of(digest("secret of gw-new")) == "gw-new"


async def test_the_registry_is_asked_once_a_group_and_only_when_something_is_strange() -> None:
    async with running() as it:
        await it.pipeline.submit(a_message(0))
        assert it.registry.questions == 0
        it.ledger.open.clear()
        it.put(a_message(1))
        await soon(lambda: it.ledger.attempts == 2, "a commit is under way")
        for minute in range(50):
            it.put(as_rows([("NOBODY", minutes_after(minute), 1.0, 0)]))
        it.ledger.open.set()
        await soon(lambda: len(it.answers) == 51, "all are answered")
    assert it.registry.questions == 1
    assert it.ledger.codes == ["unknown-meter"] * 50


async def test_a_stale_picture_is_read_again() -> None:
    async with running() as it:
        await it.pipeline.submit(a_message(0))
        it.registry.meters["91445300MA4UXXXX0X"].pop("E001")
        it.registry.number += 1
        it.pipeline.registry.stale()
        receipt = await it.pipeline.submit(a_message(1))
    assert codes_of(receipt.rejected) == [(0, "unknown-meter")]


async def test_a_registry_that_cannot_be_asked_refuses_nothing() -> None:
    async with running() as it:
        it.registry.trouble = OSError("no database")
        it.put(a_message(0))
        await soon(lambda: it.pipeline.down, "it is tried again later")
        assert it.answers == []
        it.registry.trouble = None
        await soon(lambda: len(it.answers) == 1, "it is answered")
    assert it.receipts[0].stored == 1


async def test_a_stop_commits_what_is_in() -> None:
    it = build()
    for minute in range(10):
        it.put(a_message(minute))
    it.stop.set()
    await it.pipeline.run(it.stop)
    assert len(it.receipts) == 10


async def test_a_stop_while_the_ledger_is_down_leaves_at_once_and_promises_nothing() -> None:
    it = build()
    it.ledger.trouble = lambda group: LedgerUnavailable("gone")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(it.pipeline.run(it.stop))
        request = asyncio.create_task(it.pipeline.submit(a_message(0)))
        await soon(lambda: it.ledger.attempts >= 1, "it was tried")
        it.put(a_message(1))
        it.stop.set()
    with pytest.raises(Undecided):
        await request
    with pytest.raises(Unavailable):
        await it.pipeline.submit(a_message(2))
    assert it.answers == []


async def test_metrics_tell_what_happened() -> None:
    async with running() as it:
        await it.pipeline.submit(a_message(0))
        await it.pipeline.submit(a_message(0))
        await it.pipeline.submit(a_message(0, 3.0, revise=True))
    told = {name: counted(it.measured, f"readings_{name}_total") for name in ("stored", "duplicate", "revised")}
    assert told == {"stored": 1, "duplicate": 1, "revised": 1}
    assert counted(it.measured, "messages_total", door="broker") == 3
    assert counted(it.measured, "readings_total", door="broker") == 3
    assert counted(it.measured, "group_rows_count") == 3
    assert counted(it.measured, "commit_seconds_count") == 3
    assert counted(it.measured, "acknowledged_seconds_count") == 3
