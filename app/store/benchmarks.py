"""Lines held against their levels, from the monthly rollups: of an enterprise, of a region, and those behind 基准."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

import asyncpg

from app.store.numeric_wire import exact_sum
from app.store.readings import MOMENT
from app.store.rollups import Connection
from energy.benchmark import Indicator, Position, applies, output_scale, range_of
from energy.correction import Attribute, Attributes, Correction, How, Side, correct
from energy.interval import Level as BucketLevel
from energy.interval import SiteCalendar
from energy.line import Level, LineFigures, LineMonth, Part, Verdict, judged, month_figures, year_figures
from energy.reading import Role
from energy.tce import Basis

LINES = """
SELECT line.line_id, line.enterprise, enterprise.name AS enterprise_name, enterprise.region, line.code, line.name,
       line.product, product.name_zh AS product_zh, product.name_en AS product_en, product.industry,
       product.accumulates, product.unit AS product_unit, line.condition, line.capacity_per_year, line.unit,
       coalesce(said.attributes, '{}') AS attributes
FROM line JOIN enterprise ON enterprise.id = line.enterprise JOIN product ON product.code = line.product
LEFT JOIN LATERAL (
    SELECT attributes FROM line_attribute
    WHERE line_attribute.line_id = line.line_id AND valid_from <= $3
    ORDER BY valid_from DESC, entry_id DESC LIMIT 1
) AS said ON true
WHERE line.active AND ($1::text IS NULL OR line.enterprise = $1)
  AND ($2::text IS NULL OR starts_with(enterprise.region, $2))
ORDER BY line.enterprise, line.code
"""
PARTS = f"""
SELECT line_meter.line_id, meter.code, meter.carrier, meter.role, line_meter.share,
       (extract(epoch FROM m.start) * 1000000)::bigint AS start_us, m.quantity, m.tce_equivalent, m.tce_equal, m.tco2,
       m.measured_us, m.estimated_us
FROM line_meter JOIN meter ON meter.meter_id = line_meter.meter_id
LEFT JOIN meter_month AS m ON m.meter_id = meter.meter_id
    AND m.start >= {MOMENT.format(us="$2::bigint")} AND m.start < {MOMENT.format(us="$3::bigint")}
WHERE line_meter.line_id = ANY ($1::int[]) ORDER BY line_meter.line_id, meter.code, m.start
"""
OUTPUTS = """
SELECT DISTINCT ON (line_id, month) line_id, month, quantity FROM line_output
WHERE line_id = ANY ($1::int[]) AND month >= $2 AND month <= $3 ORDER BY line_id, month, revision DESC
"""
LEVELS = """
SELECT * FROM level WHERE product = ANY ($1::text[])
  AND CASE WHEN $3::text IS NOT NULL AND kind = 'benchmark' THEN edition = $3
      ELSE valid_from <= $2 AND (valid_to IS NULL OR valid_to > $2) END
ORDER BY product, kind, indicator, condition
"""
CORRECTIONS = """
SELECT * FROM level_correction WHERE product = ANY ($1::text[])
  AND valid_from <= $2 AND (valid_to IS NULL OR valid_to > $2) ORDER BY correction_id
"""
BENCHMARK, LIMIT = "benchmark", "limit"


@dataclass(frozen=True, slots=True)
class LineInfo:
    """A line as it is registered, with what was said of it for the first day of the month that is looked at."""

    line_id: int
    enterprise: str
    enterprise_name: str
    region: str
    code: str
    name: str
    product: str
    product_zh: str
    product_en: str
    industry: str
    accumulates: bool
    product_unit: str
    condition: str
    capacity_per_year: Decimal
    unit: str
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Judged:
    """A line's figures over a period with its levels. A verdict is None where there is no level or no figure."""

    figures: LineFigures
    benchmark: Verdict | None
    limit: Verdict | None
    others: tuple[Verdict, ...]
    reasons: tuple[str, ...]

    @property
    def position(self) -> Position | None:
        return None if self.benchmark is None else self.benchmark.standing.position


@dataclass(frozen=True, slots=True)
class LineStanding:
    """A line in a month and in the running year up to its end. `levels` hold on the month's first day."""

    line: LineInfo
    shares: Mapping[str, Decimal]
    levels: tuple[Level, ...]
    month: Judged
    year: Judged


@dataclass(frozen=True, slots=True)
class IndustryShare:
    """Capacity of an industry, counted in one unit, in the running year: at 标杆 or better, and not known."""

    industry: str
    unit: str
    lines: int
    capacity: Decimal
    at_benchmark: Decimal
    worse_than_baseline: Decimal
    unknown: Decimal


async def line_standings(
    pool: asyncpg.Pool,
    *,
    month: date,
    calendar: SiteCalendar,
    now_us: int,
    enterprise: str | None = None,
    region: str | None = None,
    edition: str | None = None,
) -> list[LineStanding]:
    """Every active line of an enterprise or of a region's subtree in the local month that begins on `month`."""
    month_us = calendar.date_start_us(month)
    ends_us = calendar.bucket_end(BucketLevel.MONTH, month_us)
    year_us = calendar.date_start_us(month.replace(month=1))
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        lines = [_line(row) for row in await connection.fetch(LINES, enterprise, region, month)]
        numbers = [one.line_id for one in lines]
        parts = await connection.fetch(PARTS, numbers, year_us, ends_us)
        outputs = await connection.fetch(OUTPUTS, numbers, month.replace(month=1), month)
        levels = await _levels(connection, {one.product for one in lines}, month, edition)
        corrections = await _corrections(connection, {one.product for one in lines}, month)
    spans = [(start, min(end, now_us) - start) for start, end in calendar.buckets(BucketLevel.MONTH, year_us, ends_us)]
    months = _Months(parts, outputs, [(start, lasted) for start, lasted in spans if lasted > 0], calendar)
    shares = _shares(parts)
    return [
        _standing(
            one,
            shares.get(one.line_id, {}),
            levels.get(one.product, []),
            corrections.get(one.product, []),
            months.of(one.line_id),
        )
        for one in lines
    ]


async def _levels(
    connection: Connection, products: set[str], month: date, edition: str | None
) -> dict[str, list[Level]]:
    found: dict[str, list[Level]] = {}
    for row in await connection.fetch(LEVELS, sorted(products), month, edition):
        level = Level(
            row["level_id"],
            row["kind"],
            Indicator(row["indicator"]),
            row["condition"],
            row["unit"],
            Basis(row["basis"]),
            row["benchmark"],
            row["baseline"],
            (row["level1"], row["level2"], row["level3"]),
            row["edition"],
            row["source"],
            row["verified"],
            row["note"],
        )
        found.setdefault(row["product"], []).append(level)
    return found


def _line(row: asyncpg.Record) -> LineInfo:
    return LineInfo(**{**dict(row), "attributes": attributes_of(row["attributes"])})


def attributes_of(kept: str) -> Attributes:
    """What the ledger keeps of a line's circumstances, with every digit."""
    return {Attribute(name): value for name, value in json.loads(kept, parse_float=Decimal, parse_int=Decimal).items()}


@dataclass(frozen=True, slots=True)
class LevelCorrection:
    """A correction with the levels that it is one of."""

    indicator: Indicator
    edition: str
    condition: str
    correction: Correction


async def _corrections(connection: Connection, products: set[str], month: date) -> dict[str, list[LevelCorrection]]:
    found: dict[str, list[LevelCorrection]] = {}
    for row in await connection.fetch(CORRECTIONS, sorted(products), month):
        correction = Correction(
            Attribute(row["attribute"]),
            How(row["how"]),
            Side(row["side"]),
            row["base"],
            row["unit"],
            row["most"],
            row["constant"],
            None if row["needs"] is None else Attribute(row["needs"]),
            row["needs_above"],
            (row["level1"], row["level2"], row["level3"]),
            row["source"],
            row["verified"],
        )
        one = LevelCorrection(Indicator(row["indicator"]), row["edition"], row["condition"], correction)
        found.setdefault(row["product"], []).append(one)
    return found


def _shares(parts: Sequence[asyncpg.Record]) -> dict[int, dict[str, Decimal]]:
    found: dict[int, dict[str, Decimal]] = {}
    for row in parts:
        found.setdefault(row["line_id"], {})[row["code"]] = row["share"]
    return found


class _Months:
    """The months of each line: every elapsed one, with what its meters gave and what it put out."""

    def __init__(
        self,
        parts: Sequence[asyncpg.Record],
        outputs: Sequence[asyncpg.Record],
        spans: Sequence[tuple[int, int]],
        calendar: SiteCalendar,
    ) -> None:
        self._spans = [(f"{calendar.local_date(start):%Y-%m}", start, lasted) for start, lasted in spans]
        self._outputs = {(row["line_id"], f"{row['month']:%Y-%m}"): row["quantity"] for row in outputs}
        self._rows = {(row["line_id"], row["code"], row["start_us"]): row for row in parts}
        self._meters: dict[int, dict[str, asyncpg.Record]] = {}
        for row in parts:
            self._meters.setdefault(row["line_id"], {})[row["code"]] = row

    def of(self, line_id: int) -> list[LineMonth]:
        return [
            LineMonth(
                name,
                lasted,
                self._outputs.get((line_id, name)),
                tuple(
                    _part(meter, self._rows.get((line_id, code, start)))
                    for code, meter in self._meters.get(line_id, {}).items()
                ),
            )
            for name, start, lasted in self._spans
        ]


def _part(meter: asyncpg.Record, row: asyncpg.Record | None) -> Part:
    measured, estimated = (0, 0) if row is None else (row["measured_us"], row["estimated_us"])
    there = row is not None and measured + estimated > 0
    named = ("quantity", "tce_equivalent", "tce_equal", "tco2")
    figures = {name: row[name] if there and row is not None else None for name in named}
    return Part(
        meter["code"],
        meter["carrier"],
        Role(meter["role"]),
        meter["share"],
        **figures,
        measured_us=measured,
        estimated_us=estimated,
    )


def _standing(
    one: LineInfo,
    shares: Mapping[str, Decimal],
    levels: Sequence[Level],
    corrections: Sequence[LevelCorrection],
    months: Sequence[LineMonth],
) -> LineStanding:
    chosen, lacking = chosen_levels(levels, one.condition)
    chosen = [corrected_level(level, corrections, one.attributes) for level in chosen]
    lacking += [reason for level in chosen if level.corrected is not None for reason in level.corrected.reasons]
    last = months[-1] if months else LineMonth("", 0, None, ())
    month = month_figures(last, one.condition)
    year = year_figures(months, one.condition, accumulates=one.accumulates)
    return LineStanding(
        one,
        shares,
        tuple(chosen),
        _judged(month, chosen, one, (*month.reasons, *lacking)),
        _judged(year, chosen, one, (*year.reasons, *lacking)),
    )


def chosen_levels(levels: Sequence[Level], condition: str) -> tuple[list[Level], list[str]]:
    """Of the levels of a product those that hold for a line of this condition, and why none of a kind does. Pure."""
    chosen: list[Level] = []
    lacking: list[str] = []
    for kind in (BENCHMARK, LIMIT):
        for indicator in Indicator:
            known = [one for one in levels if (one.kind, one.indicator) == (kind, indicator)]
            fitting = [one for one in known if applies(one.condition, condition)]
            if fitting:
                # Two may fit where one has no condition: the narrower one is meant.
                chosen.append(max(fitting, key=lambda one: bool(one.condition)))
            elif known:
                wider = range_of(condition) is not None
                lacking.append(f"{kind}-{'condition-too-coarse' if wider else 'condition-needed'}")
    return chosen, lacking


def corrected_level(level: Level, corrections: Sequence[LevelCorrection], said: Attributes) -> Level:
    """A limit with the corrections that its own standard makes for a line of which this is said. Pure.

    Of benchmark levels (标杆, 基准) no correction is known.
    """
    if level.kind != LIMIT:
        return level
    mine = [
        one.correction
        for one in corrections
        if (one.indicator, one.edition) == (level.indicator, level.edition) and one.condition in ("", level.condition)
    ]
    return replace(level, corrected=correct(level.limits, mine, said))


def _judged(figures: LineFigures, levels: Sequence[Level], one: LineInfo, reasons: Sequence[str]) -> Judged:
    found: dict[tuple[str, Indicator], Verdict] = {}
    said = list(reasons)
    for level in levels:
        verdict = judged(figures, level, one.unit, accumulates=one.accumulates)
        if isinstance(verdict, Verdict):
            found[level.kind, level.indicator] = verdict
        elif not any(reason.startswith(verdict) for reason in said):
            said.append(verdict)
    main = _main_indicator(levels)
    benchmark, limit = found.get((BENCHMARK, main)), found.get((LIMIT, main))
    others = tuple(one for one in found.values() if one is not benchmark and one is not limit)
    return Judged(figures, benchmark, limit, others, tuple(dict.fromkeys(said)))


def _main_indicator(levels: Sequence[Level]) -> Indicator:
    """What a line is judged by: all its energy, unless its levels are about something else only."""
    kinds = [level.indicator for level in sorted(levels, key=lambda level: level.kind)]
    return Indicator.ENERGY if Indicator.ENERGY in kinds or not kinds else kinds[0]


def industry_shares(standings: Sequence[LineStanding]) -> list[IndustryShare]:
    """By industry and unit of product: how much capacity is at 标杆 or better in the running year. Pure.

    A line without enough data counts as unknown, never as good. Area and head counts have no capacity to speak of.
    """
    groups: dict[tuple[str, str], list[LineStanding]] = {}
    for one in standings:
        if one.line.accumulates and any(level.kind == BENCHMARK for level in one.levels):
            groups.setdefault((one.line.industry, one.line.product_unit), []).append(one)
    return [_share(industry, unit, mine) for (industry, unit), mine in sorted(groups.items())]


def _share(industry: str, unit: str, mine: Sequence[LineStanding]) -> IndustryShare:
    def capacity(*positions: Position | None) -> Decimal:
        return exact_sum(_capacity(one) for one in mine if sure_position(one) in positions)

    return IndustryShare(
        industry,
        unit,
        len(mine),
        exact_sum(map(_capacity, mine)),
        capacity(Position.BETTER),
        capacity(Position.WORSE),
        capacity(None),
    )


def _capacity(one: LineStanding) -> Decimal:
    return one.line.capacity_per_year * output_scale(one.line.unit, one.line.product_unit)


def sure_position(one: LineStanding) -> Position | None:
    """Where a line stands in the running year, if its data covers enough of it to say so."""
    return one.year.position if one.year.figures.complete else None
