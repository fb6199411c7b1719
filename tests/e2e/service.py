"""A real `tcewatch serve` process for the tests: started, killed, started again; its log is kept."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx2

START_DEADLINE_S = 60.0
COMMAND = (sys.executable, "-m", "app.cli")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(*args: str, env: Mapping[str, str], timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """One `tcewatch` command to its end."""
    return subprocess.run(
        [*COMMAND, *args],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


class Service:
    """One service process at a time under one address."""

    def __init__(self, env: Mapping[str, str], log: Path, port: int | None = None) -> None:
        self.port = free_port() if port is None else port
        self.url = f"http://127.0.0.1:{self.port}"
        self._env = {**os.environ, **env, "TCEWATCH_HTTP_PORT": str(self.port)}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *args: str) -> None:
        self.launch(*args)
        self.wait_ready()

    def launch(self, *args: str) -> None:
        """Start it and wait for nothing."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([*COMMAND, "serve", *args], env=self._env, stdout=log, stderr=log)

    def wait_ready(self) -> None:
        deadline = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise AssertionError(f"the service ended while starting:\n{self.log()}")
            try:
                if httpx2.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return
            except httpx2.HTTPError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"the service was not ready in {START_DEADLINE_S:.0f} s:\n{self.log()}")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def resident_kb(self) -> int:
        """Memory the process holds now, in kB."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))

    def kill(self) -> None:
        """kill -9: no handler runs, nothing is flushed."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM and wait: what is in is drained. Answers the exit status."""
        if self._process is None or self._process.poll() is not None:
            return 0 if self._process is None else self._process.returncode
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=60)

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-6000:] if self._log.exists() else ""
