"""Intervals fitted to a fleet's own closed years: once a year by itself, at any time by command, always in versions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, datetime

import asyncpg
import pytest

from app.alert_cli import lines_of_fit, recalibrate
from app.rollup.positions import PositionWorker
from app.settings import read_settings
from app.store.calibrations import fitted, newest_closed_year, when_due
from app.store.database import plain_url
from app.store.positions import calibration_in_use, closed_years, evaluate
from energy.interval import to_us
from energy.projection import DEFAULT
from tests.bench.standing import AS_OF, CALENDAR, many_budgets

ENTERPRISES = 60
NOW = datetime(2026, 11, 23, 5, 30, tzinfo=CALENDAR.zone)


@pytest.fixture
async def pool(own_database_url: str) -> AsyncIterator[asyncpg.Pool]:
    await many_budgets(own_database_url, ENTERPRISES)
    async with asyncpg.create_pool(plain_url(own_database_url), min_size=1, max_size=4) as pool:
        yield pool


async def widths(pool: asyncpg.Pool) -> list[float]:
    as_of_us = CALENDAR.date_start_us(AS_OF)
    return [
        one.projection.high80 - one.projection.low80
        async for found in evaluate(pool, CALENDAR, year=2026, as_of_us=as_of_us)
        for one in found
    ]


async def test_a_fleet_is_fitted_once_a_year_and_its_intervals_are_used(pool: asyncpg.Pool) -> None:
    before = await widths(pool)
    fit = await when_due(pool, CALENDAR, NOW)
    assert fit is not None
    assert (fit.last_year, fit.found.site_years) == (2025, 2 * ENTERPRISES)
    assert fit.found.cover_before >= fit.found.cover_after >= 0.9, (
        "random months: a calm fleet, for which less is enough"
    )
    fitted_widths = zip(fit.found.calibration.interval, DEFAULT.interval, strict=True)
    assert all(0.5 * general <= own < general for own, general in fitted_widths)
    assert await when_due(pool, CALENDAR, NOW) is None
    after = await widths(pool)
    assert all(narrower < wider for narrower, wider in zip(after, before, strict=True))
    row = await pool.fetchrow("SELECT * FROM projection_calibration")
    assert row is not None, "kept above"
    assert (row["version"], row["last_year"], row["made_by"]) == (1, 2025, "yearly")
    assert tuple(row["interval_widths"]) == fit.found.calibration.interval == (await calibration_in_use(pool)).interval


async def test_the_worker_that_keeps_positions_does_it(pool: asyncpg.Pool) -> None:
    worker = PositionWorker(pool, CALENDAR, lambda: to_us(NOW))
    assert await worker.one_pass() == 3 * ENTERPRISES
    assert await worker.one_pass() == 3 * ENTERPRISES
    assert await pool.fetchval("SELECT count(*) FROM projection_calibration") == 1


async def test_the_command_shows_first_and_keeps_when_told(pool: asyncpg.Pool, own_database_url: str) -> None:
    settings = read_settings(database_url=own_database_url, timezone=CALENDAR.zone.key)
    fit, version = await recalibrate(settings, apply=False)
    assert version is None
    assert await pool.fetchval("SELECT count(*) FROM projection_calibration") == 0
    lines = lines_of_fit(fit)
    assert f"{fit.found.site_years} closed years" in lines[0]
    assert len(lines) == 3 + 12
    assert [(await recalibrate(settings, apply=True))[1] for _ in range(2)] == [1, 2]


async def test_few_years_leave_the_intervals_as_they_are_and_say_so(pool: asyncpg.Pool) -> None:
    await pool.execute("DELETE FROM enterprise_month WHERE start < '2025-06-01'")
    assert await closed_years(pool, CALENDAR, last_year=2025) == {}
    fit = await fitted(pool, CALENDAR, last_year=2025)
    assert (fit.found.site_years, fit.found.calibration) == (0, DEFAULT)
    assert lines_of_fit(fit)[-1].startswith("fewer than 100")


@pytest.mark.parametrize(("today", "year"), [((2026, 1, 31), 2024), ((2026, 2, 14), 2024), ((2026, 2, 16), 2025)])
def test_a_year_is_fitted_when_its_late_data_are_in(today: tuple[int, int, int], year: int) -> None:
    assert newest_closed_year(date(*today)) == year
