"""Mosquitto for the local stack: loopback, persistent, explicit limits, and nobody may do anything without a right."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import signal
import socket
from pathlib import Path
from typing import Any

from app.stack.places import make_folder, server_user, write_for
from app.stack.process import Server, free_port, last_lines, start, started_with, within
from app.stack.programs import Programs
from app.stack.trouble import StackTrouble

SERVICE = "tcewatch"
START_DEADLINE_S = 20.0
ITERATIONS = 20_000
CONTROL = "$CONTROL/dynamic-security/#"
# Without these a busy quarter of an hour, or a service that is down, loses messages the broker has acknowledged:
# Mosquitto queues 1,000 messages a client and drops the rest without a word. The last is no limit: without it the
# kernel holds a receipt back until the gateway's own kernel has confirmed the PUBACK before it, up to 40 ms later.
LIMITS = {
    "persistence": "true",
    "autosave_interval": "30",
    "max_queued_messages": "2000000",
    "max_queued_bytes": "4294967296",
    "max_inflight_messages": "0",
    "max_packet_size": "2097152",
    "allow_anonymous": "false",
    "set_tcp_nodelay": "true",
}


class BrokerServer(Server):
    """One Mosquitto below a folder. Gateways' accounts are made at run time and kept in its dynamic-security file."""

    name = "broker"

    def __init__(self, folder: Path, programs: Programs) -> None:
        self._folder = folder
        self._programs = programs
        super().__init__(folder)

    def up(self) -> None:
        if self.record.process() is not None:
            return
        user = server_user()
        make_folder(self._folder, user)
        accounts = self._folder / "dynamic-security.json"
        if not readable(accounts):
            password = secrets.token_urlsafe(24)
            write_for(user, self._folder / "password", password)
            write_for(user, accounts, json.dumps(first_accounts(password, secrets.token_bytes(12)), indent=1))
        configuration = self._folder / "mosquitto.conf"
        for forgotten in started_with(configuration):  # a crash between its start and its record
            forgotten.end(self.stop_signal)
        port = free_port(self.record.port())
        write_for(user, configuration, self._configuration(port, accounts))
        process = start([self._programs.mosquitto, "-c", configuration], self.log, user=user)
        self.record.write(process, port)
        if not within(START_DEADLINE_S, lambda: _listens(port) or not process.alive()) or not process.alive():
            process.end(signal.SIGTERM)
            raise StackTrouble(f"Mosquitto did not start; the end of {self.log}:\n{last_lines(self.log)}")

    def url(self) -> str:
        password = (self._folder / "password").read_text(encoding="utf-8").strip()
        return f"mqtt://{SERVICE}:{password}@127.0.0.1:{self.record.port()}"

    def _configuration(self, port: int, accounts: Path) -> str:
        limits = [f"{key} {value}" for key, value in LIMITS.items()]
        return "\n".join(
            [
                *limits,
                f"listener {port} 127.0.0.1",
                f"persistence_location {self._folder}/",
                f"plugin {self._programs.dynamic_security}",
                f"plugin_opt_config_file {accounts}",
                "",
            ]
        )


def first_accounts(password: str, salt: bytes) -> dict[str, Any]:
    """The dynamic-security file of a new broker: the service's account, and everything else forbidden."""
    hashed = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS)
    allowed = [
        *(("publishClientSend", topic) for topic in (CONTROL, "energy/v1/#")),
        *(("publishClientReceive", topic) for topic in (CONTROL, "energy/v1/#", "$SYS/#")),
        *(("subscribePattern", topic) for topic in (CONTROL, "energy/v1/#", "$SYS/#")),
        ("unsubscribePattern", "#"),
    ]
    rights = [{"acltype": kind, "topic": topic, "allow": True} for kind, topic in allowed]
    account = {
        "username": SERVICE,
        "textName": "the service itself",
        "password": base64.b64encode(hashed).decode(),
        "salt": base64.b64encode(salt).decode(),
        "iterations": ITERATIONS,
        "roles": [{"rolename": SERVICE}],
    }
    closed = dict.fromkeys(("publishClientSend", "publishClientReceive", "subscribe", "unsubscribe"), False)
    return {"defaultACLAccess": closed, "clients": [account], "roles": [{"rolename": SERVICE, "acls": rights}]}


def readable(accounts: Path) -> bool:
    """A file cut short by a crash is made anew: its accounts come back when their gateways are given new secrets."""
    try:
        return bool(json.loads(accounts.read_text(encoding="utf-8"))["clients"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
