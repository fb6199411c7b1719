"""What Prometheus is told of each stage moves with what happens, and each commit is one line of the log."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.a_plant import Plant, running_plant
from tests.faults.counting import ROWS, gateways_on, goes_on
from tests.wait import until

TS = "2026-11-01T{:02}:00:00+08:00"


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service") / "log"


@pytest.fixture(scope="module")
def plant(database_url: str, broker_url: str, log: Path) -> Iterator[Plant]:
    env = {
        "TCEWATCH_DATABASE_URL": database_url,
        "TCEWATCH_MQTT_URL": broker_url,
        "TCEWATCH_MQTT_CLIENT_ID": f"tcewatch-{secrets.token_hex(4)}",
    }
    with running_plant(env, log) as plant:
        plant.add_gateway("gw-a")
        plant.add_meter("E001", "gw-a")
        yield plant


def series(plant: Plant) -> dict[str, float]:
    """Every sample of /metrics, its labels behind its name."""
    text = httpx2.get(f"{plant.service.url}/metrics", timeout=10).text
    return {
        ",".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def moved(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """What changed, of the ingest series that only go up."""
    return {
        name.removeprefix("tcewatch_ingest_"): value - before.get(name, 0)
        for name, value in after.items()
        if name.startswith("tcewatch_ingest_")
        and ("_total" in name or "_count" in name)
        and value != before.get(name, 0)
    }


def reading(hour: int, value: float, meter: str = "E001", **more: object) -> dict[str, object]:
    return {"v": 1, "ts": TS.format(hour), "vals": {meter: value}, **more}


TAKEN_IN = {
    "messages_total,http": 1,
    "readings_total,http": 1,
    "group_rows_count": 1,
    "commit_seconds_count": 1,
    "acknowledged_seconds_count": 1,
}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (reading(1, 5.0), {"readings_stored_total": 1}),
        (reading(1, 5.0), {"readings_duplicate_total": 1}),
        (reading(1, 6.0, revise=True), {"readings_revised_total": 1}),
        (reading(1, 7.0), {"readings_rejected_total,conflict": 1}),
        (reading(1, 5.0, "E404"), {"readings_rejected_total,unknown-meter": 1}),
        (reading(1, -5.0), {"readings_rejected_total,out-of-range": 1}),
        (
            {"v": 1, "ts": "2026-11-01T00:00:00", "vals": {"E001": 1}},
            {"readings_rejected_total,timestamp-without-zone": 1},
        ),
        ({"v": 1, "ts": "1999-11-01T00:00:00Z", "vals": {"E001": 1}}, {"readings_rejected_total,timestamp-too-old": 1}),
        ("hello", {"readings_rejected_total,malformed": 1}),
    ],
)
def test_each_verdict_is_counted_where_it_belongs(plant: Plant, body: object, expected: dict[str, float]) -> None:
    before = series(plant)
    plant.push("gw-a", body)
    found = moved(before, series(plant))
    size = found.pop("bytes_total,http")
    assert found == TAKEN_IN | expected
    assert size > 0


def test_what_is_turned_away_and_what_is_tried_again_is_counted(plant: Plant) -> None:
    before = series(plant)
    assert plant.push("gw-a", reading(2, 5.0), secret="wrong").status_code == 401
    assert moved(before, series(plant)) == {"unauthorised_total": 1}
    plant.push("gw-a", reading(3, 5.0, "E405"))
    plant.add_meter("E405", "gw-a")
    before = series(plant)
    answer = plant.admin.post("/api/v1/rejections/replay", json={"meter": "E405"})
    assert answer.json()["stored"] == 1
    assert moved(before, series(plant)) == {"readings_replayed_total,stored": 1}


def test_the_broker_door_shows_its_connection_its_window_and_its_gateways(plant: Plant, broker_url: str) -> None:
    gateways = gateways_on(plant, [broker_url])
    before = series(plant)
    for one in gateways:
        one.start()
    goes_on(gateways, 10)
    for one in gateways:
        one.stop()
    after = series(plant)
    found = moved(before, after)
    messages = len(gateways[0].acknowledged)
    assert found["messages_total,broker"] >= messages
    assert found["readings_total,broker"] == found["messages_total,broker"] * ROWS
    assert found["acknowledged_seconds_count"] == found["messages_total,broker"]
    assert 1 <= found["group_rows_count"] <= found["messages_total,broker"]
    assert after["tcewatch_ingest_broker_connected"] == 1
    assert after["tcewatch_ingest_broker_connections_total"] >= 1
    assert after["tcewatch_ingest_broker_unacknowledged"] == after["tcewatch_ingest_pending_rows"] == 0
    until(
        lambda: (
            series(plant).get("tcewatch_ingest_gateways,online", 0)
            + series(plant).get("tcewatch_ingest_gateways,offline", 0)
            >= 1
        ),
        what="the gateways' states are shown",
        deadline_s=60,
    )
    assert after["tcewatch_ingest_broker_weaknesses"] == 0
    assert {"tcewatch_rollup_backlog_rows", "tcewatch_rollup_backlog_age_seconds"} <= set(after)


def test_each_commit_is_one_line_with_its_figures(plant: Plant, log: Path) -> None:
    before = len(committed(log))
    plant.push("gw-a", {"v": 1, "rows": [["E001", TS.format(hour), 10.0 + hour] for hour in range(4, 9)]})
    until(lambda: len(committed(log)) > before, what="the commit is logged")
    (line,) = committed(log)[before:]
    figures = {name: line[name] for name in ("messages", "stored", "duplicate", "revised", "rejected")}
    assert figures == {"messages": 1, "stored": 5, "duplicate": 0, "revised": 0, "rejected": 0}
    assert float(str(line["commit_ms"])) > 0
    assert line["level"] == "info"


def committed(log: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == "group committed"]
