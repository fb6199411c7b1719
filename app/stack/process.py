"""Servers that outlive the command that started them, and how to know one's own again."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.stack.trouble import StackTrouble

POLL_S = 0.05
_children: list[subprocess.Popen[bytes]] = []
"""Kept so that a server may outlive us without a complaint, and so that one that ends under us is reaped."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process, known by its number and by when it started: numbers are used again, the pair is not."""

    pid: int
    started: str

    def alive(self) -> bool:
        return start_of(self.pid) == self.started

    def end(self, number: signal.Signals, *, timeout_s: float = 30.0) -> None:
        """Signal it and wait until it is gone; after the deadline kill it."""
        if not self.alive():
            return
        os.kill(self.pid, number)
        if not within(timeout_s, lambda: not self.alive()):
            os.kill(self.pid, signal.SIGKILL)
            within(5.0, lambda: not self.alive())


def start_of(pid: int) -> str | None:
    """When a process started, in the kernel's ticks since boot; None if there is none, or only its remains."""
    for child in _children:
        child.poll()
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else fields[18]


def working_in(folder: Path) -> list[Process]:
    """The processes whose working directory this is, as far as we may look."""
    return _processes(lambda entry: (entry / "cwd").readlink() == folder)


def started_with(argument: Path) -> list[Process]:
    """The processes that were given exactly this path as an argument."""
    return _processes(lambda entry: os.fsencode(argument) in (entry / "cmdline").read_bytes().split(b"\0"))


def _processes(fits: Callable[[Path], bool]) -> list[Process]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fitting = entry.name.isdigit() and fits(entry)
        except OSError:  # it ended, or is another user's
            continue
        started = start_of(int(entry.name)) if fitting else None
        if started is not None:
            found.append(Process(int(entry.name), started))
    return found


def within(timeout_s: float, ask: Callable[[], bool]) -> bool:
    """Whether it becomes true in time."""
    end = time.monotonic() + timeout_s
    while not ask():
        if time.monotonic() > end:
            return False
        time.sleep(POLL_S)
    return True


class Record:
    """The file that remembers one server: its process and its port."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def _read(self) -> dict[str, str | int]:
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def process(self) -> Process | None:
        """The server if it is the one we started and still runs. A stale file, or a reused number, is nobody."""
        found = self._read()
        if "pid" not in found or "started" not in found:
            return None
        process = Process(int(found["pid"]), str(found["started"]))
        return process if process.alive() else None

    def port(self) -> int | None:
        port = self._read().get("port")
        return int(port) if port is not None else None

    def write(self, process: Process, port: int) -> None:
        half = self._file.with_suffix(".half")
        half.write_text(json.dumps({"pid": process.pid, "started": process.started, "port": port}), encoding="utf-8")
        half.replace(self._file)


class Server(ABC):
    """What the servers of the stack have in common: a record, a log, and two ways to end."""

    name: str
    stop_signal = signal.SIGTERM

    def __init__(self, folder: Path) -> None:
        self.record = Record(folder / "server.json")
        self.log = folder / "server.log"

    @abstractmethod
    def up(self) -> None:
        """Running and ready; nothing happens when it is already. Raises StackTrouble."""

    def down(self) -> None:
        """End it in its own orderly way."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """kill -9: what a power cut does to it."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        process = self.record.process()
        if process is not None:
            process.end(number)


def free_port(wished: int | None) -> int:
    """The wished port if nobody listens there, else any free one, on loopback."""
    for candidate in (wished, 0) if wished else (0,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise StackTrouble("no free port on 127.0.0.1")


def start(
    command: Sequence[object],
    log: Path,
    *,
    user: pwd.struct_passwd | None,
    environment: Mapping[str, str] | None = None,
    folder: Path = Path("/"),
) -> Process:
    """Start a server in a session of its own; what it says goes to its log."""
    identity: dict[str, object] = {}
    if user is not None:
        identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    try:
        with log.open("ab") as out:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=folder,
                env={**(environment or os.environ)},
                start_new_session=True,
                **identity,  # type: ignore[call-overload]  # the same three names for every overload
            )
    except OSError as error:
        raise StackTrouble(f"{command[0]} cannot be started: {error}") from error
    _children.append(process)
    return Process(process.pid, start_of(process.pid) or "")


def last_lines(log: Path, count: int = 8) -> str:
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])
    except OSError:
        return ""
