"""Corrections that standards make to their own limits, as a register: listed, entered, changed, taken out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.access import write_audit
from app.store.database import Database
from app.store.levels import product_named
from app.store.registry import Fields, NotThere, WrongField, plain
from app.store.tables.lines import level, level_correction

SUBJECT = ("product", "indicator", "edition", "condition", "attribute")


class CorrectionsOverlap(ValueError):
    """Another correction by the same attribute holds on some of these days. Attribute: correction."""

    def __init__(self, found: Fields) -> None:
        self.correction = found["correction_id"]
        until = "without end" if found["valid_to"] is None else f"up to {found['valid_to']} (exclusive)"
        super().__init__(
            f"correction {found['correction_id']} of {found['product']} ({found['edition']}) by {found['attribute']} "
            f"holds from {found['valid_from']} {until}; end that one first, or choose other dates"
        )


async def corrections(database: Database) -> Sequence[Fields]:
    """What the standards change their limits by, in order of their number."""
    query = select(level_correction).order_by(level_correction.c.correction_id)
    async with database.engine.connect() as connection:
        return [dict(row._mapping) for row in await connection.execute(query)]


async def correction_of(connection: AsyncConnection, number: int) -> Fields:
    """Raises NotThere."""
    query = select(level_correction).where(level_correction.c.correction_id == number)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotThere("correction", str(number))
    return dict(row._mapping)


async def enter_correction(connection: AsyncConnection, fields: Fields, actor: str) -> Fields:
    """Raises WrongField and CorrectionsOverlap."""
    found = await product_named(connection, fields["product"])
    row = {**fields, "product": found["code"], "entered_by": actor}
    await _check(connection, row)
    number = await _write(connection, row, None)
    made = await correction_of(connection, number)
    await write_audit(connection, actor, "correction.create", "correction", str(number), after=plain(row))
    return made


async def change_correction(connection: AsyncConnection, number: int, fields: Fields, actor: str) -> Fields:
    """Other numbers, days or source; what it corrects by which attribute stays.

    Raises NotThere, WrongField and CorrectionsOverlap.
    """
    before = await correction_of(connection, number)
    row = {**fields, "entered_by": actor, "origin": "entered"}
    await _check(connection, {**before, **row})
    await _write(connection, {**before, **row}, number, changes=row)
    old = plain({name: before[name] for name in row})
    await write_audit(connection, actor, "correction.change", "correction", str(number), before=old, after=plain(row))
    return await correction_of(connection, number)


async def remove_correction(connection: AsyncConnection, number: int, actor: str) -> None:
    """Take out one entered by hand. Raises NotThere, and WrongField for one of the reference tables."""
    before = await correction_of(connection, number)
    if before["origin"] != "entered":
        raise WrongField("correction", f"{number} is of the reference tables; end it, or change it")
    await connection.execute(delete(level_correction).where(level_correction.c.correction_id == number))
    await write_audit(connection, actor, "correction.remove", "correction", str(number), before=plain(before))


async def _check(connection: AsyncConnection, row: Fields) -> None:
    if row["valid_to"] is not None and row["valid_to"] <= row["valid_from"]:
        raise WrongField(
            "valid_to", "it should be later than valid_from: it is the first day on which it holds no more"
        )
    if (row["needs"] is None) != (row["needs_above"] is None):
        raise WrongField("needs_above", "needs and needs_above are given together or not at all")
    if all(row[name] is None for name in ("level1", "level2", "level3")):
        raise WrongField("level3", "a correction changes at least one of the three levels")
    wanted = [level.c[name] == row[name] for name in ("product", "indicator", "edition")]
    known = await connection.scalar(select(level.c.level_id).where(level.c.kind == "limit", *wanted).limit(1))
    if known is None:
        what = f"{row['product']} ({row['indicator']})"
        raise WrongField("edition", f"there is no limit of {what} of the edition {row['edition']!r} to correct")


async def _write(connection: AsyncConnection, row: Fields, number: int | None, *, changes: Fields | None = None) -> int:
    change: Any = insert(level_correction).values(**row)
    if number is not None:
        change = update(level_correction).where(level_correction.c.correction_id == number).values(**(changes or {}))
    try:
        async with connection.begin_nested():
            return int((await connection.execute(change.returning(level_correction.c.correction_id))).scalar_one())
    except IntegrityError as error:
        if "level_correction_no_overlap" not in str(error.orig):
            raise
        raise CorrectionsOverlap(await _overlapping(connection, row, number)) from error


async def _overlapping(connection: AsyncConnection, row: Fields, number: int | None) -> Fields:
    table = level_correction.c
    same = [table[name] == row[name] for name in SUBJECT]
    days = text("daterange(valid_from, valid_to) && daterange(:begins, :ends)")
    query = select(level_correction).where(*same, days, table.correction_id.is_distinct_from(number)).limit(1)
    found = await connection.execute(query, {"begins": row["valid_from"], "ends": row["valid_to"]})
    return dict(found.one()._mapping)
