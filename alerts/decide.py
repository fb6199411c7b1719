"""One alert's day: what stands, what an evaluation says, what changes, and who is to be told. Pure.

The engine asks for each position; the store writes down what is answered, in one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

from alerts.evaluate import (
    BudgetPosition,
    DataPosition,
    IntegrityPosition,
    LinePosition,
    MeterPosition,
    Position,
)
from alerts.notice import Notice, Reason, Told, first_roles, reason_to_tell, steps_due, working_days
from alerts.rule import AlertSettings, Kind, Level, Role
from alerts.states import Change, Phase, Signal, State, close, evaluate, expired

NEW = State()
OF_A_PERIOD = frozenset({Kind.TREND, Kind.ACTUAL, Kind.PERIOD})
"""Alerts about a budget live as long as its year; the others end when what they told of has ended."""


@dataclass(frozen=True, slots=True)
class Key:
    """What an alert is about. At most one is open a key."""

    enterprise: str
    kind: Kind
    period: str
    subject: str


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert as it is kept. `told` is the level its recipients know, `worst` the highest it ever had.

    `escalates_from`: the local day from which working days without an acknowledgement count; `steps_done`: steps of the
    escalation table already taken. `facts`: what the last evaluation saw; `before`: what the recipients were told last.
    """

    key: Key
    alert_id: int | None = None
    state: State = NEW
    told: Level = Level.GREEN
    worst: Level = Level.GREEN
    escalates_from: date | None = None
    steps_done: int = 0
    raised_at: datetime | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    before: Mapping[str, Any] | None = None
    outcome: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an alert: the new record, the transitions on the way, and what is told, if anything.

    `was_told` and `told_before`: the level and figures that its recipients knew until now.
    """

    alert: Alert
    changes: tuple[Change, ...]
    notice: Notice | None
    was_told: Level
    told_before: Mapping[str, Any] | None = None


def key_of(kind: Kind, position: Position) -> Key:
    """The alert a position speaks of."""
    match position:
        case BudgetPosition():
            return Key(position.enterprise, kind, str(position.year), position.basis)
        case MeterPosition():
            return Key(position.enterprise, kind, "", position.meter)
        case LinePosition():
            return Key(position.enterprise, kind, "", position.line)
        case DataPosition() | IntegrityPosition():
            return Key(position.enterprise, kind, "", "")


def inputs_of(position: Position) -> dict[str, Any]:
    """What the evaluation saw, as plain JSON."""
    match position:
        case BudgetPosition():
            return {
                "day": position.day.isoformat(),
                "as_of": position.as_of.isoformat(),
                "budget": float(position.budget),
                "revision": position.revision,
                "spent": float(position.spent),
                "spent_measured": float(position.spent_measured),
                "planned": float(position.planned),
                "p_over": position.p_over,
                "projected": position.projected,
                "low80": position.low80,
                "high80": position.high80,
                "crossing": None if position.crossing is None else position.crossing.isoformat(),
                "cover30": position.cover30,
                "estimated30": position.estimated30,
                "late_s": position.late_s,
                "unmeasured_days": position.unmeasured_days,
                "assumed": position.assumed,
            }
        case DataPosition():
            return {
                "day": position.day.isoformat(),
                "as_of": position.as_of.isoformat(),
                "late_s": position.late_s,
                "missed": position.missed,
                "suspect30": position.suspect30,
                "worst_meter": position.worst_meter,
                "last_at": None if position.last_at is None else position.last_at.isoformat(),
            }
        case MeterPosition():
            return {"day": position.day.isoformat(), "calibrated_until": position.calibrated_until.isoformat()}
        case LinePosition():
            gap = None if position.gap_tce is None else float(position.gap_tce)
            return {"day": position.day.isoformat(), "month": position.month, "ratio": position.ratio, "gap_tce": gap}
        case IntegrityPosition():
            return {"day": position.day.isoformat(), "differences": position.differences}


def judge(
    alert: Alert | None,
    key: Key,
    signal: Signal,
    settings: AlertSettings,
    inputs: Mapping[str, Any],
    *,
    day: date,
    now: datetime,
    tell: bool,
) -> Verdict | None:
    """One evaluation of one alert; None when there is nothing to keep.

    With `tell` false (a past day is made up for) nobody is written to; the next evaluation that tells compares what
    stands then with what was told.
    """
    if alert is not None and str(alert.facts.get("day", "")) > day.isoformat():
        return None  # a later day was judged already; history is not rewritten
    before = alert or Alert(key)
    if before.facts.get("revision") != inputs.get("revision"):
        signal = replace(signal, clear_days=1)  # a revised budget is a decision: nobody has to wait whether it lasts
    state, changes = evaluate(before.state, signal, day)
    if alert is None and not changes:
        return None
    after = _with(replace(before, facts=inputs), state, changes, now)
    reason = reason_to_tell(Told(before.told), state, [change.event for change in changes]) if tell else None
    notice = None if reason is None else _notice(reason, key.kind, state, settings)
    if notice is not None:
        after = told(after, inputs, day)
    if key.kind not in OF_A_PERIOD and tell and state.phase is Phase.INACTIVE:
        ended = close(state)
        changes = (*changes, ended)
        after = replace(after, state=ended.after)
    return Verdict(after, changes, notice, before.told, before.before)


def _with(alert: Alert, state: State, changes: Sequence[Change], now: datetime) -> Alert:
    rose = state.level > Level.GREEN and alert.raised_at is None
    return replace(alert, state=state, worst=max(alert.worst, state.level), raised_at=now if rose else alert.raised_at)


def told(alert: Alert, inputs: Mapping[str, Any], day: date) -> Alert:
    """The alert after its recipients heard what stands; the escalation counts from this day."""
    kept = {name: inputs.get(name) for name in ("day", "p_over", "projected", "spent")}
    return replace(alert, told=alert.state.level, before=kept, escalates_from=day, steps_done=1)


def _notice(reason: Reason, kind: Kind, state: State, settings: AlertSettings) -> Notice:
    roles = first_roles(settings, kind, state.level) if reason is Reason.RAISED else ()
    return Notice(reason, state.level, roles)


def run_out(alert: Alert, settings: AlertSettings, *, day: date, now: datetime) -> Verdict | None:
    """What an acknowledgement or a silence that ran out changes; None when none did."""
    changes = expired(alert.state, now)
    if not changes:
        return None
    state = changes[-1].after
    after = replace(alert, state=state)
    reason = reason_to_tell(Told(alert.told), state, [change.event for change in changes])
    if reason is None or (reason is Reason.STILL_ACTIVE and not alert.state.is_quiet(state.level)):
        return Verdict(after, changes, None, alert.told)
    notice = _notice(reason, alert.key.kind, state, settings)
    return Verdict(told(after, alert.facts, day), changes, notice, alert.told, alert.before)


def escalate(alert: Alert, settings: AlertSettings, *, day: date, now: datetime) -> tuple[Alert, tuple[Notice, ...]]:
    """The steps of the escalation table that are due, each once; none while it is acknowledged or silenced."""
    state, since = alert.state, _escalates_from(alert)
    if since is None:
        return alert, ()
    due = steps_due(settings, state.level, alert.steps_done, since, day)
    return replace(alert, steps_done=alert.steps_done + len(due)), due


def next_step(alert: Alert, settings: AlertSettings, day: date) -> tuple[int, tuple[Role, ...]] | None:
    """The step of escalation that comes next if nobody acknowledges: the working days left after `day`, and who."""
    since = _escalates_from(alert)
    left = () if since is None else settings.escalation(alert.state.level)[alert.steps_done :]
    if since is None or not left:
        return None
    days, roles = left[0]
    return days - working_days(since, day), roles


def _escalates_from(alert: Alert) -> date | None:
    """The day its steps count from; None for what is never escalated, or rests."""
    state = alert.state
    quiet = state.acked_until is not None or state.is_quiet(state.level)
    rests = quiet or alert.told is not state.level or alert.key.kind is Kind.INTEGRITY
    return None if rests else alert.escalates_from


def is_over(year: int, day: date, settings: AlertSettings) -> bool:
    """Whether a budget's year is closed: its last month is, on the set day of January."""
    return day >= date(year + 1, 1, settings.month_close_day)


def outcome(alert: Alert, *, final: float, budget: float, raised_on: date | None, ended: date) -> dict[str, Any]:
    """How it ended, when the year is closed: was the alarm true, and how long before the end was it raised."""
    over = final > budget
    lead = None if raised_on is None else (ended - raised_on).days
    raised = alert.worst > Level.YELLOW
    return {
        "final": final,
        "budget": budget,
        "over": over,
        "worst": alert.worst.word,
        "lead_days": lead,
        "verdict": ("true-alarm" if over else "false-alarm") if raised else ("missed" if over else "quiet"),
    }
