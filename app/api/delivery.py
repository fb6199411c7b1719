"""What every answer to GET goes through on its way out: a weak ETag, 304 for who has it already, gzip or zstd.

An answer that is whole gets a tag of its content. `as_of` is left out of it: the same figures looked at a second later
are the same answer. What is streamed has no tag, because its head leaves before its end is known.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

import zstandard
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.limits import Allowance

TAGGED = ("/api/v1/", "/openapi.json", "/docs")
PACKED = ("application/json", "application/problem+json", "text/csv", "text/html", "text/css", "text/javascript")
PACKED_FROM_BYTES = 1024
"""Below it the head of the packed form eats what it saves."""
ZSTD_LEVEL, GZIP_LEVEL = 3, 6
AS_OF = re.compile(rb'"as_of":"[^"]*"')
VARY = ("Accept", "Accept-Encoding", "Accept-Language", "Authorization", "Cookie")
KEPT_BY_304 = {"etag", "cache-control", "vary", "date", "expires", "content-location", "link", "x-request-id"}


class Packer(Protocol):
    """Takes bytes as they come and gives packed ones back, some later."""

    def pack(self, part: bytes, *, last: bool) -> bytes: ...


class Gzip:
    def __init__(self) -> None:
        self._stream = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)

    def pack(self, part: bytes, *, last: bool) -> bytes:
        return self._stream.compress(part) + (self._stream.flush() if last else b"")


class Zstd:
    def __init__(self) -> None:
        self._stream = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj()

    def pack(self, part: bytes, *, last: bool) -> bytes:
        return self._stream.compress(part) + (self._stream.flush() if last else b"")


PACKERS: Mapping[str, Callable[[], Packer]] = {"zstd": Zstd, "gzip": Gzip}


def packing_of(accepted: str) -> str | None:
    """The packing to use for an Accept-Encoding header: the one wished for most, zstd where both are equal."""
    wishes: dict[str, float] = {}
    for part in accepted.split(","):
        word, _, parameters = part.partition(";")
        wishes[word.strip().lower()] = _weight(parameters)
    rest = wishes.get("*", 0.0)
    best = max(PACKERS, key=lambda name: wishes.get(name, rest))
    return best if wishes.get(best, rest) > 0 else None


def _weight(parameters: str) -> float:
    found = re.search(r"q\s*=\s*([01](?:\.\d{0,3})?)\s*$", parameters)
    return float(found[1]) if found else 1.0


def tag_of(kind: str, body: bytes, set_facts: str | None = None) -> str:
    """A weak tag of a whole answer: the same figures, the same tag. In front of it what people have set, if told."""
    facts = AS_OF.sub(b"", body) if kind.startswith("application/json") else body
    whole = hashlib.sha256(kind.encode() + facts).hexdigest()[:32]
    return f'W/"{whole if set_facts is None else f"{set_facts}-{whole}"}"'


def has_already(header: str, tag: str) -> bool:
    """Whether If-None-Match names this tag; the comparison is the weak one."""
    held = [part.strip().removeprefix("W/") for part in header.split(",")]
    return "*" in held or tag.removeprefix("W/") in held


class Delivery:
    """The middleware. What is no GET under the API, and what streams events, passes through untouched."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(TAGGED):
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope)
        await self._app(scope, receive, _Outgoing(send, scope, asked).send)


class _Outgoing:
    """One answer on its way: its head waits for the first part of its body."""

    def __init__(self, send: Send, scope: Scope, asked: Headers) -> None:
        self._send, self._scope, self._method, self._asked = send, scope, scope["method"], asked
        self._head: Message | None = None
        self._packer: Packer | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._head = message
        elif message["type"] == "http.response.body" and self._head is not None:
            await self._first(self._head, message)
        elif message["type"] == "http.response.body":
            await self._part(message)
        else:
            await self._send(message)

    async def _first(self, head: Message, message: Message) -> None:
        self._head = None
        headers, body = MutableHeaders(scope=head), message.get("body", b"")
        whole = not message.get("more_body", False)
        if self._method == "GET" and head["status"] == 200:
            headers.add_vary_header(", ".join(VARY))
            if whole and self._is_held(headers, body):
                await self._not_modified(headers)
                return
        self._choose_packer(headers, len(body), whole=whole)
        if whole and self._packer is not None:
            body = self._packer.pack(body, last=True)
            headers["Content-Length"] = str(len(body))
            await self._send(head)
            await self._send({"type": "http.response.body", "body": body})
            return
        await self._send(head)
        await self._part(message)

    def _is_held(self, headers: MutableHeaders, body: bytes) -> bool:
        """Tags a whole answer; True when the caller has it."""
        facts = self._scope.get("state", {}).get("facts")
        tag = headers.get("ETag") or tag_of(headers.get("content-type", ""), body, facts)
        headers["ETag"] = tag
        if headers.get("cache-control", "no-store") == "no-store":
            headers["Cache-Control"] = "private, no-cache"
        return has_already(self._asked.get("if-none-match", ""), tag)

    async def _not_modified(self, headers: MutableHeaders) -> None:
        """Whoever hears that nothing is new has asked nothing: it is not counted against the limit."""
        allowance: Allowance | None = self._scope["state"].get("allowance")
        if allowance is not None:
            self._scope["app"].state.deps.limits.give_back(allowance.key)
        kept = [(name, value) for name, value in headers.raw if _stays(name.decode("latin-1"))]
        await self._send({"type": "http.response.start", "status": 304, "headers": kept})
        await self._send({"type": "http.response.body", "body": b""})

    def _choose_packer(self, headers: MutableHeaders, size: int, *, whole: bool) -> None:
        kind = headers.get("content-type", "").split(";")[0]
        if kind not in PACKED or "content-encoding" in headers or (whole and size < PACKED_FROM_BYTES):
            return
        name = packing_of(self._asked.get("accept-encoding", ""))
        if name is not None:
            self._packer = PACKERS[name]()
            headers["Content-Encoding"] = name
            del headers["Content-Length"]

    async def _part(self, message: Message) -> None:
        if self._packer is None:
            await self._send(message)
            return
        last = not message.get("more_body", False)
        packed = self._packer.pack(message.get("body", b""), last=last)
        if packed or last:
            await self._send({"type": "http.response.body", "body": packed, "more_body": not last})


def _stays(name: str) -> bool:
    return name.lower() in KEPT_BY_304 or name.lower().startswith(("ratelimit", "x-content-type", "set-cookie"))
