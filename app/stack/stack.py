"""The local stack: TimescaleDB, Mosquitto and a mail sink, each taken from the first place that has it.

The order is: an address given in the environment, programs of this machine, packages of Debian 13 unpacked privately, a
Docker daemon. What was started is remembered below the state folder, so that a second `up` finds it and `down` ends
nothing else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from app.stack.broker import BrokerServer
from app.stack.database import DatabaseServer
from app.stack.mail import MailServer
from app.stack.packages import locked
from app.stack.places import cache_dir, closed_to, make_folder, server_user, state_dir
from app.stack.process import Server
from app.stack.programs import Programs, find_programs
from app.stack.trouble import StackTrouble

COMPOSE = Path(__file__).parents[2] / "compose.yaml"
COMPOSE_ADDRESSES = {
    "database_url": "postgresql+asyncpg://tcewatch:tcewatch@127.0.0.1:5432/tcewatch",
    "mqtt_url": "mqtt://tcewatch:tcewatch@127.0.0.1:1883",
    "smtp_url": "smtp://127.0.0.1:1025",
}

PARTS = {"database_url": "database", "mqtt_url": "broker", "smtp_url": "mail"}


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the parts answer, and in words where each came from."""

    database_url: str
    mqtt_url: str
    smtp_url: str
    sources: tuple[str, ...]

    def environment(self) -> dict[str, str]:
        """The TCEWATCH_… variables that make the service use these parts."""
        return {variable(f.name): getattr(self, f.name) for f in fields(self) if f.name.endswith("_url")}


def variable(name: str) -> str:
    return f"TCEWATCH_{name.upper()}"


class Stack:
    """The parts below one state folder. `say` is told, in a sentence each, what is taken and why."""

    def __init__(
        self,
        state: Path | None = None,
        cache: Path | None = None,
        environment: Mapping[str, str] = os.environ,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.state = state or state_dir()
        self._cache = cache or cache_dir()
        self._given = {
            name: environment[variable(name)] for name in COMPOSE_ADDRESSES if environment.get(variable(name))
        }
        self._say = say
        self._programs: Programs | None = None

    @property
    def mails(self) -> Path:
        """Where the mail sink keeps what it was sent."""
        return self.mail().mails

    def mosquitto_pub(self) -> Path | None:
        """A command-line client for the broker, once the stack is up: ours if it was unpacked, else the machine's."""
        ours = None if self._programs is None else self._programs.mosquitto.parents[1] / "bin" / "mosquitto_pub"
        if ours is not None and ours.exists():
            return ours
        found = shutil.which("mosquitto_pub")
        return None if found is None else Path(found)

    def up(self) -> Addresses:
        """Every part running and ready. Raises StackTrouble."""
        self._make_state()
        with locked(self.state / "lock"):
            return self._up()

    def down(self) -> list[str]:
        """End what was started here; answers the names of what ran."""
        if not self.state.exists():
            return []
        with locked(self.state / "lock"):
            ended = [server for server in self.servers() if server.record.process() is not None]
            for server in reversed(ended):
                server.down()
            containers = self._end_containers()
        return [*(server.name for server in ended), *containers]

    def addresses(self) -> Addresses | None:
        """The addresses if every part runs now; None otherwise."""
        if self._by_compose.exists():
            return Addresses(**(COMPOSE_ADDRESSES | self._given), sources=("Docker",))
        own = {server.name: server for server in self.servers() if server.record.process() is not None}
        if any(part not in own and name not in self._given for name, part in PARTS.items()):
            return None
        return self._addresses(())

    def servers(self) -> tuple[Server, ...]:
        """The parts that may have been started here, running or not."""
        return (self.database(), self.broker(), self.mail())

    def database(self) -> DatabaseServer:
        return DatabaseServer(self.state / "database", self._found())

    def broker(self) -> BrokerServer:
        return BrokerServer(self.state / "broker", self._found())

    def mail(self) -> MailServer:
        return MailServer(self.state / "mail")

    def _make_state(self) -> None:
        try:
            make_folder(self.state, None)
        except OSError as error:
            raise StackTrouble(
                f"{self.state} cannot be made ({error.strerror}); name another folder in TCEWATCH_STATE_DIR"
            ) from error
        self.state.chmod(0o755)  # the servers' own folders below it are theirs alone

    def _check_way(self) -> None:
        """Raises StackTrouble when the servers' user cannot get to their folders."""
        user = server_user()
        closed = closed_to(self.state, user)
        if closed is not None and user is not None:
            raise StackTrouble(
                f"the servers run as {user.pw_name}, who may not pass through {closed}; open it with "
                f"chmod a+x {closed}, or name another folder in TCEWATCH_STATE_DIR"
            )

    def _up(self) -> Addresses:
        sources = [f"{variable(name)} is given: used as it is" for name in self._given]
        if not {"database_url", "mqtt_url"} <= self._given.keys():
            try:
                self._programs = find_programs(self._cache)
            except StackTrouble as trouble:
                if not docker_answers():
                    raise
                return self._by_docker(str(trouble))
            self._check_way()
            sources.append(f"{self._programs.source}: {self._programs.postgres_bin}, {self._programs.mosquitto}")
        for line in sources:
            self._say(line)
        wanted = (("database_url", self.database), ("mqtt_url", self.broker), ("smtp_url", self.mail))
        for name, server in wanted:
            if name not in self._given:
                server().up()
        return self._addresses(tuple(sources))

    def _by_docker(self, why: str) -> Addresses:
        """The parts not given, as containers. Those that ran already are not remembered as ours."""
        self._say(f"Docker, because {why}")
        wanted = [part for name, part in PARTS.items() if name not in self._given]
        ran = compose("ps", "--services", "--status", "running").split()
        started = {*self._containers(), *(part for part in wanted if part not in ran)}
        self._by_compose.write_text(" ".join(part for part in wanted if part in started), encoding="utf-8")
        compose("up", "-d", "--wait", *wanted)
        return Addresses(**(COMPOSE_ADDRESSES | self._given), sources=("Docker",))

    @property
    def _by_compose(self) -> Path:
        """Remembers which containers were started here; it is there as long as Docker is what the stack uses."""
        return self.state / "containers"

    def _containers(self) -> list[str]:
        return self._by_compose.read_text(encoding="utf-8").split() if self._by_compose.exists() else []

    def _end_containers(self) -> list[str]:
        started = self._containers()
        if started:
            compose("stop", *started)
        self._by_compose.unlink(missing_ok=True)
        return started

    def _addresses(self, sources: tuple[str, ...]) -> Addresses:
        return Addresses(
            self._given.get("database_url") or self.database().url(),
            self._given.get("mqtt_url") or self.broker().url(),
            self._given.get("smtp_url") or self.mail().url(),
            sources,
        )

    def _found(self) -> Programs:
        """The programs once looked for; before that, none: a server that only has to be ended needs no program."""
        nowhere = Path("/nowhere")
        return self._programs or Programs(nowhere, nowhere, nowhere, "not looked for")


def compose(*words: str) -> str:
    """What `docker compose` prints. Raises StackTrouble with what it complains of."""
    command = ["docker", "compose", "-f", str(COMPOSE), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StackTrouble(f"docker compose {words[0]} failed:\n{done.stderr.strip()}")
    return done.stdout


def docker_answers() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=20).returncode == 0
