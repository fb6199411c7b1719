"""Too much, too slow, ten times, and nonsense: nothing is lost or doubled, and the next good message is answered."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import httpx2
import pytest

from simulators.message import Message
from simulators.wire import Receipt
from tests.faults.counting import ROWS, T0_MS, CountingGateway, goes_on
from tests.faults.site import DOORS, Site, site
from tests.faults.soak import RESIDENT_MOST_KB
from tests.wait import until

CROWD, PRESSED_ROWS = 16, 200
HALF_A_DAY_MS = 43_200_000
GOOD_ROW = ["E001", "2026-11-01T00:00:00+08:00", 1.0]
POISON = {
    "nothing": b"",
    "no JSON": b"{",
    "no object": b"[1, 2]",
    "no UTF-8": b'{"v":1,"rows":[["\xff\xfe","2026-11-01T00:00:00+08:00",1.0]]}',
    "not a number": b'{"v":1,"rows":[["E001","2026-11-01T00:00:00+08:00",NaN]]}',
    "a huge integer": b'{"v":1,"rows":[["E001","2026-11-01T00:00:00+08:00",' + b"9" * 400 + b"]]}",
    "a huge time": b'{"v":1,"meters":["E001"],"t":[9223372036854775807],"values":[1]}',
    "columns of two lengths": b'{"v":1,"meters":["E001","E001"],"t":[1],"values":[1]}',
    "text for a value": b'{"v":1,"rows":[["E001","2026-11-01T00:00:00+08:00","many"]]}',
    "another version": b'{"v":99,"rows":[]}',
    "deeply nested": b'{"v":1,"rows":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "a megabyte": b'{"v":1,"rows":[["' + b"E" * 1_000_000 + b'","2026-11-01T00:00:00+08:00",1.0]]}',
    "one bad in 500": json.dumps({"v": 1, "rows": [GOOD_ROW] * 499 + [["E001", "yesterday", 1.0]]}).encode(),
}


@pytest.fixture(scope="module")
def here() -> Iterator[Site]:
    with site(TCEWATCH_PENDING_MAX_ROWS="1000", TCEWATCH_GROUP_MAX_ROWS="500") as made:
        yield made


@pytest.mark.parametrize("door", ["http", "broker"])
def test_everything_sent_ten_times_over_is_stored_once(door: str, here: Site) -> None:
    (gateway,) = here.gateways(door)
    receipts: list[Receipt] = []

    def heard(sent: Message, receipt: Receipt) -> None:
        receipts.append(receipt)

    messages = [gateway.numbered(number) for number in range(20)]
    gateway.door.deliver(messages, heard)
    for _ in range(10):
        gateway.door.deliver(messages[::-1], heard)
    gateway.door.close()
    assert [receipt["stored"] for receipt in receipts] == [ROWS] * 20 + [0] * 200
    assert sum(receipt["duplicate"] for receipt in receipts) == 200 * ROWS
    gateway.acknowledged.update(range(20))
    balance = here.account([gateway])
    assert balance.balanced, str(balance)
    assert balance.stored == 20 * ROWS


def test_poison_is_answered_kept_and_gets_in_nobodys_way(here: Site) -> None:
    well, ill = here.gateways("broker", "http")
    well.start()
    goes_on([well], 2)
    for name, body in POISON.items():
        answer = here.plant.push(ill.gateway, body)
        assert answer.status_code in (207, 413, 422), f"{name}: {answer.status_code} {answer.text[:200]}"
    for body in POISON.values():
        here.publish(ill, body)
    goes_on([well], 5)
    well.stop()
    assert here.account([well]).balanced

    def twice() -> bool:
        rejected = here.plant.get("rejections", gateway=ill.gateway, limit=1000)["items"]
        times = {one["message_id"]: one["times"] for one in rejected}
        return len(times) == len(POISON) and all(count >= 2 for count in times.values())

    until(twice, what="every poisoned message is kept, and counted once more when it came by the broker")


def test_a_slow_database_turns_requests_away_and_holds_no_more_memory(here: Site) -> None:
    gateways = here.gateways(*DOORS)
    crowd = here.gateways(*["http"] * CROWD)
    for one in gateways:
        one.start()
    goes_on(gateways, 3)
    here.to_database.slow(delay_s=0.1, bytes_per_s=200_000)
    try:
        turned_away = _pressed(here, crowd)
        assert here.plant.service.resident_kb() < RESIDENT_MOST_KB
        goes_on(gateways, 1)
    finally:
        here.to_database.slow()
    assert turned_away.headers["content-type"].startswith("application/problem+json")
    assert int(turned_away.headers["retry-after"]) >= 1
    goes_on(gateways, 10)
    for one in gateways:
        one.stop()
    balance = here.account(gateways)
    assert balance.balanced, str(balance)


def _pressed(here: Site, crowd: list[CountingGateway]) -> httpx2.Response:
    """All press on at once with more readings than may wait, until one of them is turned away."""
    heard: list[httpx2.Response] = []

    def press(one: CountingGateway) -> None:
        for first in range(0, 1_000_000, PRESSED_ROWS):
            answer = here.plant.push(one.gateway, _columns(one.meter, first))
            if heard or answer.status_code == 503:
                heard.append(answer)
                return

    threads = [threading.Thread(target=press, args=(one,), daemon=True) for one in crowd]
    for thread in threads:
        thread.start()
    until(lambda: heard, what="a request is turned away")
    for thread in threads:
        thread.join(60)
    return heard[0]


def _columns(meter: str, first: int) -> dict[str, object]:
    numbers = range(first, first + PRESSED_ROWS)
    times = [T0_MS + number * 1000 for number in numbers]
    return {"v": 1, "meters": [meter] * PRESSED_ROWS, "t": times, "values": [float(number) for number in numbers]}


def test_a_clock_a_day_wrong_is_refused_ahead_and_taken_behind(here: Site) -> None:
    (gateway,) = here.gateways("http")
    for days, verdict in ((1, "timestamp-in-future"), (-1, None)):
        at_ms = here.now_ms() + days * 86_400_000
        answer = here.plant.push(gateway.gateway, {"v": 1, "meters": [gateway.meter], "t": [at_ms], "values": [5.0]})
        codes = [refused["code"] for refused in answer.json()["rejected"]]
        assert codes == ([verdict] if verdict else [])


def test_new_chunks_are_made_while_everybody_sends(here: Site) -> None:
    """Histories backwards at three doors at once: each message is days before the last, so that the same new chunk is
    wanted by several transactions and made while others write."""
    gateways = here.gateways(*DOORS)
    for one in gateways:
        one.apart_ms = -HALF_A_DAY_MS
        one.start()
    goes_on(gateways, 12)
    for one in gateways:
        one.stop()
    balance = here.account(gateways)
    assert balance.balanced, str(balance)


def test_late_readings_for_a_chunk_that_was_dropped_are_stored_again(here: Site) -> None:
    (gateway,) = here.gateways("http")
    gateway.start()
    goes_on([gateway], 3)
    gateway.stop()
    here.sql("SELECT drop_chunks('reading', older_than => now() + interval '1 day')")
    assert here.account([gateway]).lost == len(gateway.acknowledged) * ROWS
    for number in sorted(gateway.acknowledged):
        answer = here.plant.push(gateway.gateway, gateway.numbered(number).body)
        assert answer.json()["stored"] == ROWS
    balance = here.account([gateway])
    assert balance.balanced, str(balance)
