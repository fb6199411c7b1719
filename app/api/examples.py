"""Examples for the API document, in Chinese and English: made from each schema, with the words of a real plant.

A field is known by its name; one with an unknown name gets a value of its type. So every operation has examples, also
one that was added yesterday, and a test holds each against its schema.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

ZH, EN = "zh-CN", "en"
SUMMARIES = {ZH: "中文示例", EN: "An English example"}
ENTERPRISE = "91445303MA4UQ7KJ3D"
WORDS: Mapping[str, Any] = {
    "name": {ZH: "云安示范水泥有限公司", EN: "Yun'an Model Cement Co., Ltd."},
    "name_zh": "云安区",
    "name_en": "Yun'an",
    "description": {ZH: "值班室大屏", EN: "Screen in the duty room"},
    "title": {ZH: "未找到", EN: "Not found"},
    "detail": {ZH: "没有用能单位 '91445303MA4UQ7KJ3D'", EN: "no enterprise '91445303MA4UQ7KJ3D'"},
    "reason": {ZH: "按年度节能目标下达", EN: "As set by the target of the year"},
    "comment": {ZH: "回转窑大修后恢复生产", EN: "The kiln is running again after its overhaul"},
    "text": {ZH: "回转窑大修后恢复生产", EN: "The kiln is running again after its overhaul"},
    "why": {ZH: "云安区有一家单位预计超预算", EN: "One unit in Yun'an is expected to exceed its budget"},
    "product": {ZH: "水泥熟料", EN: "cement clinker"},
    "type": "urn:tcewatch:problem:not-found",
    "status": {"integer": 404, "string": "measured"},
    "code": {"string": "445303"},
    "instance": "urn:uuid:0b9f2a52-6a0f-4c2a-9d3f-5f1c8a7f0e11",
    "id": ENTERPRISE,
    "enterprise": ENTERPRISE,
    "region": "445303",
    "parent": "4453",
    "industry": "3011",
    "gateway": "gw-demo-1",
    "meter": "E001",
    "carrier": "electricity",
    "unit": "kWh",
    "basis": "equivalent",
    "email": "energy@example.com",
    "language": "zh-CN",
    "flags": ["two_high"],
    "start": "2026-11-01T00:00:00+08:00",
    "end": "2026-11-02T00:00:00+08:00",
    "as_of": "2026-11-23T09:20:00+08:00",
    "factor_set": "reference-5f0c1a2b3c4d",
    "tce": 12.345305,
    "tce_net": 12.345305,
    "tco2": 44.389,
    "tco2_net": 44.389,
    "quantity": 100450.0,
    "quantity_net": 100450.0,
    "coverage": 1.0,
    "month": "2026-10",
    "year": 2026,
    "actor": "token:3:city bureau",
    "secret": {"string": "shown-once"},
    "url": "https://alerts.example.com/tcewatch",
    "kinds": ["alert"],
    "reasons": [],
    "next": None,
    "errors": None,
    "multiplier": 1,
    "expected_interval_s": 900,
    "level": 1,
    "accuracy_class": "0.5",
    "path": f"/api/v1/enterprises/{ENTERPRISE}/energy",
    "query": "from=2026&to=2027&interval=PT1H&format=xlsx",
    "source": "GB/T 2589-2020",
    "edition": "GB/T 2589-2020",
}
PARAMETERS: Mapping[str, Any] = {
    "enterprise": ENTERPRISE,
    "gateway": "gw-demo-1",
    "region": "445303",
    "industry": "3011",
    "carrier": "electricity",
    "from": "2026-11",
    "to": "2026-12",
    "month": "2026-10",
    "at": "2026-11",
    "year": 2026,
    "interval": "P1D",
    "kinds": "alert,data",
    "Accept-Language": "zh-CN",
}
BY_FORMAT: Mapping[str, Any] = {
    "date-time": "2026-11-23T09:15:00+08:00",
    "date": "2026-11-23",
    "uuid": "0b9f2a52-6a0f-4c2a-9d3f-5f1c8a7f0e11",
    "email": "energy@example.com",
    "binary": "",
}
DEEPEST = 12


def examples_of(schema: Mapping[str, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    """The two examples of a body, as OpenAPI's `examples`."""
    return {
        tongue: {"summary": words, "value": example(schema, components, tongue)} for tongue, words in SUMMARIES.items()
    }


def parameter_example(parameter: Mapping[str, Any]) -> Any:
    """What a parameter may hold; None for one whose own words say enough."""
    if parameter["name"] == "code":
        return None
    return PARAMETERS.get(parameter["name"])


def example(
    schema: Mapping[str, Any], components: Mapping[str, Any], tongue: str, name: str = "", depth: int = 0
) -> Any:
    """A value that fits the schema."""
    if "$ref" in schema:
        target = str(schema["$ref"]).rsplit("/", 1)[1]
        return example(components["schemas"][target], components, tongue, name, depth)
    if depth > DEEPEST:
        return None
    for fixed in ("const", "default"):
        if schema.get(fixed) is not None and not isinstance(schema[fixed], (dict, list)):
            return schema[fixed]
    if "examples" in schema:
        return schema["examples"][0]
    if "example" in schema:
        return schema["example"]
    if "enum" in schema:
        known = WORDS.get(name)
        return known if known in schema["enum"] else schema["enum"][0]
    for way in ("anyOf", "oneOf"):
        if way in schema:
            return _one_of(schema[way], components, tongue, name, depth)
    if "allOf" in schema:
        return example(schema["allOf"][0], components, tongue, name, depth)
    return _of_type(schema, components, tongue, name, depth)


def _one_of(ways: Any, components: Mapping[str, Any], tongue: str, name: str, depth: int) -> Any:
    """The first way that is a value; null only where the name says that it usually is."""
    if name in WORDS and WORDS[name] is None and any(way.get("type") == "null" for way in ways):
        return None
    chosen = next((way for way in ways if way.get("type") != "null"), ways[0])
    return example(chosen, components, tongue, name, depth)


def _of_type(schema: Mapping[str, Any], components: Mapping[str, Any], tongue: str, name: str, depth: int) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        return _one_of([{**schema, "type": one} for one in kind], components, tongue, name, depth)
    if kind == "object" or "properties" in schema:
        properties = schema.get("properties", {})
        return {key: example(part, components, tongue, key, depth + 1) for key, part in properties.items()} or _free(
            schema, components, tongue, depth
        )
    if kind == "array":
        known = WORDS.get(name)
        if isinstance(known, list) and schema.get("minItems", 0) <= len(known) <= schema.get("maxItems", 100):
            return known
        count = min(max(1, schema.get("minItems", 0)), schema.get("maxItems", 100))
        return [example(schema.get("items", {}), components, tongue, name, depth + 1)] * count
    return _scalar(schema, kind, tongue, name)


def _free(schema: Mapping[str, Any], components: Mapping[str, Any], tongue: str, depth: int) -> dict[str, Any]:
    """An object whose names are not fixed."""
    inside = schema.get("additionalProperties")
    if isinstance(inside, dict) and inside:
        return {"name": example(inside, components, tongue, "", depth + 1)}
    return {}


def _scalar(schema: Mapping[str, Any], kind: Any, tongue: str, name: str) -> Any:
    word = WORDS.get(name)
    if isinstance(word, dict):
        word = word.get(tongue, word.get(str(kind)))
    match kind:
        case "string":
            return _text(schema, word)
        case "integer" | "number":
            return _number(schema, kind, word)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return word if word is not None else {}


def _text(schema: Mapping[str, Any], word: Any) -> str:
    if "format" in schema:
        return str(BY_FORMAT.get(schema["format"], "text"))
    pattern = str(schema.get("pattern", ""))
    if isinstance(word, str) and fits(word, pattern, schema):
        return word
    return next((one for one in CANDIDATES if fits(one, pattern, schema)), "text")


CANDIDATES = ("text", "E001", "445303", "2026-10", "alert.raised", "energy@example.com", "3011", ENTERPRISE)
"""Tried in turn where a pattern asks for something of its own."""


def fits(word: str, pattern: str, schema: Mapping[str, Any]) -> bool:
    """Whether a text keeps to a schema's pattern and length."""
    right_length = schema.get("minLength", 0) <= len(word) <= schema.get("maxLength", 10_000)
    return right_length and (not pattern or re.search(pattern, word) is not None)


def _number(schema: Mapping[str, Any], kind: str, word: Any) -> float | int:
    least = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    most = schema.get("maximum", schema.get("exclusiveMaximum", 1 << 31))
    fallback = least + 1 if "exclusiveMinimum" in schema else max(least, min(1, most))
    usable = isinstance(word, int | float) and not isinstance(word, bool) and least <= word <= most
    found = word if usable else fallback
    return int(found) if kind == "integer" else float(found)
