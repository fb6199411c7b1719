"""Puts the rooms together: the database, the doors, the writer, the rollup and the HTTP server, as one life.

Every part runs in one group: if one dies the process ends. On SIGTERM or SIGINT the doors close first, then the writer
commits what is in, then the process leaves; what was not committed was not acknowledged either.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import logging
import resource
import secrets
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Coroutine, Sequence
from datetime import UTC, datetime, time
from enum import StrEnum
from typing import Any

import asyncpg
import uvicorn
from prometheus_client import REGISTRY

from alerts.engine import AlertEngine, Schedule
from alerts.mail import Sender
from alerts.sender import MailSender
from alerts.smtp import WrongServer, server_of
from app.api.application import create_api
from app.api.board import Board
from app.api.deps import ApiDeps, Health
from app.api.feed import EventFeed
from app.api.job_worker import JobWorker
from app.api.limits import RateLimits, share_of
from app.api.oidc import OidcProvider
from app.api.problems import spoken
from app.api.protocol import StrictProtocol
from app.api.waiting_room import waiting_room
from app.rollup.explain import explain
from app.rollup.nightly import NightlyVerification
from app.rollup.positions import PositionWorker
from app.rollup.worker import RollupWorker
from app.settings import PREFIX, Settings, WrongSetting
from app.store.alerts import StoredAlerts
from app.store.database import Database, is_away, open_database
from app.store.energy import backlog
from app.store.gaps import StoredGaps
from app.store.gateways import StoredFleet
from app.store.ingest_registry import StoredRegistry, tell_changes
from app.store.migrate import require_schema
from app.store.outbox import StoredOutbox
from app.store.outlooks import StoredPositions
from app.store.readings import ReadingLedger
from app.store.rejections import Replayer
from app.store.scope import open_guarded
from app.webhooks.sender import WebhookSender
from energy.interval import SiteCalendar, to_us
from ingest.accounts import BrokerAccounts
from ingest.broker_check import BrokerCheck
from ingest.clock import ClockWatch
from ingest.decode import RAW_MAX
from ingest.fleet import FleetWatch
from ingest.http import PATH as READINGS_PATH
from ingest.http import ReadingsEndpoint
from ingest.listener import Bounds, ListenerDoor
from ingest.listening import ListenAt
from ingest.metrics import IngestMetrics
from ingest.mqtt import BrokerDoor, BrokerLink
from ingest.partition import OwnTopics
from ingest.pipeline import Limits, Pipeline
from ingest.registry import RegistryView
from ingest.resend import Command, ResendRequests, first_that_reaches
from ingest.validate import Rules

log = logging.getLogger(__name__)

API_BODY_MAX_BYTES = 1 << 20
HEALTH_WITHIN_S = 5.0
BOARD_FRESH_S = 2.0
BACKLOG = 2048
Part = Coroutine[Any, Any, None]
FILES_OF_OURS = 3000
"""Connections to the database, logs, and what HTTP may have open at a time."""
AWAY_FIRST_S, AWAY_MOST_S = 0.2, 5.0
"""Pauses between two looks for a database that is not there yet."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class ServiceRole(StrEnum):
    """What a process does. One process does all by default; several may share the work."""

    API = "api"
    INGEST = "ingest"
    WORKER = "worker"


class PortTaken(Exception):
    """The port of HTTP or of the MQTT listener cannot be listened on."""


class CertificateWrong(Exception):
    """The files of the MQTT listener's certificate cannot be read, or do not belong together."""


async def serve(settings: Settings, roles: frozenset[ServiceRole]) -> None:
    """Run until a stop signal. Raises PortTaken, SchemaMissing, RoleMissing or what a database raises that is there
    and refuses; one that is away is waited for."""
    stop = asyncio.Event()
    for number in STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if ServiceRole.WORKER in roles:
        check_mail_server(settings)
    collect_rarely()
    open_files(settings)
    shared = settings.reuse_port
    with contextlib.ExitStack() as ports:
        http = ports.enter_context(taken_port(settings.http_host, settings.http_port, "HTTP_PORT", shared))
        http.listen(BACKLOG)
        mqtt = None
        if settings.listen_at is not None and ServiceRole.INGEST in roles:
            at = settings.listen_at
            port = ports.enter_context(taken_port(at.host, at.port, "MQTT_LISTEN", shared))
            mqtt = port, at, certificate_of(at)
        async with contextlib.AsyncExitStack() as opened:
            databases = await when_there(settings, http, stop, opened)
            if databases is not None:
                await Service(settings, roles, *databases, mqtt).run(http, stop)


@contextlib.asynccontextmanager
async def both_ways(database_url: str) -> AsyncIterator[tuple[Database, Database]]:
    """The database as its owner and as the API's callers have it, once its schema is found to be right."""
    async with open_database(database_url) as database, open_guarded(database_url) as guarded:
        await require_schema(database.engine)
        yield database, guarded


async def when_there(
    settings: Settings, http: socket.socket, stop: asyncio.Event, opened: contextlib.AsyncExitStack
) -> tuple[Database, Database] | None:
    """The database, opened into `opened`; None when told to stop before it came. Raises as `serve` does.

    A machine that starts as a whole has its database later than us, and nobody is there to start us again. So we wait,
    and say so on the HTTP port. The MQTT port is not open meanwhile: a gateway is turned away and keeps what it has.
    """
    told = ""
    async with contextlib.AsyncExitStack() as meanwhile:
        for attempt in itertools.count():
            try:
                return await opened.enter_async_context(both_ways(settings.database_url))
            except Exception as error:
                if not is_away(error):
                    raise
                why = f"{type(error).__name__}: {error}"
            if not told:
                await meanwhile.enter_async_context(answering(waiting_room, settings, http))
            if why != told:
                log.warning("waiting for the database", extra={"why": why})
                told = why
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), min(AWAY_MOST_S, AWAY_FIRST_S * 2.0 ** min(attempt, 10)))
            if stop.is_set():
                break
    return None


@contextlib.asynccontextmanager
async def answering(application: Any, settings: Settings, http: socket.socket) -> AsyncIterator[None]:
    """An application on the HTTP port for as long as the block lasts."""
    server = http_server(application, settings, graceful_s=1)
    serving = asyncio.create_task(server.serve(sockets=[http.dup()]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving


def http_server(application: Any, settings: Settings, *, graceful_s: int) -> uvicorn.Server:
    """The HTTP server; at its end answers that are under way have so many seconds."""
    return uvicorn.Server(
        uvicorn.Config(
            application,
            http=StrictProtocol,
            forwarded_allow_ips=settings.trusted_proxies,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=graceful_s,
        )
    )


def collect_rarely() -> None:
    """What is loaded at the start stays and is not looked through again; the rest is looked through less often.

    A message leaves a few lists behind while it waits for its commit, and not one of them is part of a cycle. With the
    default of 700 the collector took about a third of the time of small messages.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def open_files(settings: Settings) -> None:
    """Have as many files as this process may, since a connection is one. Warns when they are too few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # some systems tell a hard limit that they do not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    wanted = FILES_OF_OURS + (settings.mqtt_listen_connections_max if settings.listen_at is not None else 0)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        log.warning(
            "this process may open too few files", extra={"files": soft, "wanted": wanted, "mend": "ulimit -Hn"}
        )


def taken_port(host: str, port: int, setting: str, shared: bool) -> socket.socket:
    """A port, taken before anything else starts, so that a busy one is a sentence and not half a service."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PortTaken(
            f"{host}:{port} cannot be listened on ({error.strerror}); "
            f"end the program that uses it or set {PREFIX}{setting} (port 0 takes a free one)"
        ) from error
    return listener


def certificate_of(at: ListenAt) -> ssl.SSLContext | None:
    """The listener's certificate and key, read. Raises CertificateWrong."""
    try:
        return at.context()
    except OSError as error:  # ssl.SSLError is one
        files = ", ".join(str(file) for file in (at.certificate, at.key, at.client_ca) if file is not None)
        raise CertificateWrong(
            f"the listener's certificate cannot be used ({error}); {PREFIX}MQTT_LISTEN_CERT, {PREFIX}MQTT_LISTEN_KEY "
            f"and {PREFIX}MQTT_LISTEN_CLIENT_CA name files in PEM form, now {files}"
        ) from error


class Service:
    """The parts of one process, made from its settings and roles."""

    def __init__(
        self,
        settings: Settings,
        roles: frozenset[ServiceRole],
        database: Database,
        guarded: Database,
        mqtt: tuple[socket.socket, ListenAt, ssl.SSLContext | None] | None = None,
    ) -> None:
        self._settings = settings
        self._roles = roles
        self._database = database
        self._guarded = guarded
        self._calendar = SiteCalendar(settings.zone)
        self._registry = StoredRegistry(database.pool)
        self._view = RegistryView(self._registry)
        self._metrics = IngestMetrics(REGISTRY)
        self._ledger = ReadingLedger(settings.database_url, command_timeout_s=settings.database_timeout_s)
        self._pipeline = Pipeline(
            self._ledger, self._view, metrics=self._metrics, limits=limits_of(settings), rules=rules_of(settings)
        )
        self._replayer = Replayer(
            database,
            ReadingLedger(settings.database_url, command_timeout_s=settings.database_timeout_s),
            self._registry,
            rules_of(settings),
            self._metrics.replayed_readings,
        )
        self._metrics.watch(lambda: self._pipeline.pending_rows, lambda: self._pipeline.oldest_pending_s)
        self._link = self._broker_link()
        # Both listen on the link before it connects: the broker is told of every topic with the first greeting.
        self._accounts = None if self._link is None else BrokerAccounts(self._link)
        self._mqtt = mqtt
        self._broker_check = self._check_of_broker()
        self._clock = ClockWatch(metrics=self._metrics)
        self._fleet = FleetWatch(
            StoredFleet(database, settings.clock_skew_max_s), metrics=self._metrics, now=lambda: datetime.now(UTC)
        )
        partition = settings.partition
        self._own_topics = (
            None if self._link is None or partition is None else OwnTopics(self._link, self._view, partition)
        )
        self._feed = EventFeed(settings.database_url, database)
        self._deps = self._api_deps()

    async def run(self, listener: socket.socket, stop: asyncio.Event) -> None:
        """Until the stop event is set or a part fails."""
        doors_closed = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as parts:
                for name, part in self._background(stop, doors_closed).items():
                    parts.create_task(part, name=name)
                await self._serve_http(listener)
                stop.set()
                doors_closed.set()
        finally:
            await self._ledger.close()
            await self._replayer.close()
        log.info("stopped")

    def _background(self, stop: asyncio.Event, doors_closed: asyncio.Event) -> dict[str, Part]:
        parts: dict[str, Part] = {}
        if self._link is not None:
            parts["broker"] = self._link.run(stop)
        if ServiceRole.INGEST in self._roles:
            parts["writer"] = self._pipeline.run(doors_closed)
            parts["fleet"] = self._fleet.run(stop)
            parts["clock"] = self._clock.run(stop)
            parts["registry"] = tell_changes(self._settings.database_url, self._registry_changed, stop)
            commands: list[Command] = []
            if self._mqtt is not None:
                port, at, context = self._mqtt
                listener = self._listener(at, context)
                parts["listener"] = listener.run(stop, port)
                if at.tls:
                    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, listener.renew)
                commands.append(listener.command)
            if self._link is not None:
                in_parts = self._own_topics is not None
                door = BrokerDoor(self._link, self._pipeline, self._registry, metrics=self._metrics, in_parts=in_parts)
                parts["broker door"] = door.run(stop)
                if self._broker_check is not None:
                    parts["broker check"] = self._broker_check.run(stop)
                if self._own_topics is not None:
                    parts["subscriptions"] = self._own_topics.run(stop)
                commands.append(door.command)
            if commands:
                parts["resend"] = self._resend_requests(commands).run(stop)
        if ServiceRole.WORKER in self._roles:
            rollup = RollupWorker(self._database, self._calendar, closing_day=self._settings.closing_day)
            parts["rollup"] = rollup.run(stop)
            parts["verification"] = self._nightly().run(stop)
            parts["positions"] = PositionWorker(
                self._database.pool, self._calendar, lambda: to_us(datetime.now(UTC))
            ).run(stop)
            parts["alerts"] = self._alert_engine().run(stop)
            if self._settings.smtp_url is not None:
                parts["mail"] = self._mail_sender(self._settings.smtp_url).run(stop)
            parts["jobs"] = JobWorker(create_api(self._deps), self._database, self._deps.clock).run(stop)
            private = self._settings.webhook_private
            parts["webhooks"] = WebhookSender(self._database, self._deps.clock, private_allowed=private).run(stop)
        if ServiceRole.API in self._roles:
            parts["live events"] = self._feed.run(stop)
        return parts

    def _alert_engine(self) -> AlertEngine:
        pool = self._database.pool
        return AlertEngine(
            StoredPositions(pool, self._calendar),
            alert_book(self._settings, pool),
            Schedule(self._settings.zone, at=time.fromisoformat(self._settings.alerts_at)),
            clock=lambda: datetime.now(UTC),
        )

    def _mail_sender(self, url: str) -> MailSender:
        settings = self._settings
        domain = mail_domain(settings)
        return MailSender(
            StoredOutbox(self._database.pool, domain=domain, zone=settings.zone),
            url,
            Sender(settings.smtp_from, "tcewatch"),
            clock=lambda: datetime.now(UTC),
            per_minute=settings.smtp_per_minute,
            plain_allowed=settings.smtp_plain_allowed,
        )

    def _check_of_broker(self) -> BrokerCheck | None:
        url = self._settings.mqtt_url
        if url is None or not self._settings.mqtt_check or ServiceRole.INGEST not in self._roles:
            return None
        return BrokerCheck(url, metrics=self._metrics)

    def _registry_changed(self) -> None:
        self._view.stale()
        if self._own_topics is not None:
            self._own_topics.changed()

    def _listener(self, at: ListenAt, context: ssl.SSLContext | None) -> ListenerDoor:
        bounds = Bounds(
            self._settings.mqtt_listen_window,
            self._settings.mqtt_listen_packet_max_bytes,
            self._settings.mqtt_listen_connections_max,
        )
        return ListenerDoor(at, self._pipeline, self._registry, metrics=self._metrics, bounds=bounds, context=context)

    def _nightly(self) -> NightlyVerification:
        return NightlyVerification(
            self._database,
            self._calendar,
            at=time.fromisoformat(self._settings.verify_at),
            sample=self._settings.verify_sample,
            now=lambda: datetime.now(UTC),
        )

    def _resend_requests(self, commands: Sequence[Command]) -> ResendRequests:
        """Gateways at the listener are asked there, the others through the broker."""
        return ResendRequests(
            StoredGaps(self._database.pool),
            first_that_reaches(commands),
            grace_s=self._settings.resend_after_s,
            metrics=self._metrics,
            now=lambda: datetime.now(UTC),
            own=(lambda gateway: True) if self._settings.partition is None else self._settings.partition.owns,
        )

    async def _serve_http(self, listener: socket.socket) -> None:
        """The HTTP server, until it is told to stop by the same signals as we are."""
        host, port = listener.getsockname()[:2]
        log.info("listening", extra={"address": f"http://{host}:{port}", "roles": ",".join(sorted(self._roles))})
        server = http_server(self._application(), self._settings, graceful_s=20)
        self._feed.closing = lambda: server.should_exit
        await server.serve(sockets=[listener])

    def _api_deps(self) -> ApiDeps:
        return ApiDeps(
            database=self._guarded,
            owner=self._database,
            calendar=self._calendar,
            health=self,
            accounts=self._accounts,
            replayer=self._replayer,
            explain=explain,
            metrics=REGISTRY,
            body_max_bytes=min(self._settings.http_body_max_bytes, API_BODY_MAX_BYTES),
            clock=lambda: datetime.now(UTC),
            clock_skew_max_s=self._settings.clock_skew_max_s,
            limits=RateLimits(share_of(self._settings.rate_limit_per_min, self._settings.api_processes)),
            oidc=oidc_of(self._settings),
            feed=self._feed,
            webhooks_private=self._settings.webhook_private,
            board=Board(fresh_s=BOARD_FRESH_S),
            closing_day=self._settings.closing_day,
        )

    def _application(self) -> Any:
        """The API with the readings door ahead of it: a gateway's message never meets the router."""
        api = create_api(self._deps, only_health=ServiceRole.API not in self._roles)
        if ServiceRole.INGEST not in self._roles:
            return api
        door = ReadingsEndpoint(
            self._pipeline,
            metrics=self._metrics,
            body_max_bytes=self._settings.http_body_max_bytes,
            speak=spoken,
        )

        async def either(scope: Any, receive: Any, send: Any) -> None:
            chosen = door if scope["type"] == "http" and scope["path"] == READINGS_PATH else api
            await chosen(scope, receive, send)

        return either

    async def health(self) -> Health:
        """See `app.api.deps.HealthSource`."""
        try:
            async with asyncio.timeout(HEALTH_WITHIN_S):
                waiting = await backlog(self._database.pool)
            rows, age_s, answers = waiting.rows, waiting.age_s, True
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            rows, age_s, answers = None, None, False
        return Health(
            database=answers,
            broker=None if self._link is None else self._link.connected,
            backlog_rows=rows,
            backlog_age_s=age_s,
            pending_readings=self._pipeline.pending_rows,
            pending_age_s=self._pipeline.oldest_pending_s,
            warnings=[
                *(() if self._broker_check is None else map(str, self._broker_check.weaknesses)),
                *self._clock.warnings,
                *self._fleet.warnings,
            ],
        )

    def _broker_link(self) -> BrokerLink | None:
        """One connection for the door and for gateway accounts. A process without the door leaves no session behind."""
        url, ingest = self._settings.mqtt_url, ServiceRole.INGEST in self._roles
        if url is None or not self._roles & {ServiceRole.INGEST, ServiceRole.API}:
            return None
        if ingest:
            return BrokerLink(
                url,
                client_id=self._settings.broker_client_id,
                receive_maximum=self._settings.mqtt_receive_maximum,
                metrics=self._metrics,
            )
        client_id = f"tcewatch-api-{secrets.token_hex(4)}"
        return BrokerLink(url, client_id=client_id, receive_maximum=20, metrics=self._metrics, session_expiry_s=0)


def mail_domain(settings: Settings) -> str:
    return settings.smtp_from.rpartition("@")[2]


def alert_book(settings: Settings, pool: asyncpg.Pool) -> StoredAlerts:
    portal = None if settings.portal_url is None else settings.portal_url.rstrip("/")
    return StoredAlerts(pool, domain=mail_domain(settings), zone=settings.zone, portal=portal)


def check_mail_server(settings: Settings) -> None:
    """Raises WrongSetting for a mail server that cannot be used, before anything starts."""
    if settings.smtp_url is None:
        log.warning("no mail server is set; notices wait in the outbox", extra={"use": f"{PREFIX}SMTP_URL"})
        return
    try:
        server_of(settings.smtp_url, plain_allowed=settings.smtp_plain_allowed)
    except WrongServer as error:
        raise WrongSetting(f"{PREFIX}SMTP_URL {error} ({PREFIX}SMTP_PLAIN_ALLOWED=true)") from error


def oidc_of(settings: Settings) -> OidcProvider | None:
    if settings.oidc_issuer is None:
        return None
    return OidcProvider(
        issuer=settings.oidc_issuer,
        client_id=settings.oidc_client_id,
        client_secret=settings.oidc_client_secret,
        claim=settings.oidc_claim,
        redirect_uri=f"{settings.public_url}/api/v1/session/oidc/callback",
    )


def limits_of(settings: Settings) -> Limits:
    """What a door takes in, the decoder takes too."""
    largest = max(RAW_MAX, settings.http_body_max_bytes, settings.mqtt_listen_packet_max_bytes)
    return Limits(
        group_max_rows=settings.group_max_rows, pending_max_rows=settings.pending_max_rows, raw_max_bytes=largest
    )


def rules_of(settings: Settings) -> Rules:
    return Rules(max_age_days=settings.reading_max_age_days, max_ahead_s=settings.reading_max_ahead_s)
