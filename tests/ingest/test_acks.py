"""Acknowledgements leave in order, once, and only on the connection their message came by."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingest.acks import AckLine, Ticket


def test_one_settled_early_waits_for_those_before_it() -> None:
    line = AckLine()
    first, second, third = (line.arrived(packet_id) for packet_id in (7, 8, 9))
    assert line.settle(third)
    assert line.ready() == []
    assert line.settle(first)
    assert line.ready() == [7]
    assert line.settle(second)
    assert line.ready() == [8, 9]
    assert len(line) == 0


def test_messages_that_came_together_leave_together() -> None:
    line = AckLine()
    first, second = line.arrived(7, 8, 9), line.arrived(10)
    line.settle(second)
    assert (line.ready(), len(line)) == ([], 4)
    line.settle(first)
    assert (line.ready(), len(line)) == ([7, 8, 9, 10], 0)


def test_what_came_by_an_old_connection_is_never_acknowledged() -> None:
    line = AckLine()
    old = line.arrived(7)
    line.opened()
    new = line.arrived(7)
    assert not line.settle(old)
    assert line.ready() == []
    assert line.settle(new)
    assert line.ready() == [7]


STEPS = st.lists(st.sampled_from(["arrive", "settle", "ready", "reconnect"]) | st.integers(0, 50), max_size=80)


@given(STEPS)
def test_whatever_happens_the_order_is_kept(steps: list[str | int]) -> None:
    line = AckLine()
    tickets: list[Ticket] = []
    sent: list[tuple[int, int]] = []
    for number, step in enumerate(steps):
        if step == "arrive":
            tickets.append(line.arrived(number))
        elif step == "reconnect":
            line.opened()
        elif step == "ready":
            sent += [(line.generation, packet_id) for packet_id in line.ready()]
        elif isinstance(step, int) and tickets:
            line.settle(tickets[step % len(tickets)])
    arrived = [(ticket.generation, ticket.packet_ids[0]) for ticket in tickets]
    assert sent == sorted(set(sent)), "in order, and none twice"
    assert set(sent) <= {place for place, ticket in zip(arrived, tickets, strict=True) if ticket.settled}
    for generation in range(line.generation + 1):
        of_this = [packet_id for sent_in, packet_id in sent if sent_in == generation]
        came = [packet_id for came_in, packet_id in arrived if came_in == generation]
        assert of_this == came[: len(of_this)], "no message is overtaken"
