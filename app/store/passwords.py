"""Passwords: what one must look like, how it is kept, and how long wrong ones make a person wait.

Argon2id with the parameters argon2-cffi takes from RFC 9106 (its low-memory choice: 64 MiB, three passes).
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

SHORTEST, LONGEST = 12, 256
"""Length is what makes a password; NIST SP 800-63B asks for no mixture of signs. The upper end keeps hashing cheap."""
FREE_TRIES_ACCOUNT, FREE_TRIES_ADDRESS = 5, 30
"""Wrong tries before the first wait. Many people may sit behind one address."""
FIRST_WAIT_S, LONGEST_WAIT_S = 30, 900
FORGOTTEN_AFTER = timedelta(hours=24)
AT_ONCE = 2
"""Hashes computed at a time: each takes 64 MiB, and a flood of log-ins must not take the machine."""

_hasher = PasswordHasher()
# The hash of nothing anybody can type: an unknown name costs the same work as a known one.
NOBODYS_HASH = _hasher.hash("\x00" * 32)


class WeakPassword(ValueError):
    """The text says what is wrong with it."""


def checked_password(password: str, name: str) -> str:
    """The password if it may be one. Raises WeakPassword."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise WeakPassword(f"a password has {SHORTEST} to {LONGEST} characters")
    if name.lower() in password.lower() and len(password) - len(name) < SHORTEST:
        raise WeakPassword("the password is little more than the account's name")
    if len(set(password)) < 5:
        raise WeakPassword("the password repeats a few characters")
    return password


def wait_s(failures: int, free: int) -> int:
    """Seconds to wait after so many wrong tries in a row: none, then 30 s, doubled each time up to a quarter hour."""
    beyond = failures - free
    return 0 if beyond < 0 else min(FIRST_WAIT_S << min(beyond, 10), LONGEST_WAIT_S)


def waits_until(failures: int, last_at: datetime, free: int) -> datetime:
    """When the next try is heard."""
    return last_at + timedelta(seconds=wait_s(failures, free))


class Hashing:
    """Hashes in threads of their own, few at a time."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(AT_ONCE)

    async def hash(self, password: str) -> str:
        async with self._places:
            return await asyncio.to_thread(_hasher.hash, password)

    async def fits(self, password: str, kept: str | None) -> bool:
        """Whether it is the password. Without a kept hash the same work is done, and the answer is no."""
        async with self._places:
            found = await asyncio.to_thread(_fits, password, kept or NOBODYS_HASH)
        return found and kept is not None


def _fits(password: str, kept: str) -> bool:
    try:
        return _hasher.verify(kept, password)
    except (VerificationError, InvalidHashError):
        return False
