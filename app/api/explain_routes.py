"""What a figure is made of: meters, readings, multipliers, factors, signs, and the same figure recomputed from them."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from app.api.access import Reader, visible_enterprise
from app.api.answers import json_answer, number
from app.api.deps import Deps
from app.api.parameters import bound_us, known_parameters
from app.api.problems import BadQuery
from app.api.schemas.explanations import ExplanationOut
from app.store.energy import Bucket, By, CarrierFigure, Explanation, MeterFigure
from energy.explanation import WHY, MeterTree, Piece, Shown, Sums, added
from energy.interval import Level, from_us
from energy.record import Decision, Exchange
from energy.tce import DEFAULT_CO2_DATASET, Basis, Co2Factor, CoalFactor, Signed

router = APIRouter(tags=["energy"], dependencies=[Depends(known_parameters)])

BOUND = "RFC 3339 with an offset, or a local 2026, 2026-11, 2026-11-23."
Bound = Annotated[str, Query(max_length=64, description=BOUND)]
TONNES = ("tce", "tce_net", "tco2", "tco2_net")
QUANTITIES = ("quantity", "quantity_net")


@router.get("/enterprises/{enterprise}/energy/explain", operation_id="explainEnergy", response_model=ExplanationOut)
async def explain_energy(
    enterprise: str,
    deps: Deps,
    caller: Reader,
    start: Annotated[Bound, Query(alias="from")],
    end: Annotated[str | None, Query(alias="to", max_length=64, description="Not later than the bucket's end.")] = None,
    interval: Level = Level.DAY,
    by: Annotated[By, Query(description="As the figures take it; the tree always reaches meters.")] = By.METER,
    basis: Basis = Basis.EQUIVALENT,
    co2_dataset: Annotated[str, Query(max_length=64)] = DEFAULT_CO2_DATASET,
) -> Response:
    """One bucket as a tree: each meter with its readings, held and estimated parts, multiplier, unit, factor and sign.

    The figure is recomputed from the raw readings in the tree. `agrees` says whether that is the stored one to the last
    digit; while readings wait to be added up (`waiting`) the two may differ.
    """
    await visible_enterprise(deps, caller, enterprise)
    zone = deps.calendar.zone
    start_us = bound_us(start, zone)
    if end is not None:
        end_us = bound_us(end, zone)
        if end_us <= start_us:
            raise BadQuery("to", "it should be later than from; the range is [from, to)")
        if end_us > deps.calendar.bucket_end(interval, start_us):
            raise BadQuery("to", "one bucket is explained at a time; ask for each, or for a longer interval")
    found = await deps.explain(
        deps.database.pool,
        deps.calendar,
        enterprise=enterprise,
        level=interval,
        start_us=start_us,
        basis=basis,
        co2_dataset=co2_dataset,
        now_us=deps.now_us(),
    )
    return json_answer(explanation_out(found, zone))


def explanation_out(found: Explanation, zone: ZoneInfo) -> dict[str, Any]:
    series, (bucket,) = found.series, found.series.buckets
    whole = sums_out(added(found.trees, of_one_carrier=False), TONNES)
    carriers = [_carrier(name, found, bucket, zone) for name in sorted({tree.carrier for tree in found.trees})]
    stored = stored_out(bucket, TONNES)
    return {
        "enterprise": series.enterprise,
        "interval": series.level.value,
        "start": from_us(bucket.start_us, zone).isoformat(),
        "end": from_us(bucket.end_us, zone).isoformat(),
        "basis": series.basis.value,
        "as_of": from_us(series.as_of_us, zone).isoformat(),
        "waiting": found.waiting,
        "factor_set": series.factor_set,
        "co2_dataset": series.co2_dataset,
        "status": bucket.status.value,
        "coverage": bucket.coverage,
        "agrees": stored == whole and all(carrier["agrees"] for carrier in carriers),
        "stored": stored,
        "recomputed": whole,
        "carriers": carriers,
        "exclusions": [
            {"meter": tree.code, "role": tree.role.value, "gross": bool(tree.signs.gross), "why": WHY[tree.role]}
            for tree in found.trees
            if tree.signs.gross != 1 or tree.signs.net != 1
        ],
    }


def _carrier(name: str, found: Explanation, bucket: Bucket, zone: ZoneInfo) -> dict[str, Any]:
    trees = [tree for tree in found.trees if tree.carrier == name]
    figure = next((one for one in bucket.carriers if one.carrier == name), None)
    meters = [_meter(tree, _figure_of(bucket.meters, tree.code), zone) for tree in trees]
    names = (*QUANTITIES, *TONNES)
    stored = stored_out(figure, names)
    whole = sums_out(added(trees), names)
    return {
        "carrier": name,
        "unit": trees[0].normal_unit,
        "agrees": stored == whole and all(meter["agrees"] for meter in meters),
        "stored": stored,
        "recomputed": whole,
        "meters": meters,
    }


def _figure_of(figures: Sequence[MeterFigure], code: str) -> MeterFigure | None:
    return next((one for one in figures if one.code == code), None)


def _meter(tree: MeterTree, figure: MeterFigure | None, zone: ZoneInfo) -> dict[str, Any]:
    stored = {name: number(None if figure is None else getattr(figure, name)) for name in ("quantity", "tce", "tco2")}
    whole = {"quantity": number(tree.quantity), "tce": number(tree.tce), "tco2": number(tree.tco2)}
    return {
        "meter": tree.code,
        "name": tree.name,
        "role": tree.role.value,
        "kind": tree.kind.value,
        "unit": tree.unit,
        "level": tree.level,
        "sign_gross": number(tree.signs.gross),
        "sign_net": number(tree.signs.net),
        "why": WHY[tree.role],
        "agrees": stored == whole,
        "stored": stored,
        "recomputed": whole,
        "status": tree.status.value,
        "measured_s": sum(one.measured_us for one in tree.pieces) / 1e6,
        "estimated_s": sum(one.estimated_us for one in tree.pieces) / 1e6,
        "readings": tree.readings,
        "before": shown_out(tree.before, zone),
        "first": shown_out(tree.first, zone),
        "last": shown_out(tree.last, zone),
        "after": shown_out(tree.after, zone),
        "held": [shown_out(one, zone) for one in tree.held],
        "exchanges": [exchange_out(one, zone) for one in tree.exchanges],
        "decisions": [decision_out(one, zone) for one in tree.decisions],
        "pieces": [piece_out(one, zone) for one in tree.pieces],
    }


def shown_out(one: Shown | None, zone: ZoneInfo) -> dict[str, Any] | None:
    if one is None:
        return None
    words = {"ts": from_us(one.at_us, zone).isoformat(), "value": one.value, "quality": one.quality}
    return words | {"held": one.held and one.held.value}


def exchange_out(one: Exchange, zone: ZoneInfo) -> dict[str, Any]:
    at = from_us(one.at_us, zone).isoformat()
    return {"at": at, "old_final": one.old_final, "new_initial": one.new_initial}


def decision_out(one: Decision, zone: ZoneInfo) -> dict[str, Any]:
    return {"ts": from_us(one.at_us, zone).isoformat(), "says": one.says.value, "amount": one.amount}


def piece_out(one: Piece, zone: ZoneInfo) -> dict[str, Any]:
    return {
        "start": from_us(one.start_us, zone).isoformat(),
        "end": from_us(one.end_us, zone).isoformat(),
        "raw": number(one.raw),
        "multiplier": number(one.multiplier),
        "unit_scale": number(one.unit_scale),
        "quantity": number(one.quantity),
        "factor": coal_out(one.coal_factor),
        "co2_factor": co2_out(one.co2_factor),
        "tce": number(one.tce),
        "tco2": number(one.tco2),
        "measured_s": one.measured_us / 1e6,
        "estimated_s": one.estimated_us / 1e6,
    }


def coal_out(one: CoalFactor | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return _factor(one, one.kgce_per_unit) | {"edition": one.edition, "basis": one.basis.value}


def co2_out(one: Co2Factor | None) -> dict[str, Any] | None:
    return None if one is None else _factor(one, one.kgco2_per_unit) | {"dataset": one.dataset}


def _factor(one: CoalFactor | Co2Factor, value: Decimal) -> dict[str, Any]:
    days = {"valid_from": one.valid_from.isoformat(), "valid_to": one.valid_to and one.valid_to.isoformat()}
    whose = {"region": one.region, "enterprise": one.enterprise}
    return {"id": one.factor_id, "value": number(value), **days, **whose, "source": one.source}


def sums_out(sums: Sums, names: Sequence[str]) -> dict[str, Decimal | None]:
    """The recomputed figures under the names the stored ones have."""

    def figure(name: str) -> Decimal | None:
        signed: Signed | None = getattr(sums, name.removesuffix("_net"))
        return None if signed is None else number(signed.net if name.endswith("_net") else signed.gross)

    return {name: figure(name) for name in names}


def stored_out(part: Bucket | CarrierFigure | None, names: Sequence[str]) -> dict[str, Decimal | None]:
    return {name: number(None if part is None else getattr(part, name)) for name in names}
