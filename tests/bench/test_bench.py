"""The benchmarks name what they measure, and their arithmetic and wire are right. Nothing is timed here."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path

import pytest

from ingest.wire import read_message
from tests.bench import caller
from tests.bench.city import GATEWAYS, City, messages, secret
from tests.bench.figures import BENCHES, ON_REQUEST, as_json, p99, table
from tests.bench.peers import HERE, rate_between, write_flow
from tests.bench.processors import parent_of, spent_s
from tests.bench.publisher import PUBACK, Drip, Job, Stream, frame, text


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


def test_processor_seconds_are_those_of_a_process_and_its_descendants_also_of_ended_ones() -> None:
    """A shell lets one child work and end, and then another that stays until our end of its input is closed."""
    work = "import time, sys\nwhile time.process_time() < 0.3: pass\nprint(1, flush=True)\nsys.stdin.read()"
    child = f"{sys.executable} -c '{work}'"
    script = f"exec 3<&0; {child} </dev/null; {child} <&3 & echo $!; wait"
    pipe = subprocess.PIPE
    with subprocess.Popen(["sh", "-c", script], text=True, stdin=pipe, stdout=pipe) as shell:
        assert shell.stdin is not None
        assert shell.stdout is not None
        said = [shell.stdout.readline().strip() for _ in range(3)]
        (staying,) = [int(line) for line in said if line != "1"]
        assert parent_of(staying) == shell.pid
        both, ended = spent_s(shell.pid), spent_s(shell.pid, without={staying})
        shell.stdin.close()
    assert ended >= 0.29
    assert both - ended >= 0.29


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (99, 99), (100, 99), (200, 198)])
def test_p99_is_the_nearest_rank(count: int, expected: int) -> None:
    assert p99(range(count, 0, -1)) == expected


def test_a_receipt_is_that_of_its_own_message_also_in_pieces_and_out_of_order() -> None:
    """Numbers 9 and 10, of which the second is acknowledged first; cut anywhere, 1 is not taken for 10."""
    receipts = [frame(0x30, text("energy/v1/gw-000/ack") + b'{"seq":%d,"stored":1}' % seq) for seq in (10, 9)]
    answers = frame(PUBACK, b"\0\1") + receipts[0] + frame(PUBACK, b"\0\2") + receipts[1]
    first_ms, second_ms = steady(answers, first_seq=9, each_by_itself=False)
    assert first_ms > second_ms > 0, "the first was sent earlier and acknowledged later"


def test_pubacks_acknowledge_in_the_order_of_the_messages() -> None:
    answers = frame(PUBACK, b"\0\1") + frame(PUBACK, b"\0\2")
    assert all(delay_ms > 0 for delay_ms in steady(answers, first_seq=1, each_by_itself=True))


def steady(answers: bytes, *, first_seq: int, each_by_itself: bool) -> list[float]:
    """The delays of two messages to a server that answers when it has both, byte by byte."""
    ours, theirs = socket.socketpair()
    job = Job("", 60_000_000, 2, 1, [first_seq] * GATEWAYS, 1, each_by_itself=each_by_itself)
    stream = Stream(ours)
    for _, _, payload in messages(job.first_us, job.readings, job.size, job.first_seqs, job.gateways):
        stream.add("energy/v1/gw-000/data", payload)
    stream.seal()

    def serve() -> None:
        seen = b""
        while seen.count(b'"seq":') < 2:
            seen += theirs.recv(65_536)
        for place in range(len(answers)):
            theirs.sendall(answers[place : place + 1])

    with ours, theirs:
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        drip = Drip(job, [stream])
        drip.run(per_second=1000.0)
        server.join(10)
    return drip.delays_ms


def test_the_peers_flow_has_its_own_topic_and_table_and_knows_the_meters(tmp_path: Path) -> None:
    folder = tmp_path / "node-red"
    write_flow(folder, "mqtt://us%40er:secret@127.0.0.1:1883", "postgresql://me:pass@127.0.0.1:5432/city", [11, 12])
    nodes = {node["id"]: node for node in json.loads((folder / "flows.json").read_text())}
    assert nodes["in"]["topic"] == "energy/v1/+/peer"
    assert nodes["in"]["qos"] == "1"
    assert "INSERT INTO peer_reading" in nodes["insert"]["query"]
    assert (nodes["database"]["database"], nodes["database"]["password"]) == ("city", "pass")
    assert json.loads((folder / "flows_cred.json").read_text()) == {"broker": {"user": "us@er", "password": "secret"}}
    assert json.loads((folder / "meters.json").read_text()) == {"E00000": 11, "E00001": 12}


def test_the_peer_is_pinned_to_exact_versions_and_only_run_on_request() -> None:
    wanted = json.loads((HERE / "package.json").read_text())["dependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())
    assert set(BENCHES) >= ON_REQUEST == {"peers"}


def test_a_drain_is_timed_from_the_first_commit_to_the_last() -> None:
    assert rate_between([10.0, 10.5, 12.0], 1209, first_commit=9) == 600.0
    assert rate_between([10.0], 9, first_commit=9) == float("inf")


def test_messages_cover_each_meter_and_minute_once() -> None:
    sent = [(gateway, read_message(body)) for gateway, _, body in messages(60_000_000, 10_000, 20, [1] * GATEWAYS)]
    cells = [cell for _, message in sent for cell in zip(message.meters or [], message.t or [], strict=True)]
    assert len(set(cells)) == len(cells) == 10_000
    assert {at_ms for _, at_ms in cells} == {60_000, 120_000}
    assert all(int(code[1:]) // 100 == gateway for gateway, message in sent for code in message.meters or [])


def test_every_gateway_sends_its_bodies_in_order_over_the_clients_there_are() -> None:
    """A server that answers in pieces: each gateway is served once at a time, and nothing is sent twice."""
    job = caller.Job("", 0, 1_795_396_500_000_000, rounds=3, minutes=1, clients=2)
    waiting = deque(caller.requests_of(job, gateway) for gateway in range(3))
    expected = sorted(one for requests in waiting for one in requests)
    seen: list[bytes] = []
    pairs = [socket.socketpair() for _ in range(job.clients)]
    servers = [threading.Thread(target=_answer, args=(theirs, seen), daemon=True) for _, theirs in pairs]
    for server in servers:
        server.start()
    caller.send_all([caller.Client(ours) for ours, _ in pairs], waiting)
    for ours, _ in pairs:
        ours.close()
    for server in servers:
        server.join(10)
    assert sorted(seen) == expected
    sent = {gateway: [one for one in seen if secret(gateway).encode() in one] for gateway in range(3)}
    orders = [[int(re.findall(rb'"seq":(\d+)', one)[0]) for one in requests] for requests in sent.values()]
    assert orders == [[0, 1, 2]] * 3


def _answer(wire: socket.socket, seen: list[bytes]) -> None:
    with wire, wire.makefile("rb") as stream:
        while head := stream.readline():
            while (line := stream.readline()) != b"\r\n":
                head += line
            length = int(re.search(rb"Content-Length: (\d+)", head)[1])  # type: ignore[index]  # the caller sends it
            seen.append(head + b"\r\n" + stream.read(length))
            wire.sendall(b"HTTP/1.1 200 OK\r\ncontent-le")
            wire.sendall(b"ngth: 2\r\n\r\n{")
            wire.sendall(b"}")


def test_a_receipt_that_is_not_200_ends_the_measurement() -> None:
    with pytest.raises(AssertionError, match="503"):
        caller.is_whole(b"HTTP/1.1 503 x\r\ncontent-length: 1\r\n\r\n.")
    assert not caller.is_whole(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n.")


def test_each_gateway_counts_its_own_messages() -> None:
    city = City([], 0, 0)
    for gateways in (16, GATEWAYS):
        firsts = city.numbered(10, gateways)
        seqs: dict[int, list[int]] = {}
        for gateway, seq, body in messages(60_000_000, 1000 * gateways, 100, firsts, gateways):
            assert read_message(body).seq == seq
            seqs.setdefault(gateway, []).append(seq)
        assert seqs == {gateway: list(range(first, first + 10)) for gateway, first in enumerate(firsts)}
    assert city.next_seqs == [21] * 16 + [11] * (GATEWAYS - 16)
