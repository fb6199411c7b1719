"""How good the data of an enterprise's meters is, and of a region's together."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from app.api.access import Reader, visible_enterprise, visible_region
from app.api.answers import AskedFormat, columns_of, json_answer, number, sink_of
from app.api.deps import Deps
from app.api.line_routes import AskedMonth, month_asked
from app.api.parameters import known_parameters
from app.api.schemas.quality import MeterQualityOut, QualityOut, RegionQualityOut
from app.store.quality import FittingRate, MeterQuality, enterprise_quality, fitting_rates, region_quality
from energy.interval import from_us
from energy.quality import COMPLETE_ENOUGH, DAYS_AGAINST_MONTH, GRACE_S, Calibration, Gap, Repair, share

router = APIRouter(tags=["quality"], dependencies=[Depends(known_parameters)])


@router.get("/enterprises/{enterprise}/quality", operation_id="getQuality", response_model=QualityOut)
async def get_quality(
    enterprise: str,
    deps: Deps,
    caller: Reader,
    request: Request,
    month: AskedMonth = None,
    asked: AskedFormat = None,
) -> Response:
    """Each meter in a month, and the enterprise as a whole.

    Readings received of those due, how late, calibration, held and estimated parts, days against their month, and gaps
    with the day by which they should be mended.
    """
    await visible_enterprise(deps, caller, enterprise)
    wanted, zone = month_asked(month, deps), deps.calendar.zone
    found = await enterprise_quality(deps.database.pool, enterprise, wanted, deps.calendar, deps.now_us())
    meters = [meter_out(one, zone) for one in found]
    sink = sink_of(request)
    if sink is not None:
        columns = {**columns_of(MeterQualityOut), "gaps": "integer"}
        return sink.take([row | {"gaps": len(row["gaps"])} for row in meters], columns, f"quality-{enterprise}")
    return json_answer(
        {
            "enterprise": enterprise,
            "month": f"{wanted:%Y-%m}",
            "as_of": from_us(deps.now_us(), zone).isoformat(),
            "grace_s": GRACE_S,
            **whole_out(found),
            "fitting": [fitting_out(one) for one in fitting_rates(found, wanted)],
            "meters": meters,
        }
    )


@router.get("/regions/{code}/quality", operation_id="getRegionQuality", response_model=RegionQualityOut)
async def get_region_quality(code: str, deps: Deps, caller: Reader, month: AskedMonth = None) -> Response:
    """A region's meters together in a month, by the time that measured readings cover of the time they were due for."""
    await visible_region(deps, caller, code)
    wanted = month_asked(month, deps)
    found = await region_quality(deps.database.pool, code, wanted, deps.calendar, deps.now_us())
    return json_answer(
        {
            "region": code,
            "month": f"{wanted:%Y-%m}",
            "as_of": from_us(deps.now_us(), deps.calendar.zone).isoformat(),
            "enterprises": found.enterprises,
            "meters": found.meters,
            "completeness": found.completeness,
            "complete": found.completeness is not None and found.completeness >= COMPLETE_ENOUGH,
            "complete_meters": found.complete_meters,
            "owing_meters": found.owing_meters,
            "estimated_share": found.estimated_share,
            "held": found.held,
            "calibration_valid": found.calibrated,
            "calibration_lapsed": found.lapsed,
            "calibration_unknown": found.meters - found.calibrated - found.lapsed,
        }
    )


def whole_out(found: Sequence[MeterQuality]) -> dict[str, Any]:
    """An enterprise from its meters: sums of what was due and came; the middle one of the meters' delays."""
    due, filled = sum(one.due for one in found), sum(min(one.filled, one.due) for one in found)
    received, timely = sum(one.received for one in found), sum(one.timely for one in found)
    completeness = share(filled, due)
    delays = [one.median_delay_s for one in found if one.median_delay_s is not None]
    states = [one.calibration for one in found if one.active]
    open_gaps = [gap for one in found for gap in one.gaps if gap.end_us is None]
    return {
        "due": due,
        "received": received,
        "completeness": completeness,
        "complete": completeness is not None and completeness >= COMPLETE_ENOUGH,
        "median_delay_s": median(delays) if delays else None,
        "timeliness": share(timely, received),
        "calibration_valid": states.count(Calibration.VALID),
        "calibration_lapsed": states.count(Calibration.LAPSED),
        "calibration_unknown": states.count(Calibration.UNKNOWN),
        "held": sum(one.held for one in found),
        "open_gaps": len(open_gaps),
        "overdue_gaps": sum(gap.repair is Repair.OVERDUE for gap in open_gaps),
    }


def meter_out(one: MeterQuality, zone: ZoneInfo) -> dict[str, Any]:
    return {
        "meter": one.code,
        "name": one.name,
        "carrier": one.carrier,
        "role": one.role.value,
        "level": one.level,
        "active": one.active,
        "due": one.due,
        "received": one.received,
        "completeness": one.completeness,
        "median_delay_s": one.median_delay_s,
        "timeliness": one.timeliness,
        "calibration": one.calibration.value,
        "calibrated_until": one.calibrated_until and one.calibrated_until.isoformat(),
        "accuracy_class": one.accuracy_class,
        "held": one.held,
        "held_share": one.held_share,
        "estimated_share": one.estimated_share,
        "days": number(one.days),
        "month": number(one.month),
        "deviation": number(one.deviation),
        "days_fit_month": None if one.deviation is None else one.deviation <= DAYS_AGAINST_MONTH,
        "in_order": one.in_order,
        "gaps": [gap_out(gap, zone) for gap in one.gaps],
    }


def gap_out(gap: Gap, zone: ZoneInfo) -> dict[str, Any]:
    return {
        "start": from_us(gap.start_us, zone).isoformat(),
        "end": None if gap.end_us is None else from_us(gap.end_us, zone).isoformat(),
        "mend_by": gap.deadline.isoformat(),
        "repair": gap.repair.value,
    }


def fitting_out(one: FittingRate) -> dict[str, Any]:
    return {
        "energy": one.energy,
        "level": one.level,
        "meters": one.meters,
        "in_order": one.in_order,
        "rate": one.rate,
        "required_rate": one.required,
        "met": one.rate >= one.required,
        "edition": one.edition,
        "verified": one.verified,
    }
