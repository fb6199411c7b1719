"""The HTTP application: routes, errors, and the size of bodies."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import (
    account_routes,
    alert_routes,
    budget_routes,
    correction_routes,
    docs_routes,
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
    report_routes,
    webhook_routes,
)
from app.api.delivery import Delivery
from app.api.deps import ApiDeps
from app.api.document import DESCRIPTION, TITLE, VERSION, document
from app.api.exports import PREFIX, Tables
from app.api.limits import Allowance
from app.api.writes import Replayed, let_go, settle
from app.store.once import work_for
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
    correction_routes.router,
    ledger_routes.router,
    quality_routes.router,
    rejection_routes.router,
    report_routes.router,
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
    app.add_exception_handler(Replayed, _answer_again)
    app.include_router(health_routes.router)
    app.include_router(docs_routes.router)
    app.state.api_routes = [] if only_health else [route for router in ROUTERS for route in router.routes]
    for router in () if only_health else ROUTERS:
        app.include_router(router, prefix=PREFIX)
    app.add_middleware(Tables, jobs=job_routes.make_job)
    app.add_middleware(Frame, body_max_bytes=deps.body_max_bytes if deps else 0)
    app.add_middleware(Delivery)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]  # FastAPI's documented way
    return app


async def _answer_again(request: Request, error: Exception) -> Response:
    assert isinstance(error, Replayed), "registered for it"
    return error.response()


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
        work_for(None)
        answer = Answer(request, send)
        refusal = self._refusal(request)
        if refusal is not None:
            await Hearing(receive).out()
            await refusal(scope, receive, answer)
            return
        try:
            await self._app(scope, receive, answer)
        except Exception:
            await settle(request, 500, {}, b"")
            raise
        finally:
            await let_go(request)

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


class Answer:
    """The sending side: headers that every answer has; the answer of a call with a key is kept before it goes out."""

    def __init__(self, request: Request, send: Send) -> None:
        self._request = request
        self._send = send
        self._held: Message | None = None
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._add_headers(message)
            if getattr(self._request.state, "once", None) is not None:
                self._held = message
                return
        elif self._held is not None:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._settled(self._held, bytes(self._body))
            return
        await self._send(message)

    async def _settled(self, start: Message, body: bytes) -> None:
        self._held = None
        headers = {name.lower(): value for name, value in MutableHeaders(scope=start).items()}
        await settle(self._request, start["status"], headers, body)
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})

    def _add_headers(self, message: Message) -> None:
        headers = MutableHeaders(scope=message)
        headers["X-Request-Id"] = self._request.state.request_id
        headers.update(_allowance(self._request))
        headers.setdefault("Cache-Control", "no-store")
        if message["status"] == 405:
            headers["Allow"] = ", ".join(_methods(self._request.scope)) or headers.get("Allow", "")
        headers["X-Content-Type-Options"] = "nosniff"


def _allowance(request: Request) -> Mapping[str, str]:
    """What the caller may still ask in this minute."""
    allowance: Allowance | None = getattr(request.state, "allowance", None)
    return {} if allowance is None else allowance.headers()


def _methods(scope: Scope) -> list[str]:
    """What may be done on a path: each method is a route of its own, and a refusal names those of the first alone."""
    inner = {"type": "http", "method": scope["method"], "path": scope["path"].removeprefix(PREFIX), "root_path": ""}
    routes: list[APIRoute] = scope["app"].state.api_routes
    return sorted(
        {method for route in routes if route.matches(inner)[0] is not Match.NONE for method in route.methods or ()}
    )


def _fits(request: Request, body_max_bytes: int) -> bool:
    length = request.headers.get("content-length", "0" if "transfer-encoding" not in request.headers else "")
    return length.isascii() and length.isdigit() and int(length) <= body_max_bytes
