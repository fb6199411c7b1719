"""The doctor: with a whole stack nothing is missing, with nothing running each thing is named with what mends it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from sqlalchemy import make_url
from typer.testing import CliRunner

from app.cli import app
from app.doctor import (
    Finding,
    State,
    examine,
    examine_folder,
    examine_http,
    examine_listener,
    examine_machine,
    judge_clock,
    judge_folder,
    judge_limits,
    judge_no_timescale,
    judge_postgres,
    judge_programs,
    judge_python,
)
from app.settings import Settings
from app.stack.programs import Programs
from app.stack.stack import Addresses
from ingest.broker_check import Weakness


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


@pytest.fixture
def closed_port() -> int:
    """A port of 127.0.0.1 where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


def test_nothing_is_missing_with_a_whole_stack(stack: Addresses, database_url: str) -> None:
    settings = Settings(database_url=database_url, mqtt_url=stack.mqtt_url, smtp_url=stack.smtp_url, http_port=0)
    found = by_name(examine(settings))
    assert [str(finding) for finding in found.values() if finding.state == "missing"] == []
    for name in ("Python", "database", "PostgreSQL", "TimescaleDB", "clock", "schema", "broker", "mail", "HTTP port"):
        assert found[name].state == "ok", name
    assert "edition" in found["TimescaleDB"].detail


def test_no_password_is_shown(stack: Addresses, database_url: str) -> None:
    settings = Settings(database_url=database_url, mqtt_url=stack.mqtt_url, http_port=0)
    shown = "\n".join(map(str, examine(settings)))
    for url in (database_url, stack.mqtt_url):
        password = make_url(url).password
        assert password
        assert password not in shown


def test_nothing_running_is_named_with_the_command_that_starts_it(closed_port: int) -> None:
    settings = Settings(
        database_url=f"postgresql+asyncpg://a:secret@127.0.0.1:{closed_port}/a",
        mqtt_url=f"mqtt://a:secret@127.0.0.1:{closed_port}",
        smtp_url=f"smtp://127.0.0.1:{closed_port}",
        http_port=0,
    )
    found = by_name(examine(settings))
    for name in ("database", "broker", "mail"):
        assert found[name].state == "missing"
        assert f"127.0.0.1:{closed_port}" in found[name].detail
        assert "does not answer" in found[name].detail
        assert found[name].mend is not None
        assert "tcewatch stack up" in str(found[name].mend)


def test_doors_that_are_not_set_up_are_notes(closed_port: int) -> None:
    settings = Settings(database_url=f"postgresql+asyncpg://a@127.0.0.1:{closed_port}/a", mqtt_url=None, smtp_url=None)
    found = by_name(examine(settings))
    assert (found["broker"].state, found["mail"].state) == ("note", "note")
    assert "TCEWATCH_MQTT_URL" in found["broker"].detail


def test_a_server_that_is_given_but_dead_is_taken_out_of_the_way(
    closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"postgresql+asyncpg://a@127.0.0.1:{closed_port}/a"
    monkeypatch.setenv("TCEWATCH_DATABASE_URL", url)
    found = by_name(examine(Settings(database_url=url)))
    assert str(found["database"].mend).startswith("unset TCEWATCH_DATABASE_URL; tcewatch stack up")


def test_a_refused_log_in_is_told_apart_from_silence(stack: Addresses) -> None:
    wrong = make_url(stack.database_url).set(password="not this").render_as_string(hide_password=False)
    broker = make_url(stack.mqtt_url).set(password="not-this").render_as_string(hide_password=False)
    found = by_name(examine(Settings(database_url=wrong, mqtt_url=broker, http_port=0)))
    assert "refuses" in found["database"].detail
    assert str(found["database"].mend).startswith("export TCEWATCH_DATABASE_URL=")
    assert "refuses" in found["broker"].detail
    assert str(found["broker"].mend).startswith("export TCEWATCH_MQTT_URL=")


def test_a_database_that_is_not_there_and_one_without_schema(stack: Addresses) -> None:
    missing = make_url(stack.database_url).set(database="no_such").render_as_string(hide_password=False)
    found = by_name(examine(Settings(database_url=missing, http_port=0)))
    assert "has no database no_such" in found["database"].detail
    assert str(found["database"].mend).startswith("createdb ")
    empty = make_url(stack.database_url).set(database="postgres").render_as_string(hide_password=False)
    found = by_name(examine(Settings(database_url=empty, http_port=0)))
    assert found["database"].state == "ok"
    assert (found["TimescaleDB"].state, found["TimescaleDB"].mend) == ("missing", "tcewatch migrate")
    assert (found["schema"].state, found["schema"].mend) == ("missing", "tcewatch migrate")


@pytest.mark.parametrize(
    ("name", "setting", "url"),
    [
        ("database", "database_url", "postgresql+asyncpg://a@127.0.0.1:port/a"),
        ("broker", "mqtt_url", "mqtt://"),
        ("broker", "mqtt_url", "mqtt://127.0.0.1:port"),
        ("mail", "smtp_url", "smtp://127.0.0.1:port"),
    ],
)
def test_an_address_that_is_none_is_a_finding(name: str, setting: str, url: str, closed_port: int) -> None:
    settings = {"database_url": f"postgresql+asyncpg://a@127.0.0.1:{closed_port}/a", setting: url}
    found = by_name(examine(Settings.model_validate(settings)))[name]
    assert found.state == "missing"
    assert f"TCEWATCH_{setting.upper()} is no address" in found.detail


def test_the_listener_needs_its_port_and_its_certificate(busy_port: int, closed_port: int, tmp_path: Path) -> None:
    assert examine_listener(Settings(mqtt_listen=None)) == []
    (free,) = examine_listener(Settings(mqtt_listen=f"mqtt://127.0.0.1:{closed_port}"))
    assert free.state == "ok"
    (busy,) = examine_listener(Settings(mqtt_listen=f"127.0.0.1:{busy_port}", http_port=closed_port))
    assert (busy.state, "cannot be listened on" in busy.detail) == ("missing", True)
    nothing = tmp_path / "none.pem"
    over_tls = Settings(
        mqtt_listen=f"mqtts://127.0.0.1:{closed_port}", mqtt_listen_cert=nothing, mqtt_listen_key=nothing
    )
    (without,) = examine_listener(over_tls)
    assert (without.state, "certificate" in without.detail) == ("missing", True)


def test_a_busy_port_is_missing_and_a_free_one_is_not(busy_port: int, closed_port: int) -> None:
    with_busy = examine_http(Settings(http_port=busy_port))
    assert with_busy.state == "missing"
    assert f"127.0.0.1:{busy_port} cannot be listened on" in with_busy.detail
    assert "TCEWATCH_HTTP_PORT" in str(with_busy.mend)
    assert examine_http(Settings(http_port=closed_port)).state == "ok"
    elsewhere = examine_http(Settings(http_host="192.0.2.1", http_port=closed_port))
    assert (elsewhere.state, elsewhere.mend) == ("missing", "export TCEWATCH_HTTP_HOST=127.0.0.1")


class Alive(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 404)
        self.end_headers()
        self.wfile.write(b'{"status":"alive"}')

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Nothing: the test's own output is enough."""


def test_a_port_held_by_the_service_itself_is_no_trouble() -> None:
    with HTTPServer(("127.0.0.1", 0), Alive) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            found = examine_http(Settings(http_port=server.server_port))
        finally:
            server.shutdown()
            thread.join()
    assert found.state == "ok"
    assert "service answers" in found.detail


@pytest.mark.parametrize(("version", "state"), [((3, 10, 9), "missing"), ((3, 11, 0), "ok"), ((3, 14, 1), "ok")])
def test_python(version: tuple[int, ...], state: State) -> None:
    assert judge_python(version).state == state


@pytest.mark.parametrize(
    ("ahead_s", "state"), [(0, "ok"), (-5, "ok"), (5.1, "note"), (-600, "note"), (600.1, "missing"), (-601, "missing")]
)
def test_clock(ahead_s: float, state: State) -> None:
    found = judge_clock(ahead_s, 600)
    assert found.state == state
    assert ("ahead of" if ahead_s >= 0 else "behind") in found.detail


def test_room() -> None:
    place = Path("/somewhere")
    assert judge_folder("x", place, 10**9, 10**8, "V", needed=True).state == "ok"
    assert judge_folder("x", place, 10**7, 10**8, "V", needed=True).state == "missing"
    assert judge_folder("x", place, 10**7, 10**8, "V", needed=False).state == "note"
    closed = judge_folder("x", place, None, 0, "V", needed=True)
    assert (closed.state, closed.mend) == ("missing", "export V=/a/folder/with/room")


def test_a_folder_that_is_not_there_yet_is_judged_by_what_it_would_be_made_in(tmp_path: Path) -> None:
    assert examine_folder("x", tmp_path / "a" / "b", 1, "V", needed=True).state == "ok"
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert examine_folder("x", tmp_path / "file" / "b", 1, "V", needed=True).state == "missing"


def test_programs_are_named_by_the_first_way_they_can_be_had() -> None:
    own = Programs(Path("/pg"), Path("/mosquitto"), Path("/plugin"), "programs of this machine")
    none, no_apt = "none here", "apt-get is not here"
    assert judge_programs(own, None, unpacked=False, docker=True, needed=True).state == "ok"
    assert judge_programs(none, None, unpacked=True, docker=False, needed=True).state == "ok"
    assert judge_programs(none, None, unpacked=False, docker=False, needed=True).state == "note"
    assert "Docker" in judge_programs(none, no_apt, unpacked=False, docker=True, needed=True).detail
    nowhere = judge_programs(none, no_apt, unpacked=False, docker=False, needed=True)
    assert nowhere.state == "missing"
    assert no_apt in nowhere.detail
    assert "postgresql-17-timescaledb" in str(nowhere.mend)
    assert judge_programs(none, no_apt, unpacked=False, docker=False, needed=False).state == "note"


def test_versions() -> None:
    assert judge_postgres(17).state == "ok"
    assert judge_postgres(16).state == "note"
    assert judge_no_timescale(17, available=True).mend == "tcewatch migrate"
    assert "postgresql-17-timescaledb" in str(judge_no_timescale(17, available=False).mend)


def test_looking_makes_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCEWATCH_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("TCEWATCH_CACHE_DIR", str(tmp_path / "cache"))
    examine_machine(needs_stack=True)
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_is_missing_and_answers_1(closed_port: int) -> None:
    dead = f"postgresql+asyncpg://a@127.0.0.1:{closed_port}/a"
    done = CliRunner().invoke(app, ["doctor"], env={"TCEWATCH_DATABASE_URL": dead, "TCEWATCH_HTTP_PORT": "0"})
    assert done.exit_code == 1
    assert "missing database:" in done.output
    assert "mend: unset TCEWATCH_DATABASE_URL; tcewatch stack up" in done.output


def test_the_command_answers_0_when_nothing_is_missing(stack: Addresses, database_url: str) -> None:
    environment = {
        "TCEWATCH_DATABASE_URL": database_url,
        "TCEWATCH_MQTT_URL": stack.mqtt_url,
        "TCEWATCH_SMTP_URL": stack.smtp_url,
        "TCEWATCH_HTTP_PORT": "0",
    }
    done = CliRunner().invoke(app, ["doctor"], env=environment)
    assert done.exit_code == 0, done.output
    assert done.output.endswith("nothing is missing\n")


def test_a_wrong_setting_is_a_finding() -> None:
    done = CliRunner().invoke(app, ["doctor"], env={"TCEWATCH_HTTP_PORT": "eighty", "TCEWATCH_TIMEZONE": "Mars/Base"})
    assert done.exit_code == 1
    assert "missing settings: TCEWATCH_HTTP_PORT is 'eighty'" in done.output
    assert "mend: unset TCEWATCH_TIMEZONE" in done.output
    assert "Python:" in done.output


def test_a_broker_that_loses_messages_is_named_with_the_setting() -> None:
    weak = Weakness("of 2000 messages acknowledged for a client that was away 1000 came", "max_queued_messages 0")
    said = [str(finding) for finding in judge_limits([weak])]
    assert said[0].startswith("note    broker limits: of 2000 messages")
    assert said[0].endswith("mend: max_queued_messages 0")
    assert "cannot be seen" in said[1]
    assert judge_limits([])[0].state == "ok"


def test_the_limits_of_the_stacks_broker_are_examined(stack: Addresses, database_url: str) -> None:
    found = [
        one
        for one in examine(Settings(database_url=database_url, mqtt_url=stack.mqtt_url, http_port=0))
        if one.what == "broker limits"
    ]
    assert [one.state for one in found] == ["ok", "note"]
