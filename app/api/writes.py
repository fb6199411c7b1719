"""Writes that may be sent twice, and changes that hold only for what the caller has seen.

`Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header) on every POST: the first answer is kept for a day and
given again. That the work was done is written in its own transaction, beside its line of the trail, so that a call that
is cut off before its answer is kept is not carried out twice. `If-Match` on every change of an object that can be read
under the same address: the tag of its representation is compared while no other change of it can come between.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import AsyncExitStack
from dataclasses import dataclass

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Scope

from app.api.deps import ApiDeps
from app.api.problems import BadKey, HeldSecret, Stale
from app.store import once
from app.store.once import Claim, KeptAnswer, in_turn

IDEMPOTENCY_HEADER = "Idempotency-Key"
KEY = re.compile(r'([!#-~]{1,200})|"([!#-~]{1,200})"')
"""As it is, or as a structured field's string."""
CHANGING = ("PUT", "PATCH", "DELETE")
SECRETS = ("secret", "token", "signing_secret")
"""Fields of an answer that are shown once and kept nowhere in the clear."""
KEPT_HEADERS = ("content-type", "location", "etag")


@dataclass(frozen=True, slots=True)
class Once:
    """A call that is being answered for the first time."""

    claim: Claim
    holds_secret: bool


class Replayed(Exception):
    """The call was answered before. Attribute: answer."""

    def __init__(self, answer: KeptAnswer) -> None:
        self.answer = answer
        super().__init__("answered before")

    def response(self) -> Response:
        headers = {**self.answer.headers, "Idempotency-Replayed": "true"}
        return Response(self.answer.body, self.answer.status, headers)


async def first_time(request: Request, deps: ApiDeps, caller: str) -> None:
    """Raises Replayed where the call was answered before; BadKey, HeldSecret, KeyReused, StillInFlight, AnswerLost."""
    sent = request.headers.get(IDEMPOTENCY_HEADER)
    if sent is None or request.method != "POST":
        return
    found = KEY.fullmatch(sent)
    if found is None:
        raise BadKey(f"{IDEMPOTENCY_HEADER} has 1 to 200 visible characters, none of them a quotation mark")
    digest = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
    digest.update(await request.body())
    answer = await once.begin(deps.owner, caller, found[1] or found[2], digest.digest(), deps.clock())
    if isinstance(answer, Claim):
        request.state.once = Once(answer, _holds_secret(request))
        once.work_for(answer)
    elif answer.body is None:
        raise HeldSecret("the first answer held a secret, which is kept nowhere; rotate it to have another")
    else:
        raise Replayed(answer)


def _holds_secret(request: Request) -> bool:
    route = request.scope.get("route")
    fields = getattr(route.response_model, "model_fields", {}) if isinstance(route, APIRoute) else {}
    return any(name in fields for name in SECRETS)


async def settle(request: Request, status: int, headers: dict[str, str], body: bytes) -> None:
    """Keeps the answer of a first call, or lets go of its key where nothing was done."""
    pending: Once | None = getattr(request.state, "once", None)
    if pending is None:
        return
    request.state.once = None
    deps: ApiDeps = request.app.state.deps
    if not 200 <= status < 300:
        await once.forget(deps.owner, pending.claim)
        return
    kept = {name: value for name, value in headers.items() if name in KEPT_HEADERS}
    answer = KeptAnswer(status, kept, None if pending.holds_secret else body)
    await once.keep(deps.owner, pending.claim, answer, deps.clock())


async def in_its_turn(request: Request, deps: ApiDeps) -> None:
    """One change of an object after the other, and none of what the caller has not seen. Raises Stale.

    For a caller who is known, with the body read: whoever is slow or a stranger keeps nobody waiting. Where `If-Match`
    is sent, the tag is that of the GET of the same address, asked with the caller's own rights. An object that is not
    there, or that cannot be read, is left to the call itself.
    """
    if request.method not in CHANGING:
        return
    request.state.turn = turn = AsyncExitStack()
    await turn.enter_async_context(in_turn(deps.owner, request.url.path))
    wanted = request.headers.get("if-match")
    if wanted is None or wanted.strip() == "*":
        return
    status, tag = await _tag_now(request, request.app)
    if status == 200 and tag is not None and set_facts(tag) not in map(set_facts, held_tags(wanted)):
        raise Stale("the object has changed since; read it again")


def held_tags(header: str) -> set[str]:
    """The tags of an If-Match, without the mark of a weak one: ours are all weak, and are compared as such."""
    return set(re.findall(r'"[^"]*"', header))


def set_facts(tag: str) -> str:
    """The part of a tag that stands for what people have set; all of it where nothing else is in it."""
    return tag.removeprefix("W/").strip('"').partition("-")[0]


async def let_go(request: Request) -> None:
    """The change is done, or was refused: the next one may come."""
    turn: AsyncExitStack | None = getattr(request.state, "turn", None)
    if turn is not None:
        await turn.aclose()


async def _tag_now(request: Request, app: ASGIApp) -> tuple[int, str | None]:
    found: list[Message] = []

    async def heard(message: Message) -> None:
        found.append(message)

    async def nothing() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    await app(_as_read(request), nothing, heard)
    start = next(message for message in found if message["type"] == "http.response.start")
    headers = {name.lower(): value for name, value in start["headers"]}
    return start["status"], headers.get(b"etag", b"").decode() or None


def _as_read(request: Request) -> Scope:
    """The same question as a GET: who asks stays, what is sent and what is compared goes."""
    kept = (b"authorization", b"cookie", b"accept-language")
    headers = [(name, value) for name, value in request.scope["headers"] if name in kept]
    return {
        **{key: request.scope[key] for key in ("type", "asgi", "http_version", "scheme", "path", "raw_path")},
        **{key: request.scope.get(key) for key in ("server", "client", "root_path", "extensions")},
        "method": "GET",
        "query_string": b"",
        "headers": headers,
        "state": {},
    }
