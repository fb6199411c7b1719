"""What the plants make: one production line each where there is a level to hold it against, and its monthly output.

Rates are those of ordinary plants of each kind, so that most lines lie somewhere between 标杆 and 基准, some better and
some worse. Pure and seeded like everything else here.
"""

from dataclasses import dataclass

import numpy as np

from simulators.noise import Ints, between, key_of
from simulators.plants import SLOT_H, Industry, PlantPlan, running, size_of
from simulators.seasons import local_time

HOURS_A_YEAR = 8000
"""A line's capacity is what it makes in so many hours of full running."""


@dataclass(frozen=True, slots=True)
class LinePlan:
    """A line as it is registered, and what it makes per hour of full running, in its own unit."""

    code: str
    name: str
    product: str
    condition: str
    unit: str
    meters: tuple[str, ...]
    capacity_per_year: float
    per_hour: float


_KINDS: dict[Industry, tuple[str, str, str, str, str, tuple[str, ...], float]] = {
    Industry.CEMENT: ("K1", "熟料生产线", "cement_clinker", "", "t", ("C001", "E001", "E010"), 125.0),
    Industry.CERAMICS: ("T1", "抛釉砖窑线", "ceramic_tile", "E = 0.3 %", "m2", ("G001", "E001", "P001"), 820.0),
    Industry.STEEL: ("F1", "电弧炉", "electric_arc_furnace", "capacity 60 t", "t", ("E101", "E102"), 54.0),
    Industry.PAPER: ("M1", "箱纸板机", "linerboard", "", "t", ("H001", "E001"), 15.5),
    Industry.ACID: (
        *("A1", "硫黄制酸", "sulfuric_acid_sulfur", "with low-temperature heat recovery", "t"),
        ("E001", "E010", "H010", "D001"),
        12.6,
    ),
}
# Stone has no national level; a hospital's floor area and heads are no output.


def line_of(plan: PlantPlan) -> LinePlan | None:
    """The plant's line, or None where no level is known for what it makes."""
    kind = _KINDS.get(plan.industry)
    if kind is None:
        return None
    code, name, product, condition, unit, meters, rate = kind
    skill = between(key_of(plan.seed, "skill"), 0.9, 1.13)
    per_hour = rate * size_of(plan.seed) * skill
    return LinePlan(code, name, product, condition, unit, meters, round(per_hour * HOURS_A_YEAR, -2), per_hour)


def output_of(plan: PlantPlan, line: LinePlan, slots: Ints) -> float:
    """What the line makes in these quarter hours since 1970 UTC, to a tenth of its unit; none while it stands."""
    share = running(plan, local_time(slots))
    return round(float(np.where(share > 0.5, share, 0.0).sum()) * SLOT_H * line.per_hour, 1)
