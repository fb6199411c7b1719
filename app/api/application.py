"""The HTTP application: routes, errors, and the size of bodies."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from functools import partial

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import (
    account_routes,
    alert_routes,
    budget_routes,
    energy_routes,
    event_routes,
    explain_routes,
    factor_routes,
    health_routes,
    job_routes,
    ledger_routes,
    line_routes,
    problems,
    quality_routes,
    record_routes,
    registry_routes,
    rejection_routes,
    webhook_routes,
)
from app.api.delivery import Delivery
from app.api.deps import ApiDeps
from app.api.document import DESCRIPTION, TITLE, VERSION, document
from app.api.exports import PREFIX, Tables
from app.api.limits import Allowance
from app.store.scope import NOTHING, ask_as
from ingest.http import Hearing

ROUTERS = (
    account_routes.router,
    registry_routes.router,
    energy_routes.router,
    explain_routes.router,
    budget_routes.router,
    factor_routes.router,
    line_routes.router,
    ledger_routes.router,
    quality_routes.router,
    rejection_routes.router,
    record_routes.router,
    event_routes.router,
    webhook_routes.router,
    job_routes.router,
    alert_routes.router,
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
    app.state.api_routes = [] if only_health else [route for router in ROUTERS for route in router.routes]
    for router in () if only_health else ROUTERS:
        app.include_router(router, prefix=PREFIX)
    app.add_middleware(Tables, jobs=job_routes.make_job)
    app.add_middleware(Frame, body_max_bytes=deps.body_max_bytes if deps else 0)
    app.add_middleware(Delivery)
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
