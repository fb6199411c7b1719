"""The projection held against years that are over, as they looked month by month: nothing from later is known to it.

Calm: supply areas, real, from the data described in the README (skipped with a word where it is not there). Noisy:
simulated single sites of the kinds of `tests.bench.noisy_sites`, together and each kind alone. Beside ours stands the
rule that is usual: so far, divided by the months gone, times twelve.

What a false alarm is and what was caught in time can be counted in more ways than one: an alarm is one that was ever
open, or one that stands at the end of October; the first look is at the end of March, or of February. All are printed.
"""

from __future__ import annotations

import calendar
import csv
import gzip
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from energy.projection import Projection, project
from tests.bench.noisy_sites import KINDS, noisy_fleet

NAME = "us_demand_daily_2016_2024.csv.gz"
IMPUTED = frozenset({"AEC", "PSEI"})
"""Areas whose published values are largely imputed after 2020."""
BUDGETS = (0.95, 1.00, 1.05, 1.10)
"""Of the year before."""
OPENS, CLOSES, FIRST_MONTH = 0.85, 0.55, 3
MONTHS_60_DAYS_AHEAD = 10
"""At the end of October 61 days are left."""
NOISY_SITES = 100
"""Of each kind."""

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
    caught_by_then: int = 0
    false_then: int = 0
    intervals: int = 0
    held: int = 0

    def figures(self) -> dict[str, float]:
        alarms = self.false_alarms + self.right_alarms
        return {
            "precision": self.right_alarms / max(alarms, 1),
            "false_alarms": self.false_alarms / max(self.within, 1),
            "caught60": self.caught / max(self.over, 1),
            "coverage80": self.held / max(self.intervals, 1),
            "precision_october": self.caught / max(self.caught + self.false_then, 1),
            "false_october": self.false_then / max(self.within, 1),
            "caught60_ever": self.caught_by_then / max(self.over, 1),
        }


def real_days() -> dict[str, dict[date, float]] | None:
    """MWh of each day of the supply areas; None where the file is not there."""
    here = Path(__file__).parents[2]
    file = Path(os.environ.get("TCEWATCH_TEST_DATA", here.parent / "shared" / "data")) / NAME
    if not file.exists():
        return None
    found: defaultdict[str, dict[date, float]] = defaultdict(dict)
    with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            if row["region"] not in IMPUTED and row["mwh"]:
                found[row["region"]][date.fromisoformat(row["date"])] = float(row["mwh"])
    return dict(found)


def calm_fleet() -> dict[str, Years] | None:
    """Months of the supply areas; None where the file is not there."""
    found = real_days()
    return None if found is None else {region: whole_years(_by_month(days)) for region, days in found.items()}


def _by_month(days: Mapping[date, float]) -> dict[tuple[int, int], list[float]]:
    months: defaultdict[tuple[int, int], list[float]] = defaultdict(list)
    for day, mwh in days.items():
        months[day.year, day.month].append(mwh)
    return months


def whole_years(months: Mapping[tuple[int, int], Sequence[float]]) -> dict[int, list[float]]:
    """The years of which every day is there."""
    found: dict[int, list[float]] = {}
    for year in sorted({year for year, _ in months}):
        whole = all(len(months.get((year, m), ())) == calendar.monthrange(year, m)[1] for m in range(1, 13))
        if whole:
            found[year] = [math.fsum(months[year, m]) for m in range(1, 13)]
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


def back_test(fleet: Mapping[str, Years], projected: Project, first_month: int = FIRST_MONTH) -> dict[str, float]:
    """Alarms as they would have been opened and closed at the end of each month from March on."""
    tally = Tally()
    for history, year in site_years(fleet):
        for share in BUDGETS:
            _one(tally, history, year, share * math.fsum(history[0]), projected, first_month)
    return tally.figures()


def _one(
    tally: Tally,
    history: Sequence[Sequence[float]],
    year: Sequence[float],
    budget: float,
    projected: Project,
    first_month: int,
) -> None:
    total = math.fsum(year)
    opened, ever, ahead, by_then = False, False, False, False
    for months in range(first_month, 12):
        found = projected(history, year[:months], budget)
        opened = found.p_over >= (CLOSES if opened else OPENS)
        ever |= opened
        if months == MONTHS_60_DAYS_AHEAD:
            ahead, by_then = opened, ever
        tally.intervals += 1
        tally.held += found.low80 <= total <= found.high80
    if total > budget:
        tally.over += 1
        tally.caught += ahead
        tally.caught_by_then += by_then
        tally.right_alarms += ever
    else:
        tally.within += 1
        tally.false_then += ahead
        tally.false_alarms += ever


def figures() -> Iterator[tuple[str, float]]:
    """Every figure of the back-test by key; those of a fleet that is not there are left out."""
    kinds = {kind: noisy_fleet(kind, NOISY_SITES) for kind in KINDS}
    noisy: dict[str, Years] = {name: years for fleet in kinds.values() for name, years in fleet.items()}
    for name, fleet in (("calm", calm_fleet()), ("noisy", noisy)):
        if fleet is None:
            continue
        for figure, value in back_test(fleet, project).items():
            yield f"backtest_{name}_{figure}", value
        yield f"backtest_{name}_false_from_february", back_test(fleet, project, 2)["false_alarms"]
        for figure, value in back_test(fleet, run_rate).items():
            if figure in ("precision", "false_alarms", "caught60"):
                yield f"naive_{name}_{figure}", value
    for kind, sites in kinds.items():
        found = back_test(sites, project)
        for figure in ("precision", "false_alarms", "caught60", "coverage80"):
            yield f"backtest_{kind}_{figure}", found[figure]
