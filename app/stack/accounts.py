"""The service's account in a broker's dynamic-security file: `python -m app.stack.accounts FILE [UID]`.

For a broker that we do not start ourselves, as in compose.yaml. The password comes from BROKER_PASSWORD. Needs the
standard library alone, so a bare Python can run it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

from app.stack.broker import SERVICE, first_accounts

VARIABLE = "BROKER_PASSWORD"


def main() -> None:
    file, *owner = sys.argv[1:]
    password = os.environ.get(VARIABLE)
    if not password:
        sys.exit(f"{VARIABLE} is not set")
    before = read(Path(file))
    accounts = with_service(before, password, secrets.token_bytes(12))
    if accounts is not before:
        write(Path(file), accounts, int(owner[0]) if owner else None)


def read(file: Path) -> dict[str, Any] | None:
    """The accounts there are; None when there is no file, or one that was cut short."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("clients"), list) else None


def with_service(before: dict[str, Any] | None, password: str, salt: bytes) -> dict[str, Any]:
    """The accounts with the service's log-in as given; the same object when nothing has to change."""
    if before is None:
        return first_accounts(password, salt)
    others = [client for client in before["clients"] if client.get("username") != SERVICE]
    own = [client for client in before["clients"] if client.get("username") == SERVICE]
    if own and opens(own[0], password):
        return before
    return before | {"clients": [*first_accounts(password, salt)["clients"], *others]}


def opens(client: dict[str, Any], password: str) -> bool:
    """Whether a password is a client's (PBKDF2 with SHA-512, as the plugin keeps it)."""
    try:
        salt, kept = base64.b64decode(client["salt"]), base64.b64decode(client["password"])
        tried = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, int(client["iterations"]))
    except (KeyError, ValueError, TypeError):
        return False
    return hmac.compare_digest(tried, kept)


def write(file: Path, accounts: dict[str, Any], owner: int | None) -> None:
    """Whole or not at all, readable by its owner alone."""
    half = file.with_name(f"{file.name}.half")
    half.touch(0o600)
    half.write_text(json.dumps(accounts, indent=1), encoding="utf-8")
    if owner is not None:
        os.chown(half, owner, owner)
    half.replace(file)


if __name__ == "__main__":
    main()
