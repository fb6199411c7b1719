"""Production lines with their meters' shares, and the monthly output of each, of which every revision is kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal

from sqlalchemy import BigInteger, delete, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.access import write_audit
from app.store.database import Database
from app.store.levels import product_named
from app.store.line_attributes import BEGINNING, closed_outputs, say_attributes
from app.store.registry import AlreadyThere, Fields, NotThere, Page, WrongField, plain
from app.store.tables.lines import level, line, line_attribute, line_meter, line_output, product
from app.store.tables.registry import enterprise, meter
from energy.benchmark import OutputUnitMismatch, applies, output_scale
from energy.reading import Role

JUDGED_BY = ("product", "condition", "capacity_per_year", "unit", "active")
"""What of a line, beside its shares of meters, holds for all its months."""


class SharesExceedOne(ValueError):
    """More of a meter is given to lines than there is. Attributes: meter, shares, total."""

    def __init__(self, code: str, shares: dict[str, Decimal]) -> None:
        self.meter, self.shares, self.total = code, shares, sum(shares.values(), Decimal(0))
        listed = ", ".join(f"{name} {share}" for name, share in sorted(shares.items()))
        super().__init__(f"the shares of meter {code} over lines add up to {self.total}, more than 1: {listed}")


class CountedTwice(ValueError):
    """One line would count the same energy twice. Attribute: meter."""

    def __init__(self, code: str, carrier: str, around: Sequence[str]) -> None:
        self.meter = code
        super().__init__(
            f"meter {code} measures {carrier} inside the enterprise, which {', '.join(around)} of this line has "
            "counted already; give the line either of them"
        )


class MonthInFuture(ValueError):
    """Nothing can have been produced in a month that has not begun. Attribute: month."""

    def __init__(self, month: str, now: str) -> None:
        self.month = month
        super().__init__(f"{month} has not begun; the running month is {now}")


async def create_line(connection: AsyncConnection, fields: Fields, actor: str) -> Fields:
    """Raises WrongField, AlreadyThere, SharesExceedOne, CountedTwice."""
    found = await product_named(connection, fields["product"])
    named = ("enterprise", "code", "condition", "capacity_per_year", "unit", "attributes")
    row = {name: fields[name] for name in named}
    row |= {"name": fields["name"] or fields["code"], "product": found["code"]}
    await _check(connection, row, found)
    key = f"{fields['enterprise']}/{fields['code']}"
    taken = select(line.c.line_id).where(line.c.enterprise == fields["enterprise"], line.c.code == fields["code"])
    if await connection.scalar(taken) is not None:
        raise AlreadyThere("line", key)
    number = (await connection.execute(insert(line).values(**row).returning(line.c.line_id))).scalar_one()
    if row["attributes"]:
        said = {"valid_from": fields["attributes_from"] or BEGINNING, "attributes": row["attributes"]}
        await connection.execute(insert(line_attribute).values(line_id=number, entered_by=actor, **said))
    await _set_meters(connection, number, fields["enterprise"], found, fields["meters"])
    await write_audit(connection, actor, "line.create", "line", key, after=_told(row, fields["meters"]))
    return await line_of(connection, number)


async def change_line(
    connection: AsyncConnection, number: int, fields: Fields, actor: str, *, today: date, opened: date
) -> Fields:
    """Everything of a line but its enterprise and code; what is said of it from a day on.

    Raises what `create_line` raises, NotThere, and RestatesClosedMonths. `opened`: see `say_attributes`.
    """
    before = await line_of(connection, number)
    found = await product_named(connection, fields["product"])
    row = {name: fields[name] for name in ("condition", "capacity_per_year", "unit", "active")}
    row |= {"name": fields["name"] or before["code"], "product": found["code"]}
    await _check(connection, row, found)
    closed = []
    if _judges_anew(before, row, fields["meters"]):
        closed = await closed_outputs(connection, number, date.min, opened, opened, restates=fields["restates"])
    await connection.execute(update(line).where(line.c.line_id == number).values(**row, updated_at=func.now()))
    await _set_meters(connection, number, before["enterprise"], found, fields["meters"])
    if fields["attributes"] != before["attributes"]:
        await say_attributes(
            connection,
            before,
            valid_from=fields["attributes_from"] or today.replace(day=1),
            attributes=fields["attributes"],
            note="",
            actor=actor,
            today=today,
            opened=opened,
            restates=fields["restates"],
        )
    old = _told({name: before[name] for name in row}, before["meters"])
    key = f"{before['enterprise']}/{before['code']}"
    told = _told(row, fields["meters"]) | ({"closed_months": closed} if closed else {})
    await write_audit(connection, actor, "line.change", "line", key, before=old, after=told)
    return await line_of(connection, number)


def _judges_anew(before: Fields, row: Fields, meters: Sequence[Fields]) -> bool:
    shares = [{one["code"]: one["share"] for one in those} for those in (before["meters"], meters)]
    return shares[0] != shares[1] or any(row[name] != before[name] for name in JUDGED_BY)


def _told(row: Fields, meters: Iterable[Fields]) -> Fields:
    return plain(row) | {"meters": [{"code": one["code"], "share": str(one["share"])} for one in meters]}


async def _check(connection: AsyncConnection, row: Fields, of: Fields) -> None:
    try:
        output_scale(row["unit"], of["unit"])
    except OutputUnitMismatch as error:
        raise WrongField("unit", str(error)) from error
    known = list(await connection.scalars(select(level.c.condition).where(level.c.product == of["code"]).distinct()))
    if not row["condition"] or "" in known or not known:
        return
    if any(applies(one, row["condition"]) or applies(row["condition"], one) for one in known):
        return
    raise WrongField("condition", f"{row['condition']!r} is none of {of['code']}: {'; '.join(sorted(known))}")


async def _set_meters(
    connection: AsyncConnection, number: int, enterprise_id: str, of: Fields, wanted: Sequence[Fields]
) -> None:
    """Give the line these shares. The meters are locked, so that two lines at once cannot take more than there is."""
    codes = [one["code"] for one in wanted]
    for code in codes:
        if codes.count(code) > 1:
            raise WrongField("meters", f"meter {code} stands there twice")
    query = select(meter.c.meter_id, meter.c.code, meter.c.carrier, meter.c.role).where(
        meter.c.enterprise == enterprise_id, meter.c.code.in_(codes)
    )
    found = {row.code: row for row in await connection.execute(query.order_by(meter.c.meter_id).with_for_update())}
    for code in codes:
        if code not in found:
            raise WrongField("meters", f"{enterprise_id} has no meter {code!r}")
        around = [
            row.code for row in found.values() if row.carrier == found[code].carrier and row.role == Role.PURCHASE
        ]
        if found[code].role == Role.INTERNAL and around:
            raise CountedTwice(code, found[code].carrier, around)
    await connection.execute(delete(line_meter).where(line_meter.c.line_id == number))
    rows = [{"line_id": number, "meter_id": found[one["code"]].meter_id, "share": one["share"]} for one in wanted]
    if rows:
        await connection.execute(insert(line_meter), rows)
    await _check_shares(connection, [row["meter_id"] for row in rows], of)


async def _check_shares(connection: AsyncConnection, meters: Sequence[int], of: Fields) -> None:
    """What products share adds up to at most 1; area and heads divide the same energy and are each for themselves."""
    same = product.c.accumulates if of["accumulates"] else product.c.code == of["code"]
    query = (
        select(meter.c.code.label("meter"), line.c.code.label("line"), line_meter.c.share)
        .join_from(line_meter, line)
        .join(meter, meter.c.meter_id == line_meter.c.meter_id)
        .join(product, product.c.code == line.c.product)
        .where(line_meter.c.meter_id.in_(meters), line.c.active, same)
    )
    shares: dict[str, dict[str, Decimal]] = {}
    for row in await connection.execute(query):
        shares.setdefault(row.meter, {})[row.line] = row.share
    for code, mine in sorted(shares.items()):
        if sum(mine.values()) > 1:
            raise SharesExceedOne(code, mine)


LINE = (
    select(line, enterprise.c.region, product.c.industry, product.c.accumulates)
    .join_from(line, enterprise)
    .join(product, product.c.code == line.c.product)
)
SHARES = select(line_meter.c.line_id, meter.c.code, line_meter.c.share).join_from(line_meter, meter)


async def line_of(connection: AsyncConnection, number: int) -> Fields:
    """A line with its meters and its enterprise's region. Raises NotThere."""
    row = (await connection.execute(LINE.where(line.c.line_id == number))).one_or_none()
    if row is None:
        raise NotThere("line", str(number))
    (found,) = await _with_meters(connection, [dict(row._mapping)])
    return found


async def _with_meters(connection: AsyncConnection, rows: Sequence[Fields]) -> list[Fields]:
    numbers = [row["line_id"] for row in rows]
    meters: dict[int, list[Fields]] = {number: [] for number in numbers}
    query = SHARES.where(line_meter.c.line_id.in_(numbers)).order_by(line_meter.c.line_id, meter.c.code)
    for one in await connection.execute(query):
        meters[one.line_id].append({"code": one.code, "share": one.share})
    return [{**row, "meters": meters[row["line_id"]]} for row in rows]


async def list_lines(
    database: Database,
    *,
    enterprise_id: str | None,
    region: str | None,
    product_name: str | None,
    industry: str | None,
    limit: int,
    after: int | None,
) -> Page:
    """The lines that the caller may see, in order of their number."""
    query = LINE.order_by(line.c.line_id).limit(limit + 1)
    if enterprise_id is not None:
        query = query.where(line.c.enterprise == enterprise_id)
    if region is not None:
        query = query.where(enterprise.c.region.startswith(region, autoescape=True))
    if industry is not None:
        query = query.where(product.c.industry.startswith(industry, autoescape=True))
    if after is not None:
        query = query.where(line.c.line_id > literal(after, BigInteger))
    async with database.engine.connect() as connection:
        if product_name is not None:
            query = query.where(line.c.product == (await product_named(connection, product_name))["code"])
        rows = [dict(row._mapping) for row in await connection.execute(query)]
        shown = await _with_meters(connection, rows[:limit])
    return Page(shown, str(rows[limit - 1]["line_id"]) if len(rows) > limit else None)


# Output ---------------------------------------------------------------------------------------------------------------


async def enter_output(
    connection: AsyncConnection, number: int, fields: Fields, actor: str, today: date
) -> tuple[Fields, bool]:
    """The month's output, and whether it is new: the same quantity again changes nothing, another is a revision.

    Raises MonthInFuture.
    """
    month = date.fromisoformat(f"{fields['month']}-01")
    if month > today:
        raise MonthInFuture(fields["month"], f"{today:%Y-%m}")
    # The line is locked, so that two revisions at once do not take the same number.
    await connection.execute(select(line.c.line_id).where(line.c.line_id == number).with_for_update())
    mine = (line_output.c.line_id == number) & (line_output.c.month == month)
    query = select(line_output).where(mine).order_by(line_output.c.revision.desc()).limit(1)
    before = (await connection.execute(query)).one_or_none()
    if before is not None and before.quantity == fields["quantity"]:
        return dict(before._mapping), False
    row = {"line_id": number, "month": month, "quantity": fields["quantity"], "note": fields["note"]}
    row |= {"revision": 1 if before is None else before.revision + 1, "entered_by": actor}
    made = (await connection.execute(insert(line_output).values(**row).returning(line_output))).one()
    key = f"{number}/{fields['month']}"
    old = None if before is None else {"quantity": str(before.quantity), "revision": before.revision}
    new = {"quantity": str(made.quantity), "revision": made.revision}
    await write_audit(connection, actor, "output.enter", "line", key, before=old, after=new)
    return dict(made._mapping), True


async def outputs(
    database: Database, number: int, *, revisions: bool, limit: int, after: tuple[date, int] | None
) -> Page:
    """A line's monthly output: of each month the last revision, or all of them, oldest first."""
    newer = line_output.alias()
    query = select(line_output).where(line_output.c.line_id == number)
    if not revisions:
        later = (newer.c.line_id == number) & (newer.c.month == line_output.c.month)
        query = query.where(~select(newer.c.month).where(later, newer.c.revision > line_output.c.revision).exists())
    if after is not None:
        query = query.where(func.row(line_output.c.month, line_output.c.revision) > func.row(*after))
    query = query.order_by(line_output.c.month, line_output.c.revision).limit(limit + 1)
    async with database.engine.connect() as connection:
        rows = [dict(row._mapping) for row in await connection.execute(query)]
    last = rows[limit - 1] if len(rows) > limit else None
    return Page(rows[:limit], None if last is None else f"{last['month']}\x1f{last['revision']}")


async def line_number(connection: AsyncConnection, enterprise_id: str, code: str) -> int:
    """The number of an enterprise's line. Raises WrongField."""
    query = select(line.c.line_id).where(line.c.enterprise == enterprise_id, line.c.code == code)
    number = await connection.scalar(query)
    if number is None:
        raise WrongField("line", f"{enterprise_id} has no line {code!r}")
    return int(number)
