"""Is anyone to be told, and why: pure decisions over what stands and what was told.

What is true (the alert) and who was told (the notice) are two records. A notice is decided by comparing them, so a
level that rose and fell while nobody could be told is never told late, and one that stands is never told twice.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum

import chinese_calendar

from alerts.rule import AlertSettings, Kind, Level, Role
from alerts.states import Event, Phase, State


class Reason(StrEnum):
    """Why we write to somebody."""

    RAISED = "raised"
    LOWERED = "lowered"
    RESOLVED = "resolved"
    WITHDRAWN = "withdrawn"
    REMINDER = "reminder"
    STILL_ACTIVE = "still_active"
    ESCALATED = "escalated"
    NEXT_CONTACT = "next_contact"


class Delivery(StrEnum):
    """When a notice goes out: by itself at once, with others of one run, or in a digest."""

    IMMEDIATE = "immediate"
    GROUPED = "grouped"
    DAILY = "daily"
    WEEKLY = "weekly"


ENTERPRISE_ROLES = (Role.MANAGER, Role.DEPUTY, Role.LEGAL)
REGION_ROLES = (Role.COUNTY, Role.CITY, Role.PROVINCE)
DIGEST_AT = time(8, 30)
MONDAY = 0


@dataclass(frozen=True, slots=True)
class Contact:
    """Somebody with an address. `role` is empty where nobody said it; then the order in the list says it."""

    name: str
    email: str
    language: str = "zh-CN"
    role: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What the recipients of an alert know: the level they were last told, GREEN for nothing yet."""

    level: Level = Level.GREEN


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to be told: why, and to which roles. No roles: to those who got the raise."""

    reason: Reason
    level: Level
    roles: tuple[Role, ...] = ()


def reason_to_tell(told: Told, state: State, events: Collection[Event]) -> Reason | None:
    """Why anybody is written to after a run of events; None when everybody knows what stands.

    A change while nobody could be told counts by its result alone.
    """
    if state.phase is Phase.CLOSED:
        return None
    if state.level > told.level:
        return Reason.RAISED
    if state.level < told.level:
        if Event.WITHDRAWN in events or Event.WITHDRAWN_WHOLLY in events:
            return Reason.WITHDRAWN
        return Reason.LOWERED if state.level > Level.GREEN else Reason.RESOLVED
    if state.level > Level.GREEN and Event.SILENCE_EXPIRED in events:
        return Reason.STILL_ACTIVE
    if state.level > Level.GREEN and Event.ACK_EXPIRED in events:
        return Reason.REMINDER
    return None


def first_roles(settings: AlertSettings, kind: Kind, level: Level) -> tuple[Role, ...]:
    """Who hears of a level when it is raised: yellow the enterprise's manager and, in the weekly digest, the county;
    above it the first step of the table.

    A difference in our own figures is the supervisor's business, not the enterprise's.
    """
    if kind is Kind.INTEGRITY:
        return (Role.CITY,)
    if level < Level.ORANGE:
        return Role.MANAGER, Role.COUNTY
    return next((roles for days, roles in settings.escalation(level) if days == 0), (Role.MANAGER,))


def delivery(role: Role, level: Level, reason: Reason) -> Delivery:
    """Supervisors get one mail a run; yellow, and that it has passed, waits for a digest.

    `level`: the worse of what stands and what was told before.
    """
    if role in REGION_ROLES:
        return Delivery.GROUPED if level >= Level.ORANGE or reason is Reason.WITHDRAWN else Delivery.WEEKLY
    return Delivery.IMMEDIATE if level >= Level.ORANGE else Delivery.DAILY


def due_at(kind: Delivery, now: datetime) -> datetime:
    """When a notice may go out. `now` carries the local zone: digests come at 08:30 there, the weekly on Monday."""
    if kind in (Delivery.IMMEDIATE, Delivery.GROUPED):
        return now
    at = now.replace(hour=DIGEST_AT.hour, minute=DIGEST_AT.minute, second=0, microsecond=0)
    if at < now:
        at += timedelta(days=1)
    if kind is Delivery.WEEKLY:
        at += timedelta(days=(MONDAY - at.weekday()) % 7)
    return at


def with_roles(contacts: Sequence[Contact]) -> Mapping[Role, tuple[Contact, ...]]:
    """The enterprise's contacts by role. Who has none gets the first role nobody holds, in the order of the list."""
    found: dict[Role, list[Contact]] = {}
    for contact in contacts:
        if contact.role:
            found.setdefault(Role(contact.role), []).append(contact)
    free = [role for role in ENTERPRISE_ROLES if role not in found]
    for contact in contacts:
        if not contact.role:
            found.setdefault(free.pop(0) if free else Role.DEPUTY, []).append(contact)
    return {role: tuple(several) for role, several in found.items()}


def is_workday(day: date) -> bool:
    """By the State Council's yearly table with 调休, Monday to Friday in a year that has none yet."""
    try:
        return bool(chinese_calendar.is_workday(day))
    except NotImplementedError:
        return day.weekday() < 5


def working_days(since: date, day: date) -> int:
    """Working days after `since` up to and with `day`."""
    return sum(is_workday(since + timedelta(days=number)) for number in range(1, (day - since).days + 1))


def steps_due(settings: AlertSettings, level: Level, steps_done: int, since: date, day: date) -> tuple[Notice, ...]:
    """Steps of the escalation table whose working days have passed and that were not taken: each once, in order.

    `since`: the local day on which the level was raised, or on which the acknowledgement of it ran out.
    """
    waited = working_days(since, day)
    steps = settings.escalation(level)
    due = [roles for days, roles in steps[steps_done:] if days <= waited]
    return tuple(Notice(Reason.ESCALATED, level, roles) for roles in due)


@dataclass(frozen=True, slots=True)
class Limits:
    """Immediate mails a recipient may get an hour and a day."""

    per_hour: int = 5
    per_day: int = 20


@dataclass(frozen=True, slots=True)
class Sent:
    """How many immediate mails somebody got within the last hour and the last day."""

    last_hour: int
    last_day: int


def put_off(limits: Limits, sent: Sent, level: Level, now: datetime) -> datetime | None:
    """Until when a mail waits to be merged with others, because its recipient got enough; None when it may go now.

    Red passes the hourly limit. Nothing is dropped. `now` carries the local zone.
    """
    if sent.last_day >= limits.per_day:
        return due_at(Delivery.DAILY, now)
    if level is Level.RED or sent.last_hour < limits.per_hour:
        return None
    return now + timedelta(hours=1)


def may_silence(settings: AlertSettings, level: Level, *, supervisor: bool, days: float) -> str | None:
    """Why a silence is refused; None when it is allowed."""
    if supervisor:
        most = settings.silence_days
    elif level is Level.RED:
        return "a red alert is silenced by its supervisor only"
    else:
        most = settings.silence_enterprise_days
    if not 0 < days <= most:
        return f"a silence lasts more than 0 and at most {most} days, not {days:g}"
    return None
