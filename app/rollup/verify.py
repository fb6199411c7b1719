"""Every figure again from raw readings, from nothing, and held against what is stored, to the last digit.

Nothing of the incremental way is used: no windows, no stored flags, no sums in the database. One meter is read from its
first reading to its last, its hours are booked with energy's own decimals, and longer buckets are added up here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

import numpy as np

from app.rollup.rework import edges_around
from app.rollup.verify_positions import compared
from app.store import rollups
from app.store.database import Database
from app.store.energy import backlog
from app.store.factors import factor_rows, factors_of
from app.store.numeric_wire import exact_sum
from app.store.rollups import BEGINNING_US, END_US, Connection, MeterAccount, ReadingRows
from app.store.verifications import ranks
from energy.consumption import assess, spread
from energy.interval import Level, SiteCalendar, from_us
from energy.reading import Role, Series
from energy.rollup import normal_quantity
from energy.tce import EXACT, Booking, FactorBook, book, contribution, emits
from energy.units import to_normal

Row = tuple[Decimal | int | None, ...]
"""A row's figures in the order of METER_COLUMNS or ENTERPRISE_COLUMNS."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure that is not what the readings say; None: the row is not there, or the figure is null."""

    table: str
    key: str
    start_us: int
    column: str
    stored: str | None
    expected: str | None

    def __str__(self) -> str:
        at = from_us(self.start_us).isoformat()
        return f"{self.table} {self.key} {at} {self.column}: stored {self.stored}, from readings {self.expected}"


@dataclass(slots=True)
class Verification:
    """What was looked at and what differed. `waiting`: marks not worked off; what they touch may rightly differ yet.

    `unsettled`: enterprises of which such marks name a meter.
    """

    enterprises: int = 0
    meters: int = 0
    readings: int = 0
    buckets: int = 0
    waiting: int = 0
    differences: list[Difference] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)

    def add(self, other: Verification) -> None:
        """Another one's counts and differences."""
        self.enterprises += other.enterprises
        self.meters += other.meters
        self.readings += other.readings
        self.buckets += other.buckets
        self.differences += other.differences


@dataclass(frozen=True, slots=True)
class _Scope:
    calendar: SiteCalendar
    factors: FactorBook
    from_us: int
    to_us: int
    now_us: int | None


async def verify(
    database: Database,
    calendar: SiteCalendar,
    *,
    enterprise: str | None = None,
    from_us: int | None = None,
    to_us: int | None = None,
    now_us: int | None = None,
) -> Verification:
    """Recompute all rollups, or an enterprise's, and compare the buckets that start in [from_us, to_us).

    With them go the positions of budgets, which begin with their year; one evaluated within two hours before `now_us`
    may lag behind figures that changed since. Reads one consistent snapshot. Raises what the database raises, and what
    a meter's own data makes energy raise.
    """
    found = Verification()
    async with (
        database.pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        await connection.execute(rollups.SETTINGS)
        found.waiting = (await backlog(connection)).rows
        factors = factors_of(await factor_rows(connection)).book
        bounds = BEGINNING_US if from_us is None else from_us, END_US if to_us is None else to_us
        scope = _Scope(calendar, factors, *bounds, now_us)
        for one, meters in await rollups.meters_by_enterprise(connection, enterprise):
            found.enterprises += 1
            if await rollups.are_marked(connection, meters):
                found.unsettled.append(one)
            await _verify_enterprise(connection, scope, one, meters, found)
    return found


async def _verify_enterprise(
    connection: Connection, scope: _Scope, enterprise: str, meters: Sequence[int], found: Verification
) -> None:
    accounts = await rollups.accounts(connection, meters)
    booked: list[tuple[MeterAccount, dict[int, _Hour]]] = []
    for number in meters:
        account = accounts[number]
        if isinstance(account, ValueError):
            raise account
        rows = await rollups.read(connection, ([number], [BEGINNING_US], [END_US]))
        found.meters += 1
        found.readings += len(rows.at_us)
        hours = await asyncio.to_thread(_book_hours, scope, account, rows)
        booked.append((account, hours))
        await _compare_meter(connection, scope, account, rows, hours, found)
    by_level = await asyncio.to_thread(_enterprise_rows, scope, booked)
    for level, expected in by_level.items():
        stored = await rollups.stored_enterprise(connection, level, enterprise)
        keyed = {(f"{enterprise}/{carrier}", start_us): row for (carrier, start_us), row in expected.items()}
        there = {(f"{enterprise}/{carrier}", start_us): row for (carrier, start_us), row in stored.items()}
        _compare(scope, f"enterprise_{rollups.WORD[level]}", rollups.ENTERPRISE_COLUMNS, there, keyed, found)
    ranked = {(enterprise, start_us): row for start_us, row in (await ranks(connection, enterprise)).items()}
    ranking = {(enterprise, start_us): row for start_us, row in _ranks(by_level[Level.YEAR]).items()}
    _compare(scope, "enterprise_rank", ("tce_equivalent",), ranked, ranking, found)
    for one in await compared(connection, scope.calendar, enterprise, by_level, scope.now_us):
        _compare(scope, one.table, one.columns, one.stored, one.expected, found)


@dataclass(frozen=True, slots=True)
class _Hour:
    """One hour of one meter: its booking as a purchase (so without sign) and as what it is, and its times."""

    unsigned: Booking
    signed: Booking
    measured_us: int
    estimated_us: int
    held: int

    def and_(self, other: _Hour) -> _Hour:
        """Two parts of one hour, between which the multiplier changed."""
        return _Hour(
            _both(self.unsigned, other.unsigned),
            _both(self.signed, other.signed),
            self.measured_us + other.measured_us,
            self.estimated_us + other.estimated_us,
            self.held + other.held,
        )


def _both(one: Booking, other: Booking) -> Booking:
    """Of the same hour, so by the same factors."""
    return replace(
        one,
        quantity=one.quantity + other.quantity,
        tce_equivalent=one.tce_equivalent and other.tce_equivalent and one.tce_equivalent + other.tce_equivalent,
        tce_equal=one.tce_equal and other.tce_equal and one.tce_equal + other.tce_equal,
        tco2=one.tco2 and other.tco2 and one.tco2 + other.tco2,
    )


def _book_hours(scope: _Scope, account: MeterAccount, rows: ReadingRows) -> dict[int, _Hour]:
    assessment = assess(Series(rows.at_us, rows.value, rows.quality), account.rules, record=account.record)
    at_us = assessment.series.at_us
    if not len(at_us):
        return {}
    reach_us = 2 * account.rules.expected_us
    edges_us = scope.calendar.hour_edges_us(int(at_us[0]), int(at_us[-1]) + 1 + reach_us)
    turns = np.array([since_us for since_us, _ in account.record.multipliers], np.int64)
    pieces_us = np.unique(np.concatenate([edges_us, turns[(turns > edges_us[0]) & (turns < edges_us[-1])]]))
    part = spread(assessment, account.rules, pieces_us)
    held_at = np.array([one.at_us for one in assessment.held()], np.int64)
    held = np.histogram(held_at, pieces_us)[0] if len(held_at) else np.zeros(len(pieces_us) - 1, np.int64)
    normal = to_normal(account.unit, account.normal_unit, account.rules.kind)
    hours: dict[int, _Hour] = {}
    starts = edges_us[np.searchsorted(edges_us, pieces_us[:-1], side="right") - 1].tolist()
    for at, start_us in enumerate(starts):
        times = int(part.measured_us[at]), int(part.estimated_us[at]), int(held[at])
        if any(times):
            scale = EXACT.multiply(account.multiplier_at(int(pieces_us[at])), normal)
            quantity = normal_quantity(int(part.quantity_nano[at]), scale)
            piece = _Hour(*_bookings(scope, account, quantity, start_us), *times)
            hours[start_us] = hours[start_us].and_(piece) if start_us in hours else piece
    return hours


def _bookings(scope: _Scope, account: MeterAccount, quantity: Decimal, start_us: int) -> tuple[Booking, Booking]:
    """As a purchase, which has no sign, and in the meter's own role."""
    day, whose = scope.calendar.local_date(start_us), {"enterprise": account.enterprise, "region": account.region}
    drawn = Role.PURCHASE if emits(account.role) else account.role
    unsigned = book(scope.factors, account.carrier, drawn, quantity, day, **whose)
    if account.role is Role.PURCHASE:
        return unsigned, unsigned
    return unsigned, book(scope.factors, account.carrier, account.role, quantity, day, **whose)


async def _compare_meter(
    connection: Connection,
    scope: _Scope,
    account: MeterAccount,
    rows: ReadingRows,
    hours: Mapping[int, _Hour],
    found: Verification,
) -> None:
    key = f"{account.enterprise}/{account.code}"
    by_level = await asyncio.to_thread(_summed, scope, [(key, at, row) for at, row in _meter_rows(hours)])
    for level, expected in by_level.items():
        stored = await rollups.stored_meter(connection, level, account.meter_id)
        there = {(key, at): row for at, row in stored.items()}
        _compare(scope, f"meter_{rollups.WORD[level]}", rollups.METER_COLUMNS, there, expected, found)
    held = assess(Series(rows.at_us, rows.value, rows.quality), account.rules, record=account.record).held()
    said = {(key, one.at_us): (str(one.reason),) for one in held}
    kept = {(key, at): (why,) for at, why in (await rollups.stored_held(connection, account.meter_id)).items()}
    _compare(scope, "held_reading", ("why",), kept, said, found)


def _meter_rows(hours: Mapping[int, _Hour]) -> Iterator[tuple[int, Row]]:
    for start_us, hour in hours.items():
        it = hour.unsigned
        tonnes = (signed and signed.gross for signed in (it.tce_equivalent, it.tce_equal, it.tco2))
        yield start_us, (it.quantity.gross, *tonnes, hour.measured_us, hour.estimated_us, hour.held)


def _enterprise_rows(
    scope: _Scope, meters: Sequence[tuple[MeterAccount, Mapping[int, _Hour]]]
) -> dict[Level, dict[tuple[str, int], Row]]:
    counting = [(account, hours) for account, hours in meters if contribution(account.role, Decimal(1)).gross]
    return _summed(
        scope, [(account.carrier, at, row) for account, hours in counting for at, row in _signed_rows(hours)]
    )


TCE, TIMES = rollups.ENTERPRISE_COLUMNS.index("tce_equivalent"), slice(-3, -1)


def _ranks(years: Mapping[tuple[str, int], Row]) -> dict[int, tuple[Decimal | None]]:
    """By year the tce of all carriers together; None where one lacks a factor, or where nothing was covered."""
    found: dict[int, tuple[Decimal | None]] = {}
    for start_us in sorted({start_us for _, start_us in years}):
        rows = [row for (_, at_us), row in years.items() if at_us == start_us]
        amounts = [row[TCE] for row in rows]
        covered = any(time for row in rows for time in row[TIMES])
        known = [Decimal(amount) for amount in amounts if amount is not None]
        found[start_us] = (exact_sum(known) if covered and len(known) == len(amounts) else None,)
    return found


def _signed_rows(hours: Mapping[int, _Hour]) -> Iterator[tuple[int, Row]]:
    for start_us, hour in hours.items():
        it = hour.signed
        both = (it.quantity, it.tce_equivalent, it.tce_equal, it.tco2)
        sides = tuple(side for s in both for side in ((s.gross, s.net) if s is not None else (None, None)))
        yield start_us, (*sides, hour.measured_us, hour.estimated_us, hour.held)


def _summed(scope: _Scope, hours: Sequence[tuple[str, int, Row]]) -> dict[Level, dict[tuple[str, int], Row]]:
    """Rows (key, hour, figures) added up level by level; what is null in one part is null in the sum."""
    rows: Iterable[tuple[str, int, Row]] = hours
    found: dict[Level, dict[tuple[str, int], Row]] = {}
    for level in Level:
        total: dict[tuple[str, int], Row] = {}
        for key, start_us, row in _placed(scope, level, list(rows)):
            there = total.get((key, start_us))
            total[key, start_us] = row if there is None else tuple(map(_add, there, row))
        found[level], rows = total, [(key, start_us, row) for (key, start_us), row in total.items()]
    return found


def _placed(scope: _Scope, level: Level, rows: Sequence[tuple[str, int, Row]]) -> Iterator[tuple[str, int, Row]]:
    """The rows with the start of the level's bucket they lie in."""
    starts = np.array([start_us for _, start_us, _ in rows] or [0], np.int64)
    edges = edges_around(scope.calendar, level, int(starts.min()), int(starts.max()) + 1)
    places = edges[np.searchsorted(edges, starts, side="right") - 1].tolist()
    return ((key, place, row) for place, (key, _, row) in zip(places, rows, strict=False))


def _add(left: Decimal | int | None, right: Decimal | int | None) -> Decimal | int | None:
    if left is None or right is None:
        return None
    if isinstance(left, int) and isinstance(right, int):
        return left + right
    return EXACT.add(Decimal(left), Decimal(right))


def _compare(
    scope: _Scope,
    table: str,
    columns: Sequence[str],
    stored: Mapping[tuple[str, int], Sequence[object]],
    expected: Mapping[tuple[str, int], Sequence[object]],
    found: Verification,
) -> None:
    nothing = (None,) * len(columns)
    for key in sorted(stored.keys() | expected.keys()):
        if not scope.from_us <= key[1] < scope.to_us:
            continue
        found.buckets += 1
        for column, is_there, should_be in zip(
            columns, stored.get(key, nothing), expected.get(key, nothing), strict=True
        ):
            if is_there != should_be:
                found.differences.append(Difference(table, *key, column, _text(is_there), _text(should_be)))


def _text(value: object) -> str | None:
    return None if value is None else str(value)
