"""Marks become figures: one transaction takes some marks, recomputes their windows and writes every level above."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import lru_cache

import asyncpg
import numpy as np
import numpy.typing as npt

from app.rollup.plain import Plain
from app.rollup.pricing import Figures, Hours, alike, by_enterprise, joined, priced, together
from app.rollup.recompute import MeterHours, ReadEarlier, ReadFurther, Tariff, recompute
from app.rollup.windows import (
    Marked,
    Neighbours,
    Window,
    disjoint,
    merged_marks,
    reading_further,
    shortened,
    whole_window,
    window_of,
)
from app.store import closings, events, rollups
from app.store.closings import Change
from app.store.numeric_wire import Wide, wide
from app.store.readings import is_unavailable
from app.store.rollups import (
    BEGINNING_US,
    END_US,
    Connection,
    Mark,
    MeterAccount,
    NumericRows,
    OldHours,
    ReadingRows,
    Stretches,
)
from energy.consumption import Held, reach_us
from energy.interval import DAY_US, HOUR_US, Level, SiteCalendar, from_us
from energy.reading import Series

Int64s = npt.NDArray[np.int64]

PAIRS_AT_ONCE = 120_000
"""Marked hours of meters one transaction takes, so that it holds some tens of megabytes and lasts a second or two."""
WHOLE_METERS_AT_ONCE = 8
"""Meters whose whole history one transaction takes: a year by the minute is half a million readings each."""
NOTHING = Decimal(0)
LONGER = (Level.DAY, Level.MONTH, Level.YEAR)
FURTHER_US = 2 * DAY_US
"""The first step beyond a window whose change has not ended; each further step is four times as long."""


@dataclass(slots=True)
class Outcome:
    """What one transaction did.

    `failed`: meters that could not be computed, and why; `aside`: number of the mark put back → its meter.
    """

    marks: int = 0
    meters: int = 0
    hours: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    aside: dict[int, int] = field(default_factory=dict)


def clock_us() -> int:
    """Now, in microseconds since 1970."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class Book:
    """What recomputing needs to know besides the readings.

    The tariff is asked for after the marks are taken: whoever changes a factor leaves a mark in the same transaction,
    so a mark that was taken is never worked off with the factor from before.

    A month is closed on `closing_day` of the next, unless its region has a day of its own.
    """

    calendar: SiteCalendar
    tariff: Callable[[Connection], Awaitable[Tariff]]
    closing_day: int = 10
    now_us: Callable[[], int] = clock_us


async def rework(
    connection: Connection,
    book: Book,
    *,
    pairs: int = PAIRS_AT_ONCE,
    aside: Iterable[int] = (),
    one_by_one: bool = False,
) -> Outcome:
    """Take the oldest marks and bring their figures up to date, all in one transaction.

    Marks numbered in `aside` are left alone. A meter whose computation raises does not stop the others: its marks
    are put back, with their age. `one_by_one` gives each meter a savepoint of its own, so that one that the database
    refuses does not stop the others either. Raises what the database raises; then nothing has changed.
    """
    async with connection.transaction():
        await rollups.prepare(connection)
        marks = await rollups.claim(connection, pairs=1 if one_by_one else pairs, aside=aside)
        outcome = Outcome(marks=len(marks))
        if not marks:
            return outcome
        taken = await _bounded(connection, marks)
        await _rework_meters(connection, book, taken, outcome, one_by_one=one_by_one)
        for mark in _of_meters(taken, outcome.failed):
            outcome.aside[await rollups.put_back(connection, mark)] = mark.meter[0]
        return outcome


async def _bounded(connection: Connection, marks: Sequence[Mark]) -> list[Mark]:
    """The marks to work on now; whole meters beyond the bound go back to the end of the queue."""
    taken: list[Mark] = []
    room = WHOLE_METERS_AT_ONCE
    for mark in marks:
        if mark.hour is not None:
            taken.append(mark)
            continue
        now, later = mark.meter[:room], mark.meter[room:]
        room -= len(now)
        if now:
            taken.append(replace(mark, meter=now))
        if later:
            await rollups.put_back(connection, replace(mark, meter=later))
    return taken


def _of_meters(marks: Sequence[Mark], meters: Iterable[int]) -> list[Mark]:
    """What the marks say of each of these meters, one mark a meter, as old as the oldest."""
    found = []
    for meter in sorted(meters):
        mine = [mark for mark in marks if meter in mark.meter]
        oldest = min(mine, key=lambda mark: (mark.cause is None, mark.marked_us))
        said = (min(mark.marked_us for mark in mine), oldest.cause, oldest.actor)
        if any(mark.hour is None for mark in mine):
            found.append(Mark([meter], None, *said))
            continue
        hours = sorted({h for k in mine for m, h in zip(k.meter, k.hour or (), strict=True) if m == meter})
        found.append(Mark([meter] * len(hours), hours, *said))
    return found


async def _rework_meters(
    connection: Connection, book: Book, marks: Sequence[Mark], outcome: Outcome, *, one_by_one: bool
) -> None:
    meters = sorted(set().union(*(mark.meter for mark in marks)))
    # Accounts are read under the lock: what was changed before it is in them, what comes later brings its own marks.
    await rollups.lock_enterprises(connection, await rollups.owners(connection, meters))
    found = await rollups.accounts(connection, meters)
    sound = {number: account for number, account in found.items() if isinstance(account, MeterAccount)}
    outcome.failed |= {number: str(error) for number, error in found.items() if isinstance(error, ValueError)}
    stretches = [one for one in _stretches(marks) if one.meter_id in sound]
    if not one_by_one:
        await _rework_stretches(connection, book, sound, stretches, marks, outcome)
        return
    for number, account in sound.items():
        try:
            async with connection.transaction():
                mine = [one for one in stretches if one.meter_id == number]
                await _rework_stretches(connection, book, {number: account}, mine, marks, outcome)
        except asyncpg.PostgresError as error:
            if is_unavailable(error):
                raise
            outcome.failed[number] = f"{type(error).__name__}: {error}"


def _stretches(marks: Sequence[Mark]) -> list[Marked]:
    by_hour = [mark for mark in marks if mark.hour is not None]
    meter = np.concatenate([np.array(mark.meter, np.int64) for mark in by_hour] or [np.empty(0, np.int64)])
    hour = np.concatenate([np.array(mark.hour, np.int64) for mark in by_hour] or [np.empty(0, np.int64)])
    return merged_marks(meter, hour, [meter for mark in marks if mark.hour is None for meter in mark.meter])


async def _rework_stretches(
    connection: Connection,
    book: Book,
    accounts: Mapping[int, MeterAccount],
    stretches: Sequence[Marked],
    marks: Sequence[Mark],
    outcome: Outcome,
) -> None:
    windows = await _windows(connection, book.calendar, accounts, stretches)
    done = await _recomputed(connection, book.calendar, accounts, windows)
    outcome.failed |= done.failed
    outcome.meters += len({part.meter_id for part in done.parts})
    if done.parts:
        new = await _write_on_record(connection, book, accounts, done, marks)
        outcome.hours += len(new)
        await events.record_arrivals(connection, arrivals(accounts, new))
        first = {window.meter_id for window in windows if window.read_from_us == BEGINNING_US}
        await rollups.note_first_readings(connection, sorted(first))


async def _windows(
    connection: Connection,
    calendar: SiteCalendar,
    accounts: Mapping[int, MeterAccount],
    stretches: Sequence[Marked],
) -> list[Window]:
    by_hour = [stretch for stretch in stretches if not stretch.whole]
    asked = _columns((stretch.meter_id, stretch.start_us, stretch.end_us) for stretch in by_hour)
    pairs = zip(await rollups.before(connection, asked), await rollups.after(connection, asked), strict=True)
    near = [
        Neighbours(before.last, before.anchor_us, *after, before.reached, before.settled) for before, after in pairs
    ]
    found = [
        _window(accounts[stretch.meter_id], stretch, around, calendar)
        for stretch, around in zip(by_hour, near, strict=True)
    ]
    return disjoint([*found, *(whole_window(stretch.meter_id) for stretch in stretches if stretch.whole)])


def _window(account: MeterAccount, stretch: Marked, around: Neighbours, calendar: SiteCalendar) -> Window:
    reach = reach_us(account.rules)
    if around.previous is None and not reach:
        # What a new register showed at first stands for a reading: from it on something may have been drawn.
        since_us = min((one.at_us - 1 for one in account.record.exchanges), default=END_US)
        stretch = replace(stretch, start_us=min(stretch.start_us, since_us // HOUR_US * HOUR_US))
    window = window_of(stretch, around, calendar, reach)
    return window if reach else shortened(window, stretch, around, calendar)


def arrivals(accounts: Mapping[int, MeterAccount], new: Figures) -> list[tuple[str, int, int]]:
    """For each enterprise the hours its figures were brought up to date for, as (enterprise, from_us, to_us)."""
    spans: dict[str, tuple[int, int]] = {}
    starts = np.flatnonzero(np.r_[True, np.diff(new.key) != 0][: len(new)])
    for first, end in zip(starts.tolist(), [*starts[1:].tolist(), len(new)], strict=False):
        begin_us, end_us = int(new.start_us[first]), int(new.start_us[end - 1]) + HOUR_US
        enterprise = accounts[int(new.key[first])].enterprise
        known = spans.get(enterprise, (begin_us, end_us))
        spans[enterprise] = min(begin_us, known[0]), max(end_us, known[1])
    return [(enterprise, *span) for enterprise, span in sorted(spans.items())]


def _columns(rows: Iterable[tuple[int, int, int]]) -> Stretches:
    listed = list(rows)
    return [row[0] for row in listed], [row[1] for row in listed], [row[2] for row in listed]


@dataclass(frozen=True, slots=True)
class Part:
    """Everything of a meter from `start_us` up to `end_us` is to be replaced; `held` are the held readings there."""

    meter_id: int
    start_us: int
    end_us: int
    held: tuple[Held, ...] = ()

    @property
    def whole(self) -> bool:
        return self.start_us == BEGINNING_US


@dataclass(slots=True)
class _Done:
    """What came of windows: parts to replace, and the hours in them; and what is still open."""

    parts: list[Part] = field(default_factory=list)
    hours: list[Hours] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    open: list[tuple[Window, ReadFurther | ReadEarlier | None]] = field(default_factory=list)
    """All windows of meters of which one has to be read again, and how that one."""

    def add(self, other: _Done) -> None:
        self.parts += other.parts
        self.hours += other.hours
        self.failed |= other.failed


async def _recomputed(
    connection: Connection,
    calendar: SiteCalendar,
    accounts: Mapping[int, MeterAccount],
    windows: Sequence[Window],
) -> _Done:
    """The windows' hours. A window whose change goes on is read further, or from earlier on, and done again."""
    all_done = _Done()
    pending, step_us = list(windows), FURTHER_US
    while pending:
        rows = await rollups.read(connection, _columns((w.meter_id, w.read_from_us, w.read_to_us) for w in pending))
        done = await asyncio.to_thread(_recompute_all, accounts, pending, rows, calendar)
        all_done.add(done)
        pending = await _again(connection, calendar, accounts, done.open, step_us)
        step_us *= 4
    return all_done


def _recompute_all(
    accounts: Mapping[int, MeterAccount], windows: Sequence[Window], rows: ReadingRows, calendar: SiteCalendar
) -> _Done:
    edges = np.searchsorted(rows.window, np.arange(1, len(windows) + 2))
    plain = Plain(accounts, windows, rows, _hour_edges(calendar, windows, rows))
    ready = dict(zip(plain.chosen.tolist(), plain.ends_us.tolist(), strict=True))
    done, by_meter = _Done(), _by_meter(windows)
    odd: list[MeterHours] = []
    shut_out: set[int] = set()
    for meter, places in by_meter.items():
        rest = [i for i in places if i not in ready]
        if not rest:
            continue
        try:
            found = [
                recompute(accounts[meter], windows[i], *_series(rows, edges[i], edges[i + 1]), calendar) for i in rest
            ]
        except Exception as error:  # noqa: BLE001  # whatever one meter's readings do must not stop the others
            done.failed[meter] = f"{type(error).__name__}: {error}"
            shut_out.add(meter)
            continue
        if all(isinstance(one, MeterHours) for one in found):
            odd += [one for one in found if isinstance(one, MeterHours)]
            continue
        shut_out.add(meter)
        wishes = {i: one for i, one in zip(rest, found, strict=True) if not isinstance(one, MeterHours)}
        done.open += [(windows[i], wishes.get(i)) for i in places]
    plain.leave_out(shut_out)
    done.parts = [Part(one.account.meter_id, one.start_us, one.end_us, one.held) for one in odd]
    done.parts += [
        Part(windows[i].meter_id, windows[i].start_us, end_us)
        for i, end_us in zip(plain.chosen.tolist(), plain.ends_us.tolist(), strict=True)
    ]
    done.hours = [joined(odd, plain.hours() if len(plain.chosen) else None)]
    return done


def _by_meter(windows: Sequence[Window]) -> dict[int, list[int]]:
    by_meter: dict[int, list[int]] = {}
    for place, window in enumerate(windows):
        by_meter.setdefault(window.meter_id, []).append(place)
    return by_meter


def _hour_edges(calendar: SiteCalendar, windows: Sequence[Window], rows: ReadingRows) -> Int64s:
    """Edges of hours around all of these windows and readings."""
    real = [us for window in windows for us in (window.start_us, window.marked_end_us) if BEGINNING_US < us < END_US]
    ends = [*real, *(rows.at_us[[0, -1]].tolist() if len(rows.at_us) else ())]
    if len(rows.at_us):
        ends += [int(rows.at_us.min()), int(rows.at_us.max())]
    return edges_around(calendar, Level.HOUR, min(ends), max(ends)) if ends else np.empty(0, np.int64)


def _series(rows: ReadingRows, first: int, last: int) -> tuple[Series, npt.NDArray[np.bool_]]:
    part = slice(int(first), int(last))
    return Series(rows.at_us[part], rows.value[part], rows.quality[part]), rows.held[part]


async def _again(
    connection: Connection,
    calendar: SiteCalendar,
    accounts: Mapping[int, MeterAccount],
    windows: Sequence[tuple[Window, ReadFurther | ReadEarlier | None]],
    step_us: int,
) -> list[Window]:
    """The same windows with more readings, where they have to be read further or from earlier on."""
    if not windows:
        return []
    earlier = [
        Marked(window.meter_id, wish.from_us // HOUR_US * HOUR_US, window.marked_end_us)
        for window, wish in windows
        if isinstance(wish, ReadEarlier)
    ]
    found = await _windows(connection, calendar, accounts, earlier) if earlier else []
    rest = [(window, wish) for window, wish in windows if not isinstance(wish, ReadEarlier)]
    whole = [window.full for window, _ in rest if window.full is not None]
    rest = [(window, wish) for window, wish in rest if window.full is None]
    wanted = [window for window, wish in rest if wish is not None]
    ends = await rollups.first_accepted(
        connection, _columns((w.meter_id, w.read_to_us + step_us, END_US) for w in wanted)
    )
    settled = [window for window, wish in rest if wish is None]
    further = [reading_further(w, end) for w, end in zip(wanted, ends, strict=True)]
    return disjoint([*found, *whole, *settled, *further])


async def _write_on_record(
    connection: Connection, book: Book, accounts: Mapping[int, MeterAccount], done: _Done, marks: Sequence[Mark]
) -> Figures:
    """Write, and record what that changes in months that are closed."""
    changes = [Change(p.meter_id, accounts[p.meter_id].enterprise, p.start_us, p.end_us) for p in done.parts]
    closing = await closings.closing_days(connection, (one.enterprise for one in changes), book.closing_day)
    now_us = book.now_us()
    open_from_us = {enterprise: days.open_from_us(book.calendar, now_us) for enterprise, days in closing.items()}
    spans = [
        (enterprise, _widened(book.calendar, Level.MONTH, begin, end)[0], end)
        for enterprise, begin, end in closings.spans_of(changes, open_from_us)
    ]
    if not spans:
        return await _write(connection, book, accounts, done)
    before = await closings.months(connection, spans)
    new = await _write(connection, book, accounts, done)
    after = await closings.months(connection, spans)
    closes = {
        (enterprise, month_us): closing[enterprise].closes_us(book.calendar, month_us)
        for enterprise, month_us, _ in {**before, **after}
    }
    await closings.restate(connection, before, after, changes, marks, closes)
    return new


async def _write(connection: Connection, book: Book, accounts: Mapping[int, MeterAccount], done: _Done) -> Figures:
    """Replace the parts by their hours, and bring every level above up to date. Answers the hours there are now."""
    ranges = _columns((part.meter_id, part.start_us, part.end_us) for part in done.parts)
    held = [(part.meter_id, one.at_us, str(one.reason)) for part in done.parts for one in part.held]
    await rollups.replace_held(connection, ranges, held)
    tariff = await book.tariff(connection)
    hours = together(done.hours)
    new = await asyncio.to_thread(priced, hours, tariff)
    whole = {part.meter_id for part in done.parts if part.whole}
    await rollups.forget_hours(connection, _columns((p.meter_id, p.start_us, p.end_us) for p in done.parts if p.whole))
    old = await rollups.take_hours(
        connection, _columns((p.meter_id, p.start_us, p.end_us) for p in done.parts if not p.whole)
    )
    # What had no figure cannot be taken away from a sum: such meters, and those done from nothing, are summed anew.
    anew = whole | {m for column in old.figures for m, f in zip(old.meter.tolist(), column, strict=True) if f is None}
    owners = {accounts[meter].enterprise for meter in anew}
    fresh = hours if not anew and not len(old.meter) else None
    rows = await asyncio.to_thread(_rows, new)
    changes, _ = await asyncio.gather(
        asyncio.to_thread(_changes, book, accounts, new, old, anew, owners, tariff, fresh),
        rollups.add_hours(connection, rows),
    )
    await _sum_anew(connection, book, accounts, [part for part in done.parts if part.meter_id in anew], new)
    shrink = len(old.meter) > 0
    await rollups.merge_meters(connection, changes.meters, shrink=shrink)
    await rollups.merge_enterprises(connection, changes.enterprises, changes.pairs, shrink=shrink)
    for level in Level:
        stretches = _of_enterprises(
            book.calendar,
            level,
            [part for part in done.parts if accounts[part.meter_id].enterprise in owners],
            accounts,
        )
        await rollups.sum_enterprises(connection, level, stretches)
    return new


def _rows(figures: Figures, net: Sequence[Wide] = ()) -> NumericRows:
    wide = (*figures.figures, *net)
    return NumericRows(
        figures.key,
        figures.start_us,
        figures.measured_us,
        figures.estimated_us,
        figures.held,
        tuple(figure.numerics() for figure in wide),
        figures.known * (2 if net else 1),
    )


@dataclass(frozen=True, slots=True)
class _Changes:
    """What is to be added to the longer buckets of meters and to all buckets of enterprises."""

    meters: dict[Level, NumericRows]
    enterprises: dict[Level, NumericRows]
    pairs: list[tuple[str, str]]


def _changes(
    book: Book,
    accounts: Mapping[int, MeterAccount],
    new: Figures,
    old: OldHours,
    anew: Collection[int],
    owners: Collection[str],
    tariff: Tariff,
    fresh: Hours | None,
) -> _Changes:
    """The difference between new and old hours, level by level, without those that are summed anew.

    `fresh`: the new hours before they were priced, if they are all there is; enterprises then sum before they price.
    """
    gone = _of_old(old, anew)
    kept = new if not anew else new.chosen(np.flatnonzero(~np.isin(new.key, list(anew))))
    change = kept.less(gone)
    if not len(change):
        return _Changes({}, {}, [])
    change = change.summed(change.key, change.start_us)
    edges = {
        level: edges_around(book.calendar, level, int(change.start_us.min()), int(change.start_us.max()))
        for level in LONGER
    }
    meters, rows = {}, change
    for level in LONGER:
        rows = rows.by(edges[level])
        meters[level] = _rows(rows)
    if owners:
        here = [meter for meter in np.unique(change.key).tolist() if accounts[meter].enterprise not in owners]
        change = change.chosen(np.flatnonzero(np.isin(change.key, here)))
    sums = by_enterprise(change if fresh is None else priced(alike(fresh), tariff), accounts)
    enterprises = {Level.HOUR: _rows(sums.gross, sums.net)}
    for level in LONGER:
        sums = sums.by(edges[level])
        enterprises[level] = _rows(sums.gross, sums.net)
    return _Changes(meters, enterprises, sums.pairs)


def _of_old(old: OldHours, anew: Collection[int]) -> Figures:
    """The old hours as figures, without those of meters that are summed anew."""
    kept = np.flatnonzero(~np.isin(old.meter, list(anew)))
    places = kept.tolist()
    figures = tuple(wide([column[i] or NOTHING for i in places]) for column in old.figures)
    known = tuple(np.ones(len(places), np.bool_) for _ in figures)
    return Figures(
        old.meter[kept],
        old.start_us[kept],
        figures,
        known,
        old.measured_us[kept],
        old.estimated_us[kept],
        old.held[kept],
    )


async def _sum_anew(
    connection: Connection, book: Book, accounts: Mapping[int, MeterAccount], parts: Sequence[Part], new: Figures
) -> None:
    """The longer buckets of these meters from the sums of the shorter ones."""
    if not parts:
        return
    ranges = _columns((part.meter_id, part.start_us, part.end_us) for part in parts)
    for level in LONGER:
        await rollups.forget_meters(connection, level, _outer(book.calendar, level, ranges))
        await rollups.sum_meters(connection, level, _buckets(book.calendar, level, parts, new))


def _outer(calendar: SiteCalendar, level: Level, ranges: Stretches) -> Stretches:
    """The ranges widened to whole buckets; a whole history stays one."""
    widened = [_widened(calendar, level, begin, end) for _, begin, end in zip(*ranges, strict=True)]
    return ranges[0], [begin for begin, _ in widened], [end for _, end in widened]


def _widened(calendar: SiteCalendar, level: Level, begin_us: int, end_us: int) -> tuple[int, int]:
    if begin_us == BEGINNING_US:
        return begin_us, END_US
    edges = edges_around(calendar, level, begin_us, end_us)
    first = int(np.searchsorted(edges, begin_us, side="right")) - 1
    last = int(np.searchsorted(edges, end_us, side="left"))
    return int(edges[first]), int(edges[last])


def edges_around(calendar: SiteCalendar, level: Level, begin_us: int, end_us: int) -> Int64s:
    """Edges of the level's buckets that cover the range, and more: whole years, so that they can be kept."""
    return _edges_of_years(calendar, level, from_us(begin_us).year - 1, from_us(end_us).year + 2)


@lru_cache(maxsize=256)
def _edges_of_years(calendar: SiteCalendar, level: Level, first: int, last: int) -> Int64s:
    def at(year: int) -> int:
        return calendar.bucket_start(Level.YEAR, _mid_year_us(year))

    return calendar.edges_us(level, at(first), at(last))


def _mid_year_us(year: int) -> int:
    days = (year - 1970) * 365 + (year - 1969) // 4 + 180
    return days * DAY_US


def _buckets(calendar: SiteCalendar, level: Level, parts: Sequence[Part], new: Figures) -> Stretches:
    """The longer buckets (meter, start, end) that hold an hour of these parts, or the edge of a part."""
    mine = np.flatnonzero(np.isin(new.key, [part.meter_id for part in parts]))
    ends = [(part.meter_id, us) for part in parts for us in (part.start_us, part.end_us - 1)]
    meter = np.concatenate([new.key[mine], np.array([meter for meter, _ in ends], np.int64)])
    at_us = np.concatenate([new.start_us[mine], np.array([us for _, us in ends], np.int64)])
    real = (at_us > BEGINNING_US) & (at_us < END_US - DAY_US)
    meter, at_us = meter[real], at_us[real]
    if not len(meter):
        return [], [], []
    edges = edges_around(calendar, level, int(at_us.min()), int(at_us.max()))
    place = np.searchsorted(edges, at_us, side="right") - 1
    pairs = np.unique(meter * len(edges) + place)
    meter, place = pairs // len(edges), pairs % len(edges)
    return meter.tolist(), edges[place].tolist(), edges[place + 1].tolist()


def _of_enterprises(
    calendar: SiteCalendar, level: Level, parts: Sequence[Part], accounts: Mapping[int, MeterAccount]
) -> tuple[list[str], list[int], list[int]]:
    """The buckets that these parts touched, as stretches of time of each enterprise that do not overlap."""
    touched = sorted(
        {(accounts[part.meter_id].enterprise, *_widened(calendar, level, part.start_us, part.end_us)) for part in parts}
    )
    merged: list[tuple[str, int, int]] = []
    for enterprise, begin, end in touched:
        if merged and merged[-1][0] == enterprise and begin <= merged[-1][2]:
            merged[-1] = (enterprise, merged[-1][1], max(end, merged[-1][2]))
        else:
            merged.append((enterprise, begin, end))
    return [row[0] for row in merged], [row[1] for row in merged], [row[2] for row in merged]
