"""Who may come in: log-in and log-out of people, and the accounts and tokens that admins keep."""

from __future__ import annotations

import hmac
import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import RedirectResponse, Response

from app.api.access import SESSION_COOKIE, Reader, Writer, anyone, hidden, require_within
from app.api.answers import Cursor, Limit, cursor_of, integer_key, json_answer, key_of, object_answer
from app.api.deps import ApiDeps, Deps
from app.api.oidc import OidcProvider
from app.api.parameters import known_parameters
from app.api.problems import NoToken
from app.api.schemas.accounts import (
    LogIn,
    PasswordChange,
    SessionOut,
    TokenNew,
    TokenOut,
    TokenRotation,
    TokenSecretOut,
    UserChange,
    UserNew,
    UserOut,
    UserWithSessionsOut,
)
from app.api.schemas.registry import changes_of
from app.api.schemas.shared import Listed
from app.store import accounts, tokens
from app.store.access import Caller, enter_token
from app.store.accounts import LoginRefused, Session, change_own_password, end_session, log_in, log_out
from app.store.entries import values_of
from app.store.registry import Fields, NotThere

router = APIRouter(tags=["access"], dependencies=[Depends(known_parameters)])

TOKEN_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


# Log-in ---------------------------------------------------------------------------------------------------------------


@router.post("/session", operation_id="logIn", response_model=SessionOut, dependencies=[Depends(anyone)])
async def post_session(body: LogIn, deps: Deps, request: Request) -> Response:
    """Log in. The answer sets the cookie of a new session; one that was open in this browser ends."""
    session = await log_in(
        deps.owner,
        deps.hashing,
        name=body.name,
        password=body.password,
        address=address_of(request),
        agent=request.headers.get("user-agent", ""),
        now=deps.clock(),
    )
    return await with_cookie(request, deps, session)


@router.get("/session", operation_id="getSession", response_model=SessionOut)
async def get_session(caller: Reader, request: Request) -> Response:
    """Who asks, and until when."""
    session: Session | None = getattr(request.state, "session", None)
    return json_answer(session_out(caller, session))


@router.delete("/session", operation_id="logOut", status_code=204)
async def delete_session(deps: Deps, caller: Reader, request: Request) -> Response:
    await log_out(deps.owner, session_in(request), everywhere=False)
    return without_cookie(request)


@router.delete("/sessions", operation_id="logOutEverywhere", status_code=204)
async def delete_sessions(deps: Deps, caller: Reader, request: Request) -> Response:
    """Every session of the person who asks ends."""
    await log_out(deps.owner, session_in(request), everywhere=True)
    return without_cookie(request)


@router.put("/session/password", operation_id="changePassword", status_code=204)
async def put_password(body: PasswordChange, deps: Deps, caller: Reader, request: Request) -> Response:
    """Another password for the person who asks. Every session ends; log in with the new one."""
    await change_own_password(
        deps.owner,
        deps.hashing,
        session_in(request),
        current=body.current,
        new=body.password,
        address=address_of(request),
        now=deps.clock(),
    )
    return without_cookie(request)


STATE_COOKIE = "tcewatch_oidc"
Word = Annotated[str, Query(max_length=2000)]


@router.get("/session/oidc", operation_id="beginOidc", include_in_schema=False, dependencies=[Depends(anyone)])
async def begin_oidc(deps: Deps, request: Request) -> Response:
    """To the identity provider, by browser."""
    provider = provider_of(deps)
    state, nonce, verifier = await accounts.begin_oidc(deps.owner, deps.clock())
    answer = RedirectResponse(await provider.login_url(state, nonce, verifier), 302)
    secure = request.url.scheme == "https"
    answer.set_cookie(STATE_COOKIE, state, max_age=600, path="/", secure=secure, httponly=True, samesite="lax")
    return answer


@router.get("/session/oidc/callback", operation_id="endOidc", include_in_schema=False, dependencies=[Depends(anyone)])
async def end_oidc(deps: Deps, request: Request, code: Word, state: Word, iss: Word = "") -> Response:
    """Back from it. What comes back has to belong to this browser: nobody is logged in as somebody else."""
    provider = provider_of(deps)
    if not hmac.compare_digest(request.cookies.get(STATE_COOKIE, "").encode(), state.encode()):
        raise LoginRefused
    nonce, verifier = await accounts.take_oidc(deps.owner, state, deps.clock())
    name = await provider.name_of(code, nonce, verifier)
    session = await accounts.log_in_vouched(
        deps.owner,
        name=name,
        address=address_of(request),
        agent=request.headers.get("user-agent", ""),
        now=deps.clock(),
    )
    answer = await with_cookie(request, deps, session, RedirectResponse("/", 303))
    answer.delete_cookie(STATE_COOKIE, path="/")
    return answer


def provider_of(deps: ApiDeps) -> OidcProvider:
    if deps.oidc is None:
        raise NotThere("provider", "OpenID Connect")
    return deps.oidc


def address_of(request: Request) -> str:
    """Where a request comes from; behind a trusted proxy that is what the proxy says."""
    return request.client.host if request.client is not None else "unknown"


def session_in(request: Request) -> Session:
    """The session a request came in by. Raises NoToken for a token: it has none to end."""
    session: Session | None = getattr(request.state, "session", None)
    if session is None:
        raise NoToken("this is for people who logged in; a token is revoked instead")
    return session


def session_out(caller: Caller, session: Session | None) -> dict[str, Any]:
    return {
        "name": caller.name,
        "kind": caller.kind,
        "role": caller.role,
        "scope": caller.scope,
        "full_name": None if session is None else session.full_name,
        "csrf_token": None if session is None else session.csrf,
        "idle_until": None if session is None else session.idle_until,
        "expires_at": None if session is None else session.expires_at,
    }


async def with_cookie(request: Request, deps: ApiDeps, session: Session, answer: Response | None = None) -> Response:
    """The answer of a log-in. What this browser had before is worth nothing any more."""
    before = request.cookies.get(SESSION_COOKIE)
    if before is not None:
        await end_session(deps.owner, before)
    made = answer or json_answer(session_out(session.caller, session))
    seconds = int((session.expires_at - deps.clock()).total_seconds())
    made.set_cookie(
        SESSION_COOKIE,
        session.secret,
        max_age=seconds,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return made


def without_cookie(request: Request) -> Response:
    answer = Response(status_code=204)
    answer.delete_cookie(SESSION_COOKIE, path="/", secure=request.url.scheme == "https", httponly=True, samesite="lax")
    return answer


# Tokens ---------------------------------------------------------------------------------------------------------------


@router.get("/tokens", operation_id="listTokens", response_model=Listed[TokenOut])
async def list_tokens(deps: Deps, caller: Writer, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """Tokens within the admin's scope, revoked ones too."""
    page = await tokens.list_tokens(deps.database, limit=limit, after=integer_key(cursor))
    return json_answer({"items": page.items, "next": cursor_of(page.next)})


@router.post("/tokens", operation_id="createToken", status_code=201, response_model=TokenSecretOut)
async def create_token(body: TokenNew, deps: Deps, caller: Writer) -> Response:
    """The answer holds the token, this once."""
    await require_within(deps, caller, body.role, body.scope)
    async with deps.database.engine.begin() as connection:
        number, token = await enter_token(connection, values_of(body), caller.actor)
        made = await tokens.token_of(connection, number)
    return json_answer(made | {"token": token}, 201, {"Location": f"/api/v1/tokens/{number}"})


@router.get("/tokens/{token}", operation_id="getToken", response_model=TokenOut)
async def get_token(token: str, deps: Deps, caller: Writer, request: Request) -> Response:
    return object_answer(request, await visible_token(deps, caller, token), {"last_used_at"})


@router.delete("/tokens/{token}", operation_id="revokeToken", response_model=TokenOut)
async def revoke_token(token: str, deps: Deps, caller: Writer) -> Response:
    """Worth nothing from now on. It stays in the list."""
    found = await visible_token(deps, caller, token)
    async with deps.database.engine.begin() as connection:
        return json_answer(await tokens.revoke_token(connection, found["token_id"], caller.actor, deps.clock()))


@router.post("/tokens/{token}/rotate", operation_id="rotateToken", response_model=TokenSecretOut)
async def rotate_token(token: str, body: TokenRotation, deps: Deps, caller: Writer) -> Response:
    """Another secret for the same token. The old one is taken for `overlap_s` seconds more."""
    found = await visible_token(deps, caller, token)
    async with deps.database.engine.begin() as connection:
        row, secret = await tokens.rotate_token(
            connection, found["token_id"], caller.actor, deps.clock(), body.overlap_s
        )
    return json_answer(row | {"token": secret})


async def visible_token(deps: ApiDeps, caller: Caller, key: str) -> Fields:
    """A token by its number, as it is written in an address."""
    try:
        if not TOKEN_NUMBER.fullmatch(key):
            raise NotThere("token", key)
        async with deps.database.engine.connect() as connection:
            return await tokens.token_of(connection, int(key))
    except NotThere:
        raise await hidden(deps, caller, "token", key) from None


# Users ----------------------------------------------------------------------------------------------------------------


@router.get("/users", operation_id="listUsers", response_model=Listed[UserOut])
async def list_users(deps: Deps, caller: Writer, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """People within the admin's scope."""
    words = key_of(cursor)
    page = await accounts.list_accounts(deps.database, limit=limit, after=words[0] if words else None)
    return json_answer({"items": [user_out(item) for item in page.items], "next": cursor_of(page.next)})


@router.post("/users", operation_id="createUser", status_code=201, response_model=UserOut)
async def create_user(body: UserNew, deps: Deps, caller: Writer) -> Response:
    await require_within(deps, caller, body.role, body.scope)
    async with deps.database.engine.begin() as connection:
        made = await accounts.create_account(connection, values_of(body), deps.hashing, caller.actor)
    return json_answer(user_out(made), 201, {"Location": f"/api/v1/users/{body.name}"})


@router.get("/users/{user}", operation_id="getUser", response_model=UserWithSessionsOut)
async def get_user(user: str, deps: Deps, caller: Writer, request: Request) -> Response:
    found = await visible_user(deps, caller, user)
    async with deps.database.engine.connect() as connection:
        sessions = await accounts.sessions_of(connection, found["account_id"])
    shown = user_out(found) | {"sessions": [user_out(session) for session in sessions]}
    return object_answer(request, shown, {"last_login_at", "sessions"})


@router.patch("/users/{user}", operation_id="changeUser", response_model=UserOut)
async def change_user(user: str, body: UserChange, deps: Deps, caller: Writer) -> Response:
    found = await visible_user(deps, caller, user)
    changes = changes_of(body)
    wanted = found | changes
    await require_within(deps, caller, wanted["role"], wanted["scope"])
    async with deps.database.engine.begin() as connection:
        changed = await accounts.change_account(connection, user, changes, deps.hashing, caller.actor)
    return json_answer(user_out(changed))


@router.delete("/users/{user}/sessions", operation_id="endUserSessions", status_code=204)
async def end_user_sessions(user: str, deps: Deps, caller: Writer) -> Response:
    """Logs a person out everywhere."""
    await visible_user(deps, caller, user)
    async with deps.database.engine.begin() as connection:
        await accounts.end_sessions_for(connection, user, caller.actor)
    return Response(status_code=204)


def user_out(row: Fields) -> Fields:
    return {name: value for name, value in row.items() if name != "account_id"}


async def visible_user(deps: ApiDeps, caller: Caller, name: str) -> Fields:
    try:
        async with deps.database.engine.connect() as connection:
            return await accounts.account_of(connection, name)
    except NotThere:
        raise await hidden(deps, caller, "account", name) from None
