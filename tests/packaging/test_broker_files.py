"""The broker of compose.yaml: the limits of the local one, and first accounts that a real Mosquitto takes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.doctor import examine_broker
from app.settings import Settings
from app.stack.accounts import main, write_first_accounts
from app.stack.broker import CONTROL, LIMITS, SERVICE
from app.stack.places import cache_dir, make_folder, server_user, write_for
from app.stack.process import free_port, start
from app.stack.programs import find_programs
from tests.packaging.repository import ROOT, compose, text
from tests.wait import until


@pytest.fixture(scope="module")
def lines() -> list[tuple[str, str]]:
    """The configuration's keys and values in order."""
    read = (line.strip().partition(" ") for line in text("deploy/mosquitto/mosquitto.conf").splitlines())
    return [(key, value) for key, _, value in read if key and not key.startswith("#")]


def test_the_limits_are_those_of_the_local_stack(lines: list[tuple[str, str]]) -> None:
    configured = dict(lines)
    assert len(configured) == len(lines), "a key is there twice"
    assert {key: configured.get(key) for key in LIMITS} == LIMITS


def test_accounts_lie_in_the_volume_and_are_written_before_the_broker_reads_them(lines: list[tuple[str, str]]) -> None:
    configured, services = dict(lines), compose()["services"]
    accounts = configured["plugin_opt_config_file"]
    assert configured["plugin"].endswith("mosquitto_dynamic_security.so")
    assert services["accounts"]["command"][:4] == ["python", "-m", "app.stack.accounts", accounts]
    for service in ("accounts", "broker"):
        mounts = dict(volume.split(":")[:2] for volume in services[service]["volumes"])
        assert str(Path(accounts).parent) == mounts["broker"]
    assert configured["persistence_location"] == f"{Path(accounts).parent}/"


def test_the_listener_is_the_port_that_is_published(lines: list[tuple[str, str]]) -> None:
    assert [value for key, value in lines if key == "listener"] == ["1883"]


def test_the_first_accounts_are_the_service_alone(tmp_path: Path) -> None:
    file = tmp_path / "dynamic-security.json"
    assert write_first_accounts(file, "a password", os.getuid())
    written = json.loads(file.read_text(encoding="utf-8"))
    (account,) = written["clients"]
    hashed = hashlib.pbkdf2_hmac("sha512", b"a password", base64.b64decode(account["salt"]), account["iterations"])
    assert account["username"] == SERVICE
    assert base64.b64decode(account["password"]) == hashed
    assert set(written["defaultACLAccess"].values()) == {False}
    topics = {acl["topic"] for role in written["roles"] for acl in role["acls"]}
    assert topics == {CONTROL, "energy/v1/#", "$SYS/#", "#"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_accounts_that_are_there_stay(tmp_path: Path) -> None:
    file = tmp_path / "dynamic-security.json"
    write_first_accounts(file, "first", os.getuid())
    before = file.read_bytes()
    assert not write_first_accounts(file, "second", os.getuid())
    assert file.read_bytes() == before


def test_a_file_cut_short_is_written_anew(tmp_path: Path) -> None:
    file = tmp_path / "dynamic-security.json"
    file.write_text('{"clients": [', encoding="utf-8")
    assert write_first_accounts(file, "a password", os.getuid())
    assert json.loads(file.read_text(encoding="utf-8"))["clients"]


def test_the_command_runs_as_compose_runs_it(tmp_path: Path) -> None:
    """With -S, so that nothing but the standard library and the mounted folder can be imported."""
    _, *command = compose()["services"]["accounts"]["command"][:3]
    file = tmp_path / "dynamic-security.json"
    for said in ("written", "there already"):
        done = subprocess.run(
            [sys.executable, "-S", *command, str(file), str(os.getuid())],
            env={**os.environ, "BROKER_PASSWORD": "a password"},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == f"{file}: {said}\n"


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        ([], {"BROKER_PASSWORD": "x"}, "usage"),
        (["file", "mosquitto"], {"BROKER_PASSWORD": "x"}, "usage"),
        (["file", "1883"], {}, "BROKER_PASSWORD is not set"),
        (["file", "1883"], {"BROKER_PASSWORD": ""}, "BROKER_PASSWORD is not set"),
    ],
)
def test_what_is_missing_is_said(arguments: list[str], environment: dict[str, str], said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        main(arguments, environment)


@pytest.fixture
def broker_port(tmp_path: Path) -> Iterator[int]:
    """A real Mosquitto with the committed configuration, only its paths and its port those of this machine."""
    programs, user, port = find_programs(cache_dir()), server_user(), free_port(None)
    folder = make_folder(Path(tempfile.mkdtemp(prefix="tcewatch-broker-")), user)
    owner = os.getuid() if user is None else user.pw_uid
    write_first_accounts(folder / "dynamic-security.json", "a-password", owner)
    here = {
        "/mosquitto/data": str(folder),
        "/usr/lib/mosquitto_dynamic_security.so": str(programs.dynamic_security),
        "listener 1883": f"listener {port} 127.0.0.1",
    }
    configuration = text("deploy/mosquitto/mosquitto.conf")
    for there, ours in here.items():
        assert there in configuration
        configuration = configuration.replace(there, ours)
    file = write_for(user, folder / "mosquitto.conf", configuration)
    process = start([programs.mosquitto, "-c", file], tmp_path / "log", user=user)
    try:
        until(lambda: listens(port) or not process.alive(), what="the broker listens", deadline_s=20)
        assert process.alive(), (tmp_path / "log").read_text(encoding="utf-8")
        yield port
    finally:
        process.end(signal.SIGTERM)
        shutil.rmtree(folder)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_real_broker_takes_the_configuration_and_the_accounts(broker_port: int) -> None:
    states = {
        login: asyncio.run(examine_broker(Settings(mqtt_url=f"mqtt://{login}127.0.0.1:{broker_port}"))).state
        for login in ("tcewatch:a-password@", "tcewatch:another@", "gw-1:a-password@", "")
    }
    assert states == {
        "tcewatch:a-password@": "ok",
        "tcewatch:another@": "missing",
        "gw-1:a-password@": "missing",
        "": "missing",
    }
