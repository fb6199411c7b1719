"""The demo from nothing to a running city and down again: its figures are those in the README, twice in a row."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
SMALL = ("--units", "7", "--days", "40", "--until", "2026-11-01", "--port", "0", "--exit-after", "3")


@pytest.fixture(scope="module")
def state() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="tcewatch-demo-"))
    folder.chmod(0o755)  # as root the servers run as another user, who has to get there
    yield folder
    shutil.rmtree(folder)


def demo(state: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TCEWATCH_")}
    kept = {key: os.environ[key] for key in ("TCEWATCH_CACHE_DIR",) if key in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "app.cli", "demo", *options],
        env=environment | kept | {"TCEWATCH_STATE_DIR": str(state)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def table_of(output: str) -> str:
    """The figures between the head line and the empty line after them."""
    found = re.search(r"^2026-10 .*?(?=\n\n)", output, re.DOTALL | re.MULTILINE)
    assert found is not None, output
    return found[0]


def small_demo_of_the_readme() -> str:
    found = re.search(r"<!-- small demo -->\n```text\n(.*?)\n```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("time", ["first", "second"])
def test_the_demo_prints_the_figures_of_the_readme_and_leaves_nothing_running(state: Path, time: str) -> None:
    done = demo(state, *SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert table_of(done.stdout) == small_demo_of_the_readme()
    assert "24,981 stored, 0 duplicate, 0 rejected" in done.stdout
    assert "delivered" in done.stdout
    records = [path.read_text() for path in state.rglob("server.json")]
    pids = [int(re.findall(r'"pid": (\d+)', record)[0]) for record in records]
    assert len(pids) == 3
    assert not any(str(state) in command_line(pid) for pid in pids)


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_wrong_wishes_are_told_before_anything_starts(state: Path) -> None:
    done = demo(state, "--until", "2036-01-01")
    assert (done.returncode, "future" in done.stderr) == (2, True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = demo(state, "--port", port)
    assert (done.returncode, port in done.stderr, "--port" in done.stderr) == (1, True, True)
