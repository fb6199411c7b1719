"""The mail sink of the local stack: what the service would send can be read in a folder."""

from __future__ import annotations

import signal
import smtplib
import sys
from pathlib import Path

from app.stack.process import Server, free_port, last_lines, start, started_with, within
from app.stack.trouble import StackTrouble

START_DEADLINE_S = 20.0


class MailServer(Server):
    """One mail sink below a folder; it runs as ourselves, since only we can read our own Python."""

    name = "mail"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.mails = folder / "mails"
        super().__init__(folder)

    def up(self) -> None:
        if self.record.process() is not None:
            return
        self.mails.mkdir(parents=True, exist_ok=True)
        for forgotten in started_with(self.mails):  # a crash between its start and its record
            forgotten.end(self.stop_signal)
        port = free_port(self.record.port())
        command = [sys.executable, "-m", "app.stack.mailsink", str(port), self.mails]
        process = start(command, self.log, user=None, folder=Path(__file__).parents[2])
        self.record.write(process, port)
        if not within(START_DEADLINE_S, lambda: _greets(port) or not process.alive()) or not process.alive():
            process.end(signal.SIGTERM)
            raise StackTrouble(f"the mail sink did not start; the end of {self.log}:\n{last_lines(self.log)}")

    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.record.port()}"


def _greets(port: int) -> bool:
    try:
        with smtplib.SMTP("127.0.0.1", port, timeout=2) as client:
            return client.noop()[0] == 250
    except (OSError, smtplib.SMTPException):
        return False
