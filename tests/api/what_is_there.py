"""What a generated request has to say that no schema tells: what is there, when it was, and how a number is written.

A schema promises the form of a request. `usable` takes one that keeps the form and lets it speak of things that are in
the database of tests.api.a_service; what it does not name here stays as it was generated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from random import Random
from typing import Any

from app.store.credit_code import check_character
from tests.api.a_service import CITY, FOREIGN, FOREIGN_REGION, JOB, MISSING, OWN, OWN_REGION, WEBHOOK

Choices = dict[str, Sequence[Any]]

REGIONS = (CITY, OWN_REGION, FOREIGN_REGION)
OURS = ("900001", "900002")
EVERYWHERE: Choices = {
    "enterprise": (OWN, FOREIGN),
    "region": REGIONS,
    "from": ("2026-10-01T00:00:00+08:00", "2026-10-02T00:00:00Z"),
    "to": ("2026-10-08T00:00:00+08:00", "2026-10-09T00:00:00Z"),
    "month": ("2026-09", "2026-10"),
    "carrier": ("electricity", "natural_gas", "steam"),
    "product": ("cement",),
    "gateway": ("gw-own", "gw-foreign"),
    "valid_from": ("2026-01-01", "2026-02-01"),
    "valid_to": ("2027-01-01",),
}
IN_PATHS: Choices = {
    "code": ("E001",),
    "alert": OURS,
    "year": ("2026",),
    "line": OURS,
    "factor": OURS,
    "token": OURS,
    "exclusion": (900_001, 900_002),
    "level": ("1", "2"),
    "correction": ("1", "2"),
    "revision": (1,),
    "user": ("person.own", "person.foreign"),
    "webhook": (WEBHOOK,),
    "job": (JOB,),
    "delivery": (1,),
}
IN_QUERIES: Choices = {
    "at": ("2026-11", "2026-10-05T10:00:00+08:00"),
    "as_of": ("2026-10-05",),
    "known_on": ("2026-10-05",),
    "co2_dataset": ("default",),
}
IN_BODIES: Choices = {
    "at": ("2026-10-05T10:00:00+08:00",),
    "ts": ("2026-10-05T10:00:00+08:00",),
    "multiplier_from": ("2026-10-05T10:00:00+08:00",),
    "expires_at": ("2099-01-01T00:00:00Z",),
    "alert": (900_001, 900_002),
    "days": (1, 7.5),
    "password": ("Kiln-burns-at-1450-C", "Kiln-cools-at-0100-C"),
    "cursor": (None,),
    "url": ("https://hooks.example.com/",),
    "kinds": ("alert", "data.arrived"),
    "tce": (1200, "1200.5"),
    "tco2": (3000, "3000.5"),
    "monthly": (100,),
}
ELECTRICITY: Choices = {"carrier": ("electricity",), "unit": ("kWh", "MWh")}
FIRST_17 = [f"91445300MA4U{number:05}" for number in range(20)]
FREE_CODES = [first + check_character(first) for first in FIRST_17]
OF_ONE: dict[str, Choices] = {
    "createMeter": ELECTRICITY | {"enterprise": (OWN,), "gateway": ("gw-own",)},
    "changeMeter": ELECTRICITY | {"enterprise": (OWN,), "gateway": ("gw-own",)},
    "createEnterprise": {"id": (MISSING, *FREE_CODES)},
    "createToken": {"role": ("admin", "supervisor"), "scope": REGIONS},
    "createUser": {"role": ("admin", "supervisor"), "scope": REGIONS},
    "changeUser": {"role": ("admin", "supervisor"), "scope": REGIONS},
    "createFactor": {"carrier": ("natural_gas",)},
    "putRegionTarget": {"base": (1000, "1000"), "incentive": (900, "900")},
    "createLine": {"unit": ("t", "kg"), "code": ("S1", "S2")},
    "changeLine": {"unit": ("t", "kg"), "code": ("E001",)},
    "createCorrection": {"unit": (1, "1"), "product": ("cement",), "edition": ("GB 16780-2021",)},
    "changeCorrection": {"unit": (1, "1")},
    "createLevel": {"unit": ("kgce/t",)},
    "changeLevel": {"unit": ("kgce/t",)},
    "putClosingDay": {"from_month": ("2099-01", "2099-02")},
}
OF_REGIONS = ("/api/v1/regions/", "/api/v1/reports/monthly/")
UNTOLD = {"cursor": "the `next` of an answer before", "If-Match": "the ETag of an answer before"}
"""What has a form and means nothing unless the service said it; left out."""
NUMBERS: dict[str, str] = {
    "altitude_m": "200.5",
    "pressure_pa": "101325",
    "clinker_percent": "75",
    "feed_grade_percent": "58.5",
    "hot_metal_percent": "30",
    "share": "0.5",
    "oxidation": "0.98",
}
"""Decimals as strings, where 1 is not within the bounds or not typical."""
DECIMALS = {
    *NUMBERS,
    *("constant", "most", "needs_above"),
    *("amount", "base", "incentive", "baseline", "benchmark", "level1", "level2", "level3", "capacity_per_year"),
    *("carbon_content_tc_per_tj", "heating_value_kj_per_unit", "multiplier", "quantity", "value"),
}
PLACES = 4
"""Of a number: no schema can say that it has 18 digits at most."""
KEYS = count(1)


def usable(case: Any, name: str, random: Random, *, path: bool = True) -> None:
    """Lets a case that keeps its schemas name what is there. `path`: in its path too, where else only
    the year does not come by a link."""
    one = OF_ONE.get(name, {})
    if case.path_parameters:
        of_path = EVERYWHERE | IN_PATHS | ({"code": REGIONS} if case.path.startswith(OF_REGIONS) else {}) | one
        told = of_path if path else {"year": IN_PATHS["year"]}
        case.path_parameters = {key: _chosen(key, value, told, random) for key, value in case.path_parameters.items()}
    if case.query:
        kept = {key: value for key, value in case.query.items() if key not in UNTOLD}
        case.query = {key: _chosen(key, value, EVERYWHERE | IN_QUERIES, random) for key, value in kept.items()}
    if case.headers:
        for untold in UNTOLD:
            case.headers.pop(untold, None)
        if "Idempotency-Key" in case.headers:
            case.headers["Idempotency-Key"] = f"key-{next(KEYS)}"
    if isinstance(case.body, dict):
        case.body = dict(_filled(case.body, EVERYWHERE | IN_BODIES | one, random))


def _filled(body: dict[str, Any], choices: Choices, random: Random) -> Iterator[tuple[str, Any]]:
    for key, value in body.items():
        yield key, _part(key, value, choices, random)


def _part(key: str, value: Any, choices: Choices, random: Random) -> Any:
    if isinstance(value, dict):
        return dict(_filled(value, choices, random))
    if isinstance(value, list):
        return [_part(key, one, choices, random) for one in value]
    if key in DECIMALS and key not in choices and isinstance(value, str):
        return NUMBERS.get(key, "1")
    if isinstance(value, float) and value and key not in choices:
        return round(value, PLACES) or 10.0**-PLACES
    return _chosen(key, value, choices, random)


def _chosen(key: str, value: Any, choices: Choices, random: Random) -> Any:
    """`null` stays: that a field may be empty is told by its schema."""
    return value if value is None or key not in choices else random.choice(choices[key])


BY_RULE = {
    ("createMeter", "unit-mismatch"): "a unit fits the carrier and the kind",
    ("changeMeter", "wrong-field"): "where multipliers are dated, another one says from when",
    ("changeMeter", "unit-mismatch"): "a unit fits the carrier and the kind",
    ("changeLevel", "wrong-field"): "a benchmark has its two levels and a limit its three",
    ("createLevel", "wrong-field"): "a benchmark has its two levels and a limit its three",
    ("removeLevel", "wrong-field"): "what the reference tables say is ended, not removed",
    ("changeLine", "wrong-field"): "a line's meters are those of its enterprise",
    ("createCorrection", "wrong-field"): "a correction changes a level, and a need has its bound",
    ("changeCorrection", "wrong-field"): "a correction changes a level, and a need has its bound",
    ("removeCorrection", "wrong-field"): "what the reference tables say is ended, not removed",
    ("createLine", "wrong-field"): "a line's meters are those of its enterprise",
    ("changeUser", "wrong-field"): "a scope fits the role, which may be the one that the person has already",
    ("createFactor", "wrong-field"): "a factor belongs to an enterprise or a region, and is a value or a heating value",
    ("changeFactor", "wrong-field"): "a factor is a value or a heating value",
    ("explainEnergy", "bad-query"): "one bucket is explained; `to` is not beyond its end",
    ("getEnergy", "not-known-then"): "of the past is kept what was known by month and by carrier",
    ("putAlertSettings", "wrong-setting"): "settings have names and bounds of their own, listed in docs",
    ("putBudget", "wrong-budget"): "a budget is in tce or in tCO2 by its basis, and its months add up",
    ("putBudget", "months-not-twelve"): "a plan has no months or twelve; the document says at most a hundred",
    ("putRegionContacts", "wrong-field"): "an address stands there once",
    ("recordExchange", "exchange-below-register"): "readings lie below the register's range, which another call set",
}
"""Operation and code → the rule by which a request that keeps its schemas may be refused all the same."""
