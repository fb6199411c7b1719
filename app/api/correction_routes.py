"""Corrections that standards make to their legal limits, by an attribute of the line."""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from app.api.access import Reader, Supervising, hidden, supervises_everything
from app.api.answers import AskedFormat, json_answer, listed, number
from app.api.deps import ApiDeps, Deps
from app.api.parameters import known_parameters
from app.api.schemas.benchmarks import CorrectionOut
from app.api.schemas.shared import Listed
from app.store import corrections
from app.store.access import Caller
from app.store.entries import CorrectionFields, CorrectionIn, values_of
from app.store.registry import Fields, NotThere

router = APIRouter(tags=["lines"], dependencies=[Depends(known_parameters)])

NUMBERS = ("base", "unit", "most", "constant", "needs_above", "level1", "level2", "level3")


@router.get("/corrections", operation_id="listCorrections", response_model=Listed[CorrectionOut])
async def list_corrections(deps: Deps, caller: Reader, request: Request, asked: AskedFormat = None) -> Response:
    """What the standards' legal limits change by with the attributes of a line, with source and sureness."""
    items = [correction_out(row) for row in await corrections.corrections(deps.database)]
    return listed(request, items, None, asked, "corrections", CorrectionOut)


@router.post("/corrections", operation_id="createCorrection", status_code=201, response_model=CorrectionOut)
async def create_correction(body: CorrectionIn, deps: Deps, caller: Supervising) -> Response:
    """A correction holds for everybody, so it is entered by who supervises every enterprise there is.

    It belongs to a limit of the same product, indicator and edition; overlapping dates are refused with
    `correction-overlap`.
    """
    await supervises_everything(deps, caller)
    async with deps.database.engine.begin() as connection:
        made = await corrections.enter_correction(connection, values_of(body), caller.actor)
    return json_answer(correction_out(made), 201, {"Location": f"/api/v1/corrections/{made['correction_id']}"})


@router.get("/corrections/{correction}", operation_id="getCorrection", response_model=CorrectionOut)
async def get_correction(correction: str, deps: Deps, caller: Reader) -> Response:
    return json_answer(correction_out(await _found(deps, caller, correction)))


@router.put("/corrections/{correction}", operation_id="changeCorrection", response_model=CorrectionOut)
async def change_correction(correction: str, body: CorrectionFields, deps: Deps, caller: Supervising) -> Response:
    await supervises_everything(deps, caller)
    found = await _found(deps, caller, correction)
    async with deps.database.engine.begin() as connection:
        changed = await corrections.change_correction(connection, found["correction_id"], values_of(body), caller.actor)
    return json_answer(correction_out(changed))


@router.delete("/corrections/{correction}", operation_id="removeCorrection", status_code=204)
async def remove_correction(correction: str, deps: Deps, caller: Supervising) -> Response:
    """Take out a correction that was entered by hand."""
    await supervises_everything(deps, caller)
    found = await _found(deps, caller, correction)
    async with deps.database.engine.begin() as connection:
        await corrections.remove_correction(connection, found["correction_id"], caller.actor)
    return Response(status_code=204)


async def _found(deps: ApiDeps, caller: Caller, key: str) -> Fields:
    try:
        if re.fullmatch(r"[1-9][0-9]{0,8}", key):
            async with deps.database.engine.connect() as connection:
                return await corrections.correction_of(connection, int(key))
    except NotThere:
        pass
    raise await hidden(deps, caller, "correction", key)


def correction_out(row: Fields) -> dict[str, Any]:
    kept = {name: value for name, value in row.items() if name != "correction_id"}
    return {"id": row["correction_id"]} | kept | {name: number(row[name]) for name in NUMBERS}
