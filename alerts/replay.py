"""The past once more: what would have fired, with these settings. Pure; nothing is written and nobody is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from alerts.decide import Alert, Key, inputs_of, is_over, judge, key_of
from alerts.evaluate import BudgetPosition, Position, signals
from alerts.notice import Reason
from alerts.rule import AlertSettings, Level
from alerts.states import Change, Phase


@dataclass(frozen=True, slots=True)
class Fired:
    """A transition that would have happened, and the reason for which somebody would have been written to, if any."""

    day: date
    key: Key
    change: Change
    reason: Reason | None
    inputs: Mapping[str, Any]


@dataclass(slots=True)
class Replay:
    """Alerts in memory. `settings` answers those of a region."""

    settings: Callable[[str], AlertSettings]
    alerts: dict[Key, Alert] = field(default_factory=dict)

    def evaluate(self, positions: Sequence[Position], day: date, now: datetime) -> Iterator[Fired]:
        """One day's positions; call it day by day."""
        for position in positions:
            settings, inputs = self.settings(position.region), inputs_of(position)
            if isinstance(position, BudgetPosition) and is_over(position.year, day, settings):
                continue
            for kind, signal in signals(settings, position):
                key = key_of(kind, position)
                verdict = judge(self.alerts.get(key), key, signal, settings, inputs, day=day, now=now, tell=True)
                if verdict is None:
                    continue
                self._keep(key, verdict.alert)
                reason = None if verdict.notice is None else verdict.notice.reason
                for change in verdict.changes:
                    last = change is verdict.changes[-1] or change.after.phase is Phase.CLOSED
                    yield Fired(day, key, change, reason if last else None, inputs)

    def _keep(self, key: Key, alert: Alert) -> None:
        if alert.state.phase is Phase.CLOSED:
            self.alerts.pop(key, None)
        else:
            self.alerts[key] = alert

    def standing(self) -> dict[Key, Level]:
        """What stands at the end, the alerts above green."""
        return {key: alert.state.level for key, alert in self.alerts.items() if alert.state.level > Level.GREEN}
