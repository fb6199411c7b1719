"""Who may report what, and what a meter can show."""

from __future__ import annotations

import pytest

from ingest.decode import decode
from ingest.validate import Admitted, Rules, Shelf, admit
from tests.ingest.fakes import NOW_US, FakeRegistry, a_registry, codes_of
from tests.ingest.messages import T0, Reading, as_columns, as_rows, received

SECOND_US = 1_000_000


def admitted(*messages: list[Reading], gateway: str = "gw-1", registry: FakeRegistry | None = None) -> Admitted:
    sent = [received(as_rows(readings).raw, gateway=gateway) for readings in messages]
    shelf = Shelf.of((registry or a_registry()).picture())
    return admit(sent, [decode(one) for one in sent], shelf, Rules(max_age_days=365, max_ahead_s=600))


def test_sound_readings_become_rows_of_meter_numbers() -> None:
    outcome = admitted([("E001", T0, 1.0, 0), ("E002", T0, 2.0, 1)], [("E003", T0, 3.0, 0)])
    assert outcome.rows.meter.tolist() == [101, 102, 103]
    assert outcome.rows.message.tolist() == [0, 0, 1]
    assert outcome.rows.position.tolist() == [0, 1, 0]
    assert outcome.rows.quality.tolist() == [0, 1, 0]
    assert not outcome.refusals
    assert not outcome.strangers


@pytest.mark.parametrize(
    ("meter", "value", "code"),
    [
        ("E999", 1.0, "unknown-meter"),
        ("S001", 1.0, "foreign-meter"),
        ("FAR1", 1.0, "unknown-meter"),
        ("E001", -0.001, "out-of-range"),
        ("E001", 1.1e12, "out-of-range"),
        ("R9", 1000.0, "out-of-range"),
        ("P1", -1.1e12, "out-of-range"),
        ("E001", 1e12, None),
        ("E001", 0.0, None),
        ("R9", 999.999, None),
        ("P1", -5.0, None),
    ],
)
def test_the_meter_and_its_range(meter: str, value: float, code: str | None) -> None:
    outcome = admitted([("E002", T0, 7.0, 0), (meter, T0, value, 0)])
    assert codes_of(outcome.refusals) == ([] if code is None else [(1, code)])
    assert len(outcome.rows) == (2 if code is None else 1)
    assert outcome.strangers is (code in ("unknown-meter", "foreign-meter"))


@pytest.mark.parametrize(
    ("off_us", "code"),
    [
        (600 * SECOND_US, None),
        (600 * SECOND_US + 1000, "timestamp-in-future"),
        (-365 * 86_400 * SECOND_US, None),
        (-365 * 86_400 * SECOND_US - 1000, "timestamp-too-old"),
        (-NOW_US - SECOND_US, "timestamp-too-old"),
    ],
)
def test_the_time_against_the_moment_of_receipt(off_us: int, code: str | None) -> None:
    message = as_columns([("E001", (NOW_US + off_us) // 1000, 1.0, 0)])
    outcome = admit([message], [decode(message)], Shelf.of(a_registry().picture()), Rules(365, 600))
    assert codes_of(outcome.refusals) == ([] if code is None else [(0, code)])


def test_nothing_before_1970_is_taken_however_old_it_may_be() -> None:
    message = as_columns([("E001", -1, 1.0, 0), ("E001", 0, 1.0, 0)])
    outcome = admit([message], [decode(message)], Shelf.of(a_registry().picture()), Rules(36_525, 600))
    assert codes_of(outcome.refusals) == [(0, "timestamp-too-old")]


def test_the_meter_is_judged_before_time_and_value() -> None:
    old = "1980-01-01T00:00:00Z"
    outcome = admitted([("E999", old, -1.0, 0), ("S001", old, -1.0, 0), ("E001", old, -1.0, 0)])
    assert codes_of(outcome.refusals) == [(0, "unknown-meter"), (1, "foreign-meter"), (2, "timestamp-too-old")]


def test_a_gateway_nobody_knows_has_no_meters() -> None:
    outcome = admitted([("E001", T0, 1.0, 0)], gateway="gw-unknown")
    assert codes_of(outcome.refusals) == [(0, "unknown-meter")]
    assert outcome.strangers


def test_an_empty_registry_knows_no_meter() -> None:
    outcome = admitted([("E001", T0, 1.0, 0)], registry=FakeRegistry())
    assert codes_of(outcome.refusals) == [(0, "unknown-meter")]
    assert len(outcome.rows) == 0


def test_refusals_of_decode_and_of_validate_keep_their_places() -> None:
    outcome = admitted([("E001", "nonsense", 1.0, 0), ("E999", T0, 1.0, 0), ("E002", T0, 2.0, 0)])
    assert codes_of(outcome.refusals) == [(0, "bad-timestamp"), (1, "unknown-meter")]
    assert outcome.refusals[1].meter == "E999"
    assert outcome.refusals[1].at == "2026-11-23T01:15:00.000000Z"
    assert outcome.rows.position.tolist() == [2]
