"""Dated coefficients as a register: listed, entered, changed. A change marks exactly the hours whose figures it makes.

Coal equivalents and CO2 factors lie in two tables and are one list outside; an id such as `tce-12` names the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Table, delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.access import write_audit
from app.store.database import Database
from app.store.registry import Fields, NotThere, Page, WrongField, plain
from app.store.rollups import LOCK_CLASS, LOCK_SLOTS, lock_slot
from app.store.tables.factors import co2_factor, coal_factor
from app.store.tables.registry import carrier, enterprise, region
from energy.interval import HOUR_US, parse_range_bound
from energy.tce import DEFAULT_CO2_DATASET, Basis, kgce_of_heating_value, kgco2_of_fuel

MARK_EVERY_H = 3
"""A stretch of hours is marked by every third one; the rollup makes one window of marks this near to each other."""
MADE_OF = ("heating_value_kj_per_unit", "carbon_content_tc_per_tj", "oxidation")


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the two tables: how it is called outside, and which of its columns says whose value it holds."""

    name: str
    prefix: str
    table: Table
    value: str
    of: str


COAL = Kind("coal_equivalent", "tce-", coal_factor, "kgce_per_unit", "basis")
CO2 = Kind("co2", "co2-", co2_factor, "kgco2_per_unit", "dataset")
KINDS = {kind.name: kind for kind in (COAL, CO2)}


class FactorsOverlap(ValueError):
    """Another factor for the same thing holds on some of these days. Attributes: factor, valid_from, valid_to."""

    def __init__(self, factor: str, subject: str, valid_from: date, valid_to: date | None) -> None:
        self.factor, self.valid_from, self.valid_to = factor, valid_from, valid_to
        until = "without end" if valid_to is None else f"up to {valid_to} (exclusive)"
        super().__init__(
            f"factor {factor} of {subject} holds from {valid_from} {until}; "
            "end that one first, choose other dates, or send ends_previous to end an open one on the day this begins"
        )


# Reading --------------------------------------------------------------------------------------------------------------


def _one_table(kind: Kind) -> str:
    edition = "f.edition" if kind is COAL else "NULL::text"
    basis, dataset = ("f.basis", "NULL::text") if kind is COAL else ("NULL::text", "f.dataset")
    unit = "kgce" if kind is COAL else "kgCO2"
    return f"""
    SELECT '{kind.prefix}' || f.factor_id AS id, '{kind.name}' AS kind, f.factor_id, f.carrier, {basis} AS basis,
           {dataset} AS dataset, f.{kind.value} AS value, '{unit} per ' || carrier.unit AS unit, f.valid_from,
           f.valid_to, f.region, f.enterprise, {edition} AS edition, f.source, f.verified, f.origin, f.made_of,
           f.entered_by, f.entered_at, enterprise.region AS enterprise_region
    FROM {kind.table.name} AS f JOIN carrier ON carrier.code = f.carrier
    LEFT JOIN enterprise ON enterprise.id = f.enterprise"""


ALL = f"SELECT * FROM ({_one_table(COAL)} UNION ALL {_one_table(CO2)}) AS factor"
LIST = f"""
{ALL} WHERE (enterprise IS NULL OR enterprise = :only OR starts_with(enterprise_region, :scope))
  AND (cast(:carrier AS text) IS NULL OR carrier = :carrier) AND (cast(:kind AS text) IS NULL OR kind = :kind)
  AND (cast(:basis AS text) IS NULL OR basis = :basis) AND (cast(:dataset AS text) IS NULL OR dataset = :dataset)
  AND (cast(:region AS text) IS NULL OR region = :region)
  AND (cast(:enterprise AS text) IS NULL OR enterprise = :enterprise)
  AND (cast(:day AS date) IS NULL OR (valid_from <= :day AND (valid_to IS NULL OR valid_to > :day)))
  AND (cast(:after_kind AS text) IS NULL OR (kind, factor_id) > (:after_kind, :after_id))
ORDER BY kind, factor_id LIMIT :limit
"""
ONE = f"{ALL} WHERE id = :id"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which factors of a list; None: any. `on` is a day they hold on."""

    carrier: str | None = None
    kind: str | None = None
    basis: str | None = None
    dataset: str | None = None
    region: str | None = None
    enterprise: str | None = None
    on: date | None = None


async def list_factors(
    database: Database,
    wanted: Wanted,
    *,
    scope: str | None,
    only: str | None,
    limit: int,
    after: tuple[str, int] | None,
) -> Page:
    """Coal equivalents and CO2 factors in order of their kind and number; an enterprise's own where it may be seen."""
    values = {
        **{name: getattr(wanted, name) for name in ("carrier", "kind", "basis", "dataset", "region", "enterprise")},
        "day": wanted.on,
        "scope": scope,
        "only": only,
        "after_kind": after and after[0],
        "after_id": after and after[1],
        "limit": limit + 1,
    }
    async with database.engine.connect() as connection:
        rows = [shown(dict(row._mapping)) for row in await connection.execute(text(LIST), values)]
    last = rows[limit - 1] if len(rows) > limit else None
    return Page(rows[:limit], None if last is None else f"{last['kind']}\x1f{last['factor_id']}")


async def factor_of(database: Database, key: str) -> Fields:
    """One factor with its enterprise's region (`enterprise_region`). Raises NotThere."""
    async with database.engine.connect() as connection:
        return await _one(connection, key)


async def _one(connection: AsyncConnection, key: str) -> Fields:
    row = (await connection.execute(text(ONE), {"id": key})).one_or_none()
    if row is None:
        raise NotThere("factor", key)
    return dict(row._mapping)


async def sees_all(database: Database) -> bool:
    """Whether no enterprise lies outside of what the caller sees."""
    async with database.engine.connect() as connection:
        return bool(await connection.scalar(text("SELECT scope_is_everything()")))


def shown(row: Fields) -> Fields:
    """A factor as it is answered: what it was made of beside it."""
    made_of = row["made_of"] or {}
    without = {name: value for name, value in row.items() if name not in ("enterprise_region", "made_of")}
    return without | {name: Decimal(made_of[name]) if name in made_of else None for name in MADE_OF}


# Writing --------------------------------------------------------------------------------------------------------------


async def enter_factor(connection: AsyncConnection, fields: Fields, actor: str, zone: ZoneInfo) -> list[Fields]:
    """Enter a factor; a coal equivalent without a basis is entered on both. Answers what was made.

    Raises WrongField and FactorsOverlap, and then the caller's transaction has to end without a commit.
    """
    kind = KINDS[fields["kind"]]
    await _check_owner(connection, fields)
    value, made_of = _value(kind, fields)
    _check_days(fields)
    of = [fields["basis"]] if fields["basis"] else list(map(str, Basis))
    subjects = of if kind is COAL else [fields["dataset"] or DEFAULT_CO2_DATASET]
    await _hold_still(connection, fields["enterprise"])
    made = []
    for subject in subjects:
        row = {name: fields[name] for name in ("carrier", "valid_from", "valid_to", "region", "enterprise", "source")}
        row |= {kind.of: subject, kind.value: value, "verified": fields["verified"], "made_of": made_of}
        row |= {"entered_by": actor} | ({"edition": fields["edition"]} if kind is COAL else {})
        if fields["ends_previous"]:
            await _end_previous(connection, kind, row, actor)
        key = await _write(connection, kind, row, None)
        made.append(shown(await _one(connection, key)))
        await write_audit(connection, actor, "factor.create", "factor", key, after=plain(_bare(made[-1])))
    if any(_makes_figures(kind, subject) for subject in subjects):
        days = [(fields["valid_from"], fields["valid_to"])]
        await _mark(connection, fields, zone, days, f"factor {made[0]['id']} entered", actor)
    await _note_factor_set(connection)
    return made


async def change_factor(connection: AsyncConnection, key: str, fields: Fields, actor: str, zone: ZoneInfo) -> Fields:
    """Give a factor another value, other days or another source; what it is a factor of and for whom stays.

    Raises NotThere, WrongField and FactorsOverlap. A row of the reference tables counts as entered by hand afterwards.
    """
    before = await _one(connection, key)
    kind = KINDS[before["kind"]]
    value, made_of = _value(kind, {**fields, "carrier": before["carrier"]})
    _check_days(fields)
    await _hold_still(connection, before["enterprise"])
    row = {name: fields[name] for name in ("valid_from", "valid_to", "source", "verified")}
    row |= {kind.value: value, "made_of": made_of, "entered_by": actor, "origin": "entered"}
    if kind is COAL:
        row["edition"] = fields["edition"]
    await _write(connection, kind, {**before, **row}, key, changes=row)
    after = await _one(connection, key)
    if _makes_figures(kind, before[kind.of]):
        await _mark(connection, before, zone, changed_days(before, after), f"factor {key} changed", actor)
    await _note_factor_set(connection)
    old, new = plain(_bare(shown(before))), plain(_bare(shown(after)))
    await write_audit(connection, actor, "factor.change", "factor", key, before=old, after=new)
    return shown(after)


async def remove_factor(connection: AsyncConnection, key: str, actor: str, zone: ZoneInfo) -> None:
    """Take out a factor that was entered by hand. Raises NotThere, and WrongField for a row of the reference tables."""
    before = await _one(connection, key)
    if before["origin"] != "entered":
        raise WrongField("factor", f"{key} is of the reference tables; change it or enter one that goes before it")
    kind = KINDS[before["kind"]]
    await _hold_still(connection, before["enterprise"])
    await connection.execute(delete(kind.table).where(kind.table.c.factor_id == before["factor_id"]))
    if _makes_figures(kind, before[kind.of]):
        days = [(before["valid_from"], before["valid_to"])]
        await _mark(connection, before, zone, days, f"factor {key} removed", actor)
    await _note_factor_set(connection)
    await write_audit(connection, actor, "factor.remove", "factor", key, before=plain(_bare(shown(before))))


def _bare(row: Fields) -> Fields:
    return {name: value for name, value in row.items() if value is not None and name not in ("entered_at", "factor_id")}


def _makes_figures(kind: Kind, subject: str) -> bool:
    """Other CO2 data sets are worked out when they are asked for."""
    return kind is COAL or subject == DEFAULT_CO2_DATASET


def changed_days(before: Fields, after: Fields) -> list[tuple[date, date | None]]:
    """The days on which another value holds now: all of both when the value changed, else what was gained or lost."""
    old, new = (before["valid_from"], before["valid_to"]), (after["valid_from"], after["valid_to"])
    if before["value"] != after["value"]:
        return [old, new]
    starts, ends = sorted((old[0], new[0])), sorted((old[1] or date.max, new[1] or date.max))
    if ends[0] <= starts[1]:
        return [old, new]
    edges = [(starts[0], starts[1]), (ends[0], ends[1])]
    return [(begin, None if end == date.max else end) for begin, end in edges if begin != end]


async def _check_owner(connection: AsyncConnection, fields: Fields) -> None:
    if await connection.scalar(select(carrier.c.code).where(carrier.c.code == fields["carrier"])) is None:
        raise WrongField("carrier", f"{fields['carrier']!r} is no carrier; GET /api/v1/carriers lists them")
    if fields["enterprise"] and fields["region"]:
        raise WrongField("region", "a factor belongs to an enterprise or to a region, not to both")
    for name, column in (("enterprise", enterprise.c.id), ("region", region.c.code)):
        wanted = fields[name]
        if wanted and await connection.scalar(select(column).where(column == wanted)) is None:
            raise WrongField(name, f"there is no {name} {wanted!r}")
    if fields["kind"] == COAL.name and fields["dataset"]:
        raise WrongField("dataset", "only CO2 factors belong to a data set")
    if fields["kind"] == CO2.name and fields["basis"]:
        raise WrongField("basis", "only coal equivalents have a basis")


def _check_days(fields: Fields) -> None:
    if fields["valid_to"] is not None and fields["valid_to"] <= fields["valid_from"]:
        raise WrongField(
            "valid_to", "it should be later than valid_from: it is the first day on which it holds no more"
        )


def _value(kind: Kind, fields: Fields) -> tuple[Decimal, Fields | None]:
    """The factor, given or worked out from the fuel's heating value; and what it was worked out from."""
    parts = {name: fields[name] for name in MADE_OF if fields.get(name) is not None}
    if (fields["value"] is None) == (not parts):
        raise WrongField("value", "send either the value or the heating value it is made of")
    if fields["value"] is not None:
        return fields["value"], None
    if fields["carrier"] == "electricity":
        raise WrongField("heating_value_kj_per_unit", "electricity has no heating value; send its value")
    needed = MADE_OF[:1] if kind is COAL else MADE_OF
    if tuple(parts) != needed:
        raise WrongField(MADE_OF[0], f"a factor of this kind is made of {', '.join(needed)}, no more and no less")
    worked_out = kgce_of_heating_value(*parts.values()) if kind is COAL else kgco2_of_fuel(*parts.values())
    return worked_out, {name: str(part) for name, part in parts.items()}


async def _write(
    connection: AsyncConnection, kind: Kind, row: Fields, key: str | None, *, changes: Fields | None = None
) -> str:
    """Insert the row, or change the one of this key. Answers its key; raises FactorsOverlap."""
    table = kind.table
    number = None if key is None else int(key.removeprefix(kind.prefix))
    change: Any = insert(table).values(**row)
    if number is not None:
        change = update(table).where(table.c.factor_id == number).values(**(changes or {}))
    try:
        async with connection.begin_nested():
            made = (await connection.execute(change.returning(table.c.factor_id))).scalar_one()
    except IntegrityError as error:
        if "no_overlap" not in str(error.orig):
            raise
        raise await _overlap(connection, kind, row, number) from error
    return f"{kind.prefix}{made}"


def _same(kind: Kind, row: Fields) -> Any:
    table = kind.table
    is_it = (table.c.carrier == row["carrier"]) & (table.c[kind.of] == row[kind.of])
    for name in ("region", "enterprise"):
        is_it &= table.c[name].is_not_distinct_from(row[name])
    return is_it


async def _overlap(connection: AsyncConnection, kind: Kind, row: Fields, number: int | None) -> FactorsOverlap:
    table = kind.table
    days = text("daterange(valid_from, valid_to) && daterange(:begins, :ends)")
    query = select(table).where(_same(kind, row), days, table.c.factor_id.is_distinct_from(number))
    values = {"begins": row["valid_from"], "ends": row["valid_to"]}
    found = (await connection.execute(query.order_by(table.c.valid_from).limit(1), values)).mappings().one()
    subject = f"{row['carrier']} ({row[kind.of]})"
    return FactorsOverlap(f"{kind.prefix}{found['factor_id']}", subject, found["valid_from"], found["valid_to"])


async def _end_previous(connection: AsyncConnection, kind: Kind, row: Fields, actor: str) -> None:
    """The open factor of the same subject that began earlier ends where this one begins. It then counts as entered."""
    table = kind.table
    open_one = _same(kind, row) & table.c.valid_to.is_(None) & (table.c.valid_from < row["valid_from"])
    ends = update(table).where(open_one).values(valid_to=row["valid_from"], origin="entered", entered_by=actor)
    number = (await connection.execute(ends.returning(table.c.factor_id))).scalar_one_or_none()
    if number is not None:
        key, after = f"{kind.prefix}{number}", {"valid_to": str(row["valid_from"])}
        await write_audit(connection, actor, "factor.end", "factor", key, before={"valid_to": None}, after=after)


# What a change does to the figures ------------------------------------------------------------------------------------

HOLD_STILL = """
SELECT pg_advisory_xact_lock(:class, slot) FROM generate_series(cast(:first AS int), cast(:last AS int)) AS slot
"""
MARK = """
INSERT INTO touched (meter_id, hour, cause, actor)
SELECT array_fill(meter_id, ARRAY[cardinality(hours)]), hours, :cause, :actor
FROM (
    SELECT meter_id, ARRAY(SELECT generate_series(first, last, cast(:every AS int)) UNION SELECT last ORDER BY 1)
               AS hours
    FROM (
        SELECT meter.meter_id, greatest(cast(:first AS int), stored.first) AS first,
               least(cast(:last AS int), stored.last) AS last
        FROM meter JOIN enterprise ON enterprise.id = meter.enterprise
        CROSS JOIN LATERAL (
            SELECT (extract(epoch FROM min(start)) / 3600)::int AS first,
                   (extract(epoch FROM max(start)) / 3600)::int AS last
            FROM meter_hour WHERE meter_hour.meter_id = meter.meter_id) AS stored
        WHERE stored.first IS NOT NULL AND meter.carrier = :carrier
          AND (cast(:enterprise AS text) IS NULL OR meter.enterprise = :enterprise)
          AND (cast(:region AS text) IS NULL OR starts_with(enterprise.region, :region))
    ) AS stretch
    WHERE first <= last
) AS marked
"""
FACTOR_SET = "SELECT note_factor_set()"


async def _hold_still(connection: AsyncConnection, enterprise_id: str | None) -> None:
    """No rollup of these enterprises runs until the commit: none of its hours escapes the marks with an old factor."""
    first, last = (0, LOCK_SLOTS - 1) if enterprise_id is None else (lock_slot(enterprise_id),) * 2
    await connection.execute(text(HOLD_STILL), {"class": LOCK_CLASS, "first": first, "last": last})


async def _mark(
    connection: AsyncConnection,
    owner: Fields,
    zone: ZoneInfo,
    days: Sequence[tuple[date, date | None]],
    cause: str,
    actor: str,
) -> None:
    """Have the hours of these local days computed again, of every meter of the carrier that the owner has."""
    for begins, ends in days:
        first_us = parse_range_bound(begins.isoformat(), zone)
        last_h = 2**31 - 1 if ends is None else (parse_range_bound(ends.isoformat(), zone) - 1) // HOUR_US
        values = {name: owner[name] for name in ("carrier", "enterprise", "region")}
        values |= {"first": first_us // HOUR_US, "last": last_h, "every": MARK_EVERY_H}
        values |= {"cause": cause, "actor": actor}
        await connection.execute(text(MARK), values)
    await connection.execute(text("SELECT pg_notify('touched', '')"))


async def _note_factor_set(connection: AsyncConnection) -> None:
    """Another set of factors has another name, which every figure carries."""
    await connection.execute(text(FACTOR_SET))
