"""The projection held against years that are over, as they looked month by month: nothing from later is known to it.

Calm: supply areas, real, from the data described in the README (skipped with a word where it is not there). Noisy:
simulated single sites with shifts of level, breaks and one to three years of history. Beside ours stands the rule that
is usual: so far, divided by the months gone, times twelve.
"""

from __future__ import annotations

import calendar
import csv
import gzip
import math
import os
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from energy.projection import Projection, project

NAME = "us_demand_daily_2016_2024.csv.gz"
IMPUTED = frozenset({"AEC", "PSEI"})
"""Areas whose published values are largely imputed after 2020."""
BUDGETS = (0.95, 1.00, 1.05, 1.10)
"""Of the year before."""
OPENS, CLOSES, FIRST_MONTH = 0.85, 0.55, 3
MONTHS_60_DAYS_AHEAD = 10
"""At the end of October 61 days are left."""
NOISY_SITES = 150

Years = Mapping[int, Sequence[float]]
Project = Callable[[Sequence[Sequence[float]], Sequence[float], float], Projection]


@dataclass(slots=True)
class Tally:
    """How alarms fared, one a site-year and budget, and how often 80 % intervals held."""

    over: int = 0
    caught: int = 0
    within: int = 0
    false_alarms: int = 0
    right_alarms: int = 0
    intervals: int = 0
    held: int = 0

    def figures(self) -> dict[str, float]:
        alarms = self.false_alarms + self.right_alarms
        return {
            "precision": self.right_alarms / max(alarms, 1),
            "false_alarms": self.false_alarms / max(self.within, 1),
            "caught60": self.caught / max(self.over, 1),
            "coverage80": self.held / max(self.intervals, 1),
        }


def calm_fleet() -> dict[str, Years] | None:
    """Months of the supply areas; None where the file is not there."""
    here = Path(__file__).parents[2]
    file = Path(os.environ.get("TCEWATCH_TEST_DATA", here.parent / "shared" / "data")) / NAME
    if not file.exists():
        return None
    days: defaultdict[str, defaultdict[tuple[int, int], list[float]]] = defaultdict(lambda: defaultdict(list))
    with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            year, month = int(row["date"][:4]), int(row["date"][5:7])
            if row["region"] not in IMPUTED and row["mwh"]:
                days[row["region"]][year, month].append(float(row["mwh"]))
    return {region: whole_years(months) for region, months in days.items()}


def whole_years(months: Mapping[tuple[int, int], Sequence[float]]) -> dict[int, list[float]]:
    """The years of which every day is there."""
    found: dict[int, list[float]] = {}
    for year in sorted({year for year, _ in months}):
        whole = all(len(months.get((year, m), ())) == calendar.monthrange(year, m)[1] for m in range(1, 13))
        if whole:
            found[year] = [math.fsum(months[year, m]) for m in range(1, 13)]
    return found


def noisy_fleet(sites: int = NOISY_SITES, seed: int = 2) -> dict[str, Years]:
    """Single sites: seasons, months that hang together, now and then another level or a break."""
    chance = random.Random(seed)  # seasons, not secrets
    found: dict[str, Years] = {}
    for site in range(sites):
        season, peak = chance.uniform(0.02, 0.4), chance.uniform(0, 12)
        noise, memory = math.exp(chance.uniform(math.log(0.03), math.log(0.15))), chance.uniform(0.0, 0.6)
        shifts = chance.choice((0.0, 0.02, 0.04))
        level = drift = 0.0
        years: dict[int, list[float]] = {}
        for year in range(2020, 2020 + chance.choice((2, 3, 4))):
            years[year] = []
            for month in range(12):
                drift = memory * drift + chance.gauss(0, noise * math.sqrt(1 - memory * memory))
                level += chance.gauss(0, 0.25) if chance.random() < shifts else 0.0
                taken = math.exp(level + season * math.cos(2 * math.pi * (month - peak) / 12) + drift)
                years[year].append(taken * (chance.uniform(0.05, 0.5) if chance.random() < 0.02 else 1.0))
        found[f"site {site}"] = years
    return found


def run_rate(history: Sequence[Sequence[float]], ytd: Sequence[float], budget: float) -> Projection:
    """The usual rule."""
    total = math.fsum(ytd) / len(ytd) * 12
    return Projection(1.0 if total > budget else 0.0, total, total, total)


def site_years(fleet: Mapping[str, Years]) -> Iterator[tuple[list[Sequence[float]], Sequence[float]]]:
    """Every year that has one before it, with up to three years of history, newest first."""
    for years in fleet.values():
        for year in sorted(years):
            history: list[Sequence[float]] = []
            while len(history) < 3 and year - 1 - len(history) in years:
                history.append(years[year - 1 - len(history)])
            if history:
                yield history, years[year]


def back_test(fleet: Mapping[str, Years], projected: Project) -> dict[str, float]:
    """Alarms as they would have been opened and closed at the end of each month from March on."""
    tally = Tally()
    for history, year in site_years(fleet):
        for share in BUDGETS:
            _one(tally, history, year, share * math.fsum(history[0]), projected)
    return tally.figures()


def _one(
    tally: Tally, history: Sequence[Sequence[float]], year: Sequence[float], budget: float, projected: Project
) -> None:
    total = math.fsum(year)
    opened, ever, ahead = False, False, False
    for months in range(FIRST_MONTH, 12):
        found = projected(history, year[:months], budget)
        opened = found.p_over >= (CLOSES if opened else OPENS)
        ever |= opened
        if months == MONTHS_60_DAYS_AHEAD:
            ahead = opened
        tally.intervals += 1
        tally.held += found.low80 <= total <= found.high80
    if total > budget:
        tally.over += 1
        tally.caught += ahead
        tally.right_alarms += ever
    else:
        tally.within += 1
        tally.false_alarms += ever


def figures() -> Iterator[tuple[str, float]]:
    """Every figure of the back-test by key; those of a fleet that is not there are left out."""
    for name, fleet in (("calm", calm_fleet()), ("noisy", noisy_fleet())):
        if fleet is None:
            continue
        for rule, projected in (("backtest", project), ("naive", run_rate)):
            for figure, value in back_test(fleet, projected).items():
                if (rule, figure) != ("naive", "coverage80"):
                    yield f"{rule}_{name}_{figure}", value
