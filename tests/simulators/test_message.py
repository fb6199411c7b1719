"""Every published form of a batch means the same, read by the service's own decoder and by hand."""

from __future__ import annotations

import gzip
import json
from datetime import datetime

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.message import Form, Packing, Readings, joined, message, readings, split_by_stamp, stamp
from tests.simulators.a_stream import Row, a_stream, bag, one_register, rows

ONE_INSTANT = readings(("E001", "G001"), [0, 1], [1_748_800_000_000] * 2, [18233.42, 910.5], [0, 2])


def ms_of(printed: str) -> int:
    return round(datetime.fromisoformat(printed).timestamp() * 1000)


def understood(form: Form, body: bytes) -> list[Row]:
    """The readings of a body, as the published description reads it."""
    if form is Form.CSV:
        cells = [line.split(",") for line in body.decode().splitlines()[1:]]
        return [(meter, ms_of(at), float(value), int(quality)) for meter, at, value, quality in cells]
    found = json.loads(body)
    if form is Form.ROWS:
        return [(meter, ms_of(at), value, quality) for meter, at, value, quality in found["rows"]]
    if form is Form.COLUMNS:
        return list(zip(found["meters"], found["t"], found["values"], found["q"], strict=True))
    marks = found.get("q", {})
    return [(meter, ms_of(found["ts"]), value, marks.get(meter, 0)) for meter, value in found["vals"].items()]


@pytest.mark.parametrize("form", Form)
def test_every_form_means_the_same_readings(form: Form) -> None:
    assert understood(form, message(7, ONE_INSTANT, form).body) == rows(ONE_INSTANT)


@pytest.mark.parametrize("form", [Form.ROWS, Form.COLUMNS, Form.CSV])
def test_a_long_stream_comes_out_as_it_went_in(form: Form) -> None:
    assert understood(form, message(1, a_stream(), form).body) == rows(a_stream())


@pytest.mark.parametrize("form", [Form.STAMP, Form.ROWS, Form.COLUMNS])
def test_a_json_message_carries_its_number_and_says_when_it_revises(form: Form) -> None:
    body = json.loads(message(4711, ONE_INSTANT, form, revise=True).body)
    assert (body["v"], body["seq"], body["revise"]) == (1, 4711, True)
    assert "revise" not in json.loads(message(4711, ONE_INSTANT, form).body)


@pytest.mark.parametrize("form", Form)
def test_a_packed_body_unpacks_to_the_plain_one(form: Form) -> None:
    plain = message(1, ONE_INSTANT, form)
    zipped = message(1, ONE_INSTANT, form, packing=Packing.GZIP)
    zstd = message(1, ONE_INSTANT, form, packing=Packing.ZSTD)
    assert gzip.decompress(zipped.body) == zstandard.ZstdDecompressor().decompress(zstd.body) == plain.body
    assert {zipped.count, zstd.count, plain.count} == {2}
    assert zipped.content_type == plain.content_type


def test_the_one_stamp_form_holds_one_instant() -> None:
    with pytest.raises(ValueError, match="exactly one instant"):
        message(1, one_register(1, 2), Form.STAMP)


def test_csv_cannot_revise() -> None:
    with pytest.raises(ValueError, match="revises"):
        message(1, ONE_INSTANT, Form.CSV, revise=True)


def test_columns_of_different_length_are_no_readings() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        readings(("E001",), [0, 0], [1], [1.0])


def test_readings_of_different_plants_are_not_joined() -> None:
    with pytest.raises(ValueError, match="same meters"):
        joined([ONE_INSTANT, one_register(1)])


def streams() -> st.SearchStrategy[Readings]:
    row = st.tuples(st.integers(0, 2), st.integers(0, 4), st.floats(0, 1e6))
    return st.lists(row, max_size=30).map(
        lambda found: readings(
            ("A", "B", "C"), [m for m, _, _ in found], [t * 900_000 for _, t, _ in found], [v for _, _, v in found]
        )
    )


@given(stream=streams())
@settings(max_examples=60, deadline=None)
def test_split_by_stamp_keeps_every_reading_and_each_piece_fits_the_one_stamp_form(stream: Readings) -> None:
    pieces = split_by_stamp(stream)
    assert bag(joined(pieces)) == bag(stream)
    for piece in pieces:
        assert understood(Form.STAMP, message(1, piece, Form.STAMP).body) == rows(piece)


@given(stream=streams(), size=st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_batches_are_the_stream_in_pieces(stream: Readings, size: int) -> None:
    batches = list(stream.batches(size))
    assert [row for batch in batches for row in rows(batch)] == rows(stream)
    assert all(0 < len(batch) <= size for batch in batches)


@given(at_ms=st.integers(-2_000_000_000_000, 4_000_000_000_000))
def test_a_stamp_is_the_instant_to_the_millisecond_with_the_offset_of_china(at_ms: int) -> None:
    assert ms_of(stamp(at_ms)) == at_ms
    assert stamp(at_ms).endswith("+08:00")
