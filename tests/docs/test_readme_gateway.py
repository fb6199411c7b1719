"""The README's five minutes are run as they stand, with a real service, a real broker and a real mosquitto_pub."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from app.stack.stack import Stack
from tests.e2e.a_plant import Plant, running_plant
from tests.wait import until

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def plant(own_database_url: str, broker_url: str, tmp_path: Path) -> Iterator[Plant]:
    env = {
        "TCEWATCH_DATABASE_URL": own_database_url,
        "TCEWATCH_MQTT_URL": broker_url,
        "TCEWATCH_MQTT_CLIENT_ID": f"tcewatch-{secrets.token_hex(4)}",
    }
    with running_plant(env, tmp_path / "service.log") as plant:
        yield plant


def example() -> str:
    found = re.search(r"<!-- gateway example -->\n```bash\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_five_minutes_of_the_readme_end_with_the_right_figures(plant: Plant, stack_parts: Stack) -> None:
    client = stack_parts.mosquitto_pub()
    assert client is not None, "the example needs mosquitto_pub"
    broker = make_url(plant.env["TCEWATCH_MQTT_URL"])
    environment = {
        **os.environ,
        "PATH": f"{client.parent}:{os.environ['PATH']}",
        "ADMIN_TOKEN": plant.admin.headers["Authorization"].removeprefix("Bearer "),
        "MQTT_HOST": str(broker.host),
        "MQTT_PORT": str(broker.port),
    }
    script = example().replace("http://127.0.0.1:8080", plant.service.url)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"stored":2' in done.stdout
    until(lambda: quantities(plant) == [Decimal("250.5"), Decimal("249.5")], what="both hours have their figures")


def quantities(plant: Plant) -> list[Any]:
    answer = plant.admin.get(
        "/api/v1/enterprises/91445303MA4UQ7KJ3D/energy",
        params={"from": "2026-11-01T00:00:00+08:00", "to": "2026-11-01T02:00:00+08:00", "interval": "PT1H"},
    )
    buckets = json.loads(answer.text, parse_float=Decimal)["buckets"]
    return [carrier["quantity"] for bucket in buckets for carrier in bucket["carriers"]]
