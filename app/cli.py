"""The `tcewatch` command. Each sub-command says what went wrong in one line and answers a status a script can use."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import urlsplit

import asyncpg
import typer
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError
from uvicorn.loops.auto import auto_loop_factory

from app.settings import PREFIX, Settings, WrongSetting, read_settings, unread
from app.stack.cli import stack_app

if TYPE_CHECKING:
    from app.store.rejections import Wanted

T = TypeVar("T")

FAILED = 1
WRONG_USE = 2

app = typer.Typer(
    name="tcewatch",
    help="Meter readings to tonnes of coal equivalent: the open ledger of key energy users.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
token_app = typer.Typer(help="Tokens for people and programs.", no_args_is_help=True)
user_app = typer.Typer(help="Accounts of people who log in.", no_args_is_help=True)
app.add_typer(token_app, name="token")
rejections_app = typer.Typer(help="Readings that were refused.", no_args_is_help=True)
app.add_typer(rejections_app, name="rejections")
app.add_typer(user_app, name="user")
app.add_typer(stack_app, name="stack")
alerts_app = typer.Typer(help="Alerts: evaluate now, replay the past, fit intervals.", no_args_is_help=True)
app.add_typer(alerts_app, name="alerts")


def fail(message: str, status: int = FAILED) -> typer.Exit:
    typer.echo(f"tcewatch: {message}", err=True)
    return typer.Exit(status)


def settings_or_exit(**overrides: Any) -> Settings:
    try:
        return read_settings(**overrides)
    except WrongSetting as error:
        raise fail(str(error), WRONG_USE) from error


def run(settings: Settings, job: Coroutine[Any, Any, T]) -> T:
    """Runs a job; a database that cannot be had, or has no schema, is a sentence and not a traceback."""
    try:
        with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:  # uvloop where there is one
            return runner.run(job)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, SQLAlchemyError) as error:
        raise fail(database_trouble(settings, error)) from error


def database_trouble(settings: Settings, error: Exception) -> str:
    """What is wrong between us and the database, and what to do about it."""
    address = make_url(settings.database_url).render_as_string(hide_password=True)
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, asyncpg.UndefinedTableError | asyncpg.UndefinedColumnError) or "UndefinedTable" in str(cause):
        return f"the schema in {address} is missing or old; run: tcewatch migrate"
    if isinstance(cause, asyncpg.InvalidPasswordError | asyncpg.InvalidAuthorizationSpecificationError):
        return f"{address} refuses the log-in ({cause}); mend user and password in {PREFIX}DATABASE_URL"
    if isinstance(cause, asyncpg.InvalidCatalogNameError):
        return f"{address}: {cause}; create the database or mend {PREFIX}DATABASE_URL"
    return f"the database {address} cannot be used: {cause}; is it running? See: tcewatch doctor"


@app.command()
def demo(
    units: Annotated[int, typer.Option(min=1, max=2000, help="How many enterprises.")] = 60,
    days: Annotated[int, typer.Option(min=1, max=3000, help="Days of hourly history.")] = 365,
    seed: Annotated[int, typer.Option(help="The same seed gives the same city.")] = 1,
    port: Annotated[int, typer.Option(min=0, max=65535, help="HTTP port; 0 takes a free one.")] = 8080,
    speed: Annotated[float, typer.Option(min=1, help="Meter seconds a second while live.")] = 900,
    until: Annotated[str | None, typer.Option(help="End of the history: local 2026-11-01, or RFC 3339.")] = None,
    exit_after: Annotated[
        float | None, typer.Option(min=0, help="Stop by itself so many seconds after it is up.")
    ] = None,
    faults: Annotated[bool, typer.Option("--faults", help="Some gateways and meters have troubles.")] = False,
) -> None:
    """A running city from nothing: database, broker, service, plants with their history, then live."""
    from app.demo import DemoTrouble, Wishes, run_demo
    from app.stack.trouble import StackTrouble
    from energy.interval import BadTime, parse_range_bound

    try:
        zone = read_settings(database_url="postgresql+asyncpg://").zone
        end = None if until is None else datetime.fromtimestamp(parse_range_bound(until, zone) / 1_000_000, UTC)
        if end is not None and end > datetime.now(UTC):
            raise fail(f"--until {until} lies in the future", WRONG_USE)
        run_demo(Wishes(units, days, seed, port, speed, end, exit_after, faults))
    except (BadTime, WrongSetting) as error:
        raise fail(str(error), WRONG_USE) from error
    except (DemoTrouble, StackTrouble) as error:
        raise fail(str(error)) from error


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema and load the reference tables. Doing it twice changes nothing."""
    from app.store.migrate import RoleMissing
    from app.store.migrate import migrate as bring_up

    settings = settings_or_exit()
    try:
        run(settings, bring_up(settings.database_url))
    except RoleMissing as error:
        raise fail(str(error)) from error
    typer.echo("the schema and the reference tables are up to date")


@app.command()
def serve(
    roles: Annotated[str, typer.Option(help="What this process does, with commas between.")] = "api,ingest,worker",
) -> None:
    """Run the service until SIGTERM or Ctrl-C. What was acknowledged is committed; what was not is sent again.

    Settings are TCEWATCH_… variables of the environment; the README lists them.
    """
    from app.logs import set_up_logs
    from app.main import CertificateWrong, PortTaken, ServiceRole
    from app.main import serve as run_service
    from app.store.migrate import RoleMissing, SchemaMissing

    settings = settings_or_exit()
    try:
        chosen = frozenset(ServiceRole(role.strip()) for role in roles.split(","))
    except ValueError as error:
        known = ", ".join(ServiceRole)
        raise fail(f"--roles {roles}: choose from {known}, with commas between", WRONG_USE) from error
    set_up_logs(settings.log_format)
    for line in unread(os.environ):
        logging.getLogger("tcewatch").warning("a variable nobody reads", extra={"why": line})
    try:
        run(settings, run_service(settings, chosen))
    except WrongSetting as error:
        raise fail(str(error), WRONG_USE) from error
    except (CertificateWrong, PortTaken, SchemaMissing, RoleMissing) as error:
        raise fail(str(error)) from error
    except ExceptionGroup as group:
        logging.getLogger("tcewatch").critical("a part of the service failed", exc_info=group)
        raise fail(f"a part of the service failed: {'; '.join(map(repr, group.exceptions))}") from group


@app.command()
def doctor() -> None:
    """Look at what the service needs on this machine; a line for each, with the command that mends it."""
    from app.doctor import examine, wrong_settings

    try:
        findings = examine(read_settings())
    except WrongSetting as error:
        findings = wrong_settings(error)
    for finding in findings:
        typer.echo(str(finding))
    missing = sum(finding.state == "missing" for finding in findings)
    typer.echo(f"{missing} missing" if missing else "nothing is missing")
    if missing:
        raise typer.Exit(FAILED)


@token_app.command("create")
def token_create(
    role: Annotated[str, typer.Option(help="admin, supervisor or enterprise.")],
    scope: Annotated[str, typer.Option(help="A region's code such as 4453, or an enterprise's id.")],
    name: Annotated[str, typer.Option(help="Whose token it is.")],
    expires_days: Annotated[int | None, typer.Option(min=1, help="Days until it is worth nothing.")] = None,
) -> None:
    """Make a token and print it, this once."""
    settings = settings_or_exit()
    typer.echo(run(settings, made_token(settings, role, scope, name, expires_days)))


async def made_token(settings: Settings, role: str, scope: str, name: str, expires_days: int | None) -> str:
    from app.store.access import ScopeUnknown, TokenRole, create_token
    from app.store.database import open_database

    if role not in list(TokenRole):
        raise fail(f"--role {role}: choose from {', '.join(TokenRole)}", WRONG_USE)
    expires_at = None if expires_days is None else datetime.now(UTC) + timedelta(days=expires_days)
    async with open_database(settings.database_url, pool_size=1) as database:
        try:
            return await create_token(database, role=role, scope=scope, name=name, expires_at=expires_at)
        except ScopeUnknown as error:
            raise fail(f"--scope: {error}", WRONG_USE) from error


@token_app.command("list")
def token_list() -> None:
    """Every token, with who holds it and when it was used last; never the token itself."""
    settings = settings_or_exit()
    run(settings, listed_tokens(settings))


async def listed_tokens(settings: Settings) -> None:
    from app.store.database import open_database
    from app.store.tokens import list_tokens

    async with open_database(settings.database_url, pool_size=1) as database:
        after = None
        while True:
            page = await list_tokens(database, limit=1000, after=after)
            for row in page.items:
                typer.echo("\t".join([str(row["token_id"]), row["role"], row["scope"], row["name"], token_state(row)]))
            if page.next is None:
                return
            after = int(page.next)


def token_state(row: Mapping[str, Any]) -> str:
    """In a few words: worth something, since when not, and when it was used last."""
    if row["revoked_at"] is not None:
        return f"revoked {row['revoked_at']:%Y-%m-%d}"
    if row["expires_at"] is not None and row["expires_at"] <= datetime.now(UTC):
        return f"expired {row['expires_at']:%Y-%m-%d}"
    return "never used" if row["last_used_at"] is None else f"used {row['last_used_at']:%Y-%m-%d %H:%M} UTC"


@token_app.command("revoke")
def token_revoke(number: Annotated[int, typer.Argument(help="Its number in `tcewatch token list`.")]) -> None:
    """A token is worth nothing from now on."""
    settings = settings_or_exit()
    run(settings, changed_token(settings, number, None))
    typer.echo(f"token {number} is revoked")


@token_app.command("rotate")
def token_rotate(
    number: Annotated[int, typer.Argument(help="Its number in `tcewatch token list`.")],
    overlap_hours: Annotated[float, typer.Option(min=0, max=720, help="Hours the old one is still taken.")] = 0,
) -> None:
    """Make another secret for a token and print it, this once."""
    settings = settings_or_exit()
    typer.echo(run(settings, changed_token(settings, number, int(overlap_hours * 3600))))


async def changed_token(settings: Settings, number: int, overlap_s: int | None) -> str | None:
    """Revokes a token, or rotates it where an overlap is given; answers the new one."""
    from app.store.database import open_database
    from app.store.registry import NotThere
    from app.store.tokens import revoke_token, rotate_token

    now = datetime.now(UTC)
    async with open_database(settings.database_url, pool_size=1) as database, database.engine.begin() as connection:
        try:
            if overlap_s is None:
                await revoke_token(connection, number, "cli", now)
                return None
            return (await rotate_token(connection, number, "cli", now, overlap_s))[1]
        except NotThere as error:
            raise fail(f"there is no token {number} that is worth something", WRONG_USE) from error


@user_app.command("create")
def user_create(
    name: Annotated[str, typer.Argument(help="What the person logs in by: lower case, digits, . _ @ -")],
    role: Annotated[str, typer.Option(help="admin, supervisor or enterprise.")],
    scope: Annotated[str, typer.Option(help="A region's code such as 4453, or an enterprise's id.")],
    full_name: Annotated[str, typer.Option(help="The person's name.")] = "",
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from a pipe.")] = False,
) -> None:
    """Make an account for a person. The password is asked for twice, or read from a pipe; it is never an argument."""
    settings = settings_or_exit()
    fields = {"name": name.lower(), "role": role, "scope": scope, "full_name": full_name}
    run(settings, kept_user(settings, fields | {"password": asked_password(password_stdin)}, new=True))
    typer.echo(f"{fields['name']} may log in")


@user_app.command("password")
def user_password(
    name: Annotated[str, typer.Argument(help="The account's name.")],
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from a pipe.")] = False,
) -> None:
    """Set another password. The person is logged out everywhere."""
    settings = settings_or_exit()
    run(settings, kept_user(settings, {"name": name.lower(), "password": asked_password(password_stdin)}, new=False))
    typer.echo(f"{name.lower()} has another password and is logged out everywhere")


def asked_password(from_pipe: bool) -> str:
    if from_pipe:
        return sys.stdin.readline().rstrip("\r\n")
    said: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    return said


async def kept_user(settings: Settings, fields: dict[str, Any], *, new: bool) -> None:
    from app.store.access import ScopeUnknown, TokenRole
    from app.store.accounts import NAME, change_account, create_account
    from app.store.database import open_database
    from app.store.passwords import Hashing, WeakPassword
    from app.store.registry import AlreadyThere, NotThere

    if NAME.fullmatch(fields["name"]) is None:
        raise fail(f"{fields['name']!r} is no account's name: lower case, digits, . _ @ -", WRONG_USE)
    if new and fields["role"] not in list(TokenRole):
        raise fail(f"--role {fields['role']}: choose from {', '.join(TokenRole)}", WRONG_USE)
    async with open_database(settings.database_url, pool_size=1) as database, database.engine.begin() as connection:
        try:
            if new:
                await create_account(connection, fields, Hashing(), "cli")
            else:
                changes = {"password": fields["password"]}
                await change_account(connection, fields["name"], changes, Hashing(), "cli")
        except ScopeUnknown as error:
            raise fail(f"--scope: {error}", WRONG_USE) from error
        except (WeakPassword, AlreadyThere, NotThere) as error:
            raise fail(str(error), WRONG_USE) from error


@app.command("import")
def import_(
    kind: Annotated[str, typer.Argument(help="enterprises, gateways, meters, budgets, factors, outputs or readings.")],
    file: Annotated[
        Path, typer.Argument(help="CSV or XLSX; the first row names the columns.", exists=True, dir_okay=False)
    ],
) -> None:
    """Bring in a file: all of its rows, or none and a line for each fault."""
    settings = settings_or_exit()
    run(settings, imported(settings, kind, file))


FAULTS_SHOWN = 100


async def imported(settings: Settings, kind: str, file: Path) -> None:
    """Prints what came in, or fails with what is wrong with the file."""
    from app.importing import WrongColumns, WrongFile, import_file
    from app.store.database import open_database

    async with open_database(settings.database_url, pool_size=2) as database:
        try:
            done = await import_file(database, settings, kind, file)
        except WrongFile as error:
            lines = error.lines[:FAULTS_SHOWN]
            more = len(error.lines) - len(lines)
            rest = [f"and {more} more"] if more else []
            status = WRONG_USE if isinstance(error, WrongColumns) else FAILED
            raise fail("\n  ".join([f"nothing of {file} was kept:", *lines, *rest]), status) from error
    before = f", {done.known} of them stored before" if done.known else ""
    typer.echo(f"{done.rows} {done.kind}{before}")
    for gateway, secret in done.secrets.items():
        typer.echo(f"{gateway}\t{secret}")


@app.command()
def verify(
    enterprise: Annotated[str | None, typer.Option(help="Only this enterprise (credit code).")] = None,
    start: Annotated[str | None, typer.Option("--from", help="From this moment or local date.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Up to this moment or local date.")] = None,
) -> None:
    """Recompute every rollup from the raw readings and print what differs. Status 1 if something does."""
    settings = settings_or_exit()
    if run(settings, verified(settings, enterprise, start, end)):
        raise typer.Exit(FAILED)


async def verified(settings: Settings, enterprise: str | None, start: str | None, end: str | None) -> int:
    """Prints the differences and answers their number."""
    from app.rollup.verify import verify as compare
    from app.store.database import open_database
    from energy.interval import BadTime, SiteCalendar, parse_range_bound, to_us

    try:
        bounds = [None if text is None else parse_range_bound(text, settings.zone) for text in (start, end)]
    except BadTime as error:
        raise fail(str(error), WRONG_USE) from error
    async with open_database(settings.database_url, pool_size=2) as database:
        found = await compare(
            database,
            SiteCalendar(settings.zone),
            enterprise=enterprise,
            from_us=bounds[0],
            to_us=bounds[1],
            now_us=to_us(datetime.now(UTC)),
        )
    for difference in found.differences:
        typer.echo(str(difference))
    typer.echo(
        f"{found.meters} meters, {found.readings} readings, {found.buckets} buckets recomputed: "
        f"{len(found.differences)} differences, {found.waiting} marks waiting"
    )
    return len(found.differences)


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="CSV, plain or .gz.")],
    gateway: Annotated[str, typer.Option(help="Gateway id.")],
    meter: Annotated[list[str], typer.Option(help="CODE, or CODE=COLUMN; may be given several times.")],
    secret: Annotated[str, typer.Option(envvar="TCEWATCH_GATEWAY_SECRET", help="The gateway's secret.")],
    url: Annotated[
        str | None, typer.Option(help="mqtt://host:port or http://host:port; without it TCEWATCH_MQTT_URL's.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Ways of a known file: steel-2018.")] = None,
    door: Annotated[str, typer.Option(help="mqtt, http-json or http-csv.")] = "mqtt",
    kind: Annotated[str, typer.Option("--as", help="register or interval.")] = "register",
    time_column: Annotated[str | None, typer.Option(help="Column of times; the first without it.")] = None,
    time_format: Annotated[str | None, typer.Option(help="strptime format; ISO 8601 without it.")] = None,
    zone: Annotated[str, typer.Option(help="Zone of times that name none.")] = "Asia/Shanghai",
    interval: Annotated[int, typer.Option(help="Length of the recorded intervals in seconds.")] = 900,
    end_of_interval: Annotated[bool, typer.Option(help="The file names the ends of intervals.")] = False,
    midnight_ends_its_day: Annotated[bool, typer.Option(help="00:00 carries the date of the day it ends.")] = False,
    batch: Annotated[int, typer.Option(min=1, help="Readings in a message.")] = 500,
    window: Annotated[int, typer.Option(min=1, help="Messages without receipt at a time (MQTT).")] = 8,
    speed: Annotated[float, typer.Option(min=0, help="Recorded seconds a second; 0: as fast as receipts allow.")] = 0,
    shuffle: Annotated[int | None, typer.Option(help="Shuffle all readings with this seed.")] = None,
    double: Annotated[bool, typer.Option(help="Send every reading twice.")] = False,
    split: Annotated[int, typer.Option(min=1, help="Cut each message into so many.")] = 1,
    revise: Annotated[bool, typer.Option(help="Replace other values that are stored already.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many rows of the file.")] = None,
) -> None:
    """Send a recorded file through the wire as a gateway would. Status 1 if anything was refused."""
    from simulators.replay import Options, WrongReplay, parse_meters, with_preset
    from simulators.replay import replay as send
    from simulators.wire import DoorClosed

    try:
        options = Options(
            file=file,
            gateway=gateway,
            secret=secret,
            url=url or without_login(settings_or_exit().mqtt_url),
            meters=parse_meters(meter, preset),
            door=door,
            kind=kind,
            time_column=time_column,
            time_format=time_format,
            zone=zone,
            interval_s=interval,
            stamped_at_end=end_of_interval,
            midnight_ends_its_day=midnight_ends_its_day,
            batch=batch,
            window=window,
            speed=speed,
            shuffle=shuffle,
            double=double,
            split=split,
            revise=revise,
            limit=limit,
        )
        summary = send(with_preset(options, preset))
    except (WrongReplay, DoorClosed) as error:
        raise fail(str(error), WRONG_USE) from error
    typer.echo(str(summary))
    if not summary.complete:
        raise typer.Exit(FAILED)


@alerts_app.command()
def evaluate(
    first: Annotated[str | None, typer.Option("--from", help="First local day; without it only today.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last local day; without it today.")] = None,
    enterprise: Annotated[list[str] | None, typer.Option(help="Only this one; may be given again.")] = None,
) -> None:
    """Evaluate alerts now. Days of the past are made up for in order; only what stands at the end is told."""
    from app.alert_cli import evaluate as evaluate_now

    settings = settings_or_exit()
    span = None if first is None and last is None else span_or_exit(settings, first, last)
    positions, notices = run(settings, evaluate_now(settings, span, enterprise))
    typer.echo(f"{positions:,} positions evaluated, {notices:,} notices written")


@alerts_app.command("replay")
def replay_alerts(
    first: Annotated[str, typer.Option("--from", help="First local day.")],
    last: Annotated[str | None, typer.Option("--to", help="Last local day; without it today.")] = None,
    enterprise: Annotated[list[str] | None, typer.Option(help="Only this one; may be given again.")] = None,
    with_settings: Annotated[
        Path | None, typer.Option("--settings", help="JSON object of what differs from the defaults.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also transitions nobody would have been told of.")] = False,
) -> None:
    """What would have fired in the past, with these settings. Changes nothing and tells nobody."""
    from app.alert_cli import WrongFile, lines_of, replay, settings_in

    settings = settings_or_exit()
    try:
        given = None if with_settings is None else settings_in(with_settings)
    except WrongFile as error:
        raise fail(str(error), WRONG_USE) from error
    span = span_or_exit(settings, first, last)
    fired, replayed = run(settings, replay(settings, span, enterprise, given))
    for line in lines_of(fired, everything=everything):
        typer.echo(line)
    told = sum(one.reason is not None for one in fired)
    standing = replayed.standing()
    typer.echo(f"{len(span.days())} days, {len(fired)} transitions, {told} notices, {len(standing)} alerts at the end")


@alerts_app.command()
def recalibrate(
    apply: Annotated[bool, typer.Option("--apply", help="Keep and use it; without it only what would be.")] = False,
) -> None:
    """Fit the projection's 80 % intervals to this fleet's own closed years, and say how often they hold."""
    from app.alert_cli import lines_of_fit
    from app.alert_cli import recalibrate as fit_now

    settings = settings_or_exit()
    fit, version = run(settings, fit_now(settings, apply=apply))
    for line in lines_of_fit(fit):
        typer.echo(line)
    typer.echo("nothing was changed; --apply keeps it" if version is None else f"kept as version {version}, in use")


def span_or_exit(settings: Settings, first: str | None, last: str | None) -> Any:
    """The local days asked for."""
    from app.alert_cli import Span

    today = datetime.now(settings.zone).date()
    try:
        begin, end = (today if text is None else date.fromisoformat(text) for text in (first or last, last))
    except ValueError as error:
        raise fail(f"a day looks like 2026-11-23: {error}", WRONG_USE) from error
    if begin > end or end > today:
        raise fail("--from should not be later than --to, and neither later than today", WRONG_USE)
    return Span(begin, end)


OnlyGateway = Annotated[str | None, typer.Option("--gateway", help="Only of this gateway.")]
OnlyEnterprise = Annotated[str | None, typer.Option("--enterprise", help="Only of this enterprise's gateways.")]
OnlyMeter = Annotated[str | None, typer.Option("--meter", help="Only of this meter code.")]
OnlyCode = Annotated[str | None, typer.Option("--code", help="Only with this reason, such as unknown-meter.")]
ReceivedFrom = Annotated[str | None, typer.Option("--from", help="Received from this moment or local date on.")]
ReceivedTo = Annotated[str | None, typer.Option("--to", help="Received before this moment or local date.")]


@rejections_app.command("list")
def rejections_list(
    gateway: OnlyGateway = None,
    enterprise: OnlyEnterprise = None,
    meter: OnlyMeter = None,
    code: OnlyCode = None,
    start: ReceivedFrom = None,
    end: ReceivedTo = None,
) -> None:
    """Count what is still refused, by gateway, meter and reason."""
    settings = settings_or_exit()
    wanted = wanted_rejections(settings, gateway, enterprise, meter, code, start, end)
    run(settings, rejections_counted(settings, wanted))


@rejections_app.command("replay")
def rejections_replay(
    gateway: OnlyGateway = None,
    enterprise: OnlyEnterprise = None,
    meter: OnlyMeter = None,
    code: OnlyCode = None,
    start: ReceivedFrom = None,
    end: ReceivedTo = None,
    number: Annotated[list[int] | None, typer.Option("--id", help="Only these; may be given several times.")] = None,
    clock_was_wrong: Annotated[
        bool, typer.Option("--clock-was-wrong", help="This machine's clock was wrong when they came: judge by now.")
    ] = False,
) -> None:
    """Try refused readings again with the registry of now. May be broken off and begun again."""
    settings = settings_or_exit()
    wanted = wanted_rejections(settings, gateway, enterprise, meter, code, start, end, number)
    run(settings, rejections_replayed(settings, wanted, clock_was_wrong))


def wanted_rejections(
    settings: Settings,
    gateway: str | None,
    enterprise: str | None,
    meter: str | None,
    code: str | None,
    start: str | None,
    end: str | None,
    numbers: list[int] | None = None,
) -> Wanted:
    from app.store.rejections import Wanted
    from energy.interval import BadTime, from_us, parse_range_bound

    try:
        bounds = [
            None if one is None else from_us(parse_range_bound(one, settings.zone), settings.zone)
            for one in (start, end)
        ]
    except BadTime as error:
        raise fail(str(error), WRONG_USE) from error
    return Wanted(numbers, gateway, enterprise, meter, code, bounds[0], bounds[1])


async def rejections_counted(settings: Settings, wanted: Wanted) -> None:
    from app.store.database import open_database
    from app.store.rejections import counted

    async with open_database(settings.database_url, pool_size=1) as database:
        found = await counted(database, wanted)
    for row in found:
        typer.echo("\t".join(str(row[name] or "-") for name in ("readings", "gateway", "meter", "code")))
    typer.echo(f"{sum(row['readings'] for row in found)} readings are refused")


MESSAGES_AT_ONCE = 200


async def rejections_replayed(settings: Settings, wanted: Wanted, clock_was_wrong: bool) -> None:
    from app.main import rules_of
    from app.store.database import open_database
    from app.store.ingest_registry import StoredRegistry
    from app.store.readings import ReadingLedger
    from app.store.rejections import BrokenOff, Replayer, chosen

    after: int | None = None
    async with open_database(settings.database_url, pool_size=2) as database:
        ledger = ReadingLedger(settings.database_url, command_timeout_s=settings.database_timeout_s)
        replayer = Replayer(database, ledger, StoredRegistry(database.pool), rules_of(settings))
        try:
            while True:
                parcels, after = await chosen(
                    database, wanted, scope="", only=None, strangers=True, limit=MESSAGES_AT_ONCE, after=after
                )
                asked = wanted.facts() | ({"clock_was_wrong": True} if clock_was_wrong else {})
                done = await replayer.replay(
                    parcels, actor="cli", asked=asked, now=datetime.now(UTC), clock_was_wrong=clock_was_wrong
                )
                typer.echo(", ".join(f"{count} {name}" for name, count in done.facts().items()))
                for one in done.still:
                    typer.echo(f"  {one.rejected_id}\t{one.meter or '-'}\t{one.code}: {one.detail}")
                if after is None:
                    return
        except BrokenOff as error:
            raise fail(str(error)) from error
        finally:
            await replayer.close()


def without_login(url: str | None) -> str:
    """The broker's address alone: a gateway logs in as itself."""
    if url is None:
        raise fail(f"--url is needed: no broker is named in {PREFIX}MQTT_URL", WRONG_USE)
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or 1883}"


def main() -> None:
    app()


if __name__ == "__main__":
    main()
