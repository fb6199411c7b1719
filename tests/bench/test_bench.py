"""The benchmarks name what they measure, and their arithmetic and wire are right. Nothing is timed here."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ingest.wire import read_message
from tests.bench.city import messages
from tests.bench.figures import as_json, p99, table
from tests.bench.publisher import frame, publish, unframed


def test_the_benchmarks_list_their_keys() -> None:
    command = [sys.executable, "-m", "tests.bench", "ingest", "--list"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    keys = [line.split()[1] for line in done.stdout.splitlines()]
    assert {"write_dup0", "http_n500", "mqtt_n1", "p99_ms_n20"} <= set(keys)
    assert not any(key.startswith("rollup") for key in keys)


def test_the_last_line_is_the_median_of_each_key() -> None:
    taken = {"write_dup0": [0.9, 0.7, 0.8], "copy_rows_s": [250_000.0, 240_000.0]}
    assert json.loads(as_json(taken)) == {"write_dup0": 0.8, "copy_rows_s": 245_000.0}
    (line,) = [line for line in table(taken).splitlines() if line.startswith("write_dup0 ")]
    assert line.split()[1:4] == ["0.800", "0.700", "0.900"]


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (99, 99), (100, 99), (200, 198)])
def test_p99_is_the_nearest_rank(count: int, expected: int) -> None:
    assert p99(range(count, 0, -1)) == expected


@pytest.mark.parametrize("length", [0, 127, 128, 20_000])
def test_a_packet_cut_anywhere_is_taken_when_it_is_whole(length: int) -> None:
    packet = frame(0x30, bytes(length))
    buffer = bytearray(packet[:-1])
    assert [*unframed(buffer)] == []
    buffer += packet[-1:] + publish("a", 7, b"x")
    assert [*unframed(buffer)] == [(0x30, bytes(length)), (0x32, b"\x00\x01a\x00\x07x")]
    assert not buffer


def test_messages_cover_each_meter_and_minute_once() -> None:
    sent = [(gateway, read_message(body)) for gateway, body in messages(60_000_000, 10_000, 20)]
    cells = [cell for _, message in sent for cell in zip(message.meters or [], message.t or [], strict=True)]
    assert len(set(cells)) == len(cells) == 10_000
    assert {at_ms for _, at_ms in cells} == {60_000, 120_000}
    assert all(int(code[1:]) // 100 == gateway for gateway, message in sent for code in message.meters or [])
