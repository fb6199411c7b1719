"""Regions, enterprises, gateways and meters: created, listed, changed. Each change leaves its line in the trail."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Row, Select, Table, func, insert, null, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.access import digest, write_audit
from app.store.credit_code import checked
from app.store.database import Database
from app.store.gateways import gateway_columns, state_at
from app.store.tables.budgets import budget_standing
from app.store.tables.readings import touched
from app.store.tables.records import meter_multiplier
from app.store.tables.registry import carrier, enterprise, gateway, meter, region, sequence_gap
from app.store.tables.rollups import enterprise_rank
from energy.interval import HOUR_US, to_us
from energy.reading import Kind
from energy.units import to_normal

Fields = dict[str, Any]

FIGURES_DEPEND_ON = frozenset(
    {
        "multiplier",
        "unit",
        "role",
        "kind",
        "carrier",
        "rolls_over_at",
        "max_rate_per_h",
        "expected_interval_s",
    }
)
"""What of a meter its figures are made of: a change of one lets the meter's whole history be computed again."""
MARK_EVERY_HOURS = 6
"""Marks so far apart make one stretch: app.rollup.windows.NEAR_HOURS."""
SECRET_PREFIX = "gw_"  # noqa: S105  # the public start of every secret
PUBLIC_METER = tuple(column for column in meter.c if column.name != "meter_id")


class NotThere(LookupError):
    """What was asked for does not exist. Attributes: kind, key."""

    def __init__(self, kind: str, key: str) -> None:
        self.kind, self.key = kind, key
        super().__init__(f"no {kind} {key!r}")


class AlreadyThere(ValueError):
    """Something with this key exists. Attributes: kind, key."""

    def __init__(self, kind: str, key: str) -> None:
        self.kind, self.key = kind, key
        super().__init__(f"{kind} {key!r} exists already")


class WrongField(ValueError):
    """One field cannot have this value. Attributes: field, why."""

    def __init__(self, field: str, why: str) -> None:
        self.field, self.why = field, why
        super().__init__(f"{field}: {why}")


@dataclass(frozen=True, slots=True)
class Page:
    """A piece of a list, in order of its key, and the key to go on from."""

    items: Sequence[Fields]
    next: str | None


# Regions --------------------------------------------------------------------------------------------------------------


async def regions(database: Database, scope: str) -> Sequence[Fields]:
    """The subtree of a region's code, parents first."""
    async with database.engine.connect() as connection:
        found = await connection.execute(
            select(region).where(region.c.code.startswith(scope, autoescape=True)).order_by(region.c.code)
        )
        return [dict(row._mapping) for row in found]


async def region_of(database: Database, code: str) -> Fields:
    async with database.engine.connect() as connection:
        return await _one(connection, select(region).where(region.c.code == code), "region", code)


# Enterprises ----------------------------------------------------------------------------------------------------------


async def create_enterprise(connection: AsyncConnection, fields: Fields, actor: str) -> Fields:
    """Raises WrongCreditCode, WrongField for an unknown region, AlreadyThere."""
    checked(fields["id"])
    await _must_exist(connection, region, "code", fields["region"], "region")
    row = await _insert(connection, enterprise, fields, "enterprise", fields["id"])
    await write_audit(connection, actor, "enterprise.create", "enterprise", fields["id"], after=plain(fields))
    return row


async def change_enterprise(database: Database, key: str, changes: Fields, actor: str) -> Fields:
    async with database.engine.begin() as connection:
        before = await _one(connection, select(enterprise).where(enterprise.c.id == key), "enterprise", key)
        if "region" in changes:
            await _must_exist(connection, region, "code", changes["region"], "region")
        after = await _update(connection, enterprise, enterprise.c.id == key, changes)
        if changes.get("region", before["region"]) != before["region"]:
            # Factors may be a region's own.
            await _touch(
                connection, select(meter.c.meter_id).where(meter.c.enterprise == key), "enterprise.change", actor
            )
        await _audit_change(connection, actor, "enterprise", key, before, changes)
        return after


async def enterprise_of(database: Database, key: str) -> Fields:
    async with database.engine.connect() as connection:
        return await _one(connection, select(enterprise).where(enterprise.c.id == key), "enterprise", key)


async def must_be_enterprise(connection: AsyncConnection, key: str) -> None:
    """Raises WrongField for an unknown one."""
    await _must_exist(connection, enterprise, "id", key, "enterprise")


async def list_enterprises(
    database: Database,
    *,
    scope: str | None,
    only: str | None,
    region_code: str | None = None,
    industry: str | None = None,
    tier: str | None = None,
    year: int | None = None,
    sort: str = "id",
    limit: int,
    after: Sequence[str] | None,
) -> Page:
    """Enterprises of a region's subtree (`scope`) or a single one (`only`), by id or by name.

    Each with the colour and probability of its worst budget of the year; `tier` leaves those of that colour.
    """
    query = _enterprises(scope, only, region_code, industry, tier, year)
    columns = ("name", "id") if sort == "name" else ("id",)
    return await _page(database, query, enterprise, columns, limit, after)


# Along the index of ranks, each enterprise looked up by its key until the page is full: OFFSET keeps the planner to it,
# who cannot know how many rows a policy lets through.
RANKED = f"""
SELECT shown.*, ranked.tce_equivalent
FROM (SELECT enterprise, tce_equivalent FROM enterprise_rank
      WHERE start = $1 AND tce_equivalent IS NOT NULL AND ($2::text IS NULL OR enterprise = $2)
        AND ($3::numeric IS NULL OR tce_equivalent <= $3 AND (tce_equivalent < $3 OR enterprise > $4))
      ORDER BY tce_equivalent DESC, enterprise) AS ranked,
     LATERAL (SELECT {", ".join(f"enterprise.{column.name}" for column in enterprise.c)}, overrun_probability, tier
              FROM enterprise LEFT JOIN budget_standing AS stood ON stood.enterprise = enterprise.id AND stood.year = $5
              WHERE enterprise.id = ranked.enterprise
                AND ($6::text IS NULL OR starts_with(region, $6)) AND ($7::text IS NULL OR starts_with(region, $7))
                AND ($8::text IS NULL OR starts_with(industry, $8)) AND ($9::text IS NULL OR tier = $9)
              OFFSET 0) AS shown
ORDER BY ranked.tce_equivalent DESC, ranked.enterprise LIMIT $10
"""


async def list_by_tce(
    database: Database,
    *,
    scope: str | None,
    only: str | None,
    region_code: str | None,
    industry: str | None,
    tier: str | None,
    year: int,
    year_start: datetime,
    limit: int,
    after: Sequence[str] | None,
) -> Page:
    """The same, the largest of the year first, read from its rank; those without a figure come last, by id.

    The key to go on from is (tce, id), with an empty tce among those without a figure.
    """
    rows: list[Fields] = []
    if after is None or after[0]:
        behind = (None, None) if after is None else (Decimal(after[0]), after[1])
        filters = (scope, region_code, industry, tier)
        found = await database.pool.fetch(RANKED, year_start, only, *behind, year, *filters, limit + 1)
        rows = [dict(row) | {"contacts": json.loads(row["contacts"])} for row in found]
    if len(rows) <= limit:
        rank = enterprise_rank.c
        last = (
            _enterprises(scope, only, region_code, industry, tier, year)
            .add_columns(null().label("tce_equivalent"))
            .outerjoin(enterprise_rank, (rank.enterprise == enterprise.c.id) & (rank.start == year_start))
            .where(rank.tce_equivalent.is_(None))
            .order_by(enterprise.c.id)
        )
        if after is not None and not after[0]:
            last = last.where(enterprise.c.id > after[1])
        async with database.engine.connect() as connection:
            rest = await connection.execute(last.limit(limit + 1 - len(rows)))
        rows += [dict(row._mapping) for row in rest]
    tces = [row.pop("tce_equivalent") for row in rows]
    if len(rows) <= limit:
        return Page(rows, None)
    key_tce = "" if tces[limit - 1] is None else format(tces[limit - 1], "f")
    return Page(rows[:limit], f"{key_tce}\x1f{rows[limit - 1]['id']}")


def _enterprises(
    scope: str | None,
    only: str | None,
    region_code: str | None,
    industry: str | None,
    tier: str | None,
    year: int | None,
) -> Select[Any]:
    """Enterprises that a list asks for, each with how its worst budget of the year stands."""
    stood = budget_standing.c
    joined = (stood.enterprise == enterprise.c.id) & (stood.year == year)
    query = select(enterprise, stood.overrun_probability, stood.tier).join_from(
        enterprise, budget_standing, joined, isouter=True
    )
    if tier is not None:
        query = query.where(stood.tier == tier)
    for code in (scope, region_code):
        if code is not None:
            query = query.where(enterprise.c.region.startswith(code, autoescape=True))
    if only is not None:
        query = query.where(enterprise.c.id == only)
    if industry is not None:
        query = query.where(enterprise.c.industry.startswith(industry, autoescape=True))
    return query


# Gateways -------------------------------------------------------------------------------------------------------------


async def create_gateway(connection: AsyncConnection, fields: Fields, actor: str) -> tuple[Fields, str]:
    """The gateway and its secret, which is seen only here. Raises WrongField, AlreadyThere."""
    await _must_exist(connection, enterprise, "id", fields["enterprise"], "enterprise")
    secret = SECRET_PREFIX + secrets.token_urlsafe(24)
    row = await _insert(connection, gateway, fields | {"secret_sha256": digest(secret)}, "gateway", fields["id"])
    await write_audit(connection, actor, "gateway.create", "gateway", fields["id"], after=plain(fields))
    return public(row), secret


async def new_secret(connection: AsyncConnection, key: str, actor: str) -> tuple[Fields, str]:
    """Another secret for a gateway; the old one is worth nothing from the commit on."""
    secret = SECRET_PREFIX + secrets.token_urlsafe(24)
    await _one(connection, select(gateway.c.id).where(gateway.c.id == key), "gateway", key)
    row = await _update(connection, gateway, gateway.c.id == key, {"secret_sha256": digest(secret)})
    await write_audit(connection, actor, "gateway.new-secret", "gateway", key)
    return public(row), secret


async def change_gateway(connection: AsyncConnection, key: str, changes: Fields, actor: str) -> Fields:
    before = await _one(connection, select(gateway).where(gateway.c.id == key), "gateway", key)
    after = await _update(connection, gateway, gateway.c.id == key, changes)
    await _audit_change(connection, actor, "gateway", key, before, changes)
    return public(after)


async def gateway_of(database: Database, key: str, now: datetime) -> Fields:
    columns = gateway_columns(now)
    query = select(*columns, enterprise.c.region).join_from(gateway, enterprise).where(gateway.c.id == key)
    async with database.engine.connect() as connection:
        return await _one(connection, query, "gateway", key)


async def gaps_of(database: Database, key: str) -> list[Fields]:
    """Numbers missing in a gateway's count of messages, lowest first; never more than `ingest.sequence.GAPS_MAX`."""
    columns = (column for column in sequence_gap.c if column.name != "gateway")
    query = select(*columns).where(sequence_gap.c.gateway == key).order_by(sequence_gap.c.first_seq)
    async with database.engine.connect() as connection:
        return [dict(row._mapping) for row in await connection.execute(query)]


async def list_gateways(
    database: Database,
    *,
    scope: str | None,
    only: str | None,
    enterprise_id: str | None,
    state: str | None,
    now: datetime,
    limit: int,
    after: Sequence[str] | None,
) -> Page:
    """Gateways by id. `state` chooses those in one of `ingest.liveness.GatewayState`."""
    query = select(*gateway_columns(now)).join_from(gateway, enterprise)
    query = _within(query, scope, only, enterprise_id)
    if state is not None:
        query = query.where(state_at(now) == state)
    return await _page(database, query, gateway, ("id",), limit, after)


# Meters ---------------------------------------------------------------------------------------------------------------


async def create_meter(connection: AsyncConnection, fields: Fields, actor: str) -> Fields:
    """Raises WrongField (carrier, gateway of another enterprise, unit), AlreadyThere."""
    await _must_exist(connection, enterprise, "id", fields["enterprise"], "enterprise")
    await _check_meter(connection, fields)
    key = f"{fields['enterprise']}/{fields['code']}"
    row = await _insert(connection, meter, fields, "meter", key)
    await write_audit(connection, actor, "meter.create", "meter", key, after=plain(fields))
    return public(row)


async def change_meter(database: Database, enterprise_id: str, code: str, changes: Fields, actor: str) -> Fields:
    key = f"{enterprise_id}/{code}"
    is_it = (meter.c.enterprise == enterprise_id) & (meter.c.code == code)
    async with database.engine.begin() as connection:
        before = await _one(connection, select(meter).where(is_it).with_for_update(), "meter", key)
        named, changes = changes, await _dated(connection, before, changes, actor)
        await _check_meter(connection, before | changes)
        after = await _update(connection, meter, is_it, changes)
        if any(before[name] != after[name] for name in FIGURES_DEPEND_ON):
            await _touch(connection, select(meter.c.meter_id).where(is_it), "meter.change", actor)
        await _audit_change(connection, actor, "meter", key, {"multiplier_from": None} | before, named)
        return public(after)


async def _dated(connection: AsyncConnection, before: Fields, changes: Fields, actor: str) -> Fields:
    """The changes without a multiplier that holds from a date on, which goes on the meter's record.

    Raises WrongField, AlreadyThere.
    """
    since, multiplier = changes.get("multiplier_from"), changes.get("multiplier")
    rest = {name: value for name, value in changes.items() if name != "multiplier_from"}
    if since is None:
        if multiplier is not None and await has_dated_multipliers(connection, before["meter_id"]):
            raise WrongField(
                "multiplier",
                "this meter has multipliers with dates; say from when this one holds in multiplier_from, or revoke "
                "the dated ones",
            )
        return rest
    if multiplier is None:
        raise WrongField("multiplier_from", "it says from when the multiplier holds; send the multiplier too")
    del rest["multiplier"]
    values = {"meter_id": before["meter_id"], "valid_from": since, "multiplier": multiplier, "recorded_by": actor}
    key = f"{before['enterprise']}/{before['code']} {since.isoformat()}"
    await _insert(connection, meter_multiplier, values, "multiplier", key)
    await mark(connection, before["meter_id"], since, datetime.now(since.tzinfo), "multiplier", actor)
    return rest


async def has_dated_multipliers(connection: AsyncConnection, meter_id: int) -> bool:
    """Whether a multiplier of this meter holds from a date on."""
    found = select(meter_multiplier.c.multiplier_id).where(
        meter_multiplier.c.meter_id == meter_id, meter_multiplier.c.revoked_at.is_(None)
    )
    return await connection.scalar(found.limit(1)) is not None


async def meter_of(database: Database, enterprise_id: str, code: str) -> Fields:
    """A meter with its number and its enterprise's region."""
    query = (
        select(meter, enterprise.c.region)
        .join_from(meter, enterprise)
        .where((meter.c.enterprise == enterprise_id) & (meter.c.code == code))
    )
    async with database.engine.connect() as connection:
        return await _one(connection, query, "meter", f"{enterprise_id}/{code}")


async def list_meters(
    database: Database,
    *,
    scope: str | None,
    only: str | None,
    enterprise_id: str | None,
    gateway_id: str | None,
    carrier_code: str | None,
    limit: int,
    after: Sequence[str] | None,
) -> Page:
    query = select(*PUBLIC_METER).join_from(meter, enterprise)
    query = _within(query, scope, only, enterprise_id)
    if gateway_id is not None:
        query = query.where(meter.c.gateway == gateway_id)
    if carrier_code is not None:
        query = query.where(meter.c.carrier == carrier_code)
    return await _page(database, query, meter, ("enterprise", "code"), limit, after)


async def _check_meter(connection: AsyncConnection, fields: Fields) -> None:
    owner = await connection.scalar(select(gateway.c.enterprise).where(gateway.c.id == fields["gateway"]))
    if owner != fields["enterprise"]:
        raise WrongField("gateway", f"{fields['gateway']!r} is no gateway of this enterprise")
    normal = await connection.scalar(select(carrier.c.unit).where(carrier.c.code == fields["carrier"]))
    if normal is None:
        raise WrongField("carrier", f"{fields['carrier']!r} is no carrier; GET /api/v1/carriers lists them")
    to_normal(fields["unit"], normal, Kind(fields["kind"]))  # raises UnitMismatch


# What they share ------------------------------------------------------------------------------------------------------


def public(row: Fields) -> Fields:
    """A row without what is nobody's business outside."""
    return {name: value for name, value in row.items() if name not in ("secret_sha256", "meter_id")}


def plain(fields: Mapping[str, Any]) -> Fields:
    """Fields as the trail keeps them: what JSON has no word for becomes text."""
    return {
        name: str(value) if isinstance(value, Decimal | date | datetime) else value
        for name, value in fields.items()
        if name not in ("secret_sha256", "meter_id")
    }


def _within(query: Select[Any], scope: str | None, only: str | None, enterprise_id: str | None) -> Select[Any]:
    if scope is not None:
        query = query.where(enterprise.c.region.startswith(scope, autoescape=True))
    for key in (only, enterprise_id):
        if key is not None:
            query = query.where(enterprise.c.id == key)
    return query


async def _page(
    database: Database,
    query: Select[Any],
    table: Table,
    columns: Sequence[str],
    limit: int,
    after: Sequence[str] | None,
) -> Page:
    """One row more than asked for tells whether there is a next page."""
    keys = [table.c[name] for name in columns]
    if after is not None:
        query = query.where(func.row(*keys) > func.row(*after))
    async with database.engine.connect() as connection:
        rows = [dict(row._mapping) for row in await connection.execute(query.order_by(*keys).limit(limit + 1))]
    more = len(rows) > limit
    last = rows[limit - 1] if more else None
    return Page(rows[:limit], None if last is None else "\x1f".join(str(last[name]) for name in columns))


async def _one(connection: AsyncConnection, query: Select[Any], kind: str, key: str) -> Fields:
    row: Row[Any] | None = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotThere(kind, key)
    return dict(row._mapping)


async def _must_exist(connection: AsyncConnection, table: Table, column: str, key: str, kind: str) -> None:
    if await connection.scalar(select(table.c[column]).where(table.c[column] == key)) is None:
        raise WrongField(kind, f"there is no {kind} {key!r}")


async def _insert(connection: AsyncConnection, table: Table, fields: Fields, kind: str, key: str) -> Fields:
    try:
        async with connection.begin_nested():
            row = (await connection.execute(insert(table).values(**fields).returning(table))).one()
    except IntegrityError as error:
        if "unique" in str(error.orig).lower():
            raise AlreadyThere(kind, key) from error
        raise
    return dict(row._mapping)


async def _update(connection: AsyncConnection, table: Table, is_it: Any, changes: Fields) -> Fields:
    values = {**changes, "updated_at": text("now()")}
    row = (await connection.execute(update(table).where(is_it).values(**values).returning(table))).one()
    return dict(row._mapping)


async def mark(
    connection: AsyncConnection, meter_id: int, start: datetime, end: datetime, cause: str, actor: str
) -> None:
    """Have the meter's hours from `start` to `end`, both in, computed again; the mark says why and by whom."""
    first, last = to_us(start) // HOUR_US, to_us(max(start, end)) // HOUR_US
    await mark_hours(connection, meter_id, [*range(first, last, MARK_EVERY_HOURS), last], cause, actor)


async def mark_hours(connection: AsyncConnection, meter_id: int, hours: Sequence[int], cause: str, actor: str) -> None:
    """Have these hours since 1970 computed again."""
    numbers = [meter_id] * len(hours)
    await connection.execute(insert(touched).values(meter_id=numbers, hour=list(hours), cause=cause, actor=actor))
    await connection.execute(text("SELECT pg_notify('touched', '')"))


async def _touch(connection: AsyncConnection, meters: Select[Any], cause: str, actor: str) -> None:
    """Have these meters' whole history computed again."""
    numbers = list((await connection.scalars(meters)).all())
    if numbers:
        await connection.execute(insert(touched).values(meter_id=numbers, hour=None, cause=cause, actor=actor))
        await connection.execute(text("SELECT pg_notify('touched', '')"))


async def _audit_change(
    connection: AsyncConnection, actor: str, kind: str, key: str, before: Fields, changes: Fields
) -> None:
    old = plain({name: before[name] for name in changes})
    await write_audit(connection, actor, f"{kind}.change", kind, key, before=old, after=plain(changes))
