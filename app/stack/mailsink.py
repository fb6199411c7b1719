"""A mail server that keeps every mail as a file and sends none on: `python -m app.stack.mailsink PORT FOLDER`."""

from __future__ import annotations

import itertools
import signal
import sys
import time
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session


class MailFolder:
    """Writes each accepted mail whole or not at all; the name sorts by time of arrival."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's name
        name = f"{time.time_ns()}-{next(self._numbers):06d}.eml"
        half = self._folder / f"{name}.half"
        half.write_bytes(envelope.original_content or b"")
        half.replace(self._folder / name)
        return "250 kept"


def main() -> None:
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    controller = Controller(MailFolder(folder), hostname="127.0.0.1", port=port)
    controller.start()
    signal.sigwait(stop)
    controller.stop()


if __name__ == "__main__":
    main()
