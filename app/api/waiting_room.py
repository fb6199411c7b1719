"""What the service answers before it has its database: it lives, it is not ready, and for what it waits."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from app.api.answers import json_answer
from app.api.problems import of_status

WAITS = (
    "waiting for the database; the log says why it cannot be had, and the service goes on by itself when it is there"
)
RETRY_AFTER_S = 5

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]


async def waiting_room(scope: Scope, receive: Receive, send: Send) -> None:
    """ASGI application of a process that is there and cannot work yet. Nothing that is sent to it is kept."""
    assert scope["type"] == "http", "the server speaks HTTP alone"
    scope.setdefault("state", {})["request_id"] = str(uuid.uuid4())
    await _answer(Request(scope))(scope, receive, send)


def _answer(request: Request) -> Response:
    match request.url.path:
        case "/healthz":
            return json_answer({"status": "alive"})
        case "/readyz":
            nothing = {"backlog": {"rows": None, "age_s": None}, "pending_readings": 0, "pending_age_s": 0.0}
            return json_answer(
                {"ready": False, "database": False, "broker": None, **nothing, "warnings": [WAITS]}, status=503
            )
        case _:
            return of_status(request, 503, "Try again in a moment.", headers={"Retry-After": str(RETRY_AFTER_S)})
