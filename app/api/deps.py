"""What the routes are given: the database, the calendar, the broker's accounts, and the service's own state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Protocol

import asyncpg
from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from app.api.board import Board
from app.api.feed import EventFeed
from app.api.limits import RateLimits
from app.api.oidc import OidcProvider
from app.store.database import Database
from app.store.energy import Explanation
from app.store.passwords import Hashing
from app.store.rejections import Replayer
from energy.interval import Level, SiteCalendar
from energy.tce import Basis


class GatewayAccounts(Protocol):
    """Who may log in at the broker. Raises ingest.mqtt.BrokerUnavailable or ingest.accounts.BrokerRefused."""

    async def put(self, gateway: str, secret: str) -> None: ...
    async def disable(self, gateway: str) -> None: ...
    async def enable(self, gateway: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Health:
    """The state of the service. `broker` is None when no broker is set; ages in seconds."""

    database: bool
    broker: bool | None
    backlog_rows: int | None
    backlog_age_s: float | None
    pending_readings: int
    pending_age_s: float
    warnings: Sequence[str] = ()

    @property
    def ready(self) -> bool:
        return self.database and self.broker is not False


class HealthSource(Protocol):
    """Answers the state of the service; never raises for a database that is gone."""

    async def health(self) -> Health: ...


class Explainer(Protocol):
    """Answers what a figure is made of. Raises EnterpriseUnknown and DatasetUnknown of `app.store`."""

    async def __call__(
        self,
        pool: asyncpg.Pool,
        calendar: SiteCalendar,
        *,
        enterprise: str,
        level: Level,
        start_us: int,
        basis: Basis,
        co2_dataset: str,
        now_us: int,
    ) -> Explanation: ...


@dataclass(frozen=True, slots=True)
class ApiDeps:
    """Everything the API leans on, made by `app.main`.

    `database` is guarded: it shows what the caller of the request may see, whatever is asked of it. `owner` shows
    everything and is for recognising callers, and for what belongs to a token and to no place: jobs, webhooks, events.
    `webhooks_private`: whether webhooks may go to addresses that are not public.
    """

    database: Database
    owner: Database
    calendar: SiteCalendar
    health: HealthSource
    accounts: GatewayAccounts | None
    replayer: Replayer
    explain: Explainer
    metrics: CollectorRegistry
    body_max_bytes: int
    clock: Callable[[], datetime]
    feed: EventFeed
    clock_skew_max_s: float = 120.0
    webhooks_private: bool = False
    board: Board = field(default_factory=Board)
    limits: RateLimits = field(default_factory=lambda: RateLimits(0))
    oidc: OidcProvider | None = None
    hashing: Hashing = field(default_factory=Hashing)
    closing_day: int = 10

    def now_us(self) -> int:
        return int(self.clock().timestamp() * 1_000_000)


def deps_of(request: Request) -> ApiDeps:
    deps: ApiDeps = request.app.state.deps
    return deps


Deps = Annotated[ApiDeps, Depends(deps_of)]
