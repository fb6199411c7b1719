"""Refused readings: listed, chosen for another try, and tried again once the registry is mended.

A reading that is tried again goes the way it went when it came: the same bytes, decoded, judged by the registry of now
against the moment of its receipt, committed. What is then stored is marked with when, by whom and as what, in the same
transaction, and stays in the list; what is still refused says why.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg
import numpy as np
from sqlalchemy import ColumnElement, Select, func, null, or_, select

from app.store.access import write_audit
from app.store.database import Database
from app.store.judging import Verdicts
from app.store.listings import one_page, seen_by
from app.store.readings import ReadingLedger
from app.store.registry import Fields, Page
from app.store.tables.readings import rejected_message, rejected_reading
from app.store.tables.registry import enterprise, gateway
from ingest.batch import Code, Door, Group, ReadingBatch, Received, Refusal, Verdict
from ingest.decode import decode
from ingest.pipeline import LedgerUnavailable
from ingest.registry import RegistrySource
from ingest.validate import Admitted, Rules, Shelf, admit
from ingest.wire import DETAILS

log = logging.getLogger(__name__)

STILL_SHOWN = 100
"""Most readings that one answer spells out with why they are still refused."""
TAKEN = {Verdict.STORED: "stored", Verdict.DUPLICATE: "duplicate", Verdict.REVISED: "revised"}
READ_APART = "read"
"""A whole message that could not be read and now can: its readings stand for themselves from now on."""

MESSAGE = """
SELECT (extract(epoch FROM received_at) * 1000000)::bigint AS us, door, gateway, topic, content_type, raw
FROM rejected_message WHERE message_id = $1
"""
OPEN = """
SELECT rejected_id, position FROM rejected_reading
WHERE rejected_id = ANY($1::bigint[]) AND message_id = $2 AND replayed_at IS NULL
"""
MARK_TAKEN = """
UPDATE rejected_reading AS old SET replayed_at = $3, replayed_by = $4, replayed_as = new.word, tried_at = $3
FROM unnest($1::bigint[], $2::text[]) AS new (rejected_id, word)
WHERE old.rejected_id = new.rejected_id AND old.replayed_at IS NULL
"""
MARK_REFUSED = """
UPDATE rejected_reading AS old SET code = new.code, detail = new.detail, tried_at = $4
FROM unnest($1::bigint[], $2::text[], $3::text[]) AS new (rejected_id, code, detail)
WHERE old.rejected_id = new.rejected_id AND old.replayed_at IS NULL
"""
KEEP_APART = """
INSERT INTO rejected_reading (message_id, position, meter, at, value, code, detail, tried_at)
SELECT $1, new.*, $8 FROM unnest($2::int[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[]) AS new
RETURNING rejected_id
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which refused readings. Times are bounds of the receipt, [start, end). `open` means: not stored since."""

    ids: Sequence[int] | None = None
    gateway: str | None = None
    enterprise: str | None = None
    meter: str | None = None
    code: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    open: bool | None = None

    def facts(self) -> Fields:
        """What was asked for, as the trail keeps it."""
        named = {name: getattr(self, name) for name in ("gateway", "enterprise", "meter", "code", "ids")}
        times = {name: None if at is None else at.isoformat() for name, at in (("from", self.start), ("to", self.end))}
        return {name: value for name, value in (named | times).items() if value is not None}

    def conditions(self) -> list[ColumnElement[bool]]:
        equal = (
            (rejected_message.c.gateway, self.gateway),
            (gateway.c.enterprise, self.enterprise),
            (rejected_reading.c.meter, self.meter),
            (rejected_reading.c.code, self.code),
        )
        found = [column == value for column, value in equal if value is not None]
        if self.ids is not None:
            found.append(rejected_reading.c.rejected_id.in_(self.ids))
        if self.start is not None:
            found.append(rejected_message.c.received_at >= self.start)
        if self.end is not None:
            found.append(rejected_message.c.received_at < self.end)
        if self.open is not None:
            stored_since = rejected_reading.c.replayed_at.is_not(None)
            found.append(~stored_since if self.open else stored_since)
        return found


def _within(query: Select[Any], scope: str | None, only: str | None, strangers: bool, wanted: Wanted) -> Select[Any]:
    """A gateway that is in no registry belongs to nobody: its messages are met where `strangers` is asked for."""
    query = query.outerjoin(gateway, gateway.c.id == rejected_message.c.gateway).outerjoin(enterprise)
    seen = seen_by(scope, only)
    return query.where(or_(seen, gateway.c.id.is_(None)) if strangers else seen, *wanted.conditions())


async def rejections(
    database: Database,
    wanted: Wanted,
    *,
    scope: str | None,
    only: str | None,
    strangers: bool,
    raw: bool,
    limit: int,
    after: int | None,
) -> Page:
    """Refused readings, newest first, with the message they came in; `raw` adds its bytes in base64."""
    bytes_as_sent: ColumnElement[Any] = rejected_message.c.raw if raw else null()
    columns = [column for column in rejected_reading.c if column.name != "message_id"]
    message = [column for column in rejected_message.c if column.name not in ("raw", "digest", "topic")]
    query: Select[Any] = (
        select(*columns, *message, gateway.c.enterprise, bytes_as_sent.label("raw"))
        .join_from(rejected_reading, rejected_message)
        .order_by(rejected_reading.c.rejected_id.desc())
    )
    query = _within(query, scope, only, strangers, wanted)
    if after is not None:
        query = query.where(rejected_reading.c.rejected_id < after)
    page = await one_page(database, query, limit, lambda row: str(row["rejected_id"]))
    items = [
        row | {"raw": base64.b64encode(row["raw"]).decode() if row["raw"] is not None else None} for row in page.items
    ]
    return Page(items, page.next)


async def waiting_for(database: Database, enterprise_id: str, meter: str) -> int:
    """How many readings of a meter's code, from gateways of its enterprise, are refused and not stored since."""
    query = (
        select(func.count())
        .select_from(rejected_reading)
        .join(rejected_message)
        .join(gateway, gateway.c.id == rejected_message.c.gateway)
        .where(
            rejected_reading.c.meter == meter,
            rejected_reading.c.replayed_at.is_(None),
            gateway.c.enterprise == enterprise_id,
        )
    )
    async with database.engine.connect() as connection:
        return int(await connection.scalar(query) or 0)


async def counted(database: Database, wanted: Wanted) -> Sequence[Fields]:
    """How many readings are refused and not stored since, by gateway, meter and reason; most first."""
    number = func.count().label("readings")
    words = (rejected_message.c.gateway, rejected_reading.c.meter, rejected_reading.c.code)
    query: Select[Any] = (
        select(number, *words)
        .join_from(rejected_reading, rejected_message)
        .where(rejected_reading.c.replayed_at.is_(None))
        .group_by(*words)
        .order_by(number.desc(), *words)
    )
    async with database.engine.connect() as connection:
        found = await connection.execute(_within(query, "", None, True, wanted))
        return [dict(row._mapping) for row in found]


# Another try ----------------------------------------------------------------------------------------------------------


class BrokenOff(Exception):
    """The database went away in the middle. What was tried before stays done; the same may be asked for again."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """Refused readings of one message that are to be tried again."""

    message_id: int
    rejected_ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class Still:
    """A reading that is refused again, and why."""

    rejected_id: int
    meter: str | None
    code: str
    detail: str


@dataclass(slots=True)
class Replayed:
    """What became of the readings of so many messages. `still` spells out the first of `rejected`."""

    messages: int = 0
    stored: int = 0
    duplicate: int = 0
    revised: int = 0
    rejected: int = 0
    still: list[Still] = field(default_factory=list)

    def facts(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in ("messages", "stored", "duplicate", "revised", "rejected")}

    def refused(self, one: Still) -> None:
        self.rejected += 1
        if len(self.still) < STILL_SHOWN:
            self.still.append(one)


async def chosen(
    database: Database,
    wanted: Wanted,
    *,
    scope: str | None,
    only: str | None,
    strangers: bool,
    limit: int,
    after: int | None,
) -> tuple[list[Parcel], int | None]:
    """Open refusals of so many messages, oldest first; and the message to go on after, if there are more."""
    query = (
        select(rejected_message.c.message_id, func.array_agg(rejected_reading.c.rejected_id))
        .join_from(rejected_reading, rejected_message)
        .where(rejected_reading.c.replayed_at.is_(None))
        .group_by(rejected_message.c.message_id)
        .order_by(rejected_message.c.message_id)
        .limit(limit + 1)
    )
    query = _within(query, scope, only, strangers, wanted)
    if after is not None:
        query = query.where(rejected_message.c.message_id > after)
    async with database.engine.connect() as connection:
        found = [Parcel(*row) for row in await connection.execute(query)]
    return found[:limit], found[limit - 1].message_id if len(found) > limit else None


class Replayer:
    """Tries kept messages again, one transaction each: it may be interrupted anywhere and begun again.

    One message at a time is in memory, and one request at a time has the connection.
    """

    def __init__(
        self,
        database: Database,
        ledger: ReadingLedger,
        registry: RegistrySource,
        rules: Rules,
        noted: Callable[[Mapping[str, int]], None] = lambda facts: None,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._registry = registry
        self._rules = rules
        self._noted = noted
        self._turn = asyncio.Lock()

    async def replay(
        self, parcels: Sequence[Parcel], *, actor: str, asked: Fields, now: datetime, clock_was_wrong: bool = False
    ) -> Replayed:
        """Try these again. The trail says who asked for what and what came of it, also when it broke off.

        With `clock_was_wrong` the moment of their receipt is not believed: they are taken to come now.

        Raises BrokenOff.
        """
        done = Replayed()
        async with self._turn:
            try:
                shelf = Shelf.of(await self._registry.read())
                for parcel in parcels:
                    await self._again(parcel, shelf, actor, now, done, clock_was_wrong)
            except LedgerUnavailable as error:
                raise BrokenOff(f"the database went away ({error}); what was done stays done, begin again") from error
            finally:
                self._noted(done.facts())
                await self._leave_a_line(actor, {"asked": asked, **done.facts()})
        return done

    async def close(self) -> None:
        await self._ledger.close()

    async def _leave_a_line(self, actor: str, after: Fields) -> None:
        try:
            async with self._database.engine.begin() as connection:
                line = ("rejections.replay", "rejection", "")
                await write_audit(connection, actor, *line, after=after, repeatable=True)
        except Exception as error:  # noqa: BLE001  # with the database away; each reading says itself who tried it
            log.warning("replay not in the trail", extra={"actor": actor, "why": str(error)})

    async def _again(
        self, parcel: Parcel, shelf: Shelf, actor: str, now: datetime, done: Replayed, clock_was_wrong: bool
    ) -> None:
        kept = await self._database.pool.fetchrow(MESSAGE, parcel.message_id)
        places = await self._open(parcel)
        if kept is None or not places:
            return  # somebody else was quicker
        received_us = round(now.timestamp() * 1_000_000) if clock_was_wrong else kept["us"]
        message = Received(
            Door(kept["door"]), kept["gateway"], kept["topic"], kept["content_type"], kept["raw"], received_us
        )
        admitted = admit([message], [decode(message)], shelf, self._rules)
        trial = Trial.of(parcel.message_id, places, admitted)
        counted = Replayed()

        async def settle(connection: asyncpg.Connection, verdicts: Verdicts) -> None:
            await _settle(connection, trial, verdicts, actor, now, counted)

        await self._ledger.save_again(Group([message], trial.rows, ()), settle)
        done.messages += 1
        for name in ("stored", "duplicate", "revised"):
            setattr(done, name, getattr(done, name) + getattr(counted, name))
        for one in counted.still:
            done.refused(one)
        done.rejected += counted.rejected - len(counted.still)

    async def _open(self, parcel: Parcel) -> dict[int | None, list[int]]:
        """Place in the message → the refusals that are open there; None: the message as a whole."""
        places: dict[int | None, list[int]] = {}
        for row in await self._database.pool.fetch(OPEN, list(parcel.rejected_ids), parcel.message_id):
            places.setdefault(row["position"], []).append(row["rejected_id"])
        return places


@dataclass(frozen=True, slots=True)
class Trial:
    """One message tried again: only the readings that were refused, never its neighbours, which may have been revised
    since. A message that was refused as a whole is tried whole.
    """

    message_id: int
    places: Mapping[int | None, Sequence[int]]
    rows: ReadingBatch
    meters: Sequence[str]
    refusals: Sequence[Refusal]

    @classmethod
    def of(cls, message_id: int, places: Mapping[int | None, Sequence[int]], admitted: Admitted) -> Trial:
        rows = admitted.rows
        wanted = np.ones(len(rows), np.bool_)
        if None not in places:
            wanted = np.isin(rows.position, [place for place in places if place is not None])
        chosen_rows = np.flatnonzero(wanted)
        part = ReadingBatch(
            rows.at_us[wanted],
            rows.meter[wanted],
            rows.value[wanted],
            rows.quality[wanted],
            rows.message[wanted],
            rows.position[wanted],
            rows.revise[wanted],
        )
        refusals = [
            one for one in admitted.refusals if None in places or one.position is None or one.position in places
        ]
        return cls(message_id, places, part, [admitted.meters[row] for row in chosen_rows.tolist()], refusals)

    def numbers_of(self, refusal: Refusal) -> Sequence[int]:
        """The open refusals it stands for. A message of which nothing can be read stays where it was, all of it."""
        if refusal.position is None:
            return [number for numbers in self.places.values() for number in numbers]
        return self.places.get(refusal.position, ())

    def refused(self, verdicts: Verdicts) -> list[Refusal]:
        """What may still not be stored: refused by the registry or in conflict with what stands."""
        rows = self.rows
        conflicts = [
            Refusal(0, int(rows.position[row]), self.meters[row], None, None, Code.CONFLICT, DETAILS[Code.CONFLICT])
            for row in np.flatnonzero(verdicts == Verdict.CONFLICT).tolist()
        ]
        return [*self.refusals, *conflicts]


async def _settle(
    connection: asyncpg.Connection, trial: Trial, verdicts: Verdicts, actor: str, now: datetime, counted: Replayed
) -> None:
    """Writes what became of each reading, beside the rows themselves, and counts it."""
    refused = trial.refused(verdicts)
    marks: list[tuple[int, str]] = []
    for place, verdict in zip(trial.rows.position.tolist(), verdicts.tolist(), strict=True):
        word = TAKEN.get(Verdict(verdict))
        if word is not None:
            setattr(counted, word, getattr(counted, word) + 1)
            marks += [(number, word) for number in trial.places.get(place, ())]
    if not any(one.position is None for one in refused):
        marks += [(number, READ_APART) for number in trial.places.get(None, ())]
    await connection.execute(MARK_TAKEN, *_columns(marks, 2), now, actor)
    still = [(number, one) for one in refused for number in trial.numbers_of(one)]
    again = [(number, str(one.code), one.detail) for number, one in still]
    await connection.execute(MARK_REFUSED, *_columns(again, 3), now)
    apart = [one for one in refused if not trial.numbers_of(one)]
    if apart:
        rows = [(one.position, one.meter, one.at, one.value, str(one.code), one.detail) for one in apart]
        made = await connection.fetch(KEEP_APART, trial.message_id, *_columns(rows, 6), now)
        still += [(row["rejected_id"], one) for row, one in zip(made, apart, strict=True)]
    for number, one in still:
        counted.refused(Still(number, one.meter, str(one.code), one.detail))


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [[row[number] for row in rows] for number in range(width)]
