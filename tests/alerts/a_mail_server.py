"""A mail server that misbehaves on demand, at the step of the conversation the test names; keeps what it took over."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from typing import Any

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.e2e.service import free_port

CUT, SLOW = "cut", "slow"


@dataclass
class MailServer:
    """`faults`: for each conversation's step (MAIL, RCPT, DATA) the answers it gives first; then all is well.

    The answer `cut` takes the mail over and hangs up; `slow` takes it over and answers after `slow_s`.
    """

    port: int = field(default_factory=free_port)
    faults: dict[str, list[str]] = field(default_factory=dict)
    slow_s: float = 1.0
    kept: list[tuple[str, bytes]] = field(default_factory=list)
    conversations: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    def mails(self) -> list[EmailMessage]:
        return [BytesParser(EmailMessage, policy=default).parsebytes(raw) for _, raw in self.kept]

    def ids(self) -> list[str]:
        return [str(mail["Message-ID"]) for mail in self.mails()]

    def _next(self, step: str) -> str | None:
        with self._lock:
            answers = self.faults.get(step)
            return answers.pop(0) if answers else None

    async def handle_MAIL(  # noqa: N802  # aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        with self._lock:
            self.conversations += 1
        fault = self._next("MAIL")
        if fault is None:
            envelope.mail_from = address
            return "250 ok"
        return fault

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        fault = self._next(f"RCPT {address}") or self._next("RCPT")
        if fault is None:
            envelope.rcpt_tos.append(address)
            return "250 ok"
        return fault

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's name
        fault = self._next("DATA")
        if fault is None or fault in (CUT, SLOW):
            with self._lock:
                self.kept.append((envelope.rcpt_tos[0], envelope.original_content or b""))
        if fault == CUT:
            assert isinstance(server.transport, asyncio.WriteTransport)
            server.transport.abort()
        if fault == SLOW:
            await asyncio.sleep(self.slow_s)
        return fault if fault is not None and fault not in (CUT, SLOW) else "250 kept"


@contextmanager
def serving(server: MailServer, **options: Any) -> Iterator[MailServer]:
    """The server, answering while the block runs."""
    controller = Controller(server, hostname="127.0.0.1", port=server.port, **options)
    controller.start()
    try:
        yield server
    finally:
        controller.stop()


def only(user: str, password: str) -> Callable[..., AuthResult]:
    """An authenticator that lets one account in."""

    def check(server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: Any) -> AuthResult:
        ok = isinstance(given, LoginPassword) and (given.login, given.password) == (user.encode(), password.encode())
        return AuthResult(success=ok, handled=False)

    return check


@dataclass(frozen=True, slots=True)
class Certificate:
    """A server's certificate for 127.0.0.1, and what a client has to trust for it."""

    server: ssl.SSLContext
    client: ssl.SSLContext

    @classmethod
    def made(cls) -> Certificate:
        authority = trustme.CA()
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(server)
        client = ssl.create_default_context()
        authority.configure_trust(client)
        return cls(server, client)
