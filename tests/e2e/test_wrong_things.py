"""What a new user tries first and gets wrong: each has a clear answer, and nothing is lost by it."""

from __future__ import annotations

import gzip
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.e2e.a_plant import ENTERPRISE, Plant, running_plant
from tests.e2e.service import run

READING = {"v": 1, "seq": 1, "ts": "2026-11-01T00:00:00+08:00", "vals": {"E001": 5.0}}


@pytest.fixture(scope="module")
def plant(database_url: str, broker_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    env = {
        "TCEWATCH_DATABASE_URL": database_url,
        "TCEWATCH_MQTT_URL": broker_url,
        "TCEWATCH_MQTT_CLIENT_ID": f"tcewatch-{secrets.token_hex(4)}",
    }
    with running_plant(env, tmp_path_factory.mktemp("service") / "log") as plant:
        for gateway in ("gw-a", "gw-b"):
            plant.add_gateway(gateway)
        plant.add_meter("E001", "gw-a")
        plant.add_meter("E002", "gw-b")
        yield plant


def problem(answer: httpx2.Response, status: int, code: str) -> dict[str, object]:
    """Asserts a problem document and answers it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    body: dict[str, object] = answer.json()
    assert body["code"] == code
    assert body["title"]
    assert body["detail"]
    return body


def rejections(plant: Plant) -> list[dict[str, object]]:
    found: list[dict[str, object]] = plant.get("rejections")["items"]
    return found


def test_a_bad_token_is_named_and_nothing_is_told(plant: Plant) -> None:
    answer = httpx2.get(f"{plant.service.url}/api/v1/enterprises", headers={"Authorization": "Bearer nonsense"})
    problem(answer, 401, "token-invalid")
    assert "bearer" in answer.headers["www-authenticate"].lower()
    problem(plant.push("gw-a", READING, secret="nonsense"), 401, "unauthorized")


def test_another_gateways_meter_and_an_unknown_one_are_told_apart(plant: Plant) -> None:
    body = READING | {"vals": {"E001": 5.0, "E002": 6.0, "E404": 7.0}}
    answer = plant.push("gw-a", body)
    assert answer.status_code == 207
    codes = {refused["meter"]: refused["code"] for refused in answer.json()["rejected"]}
    assert codes == {"E002": "foreign-meter", "E404": "unknown-meter"}
    assert {row["code"] for row in rejections(plant)} >= set(codes.values())


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("hello", "malformed"),
        ("", "malformed"),
        (READING | {"ts": "2026-11-01T00:00:00"}, "timestamp-without-zone"),
        (READING | {"ts": "yesterday"}, "bad-timestamp"),
        (READING | {"ts": "2036-11-01T00:00:00Z"}, "timestamp-in-future"),
        (READING | {"ts": "1999-11-01T00:00:00Z"}, "timestamp-too-old"),
        (READING | {"vals": {"E001": "five"}}, "not-a-number"),
        (READING | {"vals": {"E001": 1e300}}, "out-of-range"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_its_reason_and_kept(plant: Plant, body: object, code: str) -> None:
    answer = plant.push("gw-a", body)
    assert answer.status_code == 422, answer.text
    assert [refused["code"] for refused in answer.json()["rejected"]] == [code]
    assert code in {row["code"] for row in rejections(plant)}


def test_a_meter_created_a_moment_ago_is_known_at_once(plant: Plant) -> None:
    plant.add_meter("E777", "gw-a")
    assert plant.push("gw-a", READING | {"vals": {"E777": 1.0}}).json()["stored"] == 1


def test_fifty_megabytes_are_refused_before_they_are_read_and_so_is_a_bomb(plant: Plant) -> None:
    problem(plant.push("gw-a", b" " * 50_000_000), 413, "body-too-large")
    headers = {"Authorization": f"Bearer {plant.secrets['gw-a']}", "Content-Encoding": "gzip"}
    bomb = gzip.compress(b" " * 50_000_000)
    answer = httpx2.post(f"{plant.service.url}/api/v1/readings", content=bomb, headers=headers)
    assert answer.status_code in (413, 422), answer.text


def test_a_credit_code_with_a_wrong_check_character_is_told_the_right_one(plant: Plant) -> None:
    body = {"id": ENTERPRISE[:-1] + "7", "name": "wrong", "region": "445302", "industry": "3120"}
    answer = plant.admin.post("/api/v1/enterprises", json=body)
    assert answer.status_code == 422, answer.text
    assert ENTERPRISE[-1] in answer.text


def test_a_wrong_setting_stops_the_start_with_its_name_and_what_it_should_be(plant: Plant) -> None:
    done = run("serve", env=plant.env | {"TCEWATCH_TIMEZONE": "Yunfu/Nowhere", "TCEWATCH_HTTP_PORT": "many"})
    assert done.returncode == 2
    assert "TCEWATCH_TIMEZONE" in done.stderr
    assert "Asia/Shanghai" in done.stderr
    assert "TCEWATCH_HTTP_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_busy_port_is_named(plant: Plant) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run("serve", env=plant.env | {"TCEWATCH_HTTP_PORT": port})
    assert done.returncode == 1
    assert port in done.stderr
    assert "TCEWATCH_HTTP_PORT" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql+asyncpg://nobody:wrong@{host}/tcewatch", "log-in"),
        ("postgresql+asyncpg://{owner}@{host}/nowhere", "create the database"),
        ("mysql://127.0.0.1/tcewatch", "TCEWATCH_DATABASE_URL"),
    ],
)
def test_a_database_that_cannot_be_had_is_a_sentence(plant: Plant, url: str, says: str) -> None:
    place = urlsplit(plant.env["TCEWATCH_DATABASE_URL"])
    owner, _, host = place.netloc.rpartition("@")
    done = run("serve", env=plant.env | {"TCEWATCH_DATABASE_URL": url.format(host=host, owner=owner)})
    assert done.returncode != 0
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_command_without_its_database_is_a_sentence(plant: Plant) -> None:
    away = {"TCEWATCH_DATABASE_URL": "postgresql+asyncpg://127.0.0.1:1/tcewatch"}
    done = run("token", "create", "--role", "admin", "--scope", "4453", "--name", "tests", env=plant.env | away)
    assert done.returncode == 1
    assert "cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_import_with_one_wrong_row_names_the_row_and_keeps_nothing(plant: Plant, tmp_path: Path) -> None:
    file = tmp_path / "enterprises.csv"
    rows = ["id,name,region,industry", "91445302MA4UTEE01U,一,445302,3011", "91445302MA4UTEE01A,二,445302,3011"]
    file.write_text("\n".join(rows), encoding="utf-8-sig")
    done = run("import", "enterprises", str(file), env=plant.env)
    assert done.returncode == 1
    assert "row 3" in done.stderr + done.stdout
    assert plant.admin.get("/api/v1/enterprises/91445302MA4UTEE01U").status_code == 404


def test_what_came_for_a_forgotten_meter_is_stored_by_one_command(plant: Plant) -> None:
    for hour in range(3):
        body = {"v": 1, "ts": f"2026-11-02T{hour:02}:00:00+08:00", "vals": {"E909": 100.0 + hour}}
        assert plant.push("gw-a", body).json()["rejected"][0]["code"] == "unknown-meter"
    listed = run("rejections", "list", "--meter", "E909", env=plant.env)
    assert listed.stdout.splitlines() == ["3\tgw-a\tE909\tunknown-meter", "3 readings are refused"]
    early = run("rejections", "replay", "--meter", "E909", env=plant.env)
    assert early.returncode == 0, early.stderr
    assert early.stdout.startswith("3 messages, 0 stored, 0 duplicate, 0 revised, 3 rejected")
    assert early.stdout.count("unknown-meter: this enterprise has no active meter of this code") == 3
    plant.add_meter("E909", "gw-a")
    done = run("rejections", "replay", "--meter", "E909", env=plant.env)
    assert done.stdout.splitlines() == ["3 messages, 3 stored, 0 duplicate, 0 revised, 0 rejected"]
    stored = plant.get(f"meters/{ENTERPRISE}/E909/readings", **{"from": "2026-11-02", "to": "2026-11-03"})
    assert [row["value"] for row in stored["items"]] == [100, 101, 102]
    assert run("rejections", "list", "--from", "yesterday", env=plant.env).returncode == 2
