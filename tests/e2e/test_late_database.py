"""A machine that starts as a whole: the service is there before its database, and nobody is there to start it again."""

from __future__ import annotations

import secrets
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx2
import pytest
from sqlalchemy import make_url

from app.store.database import is_away
from tests.e2e.service import Service, free_port, run
from tests.faults.proxy import Proxy
from tests.wait import until


@pytest.fixture
def env(own_database_url: str) -> dict[str, str]:
    """Its database is at a port that nobody serves yet."""
    through = make_url(own_database_url).set(host="127.0.0.1", port=free_port())
    return {
        "TCEWATCH_DATABASE_URL": through.render_as_string(hide_password=False),
        "TCEWATCH_MQTT_LISTEN": f"mqtt://127.0.0.1:{free_port()}",
        "TCEWATCH_SMTP_URL": "smtp://127.0.0.1:1",
    }


def database_comes(env: dict[str, str], own_database_url: str) -> Proxy:
    """Serves that port, to be entered."""
    place = make_url(own_database_url)
    assert place.host, place.port
    proxy = Proxy(place.host, place.port or 5432)
    proxy.port = make_url(env["TCEWATCH_DATABASE_URL"]).port or 0
    return proxy


@pytest.fixture
def service(env: dict[str, str], tmp_path: Path) -> Iterator[Service]:
    service = Service(env, tmp_path / "log")
    service.launch()
    until(lambda: answer(service, "/healthz") is not None, what="the service answers")
    yield service
    assert service.stop() == 0, service.log()


def answer(service: Service, path: str) -> httpx2.Response | None:
    try:
        return httpx2.get(service.url + path, timeout=5)
    except httpx2.HTTPError:
        return None


def test_it_lives_says_what_it_waits_for_and_goes_on_by_itself(
    service: Service, env: dict[str, str], own_database_url: str
) -> None:
    alive, ready = httpx2.get(f"{service.url}/healthz"), httpx2.get(f"{service.url}/readyz")
    assert (alive.status_code, ready.status_code) == (200, 503)
    assert ready.json()["database"] is False
    assert "waiting for the database" in ready.json()["warnings"][0]
    sent = httpx2.post(f"{service.url}/api/v1/readings", content=b"{}", headers={"Authorization": "Bearer gw_x"})
    assert (sent.status_code, sent.json()["code"]) == (503, "database-unavailable")
    assert int(sent.headers["retry-after"]) >= 1
    with pytest.raises(ConnectionRefusedError):
        gateway_of(env)
    assert "waiting for the database" in service.log()
    with database_comes(env, own_database_url):
        service.wait_ready()
        gateway_of(env).close()
        direct = env | {"TCEWATCH_DATABASE_URL": own_database_url}
        made = run("token", "create", "--role", "admin", "--scope", "4453", "--name", "tests", env=direct)
        asked = {"Authorization": f"Bearer {made.stdout.strip()}"}
        assert httpx2.get(f"{service.url}/api/v1/enterprises", headers=asked, timeout=30).status_code == 200
        assert service.stop() == 0


def gateway_of(env: dict[str, str]) -> socket.socket:
    port = int(env["TCEWATCH_MQTT_LISTEN"].rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def test_a_stop_ends_the_waiting(service: Service) -> None:
    assert service.stop() == 0
    assert "Traceback" not in service.log()


def test_a_database_that_comes_and_is_the_wrong_one_ends_the_start_with_a_sentence(
    service: Service, env: dict[str, str], own_database_url: str, tmp_path: Path
) -> None:
    wrong = make_url(env["TCEWATCH_DATABASE_URL"]).set(username=f"nobody-{secrets.token_hex(4)}", password="wrong")
    other = env | {
        "TCEWATCH_DATABASE_URL": wrong.render_as_string(hide_password=False),
        "TCEWATCH_MQTT_LISTEN": f"mqtt://127.0.0.1:{free_port()}",
    }
    stranger = Service(other, tmp_path / "other")
    stranger.launch()
    until(lambda: answer(stranger, "/healthz") is not None, what="it waits for its database")
    with database_comes(env, own_database_url):
        until(lambda: stranger.ended, what="it ends")
        assert stranger.stop() == 1
        assert "refuses the log-in" in stranger.log()
        assert "Traceback" not in stranger.log()
        service.stop()


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (ConnectionRefusedError(111, "refused"), True),
        (TimeoutError(), True),
        (socket.gaierror(-2, "Name or service not known"), True),
        (asyncpg.CannotConnectNowError("the database system is starting up"), True),
        (asyncpg.TooManyConnectionsError("too many clients already"), True),
        (asyncpg.ConnectionDoesNotExistError("closed in the middle"), True),
        (ssl.SSLCertVerificationError("certificate verify failed"), False),
        (asyncpg.InvalidPasswordError("no"), False),
        (asyncpg.InvalidCatalogNameError("no such database"), False),
        (ValueError("ours"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_what_waiting_mends_is_waited_for(error: Exception, away: bool) -> None:
    assert is_away(error) is away
