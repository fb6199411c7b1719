"""What a figure is made of: the tree by hand, the figure recomputed from it, and a figure that was tampered with."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest

from tests.api.a_service import FOREIGN, OWN, Api, a_meter, is_problem

Readings = list[tuple[str, float]]


async def send(api: Api, code: str, readings: Readings, *, quality: int = 0) -> None:
    """Readings by their local times, straight into the ledger and rolled up."""
    (number,) = (await api.sql("SELECT meter_id FROM meter WHERE enterprise = $1 AND code = $2", OWN, code))[0]
    for at, value in readings:
        await api.sql(
            "INSERT INTO reading VALUES (cast($1::text AS timestamptz), $2, $3, $4, now())",
            f"{at}:00+08:00",
            number,
            value,
            quality,
        )
    await api.sql("INSERT INTO touched (meter_id) VALUES (ARRAY[$1::int])", number)
    await api.rolled_up()


def hours(first: str, values: list[float]) -> Readings:
    start = datetime.fromisoformat(first)
    return [((start + timedelta(hours=i)).isoformat(timespec="minutes"), value) for i, value in enumerate(values)]


async def explained(api: Api, start: str, interval: str = "P1D", **params: str) -> dict[str, Any]:
    answer = await api.get(f"enterprises/{OWN}/energy/explain", params={"from": start, "interval": interval} | params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def meter_of(found: dict[str, Any], code: str) -> dict[str, Any]:
    tree: dict[str, Any] = next(m for c in found["carriers"] for m in c["meters"] if m["meter"] == code)
    return tree


async def test_a_day_by_hand_from_reading_to_tonnes(api: Api) -> None:
    """24 h × 2 counts × 4,000 = 192,000 kWh × 0.1229 / 1000 = 23.5968 tce; × 0.4419 / 1000 = 84.8448 t CO2."""
    await api.patch(f"meters/{OWN}/E001", {"multiplier": 4000, "expected_interval_s": 3600})
    await send(api, "E001", hours("2026-10-31T20:00", [1000.0 + 2 * i for i in range(40)]))
    found = await explained(api, "2026-11-01")
    assert found["agrees"] is True
    assert (
        found["stored"]
        == found["recomputed"]
        == {
            "tce": 23.5968,
            "tce_net": 23.5968,
            "tco2": 84.8448,
            "tco2_net": 84.8448,
        }
    )
    tree = meter_of(found, "E001")
    assert tree["before"] == {"ts": "2026-10-31T23:00:00+08:00", "value": 1006, "quality": 0, "held": None}
    assert (tree["first"]["value"], tree["last"]["value"], tree["after"]["value"]) == (1008, 1054, 1056)
    assert (tree["readings"], tree["measured_s"], tree["estimated_s"], tree["sign_net"]) == (24, 86400, 0, 1)
    (piece,) = tree["pieces"]
    assert (piece["raw"], piece["multiplier"], piece["unit_scale"], piece["quantity"]) == (48, 4000, 1, 192_000)
    factor = piece["factor"]
    assert (factor["value"], factor["edition"], factor["basis"]) == (0.1229, "GB/T 2589-2020", "equivalent")
    assert factor["source"] == "table A.2"
    assert factor["valid_from"] == "2021-04-01"
    assert (await api.get(f"factors/{factor['id']}")).json()["value"] == 0.1229
    assert (piece["co2_factor"]["value"], piece["co2_factor"]["dataset"]) == (0.4419, "default")
    energy = await api.get(f"enterprises/{OWN}/energy", params={"from": "2026-11-01", "to": "2026-11-02"})
    assert energy.json()["buckets"][0]["tce"] == found["recomputed"]["tce"]


@pytest.mark.parametrize(
    ("table", "column", "level"),
    [
        ("meter_day", "quantity", "meter"),
        ("meter_day", "tce_equivalent", "meter"),
        ("enterprise_day", "tce_equivalent", "carrier"),
        ("enterprise_day", "tco2_net", "carrier"),
    ],
)
async def test_a_figure_that_was_tampered_with_does_not_agree(api: Api, table: str, column: str, level: str) -> None:
    await send(api, "E001", hours("2026-11-01T00:00", [10.0 * i for i in range(30)]))
    assert (await explained(api, "2026-11-01"))["agrees"] is True
    await api.sql(f"UPDATE {table} SET {column} = {column} + 0.000000000000000001")
    found = await explained(api, "2026-11-01")
    assert found["agrees"] is False
    (carrier,) = found["carriers"]
    assert carrier["agrees"] is False
    assert carrier["meters"][0]["agrees"] is (level != "meter")


async def test_a_month_with_two_factors_is_cut_where_the_second_begins(api: Api) -> None:
    await send(api, "E001", [(f"2026-{day}T00:00", 100.0 * i) for i, day in enumerate(("07-01", "07-11", "08-01"))])
    own = {"carrier": "electricity", "basis": "equal", "enterprise": OWN, "source": "coal rate"}
    await api.post("factors", own | {"value": 0.3, "valid_from": "2026-07-11", "edition": "2026"})
    await api.rolled_up()
    found = await explained(api, "2026-07", "P1M", basis="equal")
    assert found["agrees"] is True
    first, second = meter_of(found, "E001")["pieces"]
    assert (first["raw"], first["factor"]["value"], first["end"]) == (100, 0.28498, "2026-07-11T00:00:00+08:00")
    assert (second["raw"], second["factor"]["value"], second["factor"]["edition"]) == (100, 0.3, "2026")
    assert found["stored"]["tce"] == 0.058498


async def test_held_and_estimated_parts_are_shown_with_their_reason(api: Api) -> None:
    """A register that falls to zero and returns: the zero is held, what lies around it is an estimate."""
    day = [*hours("2026-11-01T00:00", [100.0, 110.0, 0.0, 130.0]), *hours("2026-11-01T10:00", [200.0, 210.0])]
    await send(api, "E001", [*day, ("2026-11-02T00:00", 340.0)])
    found = await explained(api, "2026-11-01")
    assert found["agrees"] is True
    assert found["status"] == "estimated"
    tree = meter_of(found, "E001")
    held = {"ts": "2026-11-01T02:00:00+08:00", "value": 0, "quality": 0, "held": "register-fell"}
    assert tree["held"] == [held]
    assert tree["measured_s"] + tree["estimated_s"] == 86400
    assert tree["recomputed"]["quantity"] == 240


async def test_what_does_not_simply_add_is_listed_with_its_reason(api: Api) -> None:
    for code, role in (("S1", "sale"), ("P1", "own_renewable"), ("I1", "internal"), ("R1", "recovered")):
        assert (await api.post("meters", a_meter(code=code, role=role))).status_code == 201
        await send(api, code, hours("2026-11-01T00:00", [10.0 * i for i in range(25)]))
    await send(api, "E001", hours("2026-11-01T00:00", [100.0 * i for i in range(25)]))
    found = await explained(api, "2026-11-01")
    assert found["agrees"] is True
    (carrier,) = found["carriers"]
    assert (carrier["recomputed"]["quantity"], carrier["recomputed"]["quantity_net"]) == (2160, 1920)
    said = {one["meter"]: (one["role"], one["gross"]) for one in found["exclusions"]}
    assert said == {
        "S1": ("sale", True),
        "P1": ("own_renewable", True),
        "I1": ("internal", False),
        "R1": ("recovered", True),
    }
    assert "not again" in next(one["why"] for one in found["exclusions"] if one["meter"] == "I1")
    assert meter_of(found, "P1")["recomputed"]["tco2"] == 0


async def test_gas_at_twenty_degrees_shows_its_way_to_zero(api: Api) -> None:
    gas = a_meter(code="G001", carrier="natural_gas_max", unit="m3_20C")
    assert (await api.post("meters", gas)).status_code == 201
    await send(api, "G001", hours("2026-11-01T00:00", [100.0 * i for i in range(25)]))
    found = await explained(api, "2026-11-01")
    (piece,) = meter_of(found, "G001")["pieces"]
    assert (piece["raw"], piece["unit_scale"], piece["quantity"]) == (2400, 0.931775541532, 2236.2612996768)
    assert found["agrees"] is True


async def test_a_bucket_without_readings_is_missing_on_both_sides(api: Api) -> None:
    found = await explained(api, "2026-11-01")
    assert (found["agrees"], found["status"], found["stored"]["tce"]) == (True, "missing", None)
    assert meter_of(found, "E001")["pieces"] == []


async def test_while_readings_wait_it_is_said(api: Api) -> None:
    await send(api, "E001", hours("2026-11-01T00:00", [10.0 * i for i in range(25)]))
    await api.sql("INSERT INTO touched (meter_id, marked_at) SELECT array_agg(meter_id), '2026-11-20' FROM meter")
    assert (await explained(api, "2026-11-01"))["waiting"] is True


async def test_the_chosen_set_of_co2_factors_is_explained_too(api: Api) -> None:
    await api.sql("UPDATE meter SET carrier = 'anthracite', unit = 't' WHERE enterprise = $1", OWN)
    await send(api, "E001", hours("2026-11-01T00:00", [1.0 * i for i in range(25)]))
    found = await explained(api, "2026-11-01", co2_dataset="first_batch_2013")
    assert (found["agrees"], found["co2_dataset"]) == (True, "first_batch_2013")
    (piece,) = meter_of(found, "E001")["pieces"]
    assert piece["co2_factor"]["value"] == 1.9238


async def test_every_bucket_of_a_troubled_history_agrees(api: Api) -> None:
    """Rollover, glitch, gap over midnight, an exchange on record, a multiplier from a date on: at every level."""
    await api.patch(f"meters/{OWN}/E001", {"rolls_over_at": 1000, "multiplier": 3, "expected_interval_s": 3600})
    values = [940.0, 955.0, 985.0, 12.0, 30.0, 0.0, 48.0, 61.0]
    later = hours("2026-11-01T08:00", [200.0, 213.5, 230.0])
    await send(api, "E001", [*hours("2026-10-31T20:00", values), *later, ("2026-11-02T12:00", 300.0)])
    (number,) = (await api.sql("SELECT meter_id FROM meter WHERE enterprise = $1", OWN))[0]
    await api.sql(
        """INSERT INTO meter_exchange (meter_id, at, old_final, new_initial, recorded_by)
           VALUES ($1, '2026-11-01T09:30+08:00', 222, 5, 'test')""",
        number,
    )
    await api.sql(
        """INSERT INTO meter_multiplier (meter_id, valid_from, multiplier, recorded_by)
           VALUES ($1, '2026-11-01T09:30+08:00', 40, 'test')""",
        number,
    )
    await api.sql("UPDATE reading SET value = value - 200 WHERE ts >= '2026-11-01T10:00+08:00'")
    await api.sql("INSERT INTO touched (meter_id) VALUES (ARRAY[$1::int])", number)
    await api.rolled_up()
    start = datetime.fromisoformat("2026-10-31T19:00")
    asked = [((start + timedelta(hours=i)).isoformat() + "+08:00", "PT1H") for i in range(44)]
    asked += [("2026-10-31", "P1D"), ("2026-11-01", "P1D"), ("2026-11-02", "P1D"), ("2026-10", "P1M"), ("2026", "P1Y")]
    for at, interval in asked:
        found = await explained(api, at, interval)
        assert found["agrees"] is True, (at, interval, found)
    year = meter_of(await explained(api, "2026", "P1Y"), "E001")
    assert [(piece["multiplier"], piece["unit_scale"]) for piece in year["pieces"]] == [(3, 1), (40, 1)]
    assert year["exchanges"] == [{"at": "2026-11-01T09:30:00+08:00", "old_final": 222, "new_initial": 5}]


async def test_one_bucket_at_a_time(api: Api) -> None:
    path = f"enterprises/{OWN}/energy/explain"
    whole = await api.get(path, params={"from": "2026-11-01", "to": "2026-11-02", "interval": "P1D"})
    assert whole.status_code == 200
    for wrong in ({"to": "2026-11-03"}, {"to": "2026-11-01"}, {"from": "soon"}, {"interval": "P1W"}):
        answer = await api.get(path, params={"from": "2026-11-01", "interval": "P1D"} | wrong)
        assert answer.status_code == 422
    is_problem(await api.get(path), 422, "invalid")
    strange = await api.get(path, params={"from": f"{date(2026, 11, 1)}", "co2_dataset": "none"})
    is_problem(strange, 422, "co2-dataset-unknown")
    foreign = await api.get(f"enterprises/{FOREIGN}/energy/explain", params={"from": "2026-11-01"}, role="enterprise")
    is_problem(foreign, 404, "not-found")
