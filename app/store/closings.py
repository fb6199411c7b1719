"""Closed months: what changed them later, by whom and why, and what was known of them on a day.

A month is closed by date alone. From then on every change of an enterprise's month is one row here, written in the
transaction that changed it, with the figures before and after. What was known on an earlier day is the `before` of the
first change after it, and where there was none, what stands now.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.access import write_audit
from app.store.database import Database
from app.store.readings import MOMENT
from app.store.registry import Fields, Page, WrongField
from app.store.rollups import Connection, Mark
from app.store.tables.alerts import region_closing
from energy.closing import ClosingDays

FIGURES = (
    "quantity",
    "quantity_net",
    "tce_equivalent",
    "tce_equivalent_net",
    "tce_equal",
    "tce_equal_net",
    "tco2",
    "tco2_net",
)
TIMES = ("measured_us", "estimated_us", "held")
MERGED_WITHIN = "10 minutes"
"""Readings of months from before an enterprise was registered come in many batches; those of a while are one change."""

MONTHS = f"""
SELECT enterprise, carrier, (extract(epoch FROM start) * 1000000)::bigint, {", ".join(FIGURES + TIMES)}
FROM (SELECT enterprise, {MOMENT.format(us="from_us")} AS begins, {MOMENT.format(us="to_us")} AS ends
      FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS asked (enterprise, from_us, to_us) OFFSET 0) AS w
JOIN enterprise_month AS m USING (enterprise) WHERE m.start >= w.begins AND m.start < w.ends
"""
NEWCOMERS = """
SELECT id, (extract(epoch FROM created_at) * 1000000)::bigint FROM enterprise WHERE id = ANY ($1::text[])
"""
CLOSING = """
SELECT enterprise.id, c.region, c.from_month, c.day FROM enterprise
JOIN region_closing AS c ON starts_with(enterprise.region, c.region) WHERE enterprise.id = ANY ($1::text[])
"""
MERGE = f"""
UPDATE restatement SET after = $4, causes = $5
WHERE restatement_id = (
    SELECT restatement_id FROM restatement
    WHERE enterprise = $1 AND month = {MOMENT.format(us="$2::bigint")} AND carrier = $3
    ORDER BY restatement_id DESC LIMIT 1)
  AND loading AND at > now() - interval '{MERGED_WITHIN}'
RETURNING restatement_id
"""
RESTATE = f"""
INSERT INTO restatement (enterprise, month, carrier, before, after, causes, loading)
VALUES ($1, {MOMENT.format(us="$2::bigint")}, $3, $4, $5, $6, $7)
"""
TOLD = f"""
SELECT EXISTS (SELECT FROM restatement
               WHERE enterprise = $1 AND month = {MOMENT.format(us="$2::bigint")} AND carrier = $3)
"""
GATEWAYS = "SELECT meter_id, code, gateway FROM meter WHERE meter_id = ANY ($1::int[])"

Months = dict[tuple[str, int, str], dict[str, Decimal | int | None]]
"""(enterprise, start of the month, carrier) → figures."""


@dataclass(frozen=True, slots=True)
class Change:
    """One meter's part in a change: from when to when its hours changed, and the marks that say why."""

    meter_id: int
    enterprise: str
    from_us: int
    to_us: int


async def months(connection: Connection, spans: Sequence[tuple[str, int, int]]) -> Months:
    """The months of these enterprises that start in these spans (enterprise, from, to), as they stand."""
    columns = [list(column) for column in zip(*spans, strict=True)] if spans else [[], [], []]
    rows = await connection.fetch(MONTHS, *columns)
    return {(row[0], row[2], row[1]): dict(zip(FIGURES + TIMES, row[3:], strict=True)) for row in rows}


async def closing_days(connection: Connection, enterprises: Iterable[str], otherwise: int) -> dict[str, ClosingDays]:
    """When each enterprise's months are closed: by its region, or one around it, or else on the day given."""
    named = sorted(set(enterprises))
    dated: dict[str, list[tuple[str, date, int]]] = {}
    for enterprise, region, month, day in await connection.fetch(CLOSING, named):
        dated.setdefault(enterprise, []).append((region, month, day))
    return {one: ClosingDays(otherwise, tuple(dated.get(one, ()))) for one in named}


async def closings_of(connection: AsyncConnection, region: str) -> list[Fields]:
    """The closing days set for a region itself, newest first."""
    found = select(region_closing).where(region_closing.c.region == region)
    rows = await connection.execute(found.order_by(region_closing.c.from_month.desc()))
    return [dict(row._mapping) for row in rows]


async def set_closing(
    connection: AsyncConnection, region: str, *, month: date, day: int, reason: str, actor: str, running: date
) -> None:
    """Months of the region from this one on are closed on that day. Raises WrongField for a month that may be closed.

    `running` is the running month. What was set for a month that has not begun may be set again.
    """
    if month < running:
        raise WrongField("from_month", f"months before {running:%Y-%m} may be closed already; give it or a later one")
    values = {"day": day, "reason": reason, "made_by": actor, "made_at": func.now()}
    made = upsert(region_closing).values(region=region, from_month=month, **values)
    await connection.execute(made.on_conflict_do_update(index_elements=["region", "from_month"], set_=values))
    after = {"from_month": month.isoformat(), "day": day, "reason": reason}
    await write_audit(connection, actor, "region.closing-day", "region", region, after=after)


async def restate(
    connection: Connection,
    before: Months,
    after: Months,
    changes: Sequence[Change],
    marks: Sequence[Mark],
    closes_us: Mapping[tuple[str, int], int],
) -> int:
    """Record what differs, with the reasons the marks give. Answers how many rows.

    `closes_us`: when each enterprise's month is closed.
    """
    different = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    if not different:
        return 0
    named = sorted({enterprise for enterprise, _, _ in different})
    registered = {row[0]: row[1] for row in await connection.fetch(NEWCOMERS, named)}
    causes = await _causes(connection, changes, marks)
    count = 0
    for enterprise, month_us, carrier in sorted(different):
        key = enterprise, month_us, carrier
        mine = causes.get(enterprise, [])
        loading = registered[enterprise] > closes_us[enterprise, month_us] and all(
            one["why"] == READINGS for one in mine
        )
        said = json.dumps(mine, ensure_ascii=False)
        new = _text(after.get(key))
        if loading and await connection.fetchval(MERGE, enterprise, month_us, carrier, new, said) is not None:
            continue
        if loading and key not in before and not await connection.fetchval(TOLD, enterprise, month_us, carrier):
            continue  # nobody could have known a figure of that month: the enterprise was registered after it closed
        await connection.execute(RESTATE, enterprise, month_us, carrier, _text(before.get(key)), new, said, loading)
        count += 1
    return count


READINGS = "readings that came late or were corrected"


async def _causes(
    connection: Connection, changes: Sequence[Change], marks: Sequence[Mark]
) -> dict[str, list[dict[str, Any]]]:
    """By enterprise: why, by whom, and which meters."""
    numbers = sorted({change.meter_id for change in changes})
    known = {row[0]: (row[1], row[2]) for row in await connection.fetch(GATEWAYS, numbers)}
    enterprise = {change.meter_id: change.enterprise for change in changes}
    said: dict[tuple[str | None, str | None], set[int]] = {}
    for mark in marks:
        said.setdefault((mark.cause, mark.actor), set()).update(mark.meter)
    found: dict[str, dict[tuple[str, str], set[str]]] = {}
    for (cause, actor), meters in said.items():
        for meter in meters & set(known):
            code, gateway = known[meter]
            who = actor or (f"gateway:{gateway}" if cause is None else "the service")
            found.setdefault(enterprise[meter], {}).setdefault((cause or READINGS, who), set()).add(code)
    return {
        one: [{"why": why, "who": who, "meters": sorted(codes)} for (why, who), codes in sorted(mine.items())]
        for one, mine in found.items()
    }


def _text(figures: Mapping[str, Decimal | int | None] | None) -> str | None:
    """Figures as they are kept: every digit, as text."""
    if figures is None:
        return None
    return json.dumps(
        {
            name: None if value is None else format(value, "f") if isinstance(value, Decimal) else value
            for name, value in figures.items()
        }
    )


def figures_of(kept: Mapping[str, Any]) -> dict[str, Decimal | int | None]:
    """The same back again."""
    return {name: Decimal(value) if isinstance(value, str) else value for name, value in kept.items()}


# Reads ----------------------------------------------------------------------------------------------------------------

LATER = f"""
SELECT DISTINCT ON (month, carrier) (extract(epoch FROM month) * 1000000)::bigint, carrier, before
FROM restatement
WHERE enterprise = $1 AND month >= {MOMENT.format(us="$2::bigint")} AND month < {MOMENT.format(us="$3::bigint")}
  AND at > {MOMENT.format(us="$4::bigint")}
ORDER BY month, carrier, restatement_id
"""
UNITS = "SELECT code, unit FROM carrier"


async def known_on(
    connection: Connection, enterprise: str, start_us: int, end_us: int, at_us: int
) -> dict[int, dict[str, dict[str, Any]]]:
    """What was known at an instant of the months in [start, end): month → carrier → figures with the carrier's unit."""
    units = {row[0]: row[1] for row in await connection.fetch(UNITS)}
    stands = await months(connection, [(enterprise, start_us, end_us)])
    for month_us, carrier, kept in await connection.fetch(LATER, enterprise, start_us, end_us, at_us):
        stands.pop((enterprise, month_us, carrier), None)
        if kept is not None:
            stands[enterprise, month_us, carrier] = figures_of(json.loads(kept))
    found: dict[int, dict[str, dict[str, Any]]] = {}
    for (_, month_us, carrier), figures in stands.items():
        found.setdefault(month_us, {})[carrier] = {"unit": units[carrier], **figures}
    return found


LIST = """
SELECT r.restatement_id, r.at, r.enterprise, r.month, r.carrier, r.causes, r.before, r.after
FROM restatement AS r JOIN enterprise ON enterprise.id = r.enterprise
WHERE (CAST(:scope AS text) IS NULL OR starts_with(enterprise.region, :scope))
  AND (CAST(:only AS text) IS NULL OR r.enterprise = :only)
  AND (CAST(:region AS text) IS NULL OR starts_with(enterprise.region, :region))
  AND (CAST(:enterprise AS text) IS NULL OR r.enterprise = :enterprise)
  AND (CAST(:carrier AS text) IS NULL OR r.carrier = :carrier)
  AND (CAST(:month AS timestamptz) IS NULL OR r.month = :month)
  AND (CAST(:since AS timestamptz) IS NULL OR r.at >= :since)
  AND (CAST(:until AS timestamptz) IS NULL OR r.at < :until)
  AND (CAST(:after AS bigint) IS NULL OR r.restatement_id < :after)
ORDER BY r.restatement_id DESC LIMIT :count
"""


async def list_restatements(
    database: Database,
    *,
    scope: str | None,
    only: str | None,
    region: str | None,
    enterprise_id: str | None,
    carrier: str | None,
    month: datetime | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    after: int | None,
) -> Page:
    """Changes of closed months, newest first."""
    asked = {
        "scope": scope,
        "only": only,
        "region": region,
        "enterprise": enterprise_id,
        "carrier": carrier,
        "month": month,
        "since": since,
        "until": until,
        "after": after,
        "count": limit + 1,
    }
    async with database.engine.connect() as connection:
        rows = [dict(row._mapping) for row in await connection.execute(text(LIST), asked)]
    items = [row | {side: _shown(row[side]) for side in ("before", "after")} for row in rows[:limit]]
    return Page(items, str(rows[limit - 1]["restatement_id"]) if len(rows) > limit else None)


def _shown(kept: Mapping[str, Any] | None) -> Fields | None:
    return None if kept is None else figures_of(kept)


def spans_of(changes: Iterable[Change], open_from_us: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """For each enterprise the time its changes span in closed months: before the start of its first open one."""
    spans: dict[str, tuple[int, int]] = {}
    for change in changes:
        begin, end = spans.get(change.enterprise, (change.from_us, change.to_us))
        spans[change.enterprise] = min(begin, change.from_us), max(end, change.to_us)
    return [
        (enterprise, begin, min(end, open_from_us[enterprise]))
        for enterprise, (begin, end) in sorted(spans.items())
        if begin < open_from_us[enterprise]
    ]
