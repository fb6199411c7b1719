"""What the alert engine will ask of the rest of the service.

The engine itself is the next step. These protocols stand now so that the rooms that answer them (`app.store`, `energy`)
and the room that asks them (`alerts`) grow towards each other and never import one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol


@dataclass(frozen=True, slots=True)
class BudgetOutlook:
    """Where one enterprise's year is heading, as of one moment.

    Energies in tce on the budget's own basis, net. `p_over` in 0..1: probability that the year's total exceeds the
    budget. `coverage` in 0..1: measured share of the last 30 days; below 0.9 no level may be raised on it.
    """

    enterprise: str
    year: int
    as_of_us: int
    budget_tce: Decimal
    spent_tce: Decimal
    projected_tce: Decimal
    low80_tce: Decimal
    high80_tce: Decimal
    p_over: float
    coverage: float


class ProjectionSource(Protocol):
    """Answers the outlook of every enterprise that has a budget for the year."""

    async def outlooks(self, year: int, as_of_us: int) -> Sequence[BudgetOutlook]: ...


class AlertBook(Protocol):
    """Keeps alerts and what is to be told about them; a transition and its notices are one transaction."""

    async def record(self, outlook: BudgetOutlook, level: str, reason: str, seq: int) -> bool:
        """Append transition number `seq` of this enterprise and year; False when somebody else already wrote it."""
