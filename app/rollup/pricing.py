"""Hours of many meters at once: priced, and added up to days, months, years and enterprises. Pure, numpy, exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from app.rollup.recompute import MeterHours, Tariff
from app.store.numeric_wire import Wide, added_up, exact_product, wide_products
from app.store.rollups import MeterAccount
from energy.consumption import SAFE_NANO
from energy.tce import contribution

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NANO = Decimal("1e-9")
NO_FACTOR = Decimal(0)
"""Stands where a figure is null anyway."""
FIGURES = 4
CELLS_A_ROW = 16
"""A table of all enterprises and hours up to so many times the rows is quicker than sorting them."""


@dataclass(frozen=True, slots=True, eq=False)
class Scales:
    """What a row's 1e-9 raw units are to be multiplied with: the meter's account, and normal units a raw one."""

    account: MeterAccount
    per_raw: Decimal


@dataclass(frozen=True, slots=True, eq=False)
class Hours:
    """Rows of many windows, in order of meter and time; `scale` is each row's place in `scales`."""

    meter: Int64s
    hour_us: Int64s
    quantity_nano: npt.NDArray[np.int64] | npt.NDArray[np.object_]
    measured_us: Int64s
    estimated_us: Int64s
    held: Int64s
    scale: Int64s
    scales: list[Scales]


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """n rows, each of one key and time: four exact figures, which of them are known, times, and held readings.

    `key` is a meter's number, or the place of an enterprise and carrier in a list beside it.
    """

    key: Int64s
    start_us: Int64s
    figures: tuple[Wide, ...]
    known: tuple[Bools, ...]
    measured_us: Int64s
    estimated_us: Int64s
    held: Int64s

    def __len__(self) -> int:
        return len(self.key)

    def chosen(self, rows: Int64s) -> Figures:
        return Figures(
            self.key[rows],
            self.start_us[rows],
            tuple(figure[rows] for figure in self.figures),
            tuple(known[rows] for known in self.known),
            self.measured_us[rows],
            self.estimated_us[rows],
            self.held[rows],
        )

    def less(self, other: Figures) -> Figures:
        """These rows and the others with the opposite sign, in order of key and time."""
        if not len(other):
            return self
        minus = np.full(len(other), -1, np.int64)
        both = Figures(
            np.concatenate([self.key, other.key]),
            np.concatenate([self.start_us, other.start_us]),
            tuple(a.followed_by(b.times(minus)) for a, b in zip(self.figures, other.figures, strict=True)),
            tuple(np.concatenate(pair) for pair in zip(self.known, other.known, strict=True)),
            np.concatenate([self.measured_us, -other.measured_us]),
            np.concatenate([self.estimated_us, -other.estimated_us]),
            np.concatenate([self.held, -other.held]),
        )
        return both.chosen(np.lexsort((both.start_us, both.key)))

    def summed(self, key: Int64s, start_us: Int64s) -> Figures:
        """Runs of rows with the same new key and start become one; a sum with an unknown part is unknown."""
        if not len(self):
            return self
        fresh = np.r_[True, (key[1:] != key[:-1]) | (start_us[1:] != start_us[:-1])]
        starts = np.flatnonzero(fresh)
        if len(starts) == len(self):
            return Figures(key, start_us, self.figures, self.known, self.measured_us, self.estimated_us, self.held)
        return Figures(
            key[starts],
            start_us[starts],
            tuple(figure.grouped(starts) for figure in self.figures),
            tuple(np.logical_and.reduceat(known, starts) for known in self.known),
            np.add.reduceat(self.measured_us, starts),
            np.add.reduceat(self.estimated_us, starts),
            np.add.reduceat(self.held, starts),
        )

    def by(self, edges_us: Int64s) -> Figures:
        """The rows added up to the longer buckets between edges they start in."""
        place = np.searchsorted(edges_us, self.start_us, side="right") - 1
        return self.summed(self.key, edges_us[place])


def joined(parts: Sequence[MeterHours], flat: Hours | None) -> Hours:
    """All rows in order of meter and time."""
    scales = [Scales(part.account, unit) for part in parts for unit in part.per_raw]
    first = np.cumsum([0, *(len(part.per_raw) for part in parts)])
    lengths = [len(part.hour_us) for part in parts]
    meters = np.array([part.account.meter_id for part in parts], np.int64)
    columns: list[tuple[npt.NDArray[np.int64] | npt.NDArray[np.object_], ...]] = [
        (
            np.repeat(meters, lengths),
            _joined([part.hour_us for part in parts]),
            _joined([part.quantity_nano for part in parts]),
            _joined([part.measured_us for part in parts]),
            _joined([part.estimated_us for part in parts]),
            _joined([part.held_count for part in parts]),
            _joined([part.unit + start for part, start in zip(parts, first.tolist(), strict=False)]),
        )
    ]
    if flat is not None:
        count = len(scales)
        scales += flat.scales
        columns.append((*_columns(flat), flat.scale + count))
    whole = [np.concatenate(column) for column in zip(*columns, strict=True)]
    meter, hour_us = whole[0].astype(np.int64), whole[1].astype(np.int64)
    if parts and bool(((np.diff(meter) < 0) | ((np.diff(meter) == 0) & (np.diff(hour_us) < 0))).any()):
        order = np.lexsort((hour_us, meter))
        whole = [column[order] for column in whole]
    return Hours(*whole, scales)  # type: ignore[call-arg, arg-type]  # fields in order


def together(several: Sequence[Hours]) -> Hours:
    """Rows that were made one lot after the other, in order of meter and time."""
    if len(several) == 1:
        return several[0]
    firsts = np.cumsum([0, *(len(one.scales) for one in several)]).tolist()
    lots = [(*_columns(one), one.scale + first) for one, first in zip(several, firsts, strict=False)]
    whole = [np.concatenate(column) for column in zip(*lots, strict=True)]
    order = np.lexsort((whole[1].astype(np.int64), whole[0].astype(np.int64)))
    scales = [scale for one in several for scale in one.scales]
    return Hours(*(column[order] for column in whole), scales)  # type: ignore[call-arg, arg-type]  # fields in order


def _columns(hours: Hours) -> tuple[npt.NDArray[np.int64] | npt.NDArray[np.object_], ...]:
    return hours.meter, hours.hour_us, hours.quantity_nano, hours.measured_us, hours.estimated_us, hours.held


def _joined(arrays: Sequence[Int64s] | Sequence[npt.NDArray[np.int64] | npt.NDArray[np.object_]]) -> Int64s:
    return np.concatenate(arrays) if arrays else np.empty(0, np.int64)


def priced(hours: Hours, tariff: Tariff) -> Figures:
    """The hours as they are to be stored: quantity in the carrier's normal unit, coal equivalents, CO2."""
    which, columns = _factors(hours, tariff)
    factors = [[NO_FACTOR if factor is None else factor for factor in column] for column in columns]
    figures = wide_products(hours.quantity_nano, factors, which)
    known = tuple(np.array([f is not None for f in column] or [True])[which] for column in columns)
    rows = Figures(hours.meter, hours.hour_us, figures, known, hours.measured_us, hours.estimated_us, hours.held)
    return rows.summed(hours.meter, hours.hour_us)


def alike(hours: Hours) -> Hours:
    """The hours with those of one enterprise, carrier, role and unit added up: their sums are the same once priced.

    A row of the answer is of any one of its meters. Where the sums could leave int64 nothing is added.
    """
    kinds: dict[tuple[object, ...], int] = {}
    for one in hours.scales:
        kinds.setdefault(_kind(one), len(kinds))
    quantity = hours.quantity_nano
    if len(kinds) == len(hours.scales) or float(np.abs(quantity.astype(np.float64)).sum()) >= SAFE_NANO:
        return hours
    kind = np.array([kinds[_kind(one)] for one in hours.scales], np.int64)[hours.scale]
    group, first = _groups(kind, hours.hour_us)
    columns = quantity.astype(np.int64), hours.measured_us, hours.estimated_us, hours.held
    summed, measured_us, estimated_us, held = (added_up(column, group, len(first)) for column in columns)
    rows = hours.meter[first], hours.hour_us[first], summed, measured_us, estimated_us, held
    return Hours(*rows, hours.scale[first], hours.scales)


def _kind(scale: Scales) -> tuple[object, ...]:
    account = scale.account
    return scale.per_raw, account.carrier, account.enterprise, account.region, account.role


def _factors(hours: Hours, tariff: Tariff) -> tuple[Int64s, list[list[Decimal | None]]]:
    """For every row the place of its factors, and these: what 1e-9 of a raw unit is in each of the four figures."""
    periods = tariff.periods(hours.hour_us)
    span = int(periods.max(initial=0)) + 1
    pairs, which = _distinct(hours.scale * span + periods)
    columns: list[list[Decimal | None]] = [[] for _ in range(FIGURES)]
    known: dict[tuple[object, ...], tuple[Decimal | None, ...]] = {}
    for scale, period in zip((pairs // span).tolist(), (pairs % span).tolist(), strict=True):
        one = hours.scales[scale]
        key = (*_kind(one), period)
        if key not in known:
            unit = exact_product(one.per_raw, NANO)
            tonnes = (Decimal(1), *tariff.per_unit(one.account, period))
            known[key] = tuple(None if one is None else exact_product(unit, one) for one in tonnes)
        for column, factor in zip(columns, known[key], strict=True):
            column.append(factor)
    distinct = {row: place for place, row in enumerate(dict.fromkeys(zip(*columns, strict=True)))}
    places = np.array([distinct[row] for row in zip(*columns, strict=True)], np.int64)
    if not distinct:
        return np.empty(0, np.int64), columns
    return places[which], [list(column) for column in zip(*distinct, strict=True)]


def _distinct(numbers: Int64s) -> tuple[Int64s, Int64s]:
    """The distinct numbers, and each one's place among them. Quick where equal ones stand in long runs."""
    fresh = np.r_[True, numbers[1:] != numbers[:-1]][: len(numbers)]
    starts = np.flatnonzero(fresh)
    distinct, place = np.unique(numbers[starts], return_inverse=True)
    return distinct, np.repeat(place.reshape(-1), np.diff(starts, append=len(numbers)))


@dataclass(frozen=True, slots=True, eq=False)
class EnterpriseFigures:
    """Sums of an enterprise's meters by carrier, gross and net. `key` is a place in `pairs`, counted from 1."""

    pairs: list[tuple[str, str]]
    gross: Figures
    net: tuple[Wide, ...]

    def by(self, edges_us: Int64s) -> EnterpriseFigures:
        """Added up to longer buckets."""
        gross = self.gross
        if not len(gross):
            return self
        start_us = edges_us[np.searchsorted(edges_us, gross.start_us, side="right") - 1]
        starts = np.flatnonzero(np.r_[True, (np.diff(gross.key) != 0) | (np.diff(start_us) != 0)])
        net = self.net if self.net is gross.figures else tuple(figure.grouped(starts) for figure in self.net)
        summed = gross.by(edges_us)
        return EnterpriseFigures(self.pairs, summed, summed.figures if self.net is gross.figures else net)


def by_enterprise(rows: Figures, accounts: Mapping[int, MeterAccount]) -> EnterpriseFigures:
    """The signed sums, an hour and carrier each. Meters whose role does not count leave no trace."""
    meters, place = np.unique(rows.key, return_inverse=True)
    mine = [accounts[int(meter)] for meter in meters.tolist()]
    pairs = sorted({(account.enterprise, account.carrier) for account in mine})
    number = {pair: i for i, pair in enumerate(pairs, 1)}
    signs = [contribution(account.role, Decimal(1)) for account in mine]
    gross = np.array([int(sign.gross) for sign in signs], np.int64)[place]
    net = np.array([int(sign.net) for sign in signs], np.int64)[place]
    pair = np.array([number[account.enterprise, account.carrier] for account in mine], np.int64)[place]
    rows, gross, net, pair = _counting(rows, gross, net, pair)
    group, first = _groups(pair, rows.start_us)
    count = len(first)
    signed = Figures(
        pair[first],
        rows.start_us[first],
        _gathered(rows.figures, gross, group, count),
        tuple(added_up(~known, group, count) == 0 for known in rows.known),
        *(added_up(column, group, count) for column in (rows.measured_us, rows.estimated_us, rows.held)),
    )
    if bool((gross == net).all()):
        return EnterpriseFigures(pairs, signed, signed.figures)
    return EnterpriseFigures(pairs, signed, _gathered(rows.figures, net, group, count))


def _counting(rows: Figures, gross: Int64s, net: Int64s, pair: Int64s) -> tuple[Figures, Int64s, Int64s, Int64s]:
    """Without the rows that count neither gross nor net."""
    counting = (gross != 0) | (net != 0)
    if bool(counting.all()):
        return rows, gross, net, pair
    kept = np.flatnonzero(counting)
    return rows.chosen(kept), gross[kept], net[kept], pair[kept]


def _gathered(figures: Sequence[Wide], signs: Int64s, group: Int64s, count: int) -> tuple[Wide, ...]:
    """The signed sums of the groups."""
    if not bool((signs == 1).all()):
        figures = [figure.times(signs) for figure in figures]
    return tuple(figure.gathered(group, count) for figure in figures)


def _groups(pair: Int64s, start_us: Int64s) -> tuple[Int64s, Int64s]:
    """Each row's group of rows with its pair and start, numbered in order of both; and of each group one row."""
    if not len(pair):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    starts = np.unique(start_us)
    cell = pair * len(starts) + np.searchsorted(starts, start_us)
    cells = (int(pair.max()) + 1) * len(starts)
    if cells > CELLS_A_ROW * len(pair):
        _, first, group = np.unique(cell, return_index=True, return_inverse=True)
        return group.reshape(-1), first
    some = np.full(cells, -1, np.int64)
    some[cell] = np.arange(len(cell))
    there = some >= 0
    return (np.cumsum(there) - 1)[cell], some[there]
