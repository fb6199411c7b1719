"""Dated factors, and from a quantity to tonnes of coal equivalent and of CO2.

Coal equivalents are kept on two bases that are never added to each other: 当量 (`equivalent`), the heat in the energy
itself, and 等价 (`equal`), the heat it took to make it. Everything is an exact decimal; a result that would have to be
rounded raises decimal.Inexact, which takes more than 200 digits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Context, Decimal, Inexact, InvalidOperation
from enum import StrEnum
from itertools import pairwise, product
from typing import Protocol, TypeVar, final

from energy.reading import Role

EXACT = Context(prec=200, traps=[Inexact, InvalidOperation])
"""Arithmetic that raises rather than rounds."""
DEFAULT_CO2_DATASET = "default"
"""The CO2 factors used unless others are asked for. Published sets of defaults differ by up to a fifth."""
_TONNES = Decimal("0.001")
"""Factors are kilograms a unit, figures tonnes."""
KJ_PER_KGCE = Decimal("29307.6")
"""One kilogram of coal equivalent is 7,000 kcal of 4.1868 kJ (GB/T 2589-2020)."""
FACTOR_STEP = Decimal("0.000001")
"""Factors worked out from a heating value are rounded to this, half to even; the standard prints four decimals."""


class Basis(StrEnum):
    """Which coal equivalent."""

    EQUIVALENT = "equivalent"
    """当量: the calorific value; electricity is 0.1229 kgce/kWh."""
    EQUAL = "equal"
    """等价: the primary energy; for electricity the coal rate of the year's power stations."""


def kgce_of_heating_value(kj_per_unit: Decimal) -> Decimal:
    """The coal equivalent, in kgce per unit, of a fuel with this lower heating value as received; six decimals."""
    return (kj_per_unit / KJ_PER_KGCE).quantize(FACTOR_STEP)


def kgco2_of_fuel(kj_per_unit: Decimal, carbon_tc_per_tj: Decimal, oxidation: Decimal) -> Decimal:
    """kg of CO2 per unit of a fuel: heating value × carbon content × oxidised share × 44/12; six decimals.

    `carbon_tc_per_tj` is tonnes of carbon per terajoule, `oxidation` a share from 0 to 1.
    """
    tonnes_per_kj = carbon_tc_per_tj * Decimal("1e-9")
    return (kj_per_unit * tonnes_per_kj * oxidation * 44 / 12 * 1000).quantize(FACTOR_STEP)


@final
@dataclass(frozen=True, slots=True)
class CoalFactor:
    """kgce per normal unit of a carrier on a basis, on the days valid_from <= day < valid_to (None: still).

    `region` and `enterprise` say for whom it holds, None for all. Source and edition name where the number is from.
    """

    carrier: str
    basis: Basis
    kgce_per_unit: Decimal
    valid_from: date
    valid_to: date | None
    region: str | None
    enterprise: str | None
    edition: str
    source: str
    factor_id: str


@final
@dataclass(frozen=True, slots=True)
class Co2Factor:
    """kg of CO2 per normal unit of a carrier, of one data set; days, region and enterprise as for CoalFactor."""

    carrier: str
    kgco2_per_unit: Decimal
    dataset: str
    valid_from: date
    valid_to: date | None
    region: str | None
    enterprise: str | None
    source: str
    factor_id: str


class FactorOverlap(ValueError):
    """Two factors for the same thing hold on the same day. Attributes: earlier, later."""

    def __init__(self, earlier: CoalFactor | Co2Factor, later: CoalFactor | Co2Factor) -> None:
        self.earlier, self.later = earlier, later
        super().__init__(
            f"factors {earlier.factor_id} and {later.factor_id} of {earlier.carrier} both hold on {later.valid_from}"
        )


class _Dated(Protocol):
    @property
    def valid_from(self) -> date: ...
    @property
    def valid_to(self) -> date | None: ...
    @property
    def region(self) -> str | None: ...
    @property
    def enterprise(self) -> str | None: ...


F = TypeVar("F", CoalFactor, Co2Factor)
_Subject = tuple[str, str]
"""The carrier, and its basis or data set."""
_Owner = tuple[str | None, str | None]
"""Enterprise and region."""
_Shelf = dict[_Subject, dict[_Owner, list[F]]]


class FactorBook:
    """All dated factors, ready to be looked up. Raises FactorOverlap."""

    def __init__(self, coal: Iterable[CoalFactor], co2: Iterable[Co2Factor]) -> None:
        self._coal: _Shelf[CoalFactor] = _shelved(((one.carrier, str(one.basis)), one) for one in coal)
        self._co2: _Shelf[Co2Factor] = _shelved(((one.carrier, one.dataset), one) for one in co2)

    def lookup(
        self, carrier: str, basis: Basis, day: date, *, enterprise: str | None = None, region: str | None = None
    ) -> CoalFactor | None:
        """The factor that holds on the local day: the enterprise's own, else the narrowest region's, else the nation's.

        A region is a code such as 445302; it lies in 4453 and in 44. None: there is no factor.
        """
        return _found(self._coal.get((carrier, str(basis)), {}), day, enterprise, region)

    def lookup_co2(
        self,
        carrier: str,
        day: date,
        *,
        enterprise: str | None = None,
        region: str | None = None,
        dataset: str = DEFAULT_CO2_DATASET,
    ) -> Co2Factor | None:
        """The CO2 factor of the data set, by the same precedence."""
        return _found(self._co2.get((carrier, dataset), {}), day, enterprise, region)


def _shelved(factors: Iterable[tuple[_Subject, F]]) -> _Shelf[F]:
    shelf: _Shelf[F] = {}
    for subject, factor in factors:
        shelf.setdefault(subject, {}).setdefault((factor.enterprise, factor.region), []).append(factor)
    for owners in shelf.values():
        for dated in owners.values():
            dated.sort(key=_begins)
            for earlier, later in pairwise(dated):
                if earlier.valid_to is None or earlier.valid_to > later.valid_from:
                    raise FactorOverlap(earlier, later)
    return shelf


def _begins(factor: _Dated) -> date:
    return factor.valid_from


def _found(owners: Mapping[_Owner, Sequence[F]], day: date, enterprise: str | None, region: str | None) -> F | None:
    whose = (None,) if enterprise is None else (enterprise, None)
    for owner in product(whose, _around(region)):
        for factor in owners.get(owner, ()):
            if factor.valid_from <= day and (factor.valid_to is None or day < factor.valid_to):
                return factor
    return None


def _around(region: str | None) -> list[str | None]:
    """The codes of the regions it lies in, itself first; None, the nation, last."""
    code = region or ""
    return [*(code[:length] for length in range(len(code), 0, -1)), None]


@final
@dataclass(frozen=True, slots=True)
class Signed:
    """A figure as it counts in the gross account and in the net one, which budgets and targets use."""

    gross: Decimal
    net: Decimal

    def __add__(self, other: Signed) -> Signed:
        return Signed(EXACT.add(self.gross, other.gross), EXACT.add(self.net, other.net))


NOTHING = Signed(Decimal(0), Decimal(0))
_COUNTS: Mapping[Role, tuple[int, int]] = {
    Role.PURCHASE: (1, 1),
    Role.SALE: (-1, -1),
    Role.RECOVERED: (-1, -1),
    # Neither falls under the control of consumption, so budgets leave them out; totals do not.
    Role.OWN_RENEWABLE: (1, 0),
    Role.FEEDSTOCK: (1, 0),
    Role.INTERNAL: (0, 0),
}


def contribution(role: Role, quantity: Decimal) -> Signed:
    """With which sign a quantity in this role counts for the enterprise, gross and net."""
    gross, net = _COUNTS[role]
    return Signed(EXACT.multiply(quantity, gross), EXACT.multiply(quantity, net))


def emits(role: Role) -> bool:
    """Whether a quantity in this role has emissions: what an own renewable source makes and the plant uses has none.

    Its coal equivalent counts in the gross account all the same. (Convention of the guidelines for enterprises'
    greenhouse-gas accounts: self-consumed generation from sun, wind and water is 0.)
    """
    return role is not Role.OWN_RENEWABLE


@dataclass(frozen=True, slots=True)
class Booking:
    """What a quantity is, in its carrier's normal unit and in tonnes; None where there is no factor.

    `factor_ids` are the factors used, `missing` says which are not there. Nothing is rounded.
    """

    quantity: Signed
    tce_equivalent: Signed | None
    tce_equal: Signed | None
    tco2: Signed | None
    factor_ids: tuple[str, ...]
    missing: tuple[str, ...]


def book(
    factors: FactorBook,
    carrier: str,
    role: Role,
    quantity: Decimal,
    day: date,
    *,
    enterprise: str | None = None,
    region: str | None = None,
    dataset: str = DEFAULT_CO2_DATASET,
) -> Booking:
    """Book a quantity, in normal units of the carrier, that flowed on a local day."""
    signed = contribution(role, quantity)
    coal = {basis: factors.lookup(carrier, basis, day, enterprise=enterprise, region=region) for basis in Basis}
    whose = {"enterprise": enterprise, "region": region}
    co2 = factors.lookup_co2(carrier, day, **whose, dataset=dataset) if emits(role) else None
    equivalent, equal = coal[Basis.EQUIVALENT], coal[Basis.EQUAL]
    lacking = [f"no {basis} factor for {carrier} on {day}" for basis, factor in coal.items() if factor is None]
    if co2 is None and emits(role):
        lacking.append(f"no CO2 factor for {carrier} in {dataset} on {day}")
    return Booking(
        quantity=signed,
        tce_equivalent=None if equivalent is None else _in_tonnes(signed, equivalent.kgce_per_unit),
        tce_equal=None if equal is None else _in_tonnes(signed, equal.kgce_per_unit),
        tco2=_in_tonnes(signed, co2.kgco2_per_unit) if co2 is not None else None if emits(role) else NOTHING,
        factor_ids=tuple(factor.factor_id for factor in (equivalent, equal, co2) if factor is not None),
        missing=tuple(lacking),
    )


def _in_tonnes(quantity: Signed, kilograms: Decimal) -> Signed:
    tonnes = EXACT.multiply(kilograms, _TONNES)
    return Signed(EXACT.multiply(quantity.gross, tonnes), EXACT.multiply(quantity.net, tonnes))
