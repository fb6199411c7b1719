"""Simulated single sites of several kinds, each troubled in its own way: what a projection must not be fooled by.

All are seasonal. Every fleet follows from its seed alone.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Years = Mapping[int, Sequence[float]]
FIRST_YEAR = 2018
FESTIVAL_IN_JANUARY = frozenset({2020, 2023, 2025})
"""Years whose Spring Festival falls before February; its dip lies then mostly in January."""


@dataclass(slots=True)
class Site:
    """One site's way through its months. `level` and `drift` are logs; `noise` the spread of a month's own."""

    chance: random.Random
    noise: float
    memory: float
    season: float
    peak: float
    level: float = 0.0
    drift: float = 0.0
    habits: dict[str, float] = field(default_factory=dict)

    def ordinary(self, month: int) -> float:
        """A month's log as season, level and noise that hangs together make it."""
        own = self.chance.gauss(0, self.noise * math.sqrt(1 - self.memory * self.memory))
        self.drift = self.memory * self.drift + own
        return self.level + self.season * math.cos(2 * math.pi * (month - self.peak) / 12) + self.drift


Month = Callable[[Site, int, int], float]


def mixed(site: Site, year: int, month: int) -> float:
    """Now and then another level, now and then a break."""
    shifts = site.habits.setdefault("shifts", site.chance.choice((0.0, 0.02, 0.04)))
    site.level += site.chance.gauss(0, 0.25) if site.chance.random() < shifts else 0.0
    taken = math.exp(site.ordinary(month))
    return taken * (site.chance.uniform(0.05, 0.5) if site.chance.random() < 0.02 else 1.0)


def wandering(site: Site, year: int, month: int) -> float:
    """A level that never comes back: a random walk."""
    site.level += site.chance.gauss(0, site.habits.setdefault("step", site.chance.uniform(0.01, 0.05)))
    return math.exp(site.ordinary(month))


def stepping(site: Site, year: int, month: int) -> float:
    """A furnace more or a line less: a step every other year or so, and it stays."""
    if site.chance.random() < 0.04:
        site.level += site.chance.choice((-1, 1)) * site.chance.uniform(0.08, 0.4)
    return math.exp(site.ordinary(month))


def stopping(site: Site, year: int, month: int) -> float:
    """Months of little or nothing, once a year or less, when nobody expects them."""
    taken = math.exp(site.ordinary(month))
    if site.chance.random() < 0.04:
        return taken * site.chance.choice((0.0, 0.0, 0.1, 0.3, 0.6))
    return taken


def wild(site: Site, year: int, month: int) -> float:
    """Heavy tails: most months are near the ordinary, some are far off."""
    tail = site.chance.gauss(0, 1) / math.sqrt(site.chance.gammavariate(1.5, 1 / 1.5))
    return math.exp(site.ordinary(month) + 0.6 * site.noise * max(-8.0, min(8.0, tail)))


def festive(site: Site, year: int, month: int) -> float:
    """A dip at the Spring Festival, which moves between January and February, and a trend from year to year."""
    if month == 0:
        site.level += site.chance.gauss(0.01, 0.04)
    depth = site.habits.setdefault("dip", site.chance.uniform(0.1, 0.6))
    dips = month == (0 if year in FESTIVAL_IN_JANUARY else 1)
    return math.exp(site.ordinary(month)) * (1 - depth * site.chance.uniform(0.7, 1.0) if dips else 1.0)


def seasonal(site: Site, year: int, month: int) -> float:
    """Works some months of the year only, the same each year."""
    rests = int(site.habits.setdefault("rests", site.chance.randrange(2, 6)))
    first = int(site.habits.setdefault("first", site.chance.randrange(12)))
    return 0.0 if (month - first) % 12 < rests else math.exp(site.ordinary(month))


@dataclass(frozen=True, slots=True)
class Sort:
    """How a fleet is made: what its months do, how many years there are, and how noisy they are."""

    month: Month
    years: tuple[int, ...] = (2, 3, 4)
    noise: tuple[float, float] = (0.03, 0.15)


KINDS: Mapping[str, Sort] = {
    "mixed": Sort(mixed),
    "wandering": Sort(wandering, noise=(0.02, 0.08)),
    "stepping": Sort(stepping, noise=(0.02, 0.10)),
    "stopping": Sort(stopping, noise=(0.03, 0.10)),
    "wild": Sort(wild, noise=(0.03, 0.10)),
    "festive": Sort(festive, noise=(0.02, 0.08)),
    "seasonal": Sort(seasonal, noise=(0.03, 0.12)),
    "young": Sort(mixed, years=(2,)),
}
"""`young` has one year of history."""


def noisy_fleet(kind: str, sites: int = 150, seed: int = 2) -> dict[str, Years]:
    """So many sites of a kind."""
    chance, sort = random.Random(f"{kind} {seed}"), KINDS[kind]  # seasons, not secrets
    found: dict[str, Years] = {}
    for number in range(sites):
        low, high = map(math.log, sort.noise)
        site = Site(
            chance=chance,
            noise=math.exp(chance.uniform(low, high)),
            memory=chance.uniform(0.0, 0.6),
            season=chance.uniform(0.02, 0.4),
            peak=chance.uniform(0, 12),
        )
        years = range(FIRST_YEAR, FIRST_YEAR + chance.choice(sort.years))
        found[f"{kind} {number}"] = {year: [sort.month(site, year, month) for month in range(12)] for year in years}
    return found
