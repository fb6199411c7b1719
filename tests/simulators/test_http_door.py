"""The HTTP door: it comes again when it is told to, and gives up when that makes no sense."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from simulators.message import Form, Message, Packing, message
from simulators.wire import DoorClosed, HttpDoor, Login, open_door, retry_after_s
from tests.simulators.a_stream import one_register

RECEIPT = {"seq": 1, "stored": 3, "duplicate": 0, "revised": 0, "rejected": []}
Answer = tuple[int, dict[str, str], bytes]
TAKEN: Answer = (200, {}, json.dumps(RECEIPT).encode())
LATER: Answer = (503, {"Retry-After": "0"}, b"")


@dataclass(slots=True)
class Script:
    """The answers of a service, in order, and what it was asked."""

    answers: list[Answer]
    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""


@contextmanager
def a_service(*answers: Answer) -> Iterator[Script]:
    script = Script(list(answers))

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            script.asked.append((self.path, dict(self.headers), body))
            status, headers, answer = script.answers.pop(0)
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(answer))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *words: Any) -> None:
            """Not on the terminal of the tests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def delivered(script: Script, *sent: Message, patience_s: float = 30.0) -> list[tuple[int, dict[str, Any]]]:
    door = HttpDoor(script.url, Login("gw-1", "a secret"), patience_s=patience_s)
    receipts: list[tuple[int, dict[str, Any]]] = []
    try:
        door.deliver(sent, lambda one, receipt: receipts.append((one.seq, receipt)))
    finally:
        door.close()
    return receipts


def a_message(seq: int = 1, **more: Any) -> Message:
    return message(seq, one_register(1, 2, 3), **more)


def test_a_service_that_says_later_gets_the_same_message_again() -> None:
    with a_service(LATER, (429, {"Retry-After": "0"}, b""), TAKEN) as script:
        assert delivered(script, a_message()) == [(1, RECEIPT)]
    assert [asked[2] for asked in script.asked] == [a_message().body] * 3


def test_messages_go_in_order_each_with_the_gateways_secret() -> None:
    with a_service(TAKEN, LATER, TAKEN) as script:
        assert [seq for seq, _ in delivered(script, a_message(1), a_message(2))] == [1, 2]
    assert [json.loads(body)["seq"] for _, _, body in script.asked] == [1, 2, 2]
    for path, headers, _ in script.asked:
        assert path == "/api/v1/readings"
        assert headers["Authorization"] == "Bearer a secret"
        assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("status", [207, 422])
def test_a_receipt_that_refuses_readings_is_a_receipt(status: int) -> None:
    refused = RECEIPT | {"stored": 0, "rejected": [{"i": 0, "code": "conflict"}]}
    with a_service((status, {}, json.dumps(refused).encode())) as script:
        assert delivered(script, a_message()) == [(1, refused)]


@pytest.mark.parametrize("status", [400, 401, 404, 413])
def test_what_will_never_be_taken_closes_the_door_with_the_services_words(status: int) -> None:
    with a_service((status, {}, b"wrong secret")) as script, pytest.raises(DoorClosed, match=f"{status}: wrong secret"):
        delivered(script, a_message())
    assert len(script.asked) == 1


def test_a_service_that_always_says_later_is_given_up_after_the_patience() -> None:
    with a_service(LATER, LATER) as script, pytest.raises(DoorClosed, match="503"):
        delivered(script, a_message(), patience_s=-1.0)


def test_a_service_that_is_not_there_is_given_up_after_the_patience() -> None:
    with a_service() as script:
        pass
    with pytest.raises(DoorClosed, match="does not answer"):
        delivered(script, a_message(), patience_s=-1.0)


@pytest.mark.parametrize("packing", [Packing.GZIP, Packing.ZSTD])
def test_a_packed_body_says_how_it_is_packed(packing: Packing) -> None:
    with a_service(TAKEN) as script:
        delivered(script, a_message(form=Form.CSV, packing=packing))
    ((_, headers, body),) = script.asked
    assert headers["Content-Encoding"] == packing.value
    assert headers["Content-Type"] == "text/csv"
    assert body == a_message(form=Form.CSV, packing=packing).body


@pytest.mark.parametrize(
    ("header", "pause_s"),
    [("7", 7.0), (" 2 ", 2.0), (None, 0.4), ("", 0.4), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.4), ("-1", 0.4)],
)
def test_how_long_later_is(header: str | None, pause_s: float) -> None:
    assert retry_after_s(header, 0.4) == pause_s


def test_an_http_address_opens_the_http_door() -> None:
    door = open_door("http://127.0.0.1:1", Login("gw-1", "s"), window=3)
    assert isinstance(door, HttpDoor)
    door.close()
