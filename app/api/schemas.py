"""The bodies of changes and answers, as the API document describes them. What is created: `app.store.entries`."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from app.api.alert_schemas import StandingAlertsOut, TargetOut, UnitsOut, WarningOut
from app.store.access import CallerKind, TokenRole
from app.store.entries import (
    AccuracyClass,
    Body,
    CarrierCode,
    Contact,
    EnterpriseIn,
    Industry,
    IntervalS,
    LevelWord,
    LineFields,
    MeterFields,
    Multiplier,
    Name,
    Positive,
    RegionCode,
    UnitWord,
    plain_words,
)
from energy.benchmark import Indicator, Position
from energy.budget import BudgetBasis, PlanSource, Tier
from energy.consumption import HoldReason
from energy.correction import Attribute, How, Side
from energy.interval import Level
from energy.quality import Calibration, Repair
from energy.reading import MAX_ABS_VALUE, Kind, Role
from energy.record import Saying
from energy.rollup import Status
from energy.tce import Basis
from ingest.liveness import GatewayState

T = TypeVar("T")
FilterWord = Annotated[str, StringConstraints(max_length=100, pattern=r"^[^\x00]*$")]
ScopeWord = Annotated[str, StringConstraints(pattern=r"^[0-9A-Z]{2,18}$")]
AccountName = Annotated[str, StringConstraints(to_lower=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$")]
FullName = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")]
Password = Annotated[str, StringConstraints(max_length=256)]


class EnterpriseChange(Body):
    name: Name | None = None
    region: RegionCode | None = None
    industry: Industry | None = None
    contacts: list[Contact] | None = Field(default=None, max_length=50)
    flags: list[LevelWord] | None = Field(default=None, max_length=50)


class GatewayChange(Body):
    name: Name | None = None
    active: bool | None = Field(default=None, description="false shuts the gateway out at once.")


class MeterChange(Body):
    name: Name | None = None
    gateway: LevelWord | None = None
    carrier: CarrierCode | None = None
    kind: Kind | None = None
    unit: UnitWord | None = None
    multiplier: Multiplier | None = None
    rolls_over_at: Positive | None = None
    expected_interval_s: IntervalS | None = None
    max_rate_per_h: Positive | None = None
    role: Role | None = None
    level: Literal[1, 2, 3] | None = None
    accuracy_class: AccuracyClass | None = None
    calibrated_until: date | None = None
    active: bool | None = None
    multiplier_from: AwareDatetime | None = Field(
        default=None,
        description="From when the multiplier holds; the past keeps its own. Without it all of history is corrected.",
    )


MAY_BE_EMPTIED = frozenset({"rolls_over_at", "max_rate_per_h", "accuracy_class", "calibrated_until"})
"""Fields of a meter for which null is a value; for every other field null says nothing."""


def changes_of(body: Body) -> dict[str, Any]:
    """What a change names. A null counts where the field may be empty."""
    named = plain_words(body.model_dump(exclude_unset=True))
    return {name: value for name, value in named.items() if value is not None or name in MAY_BE_EMPTIED}


class Listed(BaseModel, Generic[T]):
    items: list[T]
    next: str | None = Field(description="Cursor of the next page; null on the last.")


class RegionOut(BaseModel):
    code: str
    parent: str | None
    name_zh: str
    name_en: str


class EnterpriseOut(EnterpriseIn):
    model_config = ConfigDict(extra="ignore")
    created_at: datetime
    updated_at: datetime


class EnterpriseListed(EnterpriseOut):
    tce: float | None = Field(default=None, description="Of the running year; only with `sort=-tce`.")
    coverage: float | None = Field(default=None, description="Of the running year; only with `sort=-tce`.")
    overrun_probability: float | None = Field(default=None, description="Of the worst budget of the running year.")
    tier: Tier | None = Field(default=None, description="Of the same; null without a budget.")


class GatewayOut(BaseModel):
    id: str
    enterprise: str
    name: str
    active: bool
    state: GatewayState = Field(
        description="online: data within two expected intervals. late: not yet. silent: nothing for a day, or four "
        "intervals of a slower one. offline: it said so after its last data, or the broker for it. never: no data yet."
    )
    said: Literal["never", "online", "offline"] = Field(description="Its own last word, or its last will.")
    said_at: datetime | None
    last_data_at: datetime | None
    clock_skew_s: float | None = Field(
        description="Receipt less time of its live readings, the median in seconds: positive when its clock is behind "
        "or it sends late, negative when it is ahead; null until a few live messages came."
    )
    clock_skew_at: datetime | None = Field(description="When that was last measured.")
    clock_off: bool | None = Field(description="Whether that is more than the service's bound.")
    last_seq: int | None
    created_at: datetime
    updated_at: datetime


class SequenceGapOut(BaseModel):
    first_seq: int
    last_seq: int
    noticed_at: datetime
    asked_at: datetime | None
    asked_times: int


class GatewayWithGapsOut(GatewayOut):
    gaps: list[SequenceGapOut] = Field(description="Numbers missing in its count of messages, lowest first.")


class GatewaySecretOut(GatewayOut):
    secret: str = Field(description="Shown this once.")


class MeterOut(MeterFields):
    model_config = ConfigDict(extra="ignore")
    enterprise: str
    code: str
    active: bool
    first_at: datetime | None
    created_at: datetime
    updated_at: datetime
    multiplier: Any = Field(
        json_schema_extra={"type": "number"}, description="Until the first dated one; see the meter's multipliers."
    )


Register = Annotated[float, Field(ge=0, le=MAX_ABS_VALUE)]
Reason = Annotated[str, StringConstraints(min_length=3, max_length=1000, pattern=r"^[^\x00]*$", strip_whitespace=True)]


class ExchangeIn(Body):
    at: AwareDatetime
    old_final: Register = Field(description="What the old register showed at last, in the meter's raw unit.")
    new_initial: Register = Field(description="What the new register showed at first.")
    serial: Name | None = Field(default=None, description="The new register's serial number.")
    multiplier: Multiplier | None = Field(default=None, description="From the exchange on; null keeps the one before.")
    reason: Reason | None = None
    restates: bool = Field(default=False, description="Have later readings that stand already judged anew.")


class Recorded(BaseModel):
    recorded_at: datetime
    recorded_by: str
    revoked_at: datetime | None
    revoked_by: str | None


class ExchangeOut(Recorded):
    exchange_id: int
    at: datetime
    old_final: float
    new_initial: float
    serial: str | None
    multiplier: float | None
    reason: str | None
    revoked_because: str | None


class MultiplierOut(Recorded):
    multiplier_id: int
    valid_from: datetime
    multiplier: float
    exchange_id: int | None = Field(description="The exchange it came with.")


class Revocation(Body):
    reason: Reason


class DecisionIn(Body):
    ts: AwareDatetime = Field(description="Of the reading.")
    says: Saying = Field(
        description="real: it was so; rollover: the register began again at zero; reset: it lost its count and began "
        "again at `amount`; exchange: it is the new register's, and the exchange is recorded with it; discard: it was "
        "nothing."
    )
    amount: Register | None = Field(
        default=None,
        description="rollover: the register's range, else its rolls_over_at; reset: its new start, else 0.",
    )
    at: AwareDatetime | None = Field(
        default=None, description="exchange: when it was, not later than `ts`; without it, at `ts` itself."
    )
    old_final: Register | None = Field(default=None, description="exchange: what the old register showed at last.")
    new_initial: Register | None = Field(
        default=None, description="exchange: what the new register showed at first, else what the reading shows."
    )
    serial: Name | None = Field(default=None, description="exchange: the new register's serial number.")
    multiplier: Multiplier | None = Field(
        default=None, description="exchange: from then on; null keeps the one before."
    )
    reason: Reason


class DecisionOut(BaseModel):
    decision_id: int
    ts: datetime
    says: Saying
    amount: float | None
    exchange_id: int | None = Field(description="The exchange that was recorded with it.")
    reason: str
    decided_at: datetime
    decided_by: str
    revoked_at: datetime | None
    revoked_by: str | None
    revoked_because: str | None


class HeldOut(BaseModel):
    enterprise: str
    meter: str
    ts: datetime
    value: float | None = Field(description="Null where the record of an exchange contradicts the register.")
    quality: int | None
    reason: HoldReason
    waiting: bool = Field(description="No reading after it stands, and nobody has said what it was.")
    last_accepted_at: datetime | None
    last_accepted_value: float | None
    decision_id: int | None


class StuckOut(BaseModel):
    start: datetime = Field(description="The first reading of the value.")
    end: datetime = Field(description="The last one.")
    value: float
    readings: int


class Cause(BaseModel):
    why: str
    who: str
    meters: list[str]


class MonthFigures(BaseModel):
    quantity: float | None
    quantity_net: float | None
    tce_equivalent: float | None
    tce_equivalent_net: float | None
    tce_equal: float | None
    tce_equal_net: float | None
    tco2: float | None
    tco2_net: float | None
    measured_us: int
    estimated_us: int
    held: int


class RestatementOut(BaseModel):
    restatement_id: int
    at: datetime
    enterprise: str
    month: datetime = Field(description="Its local start.")
    carrier: str
    causes: list[Cause]
    before: MonthFigures | None = Field(description="Null where nothing was known before.")
    after: MonthFigures | None


class VerificationOut(BaseModel):
    verification_id: int
    night: date
    started_at: datetime
    finished_at: datetime | None
    seed: int
    asked: int = Field(description="Enterprises the sample was to have.")
    enterprises: int
    passed_over: int = Field(description="Enterprises with readings whose figures were still to be computed.")
    meters: int
    readings: int
    buckets: int
    differences: int


class DifferenceOut(BaseModel):
    difference_id: int
    verification_id: int
    enterprise: str
    table_name: str
    key: str
    start: datetime
    column_name: str
    stored: str | None
    expected: str | None
    found_at: datetime
    gone_at: datetime | None


class DeletionIn(Body):
    start: AwareDatetime = Field(alias="from")
    end: AwareDatetime = Field(alias="to", description="Readings before it; the range is [from, to).")
    reason: Reason


class DeletionOut(BaseModel):
    deletion_id: int
    from_ts: datetime
    to_ts: datetime
    count: int
    reason: str
    deleted_at: datetime
    deleted_by: str


class DeletedReadingOut(BaseModel):
    deletion_id: int
    ts: datetime
    value: float
    quality: int
    received_at: datetime


class MeterWithRefusedOut(MeterOut):
    refused_readings: int = Field(
        description="Readings for it that were refused and not stored since; `rejections/replay` tries them again."
    )


class ReadingOut(BaseModel):
    ts: datetime
    value: float
    quality: int
    received_at: datetime
    held: str | None = Field(description="Why it is out of the figures; null when it counts.")


class RevisionOut(BaseModel):
    revision_id: int
    ts: datetime
    old_value: float
    old_quality: int
    new_value: float
    new_quality: int
    revised_at: datetime
    revised_by: str


class RejectionOut(BaseModel):
    rejected_id: int
    message_id: int
    gateway: str
    door: str
    received_at: datetime
    times: int = Field(description="How often the same bytes came.")
    last_at: datetime
    position: int | None = Field(description="Index in the message; null when the whole message was refused.")
    meter: str | None
    at: str | None
    value: str | None
    code: str
    detail: str
    content_type: str
    enterprise: str | None = Field(description="Whose gateway it is; null when it is in no registry.")
    tried_at: datetime | None = Field(description="When it was last tried again.")
    replayed_at: datetime | None = Field(description="When another try stored it; null while it is still refused.")
    replayed_by: str | None
    replayed_as: Literal["stored", "duplicate", "revised", "read"] | None = Field(
        description="`read`: a message that could not be read as a whole; its readings stand for themselves since."
    )
    raw: str | None = Field(description="The message's bytes in base64, if asked for.")


class ReplayIn(Body):
    """Which refused readings to try again; without a filter all that the caller may see."""

    ids: list[Annotated[int, Field(ge=1, lt=2**63)]] | None = Field(
        default=None, min_length=1, max_length=1000, description="`rejected_id` of the list."
    )
    gateway: FilterWord | None = None
    enterprise: FilterWord | None = None
    meter: FilterWord | None = None
    code: FilterWord | None = None
    start: FilterWord | None = Field(default=None, alias="from", description="Received from this moment on.")
    end: FilterWord | None = Field(default=None, alias="to", description="Received before this moment.")
    limit: int = Field(default=100, ge=1, le=1000, description="Most messages in one request.")
    cursor: Annotated[str, StringConstraints(max_length=2000)] | None = Field(
        default=None, description="The `next` of the answer before."
    )


class StillRejected(BaseModel):
    rejected_id: int
    meter: str | None
    code: str
    detail: str


class ReplayOut(BaseModel):
    messages: int = Field(description="Messages that were tried again.")
    stored: int
    duplicate: int
    revised: int
    rejected: int
    still: list[StillRejected] = Field(description="Readings that are still refused, the first hundred of them.")
    next: str | None = Field(description="To go on with, when there are more messages.")


class Figures(BaseModel):
    tce: float | None = Field(description="Gross; null when missing, never 0.")
    tce_net: float | None = Field(description="Without own renewables and feedstock.")
    tco2: float | None
    tco2_net: float | None
    status: Status
    coverage: float = Field(ge=0, le=1)


class CarrierOut(Figures):
    carrier: str
    quantity: float | None
    quantity_net: float | None
    unit: str
    held: int
    reasons: list[str]


class MeterFigureOut(BaseModel):
    meter: str
    carrier: str
    role: Role
    quantity: float | None
    unit: str
    tce: float | None
    tco2: float | None
    status: Status
    coverage: float
    held: int


class BucketOut(Figures):
    start: datetime
    end: datetime
    held: int = Field(description="Readings held out of this bucket.")
    reasons: list[str] = Field(description="Why a figure is null although something was measured.")
    carriers: list[CarrierOut]
    meters: list[MeterFigureOut]


class EnergyOut(BaseModel):
    enterprise: str
    interval: Level
    basis: Basis
    by: str
    as_of: datetime = Field(description="Every reading committed before it is in the figures.")
    factor_set: str | None
    co2_dataset: str = Field(description="The set of CO2 factors that made the CO2 figures.")
    buckets: list[BucketOut]


class TonnesOut(BaseModel):
    tce: float | None
    tce_net: float | None
    tco2: float | None
    tco2_net: float | None


class QuantityTonnesOut(TonnesOut):
    quantity: float | None
    quantity_net: float | None


class MeterTonnesOut(BaseModel):
    quantity: float | None
    tce: float | None
    tco2: float | None


class ShownOut(BaseModel):
    ts: datetime
    value: float
    quality: int
    held: str | None = Field(description="Why it is out of the figures; null when it counts.")


class RecordedExchangeOut(BaseModel):
    at: datetime
    old_final: float
    new_initial: float


class RecordedDecisionOut(BaseModel):
    ts: datetime
    says: str
    amount: float


class UsedFactorOut(BaseModel):
    id: str
    value: float
    valid_from: date
    valid_to: date | None
    region: str | None
    enterprise: str | None
    source: str


class UsedCoalFactorOut(UsedFactorOut):
    edition: str
    basis: Basis


class UsedCo2FactorOut(UsedFactorOut):
    dataset: str


class PieceOut(BaseModel):
    """quantity = raw × multiplier × unit_scale; tce and tco2 = quantity × the factor's value / 1000."""

    start: datetime
    end: datetime
    raw: float = Field(description="What the meter counted, in its own unit.")
    multiplier: float
    unit_scale: float = Field(description="Normal units of the carrier that one unit of the meter is.")
    quantity: float
    factor: UsedCoalFactorOut | None
    co2_factor: UsedCo2FactorOut | None
    tce: float | None
    tco2: float | None
    measured_s: float
    estimated_s: float


class MeterTreeOut(BaseModel):
    meter: str
    name: str
    role: Role
    kind: Kind
    unit: str
    level: int
    sign_gross: float = Field(description="1 adds, -1 subtracts, 0 does not count.")
    sign_net: float
    why: str
    agrees: bool
    stored: MeterTonnesOut
    recomputed: MeterTonnesOut
    status: Status
    measured_s: float
    estimated_s: float
    readings: int = Field(description="Readings inside the bucket, held ones too.")
    before: ShownOut | None = Field(description="The accepted reading before the bucket.")
    first: ShownOut | None = Field(description="The first accepted reading inside.")
    last: ShownOut | None
    after: ShownOut | None
    held: list[ShownOut]
    exchanges: list[RecordedExchangeOut]
    decisions: list[RecordedDecisionOut]
    pieces: list[PieceOut] = Field(description="Cut where the multiplier or a factor changes.")


class CarrierTreeOut(BaseModel):
    carrier: str
    unit: str
    agrees: bool
    stored: QuantityTonnesOut
    recomputed: QuantityTonnesOut
    meters: list[MeterTreeOut]


class UncountedOut(BaseModel):
    meter: str
    role: Role
    gross: bool = Field(description="Whether it is in the gross figure at all.")
    why: str


class ExplanationOut(BaseModel):
    enterprise: str
    interval: Level
    start: datetime
    end: datetime
    basis: Basis
    as_of: datetime
    waiting: bool = Field(description="Readings have come that the stored figure does not hold yet.")
    factor_set: str | None
    co2_dataset: str
    status: Status
    coverage: float
    agrees: bool = Field(description="Whether the stored figure is the recomputed one, to the last digit.")
    stored: TonnesOut
    recomputed: TonnesOut
    carriers: list[CarrierTreeOut]
    exclusions: list[UncountedOut] = Field(description="Meters that do not simply add to both figures, and why.")


class PeriodOut(Figures):
    start: datetime
    end: datetime
    tce_known: float = Field(description="What those with a figure add up to.")
    tco2_known: float
    enterprises: int
    measured: int = Field(description="Enterprises with a figure.")
    missing: list[str]
    unknown: list[str] = Field(description="Enterprises with data but without a factor.")
    held: int


class GatewaysOut(BaseModel):
    online: int
    late: int
    silent: int
    offline: int
    never: int


class OverviewOut(BaseModel):
    code: str
    name_zh: str
    name_en: str
    basis: Basis
    co2_dataset: str
    month: PeriodOut
    year: PeriodOut
    gateways: GatewaysOut
    target: TargetOut | None = Field(description="Of the year and basis; null where the region has none.")
    warning: WarningOut | None = Field(description="The 晴雨表 colour and why; null without a target or a budget.")
    units: UnitsOut
    alerts: StandingAlertsOut


class FactorOut(BaseModel):
    id: str = Field(description="As in `factors/{factor}` and in explanations of figures.")
    kind: Literal["coal_equivalent", "co2"]
    factor_id: int
    carrier: str
    basis: Basis | None = Field(description="Of a coal equivalent.")
    dataset: str | None = Field(description="Of a CO2 factor.")
    value: float
    unit: str
    heating_value_kj_per_unit: float | None = Field(description="The measured value it was worked out from.")
    carbon_content_tc_per_tj: float | None
    oxidation: float | None
    valid_from: date
    valid_to: date | None
    region: str | None
    enterprise: str | None
    edition: str | None
    source: str
    verified: bool
    origin: Literal["reference", "entered"]
    entered_by: str | None
    entered_at: datetime


class ProductOut(BaseModel):
    code: str
    name_zh: str
    name_en: str
    industry: str
    unit: str = Field(description="What it is counted in; a line may use a multiple of it.")
    accumulates: bool = Field(description="Whether months add up, as tonnes do and floor area does not.")


class LevelOut(BaseModel):
    id: int
    kind: Literal["benchmark", "limit"]
    product: str
    product_zh: str
    product_en: str
    industry: str
    indicator: Indicator
    condition: str
    unit: str
    basis: Basis
    benchmark: float | None = Field(description="标杆.")
    baseline: float | None = Field(description="基准.")
    level1: float | None
    level2: float | None
    level3: float | None = Field(description="The legal limit of existing plants.")
    edition: str
    valid_from: date
    valid_to: date | None
    source: str
    verified: bool
    note: str
    origin: Literal["reference", "entered"]
    entered_by: str | None
    entered_at: datetime


class LineChange(LineFields):
    active: bool = True


class LineAttributesOut(BaseModel):
    """What is said of a line; what is not said is not there."""

    altitude_m: float | None = None
    pressure_pa: float | None = None
    clinker_percent: float | None = None
    feed_grade_percent: float | None = None
    hot_metal_percent: float | None = None
    wet_quenching: bool | None = None
    oleum_20: bool | None = None
    sun_dried_salt: bool | None = None
    stainless: bool | None = None


class LineMeterOut(BaseModel):
    code: str
    share: float


class LineOut(BaseModel):
    id: int
    enterprise: str
    code: str
    name: str
    product: str
    industry: str
    condition: str
    capacity_per_year: float
    unit: str
    attributes: LineAttributesOut
    meters: list[LineMeterOut]
    active: bool
    created_at: datetime
    updated_at: datetime


class OutputOut(BaseModel):
    month: str
    quantity: float
    unit: str
    revision: int
    note: str
    entered_by: str
    entered_at: datetime


class LineLevelOut(BaseModel):
    id: int
    indicator: Indicator
    condition: str
    unit: str
    basis: Basis
    edition: str
    source: str
    verified: bool
    note: str = Field(description="What the standard says beside the numbers, such as its corrections.")


class BenchmarkLevelOut(LineLevelOut):
    benchmark: float
    baseline: float


class AppliedOut(BaseModel):
    attribute: Attribute
    value: float | bool = Field(description="As it is said of the line.")
    how: How
    level1: float | None = Field(description="What is added to level 1, or what it is multiplied with; null: neither.")
    level2: float | None
    level3: float | None
    source: str
    verified: bool


class LimitLevelOut(LineLevelOut):
    level1: float | None = Field(description="As the standard prints it.")
    level2: float | None
    level3: float | None
    corrections: list[AppliedOut] = Field(description="That the standard makes for what is said of the line.")
    corrected_level1: float | None = Field(description="What the line is held against.")
    corrected_level2: float | None
    corrected_level3: float | None


class CorrectionOut(BaseModel):
    id: int
    product: str
    indicator: Indicator
    edition: str
    condition: str
    attribute: Attribute
    how: How = Field(
        description="add: the level plus its amount for each point; times: the level x (`constant` + amount x points)."
    )
    side: Side
    base: float
    unit: float = Field(description="Of the attribute, a point.")
    most: float | None = Field(description="So many points at most.")
    constant: float
    needs: Attribute | None = Field(description="It holds only where this attribute is above `needs_above`.")
    needs_above: float | None
    level1: float | None = Field(description="A point's amount; null: the level is left as it is.")
    level2: float | None
    level3: float | None
    valid_from: date
    valid_to: date | None
    source: str
    verified: bool


class OtherVerdictOut(BaseModel):
    kind: Literal["benchmark", "limit"]
    indicator: Indicator
    unit_energy: float
    unit: str
    edition: str
    position: Position | None
    limit_level: int | None


class JudgedOut(BaseModel):
    months: list[str] = Field(description="The months in the figures: those with output and energy.")
    output: float | None = Field(description="In the line's unit; what does not accumulate is the mean of the months.")
    tce_equivalent: float | None
    tce_equal: float | None
    tco2: float | None
    status: Status
    coverage: float
    complete: bool = Field(description="Every meter covered for 90 % of the time; only then it counts for a region.")
    kgce_per_unit_equivalent: float | None
    kgce_per_unit_equal: float | None
    kgco2_per_unit: float | None
    unit_energy: float | None = Field(description="In `unit` and on `basis`, as the level asks.")
    unit: str | None
    basis: Basis
    indicator: Indicator | None
    edition: str | None = Field(description="Of 标杆 and 基准.")
    benchmark: float | None = Field(description="标杆.")
    baseline: float | None = Field(description="基准.")
    ratio_to_benchmark: float | None = Field(description="null for a level at or below zero: see the difference.")
    ratio_to_baseline: float | None
    difference_to_benchmark: float | None
    difference_to_baseline: float | None
    position: Position | None
    position_share: float | None = Field(description="0 at 标杆, 1 at 基准.")
    gap_tce: float | None = Field(description="tce more than at 标杆; below zero less.")
    gap_to_baseline_tce: float | None
    standard: str | None = Field(description="Of the legal limit.")
    limit_level: int | None = Field(description="The best level kept: 1, 2 or 3; 0: above the legal limit.")
    difference_to_limit: float | None = Field(description="To level 3, the legal limit; below zero it is kept.")
    others: list[OtherVerdictOut] = Field(description="By other indicators, such as the electricity of clinker.")
    reasons: list[str] = Field(description="What is missing; of the running year with @month.")


class LineStandingOut(JudgedOut):
    id: int
    enterprise: str
    enterprise_name: str
    region: str
    code: str
    name: str
    industry: str
    product: str
    product_zh: str
    product_en: str
    condition: str
    capacity_per_year: float
    output_unit: str
    attributes: LineAttributesOut
    meters: list[LineMeterOut]
    benchmark_levels: list[BenchmarkLevelOut]
    limit_levels: list[LimitLevelOut]
    year: JudgedOut = Field(description="The running year up to the end of the month.")


class BenchmarksOut(BaseModel):
    enterprise: str
    month: str
    as_of: datetime
    lines: list[LineStandingOut]


class GapOut(BaseModel):
    start: datetime = Field(description="The last reading before it.")
    end: datetime | None = Field(description="The first reading after it; null: none has come.")
    mend_by: date = Field(description="Three working days after it began.")
    repair: Repair


class MeterQualityOut(BaseModel):
    meter: str
    name: str
    carrier: str
    role: Role
    level: int
    active: bool
    due: int = Field(description="Expected intervals of the month so far.")
    received: int
    completeness: float | None = Field(description="Expected intervals with a reading, of those due.")
    median_delay_s: float | None = Field(description="From the reading's time to its commit.")
    timeliness: float | None = Field(description="Share that came within the expected interval and the grace.")
    calibration: Calibration
    calibrated_until: date | None
    accuracy_class: str | None
    held: int
    held_share: float | None
    estimated_share: float | None = Field(description="Of the covered time.")
    days: float | None = Field(description="Sum of the month's days, in the carrier's normal unit.")
    month: float | None
    deviation: float | None = Field(description="Of the days from the month; 0 unless a figure was tampered with.")
    days_fit_month: bool | None = Field(description="Within 5 %.")
    in_order: bool = Field(description="In service, calibrated, and 90 % complete.")
    gaps: list[GapOut]


class FittingOut(BaseModel):
    """GB 17167: of the meters in the ledger those in order; which meters there should be is not known here."""

    energy: str
    level: int
    meters: int
    in_order: int
    rate: float
    required_rate: float
    met: bool
    edition: str
    verified: bool


class QualityOut(BaseModel):
    enterprise: str
    month: str
    as_of: datetime
    grace_s: int
    due: int
    received: int
    completeness: float | None
    complete: bool = Field(description="At least 90 %.")
    median_delay_s: float | None
    timeliness: float | None
    calibration_valid: int
    calibration_lapsed: int
    calibration_unknown: int
    held: int
    open_gaps: int
    overdue_gaps: int
    fitting: list[FittingOut]
    meters: list[MeterQualityOut]


class RegionQualityOut(BaseModel):
    region: str
    month: str
    enterprises: int
    meters: int
    completeness: float | None = Field(description="Time covered by measured readings, of the time they were due for.")
    complete: bool
    complete_meters: int
    owing_meters: int
    estimated_share: float | None
    held: int
    calibration_valid: int
    calibration_lapsed: int
    calibration_unknown: int


class IndustryShareOut(BaseModel):
    industry: str
    unit: str
    lines: int
    capacity_per_year: float
    at_benchmark: float
    worse_than_baseline: float
    unknown: float = Field(description="Capacity of lines without enough data.")
    share_at_benchmark: float = Field(description="Of all capacity; what is unknown does not count as good.")


class RegionBenchmarksOut(BaseModel):
    region: str
    month: str
    as_of: datetime
    industries: list[IndustryShareOut]
    worse_than_baseline: list[LineStandingOut]


class CarrierInfoOut(BaseModel):
    code: str
    name_zh: str
    name_en: str
    unit: str
    stat_code: str | None


class ReportTableOut(BaseModel):
    key: str
    title: str
    columns: list[str] = Field(description="Each with its unit.")
    rows: list[list[str | float | int | None]]


class ReportOut(BaseModel):
    title: str
    as_of: datetime
    factor_set: str | None
    tables: list[ReportTableOut]


class JobOut(BaseModel):
    id: str
    path: str
    query: str
    format: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    rows: int = Field(description="Written so far.")
    result: str | None = Field(description="Where the file is, once the state is done.")
    problem: dict[str, Any] | None = Field(description="Why it failed: a problem document.")
    filename: str | None
    size: int | None = Field(description="Bytes.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime = Field(description="Then job and file are removed.")


EventWord = Annotated[str, StringConstraints(pattern=r"^[a-z]+([.][a-z-]+)*$", max_length=64)]
WebhookUrl = Annotated[str, StringConstraints(min_length=1, max_length=2000, pattern=r"^[^\x00]*$")]
WebhookWords = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00]*$")]


class WebhookIn(Body):
    url: WebhookUrl = Field(description="https:// and a public address.")
    kinds: list[EventWord] = Field(
        min_length=1, max_length=20, description="Families or whole kinds: alert, data.arrived."
    )
    description: WebhookWords = ""


class WebhookChange(Body):
    url: WebhookUrl | None = None
    kinds: list[EventWord] | None = Field(default=None, min_length=1, max_length=20)
    description: WebhookWords | None = None
    active: bool | None = Field(default=None, description="false stops it; what happens meanwhile is not queued.")


class WebhookOut(BaseModel):
    id: str
    url: str
    description: str
    kinds: list[str]
    active: bool
    disabled_why: str | None = Field(description="Why it was given up.")
    failing_since: datetime | None = Field(description="Since when every delivery failed.")
    previous_until: datetime | None = Field(description="Until then the secret before signs too.")
    created_at: datetime
    updated_at: datetime


class WebhookSecretOut(WebhookOut):
    secret: str = Field(description="Shown this once; whsec_ and base64.")


class DeliveryOut(BaseModel):
    delivery_id: int
    message_id: str = Field(description="The header webhook-id, the same at every attempt.")
    kind: str
    at: datetime
    state: Literal["queued", "delivered", "dead"]
    attempts: int
    next_at: datetime
    last_status: int | None
    last_error: str | None
    delivered_at: datetime | None
    payload: dict[str, Any] = Field(description="The body that is sent.")


class AuditOut(BaseModel):
    audit_id: int
    at: datetime
    actor: str
    action: str
    object_kind: str
    object_id: str
    outcome: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class RevisionOfBudgetOut(BaseModel):
    basis: BudgetBasis
    revision: int
    tce: float | None
    tco2: float | None
    monthly: list[float]
    plan_source: PlanSource
    reason: str
    state: Literal["proposed", "approved", "refused"]
    entered_by: str
    entered_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    decision_note: str | None


class BudgetOut(BaseModel):
    enterprise: str
    year: int
    basis: BudgetBasis
    unit: Literal["tce", "tCO2"]
    tce: float | None = Field(description="The amount in force on a basis of coal equivalent; net.")
    tco2: float | None = Field(description="The amount in force on the basis `co2`; net.")
    monthly: list[float] | None = Field(description="Twelve months that add up to the amount.")
    plan_source: PlanSource | None
    revision: int | None = Field(description="The one in force: the newest approved; null while all are proposals.")
    reason: str | None
    approved_by: str | None
    approved_at: datetime | None
    revisions: list[RevisionOfBudgetOut] = Field(description="All of them on every basis, oldest first; none is lost.")


class BudgetRowOut(BaseModel):
    """A budget in force as one row, in the columns that `tcewatch import budgets` takes."""

    enterprise: str
    year: int
    basis: BudgetBasis
    tce: float | None
    tco2: float | None
    m01: float
    m02: float
    m03: float
    m04: float
    m05: float
    m06: float
    m07: float
    m08: float
    m09: float
    m10: float
    m11: float
    m12: float
    reason: str


class BudgetListed(BudgetRowOut):
    revision: int
    plan_source: PlanSource
    tier: Tier | None = Field(description="Where it stood when last evaluated.")
    overrun_probability: float | None
    evaluated_at: datetime | None


class QuantilesOut(BaseModel):
    p10: float
    p50: float
    p90: float


class CrossingOut(BaseModel):
    earliest: date | None
    expected: date | None
    latest: date | None


class PositionOut(BaseModel):
    enterprise: str
    year: int
    basis: BudgetBasis
    unit: Literal["tce", "tCO2"]
    revision: int
    budget: float
    as_of: datetime = Field(description="Figures count up to this moment.")
    spent: float | None = Field(description="Net, exclusions taken off; null when nothing was measured.")
    excluded: float = Field(description="Taken off by the exclusion ledger.")
    plan_to_date: float
    projection: QuantilesOut = Field(description="The year's total: its 10 %, 50 % and 90 % points.")
    overrun_probability: float = Field(ge=0, le=1)
    expected_overrun: float = Field(description="p50 less the budget; below zero when it is kept.")
    expected_crossing: date | None = Field(description="The day the budget is passed; null when not within the year.")
    crossing: CrossingOut = Field(description="The same with its 80 % range.")
    tier: Tier
    completeness: float = Field(ge=0, le=1, description="Measured share of the elapsed year.")
    recent_cover: float = Field(ge=0, le=1, description="Measured share of the last 30 days.")
    months: int = Field(description="Months that are over.")
    notes: list[str] = Field(description="What was assumed: no-history, missing-days-added, no-factor.")


class ExclusionOut(BaseModel):
    exclusion_id: int
    enterprise: str
    basis: BudgetBasis
    month: date
    kind: Literal["own_renewable", "feedstock", "listed_project"]
    amount: float
    evidence: str
    entered_by: str
    entered_at: datetime
    withdrawn_by: str | None
    withdrawn_at: datetime | None
    withdrawn_why: str | None


class TokenNew(Body):
    name: Name = Field(description="Whose token it is.")
    role: TokenRole
    scope: ScopeWord = Field(description="A region's code, or an enterprise's id for the role `enterprise`.")
    expires_at: AwareDatetime | None = Field(default=None, description="None: until it is revoked.")


class TokenOut(BaseModel):
    token_id: int
    name: str
    role: TokenRole
    scope: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")
    revoked_at: datetime | None
    rotated_at: datetime | None
    previous_until: datetime | None = Field(description="Until when the token before the last rotation is taken.")


class TokenSecretOut(TokenOut):
    token: str = Field(description="Shown this once.")


class TokenRotation(Body):
    overlap_s: int = Field(default=0, ge=0, le=2_592_000, description="Seconds the old token is still taken.")


class UserNew(Body):
    name: AccountName = Field(description="What the person logs in by; lower case.")
    full_name: FullName = ""
    role: TokenRole
    scope: ScopeWord
    password: Password | None = Field(default=None, description="None: log-in by OpenID Connect alone.")


class UserChange(Body):
    """A changed password, role, scope or state logs the person out everywhere."""

    full_name: FullName | None = None
    role: TokenRole | None = None
    scope: ScopeWord | None = None
    active: bool | None = None
    password: Password | None = None


class UserOut(BaseModel):
    name: str
    full_name: str
    role: TokenRole
    scope: str
    active: bool
    created_at: datetime
    updated_at: datetime
    password_set_at: datetime | None
    last_login_at: datetime | None


class UserSessionOut(BaseModel):
    session_id: int
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    address: str
    agent: str


class UserWithSessionsOut(UserOut):
    sessions: list[UserSessionOut]


class LogIn(Body):
    name: Annotated[str, StringConstraints(max_length=100, pattern=r"^[^\x00]*$")]
    password: Password


class PasswordChange(Body):
    current: Password
    password: Password


class SessionOut(BaseModel):
    name: str
    kind: CallerKind
    role: TokenRole
    scope: str
    full_name: str | None
    csrf_token: str | None = Field(description="Sent in X-CSRF-Token with everything that changes something.")
    idle_until: datetime | None = Field(description="The session ends then if nothing is asked in between.")
    expires_at: datetime | None = Field(description="The session ends then in any case.")


class ProblemOut(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    instance: str
    errors: list[dict[str, Any]] | None = None


class BacklogOut(BaseModel):
    rows: int | None
    age_s: float | None


class ReadyOut(BaseModel):
    ready: bool
    database: bool
    broker: bool | None
    backlog: BacklogOut
    pending_readings: int
    pending_age_s: float
    warnings: list[str] = Field(description="What works, but can lose acknowledged messages; each with what mends it.")
