"""Every form, every error, the same result."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest import decode as module
from ingest.batch import Code, Received
from ingest.decode import Decoded, Malformed, TooLarge, decode, inflate
from ingest.wire import CSV_TYPE, JSON_TYPE, READINGS_MAX
from tests.ingest.fakes import codes_of
from tests.ingest.messages import (
    T0,
    T0_US,
    Reading,
    as_columns,
    as_csv,
    as_map,
    as_rows,
    minutes_after,
    received,
)

FORMS: Sequence[Callable[[Sequence[Reading]], Received]] = (as_map, as_rows, as_columns, as_csv)


def rows_of(decoded: Decoded) -> list[tuple[str, int, float, int]]:
    quality = np.zeros(len(decoded.meters), np.int16) if decoded.quality is None else decoded.quality
    return list(zip(decoded.meters, decoded.at_us.tolist(), decoded.value.tolist(), quality.tolist(), strict=True))


def the_detail(decoded: Decoded) -> str:
    """The one refusal of a message that cannot be read."""
    (refusal,) = decoded.refusals
    assert (refusal.position, refusal.code, len(decoded.meters)) == (None, Code.MALFORMED, 0)
    return refusal.detail


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_the_same(form: Callable[[Sequence[Reading]], Received]) -> None:
    decoded = decode(form([("E001", T0, 18233.42, 0), ("S002", T0, 910.5, 2), ("E003", T0, -7, 0)]))
    assert rows_of(decoded) == [("E001", T0_US, 18233.42, 0), ("S002", T0_US, 910.5, 2), ("E003", T0_US, -7.0, 0)]
    assert not decoded.refusals
    assert decoded.position is None


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (("E009", T0, "much", 0), Code.NOT_A_NUMBER),
        (("E009", T0, None, 0), Code.NOT_A_NUMBER),
        (("E009", T0, True, 0), Code.NOT_A_NUMBER),
        (("E009", T0, float("nan"), 0), Code.NOT_A_NUMBER),
        (("E009", T0, float("inf"), 0), Code.NOT_A_NUMBER),
        (("E009", T0, float("-inf"), 0), Code.NOT_A_NUMBER),
        (("E009", T0, 10**400, 0), Code.NOT_A_NUMBER),
        (("E009", T0, 1.5, 4), Code.MALFORMED),
        (("E009", T0, 1.5, -1), Code.MALFORMED),
        (("E009", T0, 1.5, "good"), Code.MALFORMED),
        (("E009", T0, 1.5, 0.5), Code.MALFORMED),
    ],
)
def test_a_bad_reading_spoils_only_itself(
    form: Callable[[Sequence[Reading]], Received], wrong: Reading, code: Code
) -> None:
    decoded = decode(form([("E001", T0, 1.0, 0), wrong, ("E003", T0, 3.0, 1)]))
    assert rows_of(decoded) == [("E001", T0_US, 1.0, 0), ("E003", T0_US, 3.0, 1)]
    assert codes_of(decoded.refusals) == [(1, code.value)]
    assert decoded.refusals[0].meter == "E009"
    assert decoded.position is not None
    assert decoded.position.tolist() == [0, 2]
    assert [decoded.place_of(0), decoded.place_of(2)] == [0, 1]


TIMES = [
    ("2026-11-23T09:15:00+08:00", T0_US),
    ("2026-11-23T01:15:00Z", T0_US),
    ("2026-11-23t01:15:00z", T0_US),
    ("2026-11-23 09:15:00+08:00", T0_US),
    ("2026-11-22T19:45:00-05:30", T0_US),
    ("2026-11-23T01:15:00-00:00", T0_US),
    ("2026-11-23T09:15:00.25+08:00", T0_US + 250_000),
    ("2026-11-23T09:15:00.123456789+08:00", T0_US + 123_456),
    ("2024-02-29T00:00:00Z", 1_709_164_800_000_000),
    ("1969-12-31T23:59:59.5Z", -500_000),
    ("0001-01-01T00:00:00Z", -62_135_596_800_000_000),
    ("2026-11-23T09:15:00", Code.TIMESTAMP_WITHOUT_ZONE),
    ("2026-11-23T09:15:00.5", Code.TIMESTAMP_WITHOUT_ZONE),
    ("2026-11-23T23:59:60+08:00", Code.BAD_TIMESTAMP),
    ("2026-02-29T00:00:00Z", Code.BAD_TIMESTAMP),
    ("2026-13-01T00:00:00Z", Code.BAD_TIMESTAMP),
    ("2026-11-23T24:00:00Z", Code.BAD_TIMESTAMP),
    ("2026-11-23T09:15:00+24:00", Code.BAD_TIMESTAMP),
    ("2026-11-23T09:15:00+08:60", Code.BAD_TIMESTAMP),
    ("2026-11-23T09:15:00+0800", Code.BAD_TIMESTAMP),
    ("2026-11-23T09:15+08:00", Code.BAD_TIMESTAMP),
    ("2026-11-23", Code.BAD_TIMESTAMP),
    ("0000-01-01T00:00:00Z", Code.BAD_TIMESTAMP),
    ("yesterday", Code.BAD_TIMESTAMP),
    ("", Code.BAD_TIMESTAMP),
    ("２０２６-11-23T09:15:00Z", Code.BAD_TIMESTAMP),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("text", "expected"), TIMES)
def test_times_are_read_alike_in_every_form(
    form: Callable[[Sequence[Reading]], Received], text: str, expected: int | Code
) -> None:
    decoded = decode(form([("E001", text, 1.0, 0)]))
    if isinstance(expected, Code):
        assert codes_of(decoded.refusals) == [(0, expected.value)]
        assert decoded.refusals[0].at == text
    else:
        assert decoded.at_us.tolist() == [expected]


@pytest.mark.parametrize(("text", "expected"), TIMES)
def test_times_are_read_alike_one_by_one_and_many_at_once(text: str, expected: int | Code) -> None:
    good = [("E001", minutes_after(minute), 1.0, 0) for minute in range(100)]
    decoded = decode(as_rows([*good, ("E002", text, 2.0, 0)]))
    assert decoded.at_us[:100].tolist() == [T0_US + minute * 60_000_000 for minute in range(100)]
    if isinstance(expected, Code):
        assert codes_of(decoded.refusals) == [(100, expected.value)]
    else:
        assert decoded.at_us[100] == expected


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (1_795_396_500_000, T0_US),
        (1_795_396_500_000.0, T0_US),
        (-1, -1000),
        (1_795_396_500_000.5, None),
        (True, None),
        (None, None),
        ([], None),
        (10**30, None),
        (253_402_300_800_000, None),
        (float("nan"), None),
    ],
)
def test_milliseconds_are_whole_and_within_the_calendar(sent: object, expected: int | None) -> None:
    decoded = decode(as_columns([("E001", sent, 1.0, 0), ("E002", 0, 2.0, 0)]))
    if expected is None:
        assert codes_of(decoded.refusals) == [(0, "bad-timestamp")]
        assert rows_of(decoded) == [("E002", 0, 2.0, 0)]
    else:
        assert decoded.at_us.tolist() == [expected, 0]


@pytest.mark.parametrize(
    ("raw", "tells"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"hello", "not JSON"),
        (b'{"v":1,', "not JSON"),
        (b"[]", "not a JSON object"),
        (b"17", "not a JSON object"),
        (b'{"v":1,"ts":"\xff"}', "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"ts":"%s","vals":{"E001":1}}' % T0.encode(), "version is missing"),
        (b'{"v":2,"ts":"%s","vals":{"E001":1}}' % T0.encode(), "version 2 is not known"),
        (b'{"v":true,"ts":"%s","vals":{"E001":1}}' % T0.encode(), "not known"),
        (b'{"v":1}', "nothing in it"),
        (b'{"v":1,"ts":"%s","vals":{}}' % T0.encode(), "nothing in it"),
        (b'{"v":1,"rows":[]}', "nothing in it"),
        (b'{"v":1,"meters":[],"t":[],"values":[]}', "nothing in it"),
        (b'{"v":1,"vals":{"E001":1}}', "ts is missing"),
        (b'{"v":1,"ts":"%s","vals":[1]}' % T0.encode(), "vals and q should be objects"),
        (b'{"v":1,"ts":"%s","vals":{"E001":1},"q":[0]}' % T0.encode(), "vals and q should be objects"),
        (b'{"v":1,"ts":"%s","vals":{"E001":1},"rows":[]}' % T0.encode(), "more than one form"),
        (b'{"v":1,"ts":"%s","vals":{"E001":1},"t":[1]}' % T0.encode(), "more than one form"),
        (b'{"v":1,"ts":"%s","vals":{"E001":1,"E001":2}}' % T0.encode(), "E001 occurs twice"),
        (b'{"v":1,"ts":"%s","vals":{"E001":1},"vals":{"E002":2}}' % T0.encode(), "vals occurs twice"),
        (b'{"v":1,"ts":"%s","vals":{"E001":1},"v\\u0061ls":{"E2":2}}' % T0.encode(), "vals occurs twice"),
        (b'{"v":1,"rows":{}}', "rows should be an array"),
        (b'{"v":1,"rows":[["E001","%s",1]],"q":[0]}' % T0.encode(), "inside the rows"),
        (b'{"v":1,"meters":["E001"],"t":[1,2],"values":[1]}', "not equally long: meters 1, t 2, values 1"),
        (b'{"v":1,"meters":["E001"],"t":[1],"values":[1],"q":[0,0]}', "not equally long"),
        (b'{"v":1,"meters":["E001"],"t":[1],"values":[1],"q":{}}', "q should be an array"),
        (b'{"v":1,"meters":["E001"],"values":[1]}', "t should be an array"),
        (b'{"v":1,"meters":"E001","t":[1],"values":[1]}', "meters should be an array"),
        (b'{"v":1,"seq":-1,"rows":[["E001","%s",1]]}' % T0.encode(), "seq is -1"),
        (b'{"v":1,"seq":"7","rows":[["E001","%s",1]]}' % T0.encode(), "seq is 7"),
        (b'{"v":1,"seq":9223372036854775808,"rows":[["E001","%s",1]]}' % T0.encode(), "seq is"),
        (b'{"v":1,"revise":"yes","rows":[["E001","%s",1]]}' % T0.encode(), "revise is neither"),
    ],
)
def test_a_message_that_cannot_be_read_says_why(raw: bytes, tells: str) -> None:
    assert tells in the_detail(decode(received(raw)))


def test_a_message_refused_as_a_whole_keeps_its_number() -> None:
    decoded = decode(received({"v": 1, "seq": 12, "rows": []}))
    assert decoded.seq == 12
    assert "nothing in it" in the_detail(decoded)


@pytest.mark.parametrize("row", [[], ["E001"], ["E001", T0], ["E001", T0, 1, 0, 0], {}, "E001", None, 7])
def test_a_row_of_the_wrong_shape_is_malformed(row: object) -> None:
    decoded = decode(received({"v": 1, "rows": [["E001", T0, 1], row]}))
    assert rows_of(decoded) == [("E001", T0_US, 1.0, 0)]
    assert codes_of(decoded.refusals) == [(1, "malformed")]


@pytest.mark.parametrize("meter", [7, None, True, ["E001"], {"a": 1}])
def test_a_meter_is_a_text(meter: object) -> None:
    for form in (as_rows, as_columns):
        assert codes_of(decode(form([(meter, T0, 1, 0)])).refusals) == [(0, "malformed")]


def test_more_readings_than_a_message_may_hold_are_refused_together() -> None:
    many = [1] * (READINGS_MAX + 1)
    assert "more than the" in the_detail(decode(received({"v": 1, "meters": many, "t": many, "values": many})))
    rows = "meter,ts,value\n" + "E,x,1\n" * (READINGS_MAX + 1)
    assert "more than the" in the_detail(decode(received(rows, content_type=CSV_TYPE)))


def test_unknown_keys_are_left_alone() -> None:
    decoded = decode(received({"v": 1, "seq": 3, "ts": T0, "vals": {"E001": 1}, "firmware": {"a": [1]}}))
    assert (rows_of(decoded), decoded.seq) == ([("E001", T0_US, 1.0, 0)], 3)


@pytest.mark.parametrize(
    "text",
    [
        f"meter,ts,value,quality\nE001,{T0},1.5,2\n",
        f"\ufeffmeter,ts,value,quality\r\nE001,{T0},1.5,2\r\n",
        f"Meter, TS ,Value,Quality\n\n  \nE001,{T0},1.5,2",
        f'"meter","ts","value","quality"\n"E001","{T0}","1.5","2"\n',
        f"value,quality,meter,ts\n1.5,2,E001,{T0}\n",
        f"E001,{T0},1.5,2\n",
        f" E001 , {T0} , 1.5 , 2 \n",
    ],
)
def test_csv_comes_in_many_dresses(text: str) -> None:
    assert rows_of(decode(received(text, content_type="Text/CSV; charset=utf-8"))) == [("E001", T0_US, 1.5, 2)]


def test_csv_without_quality_is_good() -> None:
    decoded = decode(received(f"meter,ts,value\nE001,{T0},1\nE002,{T0},2\n", content_type=CSV_TYPE))
    assert rows_of(decoded) == [("E001", T0_US, 1.0, 0), ("E002", T0_US, 2.0, 0)]


def test_a_bad_csv_row_is_named_by_its_line() -> None:
    text = f"meter,ts,value\n\nE001,{T0},1\nE002,{T0},1_000\nE003,{T0}\n"
    decoded = decode(received(text, content_type=CSV_TYPE))
    assert codes_of(decoded.refusals) == [(1, "not-a-number"), (2, "malformed")]
    assert [refusal.detail.split(":")[0] for refusal in decoded.refusals] == ["row 4", "row 5"]


@pytest.mark.parametrize("text", ["meter,ts,value\n", '"E001', "\n\n"])
def test_csv_with_nothing_readable_is_malformed(text: str) -> None:
    the_detail(decode(received(text, content_type=CSV_TYPE)))


def test_compressed_bodies_unpack() -> None:
    body = as_rows([("E001", T0, 1, 0)]).raw
    assert inflate(gzip.compress(body), "gzip", 1000) == body
    assert inflate(gzip.compress(body) + gzip.compress(body), "gzip", 1000) == body * 2
    assert inflate(zstandard.compress(body), "zstd", 1000) == body
    assert rows_of(decode(received(gzip.compress(body), content_type=f"{JSON_TYPE}; encoding=gzip")))


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
def test_a_bomb_does_not_go_off(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    bomb = pack(bytes(50_000_000))
    with pytest.raises(TooLarge):
        inflate(bomb, encoding, 1_000_000)
    kept = received(bomb, content_type=f"{JSON_TYPE}; encoding={encoding}")
    assert "come out" in the_detail(decode(kept))


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "br"])
@pytest.mark.parametrize("body", [b"plain", gzip.compress(b"x" * 100)[:-9], zstandard.compress(b"y" * 100)[:-5]])
def test_a_broken_body_is_malformed(encoding: str, body: bytes) -> None:
    the_detail(decode(received(body, content_type=f"{JSON_TYPE}; encoding={encoding}")))


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
def test_a_packed_table_that_was_cut_off_is_refused_as_a_whole(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    table = b"".join(b"E%06d,%s,%d\n" % (number, T0.encode(), number * 7919 % 100_003) for number in range(20_000))
    packed = pack(table) + pack(b"E9,%s,1\n" % T0.encode())
    assert len(rows_of(decode(received(packed, content_type=f"{CSV_TYPE}; encoding={encoding}")))) == 20_001
    for left in (len(packed) - 1, len(packed) // 2, len(packed) // 3):
        assert "ends too early" in the_detail(
            decode(received(packed[:left], content_type=f"{CSV_TYPE}; encoding={encoding}"))
        )


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
def test_a_body_of_nothing_but_heads_is_refused_at_once(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    heads = pack(b"") * 200_000
    began_s = time.process_time()
    with pytest.raises(Malformed, match="more than 1000 parts"):
        inflate(heads, encoding, 8 << 20)
    assert time.process_time() - began_s < 1


def test_a_message_larger_than_allowed_is_malformed() -> None:
    assert "more than the 100 allowed" in the_detail(decode(received(b" " * 101), raw_max=100))


def test_texts_of_refusals_can_be_stored() -> None:
    raw = b'{"v":1,"rows":[["a\\u0000\\ud800' + b"x" * 5000 + b'","%s",null]]}' % T0.encode()
    (refusal,) = decode(received(raw)).refusals
    assert refusal.meter is not None
    assert len(refusal.meter) <= 200
    assert "\0" not in refusal.meter
    refusal.meter.encode()


PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""How quick a shared machine draws examples says nothing about the decoder."""

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["E001", T0]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
MESSAGES = st.dictionaries(
    st.sampled_from(["v", "seq", "ts", "vals", "q", "rows", "revise", "meters", "t", "values", "x"]),
    JSON_VALUES | st.just(1) | st.just(T0) | st.lists(st.integers(0, 3), max_size=3),
).map(lambda message: {"v": 1, **message})
ALMOST_SOUND = st.lists(
    st.tuples(
        st.sampled_from(["E001", "E002", "Ü:1"]) | JSON_VALUES,
        st.sampled_from([T0, "2026-11-23T01:15:00Z", 1_795_396_500_000, "2026"]) | JSON_VALUES,
        st.floats() | st.integers() | JSON_VALUES,
        st.integers(-1, 4) | st.none() | JSON_VALUES,
    ),
    min_size=1,
    max_size=6,
)


@PATIENT
@given(
    st.binary(max_size=300), st.sampled_from([JSON_TYPE, CSV_TYPE, f"{JSON_TYPE}; encoding=gzip", "x;;=encoding=zstd"])
)
def test_any_bytes_get_an_answer(raw: bytes, content_type: str) -> None:
    assert decode(received(raw, content_type=content_type)).readings >= 1


@PATIENT
@given(MESSAGES)
def test_any_json_gets_an_answer(message: dict[str, object]) -> None:
    assert decode(received(message)).readings >= 1


@PATIENT
@given(ALMOST_SOUND, st.sampled_from([as_rows, as_columns, as_csv]))
def test_every_reading_is_a_row_or_a_refusal(
    readings: list[Reading], form: Callable[[Sequence[Reading]], Received]
) -> None:
    decoded = decode(form(readings))
    if codes_of(decoded.refusals)[:1] == [(None, "malformed")]:
        assert form is as_csv, "nothing but a broken CSV quote spoils the whole of these"
        return
    positions = [refusal.position for refusal in decoded.refusals]
    kept = range(len(decoded.meters)) if decoded.position is None else decoded.position.tolist()
    assert sorted([*positions, *kept]) == list(range(len(readings)))


@PATIENT
@given(MESSAGES | ALMOST_SOUND.flatmap(lambda readings: st.sampled_from([as_rows(readings), as_columns(readings)])))
def test_the_quick_way_and_the_careful_way_agree(message: dict[str, object] | Received) -> None:
    raw = message.raw if isinstance(message, Received) else json.dumps(message).encode()
    quick = decode(received(raw))
    try:
        careful = module._carefully(raw)
    except module.Malformed as error:
        careful = module.nothing_but(str(error))
    assert (rows_of(quick), quick.seq, quick.revise) == (rows_of(careful), careful.seq, careful.revise)
    assert list(quick.refusals) == list(careful.refusals)


def test_sound_messages_take_the_quick_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(raw: bytes) -> Decoded:
        raise AssertionError("the careful way was taken")

    monkeypatch.setattr(module, "_carefully", never)
    sound: list[Reading] = [("E001", T0, 1.5, 0), ("E002", T0, 2, 3)]
    in_columns: list[Reading] = [(meter, T0_US // 1000, value, quality) for meter, _, value, quality in sound]
    for message in (as_map(sound), as_rows(sound), as_columns(in_columns)):
        assert rows_of(decode(message)) == [("E001", T0_US, 1.5, 0), ("E002", T0_US, 2.0, 3)]
