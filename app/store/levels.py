"""Products and the dated levels their energy is held against: benchmark editions and legal limits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from sqlalchemy import BigInteger, delete, func, insert, literal, or_, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.access import write_audit
from app.store.database import Database
from app.store.registry import Fields, NotThere, Page, WrongField, plain
from app.store.tables.lines import level, product
from energy.benchmark import level_units

KINDS_NUMBERS = {"benchmark": ("benchmark", "baseline"), "limit": ("level1", "level2", "level3")}


class LevelsOverlap(ValueError):
    """Another level of the product holds on some of these days. Attribute: level."""

    def __init__(self, found: Fields) -> None:
        self.level = found["level_id"]
        until = "without end" if found["valid_to"] is None else f"up to {found['valid_to']} (exclusive)"
        super().__init__(
            f"level {found['level_id']} of {found['product']} ({found['edition']}) holds from {found['valid_from']} "
            f"{until}; end that one first, or choose other dates"
        )


async def products(database: Database) -> Sequence[Fields]:
    async with database.engine.connect() as connection:
        return [dict(row._mapping) for row in await connection.execute(select(product).order_by(product.c.code))]


async def product_named(connection: AsyncConnection, name: str) -> Fields:
    """The product with this code, Chinese or English name. Raises WrongField."""
    word = name.strip()
    either = or_(
        product.c.code == word.lower(), product.c.name_zh == word, func.lower(product.c.name_en) == word.lower()
    )
    row = (await connection.execute(select(product).where(either).order_by(product.c.code).limit(1))).one_or_none()
    if row is None:
        raise WrongField("product", f"{name!r} is no product; GET /api/v1/products lists them")
    return dict(row._mapping)


async def list_levels(
    database: Database,
    *,
    product_name: str | None,
    kind: str | None,
    edition: str | None,
    industry: str | None,
    on: date | None,
    limit: int,
    after: int | None,
) -> Page:
    """Levels in order of their number, with the product's names."""
    query = select(level, product.c.name_zh, product.c.name_en, product.c.industry).join_from(level, product)
    if product_name is not None:
        names = (product.c.code, product.c.name_zh, product.c.name_en)
        query = query.where(or_(*(func.lower(name) == product_name.lower() for name in names)))
    for column, wanted in ((level.c.kind, kind), (level.c.edition, edition)):
        if wanted is not None:
            query = query.where(column == wanted)
    if industry is not None:
        query = query.where(product.c.industry.startswith(industry, autoescape=True))
    if on is not None:
        query = query.where(level.c.valid_from <= on, or_(level.c.valid_to.is_(None), level.c.valid_to > on))
    if after is not None:
        query = query.where(level.c.level_id > literal(after, BigInteger))
    async with database.engine.connect() as connection:
        found = await connection.execute(query.order_by(level.c.level_id).limit(limit + 1))
        rows = [dict(row._mapping) for row in found]
    return Page(rows[:limit], str(rows[limit - 1]["level_id"]) if len(rows) > limit else None)


async def level_of(connection: AsyncConnection, number: int) -> Fields:
    query = select(level, product.c.name_zh, product.c.name_en, product.c.industry).join_from(level, product)
    row = (await connection.execute(query.where(level.c.level_id == number))).one_or_none()
    if row is None:
        raise NotThere("level", str(number))
    return dict(row._mapping)


async def enter_level(connection: AsyncConnection, fields: Fields, actor: str) -> Fields:
    """Raises WrongField and LevelsOverlap."""
    found = await product_named(connection, fields["product"])
    row = {**fields, "product": found["code"], "entered_by": actor}
    _check(row, found)
    number = await _write(connection, row, None)
    made = await level_of(connection, number)
    await write_audit(connection, actor, "level.create", "level", str(number), after=plain(row))
    return made


async def change_level(connection: AsyncConnection, number: int, fields: Fields, actor: str) -> Fields:
    """Other numbers, days or source; what it is a level of stays. Raises NotThere, WrongField, LevelsOverlap."""
    before = await level_of(connection, number)
    row = {**fields, "entered_by": actor, "origin": "entered"}
    _check({**before, **row}, await product_named(connection, before["product"]))
    await _write(connection, {**before, **row}, number, changes=row)
    old = plain({name: before[name] for name in row})
    await write_audit(connection, actor, "level.change", "level", str(number), before=old, after=plain(row))
    return await level_of(connection, number)


async def remove_level(connection: AsyncConnection, number: int, actor: str) -> None:
    """Take out a level entered by hand. Raises NotThere, and WrongField for one of the reference tables."""
    before = await level_of(connection, number)
    if before["origin"] != "entered":
        raise WrongField("level", f"{number} is of the reference tables; end it, or change it")
    await connection.execute(delete(level).where(level.c.level_id == number))
    await write_audit(connection, actor, "level.remove", "level", str(number), before=plain(before))


def _check(row: Fields, of: Fields) -> None:
    if row["valid_to"] is not None and row["valid_to"] <= row["valid_from"]:
        raise WrongField(
            "valid_to", "it should be later than valid_from: it is the first day on which it holds no more"
        )
    wanted = KINDS_NUMBERS[row["kind"]]
    for name in (name for names in KINDS_NUMBERS.values() for name in names):
        if name not in wanted and row[name] is not None:
            raise WrongField(name, f"a {row['kind']} has {', '.join(wanted)}")
    if row["kind"] == "benchmark":
        _check_benchmark(row)
    elif row["level3"] is None:
        raise WrongField("level3", "a limit needs level 3, the limit of existing plants")
    try:
        _, output = level_units(row["unit"])
    except ValueError as error:
        raise WrongField("unit", str(error)) from error
    if output != of["unit"]:
        raise WrongField("unit", f"{of['code']} is counted in {of['unit']}, not in {output}")


def _check_benchmark(row: Fields) -> None:
    for name in ("benchmark", "baseline"):
        if row[name] is None:
            raise WrongField(name, "a benchmark has both the benchmark level (标杆) and the baseline (基准)")
    if row["baseline"] <= row["benchmark"]:
        raise WrongField("baseline", "lower is better: the baseline should be above the benchmark level")


async def _write(connection: AsyncConnection, row: Fields, number: int | None, *, changes: Fields | None = None) -> int:
    change: Any = insert(level).values(**row)
    if number is not None:
        change = update(level).where(level.c.level_id == number).values(**(changes or {}))
    try:
        async with connection.begin_nested():
            return int((await connection.execute(change.returning(level.c.level_id))).scalar_one())
    except IntegrityError as error:
        if "level_no_overlap" not in str(error.orig):
            raise
        raise LevelsOverlap(await _overlapping(connection, row, number)) from error


async def _overlapping(connection: AsyncConnection, row: Fields, number: int | None) -> Fields:
    same = [level.c[name] == row[name] for name in ("kind", "product", "indicator", "condition")]
    days = text("daterange(valid_from, valid_to) && daterange(:begins, :ends)")
    query = select(level).where(*same, days, level.c.level_id.is_distinct_from(number)).limit(1)
    found = await connection.execute(query, {"begins": row["valid_from"], "ends": row["valid_to"]})
    return dict(found.one()._mapping)
