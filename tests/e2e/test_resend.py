"""A message that never came is asked for over the broker, and its gateway sends it."""

from __future__ import annotations

import secrets
import threading
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import numpy as np

from app.store.database import plain_url
from simulators.message import Message, Readings, message
from simulators.wire import Login, MqttDoor
from tests.e2e.a_plant import running_plant
from tests.wait import eventually

START_MS = 1_793_462_400_000
"""2026-10-31T16:00:00Z"""
QUARTER_MS = 900_000


def numbered(seq: int) -> Message:
    at_ms = START_MS + seq * QUARTER_MS
    return message(
        seq,
        Readings(
            ("E001",),
            np.zeros(1, np.int32),
            np.array([at_ms], np.int64),
            np.array([float(seq)], np.float64),
            np.zeros(1, np.int16),
        ),
    )


async def test_a_skipped_message_is_asked_for_and_comes(database_url: str, broker_url: str, tmp_path: Path) -> None:
    env = {
        "TCEWATCH_DATABASE_URL": database_url,
        "TCEWATCH_MQTT_URL": broker_url,
        "TCEWATCH_MQTT_CLIENT_ID": f"tcewatch-{secrets.token_hex(4)}",
        "TCEWATCH_RESEND_AFTER_S": "1",
    }
    asked: list[tuple[int, int]] = []
    heard = threading.Event()

    def on_resend(first: int, last: int) -> None:
        asked.append((first, last))
        heard.set()

    gateway = f"gw-{secrets.token_hex(4)}"
    broker = urlsplit(broker_url)
    sql = await asyncpg.connect(plain_url(database_url))
    with running_plant(env, tmp_path / "log") as plant:
        secret = plant.add_gateway(gateway)
        plant.add_meter("E001", gateway)
        door = MqttDoor(f"mqtt://{broker.hostname}:{broker.port}", Login(gateway, secret), on_resend=on_resend)
        door.deliver([numbered(seq) for seq in (1, 2, 4)], lambda sent, receipt: None)
        open_gaps = await sql.fetch("SELECT gateway, first_seq, last_seq FROM sequence_gap")
        assert [tuple(row) for row in open_gaps] == [(gateway, 3, 3)]
        assert heard.wait(60)
        assert asked[0] == (3, 3)
        door.deliver([numbered(3)], lambda sent, receipt: None)
        gone = "SELECT NOT EXISTS (SELECT FROM sequence_gap)"
        await eventually(lambda: sql.fetchval(gone), what="the gap is filled")
        assert await sql.fetchval("SELECT array_agg(value ORDER BY ts) FROM reading") == [1.0, 2.0, 3.0, 4.0]
        door.close()
    await sql.close()
