"""`tcewatch alerts`: evaluate now, replay the past with other settings, fit the projection's intervals."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from alerts.engine import AlertEngine, Schedule
from alerts.replay import Fired, Replay
from alerts.rule import DEFAULTS, AlertSettings, WrongRule
from app.main import alert_book
from app.settings import Settings
from app.store.alert_settings import settings_book
from app.store.calibrations import Fitted, add, fitted, newest_closed_year
from app.store.database import Database, open_database
from app.store.outlooks import StoredPositions
from energy.calibration import SITE_YEARS_NEEDED
from energy.interval import SiteCalendar
from energy.projection import DEFAULT as PROJECTION

LOOK_AGAIN_S = 1.0
"""While another process evaluates."""


class WrongFile(ValueError):
    """A file of settings that cannot be used; the text says where and why."""


@dataclass(frozen=True, slots=True)
class Span:
    """Local days, both ends included."""

    first: date
    last: date

    def days(self) -> list[date]:
        return [self.first + timedelta(days=number) for number in range((self.last - self.first).days + 1)]


def settings_in(path: Path) -> AlertSettings:
    """Settings from a JSON object of what differs from the defaults. Raises WrongFile."""
    try:
        changes: Any = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(changes, dict):
            raise WrongFile(f'{path}: should be a JSON object such as {{"trend_orange_on": 0.9}}')
        return DEFAULTS.changed(changes)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise WrongFile(f"{path}: {error}") from error
    except WrongRule as error:
        raise WrongFile(f"{path}: {error}") from error


async def evaluate(
    settings: Settings,
    span: Span | None,
    enterprises: Sequence[str] | None,
    *,
    first: Callable[[], None] = lambda: None,
) -> tuple[int, int]:
    """One evaluation of each day, today without a span; only the last day is told. Answers positions and notices.

    `first` is called when it is our turn, before anything is evaluated.
    """
    async with open_database(settings.database_url) as database:
        book = alert_book(settings, database.pool)
        engine = AlertEngine(
            StoredPositions(database.pool, SiteCalendar(settings.zone)),
            book,
            Schedule(settings.zone, at=time.fromisoformat(settings.alerts_at)),
            clock=lambda: datetime.now(UTC),
        )
        days = [datetime.now(settings.zone).date()] if span is None else span.days()
        while True:
            async with book.turn() as ours:
                if ours:
                    first()
                    return await engine.evaluate_days(days, why="asked", enterprises=enterprises)
            await asyncio.sleep(LOOK_AGAIN_S)


async def replay(
    settings: Settings, span: Span, enterprises: Sequence[str] | None, given: AlertSettings | None
) -> tuple[list[Fired], Replay]:
    """What would have fired from day to day. Reads only."""
    async with open_database(settings.database_url) as database:
        book = await _book(database)
        replayed = Replay((lambda _: given) if given is not None else (lambda region: book.of(region).settings))
        source = StoredPositions(database.pool, SiteCalendar(settings.zone), keep=False)
        fired: list[Fired] = []
        now = datetime.now(UTC)
        for day in span.days():
            async for group in source.positions(day, now, enterprises):
                fired += replayed.evaluate(group, day, datetime.combine(day, time(), settings.zone))
        return fired, replayed


async def recalibrate(settings: Settings, *, apply: bool) -> tuple[Fitted, int | None]:
    """The intervals fitted to the newest closed years; the version they were kept as, if they were to be."""
    calendar, now = SiteCalendar(settings.zone), datetime.now(UTC)
    async with open_database(settings.database_url) as database:
        last_year = newest_closed_year(now.astimezone(settings.zone).date())
        fit = await fitted(database.pool, calendar, last_year=last_year)
        if not apply:
            return fit, None
        async with database.pool.acquire() as connection:
            return fit, await add(connection, fit, made_by="command", now=now)


def lines_of_fit(fit: Fitted) -> list[str]:
    """What a fit says, and the width of the interval with so many months gone, before and after."""
    found = fit.found
    lines = [
        f"{found.site_years:,} closed years of sites, up to {fit.last_year}",
        f"80 % intervals held {100 * found.cover_before:.1f} % of the time",
        f"fitted they hold {100 * found.cover_after:.1f} %, each year judged by the others",
    ]
    if found.site_years < SITE_YEARS_NEEDED:
        return [*lines, f"fewer than {SITE_YEARS_NEEDED}: the intervals of fleets in general stay"]
    widths = zip(PROJECTION.interval, found.calibration.interval, strict=True)
    return [*lines, *(f"{months:>2} months gone: {old:.2f} → {new:.2f}" for months, (old, new) in enumerate(widths))]


async def _book(database: Database) -> Any:
    async with database.pool.acquire() as connection:
        return await settings_book(connection)


def lines_of(fired: Sequence[Fired], *, everything: bool) -> list[str]:
    """The transitions as a table; without `everything` only those that somebody would have been told of."""
    shown = [one for one in fired if everything or one.reason is not None]
    lines = [f"{'day':<11}{'enterprise':<20}{'alert':<30}{'level':<18}{'mail':<14}figures"]
    return lines + [_line(one) for one in shown]


def _line(one: Fired) -> str:
    key, change = one.key, one.change
    what = " ".join(part for part in (key.kind, key.period, key.subject) if part)
    level = f"{change.before.level.word}→{change.after.level.word}"
    mail = "–" if one.reason is None else one.reason
    figures = {name: one.inputs[name] for name in ("p_over", "spent", "projected", "late_s") if one.inputs.get(name)}
    said = ", ".join(
        f"{name} {value:,.3g}" if value < 10 else f"{name} {value:,.0f}" for name, value in figures.items()
    )
    return f"{one.day.isoformat():<11}{key.enterprise:<20}{what:<30}{level:<18}{mail:<14}{said}"
