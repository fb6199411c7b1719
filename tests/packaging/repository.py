"""Where the files of a release lie, and the small readers that several tests share."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
LOCKS = ("run.txt", "dev.txt", "build.txt")


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def project() -> dict[str, Any]:
    return tomllib.loads(text("pyproject.toml"))


def compose() -> dict[str, Any]:
    found = yaml.safe_load(text("compose.yaml"))
    assert isinstance(found, dict)
    return found


def canonical(name: str) -> str:
    """PEP 503's form of a package's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lock: str) -> dict[tuple[str, str], tuple[str, list[str]]]:
    """(name, marker) → version and hashes. Raises ValueError for a line that is neither a pin nor its hash."""
    found: dict[tuple[str, str], tuple[str, list[str]]] = {}
    for line in text(f"requirements/{lock}").replace("\\\n", " ").splitlines():
        requirement, *hashes = re.split(r"\s+--hash=", line.strip())
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!+_-]+)(?:\s*;\s*(.+))?", requirement)
        if match is None:
            raise ValueError(f"{lock}: not a pin: {line!r}")
        found[canonical(match[1]), match[3] or ""] = (match[2], [digest.strip() for digest in hashes])
    return found


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """(INSTRUCTION, arguments) in order; comments dropped, continued lines joined."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\s*\n", " ", "\n".join(lines))
    pairs = (line.strip().partition(" ") for line in joined.splitlines() if line.strip())
    return [(word.upper(), rest.strip()) for word, _, rest in pairs]
