"""Replay of recorded files: what becomes of the rows, how streams are disturbed, and what a wrong option is told."""

from __future__ import annotations

import gzip
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.message import Form, joined
from simulators.replay import (
    Options,
    Summary,
    WrongReplay,
    disturbed,
    messages,
    open_the_door,
    parse_meters,
    recorded,
    with_preset,
)
from tests.simulators.a_stream import bag, one_register, rows
from tests.simulators.test_message import understood

QUARTER_MS = 900_000
# A day in the manner of the recorded steel plant: ends of quarters, day first, and 00:00 under the day that it ends.
STEEL = """date,Usage_kWh,CO2(tCO2)
01/01/2018 00:15,3.17,0
01/01/2018 00:30,4,0
01/01/2018 23:45,3.24,0
01/01/2018 00:00,3.42,0
02/01/2018 00:15,5.5,0
"""


def options(file: Path, **more: Any) -> Options:
    return Options(file=file, gateway="gw-1", secret="s", url="mqtt://127.0.0.1:1", meters={"E001": None}, **more)


def written(folder: Path, text: str, name: str = "recorded.csv") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def korean_ms(text: str) -> int:
    return round(datetime.fromisoformat(f"{text}+09:00").timestamp() * 1000)


@pytest.fixture
def steel(tmp_path: Path) -> Options:
    file = written(tmp_path, STEEL.replace("/", "-"))
    return with_preset(options(file, kind="interval"), "steel-2018")


def test_the_midnight_row_of_the_steel_plant_is_the_last_quarter_of_its_day(steel: Options) -> None:
    stream = recorded(replace(steel, meters={"E001": "Usage_kWh"}))
    starts = ["2018-01-01 00:00", "2018-01-01 00:15", "2018-01-01 23:30", "2018-01-01 23:45", "2018-01-02 00:00"]
    assert stream.at_ms.tolist() == [korean_ms(start) for start in starts]
    assert stream.value.tolist() == [3.17, 4.0, 3.24, 3.42, 5.5]


def test_as_a_register_the_differences_are_the_recorded_amounts(steel: Options) -> None:
    stream = recorded(replace(steel, kind="register", meters={"E001": "Usage_kWh"}))
    assert stream.value.tolist() == [0.0, 3.17, 7.17, 10.41, 13.83, 19.33]
    assert stream.at_ms.tolist()[:2] == [korean_ms("2018-01-01 00:00"), korean_ms("2018-01-01 00:15")]
    assert stream.at_ms.tolist()[-1] == korean_ms("2018-01-02 00:15")


def test_the_preset_names_the_column_of_the_steel_plant() -> None:
    assert parse_meters(["E001"], "steel-2018") == {"E001": "Usage_kWh"}
    assert parse_meters(["E001=kwh", "G001"], None) == {"E001": "kwh", "G001": None}


def test_a_register_drops_no_digit(tmp_path: Path) -> None:
    """0.1 added a thousand times is 100, as on a display."""
    times = (datetime.fromtimestamp(900 * number, UTC).isoformat() for number in range(1000))
    lines = "".join(f"{time},0.1\n" for time in times)
    stream = recorded(options(written(tmp_path, f"ts,kwh\n{lines}"), start_value=Decimal("5.5")))
    assert stream.value.tolist()[-1] == 105.5


def test_a_gzipped_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    file = tmp_path / "recorded.csv.gz"
    file.write_bytes(gzip.compress("ts,kwh\n2025-06-02T00:00:00+08:00,1.5\n".encode("utf-8-sig")))
    assert recorded(options(file, kind="interval")).value.tolist() == [1.5]


def test_a_time_with_its_own_offset_is_taken_by_it_and_one_without_by_the_zone(tmp_path: Path) -> None:
    text = "ts,kwh\n2025-06-02T00:00:00Z,1\n2025-06-02T08:15:00,2\n"
    found = recorded(options(written(tmp_path, text), kind="interval")).at_ms.tolist()
    assert found[1] - found[0] == QUARTER_MS


def test_two_meters_of_a_file_are_two_streams(tmp_path: Path) -> None:
    file = written(tmp_path, "ts,a,b\n2025-06-02T00:00:00Z,1,10\n2025-06-02T00:15:00Z,2,20\n")
    stream = recorded(replace(options(file, kind="interval"), meters={"E001": "a", "G001": "b"}))
    assert [row[2] for row in rows(stream.of_meter("E001"))] == [1, 2]
    assert [row[2] for row in rows(stream.of_meter("G001"))] == [10, 20]


def test_a_limit_takes_the_first_rows(steel: Options) -> None:
    assert len(recorded(replace(steel, meters={"E001": "Usage_kWh"}, limit=2))) == 2


disturbances = st.fixed_dictionaries(
    {"double": st.booleans(), "shuffle": st.none() | st.integers(0, 99), "split": st.integers(1, 7)}
)


@given(how=disturbances, count=st.integers(1, 60), batch=st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_shuffled_doubled_and_split_every_reading_goes_out_as_often_as_it_should(
    how: dict[str, Any], count: int, batch: int
) -> None:
    stream, how_sent = one_register(*range(count)), options(Path("-"), batch=batch, **how)
    sent = list(messages(disturbed(stream, how_sent), how_sent))
    out = [row for one in sent for row in understood(Form.COLUMNS, one.body)]
    twice = bag(joined([stream, stream])) if how["double"] else bag(stream)
    assert sorted(out) == sorted(twice.elements())
    assert [one.seq for one in sent] == list(range(1, len(sent) + 1))
    assert max(one.count for one in sent) <= max(1, -(-batch // how["split"]))


def test_the_same_seed_is_the_same_disorder_and_another_is_another() -> None:
    stream = one_register(*range(50))
    one, again, other = (rows(disturbed(stream, options(Path("-"), shuffle=seed))) for seed in (1, 1, 2))
    assert one == again != other


def test_what_receipts_say_is_added_up() -> None:
    summary = Summary()
    (sent,) = messages(one_register(1, 2, 3), options(Path("-")))
    summary.add(sent, {"seq": 1, "stored": 2, "duplicate": 0, "revised": 0, "rejected": [{"i": 1, "code": "conflict"}]})
    assert str(summary) == "3 readings in 1 messages: 2 stored, 0 duplicate, 0 revised, rejected: conflict 1"
    assert not summary.complete


GOOD = "ts,kwh\n2025-06-02T00:00:00Z,1\n"


@pytest.mark.parametrize(
    ("text", "change", "said"),
    [
        ("ts,kwh\n", {}, "has no rows"),
        (GOOD, {"kind": "rate"}, "--as rate: choose from register, interval"),
        (GOOD, {"meters": {"E001": "kw"}}, "has no column 'kw'; it has: ts, kwh"),
        (GOOD, {"time_column": "when"}, "has no column 'when'; it has: ts, kwh"),
        (GOOD, {"zone": "Asia/Yunfu", "time_format": "%Y-%m-%dT%H:%M:%SZ"}, "--zone Asia/Yunfu is no time zone"),
        ("ts,a,b\n2025-06-02,1,2\n", {}, "name the column of values as --meter CODE=COLUMN"),
        ("ts,kwh\nyesterday,1\n", {}, "row 2: ts 'yesterday' is not a time"),
        ("ts,kwh\n2025-06-02T00:00:00Z,much\n", {}, "row 2: kwh 'much' is not a number"),
        (f"{GOOD}2025-06-02T00:15:00Z,NaN\n", {}, "row 3: kwh 'NaN' is not a number"),
        (f"{GOOD}2025-06-02T00:15:00Z\n", {}, "row 3: kwh None is not a number"),
        ("kwh,ts\n1\n", {"time_column": "ts"}, "row 2: ts None is not a time"),
    ],
)
def test_what_cannot_be_used_is_named_in_one_sentence(
    tmp_path: Path, text: str, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(WrongReplay) as caught:
        recorded(replace(options(written(tmp_path, text)), **change))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_cell_is_named_by_its_own_row_when_the_file_is_out_of_order(tmp_path: Path) -> None:
    text = "ts,kwh\n2025-06-02T00:15:00Z,bad\n2025-06-02T00:00:00Z,1\n"
    with pytest.raises(WrongReplay, match="row 2: kwh 'bad'"):
        recorded(options(written(tmp_path, text)))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WrongReplay, match=r"nowhere\.csv cannot be read"):
        recorded(options(tmp_path / "nowhere.csv"))


def test_a_file_that_is_no_gzip_is_named(tmp_path: Path) -> None:
    with pytest.raises(WrongReplay, match=r"recorded\.csv\.gz cannot be read"):
        recorded(options(written(tmp_path, GOOD, "recorded.csv.gz")))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"door": "pigeon"}, "--door pigeon: choose from mqtt, http-json, http-csv"),
        ({"door": "http-json"}, "--url mqtt://127.0.0.1:1: the door http-json wants a http:// address"),
        ({"url": "http://127.0.0.1:1"}, "--url http://127.0.0.1:1: the door mqtt wants a mqtt:// address"),
    ],
)
def test_a_door_that_does_not_fit_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(WrongReplay) as caught:
        open_the_door(replace(options(Path("-")), **change))
    assert str(caught.value) == said


def test_no_meter_and_a_strange_preset_are_named() -> None:
    with pytest.raises(WrongReplay, match="name at least one meter"):
        parse_meters([], None)
    with pytest.raises(WrongReplay, match="--preset steel: choose from steel-2018"):
        with_preset(options(Path("-")), "steel")
