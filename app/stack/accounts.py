"""The first accounts of a broker that runs in a container: `python -m app.stack.accounts FILE OWNER`.

The password of the service's account is BROKER_PASSWORD; OWNER is the number of the user the broker runs as.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from pathlib import Path

from app.stack.broker import first_accounts, readable
from app.stack.places import write_for

PASSWORD_VARIABLE = "BROKER_PASSWORD"  # noqa: S105  # the name of the variable, not a password


def write_first_accounts(file: Path, password: str, owner: int) -> bool:
    """Write the dynamic-security file unless a whole one is there; says whether it was written.

    The file is closed to all but its owner. Raises OSError when the folder cannot be written.
    """
    if readable(file):
        return False
    write_for(None, file, json.dumps(first_accounts(password, secrets.token_bytes(12)), indent=1))
    for path in (file.parent, file):  # the broker writes its changes beside the file before it replaces it
        os.chown(path, owner, owner)
    return True


def main(arguments: list[str], environment: dict[str, str]) -> str:
    """What was done, or SystemExit with what is missing."""
    password = environment.get(PASSWORD_VARIABLE)
    if len(arguments) != 2 or not arguments[1].isdigit():
        raise SystemExit("usage: python -m app.stack.accounts FILE OWNER")
    if not password:
        raise SystemExit(f"{PASSWORD_VARIABLE} is not set: it becomes the password of the service's broker account")
    written = write_first_accounts(Path(arguments[0]), password, int(arguments[1]))
    return f"{arguments[0]}: {'written' if written else 'there already'}"


if __name__ == "__main__":
    sys.stdout.write(main(sys.argv[1:], dict(os.environ)) + "\n")
