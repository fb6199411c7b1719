"""What people put on the record about a meter: exchanges, what a held reading was, multipliers from a date on.

Readings say what a register showed; only a record says why it showed it. Nothing here is guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from energy.reading import MAX_ABS_VALUE


class Saying(StrEnum):
    """What a person may say that a reading was."""

    REAL = "real"
    """The meter did show it and the energy did flow, however fast."""
    ROLLOVER = "rollover"
    """The register began again at zero; `amount` is the range it counts to."""
    RESET = "reset"
    """The register lost its count and began again at `amount`; what it lost is not known and not guessed."""
    EXCHANGE = "exchange"
    """It is the new register's after an exchange, which is on the record with what both registers showed."""
    DISCARD = "discard"
    """It was nothing: a glitch of the meter or of the line."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the reading at `at_us` was. `amount` in the meter's raw unit, where the saying has one."""

    at_us: int
    says: Saying
    amount: float = 0.0


@dataclass(frozen=True, slots=True)
class Exchange:
    """At `at_us` a register that showed `old_final` was replaced by one that showed `new_initial`; raw units."""

    at_us: int
    old_final: float
    new_initial: float

    def __post_init__(self) -> None:
        for name in ("old_final", "new_initial"):
            value = getattr(self, name)
            if not 0 <= value <= MAX_ABS_VALUE:
                raise ValueError(f"{name} must be from 0 to {MAX_ABS_VALUE:g}, not {value}")


@dataclass(frozen=True, slots=True)
class MeterRecord:
    """All that is on the record of one meter, each list ascending in time.

    `multipliers` are (from when, how much): before the first of them the meter's own multiplier holds.
    """

    exchanges: tuple[Exchange, ...] = ()
    decisions: tuple[Decision, ...] = ()
    multipliers: tuple[tuple[int, Decimal], ...] = ()

    @property
    def judges(self) -> bool:
        """Whether it says anything about how readings are to be taken."""
        return bool(self.exchanges or self.decisions)

    def turns_us(self, start_us: int, end_us: int) -> list[int]:
        """When the multiplier changes inside (start, end)."""
        return [at_us for at_us, _ in self.multipliers if start_us < at_us < end_us]

    def multiplier_at(self, at_us: int, own: Decimal) -> Decimal:
        """The multiplier that holds at an instant; `own` is the meter's own one."""
        held = own
        for since_us, multiplier in self.multipliers:
            if since_us > at_us:
                break
            held = multiplier
        return held

    def exchanges_after(self, at_us: int | None) -> Iterator[Exchange]:
        """Exchanges later than an instant; all of them when there is none."""
        return (one for one in self.exchanges if at_us is None or one.at_us > at_us)

    def until(self, at_us: int) -> MeterRecord:
        """The record without exchanges later than an instant."""
        if not self.exchanges or self.exchanges[-1].at_us <= at_us:
            return self
        return replace(self, exchanges=tuple(one for one in self.exchanges if one.at_us <= at_us))


NO_RECORD = MeterRecord()
