"""Tokens, accounts and sessions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from app.store.access import CallerKind, TokenRole
from app.store.entries import Body, Moment, Name

ScopeWord = Annotated[str, StringConstraints(pattern=r"^[0-9A-Z]{2,18}$")]
AccountName = Annotated[str, StringConstraints(to_lower=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$")]
FullName = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")]
Password = Annotated[str, StringConstraints(max_length=256)]


class TokenNew(Body):
    name: Name = Field(description="Whose token it is.")
    role: TokenRole
    scope: ScopeWord = Field(description="A region's code, or an enterprise's id for the role `enterprise`.")
    expires_at: Moment | None = Field(default=None, description="None: until it is revoked.")


class TokenOut(BaseModel):
    token_id: int
    name: str
    role: TokenRole
    scope: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")
    revoked_at: datetime | None
    rotated_at: datetime | None
    previous_until: datetime | None = Field(description="Until when the token before the last rotation is taken.")


class TokenSecretOut(TokenOut):
    token: str = Field(description="Shown this once.")


class TokenRotation(Body):
    overlap_s: int = Field(default=0, ge=0, le=2_592_000, description="Seconds the old token is still taken.")


class UserNew(Body):
    name: AccountName = Field(description="What the person logs in by; lower case.")
    full_name: FullName = ""
    role: TokenRole
    scope: ScopeWord
    password: Password | None = Field(default=None, description="None: log-in by OpenID Connect alone.")


class UserChange(Body):
    """A changed password, role, scope or state logs the person out everywhere."""

    full_name: FullName | None = None
    role: TokenRole | None = None
    scope: ScopeWord | None = None
    active: bool | None = None
    password: Password | None = None


class UserOut(BaseModel):
    name: str
    full_name: str
    role: TokenRole
    scope: str
    active: bool
    created_at: datetime
    updated_at: datetime
    password_set_at: datetime | None
    last_login_at: datetime | None


class UserSessionOut(BaseModel):
    session_id: int
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    address: str
    agent: str


class UserWithSessionsOut(UserOut):
    sessions: list[UserSessionOut]


class LogIn(Body):
    name: Annotated[str, StringConstraints(max_length=100, pattern=r"^[^\x00]*$")]
    password: Password


class PasswordChange(Body):
    current: Password
    password: Password


class SessionOut(BaseModel):
    name: str
    kind: CallerKind
    role: TokenRole
    scope: str
    full_name: str | None
    csrf_token: str | None = Field(description="Sent in X-CSRF-Token with everything that changes something.")
    idle_until: datetime | None = Field(description="The session ends then if nothing is asked in between.")
    expires_at: datetime | None = Field(description="The session ends then in any case.")
