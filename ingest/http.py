"""The HTTP door: `POST /api/v1/readings`, straight ASGI because a router and a body model cost more than the commit."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import math
import time
from collections import Counter as Tally
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

from ingest.batch import Code, Door, Received
from ingest.decode import Malformed, TooLarge, inflate
from ingest.metrics import IngestMetrics
from ingest.pipeline import Full, Pipeline, Unavailable, Undecided
from ingest.wire import CSV_TYPE, JSON_TYPE, Receipt, shown

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

PATH = "/api/v1/readings"
FULL_RETRY_S = 1.0
FORGOTTEN_MAX_BYTES = 64 << 20
FORGOTTEN_WITHIN_S = 10.0
REQUESTS_PER_GATEWAY = 256
"""Requests of one gateway that may wait at once; one that opens more is turned away before the others suffer."""


Spoken = tuple[str, str, str]
"""Title, detail, and the language both are in."""


def in_english(accept_language: str, title: str, detail: str) -> Spoken:
    """What a door says that knows no other language."""
    return title, detail, "en"


class Hangup(Exception):
    """The sender went away before its request was complete."""


@dataclass(slots=True, eq=False)
class Problem(Exception):
    """A request that gets no receipt. Nothing of it was kept, unless the code is `undecided`."""

    status: HTTPStatus
    code: str
    title: str
    detail: str
    retry_after_s: float | None = None


def unauthorized(detail: str) -> Problem:
    return Problem(HTTPStatus.UNAUTHORIZED, "unauthorized", "No valid gateway secret", detail)


def too_large(limit: int) -> Problem:
    detail = f"A body may hold {limit} bytes, before and after decompression. Send several smaller messages."
    return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body-too-large", "The body is too large", detail)


def unavailable(retry_after_s: float) -> Problem:
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "ledger-unavailable",
        "The readings cannot be stored now",
        "The database cannot be reached. Nothing of this request was kept; send it again later.",
        retry_after_s,
    )


class Hearing:
    """The sender's side of a request. Somebody who is still sending does not read the answer, and closing on them would
    throw it away: so what is left is heard out, up to a bound, and forgotten.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._over = False

    async def __call__(self) -> Event:
        event = await self._receive()
        self._over = event["type"] == "http.disconnect" or not event.get("more_body", False)
        return event

    async def out(self) -> None:
        left = FORGOTTEN_MAX_BYTES
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FORGOTTEN_WITHIN_S):
                while not self._over and left > 0:
                    left -= len((await self()).get("body", b""))


class ReadingsEndpoint:
    """ASGI application for exactly one path. The receipt of a request is sent after its readings are committed."""

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        metrics: IngestMetrics,
        body_max_bytes: int,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        speak: Callable[[str, str, str], Spoken] = in_english,
    ) -> None:
        self._pipeline = pipeline
        self._metrics = metrics
        self._body_max_bytes = body_max_bytes
        self._now_us = now_us
        self._speak = speak
        self._waiting: Tally[str] = Tally()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hearing = Hearing(receive)
        try:
            receipt = await self._take(scope, hearing)
        except Problem as problem:
            await hearing.out()
            wish = b"".join(value for name, value in scope["headers"] if name.lower() == b"accept-language")
            await _send_problem(send, problem, self._speak(wish.decode("latin-1"), problem.title, problem.detail))
        except Hangup:
            return
        else:
            await _send(send, status_of(receipt), JSON_TYPE, receipt.encode())

    async def _take(self, scope: Scope, receive: Receive) -> Receipt:
        if scope["method"] != "POST":
            raise Problem(
                HTTPStatus.METHOD_NOT_ALLOWED, "method-not-allowed", "Only POST", "Readings are sent here with POST."
            )
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        gateway = await self._gateway(headers.get("authorization", ""))
        media = media_type(headers.get("content-type", ""))
        encoding = content_encoding(headers.get("content-encoding", ""))
        body = await self._body(headers.get("content-length", ""), receive)
        raw, content_type = unpacked(body, media, encoding, self._body_max_bytes)
        return await self._submit(Received(Door.HTTP, gateway, PATH, content_type, raw, self._now_us()))

    async def _gateway(self, authorization: str) -> str:
        """Whose secret the request bears. Raises Problem: 401, or 503 while the registry cannot be asked."""
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            self._metrics.unauthorised.inc()
            raise unauthorized("The request should bear: Authorization: Bearer <gateway secret>")
        digest = hashlib.sha256(secret.strip().encode("latin-1")).digest()
        try:
            gateway = await self._pipeline.registry.gateway_of(digest)
        except Exception as error:
            log.warning("registry unavailable", extra={"why": str(error)})
            raise unavailable(FULL_RETRY_S) from error
        if gateway is None:
            self._metrics.unauthorised.inc()
            raise unauthorized("No active gateway has this secret.")
        return gateway

    async def _body(self, content_length: str, receive: Receive) -> bytes:
        """The whole body; one that is announced or turns out too large is not read to its end."""
        if content_length.isdecimal() and int(content_length[:20]) > self._body_max_bytes:
            raise too_large(self._body_max_bytes)
        parts: list[bytes] = []
        size = 0
        while True:
            event = await receive()
            if event["type"] == "http.disconnect":
                raise Hangup
            parts.append(event.get("body", b""))
            size += len(parts[-1])
            if size > self._body_max_bytes:
                raise too_large(self._body_max_bytes)
            if not event.get("more_body", False):
                return b"".join(parts)

    async def _submit(self, received: Received) -> Receipt:
        gateway = received.gateway
        if self._waiting[gateway] >= REQUESTS_PER_GATEWAY:
            raise Problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too-many-requests",
                "Too many requests at once",
                f"{REQUESTS_PER_GATEWAY} requests of this gateway already wait. Nothing of this one was kept.",
                FULL_RETRY_S,
            )
        self._waiting[gateway] += 1
        try:
            return await self._pipeline.submit(received)
        except Full as error:
            detail = "Too many readings wait to be stored. Nothing of this request was kept; send it again."
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE, "pipeline-full", "Too much at once", detail, FULL_RETRY_S
            ) from error
        except Unavailable as error:
            raise unavailable(error.retry_after_s) from error
        except Undecided as error:
            detail = "The service stopped before the database answered. Send it again: what is stored stays as it is."
            raise Problem(HTTPStatus.GATEWAY_TIMEOUT, "undecided", "Perhaps stored", detail, FULL_RETRY_S) from error
        finally:
            self._waiting[gateway] -= 1
            if not self._waiting[gateway]:
                del self._waiting[gateway]


def status_of(receipt: Receipt) -> HTTPStatus:
    """200 all taken, 207 some refused, 422 none taken."""
    if not receipt.rejected:
        return HTTPStatus.OK
    return HTTPStatus.MULTI_STATUS if receipt.taken else HTTPStatus.UNPROCESSABLE_ENTITY


def media_type(content_type: str) -> str:
    """The media type of the body. Raises Problem 415 for what is neither JSON nor CSV, or not in UTF-8."""
    media, _, parameters = content_type.partition(";")
    media = media.strip().lower() or JSON_TYPE
    charset = next(
        (value.strip(' "').lower() for name, _, value in _pairs(parameters) if name.strip().lower() == "charset"),
        "utf-8",
    )
    if media not in (JSON_TYPE, CSV_TYPE) or charset not in ("utf-8", "utf8", "us-ascii"):
        detail = f"{shown(content_type)} is not taken here; {JSON_TYPE} and {CSV_TYPE}, in UTF-8, are."
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unknown kind of body", detail)
    return media


def _pairs(parameters: str) -> Iterable[tuple[str, str, str]]:
    return (parameter.partition("=") for parameter in parameters.split(";"))


def content_encoding(header: str) -> str:
    """`gzip`, `zstd` or nothing. Raises Problem 415 for any other."""
    encoding = header.strip().lower().removeprefix("x-")
    if encoding in ("", "identity"):
        return ""
    if encoding in ("gzip", "zstd"):
        return encoding
    detail = f"{shown(header)} is not unpacked here; gzip and zstd are."
    raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported-encoding", "Unknown encoding of the body", detail)


def unpacked(body: bytes, media: str, encoding: str, limit: int) -> tuple[bytes, str]:
    """The body as it was before compression, and its type. A broken one stays as it is: it is refused and kept so."""
    if not encoding:
        return body, media
    try:
        return inflate(body, encoding, limit), media
    except TooLarge as error:
        raise too_large(limit) from error
    except Malformed:
        return body, f"{media}; encoding={encoding}"


async def _send_problem(send: Send, problem: Problem, spoken: Spoken) -> None:
    title, detail, language = spoken
    body = {
        "type": "about:blank",
        "title": title,
        "status": problem.status.value,
        "detail": detail,
        "code": problem.code,
        "instance": PATH,
    }
    extra = [(b"content-language", language.encode()), (b"vary", b"Accept-Language")]
    if problem.retry_after_s is not None:
        extra.append((b"retry-after", str(math.ceil(max(problem.retry_after_s, 1.0))).encode()))
    if problem.status is HTTPStatus.UNAUTHORIZED:
        extra.append((b"www-authenticate", b"Bearer"))
    if problem.status is HTTPStatus.METHOD_NOT_ALLOWED:
        extra.append((b"allow", b"POST"))
    if problem.status is HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        extra.append((b"connection", b"close"))  # the rest of the body will not be read
    await _send(send, problem.status, "application/problem+json", msgspec.json.encode(body), extra)


async def _send(
    send: Send, status: HTTPStatus, media: str, body: bytes, extra: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    headers = [(b"content-type", media.encode()), (b"content-length", str(len(body)).encode()), *extra]
    await send({"type": "http.response.start", "status": status.value, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _answer(description: str, schema: dict[str, Any], media: str) -> dict[str, Any]:
    return {"description": description, "content": {media: {"schema": schema}}}


_READING = {"type": "array", "minItems": 3, "maxItems": 4, "description": "[meter, ts, value, quality]"}
_QUALITY = {"type": "integer", "minimum": 0, "maximum": 3}
_MESSAGE = {
    "type": "object",
    "required": ["v"],
    "description": "One of three forms: ts with vals; rows; or the equally long columns meters, t, values.",
    "properties": {
        "v": {"const": 1},
        "seq": {"type": "integer", "minimum": 0, "description": "counts the messages of a gateway"},
        "revise": {"type": "boolean", "default": False, "description": "replace other values under the same keys"},
        "ts": {"type": "string", "format": "date-time"},
        "vals": {"type": "object", "additionalProperties": {"type": "number"}},
        "rows": {"type": "array", "items": _READING},
        "meters": {"type": "array", "items": {"type": "string"}},
        "t": {"type": "array", "items": {"type": "integer"}, "description": "milliseconds since 1970-01-01 UTC"},
        "values": {"type": "array", "items": {"type": "number"}},
        "q": {
            "description": "0 good, 1 estimated, 2 suspect, 3 bad: by meter beside vals, a column beside meters",
            "oneOf": [
                {"type": "object", "additionalProperties": _QUALITY},
                {"type": "array", "items": _QUALITY},
            ],
        },
    },
    "example": {"v": 1, "seq": 4711, "ts": "2026-11-23T09:15:00+08:00", "vals": {"E001": 18233.42}},
}
_COUNT = {"type": "integer", "minimum": 0}
_RECEIPT = {
    "type": "object",
    "required": ["seq", "stored", "duplicate", "revised", "rejected"],
    "properties": {
        "seq": {"type": ["integer", "null"]},
        "stored": _COUNT,
        "duplicate": _COUNT,
        "revised": _COUNT,
        "rejected": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["i", "meter", "code", "detail"],
                "properties": {
                    "i": {"type": ["integer", "null"], "description": "place in the message; null: all of it"},
                    "meter": {"type": ["string", "null"]},
                    "code": {"enum": [code.value for code in Code]},
                    "detail": {"type": "string"},
                },
            },
        },
        "rejected_more": {"type": "integer", "description": "refusals beyond those spelled out"},
    },
}
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "instance"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "instance": {"type": "string"},
    },
}
_PROBLEM_JSON = "application/problem+json"
OPENAPI_PATH: dict[str, Any] = {
    "post": {
        "operationId": "postReadings",
        "summary": "Send readings as a gateway; answered after they are committed",
        "tags": ["readings"],
        "security": [{"gatewaySecret": []}],
        "parameters": [
            {
                "name": "Content-Encoding",
                "in": "header",
                "required": False,
                "schema": {"enum": ["gzip", "zstd"]},
            },
            {
                "name": "Accept-Language",
                "in": "header",
                "required": False,
                "description": "zh-CN or en, for titles and details of problems.",
                "schema": {"type": "string"},
            },
        ],
        "requestBody": {
            "required": True,
            "content": {
                JSON_TYPE: {"schema": _MESSAGE},
                CSV_TYPE: {"schema": {"type": "string", "description": "meter,ts,value,quality"}},
            },
        },
        "responses": {
            "200": _answer("All readings were taken", _RECEIPT, JSON_TYPE),
            "207": _answer("Some readings were refused", _RECEIPT, JSON_TYPE),
            "422": _answer("No reading was taken", _RECEIPT, JSON_TYPE),
            "401": _answer("No valid gateway secret", _PROBLEM, _PROBLEM_JSON),
            "408": _answer("The request came too slowly; nothing was kept", _PROBLEM, _PROBLEM_JSON),
            "413": _answer("The body is too large; nothing was kept", _PROBLEM, _PROBLEM_JSON),
            "415": _answer("Neither JSON nor CSV, or an unknown encoding", _PROBLEM, _PROBLEM_JSON),
            "429": _answer("Too many requests of this gateway wait; nothing was kept", _PROBLEM, _PROBLEM_JSON),
            "503": _answer("Nothing was kept; come again after Retry-After", _PROBLEM, _PROBLEM_JSON),
        },
    }
}
