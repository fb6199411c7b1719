"""Who is told, why, when, and when not."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest

from alerts.decide import Alert, Key, escalate, next_step
from alerts.notice import (
    Contact,
    Delivery,
    Limits,
    Reason,
    Sent,
    Told,
    delivery,
    due_at,
    first_roles,
    is_workday,
    may_silence,
    put_off,
    reason_to_tell,
    steps_due,
    with_roles,
    working_days,
)
from alerts.rule import DEFAULTS, Kind, Level, Role
from alerts.states import Event, Phase, State

GREEN, YELLOW, ORANGE, RED = Level.GREEN, Level.YELLOW, Level.ORANGE, Level.RED
ZONE = ZoneInfo("Asia/Shanghai")


@pytest.mark.parametrize(
    ("told", "level", "events", "reason"),
    [
        (GREEN, ORANGE, [Event.CONFIRMED], Reason.RAISED),
        (YELLOW, RED, [Event.EXCEEDED], Reason.RAISED),
        (ORANGE, YELLOW, [Event.LOWERED], Reason.LOWERED),
        (ORANGE, GREEN, [Event.CLEARED], Reason.RESOLVED),
        (RED, ORANGE, [Event.WITHDRAWN], Reason.WITHDRAWN),
        (RED, GREEN, [Event.WITHDRAWN_WHOLLY], Reason.WITHDRAWN),
        (ORANGE, ORANGE, [Event.BACK], None),
        (ORANGE, ORANGE, [Event.OVER], None),
        (ORANGE, ORANGE, [Event.DATA_GONE], None),
        (ORANGE, ORANGE, [Event.DATA_BACK], None),
        (GREEN, GREEN, [Event.OVER], None),
        (ORANGE, ORANGE, [Event.ACKNOWLEDGED], None),
        (ORANGE, ORANGE, [Event.ACK_EXPIRED], Reason.REMINDER),
        (ORANGE, ORANGE, [Event.SILENCED], None),
        (ORANGE, ORANGE, [Event.SILENCE_EXPIRED], Reason.STILL_ACTIVE),
        (GREEN, GREEN, [Event.SILENCE_EXPIRED], None),
        (GREEN, GREEN, [Event.CONFIRMED, Event.CLEARED], None),
    ],
)
def test_what_stands_is_compared_with_what_was_told(
    told: Level, level: Level, events: list[Event], reason: Reason | None
) -> None:
    assert reason_to_tell(Told(told), State(phase=Phase.ACTIVE, level=level), events) is reason


def test_a_closed_period_writes_to_nobody() -> None:
    assert reason_to_tell(Told(RED), State(phase=Phase.CLOSED, level=GREEN), [Event.PERIOD_CLOSED]) is None


def test_the_first_step_of_the_table_says_who_hears_of_a_raise() -> None:
    assert first_roles(DEFAULTS, Kind.TREND, YELLOW) == (Role.MANAGER, Role.COUNTY)
    assert first_roles(DEFAULTS, Kind.TREND, ORANGE) == (Role.MANAGER, Role.DEPUTY)
    assert first_roles(DEFAULTS, Kind.ACTUAL, RED) == (Role.MANAGER, Role.COUNTY)
    assert first_roles(DEFAULTS, Kind.INTEGRITY, ORANGE) == (Role.CITY,)


def test_supervisors_get_one_mail_a_run_and_yellow_waits() -> None:
    assert delivery(Role.COUNTY, RED, Reason.RAISED) is Delivery.GROUPED
    assert delivery(Role.COUNTY, YELLOW, Reason.RAISED) is Delivery.WEEKLY
    assert delivery(Role.MANAGER, YELLOW, Reason.RAISED) is Delivery.DAILY
    assert delivery(Role.MANAGER, ORANGE, Reason.RAISED) is Delivery.IMMEDIATE
    assert delivery(Role.MANAGER, ORANGE, Reason.RESOLVED) is Delivery.IMMEDIATE
    assert delivery(Role.MANAGER, YELLOW, Reason.RESOLVED) is Delivery.DAILY


@pytest.mark.parametrize(
    ("kind", "now", "due"),
    [
        (Delivery.DAILY, "2026-05-05T05:30", "2026-05-05T08:30"),
        (Delivery.DAILY, "2026-05-05T09:00", "2026-05-06T08:30"),
        (Delivery.WEEKLY, "2026-05-05T09:00", "2026-05-11T08:30"),
        (Delivery.WEEKLY, "2026-05-04T05:30", "2026-05-04T08:30"),
        (Delivery.WEEKLY, "2026-05-04T09:00", "2026-05-11T08:30"),
        (Delivery.IMMEDIATE, "2026-05-05T05:30", "2026-05-05T05:30"),
    ],
)
def test_digests_come_in_the_morning(kind: Delivery, now: str, due: str) -> None:
    local = datetime.fromisoformat(now).replace(tzinfo=ZONE)
    assert due_at(kind, local) == datetime.fromisoformat(due).replace(tzinfo=ZONE)


def test_working_days_follow_the_state_councils_table() -> None:
    assert not is_workday(date(2026, 10, 1))
    assert is_workday(date(2026, 10, 10))  # a Saturday worked for the National Day holiday
    assert working_days(date(2026, 9, 30), date(2026, 10, 8)) == 1
    assert (is_workday(date(2036, 1, 1)), is_workday(date(2036, 1, 5))) == (True, False)  # no table yet


def test_each_step_of_the_escalation_is_taken_once() -> None:
    monday = date(2026, 5, 11)
    assert steps_due(DEFAULTS, ORANGE, 1, monday, date(2026, 5, 13)) == ()
    (step,) = steps_due(DEFAULTS, ORANGE, 1, monday, date(2026, 5, 14))
    assert step.roles == (Role.LEGAL, Role.COUNTY)
    assert steps_due(DEFAULTS, ORANGE, 2, monday, date(2026, 5, 15)) == ()
    assert [step.roles for step in steps_due(DEFAULTS, ORANGE, 1, monday, date(2026, 6, 30))] == [
        (Role.LEGAL, Role.COUNTY),
        (Role.CITY,),
    ]
    assert steps_due(DEFAULTS, YELLOW, 0, monday, date(2026, 12, 1)) == ()


def test_only_a_step_that_will_be_taken_is_named_with_the_days_that_are_left() -> None:
    monday = date(2026, 7, 13)
    state = State(phase=Phase.ACTIVE, level=ORANGE)
    standing = Alert(Key("x", Kind.TREND, "2026", ""), state=state, told=ORANGE, escalates_from=monday, steps_done=1)
    assert next_step(standing, DEFAULTS, monday) == (3, (Role.LEGAL, Role.COUNTY))
    assert next_step(standing, DEFAULTS, date(2026, 7, 15)) == (1, (Role.LEGAL, Role.COUNTY))
    assert next_step(replace(standing, steps_done=2), DEFAULTS, date(2026, 7, 16)) == (4, (Role.CITY,))
    assert next_step(replace(standing, steps_done=3), DEFAULTS, date(2026, 7, 22)) is None
    until = datetime(2026, 8, 1, tzinfo=ZONE)
    acked = replace(state, acked_until=until)
    silenced = replace(state, silenced_until=until, silence_covers=RED)
    for rests in (acked, silenced):
        assert next_step(replace(standing, state=rests), DEFAULTS, monday) is None
    integrity = replace(standing, key=Key("x", Kind.INTEGRITY, "", ""))
    assert next_step(integrity, DEFAULTS, monday) is None
    assert escalate(integrity, DEFAULTS, day=date(2026, 8, 3), now=until)[1] == ()


def test_the_order_of_contacts_says_their_role_unless_they_say_it() -> None:
    one, two, three = (Contact(name, f"{name}@example.com") for name in ("a", "b", "c"))
    assert with_roles([one, two, three]) == {Role.MANAGER: (one,), Role.DEPUTY: (two,), Role.LEGAL: (three,)}
    legal = Contact("d", "d@example.com", role="legal_representative")
    assert with_roles([legal, one, two, three]) == {
        Role.LEGAL: (legal,),
        Role.MANAGER: (one,),
        Role.DEPUTY: (two, three),
    }


def test_red_passes_the_hourly_limit_and_nothing_the_daily_one() -> None:
    limits, now = Limits(5, 20), datetime(2026, 5, 5, 10, 0, tzinfo=ZONE)
    assert put_off(limits, Sent(4, 19), ORANGE, now) is None
    assert put_off(limits, Sent(5, 5), ORANGE, now) == datetime(2026, 5, 5, 11, 0, tzinfo=ZONE)
    assert put_off(limits, Sent(5, 5), RED, now) is None
    assert put_off(limits, Sent(0, 20), RED, now) == datetime(2026, 5, 6, 8, 30, tzinfo=ZONE)


def test_who_may_silence_what_for_how_long() -> None:
    assert may_silence(DEFAULTS, ORANGE, supervisor=False, days=14) is None
    assert "at most 14" in str(may_silence(DEFAULTS, ORANGE, supervisor=False, days=15))
    assert "supervisor" in str(may_silence(DEFAULTS, RED, supervisor=False, days=1))
    assert may_silence(DEFAULTS, RED, supervisor=True, days=30) is None
    assert "at most 30" in str(may_silence(DEFAULTS, RED, supervisor=True, days=31))
    assert may_silence(DEFAULTS, ORANGE, supervisor=True, days=0) is not None
