"""Knowing one's own servers again, and nobody else's."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.stack.mail import MailServer
from app.stack.process import Process, Record, free_port, last_lines, start, start_of
from app.stack.trouble import StackTrouble
from tests.wait import until

SLEEPER = "import time; print('awake', flush=True); time.sleep(600)"


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Process]:
    process = start([sys.executable, "-c", SLEEPER], tmp_path / "log", user=None)
    yield process
    process.end(signal.SIGKILL)


@pytest.fixture
def stranger() -> Iterator[int]:
    """A process that is not ours to end."""
    with subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.DEVNULL) as process:
        yield process.pid
        process.kill()


def test_a_record_finds_its_server_again(tmp_path: Path, sleeper: Process) -> None:
    record = Record(tmp_path / "server.json")
    record.write(sleeper, 4711)
    found = Record(tmp_path / "server.json")
    assert (found.process(), found.port()) == (sleeper, 4711)


def test_a_record_of_a_server_that_was_killed_finds_nobody_but_keeps_the_port(tmp_path: Path, sleeper: Process) -> None:
    record = Record(tmp_path / "server.json")
    record.write(sleeper, 4711)
    os.kill(sleeper.pid, signal.SIGKILL)
    until(lambda: not sleeper.alive(), what="the killed server is gone")
    assert (record.process(), record.port()) == (None, 4711)


def test_a_number_used_again_by_another_program_is_neither_found_nor_ended(tmp_path: Path, stranger: int) -> None:
    server = MailServer(tmp_path)
    server.record.write(Process(stranger, "1"), 4711)
    assert server.record.process() is None
    server.down()
    server.kill()
    Process(stranger, "1").end(signal.SIGKILL)
    assert start_of(stranger) is not None


@pytest.mark.parametrize("torn", ["", "{", "[]", "null", '{"pid": 1}', '{"started": "7"}'])
def test_a_torn_record_finds_nobody(tmp_path: Path, torn: str) -> None:
    (tmp_path / "server.json").write_text(torn, encoding="utf-8")
    record = Record(tmp_path / "server.json")
    assert (record.process(), record.port()) == (None, None)


def test_what_a_server_says_is_in_its_log(tmp_path: Path, sleeper: Process) -> None:
    assert until(lambda: last_lines(tmp_path / "log"), what="the log has a line") == "awake"


def test_a_server_that_will_not_end_is_killed(tmp_path: Path) -> None:
    stubborn = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPER}"
    process = start([sys.executable, "-c", stubborn], tmp_path / "log", user=None)
    until(lambda: last_lines(tmp_path / "log"), what="it runs")
    process.end(signal.SIGTERM, timeout_s=0.2)
    assert not process.alive()


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StackTrouble, match="/no/such/program cannot be started"):
        start(["/no/such/program"], tmp_path / "log", user=None)


def test_a_taken_port_is_left_to_who_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        assert free_port(taken) not in (taken, 0)


def test_a_free_port_is_kept() -> None:
    wished = free_port(None)
    assert free_port(wished) == wished
