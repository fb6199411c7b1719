"""What a figure is made of: from readings to the tonnes of one bucket, as a tree that adds up to the last digit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from energy.consumption import HoldReason
from energy.reading import Kind, Role
from energy.record import Decision, Exchange
from energy.rollup import Status, status
from energy.tce import EXACT, Basis, Co2Factor, CoalFactor, FactorBook, Signed, contribution, emits

PER_THOUSAND = Decimal("0.001")
"""Factors are in kilograms a unit, figures in tonnes."""
WHY: Mapping[Role, str] = {
    Role.PURCHASE: "bought: adds",
    Role.SALE: "passed on to others: subtracts",
    Role.RECOVERED: "recovered from waste heat or pressure and used again: subtracts",
    Role.OWN_RENEWABLE: "own renewable source: in the gross figure, not in the net one, and without CO2",
    Role.FEEDSTOCK: "used as material: in the gross figure, not in the net one",
    Role.INTERNAL: "inside the enterprise: counted already where it came in, so not again",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """A reading as it was judged: what the meter showed, and why it is held, if it is."""

    at_us: int
    value: float
    quality: int
    held: HoldReason | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the bucket in which nothing changes: one multiplier, one factor.

    `raw` is what the meter counted, in its own unit; `quantity` = raw × multiplier × unit_scale, in the carrier's
    normal unit; tonnes = quantity × factor. A tonnage is None where there is no factor.
    """

    start_us: int
    end_us: int
    raw: Decimal
    multiplier: Decimal
    unit_scale: Decimal
    quantity: Decimal
    coal_factor: CoalFactor | None
    co2_factor: Co2Factor | None
    tce: Decimal | None
    tco2: Decimal | None
    measured_us: int
    estimated_us: int


@dataclass(frozen=True, slots=True)
class MeterTree:
    """One meter in a bucket. `before` and `after` are the accepted readings around it; figures are without sign.

    `first` and `last` are the accepted readings inside; `held` those inside that are kept out, `readings` how many
    there are in all. `due_us`: how long readings were owed for.
    """

    code: str
    name: str
    carrier: str
    role: Role
    kind: Kind
    unit: str
    normal_unit: str
    level: int
    before: Shown | None
    first: Shown | None
    last: Shown | None
    after: Shown | None
    readings: int
    held: tuple[Shown, ...]
    exchanges: tuple[Exchange, ...]
    decisions: tuple[Decision, ...]
    pieces: tuple[Piece, ...]

    @property
    def status(self) -> Status:
        """Of the whole bucket."""
        return status(sum(one.measured_us for one in self.pieces), sum(one.estimated_us for one in self.pieces))

    @property
    def quantity(self) -> Decimal | None:
        return None if self.status is Status.MISSING else total(one.quantity for one in self.pieces)

    @property
    def tce(self) -> Decimal | None:
        return None if self.status is Status.MISSING else total(one.tce for one in self.pieces)

    @property
    def tco2(self) -> Decimal | None:
        return None if self.status is Status.MISSING else total(one.tco2 for one in self.pieces)

    @property
    def signs(self) -> Signed:
        """1, 0 or -1, gross and net."""
        return contribution(self.role, Decimal(1))

    def signed(self, value: Decimal | None) -> Signed | None:
        """A figure of this meter as it counts for the enterprise."""
        return None if value is None else contribution(self.role, value)


@dataclass(frozen=True, slots=True)
class Sums:
    """Gross and net figures of several meters together; None: nothing is measured, or a part is not known."""

    quantity: Signed | None
    tce: Signed | None
    tco2: Signed | None


def added(meters: Iterable[MeterTree], *, of_one_carrier: bool = True) -> Sums:
    """What meters add up to. Only those that count and have data; quantities only of one carrier."""
    counting = [one for one in meters if one.role is not Role.INTERNAL and one.status is not Status.MISSING]
    if not counting:
        return Sums(None, None, None)
    return Sums(
        _sum([one.signed(one.quantity) for one in counting]) if of_one_carrier else None,
        _sum([one.signed(one.tce) for one in counting]),
        _sum([one.signed(one.tco2) for one in counting]),
    )


def total(parts: Iterable[Decimal | None]) -> Decimal | None:
    """The exact sum; None when a part is not known: a part of a sum is never shown as the whole."""
    found = Decimal(0)
    for part in parts:
        if part is None:
            return None
        found = EXACT.add(found, part)
    return found


def _sum(parts: Iterable[Signed | None]) -> Signed | None:
    found = Signed(Decimal(0), Decimal(0))
    for part in parts:
        if part is None:
            return None
        found = found + part
    return found


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose factors hold for a meter, and of which carrier, basis and set of CO2 factors."""

    carrier: str
    role: Role
    enterprise: str
    region: str
    basis: Basis
    co2_dataset: str


def piece_of(
    bounds_us: tuple[int, int],
    raw: Decimal,
    scales: tuple[Decimal, Decimal],
    covered_us: tuple[int, int],
    factors: FactorBook,
    owner: Owner,
    day: date,
) -> Piece:
    """One stretch priced: `scales` are the multiplier and the unit's, `covered_us` measured and estimated time."""
    quantity = EXACT.multiply(EXACT.multiply(raw, scales[0]), scales[1])
    whose = {"enterprise": owner.enterprise, "region": owner.region}
    coal = factors.lookup(owner.carrier, owner.basis, day, **whose)
    co2 = factors.lookup_co2(owner.carrier, day, **whose, dataset=owner.co2_dataset) if emits(owner.role) else None
    emitted = _tonnes(quantity, co2.kgco2_per_unit if co2 else None) if emits(owner.role) else Decimal(0)
    tce = _tonnes(quantity, coal.kgce_per_unit if coal else None)
    return Piece(*bounds_us, raw, *scales, quantity, coal, co2, tce, emitted, *covered_us)


def _tonnes(quantity: Decimal, kilograms: Decimal | None) -> Decimal | None:
    return None if kilograms is None else EXACT.multiply(EXACT.multiply(quantity, kilograms), PER_THOUSAND)
