"""Every connection is an open file: the service takes as many as the system grants and says when they are few."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import logging, resource
from app.main import open_files
from app.settings import read_settings
logging.basicConfig(format="%(message)s")
open_files(read_settings(mqtt_listen="mqtt://127.0.0.1:0", mqtt_listen_connections_max=1000))
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def started_with(limits: str) -> tuple[str, str]:
    """What it then may open, and what it said."""
    command = ["bash", "-c", f'{limits} && exec "$0" -c "$1"', sys.executable, PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip(), done.stderr


def test_the_service_takes_as_many_files_as_it_may() -> None:
    assert started_with("ulimit -Sn 256 && ulimit -Hn 5000") == ("5000 5000", "")


def test_it_warns_when_they_are_fewer_than_the_connections_it_should_carry() -> None:
    may_open, said = started_with("ulimit -n 2000")
    assert may_open == "2000 2000"
    assert "too few files" in said
