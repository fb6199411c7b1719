"""Log-in by OpenID Connect against a small provider on loopback, and what a forged answer of it comes to."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI, Request
from joserfc import jwt
from joserfc.jwk import RSAKey

from app.api.access import SESSION_COOKIE
from app.api.oidc import OidcProvider
from tests.api.a_service import NOW, OWN_REGION, Api, is_problem
from tests.wait import soon

CALLBACK = "http://service/api/v1/session/oidc/callback"


@dataclass(slots=True)
class Provider:
    """Signs what it is told to; `claims` overrides what an honest one would say."""

    issuer: str = ""
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "1"}))
    signer: RSAKey | None = None
    claims: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.get("/.well-known/openid-configuration")
        async def configuration() -> dict[str, str]:
            base = self.issuer
            return {
                "issuer": base,
                "authorization_endpoint": f"{base}/authorize",
                "token_endpoint": f"{base}/token",
                "jwks_uri": f"{base}/jwks",
            }

        @app.get("/jwks")
        async def jwks() -> dict[str, Any]:
            return {"keys": [self.key.as_dict(private=False)]}

        @app.post("/token")
        async def token(request: Request) -> dict[str, str]:
            form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            assert base64.urlsafe_b64encode(digest).decode().rstrip("=") == self.asked["code_challenge"]
            assert request.headers["authorization"] == f"Basic {base64.b64encode(b'us:s3cret').decode()}"
            assert (form["code"], form["redirect_uri"]) == ("the-code", CALLBACK)
            return {"id_token": self._id_token()}

        return app

    def _id_token(self) -> str:
        honest = {
            "iss": self.issuer,
            "aud": "us",
            "sub": "1",
            "exp": 4_000_000_000,
            "nonce": self.asked["nonce"],
            "preferred_username": "Chen",
        }
        claims = {name: value for name, value in (honest | self.claims).items() if value is not None}
        return jwt.encode({"alg": "RS256", "kid": "1"}, claims, self.signer or self.key)


@pytest.fixture
async def provider(api: Api) -> AsyncIterator[Provider]:
    made = Provider()
    server = uvicorn.Server(uvicorn.Config(made.app(), port=0, lifespan="off", log_config=None))
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(server.serve())
        await soon(lambda: server.started, "the provider has started")
        made.issuer = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        ours = OidcProvider(made.issuer, "us", "s3cret", "preferred_username", CALLBACK)
        api.app.state.deps = replace(api.app.state.deps, oidc=ours)
        await api.sql("INSERT INTO account (name, role, scope) VALUES ('chen', 'supervisor', $1)", OWN_REGION)
        yield made
        server.should_exit = True
        await serving


async def begun(api: Api, provider: Provider) -> str:
    """Sent to the provider; answers the state it is to bring back."""
    answer = await api.ask("GET", "/api/v1/session/oidc", role=None)
    assert answer.status_code == 302, answer.text
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    provider.asked = {name: values[0] for name, values in query.items()}
    assert provider.asked["redirect_uri"] == CALLBACK
    return provider.asked["state"]


async def back(api: Api, state: str) -> httpx2.Response:
    return await api.ask("GET", "/api/v1/session/oidc/callback", role=None, params={"code": "the-code", "state": state})


async def test_a_person_comes_in_by_the_identity_provider(api: Api, provider: Provider) -> None:
    answer = await back(api, await begun(api, provider))
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert SESSION_COOKIE in api.client.cookies
    session = (await api.ask("GET", "/api/v1/session", role=None)).json()
    assert (session["name"], session["role"], session["scope"]) == ("chen", "supervisor", OWN_REGION)


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "http://evil.example"},
        {"aud": "somebody-else"},
        {"exp": int(NOW.timestamp()) - 100_000_000},
        {"nonce": "another"},
        {"nonce": None},
        {"preferred_username": None},
    ],
)
async def test_a_token_that_does_not_hold_lets_nobody_in(api: Api, provider: Provider, claims: dict[str, Any]) -> None:
    provider.claims = claims
    is_problem(await back(api, await begun(api, provider)), 502, "identity-provider-failed")
    assert await api.sql("SELECT FROM login_session") == []


async def test_a_token_of_another_key_lets_nobody_in(api: Api, provider: Provider) -> None:
    provider.signer = RSAKey.generate_key(2048, {"kid": "1"})
    is_problem(await back(api, await begun(api, provider)), 502, "identity-provider-failed")


async def test_whoever_has_no_account_is_not_given_one(api: Api, provider: Provider) -> None:
    provider.claims = {"preferred_username": "stranger"}
    is_problem(await back(api, await begun(api, provider)), 401, "login-refused")
    assert await api.sql("SELECT FROM account WHERE name = 'stranger'") == []


async def test_an_answer_belongs_to_one_browser_and_serves_once(api: Api, provider: Provider) -> None:
    state = await begun(api, provider)
    is_problem(await back(api, "forged"), 401, "login-refused")
    assert (await back(api, state)).status_code == 303
    api.client.cookies.set("tcewatch_oidc", state, domain="service")
    is_problem(await back(api, state), 401, "login-refused")
    state = await begun(api, provider)
    api.client.cookies.clear()
    is_problem(await back(api, state), 401, "login-refused")


async def test_without_a_provider_there_is_no_such_door(api: Api) -> None:
    is_problem(await api.ask("GET", "/api/v1/session/oidc", role=None), 404, "not-found")
