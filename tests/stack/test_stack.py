"""The local stack: started, killed, mended, reused, and ended without touching anybody else's."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import smtplib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import asyncpg
import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from app.stack.database import DatabaseServer
from app.stack.places import closed_to
from app.stack.process import Process, Record, start_of
from app.stack.stack import Stack
from app.stack.trouble import StackTrouble
from app.store.database import plain_url
from tests.wait import until

ROOT = Path(__file__).parents[2]
NOTHING_GIVEN: dict[str, str] = {}


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    state = Path(tempfile.mkdtemp(prefix="tcewatch-own-"))
    stack = Stack(state=state, environment=NOTHING_GIVEN)
    stack.up()
    yield stack
    stack.down()
    shutil.rmtree(state)


def processes(stack: Stack) -> dict[str, Process | None]:
    return {server.name: server.record.process() for server in stack.servers()}


def execute(stack: Stack, statement: str) -> object:
    async def ask() -> object:
        connection = await asyncpg.connect(plain_url(stack.database().url()))
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(ask())


def connects(url: str, *, username: str | None, password: str | None) -> bool:
    host, port = url.rpartition("@")[2].split(":")
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="somebody")
    answers: list[bool] = []
    client.on_connect = lambda c, u, f, reason, p: answers.append(not reason.is_failure)
    if username is not None:
        client.username_pw_set(username, password)
    client.connect(host, int(port))
    client.loop_start()
    until(lambda: answers, what="the broker answers the log-in")
    client.disconnect()
    client.loop_stop()
    return answers[0]


def test_a_second_up_finds_what_runs(own: Stack) -> None:
    before = processes(own)
    own.up()
    assert processes(own) == before
    assert None not in before.values()


def test_the_database_is_timescale_on_loopback_with_its_telemetry_off(own: Stack) -> None:
    assert execute(own, "SELECT extname FROM pg_extension WHERE extname = 'timescaledb'") == "timescaledb"
    assert execute(own, "SHOW listen_addresses") == "127.0.0.1"
    assert execute(own, "SHOW timescaledb.telemetry_level") == "off"
    assert execute(own, "SHOW fsync") == "on"


@pytest.mark.parametrize("part", ["database", "broker", "mail"])
def test_a_part_killed_without_warning_comes_back_at_the_next_up(own: Stack, part: str) -> None:
    execute(own, "CREATE TABLE IF NOT EXISTS kept AS SELECT 7 AS seven")
    (server,) = (server for server in own.servers() if server.name == part)
    old = server.record.process()
    server.kill()
    assert server.record.process() is None
    own.up()
    new = server.record.process()
    assert new is not None
    assert new != old
    assert execute(own, "SELECT seven FROM kept") == 7


@pytest.mark.parametrize("part", ["broker", "mail"])
def test_a_server_whose_record_was_lost_is_ended_before_another_one_starts(own: Stack, part: str) -> None:
    """The record is written after the start: a crash between the two left a server nobody could end."""
    (server,) = (server for server in own.servers() if server.name == part)
    forgotten = server.record.process()
    assert forgotten is not None
    (own.state / part / "server.json").unlink()
    own.up()
    assert not forgotten.alive()
    assert server.record.process() is not None


def test_a_record_whose_number_belongs_to_another_program_is_nobody(tmp_path: Path) -> None:
    record = Record(tmp_path / "server.json")
    record.write(Process(os.getpid(), "12345"), 5432)
    assert record.process() is None
    record.write(Process(os.getpid(), start_of(os.getpid()) or ""), 5432)
    assert record.process() is not None


def test_a_pid_file_that_names_another_program_does_not_keep_the_database_down(own: Stack) -> None:
    server = own.database()
    server.down()
    pid_file = own.state / "database" / "data" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n/elsewhere\n", encoding="utf-8")
    own.up()
    assert execute(own, "SELECT 1") == 1


def test_a_half_made_database_is_made_again() -> None:
    state = Path(tempfile.mkdtemp(prefix="tcewatch-half-"))
    stack = Stack(
        state=state, environment={"TCEWATCH_MQTT_URL": "mqtt://elsewhere:1", "TCEWATCH_SMTP_URL": "smtp://elsewhere:1"}
    )
    half = state / "database" / "data"
    half.mkdir(parents=True)
    (half / "left-over").touch()
    try:
        assert stack.up().mqtt_url == "mqtt://elsewhere:1"
        assert execute(stack, "SELECT 1") == 1
        assert stack.broker().record.process() is None
        assert stack.mail().record.process() is None
    finally:
        assert stack.down() == ["database"]
        shutil.rmtree(state)


def test_what_is_given_is_used_and_nothing_is_started(tmp_path: Path) -> None:
    given = {
        "TCEWATCH_DATABASE_URL": "postgresql+asyncpg://elsewhere/db",
        "TCEWATCH_MQTT_URL": "mqtt://elsewhere:1",
        "TCEWATCH_SMTP_URL": "smtp://elsewhere:1",
    }
    said: list[str] = []
    stack = Stack(state=tmp_path / "state", environment=given, say=said.append)
    assert stack.up().environment() == given
    assert len(said) == 3
    assert stack.down() == []


def test_down_ends_only_its_own(own: Stack, tmp_path: Path) -> None:
    before = processes(own)
    given = {"TCEWATCH_DATABASE_URL": "postgresql+asyncpg://elsewhere/db", "TCEWATCH_MQTT_URL": "mqtt://elsewhere:1"}
    beside = Stack(state=tmp_path / "beside", environment=given)
    beside.up()
    assert beside.down() == ["mail"]
    assert processes(own) == before


def test_the_broker_lets_in_its_own_account_and_nobody_else(own: Stack) -> None:
    url = own.broker().url()
    name, password = url.removeprefix("mqtt://").rpartition("@")[0].split(":")
    assert connects(url, username=name, password=password)
    assert not connects(url, username=name, password="guessed")
    assert not connects(url, username=None, password=None)


def test_a_mail_sent_to_the_sink_can_be_read_there(own: Stack) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "tcewatch@example.com", "plant@example.com", "预算"
    mail.set_content("超预算")
    before = set(own.mails.glob("*.eml"))
    with smtplib.SMTP("127.0.0.1", own.mail().record.port() or 0, timeout=10) as client:
        client.send_message(mail)
    (kept,) = set(own.mails.glob("*.eml")) - before
    assert b"Subject:" in kept.read_bytes()


def test_a_folder_that_the_servers_user_cannot_enter_is_named(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    open_to_all = Path(tempfile.gettempdir())
    closed = tmp_path / "closed"
    (closed / "state").mkdir(parents=True)
    closed.chmod(0o700)
    assert closed_to(open_to_all, nobody) is None
    assert closed_to(closed / "state", nobody) in (closed, *closed.parents)
    assert closed_to(closed / "state", None) is None


def test_no_room_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    server = DatabaseServer(tmp_path / "database", Stack(state=tmp_path).database()._programs)
    with pytest.raises(StackTrouble, match="MB free"):
        server.up()


def test_the_command_says_what_runs_where_and_how_to_use_it(own: Stack) -> None:
    environment = {**os.environ, "TCEWATCH_STATE_DIR": str(own.state)}
    for name in NAMES:
        environment.pop(name, None)
    status = subprocess.run([*COMMAND, "status"], env=environment, capture_output=True, text=True, check=True).stdout
    assert status.count("running on 127.0.0.1") == 3
    lines = subprocess.run([*COMMAND, "env"], env=environment, capture_output=True, text=True, check=True).stdout
    assert [line.split("=")[0] for line in lines.splitlines()] == [f"export {name}" for name in NAMES]


COMMAND = (sys.executable, "-m", "app.cli", "stack")
NAMES = ("TCEWATCH_DATABASE_URL", "TCEWATCH_MQTT_URL", "TCEWATCH_SMTP_URL")
