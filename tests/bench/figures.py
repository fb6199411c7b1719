"""What a benchmark answers: figures taken once a repeat, shown as a table and as one line of JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence

from tests.bench.noisy_sites import KINDS

INGEST = {
    "write_dup0": "idempotent write of 5,000-row groups, all new; rows/s ÷ COPY",
    "write_dup10": "the same, a tenth of what is delivered comes a second time; rows/s ÷ COPY",
    "write_dup100": "the same, everything comes a second time; rows/s ÷ COPY",
    "http_n500": "HTTP, 16 clients, 500 readings a body, until the last receipt; readings/s ÷ COPY",
    "mqtt_n100": "broker, live publisher, 100 readings a message, until committed; readings/s ÷ COPY",
    "mqtt_n20": "the same, 20 readings a message; readings/s ÷ COPY",
    "mqtt_n1": "the same, 1 reading a message; readings/s ÷ COPY",
    "listener_n1_w20": "own listener, 16 gateways, 1 reading a message, 20 unacknowledged each; readings/s ÷ COPY",
    "listener_n1_w1000": "the same, 1,000 unacknowledged each; readings/s ÷ COPY",
    "listener_n100_w20": "the same, 100 readings a message, 20 unacknowledged each; readings/s ÷ COPY",
    "p99_ms_n1": "99th percentile publish → receipt, broker, 5,000 readings/s one a message, warm; ms",
    "p99_ms_n20": "the same, 20 readings a message; ms",
    "p99_ms_n100": "the same, 100 readings a message; ms",
    "p99_ms_listener_n1": "99th percentile publish → PUBACK, listener, 5,000 readings/s one a message, warm; ms",
    "p99_ms_listener_n100": "the same, 100 readings a message; ms",
}
ROLLUP = {
    "rollup_fresh_15min": "rollup of fresh quarter hours; seconds a reading ÷ COPY with marks",
    "rollup_fresh_hourly": "rollup of fresh hours; seconds a reading ÷ COPY with marks",
    "rollup_fresh_15min_of_http": "the same; seconds ÷ what the HTTP door took for such readings, 500 a body",
    "rollup_fresh_15min_of_mqtt": "the same; seconds ÷ what the broker door took for such readings, 100 a message",
    "rollup_fresh_15min_cpu_of_http": "the same in processor seconds: worker and database ÷ service and database",
    "rollup_fresh_15min_cpu_of_mqtt": "the same for the broker door, without the broker's own",
    "rollup_fresh_hourly_of_http": "rollup of fresh hours; seconds ÷ what the HTTP door took for them",
    "rollup_fresh_hourly_of_mqtt": "rollup of fresh hours; seconds ÷ what the broker door took for them",
    "rollup_fresh_hourly_cpu_of_http": "the same in processor seconds: worker and database ÷ service and database",
    "rollup_fresh_hourly_cpu_of_mqtt": "the same for the broker door, without the broker's own",
    "rollup_meter_year_s": "a year of one meter's quarter hours computed again; s",
}
FLEETS = {"calm": "29 real supply areas less two", "noisy": "simulated single sites of all kinds"}
COUNTED = {
    "precision": "alarms that came true",
    "false_alarms": "years within budget that were alarmed",
    "caught60": "overruns whose alarm stands 60 days before the year's end",
    "coverage80": "80 % intervals that held",
}
COUNTED_OTHERWISE = {
    "precision_october": "alarms standing at the end of October that came true",
    "false_october": "years within budget whose alarm stands at the end of October",
    "caught60_ever": "overruns alarmed at any time up to 60 days before the year's end",
    "false_from_february": "years within budget that were alarmed, first looked at at the end of February",
}
ALERTS = {
    "positions_10k_s": "10,000 enterprises with 3 budgets each evaluated and kept, database included; s",
    "alerts_evaluate_10k_s": "the whole night of alerts for them: judged, history and notices written; s",
    "alerts_evaluate_peak_mb": "most memory the process had by then; MB",
    **{
        f"backtest_{fleet}_{figure}": f"projection, {described}: {meaning}"
        for fleet, described in FLEETS.items()
        for figure, meaning in (COUNTED | COUNTED_OTHERWISE).items()
    },
    **{
        f"naive_{fleet}_{figure}": f"run-rate rule, {described}: {meaning}"
        for fleet, described in FLEETS.items()
        for figure, meaning in COUNTED.items()
        if figure != "coverage80"
    },
    **{
        f"backtest_{kind}_{figure}": f"projection, simulated sites, {kind}: {meaning}"
        for kind in KINDS
        for figure, meaning in COUNTED.items()
    },
}
PEERS = {
    "peer_n20": "drain of a stored session, 20 readings a message; readings/s ÷ Node-RED with a batching flow",
    "peer_n100": "the same, 100 readings a message; readings/s ÷ Node-RED with a batching flow",
}
API = {
    f"api_{key}_{figure}": f"{what}, 50 times a second with 4,000 enterprises; {meaning}"
    for key, what in (
        ("overview", "the city's overview"),
        ("overview_moving", "the city's overview while figures change every second"),
        ("list", "the largest 100"),
        ("year_of_days", "a year of days"),
    )
    for figure, meaning in (("p50_ms", "median, ms"), ("p99_ms", "99th percentile, ms"), ("p99_ratio", "÷ /healthz"))
}
BENCHES: Mapping[str, Mapping[str, str]] = {
    "ingest": INGEST,
    "rollup": ROLLUP,
    "api": API,
    "alerts": ALERTS,
    "peers": PEERS,
}
ON_REQUEST = frozenset({"peers"})
"""Not part of a run of everything: it installs another program."""
YARDSTICK = {
    "healthz_p99_ms": "the yardstick of the API itself: /healthz at the same rate; ms",
    "copy_rows_s": "the yardstick of ingest itself: COPY of 5,000-row groups; rows/s",
    "peer_n20_readings_s": "Node-RED itself, 20 readings a message; readings/s",
    "peer_n100_readings_s": "Node-RED itself, 100 readings a message; readings/s",
    "copy_marks_rows_s": "the yardstick of the rollup itself: COPY with marks; rows/s",
}
HEAD = """\
Each ratio is taken once a repeat, beside a yardstick of the same repeat: binary COPY in groups of 5,000 on one
connection to the same database, of rows of the same meters in other minutes (the rollup: of the very rows it takes).
1 is the speed of that COPY. Load generator, broker, service and database share the processors of this machine."""


class Sheet:
    """The figures of a run, by key, one a repeat."""

    def __init__(self) -> None:
        self._taken: dict[str, list[float]] = {}

    def note(self, key: str, figure: float) -> None:
        self._taken.setdefault(key, []).append(figure)

    def taken(self) -> Mapping[str, Sequence[float]]:
        return self._taken


def table(taken: Mapping[str, Sequence[float]]) -> str:
    """Median, least and most of each key, with what it is."""
    meanings = {key: words for bench in (*BENCHES.values(), YARDSTICK) for key, words in bench.items()}
    width = max(map(len, meanings))
    lines = [HEAD, "", f"{'key':{width}}  {'median':>10} {'min':>10} {'max':>10}  what"]
    for key, figures in taken.items():
        numbers = " ".join(f"{shown(x):>10}" for x in (statistics.median(figures), min(figures), max(figures)))
        lines.append(f"{key:{width}}  {numbers}  {meanings[key]}")
    return "\n".join(lines)


def shown(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 1000 else f"{figure:.3f}"


def as_json(taken: Mapping[str, Sequence[float]]) -> str:
    """One object on one line: the medians, rounded to what the measurement carries."""
    return json.dumps({key: float(f"{statistics.median(figures):.4g}") for key, figures in taken.items()})


def p99(delays: Sequence[float]) -> float:
    """The delay that 99 of 100 stay within: nearest rank. Raises ValueError when there are none."""
    if not delays:
        raise ValueError("no delays")
    ordered = sorted(delays)
    return ordered[-(-99 * len(ordered) // 100) - 1]
