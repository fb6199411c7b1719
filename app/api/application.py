"""The HTTP application: routes, errors, the size of bodies, and the API document."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import (
    account_routes,
    budget_routes,
    energy_routes,
    explain_routes,
    factor_routes,
    health_routes,
    ledger_routes,
    line_routes,
    problems,
    record_routes,
    registry_routes,
    rejection_routes,
)
from app.api.answers import CSV_TYPE, XLSX_TYPE
from app.api.deps import ApiDeps
from app.api.limits import Allowance
from app.api.schemas import ProblemOut
from app.store.scope import NOTHING, ask_as
from ingest.http import OPENAPI_PATH, PATH, Hearing

PREFIX = "/api/v1"
VERSION = "1.0.0"
TITLE = "tcewatch"
DESCRIPTION = (
    "The open ledger of key energy users. Times are RFC 3339 with an offset; ranges are [from, to); a bare 2026-11 or "
    "2026-11-23 is the local month or day. What nobody measured is null, never 0. Errors are application/problem+json "
    "with a stable `code`. Lists answer {items, next}; give `next` back as `cursor`. Tables also come as CSV and XLSX, "
    "by the Accept header or `format`."
)
ROUTERS = (
    account_routes.router,
    registry_routes.router,
    energy_routes.router,
    explain_routes.router,
    budget_routes.router,
    factor_routes.router,
    line_routes.router,
    ledger_routes.router,
    rejection_routes.router,
    record_routes.router,
)
BODYLESS = ("GET", "HEAD", "OPTIONS", "DELETE")
HEADERS_MAX_BYTES = 32 << 10
"""Twice what common proxies let through."""


def create_api(deps: ApiDeps | None, *, only_health: bool = False) -> FastAPI:
    """The application. Without dependencies it can only describe itself; `only_health` is for a process without it."""
    app = FastAPI(
        title=TITLE, version=VERSION, description=DESCRIPTION, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    app.state.deps = deps
    problems.install(app)
    app.include_router(health_routes.router)
    for router in () if only_health else ROUTERS:
        app.include_router(router, prefix=PREFIX)
    app.add_middleware(Frame, body_max_bytes=deps.body_max_bytes if deps else 0)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]  # FastAPI's documented way
    return app


class Frame:
    """Around every request: an id, headers of a bearable size, and no body larger than is read into memory."""

    def __init__(self, app: ASGIApp, *, body_max_bytes: int) -> None:
        self._app = app
        self._body_max_bytes = body_max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        request.state.request_id = str(uuid.uuid4())
        ask_as(NOTHING)  # a request that waited behind another on one connection inherits that one's context
        framed = partial(_send_framed, send, request)
        refusal = self._refusal(request)
        if refusal is None:
            await self._app(scope, receive, framed)
            return
        await Hearing(receive).out()
        await refusal(scope, receive, framed)

    def _refusal(self, request: Request) -> Response | None:
        headers_bytes = sum(len(name) + len(value) for name, value in request.scope["headers"])
        if headers_bytes > HEADERS_MAX_BYTES:
            said = f"The headers hold {headers_bytes} bytes; at most {HEADERS_MAX_BYTES} are taken."
            return problems.of_status(request, 431, said)
        if request.method not in BODYLESS and not _fits(request, self._body_max_bytes):
            said = f"A body may hold {self._body_max_bytes} bytes and has to say its length."
            return problems.of_status(request, 413, said)
        if "\x00" in request.scope["path"]:
            return problems.of_status(request, 404, "The path holds a zero byte: nothing has such a name.")
        return None


async def _send_framed(send: Send, request: Request, message: Message) -> None:
    if message["type"] == "http.response.start":
        headers = MutableHeaders(scope=message)
        headers["X-Request-Id"] = request.state.request_id
        headers.update(_allowance(request, message["status"]))
        headers.setdefault("Cache-Control", "no-store")
        headers["X-Content-Type-Options"] = "nosniff"
    await send(message)


def _allowance(request: Request, status: int) -> Mapping[str, str]:
    """What the caller may still ask in this minute. Whoever hears that nothing is new has asked nothing."""
    allowance: Allowance | None = getattr(request.state, "allowance", None)
    if allowance is None:
        return {}
    if status == 304:
        request.app.state.deps.limits.give_back(allowance.key)
    return allowance.headers()


def _fits(request: Request, body_max_bytes: int) -> bool:
    length = request.headers.get("content-length", "0" if "transfer-encoding" not in request.headers else "")
    return length.isascii() and length.isdigit() and int(length) <= body_max_bytes


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document: FastAPI's, with our errors in the place of its own, and the readings door beside it."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=TITLE, version=VERSION, description=DESCRIPTION, routes=app.routes, openapi_version="3.1.0"
        )
        schemas = made["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        schemas["ProblemOut"] = ProblemOut.model_json_schema()
        for path, operations in made["paths"].items():
            for operation in operations.values():
                _declare_problems(path, operation)
        made["paths"][PATH] = json.loads(json.dumps(OPENAPI_PATH))
        made["components"]["securitySchemes"]["gatewaySecret"] = {
            "type": "http",
            "scheme": "bearer",
            "description": "The secret a gateway was given when it was created.",
        }
        app.openapi_schema = made
    return app.openapi_schema


def _declare_problems(path: str, operation: dict[str, Any]) -> None:
    answers = operation["responses"]
    answers.pop("422", None)
    if not path.startswith(PREFIX):
        return
    told = {"401": "No valid token", "422": "The request cannot be used", "503": "Come again later"}
    if "{" in path:
        told["404"] = "Not there, or not for this token"
    if "requestBody" in operation:
        told |= {"400": "The body cannot be read", "415": "The body is no JSON"}
    if "requestBody" in operation or operation["operationId"] in ("listAudit", "rotateGatewaySecret"):
        told |= {"403": "This token may only read", "409": "It exists already", "413": "The body is too large"}
    _declare_forms(operation)
    for status, words in told.items():
        content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemOut"}}}
        answers[status] = {"description": words, "content": content}


def _declare_forms(operation: dict[str, Any]) -> None:
    """What an answer may be besides JSON: a table, or nothing when the caller has it already."""
    asked = {parameter["name"] for parameter in operation.get("parameters", ())}
    if "format" in asked:
        content = operation["responses"]["200"]["content"]
        content[CSV_TYPE] = {"schema": {"type": "string"}}
        content[XLSX_TYPE] = {"schema": {"type": "string", "contentMediaType": XLSX_TYPE}}
    if operation["operationId"] == "getEnergy":
        operation["responses"]["304"] = {"description": "The figures are those of the ETag in If-None-Match"}
