"""Which programs the local stack can use: those of the machine, else packages unpacked privately."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from app.stack import packages
from app.stack.trouble import StackTrouble

POSTGRES_MAJOR = 17
DYNSEC = "mosquitto_dynamic_security.so"


@dataclass(frozen=True, slots=True)
class Programs:
    """Folder of PostgreSQL's programs, the broker, its plugin, and where they come from."""

    postgres_bin: Path
    mosquitto: Path
    dynamic_security: Path
    source: str


def find_programs(cache: Path) -> Programs:
    """In this order: the machine's own, then packages of Debian 13. Raises StackTrouble with what to install."""
    own = on_machine()
    if isinstance(own, Programs):
        return own
    why_not = packages.can_unpack()
    if why_not is None:
        return in_folder(packages.unpacked(cache))
    raise StackTrouble(
        f"no TimescaleDB on PostgreSQL {POSTGRES_MAJOR} with Mosquitto: {own}; packages cannot be unpacked either: "
        f"{why_not}. Install postgresql-17-timescaledb and mosquitto, start a Docker daemon, or set "
        "TCEWATCH_DATABASE_URL and TCEWATCH_MQTT_URL to servers you have"
    )


def on_machine() -> Programs | str:
    """The machine's own programs, or why they will not do."""
    postgres = _own_postgres()
    if isinstance(postgres, str):
        return postgres
    mosquitto = shutil.which("mosquitto", path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin")
    plugin = next((found for lib in ("/usr/lib", "/usr/lib64") for found in Path(lib).glob(f"*/{DYNSEC}")), None)
    if mosquitto is None or plugin is None:
        return "the machine has no mosquitto with its dynamic-security plugin"
    return Programs(postgres, Path(mosquitto), plugin, "programs of this machine")


def _own_postgres() -> Path | str:
    on_path = shutil.which("postgres")
    places = [Path(f"/usr/lib/postgresql/{POSTGRES_MAJOR}/bin"), *([Path(on_path).resolve().parent] if on_path else [])]
    reasons = []
    for place in places:
        if not (place / "initdb").exists():
            continue
        reason = _unusable(place)
        if reason is None:
            return place
        reasons.append(reason)
    return "; ".join(reasons) or "the machine has no PostgreSQL server"


def _unusable(place: Path) -> str | None:
    said = subprocess.run([place / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"(\d+)\.", said)
    if found is None or int(found[1]) != POSTGRES_MAJOR:
        return f"{place} holds {said.strip() or 'no working server'}, not PostgreSQL {POSTGRES_MAJOR}"
    shared = subprocess.run([place / "pg_config", "--sharedir"], capture_output=True, text=True, check=False).stdout
    if not (Path(shared.strip()) / "extension" / "timescaledb.control").exists():
        return f"PostgreSQL {POSTGRES_MAJOR} in {place} has no TimescaleDB"
    return None


def in_folder(root: Path) -> Programs:
    (plugin,) = (root / "usr/lib").glob(f"*/{DYNSEC}")
    source = "packages of Debian 13 in a private folder"
    return Programs(root / f"usr/lib/postgresql/{POSTGRES_MAJOR}/bin", root / "usr/sbin/mosquitto", plugin, source)
