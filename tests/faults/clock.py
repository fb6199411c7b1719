"""A clock of the day that can be set for one machine's worth of processes, and for nobody else.

A few lines of C stand between the processes and the kernel. Where there is no compiler nothing is shifted, and the
tests that need it say so.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")
COMPILER = shutil.which("cc") or shutil.which("gcc")


class MachineClock:
    """The clock that processes with `environment` see; it is off by nothing until it is set."""

    def __init__(self, folder: Path) -> None:
        self._offset = folder / "clock.offset"
        self._library = folder / "clock.so"
        self._offset.write_bytes(struct.pack("=q", 0))
        if COMPILER is not None:
            build = [COMPILER, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(self._library), str(SOURCE)]
            subprocess.run(build, check=True, timeout=60)

    @property
    def can_be_set(self) -> bool:
        return COMPILER is not None

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process is started with to see it."""
        if not self.can_be_set:
            return {}
        return {"LD_PRELOAD": str(self._library), "TCEWATCH_TEST_CLOCK": str(self._offset)}

    def set(self, off_s: int) -> None:
        """From now on it is so many seconds ahead of the true time; negative: behind."""
        with self._offset.open("r+b") as file:
            file.write(struct.pack("=q", off_s))
