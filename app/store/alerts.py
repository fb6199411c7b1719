"""Alerts as they are kept: transitions, evaluations and notices of a group of enterprises in one transaction.

What is decided is decided in `alerts`; here it is read and written, set by set, so that a night costs a few statements
a thousand enterprises.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg

from alerts.decide import (
    Alert,
    Key,
    Verdict,
    escalate,
    inputs_of,
    is_over,
    judge,
    key_of,
    next_step,
    outcome,
    run_out,
)
from alerts.evaluate import BudgetPosition, Position, signals
from alerts.notice import Delivery, Reason, delivery, due_at, with_roles
from alerts.rule import Kind, Level, Role
from alerts.smtp import Probe, unobserved
from alerts.states import Change, Data, Phase, State, close
from app.store.alert_settings import SettingsBook, Version, settings_book
from app.store.outbox import (
    RAISE_ALARM,
    REGION_ROLES,
    Addressee,
    Waiting,
    contact_of,
    enqueue,
    merge,
    recipients,
)
from app.store.rollups import Connection
from energy.budget import BudgetBasis

EVALUATION_LOCK = 0x7463_616C
SYSTEM = "evaluation"

ALERT_COLUMNS = """alert_id, enterprise, kind, period, subject, phase, level, seq, over_since, under_since, fact, data,
    acked_until, silenced_until, silence_covers, told, worst, escalates_from, steps_done, facts, raised_at"""
OPEN = f"""
SELECT {ALERT_COLUMNS} FROM alert WHERE enterprise = ANY ($1) AND closed_at IS NULL
ORDER BY alert_id FOR UPDATE
"""
RECORD = """alert_id bigint, enterprise text, kind text, period text, subject text, phase text, level text, seq int,
    over_since date[], under_since date[], fact boolean, data text, acked_until timestamptz,
    silenced_until timestamptz, silence_covers text, told text, worst text, escalates_from date, steps_done int,
    facts jsonb,
    raised_at timestamptz, closed_at timestamptz, outcome jsonb"""
INSERT = f"""
INSERT INTO alert (enterprise, kind, period, subject, phase, level, seq, over_since, under_since, fact, data,
    acked_until, silenced_until, silence_covers, told, worst, escalates_from, steps_done, facts, opened_at, raised_at,
    changed_at,
    closed_at, outcome)
SELECT enterprise, kind, period, subject, phase, level, seq, over_since, under_since, fact, data, acked_until,
    silenced_until, silence_covers, told, worst, escalates_from, steps_done, facts, $2, raised_at, $2, closed_at,
    outcome
FROM jsonb_to_recordset($1::text::jsonb) AS new ({RECORD})
ON CONFLICT (enterprise, kind, period, subject) WHERE closed_at IS NULL DO NOTHING
RETURNING alert_id, enterprise, kind, period, subject
"""
UPDATE = f"""
UPDATE alert SET phase = new.phase, level = new.level, seq = new.seq, over_since = new.over_since,
    under_since = new.under_since, fact = new.fact, data = new.data, acked_until = new.acked_until,
    silenced_until = new.silenced_until, silence_covers = new.silence_covers, told = new.told,
    worst = new.worst, escalates_from = new.escalates_from,
    steps_done = new.steps_done, facts = new.facts, raised_at = new.raised_at,
    changed_at = CASE WHEN alert.seq <> new.seq OR alert.phase <> new.phase THEN $2 ELSE alert.changed_at END,
    closed_at = new.closed_at, outcome = coalesce(new.outcome, alert.outcome)
FROM jsonb_to_recordset($1::text::jsonb) AS new ({RECORD}) WHERE alert.alert_id = new.alert_id
"""
HISTORY = """
INSERT INTO alert_history (alert_id, seq, "row", event, phase_before, phase_after, level_before, level_after, day, at,
    actor, comment, inputs)
SELECT alert_id, seq, "row", event, phase_before, phase_after, level_before, level_after, day, $2, actor, comment,
    inputs
FROM jsonb_to_recordset($1::text::jsonb) AS new (alert_id bigint, seq int, "row" smallint, event text,
    phase_before text, phase_after text, level_before text, level_after text, day date, actor text, comment text,
    inputs jsonb)
"""
EVALUATED = ("run_id", "enterprise", "about", "subject", "day", "as_of", "settings", "signals", "inputs")
DONE_BEFORE = """
SELECT DISTINCT enterprise, about FROM alert_evaluation WHERE enterprise = ANY ($1) AND day = $2 AND run_id = $3
"""
RUN = """
INSERT INTO alert_run (day, why, started_at) VALUES ($1, $2, $3)
ON CONFLICT (day) WHERE why = 'daily' DO UPDATE SET day = excluded.day RETURNING run_id, finished_at
"""
PROGRESS = "UPDATE alert_run SET done_until = $2, evaluated = evaluated + $3, told = told + $4 WHERE run_id = $1"
FINISHED = "UPDATE alert_run SET finished_at = $2 WHERE run_id = $1"
LAST_RUN = "SELECT max(started_at) FROM alert_run WHERE finished_at IS NOT NULL"
LAST_DAY = "SELECT max(day) FROM alert_run WHERE why = 'daily' AND finished_at IS NOT NULL"
PEOPLE = "SELECT id, name, region, contacts FROM enterprise WHERE id = ANY ($1)"
REGIONS = "SELECT code, parent, name_zh, name_en FROM region"
REGION_CONTACTS = "SELECT region, email, name, language FROM region_contact ORDER BY region, email"
HEARD = """
SELECT outbox.alert_id, recipient_id, recipient.role, array_agg(DISTINCT outbox.level) AS levels
FROM outbox JOIN recipient USING (recipient_id)
WHERE outbox.alert_id = ANY ($1) GROUP BY 1, 2, 3 ORDER BY min(outbox_id)
"""
CONTRIBUTORS = """
SELECT enterprise, name_zh, name_en, {figure}::float8 AS tce FROM (
    SELECT enterprise, carrier, sum({column}) AS tce FROM enterprise_month
    WHERE enterprise = ANY ($1) AND start >= $2 AND start < $3 GROUP BY enterprise, carrier
) AS each JOIN carrier ON carrier.code = each.carrier WHERE tce > 0 ORDER BY enterprise, tce DESC
"""
RUN_OUT = f"""
SELECT {ALERT_COLUMNS} FROM alert WHERE closed_at IS NULL AND (acked_until <= $1 OR silenced_until <= $1)
ORDER BY alert_id LIMIT $2 FOR UPDATE
"""
STANDING = f"""
SELECT {ALERT_COLUMNS} FROM alert
WHERE closed_at IS NULL AND phase = 'active' AND level IN ('orange', 'red') AND level = told AND acked_until IS NULL
    AND (silenced_until IS NULL OR level = 'red' AND silence_covers <> 'red') AND escalates_from < $1 AND alert_id > $2
ORDER BY alert_id LIMIT $3 FOR UPDATE
"""
OF_YEAR = f"""
SELECT {ALERT_COLUMNS}, (SELECT region FROM enterprise WHERE id = alert.enterprise) AS region FROM alert
WHERE closed_at IS NULL AND kind IN ('trend', 'actual', 'period') AND period < $1 AND alert_id > $2
ORDER BY alert_id LIMIT $3 FOR UPDATE
"""
EVENTS = """
SELECT count(record_event(kind, enterprise, NULL, payload)) FROM jsonb_to_recordset($1::text::jsonb)
    AS told (kind text, enterprise text, payload jsonb)
"""
GROUP = 500


@dataclass(frozen=True, slots=True)
class Tally:
    """What a group of positions came to."""

    evaluated: int = 0
    raised: int = 0
    changed: int = 0
    told: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.evaluated + other.evaluated,
            self.raised + other.raised,
            self.changed + other.changed,
            self.told + other.told,
        )


@dataclass(frozen=True, slots=True)
class Names:
    """Regions by code, with who is written to there; read once a run."""

    regions: Mapping[str, Mapping[str, Any]]
    contacts: Mapping[str, tuple[Addressee, ...]]

    def above(self, region: str | None) -> Iterable[str]:
        """The region and those it lies in, nearest first."""
        while region is not None and region in self.regions:
            yield region
            region = self.regions[region]["parent"]

    def of_role(self, region: str, role: Role) -> tuple[Addressee, ...]:
        """Supervisors of a role over a region; where a step has nobody, the next one above it."""
        chain = list(self.above(region))
        for code in chain[REGION_ROLES.index(role) :]:
            if self.contacts.get(code):
                return self.contacts[code]
        return ()

    def called(self, region: str) -> dict[str, str]:
        found = self.regions.get(region)
        return {"zh-CN": found["name_zh"], "en": found["name_en"]} if found else {"zh-CN": region, "en": region}


@dataclass(frozen=True, slots=True)
class Run:
    """An evaluation under way, or one that was finished before."""

    run_id: int
    day: date
    finished: bool


@dataclass(frozen=True, slots=True)
class _Judged:
    """A position's alert and what was decided about it."""

    position: Position | None
    version: Version
    inputs: Mapping[str, Any]
    verdict: Verdict
    day: date


@dataclass(frozen=True, slots=True)
class _Heard:
    """A recipient of an alert. `most`: the highest level they were told; what is above it is not theirs to hear."""

    recipient_id: int
    role: Role
    most: Level = Level.RED


class StoredAlerts:
    """`alerts.engine.AlertBook` on the database.

    `domain` ends Message-IDs, `portal` begins the links in mails (None: no link), `zone` is that of local days.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        domain: str,
        zone: ZoneInfo,
        portal: str | None = None,
        probe: Probe = unobserved,
    ) -> None:
        self._probe = probe
        self._pool = pool
        self._domain = domain
        self._zone = zone
        self._portal = portal

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[bool]:
        """Whether it is our turn to evaluate: one process at a time. A killed one gives it back with its connection."""
        async with self._pool.acquire() as connection:
            ours = bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", EVALUATION_LOCK))
            try:
                yield ours
            finally:
                if ours and not connection.is_closed():
                    await connection.execute("SELECT pg_advisory_unlock($1)", EVALUATION_LOCK)

    async def last_day(self) -> date | None:
        """The newest day whose daily evaluation is finished."""
        found: date | None = await self._pool.fetchval(LAST_DAY)
        return found

    async def last_run(self) -> datetime | None:
        """When the newest finished run began."""
        found: datetime | None = await self._pool.fetchval(LAST_RUN)
        return found

    async def begin(self, day: date, why: str, now: datetime) -> Run:
        """A run of a day; a daily one that was interrupted goes on."""
        row = await self._pool.fetchrow(RUN, day, why, now)
        assert row is not None, "inserted or found"
        return Run(row["run_id"], day, row["finished_at"] is not None)

    async def settings(self) -> SettingsBook:
        async with self._pool.acquire() as connection:
            return await settings_book(connection)

    async def record(
        self, run: Run, positions: Sequence[Position], settings: SettingsBook, now: datetime, *, tell: bool
    ) -> Tally:
        """Judge positions and write down what follows, all in one transaction. Doing it again changes nothing."""
        async with self._pool.acquire() as connection, connection.transaction():
            names = await self._names(connection)
            fresh = await self._not_done(connection, run, positions)
            opened = await self._open(connection, fresh)
            judged, evaluations = _judge_all(run, fresh, opened, settings, now, tell=tell)
            await connection.copy_records_to_table("alert_evaluation", records=evaluations, columns=EVALUATED)
            told = await self._write(connection, judged, names, run, now)
            changed = [one for one in judged if one.verdict.changes]
            tally = Tally(
                len(evaluations),
                sum(one.verdict.alert.state.level > one.verdict.was_told for one in changed),
                len(changed),
                told,
            )
            last = positions[-1].enterprise if positions else None
            await connection.execute(PROGRESS, run.run_id, last, tally.evaluated, tally.told)
            self._probe("before commit")
        self._probe("after commit")
        return tally

    async def finish(self, run: Run, settings: SettingsBook, now: datetime) -> int:
        """The run is done: one mail a supervisor of all it found. Answers how many mails."""
        async with self._pool.acquire() as connection, connection.transaction():
            mails = await self._merge(connection, [Delivery.GROUPED], f"run{run.run_id}", settings, now)
            await connection.execute(FINISHED, run.run_id, now)
        return mails

    async def digests(self, settings: SettingsBook, now: datetime) -> int:
        """Whatever digest is due by now."""
        key = f"{now.astimezone(self._zone):%Y%m%d%H%M}"
        async with self._pool.acquire() as connection, connection.transaction():
            return await self._merge(connection, [Delivery.DAILY, Delivery.WEEKLY], f"digest{key}", settings, now)

    async def _merge(
        self, connection: Connection, kinds: Sequence[Delivery], key: str, settings: SettingsBook, now: datetime
    ) -> int:
        top = max((one.settings.grouped_top for one in settings.versions.values()), default=50)
        link = None if self._portal is None else f"{self._portal}/alerts"
        local = now.astimezone(self._zone)
        return await merge(connection, kinds, key=key, top=top, link=link, domain=self._domain, now=local)

    async def ripen(self, settings: SettingsBook, now: datetime) -> int:
        """What comes with time alone: acknowledgements and silences that ran out, and steps of escalation."""
        done = 0
        while found := await self._run_out(settings, now):
            done += found
        last = 0
        while (following := await self._escalate(settings, now, last)) is not None:
            last, told = following
            done += told
        if done:
            async with self._pool.acquire() as connection, connection.transaction():
                key = f"step{now.astimezone(self._zone):%Y%m%d%H%M}"
                await self._merge(connection, [Delivery.GROUPED], key, settings, now)
        return done

    async def close_years(self, settings: SettingsBook, day: date, now: datetime) -> int:
        """Alerts about budgets of years whose last month is closed end with what came of them."""
        done = last = 0
        async with self._pool.acquire() as connection:
            while True:
                async with connection.transaction():
                    rows = await connection.fetch(OF_YEAR, str(day.year), last, GROUP)
                    judged = [found for row in rows if (found := self._closed(row, settings, day)) is not None]
                    await self._write(connection, judged, await self._names(connection), None, now)
                if len(rows) < GROUP:
                    return done + len(judged)
                done, last = done + len(judged), rows[-1]["alert_id"]

    def _closed(self, row: asyncpg.Record, settings: SettingsBook, day: date) -> _Judged | None:
        """The alert with what came of it, if its year is over by the settings of its region."""
        alert, year = _alert(row), int(row["period"])
        version = settings.of(row["region"])
        if not is_over(year, day, version.settings):
            return None
        change, facts = close(alert.state), alert.facts
        told = outcome(
            alert,
            final=facts.get("spent") or 0.0,
            budget=facts.get("budget") or 0.0,
            raised_on=None if alert.raised_at is None else alert.raised_at.astimezone(self._zone).date(),
            ended=date(year, 12, 31),
        )
        ended = Verdict(replace(alert, state=change.after, outcome=told), (change,), None, alert.told)
        return _Judged(None, version, facts, ended, day)

    async def _run_out(self, settings: SettingsBook, now: datetime) -> int:
        day = now.astimezone(self._zone).date()
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(RUN_OUT, now, GROUP)
            regions = await _regions_of(connection, rows)
            judged = []
            for row in rows:
                alert, version = _alert(row), settings.of(regions[row["enterprise"]])
                verdict = run_out(alert, version.settings, day=day, now=now)
                assert verdict is not None, "its time has come"
                judged.append(_Judged(None, version, alert.facts, verdict, day))
            await self._write(connection, judged, await self._names(connection), None, now)
        return len(rows)

    async def _escalate(self, settings: SettingsBook, now: datetime, after: int) -> tuple[int, int] | None:
        day = now.astimezone(self._zone).date()
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(STANDING, day, after, GROUP)
            if not rows:
                return None
            regions = await _regions_of(connection, rows)
            judged: list[_Judged] = []
            for row in rows:
                alert, version = _alert(row), settings.of(regions[row["enterprise"]])
                further, notices = escalate(alert, version.settings, day=day, now=now)
                judged += [
                    _Judged(None, version, alert.facts, Verdict(further, (), notice, alert.told), day)
                    for notice in notices
                ]
            await self._write(connection, judged, await self._names(connection), None, now)
        return rows[-1]["alert_id"], len(judged)

    async def _names(self, connection: Connection) -> Names:
        regions = {row["code"]: dict(row) for row in await connection.fetch(REGIONS)}
        contacts: dict[str, tuple[Addressee, ...]] = {}
        depth = {code: sum(1 for _ in Names(regions, {}).above(code)) for code in regions}
        deepest = max(depth.values(), default=0)
        for row in await connection.fetch(REGION_CONTACTS):
            role = REGION_ROLES[min(deepest - depth[row["region"]], len(REGION_ROLES) - 1)]
            one = Addressee(row["region"], role, contact_of(dict(row)))
            contacts[row["region"]] = (*contacts.get(row["region"], ()), one)
        return Names(regions, contacts)

    async def _not_done(self, connection: Connection, run: Run, positions: Sequence[Position]) -> list[Position]:
        """Positions this run has not written yet: an interrupted run goes on where it was."""
        named = sorted({one.enterprise for one in positions})
        rows = await connection.fetch(DONE_BEFORE, named, run.day, run.run_id)
        done = {(row["enterprise"], row["about"]) for row in rows}
        return [one for one in positions if (one.enterprise, _about(one)) not in done]

    async def _open(self, connection: Connection, positions: Sequence[Position]) -> dict[Key, Alert]:
        named = sorted({one.enterprise for one in positions})
        found = (_alert(row) for row in await connection.fetch(OPEN, named))
        return {alert.key: alert for alert in found}

    # Writing ----------------------------------------------------------------------------------------------------------

    async def _write(
        self, connection: Connection, judged: Sequence[_Judged], names: Names, run: Run | None, now: datetime
    ) -> int:
        """Alerts, history, outbox and events of what was decided. Answers how many notices were written."""
        if not judged:
            return 0
        new = [one.verdict.alert for one in judged if one.verdict.alert.alert_id is None]
        numbers = {alert.key: alert.alert_id for alert in (one.verdict.alert for one in judged)}
        for row in await connection.fetch(INSERT, _records(new, now), now) if new else ():
            numbers[Key(row["enterprise"], Kind(row["kind"]), row["period"], row["subject"])] = row["alert_id"]
        old = [one.verdict.alert for one in judged if one.verdict.alert.alert_id is not None]
        await connection.execute(UPDATE, _records(old, now), now)
        kept = [one for one in judged if numbers[one.verdict.alert.key] is not None]
        lines = [line for one in kept for line in _history(one, numbers[one.verdict.alert.key])]
        await connection.execute(HISTORY, json.dumps(lines, ensure_ascii=False), now)
        telling = [one for one in kept if one.verdict.notice is not None]
        await self._events(connection, [one for one in kept if one.verdict.changes], numbers)
        return await self._tell(connection, telling, numbers, names, now) if telling else 0

    async def _events(
        self, connection: Connection, judged: Sequence[_Judged], numbers: Mapping[Key, int | None]
    ) -> None:
        """What others may listen for: a level that rose or fell."""
        told = [
            {
                "kind": "alert.raised" if after > before else "alert.lowered",
                "enterprise": one.verdict.alert.key.enterprise,
                "payload": {
                    "alert": numbers[one.verdict.alert.key],
                    "kind": str(one.verdict.alert.key.kind),
                    "period": one.verdict.alert.key.period,
                    "subject": one.verdict.alert.key.subject,
                    "level": after.word,
                    "was": before.word,
                },
            }
            for one in judged
            if (before := one.verdict.changes[0].before.level) != (after := one.verdict.alert.state.level)
        ]
        if told:
            await connection.execute(EVENTS, json.dumps(told, ensure_ascii=False))

    async def _tell(
        self,
        connection: Connection,
        judged: Sequence[_Judged],
        numbers: Mapping[Key, int | None],
        names: Names,
        now: datetime,
    ) -> int:
        """The outbox rows of these notices, a row a recipient."""
        enterprises = sorted({one.verdict.alert.key.enterprise for one in judged})
        people = {row["id"]: row for row in await connection.fetch(PEOPLE, enterprises)}
        heard: dict[int, list[_Heard]] = {}
        for row in await connection.fetch(HEARD, [numbers[one.verdict.alert.key] for one in judged]):
            most = max(map(Level.of, row["levels"]))
            heard.setdefault(row["alert_id"], []).append(_Heard(row["recipient_id"], Role(row["role"]), most))
        contributors = await self._contributors(connection, judged)
        wanted: list[tuple[_Judged, Addressee]] = []
        rows: list[Waiting] = []
        for one in judged:
            number = numbers[one.verdict.alert.key]
            assert number is not None, "filtered by the caller"
            assert one.verdict.notice is not None, "filtered by the caller"
            known = [who for who in heard.get(number, ()) if who.most >= one.verdict.notice.level]
            if one.verdict.notice.roles or not known:
                named = _addressees(one, people[one.verdict.alert.key.enterprise], names)
                wanted += [(one, who) for who in named]
                if not named:
                    subject = one.verdict.alert.key.enterprise
                    await connection.execute(RAISE_ALARM, "nobody-to-tell", subject, _nobody(one), now)
            else:
                payload = self._facts(one, number, people, names, contributors)
                rows += [self._row(one, number, who, payload, now) for who in known]
        for (one, who), recipient_id in zip(wanted, await recipients(connection, [w for _, w in wanted]), strict=True):
            number = numbers[one.verdict.alert.key]
            assert number is not None, "filtered by the caller"
            payload = self._facts(one, number, people, names, contributors)
            rows.append(self._row(one, number, _Heard(recipient_id, who.role), payload, now))
        return len(await enqueue(connection, rows, domain=self._domain, now=now))

    def _row(self, one: _Judged, number: int, who: _Heard, payload: Mapping[str, Any], now: datetime) -> Waiting:
        notice, state = one.verdict.notice, one.verdict.alert.state
        assert notice is not None, "filtered by the caller"
        was = min(one.verdict.was_told, who.most)
        worst = max(notice.level, was) if notice.reason is not Reason.RAISED else notice.level
        when = delivery(who.role, worst, notice.reason)
        return Waiting(
            alert_id=number,
            seq=state.seq,
            recipient_id=who.recipient_id,
            kind=str(notice.reason),
            level=notice.level,
            delivery=when,
            payload=payload,
            next_at=due_at(when, now.astimezone(self._zone)),
            state="suppressed" if state.is_quiet(worst) else "queued",
        )

    def _facts(
        self,
        one: _Judged,
        number: int,
        people: Mapping[str, asyncpg.Record],
        names: Names,
        contributors: Mapping[tuple[str, str], list[dict[str, Any]]],
    ) -> dict[str, Any]:
        """What the mail will say, frozen now."""
        alert, notice = one.verdict.alert, one.verdict.notice
        assert notice is not None, "filtered by the caller"
        person = people[alert.key.enterprise]
        facts: dict[str, Any] = {
            **alert.facts,
            "alert": number,
            "enterprise": alert.key.enterprise,
            "name": person["name"],
            "region": person["region"],
            "region_name": names.called(person["region"]),
            "kind": str(alert.key.kind),
            "period": alert.key.period,
            "subject": alert.key.subject,
            "reason": str(notice.reason),
            "level": notice.level.word,
            "was": one.verdict.was_told.word,
            "settings": one.version.label,
            "next": _next_step(one, person, names),
            "link": None if self._portal is None else f"{self._portal}/alerts/{number}",
            "limits": {
                "per_hour": one.version.settings.mails_per_hour,
                "per_day": one.version.settings.mails_per_day,
            },
        }
        if alert.key.kind in (Kind.TREND, Kind.ACTUAL, Kind.PERIOD):
            facts["unit"] = BudgetBasis(alert.key.subject).unit
            facts["before"] = one.verdict.told_before
            facts["contributors"] = contributors.get((alert.key.enterprise, alert.key.subject), [])
        if isinstance(one.position, BudgetPosition):
            facts["months"] = [
                [f"{one.position.year}-{month.month:02d}", float(month.used), float(month.planned)]
                for month in one.position.months
            ]
            facts["chart"] = _chart(one.position)
        return facts

    async def _contributors(
        self, connection: Connection, judged: Sequence[_Judged]
    ) -> dict[tuple[str, str], list[dict[str, Any]]]:
        """The three carriers that make most of a budget's year, for each enterprise that is told of one."""
        wanted: dict[tuple[str, int], set[str]] = {}
        for one in judged:
            key = one.verdict.alert.key
            if key.kind in (Kind.TREND, Kind.ACTUAL, Kind.PERIOD):
                wanted.setdefault((key.subject, int(key.period)), set()).add(key.enterprise)
        found: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for (basis, year), enterprises in wanted.items():
            column = "tco2_net" if basis == "co2" else f"tce_{basis}_net"
            begin, end = (datetime(at, 1, 1, tzinfo=self._zone) for at in (year, year + 1))
            statement = CONTRIBUTORS.format(column=column, figure="tce")
            rows = await connection.fetch(statement, sorted(enterprises), begin, end)
            totals: dict[str, float] = {}
            for row in rows:
                totals[row["enterprise"]] = totals.get(row["enterprise"], 0.0) + row["tce"]
            for row in rows:
                several = found.setdefault((row["enterprise"], basis), [])
                if len(several) < 3:
                    what = {"zh-CN": row["name_zh"], "en": row["name_en"]}
                    share = row["tce"] / totals[row["enterprise"]]
                    several.append({"what": what, "tce": round(row["tce"], 3), "share": round(share, 4)})
        return found


def _judge_all(
    run: Run,
    positions: Sequence[Position],
    opened: Mapping[Key, Alert],
    settings: SettingsBook,
    now: datetime,
    *,
    tell: bool,
) -> tuple[list[_Judged], list[tuple[Any, ...]]]:
    judged: list[_Judged] = []
    evaluations: list[tuple[Any, ...]] = []
    for position in positions:
        version, inputs = settings.of(position.region), inputs_of(position)
        if isinstance(position, BudgetPosition) and is_over(position.year, run.day, version.settings):
            continue
        said = signals(version.settings, position)
        for kind, signal in said:
            key = key_of(kind, position)
            before = opened.get(key)
            verdict = judge(before, key, signal, version.settings, inputs, day=run.day, now=now, tell=tell)
            if verdict is not None and (verdict.changes or verdict.notice or verdict.alert != before):
                judged.append(_Judged(position, version, inputs, verdict, run.day))
        words = " ".join(f"{kind}:{signal.on.word}/{signal.kept.word}:{signal.data}" for kind, signal in said)
        as_of = getattr(position, "as_of", now)
        evaluations.append(
            (
                run.run_id,
                position.enterprise,
                _about(position),
                key_of(said[0][0], position).subject,
                run.day,
                as_of,
                version.label,
                words,
                json.dumps(inputs, ensure_ascii=False),
            )
        )
    return judged, evaluations


def _about(position: Position) -> str:
    return type(position).__name__.removesuffix("Position").lower()


def _alert(row: asyncpg.Record) -> Alert:
    facts = json.loads(row["facts"])
    before = facts.pop("told_before", None)
    return Alert(
        key=Key(row["enterprise"], Kind(row["kind"]), row["period"], row["subject"]),
        alert_id=row["alert_id"],
        state=state_of(row),
        told=Level.of(row["told"]),
        worst=Level.of(row["worst"]),
        escalates_from=row["escalates_from"],
        steps_done=row["steps_done"],
        raised_at=row["raised_at"],
        facts=facts,
        before=before,
    )


def state_of(row: Any) -> State:
    """The state a row of `alert` holds; three days in each of its arrays, the table checks that."""
    return State(
        phase=Phase(row["phase"]),
        level=Level.of(row["level"]),
        seq=row["seq"],
        over_since=tuple(row["over_since"]),
        under_since=tuple(row["under_since"]),
        fact=row["fact"],
        acked_until=row["acked_until"],
        silenced_until=row["silenced_until"],
        silence_covers=Level.of(row["silence_covers"]),
        data=Data(row["data"]),
    )


def _records(alerts: Sequence[Alert], now: datetime) -> str:
    return json.dumps([_record(alert, now) for alert in alerts], ensure_ascii=False)


def _record(alert: Alert, now: datetime) -> dict[str, Any]:
    state = alert.state
    facts = {**alert.facts, **({} if alert.before is None else {"told_before": dict(alert.before)})}
    return {
        "alert_id": alert.alert_id,
        "enterprise": alert.key.enterprise,
        "kind": str(alert.key.kind),
        "period": alert.key.period,
        "subject": alert.key.subject,
        "phase": str(state.phase),
        "level": state.level.word,
        "seq": state.seq,
        "over_since": [_iso(day) for day in state.over_since],
        "under_since": [_iso(day) for day in state.under_since],
        "fact": state.fact,
        "data": str(state.data),
        "acked_until": _iso(state.acked_until),
        "silenced_until": _iso(state.silenced_until),
        "silence_covers": state.silence_covers.word,
        "told": alert.told.word,
        "worst": alert.worst.word,
        "escalates_from": _iso(alert.escalates_from),
        "steps_done": alert.steps_done,
        "facts": facts,
        "raised_at": _iso(alert.raised_at),
        "closed_at": now.isoformat() if state.phase is Phase.CLOSED else None,
        "outcome": alert.outcome,
    }


def _iso(at: date | datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _history(one: _Judged, number: int | None) -> list[dict[str, Any]]:
    kept = {**one.inputs, "settings": one.version.label}
    return [history_line(number, change, one.day, SYSTEM, None, kept) for change in one.verdict.changes]


def history_line(
    number: int | None, change: Change, day: date, actor: str, comment: str | None, inputs: Mapping[str, Any]
) -> dict[str, Any]:
    """A transition as the history keeps it."""
    return {
        "alert_id": number,
        "seq": change.after.seq,
        "row": change.row,
        "event": str(change.event),
        "phase_before": str(change.before.phase),
        "phase_after": str(change.after.phase),
        "level_before": change.before.level.word,
        "level_after": change.after.level.word,
        "day": day.isoformat(),
        "actor": actor,
        "comment": comment,
        "inputs": dict(inputs),
    }


def _addressees(one: _Judged, person: asyncpg.Record, names: Names) -> list[Addressee]:
    """Whom a notice goes to."""
    notice = one.verdict.notice
    assert notice is not None, "filtered by the caller"
    return _reached(notice.roles, one.verdict.alert.key.enterprise, person, names)


def _reached(roles: Sequence[Role], owner: str, person: asyncpg.Record, names: Names) -> list[Addressee]:
    """Who stands for these roles. Where one has nobody the others are told; where all have none, whoever there is."""
    held = with_roles([contact_of(entry) for entry in json.loads(person["contacts"])])

    def of(role: Role) -> list[Addressee]:
        if role in REGION_ROLES:
            return list(names.of_role(person["region"], role))
        return [Addressee(owner, role, contact) for contact in held.get(role, ())]

    found = [who for role in roles for who in of(role)]
    if not found:
        found = next((several for role in Role if (several := of(role))), [])
    return list({who.contact.email.lower(): who for who in found}.values())


def _nobody(one: _Judged) -> str:
    key = one.verdict.alert.key
    return (
        f"no contact at the enterprise nor in its regions for the alert {key.kind} {key.period} {key.subject}".strip()
    )


def _next_step(one: _Judged, person: asyncpg.Record, names: Names) -> dict[str, Any] | None:
    """What comes if nobody acknowledges, with the roles of those who will really be told; None where nothing does."""
    coming = next_step(one.verdict.alert, one.version.settings, one.day)
    if coming is None:
        return None
    days, roles = coming
    reached = [str(who.role) for who in _reached(roles, one.verdict.alert.key.enterprise, person, names)]
    return {"days": days, "roles": list(dict.fromkeys(reached))} if reached else None


def _chart(position: BudgetPosition) -> dict[str, Any] | None:
    """Sums to the end of each month: used and planned."""
    if len(position.plan) != 12 or position.budget <= 0:
        return None
    by_month = {month.month: float(month.used) for month in position.months}
    used, total = [], 0.0
    for month in range(1, max(by_month, default=0) + 1):
        total += by_month.get(month, 0.0)
        used.append(total)
    year_end = date(position.year + 1, 1, 1)
    at = 12.0 if position.day >= year_end else _months_to(position.day)
    if at > len(used):
        used.append(float(position.spent))
    plan, total = [], 0.0
    for planned in position.plan:
        total += float(planned)
        plan.append(total)
    return {"used": used, "at": round(at, 3), "since": round(_months_to(position.measured_from), 3), "plan": plan}


def _months_to(first: date | None) -> float:
    """How far the year is, 0..12 months, at the start of a day; 0 for none."""
    return 0.0 if first is None else first.month - 1 + (first.day - 1) / 30.5


async def _regions_of(connection: Connection, rows: Sequence[asyncpg.Record]) -> dict[str, str]:
    named = sorted({row["enterprise"] for row in rows})
    return {row["id"]: row["region"] for row in await connection.fetch(PEOPLE, named)}
