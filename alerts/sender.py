"""The loop that sends what is in the outbox; several may run. Declares OutboxBook, which `app.store` keeps.

A row is claimed by a lease, rendered, sent in a transaction of its own and settled. A sender that dies leaves its
lease, and when that has run out nobody knows whether the mail went: it is tried once more under the same Message-ID,
never a third time.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from alerts.mail import Letter, LetterUnusable, Sender, fallback, mailbox, render
from alerts.smtp import (
    Barred,
    Delivered,
    Later,
    Mailer,
    Refused,
    Result,
    TooMuch,
    Unreachable,
    Unsure,
    server_of,
)

log = logging.getLogger(__name__)

LEASE = timedelta(minutes=5)
"""Longer than the longest conversation: two minutes for the answer after the data, and a third of one for each step."""
UNSURE_WAIT = timedelta(minutes=15)
GIVE_UP_AFTER = timedelta(hours=72)
BACKOFF_MOST = timedelta(minutes=60)
JITTER = 0.2
CIRCUIT_FIRST_S, CIRCUIT_MOST_S = 30.0, 600.0


@dataclass(frozen=True, slots=True)
class Row:
    """A claimed row of the outbox."""

    outbox_id: int
    alert_id: int | None
    seq: int
    recipient_id: int
    message_id: str
    references: str | None
    email: str
    name: str
    language: str
    payload: Mapping[str, Any]
    attempts: int
    doubts: int
    plain: bool
    tried_since: datetime


@dataclass(frozen=True, slots=True)
class Settled:
    """What a row becomes. `next_at` None: it is done with. `address_bad`: the recipient cannot be reached there."""

    state: str
    next_at: datetime | None = None
    code: int | None = None
    error: str | None = None
    plain: bool = False
    doubts: int = 0
    address_bad: bool = False


class OutboxBook(Protocol):
    """Keeps the outbox. Each call is one transaction; `now` is the time."""

    async def claim(self, owner: str, now: datetime, until: datetime) -> Row | None:
        """The next row that is due, leased; what exceeds a recipient's limit is put into a digest instead."""

    async def settle(self, row: Row, owner: str, settled: Settled, now: datetime) -> bool:
        """Write down what became of a row; False when the lease was lost meanwhile.

        For one that failed the next contact is told in the same transaction.
        """

    async def alarm(self, kind: str, subject: str, detail: str, now: datetime) -> None:
        """Something is wrong with the platform itself: kept open until cleared, repeated ones are counted."""

    async def clear_alarm(self, kind: str, subject: str, now: datetime) -> None: ...


def settle(row: Row, result: Result, now: datetime, chance: float) -> Settled:
    """What a row becomes after a conversation. Pure; `chance` in 0..1 spreads the retries by ± 20 %."""
    match result:
        case Delivered(code):
            return Settled("sent", code=code, doubts=row.doubts, plain=row.plain)
        case Unsure(why):
            return doubted(row, now, why)
        case Refused(code, why):
            return Settled("failed", code=code, error=why, doubts=row.doubts, plain=row.plain, address_bad=True)
        case TooMuch(code, why) if not row.plain:
            return Settled("retry", now, code, why, plain=True, doubts=row.doubts)
        case TooMuch(code, why):
            return Settled("failed", code=code, error=why, plain=True, doubts=row.doubts)
        case Later(why, code, at_least_s):
            return _again(row, now, chance, why, code, timedelta(seconds=at_least_s))
        case Unreachable(why) | Barred(why):
            return _again(row, now, chance, why, None, timedelta(0))


def doubted(row: Row, now: datetime, why: str) -> Settled:
    """Nobody knows whether it went: once more after a quarter of an hour, then it is left as `uncertain`."""
    doubts = row.doubts + 1
    next_at = now + UNSURE_WAIT if doubts == 1 else None
    return Settled("uncertain", next_at, error=why, plain=row.plain, doubts=doubts)


def _again(row: Row, now: datetime, chance: float, why: str, code: int | None, at_least: timedelta) -> Settled:
    if now - row.tried_since >= GIVE_UP_AFTER:
        return Settled("failed", code=code, error=f"given up after 72 h: {why}", plain=row.plain, doubts=row.doubts)
    wait = max(backoff(row.attempts, chance), at_least)
    return Settled("retry", now + wait, code, why, row.plain, row.doubts)


def backoff(attempts: int, chance: float) -> timedelta:
    """1, 2, 4 … 60 minutes after the first, second, third … attempt, ± 20 %."""
    whole = min(timedelta(minutes=1 << min(max(attempts, 1) - 1, 10)), BACKOFF_MOST)
    return whole * (1 + JITTER * (2 * chance - 1))


def circuit_pause_s(failures: int) -> float:
    """How long a server that cannot be reached is left alone, in seconds."""
    return min(CIRCUIT_FIRST_S * (1 << min(max(failures, 1) - 1, 10)), CIRCUIT_MOST_S)


class MailSender:
    """Sends until told to stop. A server that bars us stops it, with an alarm, until the process is started anew."""

    name = "mail sender"

    def __init__(
        self,
        book: OutboxBook,
        url: str,
        sender: Sender,
        *,
        clock: Callable[[], datetime],
        per_minute: float = 120,
        plain_allowed: bool = False,
        idle_s: float = 2.0,
        mailer: Callable[[], Mailer] | None = None,
    ) -> None:
        self._book = book
        self._sender = sender
        self._clock = clock
        self._gap_s = 60.0 / per_minute
        self._idle_s = idle_s
        self._make = mailer or (lambda: Mailer(server_of(url, plain_allowed=plain_allowed)))
        self._owner = f"sender-{secrets.token_hex(6)}"
        self._failures = 0
        self.barred = False
        self._mailer: Mailer | None = None

    async def run(self, until: asyncio.Event) -> None:
        """Never ends by itself; what the outbox's database does is waited out."""
        try:
            while not until.is_set():
                wait_s = await self._turn()
                if self.barred:
                    # Trying a refused password again and again locks the account; a person has to mend it.
                    await until.wait()
                await self._wait(until, wait_s)
        finally:
            await self._close()

    async def _close(self) -> None:
        if self._mailer is not None:
            await asyncio.to_thread(self._mailer.close)

    async def _turn(self) -> float:
        try:
            return await self.one()
        except Exception:
            log.exception("a turn of the mail sender failed")
            return 10 * self._idle_s

    async def _wait(self, until: asyncio.Event, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await until.wait()

    async def drain(self) -> int:
        """Send what is due, without pace, until nothing is due or the server cannot be used. Answers how many went."""
        sent = 0
        try:
            while (row := await self._claim()) is not None:
                result = await self._send(row)
                sent += isinstance(result, Delivered)
                if isinstance(result, Barred | Unreachable):
                    break
        finally:
            await self._close()
        return sent

    async def one(self) -> float:
        """One row at most; answers the seconds to wait before the next."""
        row = await self._claim()
        if row is None:
            await self._close()
            return self._idle_s
        result = await self._send(row)
        match result:
            case Barred():
                self.barred = True
                return 0.0
            case Unreachable() | Later(everybody=True):
                self._failures += 1
                return circuit_pause_s(self._failures)
            case _:
                self._failures = 0
                return self._gap_s

    async def _claim(self) -> Row | None:
        now = self._clock()
        return await self._book.claim(self._owner, now, now + LEASE)

    async def _send(self, row: Row) -> Result | None:
        """Render first, connect second."""
        letter = letter_of(row)
        try:
            raw = await asyncio.to_thread(render, letter, self._sender, self._clock())
        except LetterUnusable as error:
            return await self._unusable(row, letter, error)
        result = await self._deliver(row, raw)
        await self._note(row, result)
        return result

    async def _deliver(self, row: Row, raw: bytes) -> Result:
        if self._mailer is None:
            self._mailer = self._make()
        result = await asyncio.to_thread(self._mailer.deliver, self._sender.email, mailbox(row.email), raw)
        facts = {"outbox_id": row.outbox_id, "result": type(result).__name__, "attempt": row.attempts}
        level = logging.INFO if isinstance(result, Delivered) else logging.WARNING
        log.log(level, "mail", extra=facts | {"why": getattr(result, "why", None)})
        return result

    async def _note(self, row: Row, result: Result) -> None:
        now = self._clock()
        settled = settle(row, result, now, random.random())
        if not await self._book.settle(row, self._owner, settled, now):
            log.warning("the lease of a mail was lost while it was sent", extra={"outbox_id": row.outbox_id})
        match result:
            case Barred(why):
                await self._book.alarm("smtp-barred", "smtp", why, now)
                log.error("the mail server bars us; nothing is sent until that is mended", extra={"why": why})
            case Unreachable(why):
                await self._book.alarm("smtp-unreachable", "smtp", why, now)
            case Later(why, code, everybody=True) if code is not None and code >= 500:
                # Not this mail but all of them: the address we write from, or a rule of the server.
                await self._book.alarm("smtp-refused", "smtp", why, now)
            case Later(why, about_us=True):
                # A server may take mail for its own domains and for no others: an alarm for each domain it minds.
                await self._book.alarm("smtp-refused", domain_of(row.email), without(row.email, why), now)
            case Delivered():
                await self._book.clear_alarm("smtp-refused", domain_of(row.email), now)
                for kind in ("smtp-unreachable", "smtp-barred", "smtp-refused"):
                    await self._book.clear_alarm(kind, "smtp", now)
            case _:
                pass
        if settled.state == "failed":
            await self._book.alarm("mail-failed", row.email, settled.error or "", now)

    async def _unusable(self, row: Row, letter: Letter, error: LetterUnusable) -> Result | None:
        """The template failed: an alarm, and the plain facts once. What cannot be addressed at all has failed."""
        now = self._clock()
        await self._book.alarm("mail-template", row.payload.get("kind", "digest"), error.why, now)
        try:
            raw = fallback(letter, self._sender, now)
        except LetterUnusable as worse:
            settled = Settled("failed", error=worse.why, doubts=row.doubts, plain=True, address_bad=True)
            await self._book.settle(row, self._owner, settled, now)
            await self._book.alarm("mail-failed", row.email or str(row.recipient_id), worse.why, now)
            return None
        result = await self._deliver(row, raw)
        await self._note(replace(row, plain=True), result)
        return result


def domain_of(email: str) -> str:
    return email.rpartition("@")[2].lower()


def without(email: str, why: str) -> str:
    """What a server said, without whom it said it of: an alarm about a domain is shown to all who write to it."""
    return re.sub(re.escape(email), "…", why, flags=re.IGNORECASE)


def letter_of(row: Row) -> Letter:
    return Letter(row.message_id, row.references, row.email, row.name, row.language, row.payload, bare=row.plain)
