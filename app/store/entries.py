"""What an enterprise, a gateway and a meter must look like to be entered: one rule for the API and for imported files.

Unknown fields are refused, never ignored.
"""

from __future__ import annotations

import math
import re
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    field_serializer,
)

from energy.benchmark import Indicator
from energy.budget import BudgetBasis
from energy.correction import Attribute, How, Side
from energy.reading import Kind, Role
from energy.tce import Basis

LevelWord = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
CreditCode = Annotated[str, StringConstraints(max_length=64, pattern=r"^[^\x00]*$")]
CarrierCode = Annotated[str, StringConstraints(to_lower=True, max_length=64, pattern=r"^[A-Za-z0-9_]+$")]
RegionCode = Annotated[str, StringConstraints(pattern=r"^\d{2,12}$")]
Industry = Annotated[str, StringConstraints(pattern=r"^[0-9A-Z]{1,6}$")]
UnitWord = Annotated[str, StringConstraints(min_length=1, max_length=20, pattern=r"^[^\x00]*$")]
AccuracyClass = Annotated[str, StringConstraints(max_length=20, pattern=r"^[^\x00]*$")]
Multiplier = Annotated[Decimal, Field(gt=0, le=Decimal("1e9"), max_digits=18)]
IntervalS = Annotated[int, Field(ge=1, le=2_678_400)]


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


def _written_day(value: object) -> object:
    """A day as people write it: a bare number would be taken for seconds since 1970."""
    if isinstance(value, date) or (isinstance(value, str) and ISO_DATE.fullmatch(value)):
        return value
    raise ValueError("a day is written as 2026-11-23")


def _written_moment(value: object) -> object:
    """The same of a moment."""
    if isinstance(value, datetime) or (isinstance(value, str) and ISO_MOMENT.match(value)):
        return value
    raise ValueError("a time is written as 2026-11-23T09:15:00+08:00")


ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
ISO_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}")
Day = Annotated[date, BeforeValidator(_written_day)]
Moment = Annotated[AwareDatetime, BeforeValidator(_written_moment)]
Positive = Annotated[float, Field(gt=0), AfterValidator(_finite)]


class Body(BaseModel):
    """Fields somebody sends us."""

    model_config = ConfigDict(extra="forbid")


ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
Email = Annotated[str, StringConstraints(pattern=rf"^{ATOM}(\.{ATOM})*@[^@\s\x00<>\"(),:;\[\]\\]+$", max_length=254)]
"""What every mail server takes (RFC 5322, dot-atom). The domain may be a Chinese one: it has an ASCII name too."""
Language = Literal["zh-CN", "en", "both"]


class Contact(Body):
    name: Name
    email: Email
    language: Language = Field(default="zh-CN", description="Of the mails; `both` has Chinese first, English below.")
    role: Literal["energy_manager", "deputy", "legal_representative"] | None = Field(
        default=None, description="Whom escalation means; without it the order of the contacts says it."
    )


class EnterpriseIn(Body):
    id: CreditCode = Field(description="18-character unified social credit code; the check character is verified.")
    name: Name
    region: RegionCode
    industry: Industry = Field(description="GB/T 4754-2017.")
    contacts: list[Contact] = Field(default_factory=list, max_length=50)
    flags: list[LevelWord] = Field(default_factory=list, max_length=50)


class GatewayIn(Body):
    id: LevelWord = Field(description="Also its user name and client id at the broker, and its level in topics.")
    enterprise: CreditCode
    name: Name


class MeterFields(Body):
    name: Name
    gateway: LevelWord
    carrier: CarrierCode
    kind: Kind = Kind.REGISTER
    unit: UnitWord
    multiplier: Multiplier = Decimal(1)
    rolls_over_at: Positive | None = None
    expected_interval_s: IntervalS = 900
    max_rate_per_h: Positive | None = None
    role: Role
    level: Literal[1, 2, 3] = 1
    accuracy_class: AccuracyClass | None = None
    calibrated_until: Day | None = None


class MeterIn(MeterFields):
    enterprise: CreditCode
    code: LevelWord


Factor = Annotated[Decimal, Field(ge=0, le=Decimal("1e6"), max_digits=18)]
HeatingValue = Annotated[Decimal, Field(gt=0, le=Decimal("1e9"), max_digits=18)]
Note = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]


class FactorFields(Body):
    value: Factor | None = Field(
        default=None, description="kgce, or kg of CO2, per normal unit of the carrier. Or send the heating value."
    )
    heating_value_kj_per_unit: HeatingValue | None = Field(
        default=None, description="Measured lower heating value as received; a factor is worked out from it."
    )
    carbon_content_tc_per_tj: HeatingValue | None = Field(default=None, description="Of a fuel, for its CO2 factor.")
    oxidation: Annotated[Decimal, Field(gt=0, le=1, max_digits=18)] | None = Field(
        default=None, description="Share of the carbon that burns, for a CO2 factor."
    )
    valid_from: Day
    valid_to: Day | None = Field(default=None, description="The first day on which it holds no more; null: still.")
    edition: Note = "entered by hand"
    source: Note
    verified: bool = True


class FactorIn(FactorFields):
    kind: Literal["coal_equivalent", "co2"] = "coal_equivalent"
    carrier: CarrierCode
    basis: Basis | None = Field(default=None, description="Of a coal equivalent; without it both.")
    dataset: LevelWord | None = Field(default=None, description="Of a CO2 factor; without it `default`.")
    region: RegionCode | None = None
    enterprise: CreditCode | None = None
    ends_previous: bool = Field(
        default=False, description="An open factor of the same subject ends on the day this one begins."
    )


Capacity = Annotated[Decimal, Field(gt=0, le=Decimal("1e12"), max_digits=18)]
Share = Annotated[Decimal, Field(gt=0, le=1, max_digits=18)]
Output = Annotated[Decimal, Field(ge=0, le=Decimal("1e12"), max_digits=18)]
LevelValue = Annotated[Decimal, Field(ge=Decimal("-1e9"), le=Decimal("1e9"), max_digits=18)]
Condition = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$", strip_whitespace=True)]
Month = Annotated[str, StringConstraints(pattern=r"^(19|20|21)[0-9]{2}-(0[1-9]|1[0-2])$")]


class LineMeterIn(Body):
    code: LevelWord
    share: Share = Decimal(1)


Percent = Annotated[Decimal, Field(ge=0, le=100, max_digits=10)]


class LineAttributes(Body):
    """Circumstances that a standard corrects its limits for; what is not said is as the standard takes it."""

    altitude_m: Annotated[Decimal, Field(ge=-500, le=9000, max_digits=10)] | None = None
    pressure_pa: Annotated[Decimal, Field(ge=30_000, le=120_000, max_digits=12)] | None = Field(
        default=None, description="The yearly mean of the local air pressure."
    )
    clinker_percent: Percent | None = Field(default=None, description="Clinker in cement.")
    feed_grade_percent: Percent | None = Field(default=None, description="Iron in what a blast furnace is fed.")
    hot_metal_percent: Percent | None = Field(default=None, description="Hot metal in an electric arc furnace.")
    wet_quenching: bool | None = Field(default=None, description="Of coke.")
    oleum_20: bool | None = Field(default=None, description="20 % oleum is made beside sulfuric acid.")
    sun_dried_salt: bool | None = Field(default=None, description="Soda ash is made from sun-dried salt.")
    stainless: bool | None = Field(default=None, description="The furnace makes stainless steel.")

    def kept(self) -> dict[str, Any]:
        """As the ledger keeps them: only what is said."""
        said = self.model_dump(exclude_none=True)
        return {name: value if isinstance(value, bool) else plain_number(value) for name, value in said.items()}


def plain_number(value: Decimal) -> int | float:
    """A number of JSON; ten digits go through a float and back unharmed."""
    return int(value) if value == value.to_integral_value() else float(value)


class LineFields(Body):
    name: Name | None = Field(default=None, description="Without it the code.")
    product: Name = Field(description="Its code, or its Chinese or English name; `products` lists them.")
    condition: Condition = Field(default="", description="Such as `E <= 0.5 %` or `capacity 60 t`; decides the level.")
    capacity_per_year: Capacity
    unit: UnitWord = Field(description="Of capacity and output: t, 10^4 t, m2, weight case, kWh, …")
    attributes: LineAttributes = LineAttributes()
    attributes_from: Day | None = Field(
        default=None,
        description="From which day `attributes` hold; without it those of a new line always did, and other ones of a "
        "line hold from the first day of the running month.",
    )
    meters: list[LineMeterIn] = Field(max_length=200)

    @field_serializer("attributes")
    def _kept(self, said: LineAttributes) -> dict[str, Any]:
        return said.kept()


class LineIn(LineFields):
    enterprise: CreditCode
    code: LevelWord


class AttributesIn(Body):
    valid_from: Day = Field(description="From this day on; of a month those on its first day count.")
    attributes: LineAttributes = Field(description="All that is said of the line; what is left out is not said.")
    note: Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00]*$")] = ""
    restates: bool = Field(default=False, description="Closed months may be judged anew by it.")


class OutputIn(Body):
    month: Month
    quantity: Output = Field(description="In the line's unit.")
    note: Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00]*$")] = ""


class LevelFields(Body):
    benchmark: LevelValue | None = Field(default=None, description="标杆; of a benchmark, with its baseline.")
    baseline: LevelValue | None = Field(default=None, description="基准.")
    level1: LevelValue | None = Field(default=None, description="Of a legal limit: 1 advanced, 2 new, 3 the limit.")
    level2: LevelValue | None = None
    level3: LevelValue | None = None
    unit: UnitWord = Field(description="kgce/t, kgce/m2, kgoe/t, gce/kWh, kWh/t, …")
    basis: Basis = Basis.EQUIVALENT
    edition: Note
    valid_from: Day
    valid_to: Day | None = Field(default=None, description="The first day on which it holds no more; null: still.")
    source: Note
    verified: bool = True
    note: Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00]*$")] = ""


class LevelIn(LevelFields):
    kind: Literal["benchmark", "limit"]
    product: Name
    indicator: Indicator = Indicator.ENERGY
    condition: Condition = ""


class CorrectionFields(Body):
    how: How = Field(
        description="add: the level plus amount x points; times: the level x (constant + amount x points)."
    )
    side: Side = Field(default=Side.BOTH, description="On which side of `base` the attribute counts.")
    base: LevelValue = Field(default=Decimal(0), description="Of the attribute, where there is no correction.")
    unit: Annotated[Decimal, Field(gt=0, le=Decimal("1e9"), max_digits=18)] = Field(
        default=Decimal(1), description="Of the attribute, one point."
    )
    most: Annotated[Decimal, Field(gt=0, le=Decimal("1e9"), max_digits=18)] | None = Field(
        default=None, description="So many points at most."
    )
    constant: LevelValue = Decimal(0)
    needs: Attribute | None = Field(default=None, description="It holds only where this one is above `needs_above`.")
    needs_above: LevelValue | None = None
    level1: LevelValue | None = Field(default=None, description="A point's amount; null leaves the level as it is.")
    level2: LevelValue | None = None
    level3: LevelValue | None = None
    valid_from: Day
    valid_to: Day | None = Field(default=None, description="The first day on which it holds no more; null: still.")
    source: Note
    verified: bool = True


class CorrectionIn(CorrectionFields):
    product: Name
    indicator: Indicator = Indicator.ENERGY
    edition: Note = Field(description="Of the limit that it corrects, as levels have it.")
    condition: Condition = Field(default="", description="Of the limit; empty for all of the edition.")
    attribute: Attribute


Reason = Annotated[str, StringConstraints(min_length=1, max_length=2000, pattern=r"^[^\x00]*$")]
Tonnes = Annotated[Decimal, Field(max_digits=40, allow_inf_nan=False)]


class BudgetIn(Body):
    basis: BudgetBasis = BudgetBasis.EQUIVALENT
    tce: Tonnes | None = Field(default=None, description="The year's amount on a basis of coal equivalent, net.")
    tco2: Tonnes | None = Field(default=None, description="The year's amount on the basis `co2`.")
    monthly: list[Tonnes] | None = Field(
        default=None,
        max_length=100,
        description="Twelve months that add up; null lets them follow the enterprise's own years, or the calendar.",
    )
    reason: Reason
    approved: bool = Field(default=True, description="false enters a proposal, which somebody approves or refuses.")


class BudgetDecisionIn(Body):
    basis: BudgetBasis = BudgetBasis.EQUIVALENT
    approve: bool
    note: Reason | None = None


class ExclusionIn(Body):
    basis: BudgetBasis = BudgetBasis.EQUIVALENT
    month: Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$")] = Field(description="2026-05")
    kind: Literal["own_renewable", "feedstock", "listed_project"]
    amount: Annotated[Decimal, Field(gt=0, lt=Decimal("1e12"), max_digits=40, allow_inf_nan=False)] = Field(
        description="Tonnes on the basis; taken off the month on top of what meters of such a role leave out already."
    )
    evidence: Reason = Field(description="What proves it: a document's number, an address, a certificate.")


class WithdrawalIn(Body):
    reason: Reason


def values_of(body: Body) -> dict[str, Any]:
    """The fields as the tables hold them: enumerated words are plain text there."""
    return plain_words(body.model_dump())


def plain_words(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, StrEnum) else value for name, value in fields.items()}
