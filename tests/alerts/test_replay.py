"""A year once more: with holes, late arrivals and restarts it ends in the same alerts as the clean one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from itertools import accumulate
from pathlib import Path

import pytest

from alerts.evaluate import BudgetPosition
from alerts.notice import Reason
from alerts.replay import Fired, Replay
from alerts.rule import DEFAULTS, Level
from app.alert_cli import WrongFile, lines_of, settings_in
from energy.projection import project
from tests.alerts.test_evaluate import a_position

YEAR = 2026
FIRST, LAST = date(YEAR, 1, 2), date(YEAR, 12, 31)
DAYS = [FIRST + timedelta(days=number) for number in range((LAST - FIRST).days + 1)]
SOUND_FROM = date(YEAR, 11, 10)
"""From here on nothing is missing any more: what is known at the end is what the clean run knows."""


@dataclass(frozen=True, slots=True)
class Plant:
    """A site that uses `growth` times what it used the year before, with a budget of `share` of that year."""

    name: str
    growth: float
    share: float

    def position(self, day: date, *, late_s: float, cover: float) -> BudgetPosition:
        months = day.month - 1
        before = [100.0 + 10 * (number % 3) for number in range(12)]
        used = [self.growth * month for month in before[:months]]
        budget = self.share * sum(before)
        seen = project([before], used, budget)
        spent = sum(used) + self.growth * before[months] * (day.day - 1) / 31
        planned = list(accumulate(budget / 12 for _ in range(12)))[months]
        return replace(
            a_position(),
            enterprise=self.name,
            day=day,
            as_of=datetime.combine(day, time(0), UTC),
            budget=Decimal(f"{budget:.3f}"),
            spent=Decimal(f"{spent:.3f}"),
            spent_measured=Decimal(f"{spent:.3f}"),
            planned=Decimal(f"{planned:.3f}"),
            p_over=seen.p_over,
            projected=seen.projected,
            late_s=late_s,
            cover30=cover,
        )


PLANTS = [Plant(f"plant-{g:.2f}-{s:.2f}", g, s) for g in (0.9, 1.0, 1.2) for s in (0.93, 1.0, 1.08)]


@cache
def clean() -> Replay:
    run = Replay(lambda region: DEFAULTS)
    for day in DAYS:
        list(evaluated(run, day, {}))
    return run


def evaluated(run: Replay, day: date, holes: dict[str, set[date]]) -> Iterator[Fired]:
    positions = []
    for plant in PLANTS:
        missing = holes.get(plant.name, set())
        late_s = 86_400.0 if day in missing else 0.0
        recent = [day - timedelta(days=back) for back in range(1, 31)]
        cover = sum(one not in missing for one in recent) / 30
        positions.append(plant.position(day, late_s=late_s, cover=cover))
    return run.evaluate(positions, day, datetime.combine(day, time(5, 30), UTC))


def disturbed(seed: int) -> tuple[Replay, list[Fired]]:
    """Holes of up to ten days, some of which arrive late, and restarts after which several days are made up for."""
    chance = random.Random(seed)
    holes: dict[str, set[date]] = {}
    for plant in PLANTS:
        for _ in range(8):
            begin = FIRST + timedelta(days=chance.randrange((SOUND_FROM - FIRST).days - 10))
            holes.setdefault(plant.name, set()).update(
                begin + timedelta(days=number) for number in range(chance.randrange(1, 10))
            )
    run, fired, waiting = Replay(lambda region: DEFAULTS), [], []
    for day in DAYS:
        waiting.append(day)
        if chance.random() < 0.1 and day < SOUND_FROM:
            continue  # down: made up for later
        for plant in PLANTS:  # what had been missing arrives, for some of them
            if chance.random() < 0.05:
                holes[plant.name] = {one for one in holes[plant.name] if one >= day}
        for one in waiting:
            fired += list(evaluated(run, one, holes))
        waiting.clear()
    return run, fired


@pytest.mark.parametrize("seed", range(3))
def test_a_disturbed_year_ends_in_the_alerts_of_the_clean_one(seed: int) -> None:
    wanted = clean().standing()
    run, fired = disturbed(seed)
    assert run.standing() == wanted
    assert set(wanted.values()) >= {Level.RED}
    assert any(one.change.row == 9 for one in fired), "nothing was ever held: the holes were too small to matter"


def test_who_stays_within_budget_is_told_nothing() -> None:
    run = Replay(lambda region: DEFAULTS)
    told = [one for day in DAYS for one in evaluated(run, day, {}) if one.reason is Reason.RAISED]
    within = {plant.name for plant in PLANTS if plant.growth <= plant.share * 0.93}
    assert within
    assert not within & {one.key.enterprise for one in told if one.change.after.level >= Level.ORANGE}


def test_other_settings_fire_otherwise_and_the_lines_say_what() -> None:
    nervous = Replay(lambda region: DEFAULTS.changed({"confirm_days": 1, "orange_from": "03-01"}))
    fired = [one for day in DAYS[:120] for one in evaluated(nervous, day, {})]
    lines = lines_of(fired, everything=False)
    assert lines[0].startswith("day")
    assert len(lines) == 1 + sum(one.reason is not None for one in fired)
    assert len(lines_of(fired, everything=True)) == 1 + len(fired)
    assert any("trend 2026 equivalent" in line and "green→" in line and "raised" in line for line in lines)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "JSON object"),
        ("{", "Expecting"),
        ('{"trend_orange_on": 7}', "trend_orange_on"),
        ('{"x": 1}', "no setting"),
    ],
)
def test_a_file_of_settings_that_cannot_be_used_says_where(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "settings.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(WrongFile, match=why):
        settings_in(path)
    with pytest.raises(WrongFile, match="nowhere"):
        settings_in(tmp_path / "nowhere.json")
