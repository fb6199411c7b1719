"""How wide intervals are in this fleet: fitted to its closed years once a year, kept in versions, the newest used."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import asyncpg
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.positions import closed_years
from app.store.registry import Fields
from app.store.rollups import Connection
from app.store.tables.budgets import projection_calibration
from energy.calibration import Recalibration, recalibrated
from energy.interval import SiteCalendar

SETTLED_AFTER = timedelta(days=45)
"""A year is fitted when its late data and corrections have come in."""
LAST_YEAR = "SELECT max(last_year) FROM projection_calibration"
ADD = """
INSERT INTO projection_calibration (last_year, site_years, cover_before, cover_after, interval_widths, made_by, made_at)
VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING version
"""
BY_ITSELF = "yearly"


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fit on the years up to `last_year`."""

    last_year: int
    found: Recalibration


def newest_closed_year(today: date) -> int:
    """The newest year that can be fitted on a local day."""
    return (today - SETTLED_AFTER).year - 1


async def fitted(pool: asyncpg.Pool, calendar: SiteCalendar, *, last_year: int) -> Fitted:
    """What the fleet's years up to this one say. Reads only."""
    fleet = await closed_years(pool, calendar, last_year=last_year)
    return Fitted(last_year, await asyncio.to_thread(recalibrated, fleet))


async def add(connection: Connection, fit: Fitted, *, made_by: str, now: datetime) -> int:
    """Another version, in use from now on. Answers its number."""
    found = fit.found
    widths = list(found.calibration.interval)
    values = (fit.last_year, found.site_years, found.cover_before, found.cover_after, widths, made_by, now)
    version: int = await connection.fetchval(ADD, *values)
    return version


async def when_due(pool: asyncpg.Pool, calendar: SiteCalendar, now: datetime) -> Fitted | None:
    """Fit and keep the newest closed year, if that was not done; what was done, if anything."""
    last_year = newest_closed_year(now.astimezone(calendar.zone).date())
    done = await pool.fetchval(LAST_YEAR)
    if done is not None and done >= last_year:
        return None
    fit = await fitted(pool, calendar, last_year=last_year)
    async with pool.acquire() as connection:
        await add(connection, fit, made_by=BY_ITSELF, now=now)
    return fit


async def shown(connection: AsyncConnection) -> Fields | None:
    """The newest version with the cover it reached; None while intervals are those of fleets in general."""
    newest = select(projection_calibration).order_by(projection_calibration.c.version.desc()).limit(1)
    found: Any = (await connection.execute(newest)).mappings().one_or_none()
    return None if found is None else dict(found)
