"""Processor seconds of processes, as the kernel counts them."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICKS_S = os.sysconf("SC_CLK_TCK")
PROCESSES = Path("/proc")


@dataclass(frozen=True, slots=True)
class _Line:
    """What the kernel says of a process: its parent, its own seconds, and those of children that have ended."""

    parent: int
    own_s: float
    ended_s: float


def _lines() -> dict[int, _Line]:
    found = {}
    for folder in PROCESSES.iterdir():
        if folder.name.isdigit():
            with suppress(OSError):  # it has ended meanwhile
                fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                user, system, ended_user, ended_system = (int(field) / TICKS_S for field in fields[11:15])
                found[int(folder.name)] = _Line(int(fields[1]), user + system, ended_user + ended_system)
    return found


def parent_of(pid: int) -> int:
    return _lines()[pid].parent


def spent_s(root: int, *, without: Collection[int] = ()) -> float:
    """What a process and all its descendants have used so far; `without` are left out with theirs."""
    lines = _lines()
    seconds, below = 0.0, [root]
    while below:
        pid = below.pop()
        seconds += lines[pid].own_s + lines[pid].ended_s
        below += [child for child, line in lines.items() if line.parent == pid and child not in without]
    return seconds
