"""The MQTT door against the real broker: a message counts as delivered when its receipt has come, and not before."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from simulators.message import Message, message
from simulators.wire import DoorClosed, Login, MqttDoor, open_door
from tests.simulators.a_broker_service import BrokerService
from tests.simulators.a_stream import one_register
from tests.wait import until


@pytest.fixture
def service(broker_url: str) -> Iterator[BrokerService]:
    service = BrokerService(broker_url)
    yield service
    service.close()


@pytest.fixture
def address(broker_url: str) -> str:
    """The broker without the service's log-in."""
    parts = urlsplit(broker_url)
    return f"mqtt://{parts.hostname}:{parts.port}"


def some_messages(count: int) -> list[Message]:
    return [message(seq, one_register(1, 2, 3)) for seq in range(1, count + 1)]


def delivered(door: MqttDoor, sent: list[Message]) -> Counter[int]:
    """How often each number's receipt was handed on."""
    receipts: Counter[int] = Counter()
    door.deliver(sent, lambda one, receipt: receipts.update([one.seq]))
    return receipts


@pytest.mark.parametrize("version", [5, 4], ids=["MQTT 5.0", "MQTT 3.1.1"])
def test_every_message_gets_its_receipt_once(service: BrokerService, address: str, version: int) -> None:
    door = MqttDoor(address, Login(*service.account()), window=3, version=version)
    assert delivered(door, some_messages(20)) == Counter(range(1, 21))
    assert sorted(set(service.heard)) == list(range(1, 21))
    door.close()


def test_without_a_receipt_a_message_is_sent_again_and_counts_once(service: BrokerService, address: str) -> None:
    service.withheld = {3}
    door = MqttDoor(address, Login(*service.account()), window=4, resend_after_s=0.1)
    assert delivered(door, some_messages(6)) == Counter(range(1, 7))
    assert service.heard.count(3) >= 2
    door.close()


def test_it_asks_for_receipts_on_its_own_topic_with_the_number_as_correlation(
    service: BrokerService, address: str
) -> None:
    name, secret = service.account()
    door = MqttDoor(address, Login(name, secret))
    delivered(door, some_messages(2))
    assert set(service.responses) == {(f"energy/v1/{name}/ack", b"1"), (f"energy/v1/{name}/ack", b"2")}
    door.close()


def test_no_more_than_the_window_is_without_receipt(service: BrokerService, address: str) -> None:
    service.silent = True
    door = MqttDoor(address, Login(*service.account()), window=2, patience_s=0.0)
    with pytest.raises(DoorClosed, match="no receipt"):
        delivered(door, some_messages(10))
    door.close()
    assert set(service.heard) <= {1, 2}


def test_it_says_hello_and_good_bye(service: BrokerService, address: str) -> None:
    door = MqttDoor(address, Login(*service.account()))
    delivered(door, some_messages(1))
    door.close()
    until(lambda: service.states == ["online", "offline"], what="both states are heard")


def test_when_it_vanishes_the_broker_speaks_its_will(service: BrokerService, address: str) -> None:
    door = MqttDoor(address, Login(*service.account()))
    delivered(door, some_messages(1))
    door.drop()
    until(lambda: service.states == ["online", "offline"], what="the will is heard")


def test_a_wrong_secret_closes_the_door(service: BrokerService, address: str) -> None:
    name, _ = service.account()
    door = MqttDoor(address, Login(name, "wrong"))
    with pytest.raises(DoorClosed, match=f"the broker refuses the log-in of {name}"):
        delivered(door, some_messages(1))
    door.close()


def test_a_broker_that_is_not_there_is_given_up_after_the_patience(closed_port: int) -> None:
    door = MqttDoor(f"mqtt://127.0.0.1:{closed_port}", Login("gw-1", "s"), patience_s=0.0)
    with pytest.raises(DoorClosed, match="is the service running"):
        delivered(door, some_messages(1))
    door.close()


def test_a_command_to_send_again_is_heard(service: BrokerService, address: str) -> None:
    asked: list[tuple[int, int]] = []
    name, secret = service.account()
    door = MqttDoor(address, Login(name, secret), on_resend=lambda first, last: asked.append((first, last)))
    delivered(door, some_messages(1))
    service.tell(name, {"resend": [4, 9]})
    until(lambda: asked == [(4, 9)], what="the command is heard")
    door.close()


def test_what_was_sent_before_is_sent_again_when_asked_for(service: BrokerService, address: str) -> None:
    name, secret = service.account()
    door = MqttDoor(address, Login(name, secret))
    delivered(door, some_messages(4))
    service.tell(name, {"resend": [2, 3]})
    until(lambda: Counter(service.heard) == Counter([1, 2, 2, 3, 3, 4]), what="two messages came twice")
    door.close()


def test_a_strange_command_breaks_nothing(service: BrokerService, address: str) -> None:
    name, secret = service.account()
    door = MqttDoor(address, Login(name, secret))
    delivered(door, some_messages(1))
    commands: list[dict[str, object]] = [{"dance": True}, {"resend": []}, {"resend": ["a", 2]}, {"resend": 7}]
    for strange in commands:
        service.tell(name, strange)
    assert delivered(door, [message(2, one_register(4))]) == Counter([2])
    door.close()


@pytest.mark.parametrize("url", ["127.0.0.1:1883", "tcp://127.0.0.1:1883", "mqtt://"])
def test_what_is_no_broker_address_is_said(url: str) -> None:
    with pytest.raises(DoorClosed, match="is no broker address"):
        open_door(url, Login("gw-1", "s"))


@pytest.fixture
def closed_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
