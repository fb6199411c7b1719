"""What is said of a production line (altitude, clinker share, feed grade, …), from which day, by whom and when.

Entries are never changed. On a day those of the youngest `valid_from` hold, of two for one day the later entered.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import asyncpg
from sqlalchemy import BigInteger, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.access import write_audit
from app.store.closings import closing_days
from app.store.database import Database
from app.store.registry import Fields, Page, WrongField
from app.store.tables.lines import line, line_attribute, line_output
from energy.interval import SiteCalendar

BEGINNING = date(2000, 1, 1)
"""From when on what is said of a new line holds, unless a day is given."""


class RestatesClosedMonths(ValueError):
    """Months that are closed would be judged anew. Attributes: months, open_from."""

    def __init__(self, months: list[str], open_from: date) -> None:
        self.months, self.open_from = months, open_from
        super().__init__(
            f"{', '.join(months)} closed before {open_from:%Y-%m} opened and would be judged anew; "
            "send restates if that is meant"
        )


async def open_from(
    pool: asyncpg.Pool, calendar: SiteCalendar, enterprise: str, *, closing_day: int, now_us: int
) -> date:
    """The first day of the first month of an enterprise that is not closed."""
    async with pool.acquire() as connection:
        days = (await closing_days(connection, [enterprise], closing_day))[enterprise]
    return calendar.local_date(days.open_from_us(calendar, now_us))


async def say_attributes(
    connection: AsyncConnection,
    found: Fields,
    *,
    valid_from: date,
    attributes: Fields,
    note: str,
    actor: str,
    today: date,
    opened: date,
    restates: bool,
) -> tuple[Fields, bool]:
    """What holds of the line from that day on, and whether it is new: the same again changes nothing.

    Raises WrongField for a day to come, and RestatesClosedMonths unless `restates`.
    """
    if valid_from > today:
        raise WrongField("valid_from", f"{valid_from} has not come; what will be is said when it is so")
    number = found["line_id"]
    # The line is locked, so that two entries at once are judged one after the other.
    await connection.execute(select(line.c.line_id).where(line.c.line_id == number).with_for_update())
    before = await _on(connection, number, valid_from)
    if before is not None and (before["valid_from"], before["attributes"]) == (valid_from, attributes):
        return before, False
    closed = await closed_months(connection, number, valid_from, opened, restates=restates)
    row = {"line_id": number, "valid_from": valid_from, "attributes": attributes, "note": note, "entered_by": actor}
    made = dict(
        (await connection.execute(insert(line_attribute).values(**row).returning(line_attribute))).one()._mapping
    )
    latest = await _on(connection, number, today)
    assert latest is not None, "one was entered above"
    now = update(line).where(line.c.line_id == number).values(attributes=latest["attributes"], updated_at=func.now())
    await connection.execute(now)
    old = {} if before is None else before["attributes"]
    told = {"valid_from": str(valid_from), "attributes": attributes, "note": note, "closed_months": closed}
    key = f"{found['enterprise']}/{found['code']}"
    await write_audit(connection, actor, "line.attributes", "line", key, before={"attributes": old}, after=told)
    return made, True


async def _on(connection: AsyncConnection, number: int, day: date) -> Fields | None:
    """The entry that holds on a day."""
    table = line_attribute.c
    query = select(line_attribute).where(table.line_id == number, table.valid_from <= day)
    query = query.order_by(table.valid_from.desc(), table.entry_id.desc()).limit(1)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else dict(row._mapping)


async def closed_months(
    connection: AsyncConnection, number: int, valid_from: date, opened: date, *, restates: bool
) -> list[str]:
    """Closed months with an output that would be judged anew by another entry: from this day to the next entry's.

    Raises RestatesClosedMonths where there are any, unless that is meant.
    """
    table = line_attribute.c
    following = select(func.min(table.valid_from)).where(table.line_id == number, table.valid_from > valid_from)
    ends: Any = await connection.scalar(following)
    return await closed_outputs(connection, number, valid_from, min(opened, ends or opened), opened, restates=restates)


async def closed_outputs(
    connection: AsyncConnection, number: int, first: date, end: date, opened: date, *, restates: bool
) -> list[str]:
    """Months in [first, end) with an output. Raises RestatesClosedMonths where there are any, unless that is meant."""
    months = select(line_output.c.month).where(
        line_output.c.line_id == number, line_output.c.month >= first, line_output.c.month < end
    )
    found = await connection.scalars(months.distinct().order_by(line_output.c.month))
    closed = [f"{month:%Y-%m}" for month in found]
    if closed and not restates:
        raise RestatesClosedMonths(closed, opened)
    return closed


async def list_attributes(database: Database, number: int, *, limit: int, after: int | None) -> Page:
    """Everything that was ever said of a line, in order of entry."""
    query = select(line_attribute).where(line_attribute.c.line_id == number)
    if after is not None:
        query = query.where(line_attribute.c.entry_id > literal(after, BigInteger))
    async with database.engine.connect() as connection:
        found = await connection.execute(query.order_by(line_attribute.c.entry_id).limit(limit + 1))
        rows = [dict(row._mapping) for row in found]
    return Page(rows[:limit], str(rows[limit - 1]["entry_id"]) if len(rows) > limit else None)
