"""Marks become figures: one transaction takes some marks, recomputes their windows and writes every level above."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import asyncpg
import numpy as np
import numpy.typing as npt

from app.rollup.recompute import MeterHours, ReadFurther, Tariff, priced, recompute
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
from app.store import events, rollups
from app.store.readings import is_unavailable
from app.store.rollups import BEGINNING_US, END_US, Connection, Mark, MeterAccount, ReadingRows, Stretches
from energy.consumption import reach_us
from energy.interval import DAY_US, HOUR_US, Level, SiteCalendar, from_us
from energy.reading import Series

Int64s = npt.NDArray[np.int64]

PAIRS_AT_ONCE = 60_000
"""Marked hours of meters one transaction takes, so that it holds some megabytes and lasts about a second."""
WHOLE_METERS_AT_ONCE = 8
"""Meters whose whole history one transaction takes: a year by the minute is half a million readings each."""
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


@dataclass(frozen=True, slots=True)
class Book:
    """What recomputing needs to know besides the readings.

    The tariff is asked for after the marks are taken: whoever changes a factor leaves a mark in the same transaction,
    so a mark that was taken is never worked off with the factor from before.
    """

    calendar: SiteCalendar
    tariff: Callable[[Connection], Awaitable[Tariff]]


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
        await connection.execute(rollups.SETTINGS)
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
            taken.append(Mark(now, None, mark.marked_us))
        if later:
            await rollups.put_back(connection, Mark(later, None, mark.marked_us))
    return taken


def _of_meters(marks: Sequence[Mark], meters: Iterable[int]) -> list[Mark]:
    """What the marks say of each of these meters, one mark a meter, as old as the oldest."""
    found = []
    for meter in sorted(meters):
        mine = [mark for mark in marks if meter in mark.meter]
        oldest_us = min(mark.marked_us for mark in mine)
        if any(mark.hour is None for mark in mine):
            found.append(Mark([meter], None, oldest_us))
            continue
        hours = sorted({h for k in mine for m, h in zip(k.meter, k.hour or (), strict=True) if m == meter})
        found.append(Mark([meter] * len(hours), hours, oldest_us))
    return found


async def _rework_meters(
    connection: Connection, book: Book, marks: Sequence[Mark], outcome: Outcome, *, one_by_one: bool
) -> None:
    meters = sorted({meter for mark in marks for meter in mark.meter})
    found = await rollups.accounts(connection, meters)
    sound = {number: account for number, account in found.items() if isinstance(account, MeterAccount)}
    outcome.failed |= {number: str(error) for number, error in found.items() if isinstance(error, ValueError)}
    await rollups.lock_enterprises(connection, {account.enterprise for account in sound.values()})
    stretches = [one for one in _stretches(marks) if one.meter_id in sound]
    if not one_by_one:
        await _rework_stretches(connection, book, sound, stretches, outcome)
        return
    for number, account in sound.items():
        try:
            async with connection.transaction():
                mine = [one for one in stretches if one.meter_id == number]
                await _rework_stretches(connection, book, {number: account}, mine, outcome)
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
    outcome: Outcome,
) -> None:
    windows = await _windows(connection, book.calendar, accounts, stretches)
    parts, failed = await _recomputed(connection, book.calendar, accounts, windows)
    outcome.failed |= failed
    outcome.meters += len({part.account.meter_id for part in parts})
    outcome.hours += sum(len(part.hour_us) for part in parts)
    if parts:
        await _write(connection, book, parts)
        await events.record_arrivals(connection, arrivals(parts))
        new = {window.meter_id for window in windows if window.read_from_us == BEGINNING_US}
        await rollups.note_first_readings(connection, sorted(new))


async def _windows(
    connection: Connection,
    calendar: SiteCalendar,
    accounts: Mapping[int, MeterAccount],
    stretches: Sequence[Marked],
) -> list[Window]:
    by_hour = [stretch for stretch in stretches if not stretch.whole]
    asked = _columns((stretch.meter_id, stretch.start_us, stretch.end_us) for stretch in by_hour)
    pairs = zip(await rollups.before(connection, asked), await rollups.after(connection, asked), strict=True)
    near = [Neighbours(before.last, before.anchor_us, *after, before.reached) for before, after in pairs]
    found = [
        _window(accounts[stretch.meter_id], stretch, around, calendar)
        for stretch, around in zip(by_hour, near, strict=True)
    ]
    return disjoint([*found, *(whole_window(stretch.meter_id) for stretch in stretches if stretch.whole)])


def _window(account: MeterAccount, stretch: Marked, around: Neighbours, calendar: SiteCalendar) -> Window:
    reach = reach_us(account.rules)
    window = window_of(stretch, around, calendar, reach)
    return window if reach else shortened(window, stretch, around, calendar)


def arrivals(parts: Sequence[MeterHours]) -> list[tuple[str, int, int]]:
    """For each enterprise the hours its figures were brought up to date for, as (enterprise, from_us, to_us)."""
    spans: dict[str, tuple[int, int]] = {}
    for part in parts:
        if len(part.hour_us):
            begin, end = int(part.hour_us.min()), int(part.hour_us.max()) + HOUR_US
            known = spans.get(part.account.enterprise, (begin, end))
            spans[part.account.enterprise] = min(begin, known[0]), max(end, known[1])
    return [(enterprise, *span) for enterprise, span in sorted(spans.items())]


def _columns(rows: Iterable[tuple[int, int, int]]) -> Stretches:
    listed = list(rows)
    return [row[0] for row in listed], [row[1] for row in listed], [row[2] for row in listed]


async def _recomputed(
    connection: Connection,
    calendar: SiteCalendar,
    accounts: Mapping[int, MeterAccount],
    windows: Sequence[Window],
) -> tuple[list[MeterHours], dict[int, str]]:
    """The windows' hours, and the meters that failed. A window whose change goes on is read further and done again."""
    parts: list[MeterHours] = []
    failed: dict[int, str] = {}
    pending, step_us = list(windows), FURTHER_US
    while pending:
        rows = await rollups.read(connection, _columns((w.meter_id, w.read_from_us, w.read_to_us) for w in pending))
        done = await asyncio.to_thread(_recompute_all, accounts, pending, rows, calendar)
        failed |= done.failed
        parts += done.parts
        pending = await _further(connection, done.open, step_us)
        step_us *= 4
    return parts, failed


@dataclass(slots=True)
class _Done:
    parts: list[MeterHours] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    open: list[tuple[Window, bool]] = field(default_factory=list)
    """All windows of meters of which one has to be read further, and whether it is that one."""


def _recompute_all(
    accounts: Mapping[int, MeterAccount], windows: Sequence[Window], rows: ReadingRows, calendar: SiteCalendar
) -> _Done:
    done = _Done()
    edges = np.searchsorted(rows.window, np.arange(1, len(windows) + 2))
    by_meter: dict[int, list[int]] = {}
    for place, window in enumerate(windows):
        by_meter.setdefault(window.meter_id, []).append(place)
    for meter, places in by_meter.items():
        try:
            found = [
                recompute(accounts[meter], windows[i], *_series(rows, edges[i], edges[i + 1]), calendar) for i in places
            ]
        except Exception as error:  # noqa: BLE001  # whatever one meter's readings do must not stop the others
            done.failed[meter] = f"{type(error).__name__}: {error}"
            continue
        if any(isinstance(one, ReadFurther) for one in found):
            done.open += [(windows[i], isinstance(one, ReadFurther)) for i, one in zip(places, found, strict=True)]
        else:
            done.parts += [one for one in found if isinstance(one, MeterHours)]
    return done


def _series(rows: ReadingRows, first: int, last: int) -> tuple[Series, npt.NDArray[np.bool_]]:
    part = slice(int(first), int(last))
    return Series(rows.at_us[part], rows.value[part], rows.quality[part]), rows.held[part]


async def _further(connection: Connection, windows: Sequence[tuple[Window, bool]], step_us: int) -> list[Window]:
    if not windows:
        return []
    whole = [window.full for window, _ in windows if window.full is not None]
    windows = [(window, further) for window, further in windows if window.full is None]
    wanted = [window for window, further in windows if further]
    ends = await rollups.first_accepted(
        connection, _columns((w.meter_id, w.read_to_us + step_us, END_US) for w in wanted)
    )
    settled = [window for window, further in windows if not further]
    return disjoint([*whole, *settled, *(reading_further(w, end) for w, end in zip(wanted, ends, strict=True))])


async def _write(connection: Connection, book: Book, parts: Sequence[MeterHours]) -> None:
    ranges = _columns((part.account.meter_id, part.start_us, part.end_us) for part in parts)
    held = [(part.account.meter_id, one.at_us, str(one.reason)) for part in parts for one in part.held]
    await rollups.replace_held(connection, ranges, held)
    rows = await asyncio.to_thread(priced, parts, await book.tariff(connection))
    await rollups.replace_hours(connection, ranges, rows)
    for level in LONGER:
        await rollups.forget_meters(connection, level, _outer(book.calendar, level, ranges))
        await rollups.sum_meters(connection, level, _buckets(book.calendar, level, parts))
    for level in Level:
        await rollups.sum_enterprises(connection, level, _of_enterprises(book.calendar, level, parts))


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


def _buckets(calendar: SiteCalendar, level: Level, parts: Sequence[MeterHours]) -> Stretches:
    """The longer buckets (meter, start, end) that hold an hour of these parts, or the edge of a part."""
    meter = np.concatenate([np.full(len(part.hour_us) + 2, part.account.meter_id, np.int64) for part in parts])
    at_us = np.concatenate([np.r_[part.hour_us, _ends_inside(part)] for part in parts])
    real = (at_us > BEGINNING_US) & (at_us < END_US - DAY_US)
    meter, at_us = meter[real], at_us[real]
    if not len(meter):
        return [], [], []
    edges = edges_around(calendar, level, int(at_us.min()), int(at_us.max()))
    place = np.searchsorted(edges, at_us, side="right") - 1
    pairs = np.unique(meter * len(edges) + place)
    meter, place = pairs // len(edges), pairs % len(edges)
    return meter.tolist(), edges[place].tolist(), edges[place + 1].tolist()


def _ends_inside(part: MeterHours) -> list[int]:
    return [part.start_us, part.end_us - 1]


def _of_enterprises(
    calendar: SiteCalendar, level: Level, parts: Sequence[MeterHours]
) -> tuple[list[str], list[int], list[int]]:
    """The buckets that these parts touched, as stretches of time of each enterprise that do not overlap."""
    touched = sorted(
        {(part.account.enterprise, *_widened(calendar, level, part.start_us, part.end_us)) for part in parts}
    )
    merged: list[tuple[str, int, int]] = []
    for enterprise, begin, end in touched:
        if merged and merged[-1][0] == enterprise and begin <= merged[-1][2]:
            merged[-1] = (enterprise, merged[-1][1], max(end, merged[-1][2]))
        else:
            merged.append((enterprise, begin, end))
    return [row[0] for row in merged], [row[1] for row in merged], [row[2] for row in merged]
