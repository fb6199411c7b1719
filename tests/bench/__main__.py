"""`python -m tests.bench [ingest|rollup|api|alerts|peers]`: the product beside a yardstick, on a stack of its own."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import asyncpg
from uvicorn.loops.auto import auto_loop_factory

from app.stack.stack import Addresses
from app.store.database import plain_url
from tests.bench.asking import a_token, found_year, measure_api
from tests.bench.backtest import NAME as DATA_NAME
from tests.bench.backtest import calm_fleet
from tests.bench.backtest import figures as back_test_figures
from tests.bench.city import GATEWAYS, METERS
from tests.bench.doors import (
    HTTP_MINUTES,
    LISTENER_GATEWAYS,
    http_seconds,
    measure_broker,
    measure_delay,
    measure_http,
    measure_listener,
)
from tests.bench.figures import BENCHES, ON_REQUEST, Sheet, as_json, table
from tests.bench.ground import ground, own_stack
from tests.bench.peers import SIZES, Drains, installed
from tests.bench.rolling import measure_rollup
from tests.bench.standing import many_budgets, measure_night, measure_positions
from tests.bench.writing import measure_write
from tests.e2e.service import Service, free_port
from tests.stack_fixtures import scratch_database

ROLLUP_DAYS_BACK = 3000
"""Readings an hour apart take much time: so far back there is enough of it that no reading's time comes again."""
ROUND_ROWS = METERS * HTTP_MINUTES
"""Every gateway has sent one HTTP body: what is measured is a multiple of it."""
LISTENER_SIZES = ((1, 20), (1, 1000), (100, 20))
"""Readings a message, and messages a gateway may have unacknowledged."""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    made.add_argument("only", nargs="?", choices=sorted(BENCHES), help="one of the benchmarks instead of all")
    made.add_argument("--repeats", type=int, default=5, help="how often each figure is taken (at least 1)")
    made.add_argument("--rows", type=int, default=200_000, help=f"readings a measurement, in steps of {ROUND_ROWS:,}")
    made.add_argument("--list", action="store_true", help="print the keys and what they are; measure nothing")
    return made


def listed(benches: Sequence[str]) -> str:
    return "\n".join(f"{bench:8}{key:22}{meaning}" for bench in benches for key, meaning in BENCHES[bench].items())


def main(arguments: Sequence[str] | None = None) -> None:
    asked = parser().parse_args(arguments)
    benches = [asked.only] if asked.only else [bench for bench in BENCHES if bench not in ON_REQUEST]
    if asked.list:
        print(listed(benches))
        return
    rows = max(1, asked.rows // ROUND_ROWS) * ROUND_ROWS
    sheet, loop = Sheet(), auto_loop_factory()
    with own_stack() as (addresses, state):
        for bench in benches:
            # On the loop the service runs on: the yardstick is to be as quick as what it measures.
            with scratch_database(addresses) as database_url, asyncio.Runner(loop_factory=loop) as runner:
                runner.run(RUNS[bench](addresses, database_url, state, sheet, max(1, asked.repeats), rows))
    print(table(sheet.taken()))
    print(as_json(sheet.taken()))


async def _ingest(addresses: Addresses, database_url: str, state: Path, sheet: Sheet, repeats: int, rows: int) -> None:
    async with ground(database_url) as here:
        listener = f"mqtt://127.0.0.1:{free_port()}"
        environment = {
            "TCEWATCH_DATABASE_URL": database_url,
            "TCEWATCH_MQTT_URL": addresses.mqtt_url,
            "TCEWATCH_MQTT_LISTEN": listener,
        }
        service = Service(environment, state / "log")
        await asyncio.to_thread(service.start, "--roles", "ingest")
        try:
            await http_seconds(here, service.url, ROUND_ROWS)  # the service has read its registry and its watermarks
            for repeat in range(repeats):
                _say(f"ingest, {repeat + 1} of {repeats}")
                await measure_write(here, sheet, rows)
                await measure_http(here, sheet, service.url, rows)
                # One reading a message is a tenth of the speed: fewer of them take long enough.
                sizes = ((100, rows), (20, rows), (1, max(METERS, rows // 4)))
                await measure_broker(here, sheet, addresses.mqtt_url, sizes, rows)
                await measure_listener(here, sheet, listener, LISTENER_SIZES, rows)
                await measure_delay(here, sheet, addresses.mqtt_url, "p99_ms", (1, 20, 100), GATEWAYS)
                await measure_delay(here, sheet, listener, "p99_ms_listener", (1, 100), LISTENER_GATEWAYS)
        finally:
            await asyncio.to_thread(service.stop)


async def _rollup(addresses: Addresses, database_url: str, state: Path, sheet: Sheet, repeats: int, rows: int) -> None:
    environment = {"TCEWATCH_DATABASE_URL": database_url, "TCEWATCH_MQTT_URL": addresses.mqtt_url}
    async with ground(database_url, days_back=ROLLUP_DAYS_BACK) as here:
        service = Service(environment, state / "log")
        await asyncio.to_thread(service.start, "--roles", "ingest")
        try:
            await http_seconds(here, service.url, ROUND_ROWS)
            for repeat in range(repeats):
                _say(f"rollup, {repeat + 1} of {repeats}")
                await measure_rollup(here, sheet, rows, service, addresses.mqtt_url)
        finally:
            await asyncio.to_thread(service.stop)


async def _api(addresses: Addresses, database_url: str, state: Path, sheet: Sheet, repeats: int, rows: int) -> None:
    _say("api: a year of 4,000 enterprises")
    sql = await asyncpg.connect(plain_url(database_url))
    ids = await found_year(sql)
    await sql.close()
    token = await a_token(database_url)
    environment = {"TCEWATCH_DATABASE_URL": database_url, "TCEWATCH_RATE_LIMIT_PER_MIN": "0"}
    service = Service(environment, state / "log-api")
    await asyncio.to_thread(service.start, "--roles", "api")
    try:
        for repeat in range(repeats):
            _say(f"api, {repeat + 1} of {repeats}")
            await measure_api(database_url, service.url, ids, token, sheet)
    finally:
        await asyncio.to_thread(service.stop)


async def _alerts(_: Addresses, database_url: str, state: Path, sheet: Sheet, repeats: int, rows: int) -> None:
    _say("alerts, back-test")
    if calm_fleet() is None:
        _say(f"{DATA_NAME} is not there: no figures of the calm fleet; TCEWATCH_TEST_DATA says where to look")
    for key, figure in back_test_figures():
        sheet.note(key, figure)
    await many_budgets(database_url)
    for repeat in range(repeats):
        _say(f"alerts, {repeat + 1} of {repeats}")
        await measure_positions(database_url, sheet)
        await measure_night(database_url, sheet)


async def _peers(addresses: Addresses, database_url: str, state: Path, sheet: Sheet, repeats: int, rows: int) -> None:
    _say("peers, installing Node-RED")
    peer = await asyncio.to_thread(installed)
    settings = {"TCEWATCH_DATABASE_URL": database_url, "TCEWATCH_MQTT_URL": addresses.mqtt_url}
    async with ground(database_url) as here:
        drains = Drains(here, addresses.mqtt_url, peer, state / "node-red", Service(settings, state / "log"))
        await drains.prepare()
        for repeat in range(repeats):
            _say(f"peers, {repeat + 1} of {repeats}")
            for size in SIZES:
                await drains.measure(sheet, size, rows)


RUNS = {"ingest": _ingest, "rollup": _rollup, "api": _api, "alerts": _alerts, "peers": _peers}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
