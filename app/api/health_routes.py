"""Whether the service lives, whether it is ready, and its metrics. No token, and no secret in the answers."""

from __future__ import annotations

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from app.api.answers import json_answer
from app.api.deps import Deps
from app.api.schemas.service import ReadyOut

router = APIRouter(tags=["health"])


@router.get("/healthz", operation_id="isAlive", response_model=dict[str, str])
async def healthz() -> Response:
    """The process answers."""
    return json_answer({"status": "alive"})


@router.get("/readyz", operation_id="isReady", response_model=ReadyOut, responses={503: {"model": ReadyOut}})
async def readyz(deps: Deps) -> Response:
    """Database, broker, and how far the figures are behind the readings. 503 while it cannot do its work."""
    health = await deps.health.health()
    body = {
        "ready": health.ready,
        "database": health.database,
        "broker": health.broker,
        "backlog": {"rows": health.backlog_rows, "age_s": health.backlog_age_s},
        "pending_readings": health.pending_readings,
        "pending_age_s": health.pending_age_s,
        "warnings": health.warnings,
    }
    return json_answer(body, 200 if health.ready else 503)


@router.get(
    "/metrics",
    operation_id="getMetrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(deps: Deps) -> Response:
    """Prometheus metrics of every stage."""
    return Response(generate_latest(deps.metrics), media_type=CONTENT_TYPE_LATEST)
