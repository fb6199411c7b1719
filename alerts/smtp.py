"""One letter over one SMTP conversation, and what its end means: the only place that speaks SMTP.

The conversation is walked step by step, because only the step tells what a failure means: before the end of the data
nothing was taken over, after it nobody knows. One recipient a transaction, so that a bad address blocks nobody else.
"""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Delivered:
    """The server has taken it over."""

    code: int


@dataclass(frozen=True, slots=True)
class Later:
    """Not taken, for now. `at_least_s`: not sooner. `everybody`: the server is busy, not this recipient.

    `about_us`: the server would take mail for this domain, but not from us: no fault of the address.
    """

    why: str
    code: int | None = None
    at_least_s: float = 0.0
    everybody: bool = False
    about_us: bool = False


@dataclass(frozen=True, slots=True)
class Unreachable:
    """There was no conversation at all; the rows are as they were."""

    why: str


@dataclass(frozen=True, slots=True)
class Refused:
    """This recipient's address is refused for good."""

    code: int
    why: str


@dataclass(frozen=True, slots=True)
class TooMuch:
    """The content is refused for good."""

    code: int
    why: str


@dataclass(frozen=True, slots=True)
class Unsure:
    """All was said and no answer came: it may have been taken over."""

    why: str


@dataclass(frozen=True, slots=True)
class Barred:
    """The log-in is refused or there is no TLS: nothing may be sent until a person has mended it."""

    why: str


Result = Delivered | Later | Unreachable | Refused | TooMuch | Unsure | Barred

GREYLIST_S = 300.0
WANTS_LOGIN = (530, 534, 535)
"""Said to us, whomever the mail is for (RFC 4954, 6)."""
ABOUT_US = re.compile(
    r"\brelay|rcpthosts|sender address rejected|client (host )?(address )?(rejected|blocked)|not permitted to send",
    re.IGNORECASE,
)
"""How servers say at RCPT that it is who sends, or from where, that they mind; none of the codes says it."""
ADDRESSES = re.compile(r"\S+@\S+")
CONNECT_TIMEOUT_S = 20.0
ANSWER_TIMEOUT_S = 120.0
"""For the answer after the data. RFC 5321, 4.5.3.2.6 suggests ten minutes; whoever hangs up earlier does not know."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class WrongServer(ValueError):
    """An address of a mail server that cannot be used. The text says what it should be."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where and how to hand mails in. `tls`: "starttls", "implicit", or "none" for the machine's own sink."""

    host: str
    port: int
    tls: str
    user: str | None = None
    password: str | None = None
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    answer_timeout_s: float = ANSWER_TIMEOUT_S

    def __repr__(self) -> str:
        """Without the password: this is what a log would show."""
        return f"Server({self.host}:{self.port}, tls={self.tls}, user={self.user})"


SCHEMES = {"smtp": ("none", 25), "smtp+starttls": ("starttls", 587), "smtps": ("implicit", 465)}


def server_of(url: str, *, plain_allowed: bool = False) -> Server:
    """The server of an address. Raises WrongServer, also for clear text to another machine unless it was allowed."""
    parts = urlsplit(url)
    try:
        tls, usual = SCHEMES[parts.scheme]
        host, port = parts.hostname, parts.port or usual
    except (KeyError, ValueError) as error:
        raise WrongServer("should be smtp+starttls://user:password@host:port or smtps://…") from error
    if not host or parts.path.strip("/") or parts.query:
        raise WrongServer("should name a host and a port, nothing behind them")
    if tls == "none" and host not in LOOPBACK and not plain_allowed:
        raise WrongServer(
            f"would send mail to {host} in clear text; use smtp+starttls:// or smtps://, or allow it expressly"
        )
    user = None if parts.username is None else unquote(parts.username)
    if tls == "none" and user is not None:
        raise WrongServer("would send a password in clear text; use smtp+starttls:// or smtps://")
    return Server(host, port, tls, user, None if parts.password is None else unquote(parts.password))


class Probe(Protocol):
    """Told where a conversation stands; tests end the process there."""

    def __call__(self, point: str) -> None: ...


def unobserved(point: str) -> None:
    """Nobody watches."""


class Mailer:
    """A connection that is opened when needed and used again. Not to be used by two threads at once."""

    def __init__(self, server: Server, *, context: ssl.SSLContext | None = None, probe: Probe = unobserved) -> None:
        self._server = server
        self._context = context or ssl.create_default_context()
        self._probe = probe
        self._open: smtplib.SMTP | None = None

    def deliver(self, sender: str, recipient: str, letter: bytes) -> Result:
        """One transaction. Never raises for what a server or the network does."""
        used_before = self._open is not None
        begun = self._begin(sender)
        if used_before and isinstance(begun, Later) and begun.code is None:
            begun = self._begin(sender)  # the server had hung up on a connection that was idle
        if begun is not None:
            return begun
        assert self._open is not None, "begun"
        result = self._hand_over(self._open, recipient, letter)
        if not isinstance(result, Delivered):
            self._leave(isinstance(result, Refused | TooMuch | Later | Barred))
        return result

    def close(self) -> None:
        """Say goodbye; what the server thinks of it does not matter."""
        self._leave(True)

    def _begin(self, sender: str) -> Result | None:
        """Connected and the sender accepted; otherwise what stands in the way."""
        if self._open is None:
            barred = self._connect()
            if barred is not None:
                return barred
        assert self._open is not None, "connected"
        try:
            code, said = self._open.mail(sender, ["body=8bitmime"] if self._open.has_extn("8bitmime") else [])
        except (smtplib.SMTPException, OSError) as error:
            self._leave(False)
            return Later(f"hung up at MAIL: {error}", everybody=True)
        if code == 250:
            return None
        self._leave(True)
        if code in WANTS_LOGIN:
            return Barred(f"{code} {_words(said)}")
        return Later(f"{code} {_words(said)} at MAIL", code, everybody=True)

    def _connect(self) -> Result | None:
        server = self._server
        try:
            self._open = self._opened()
            self._open.ehlo_or_helo_if_needed()
            if server.tls == "starttls":
                self._open.starttls(context=self._context)
                self._open.ehlo()
            if server.user is not None:
                self._open.login(server.user, server.password or "")
        except smtplib.SMTPNotSupportedError as error:
            self._leave(False)
            return Barred(f"{server.host}:{server.port}: {error}")
        except smtplib.SMTPAuthenticationError as error:
            self._leave(False)
            if 400 <= error.smtp_code < 500:
                return Unreachable(f"{server.host}:{server.port}: log-in, {error.smtp_code} {_words(error.smtp_error)}")
            return Barred(f"{server.host}:{server.port}: log-in, {error.smtp_code} {_words(error.smtp_error)}")
        except (smtplib.SMTPException, OSError) as error:
            self._leave(False)
            return Unreachable(f"{server.host}:{server.port}: {error}")
        return None

    def _opened(self) -> smtplib.SMTP:
        server, name = self._server, socket.gethostname()
        if server.tls == "implicit":
            return smtplib.SMTP_SSL(
                server.host, server.port, name, timeout=server.connect_timeout_s, context=self._context
            )
        return smtplib.SMTP(server.host, server.port, name, timeout=server.connect_timeout_s)

    def _hand_over(self, smtp: smtplib.SMTP, recipient: str, letter: bytes) -> Result:
        try:
            code, said = smtp.rcpt(recipient)
            if code not in (250, 251):
                return _at_recipient(code, _words(said))
            code, said = smtp.docmd("DATA")
            if code != 354:
                return _at_data(code, _words(said))
            self._probe("while sending")
            smtp.send(_stuffed(letter))
        except (smtplib.SMTPException, OSError) as error:
            # The end of the data was not sent, so the server cannot have taken anything over.
            self._leave(False)
            return Later(f"cut off before the end of the data: {error}")
        return self._answer(smtp)

    def _answer(self, smtp: smtplib.SMTP) -> Result:
        try:
            if smtp.sock is not None:
                smtp.sock.settimeout(self._server.answer_timeout_s)
            code, said = smtp.getreply()
            if smtp.sock is not None:
                smtp.sock.settimeout(self._server.connect_timeout_s)
        except (smtplib.SMTPException, OSError) as error:
            self._leave(False)
            return Unsure(f"no answer after the end of the data: {error}")
        self._probe("after 250")
        return Delivered(code) if code == 250 else _at_data(code, _words(said))

    def _leave(self, politely: bool) -> None:
        smtp, self._open = self._open, None
        if smtp is None:
            return
        try:
            if politely:
                smtp.quit()
        except (smtplib.SMTPException, OSError):
            pass
        finally:
            smtp.close()


def _at_recipient(code: int, said: str) -> Result:
    if code < 500:
        everybody = code == 421
        return Later(f"{code} {said} at RCPT", code, 0.0 if everybody else GREYLIST_S, everybody)
    if code in WANTS_LOGIN:
        return Barred(f"{code} {said}")
    if ABOUT_US.search(ADDRESSES.sub("", said)):
        return Later(f"{code} {said} at RCPT", code, GREYLIST_S, about_us=True)
    return Refused(code, said)


def _at_data(code: int, said: str) -> Result:
    return TooMuch(code, said) if code >= 500 else Later(f"{code} {said} at DATA", code, everybody=code == 421)


def _words(said: bytes | str) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return " ".join(text.split())[:500]


def _stuffed(letter: bytes) -> bytes:
    """With the dots doubled that begin a line, and the line that ends it all (RFC 5321, 4.5.2)."""
    lines = letter.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    return b"".join((b"." + line if line.startswith(b".") else line) + b"\r\n" for line in lines) + b".\r\n"
