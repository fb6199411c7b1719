"""Who may ask for what. Every route under /api/v1 has one of these rules; a test finds the one that has none.

A supervisor sees the subtree of a region, an enterprise itself. An admin changes the registry; a supervisor keeps what
judges the figures: factors, levels, production lines. What lies outside
the own scope answers exactly like what does not exist, and leaves a line in the trail.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from app.api.answers import sink_of
from app.api.deps import ApiDeps, Deps
from app.api.problems import CsrfRefused, Forbidden, NoToken, TooMany
from app.api.writes import first_time, in_its_turn
from app.store import lines, registry
from app.store.access import Caller, TokenRole, caller_by_number, caller_of, note_refusal
from app.store.accounts import Session, session_of
from app.store.coefficients import sees_all
from app.store.registry import Fields, NotThere, WrongField
from app.store.scope import ask_as

SESSION_COOKIE = "tcewatch_session"
CSRF_HEADER = "X-CSRF-Token"
SAFE = ("GET", "HEAD", "OPTIONS")
bearer = HTTPBearer(scheme_name="token", description="A token from `tcewatch token create`.", auto_error=False)
cookie = APIKeyCookie(
    name=SESSION_COOKIE,
    scheme_name="session",
    description=f"Of a log-in; whoever changes something sends `csrf_token` in {CSRF_HEADER} as well.",
    auto_error=False,
)
Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]
SessionSecret = Annotated[str | None, Security(cookie)]


ON_BEHALF = "tcewatch.on-behalf"
"""Where a request from inside names for whom it is made (`Caller.number`); nobody outside can say it."""


async def anyone(request: Request) -> None:
    """Whoever knows nothing yet: the doors of the log-in. A page of another site is not let in."""
    if request.headers.get("sec-fetch-site") == "cross-site" and request.method not in SAFE:
        raise CsrfRefused("a page of another site asked for this")


async def reader(request: Request, deps: Deps, credentials: Credentials, secret: SessionSecret) -> Caller:
    """Anybody with a token that is worth something, or who has logged in. The token goes before the cookie."""
    number = request.scope.get(ON_BEHALF)
    if number is not None:
        caller = await caller_by_number(deps.owner, number, deps.clock())
        if caller is None:
            raise NoToken("the token is unknown, expired or revoked")
        ask_as(caller.asks_as)
        return caller
    if credentials is not None:
        caller = await caller_of(deps.owner, credentials.credentials, deps.clock())
        if caller is None:
            raise NoToken("the token is unknown, expired or revoked")
    elif secret is not None:
        caller = (await logged_in(request, deps, secret)).caller
    else:
        raise NoToken("send a token as Authorization: Bearer …, or log in")
    _count(request, deps, caller)
    await in_its_turn(request, deps)
    await first_time(request, deps, caller.key)
    ask_as(caller.asks_as)
    request.state.caller = caller
    return caller


async def logged_in(request: Request, deps: ApiDeps, secret: str) -> Session:
    """The session of a cookie. Raises NoToken, and CsrfRefused where the cookie alone would change something."""
    session = await session_of(deps.owner, secret, deps.clock())
    if session is None:
        raise NoToken("the session is over; log in again")
    sent = request.headers.get(CSRF_HEADER, "")
    if request.method not in SAFE and not hmac.compare_digest(sent.encode(), session.csrf.encode()):
        raise CsrfRefused(f"send the session's csrf_token in {CSRF_HEADER}")
    request.state.session = session
    return session


def _count(request: Request, deps: ApiDeps, caller: Caller) -> None:
    """Takes one from what the caller may ask in a minute. The later pieces of one table are no new questions."""
    sink = sink_of(request)
    if sink is not None and not sink.first:
        return
    allowance = deps.limits.take(caller.key, deps.clock().timestamp())
    request.state.allowance = allowance
    if allowance is not None and allowance.exceeded:
        raise TooMany(allowance.quota, allowance.resets_s)


async def still_valid(request: Request, deps: ApiDeps, caller: Caller) -> bool:
    """Whether who was let in would be let in again, with the same rights."""
    session: Session | None = getattr(request.state, "session", None)
    if session is not None:
        again = await session_of(deps.owner, session.secret, deps.clock())
        return again is not None and again.caller == caller
    return await caller_by_number(deps.owner, caller.number, deps.clock()) == caller


Reader = Annotated[Caller, Depends(reader)]


async def writer(caller: Reader) -> Caller:
    """An admin."""
    if not caller.may_write:
        raise Forbidden(f"the role {caller.role} may only read; registry changes need an admin token")
    return caller


Writer = Annotated[Caller, Depends(writer)]


async def supervising(caller: Reader) -> Caller:
    """An admin, or a supervisor of the region."""
    if not caller.may_supervise:
        raise Forbidden(f"the role {caller.role} may only read; this needs a supervisor's or an admin's token")
    return caller


Supervising = Annotated[Caller, Depends(supervising)]


async def reporting(caller: Reader) -> Caller:
    """Whoever sees the object: an enterprise reports its own output, and every report says who made it."""
    return caller


Reporting = Annotated[Caller, Depends(reporting)]
RULES = (reader, writer, supervising, reporting, anyone)


LINE_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class Sight:
    """What a caller sees of a list: a region's subtree, or one enterprise."""

    scope: str | None
    only: str | None


def sight(caller: Caller) -> Sight:
    if caller.role is TokenRole.ENTERPRISE:
        return Sight(None, caller.scope)
    return Sight(caller.scope, None)


async def visible_enterprise(deps: ApiDeps, caller: Caller, key: str) -> Fields:
    """The enterprise, or NotThere for what is absent and for what is not the caller's business."""
    try:
        found = await registry.enterprise_of(deps.database, key)
        if caller.sees_enterprise(key, found["region"]):
            return found
    except NotThere:
        pass
    raise await hidden(deps, caller, "enterprise", key)


async def visible_gateway(deps: ApiDeps, caller: Caller, key: str) -> Fields:
    try:
        found = await registry.gateway_of(deps.database, key, deps.clock())
        if caller.sees_enterprise(found["enterprise"], found["region"]):
            return found
    except NotThere:
        pass
    raise await hidden(deps, caller, "gateway", key)


async def visible_meter(deps: ApiDeps, caller: Caller, enterprise: str, code: str) -> Fields:
    try:
        found = await registry.meter_of(deps.database, enterprise, code)
        if caller.sees_enterprise(enterprise, found["region"]):
            return found
    except NotThere:
        pass
    raise await hidden(deps, caller, "meter", f"{enterprise}/{code}")


async def visible_region(deps: ApiDeps, caller: Caller, code: str) -> Fields:
    try:
        found = await registry.region_of(deps.database, code)
        if caller.sees_region(code):
            return found
    except NotThere:
        pass
    raise await hidden(deps, caller, "region", code)


async def visible_line(deps: ApiDeps, caller: Caller, key: str) -> Fields:
    """A production line by its number, as it is written in an address."""
    try:
        if not LINE_NUMBER.fullmatch(key):
            raise NotThere("line", key)
        async with deps.database.engine.connect() as connection:
            found = await lines.line_of(connection, int(key))
        if caller.sees_enterprise(found["enterprise"], found["region"]):
            return found
    except NotThere:
        pass
    raise await hidden(deps, caller, "line", key)


async def require_enterprise(deps: ApiDeps, caller: Caller, key: str) -> None:
    """An enterprise named in a body. Raises WrongField, the same for an unknown one and for one not the caller's."""
    try:
        await visible_enterprise(deps, caller, key)
    except NotThere as error:
        raise WrongField("enterprise", f"there is no enterprise {key!r}") from error


async def require_region(deps: ApiDeps, caller: Caller, code: str) -> None:
    """A region named in a body. Raises WrongField, the same for an unknown one and for one not the caller's."""
    try:
        await visible_region(deps, caller, code)
    except NotThere as error:
        raise WrongField("region", f"there is no region {code!r}") from error


async def supervises_everything(deps: ApiDeps, caller: Caller) -> None:
    """What holds for everybody is kept by who sees every enterprise there is. Raises Forbidden."""
    if not await sees_all(deps.database):
        raise Forbidden(f"this holds for everybody; the scope {caller.scope} is only a part")


async def require_within(deps: ApiDeps, caller: Caller, role: str, scope: str) -> None:
    """A role and scope an admin hands on: never more than the own. Raises WrongField, as for an unknown one."""
    try:
        if role == TokenRole.ENTERPRISE:
            await visible_enterprise(deps, caller, scope)
        else:
            await visible_region(deps, caller, scope)
    except NotThere as error:
        raise WrongField("scope", f"there is no {error.kind} {scope!r}") from error


async def hidden(deps: ApiDeps, caller: Caller, kind: str, key: str) -> NotThere:
    """The answer for what is not there or not to be seen, after it was noted."""
    await note_refusal(deps.database, caller, f"{kind}.read", kind, key)
    return NotThere(kind, key)
