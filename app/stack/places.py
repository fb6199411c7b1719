"""Where the local stack keeps things, and as whom its servers run."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from app.stack.trouble import StackTrouble

STATE_VARIABLE = "TCEWATCH_STATE_DIR"
CACHE_VARIABLE = "TCEWATCH_CACHE_DIR"
UNPRIVILEGED = ("postgres", "nobody")


def state_dir() -> Path:
    """Data, logs and records of the local stack. Root's own home is closed to the servers, so root uses /var/lib."""
    return _place(STATE_VARIABLE, Path("/var/lib/tcewatch"), "XDG_STATE_HOME", ".local/state")


def cache_dir() -> Path:
    """Unpacked programs, shared by every stack of this user."""
    return _place(CACHE_VARIABLE, Path("/var/cache/tcewatch"), "XDG_CACHE_HOME", ".cache")


def _place(variable: str, for_root: Path, xdg: str, below_home: str) -> Path:
    given = os.environ.get(variable)
    if given:
        return Path(given).absolute()
    if os.geteuid() == 0:
        return for_root
    return Path(os.environ.get(xdg) or Path.home() / below_home) / "tcewatch"


def server_user() -> pwd.struct_passwd | None:
    """Whom the servers run as when we are root: PostgreSQL refuses to be root. None: as ourselves."""
    if os.geteuid() != 0:
        return None
    for name in UNPRIVILEGED:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise StackTrouble(
        f"PostgreSQL refuses to run as root, and none of the users {', '.join(UNPRIVILEGED)} exists to run it as; "
        "make one: useradd --system postgres"
    )


def make_folder(folder: Path, owner: pwd.struct_passwd | None) -> Path:
    """The folder, made if need be and given to the servers' user."""
    folder.mkdir(parents=True, exist_ok=True)
    if owner is not None:
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    return folder


def closed_to(folder: Path, owner: pwd.struct_passwd | None) -> Path | None:
    """The first folder on the way that the servers' user may not pass through; None when it can get there."""
    if owner is None:
        return None
    for step in (*reversed(folder.parents), folder):
        facts = step.stat()
        needed = stat.S_IXUSR if facts.st_uid == owner.pw_uid else stat.S_IXOTH
        if not facts.st_mode & needed:
            return step
    return None


def write_for(owner: pwd.struct_passwd | None, file: Path, text: str) -> Path:
    """A file that only the servers' user (and root) can read, complete or not there at all."""
    half = file.with_name(file.name + ".half")
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)
    if owner is not None:
        os.chown(half, owner.pw_uid, owner.pw_gid)
    half.replace(file)
    return file
