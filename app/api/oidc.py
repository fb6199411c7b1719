"""Log-in by OpenID Connect (Core 1.0, authorization code with PKCE) for people who have an account here already.

The identity provider says who somebody is; what they may see is the account's. Nothing is created on its word. Needs
the extra `oidc`, whose libraries check the signature of what the provider says.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx2

WITHIN_S = 10.0
ALGORITHMS = ["RS256", "PS256", "ES256"]
"""Signatures with a public key alone: `none` and shared secrets are what forgers try."""
LEEWAY_S = 60


class ProviderFailed(Exception):
    """The identity provider did not answer, or said something that does not hold."""


class ExtraMissing(Exception):
    """The extra `oidc` is not installed."""


@dataclass(frozen=True, slots=True)
class OidcProvider:
    """One provider by its issuer. `claim` names the account; `redirect_uri` is our own address it sends people to."""

    issuer: str
    client_id: str
    client_secret: str
    claim: str
    redirect_uri: str

    async def login_url(self, state: str, nonce: str, verifier: str) -> str:
        """Where a person is sent to. Raises ProviderFailed."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        asked = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": "openid profile email",
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{(await self._configuration())['authorization_endpoint']}?{urlencode(asked)}"

    async def name_of(self, code: str, nonce: str, verifier: str) -> str:
        """The account's name the provider vouches for. Raises ProviderFailed, ExtraMissing."""
        configuration = await self._configuration()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": verifier,
        }
        answer = await self._ask("POST", configuration["token_endpoint"], data=form)
        keys = await self._ask("GET", configuration["jwks_uri"])
        claims = self._checked(str(answer.get("id_token", "")), keys, nonce)
        name = claims.get(self.claim)
        if not isinstance(name, str) or (self.claim == "email" and claims.get("email_verified") is not True):
            raise ProviderFailed(f"the identity provider does not vouch for a {self.claim}")
        return name.strip().lower()

    def _checked(self, id_token: str, keys: dict[str, Any], nonce: str) -> dict[str, Any]:
        """The claims of a token that is signed by the provider, for us, for this log-in, and not over."""
        try:
            from joserfc import jwt
            from joserfc.errors import JoseError
            from joserfc.jwk import KeySet
        except ImportError as error:
            raise ExtraMissing("log-in by OpenID Connect needs: pip install 'tcewatch[oidc]'") from error
        try:
            token = jwt.decode(id_token, KeySet.import_key_set(keys), algorithms=ALGORITHMS)  # type: ignore[arg-type]  # as the provider gave it
            wanted = jwt.JWTClaimsRegistry(
                leeway=LEEWAY_S,
                iss={"essential": True, "value": self.issuer},
                aud={"essential": True, "value": self.client_id},
                exp={"essential": True},
                nonce={"essential": True, "value": nonce},
            )
            wanted.validate(token.claims)
        except (JoseError, ValueError, KeyError) as error:
            raise ProviderFailed(f"the identity provider's token does not hold: {error}") from error
        return dict(token.claims)

    async def _configuration(self) -> dict[str, Any]:
        found = await self._ask("GET", f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != self.issuer:
            raise ProviderFailed("the identity provider calls itself otherwise")
        return found

    async def _ask(self, method: str, url: str, **more: Any) -> dict[str, Any]:
        auth = (self.client_id, self.client_secret) if method == "POST" else None
        try:
            async with httpx2.AsyncClient(timeout=WITHIN_S) as client:
                answer = await client.request(method, url, auth=auth, **more)
                answer.raise_for_status()
                found: dict[str, Any] = answer.json()
        except (httpx2.HTTPError, ValueError) as error:
            raise ProviderFailed(f"the identity provider did not answer: {error}") from error
        return found
