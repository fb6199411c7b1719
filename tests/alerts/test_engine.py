"""Nights in a row over a real database: what is raised, told, held, silenced, escalated and closed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import date, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest

from alerts.engine import days_due
from alerts.rule import Level
from tests.alerts.an_engine import FIRST, Bench, a_bench, code, steady
from tests.alerts.an_outbox import ENTERPRISE, REGION, ZONE

MANAGER, DEPUTY, LEGAL = "manager@example.com", "deputy@example.com", "legal@example.com"
COUNTY, CITY = "county@example.com", "city@example.com"


@pytest.fixture
async def bench(database_url: str) -> AsyncIterator[Bench]:
    async with a_bench(database_url) as bench:
        yield bench


async def test_seven_nights_over_raise_one_alert_and_tell_manager_and_deputy(bench: Bench) -> None:
    await bench.nights(6)
    assert await bench.alerts() == [("trend", "pending", "green")]
    assert await bench.outbox() == []
    await bench.nights(1)
    assert await bench.alerts() == [("trend", "active", "orange")]
    told = [("raised", "orange", MANAGER, "queued"), ("raised", "orange", DEPUTY, "queued")]
    assert await bench.outbox() == told
    await bench.nights(2)
    assert await bench.outbox() == told
    assert await bench.rows_of_history() == [1, 3]


async def test_every_evaluation_is_kept_with_its_inputs_and_settings(bench: Bench) -> None:
    await bench.nights(2)
    await bench.settings(confirm_days=5)
    await bench.nights(1)
    found = await bench.pool.fetch("SELECT day, settings, signals, inputs FROM alert_evaluation WHERE about = 'budget'")
    assert [(row["day"], row["settings"]) for row in found] == [
        (FIRST, "default"),
        (FIRST + timedelta(days=1), "default"),
        (FIRST + timedelta(days=2), "445303/1"),
    ]
    inputs = json.loads(found[0]["inputs"])
    assert (inputs["p_over"], inputs["projected"], inputs["low80"], inputs["cover30"]) == (0.9, 1080.0, 1030.0, 1.0)
    assert (inputs["spent"], inputs["budget"], inputs["revision"]) == (500.0, 1000.0, 1)
    assert found[0]["signals"].startswith("trend:orange/red:ok actual:green/green:ok")
    for table in ("alert_evaluation", "alert_history"):
        with pytest.raises(Exception, match="only ever added to"):
            await bench.pool.execute(f"DELETE FROM {table}")


async def test_sixty_nights_around_the_threshold_are_one_mail(bench: Bench) -> None:
    number = count()
    bench.source.p_over = lambda name, day: 0.87 if next(number) % 9 else 0.80
    await bench.nights(60)
    assert [row[0] for row in await bench.outbox("kind", "email = 'manager@example.com' AND level = 'orange'")] == [
        "raised"
    ]


async def test_recovered_alerts_tell_those_who_got_the_raise(bench: Bench) -> None:
    await bench.nights(8)
    bench.source.p_over = steady(0.1)
    await bench.nights(6)
    assert (await bench.alerts())[0][1:] == ("recovering", "orange")
    assert len(await bench.outbox()) == 2
    await bench.nights(1)
    assert await bench.alerts(where="kind = 'trend'") == [("trend", "inactive", "green")]
    assert (await bench.outbox())[2:] == [
        ("resolved", "green", MANAGER, "queued"),
        ("resolved", "green", DEPUTY, "queued"),
    ]


async def test_a_plant_that_fell_silent_is_held_and_not_praised(bench: Bench) -> None:
    await bench.nights(8)
    bench.source.p_over, bench.source.late_s[ENTERPRISE] = steady(0.0), 3 * 86_400.0
    await bench.nights(20)
    assert ("trend", "held", "orange") in await bench.alerts()
    kinds = [row[0] for row in await bench.outbox("alert_id", "kind <> 'raised'")]
    assert kinds == []
    assert await bench.alerts("level", "kind = 'data' AND phase = 'active'") == [("yellow",)]
    bench.source.late_s.clear()
    await bench.nights(1)
    assert ("trend", "recovering", "orange") in await bench.alerts()
    assert await bench.alerts("phase", "kind = 'data'") == [("closed",)]


async def test_an_exceeded_budget_is_told_at_once_to_enterprise_and_county(bench: Bench) -> None:
    bench.source.changes[ENTERPRISE] = {"spent": Decimal(1010), "spent_measured": Decimal(1010)}
    await bench.nights(1)
    assert ("actual", "active", "red") in await bench.alerts()
    told = [("raised", "red", MANAGER, "queued"), ("raised", "red", COUNTY, "merged")]
    assert await bench.outbox(where="level = 'red'") == told
    digest = await bench.pool.fetchrow("SELECT * FROM outbox WHERE digest_key LIKE 'run%'")
    assert digest is not None
    assert (digest["state"], len(json.loads(digest["payload"])["items"])) == ("queued", 1)


async def test_a_revised_budget_withdraws_it(bench: Bench) -> None:
    bench.source.changes[ENTERPRISE] = {"spent": Decimal(1010), "spent_measured": Decimal(1010)}
    await bench.nights(1)
    bench.clock.on(days=-1, hours=2)
    bench.source.changes[ENTERPRISE] = {
        "spent": Decimal(1010),
        "spent_measured": Decimal(1010),
        "budget": Decimal(2000),
    }
    bench.source.revised = [ENTERPRISE]
    await bench.engine.look()
    assert await bench.alerts(where="kind = 'actual'") == [("actual", "inactive", "green")]
    kinds = await bench.outbox("kind, email", "outbox.kind = 'withdrawn'")
    assert kinds == [("withdrawn", MANAGER), ("withdrawn", COUNTY)]
    await bench.engine.look()
    assert len(await bench.outbox(where="outbox.kind = 'withdrawn'")) == 2


async def test_missed_nights_are_made_up_for_and_told_once(bench: Bench) -> None:
    await bench.nights(1)
    rise = FIRST + timedelta(days=3)
    bench.source.p_over = lambda name, day: 0.9 if day < rise + timedelta(days=10) else 0.1
    bench.clock.on(days=29)
    await bench.engine.look()
    assert await bench.alerts(where="kind = 'trend'") == [("trend", "inactive", "green")]
    assert await bench.rows_of_history() == [1, 3, 5, 7]
    assert await bench.outbox() == []  # it rose and fell while nobody could be told
    days = await bench.pool.fetchval("SELECT count(*) FROM alert_run WHERE finished_at IS NOT NULL")
    assert days == 31


@pytest.mark.parametrize("point", ["record", "finish"])
async def test_an_evaluation_that_was_cut_short_goes_on_and_tells_nobody_twice(
    database_url: str, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    names = [code(number) for number in range(30)]
    async with a_bench(database_url, enterprises=names) as bench:
        bench.source.group = 10
        await bench.nights(6)
        original, calls = getattr(bench.engine._book, point), count(1)

        async def cut(*args: Any, **options: Any) -> Any:
            if next(calls) == (2 if point == "record" else 1):
                raise ConnectionError("cut")
            return await original(*args, **options)

        monkeypatch.setattr(bench.engine._book, point, cut)
        with pytest.raises(ConnectionError):
            await bench.engine.look()
        monkeypatch.undo()
        await bench.another().look()
        assert len(await bench.outbox(where="outbox.kind = 'raised'")) == 30
        evaluations = await bench.pool.fetchval(
            "SELECT count(*) FROM alert_evaluation WHERE day = $1", bench.clock().date()
        )
        assert evaluations == 60


async def test_two_engines_evaluate_once(bench: Bench) -> None:
    await bench.nights(6)
    await asyncio.gather(*(bench.another().look() for _ in range(4)))
    assert len(await bench.outbox()) == 2
    assert await bench.pool.fetchval("SELECT count(*) FROM alert WHERE kind = 'trend'") == 1


async def test_a_trend_is_not_waited_out_once_its_budget_is_revised(bench: Bench) -> None:
    await bench.nights(7)
    assert await bench.alerts("level", "kind = 'trend'") == [("orange",)]
    bench.source.p_over = steady(0.02)
    await bench.nights(1)
    assert await bench.alerts("phase, level", "kind = 'trend'") == [("recovering", "orange")], "it may be noise"
    bench.source.changes[ENTERPRISE] = {"revision": 2, "budget": Decimal(1400)}
    await bench.nights(1)
    assert await bench.alerts("phase, level", "kind = 'trend'") == [("inactive", "green")]
    assert {kind for kind, *_ in await bench.outbox("kind, email", "outbox.kind <> 'raised'")} == {"resolved"}


async def test_one_open_alert_a_key_whatever_runs_at_once(bench: Bench) -> None:
    bench.source.changes[ENTERPRISE] = {"spent": Decimal(1010), "spent_measured": Decimal(1010)}
    settings, day = await bench.book.settings(), bench.clock().date()
    runs = [await bench.book.begin(day, "asked", bench.clock()) for _ in range(6)]
    groups = [[*group] async for group in bench.source.positions(day, bench.clock())]
    await asyncio.gather(*(bench.book.record(run, groups[0], settings, bench.clock(), tell=True) for run in runs))
    assert await bench.pool.fetchval("SELECT count(*) FROM alert WHERE kind = 'actual'") == 1
    assert len(await bench.outbox(where="level = 'red'")) == 2


async def test_nobody_acknowledges_and_it_goes_up_step_by_step_on_working_days(bench: Bench) -> None:
    await bench.nights(7 + 14)  # raised on Sunday 12 July
    found = await bench.outbox("email, outbox.created_at", "outbox.kind = 'escalated'")
    days = [(email, at.astimezone(ZONE).date()) for email, at in found]
    assert days == [
        (LEGAL, date(2026, 7, 15)),
        (COUNTY, date(2026, 7, 15)),
        (CITY, date(2026, 7, 21)),
    ]
    said = await bench.outbox("email, payload -> 'next' ->> 'days', payload -> 'next' -> 'roles'", "kind <> 'data'")
    assert said == [
        (MANAGER, "3", '["legal_representative", "county"]'),
        (DEPUTY, "3", '["legal_representative", "county"]'),
        (LEGAL, "4", '["city"]'),
        (COUNTY, "4", '["city"]'),
        (CITY, None, None),
    ]


async def test_a_step_that_nobody_stands_for_is_said_to_go_where_it_goes(bench: Bench) -> None:
    await bench.pool.execute("DELETE FROM region_contact WHERE region = $1", REGION)
    await bench.nights(8)
    said = await bench.outbox("payload -> 'next' -> 'roles'", f"email = '{MANAGER}'")
    assert said == [('["legal_representative", "city"]',)]


async def test_an_acknowledgement_stops_the_steps_until_it_runs_out(bench: Bench) -> None:
    await bench.nights(8)
    until = bench.clock() + timedelta(days=10)
    await bench.pool.execute("UPDATE alert SET acked_until = $1, seq = seq + 1 WHERE kind = 'trend'", until)
    await bench.nights(10)
    assert await bench.outbox(where="outbox.kind <> 'raised'") == []
    await bench.nights(1)
    assert [row[:3] for row in await bench.outbox(where="outbox.kind = 'reminder'")] == [
        ("reminder", "orange", MANAGER),
        ("reminder", "orange", DEPUTY),
    ]
    await bench.nights(5)
    assert len(await bench.outbox(where="outbox.kind = 'reminder'")) == 2
    assert LEGAL in [row[2] for row in await bench.outbox(where="outbox.kind = 'escalated'")]


async def test_a_silence_over_a_rise_writes_suppressed_rows_and_tells_once_at_its_end(bench: Bench) -> None:
    await bench.nights(8)
    until = bench.clock() + timedelta(days=14)
    await bench.pool.execute("UPDATE alert SET silenced_until = $1, seq = seq + 1 WHERE kind = 'trend'", until)
    bench.source.p_over = steady(0.999)
    await bench.nights(14)
    assert ("trend", "active", "red") in await bench.alerts()
    states = {row[3] for row in await bench.outbox(where="level = 'red'")}
    assert states == {"suppressed"}
    await bench.nights(3)
    still = await bench.outbox(where="outbox.kind = 'still_active'")
    assert {row[:2] for row in still} == {("still_active", "red")}
    assert {row[2] for row in still} >= {MANAGER, COUNTY}
    assert len(still) == len({row[2] for row in still})


async def test_a_silence_by_the_enterprise_ends_where_red_begins(bench: Bench) -> None:
    await bench.nights(8)
    until = bench.clock() + timedelta(days=20)
    await bench.pool.execute(
        "UPDATE alert SET silenced_until = $1, silence_covers = 'orange', seq = seq + 1 WHERE kind = 'trend'", until
    )
    await bench.nights(4)
    assert await bench.outbox(where="outbox.kind = 'escalated'") == []  # orange is quiet
    bench.source.p_over = steady(0.999)
    await bench.nights(7)
    assert ("trend", "active", "red") in await bench.alerts()
    told = [("raised", "red", MANAGER, "queued"), ("raised", "red", COUNTY, "merged")]
    assert await bench.outbox(where="level = 'red' AND outbox.kind = 'raised'") == told
    await bench.nights(5)
    escalated = {row[2] for row in await bench.outbox(where="outbox.kind = 'escalated'")}
    assert escalated == {LEGAL, CITY}
    await bench.nights(8)
    assert await bench.outbox(where="outbox.kind = 'still_active'") == []  # red was never quiet


async def test_yellow_waits_for_the_morning_digest(bench: Bench) -> None:
    bench.source.p_over = steady(0.7)
    await bench.nights(8)
    rows = await bench.outbox("level, email, delivery, state")
    assert rows == [("yellow", MANAGER, "daily", "merged"), ("yellow", COUNTY, "weekly", "queued")]
    digest = await bench.pool.fetchrow("SELECT kind, state, created_at FROM outbox WHERE digest_key LIKE 'digest%'")
    assert digest is not None
    assert (digest["kind"], digest["state"]) == ("digest-daily", "queued")


async def test_supervisors_read_of_a_yellow_trend_on_monday_and_of_its_end_a_week_later(bench: Bench) -> None:
    bench.source.p_over = steady(0.7)
    await bench.nights(8)
    bench.source.p_over = steady(0.1)
    await bench.nights(14)
    rows = await bench.outbox("outbox.kind, delivery, state", f"email = '{COUNTY}'")
    assert rows == [("raised", "weekly", "merged"), ("resolved", "weekly", "merged")]
    digests = await bench.pool.fetch("SELECT created_at FROM outbox WHERE kind = 'digest-weekly' ORDER BY outbox_id")
    days = [row["created_at"].astimezone(ZONE).date() for row in digests]
    assert [day.weekday() for day in days] == [1, 1], "the engine looks once a day here, before the digest is due"


async def test_who_heard_of_yellow_alone_is_not_reminded_of_orange(bench: Bench) -> None:
    bench.source.p_over = steady(0.7)
    await bench.nights(8)
    bench.source.p_over = steady(0.9)
    await bench.nights(8)
    until = bench.clock() + timedelta(days=1)
    await bench.pool.execute("UPDATE alert SET acked_until = $1, seq = seq + 1 WHERE kind = 'trend'", until)
    await bench.nights(3)
    assert {row[0] for row in await bench.outbox("email", "outbox.kind = 'reminder'")} == {MANAGER, DEPUTY}
    bench.source.p_over = steady(0.1)
    await bench.nights(9)
    ends = await bench.outbox("email, delivery", "outbox.kind = 'resolved'")
    assert (MANAGER, "immediate") in ends
    assert (COUNTY, "weekly") in ends


async def test_an_enterprise_without_contacts_is_told_about_to_its_county(bench: Bench) -> None:
    await bench.pool.execute("UPDATE enterprise SET contacts = '[]'")
    await bench.nights(8)
    assert [row[2] for row in await bench.outbox()] == [COUNTY]
    await bench.pool.execute("DELETE FROM region_contact")
    bench.source.p_over = steady(0.999)
    bench.source.changes[ENTERPRISE] = {"spent": Decimal(1010), "spent_measured": Decimal(1010)}
    await bench.nights(1)
    alarm = await bench.pool.fetchrow("SELECT kind, subject FROM platform_alarm")
    assert alarm is not None
    assert tuple(alarm) == ("nobody-to-tell", ENTERPRISE)
    assert ("actual", "active", "red") in await bench.alerts()


async def test_the_year_is_closed_with_what_came_of_it(bench: Bench) -> None:
    bench.clock.on(days=(date(2026, 12, 10) - FIRST).days)
    await bench.nights(9)
    bench.source.changes[ENTERPRISE] = {"spent": Decimal(990), "spent_measured": Decimal(990)}
    await bench.nights(17)
    assert await bench.alerts("phase", "kind = 'trend'") != [("closed",)]
    await bench.nights(2)
    ((phase, outcome),) = await bench.alerts("phase, outcome", "kind = 'trend'")
    found = json.loads(outcome)
    assert (phase, found["verdict"], found["over"], found["worst"]) == ("closed", "false-alarm", False, "orange")
    assert found["lead_days"] == (date(2026, 12, 31) - date(2026, 12, 16)).days
    assert (await bench.rows_of_history())[-1] == 15


async def queued(bench: Bench) -> list[tuple[int, int, bool]]:
    """Mails, people, and whether these are the county's."""
    rows = await bench.pool.fetch(
        """SELECT count(*), count(DISTINCT recipient_id), owner = '445303' AS county
           FROM outbox JOIN recipient USING (recipient_id) WHERE state = 'queued' GROUP BY 3 ORDER BY 3"""
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def all_sent(bench: Bench) -> None:
    await bench.pool.execute("UPDATE outbox SET state = 'sent', sent_at = $1 WHERE state = 'queued'", bench.clock.now)


async def test_ten_thousand_turn_orange_in_one_night_and_everybody_gets_one_mail(database_url: str) -> None:
    """Each contact that night, and the county, when nobody has acknowledged in three working days, one for all."""
    names = [code(number) for number in range(10_000)]
    async with a_bench(database_url, enterprises=names) as bench:
        for name in names:
            bench.source.changes[name] = {"spent": Decimal(960), "spent_measured": Decimal(960), "p_over": 0.1}
        await bench.nights(1)
        assert set(await bench.alerts("level", "phase = 'active'")) == {("orange",)}
        assert await queued(bench) == [(10_000, 10_000, False)]
        await all_sent(bench)
        await bench.nights(2)
        assert await queued(bench) == []
        await bench.nights(1)
        assert await queued(bench) == [(1, 1, True)]
        merged = await bench.pool.fetchval("SELECT count(*) FROM outbox WHERE state = 'merged'")
        assert merged == 10_000


async def test_five_hundred_fall_silent_at_once_and_nobody_is_taken_to_save(database_url: str) -> None:
    names = [code(number) for number in range(500)]
    async with a_bench(database_url, enterprises=names) as bench:
        await bench.nights(8)
        assert set(await bench.alerts("phase, level", "kind = 'trend'")) == {("active", "orange")}
        await all_sent(bench)
        bench.source.p_over = steady(0.0)
        bench.source.late_s = dict.fromkeys(names, 8 * 86_400.0)
        await bench.nights(1)
        assert set(await bench.alerts("phase, level", "kind = 'trend'")) == {("held", "orange")}
        assert len(await bench.alerts("phase", "kind = 'data' AND phase = 'active'")) == 500
        assert await queued(bench) == [(500, 500, False)]
        bench.source.late_s, bench.source.p_over = {}, steady(0.9)
        await bench.nights(1)
        assert set(await bench.alerts("phase, level", "kind = 'trend'")) == {("active", "orange")}


async def test_what_rose_is_told_to_whoever_listens(bench: Bench) -> None:
    await bench.nights(8)
    found = await bench.pool.fetchrow("SELECT kind, enterprise, payload FROM event WHERE kind LIKE 'alert.%'")
    assert found is not None
    assert (found["kind"], found["enterprise"], json.loads(found["payload"])["level"]) == (
        "alert.raised",
        ENTERPRISE,
        Level.ORANGE.word,
    )


def test_the_first_night_is_today_and_later_none_is_left_out() -> None:
    today = date(2026, 7, 10)
    assert days_due(None, today) == [today]
    assert days_due(today, today) == []
    assert days_due(date(2026, 7, 7), today) == [date(2026, 7, 8), date(2026, 7, 9), today]
