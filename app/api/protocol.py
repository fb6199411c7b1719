"""The HTTP server's protocol where it answers before any application is asked: bytes that are no request.

Both answers are problems like every other. A head that never ends is cut off, so that it cannot fill the memory.
"""

from __future__ import annotations

import json
import uuid
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.api.problems import MEDIA_TYPE, NO_REQUEST, STATUS_CODES, TYPE_ROOT

HEAD_MAX_BYTES = 128 << 10
"""Method, address and headers together while they come in; the application itself takes a quarter of it."""


class StrictProtocol(HttpToolsProtocol):
    """uvicorn's own, with problems for answers and an end to the head of a request."""

    _head_bytes = 0
    _in_head = False

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

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
