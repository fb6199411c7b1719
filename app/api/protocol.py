"""The HTTP server's protocol where it answers before any application is asked: bytes that are no request.

All answers are problems like every other. A head that never ends is cut off, so that it cannot fill the memory, and who
is too slow with head or body gives the place free.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.api.problems import MEDIA_TYPE, NO_REQUEST, STATUS_CODES, TYPE_ROOT

HEAD_MAX_BYTES = 128 << 10
"""Method, address and headers together while they come in; the application itself takes a quarter of it."""
HEAD_WITHIN_S = 20.0
"""From the connection, or the first byte of a later request, to the end of its head."""
BODY_LOOK_S = 30.0
BODY_LEAST_BYTES = 15_000
"""What has to come of a body between two looks, unless it ends or we are those who do not read."""
WAITING_MAX = 2000
"""Connections without a whole head. When more come the oldest goes: a head takes a moment, so nobody's who asks."""


class StrictProtocol(HttpToolsProtocol):
    """uvicorn's own, with problems for answers and an end to the head of a request, in bytes and in time."""

    waiting: ClassVar[dict[StrictProtocol, None]] = {}
    _head_bytes = _body_bytes = 0
    _in_head = _asked = False
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        if self._timer is None:
            self._wait_for_head()

    def on_headers_complete(self) -> None:
        self._in_head, self._asked = False, True
        self._stop_waiting()
        self._after(BODY_LOOK_S, self._look_at_body)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._stop_waiting()
        super().on_message_complete()

    def _wait_for_head(self) -> None:
        self.waiting[self] = None
        if len(self.waiting) > WAITING_MAX:
            next(iter(self.waiting))._make_room()
        self._after(HEAD_WITHIN_S, self._head_is_late)

    def _make_room(self) -> None:
        self._stop_waiting()
        self.transport.abort()

    def _stop_waiting(self) -> None:
        self.waiting.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _after(self, seconds: float, then: Callable[[], None]) -> None:
        self._timer = self.loop.call_later(seconds, then)

    @property
    def _busy(self) -> bool:
        """Whether it is us for whom the other side waits: an answer is under way, or nothing is read."""
        return self.flow.read_paused or (self._asked and not self.cycle.response_complete)

    def _head_is_late(self) -> None:
        if self._busy:
            self._after(HEAD_WITHIN_S, self._head_is_late)
        elif self._in_head:
            self._too_slow(f"Method, address and headers did not come within {HEAD_WITHIN_S:g} seconds.")
        else:
            self.transport.close()

    def _look_at_body(self) -> None:
        came, self._body_bytes = self._body_bytes, 0
        if came >= BODY_LEAST_BYTES or self.flow.read_paused:
            self._after(BODY_LOOK_S, self._look_at_body)
        elif self.cycle.response_started:
            self.transport.close()
        else:
            self._too_slow(f"Of the body less than {BODY_LEAST_BYTES} bytes came in {BODY_LOOK_S:g} seconds.")

    def _too_slow(self, detail: str) -> None:
        code, title, _ = STATUS_CODES[408]
        self._refuse(408, code, title, detail)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._head_bytes = self._head_bytes + len(data) if self._in_head else 0
        if self._head_bytes > HEAD_MAX_BYTES and not self.transport.is_closing():
            code, title, _ = STATUS_CODES[431]
            self._refuse(431, code, title, f"Method, address and headers are longer than {HEAD_MAX_BYTES} bytes.")

    def send_400_response(self, msg: str) -> None:
        _, code, title, _ = NO_REQUEST
        self._refuse(400, code, title, "These bytes are no HTTP request.")

    def _refuse(self, status: int, code: str, title: str, detail: str) -> None:
        body = {
            "type": TYPE_ROOT + code,
            "title": title,
            "status": status,
            "code": code,
            "detail": detail,
            "instance": f"urn:uuid:{uuid.uuid4()}",
        }
        payload = json.dumps(body).encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(payload)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + payload)
        self.transport.close()
