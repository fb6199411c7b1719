"""`tcewatch demo`: a running city from nothing. Stack, schema, service, registered plants, their history, then live.

The demo is a client like any other: it registers its plants by REST, its gateways push over the published wire, and the
figures it prints at the end are asked of the API.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import httpx2
import numpy as np
import typer
from sqlalchemy import make_url

from app.alert_cli import Span, evaluate
from app.settings import read_settings
from app.stack.places import state_dir
from app.stack.stack import Addresses, Stack
from app.store.access import create_token
from app.store.database import open_database, plain_url
from app.store.migrate import migrate
from simulators.city import city
from simulators.faults import Fault, described, troubles
from simulators.noise import Ints
from simulators.plants import INDUSTRY_CODES, PlantPlan
from simulators.production import line_of, output_of
from simulators.runner import Gateway, Tally, gateways, push_history, readings_of, run_live
from simulators.seasons import SLOT_S, SLOTS_PER_DAY, local_time
from simulators.wire import DoorClosed

CITY = "4453"
DISTRICTS = ("445302", "445303", "445321", "445322", "445381")
DATABASE = "tcewatch_demo"
ZONE = ZoneInfo("Asia/Shanghai")
SLOTS_PER_HOUR = 4
READY_WITHIN_S = 60.0
BUDGET_SHARES = (1.05, 1.10, 0.97, 1.00, 1.08)
"""Budgets by turns, as a share of what the history comes to in a year: some plants will keep theirs, some will not."""
ROLLED_UP_WITHIN_S = 1800.0
SAY_EVERY_S = 2.0
NOT_REGISTERED = frozenset({"per_hour", "runs_by"})
"""Fields of a simulated meter that only its simulation knows."""
BEHIND = timedelta(hours=8)
"""The history ends this long before now, so that the live part has quarter hours to run through at speed, and a plant
that is not heard of again is late when the others have reached the present."""
STORY_DAYS = 10
"""Days of the past on which alerts are evaluated: a trend is confirmed by seven in a row."""


class DemoTrouble(Exception):
    """The demo cannot go on; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user asked for. `until` is where the history ends, None: shortly before now."""

    units: int = 60
    days: int = 365
    seed: int = 1
    port: int = 8080
    speed: float = 900.0
    until: datetime | None = None
    exit_after_s: float | None = None
    faults: bool = False


def run_demo(wishes: Wishes) -> None:
    """Everything, until Ctrl-C, or `exit_after_s` after the city is up. Raises DemoTrouble or StackTrouble."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    port = port_or_trouble(wishes.port)
    stack = Stack(state=state_dir() / "demo", say=lambda line: say(f"  {line}"))
    if stack.broker().record.process() is None:
        # What an earlier demo left in the broker belongs to gateways that are no more.
        shutil.rmtree(stack.state / "broker", ignore_errors=True)
    say("1 Database, broker and mail sink")
    try:
        addresses = stack.up()
        with service(addresses, stack.state, port) as running:
            Demo(wishes, addresses, stack, running, stop).run()
    finally:
        say("Stopping.")
        stack.down()
    say("Everything the demo started has ended.")


def say(line: str = "") -> None:
    typer.echo(line)


@contextmanager
def service(addresses: Addresses, state: Path, port: int) -> Iterator[Service]:
    """The service as a process of its own over a fresh database, ended with SIGTERM."""
    url = asyncio.run(fresh_database(addresses.database_url))
    listener = f"mqtt://127.0.0.1:{port_or_trouble(0)}"
    environment = {
        **os.environ,
        **addresses.environment(),
        "TCEWATCH_DATABASE_URL": url,
        "TCEWATCH_HTTP_PORT": str(port),
        "TCEWATCH_MQTT_CLIENT_ID": "tcewatch-demo",
        "TCEWATCH_MQTT_LISTEN": listener,
    }
    log = state / "service.log"
    say(f"2 Schema and service (its log: {log})")
    with log.open("wb") as out:
        command = [sys.executable, "-m", "app.cli", "serve"]
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        running = Service(f"http://127.0.0.1:{port}", url, process, log, listener)
        running.wait_ready()
        yield running
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def port_or_trouble(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise DemoTrouble(f"port {port} cannot be used ({error.strerror}); choose another with --port") from error
        return int(probe.getsockname()[1])


async def fresh_database(database_url: str) -> str:
    """A database of the demo's own, emptied: each demo starts from nothing and can be run again and again."""
    admin = await asyncpg.connect(plain_url(database_url))
    try:
        await admin.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        await admin.execute(f"CREATE DATABASE {DATABASE}")
    finally:
        await admin.close()
    url = make_url(database_url).set(database=DATABASE).render_as_string(hide_password=False)
    await migrate(url)
    return url


@dataclass(slots=True)
class Service:
    """The running service as its clients see it."""

    url: str
    database_url: str
    process: subprocess.Popen[bytes]
    log: Path
    listener: str
    """Where its own MQTT listener waits."""

    def wait_ready(self) -> None:
        end = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < end and self.process.poll() is None:
            if self.readiness() is not None:
                return
            time.sleep(0.1)
        raise DemoTrouble(f"the service did not start; the end of {self.log}:\n{self.log.read_text()[-2000:]}")

    def readiness(self) -> dict[str, Any] | None:
        """What /readyz says when it is ready; None while it is not."""
        try:
            answer = httpx2.get(f"{self.url}/readyz", timeout=30)
        except httpx2.TransportError:
            return None
        return answer.json() if answer.status_code == 200 else None


class Demo:
    """The steps after the service is up."""

    def __init__(
        self, wishes: Wishes, addresses: Addresses, stack: Stack, running: Service, stop: threading.Event
    ) -> None:
        self._wishes = wishes
        self._addresses = addresses
        self._stack = stack
        self._service = running
        self._stop = stop
        self._plans = city(wishes.units, wishes.seed)
        self._tally = Tally()
        self._client = httpx2.Client(base_url=running.url, timeout=60)

    def run(self) -> None:
        tokens = asyncio.run(self._make_tokens())
        self._client.headers["Authorization"] = f"Bearer {tokens['Admin']}"
        say(f"3 Registry: {len(self._plans)} enterprises with {sum(len(p.meters) for p in self._plans)} meters")
        keys = {plan.gateway: self._register(plan) for plan in self._plans}
        until = self._wishes.until or datetime.now(UTC) - BEHIND
        until_slot = int(until.timestamp()) // 3600 * SLOTS_PER_HOUR
        origin_slot = until_slot - self._wishes.days * SLOTS_PER_DAY
        fleet = gateways(self._plans, origin_slot, self._broker(), keys, self._faults(origin_slot, until_slot))
        try:
            self._push(fleet, until_slot)
            self._report_output(origin_slot, until_slot)
            self._wait_rolled_up()
            if not self._stop.is_set():
                story = self._story(until)
                self._print_city(tokens, until)
                self._live(fleet, story)
        finally:
            self._client.close()
            for gateway in fleet:
                gateway.close()

    def _faults(self, origin_slot: int, until_slot: int) -> dict[str, tuple[Fault, ...]]:
        """What goes wrong, and where, if the user wishes to see it."""
        if not self._wishes.faults:
            return {}
        found = troubles(self._plans, origin_slot * SLOT_S * 1000, until_slot * SLOT_S * 1000, self._wishes.seed)
        for gateway, faults in found.items():
            say(f"  {gateway}: {', '.join(map(described, faults))}")
        return found

    def _broker(self) -> str:
        url = make_url(self._addresses.mqtt_url)
        return f"{url.drivername}://{url.host}:{url.port}"

    async def _make_tokens(self) -> dict[str, str]:
        """A token for each kind of reader who has an account from the start."""
        wanted = (("Admin", "admin", CITY), ("City", "supervisor", CITY), ("District", "supervisor", DISTRICTS[0]))
        async with open_database(self._service.database_url, pool_size=1) as database:
            return {
                name: await create_token(database, role=role, scope=scope, name=f"demo {name.lower()}")
                for name, role, scope in wanted
            }

    def _register(self, plan: PlantPlan) -> str:
        """The enterprise, its gateway and its meters; answers the gateway's secret."""
        contact = {"name": "能源管理员", "email": f"{plan.gateway}@example.com", "language": "zh-CN"}
        enterprise = {"id": plan.enterprise, "name": plan.name, "region": plan.region, "contacts": [contact]}
        self._post("enterprises", enterprise | {"industry": INDUSTRY_CODES[plan.industry]})
        gateway = {"id": plan.gateway, "enterprise": plan.enterprise, "name": f"{plan.name} 网关"}
        secret = str(self._post("gateways", gateway)["secret"])
        for meter in plan.meters:
            fields = {key: value for key, value in asdict(meter).items() if key not in NOT_REGISTERED}
            self._post("meters", fields | {"enterprise": plan.enterprise, "gateway": plan.gateway})
        return secret

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        answer = self._client.post(f"/api/v1/{path}", json=body)
        if answer.status_code != 201:
            raise DemoTrouble(f"POST {path} answered {answer.status_code}: {answer.text[:500]}")
        return answer.json()

    def _budgets(self, until: datetime) -> None:
        """A budget for each enterprise: what its history comes to in a year, and a bit less or more."""
        year = until.astimezone(ZONE).year
        entered = 0
        for place, plan in enumerate(self._plans):
            a_year = self._a_year(plan.enterprise, until)
            share = BUDGET_SHARES[place % len(BUDGET_SHARES)]
            if a_year > 0 and self._put_budget(plan.enterprise, year, round(a_year * share, 2)):
                entered += 1
        say(f"  {entered} enterprises with a budget for {year}")

    def _a_year(self, enterprise: str, until: datetime) -> float:
        """What an enterprise's history comes to in a year, net tce."""
        begin = until - timedelta(days=self._wishes.days)
        params = {"from": begin.isoformat(), "to": until.isoformat(), "interval": "P1M", "by": "total"}
        answer = self._client.get(f"/api/v1/enterprises/{enterprise}/energy", params=params)
        months = answer.json()["buckets"] if answer.status_code == 200 else []
        return float(sum(month["tce_net"] or 0.0 for month in months)) * 365 / max(self._wishes.days, 1)

    def _put_budget(self, enterprise: str, year: int, tce: float, reason: str = "demo: annual decision") -> bool:
        body = {"basis": "equivalent", "tce": round(tce, 2), "monthly": None, "reason": reason}
        answer = self._client.put(f"/api/v1/enterprises/{enterprise}/budgets/{year}", json=body)
        if answer.status_code not in (200, 201):
            raise DemoTrouble(f"PUT budgets/{year} answered {answer.status_code}: {answer.text[:500]}")
        return True

    def _push(self, fleet: Sequence[Gateway], until_slot: int) -> None:
        due = readings_of(self._plans, self._wishes.days * SLOTS_PER_DAY)
        say(f"4 History: {self._wishes.days} days of hourly readings over MQTT, {due:,} readings")
        with ThreadPoolExecutor(1) as pool:
            pushing = pool.submit(push_history, fleet, until_slot, self._tally, self._stop)
            while not wait([pushing], timeout=SAY_EVERY_S).done:
                share = 100 * self._tally.sent // max(due, 1)
                say(f"  {self._tally.sent:>12,} of {due:,} acknowledged ({share} %)")
            try:
                pushing.result()
            except DoorClosed as error:
                raise DemoTrouble(f"a gateway could not deliver: {error}") from error
        refused = sum(self._tally.rejected.values())
        say(f"  {self._tally.stored:,} stored, {self._tally.duplicate:,} duplicate, {refused:,} rejected")

    def _report_output(self, origin_slot: int, until_slot: int) -> None:
        """A line for each plant that makes something with a level, and what it made in every month of the history."""
        months = months_of(origin_slot, until_slot)
        for plan in self._plans:
            line = line_of(plan)
            if line is None or self._stop.is_set():
                continue
            fields = {key: value for key, value in asdict(line).items() if key != "per_hour"}
            meters = [{"code": code} for code in line.meters]
            made = self._post("lines", fields | {"enterprise": plan.enterprise, "meters": meters})
            for month, slots in months:
                body = {"month": month, "quantity": output_of(plan, line, slots)}
                self._post(f"lines/{made['id']}/outputs", body)

    def _wait_rolled_up(self) -> None:
        say("5 Figures: hours, days, months and years of every meter and enterprise")
        end = time.monotonic() + ROLLED_UP_WITHIN_S
        while not self._stop.is_set():
            ready = self._service.readiness()
            rows = None if ready is None else int(ready["backlog"]["rows"])
            if rows == 0:
                return
            if time.monotonic() > end:
                raise DemoTrouble(f"the figures were not complete in time; see {self._service.log}")
            say(f"  {'?' if rows is None else f'{rows:,}'} groups of readings still to be added up")
            self._stop.wait(SAY_EVERY_S)

    def _print_city(self, tokens: dict[str, str], until: datetime) -> None:
        say()
        for line in figures_table([self._overview(code, until) for code in (*DISTRICTS, CITY)]):
            say(line)
        say()
        for line in self._likeliest():
            say(line)
        say()
        for told in benchmark_lines(self._benchmarks(until)):
            say(told)
        say()
        for name, value in self._places(tokens).items():
            say(f"{name:<18} {value}")
        say()

    def _likeliest(self) -> list[str]:
        """The enterprises that head for more than their budget, as the API lists them."""
        answer = self._client.get("/api/v1/enterprises", params={"sort": "-overrun_probability", "limit": 5})
        found = [one for one in answer.json()["items"] if one["tier"] is not None] if answer.status_code == 200 else []
        rows = [f"{one['overrun_probability']:>18.0%}  {one['tier']:<7} {one['id']}  {one['name']}" for one in found]
        return [f"{'P(over budget)':>18}  colour  enterprise", *rows]

    def _overview(self, code: str, until: datetime) -> dict[str, Any]:
        month = month_to_show(until, self._wishes.days)
        answer = self._client.get(f"/api/v1/regions/{code}/overview", params={"at": month})
        if answer.status_code != 200:
            raise DemoTrouble(f"the overview of {code} answered {answer.status_code}: {answer.text[:500]}")
        found: dict[str, Any] = answer.json()
        return found

    def _benchmarks(self, until: datetime) -> dict[str, Any]:
        month = month_to_show(until, self._wishes.days)
        answer = self._client.get(f"/api/v1/regions/{CITY}/benchmarks", params={"month": month})
        if answer.status_code != 200:
            raise DemoTrouble(f"the benchmarks of {CITY} answered {answer.status_code}: {answer.text[:500]}")
        found: dict[str, Any] = answer.json()
        return found

    def _places(self, tokens: dict[str, str]) -> dict[str, str]:
        return {
            "API": f"{self._service.url}/api/v1",
            "API in a browser": f"{self._service.url}/docs (Authorize with one of the tokens below)",
            "API document": f"{self._service.url}/openapi.json",
            "Health, metrics": f"{self._service.url}/readyz, {self._service.url}/metrics",
            "Broker": f"{self._broker()} (user name = client id = gateway id)",
            "MQTT listener": f"{self._service.listener} (the same log-in; its PUBACK means committed)",
            "MQTT client": str(self._stack.mosquitto_pub() or "none here; package mosquitto-clients has one"),
            "Mails": str(self._stack.mails),
            "Admin token": f"{tokens['Admin']} (reads and changes {CITY})",
            "City token": f"{tokens['City']} (reads {CITY})",
            "District token": f"{tokens['District']} (reads {DISTRICTS[0]})",
            "Try": f"curl -H 'Authorization: Bearer {tokens['City']}' '{self._service.url}/api/v1/enterprises'",
        }

    def _story(self, until: datetime) -> Story | None:
        """Budgets and supervisors, and three plants with something to tell; None for a city too small or too young."""
        say("6 Budgets, supervisors, alerts")
        if len(self._plans) < 3 or self._wishes.days < STORY_DAYS + 2:
            self._budgets(until)
            return None
        for code, name in ((CITY, "city"), *((code, f"county-{code}") for code in DISTRICTS)):
            contact = {"name": name, "email": f"{name}@example.com", "language": "both"}
            self._put(f"regions/{code}/contacts", {"contacts": [contact]})
        year = until.astimezone(ZONE).year
        spent = self._spent(year, until)
        story = Story.of(spent)
        if story is None:
            self._budgets(until)
            return None
        last = until.astimezone(ZONE).date() - timedelta(days=1)
        settings = read_settings(database_url=self._service.database_url, timezone=ZONE.key)
        span = Span(last - timedelta(days=STORY_DAYS), last)

        def decide() -> None:
            """While nobody else evaluates: the past is judged by these budgets from its first day on."""
            self._budgets(until)
            for enterprise, share in ((story.over, 1.001), (story.recovers, 0.93), (story.silent, 1.01)):
                self._put_budget(enterprise, year, spent[enterprise] * share)

        self._say_evaluated(*asyncio.run(evaluate(settings, span, None, first=decide)))
        ample = max(1.4 * spent[story.recovers], 1.25 * self._a_year(story.recovers, until))
        self._put_budget(story.recovers, year, ample, "new kiln line approved")
        names = {plan.enterprise: plan.name for plan in self._plans}
        say(f"  {names[story.over]} goes over its budget while you watch")
        say(f"  {names[story.recovers]} was over, until its budget was revised: its alerts end at the next evaluation")
        say(f"  {names[story.silent]} loses contact: its alert is held, and nobody is told that it saves")
        return story

    def _spent(self, year: int, until: datetime) -> dict[str, float]:
        """What each enterprise has used in the year, largest first; those that make more than they use left out."""
        found = {}
        for plan in self._plans:
            params = {"from": str(year), "to": str(year + 1), "interval": "P1Y", "by": "total"}
            answer = self._client.get(f"/api/v1/enterprises/{plan.enterprise}/energy", params=params)
            net = answer.json()["buckets"][0]["tce_net"] if answer.status_code == 200 else None
            if net is not None and net > 0:
                found[plan.enterprise] = float(net)
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def _put(self, path: str, body: dict[str, Any]) -> None:
        answer = self._client.put(f"/api/v1/{path}", json=body)
        if answer.status_code not in (200, 201):
            raise DemoTrouble(f"PUT {path} answered {answer.status_code}: {answer.text[:500]}")

    def _evaluate(self) -> None:
        """Today's figures as they are now: what `tcewatch alerts evaluate` does."""
        settings = read_settings(database_url=self._service.database_url, timezone=ZONE.key)
        self._say_evaluated(*asyncio.run(evaluate(settings, None, None)))

    def _say_evaluated(self, evaluated: int, told: int) -> None:
        mails = sum(1 for _ in self._stack.mails.glob("*.eml"))
        say(f"  {evaluated:,} positions evaluated, {told:,} notices written; {mails} mails so far")

    def _live(self, fleet: Sequence[Gateway], story: Story | None) -> None:
        heard = [gateway for gateway in fleet if story is None or gateway.plan.enterprise != story.silent]
        evaluated = threading.Event()
        each_s = SLOT_S / self._wishes.speed
        say(f"7 Live: a quarter of an hour every {each_s:.1f} s until the present is reached. Ctrl-C stops all of it.")
        if self._wishes.exit_after_s is not None:
            timer = threading.Timer(self._wishes.exit_after_s, self._stop.set)
            timer.daemon = True
            timer.start()

        def told(slot: int) -> None:
            local = datetime.fromtimestamp(slot * SLOT_S, ZONE)
            say(f"  {local:%Y-%m-%d %H:%M} delivered, {self._tally.stored:,} readings stored")
            present = time.time() - slot * SLOT_S < 2 * SLOT_S
            if story is not None and present and not evaluated.is_set():
                evaluated.set()
                self._wait_rolled_up()
                self._evaluate()

        run_live(heard, self._tally, self._stop, speed=self._wishes.speed, told=told)


@dataclass(frozen=True, slots=True)
class Story:
    """Whose alerts the demo shows, by enterprise."""

    over: str
    recovers: str
    silent: str

    @classmethod
    def of(cls, spent: Mapping[str, float]) -> Story | None:
        """The three largest; None when there are fewer."""
        return cls(*list(spent)[:3]) if len(spent) >= 3 else None


def months_of(origin_slot: int, until_slot: int) -> list[tuple[str, Ints]]:
    """The local months of a history, each with its quarter hours in it. Pure."""
    slots = np.arange(origin_slot, until_slot, dtype=np.int64)
    days = local_time(slots).day.astype("datetime64[D]").astype("datetime64[M]")
    return [(str(month), slots[days == month]) for month in np.unique(days)]


def benchmark_lines(found: dict[str, Any]) -> list[str]:
    """How much capacity of each industry is at 标杆 or better, and how many lines are worse than 基准. Pure."""
    worse = len(found["worse_than_baseline"])
    return [
        *(
            f"industry {one['industry']} (lines: {one['lines']}): {100 * one['share_at_benchmark']:.0f} % of capacity "
            f"at 标杆 or better in the year to {found['month']}"
            for one in found["industries"]
        ),
        f"lines worse than 基准: {worse}; GET /api/v1/regions/{found['region']}/benchmarks names them",
    ]


def month_to_show(until: datetime, days: int) -> str:
    """The newest local month that the history covers whole, as 2026-10; with a shorter history the one it ends in."""
    end = until.astimezone(ZONE)
    this = end.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    before = (this - timedelta(days=1)).replace(day=1)
    return f"{before if end - timedelta(days=days) <= before else end:%Y-%m}"


def figures_table(overviews: Sequence[dict[str, Any]]) -> list[str]:
    """The last whole month of every district and of the city, as the API tells it. Pure."""
    month = overviews[0]["month"]["start"][:7]
    head = f"{month:<10}{'enterprises':>12}{'tce':>14}{'tce net':>14}{'tCO2':>14}{'coverage':>10}  region"
    lines = [head, "-" * len(head)]
    for overview in overviews:
        found = overview["month"]
        nobody = found["enterprises"] == 0
        figures = "".join(f"{'–' if nobody else _shown(found[key]):>14}" for key in ("tce", "tce_net", "tco2"))
        region = f"{overview['name_zh']} {overview['name_en']}"
        share = "–" if nobody else f"{100 * found['coverage']:.1f} %"
        lines.append(f"{overview['code']:<10}{found['enterprises']:>12}{figures}{share:>10}  {region}")
    return lines


def _shown(value: float | None) -> str:
    return "missing" if value is None else f"{value:,.1f}"
