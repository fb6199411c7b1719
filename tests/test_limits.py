"""The bounds of one message agree: what a door takes in is not refused behind it for its size."""

from __future__ import annotations

import pytest

from app.main import limits_of
from app.settings import Settings
from ingest.decode import RAW_MAX, decode
from tests.ingest.messages import received


@pytest.mark.parametrize(
    ("settings", "most"),
    [
        (Settings(), RAW_MAX),
        (Settings(http_body_max_bytes=1024), RAW_MAX),
        (Settings(http_body_max_bytes=64 << 20), 64 << 20),
        (Settings(mqtt_listen_packet_max_bytes=32 << 20), 32 << 20),
    ],
)
def test_the_decoder_takes_what_the_largest_door_takes(settings: Settings, most: int) -> None:
    assert limits_of(settings).raw_max_bytes == most


def test_a_large_message_that_a_door_took_is_read() -> None:
    message = received(b'{"v":1,"ts":"2026-11-01T00:00:00Z","vals":{"E001":1}' + b" " * (RAW_MAX + 1) + b"}")
    assert [refusal.code.value for refusal in decode(message, RAW_MAX).refusals] == ["malformed"]
    most = limits_of(Settings(http_body_max_bytes=16 << 20)).raw_max_bytes
    assert list(decode(message, most).meters) == ["E001"]
