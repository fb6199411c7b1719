"""The alert's state machine: a table, and the walk over it. What is not in the table is refused.

A state is a value; time comes in as the local day or the moment of an event. Confirmation counts days by the date on
which a run of equal evaluations began, so evaluating a day twice changes nothing and a restart loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from alerts.rule import RAISED, Level


class Phase(StrEnum):
    """Where an alert stands, apart from its level and from who has acknowledged it."""

    INACTIVE = "inactive"
    PENDING = "pending"
    ACTIVE = "active"
    RECOVERING = "recovering"
    HELD = "held"
    CLOSED = "closed"


class Data(StrEnum):
    """How the data behind it are."""

    OK = "ok"
    LATE = "late"
    MISSING = "missing"
    SUSPECT = "suspect"


class Event(StrEnum):
    """What may happen to an alert."""

    OVER = "over"
    CONFIRMED = "confirmed"
    BACK = "back"
    LOWERED = "lowered"
    CLEARED = "cleared"
    EXCEEDED = "exceeded"
    DATA_GONE = "data_gone"
    DATA_BACK = "data_back"
    WITHDRAWN = "withdrawn"
    WITHDRAWN_WHOLLY = "withdrawn_wholly"
    ACKNOWLEDGED = "acknowledged"
    ACK_EXPIRED = "ack_expired"
    SILENCED = "silenced"
    SILENCE_EXPIRED = "silence_expired"
    PERIOD_CLOSED = "period_closed"


I, P, A, R, H, C = Phase.INACTIVE, Phase.PENDING, Phase.ACTIVE, Phase.RECOVERING, Phase.HELD, Phase.CLOSED  # noqa: E741  # the table reads by them
OPEN = (I, P, A, R, H)

TRANSITIONS: Mapping[tuple[Phase, Event], tuple[int, Phase]] = MappingProxyType(
    {
        (I, Event.OVER): (1, P),  # may be noise: evaluations in a row have to agree
        (P, Event.BACK): (2, I),
        (P, Event.CONFIRMED): (3, A),
        (I, Event.CONFIRMED): (3, A),  # what needs one evaluation only: a month's close, or a fact
        (A, Event.CONFIRMED): (4, A),  # to a higher level; the acknowledgement was of the lower one
        (R, Event.CONFIRMED): (4, A),
        (A, Event.BACK): (5, R),
        (R, Event.OVER): (6, A),  # no number of its own, so no second mail for the old level
        (R, Event.LOWERED): (7, A),
        (R, Event.CLEARED): (7, I),
        (A, Event.LOWERED): (7, A),  # what needs one evaluation only
        (A, Event.CLEARED): (7, I),
        (I, Event.EXCEEDED): (8, A),
        (P, Event.EXCEEDED): (8, A),
        (A, Event.EXCEEDED): (8, A),
        (R, Event.EXCEEDED): (8, A),
        (H, Event.EXCEEDED): (8, A),  # measured is measured, whatever else is missing
        (A, Event.DATA_GONE): (9, H),  # never resolved for want of data
        (R, Event.DATA_GONE): (9, H),
        (H, Event.DATA_BACK): (10, A),  # goes on at the kept level
        (A, Event.WITHDRAWN): (11, A),  # a figure was corrected or the budget revised; a lower level stands
        (R, Event.WITHDRAWN): (11, A),
        (A, Event.WITHDRAWN_WHOLLY): (11, I),
        (R, Event.WITHDRAWN_WHOLLY): (11, I),
        (A, Event.ACKNOWLEDGED): (12, A),
        (R, Event.ACKNOWLEDGED): (12, R),
        (H, Event.ACKNOWLEDGED): (12, H),
        (A, Event.ACK_EXPIRED): (13, A),
        (R, Event.ACK_EXPIRED): (13, R),
        (H, Event.ACK_EXPIRED): (13, H),
        **{(phase, Event.SILENCED): (14, phase) for phase in OPEN},
        **{(phase, Event.SILENCE_EXPIRED): (14, phase) for phase in OPEN},
        **{(phase, Event.PERIOD_CLOSED): (15, C) for phase in OPEN},
    }
)


class TransitionRefused(Exception):
    """The alert is not in a state for this. Attributes: phase, event."""

    def __init__(self, phase: Phase, event: Event) -> None:
        self.phase, self.event = phase, event
        super().__init__(f"an alert that is {phase} takes no {event}")


@dataclass(frozen=True, slots=True)
class Signal:
    """What one evaluation saw, before any memory.

    `on`: the highest level whose threshold to raise is met. `kept`: the highest whose threshold to keep is met, never
    below `on`. `confirm_days`, `clear_days`: evaluations in a row needed. `fact`: red is so, nothing is projected.
    `at_once`: one evaluation confirms (a month's close). `data`: other than OK, the evaluation neither raises nor
    lowers anything.
    """

    on: Level
    kept: Level
    confirm_days: int = 1
    clear_days: int = 1
    fact: bool = False
    at_once: bool = False
    data: Data = Data.OK

    def __post_init__(self) -> None:
        if self.kept < self.on:
            raise ValueError("a level that is raised is also kept")


Since = tuple[date | None, date | None, date | None]
NEVER: Since = (None, None, None)


@dataclass(frozen=True, slots=True)
class State:
    """One alert. `level` is what stands, GREEN in the phases inactive and pending.

    `seq` numbers what may be told. `over_since` and `under_since` hold, for yellow, orange and red, the first day of
    the run of evaluations that were at or above the threshold to raise, and below the one to keep. `fact`: the level
    stands because the budget is exceeded. `silence_covers`: the highest level that a silence keeps quiet.
    """

    phase: Phase = Phase.INACTIVE
    level: Level = Level.GREEN
    seq: int = 0
    over_since: Since = NEVER
    under_since: Since = NEVER
    fact: bool = False
    acked_until: datetime | None = None
    silenced_until: datetime | None = None
    silence_covers: Level = Level.RED
    data: Data = Data.OK

    def is_quiet(self, level: Level) -> bool:
        """Whether a silence keeps a level from being told. Who may not silence red has not silenced it beforehand."""
        return self.silenced_until is not None and level <= self.silence_covers


@dataclass(frozen=True, slots=True)
class Change:
    """One transition: the row of the table, what happened, and the state before and after."""

    row: int
    event: Event
    before: State
    after: State


def move(state: State, event: Event, **changes: object) -> Change:
    """The state after an event. Raises TransitionRefused for what is not in the table.

    Row 6 keeps the number of the level that stands; every other row takes the next.
    """
    found = TRANSITIONS.get((state.phase, event))
    if found is None:
        raise TransitionRefused(state.phase, event)
    row, phase = found
    seq = state.seq if row == 6 else state.seq + 1
    after = replace(state, **{"phase": phase, "seq": seq, **changes})  # type: ignore[arg-type]  # names are checked by replace
    return Change(row, event, state, after)


def evaluate(state: State, signal: Signal, day: date) -> tuple[State, tuple[Change, ...]]:
    """One day's evaluation: the state after it, and the transitions on the way, none or more."""
    if signal.fact and not state.fact:
        return _exceeded(state, signal)
    if signal.data is not Data.OK:
        return _without_data(state, signal)
    state = replace(state, data=Data.OK)
    changes: list[Change] = []
    if state.phase is Phase.HELD:
        changes.append(move(state, Event.DATA_BACK, over_since=NEVER, under_since=NEVER))
        state = changes[-1].after
    if state.fact and not signal.fact:
        # A fact goes only because a figure was corrected or the budget revised.
        changes.append(_withdrawn(state, signal))
        return changes[-1].after, tuple(changes)
    state = _counted(state, signal, day)
    for one in _steps(state, signal, day):
        changes.append(one)
        state = one.after
    return state, tuple(changes)


def _exceeded(state: State, signal: Signal) -> tuple[State, tuple[Change, ...]]:
    facts = {"level": Level.RED, "fact": True, "acked_until": None, "over_since": NEVER, "under_since": NEVER}
    change = move(state, Event.EXCEEDED, **facts, data=signal.data)
    return change.after, (change,)


def _without_data(state: State, signal: Signal) -> tuple[State, tuple[Change, ...]]:
    """A run of evaluations is broken by a day that cannot be judged; nothing else is concluded from it."""
    waiting = replace(state, data=signal.data, over_since=NEVER, under_since=NEVER)
    if (state.phase, Event.DATA_GONE) not in TRANSITIONS or state.fact:
        return waiting, ()
    change = move(state, Event.DATA_GONE, over_since=NEVER, under_since=NEVER, data=signal.data)
    return change.after, (change,)


def _withdrawn(state: State, signal: Signal) -> Change:
    event = Event.WITHDRAWN_WHOLLY if signal.on is Level.GREEN else Event.WITHDRAWN
    return move(state, event, fact=False, level=signal.on, acked_until=None, over_since=NEVER)


def _counted(state: State, signal: Signal, day: date) -> State:
    """The runs with this day's evaluation in them."""
    over = _runs(state.over_since, day, *(signal.on >= level for level in RAISED))
    under = _runs(state.under_since, day, *(signal.kept < level for level in RAISED))
    return replace(state, over_since=over, under_since=under)


def _runs(since: Since, day: date, yellow: bool, orange: bool, red: bool) -> Since:
    """Each run goes on, begins on this day, or is over."""
    return (
        (since[0] or day) if yellow else None,
        (since[1] or day) if orange else None,
        (since[2] or day) if red else None,
    )


def _steps(state: State, signal: Signal, day: date) -> list[Change]:
    raised = _confirmed(state, signal, day)
    if raised > state.level:
        up = move(state, Event.CONFIRMED, level=raised, acked_until=None)
        return [up]
    if state.level is Level.GREEN:
        return _at_green(state, signal)
    if signal.kept >= state.level:
        return [move(state, Event.OVER)] if state.phase is Phase.RECOVERING else []
    return _below(state, signal, day)


def _at_green(state: State, signal: Signal) -> list[Change]:
    if signal.on is Level.GREEN:
        return [move(state, Event.BACK)] if state.phase is Phase.PENDING else []
    return [move(state, Event.OVER)] if state.phase is Phase.INACTIVE else []


def _confirmed(state: State, signal: Signal, day: date) -> Level:
    """The highest level that enough evaluations in a row were at or above."""
    reached = [
        level
        for level, since in zip(RAISED, state.over_since, strict=True)
        if since is not None and _run(since, day) >= signal.confirm_days
    ]
    if signal.at_once:
        reached.append(signal.on)
    return max(reached, default=Level.GREEN)


def _below(state: State, signal: Signal, day: date) -> list[Change]:
    """Below the level that stands: it recovers first, and is lowered when the run is long enough."""
    changes: list[Change] = []
    since = state.under_since[RAISED.index(state.level)]
    enough = since is not None and _run(since, day) >= signal.clear_days
    if state.phase is Phase.ACTIVE and not enough:
        return [move(state, Event.BACK)]
    if enough:
        event = Event.LOWERED if signal.kept > Level.GREEN else Event.CLEARED
        changes.append(move(state, event, level=signal.kept, acked_until=None))
    return changes


def _run(since: date, day: date) -> int:
    """Days from the first of a run to this one, both counted."""
    return (day - since).days + 1


def acknowledge(state: State, now: datetime, days: int) -> Change:
    """Raises TransitionRefused unless a level stands."""
    return move(state, Event.ACKNOWLEDGED, acked_until=now + timedelta(days=days))


def silence(state: State, until: datetime, covers: Level = Level.RED) -> Change:
    """No mails of levels up to `covers` until then."""
    return move(state, Event.SILENCED, silenced_until=until, silence_covers=covers)


def close(state: State) -> Change:
    """The period is over."""
    return move(state, Event.PERIOD_CLOSED)


def expired(state: State, now: datetime) -> tuple[Change, ...]:
    """What ran out by now: an acknowledgement, a silence, or both."""
    changes: list[Change] = []
    if state.acked_until is not None and state.acked_until <= now:
        changes.append(move(state, Event.ACK_EXPIRED, acked_until=None))
        state = changes[-1].after
    if state.silenced_until is not None and state.silenced_until <= now:
        changes.append(move(state, Event.SILENCE_EXPIRED, silenced_until=None))
    return tuple(changes)


def picture() -> str:
    """The table as a Mermaid state diagram, as the README shows it."""
    lines = ["stateDiagram-v2", "    [*] --> inactive"]
    arrows: dict[tuple[Phase, Phase], list[str]] = {}
    for (phase, event), (row, after) in TRANSITIONS.items():
        if row not in (12, 13, 14):
            arrows.setdefault((phase, after), []).append(f"{event} ({row})")
    lines += [f"    {before} --> {after}: {', '.join(words)}" for (before, after), words in arrows.items()]
    return "\n".join([*lines, "    closed --> [*]"])
