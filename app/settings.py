"""Every setting, from the environment, checked once at the start and passed down as values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ingest.listening import ListenAt, read_address
from ingest.partition import Partition

PREFIX = "TCEWATCH_"
READ_ELSEWHERE = ("CACHE_DIR", "GATEWAY_SECRET", "STATE_DIR", "TEST_DATA")
"""By the local stack, by `replay`, and by tests."""
PASSWORD = re.compile(r"(://[^:/@]*:).*@")


class LogFormat(StrEnum):
    """`json` for machines, `text` for people at a terminal."""

    JSON = "json"
    TEXT = "text"


class WrongSetting(Exception):
    """One or more settings cannot be used. The text names each variable, what it is and what it should be."""


class Settings(BaseSettings):
    """The service's settings. The description of each is what the README's table and the error text say."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    database_url: str = Field(
        default="postgresql+asyncpg://tcewatch@127.0.0.1:5432/tcewatch",
        pattern=r"^postgresql\+asyncpg://",
        description="TimescaleDB, as postgresql+asyncpg://user:password@host:port/database",
    )
    database_timeout_s: Annotated[int, Field(ge=1, le=3600)] = Field(
        default=60,
        description="seconds one step of a commit may take before its connection is given up and the commit redone",
    )
    mqtt_url: str | None = Field(
        default=None,
        pattern=r"^mqtts?://",
        description="the broker, as mqtt://user:password@host:port or mqtts://…; without it the broker door stays shut",
    )
    mqtt_listen: str | None = Field(
        default=None,
        description="where the service's own MQTT listener waits for gateways, as mqtt://host:port or mqtts://host:port",
    )
    mqtt_listen_cert: Path | None = Field(
        default=None,
        validate_default=True,
        description="with mqtts://, the listener's certificate chain, a PEM file",
    )
    mqtt_listen_key: Path | None = Field(
        default=None, validate_default=True, description="with mqtts://, the key of the certificate, a PEM file"
    )
    mqtt_listen_client_ca: Path | None = Field(
        default=None,
        validate_default=True,
        description="who signs gateways' certificates, a PEM file; each gateway then needs one in its own name",
    )
    mqtt_listen_window: Annotated[int, Field(ge=1, le=65535)] = Field(
        default=1000,
        description="unacknowledged messages of a gateway at the listener from which on no more is read of it",
    )
    mqtt_listen_packet_max_bytes: Annotated[int, Field(ge=1024, le=1 << 28)] = Field(
        default=2 << 20, description="largest MQTT packet the listener takes"
    )
    mqtt_listen_connections_max: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=10_000, description="most connections the listener has open at a time"
    )
    smtp_url: str | None = Field(
        default=None,
        pattern=r"^smtps?(\+starttls)?://",
        description="the mail server, as smtp+starttls://user:password@host:port or smtps://…; smtp:// is clear text, "
        "for this machine's own sink; without it notices wait in the outbox",
    )
    smtp_plain_allowed: bool = Field(
        default=False,
        description="true allows smtp:// in clear text to another machine, such as a mail sink in a container",
    )
    smtp_from: str = Field(
        default="tcewatch@localhost",
        pattern=r"^[^@\s<>]+@[^@\s<>]+$",
        description="address mails come from; its domain ends their Message-IDs",
    )
    smtp_per_minute: Annotated[float, Field(gt=0, le=6000)] = Field(
        default=120, description="most mails a minute one sender hands to the mail server"
    )
    portal_url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="where people log in; mails link to it",
    )
    alerts_at: str = Field(
        default="05:30",
        pattern=r"^([01]\d|2[0-3]):[0-5]\d$",
        description="local time of the daily evaluation of alerts",
    )
    http_host: str = Field(default="127.0.0.1", description="address the HTTP server listens on")
    reuse_port: bool = Field(
        default=False,
        description="several processes of this machine share the HTTP port and the MQTT listener's (SO_REUSEPORT)",
    )
    http_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=8080, description="port the HTTP server listens on; 0 takes a free one"
    )
    timezone: str = Field(default="Asia/Shanghai", description="IANA zone of local days and months")
    log_format: LogFormat = Field(default=LogFormat.JSON, description="json or text")
    reading_max_age_days: Annotated[int, Field(ge=1, le=36525)] = Field(
        default=3660, description="readings older than this many days are refused as timestamp-too-old"
    )
    reading_max_ahead_s: Annotated[int, Field(ge=0, le=86400)] = Field(
        default=600,
        description="readings more than this many seconds ahead of the server are timestamp-in-future",
    )
    http_body_max_bytes: Annotated[int, Field(ge=1024, le=1 << 30)] = Field(
        default=8 << 20, description="largest body of a request, before and after decompression"
    )
    group_max_rows: Annotated[int, Field(ge=1, le=200_000)] = Field(
        default=20_000, description="most readings one commit takes"
    )
    pending_max_rows: Annotated[int, Field(ge=1000, le=10_000_000)] = Field(
        default=200_000, description="most readings that may wait for a commit; beyond it HTTP answers 503"
    )
    mqtt_receive_maximum: Annotated[int, Field(ge=1, le=65535)] = Field(
        default=4000,
        description="messages the broker may have in flight to us before it waits for acknowledgements",
    )
    ingest_partition: str | None = Field(
        default=None,
        pattern=r"^\d{1,4}/\d{1,4}$",
        description="with several ingest processes at one broker, which this is of how many, as 2/4; each takes the "
        "gateways that fall to it",
    )
    mqtt_check: bool = Field(
        default=True,
        description="at the start, find out by 2,000 small messages to a client of our own whether the broker keeps "
        "what it acknowledges",
    )
    mqtt_client_id: str = Field(
        default="tcewatch-ingest",
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        description="client id of the persistent session at the broker; one per ingest process",
    )

    clock_skew_max_s: Annotated[int, Field(ge=1, le=86400)] = Field(
        default=120, description="a gateway whose clock is off by more than this many seconds is named"
    )
    closing_day: Annotated[int, Field(ge=1, le=28)] = Field(
        default=10, description="day of the next month on which a month is closed; later changes are restatements"
    )
    verify_sample: Annotated[int, Field(ge=0, le=100_000)] = Field(
        default=20, description="enterprises computed from nothing and compared every night; 0 for none"
    )
    verify_at: str = Field(
        default="02:30", pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="local time of that, as HH:MM"
    )
    resend_after_s: Annotated[int, Field(ge=1, le=86400)] = Field(
        default=30,
        description="seconds a gap in a gateway's `seq` may fill by itself before the gateway is asked for it",
    )
    webhook_private: bool = Field(
        default=False,
        description="true lets webhooks go to addresses that are not public and without TLS, for receivers inside",
    )

    rate_limit_per_min: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        default=6000, description="requests a minute one token or session may make; 0 is no limit"
    )
    api_processes: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1, description="processes that serve the API behind one address; each lets a token have its share"
    )
    trusted_proxies: str = Field(
        default="127.0.0.1",
        description="addresses, with commas between, whose X-Forwarded-For and X-Forwarded-Proto are believed",
    )
    oidc_issuer: str | None = Field(
        default=None, pattern=r"^https?://", description="OpenID Connect: the provider's issuer, as https://…"
    )
    oidc_client_id: str = Field(default="tcewatch", description="OpenID Connect: our id at the provider")
    oidc_client_secret: str = Field(default="", description="OpenID Connect: our secret at the provider")
    oidc_claim: str = Field(
        default="preferred_username",
        pattern=r"^[a-z_]{1,60}$",
        description="OpenID Connect: the claim that is the account's name; email only where it is verified",
    )
    public_url: str = Field(
        default="http://127.0.0.1:8080",
        pattern=r"^https?://[^/]+$",
        description="the service's address as browsers see it, where the OpenID Connect provider sends people back to",
    )

    @field_validator("ingest_partition")
    @classmethod
    def partition_is_one(cls, text: str | None) -> str | None:
        if text is not None:
            Partition.parse(text)
        return text

    @property
    def partition(self) -> Partition | None:
        return None if self.ingest_partition is None else Partition.parse(self.ingest_partition)

    @property
    def broker_client_id(self) -> str:
        """One a process: a broker ends the connection of whoever comes with the same."""
        if self.ingest_partition is None:
            return self.mqtt_client_id
        return f"{self.mqtt_client_id}-{self.ingest_partition.replace('/', '-of-')}"

    @field_validator("mqtt_listen")
    @classmethod
    def is_an_address(cls, text: str | None) -> str | None:
        if text is not None:
            read_address(text)
        return text

    @field_validator("mqtt_listen_cert", "mqtt_listen_key", "mqtt_listen_client_ca")
    @classmethod
    def belongs_to_tls(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        listen = info.data.get("mqtt_listen")
        tls = listen is not None and read_address(listen)[2]
        if file is None and tls and info.field_name != "mqtt_listen_client_ca":
            raise ValueError("mqtts:// needs it")
        if file is not None and not tls:
            raise ValueError("only mqtts:// has a use for it")
        return file

    @property
    def listen_at(self) -> ListenAt | None:
        """Where the listener listens, if it does."""
        if self.mqtt_listen is None:
            return None
        files = self.mqtt_listen_cert, self.mqtt_listen_key, self.mqtt_listen_client_ca
        return ListenAt(*read_address(self.mqtt_listen), *files)

    @field_validator("timezone")
    @classmethod
    def zone_exists(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError("not an IANA zone name such as Asia/Shanghai") from error
        return name

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)


def read_settings(**overrides: Any) -> Settings:
    """The settings of this process. Raises WrongSetting with one line a variable."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise WrongSetting("\n".join(map(_line, error.errors()))) from error


def unread(environment: Mapping[str, str]) -> list[str]:
    """A line for each variable that looks like a setting and is none, with the one it may be meant for.

    No reason to stop: Kubernetes tells every container of a service called tcewatch in variables of its own.
    """
    known = [*(name.upper() for name in Settings.model_fields), *READ_ELSEWHERE]
    found = [name for name in sorted(environment) if name.upper().startswith(PREFIX)]
    return [f"{name} is no setting{_meant(rest, known)}" for name in found if (rest := _own_part(name)) not in known]


def _own_part(variable: str) -> str:
    return variable.upper().removeprefix(PREFIX)


def _meant(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, 1)
    return f"; {PREFIX}{near[0]} is one" if near else ""


def _line(error: Any) -> str:
    name = str(error["loc"][0]) if error["loc"] else ""
    field = Settings.model_fields.get(name)
    expected = field.description if field else "see the configuration table in the README"
    found = error["msg"].removeprefix("Value error, ")
    shown = PASSWORD.sub(r"\1…@", repr(error["input"]))
    return f"{PREFIX}{name.upper()} is {shown}: {found}. It should be: {expected}."
