"""The loop from a door to the ledger, and what it needs the ledger to be.

A message is decoded when it comes in and waits for the writer. The writer takes all that has arrived while the last
commit ran, asks the registry who may report what, lets the ledger commit the group, and only then answers each message,
in order of arrival. No timer is involved: the busier it is, the larger the groups.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from ingest.batch import Code, Group, ReadingBatch, Received, Refusal, Verdict
from ingest.decode import RAW_MAX, Sheaf, decode_many, side_by_side
from ingest.metrics import IngestMetrics, Tallied
from ingest.registry import RegistrySource, RegistryView
from ingest.validate import Admitted, Rules, Shelf, admit_sheaf, rfc3339
from ingest.wire import DETAILS, Receipt, Receipts, shown

log = logging.getLogger(__name__)

RETRY_FIRST_S, RETRY_MOST_S = 0.1, 5.0


class LedgerUnavailable(Exception):
    """The ledger cannot take a group now (database gone, read-only, full). The same group may come again.

    `perhaps_kept` is false only when it is certain that nothing of the group was committed, as when no connection
    could be had at all. A connection lost during COMMIT leaves it open.
    """

    def __init__(self, detail: str = "", *, perhaps_kept: bool = True) -> None:
        super().__init__(detail)
        self.perhaps_kept = perhaps_kept


class ReadingSink(Protocol):
    """The ledger as ingest needs it; `app.store` keeps it."""

    async def save(self, group: Group) -> npt.NDArray[np.int8]:
        """Commit a group in one transaction and answer one `Verdict` a row.

        Rows, revisions, refusals (those of the group and the conflicts found on the way), marks for the rollup and the
        gateways' last sequence numbers are one transaction. Saving twice changes nothing: the second time every stored
        row is a duplicate. Raises LedgerUnavailable when the database cannot be had.
        """


class Full(Exception):
    """As many readings wait as may wait. Nothing of the message was kept."""


class Unavailable(Exception):
    """The ledger is down. Nothing of the message was kept; `retry_after_s` says when to try again."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("the database cannot be reached")
        self.retry_after_s = retry_after_s


class Undecided(Exception):
    """The service stops while the ledger is down, and cannot say whether the message was committed. Sending it again
    is right in either case."""


Outcome = Receipts | Unavailable | Undecided
"""How messages that were put in together ended, all of them alike or with a receipt each."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the pipeline; the settings of the same names say what each costs."""

    group_max_rows: int = 20_000
    group_max_messages: int = 10_000
    pending_max_rows: int = 200_000
    pending_max_bytes: int = 256 << 20
    raw_max_bytes: int = RAW_MAX


@dataclass(slots=True)
class Waiting:
    """Decoded messages of one door on their way, and who is to be told how they ended."""

    messages: Sequence[Received]
    sheaf: Sheaf
    settle: Callable[[Outcome], None]
    withdrawable: bool
    rows: int
    size: int
    since_s: float


class Pipeline:
    """All doors put their messages in here. One writer task (`run`) commits them in groups."""

    def __init__(
        self,
        sink: ReadingSink,
        registry: RegistryView | RegistrySource,
        *,
        metrics: IngestMetrics,
        limits: Limits | None = None,
        rules: Rules | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._sink = sink
        self.registry = registry if isinstance(registry, RegistryView) else RegistryView(registry)
        self._metrics = metrics
        self._limits = limits or Limits()
        self._rules = rules or Rules()
        self._clock = clock
        self._jitter = jitter
        self._waiting: deque[Waiting] = deque()
        self._taken: list[Waiting] = []
        self.pending_rows = 0
        """Readings that came in and are not committed, those in the writer's hands included."""
        self.pending_bytes = 0
        """The same in bytes of their messages."""
        self._arrived = asyncio.Event()
        self._down_until_s: float | None = None
        self._shelf: tuple[int, Shelf] | None = None
        self._closed = False

    # Doors ------------------------------------------------------------------------------------------------------------

    @property
    def down(self) -> bool:
        """Whether the last attempt to commit found no ledger and the next is not due yet."""
        return self._down_until_s is not None and self._clock() < self._down_until_s

    @property
    def crowded(self) -> bool:
        """Whether as much waits as may wait: doors read no more then."""
        return (
            self.pending_rows >= self._limits.pending_max_rows or self.pending_bytes >= self._limits.pending_max_bytes
        )

    @property
    def oldest_pending_s(self) -> float:
        """Age of the oldest message that is not committed, in seconds."""
        oldest = self._taken[0] if self._taken else self._waiting[0] if self._waiting else None
        return 0.0 if oldest is None else self._clock() - oldest.since_s

    async def submit(self, received: Received) -> Receipt:
        """Commit one message and answer its receipt. For doors whose sender waits and can be told to come back.

        Raises Full, or Unavailable when the ledger is down: nothing of the message was kept then. Once it is not
        certain that nothing was kept, only the commit ends the wait.
        """
        if self._closed:
            raise Unavailable(RETRY_MOST_S)
        if self._down_until_s is not None and self.down:
            raise Unavailable(self._down_until_s - self._clock())
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()

        def settle(outcome: Outcome) -> None:
            if future.done():  # the sender hung up
                return
            if isinstance(outcome, Receipts):
                future.set_result(outcome[0])
            else:
                future.set_exception(outcome)

        self.put([received], settle, withdrawable=True)
        return await future

    def put(
        self, messages: Sequence[Received], settle: Callable[[Outcome], None], *, withdrawable: bool = False
    ) -> None:
        """Take in messages that came together from one door; at least one.

        `settle` is called once, with their receipts, after the commit and in order of arrival; they are never parted.
        Withdrawable ones raise Full when there is no room and are given back when the ledger goes down. The others
        always stay: their door's window bounds them, and it only opens as they are settled.
        """
        if withdrawable and self.crowded:
            self._metrics.full.inc()
            raise Full(f"{self.pending_rows} readings wait")
        sheaf = decode_many(messages, self._limits.raw_max_bytes)
        for message, seq in zip(messages, sheaf.seqs, strict=True):
            message.seq = seq
        rows, size = sheaf.readings, sum([len(message.raw) for message in messages])
        self._metrics.came_in(messages[0].door, len(messages), size, rows)
        self._waiting.append(Waiting(messages, sheaf, settle, withdrawable, rows, size, self._clock()))
        self.pending_rows += rows
        self.pending_bytes += size
        self._arrived.set()

    # Writer -----------------------------------------------------------------------------------------------------------

    async def run(self, until: asyncio.Event) -> None:
        """Commit what comes in until told to stop; then what is in is committed before it returns.

        A ledger that is down at the stop is not waited for: what is left stays unacknowledged with its sender. An error
        that is neither the ledger's state nor one message's fault ends the task, and the process with it.
        """
        stopping = asyncio.create_task(until.wait())
        stopping.add_done_callback(lambda _: self._arrived.set())
        try:
            while not self._taken and await self._something_waits(until):
                self._take()
                await self._commit_taken(until, stopping)
            await asyncio.sleep(0)  # the last group's answers are given
        finally:
            stopping.cancel()
            self._let_go()

    async def _something_waits(self, until: asyncio.Event) -> bool:
        while not self._waiting:
            self._arrived.clear()
            if until.is_set():
                return False
            await self._arrived.wait()
        return True

    def _take(self) -> None:
        """The oldest, and as many more as fit. What came together stays together."""
        limits, rows, messages = self._limits, 0, 0
        while self._waiting:
            rows += self._waiting[0].rows
            messages += len(self._waiting[0].messages)
            if self._taken and (rows > limits.group_max_rows or messages > limits.group_max_messages):
                return
            self._taken.append(self._waiting.popleft())

    async def _commit_taken(self, until: asyncio.Event, stopping: asyncio.Task[Literal[True]]) -> None:
        failures, perhaps_kept = 0, False
        while self._taken:
            try:
                await self._commit(self._taken)
            except LedgerUnavailable as error:
                perhaps_kept |= error.perhaps_kept
                failures += 1
                self._go_down(error, failures, perhaps_kept)
                if until.is_set():
                    return
                await asyncio.wait((stopping,), timeout=max(0.0, (self._down_until_s or 0.0) - self._clock()))
            else:
                self._down_until_s = None

    def _go_down(self, error: LedgerUnavailable, failures: int, perhaps_kept: bool) -> None:
        """Keep the group for the next attempt; give back what certainly was not kept to those who can come again."""
        delay_s = min(RETRY_MOST_S, RETRY_FIRST_S * 2.0 ** min(failures - 1, 10)) * (0.5 + self._jitter() / 2)
        self._down_until_s = self._clock() + delay_s
        self._metrics.retries.inc()
        log.warning(
            "ledger unavailable",
            extra={"why": str(error), "failures": failures, "retry_s": round(delay_s, 3), "rows": self.pending_rows},
        )
        withdrawn = [one for one in self._waiting if one.withdrawable]
        self._waiting = deque(one for one in self._waiting if not one.withdrawable)
        if not perhaps_kept:
            withdrawn[:0] = [one for one in self._taken if one.withdrawable]
            self._taken = [one for one in self._taken if not one.withdrawable]
        for one in withdrawn:
            self._metrics.given_back.inc(one.rows)
            self._done_with(one)
            one.settle(Unavailable(delay_s))

    def _done_with(self, one: Waiting) -> None:
        self.pending_rows -= one.rows
        self.pending_bytes -= one.size

    def _let_go(self) -> None:
        """Tell those still waiting at the end that nobody will answer."""
        self._closed = True
        for one in self._taken:
            if one.withdrawable:
                one.settle(Undecided())
        for one in self._waiting:
            if one.withdrawable:
                one.settle(Unavailable(RETRY_MOST_S))
        self._taken, self._waiting = [], deque()
        self.pending_rows = self.pending_bytes = 0

    async def _commit(self, taken: Sequence[Waiting]) -> None:
        started_s = self._clock()
        messages = list(chain.from_iterable(one.messages for one in taken))
        receipts = await self._save(messages, side_by_side([one.sheaf for one in taken]))
        self._taken = []
        for one in taken:
            self._done_with(one)
        # The answers are given in the loop's next turn: by then the next group is on its way to the ledger, and the
        # database works while we do.
        asyncio.get_running_loop().call_soon(self._answer, taken, receipts, started_s, self._clock())

    def _answer(self, taken: Sequence[Waiting], receipts: Receipts, started_s: float, now_s: float) -> None:
        """Tell everybody of a committed group how it ended."""
        at = 0
        for one in taken:
            last = at + len(one.messages)
            one.settle(receipts[at:last] if len(taken) > 1 else receipts)
            at = last
        tally = Tallied.of(receipts)
        self._metrics.committed(tally, now_s - started_s, [(now_s - one.since_s, len(one.messages)) for one in taken])
        log.info("group committed", extra={**tally.facts(), "commit_ms": round((now_s - started_s) * 1000, 3)})

    async def _save(self, messages: Sequence[Received], sheaf: Sheaf) -> Receipts:
        """One commit; or, when a message makes the ledger fail, halves until the bad message stands alone."""
        try:
            admitted = await self._admit(messages, sheaf)
            verdicts = await self._sink.save(Group(messages, admitted.rows, admitted.refusals))
        except LedgerUnavailable:
            raise
        except Exception as error:  # noqa: BLE001  # which errors a message can cause is the ledger's affair; ours ends
            count = len(messages)
            if count == 1:
                return await self._refuse_whole(messages[0], error)
            log.warning("group halved to find what the ledger refuses", extra={"why": str(error), "of": count})
            half = count // 2
            first = await self._save(messages[:half], sheaf.part(0, half))
            return first + await self._save_rest(messages[half:], sheaf.part(half, count))
        return receipts_of(messages, admitted, verdicts)

    async def _save_rest(self, messages: Sequence[Received], sheaf: Sheaf) -> Receipts:
        """The second half, after the first was committed: from now on it is not true that nothing was kept."""
        try:
            return await self._save(messages, sheaf)
        except LedgerUnavailable as error:
            raise LedgerUnavailable(str(error), perhaps_kept=True) from error

    async def _refuse_whole(self, received: Received, error: Exception) -> Receipts:
        """Keep a message whose rows the ledger cannot take, as malformed. If even that fails the fault is ours."""
        detail = shown(f"the ledger cannot take it: {type(error).__name__}: {error}") or ""
        log.error("message refused by the ledger", exc_info=error, extra={"gateway": received.gateway})
        refusal = Refusal(0, None, None, None, None, Code.MALFORMED, detail)
        await self._sink.save(Group([received], _no_rows(), [refusal]))
        return Receipts([received], ([0], [0], [0]), {0: [refusal]})

    async def _admit(self, messages: Sequence[Received], sheaf: Sheaf) -> Admitted:
        """Judge by the registry at hand; before a meter is called unknown or foreign, by the newest there is."""
        version = await self._registry_version()
        admitted = admit_sheaf(messages, sheaf, self._shelf_of(version), self._rules)
        if admitted.strangers:
            newest = await self._registry_version(newest=True)
            if newest != version:  # whoever read it: this group was judged by an older one
                admitted = admit_sheaf(messages, sheaf, self._shelf_of(newest), self._rules)
        return admitted

    async def _registry_version(self, *, newest: bool = False) -> int:
        try:
            if newest:
                await self.registry.renewed()
            return (await self.registry.current()).version
        except Exception as error:
            raise LedgerUnavailable(f"registry: {type(error).__name__}: {error}", perhaps_kept=False) from error

    def _shelf_of(self, version: int) -> Shelf:
        if self._shelf is None or self._shelf[0] != version:
            assert self.registry.picture is not None, "current() was awaited"
            self._shelf = version, Shelf.of(self.registry.picture)
        return self._shelf[1]


TAKEN = (Verdict.STORED, Verdict.DUPLICATE, Verdict.REVISED)


def receipts_of(messages: Sequence[Received], admitted: Admitted, verdicts: npt.NDArray[np.int8]) -> Receipts:
    """The receipts from the ledger's verdicts and the refusals before it. Pure."""
    rows = admitted.rows
    slots = rows.message.astype(np.int64) * len(Verdict) + verdicts
    table = np.bincount(slots, minlength=len(messages) * len(Verdict)).reshape(-1, len(Verdict))
    stored, duplicate, revised = (table[:, each].tolist() for each in TAKEN)
    refused: dict[int, list[Refusal]] = {}
    for refusal in admitted.refusals:
        refused.setdefault(refusal.message, []).append(refusal)
    for row in np.flatnonzero(verdicts == Verdict.CONFLICT).tolist():
        refused.setdefault(int(rows.message[row]), []).append(_conflict(admitted, row))
    for found in refused.values():
        found.sort(key=lambda refusal: -1 if refusal.position is None else refusal.position)
    return Receipts(messages, (stored, duplicate, revised), refused)


def _conflict(admitted: Admitted, row: int) -> Refusal:
    rows, meter = admitted.rows, admitted.meters[row]
    at, value = rfc3339(int(rows.at_us[row])), repr(float(rows.value[row]))
    message, position = int(rows.message[row]), int(rows.position[row])
    return Refusal(message, position, meter, at, value, Code.CONFLICT, DETAILS[Code.CONFLICT])


def _no_rows() -> ReadingBatch:
    ints = np.empty(0, np.int32)
    return ReadingBatch(
        np.empty(0, np.int64), ints, np.empty(0), np.empty(0, np.int16), ints, ints, np.empty(0, np.bool_)
    )
