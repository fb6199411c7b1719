"""The plants of docs/worked_examples.md, entered through the API and metered through the HTTP door: what the page works
out by hand is what the service answers, to the last digit that the page gives."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import pytest

from app.store.credit_code import check_character
from tests.e2e.a_plant import Plant, running_plant

PAGE = Path(__file__).parents[2] / "docs" / "worked_examples.md"
ROW = re.compile(
    r"^\| (?P<what>[^|]+) \| (?P<by_hand>[^|]+) \| `(?P<field>[^|]+)` \| (?P<value>[^|]+) \|$", re.MULTILINE
)
MIDNIGHTS = [datetime(2026, 10, 1, tzinfo=timezone(timedelta(hours=8))) + timedelta(days=day) for day in range(32)]


@dataclass(frozen=True)
class Example:
    """What is entered. `daily`: meter → (what it counts a day in its own unit, its fields)."""

    region: str
    industry: str
    daily: Mapping[str, tuple[float, Mapping[str, Any]]]
    lines: Mapping[str, Mapping[str, Any]]
    outputs: Mapping[str, float]
    factors: list[Mapping[str, Any]] = field(default_factory=list)


POWER = {"carrier": "electricity", "unit": "kWh"}
GAS = {"carrier": "natural_gas_max", "unit": "m3"}
EXAMPLES = {
    "cement": Example(
        "445303",
        "3011",
        {
            "C001": (310, {"carrier": "raw_coal", "unit": "t"}),
            "E001": (1550, POWER | {"multiplier": 120}),
            "E010": (66000, POWER | {"role": "recovered"}),
        },
        {"K1": {"product": "cement_clinker", "unit": "t", "capacity_per_year": 900_000}},
        {"K1": 71_300},
        [
            {
                "carrier": "raw_coal",
                "heating_value_kj_per_unit": 22190,
                "valid_from": "2026-01-01",
                "source": "laboratory",
            }
        ],
    ),
    "ceramics": Example(
        "445381",
        "3071",
        {"G001": (62000, GAS | {"unit": "m3_20C"}), "E001": (90000, POWER)},
        {"T1": {"product": "陶瓷砖", "condition": "E = 0.3 %", "unit": "万m2", "capacity_per_year": 800}},
        {"T1": 65},
    ),
    "steel": Example(
        "445302",
        "3120",
        {
            "E001": (700_000, POWER),
            "E101": (458_000, POWER | {"role": "internal", "level": 3}),
            "O001": (51000, {"carrier": "oxygen", "unit": "m3"}),
            "G001": (6400, GAS),
        },
        {
            "F1": {
                "product": "electric arc furnace",
                "condition": "capacity 60 t",
                "unit": "t",
                "capacity_per_year": 500_000,
                "meters": ["E101", "O001", "G001"],
            }
        },
        {"F1": 40_000},
    ),
    "acid": Example(
        "445303",
        "2611",
        {
            "E001": (45000, POWER),
            "E010": (120_000, POWER | {"role": "recovered"}),
            "H010": (1000, {"carrier": "heat", "unit": "GJ", "role": "sale"}),
        },
        {
            "A1": {
                "product": "sulfuric_acid_sulfur",
                "condition": "with low-temperature heat recovery",
                "unit": "t",
                "capacity_per_year": 120_000,
            }
        },
        {"A1": 9300},
    ),
    "hospital": Example(
        "445321",
        "8411",
        {
            "E001": (30000, POWER),
            "G001": (1500, GAS),
            "P001": (2000, POWER | {"role": "own_renewable"}),
        },
        {
            "M1": {"product": "public_floor_area", "unit": "m2", "capacity_per_year": 62000},
            "H1": {"product": "public_head_count", "unit": "person", "capacity_per_year": 2400},
        },
        {"M1": 62000, "H1": 2400},
    ),
}


@pytest.fixture(scope="module")
def plant(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    env = {"TCEWATCH_DATABASE_URL": database_url}
    with running_plant(env, tmp_path_factory.mktemp("examples") / "service.log") as plant:
        yield plant


def rows(example: str) -> list[dict[str, str]]:
    """The table below an example's mark."""
    parts = re.split(r"<!-- example: (\w+) -->", PAGE.read_text(encoding="utf-8"))
    chosen = dict(zip(parts[1::2], parts[2::2], strict=True))[example]
    return [found.groupdict() for found in ROW.finditer(chosen)]


def test_the_page_has_a_table_for_every_example() -> None:
    assert {example: bool(rows(example)) for example in EXAMPLES} == dict.fromkeys(EXAMPLES, True)


SIGNS: Mapping[type[ast.AST], Callable[..., Decimal]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
}


def worked_out(text: str) -> Decimal:
    """Arithmetic as the page writes it, with exact decimals."""
    plain = text.replace("×", "*").replace("−", "-")

    def value(node: ast.AST) -> Decimal:
        match node:
            case ast.BinOp():
                return SIGNS[type(node.op)](value(node.left), value(node.right))
            case ast.UnaryOp():
                return SIGNS[type(node.op)](value(node.operand))
            case ast.Constant():
                return Decimal(ast.get_source_segment(plain, node) or "")
        raise AssertionError(f"{ast.dump(node)} is no arithmetic")

    with localcontext() as context:
        context.prec = 60
        return value(ast.parse(plain, mode="eval").body)


@pytest.mark.parametrize("example", EXAMPLES)
def test_what_is_worked_out_by_hand_is_what_is_answered(plant: Plant, example: str) -> None:
    key = enter(plant, EXAMPLES[example], list(EXAMPLES).index(example))
    answered = answers(plant, key)
    for row in rows(example):
        expected = Decimal(row["value"].strip())
        by_hand = worked_out(row["by_hand"])
        assert by_hand.quantize(Decimal(1).scaleb(int(expected.as_tuple().exponent))) == expected, row
        assert Decimal(answered[row["field"]]) == expected, row
    explained = plant.get(f"enterprises/{key}/energy/explain", **{"from": "2026-10", "interval": "P1M"})
    assert explained["agrees"] is True


def enter(plant: Plant, example: Example, number: int) -> str:
    """The enterprise with its meters, factors, lines, output and readings; answers its id."""
    first = f"91{example.region}MA4U{number:05d}"
    key = first + check_character(first)
    plant.post("enterprises", {"id": key, "name": key, "region": example.region, "industry": example.industry})
    gateway = f"gw-example-{number}"
    secret = plant.post("gateways", {"id": gateway, "enterprise": key, "name": gateway})["secret"]
    owned = {"enterprise": key}
    for code, (_, fields) in example.daily.items():
        meter = {"code": code, "name": code, "gateway": gateway, "role": "purchase", "expected_interval_s": 86400}
        plant.post("meters", owned | meter | dict(fields))
    for factor in example.factors:
        plant.post("factors", owned | dict(factor))
    for code, fields in example.lines.items():
        meters = fields.get("meters", list(example.daily))
        line = plant.post(
            "lines", owned | {"code": code} | dict(fields) | {"meters": [{"code": one} for one in meters]}
        )
        plant.post(f"lines/{line['id']}/outputs", {"month": "2026-10", "quantity": example.outputs[code]})
    readings = [
        [code, midnight.astimezone(UTC).isoformat(), 1000 + day * daily, 0]
        for code, (daily, _) in example.daily.items()
        for day, midnight in enumerate(MIDNIGHTS)
    ]
    answer = plant.push(gateway, {"v": 1, "rows": readings}, secret=secret)
    assert (answer.status_code, answer.json()["stored"]) == (200, len(readings)), answer.text
    plant.rolled_up()
    return key


def answers(plant: Plant, key: str) -> dict[str, Decimal]:
    """The fields that the page names: of each line, of the enterprise, and of each of its carriers."""
    found: dict[str, Decimal] = {}
    for line in plant.get(f"enterprises/{key}/benchmarks", month="2026-10")["lines"]:
        assert line["complete"] is True, line["reasons"]
        found |= {f"{line['code']}.{name}": value for name, value in line.items()}
    (bucket,) = plant.get(
        f"enterprises/{key}/energy", **{"from": "2026-10", "to": "2026-11", "interval": "P1M", "by": "carrier"}
    )["buckets"]
    assert bucket["status"] == "measured"
    found |= {f"energy.{name}": value for name, value in bucket.items()}
    for carrier in bucket["carriers"]:
        found |= {f"energy.{carrier['carrier']}.{name}": value for name, value in carrier.items()}
    return found
