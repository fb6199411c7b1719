"""From the raw readings of a bucket's meters to the tree that its figure is made of, in the figure's own snapshot."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import asyncpg
import numpy as np

from app.store import rollups
from app.store.energy import By, Explanation, meters_to_explain, series_in
from app.store.factors import Factors, factor_rows, factors_of
from app.store.rollups import BEGINNING_US, END_US, Connection, MeterAccount, ReadingRows
from energy.consumption import Accepted, Assessment, assess, spread
from energy.explanation import MeterTree, Owner, Piece, Shown, piece_of
from energy.interval import Level, SiteCalendar, parse_range_bound
from energy.reading import Series
from energy.tce import Basis
from energy.units import to_normal

NANO = Decimal("1e-9")


async def explain(
    pool: asyncpg.Pool,
    calendar: SiteCalendar,
    *,
    enterprise: str,
    level: Level,
    start_us: int,
    basis: Basis,
    co2_dataset: str,
    now_us: int,
) -> Explanation:
    """The bucket that contains the instant: its stored figure, and what it is made of, in one snapshot.

    Raises EnterpriseUnknown and DatasetUnknown, and what a meter's own fields make energy raise.
    """
    begins, ends = calendar.bucket_start(level, start_us), calendar.bucket_end(level, start_us)
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        edges = np.array([begins, ends], np.int64)
        series = await series_in(connection, enterprise, edges, level, By.METER, basis, calendar, now_us, co2_dataset)
        meters = await meters_to_explain(connection, enterprise)
        trees = await meter_trees(connection, calendar, meters, begins, ends, basis, co2_dataset)
    return Explanation(series, tuple(trees), waiting=series.as_of_us < now_us)


async def meter_trees(
    connection: Connection,
    calendar: SiteCalendar,
    meters: Sequence[tuple[int, str, int]],
    start_us: int,
    end_us: int,
    basis: Basis,
    co2_dataset: str,
) -> list[MeterTree]:
    """The trees of these meters (number, name, level) in a bucket, from raw readings and the record alone.

    Readings are read from the accepted one before the bucket to the one after it: a history may be cut at either.
    """
    await connection.execute(rollups.SETTINGS)
    factors = factors_of(await factor_rows(connection))
    accounts = await rollups.accounts(connection, [number for number, _, _ in meters])
    trees = []
    for number, name, level in meters:
        account = accounts[number]
        if isinstance(account, ValueError):
            raise account
        bounds = await _bounds(connection, number, start_us, end_us)
        rows = await rollups.read(connection, ([number], [bounds[0]], [bounds[1]]))
        owner = Owner(account.carrier, account.role, account.enterprise, account.region, basis, co2_dataset)
        part = _Bucket(account, factors, calendar, start_us, end_us, owner)
        trees.append(await asyncio.to_thread(part.tree, rows, bounds, name, level))
    return trees


async def _bounds(connection: Connection, number: int, start_us: int, end_us: int) -> tuple[int, int]:
    """From which accepted reading to which the bucket's readings are read."""
    asked = ([number], [start_us], [end_us])
    (before,) = await rollups.before(connection, asked)
    ((_, beyond_us),) = await rollups.after(connection, asked)
    first = BEGINNING_US if before.anchor_us is None else before.anchor_us
    return first, END_US if beyond_us is None else beyond_us


class _Bucket:
    """One meter in one bucket."""

    def __init__(
        self,
        account: MeterAccount,
        factors: Factors,
        calendar: SiteCalendar,
        start_us: int,
        end_us: int,
        owner: Owner,
    ) -> None:
        self._account, self._factors, self._calendar = account, factors, calendar
        self._start_us, self._end_us, self._owner = start_us, end_us, owner

    def tree(self, rows: ReadingRows, bounds: tuple[int, int], name: str, level: int) -> MeterTree:
        account = self._account
        series, before = Series(rows.at_us, rows.value, rows.quality), None
        if bounds[0] != BEGINNING_US and len(series):
            before = Accepted(int(series.at_us[0]), float(series.value[0]), int(series.quality[0]))
            series = series[1:]
        assessment = assess(series, account.rules, before=before, record=account.record.until(bounds[1]))
        inside = [one for one in self._shown(assessment) if self._start_us <= one.at_us < self._end_us]
        sound = [one for one in inside if one.held is None]
        return MeterTree(
            code=account.code,
            name=name,
            carrier=account.carrier,
            role=account.role,
            kind=account.rules.kind,
            unit=account.unit,
            normal_unit=account.normal_unit,
            level=level,
            before=self._neighbour(assessment, before, later=False),
            first=sound[0] if sound else None,
            last=sound[-1] if sound else None,
            after=self._neighbour(assessment, None, later=True),
            readings=len(inside),
            held=tuple(one for one in inside if one.held is not None),
            exchanges=tuple(one for one in account.record.exchanges if self._start_us <= one.at_us < self._end_us),
            decisions=tuple(one for one in account.record.decisions if self._start_us <= one.at_us < self._end_us),
            pieces=tuple(self._pieces(assessment, before)),
        )

    def _shown(self, assessment: Assessment) -> list[Shown]:
        series, held = assessment.series, {one.at_us: one.reason for one in assessment.held()}
        rows = zip(series.at_us.tolist(), series.value.tolist(), series.quality.tolist(), strict=True)
        return [Shown(at_us, value, quality, held.get(at_us)) for at_us, value, quality in rows]

    def _neighbour(self, assessment: Assessment, before: Accepted | None, *, later: bool) -> Shown | None:
        """The accepted reading nearest to the bucket on one side of it."""
        sound = [one for one in self._shown(assessment) if one.held is None]
        if later:
            return next((one for one in sound if one.at_us >= self._end_us), None)
        earlier = [one for one in sound if one.at_us < self._start_us]
        if earlier:
            return earlier[-1]
        return None if before is None else Shown(before.at_us, before.value, before.quality)

    def _pieces(self, assessment: Assessment, before: Accepted | None) -> list[Piece]:
        """The bucket cut where the multiplier or a factor changes; neighbours that are alike are one piece."""
        account = self._account
        if not len(assessment.series) and before is None:
            return []
        edges = np.array(self._cuts(), np.int64)
        part = spread(assessment, account.rules, edges, before=before)
        scale = to_normal(account.unit, account.normal_unit, account.rules.kind)
        found: list[Piece] = []
        for i in range(len(edges) - 1):
            begins, ends = int(edges[i]), int(edges[i + 1])
            covered = int(part.measured_us[i]), int(part.estimated_us[i])
            if not any(covered):
                continue
            raw = Decimal(int(part.quantity_nano[i])) * NANO
            multiplier = account.multiplier_at(begins)
            day = self._calendar.local_date(begins)
            piece = piece_of((begins, ends), raw, (multiplier, scale), covered, self._factors.book, self._owner, day)
            found.append(piece)
        return _joined(found)

    def _cuts(self) -> list[int]:
        zone = self._calendar.zone
        first = bisect_left(self._factors.turns, self._calendar.local_date(self._start_us))
        last = bisect_left(self._factors.turns, self._calendar.local_date(self._end_us - 1)) + 1
        days = [parse_range_bound(day.isoformat(), zone) for day in self._factors.turns[first:last]]
        turns = [*days, *self._account.record.turns_us(self._start_us, self._end_us)]
        inside = {at_us for at_us in turns if self._start_us < at_us < self._end_us}
        return sorted({self._start_us, self._end_us, *inside})


def _joined(pieces: Sequence[Piece]) -> list[Piece]:
    """Neighbours with the same multiplier and the same factors as one."""
    found: list[Piece] = []
    for piece in pieces:
        last = found[-1] if found else None
        if last is None or last.end_us != piece.start_us or _terms(last) != _terms(piece):
            found.append(piece)
            continue
        found[-1] = replace(
            last,
            end_us=piece.end_us,
            raw=last.raw + piece.raw,
            quantity=last.quantity + piece.quantity,
            tce=None if last.tce is None or piece.tce is None else last.tce + piece.tce,
            tco2=None if last.tco2 is None or piece.tco2 is None else last.tco2 + piece.tco2,
            measured_us=last.measured_us + piece.measured_us,
            estimated_us=last.estimated_us + piece.estimated_us,
        )
    return found


def _terms(piece: Piece) -> tuple[object, ...]:
    return piece.multiplier, piece.coal_factor, piece.co2_factor
