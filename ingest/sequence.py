"""Which numbers of a gateway's messages are missing. Pure.

A gap is (first, last), both included. Numbers are judged in order of arrival:

- above the last one: what lies between is a gap;
- inside a gap: it fills its place, which shortens, splits or closes the gap;
- 0 or 1 after at least RESTART_FROM messages, or more than JUMP_MAX away from the last one in either direction:
  the gateway counts anew, and nobody can be asked for the numbers of the old count, so its gaps are dropped;
- any other number below the last one is a repetition and changes nothing. A gateway that counts anew before
  RESTART_FROM is taken for one that repeats itself until it passes its old count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

RESTART_FROM = 1000
"""From this last number on a 0 or 1 is a new count: a repetition would have had to wait for a thousand messages."""
JUMP_MAX = 100_000
"""Widest gap. At a message a second it is more than a day; no gateway keeps more to send again."""
GAPS_MAX = 100
"""Most open gaps of one gateway. The oldest go first, so numbers that lie cannot fill the table."""

Gap = tuple[int, int]


class Followed(NamedTuple):
    """Last number and open gaps in ascending order, how many gaps were given up because there were too many, and where
    the count began anew: (last number of the old, first of the new)."""

    last_seq: int | None
    gaps: list[Gap]
    dropped: int
    anew: Sequence[tuple[int, int]] = ()


def follow(last_seq: int | None, gaps: Sequence[Gap], seen: Iterable[int]) -> Followed:
    """The count after one group. `last_seq` is None before a gateway's first number; `gaps` lie below it, ascending."""
    still_open = list(gaps)
    dropped = 0
    anew: list[tuple[int, int]] = []
    for seq in seen:
        filled = next((gap for gap in still_open if gap[0] <= seq <= gap[1]), None)
        if filled is not None:
            place = still_open.index(filled)
            still_open[place : place + 1] = _around(filled, seq)
        elif last_seq is None or _counts_anew(last_seq, seq):
            if last_seq is not None:
                anew.append((last_seq, seq))
            last_seq, still_open = seq, []
        elif seq > last_seq:
            if seq > last_seq + 1:
                still_open.append((last_seq + 1, seq - 1))
            last_seq = seq
        excess = max(0, len(still_open) - GAPS_MAX)
        del still_open[:excess]
        dropped += excess
    return Followed(last_seq, still_open, dropped, anew)


def in_step(last_seq: int | None, seen: Sequence[int]) -> bool:
    """Whether the numbers just go on from the last one, or repeat it: no gap is opened and none is filled."""
    if last_seq is None or not seen:
        return last_seq is not None
    if seen[0] - last_seq in (0, 1) and seen == list(range(seen[0], seen[0] + len(seen))):
        return True  # the commonest case, at the speed of one comparison
    return all(now in (before, before + 1) for before, now in zip((last_seq, *seen), seen, strict=False))


def _around(gap: Gap, seq: int) -> list[Gap]:
    """What is left of a gap in which one number was filled."""
    return [part for part in ((gap[0], seq - 1), (seq + 1, gap[1])) if part[0] <= part[1]]


def _counts_anew(last_seq: int, seq: int) -> bool:
    return abs(seq - last_seq) > JUMP_MAX or (seq <= 1 and last_seq >= RESTART_FROM)
