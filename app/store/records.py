"""What people put on a meter's record: exchanges, decisions, dated multipliers, deleted readings; and what is held.

Nothing here is overwritten: a record that was wrong is revoked, with who, when and why. Each change leaves its line in
the trail and the marks of what it touches, in one transaction.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.access import write_audit
from app.store.database import Database
from app.store.registry import AlreadyThere, Fields, NotThere, Page, WrongField, mark, mark_hours, plain
from app.store.tables.readings import held_reading, reading
from app.store.tables.records import (
    deleted_reading,
    meter_exchange,
    meter_multiplier,
    reading_decision,
    reading_deletion,
)
from energy.consumption import Accepted, assess
from energy.interval import HOUR_US, to_us
from energy.plausibility import StuckRun, stuck_runs
from energy.reading import Kind, MeterRules, Series
from energy.record import Decision, Exchange, MeterRecord, Saying

JUST_BEFORE = timedelta(microseconds=1)
"""The old register's final value stands a microsecond before the exchange, perhaps in another hour."""
LOOKED_AT = 1000
"""So many readings after an exchange are looked at for one that contradicts it."""


class RecordRefused(ValueError):
    """What was to be put on record cannot be so."""


class NotARegister(RecordRefused):
    """Only registers are exchanged, roll over and are reset."""


class ExchangeInFuture(RecordRefused):
    """An exchange is recorded when it has happened."""


class ExchangeBeforeLastReading(RecordRefused):
    """A reading after the exchange stands already as the old register's."""


class ExchangeBeforeLastExchange(RecordRefused):
    """Exchanges are recorded in their order."""


class ExchangeBelowRegister(RecordRefused):
    """The old register had shown more than its final value."""


class DecisionDoesNotFit(RecordRefused):
    """The reading cannot have been what it is said to be."""


class ReadingNotHeld(RecordRefused):
    """A reading that stands needs nobody to say that it is real."""


class PartOfDecision(RecordRefused):
    """An exchange that a decision recorded goes with that decision alone."""


class RevokedAlready(RecordRefused):
    """What is revoked cannot be revoked again."""


# Exchanges ------------------------------------------------------------------------------------------------------------


async def record_exchange(database: Database, meter: Fields, body: Fields, actor: str, now: datetime) -> Fields:
    """Raises what is a RecordRefused, and AlreadyThere."""
    async with database.engine.begin() as connection:
        return await add_exchange(connection, meter, body, actor, now)


async def add_exchange(connection: AsyncConnection, meter: Fields, body: Fields, actor: str, now: datetime) -> Fields:
    """The same within the caller's transaction."""
    key, at = _key(meter), body["at"]
    await _lock(connection, meter)
    _require_register(meter)
    if at > now:
        raise ExchangeInFuture(f"the exchange at {at.isoformat()} is yet to come; record it when it has happened")
    await _check_exchange(connection, meter, body)
    columns = ("at", "old_final", "new_initial", "serial", "multiplier", "reason")
    values = {name: body.get(name) for name in columns} | {"meter_id": meter["meter_id"], "recorded_by": actor}
    row = await _insert(connection, meter_exchange, values, "exchange", f"{key} {at.isoformat()}")
    number = row["exchange_id"]
    if body.get("multiplier") is not None:
        dated = {"meter_id": meter["meter_id"], "valid_from": at, "multiplier": body["multiplier"]}
        await _insert(
            connection,
            meter_multiplier,
            dated | {"exchange_id": number, "recorded_by": actor},
            "multiplier",
            f"{key} {at.isoformat()}",
        )
    until = now if body.get("multiplier") is not None else at
    await mark(
        connection, meter["meter_id"], at - JUST_BEFORE, until, _cause("exchange", number, body.get("reason")), actor
    )
    await write_audit(connection, actor, "exchange.record", "meter", key, after=plain(_shown(row)))
    return _shown(row)


async def revoke_exchange(
    database: Database, meter: Fields, number: int, reason: str, actor: str, now: datetime
) -> Fields:
    """The exchange did not happen, or not so; its multiplier goes with it. Raises NotThere and RevokedAlready."""
    _could_be("exchange", number)
    async with database.engine.begin() as connection:
        await _lock(connection, meter)
        decided = select(reading_decision.c.decision_id).where(
            reading_decision.c.exchange_id == number,
            reading_decision.c.meter_id == meter["meter_id"],
            reading_decision.c.revoked_at.is_(None),
        )
        decision = await connection.scalar(decided)
        if decision is not None:
            raise PartOfDecision(f"decision {decision} recorded exchange {number}; revoke that decision")
        return _shown(await _take_back_exchange(connection, meter, number, reason, actor, now))


async def _take_back_exchange(
    connection: AsyncConnection, meter: Fields, number: int, reason: str, actor: str, now: datetime
) -> Fields:
    row = await _revoke(connection, meter_exchange, "exchange", meter, number, reason, actor, now)
    gone = (
        update(meter_multiplier)
        .where(meter_multiplier.c.exchange_id == number, meter_multiplier.c.revoked_at.is_(None))
        .values(revoked_at=now, revoked_by=actor)
    )
    await connection.execute(gone)
    until = row["at"] if row["multiplier"] is None else now
    cause = _cause("exchange revoked", number, reason)
    await mark(connection, meter["meter_id"], row["at"] - JUST_BEFORE, until, cause, actor)
    return row


async def list_exchanges(database: Database, meter_id: int, *, limit: int, after: int | None) -> Page:
    """In the order they were recorded, the revoked ones too."""
    return await _listed(database, meter_exchange, "exchange_id", meter_id, limit, after)


async def _check_exchange(connection: AsyncConnection, meter: Fields, body: Fields) -> None:
    at, range_ = body["at"], meter["rolls_over_at"]
    record = await _record_of(connection, meter["meter_id"])
    later = [one for one in record.exchanges if one.at_us >= to_us(at)]
    if later:
        raise ExchangeBeforeLastExchange(
            "an exchange at or after this one is on record; revoke that one first if it is wrong"
        )
    for name in ("old_final", "new_initial"):
        if range_ is not None and body[name] >= range_:
            raise ExchangeBelowRegister(f"{name} {body[name]} is not below {range_}, where this register rolls over")
    rules = MeterRules(Kind.REGISTER, meter["expected_interval_s"], range_, meter["max_rate_per_h"])
    before, following = await _around(connection, meter["meter_id"], at, rules, record)
    final = Exchange(to_us(at), body["old_final"], body["new_initial"])
    if before is not None and not _can_follow(before, final, rules):
        raise ExchangeBelowRegister(
            f"the register showed {before.value} before the exchange; its final value cannot be {body['old_final']}"
        )
    if body.get("restates"):
        return
    standing = assess(following, rules, before=before, record=record).accepted
    if before is not None and standing.any():
        raise ExchangeBeforeLastReading(
            "a reading after this exchange stands as the old register's; check the time, or send restates true to have "
            "it judged anew"
        )


def _can_follow(before: Accepted, final: Exchange, rules: MeterRules) -> bool:
    unlimited = MeterRules(Kind.REGISTER, rules.expected_interval_s, rules.rolls_over_at)
    one = Series(np.array([final.at_us], np.int64), np.array([final.old_final]), np.zeros(1, np.int16))
    return bool(assess(one, unlimited, before=before).accepted[0])


AROUND = """
SELECT ts, value, quality FROM reading AS r WHERE meter_id = :meter AND ts < :at
AND NOT EXISTS (SELECT FROM held_reading AS h WHERE h.meter_id = r.meter_id AND h.ts = r.ts) ORDER BY ts DESC LIMIT 1
"""
FOLLOWING = "SELECT ts, value, quality FROM reading WHERE meter_id = :meter AND ts >= :at ORDER BY ts LIMIT :count"


async def _around(
    connection: AsyncConnection, meter_id: int, at: datetime, rules: MeterRules, record: MeterRecord
) -> tuple[Accepted | None, Series]:
    """The reading that stands before an instant, and those from it on."""
    asked = {"meter": meter_id, "at": at, "count": LOOKED_AT}
    row = (await connection.execute(text(AROUND), asked)).one_or_none()
    before = None if row is None else Accepted(to_us(row.ts), row.value, row.quality)
    recent = record.exchanges[-1] if record.exchanges else None
    if recent is not None and (before is None or before.at_us < recent.at_us):
        before = Accepted(recent.at_us, recent.new_initial)
    rows = (await connection.execute(text(FOLLOWING), asked)).all()
    if before is not None:
        rows = [row for row in rows if to_us(row.ts) > before.at_us]
    return before, Series(
        np.array([to_us(row.ts) for row in rows], np.int64),
        np.array([row.value for row in rows], np.float64),
        np.array([row.quality for row in rows], np.int16),
    )


async def _record_of(connection: AsyncConnection, meter_id: int) -> MeterRecord:
    exchanges = select(meter_exchange).where(
        meter_exchange.c.meter_id == meter_id, meter_exchange.c.revoked_at.is_(None)
    )
    decisions = select(reading_decision).where(
        reading_decision.c.meter_id == meter_id, reading_decision.c.revoked_at.is_(None)
    )
    exchanged = (await connection.execute(exchanges.order_by(meter_exchange.c.at))).all()
    decided = (await connection.execute(decisions.order_by(reading_decision.c.ts))).all()
    return MeterRecord(
        tuple(Exchange(to_us(row.at), row.old_final, row.new_initial) for row in exchanged),
        tuple(Decision(to_us(row.ts), Saying(row.says), row.amount or 0.0) for row in decided),
    )


# Decisions ------------------------------------------------------------------------------------------------------------


async def decide(database: Database, meter: Fields, body: Fields, actor: str, now: datetime) -> Fields:
    """Say what a reading was; an exchange is recorded with it. Raises NotThere, AlreadyThere and any RecordRefused."""
    key, ts = _key(meter), body["ts"]
    async with database.engine.begin() as connection:
        await _lock(connection, meter)
        found = select(reading.c.value).where(reading.c.meter_id == meter["meter_id"], reading.c.ts == ts)
        value = await connection.scalar(found)
        if value is None:
            raise NotThere("reading", f"{key} {ts.isoformat()}")
        await _refuse_what_stands(connection, meter, body)
        amount, number = _amount(meter, body, value), None
        if body["says"] == Saying.EXCHANGE:
            await _refuse_second(connection, meter, ts)
            exchange = await add_exchange(connection, meter, _exchange_of(meter, body, value), actor, now)
            number = exchange["exchange_id"]
        values = {"meter_id": meter["meter_id"], "ts": ts, "says": body["says"], "amount": amount}
        values["exchange_id"] = number
        row = await _insert(
            connection,
            reading_decision,
            values | {"reason": body["reason"], "decided_by": actor},
            "decision",
            f"{key} {ts.isoformat()}",
        )
        cause = _cause(f"decision {body['says']}", row["decision_id"], body["reason"])
        await mark(connection, meter["meter_id"], ts, ts, cause, actor)
        await write_audit(connection, actor, "reading.decide", "meter", key, after=plain(_shown(row)))
    return _shown(row)


OF_EXCHANGES = ("at", "old_final", "new_initial", "serial", "multiplier")


async def _refuse_what_stands(connection: AsyncConnection, meter: Fields, body: Fields) -> None:
    """A spike, a reset or a rollover may pass for a good reading; that a good one is real, nobody has to say."""
    if body["says"] not in (Saying.REAL, Saying.EXCHANGE):
        return
    is_it = (held_reading.c.meter_id == meter["meter_id"]) & (held_reading.c.ts == body["ts"])
    if await connection.scalar(select(held_reading.c.ts).where(is_it)) is None:
        raise ReadingNotHeld(f"the reading at {body['ts'].isoformat()} stands; nobody has to say what it was")


async def _refuse_second(connection: AsyncConnection, meter: Fields, ts: datetime) -> None:
    """Before the exchange is recorded: what is wrong is the second decision, not the second exchange."""
    is_it = (reading_decision.c.meter_id == meter["meter_id"]) & (reading_decision.c.ts == ts)
    found = select(reading_decision.c.decision_id).where(is_it, reading_decision.c.revoked_at.is_(None))
    if await connection.scalar(found) is not None:
        raise AlreadyThere("decision", f"{_key(meter)} {ts.isoformat()}")


def _exchange_of(meter: Fields, body: Fields, value: float) -> Fields:
    """The exchange that makes a held reading the new register's. Raises DecisionDoesNotFit and NotARegister.

    Without an instant the held reading is the first that the new register ever showed.
    """
    _require_register(meter)
    at = body["at"] or body["ts"]
    if body["old_final"] is None:
        raise DecisionDoesNotFit("an exchange needs old_final: what the old register showed at last")
    initial = value if body["new_initial"] is None else body["new_initial"]
    if at > body["ts"]:
        raise DecisionDoesNotFit("an exchange after the reading does not make it the new register's")
    if initial > value:
        raise DecisionDoesNotFit(f"a register that began at {initial} does not show {value}, which is less")
    if at == body["ts"] and initial != value:
        raise DecisionDoesNotFit(
            f"the new register began at {initial} and had counted to {value} by then; send at, when it was exchanged"
        )
    told = {name: body[name] for name in ("old_final", "serial", "multiplier", "reason")}
    return told | {"at": at, "new_initial": initial}


async def revoke_decision(
    database: Database, meter: Fields, number: int, reason: str, actor: str, now: datetime
) -> Fields:
    """Nobody says any more what the reading was; its exchange goes with it. Raises NotThere and RevokedAlready."""
    async with database.engine.begin() as connection:
        await _lock(connection, meter)
        row = await _revoke(connection, reading_decision, "decision", meter, number, reason, actor, now)
        if row["exchange_id"] is not None:
            await _take_back_exchange(connection, meter, row["exchange_id"], reason, actor, now)
        await mark(
            connection, meter["meter_id"], row["ts"], row["ts"], _cause("decision revoked", number, reason), actor
        )
    return _shown(row)


async def list_decisions(database: Database, meter_id: int, *, limit: int, after: int | None) -> Page:
    """In the order they were taken, the revoked ones too."""
    return await _listed(database, reading_decision, "decision_id", meter_id, limit, after)


def _amount(meter: Fields, body: Fields, value: float) -> float | None:
    """The register's range or new start that goes with the saying. Raises DecisionDoesNotFit and NotARegister."""
    says, amount = Saying(body["says"]), body.get("amount")
    if amount is not None and says not in (Saying.ROLLOVER, Saying.RESET):
        raise DecisionDoesNotFit("amount goes with a rollover or a reset")
    alone = [name for name in OF_EXCHANGES if body.get(name) is not None and says is not Saying.EXCHANGE]
    if alone:
        raise DecisionDoesNotFit(f"{', '.join(alone)} goes with an exchange")
    if says in (Saying.ROLLOVER, Saying.RESET):
        _require_register(meter)
    if says is Saying.ROLLOVER:
        amount = meter["rolls_over_at"] if amount is None else amount
        if amount is None:
            raise DecisionDoesNotFit("this meter has no rolls_over_at; send the register's range as amount")
        if value >= amount:
            raise DecisionDoesNotFit(f"a register that rolls over at {amount} does not show {value}")
        return float(amount)
    if says is Saying.RESET:
        amount = 0.0 if amount is None else amount
        if amount > value:
            raise DecisionDoesNotFit(f"a register that began again at {amount} does not show {value}, which is less")
        return float(amount)
    if says is Saying.REAL and value < 0:
        raise DecisionDoesNotFit("no energy flows backwards through a meter; a negative reading cannot be real")
    return None


# Multipliers ----------------------------------------------------------------------------------------------------------


async def list_multipliers(database: Database, meter_id: int, *, limit: int, after: int | None) -> Page:
    """In the order they were recorded, the revoked ones too."""
    return await _listed(database, meter_multiplier, "multiplier_id", meter_id, limit, after)


async def revoke_multiplier(
    database: Database, meter: Fields, number: int, reason: str, actor: str, now: datetime
) -> Fields:
    """The multiplier did not change then. One that came with an exchange goes with that exchange alone."""
    async with database.engine.begin() as connection:
        await _lock(connection, meter)
        row = await _found(connection, meter_multiplier, "multiplier", meter, number)
        if row["exchange_id"] is not None:
            raise DecisionDoesNotFit(f"it came with exchange {row['exchange_id']}; revoke that one")
        values = {"revoked_at": now, "revoked_by": actor}
        is_it = meter_multiplier.c.multiplier_id == number
        changed = await connection.execute(
            update(meter_multiplier).where(is_it).values(**values).returning(meter_multiplier)
        )
        row = dict(changed.one()._mapping)
        await mark(
            connection, meter["meter_id"], row["valid_from"], now, _cause("multiplier revoked", number, reason), actor
        )
        await write_audit(connection, actor, "multiplier.revoke", "meter", _key(meter), after=plain(_shown(row)))
    return _shown(row)


# Deletions ------------------------------------------------------------------------------------------------------------


async def delete_readings(database: Database, meter: Fields, body: Fields, actor: str) -> Fields:
    """Take the readings of [from, to) out of the ledger, and keep them beside it. Raises NotThere when none are, and
    WrongField for a range that ends before it begins.
    """
    number, start, end = meter["meter_id"], body["start"], body["end"]
    if end <= start:
        raise WrongField("to", "it should be later than from; the range is [from, to)")
    here = (reading.c.meter_id == number) & (reading.c.ts >= start) & (reading.c.ts < end)
    async with database.engine.begin() as connection:
        await _lock(connection, meter)
        found = (await connection.execute(select(reading).where(here).order_by(reading.c.ts))).all()
        if not found:
            raise NotThere("reading", f"{_key(meter)} {start.isoformat()}/{end.isoformat()}")
        values = {"meter_id": number, "from_ts": start, "to_ts": end, "count": len(found)}
        row = await _insert(
            connection, reading_deletion, values | {"reason": body["reason"], "deleted_by": actor}, "deletion", ""
        )
        names = ("ts", "value", "quality", "received_at")
        kept = [{name: getattr(one, name) for name in names} | {"deletion_id": row["deletion_id"]} for one in found]
        await connection.execute(insert(deleted_reading), kept)
        await connection.execute(reading.delete().where(here))
        hours = sorted({to_us(one.ts) // HOUR_US for one in found})
        await mark_hours(connection, number, hours, _cause("deletion", row["deletion_id"], body["reason"]), actor)
        await write_audit(connection, actor, "readings.delete", "meter", _key(meter), after=plain(_shown(row)))
    return _shown(row)


async def list_deletions(database: Database, meter_id: int, *, limit: int, after: int | None) -> Page:
    return await _listed(database, reading_deletion, "deletion_id", meter_id, limit, after)


async def deleted_readings(
    database: Database, meter_id: int, number: int | None, *, limit: int, after: tuple[datetime, int] | None
) -> Page:
    """The readings that one deletion, or any, took out of a meter, by deletion and time."""
    columns = ("deletion_id", "ts", "value", "quality", "received_at")
    query = (
        select(*(deleted_reading.c[name] for name in columns))
        .join_from(deleted_reading, reading_deletion)
        .where(reading_deletion.c.meter_id == meter_id)
        .order_by(deleted_reading.c.deletion_id, deleted_reading.c.ts)
    )
    if number is not None:
        query = query.where(deleted_reading.c.deletion_id == number)
    if after is not None:
        key = func.row(deleted_reading.c.deletion_id, deleted_reading.c.ts)
        query = query.where(key > func.row(after[1], after[0]))
    async with database.engine.connect() as connection:
        rows = [dict(row._mapping) for row in await connection.execute(query.limit(limit + 1))]
    last = rows[limit - 1] if len(rows) > limit else None
    return Page(rows[:limit], None if last is None else _keyed(last["ts"], last["deletion_id"]))


# What is held ---------------------------------------------------------------------------------------------------------

HELD = """
WITH seen AS (
    SELECT meter.meter_id, meter.enterprise, meter.code FROM meter JOIN enterprise ON enterprise.id = meter.enterprise
    WHERE (CAST(:scope AS text) IS NULL OR starts_with(enterprise.region, :scope))
      AND (CAST(:only AS text) IS NULL OR meter.enterprise = :only)
      AND (CAST(:enterprise AS text) IS NULL OR meter.enterprise = :enterprise)
      AND (CAST(:meter AS integer) IS NULL OR meter.meter_id = :meter)
      AND EXISTS (SELECT FROM held_reading AS h WHERE h.meter_id = meter.meter_id)
), standing AS (
    SELECT seen.*, last.ts AS accepted_at, last.value AS accepted_value
    FROM seen LEFT JOIN LATERAL (
        SELECT r.ts, r.value FROM reading AS r WHERE r.meter_id = seen.meter_id
        AND NOT EXISTS (SELECT FROM held_reading AS h WHERE h.meter_id = r.meter_id AND h.ts = r.ts)
        ORDER BY r.ts DESC LIMIT 1) AS last ON true
)
SELECT standing.enterprise, standing.code AS meter, h.ts, r.value, r.quality, h.why AS reason,
       coalesce(h.ts > standing.accepted_at, true) AND d.decision_id IS NULL AS waiting,
       standing.accepted_at AS last_accepted_at, standing.accepted_value AS last_accepted_value,
       d.decision_id, standing.meter_id
FROM standing JOIN held_reading AS h ON h.meter_id = standing.meter_id
LEFT JOIN reading AS r ON r.meter_id = h.meter_id AND r.ts = h.ts
LEFT JOIN reading_decision AS d ON d.meter_id = h.meter_id AND d.ts = h.ts AND d.revoked_at IS NULL
WHERE (CAST(:why AS text) IS NULL OR h.why = :why)
  AND (NOT :waiting OR (coalesce(h.ts > standing.accepted_at, true) AND d.decision_id IS NULL))
  AND (CAST(:after_ts AS timestamptz) IS NULL OR (h.ts, h.meter_id) < (CAST(:after_ts AS timestamptz), :after_meter))
ORDER BY h.ts DESC, h.meter_id DESC LIMIT :count
"""


async def list_held(
    database: Database,
    *,
    scope: str | None,
    only: str | None,
    enterprise_id: str | None = None,
    meter_id: int | None = None,
    reason: str | None = None,
    waiting: bool,
    limit: int,
    after: tuple[datetime, int] | None,
) -> Page:
    """Readings held out of the figures, newest first, with the reason and the last reading that stands.

    `waiting`: only those after which no reading stands and of which nobody has said what they were.
    """
    asked = {
        "scope": scope,
        "only": only,
        "enterprise": enterprise_id,
        "meter": meter_id,
        "why": reason,
        "waiting": waiting,
        "after_ts": None if after is None else after[0],
        "after_meter": None if after is None else after[1],
        "count": limit + 1,
    }
    async with database.engine.connect() as connection:
        rows = [dict(row._mapping) for row in await connection.execute(text(HELD), asked)]
    keys = [(row["ts"], row.pop("meter_id")) for row in rows]
    more = len(rows) > limit
    last = keys[limit - 1] if more else None
    return Page(rows[:limit], None if last is None else _keyed(*last))


def _keyed(at: datetime, number: int) -> str:
    return f"{at.astimezone(UTC).isoformat()}\x1f{number}"


async def stuck(database: Database, meter: Fields, start: datetime, end: datetime, *, hours: float) -> list[StuckRun]:
    """Runs of one value in the readings of [start, end) that last at least so many hours."""
    rows = await database.pool.fetch(STUCK, meter["meter_id"], start, end)
    series = Series(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.float64),
        np.zeros(len(rows), np.int16),
    )
    return stuck_runs(series, Kind(meter["kind"]), longer_than_us=int(hours * HOUR_US))


STUCK = """
SELECT (extract(epoch FROM ts) * 1000000)::bigint, value FROM reading
WHERE meter_id = $1 AND ts >= $2 AND ts < $3 AND quality < 3 ORDER BY ts
"""

# What they share ------------------------------------------------------------------------------------------------------


def _cause(what: str, number: int, reason: str | None) -> str:
    return f"{what} {number}" + (f": {reason}" if reason else "")


def _key(meter: Fields) -> str:
    return f"{meter['enterprise']}/{meter['code']}"


def _require_register(meter: Fields) -> None:
    if meter["kind"] != Kind.REGISTER:
        raise NotARegister(
            f"{_key(meter)} is of kind {meter['kind']}; only registers are exchanged, reset or roll over"
        )


async def _lock(connection: AsyncConnection, meter: Fields) -> None:
    """One record of a meter at a time: what is checked still holds when it is written."""
    await connection.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended('meter record', :meter))"), {"meter": meter["meter_id"]}
    )


async def _insert(connection: AsyncConnection, table: Any, values: Fields, kind: str, key: str) -> Fields:
    try:
        async with connection.begin_nested():
            row = (await connection.execute(insert(table).values(**values).returning(table))).one()
    except IntegrityError as error:
        if "unique" in str(error.orig).lower():
            raise AlreadyThere(kind, key) from error
        raise
    return dict(row._mapping)


NUMBERS_END = 1 << 31
"""The tables count in four bytes: a number beyond them is of nothing."""


def _could_be(kind: str, number: int) -> None:
    if not 0 < number < NUMBERS_END:
        raise NotThere(kind, str(number))


async def _found(connection: AsyncConnection, table: Any, kind: str, meter: Fields, number: int) -> Fields:
    _could_be(kind, number)
    is_it = (table.c[f"{kind}_id"] == number) & (table.c.meter_id == meter["meter_id"])
    row = (await connection.execute(select(table).where(is_it))).one_or_none()
    if row is None:
        raise NotThere(kind, str(number))
    if "revoked_at" in table.c and row._mapping["revoked_at"] is not None:
        raise RevokedAlready(f"{kind} {number} was revoked at {row._mapping['revoked_at'].isoformat()}")
    return dict(row._mapping)


async def _revoke(
    connection: AsyncConnection,
    table: Any,
    kind: str,
    meter: Fields,
    number: int,
    reason: str,
    actor: str,
    now: datetime,
) -> Fields:
    before = await _found(connection, table, kind, meter, number)
    values = {"revoked_at": now, "revoked_by": actor, "revoked_because": reason}
    is_it = table.c[f"{kind}_id"] == number
    row = dict((await connection.execute(update(table).where(is_it).values(**values).returning(table))).one()._mapping)
    await write_audit(
        connection,
        actor,
        f"{kind}.revoke",
        "meter",
        _key(meter),
        before=plain(_shown(before)),
        after=plain(_shown(row)),
    )
    return row


async def _listed(database: Database, table: Any, key: str, meter_id: int, limit: int, after: int | None) -> Page:
    query = select(*(column for column in table.c if column.name != "meter_id")).where(table.c.meter_id == meter_id)
    if after is not None:
        query = query.where(table.c[key] > after)
    async with database.engine.connect() as connection:
        found = await connection.execute(query.order_by(table.c[key]).limit(limit + 1))
        rows = [dict(row._mapping) for row in found]
    return Page(rows[:limit], str(rows[limit - 1][key]) if len(rows) > limit else None)


def _shown(row: Fields) -> Fields:
    return {name: value for name, value in row.items() if name != "meter_id"}
